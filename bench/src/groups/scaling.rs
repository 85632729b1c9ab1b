//! Scaling over shards: a fresh instance a message, in process, one shard and more, up to one a core.
//!
//! Against it: one thread publishes for all shards and shares their cores. It publishes in large steps and rests while the engine is full.

use std::collections::VecDeque;
use std::time::Duration;

use millpond::{Engine, EngineConfig, Grants, HandlerConfig, HandlerLimits, Refusal, Stats};
use wasmtime::{Result, bail, ensure};

use crate::clock;
use crate::cores::{Place, go};
use crate::guest::Guest;
use crate::notes::note;
use crate::scale::Scale;

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

/// Measures 1, 2, 4 … shards.
///
/// # Errors
/// A message was lost, or a call failed.
pub fn measure(scale: Scale) -> Result<()> {
    go(Place::Anywhere)?;
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let counts = [1, 2, 4, 8, 16].into_iter();
    let counts: Vec<usize> = counts.filter(|n| *n <= cores.min(SHARDS_MAX)).collect();
    let engines = counts.iter().map(|shards| start(*shards));
    let engines = engines.collect::<Result<Vec<_>>>()?;
    let messages = scale.count(MESSAGES as u64) as usize;
    let mut rounds = vec![Vec::new(); counts.len()];
    for round in 0..=scale.rounds(ROUNDS) {
        for ((engine, shards), rates) in engines.iter().zip(&counts).zip(&mut rounds) {
            let rate = rate(engine, messages * shards)?;
            // The first warms up.
            if round > 0 {
                rates.push(rate);
            }
        }
    }
    for (shards, rates) in counts.iter().zip(rounds) {
        let name = if *shards == 1 { "shard" } else { "shards" };
        note("scaling", format!("{shards} {name}"), "messages/s", rates);
    }
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
