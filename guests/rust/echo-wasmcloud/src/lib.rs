//! Sends every message back: to its reply subject, or to `echo.out` when it has none. Made for contract 4.

#[path = "../../bindings/wasmcloud.rs"]
mod bindings;

use bindings::exports::wasmcloud::messaging::handler::{BrokerMessage, Guest};
use bindings::wasmcloud::messaging::consumer;

struct Echo;

impl Guest for Echo {
    fn handle_message(msg: BrokerMessage) -> Result<(), String> {
        consumer::publish(&BrokerMessage {
            subject: msg.reply_to.unwrap_or_else(|| "echo.out".to_string()),
            body: msg.body,
            reply_to: None,
        })
    }
}

bindings::export!(Echo with_types_in bindings);
