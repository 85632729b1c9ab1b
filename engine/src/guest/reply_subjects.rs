//! Whom a guest answers: whether a subject that it names is the reply subject of a message of its call.
//!
//! Owns how that is found, in few steps however many messages a call has and whatever its guest names. Knows no grant.

use std::collections::HashSet;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::batch::Batch;

/// Messages that are looked at one by one, from the one on that was answered last, before the reply subjects of all are put into a table.
/// Default 8: guests answer in order, so that the next is among them; a table is an allocation a message, once a call.
const NEAR: usize = 8;

/// The reply subjects of a call's messages.
#[derive(Debug, Default)]
pub(crate) struct ReplySubjects {
    /// The place of the one that was answered last.
    latest: AtomicUsize,
    /// The reply subjects of all, once one was named that is none of a message near the latest.
    table: OnceLock<HashSet<Box<[u8]>>>,
}

impl ReplySubjects {
    /// Whether a message of this batch, which is always the same, asks for a reply on this subject.
    pub(crate) fn has(&self, batch: &Batch, subject: &str) -> bool {
        if let Some(table) = self.table.get() {
            return table.contains(subject.as_bytes());
        }
        let latest = self.latest.load(Ordering::Relaxed);
        let mut near = (latest..batch.len()).take(NEAR);
        if let Some(place) = near.find(|place| batch.asks_on(*place, subject)) {
            self.latest.store(place, Ordering::Relaxed);
            return true;
        }
        let all = || {
            let asked = batch.reply_subjects().filter(|subject| !subject.is_empty());
            asked.map(Box::from).collect()
        };
        self.table.get_or_init(all).contains(subject.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::Message;
    use crate::pack::Pack;

    fn message(reply_to: &str) -> Message {
        let builder = Message::builder("s");
        let builder = match reply_to {
            "" => builder,
            _ => builder.reply_to(reply_to),
        };
        builder.payload(b"").unwrap()
    }

    /// A call with these messages, as such and as packs of so many.
    fn batches(reply_to: &[String], a_pack: usize) -> [Batch; 2] {
        let messages: Vec<_> = reply_to.iter().map(|r| message(r)).collect();
        let pack = |messages: &[Message]| {
            let mut builder = Pack::builder("s").unwrap();
            messages
                .iter()
                .for_each(|m| builder.push_message(m).unwrap());
            builder.build()
        };
        let packs = messages.chunks(a_pack).map(pack).collect();
        [
            Batch {
                messages,
                ..Batch::default()
            },
            Batch {
                packs,
                ..Batch::default()
            },
        ]
    }

    #[test]
    fn the_last_that_is_near_is_found_without_a_table_and_one_behind_it_with_one() {
        let reply_to: Vec<_> = (0..20).map(|n| format!("r.{n}")).collect();
        for batch in batches(&reply_to, 3) {
            let asked = ReplySubjects::default();
            assert!(asked.has(&batch, "r.0") && asked.has(&batch, &format!("r.{}", NEAR - 1)));
            assert!(asked.has(&batch, &format!("r.{}", 2 * NEAR - 2)));
            assert!(asked.table.get().is_none());
            assert!(asked.has(&batch, "r.0"));
            assert_eq!(asked.table.get().map(HashSet::len), Some(20));
            let asked = ReplySubjects::default();
            assert!(asked.has(&batch, &format!("r.{NEAR}")) && asked.table.get().is_some());
        }
    }

    #[test]
    fn a_subject_is_asked_on_if_a_message_says_so_wherever_it_stands() {
        let reply_to: Vec<_> = (0..40).map(|n| ["", "a", "b"][n % 3].to_owned()).collect();
        for batch in batches(&reply_to, 7) {
            for first in ["a", "b", "c", ""] {
                let asked = ReplySubjects::default();
                for subject in [first, "a", "c", "b", ""] {
                    let expected = ["a", "b"].contains(&subject);
                    assert_eq!(asked.has(&batch, subject), expected, "{subject:?}");
                }
                assert_eq!(asked.table.get().map(HashSet::len), Some(2));
            }
        }
    }
}
