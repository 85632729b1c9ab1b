//! One message on an idle shard, from its taking to its settlement, in a fresh instance: from the pond, and made while it waits.
//!
//! A message from a server has no time of its own: its latency counts from the turn that reads it. So what is measured is that turn, from
//! its begin: the read of the socket, parsing, the call, the settlement; and neither the way of the message nor the wake-up of the thread.

use std::time::Duration;

use millpond::{
    Engine, EngineConfig, Grants, HandlerConfig, HandlerLimits, NatsConfig, NatsSource, ServerUrl,
};
use millpond_tests::nats::Settings;
use wasmtime::error::Context as _;
use wasmtime::{Result, ensure};

use super::wire::Wire;
use crate::cores::{Place, go};
use crate::guest::{Guest, PAYLOAD_BYTES};
use crate::notes::note;

const ROUNDS: usize = 3;
const MESSAGES: u64 = 2_000;
/// Between two messages: the shard has parked then, and its pond is full.
const REST: Duration = Duration::from_micros(300);
const PATIENCE: Duration = Duration::from_secs(30);

/// Measures both, in turn.
///
/// # Errors
/// A message was lost, or a call failed.
pub fn taken_to_settled() -> Result<()> {
    go(Place::Anywhere)?;
    let server = Settings::new().start();
    let address = server.address().to_string();
    let mut rows = [const { Vec::new() }; 2];
    for _ in 0..ROUNDS {
        for (row, ready) in rows.iter_mut().zip([2, 0]) {
            row.push(p50(&address, ready)?);
        }
    }
    for (row, name) in rows.into_iter().zip(["from the pond", "without the pond"]) {
        note(
            "taken→settled",
            format!("echo, {name}"),
            "µs, p50 of an idle shard",
            row,
        );
    }
    Ok(())
}

/// The median latency of messages that come one at a time, in microseconds.
fn p50(address: &str, ready: usize) -> Result<f64> {
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
    let handler = handler
        .grants(Grants::all())
        .nats(NatsSource::Core { queue: None });
    let mut config = EngineConfig::new().shards(1).handler(handler);
    let urls = ServerUrl::parse_list(address).context("the server's address")?;
    config.nats = Some(NatsConfig::new(urls));
    let engine = Engine::start(config)?;
    go(Place::Publisher)?;
    let mut wire = Wire::connect(address)?;
    wire.say("SUB _INBOX.taken 1");
    wire.settle()?;
    for _ in 0..MESSAGES {
        ask(&mut wire, guest.name())?;
        std::thread::park_timeout(REST);
    }
    engine.drain(PATIENCE)?;
    let stats = engine.stats();
    let acked = stats.handlers[0].acked;
    ensure!(
        acked == MESSAGES,
        "of {MESSAGES} messages {acked} were handled"
    );
    engine.stop();
    Ok(stats.latency.quantile(0.5).as_secs_f64() * 1e6)
}

/// Asks once, and waits for the answer.
fn ask(wire: &mut Wire, subject: &str) -> Result<()> {
    wire.say(&format!("PUB {subject} _INBOX.taken {PAYLOAD_BYTES}"));
    wire.out.extend_from_slice(&[b'x'; PAYLOAD_BYTES]);
    wire.say("");
    wire.flush()?;
    let mut came = 0;
    while came == 0 {
        wire.fill()?;
        wire.drain(|answer, _| came += usize::from(answer.payload.len() == PAYLOAD_BYTES))?;
    }
    ensure!(came == 1, "{came} answers to one request");
    Ok(())
}
