//! Counts messages and bytes in memory that only a new instance finds zeroed: a host that lets one instance handle two calls makes it
//! trap. What `counter` does, with contract 3.
#![no_std]

use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

use millpond_guest::{Answer, Batch, Result};

static CALLS: AtomicU64 = AtomicU64::new(0);
static MESSAGES: AtomicU64 = AtomicU64::new(0);
static BYTES: AtomicU64 = AtomicU64::new(0);

fn handle(batch: &Batch<'_>, _: &mut Answer) -> Result {
    trap_unless_new();
    for message in batch {
        MESSAGES.fetch_add(1, Relaxed);
        BYTES.fetch_add(message.payload().len() as u64, Relaxed);
    }
    Ok(())
}

fn trap_unless_new() {
    let used = CALLS.fetch_add(1, Relaxed) | MESSAGES.load(Relaxed) | BYTES.load(Relaxed);
    if used != 0 {
        panic!("this instance was called before");
    }
}

millpond_guest::handler!(handle);
