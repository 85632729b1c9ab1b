//! Message handlers for Millpond's batch contract, `millpond:batch@0.1.0`.
//!
//! A handler is a function that is called with a batch and says what becomes of it. What it does not settle is acknowledged; what it
//! sends goes out once the call has succeeded, and counts as sent for the message that it names.
//!
//! ```
//! use millpond_guest::{Answer, Batch, Result};
//!
//! fn handle(batch: &Batch<'_>, answer: &mut Answer) -> Result {
//!     for message in batch {
//!         match message.payload() {
//!             b"" => answer.term(&message),
//!             payload if !answer.reply(&message, payload) => {
//!                 answer.send(&message, "unanswered").header("why", "no reply subject").payload(payload);
//!             }
//!             _ => {}
//!         }
//!     }
//!     Ok(())
//! }
//!
//! millpond_guest::handler!(handle);
//! # fn main() {}
//! ```
//!
//! Build it as a `cdylib` with `panic = "abort"`: for `wasm32-wasip2`, whose linker makes a component of it, or for
//! `wasm32-unknown-unknown`, and make one with `wasm-tools component new`. A crate that uses no standard library turns on the feature
//! `no-std`: it is a fifth of the size, and imports no WASI on either target. With the standard library on `wasm32-wasip2` it has WASI: a
//! clock, the environment that it is granted, logs by `println!`.
//!
//! `testing` calls a handler without a host, for tests of its crate.
#![no_std]

extern crate alloc;

pub mod abi;
mod answer;
mod batch;
mod finished;
mod send;
// Not beside a C library that is used: it allocates by itself, from the same place on.
#[cfg(all(
    target_arch = "wasm32",
    feature = "allocator",
    any(feature = "no-std", not(target_os = "wasi"))
))]
mod bump;

#[cfg(not(target_arch = "wasm32"))]
pub mod testing;

pub use answer::{Answer, Failed, Result};
pub use batch::{Batch, Headers, Message, Messages};
pub use send::Send;

/// A trap: nobody can unwind here, and the host says which message it was.
#[cfg(all(target_arch = "wasm32", feature = "no-std"))]
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    core::arch::wasm32::unreachable()
}

// What the compiler copies memory with: of the target's C library nothing else is linked. The other target has it built in.
#[cfg(all(target_arch = "wasm32", target_env = "p2", feature = "no-std"))]
#[link(name = "c")]
extern "C" {}
