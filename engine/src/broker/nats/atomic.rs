//! Effectively once: what one input's sends are called, so that a stream takes them together, and once.
//!
//! Owns the names. The sends of an input, or of all inputs of a call, are one atomic batch of the server (ADR-50 of nats-architecture-and-design), and each has an id
//! that only depends on the input and its place among the sends: the input's stream, when that was made, the input's number in it, the
//! handler, the output stream and the place. So when an input is handled again, whatever the first time stored is refused as a whole
//! (error 10201), which means that it is done; of several inputs, that one is, and each is to be handled alone. Holds as long as the output stream remembers ids (`duplicate_window`).

use std::fmt::Write as _;

use super::control::Bound;
use super::js::ack::Delivery;
use super::js::publish::{BATCH_COMMIT, BATCH_ID, BATCH_SEQUENCE, MSG_ID};
use crate::confirm::SendId;
use crate::message::{Message, Via};
use crate::outbox::Run;

/// What the answer's subject ends with where several inputs' sends are one batch.
const SEVERAL: &str = ".several";

/// Sends that are stored together, as they are being written: those of one input, or of all inputs of a call whose guest says which send
/// is for which.
#[derive(Debug)]
pub(crate) struct Atomic {
    /// The batch's name, of this attempt alone.
    batch: String,
    /// What the ids of each input's sends begin with, empty where it is no stream's; and how many sends are before or of it.
    prefixes: Vec<(String, u32)>,
    /// Whose send is being written, its place among these, and the latest id.
    input: usize,
    id: String,
    sequence: String,
    /// The subject of the server's answer, once it was opened.
    reply: Option<String>,
    /// Whether a send of it could not be written: the others are left out, and nothing is committed.
    pub(crate) broken: bool,
}

impl Atomic {
    /// For `count` sends of these inputs of `handler`, whose runs say which are whose; of one input without. `None` if no input is a
    /// stream's.
    pub(crate) fn of(
        (inputs, runs): (&[Message], &[Run]),
        handler: &str,
        bound: &Bound,
        release: u64,
        count: usize,
        seed: u64,
    ) -> Option<Self> {
        let output = bound.output.as_ref()?;
        let prefix = |input: &Message| {
            let delivery = std::str::from_utf8(input.raw_reply_to()).ok();
            let delivery = delivery
                .filter(|_| input.via == Via::Stream)
                .and_then(Delivery::parse);
            delivery.map_or_else(String::new, |delivery| {
                format!(
                    "{}.{}.{}.{handler}.{}.",
                    delivery.stream, bound.stream_created, delivery.stream_sequence, output.stream
                )
            })
        };
        let prefixes: Vec<_> = match runs {
            [] => vec![(prefix(inputs.first()?), u32::try_from(count).ok()?)],
            runs => {
                let of = |run: &Run| (prefix(&inputs[run.input as usize]), run.until);
                runs.iter().map(of).collect()
            }
        };
        prefixes
            .iter()
            .any(|(prefix, _)| !prefix.is_empty())
            .then(|| Self {
                batch: format!("{seed:016x}-{release:016x}"),
                prefixes,
                input: 0,
                id: String::new(),
                sequence: String::new(),
                reply: None,
                broken: false,
            })
    }

    /// Whether it has the sends of several inputs: then all share what becomes of it.
    pub(crate) fn has_several(&self) -> bool {
        self.prefixes.len() > 1
    }

    /// The subject of the server's answer, which `open` gives when it is first asked for.
    pub(crate) fn reply(&mut self, open: impl FnOnce() -> Option<String>) -> Option<String> {
        if self.reply.is_none() {
            let several = if self.has_several() { SEVERAL } else { "" };
            self.reply = open().map(|subject| subject + several);
        }
        self.reply.clone()
    }

    /// The subject that was opened for an answer, and whether it is that of several inputs.
    pub(crate) fn opened(subject: &str) -> (&str, bool) {
        match subject.strip_suffix(SEVERAL) {
            Some(opened) => (opened, true),
            None => (subject, false),
        }
    }

    fn count(&self) -> u32 {
        self.prefixes.last().map_or(0, |(_, until)| *until)
    }

    /// Whether the send at this place is the last: the server answers to that.
    pub(crate) fn is_last(&self, index: u32) -> bool {
        index + 1 == self.count()
    }

    /// By which the shard is told what became of all of them.
    pub(crate) fn answer_to(&self, id: SendId) -> SendId {
        SendId {
            index: self.count() - 1,
            ..id
        }
    }

    /// Calls `write` with the headers of the send at this place, which stand in the place of the guest's own.
    pub(crate) fn headers<T>(&mut self, index: u32, write: impl FnOnce(&[(&str, &str)]) -> T) -> T {
        while index >= self.prefixes[self.input].1 {
            self.input += 1;
        }
        let before = self.input.checked_sub(1);
        let first = before.map_or(0, |before| self.prefixes[before].1);
        let prefix = &self.prefixes[self.input].0;
        self.id.clone_from(prefix);
        self.sequence.clear();
        let (id, sequence) = (
            write!(self.id, "{}", index - first),
            write!(self.sequence, "{}", index + 1),
        );
        id.and(sequence)
            .expect("a String takes all that is written");
        let headers = [
            (MSG_ID, self.id.as_str()),
            (BATCH_ID, &self.batch),
            (BATCH_SEQUENCE, &self.sequence),
            (BATCH_COMMIT, "1"),
        ];
        let (from, to) = (
            usize::from(prefix.is_empty()),
            3 + usize::from(self.is_last(index)),
        );
        write(&headers[from..to])
    }
}
