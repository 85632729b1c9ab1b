//! Three channels, each handled in its own way: one narrows what the guest listens to, one receives
//! from a broker, one sends to it.

#[path = "../../bindings/r2023_06.rs"]
mod bindings;

use bindings::exports::wasi::messaging::messaging_guest::Guest;
use bindings::wasi::messaging::messaging_types::{
    connect, disconnect, Error, FormatSpec, GuestConfiguration, Message,
};
use bindings::wasi::messaging::{consumer, producer};

const BROKER: &str = "some-broker";

struct Channels;

impl Guest for Channels {
    fn configure() -> Result<GuestConfiguration, Error> {
        Ok(listen_to(&["a", "b", "c"]))
    }

    fn handler(messages: Vec<Message>) -> Result<(), Error> {
        for mut message in messages {
            // The metadata is moved out, so the message is settled without it: a host has to know it
            // again all the same.
            let Some(metadata) = message.metadata.take() else {
                continue;
            };
            let channel = metadata.iter().find(|(key, _)| key == "channel");
            match channel.map(|(_, value)| value.as_str()) {
                Some("a") => narrow(&message)?,
                Some("b") => receive(&message)?,
                Some("c") => send(&message)?,
                _ => {}
            }
        }
        Ok(())
    }
}

/// Stops listening to channel `a`, and leaves the message to whoever still does.
fn narrow(message: &Message) -> Result<(), Error> {
    consumer::update_guest_configuration(&listen_to(&["b", "c"]))?;
    consumer::abandon_message(message)
}

/// Takes what is on channel `d`, if anything comes within 100 ms.
fn receive(message: &Message) -> Result<(), Error> {
    let client = connect(BROKER)?;
    consumer::subscribe_try_receive(client, "d", 100)?;
    disconnect(client);
    consumer::complete_message(message)
}

/// Sends one message to channel `d`.
fn send(message: &Message) -> Result<(), Error> {
    let client = connect(BROKER)?;
    let hello = Message {
        data: b"hello from guest".to_vec(),
        format: FormatSpec::Raw,
        metadata: None,
    };
    producer::send(client, "d", &[hello])?;
    disconnect(client);
    consumer::complete_message(message)
}

fn listen_to(channels: &[&str]) -> GuestConfiguration {
    GuestConfiguration {
        channels: channels.iter().map(|name| name.to_string()).collect(),
        extensions: None,
    }
}

bindings::export!(Channels with_types_in bindings);
