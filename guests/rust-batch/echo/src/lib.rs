//! Sends every message back: to the subject in its `reply-to`, or to `echo.out` when it has none. What `echo` does, with contract 3.
#![no_std]

use millpond_guest::{Answer, Batch, Result};

fn handle(batch: &Batch<'_>, answer: &mut Answer) -> Result {
    for message in batch {
        if !answer.reply(&message, message.payload()) {
            answer.send(&message, "echo.out").payload(message.payload());
        }
    }
    Ok(())
}

millpond_guest::handler!(handle);
