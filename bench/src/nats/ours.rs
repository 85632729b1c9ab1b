//! The services as sandboxed components on an engine of one shard.

use std::time::Duration;

use millpond::{
    Engine, EngineConfig, Grants, HandlerConfig, HandlerLimits, NatsConfig, NatsSource, ServerUrl,
    StreamSource,
};
use wasmtime::Result;
use wasmtime::error::Context as _;

use super::consume::STREAM;
use super::role::Ready;
use crate::guest::Guest;

/// How long a call may take: the machine may be busy.
const PATIENCE: Duration = Duration::from_secs(30);

/// How long a message may wait.
const BUDGET: Duration = Duration::from_secs(1);

/// Messages that may be in flight where requests come at their own times: what comes while server, load and service wait for each other.
/// As many as a shard takes by default; the native service's library holds sixteen times as many.
const OPEN_MESSAGES_MAX: u32 = 1 << 16;
const OPEN_BYTES_MAX: u64 = 64 << 20;

/// The same with the limits that it has else.
fn start(address: &str, guest: Guest, source: NatsSource, batch: usize) -> Result<Engine> {
    start_with(address, guest, source, batch, HandlerLimits::default())
}

/// Starts an engine with one handler on this server.
fn start_with(
    address: &str,
    guest: Guest,
    source: NatsSource,
    batch: usize,
    limits: HandlerLimits,
) -> Result<Engine> {
    let limits = HandlerLimits {
        batch_messages_max: batch,
        // What comes from the server's core is shed when it is late: here nothing may be, whatever else the machine does.
        latency_budget: BUDGET,
        deadline: PATIENCE,
        wall_deadline: PATIENCE,
        ..limits
    };
    let named = guest.is_batch() && matches!(source, NatsSource::Core { .. });
    let handler = HandlerConfig::file(guest.name(), guest.path())
        .limits(limits)
        .grants(Grants::all())
        .nats(source);
    let handler = match named {
        true => handler.subject(guest.name()),
        false => handler,
    };
    let mut config = EngineConfig::new().shards(1).handler(handler);
    let urls = ServerUrl::parse_list(address).context("the server's address")?;
    config.nats = Some(NatsConfig::new(urls));
    Ok(Engine::start(config)?)
}

/// Answers requests until the engine is stopped.
pub(super) fn echo(address: &str, guest: Guest, batch: usize, ready: Ready) -> Result<Engine> {
    let queue = Some("q".to_owned());
    let engine = start(address, guest, NatsSource::Core { queue }, batch)?;
    ready.is();
    Ok(engine)
}

/// The same where requests come at their own times, however many wait.
pub(super) fn open_echo(address: &str, guest: Guest, batch: usize, ready: Ready) -> Result<Engine> {
    let limits = HandlerLimits {
        in_flight_messages_max: OPEN_MESSAGES_MAX,
        in_flight_bytes_max: OPEN_BYTES_MAX,
        ..HandlerLimits::default()
    };
    let queue = Some("q".to_owned());
    let source = NatsSource::Core { queue };
    let engine = start_with(address, guest, source, batch, limits)?;
    ready.is();
    Ok(engine)
}

/// Consumes and acks until the engine is stopped.
pub(super) fn consume(
    address: &str,
    durable: &str,
    guest: Guest,
    batch: usize,
    ready: Ready,
) -> Result<Engine> {
    let source = NatsSource::Stream(StreamSource::existing(STREAM, durable));
    let engine = start(address, guest, source, batch)?;
    ready.is();
    Ok(engine)
}

/// How many messages the engine has acked and shed so far, none being in flight, and in how many calls.
///
/// # Errors
/// A call failed, or a message is neither.
pub(super) fn count(engine: &Engine) -> Result<(u64, u64, u64)> {
    let stats = engine.stats();
    let handler = &stats.handlers[0];
    wasmtime::ensure!(
        handler.faults.is_empty(),
        "calls failed: {:?}",
        handler.faults
    );
    // What is shed may have been admitted before.
    let (acked, shed) = (handler.acked, handler.shed_total());
    wasmtime::ensure!(
        (acked..=acked + shed).contains(&handler.received),
        "not all was acked or shed: {handler:?}"
    );
    Ok((acked, shed, handler.calls))
}
