//! The simulator: the engine's own loop on virtual time, with scripted guests and a scripted broker.
//!
//! It compiles the files of the deciding parts as they are, so it can't drift from them; and since nothing here depends on a
//! runtime, a socket or a thread, they can't come to need one.

// The engine's files bring their unit tests along, which are the engine's to run: in test mode there is nothing here.
#![cfg(not(test))]

macro_rules! engine {
    ($($name:ident $path:literal)*) => {$(
        #[allow(dead_code, unreachable_pub, reason = "the engine uses all of it, the simulator a part")]
        #[allow(clippy::all, clippy::too_many_lines, reason = "they are held to the lints where they are the engine's")]
        #[path = $path]
        mod $name;
    )*};
}

engine! {
    admission "../../../engine/src/admission.rs"
    batch "../../../engine/src/batch.rs"
    company "../../../engine/src/company.rs"
    confirm "../../../engine/src/confirm.rs"
    copy "../../../engine/src/copy.rs"
    cost "../../../engine/src/cost.rs"
    handler "../../../engine/src/handler.rs"
    letter "../../../engine/src/letter.rs"
    limits "../../../engine/src/limits.rs"
    line "../../../engine/src/line.rs"
    message "../../../engine/src/message.rs"
    metrics "../../../engine/src/metrics.rs"
    order "../../../engine/src/order.rs"
    outbox "../../../engine/src/outbox.rs"
    outcome "../../../engine/src/outcome.rs"
    pack "../../../engine/src/pack.rs"
    pause "../../../engine/src/pause.rs"
    penalty "../../../engine/src/penalty.rs"
    schedule "../../../engine/src/schedule.rs"
    seams "../../../engine/src/seams.rs"
    settle "../../../engine/src/settle.rs"
    shard "../../../engine/src/shard.rs"
    slice "../../../engine/src/slice.rs"
    sparse "../../../engine/src/sparse.rs"
    split "../../../engine/src/split.rs"
    subject "../../../engine/src/subject.rs"
    time "../../../engine/src/time.rs"
}

mod broker;
mod check;
mod draw;
mod drive;
pub mod goals;
mod guest;
mod guest_plan;
mod network;
mod packing;
mod rng;
mod scenario;
pub mod seeds;
pub mod stragglers;
mod tally;
mod trace;
mod wire;
mod world;

pub use tally::Tally;
