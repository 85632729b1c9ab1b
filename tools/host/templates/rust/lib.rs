//! Greets whom a message names: as a reply if one is asked for, else on `greetings`.
#![no_std]

extern crate alloc;

use alloc::format;

use millpond_guest::{Answer, Batch, Result};

/// Called with a batch, in an instance that has seen no other. What is sent goes out once this has succeeded.
fn handle(batch: &Batch<'_>, answer: &mut Answer) -> Result {
    for message in batch {
        // Bytes that are no text are no name either.
        let name = core::str::from_utf8(message.payload()).unwrap_or_default();
        if name.is_empty() {
            // Given up on: this one goes to the handler's dead letters, if it has any, and the others are handled. An error would fail
            // the whole batch, which the host would then call again in parts.
            answer.term(&message);
            continue;
        }
        let greeting = format!("hello, {name}");
        if !answer.reply(&message, greeting.as_bytes()) {
            answer.send(&message, "greetings").payload(greeting.as_bytes());
        }
    }
    Ok(())
}

millpond_guest::handler!(handle);
