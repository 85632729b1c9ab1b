//! Scaling over shards: a fresh instance a message, in process, one shard and more, up to one a core.
//!
//! Twice. Fed by their own handlers: each sends a message on to its own subject, on its own shard, so that nothing but shards needs a core; some
//! messages go round for as long as is measured. And fed by a publisher, which shares the cores of the shards: it publishes in large
//! steps and rests while the engine is full.

use std::collections::VecDeque;
use std::time::Duration;

use millpond::{
    Engine, EngineConfig, Grants, HandlerConfig, HandlerLimits, Message, Refusal, Stats,
};
use wasmtime::error::Context as _;
use wasmtime::{Result, bail, ensure};

use crate::clock;
use crate::cores::{Place, go};
use crate::guest::{Guest, HEADER, PAYLOAD_BYTES};
use crate::notes::note;
use crate::scale::Scale;
use crate::single::Single;

/// Rounds of each, in turn.
const ROUNDS: usize = 7;
/// Messages of a round, a shard: some 400 ms.
const MESSAGES: usize = 60_000;
/// Messages in flight, a shard: some 100 ms of work, so that the publisher may rest.
const IN_FLIGHT_MAX: u32 = 16_384;
/// Messages published in one step.
const STEP: usize = 2_048;
const REST: Duration = Duration::from_millis(5);
const PATIENCE: Duration = Duration::from_secs(60);
/// Shards beyond the machine's cores, or beyond what one process has, are not measured.
const SHARDS_MAX: usize = 16;

/// A handler that sends what it gets to its own subject again, and the messages that go round a shard.
const ROUND: &str = "echo.out";
const GOING_ROUND: usize = 64;
/// How long they go round before it is measured, and while it is.
const WARM: Duration = Duration::from_millis(100);
const TIME: Duration = Duration::from_millis(400);

/// Measures 1, 2, 4 … shards.
///
/// # Errors
/// A message was lost, or a call failed.
pub fn measure(scale: Scale) -> Result<()> {
    go(Place::Anywhere)?;
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let counts = [1, 2, 4, 8, 16].into_iter();
    let counts: Vec<usize> = counts.filter(|n| *n <= cores.min(SHARDS_MAX)).collect();
    let mut rounds = vec![Vec::new(); counts.len()];
    for _ in 0..scale.rounds(ROUNDS) {
        for (shards, rates) in counts.iter().zip(&mut rounds) {
            rates.push(going_round(*shards, scale)?);
        }
    }
    noted("scaling", &counts, rounds);
    published(&counts, scale)
}

/// Messages a second of shards whose handlers feed them.
fn going_round(shards: usize, scale: Scale) -> Result<f64> {
    let handler = HandlerConfig::file(ROUND, Single::Wasmcloud.path());
    let limits = HandlerLimits {
        latency_budget: PATIENCE,
        deadline: PATIENCE,
        wall_deadline: PATIENCE,
        ..HandlerLimits::default()
    };
    let handler = handler.subject(ROUND).limits(limits).grants(Grants::all());
    let engine = Engine::start(EngineConfig::new().shards(shards).handler(handler))?;
    for _ in 0..GOING_ROUND * shards {
        let message = Message::builder(ROUND).header(HEADER.0, HEADER.1);
        let message = message.payload(&[b'x'; PAYLOAD_BYTES]);
        let published = engine.publish(message.context("building a message")?);
        ensure!(
            published.is_ok_and(|got| got == 1),
            "a message was not taken"
        );
    }
    pass(scale.time(WARM));
    let (before, begun) = (engine.stats(), clock::now());
    pass(scale.time(TIME));
    let (after, elapsed) = (engine.stats(), clock::now() - begun);
    engine.stop();
    let (old, new) = (&before.handlers[0], &after.handlers[0]);
    ensure!(new.faults.is_empty(), "calls failed: {:?}", new.faults);
    let acked = new.acked - old.acked;
    let instances = after.instances_called - before.instances_called;
    // All numbers are not read at once, and meanwhile some are called; a call that overran its slice was made again.
    let again = (new.overran - old.overran) + (GOING_ROUND * shards) as u64;
    ensure!(
        acked > 0 && instances.abs_diff(acked) <= again,
        "{acked} messages in {instances} instances"
    );
    Ok(acked as f64 / elapsed.as_secs_f64())
}

/// Lets so much time pass.
fn pass(time: Duration) {
    let until = clock::now() + time;
    while clock::now() < until {
        std::thread::park_timeout(until - clock::now());
    }
}

/// Keeps the rates of each number of shards.
fn noted(group: &str, counts: &[usize], rounds: Vec<Vec<f64>>) {
    for (shards, rates) in counts.iter().zip(rounds) {
        let name = if *shards == 1 { "shard" } else { "shards" };
        note(group, format!("{shards} {name}"), "messages/s", rates);
    }
}

/// The same of shards that a publisher feeds.
fn published(counts: &[usize], scale: Scale) -> Result<()> {
    let engines = counts.iter().map(|shards| start(*shards));
    let engines = engines.collect::<Result<Vec<_>>>()?;
    let messages = scale.count(MESSAGES as u64) as usize;
    let mut rounds = vec![Vec::new(); counts.len()];
    for round in 0..=scale.rounds(ROUNDS) {
        for ((engine, shards), rates) in engines.iter().zip(counts).zip(&mut rounds) {
            let rate = rate(engine, messages * shards)?;
            // The first warms up.
            if round > 0 {
                rates.push(rate);
            }
        }
    }
    noted("scaling published", counts, rounds);
    engines.iter().for_each(Engine::stop);
    Ok(())
}

fn start(shards: usize) -> Result<Engine> {
    let limits = HandlerLimits {
        batch_messages_max: 1,
        in_flight_messages_max: IN_FLIGHT_MAX,
        latency_budget: PATIENCE,
        deadline: PATIENCE,
        wall_deadline: PATIENCE,
        ..HandlerLimits::default()
    };
    let guest = Guest::Counter;
    let handler = HandlerConfig::file(guest.name(), guest.path());
    let handler = handler.limits(limits).grants(Grants::all());
    Ok(Engine::start(
        EngineConfig::new().shards(shards).handler(handler),
    )?)
}

/// Messages a second, from the first publication to the last settlement.
fn rate(engine: &Engine, messages: usize) -> Result<f64> {
    let ring = Guest::Counter.messages(messages)?;
    let before = engine.stats();
    let begun = clock::now();
    for step in ring.chunks(STEP) {
        let mut step: VecDeque<_> = step.iter().cloned().collect();
        while !step.is_empty() {
            match engine.publish_all(&mut step) {
                Ok(_) => {}
                Err(Refusal::Full(_)) => std::thread::park_timeout(REST),
                Err(why) => bail!("publishing was refused: {why}"),
            }
        }
    }
    while engine.stats().in_flight > 0 {
        ensure!(
            clock::now() - begun < PATIENCE,
            "messages are still in flight"
        );
        std::thread::park_timeout(Duration::from_micros(100));
    }
    let elapsed = clock::now() - begun;
    check(&before, &engine.stats(), messages as u64)?;
    Ok(messages as f64 / elapsed.as_secs_f64())
}

/// Checks that each message was handled, in an instance of its own. A call that overran its slice was made again.
fn check(before: &Stats, after: &Stats, messages: u64) -> Result<()> {
    let (old, new) = (&before.handlers[0], &after.handlers[0]);
    let acked = new.acked - old.acked;
    let calls = (new.calls - old.calls) - (new.overran - old.overran);
    let instances = after.instances_called - before.instances_called;
    let again = new.overran - old.overran;
    ensure!(
        (acked, calls, instances) == (messages, messages, messages + again),
        "of {messages} messages {acked} were handled, in {calls} calls and {instances} instances"
    );
    Ok(())
}
