//! What the fuzz target of contract 3 checks, and what the engine's own tests check of its corpus: the engine has this file too.

use super::packed::{self, Answer, Packed, Rights};
use crate::message::{self, Message};
use crate::outbox::{Outbox, OutboxBound};
use crate::subject;

/// What a call may send where its guest's answer is fuzzed: so little that short inputs meet the bounds.
const BOUND: OutboxBound = OutboxBound {
    messages_max: 8,
    bytes_max: 128,
};

/// A handler that may do anything with a good subject, but for one.
struct Open;

/// The subject that is not granted.
const CLOSED: &str = "no";

impl Rights for Open {
    fn send(&self, _: usize, subject: &str) -> Result<(), String> {
        subject::check_subject(subject).map_err(|error| error.to_string())?;
        (subject != CLOSED).then_some(()).ok_or_else(String::new)
    }

    fn reply_to(&self, message: usize, subject: &str) -> Result<(), String> {
        self.send(message, subject)
    }
}

/// An answer of contract 3 behind two bytes, which say how many messages its call had and how long its arena is: what of it is released
/// is within the bounds, in order, and made of good parts; and it can be laid out and sent again.
pub(crate) fn batch(data: &[u8]) {
    let Some(([messages, size], rest)) = data.split_first_chunk() else {
        return;
    };
    let messages = 1 + usize::from(messages % 8);
    let (arena, numbers) = rest.split_at(usize::from(*size).min(rest.len()));
    // A number of one byte stands for itself, unless it is a high one: then four follow.
    let (mut index, mut numbers) = (Vec::new(), numbers.iter().copied());
    while let Some(first) = numbers.next() {
        let long = || {
            Some(u32::from_le_bytes(
                [0; 4].map(|_| numbers.next().unwrap_or(255)),
            ))
        };
        index.extend(Some(u32::from(first)).filter(|n| *n < 200).or_else(long));
    }
    let Some(sent) = released(arena, &index, messages) else {
        return;
    };
    let batch: Vec<_> = sent.iter().map(|(_, message)| message.clone()).collect();
    let mut packed = Packed::default();
    let (again, rows) = packed.fill(&[], &batch).expect("it is small");
    let mut index = vec![0];
    for ((input, _), row) in sent.iter().zip(rows.chunks(6)) {
        index.push(*input);
        index.extend_from_slice(&row[..5]);
    }
    let twice = released(again, &index, messages).expect("what was good is good again");
    assert_eq!(twice.len(), sent.len());
    for ((a, m), (b, n)) in sent.iter().zip(&twice) {
        let parts = |m: &Message| (m.subject().to_owned(), m.reply_to().map(str::to_owned));
        assert_eq!(
            (a, parts(m), m.raw_headers(), m.payload()),
            (b, parts(n), n.raw_headers(), n.payload())
        );
    }
}

/// What an answer sends, and for which message; `None` if it is refused.
fn released(arena: &[u8], index: &[u32], messages: usize) -> Option<Vec<(u32, Message)>> {
    let mut outbox = Outbox::new(BOUND);
    outbox.open(BOUND);
    let answer = Answer { arena, index };
    if let Err(fault) = packed::read(answer, messages, &Open, &mut outbox) {
        assert!(fault.detail.len() < 1_000);
        outbox.discard();
        return None;
    }
    outbox.overflowed().is_none().then_some(())?;
    let (runs, mut sent) = (outbox.take_runs(), Vec::new());
    for message in outbox.release() {
        let run = runs.iter().find(|run| run.until as usize > sent.len());
        sent.push((run.expect("each is for an input").input, message));
    }
    assert!(sent.len() <= BOUND.messages_max && sent.is_sorted_by_key(|(input, _)| *input));
    let bytes: usize = sent.iter().map(|(_, m)| m.bytes()).sum();
    assert!(bytes <= arena.len() && bytes <= BOUND.bytes_max);
    for (input, m) in &sent {
        let good = |subject: &str| subject::check_subject(subject).is_ok() && subject != CLOSED;
        assert!((*input as usize) < messages && good(m.subject()));
        assert!(m.reply_to().is_none_or(good) && m.pinned() <= BOUND.bytes_max);
        assert_eq!(message::fault_of_headers(m.raw_headers()), None);
    }
    Some(sent)
}
