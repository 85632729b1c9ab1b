//! The seam between a sender and where its messages go.

use crate::core::stamp::Stamp;

/// A message to be sent.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Outgoing<'a> {
    /// The place of its subject.
    pub(crate) subject: usize,
    /// Which it is.
    pub(crate) stamp: Stamp,
    /// When it was to be sent, in nanoseconds from the run's start.
    pub(crate) due_ns: u64,
    /// Its payload, without the stamp.
    pub(crate) rest: &'a [u8],
}

/// Where a sender's messages go. What is put is gathered; nothing of it has left before it is flushed.
pub(crate) trait Outlet {
    /// Adds a message to what is gathered.
    ///
    /// # Errors
    /// The message can't be made.
    fn put(&mut self, message: &Outgoing<'_>) -> anyhow::Result<()>;

    /// Whether so much is gathered that it is to be flushed in any case.
    fn is_full(&self) -> bool;

    /// Whether nothing is.
    fn is_empty(&self) -> bool;

    /// Hands over what is gathered, waiting while the other side does not take it.
    ///
    /// # Errors
    /// It is not taken: the load ends.
    fn flush(&mut self) -> anyhow::Result<()>;

    /// Hands over what is gathered, and asks for word that all was taken, where there is such a thing.
    ///
    /// # Errors
    /// As above.
    fn finish(&mut self) -> anyhow::Result<()>;
}
