//! Sends every message back: to the subject in its `reply-to`, or to `echo.out` when it has none.
//! It is the guest that benchmarks measure, so it copies nothing that the contract doesn't make it copy.

#[cfg(feature = "r2023-06")]
#[path = "../../bindings/r2023_06.rs"]
mod bindings;
#[cfg(feature = "r0-2-0-draft")]
#[path = "../../bindings/r0_2_0_draft.rs"]
mod bindings;

use bindings::exports::wasi::messaging::messaging_guest::Guest;
use bindings::wasi::messaging::messaging_types::{Error, GuestConfiguration, Message};
use bindings::wasi::messaging::producer;

struct Echo;

impl Guest for Echo {
    fn configure() -> Result<GuestConfiguration, Error> {
        Ok(GuestConfiguration {
            channels: vec!["echo".to_string()],
            extensions: None,
        })
    }

    fn handler(messages: Vec<Message>) -> Result<(), Error> {
        send_all(messages)
    }
}

/// One connection a call: in this revision a client is a number that outlives a send.
#[cfg(feature = "r2023-06")]
fn send_all(messages: Vec<Message>) -> Result<(), Error> {
    use bindings::wasi::messaging::messaging_types::{connect, disconnect};
    let client = connect("default")?;
    for mut message in messages {
        let metadata = message.metadata.take();
        producer::send(client, destination(&metadata), &[message])?;
    }
    disconnect(client);
    Ok(())
}

/// One connection a message: in this revision a send consumes its client.
#[cfg(feature = "r0-2-0-draft")]
fn send_all(messages: Vec<Message>) -> Result<(), Error> {
    use bindings::wasi::messaging::messaging_types::Client;
    for mut message in messages {
        let metadata = message.metadata.take();
        let client = Client::connect("default")?;
        producer::send(client, destination(&metadata), &[message])?;
    }
    Ok(())
}

fn destination(metadata: &Option<Vec<(String, String)>>) -> &str {
    let reply_to = metadata.iter().flatten().find(|(key, _)| key == "reply-to");
    reply_to.map_or("echo.out", |(_, value)| value)
}

bindings::export!(Echo with_types_in bindings);
