//! One message on an idle shard, from its taking to its settlement, in a fresh instance: from the pond, and made while it waits.
//!
//! The engine measures it (`Stats::call_time`): from the begin of the turn that takes it in to the guest's answer, which is when the engine
//! counts a message as settled in all its latencies. The publisher's part and the wake-up of a thread are left out; with them it is the
//! dispatch hop. What a rest leaves behind is not: a thread that has slept finds caches and predictions cold. So both are measured, a shard that
//! looks for messages while it is idle (`idle_spin`) and one that rests; beside them, the raw loop's call alone, in an instance that was
//! made before its thread did either.

use std::time::Duration;

use millpond::{
    Engine, EngineConfig, Grants, HandlerConfig, HandlerLimits, Latencies, Message, Refusal, Stats,
};
use wasmtime::error::Context as _;
use wasmtime::{Result, bail, ensure};

use crate::clock;
use crate::cores::{Place, go};
use crate::guest::{Guest, HEADER, PAYLOAD_BYTES};
use crate::notes::{note, spread};
use crate::raw::{Allocator, RawLoop};
use crate::reset;

const ROUNDS: usize = 3;
const MESSAGES: u64 = 2_000;
/// Between two messages: the shard has made its ready instances by then.
const REST: Duration = Duration::from_micros(50);
const PATIENCE: Duration = Duration::from_secs(30);

/// How a thread spends the time between two messages.
#[derive(Clone, Copy)]
enum Idle {
    Looks,
    Rests,
}

impl Idle {
    const ALL: [(Self, &str); 2] = [(Self::Looks, ""), (Self::Rests, ", its thread rested")];

    fn spin(self) -> Duration {
        match self {
            Self::Looks => PATIENCE,
            Self::Rests => Duration::ZERO,
        }
    }

    /// Lets so much time pass.
    fn pass(self, time: Duration) {
        let until = clock::now() + time;
        if let Self::Rests = self {
            std::thread::park_timeout(time);
        }
        while clock::now() < until {
            std::hint::spin_loop();
        }
    }
}

/// Measures all of them, in turn.
///
/// # Errors
/// A message was lost, or a call failed.
pub fn taken_to_settled() -> Result<()> {
    for (idle, how) in Idle::ALL {
        let (mut taken, mut hop) = ([const { Vec::new() }; 3], [const { Vec::new() }; 2]);
        for _ in 0..ROUNDS {
            for (place, ready) in [2, 0].into_iter().enumerate() {
                let stats = settled(idle, ready)?;
                taken[place].push(p50(&stats.call_time));
                hop[place].push(p50(&stats.latency));
            }
            taken[2].push(raw_call(idle)?);
        }
        let names = ["from the pond", "without the pond"].map(|pond| format!("echo, {pond}{how}"));
        for (row, name) in hop.into_iter().zip(&names) {
            note(
                "dispatch hop",
                name.clone(),
                "µs, publish to settled, p50",
                row,
            );
        }
        let raw = format!("the raw loop's call alone{how}");
        for (row, name) in taken.into_iter().zip(names.into_iter().chain([raw])) {
            note("taken→settled", name, "µs, p50", row);
        }
    }
    Ok(())
}

/// The median in microseconds.
fn p50(times: &Latencies) -> f64 {
    times.quantile(0.5).as_secs_f64() * 1e6
}

/// What an engine says of messages that came one at a time.
fn settled(idle: Idle, ready: usize) -> Result<Stats> {
    go(Place::Anywhere)?;
    let guest = Guest::Echo;
    let limits = HandlerLimits {
        ready_instances_max: ready,
        latency_budget: PATIENCE,
        deadline: PATIENCE,
        wall_deadline: PATIENCE,
        ..HandlerLimits::default()
    };
    let handler = HandlerConfig::file(guest.name(), guest.path()).limits(limits);
    let mut config = EngineConfig::new()
        .shards(1)
        .handler(handler.grants(Grants::all()));
    config.limits.idle_spin = idle.spin();
    let engine = Engine::start(config)?;
    go(Place::Publisher)?;
    for _ in 0..MESSAGES {
        publish(&engine)?;
        while engine.stats().in_flight > 0 {
            std::hint::spin_loop();
        }
        Idle::Looks.pass(REST);
    }
    engine.drain(PATIENCE)?;
    let stats = engine.stats();
    engine.stop();
    check(&stats, ready)?;
    Ok(stats)
}

/// All were handled, each in a call of its own; and the pond is full again.
fn check(stats: &Stats, ready: usize) -> Result<()> {
    let handler = &stats.handlers[0];
    ensure!(
        handler.acked == MESSAGES && handler.faults.is_empty(),
        "of {MESSAGES} messages {} were handled; faults: {:?}",
        handler.acked,
        handler.faults
    );
    ensure!(
        stats.call_time.count() == MESSAGES,
        "{} calls were made with {MESSAGES} messages",
        stats.call_time.count()
    );
    ensure!(
        stats.instances_ready == ready as u64,
        "{} instances are ready at the end, not {ready}",
        stats.instances_ready
    );
    Ok(())
}

fn publish(engine: &Engine) -> Result<()> {
    let message = Message::builder(Guest::Echo.name()).header(HEADER.0, HEADER.1);
    let message = message.payload(&[b'x'; PAYLOAD_BYTES]);
    match engine.publish(message.context("building a message")?) {
        Ok(1) => Ok(()),
        Ok(receivers) => bail!("a message went to {receivers} receivers, not to one"),
        Err(refused) => match refused.reason {
            Refusal::Full(what) => bail!("publishing was refused on an idle shard: {what}"),
            why => bail!("publishing was refused: {why}"),
        },
    }
}

/// The median of the raw loop's call alone, in microseconds.
fn raw_call(idle: Idle) -> Result<f64> {
    let mut raw = RawLoop::new(Guest::Echo, Allocator::Ours(reset::chosen()?), 1)?;
    go(Place::Shard)?;
    let calls = (0..MESSAGES).map(|_| raw.call_after(|| idle.pass(REST)));
    let micros = calls.map(|took| Ok(took?.as_secs_f64() * 1e6));
    Ok(spread(micros.collect::<Result<Vec<_>>>()?)[1])
}
