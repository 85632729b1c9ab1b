//! What the fuzz target of contract 3 checks, and what the engine's own tests check of its corpus and of answers that they make up: the
//! engine has this file too.

use super::packed::{self, Answer, Packed, Rights};
use crate::message::{self, Message};
use crate::outbox::{Lent, Mark, Outbox, OutboxBound};
use crate::subject;

/// What a call may send where its guest's answer is fuzzed: so little that short inputs meet the bounds.
pub(crate) const BOUND: OutboxBound = OutboxBound {
    messages_max: 8,
    bytes_max: 128,
};

/// The subject that is not granted.
pub(crate) const CLOSED: &str = "no";

/// A handler that may do anything with a good subject, but for one.
struct Open;

impl Rights for Open {
    fn send(&self, _: usize, subject: &str) -> Result<(), String> {
        subject::check_subject(subject).map_err(|error| error.to_string())?;
        (subject != CLOSED).then_some(()).ok_or_else(String::new)
    }

    fn reply_to(&self, message: usize, subject: &str) -> Result<(), String> {
        self.send(message, subject)
    }
}

/// What becomes of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Became {
    /// It is nonsense, or says what its handler may not.
    Refused,
    /// It sends more than a call may.
    Overflowed,
    /// It counts: so many of its sends are released, and so many are left out.
    Held { sent: usize, left_out: usize },
}

/// An answer of contract 3 behind two bytes, which say how many messages its call had and how long its arena is: see [`check`].
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
    check(arena, &index, messages);
}

/// An answer to so many messages becomes what the contract says: [`Said`] reads it for comparison. And what it sends can be laid out
/// and sent again.
pub(crate) fn check(arena: &[u8], index: &[u32], messages: usize) -> Became {
    let said = Said::of(arena, index, messages);
    let mut outbox = Outbox::new(BOUND);
    outbox.open(BOUND);
    let answer = Answer { arena, index };
    let result = packed::read(answer, messages, &Open, &mut outbox);
    assert!(outbox.len() <= BOUND.messages_max && outbox.bytes() <= BOUND.bytes_max);
    let said = match (result, outbox.overflowed(), said) {
        (Err(fault), None, Err(Became::Refused)) => {
            assert!(fault.detail.len() < 1_000);
            return Became::Refused;
        }
        (Ok(()), Some(_), Err(Became::Overflowed)) => return Became::Overflowed,
        (Ok(()), None, Ok(said)) => said,
        (result, overflowed, said) => panic!("{result:?}, {overflowed:?} of {said:?}"),
    };
    let marks = (0..messages).map(|place| outbox.mark(place));
    assert!(marks.eq(said.marks.iter().copied()));
    assert_eq!(outbox.has_marks(), said.marks.iter().any(Option::is_some));
    let sent = released(&mut outbox, answer.lent(), &said);
    sent_again(&sent, messages);
    Became::Held {
        sent: sent.len(),
        left_out: said.left_out,
    }
}

/// What is released, and for which message: what was said, no more and no less, and so no byte from outside the arena.
fn released(outbox: &mut Outbox, lent: Lent<'_>, said: &Said<'_>) -> Vec<(u32, Message)> {
    let lies = |send: &crate::outbox::Send<'_>, of: &Send<'_>| {
        (send.subject, send.reply_to, send.headers, send.payload)
            == (of.subject, of.reply_to, of.headers, of.payload)
    };
    let (runs, mut sent) = (outbox.held(lent).runs(), Vec::new());
    let size = |send: &Send<'_>| {
        send.subject.len() + send.reply_to.len() + send.headers.len() + send.payload.len()
    };
    let bytes = said.sends.iter().map(size).sum();
    assert_eq!((outbox.len(), outbox.bytes()), (said.sends.len(), bytes));
    // As it lies, and as a message.
    assert_eq!(outbox.held(lent).iter().count(), said.sends.len());
    assert!(
        outbox
            .held(lent)
            .iter()
            .zip(&said.sends)
            .all(|(send, of)| lies(&send, of))
    );
    let mut lying = outbox.release(lent);
    for of in &said.sends {
        assert!(lies(&lying.peek().expect("it is held"), of));
        lying.leave_out(1);
    }
    assert!(lying.peek().is_none());
    for message in outbox.release(lent) {
        let run = runs.iter().find(|run| run.until as usize > sent.len());
        sent.push((run.expect("each is for an input").input, message));
    }
    let parts = sent.iter().map(|(input, m)| Send {
        message: *input,
        subject: m.subject().as_bytes(),
        reply_to: m.reply_to().unwrap_or_default().as_bytes(),
        headers: m.raw_headers(),
        payload: m.payload(),
    });
    assert_eq!(parts.collect::<Vec<_>>(), said.sends);
    let bytes: usize = sent.iter().map(|(_, m)| m.bytes()).sum();
    assert!(bytes <= BOUND.bytes_max);
    let shared = sent.iter().any(|(_, m)| m.pinned() > m.bytes());
    let pinned = sent.iter().map(|(_, m)| m.pinned());
    let kept = if shared {
        pinned.max()
    } else {
        Some(pinned.sum())
    };
    assert!(kept.unwrap_or(0) <= BOUND.bytes_max);
    sent
}

/// Lays out what was sent as a batch, and answers with that: it is the same again.
fn sent_again(sent: &[(u32, Message)], messages: usize) {
    let batch: Vec<_> = sent.iter().map(|(_, message)| message.clone()).collect();
    let mut packed = Packed::default();
    let (arena, rows) = packed.fill(&[], &batch).expect("it is small");
    let mut index = vec![0];
    for ((input, _), row) in sent.iter().zip(rows.chunks(6)) {
        index.push(*input);
        index.extend_from_slice(&row[..5]);
    }
    let mut outbox = Outbox::new(BOUND);
    outbox.open(BOUND);
    let index = &index[..];
    let answer = Answer { arena, index };
    packed::read(answer, messages, &Open, &mut outbox).expect("it was good");
    let said = Said::of(arena, index, messages).expect("it was good");
    let again = released(&mut outbox, answer.lent(), &said);
    assert_eq!(again.len(), sent.len());
    for ((input, m), (again, n)) in sent.iter().zip(&again) {
        let parts = |m: &Message| (m.subject().to_owned(), m.reply_to().map(str::to_owned));
        assert_eq!(
            (input, parts(m), m.raw_headers(), m.payload()),
            (again, parts(n), n.raw_headers(), n.payload())
        );
    }
}

/// A send, as it lies in the arena.
#[derive(Debug, PartialEq, Eq)]
struct Send<'a> {
    message: u32,
    subject: &'a [u8],
    reply_to: &'a [u8],
    headers: &'a [u8],
    payload: &'a [u8],
}

/// What an answer says. Read as the text of `batch.wit` has it, one thing after another, and as slowly as that takes: what the engine's
/// reader is held against.
#[derive(Debug)]
struct Said<'a> {
    marks: Vec<Option<Mark>>,
    /// Those that count.
    sends: Vec<Send<'a>>,
    /// How many don't, since their message comes again.
    left_out: usize,
}

impl<'a> Said<'a> {
    fn of(arena: &'a [u8], index: &[u32], messages: usize) -> Result<Self, Became> {
        let mut said = Self {
            marks: vec![None; messages],
            sends: Vec::new(),
            left_out: 0,
        };
        let Some((&outcomes, rest)) = index.split_first() else {
            return Ok(said);
        };
        let outcomes = outcomes as usize;
        if (outcomes != 0 && outcomes != messages) || rest.len() < outcomes {
            return Err(Became::Refused);
        }
        for (place, outcome) in rest[..outcomes].iter().enumerate() {
            said.marks[place] = match (outcome % 4, outcome / 4) {
                (0, 0) => None,
                (1, delay_ms) => Some(Mark::Abandoned { delay_ms }),
                (2, 0) => Some(Mark::Terminated),
                _ => return Err(Became::Refused),
            };
        }
        let rows = rest[outcomes..].chunks(6);
        if rows.clone().any(|row| row.len() < 6) {
            return Err(Became::Refused);
        }
        if rows.len() > BOUND.messages_max {
            return Err(Became::Overflowed);
        }
        // First each of them, then how much they are.
        let (mut last, mut end, mut bytes) = (0, 0, 0);
        let mut sends = Vec::new();
        for row in rows {
            let (message, start) = (row[0], u64::from(row[1]));
            let placed = message >= last && start >= end && (message as usize) < messages;
            let send = placed.then(|| cut(arena, row)).flatten();
            let send = send.filter(is_good);
            sends.push(send.ok_or(Became::Refused)?);
            let size: u64 = row[2..].iter().map(|n| u64::from(*n)).sum();
            (last, end, bytes) = (message, start + size, bytes + size);
        }
        if bytes > BOUND.bytes_max as u64 {
            return Err(Became::Overflowed);
        }
        for send in sends {
            match said.marks[send.message as usize] {
                Some(Mark::Abandoned { .. }) => said.left_out += 1,
                _ => said.sends.push(send),
            }
        }
        Ok(said)
    }
}

/// A send's parts, one behind the other from its start on, if they lie in the arena.
fn cut<'a>(arena: &'a [u8], row: &[u32]) -> Option<Send<'a>> {
    let mut rest = arena.get(row[1] as usize..)?;
    let mut part = |size: u32| {
        let (part, behind) = rest.split_at_checked(size as usize)?;
        rest = behind;
        Some(part)
    };
    Some(Send {
        message: row[0],
        subject: part(row[2])?,
        reply_to: part(row[3])?,
        headers: part(row[4])?,
        payload: part(row[5])?,
    })
}

/// Whether it has good parts and is granted.
fn is_good(send: &Send<'_>) -> bool {
    let good = |subject| {
        let text = std::str::from_utf8(subject);
        text.is_ok_and(|text| subject::check_subject(text).is_ok() && text != CLOSED)
    };
    good(send.subject)
        && (send.reply_to.is_empty() || good(send.reply_to))
        && message::fault_of_headers(send.headers).is_none()
}
