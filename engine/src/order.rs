//! Order of a subject: while a message waits to be called again, later messages of its subject wait behind it.
//!
//! Owns the messages that wait so. Pure and deterministic.

use std::collections::{HashMap, VecDeque};

use crate::message::Message;

/// What waits behind the messages of one subject that are to be called again.
#[derive(Debug, Default)]
struct Line {
    /// Ids of those messages, the earliest first: only the first may be called.
    retried: Vec<u64>,
    /// What waits behind them, in order.
    waiting: VecDeque<Message>,
}

/// The lines of one handler on one shard. Bounded by admission, which every message has passed.
#[derive(Debug, Default)]
pub(crate) struct Order {
    lines: HashMap<Box<str>, Line>,
    held: usize,
}

impl Order {
    /// Messages that wait behind others.
    pub(crate) fn len(&self) -> usize {
        self.held
    }

    /// Whether a message of this subject must wait, this one being no exception.
    pub(crate) fn holds(&self, message: &Message) -> bool {
        let line = self.lines.get(message.subject());
        line.is_some_and(|line| line.retried.first() != Some(&message.id))
    }

    /// Puts a message behind those of its subject: at its place among the waiting, by its id.
    pub(crate) fn wait(&mut self, mut message: Message) {
        message.detach();
        let line = self.lines.entry(message.subject().into()).or_default();
        let place = line.waiting.partition_point(|other| other.id < message.id);
        line.waiting.insert(place, message);
        self.held += 1;
    }

    /// Notes that a message is to be called again: later ones of its subject wait.
    pub(crate) fn retry(&mut self, message: &Message) {
        let line = self.lines.entry(message.subject().into()).or_default();
        let place = line.retried.partition_point(|id| *id < message.id);
        if line.retried.get(place) != Some(&message.id) {
            line.retried.insert(place, message.id);
        }
    }

    /// Notes that a message is settled for good: gives `free` what may go on because of it, in order.
    pub(crate) fn settled(&mut self, message: &Message, mut free: impl FnMut(Message)) {
        let Some(line) = self.lines.get_mut(message.subject()) else {
            return;
        };
        line.retried.retain(|id| *id != message.id);
        if let Some(next) = line.retried.first() {
            let returned = line.waiting.iter().position(|m| m.id == *next);
            if let Some(message) = returned.and_then(|place| line.waiting.remove(place)) {
                self.held -= 1;
                free(message);
            }
            return;
        }
        if let Some(line) = self.lines.remove(message.subject()) {
            self.held -= line.waiting.len();
            line.waiting.into_iter().for_each(free);
        }
    }
}
