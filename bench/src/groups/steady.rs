//! The way of messages through an engine at a steady rate: from when they should have been published to their settlement.
//!
//! The latencies are the engine's own, which count from the time that a message carries: here the time at which it was to be published,
//! so that a publisher or an engine that stalls is not hidden. Before what counts comes a part at the same rate that does not, as on NATS: what is
//! new then is neither in the caches nor predicted, and the engine has yet to learn what a call costs.

use std::time::{Duration, Instant};

use millpond::{
    Engine, EngineConfig, Grants, HandlerConfig, HandlerLimits, Latencies, Message, Refusal, Stats,
};
use wasmtime::error::Context as _;
use wasmtime::{Result, bail, ensure};

use crate::clock;
use crate::cores::{Place, go};
use crate::guest::{Guest, HEADER, PAYLOAD_BYTES};
use crate::notes::{note, spread};
use crate::scale::Scale;

const ROUNDS: usize = 7;
/// Messages that tell what the engine can do, published as fast as it takes them.
const FLOOD_MESSAGES: u64 = 150_000;
/// How long a steady rate is kept, and how long before that, which does not count.
const STEADY: Duration = Duration::from_millis(700);
const WARM: Duration = Duration::from_millis(175);
/// Parts of that, in percent.
const LEVELS: [u32; 3] = [10, 50, 80];
const PATIENCE: Duration = Duration::from_secs(30);
/// How often it is asked whether the warm-up is over.
const LOOK: Duration = Duration::from_micros(200);

/// At a tenth, half and four fifths of what the engine can do.
///
/// # Errors
/// A message was lost, or a call failed.
pub fn measure(scale: Scale) -> Result<()> {
    let capacity = (0..scale.rounds(ROUNDS))
        .map(|_| capacity(scale.count(FLOOD_MESSAGES)))
        .collect::<Result<Vec<_>>>()?;
    let median = spread(capacity.clone())[1];
    note(
        "latency",
        "capacity, echo, 64 a call at most",
        "messages/s",
        capacity,
    );
    for percent in LEVELS {
        let mut rows = [const { Vec::new() }; 3];
        for _ in 0..scale.rounds(ROUNDS) {
            let latencies = at(median * f64::from(percent) / 100.0, scale)?;
            for (row, quantile) in rows.iter_mut().zip([0.5, 0.99, 0.999]) {
                row.push(micros(latencies.quantile(quantile)));
            }
        }
        for (row, name) in rows.into_iter().zip(["p50", "p99", "p99.9"]) {
            note(
                "latency",
                format!("in process at {percent} %: {name}"),
                "µs",
                row,
            );
        }
    }
    Ok(())
}

/// What one publisher and one shard do together, as fast as the shard takes it.
fn capacity(messages: u64) -> Result<f64> {
    let engine = start(2)?;
    go(Place::Publisher)?;
    let begun = clock::now();
    for _ in 0..messages {
        publish(&engine, clock::now())?;
    }
    settled(&engine, messages)?;
    Ok(messages as f64 / (clock::now() - begun).as_secs_f64())
}

/// So many messages a second, each at its time: the latencies of those that are not of the warm-up.
fn at(rate: f64, scale: Scale) -> Result<Latencies> {
    let engine = start(2)?;
    go(Place::Publisher)?;
    let warm = publish_at(&engine, rate, scale.time(WARM))?;
    let begun = clock::now();
    while engine.stats().in_flight > 0 {
        ensure!(
            clock::now() - begun < PATIENCE,
            "messages of the warm-up are still in flight"
        );
        std::thread::park_timeout(LOOK);
    }
    let before = engine.stats().latency;
    let count = publish_at(&engine, rate, scale.time(STEADY))?;
    let latencies = settled(&engine, warm + count)?.latency.since(&before);
    ensure!(
        latencies.count() == count,
        "{} latencies of {count} messages",
        latencies.count()
    );
    Ok(latencies)
}

/// Publishes at this rate for so long; how many.
fn publish_at(engine: &Engine, rate: f64, time: Duration) -> Result<u64> {
    let count = (rate * time.as_secs_f64()) as u64;
    let begun = clock::now();
    for number in 0..count {
        let intended = begun + Duration::from_secs_f64(number as f64 / rate);
        while clock::now() < intended {
            std::hint::spin_loop();
        }
        publish(engine, intended)?;
    }
    Ok(count)
}

fn start(ready: usize) -> Result<Engine> {
    go(Place::Anywhere)?;
    let guest = Guest::Echo;
    let limits = HandlerLimits {
        ready_instances_max: ready,
        deadline: PATIENCE,
        wall_deadline: PATIENCE,
        ..HandlerLimits::default()
    };
    let handler = HandlerConfig::file(guest.name(), guest.path()).limits(limits);
    let config = EngineConfig::new().shards(1);
    Ok(Engine::start(
        config.handler(handler.grants(Grants::all())),
    )?)
}

/// Publishes a message that was to be published then, as often as it takes.
fn publish(engine: &Engine, intended: Instant) -> Result<()> {
    let builder = Message::builder(Guest::Echo.name());
    let builder = builder.header(HEADER.0, HEADER.1).arrived(intended);
    let mut message = builder
        .payload(&[b'x'; PAYLOAD_BYTES])
        .context("building a message")?;
    loop {
        match engine.publish(message) {
            Ok(_) => return Ok(()),
            Err(refused) => match refused.reason {
                Refusal::Full(_) => message = *refused.message,
                why => bail!("publishing was refused: {why}"),
            },
        }
        std::hint::spin_loop();
    }
}

/// Waits until all is settled; the stats then. The engine is stopped.
fn settled(engine: &Engine, messages: u64) -> Result<Stats> {
    engine.drain(PATIENCE)?;
    let stats = engine.stats();
    let handler = &stats.handlers[0];
    ensure!(
        handler.acked == messages && handler.faults.is_empty(),
        "of {messages} messages {} were handled; faults: {:?}",
        handler.acked,
        handler.faults
    );
    engine.stop();
    Ok(stats)
}

fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}
