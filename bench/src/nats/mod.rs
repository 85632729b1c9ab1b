//! NATS: the same service on a bare socket, written natively with async-nats, and as a sandboxed component; one after another on
//! one server, in turn.
//!
//! Each service is a process of its own, pinned to the first core: its CPU is what `getrusage` says of that process, user and
//! system, all its threads. The load is this process, pinned to the last core; the server runs where it may. So rates are those of
//! a machine on which server, load and service share the cores: a service that needs less leaves more to the server.

mod bare;
mod child;
mod consume;
mod echo;
mod load;
mod native;
mod open;
mod ours;
pub mod role;
mod table;
mod taken;
mod wire;

use std::fmt::Write as _;
use std::time::Duration;

use millpond_tests::nats::Settings;
use wasmtime::Result;

pub use self::open::latency;
pub use self::taken::taken_to_settled;

use self::table::{Goal, cpu, goals, noted, rate, table};
use crate::cores::{Place, go};
use crate::guest::{Guest, PAYLOAD_BYTES};
use crate::raw::{Allocator, RawLoop};
use crate::report::resets_by_speed;

/// What echo is to reach.
const ECHO_GOALS: [Goal; 3] = [
    Goal {
        name: "contract 1: CPU ÷ native",
        first_contract: true,
        of: cpu,
        beside: "native",
        limit: 1.0,
        at_most: true,
    },
    Goal {
        name: "the fastest contract: CPU ÷ native",
        first_contract: false,
        of: cpu,
        beside: "native",
        limit: 0.6,
        at_most: true,
    },
    Goal {
        name: "the fastest contract: rate ÷ native",
        first_contract: false,
        of: rate,
        beside: "native",
        limit: 1.2,
        at_most: false,
    },
];

/// What consuming is to reach.
const CONSUME_GOALS: [Goal; 2] = [
    Goal {
        name: "CPU ÷ native",
        first_contract: false,
        of: cpu,
        beside: "native",
        limit: 0.5,
        at_most: true,
    },
    Goal {
        name: "rate ÷ bare socket",
        first_contract: false,
        of: rate,
        beside: "bare",
        limit: 0.9,
        at_most: false,
    },
];

/// What a request of the echo has in its metadata beside its subject and id.
const OWN: [(&str, &str); 2] = [("reply-to", "_INBOX.load-echo.0001"), ("kind", "bench")];
/// Messages a call of the floor, and how long it is measured.
const FLOOR_BATCH: usize = 64;
const FLOOR: Duration = Duration::from_millis(500);

/// What Wasmtime alone needs for the same guest and the same records: no engine needs less with this contract.
fn floor(guest: Guest, own: &'static [(&'static str, &'static str)]) -> Result<String> {
    let reset = resets_by_speed()?[0].0;
    go(Place::Shard)?;
    let raw = RawLoop::new(guest, Allocator::Ours(reset), FLOOR_BATCH)?;
    let mut raw = raw.with_metadata(own);
    raw.run_for(FLOOR)?;
    let nanos = 1e9 / raw.run_for(FLOOR)?.rate_on_core();
    go(Place::Anywhere)?;
    Ok(format!(
        "  the same guest and records in a raw Wasmtime loop, {FLOOR_BATCH} a call, nothing else: {nanos:.0} ns of CPU a message\n"
    ))
}

/// Measures and tells; `words` name a part (`echo`, `plain`, `consume`) and a side, so that one can be looked at alone.
///
/// # Errors
/// A service failed, or its answers were wrong.
pub fn report(words: &[String]) -> Result<String> {
    go(Place::Anywhere)?;
    let server = Settings::new().start();
    let (url, address) = (server.url(), server.address().to_string());
    let parts = ["echo", "plain", "consume"];
    let wants = |part: &str| {
        let mut named = words
            .iter()
            .filter(|w| parts.contains(&w.as_str()))
            .peekable();
        named.peek().is_none() && part != "plain" || named.any(|w| w == part)
    };
    let filter = words.iter().find(|w| !parts.contains(&w.as_str()));
    let filter = filter.map_or("", String::as_str);
    let mut out = String::from("\n");
    for (part, head) in [("echo", "one header"), ("plain", "no header")] {
        if !wants(part) {
            continue;
        }
        let sides = echo::measure(&address, part == "echo", filter)?;
        writeln!(
            out,
            "NATS echo: {} outstanding, payloads of {PAYLOAD_BYTES} bytes, {head}; contract 1 unless said, one shard.\n\
             Medians (least, most) of {} rounds of each in turn; ratios are of the same round.",
            load::OUTSTANDING,
            echo::ROUNDS
        )?;
        out += &table(&sides);
        noted(&format!("nats {part}"), &sides);
        out += &goals(&sides, &ECHO_GOALS);
        let own: &[_] = if part == "echo" { &OWN } else { &OWN[..1] };
        out += &floor(Guest::Echo, own)?;
    }
    if wants("consume") {
        let sides = consume::measure(&url, &address, filter)?;
        writeln!(
            out,
            "JetStream consume and ack: {} messages of {PAYLOAD_BYTES} bytes, memory, explicit acks; contract 1 unless said, one shard.\n\
             Medians (least, most) of {} rounds of each in turn; ratios are of the same round.",
            consume::MESSAGES,
            consume::ROUNDS
        )?;
        out += &table(&sides);
        noted("nats consume", &sides);
        out += &goals(&sides, &CONSUME_GOALS);
        out += &floor(Guest::Counter, &[])?;
    }
    Ok(out)
}
