//! What the interface does not allow: handles used after they were given back, handles that were never given, too many.

use std::mem::forget;

use crate::bindings::exports::wasi::messaging::incoming_handler::{Error, Message};
use crate::bindings::wasi::messaging::producer;
use crate::bindings::wasi::messaging::request_reply::{reply, request, RequestOptions};
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

/// Sends through a connection that was dropped.
pub fn use_client_dropped() -> Result<(), Error> {
    let client = Client::connect("default")?;
    let handle = client.handle();
    drop(client);
    // SAFETY: as above.
    let client = unsafe { Client::from_handle(handle) };
    let sent = producer::send(&client, "report", Message::new(b"x"));
    forget(client);
    sent
}

/// Sets an option of a request by this number.
fn use_options(handle: u32) -> Result<(), Error> {
    // SAFETY: as above.
    let options = unsafe { RequestOptions::from_handle(handle) };
    options.set_expected_replies(1);
    forget(options);
    Err(Error::Other("it was set".into()))
}

/// Sets options that were dropped.
pub fn use_options_dropped() -> Result<(), Error> {
    let options = RequestOptions::new();
    let handle = options.handle();
    drop(options);
    use_options(handle)
}

/// Sets options that a request has taken.
pub fn use_options_taken(message: &Message) -> Result<(), Error> {
    let options = RequestOptions::new();
    let handle = options.handle();
    let client = Client::connect("default")?;
    match request(&client, "nobody", message, Some(options)) {
        Err(_) => use_options(handle),
        Ok(_) => Err(Error::Other("somebody answered".into())),
    }
}

/// Gives a message back twice.
pub fn drop_twice() -> Result<(), Error> {
    let message = Message::new(b"x");
    let handle = message.handle();
    drop(message);
    // SAFETY: as above.
    drop(unsafe { Message::from_handle(handle) });
    Err(Error::Other("it was dropped twice".into()))
}

/// Answers a message that was given back: the one that came, by its number.
pub fn reply_to_dropped(message: &Message) -> Result<(), Error> {
    // Made before, or it would have the number that is free then.
    let answer = Message::new(b"x");
    // SAFETY: as above; who calls this has the message too, and finds that it is none.
    drop(unsafe { Message::from_handle(message.handle()) });
    let replied = reply(message, answer);
    replied.and(Err(Error::Other("it was answered".into())))
}

/// Answers, and asks for the data of the answer, which was given away.
pub fn use_replied(message: &Message) -> Result<(), Error> {
    let answer = Message::new(b"x");
    let handle = answer.handle();
    reply(message, answer)?;
    use_foreign(handle)
}

/// Makes so many messages, keeps them and tells the number of the last.
pub fn keep(times: u32, to: &str) -> Result<(), Error> {
    let kept: Vec<_> = (0..times).map(|_| Message::new(b"x")).collect();
    let last = kept.last().map_or(0, Message::handle);
    forget(kept);
    producer::send(&Client::connect("default")?, to, Message::new(last.to_string().as_bytes()))
}
