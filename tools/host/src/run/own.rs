//! The messages that this program publishes itself, so that its tap can leave them out.
//!
//! A tap on all subjects gets what guests send and, once each, what was read. Two messages with the same subject and payload are
//! the same line, so it does not matter which of them is left out: one for each that was published makes the rest exact,
//! whatever headers a guest copies.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::{Hash, Hasher};

use millpond::Message;
use parking_lot::Mutex;

/// A message as a line: its subject and its payload.
#[derive(Debug)]
struct Line(Message);

impl PartialEq for Line {
    fn eq(&self, other: &Self) -> bool {
        (self.0.subject(), self.0.payload()) == (other.0.subject(), other.0.payload())
    }
}

impl Eq for Line {}

impl Hash for Line {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (self.0.subject(), self.0.payload()).hash(state);
    }
}

/// What was published and has not come by the tap yet, and how often.
#[derive(Debug, Default)]
pub(super) struct Own {
    awaited: Mutex<HashMap<Line, u64>>,
}

impl Own {
    /// Notes a message; before it is published, since the tap may be faster than the publisher.
    pub(super) fn add(&self, message: &Message) {
        *self
            .awaited
            .lock()
            .entry(Line(message.clone()))
            .or_default() += 1;
    }

    /// Whether a message counts as one of our own: as often as it was added.
    pub(super) fn take(&self, message: &Message) -> bool {
        match self.awaited.lock().entry(Line(message.clone())) {
            Entry::Vacant(_) => false,
            Entry::Occupied(mut entry) => {
                *entry.get_mut() -= 1;
                if *entry.get() == 0 {
                    entry.remove();
                }
                true
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_taken_as_often_as_it_was_added_whatever_its_headers() {
        let own = Own::default();
        let message = |payload: &[u8]| Message::new("a", payload).expect("it is a good one");
        let headed = Message::builder("a").header("k", "v").payload(b"x");
        own.add(&message(b"x"));
        own.add(&message(b"x"));
        assert!(!own.take(&message(b"y")));
        assert!(own.take(&headed.expect("it is a good one")));
        assert!(own.take(&message(b"x")));
        assert!(!own.take(&message(b"x")));
    }
}
