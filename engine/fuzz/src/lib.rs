//! What the fuzz targets check. The engine's files are included by path: they name nothing but each other.
#![allow(
    dead_code,
    unused_imports,
    reason = "the files are parts of a larger crate"
)]

#[path = "../../src/line.rs"]
pub mod line;
#[path = "../../src/message.rs"]
pub mod message;
#[path = "../../src/copy.rs"]
mod copy;
#[path = "../../src/outbox.rs"]
pub mod outbox;
#[path = "../../src/outcome.rs"]
pub mod outcome;
#[path = "../../src/pack.rs"]
pub mod pack;
#[path = "../../src/guest/contract/batch/packed.rs"]
pub mod packed;
#[path = "../../src/subject.rs"]
pub mod subject;
#[path = "../../src/time.rs"]
pub mod time;

mod answers;
mod broker;
mod checks;

/// What a guest of contract 3 gives back: see the file `answers.rs`.
pub fn batch(data: &[u8]) {
    answers::batch(data);
}

/// Bytes as a server may send them: see the file `checks.rs`.
pub fn nats(data: &[u8]) {
    checks::nats(data);
}
