//! Splitting: the parts of one handler's failed batches, until the message that is the cause of a fault stands alone.
//!
//! Owns the parts that wait, and the one bound on calls and time that all of them share until none is left. Pure: handed the time.

use std::collections::VecDeque;
use std::time::Duration;

use crate::message::Message;
use crate::time::Instant;

/// How much splitting is left.
#[derive(Debug)]
struct Bound {
    calls_left: u32,
    until: Instant,
    /// Parts that wait or are being called.
    open: u32,
}

/// Parts of failed batches.
#[derive(Debug, Default)]
pub(crate) struct Parts {
    /// Those that wait, the next one last.
    waiting: Vec<Vec<Message>>,
    bound: Option<Bound>,
}

impl Parts {
    /// Whether none waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Messages in those that wait.
    pub(crate) fn messages(&self) -> usize {
        self.waiting.iter().map(Vec::len).sum()
    }

    /// The first message of the next one.
    pub(crate) fn first(&self) -> Option<&Message> {
        self.waiting.last().and_then(|part| part.first())
    }

    /// Moves the next one's messages into `batch`. Whether there was one.
    pub(crate) fn next(&mut self, batch: &mut Vec<Message>) -> bool {
        let part = self.waiting.pop();
        part.map(|mut part| batch.append(&mut part)).is_some()
    }

    /// Puts one back that could not be called.
    pub(crate) fn put_back(&mut self, batch: &mut Vec<Message>) {
        self.waiting.push(std::mem::take(batch));
    }

    /// Splits a failed batch in two, within these bounds, which begin with the first batch that is split while no part is open.
    /// Whether it was; if not, all messages of parts that wait are added to it.
    pub(crate) fn split(
        &mut self,
        batch: &mut Vec<Message>,
        calls_max: u32,
        time_max: Duration,
        now: Instant,
    ) -> bool {
        assert!(batch.len() > 1, "one message is not split");
        let bound = self.bound.get_or_insert(Bound {
            calls_left: calls_max,
            until: now + time_max,
            open: 0,
        });
        if bound.calls_left < 2 || now >= bound.until {
            self.end(batch);
            return false;
        }
        bound.calls_left -= 2;
        bound.open += 2;
        batch.iter_mut().for_each(Message::detach);
        let second = batch.split_off(batch.len() / 2);
        self.waiting.push(second);
        self.waiting.push(std::mem::take(batch));
        true
    }

    /// Whether the time for splitting is over although parts wait.
    pub(crate) fn is_overdue(&self, now: Instant) -> bool {
        let late = |bound: &Bound| now >= bound.until;
        !self.waiting.is_empty() && self.bound.as_ref().is_some_and(late)
    }

    /// Moves the messages of all parts that wait into `batch`.
    pub(crate) fn end(&mut self, batch: &mut Vec<Message>) {
        let parts = self.waiting.len() as u32;
        batch.extend(self.waiting.drain(..).rev().flatten());
        self.closed(parts);
    }

    /// Notes that so many parts are no more. With the last one the next failed batch has its own bounds.
    pub(crate) fn closed(&mut self, parts: u32) {
        let Some(bound) = &mut self.bound else { return };
        let open = bound.open.checked_sub(parts);
        bound.open = open.expect("a part is closed once");
        if bound.open == 0 {
            self.bound = None;
        }
    }

    /// Has `keep` take messages out of each part that waits.
    pub(crate) fn sift(&mut self, mut keep: impl FnMut(&mut VecDeque<Message>)) {
        for part in &mut self.waiting {
            let mut queue: VecDeque<_> = std::mem::take(part).into();
            keep(&mut queue);
            *part = queue.into();
        }
        let before = self.waiting.len();
        self.waiting.retain(|part| !part.is_empty());
        self.closed((before - self.waiting.len()) as u32);
    }

    /// Whether any waits or is being called.
    #[cfg(test)]
    pub(crate) fn are_open(&self) -> bool {
        self.bound.is_some()
    }
}
