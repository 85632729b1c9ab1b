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
pub(crate) mod layers;
mod load;
mod native;
mod open;
mod ours;
pub mod role;
mod side;
mod wire;

use std::sync::OnceLock;
use std::time::Duration;

use millpond_tests::nats::{Server, Settings};
use wasmtime::Result;

pub use self::layers::layers;
pub use self::open::latency;

use self::side::noted;
use crate::cores::{Place, go};
use crate::guest::{Guest, HEADER};
use crate::notes::note;
use crate::raw::{Allocator, RawLoop};
use crate::reset;
use crate::scale::Scale;

/// What a request of the echo has in its metadata beside its subject and id.
const OWN: [(&str, &str); 2] = [("reply-to", "_INBOX.load-echo.0001"), HEADER];
/// Messages a call of the floor, and how long a round of it takes.
const FLOOR_BATCH: usize = 64;
const FLOOR: Duration = Duration::from_millis(300);
const FLOOR_ROUNDS: usize = 7;

/// The parts that can be asked for by their names; the second only so.
const PARTS: [&str; 3] = ["echo", "plain", "consume"];

/// The version of the server that was last started, once one was.
static VERSION: OnceLock<String> = OnceLock::new();

/// A server of the bench's own.
fn server() -> Result<Server> {
    go(Place::Anywhere)?;
    let server = Settings::new().start();
    let info = server.info();
    let version = info["version"].as_str().unwrap_or_default();
    VERSION.get_or_init(|| version.to_owned());
    Ok(server)
}

/// The version of the server, if one was needed so far.
#[must_use]
pub fn server_version() -> Option<String> {
    VERSION.get().cloned()
}

/// What Wasmtime alone needs for the same guest and the same records: no engine needs less with contract 1.
fn floor(
    guest: Guest,
    own: &'static [(&'static str, &'static str)],
    part: &str,
    scale: Scale,
) -> Result<()> {
    let time = scale.time(FLOOR);
    let reset = reset::chosen()?;
    go(Place::Shard)?;
    let raw = RawLoop::new(guest, Allocator::Ours(reset), FLOOR_BATCH)?;
    let mut raw = raw.with_metadata(own);
    raw.run_for(time)?;
    let round = |_| Ok(1e9 / raw.run_for(time)?.rate_on_core());
    let rounds = 0..scale.rounds(FLOOR_ROUNDS);
    let rounds: Vec<f64> = rounds.map(round).collect::<Result<_>>()?;
    let case = format!("raw loop, no server, {FLOOR_BATCH} a call: CPU");
    note(&format!("nats {part}"), case, "ns a message", rounds);
    go(Place::Anywhere)
}

/// Measures; `words` name a part (`echo`, `plain`, `consume`) and a side, so that one can be looked at alone.
///
/// # Errors
/// A service failed, or its answers were wrong.
pub fn measure(words: &[String], scale: Scale) -> Result<()> {
    let server = server()?;
    let (url, address) = (server.url(), server.address().to_string());
    let named = |part: &str| words.iter().any(|word| word == part);
    let any_named = PARTS.into_iter().any(named);
    let wants = |part: &str| named(part) || !any_named && part != "plain";
    let filter = words.iter().find(|word| !PARTS.contains(&word.as_str()));
    let filter = filter.map_or("", String::as_str);
    for (part, head) in [("echo", true), ("plain", false)] {
        if wants(part) {
            noted(part, &echo::measure(&address, head, filter, scale)?);
            let own = if head { &OWN } else { &OWN[..1] };
            floor(Guest::Echo, own, part, scale)?;
        }
    }
    if wants("consume") {
        noted("consume", &consume::measure(&url, &address, filter, scale)?);
        floor(Guest::Counter, &[], "consume", scale)?;
    }
    Ok(())
}
