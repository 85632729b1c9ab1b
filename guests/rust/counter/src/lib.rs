//! Counts messages and bytes in memory that only a new instance finds zeroed: a host that lets one
//! instance handle two calls makes it trap. It asks nothing of its host, so it measures a bare call.

#[path = "../../bindings/r0_2_0_draft.rs"]
mod bindings;

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use bindings::exports::wasi::messaging::messaging_guest::Guest;
use bindings::wasi::messaging::messaging_types::{Error, GuestConfiguration, Message};

static CALLS: AtomicU64 = AtomicU64::new(0);
static MESSAGES: AtomicU64 = AtomicU64::new(0);
static BYTES: AtomicU64 = AtomicU64::new(0);

struct Counter;

impl Guest for Counter {
    fn configure() -> Result<GuestConfiguration, Error> {
        trap_unless_new();
        Ok(GuestConfiguration {
            channels: vec!["counter".to_string()],
            extensions: None,
        })
    }

    fn handler(messages: Vec<Message>) -> Result<(), Error> {
        trap_unless_new();
        for message in &messages {
            MESSAGES.fetch_add(1, Relaxed);
            BYTES.fetch_add(message.data.len() as u64, Relaxed);
        }
        Ok(())
    }
}

fn trap_unless_new() {
    let used = CALLS.fetch_add(1, Relaxed) | MESSAGES.load(Relaxed) | BYTES.load(Relaxed);
    if used != 0 {
        core::arch::wasm32::unreachable();
    }
}

bindings::export!(Counter with_types_in bindings);
