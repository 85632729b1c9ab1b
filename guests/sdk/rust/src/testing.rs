//! Tests of a handler where it is written, without a host: it is called with messages, and what it answers is read. Not in components.
//!
//! ```
//! use millpond_guest::testing::{call, Given, Outcome};
//! use millpond_guest::{Answer, Batch, Result};
//!
//! fn handle(batch: &Batch<'_>, answer: &mut Answer) -> Result {
//!     for message in batch {
//!         if !answer.reply(&message, message.payload()) {
//!             answer.term(&message);
//!         }
//!     }
//!     Ok(())
//! }
//!
//! let asks = Given::new("echo", b"hello").reply_to("answers.1");
//! let answered = call(handle, &[asks, Given::new("echo", b"nobody asks")]).unwrap();
//! assert_eq!(answered.outcomes, [Outcome::Ack, Outcome::Term]);
//! assert_eq!(answered.sends.len(), 1);
//! assert_eq!((&*answered.sends[0].subject, &*answered.sends[0].payload), ("answers.1", &b"hello"[..]));
//! ```
//!
//! What the host decides is not here: which subjects are granted, how much may be sent, what becomes of a failed call.

use alloc::string::{String, ToString as _};
use alloc::vec;
use alloc::vec::Vec;

use crate::abi::answered;
use crate::batch::{Batch, Headers, ROW};
use crate::{Answer, Result};

/// A message that a handler is called with. What is not said is empty.
#[derive(Debug, Clone, Copy)]
pub struct Given<'a> {
    subject: &'a str,
    reply_to: &'a str,
    pub(crate) headers: &'a [(&'a str, &'a str)],
    payload: &'a [u8],
    attempts: u32,
}

impl<'a> Given<'a> {
    /// A message with a subject and a payload.
    #[must_use]
    pub fn new(subject: &'a str, payload: &'a [u8]) -> Self {
        Self {
            subject,
            reply_to: "",
            headers: &[],
            payload,
            attempts: 0,
        }
    }

    /// Where a reply goes.
    #[must_use]
    pub fn reply_to(self, reply_to: &'a str) -> Self {
        Self { reply_to, ..self }
    }

    /// Its headers.
    #[must_use]
    pub fn headers(self, headers: &'a [(&'a str, &'a str)]) -> Self {
        Self { headers, ..self }
    }

    /// How many times it was delivered before and not handled.
    #[must_use]
    pub fn attempts(self, attempts: u32) -> Self {
        Self { attempts, ..self }
    }
}

/// What becomes of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It is handled.
    Ack,
    /// It comes again after this many milliseconds; 0: after the delay that its handler's limits say.
    Nak(u32),
    /// It is given up on.
    Term,
}

/// A message that a handler sends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sent {
    /// The place of the message that it is sent for.
    pub place: usize,
    /// Its subject.
    pub subject: String,
    /// Where replies go.
    pub reply_to: Option<String>,
    /// Its headers, in order.
    pub headers: Vec<(String, String)>,
    /// Its payload.
    pub payload: Vec<u8>,
}

impl Sent {
    /// The first header of this name.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut headers = self.headers.iter();
        headers
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.as_str())
    }
}

/// What a handler answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answered {
    /// Of each message, in their order.
    pub outcomes: Vec<Outcome>,
    /// In the order in which the host releases them: by message. Those of a message that comes again are among them, though the host
    /// leaves them out.
    pub sends: Vec<Sent>,
}

/// Calls a handler with these messages.
///
/// # Errors
/// The handler's.
pub fn call(
    handle: for<'a> fn(&Batch<'a>, &mut Answer<'a>) -> Result,
    messages: &[Given<'_>],
) -> Result<Answered> {
    let (mut arena, index) = laid_out(messages);
    // SAFETY: this is no component.
    let finished = unsafe { answered(handle, &Batch::new(&arena, &index)) }?;
    let (arena, index) = finished.into_lists(&mut arena);
    Ok(read(arena, index, messages.len()))
}

/// The lists that a host would hand over.
pub(crate) fn laid_out(messages: &[Given<'_>]) -> (Vec<u8>, Vec<u32>) {
    let (mut arena, mut index) = (Vec::new(), Vec::new());
    for message in messages {
        let lines = message.headers.iter();
        let lines: String = lines
            .flat_map(|(name, value)| [name, ": ", value, "\r\n"])
            .collect();
        let parts = [
            message.subject.as_bytes(),
            message.reply_to.as_bytes(),
            lines.as_bytes(),
            message.payload,
        ];
        index.push(arena.len() as u32);
        for part in parts {
            arena.extend_from_slice(part);
            index.push(part.len() as u32);
        }
        index.push(message.attempts);
    }
    (arena, index)
}

/// What the lists of an answer say.
pub(crate) fn read(arena: &[u8], index: &[u32], messages: usize) -> Answered {
    let (count, rest) = index.split_first().unwrap_or((&0, &[]));
    let (outcomes, sends) = rest.split_at(*count as usize);
    let outcome = |number: &u32| match number & 3 {
        0 => Outcome::Ack,
        1 => Outcome::Nak(number >> 2),
        _ => Outcome::Term,
    };
    Answered {
        outcomes: match outcomes {
            [] => vec![Outcome::Ack; messages],
            outcomes => outcomes.iter().map(outcome).collect(),
        },
        sends: sends
            .chunks_exact(ROW)
            .map(|row| sent(arena, row))
            .collect(),
    }
}

fn sent(arena: &[u8], row: &[u32]) -> Sent {
    let mut rest = &arena[row[1] as usize..];
    let mut part = |length: u32| {
        let (part, behind) = rest.split_at(length as usize);
        rest = behind;
        part
    };
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (subject, reply_to, lines) = (part(row[2]), part(row[3]), part(row[4]));
    let headers = Headers::of(lines).map(|(name, value)| (name.to_string(), value.to_string()));
    Sent {
        place: row[0] as usize,
        subject: text(subject),
        reply_to: (!reply_to.is_empty()).then(|| text(reply_to)),
        headers: headers.collect(),
        payload: part(row[5]).to_vec(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn handle(batch: &Batch<'_>, answer: &mut Answer<'_>) -> Result {
        for message in batch.iter().collect::<Vec<_>>().iter().rev() {
            match message.payload() {
                b"fail" => return Err("as it was told".into()),
                b"again" => answer.nak(message, 7),
                b"no" => answer.term(message),
                payload => answer
                    .send(message, message.header("to").unwrap_or("nowhere"))
                    .reply_to("me")
                    .header("n", &message.attempts().to_string())
                    .payload(payload),
            }
        }
        Ok(())
    }

    #[test]
    fn outcomes_and_sends_are_as_the_host_would_see_them() {
        let there = [("k", "v"), ("to", "there")];
        let given = [
            Given::new("in", b"a").headers(&there).attempts(3),
            Given::new("in", b"again"),
            Given::new("in", b"no").reply_to("r"),
            Given::new("in", b""),
        ];
        let answered = call(handle, &given).expect("it does not fail");
        let outcomes = [Outcome::Ack, Outcome::Nak(7), Outcome::Term, Outcome::Ack];
        assert_eq!(answered.outcomes, outcomes);
        let of = |place, subject: &str, n: &str, payload: &[u8]| Sent {
            place,
            subject: subject.into(),
            reply_to: Some("me".into()),
            headers: vec![("n".into(), n.into())],
            payload: payload.into(),
        };
        // They were made last message first.
        let sends = [of(0, "there", "3", b"a"), of(3, "nowhere", "0", b"")];
        assert_eq!(answered.sends, sends);
        assert_eq!(
            (sends[0].header("n"), sends[0].header("k")),
            (Some("3"), None)
        );
    }

    #[test]
    fn an_answer_that_says_nothing_acknowledges_and_an_error_is_the_handlers() {
        // Its lifetimes may have a name.
        fn nothing<'a>(_: &Batch<'a>, _: &mut Answer<'a>) -> Result {
            Ok(())
        }
        let answered = call(nothing, &[Given::new("in", b"x")]).expect("it does not fail");
        assert_eq!(
            (answered.outcomes, answered.sends),
            (vec![Outcome::Ack], vec![])
        );
        let failed = call(handle, &[Given::new("in", b"fail")]).expect_err("it fails");
        assert_eq!(failed.reason(), "as it was told");
    }
}
