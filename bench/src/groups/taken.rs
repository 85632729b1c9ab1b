//! One message on an idle shard, from its taking to its settlement, in a fresh instance: from the pond, and made while it waits.
//!
//! The engine measures it of every sixteenth (`Stats::settle_time`): from the begin of the turn that takes it in, through the call and the release of
//! what it sent, until it is settled and the turn is written out. The reset of the used instance comes after that. The publisher's part and the wake-up
//! of a thread are left out; with them, up to the guest's answer, it is the dispatch hop. Of it the call (`Stats::call_time`) is noted too: from the same begin to
//! the guest's answer. What a rest leaves behind is not: a thread that has slept finds caches and predictions cold. So both are measured, a shard that
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
use crate::scale::Scale;

const ROUNDS: usize = 7;
const MESSAGES: u64 = 2_000;
/// Between two messages: the shard has handled one and made its ready instances by then.
const REST: Duration = Duration::from_micros(100);
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
pub fn taken_to_settled(scale: Scale) -> Result<()> {
    let messages = scale.count(MESSAGES);
    for (idle, how) in Idle::ALL {
        let names = ["from the pond", "without the pond"].map(|pond| format!("echo, {pond}{how}"));
        let (mut taken, mut answered, mut hop) = (pair(), pair(), pair());
        let mut raw = Vec::new();
        for _ in 0..scale.rounds(ROUNDS) {
            for (place, ready) in [2, 0].into_iter().enumerate() {
                let stats = settled(idle, ready, messages)?;
                taken[place].push(p50(&stats.settle_time));
                answered[place].push(p50(&stats.call_time));
                hop[place].push(p50(&stats.latency));
            }
            raw.push(raw_call(idle, messages)?);
        }
        for (group, unit, rows) in [
            (
                "dispatch hop",
                "µs, publish to the guest's answer, p50",
                hop,
            ),
            ("taken to settled", "µs, p50", taken),
            ("taken to answered", "µs, p50", answered),
        ] {
            for (row, name) in rows.into_iter().zip(&names) {
                note(group, name.clone(), unit, row);
            }
        }
        let case = format!("the raw loop's call alone{how}");
        note("taken to answered", case, "µs, p50", raw);
    }
    Ok(())
}

/// Rounds with the pond, and without.
fn pair() -> [Vec<f64>; 2] {
    [const { Vec::new() }; 2]
}

/// The median in microseconds.
fn p50(times: &Latencies) -> f64 {
    times.quantile(0.5).as_secs_f64() * 1e6
}

/// What an engine says of messages that came one at a time.
fn settled(idle: Idle, ready: usize, messages: u64) -> Result<Stats> {
    go(Place::Anywhere)?;
    let guest = Guest::Echo;
    let limits = HandlerLimits {
        ready_instances_max: ready,
        // One that is late has its own call all the same.
        batch_messages_max: 1,
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
    for _ in 0..messages {
        publish(&engine)?;
        // Nobody asks for its counts meanwhile: whoever reads them makes them dearer to write.
        Idle::Looks.pass(REST);
    }
    engine.drain(PATIENCE)?;
    let stats = engine.stats();
    engine.stop();
    check(&stats, ready, messages)?;
    Ok(stats)
}

/// All were handled, each in a call of its own; and the pond is full again.
fn check(stats: &Stats, ready: usize, messages: u64) -> Result<()> {
    let handler = &stats.handlers[0];
    ensure!(
        handler.acked == messages && handler.faults.is_empty(),
        "of {messages} messages {} were handled; faults: {:?}",
        handler.acked,
        handler.faults
    );
    ensure!(
        stats.call_time.count() == messages,
        "{} calls were made with {messages} messages",
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
fn raw_call(idle: Idle, messages: u64) -> Result<f64> {
    let mut raw = RawLoop::new(Guest::Echo, Allocator::Ours(reset::chosen()?), 1)?;
    go(Place::Shard)?;
    let calls = (0..messages).map(|_| raw.call_after(|| idle.pass(REST)));
    let micros = calls.map(|took| Ok(took?.as_secs_f64() * 1e6));
    Ok(spread(micros.collect::<Result<Vec<_>>>()?)[1])
}
