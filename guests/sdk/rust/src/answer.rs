//! Answers as a guest writes them: outcomes and sends, in the order of the messages whatever the order they were said in.

use alloc::string::{String, ToString as _};
use alloc::vec;
use alloc::vec::Vec;
use core::fmt;

use crate::batch::{Batch, Message, ROW};

/// The longest delay that the contract can say: 30 bits of milliseconds.
const DELAY_MS_MAX: u32 = (1 << 30) - 1;
const NAK: u32 = 1;
const TERM: u32 = 2;

/// Why a call failed, for a person: nothing that it sent or said counts then. Whatever can be shown becomes one by `?` or `into`: a
/// text, an error of any crate. So that this holds it can't be shown itself; see [`Failed::reason`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failed(pub(crate) String);

impl Failed {
    /// For this reason.
    pub fn new(why: impl fmt::Display) -> Self {
        Self(why.to_string())
    }

    /// The reason.
    #[must_use]
    pub fn reason(&self) -> &str {
        &self.0
    }
}

impl<T: fmt::Display> From<T> for Failed {
    fn from(why: T) -> Self {
        Self::new(why)
    }
}

/// What a handler returns, unless another is named: `Result<T, E>` is what it always is.
pub type Result<T = (), E = Failed> = core::result::Result<T, E>;

/// What becomes of the messages of a call, and what is sent. A message of which nothing is said is acknowledged.
#[derive(Debug)]
pub struct Answer {
    arena: Vec<u8>,
    /// A 0, for that there are no outcomes, and the sends.
    index: Vec<u32>,
    /// Empty until one is not the usual.
    outcomes: Vec<u32>,
    /// Messages of the call, and their bytes.
    messages: usize,
    bytes: usize,
    /// The latest send's message.
    last: u32,
    /// Whether sends are not in the order of their messages.
    unsorted: bool,
}

impl Answer {
    /// An answer to this batch that says nothing yet.
    #[must_use]
    pub fn new(batch: &Batch<'_>) -> Self {
        Self {
            arena: Vec::new(),
            index: Vec::new(),
            outcomes: Vec::new(),
            messages: batch.len(),
            bytes: batch.bytes(),
            last: 0,
            unsorted: false,
        }
    }

    /// The message is handled, which is what becomes of it anyway; what was said before is taken back.
    pub fn ack(&mut self, message: &Message<'_>) {
        if !self.outcomes.is_empty() {
            self.settle(message, 0);
        }
    }

    /// The message is to come again after this many milliseconds; 0: after the delay that its handler's limits say. That counts as an
    /// attempt, of which its handler has a number. What is sent for it is left out.
    pub fn nak(&mut self, message: &Message<'_>, delay_ms: u32) {
        self.settle(message, delay_ms.min(DELAY_MS_MAX) << 2 | NAK);
    }

    /// The message is given up on: it goes to the handler's dead letters, if there are any. What is sent for it goes out.
    pub fn term(&mut self, message: &Message<'_>) {
        self.settle(message, TERM);
    }

    /// Sends a payload where the message asks for a reply; whether it does.
    #[inline]
    pub fn reply(&mut self, message: &Message<'_>, payload: &[u8]) -> bool {
        let asks = !message.reply_bytes().is_empty();
        if asks {
            self.start(message, message.reply_bytes()).payload(payload);
        }
        asks
    }

    /// Starts a send for this message: its reply subject and headers may follow, its payload ends it. Without, nothing is sent.
    #[inline]
    pub fn send(&mut self, message: &Message<'_>, subject: &str) -> Send<'_> {
        self.start(message, subject.as_bytes())
    }

    #[inline]
    fn start(&mut self, message: &Message<'_>, subject: &[u8]) -> Send<'_> {
        if self.index.is_empty() {
            self.begin();
        }
        let start = self.arena.len();
        self.arena.extend_from_slice(subject);
        let headers = self.arena.len();
        Send {
            answer: self,
            message: message.place() as u32,
            start,
            reply_to: headers,
            headers,
        }
    }

    /// Makes room for a send a message, as large as they are: what grows is copied, and touches memory that has to be reset after the
    /// call. Where there is no such room, it grows as it is written.
    #[cold]
    fn begin(&mut self) {
        let _ = self.arena.try_reserve(self.bytes);
        let _ = self.index.try_reserve(1 + self.messages * ROW);
        self.index.push(0);
    }

    fn settle(&mut self, message: &Message<'_>, outcome: u32) {
        if self.outcomes.is_empty() {
            self.outcomes.resize(self.messages, 0);
        }
        self.outcomes[message.place()] = outcome;
    }

    /// The two lists of the contract.
    #[must_use]
    pub fn finish(mut self) -> (Vec<u8>, Vec<u32>) {
        if self.unsorted {
            self.sort();
        }
        if !self.outcomes.is_empty() {
            let sends = self.index.get(1..).unwrap_or_default();
            let mut index = Vec::with_capacity(1 + self.outcomes.len() + sends.len());
            index.push(self.outcomes.len() as u32);
            index.extend_from_slice(&self.outcomes);
            index.extend_from_slice(sends);
            self.index = index;
        }
        (self.arena, self.index)
    }

    /// Lays the sends out again, in the order of their messages; those of one message as they were made.
    #[cold]
    fn sort(&mut self) {
        let rows = self.index[1..].chunks_exact(ROW);
        // Where the sends of each message begin, by how many come before: a sort by counting is the smallest in code.
        let mut places = vec![0; self.messages + 1];
        rows.clone()
            .for_each(|row| places[row[0] as usize + 1] += 1);
        for place in 1..places.len() {
            places[place] += places[place - 1];
        }
        let mut sorted: Vec<&[u32]> = vec![&[]; rows.len()];
        for row in rows {
            let place = &mut places[row[0] as usize];
            sorted[*place] = row;
            *place += 1;
        }
        let mut arena = Vec::with_capacity(self.arena.len());
        let mut index = Vec::with_capacity(self.index.len());
        index.push(0);
        for row in sorted {
            let bytes: u32 = row[2..].iter().sum();
            index.extend_from_slice(&[row[0], arena.len() as u32]);
            index.extend_from_slice(&row[2..]);
            arena.extend_from_slice(&self.arena[row[1] as usize..][..bytes as usize]);
        }
        (self.arena, self.index) = (arena, index);
    }
}

/// A send that is being made. The host checks its parts: one that can't be, such as a bad subject, fails the whole call.
#[derive(Debug)]
#[must_use = "nothing is sent without a payload"]
pub struct Send<'a> {
    answer: &'a mut Answer,
    message: u32,
    start: usize,
    /// Where its reply subject begins, and where its headers do.
    reply_to: usize,
    headers: usize,
}

impl Send<'_> {
    /// Asks for replies on this subject.
    ///
    /// # Panics
    /// After a header, or another reply subject: a send's parts lie one behind the other.
    #[inline]
    pub fn reply_to(mut self, subject: &str) -> Self {
        let before = self.reply_to == self.headers && self.headers == self.answer.arena.len();
        assert!(before, "the reply subject comes once, before headers");
        self.answer.arena.extend_from_slice(subject.as_bytes());
        self.headers = self.answer.arena.len();
        self
    }

    /// Adds a header.
    ///
    /// # Panics
    /// With a line break in it, or a colon in its name: what lies behind would be read as another header, or as the value. The rest of a
    /// name is the host's to check.
    #[inline]
    pub fn header(self, name: &str, value: &str) -> Self {
        let breaks = |text: &str| text.bytes().any(|byte| matches!(byte, b'\r' | b'\n'));
        assert!(!breaks(name) && !breaks(value), "a header is one line");
        assert!(!name.contains(':'), "a header's name has no colon");
        for part in [name, ": ", value, "\r\n"] {
            self.answer.arena.extend_from_slice(part.as_bytes());
        }
        self
    }

    /// Adds lines of headers as [`Message::raw_headers`] gives them.
    #[inline]
    pub fn raw_headers(self, lines: &[u8]) -> Self {
        self.answer.arena.extend_from_slice(lines);
        self
    }

    /// Ends it with its payload: it is sent, if its call succeeds.
    #[inline(always)]
    pub fn payload(self, payload: &[u8]) {
        let Self {
            answer,
            message,
            start,
            reply_to,
            headers,
        } = self;
        let end = answer.arena.len();
        answer.arena.extend_from_slice(payload);
        answer.unsorted |= message < answer.last;
        answer.last = message;
        let row = [
            message as usize,
            start,
            reply_to - start,
            headers - reply_to,
            end - headers,
            payload.len(),
        ];
        let index = &mut answer.index;
        index.reserve(ROW);
        // One after another, and not as an array: that is written by fours and read by sixteens, which waits for the writes.
        for (place, number) in index.spare_capacity_mut().iter_mut().zip(row) {
            place.write(number as u32);
        }
        // SAFETY: there was room for a row, and all of it was written.
        unsafe { index.set_len(index.len() + ROW) };
    }
}

#[cfg(test)]
mod tests {
    extern crate std;

    use super::*;
    use crate::testing::{laid_out, Given};

    /// An answer to three messages, the first of which asks for a reply.
    fn answered(write: impl FnOnce(&[Message<'_>], &mut Answer)) -> (Vec<u8>, Vec<u32>) {
        let first = Given::new("s", b"1").reply_to("r");
        let (arena, index) = laid_out(&[
            first.headers(&[("a", "b")]),
            Given::new("s", b"2"),
            Given::new("s", b"3"),
        ]);
        let batch = Batch::new(&arena, &index);
        let messages: Vec<_> = batch.iter().collect();
        let mut answer = Answer::new(&batch);
        write(&messages, &mut answer);
        answer.finish()
    }

    #[test]
    fn texts_and_errors_become_reasons_by_themselves() {
        /// A helper of a handler names its own types.
        fn number(text: &[u8]) -> Result<u32, String> {
            let text = core::str::from_utf8(text).map_err(|error| error.to_string())?;
            text.parse()
                .map_err(|_| alloc::format!("{text:?} is no number"))
        }
        fn handle(text: &[u8]) -> Result {
            if text.is_empty() {
                return Err("nothing".into());
            }
            core::str::from_utf8(text)?.parse::<u8>()?;
            number(text)?;
            Ok(())
        }
        let why = |text| handle(text).unwrap_err().reason().to_string();
        assert_eq!(why(b""), "nothing");
        assert!(why(b"\xff").starts_with("invalid utf-8 sequence"));
        assert_eq!(why(b"x"), "invalid digit found in string");
        let failed: Failed = number(b"x").unwrap_err().into();
        assert_eq!(failed, Failed::new("\"x\" is no number"));
        assert_eq!(handle(b"7"), Ok(()));
    }

    #[test]
    fn an_answer_that_says_nothing_is_two_empty_lists() {
        let (arena, index) = answered(|m, answer| answer.ack(&m[0]));
        assert_eq!((arena.len(), index.len()), (0, 0));
    }

    #[test]
    fn a_batch_that_is_sent_on_grows_nothing() {
        let given: Vec<_> = (0..100).map(|_| Given::new("s", b"payload")).collect();
        let (arena, index) = laid_out(&given);
        let batch = Batch::new(&arena, &index);
        let mut answer = Answer::new(&batch);
        let mut room = None;
        for message in &batch {
            answer.send(&message, "t").payload(message.payload());
            let now = (answer.arena.capacity(), answer.index.capacity());
            assert_eq!(*room.get_or_insert(now), now);
        }
        assert_eq!(answer.finish().1.len(), 1 + 100 * ROW);
    }

    #[test]
    fn sends_have_their_parts_one_behind_the_other() {
        let (arena, index) = answered(|m, answer| {
            assert!(answer.reply(&m[0], b"x"));
            assert!(!answer.reply(&m[1], b"x"));
            answer
                .send(&m[1], "to")
                .reply_to("me")
                .header("k", "v")
                .raw_headers(m[0].raw_headers())
                .payload(b"data");
            answer.send(&m[2], "to").payload(b"");
        });
        assert_eq!(arena, b"rxtomek: v\r\na: b\r\ndatato");
        assert_eq!(
            index,
            [0, 0, 0, 1, 0, 0, 1, 1, 2, 2, 2, 12, 4, 2, 22, 2, 0, 0, 0]
        );
    }

    #[test]
    fn a_header_can_not_forge_another_or_its_value() {
        for (name, value) in [
            ("k", "v\r\nforged: x"),
            ("k", "v\n"),
            ("k: v\r\nforged", "x"),
            ("k:forged", "x"),
        ] {
            let forged = std::panic::catch_unwind(|| {
                answered(|m, answer| answer.send(&m[0], "to").header(name, value).payload(b""))
            });
            assert!(forged.is_err(), "{name:?}: {value:?}");
        }
    }

    #[test]
    fn outcomes_come_before_the_sends() {
        let (_, index) = answered(|m, answer| {
            answer.send(&m[0], "a").payload(b"");
            answer.nak(&m[1], 7);
            answer.term(&m[2]);
        });
        assert_eq!(index, [3, 0, 7 << 2 | 1, 2, 0, 0, 1, 0, 0, 0]);
        let (_, index) = answered(|m, answer| {
            answer.nak(&m[0], u32::MAX);
            answer.nak(&m[1], 0);
            answer.ack(&m[1]);
        });
        assert_eq!(index, [3, u32::MAX - 2, 0, 0]);
    }

    #[test]
    fn sends_out_of_order_are_put_in_order() {
        let (arena, index) = answered(|m, answer| {
            answer.send(&m[2], "c").payload(b"3");
            answer.send(&m[0], "a").payload(b"1");
            answer.send(&m[2], "c").payload(b"4");
            answer.send(&m[0], "a").payload(b"2");
        });
        assert_eq!(arena, b"a1a2c3c4");
        let rows: Vec<_> = index[1..].chunks(ROW).map(|row| (row[0], row[1])).collect();
        assert_eq!(rows, [(0, 0), (0, 2), (2, 4), (2, 6)]);
    }
}
