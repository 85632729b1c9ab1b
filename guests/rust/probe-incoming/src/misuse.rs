//! What the interface does not allow: handles used after they were given back, handles that were never given, too many.

use std::mem::forget;

use crate::bindings::exports::wasi::messaging::incoming_handler::{Error, Message};
use crate::bindings::wasi::messaging::producer;
use crate::bindings::wasi::messaging::types::Client;

/// Makes so many messages of this size and keeps them.
pub fn hoard(times: u32, bytes: u32) -> Result<(), Error> {
    let data = vec![b'x'; bytes as usize];
    let kept: Vec<_> = (0..times).map(|_| Message::new(&data)).collect();
    forget(kept);
    Ok(())
}

/// Makes and drops so many messages, and changes the one that came as often: nothing of that is kept.
pub fn pass(times: u32, message: &Message) -> Result<(), Error> {
    let data = vec![b'x'; 64 << 10];
    for _ in 0..times {
        drop(Message::new(&data));
        message.set_data(&data);
        message.set_metadata(&[]);
    }
    Ok(())
}

/// Asks for the data of a message that was dropped.
pub fn use_dropped() -> Result<(), Error> {
    let message = Message::new(b"x");
    let handle = message.handle();
    drop(message);
    use_foreign(handle)
}

/// Asks for the data of a message that was sent: that gives it away.
pub fn use_sent(to: &str) -> Result<(), Error> {
    let message = Message::new(b"x");
    let handle = message.handle();
    producer::send(&Client::connect("default")?, to, message)?;
    use_foreign(handle)
}

/// Asks for the data of a message by a number that this call was not given.
pub fn use_foreign(handle: u32) -> Result<(), Error> {
    // SAFETY: the number is only handed to the host, which knows whether it is a message.
    let message = unsafe { Message::from_handle(handle) };
    let data = message.data();
    forget(message);
    Err(Error::Other(format!("it had {} bytes", data.len())))
}

/// Sends through a handle of something else.
pub fn use_as_client(message: &Message) -> Result<(), Error> {
    // SAFETY: as above.
    let client = unsafe { Client::from_handle(message.handle()) };
    let sent = producer::send(&client, "report", Message::new(b"x"));
    forget(client);
    sent
}
