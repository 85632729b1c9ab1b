//! The seams between guests, brokers and threads: what one needs of the other, and nothing of how it is done.

use std::task::Waker;

use crate::error::Refusal;
use crate::message::Message;

/// What a guest's imports need of a broker, seen from one shard.
pub(crate) trait Port: Send + Sync {
    /// Whether a send to this subject could be taken now.
    fn admits(&self, subject: &str) -> Result<(), Refusal>;
    /// Subscribes for as long as the feed lives; the waker is woken when a message comes.
    fn subscribe(&self, pattern: &str, waker: Waker) -> Result<Box<dyn Feed>, Refusal>;
}

/// Messages of an ephemeral subscription.
pub(crate) trait Feed: Send {
    /// The next one, if it has come.
    fn next(&mut self) -> Option<Message>;
}

/// Wakes a shard that is parked; does nothing to one that runs.
pub(crate) trait Unpark: Send + Sync {
    /// Wakes it.
    fn unpark(&self);
}
