//! Contract 2 of the guests that differ by nothing but their contract: `shared/rules.rs` says what they do.

extern crate alloc;

#[path = "../../bindings/incoming.rs"]
mod bindings;
#[path = "../../../shared/rules.rs"]
mod rules;

use bindings::exports::wasi::messaging::incoming_handler::{Error, Guest, Message};
use bindings::wasi::messaging::types::Client;
use bindings::wasi::messaging::{producer, request_reply};
use rules::{Sending, Step};

struct Rules;

impl Guest for Rules {
    fn handle(message: Message) -> Result<(), Error> {
        let headers = message.metadata().unwrap_or_default();
        let mut result = Ok(());
        rules::steps(&message.data(), &headers, |step| {
            result = match step {
                Step::Send(sending) => send(sending, &message),
                Step::Fail(reason) => Err(Error::Other(reason)),
                Step::Trap | Step::Abandon => core::arch::wasm32::unreachable(),
            };
            result.is_ok()
        });
        result
    }
}

fn send(sending: Sending, asked: &Message) -> Result<(), Error> {
    let message = Message::new(&sending.payload);
    if !sending.headers.is_empty() {
        message.set_metadata(&sending.headers);
    }
    match sending.to {
        Some(to) => producer::send(&Client::connect("default")?, &to, message),
        None => request_reply::reply(asked, message),
    }
}

bindings::export!(Rules with_types_in bindings);
