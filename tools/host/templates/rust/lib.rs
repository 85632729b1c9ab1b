//! Greets whom a message names: as a reply if one is asked for, else on `greetings`.
// In its tests, which run without a host, there is a standard library.
#![cfg_attr(target_arch = "wasm32", no_std)]

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
            answer
                .send(&message, "greetings")
                .payload(greeting.as_bytes());
        }
    }
    Ok(())
}

millpond_guest::handler!(handle);

#[cfg(test)]
mod tests {
    use super::*;
    use millpond_guest::testing::{call, Given, Outcome};

    #[test]
    fn who_names_itself_is_greeted_and_who_does_not_is_given_up_on() {
        let asks = Given::new("hello", b"world").reply_to("answers.1");
        let answered = call(
            handle,
            &[asks, Given::new("hello", b""), Given::new("hello", b"a b")],
        );
        let answered = answered.expect("no name fails the call");
        assert_eq!(
            answered.outcomes,
            [Outcome::Ack, Outcome::Term, Outcome::Ack]
        );
        let sends = answered
            .sends
            .iter()
            .map(|sent| (&*sent.subject, &sent.payload[..]));
        let greetings = [
            ("answers.1", &b"hello, world"[..]),
            ("greetings", b"hello, a b"),
        ];
        assert!(sends.eq(greetings), "{:?}", answered.sends);
    }
}
