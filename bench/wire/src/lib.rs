//! What the engine does with a message of a NATS server in memory, step by step, over the same bytes each time: parse it, lay it out for contract 3, write
//! it out. The engine's files are included by path, as they are.
//!
//! Bias: everything is in the cache and predicted, so a step takes no more here than among all others.
// Whoever asks for all tests by `--lib` would have those of the files too, a second time.
#![cfg(not(test))]
#![allow(
    dead_code,
    unused_imports,
    unreachable_pub,
    reason = "the files are parts of a larger crate"
)]

#[path = "../../../engine/src/copy.rs"]
mod copy;
#[path = "../../../engine/src/line.rs"]
mod line;
#[path = "../../../engine/src/message.rs"]
mod message;
#[path = "../../../engine/src/outbox.rs"]
mod outbox;
#[path = "../../../engine/src/outcome.rs"]
mod outcome;
#[path = "../../../engine/src/pack.rs"]
mod pack;
#[path = "../../../engine/src/subject.rs"]
mod subject;
#[path = "../../../engine/src/time.rs"]
mod time;

mod broker;

use bytes::Bytes;

use self::broker::nats::wire::parse::{Found, Op, Parser, WireLimits};
use self::broker::nats::wire::write::{WriteLimits, Writer};
use self::message::Message;
use self::outbox::Send;
use self::pack::Row;

/// A step.
pub type Step = fn(&mut Steps) -> Result<(), String>;

/// All steps, by their names.
pub const STEPS: [(&str, Step); 3] = [
    ("parse", Steps::parse),
    ("lay out", Steps::lay_out),
    ("write", Steps::write),
];

/// A server's bytes, and what the steps make of them.
#[derive(Debug)]
pub struct Steps {
    bytes: Bytes,
    count: usize,
    parser: Parser,
    found: Vec<Found>,
    /// What answers them: the payload alone.
    answers: Vec<Message>,
    /// A batch, laid out.
    frame: Vec<u8>,
    rows: Vec<Row>,
    writer: Writer,
}

impl Steps {
    /// Steps over these bytes: whole messages, as many as `count`, each with a reply subject.
    ///
    /// # Errors
    /// They are something else.
    pub fn new(bytes: Vec<u8>, count: usize) -> Result<Self, String> {
        let mut steps = Self {
            bytes: bytes.into(),
            count,
            parser: Parser::new(WireLimits::default()),
            found: Vec::new(),
            answers: Vec::new(),
            frame: Vec::new(),
            rows: Vec::new(),
            writer: Writer::new(WriteLimits::default()),
        };
        steps.parse()?;
        let answer = |found: &Found| {
            let message = found.clone().incoming(&steps.bytes).message;
            let to = message
                .reply_to()
                .ok_or("a message without a reply subject")?;
            let built = Message::builder(to).payload(message.payload());
            built.map_err(|why| why.to_string())
        };
        steps.answers = steps.found.iter().map(answer).collect::<Result<_, _>>()?;
        Ok(steps)
    }

    /// Finds every message in the bytes; those of the time before are forgotten.
    fn parse(&mut self) -> Result<(), String> {
        self.found.clear();
        let mut at = 0;
        loop {
            let op = self.parser.next(&self.bytes, &mut at);
            match op.map_err(|why| why.to_string())? {
                Some(Op::Message(found)) => self.found.push(found),
                None if self.found.len() == self.count && at == self.bytes.len() => {
                    return Ok(());
                }
                other => {
                    let (read, count) = (self.found.len(), self.count);
                    return Err(format!("{other:?} behind {read} of {count} messages"));
                }
            }
        }
    }

    /// Lays all of them out as one batch.
    fn lay_out(&mut self) -> Result<(), String> {
        self.frame.clear();
        self.rows.clear();
        for found in &self.found {
            let (bytes, layout) = found.parts(&self.bytes);
            let start = self.frame.len() as u32;
            let [subject, reply_to, headers, payload] = layout.write_parts(bytes, &mut self.frame);
            self.rows
                .push([start, subject, reply_to, headers, payload, 0]);
        }
        match self.rows.len() == self.count {
            true => Ok(()),
            false => Err(format!("{} messages were laid out", self.rows.len())),
        }
    }

    /// Writes each answer out, into a buffer that is used again.
    fn write(&mut self) -> Result<(), String> {
        self.writer.clear();
        for message in &self.answers {
            let written = self.writer.publish_send(Send::from(message));
            written.map_err(|why| why.to_string())?;
        }
        Ok(())
    }
}
