//! The seams between guests, brokers and threads: what one needs of the other, and nothing of how it is done.

use std::task::Waker;

use crate::error::Refusal;
use crate::message::{HandlerId, Message};

/// What a guest's imports need of a broker, seen from one shard.
pub(crate) trait Port: Send + Sync {
    /// Whether a send to this subject could be taken now.
    fn admits(&self, subject: &str) -> Result<(), Refusal>;
    /// Subscribes for as long as the feed lives; the waker is woken when a message comes.
    fn subscribe(&self, pattern: &str, waker: Waker) -> Result<Box<dyn Feed>, Refusal>;
    /// Sends a request of this handler's guest at once, and hears its replies for as long as what it gives lives; the waker is woken when one comes.
    fn request(
        &self,
        from: HandlerId,
        message: &Message,
        room: Room,
        waker: Waker,
    ) -> Result<Box<dyn Replies>, Refusal>;
}

/// How many replies to one request are kept until its guest takes them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Room {
    /// Replies. Those beyond are left out.
    pub(crate) replies_max: usize,
    /// Their bytes: the reply that reaches it is the last.
    pub(crate) bytes_max: usize,
}

/// Replies to a request.
pub(crate) trait Replies: Send {
    /// The next one, if it has come; or why no more will come.
    fn next(&mut self) -> Option<Result<Message, Refusal>>;
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
