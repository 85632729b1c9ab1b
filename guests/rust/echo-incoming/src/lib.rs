//! Sends every message back: what came on `echo` to `echo.out`, anything else as a reply, since the interface has no way to ask
//! whether somebody waits for one. Made for contract 2. What it sends on is the message itself, so it copies nothing.

#[path = "../../bindings/incoming.rs"]
mod bindings;

use bindings::exports::wasi::messaging::incoming_handler::{Error, Guest, Message};
use bindings::wasi::messaging::types::Client;
use bindings::wasi::messaging::{producer, request_reply};

struct Echo;

impl Guest for Echo {
    fn handle(message: Message) -> Result<(), Error> {
        if message.topic().as_deref() == Some("echo") {
            return producer::send(&Client::connect("default")?, "echo.out", message);
        }
        request_reply::reply(&message, Message::new(&message.data()))
    }
}

bindings::export!(Echo with_types_in bindings);
