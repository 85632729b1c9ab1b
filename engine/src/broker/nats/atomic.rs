//! Effectively once: what one input's sends are called, so that a stream takes them together, and once.
//!
//! Owns the names. Each input's sends are one atomic batch of the server (ADR-50 of nats-architecture-and-design), and each has an id
//! that only depends on the input and its place among the sends: the input's stream, when that was made, the input's number in it, the
//! handler, the output stream and the place. So when an input is handled again, whatever the first time stored is refused as a whole
//! (error 10201), which means that it is done. Holds as long as the output stream remembers ids (`duplicate_window`).

use std::fmt::Write as _;

use super::control::Bound;
use super::js::ack::Delivery;
use super::js::publish::{BATCH_COMMIT, BATCH_ID, BATCH_SEQUENCE, MSG_ID};
use crate::confirm::SendId;
use crate::message::Message;

/// The sends of one input, as they are being written.
#[derive(Debug)]
pub(crate) struct Atomic {
    /// The place of its first send in the release, and of the one behind its last.
    first: u32,
    end: u32,
    /// The batch's name, of this attempt alone.
    batch: String,
    /// The ids' beginning, and the latest id.
    id: String,
    prefix: usize,
    sequence: String,
    /// The subject of the server's answer, once it was opened.
    pub(crate) reply: Option<String>,
    /// Whether a send of it could not be written: the others are left out, and nothing is committed.
    pub(crate) broken: bool,
}

impl Atomic {
    /// For `count` sends of this input of `handler`, from `first` on. `None` if the input is not a stream's.
    pub(crate) fn of(
        input: &Message,
        handler: &str,
        bound: &Bound,
        first: SendId,
        count: usize,
        seed: u64,
    ) -> Option<Self> {
        let delivery = Delivery::parse(std::str::from_utf8(input.raw_reply_to()).ok()?)?;
        let output = bound.output.as_ref()?;
        let id = format!(
            "{}.{}.{}.{handler}.{}.",
            delivery.stream, bound.stream_created, delivery.stream_sequence, output.stream
        );
        let SendId { release, index } = first;
        Some(Self {
            first: index,
            end: index.checked_add(u32::try_from(count).ok()?)?,
            batch: format!("{seed:016x}-{release:016x}-{index:x}"),
            prefix: id.len(),
            id,
            sequence: String::new(),
            reply: None,
            broken: false,
        })
    }

    /// Whether the send at this place is the last: the server answers to that.
    pub(crate) fn is_last(&self, index: u32) -> bool {
        index + 1 == self.end
    }

    /// By which the shard is told what became of all of them.
    pub(crate) fn answer_to(&self, id: SendId) -> SendId {
        SendId {
            index: self.end - 1,
            ..id
        }
    }

    /// Calls `write` with the headers of the send at this place, which stand in the place of the guest's own.
    pub(crate) fn headers<T>(&mut self, index: u32, write: impl FnOnce(&[(&str, &str)]) -> T) -> T {
        let place = index - self.first;
        self.id.truncate(self.prefix);
        self.sequence.clear();
        let (id, sequence) = (
            write!(self.id, "{place}"),
            write!(self.sequence, "{}", place + 1),
        );
        id.and(sequence)
            .expect("a String takes all that is written");
        let headers = [
            (MSG_ID, self.id.as_str()),
            (BATCH_ID, &self.batch),
            (BATCH_SEQUENCE, &self.sequence),
            (BATCH_COMMIT, "1"),
        ];
        let count = if self.is_last(index) { 4 } else { 3 };
        write(&headers[..count])
    }
}
