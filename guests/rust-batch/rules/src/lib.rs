//! Contract 3 of the guests that differ by nothing but their contract: `shared/rules.rs` says what they do.
#![no_std]

extern crate alloc;

#[path = "../../../shared/rules.rs"]
mod rules;

use alloc::string::ToString;
use alloc::vec::Vec;

use millpond_guest::{Answer, Batch, Failed, Message, Result};
use rules::{Sending, Step};

fn handle(batch: &Batch<'_>, answer: &mut Answer) -> Result {
    batch.iter().try_for_each(|message| one(&message, answer))
}

fn one(message: &Message<'_>, answer: &mut Answer) -> Result {
    let own = |(key, value): (&str, &str)| (key.to_string(), value.to_string());
    let headers: Vec<_> = message.headers().map(own).collect();
    let mut result = Ok(());
    rules::steps(message.payload(), &headers, |step| {
        result = match step {
            Step::Send(sending) => send(&sending, message, answer),
            Step::Fail(reason) => Err(Failed::from(reason)),
            Step::Trap => panic!("as it was told"),
            Step::Abandon => {
                answer.nak(message, 0);
                Ok(())
            }
        };
        result.is_ok()
    });
    result
}

fn send(sending: &Sending, message: &Message<'_>, answer: &mut Answer) -> Result {
    // What is sent as it came may lie where it came, which is what this contract's guests do.
    let payload = match message.payload() {
        came if came == sending.payload => came,
        _ => &sending.payload,
    };
    let Some(to) = &sending.to else {
        let asked = answer.reply(message, payload);
        return asked.then_some(()).ok_or(Failed::from("nobody asked for a reply"));
    };
    let send = answer.send(message, to);
    let send = match &sending.reply_to {
        Some(subject) => send.reply_to(subject),
        None => send,
    };
    let headers = sending.headers.iter();
    headers.fold(send, |send, (key, value)| send.header(key, value)).payload(payload);
    Ok(())
}

millpond_guest::handler!(handle);
