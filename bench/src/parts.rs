//! The parts of the bench that can be asked for by their names, in the order in which all are measured.

use wasmtime::Result;

use crate::scale::Scale;
use crate::{groups, load, nats, report};

/// A part: its name, and what measures it.
pub type Part = (&'static str, fn(Scale) -> Result<()>);

/// All parts.
pub const PARTS: [Part; 13] = [
    ("report", report::measure),
    ("layers", nats::layers),
    ("load", load::measure),
    ("instantiate", groups::instantiate::measure),
    ("call", groups::call::measure),
    ("scaling", groups::scaling::measure),
    ("handlers", groups::process::handlers),
    ("cold", groups::process::cold_start),
    ("system-calls", groups::system_calls::measure),
    ("latency", latency),
    ("taken", groups::taken::taken_to_settled),
    ("settings", groups::settings::measure),
    ("nats", |scale| nats::measure(&[], scale)),
];

/// In process, and on NATS.
fn latency(scale: Scale) -> Result<()> {
    groups::steady::measure(scale)?;
    nats::latency(scale)
}

/// The part of this name.
#[must_use]
pub fn part(name: &str) -> Option<Part> {
    PARTS.into_iter().find(|part| part.0 == name)
}
