//! Contract 4 of the guests that differ by nothing but their contract: `shared/rules.rs` says what they do.

extern crate alloc;

#[path = "../../bindings/wasmcloud.rs"]
mod bindings;
#[path = "../../../shared/rules.rs"]
mod rules;

use bindings::exports::wasmcloud::messaging::handler::{BrokerMessage, Guest};
use bindings::wasmcloud::messaging::consumer;
use rules::{Sending, Step};

struct Rules;

impl Guest for Rules {
    fn handle_message(msg: BrokerMessage) -> Result<(), String> {
        let mut result = Ok(());
        rules::steps(&msg.body, &[], |step| {
            result = match step {
                Step::Send(sending) => send(sending, msg.reply_to.as_deref()),
                Step::Fail(reason) => Err(reason),
                Step::Trap | Step::Abandon => core::arch::wasm32::unreachable(),
            };
            result.is_ok()
        });
        result
    }
}

fn send(sending: Sending, asked: Option<&str>) -> Result<(), String> {
    let to = sending.to.or_else(|| asked.map(str::to_string));
    let subject = to.ok_or("nobody asked for a reply")?;
    consumer::publish(&BrokerMessage { subject, body: sending.payload, reply_to: sending.reply_to })
}

bindings::export!(Rules with_types_in bindings);
