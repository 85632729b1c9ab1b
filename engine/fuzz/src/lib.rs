//! What the fuzz targets check. The engine's files are included by path: they name nothing but each other.
#![allow(
    dead_code,
    unused_imports,
    reason = "the files are parts of a larger crate"
)]

#[path = "../../src/message.rs"]
pub mod message;
#[path = "../../src/subject.rs"]
pub mod subject;
#[path = "../../src/time.rs"]
pub mod time;

mod broker;
mod checks;

/// Bytes as a server may send them: see the file `checks.rs`.
pub fn nats(data: &[u8]) {
    checks::nats(data);
}
