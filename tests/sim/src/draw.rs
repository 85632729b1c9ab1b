//! A seed's scenario: configuration, workload and faults, drawn at random. Every range was picked by hand, so that what is rare
//! in production is common here.

use std::rc::Rc;
use std::time::Duration;

use crate::handler::{Rules, Setup};
use crate::limits::HandlerLimits;
use crate::message::HandlerId;
use crate::outcome::FaultKind;
use crate::rng::Rng;
use crate::scenario::{
    Machine, Network, OUT_DENIED, OUT_PLAIN, OUT_REFUSED, OUT_STORED, Plan, Profile, Scenario,
    Script, Spec,
};

const MICRO: Duration = Duration::from_micros(1);
const MILLI: Duration = Duration::from_millis(1);
/// Faults that a guest's message may cause; the other kinds come of other things.
const KINDS: [FaultKind; 6] = [
    FaultKind::Trap,
    FaultKind::Deadline,
    FaultKind::Memory,
    FaultKind::Stack,
    FaultKind::Guest,
    FaultKind::Outbox,
];

/// The scenario of a seed.
pub(crate) fn scenario(seed: u64) -> Scenario {
    let mut rng = Rng::new(seed, 1);
    let rng = &mut rng;
    let rules = rules(seed, rng);
    let count = rng.between(1, 6);
    let mut handlers: Vec<_> = (0..count).map(|index| plan(index, rng)).collect();
    let lasts = rng.micros(1_000, 100_000);
    let mut specs = specs(&handlers, lasts, rng);
    let calm = lasts * 2;
    let changes = changes(&handlers, lasts, rng);
    let packs = match rules.ordered {
        true => Vec::new(),
        false => packs(&mut handlers, &mut specs, &mut Rng::new(seed, 5)),
    };
    Scenario {
        seed,
        rules,
        specs: specs.into(),
        packs,
        machine: machine(rng),
        network: network(lasts, rng),
        changes,
        handlers,
        calm,
        turn_cost: rng.pick(&[Duration::ZERO, Duration::from_nanos(200), 2 * MICRO]),
        spurious: rng.pick(&[0, 0, 200]),
    }
}

fn rules(seed: u64, rng: &mut Rng) -> Rules {
    Rules {
        ordered: rng.chance(400),
        time_slice: rng.pick(&[100 * MICRO, 300 * MICRO, MILLI]),
        fiber_stay_first: rng.micros(500, 10_000),
        fiber_stay_max: 20 * MILLI,
        seed,
        age_bytes: rng.pick(&[0, 0, 1 << 10]),
    }
}

fn plan(index: u64, rng: &mut Rng) -> Plan {
    let limits = limits(rng);
    let setup = Setup {
        name: format!("handler-{index}"),
        component: format!("digest-{index}"),
        budget_of_owner: limits.latency_budget,
        limits,
        dead_letter: rng.chance(600).then(|| format!("dead.{index}")),
        droppable: rng.chance(350),
        packs: false,
    };
    let profile = Profile {
        fixed: rng.micros(1, 100),
        per_message: rng.micros(1, 50),
        per_byte_nanos: rng.pick(&[0, 1, 20]),
        noise: rng.pick(&[0, 100, 500]),
        slow: rng.pick(&[0, 10, 100]),
        slow_factor: rng.pick(&[3, 30]),
        cold: rng.pick(&[Duration::ZERO, MILLI]),
        waits: rng.chance(300),
        attributes: rng.chance(400),
    };
    Plan { setup, profile }
}

/// Limits at random, tiny ones among them.
pub(crate) fn limits(rng: &mut Rng) -> HandlerLimits {
    let retry_delay_first = rng.micros(50, 5_000);
    let in_flight = rng.pick(&[1, 2, 7, 50, 8_192, 8_192]);
    HandlerLimits {
        suspended_calls_max: rng.pick(&[1, 2, 8]),
        deadline: rng.micros(1_000, 8_000),
        wall_deadline: rng.micros(4_000, 50_000),
        latency_budget: rng.micros(200, 50_000),
        linger: rng.pick(&[Duration::ZERO, Duration::ZERO, 100 * MICRO, 5 * MILLI]),
        weight: rng.pick(&[1, 1, 2, 10]),
        batch_messages_max: rng.pick(&[1, 2, 3, 8, 64, 64]),
        batch_bytes_max: rng.pick(&[1, 200, 2_000, 1 << 20, 1 << 20]),
        in_flight_messages_max: in_flight,
        in_flight_bytes_max: rng.pick(&[1, 500, 5_000, 8 << 20, 8 << 20]),
        outbox_messages_max: rng.pick(&[1, 4, 20, 1_024, 1_024]),
        outbox_bytes_max: rng.pick(&[64, 1_000, 4 << 20, 4 << 20]),
        deliveries_max: rng.pick(&[1, 2, 3, 5]),
        retry_delay_first,
        retry_delay_max: retry_delay_first * rng.pick(&[1, 4, 20]),
        split_calls_max: rng.pick(&[0, 1, 2, 5, 32, 32]),
        split_time_max: rng.pick(&[Duration::ZERO, MILLI, 100 * MILLI, 100 * MILLI]),
        unconfirmed_batches_max: rng.pick(&[1, 2, 64]),
        confirm_wait_max: rng.pick(&[5 * MILLI, 50 * MILLI]),
        pause_first: rng.micros(500, 20_000),
        pause_max: rng.pick(&[Duration::ZERO, 10 * MILLI, 50 * MILLI]),
        ..HandlerLimits::default()
    }
}

fn machine(rng: &mut Rng) -> Machine {
    Machine {
        slots: rng.pick(&[2, 4, 40]),
        suspended_max: rng.pick(&[1, 2, 32]),
        no_slot: rng.pick(&[0, 0, 50, 300]),
        host_fault: rng.pick(&[0, 0, 10]),
        ready_max: rng.pick(&[0, 2]),
    }
}

fn network(lasts: Duration, rng: &mut Rng) -> Network {
    let drops = rng.pick(&[0, 0, 1, 3]);
    let mut disconnects: Vec<_> = (0..drops)
        .map(|_| (rng.up_to(lasts), rng.micros(100, 20_000)))
        .collect();
    disconnects.sort();
    Network {
        report_delay: rng.micros(10, 10_000),
        lost: rng.pick(&[0, 0, 20]),
        repeated: rng.pick(&[0, 100, 500]),
        refused: rng.pick(&[0, 0, 30]),
        refused_at_once: rng.pick(&[0, 0, 30]),
        releases_refused: rng.pick(&[0, 0, 0, 30]),
        late: rng.pick(&[0, 0, 30]),
        letters_refused: rng.pick(&[0, 0, 300, 1_000]),
        letters_stored: rng.chance(500),
        fresh: rng.pick(&[0, 0, 200, 1_000]),
        acks_lost: rng.pick(&[0, 300]),
        disconnects,
        returns_outside: rng.chance(500),
        read_messages_max: rng.pick(&[1, 7, 256]),
    }
}

fn changes(
    handlers: &[Plan],
    lasts: Duration,
    rng: &mut Rng,
) -> Vec<(Duration, HandlerId, HandlerLimits)> {
    let count = rng.pick(&[0, 0, 1, 3]);
    let mut changes: Vec<_> = (0..count)
        .map(|_| {
            let id = rng.between(0, handlers.len() as u64 - 1) as u32;
            (rng.up_to(lasts), HandlerId(id), limits(rng))
        })
        .collect();
    changes.sort_by_key(|(at, ..)| *at);
    changes
}

/// How one handler's messages are published in packs.
struct Packing {
    /// Packs in a thousand groups of messages that could be one.
    packs: u32,
    messages_max: u64,
    /// Whether its guest says nothing of messages that are handled.
    silent: bool,
}

/// Publishes some messages in packs: of those that are published at once. Handlers whose guests say which message each send is for may
/// take them as they are; all others get their messages.
fn packs(handlers: &mut [Plan], specs: &mut [Spec], rng: &mut Rng) -> Vec<Rc<[u64]>> {
    let mut packing = |plan: &mut Plan| {
        plan.setup.packs = plan.profile.attributes && rng.chance(800);
        Packing {
            packs: rng.pick(&[0, 500, 1_000]),
            messages_max: rng.pick(&[2, 10, 100]),
            silent: plan.setup.packs && rng.chance(500),
        }
    };
    let times: Vec<_> = specs.iter().map(|spec| spec.at).collect();
    let packings: Vec<_> = handlers.iter_mut().map(&mut packing).collect();
    let mut packs = Vec::new();
    for (packing, id) in packings.iter().zip(0..) {
        let own = |spec: &Spec| spec.handler == HandlerId(id);
        let serials: Vec<_> = (0..specs.len())
            .filter(|place| own(&specs[*place]))
            .collect();
        for burst in serials.chunk_by(|one, other| times[*one] == times[*other]) {
            pack_burst(packing, burst, specs, &mut packs, rng);
        }
    }
    packs
}

/// Publishes some of one handler's messages, which come at once, in packs.
fn pack_burst(
    packing: &Packing,
    mut burst: &[usize],
    specs: &mut [Spec],
    packs: &mut Vec<Rc<[u64]>>,
    rng: &mut Rng,
) {
    while !burst.is_empty() {
        let count = rng.between(1, packing.messages_max).min(burst.len() as u64);
        let (group, rest) = burst.split_at(count as usize);
        burst = rest;
        let packed = rng.chance(packing.packs);
        for serial in group {
            let spec = &mut specs[*serial];
            spec.pack = packed.then_some(packs.len());
            spec.script.completes &= !packing.silent;
        }
        if packed {
            packs.push(group.iter().map(|serial| *serial as u64).collect());
        }
    }
}

/// How often messages of one handler do what.
struct Habits {
    poison: u32,
    kinds: Vec<FaultKind>,
    abandons: u32,
    sends: u32,
    stored: u32,
    denied: u32,
    waits: u32,
    updates: u32,
    bytes: u64,
    subjects: u64,
}

fn habits(rng: &mut Rng) -> Habits {
    Habits {
        poison: rng.pick(&[0, 0, 10, 50, 400, 1_000]),
        kinds: (0..2).map(|_| rng.pick(&KINDS)).collect(),
        abandons: rng.pick(&[0, 0, 50, 300]),
        sends: rng.pick(&[0, 300, 900]),
        stored: rng.pick(&[0, 500, 1_000]),
        denied: rng.pick(&[0, 0, 20]),
        waits: rng.pick(&[100, 800]),
        updates: rng.pick(&[0, 20]),
        bytes: rng.pick(&[8, 200, 3_000]),
        subjects: rng.pick(&[1, 2, 10]),
    }
}

/// The messages of a run, in bursts.
fn specs(handlers: &[Plan], lasts: Duration, rng: &mut Rng) -> Vec<Spec> {
    let habits: Vec<_> = handlers.iter().map(|_| habits(rng)).collect();
    let count = rng.between(20, 300);
    let burst_max = rng.pick(&[1, 10, 100, 300]);
    let mut times = Vec::new();
    while (times.len() as u64) < count {
        let at = rng.up_to(lasts);
        let burst = rng.between(1, burst_max).min(count - times.len() as u64);
        times.extend((0..burst).map(|_| at));
    }
    times.sort();
    let favourite = rng.between(0, handlers.len() as u64 - 1);
    times
        .into_iter()
        .map(|at| spec(&habits, favourite, at, rng))
        .collect()
}

fn spec(habits: &[Habits], favourite: u64, at: Duration, rng: &mut Rng) -> Spec {
    let other = rng.between(0, habits.len() as u64 - 1);
    let handler = rng.pick(&[favourite, other]);
    let habits = &habits[handler as usize];
    Spec {
        handler: HandlerId(handler as u32),
        subject: format!("in.{handler}.{}", rng.between(0, habits.subjects - 1)),
        payload_bytes: rng.between(8, habits.bytes) as usize,
        at,
        script: script(habits, rng),
        pack: None,
    }
}

fn script(habits: &Habits, rng: &mut Rng) -> Script {
    let poisoned = rng.chance(habits.poison);
    let sends = match rng.chance(habits.sends) {
        true => rng.between(1, 3),
        false => 0,
    };
    Script {
        fault: poisoned.then(|| habits.kinds[rng.between(0, 1) as usize]),
        faults: rng.pick(&[1, 2, u32::MAX, u32::MAX]),
        abandons: match rng.chance(habits.abandons) {
            true => rng.pick(&[1, 2, u32::MAX]),
            false => 0,
        },
        completes: rng.chance(200),
        sends: (0..sends).map(|_| target(habits, rng)).collect(),
        rewinds: rng.chance(50),
        updates: rng.chance(habits.updates),
        extra: match rng.chance(30) {
            true => rng.micros(10, 3_000),
            false => Duration::ZERO,
        },
        wait: rng.chance(habits.waits).then(|| rng.micros(10, 5_000)),
    }
}

fn target(habits: &Habits, rng: &mut Rng) -> &'static str {
    if rng.chance(habits.denied) {
        return rng.pick(&[OUT_REFUSED, OUT_DENIED]);
    }
    match rng.chance(habits.stored) {
        true => OUT_STORED,
        false => OUT_PLAIN,
    }
}
