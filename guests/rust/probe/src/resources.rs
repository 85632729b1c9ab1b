//! The host as the revisions with resources show it: a client is consumed by the call that it is
//! handed to, an error is given back by dropping it, and neither can be used afterwards.

use crate::bindings::wasi::messaging::messaging_types::{Client, Error, Message};
use crate::bindings::wasi::messaging::{consumer, producer};

const BROKER: &str = "default";

/// Connects and disconnects.
pub fn connect(name: &str) -> Result<(), Error> {
    Client::connect(name).map(drop)
}

/// Sends one message through a connection of its own.
pub fn send(subject: &str, message: &Message) -> Result<(), Error> {
    producer::send(
        Client::connect(BROKER)?,
        subject,
        std::slice::from_ref(message),
    )
}

/// Receives for at most this time.
pub fn try_receive(subject: &str, ms: u32) -> Result<Option<Vec<Message>>, Error> {
    consumer::subscribe_try_receive(Client::connect(BROKER)?, subject, ms)
}

/// Receives for as long as it takes.
pub fn receive(subject: &str) -> Result<Vec<Message>, Error> {
    consumer::subscribe_receive(Client::connect(BROKER)?, subject)
}

/// The text of the last error, which is this one: in these revisions `trace` takes none.
pub fn trace(error: Error) -> String {
    let text = Error::trace();
    drop(error);
    text
}

/// Gives an error back.
pub fn drop_error(error: Error) {
    drop(error);
}

/// There is no way to use a dropped error in these revisions.
pub fn trace_after_drop(error: Error) -> String {
    drop(error);
    "ok".to_string()
}

/// There is no way to use a closed connection in these revisions.
pub fn send_after_disconnect(_subject: &str) -> Result<(), Error> {
    connect(BROKER)
}
