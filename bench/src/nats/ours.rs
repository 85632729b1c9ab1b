//! The services as sandboxed components on an engine of one shard.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
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

/// Starts an engine with one handler on this server.
fn start(address: &str, guest: Guest, source: NatsSource, batch: usize) -> Result<Engine> {
    let limits = HandlerLimits {
        batch_messages_max: batch,
        // What comes from the server's core is shed when it is late: here nothing may be, whatever else the machine does.
        latency_budget: BUDGET,
        deadline: PATIENCE,
        wall_deadline: PATIENCE,
        ..HandlerLimits::default()
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

/// Notes how many messages the engine has acked so far, and whether a call failed.
pub(super) fn count(engine: &Engine, handled: &Arc<AtomicU64>) -> Result<()> {
    let stats = engine.stats();
    let handler = &stats.handlers[0];
    wasmtime::ensure!(
        handler.faults.is_empty(),
        "calls failed: {:?}",
        handler.faults
    );
    wasmtime::ensure!(
        handler.acked == handler.received,
        "not all was acked: {handler:?}"
    );
    handled.store(handler.acked, Ordering::Release);
    eprintln!("{} calls of {} messages", handler.calls, handler.acked);
    Ok(())
}
