//! The resources that one guest holds: messages, clients, options of requests. Bounded in number, and in the bytes that they take.
//!
//! A guest can't name another's: the runtime knows which handles a guest was given, and an instance lives for one call.

use std::time::Duration;

use wasmtime::component::Resource;
use wasmtime::{bail, format_err};

use super::super::super::handles;
use super::super::super::request::Asked;
use super::message::Held;
use crate::limits::HELD_BYTES_MAX;
use crate::message::Message;

/// The resource `message`.
pub(crate) enum MessageResource {}
/// The resource `client`.
pub(crate) enum Client {}
/// The resource `request-options`.
pub(super) enum Options {}

/// What one guest holds.
#[derive(Debug, Default)]
pub(crate) struct Table {
    messages: handles::Table<Entry>,
    /// Whether each is connected.
    clients: handles::Table<bool>,
    options: handles::Table<Asked>,
    /// Bytes of the messages.
    bytes: usize,
}

#[derive(Debug)]
struct Entry {
    held: Held,
    /// What it counts.
    bytes: usize,
}

impl Table {
    /// Resources that the guest holds.
    pub(crate) fn len(&self) -> usize {
        self.messages.len() + self.clients.len() + self.options.len()
    }

    /// The message that is handled: it is in flight, and counts as that.
    pub(super) fn handle(&mut self) -> wasmtime::Result<Resource<MessageResource>> {
        self.insert(Held::handled(), 0)
    }

    /// Forgets all, to be used for another instance.
    pub(crate) fn clear(&mut self) {
        self.messages.clear();
        self.clients.clear();
        self.options.clear();
        self.bytes = 0;
    }

    /// A reply: the guest keeps it alone.
    pub(super) fn reply(
        &mut self,
        message: Message,
    ) -> wasmtime::Result<Resource<MessageResource>> {
        let bytes = message.bytes();
        self.insert(Held::reply(message), bytes)
    }

    /// A message that the guest makes.
    pub(crate) fn make(&mut self, data: Vec<u8>) -> wasmtime::Result<Resource<MessageResource>> {
        let bytes = data.len();
        self.insert(Held::new(data), bytes)
    }

    fn insert(&mut self, held: Held, bytes: usize) -> wasmtime::Result<Resource<MessageResource>> {
        self.bytes += bytes;
        self.bounded()?;
        let handle = self.messages.insert(Entry { held, bytes })?;
        Ok(Resource::new_own(handle))
    }

    fn bounded(&self) -> wasmtime::Result<()> {
        match self.bytes <= HELD_BYTES_MAX {
            true => Ok(()),
            false => bail!(
                "the guest holds messages of {} bytes, and may hold {HELD_BYTES_MAX}; drop or send those it is done with",
                self.bytes
            ),
        }
    }

    /// A message.
    pub(crate) fn message(&self, handle: u32) -> wasmtime::Result<&Held> {
        let entry = self.messages.get(handle);
        entry.map(|entry| &entry.held).ok_or_else(no_message)
    }

    /// Changes a message.
    pub(crate) fn change(
        &mut self,
        handle: u32,
        change: impl FnOnce(&mut Held),
    ) -> wasmtime::Result<()> {
        let entry = self.messages.get_mut(handle);
        let entry = entry.ok_or_else(no_message)?;
        let before = entry.held.own_bytes();
        change(&mut entry.held);
        let after = entry.held.own_bytes();
        entry.bytes = entry.bytes - before + after;
        self.bytes = self.bytes - before + after;
        self.bounded()
    }

    /// Takes a message away: it is sent, or dropped.
    pub(super) fn take(&mut self, handle: u32) -> wasmtime::Result<Held> {
        let entry = self.messages.remove(handle);
        let entry = entry.ok_or_else(no_message)?;
        self.bytes -= entry.bytes;
        Ok(entry.held)
    }

    /// A new connection.
    pub(crate) fn connect(&mut self) -> wasmtime::Result<Resource<Client>> {
        Ok(Resource::new_own(self.clients.insert(true)?))
    }

    /// Closes a connection: whether it was open.
    pub(super) fn disconnect(&mut self, handle: u32) -> wasmtime::Result<bool> {
        let connected = self.clients.get_mut(handle);
        let connected = connected.ok_or_else(|| none("client"))?;
        Ok(std::mem::replace(connected, false))
    }

    /// Whether a connection is open.
    pub(crate) fn is_connected(&self, handle: u32) -> wasmtime::Result<bool> {
        self.clients
            .get(handle)
            .copied()
            .ok_or_else(|| none("client"))
    }

    /// Drops a connection.
    pub(super) fn drop_client(&mut self, handle: u32) {
        self.clients.remove(handle);
    }

    /// New options.
    pub(super) fn make_options(&mut self) -> wasmtime::Result<Resource<Options>> {
        Ok(Resource::new_own(self.options.insert(Asked::default())?))
    }

    /// Sets how long is waited.
    pub(super) fn set_within(&mut self, handle: u32, within: Duration) -> wasmtime::Result<()> {
        let asked = self.options.get_mut(handle);
        asked.ok_or_else(|| none("request-options"))?.within = Some(within);
        Ok(())
    }

    /// Sets how many replies are waited for.
    pub(super) fn set_expected(&mut self, handle: u32, expected: usize) -> wasmtime::Result<()> {
        let asked = self.options.get_mut(handle);
        asked.ok_or_else(|| none("request-options"))?.expected = Some(expected);
        Ok(())
    }

    /// Takes options away: they are used, or dropped.
    pub(super) fn take_options(&mut self, handle: u32) -> wasmtime::Result<Asked> {
        self.options
            .remove(handle)
            .ok_or_else(|| none("request-options"))
    }
}

/// The same of a message.
pub(crate) fn no_message() -> wasmtime::Error {
    none("message")
}

/// The runtime has let a handle through that the table does not have.
fn none(what: &str) -> wasmtime::Error {
    format_err!("the host has no such {what}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_at_their_most_and_one_over_and_given_back() {
        let mut table = Table::default();
        table.handle().unwrap();
        table.make(vec![0; HELD_BYTES_MAX - 1]).unwrap();
        table.make(vec![0]).unwrap();
        assert!(
            table
                .make(vec![0])
                .unwrap_err()
                .to_string()
                .contains("may hold")
        );
        table.clear();
        assert_eq!((table.bytes, table.len()), (0, 0));
        let reply = Message::new("a", &[0; 1_000]).unwrap();
        let reply = table.reply(reply).unwrap();
        assert_eq!(reply.rep(), 1, "as the first of a new one");
        assert_eq!(table.bytes, 1_001);
        table
            .change(reply.rep(), |held| held.set_data(vec![0; 10]))
            .unwrap();
        table
            .change(reply.rep(), |held| held.set_data(vec![0; 7]))
            .unwrap();
        assert_eq!(table.bytes, 1_008);
        let over = table.change(reply.rep(), |held| held.set_data(vec![0; HELD_BYTES_MAX]));
        assert!(over.is_err());
        table.take(reply.rep()).unwrap();
        assert_eq!((table.bytes, table.len()), (0, 0));
        assert!(table.take(reply.rep()).is_err() && table.message(9).is_err());
    }

    #[test]
    fn connections_are_closed_once() {
        let mut table = Table::default();
        let client = table.connect().unwrap();
        assert!(table.is_connected(client.rep()).unwrap());
        assert!(table.disconnect(client.rep()).unwrap());
        assert!(!table.disconnect(client.rep()).unwrap());
        assert!(!table.is_connected(client.rep()).unwrap());
        table.drop_client(client.rep());
        assert!(table.is_connected(client.rep()).is_err());
    }
}
