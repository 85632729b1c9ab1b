//! The host as the revision with handles shows it: clients and errors are numbers, and what isn't
//! given back lasts as long as the instance.

use crate::bindings::wasi::messaging::messaging_types as types;
use crate::bindings::wasi::messaging::messaging_types::{Error, Message};
use crate::bindings::wasi::messaging::{consumer, producer};

const BROKER: &str = "default";

/// Connects and disconnects.
pub fn connect(name: &str) -> Result<(), Error> {
    types::connect(name).map(types::disconnect)
}

/// Sends one message through a connection of its own.
pub fn send(subject: &str, message: &Message) -> Result<(), Error> {
    through(|client| producer::send(client, subject, std::slice::from_ref(message)))
}

/// Receives for at most this time.
pub fn try_receive(subject: &str, ms: u32) -> Result<Option<Vec<Message>>, Error> {
    through(|client| consumer::subscribe_try_receive(client, subject, ms))
}

/// Receives for as long as it takes.
pub fn receive(subject: &str) -> Result<Vec<Message>, Error> {
    through(|client| consumer::subscribe_receive(client, subject))
}

/// The error's text; the error is given back.
pub fn trace(error: Error) -> String {
    let text = types::trace(error);
    types::drop_error(error);
    text
}

/// Gives an error back.
pub fn drop_error(error: Error) {
    types::drop_error(error);
}

/// What the host says of an error that it was given back.
pub fn trace_after_drop(error: Error) -> String {
    types::drop_error(error);
    types::trace(error)
}

/// Sends through a connection that is closed: nothing may arrive at the subject.
pub fn send_after_disconnect(subject: &str) -> Result<(), Error> {
    let client = types::connect(BROKER)?;
    types::disconnect(client);
    let message = Message {
        data: b"sent through a closed connection".to_vec(),
        format: types::FormatSpec::Raw,
        metadata: None,
    };
    producer::send(client, subject, &[message])
}

/// Runs something with a connection, which is closed whatever comes of it.
fn through<T>(call: impl FnOnce(types::Client) -> Result<T, Error>) -> Result<T, Error> {
    let client = types::connect(BROKER)?;
    let result = call(client);
    types::disconnect(client);
    result
}
