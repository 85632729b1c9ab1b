//! The goals that are single cases: light load, overload, an endless loop, poison.

use std::time::Duration;

use super::lab::{Fate, Plan, Result, SLICE, run};
use super::rows::{Arrival, Rng};
use crate::limits::HandlerLimits;

const US: u64 = 1_000;
const MS: u64 = 1_000_000;

/// A goal, what was measured, and whether it is met.
pub(crate) struct Case {
    /// What it is about.
    pub(crate) name: &'static str,
    /// What must hold.
    pub(crate) goal: String,
    /// What was seen.
    pub(crate) seen: String,
    /// Whether it holds.
    pub(crate) met: bool,
}

/// All of them.
pub(crate) fn cases(seed: u64) -> Vec<Case> {
    vec![
        light(seed),
        droppable(seed),
        kept(seed),
        endless(seed),
        one_poison(),
        all_poison(seed),
    ]
}

/// Poisson arrivals of 128-byte messages for one handler, at so many a second for so long.
fn poisson(handler: usize, a_second: f64, length_ns: u64, seed: u64) -> Vec<Arrival> {
    let mut rng = Rng(seed ^ (handler as u64) << 32);
    let mut at = 0.0;
    let times = std::iter::from_fn(|| {
        at += rng.exponential() * 1e9 / a_second;
        (at < length_ns as f64).then_some(at as u64)
    });
    times
        .map(|at_ns| Arrival {
            at_ns,
            handler,
            bytes: 128,
        })
        .collect()
}

/// Traces of several handlers as one.
fn merged(traces: impl IntoIterator<Item = Vec<Arrival>>) -> Vec<Arrival> {
    let mut all: Vec<_> = traces.into_iter().flatten().collect();
    all.sort_by_key(|a| a.at_ns);
    all
}

fn limits(budget_ns: u64) -> HandlerLimits {
    HandlerLimits {
        latency_budget: Duration::from_nanos(budget_ns),
        batch_messages_max: 256,
        pause_max: Duration::ZERO,
        ..HandlerLimits::default()
    }
}

/// What a call of so many messages costs in these cases: 50 µs, and 5 µs a message.
fn cost(messages: usize) -> u64 {
    50 * US + 5 * US * messages as u64
}

/// One handler on this trace, nothing failing.
fn alone(limits: HandlerLimits, trace: &[Arrival], droppable: bool) -> Result {
    run(Plan {
        limits: vec![limits],
        droppable,
        letters: false,
        trace,
        fate: &|_, numbers, _, _, _| Fate::Done(cost(numbers.len())),
        give_up: false,
    })
}

fn light(seed: u64) -> Case {
    let trace = poisson(0, 0.1 * 1e9 / cost(1) as f64, 20_000 * MS, seed);
    let result = alone(limits(5 * MS), &trace, false);
    let p50 = result.handlers[0].quantile(0.5);
    Case {
        name: "added waiting at 10 % load",
        goal: format!("p50 = service time of one message = {} µs", cost(1) / US),
        seen: format!("p50 {} µs of {} messages", p50 / US, trace.len()),
        met: p50 == cost(1),
    }
}

const BUDGET: u64 = 5 * MS;

/// Messages a second that calls of the best size can handle, each within half of the budget.
fn capacity() -> f64 {
    let sizes = (1..=256).filter(|n| cost(*n) <= BUDGET / 2);
    sizes
        .map(|n| n as f64 * 1e9 / cost(n) as f64)
        .fold(0.0, f64::max)
}

fn droppable(seed: u64) -> Case {
    let trace = poisson(0, 2.0 * capacity(), 2_000 * BUDGET, seed);
    let result = alone(limits(BUDGET), &trace, true);
    let tally = &result.handlers[0];
    let p99 = tally.quantile(0.99);
    let good = tally.latencies.len() - tally.late;
    let goodput = good as f64 * 1e9 / result.end_ns as f64 / capacity();
    let counted = tally.latencies.len() + tally.shed + tally.refused == trace.len();
    Case {
        name: "2 × overload, droppable",
        goal: format!(
            "p99 of what is served ≤ budget = {} ms, goodput ≥ 0.9 of capacity",
            BUDGET / MS
        ),
        seen: format!(
            "p99 {:.2} ms, goodput {goodput:.3}, {} of {} shed",
            p99 as f64 / MS as f64,
            tally.shed,
            trace.len()
        ),
        met: p99 <= BUDGET && goodput >= 0.9 && counted,
    }
}

fn kept(seed: u64) -> Case {
    let trace = poisson(0, 2.0 * capacity(), 2_000 * BUDGET, seed);
    let limits = HandlerLimits {
        in_flight_messages_max: 2_000,
        ..limits(BUDGET)
    };
    let most = 2_000 * 128;
    let result = alone(limits, &trace, false);
    let tally = &result.handlers[0];
    let counted = tally.latencies.len() + tally.refused == trace.len();
    Case {
        name: "2 × overload, not droppable",
        goal: format!(
            "nothing shed, at most {most} bytes in flight and 2000 messages in the shard"
        ),
        seen: format!(
            "{} shed, {} bytes, {} messages, {} refused",
            tally.shed, tally.bytes_peak, result.waiting_peak, tally.refused
        ),
        met: tally.shed == 0
            && tally.bytes_peak <= most
            && result.waiting_peak <= 2_000
            && tally.refused > 0
            && counted,
    }
}

fn endless(seed: u64) -> Case {
    const GOOD: usize = 50;
    let (budget, deadline, length) = (10 * MS, 50 * MS, 100 * 100 * MS);
    let good = |handler| {
        poisson(
            handler,
            0.5 / GOOD as f64 * 1e9 / cost(1) as f64,
            length,
            seed,
        )
    };
    let looping = poisson(GOOD, 100.0, length, seed);
    let trace = merged((0..GOOD).map(good).chain([looping]));
    let mut all = vec![limits(budget); GOOD + 1];
    all[GOOD].deadline = Duration::from_nanos(deadline);
    (all[GOOD].wall_deadline, all[GOOD].deliveries_max) = (Duration::from_secs(3_600), 1);
    let fate = |handler, numbers: &[u64], _, _, _| match handler {
        GOOD => Fate::Endless,
        _ => Fate::Done(cost(numbers.len())),
    };
    let result = run(Plan {
        limits: all,
        droppable: false,
        letters: false,
        trace: &trace,
        fate: &fate,
        give_up: false,
    });
    let (good, looping) = result.handlers.split_at(GOOD);
    let p99 = good.iter().map(|t| t.quantile(0.99)).max().unwrap_or(0);
    let bound = budget + 2 * SLICE.as_nanos() as u64;
    let deadlines = length / deadline;
    let done = good.iter().all(|t| t.latencies.len() == t.messages);
    Case {
        name: "an endless loop among 50",
        goal: format!(
            "the others' p99 ≤ budget + 2 slices = {} ms, trace ≥ 100 deadlines",
            bound / MS
        ),
        seen: format!(
            "worst p99 {:.2} ms, {deadlines} deadlines, {} calls ended",
            p99 as f64 / MS as f64,
            looping[0].calls
        ),
        met: p99 <= bound && deadlines >= 100 && done && looping[0].termed > 0,
    }
}

/// So many messages at once.
fn burst(handler: usize, messages: usize) -> Vec<Arrival> {
    vec![
        Arrival {
            at_ns: 0,
            handler,
            bytes: 128
        };
        messages
    ]
}

fn one_poison() -> Case {
    const POISON: u64 = 100;
    let trace = burst(0, 256);
    let limits = HandlerLimits {
        deliveries_max: 1,
        ..limits(100 * MS)
    };
    let fate = |_, numbers: &[u64], _, _, _| match numbers.contains(&POISON) {
        true => Fate::Trap(10 * US),
        false => Fate::Done(cost(numbers.len())),
    };
    let result = run(Plan {
        limits: vec![limits],
        droppable: false,
        letters: true,
        trace: &trace,
        fate: &fate,
        give_up: false,
    });
    let tally = &result.handlers[0];
    let once = (0..256)
        .filter(|n| *n != POISON)
        .all(|n| tally.sends.get(&n) == Some(&1));
    let never = !tally.sends.contains_key(&POISON);
    let (acked, calls) = (tally.latencies.len(), tally.calls);
    Case {
        name: "1 poison message in a batch of 256",
        goal: "255 acked, their sends once, its own never; ≤ 20 calls".into(),
        seen: format!("{acked} acked, sends once: {once}, never: {never}, {calls} calls"),
        met: acked == 255 && once && never && calls <= 20 && tally.letters == 1,
    }
}

fn all_poison(seed: u64) -> Case {
    const POISON: usize = 256;
    let neighbour = poisson(1, 2_000.0, 10_000 * MS, seed);
    let trace = merged([burst(0, POISON), neighbour]);
    let mut all = vec![limits(10 * MS), limits(10 * MS)];
    all[0].deliveries_max = 3;
    let deliveries = all[0].deliveries_max as usize;
    let bound = 1 + all[0].split_calls_max as usize + POISON * deliveries;
    let split_time = all[0].split_time_max;
    let fate = |handler, numbers: &[u64], _, _, _| match handler {
        0 => Fate::Trap(200 * US),
        _ => Fate::Done(cost(numbers.len())),
    };
    let result = run(Plan {
        limits: all,
        droppable: false,
        letters: true,
        trace: &trace,
        fate: &fate,
        give_up: false,
    });
    let (poison, neighbour) = (&result.handlers[0], &result.handlers[1]);
    let p99 = neighbour.quantile(0.99);
    Case {
        name: "256 poison messages in a batch of 256",
        goal: format!(
            "≤ {bound} calls, split for ≤ {split_time:?}, all dead-lettered, a neighbour's p99 ≤ its budget = 10 ms"
        ),
        seen: format!(
            "{} calls, split for {:.1} ms, {} dead letters, p99 {:.2} ms",
            poison.calls,
            poison.shared_last_ns as f64 / MS as f64,
            poison.letters,
            p99 as f64 / MS as f64
        ),
        met: poison.calls <= bound
            && poison.shared_last_ns <= split_time.as_nanos() as u64
            && poison.letters == POISON
            && poison.termed == POISON
            && p99 <= 10 * MS
            && poison.sends.is_empty(),
    }
}
