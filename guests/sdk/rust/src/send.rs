//! A send that a handler is making: its subject, then a reply subject, headers and its payload, one behind the other.

use crate::answer::Answer;
use crate::batch::Message;

/// A send that is being made. The host checks its parts: one that can't be, such as a bad subject, fails the whole call.
#[derive(Debug)]
#[must_use = "nothing is sent without a payload"]
pub struct Send<'a, 'b, 'm> {
    answer: &'a mut Answer<'b>,
    message: Message<'m>,
    /// Whether it has the head of the send before.
    known: bool,
    start: usize,
    /// Where its reply subject begins, where its headers do, and where they end.
    reply_to: usize,
    headers: usize,
    end: usize,
}

impl<'a, 'b, 'm> Send<'a, 'b, 'm> {
    /// One whose head so far lies there in the answer's arena.
    #[inline(always)]
    pub(crate) fn new(
        answer: &'a mut Answer<'b>,
        message: Message<'m>,
        known: bool,
        (start, end): (usize, usize),
    ) -> Self {
        Self {
            answer,
            message,
            known,
            start,
            reply_to: end,
            headers: end,
            end,
        }
    }

    /// Asks for replies on this subject.
    ///
    /// # Panics
    /// After a header, or another reply subject: a send's parts lie one behind the other.
    #[inline]
    pub fn reply_to(mut self, subject: &str) -> Self {
        let before = self.reply_to == self.headers && self.headers == self.end;
        assert!(before, "the reply subject comes once, before headers");
        self.add(subject.as_bytes());
        self.headers = self.end;
        self
    }

    /// Adds a header.
    ///
    /// # Panics
    /// With a line break in it, or a colon in its name: what lies behind would be read as another header, or as the value. The rest of a
    /// name is the host's to check.
    #[inline]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        let breaks = |text: &str| text.bytes().any(|byte| matches!(byte, b'\r' | b'\n'));
        assert!(!breaks(name) && !breaks(value), "a header is one line");
        assert!(!name.contains(':'), "a header's name has no colon");
        for part in [name, ": ", value, "\r\n"] {
            self.add(part.as_bytes());
        }
        self
    }

    /// Adds lines of headers as [`Message::raw_headers`] gives them.
    #[inline]
    pub fn raw_headers(mut self, lines: &[u8]) -> Self {
        self.add(lines);
        self
    }

    /// Writes more of it, behind what it has.
    #[inline]
    fn add(&mut self, bytes: &[u8]) {
        self.known = false;
        let moved = self.answer.add(self.start, self.end, bytes) - self.start;
        self.start += moved;
        self.reply_to += moved;
        self.headers += moved;
        self.end += moved + bytes.len();
    }

    /// Ends it with its payload: it is sent, if its call succeeds.
    #[inline(always)]
    pub fn payload(self, payload: &[u8]) {
        let Self {
            answer,
            message,
            known,
            start,
            reply_to,
            headers,
            end,
        } = self;
        let begin = answer.put(&message, (start, end), known, payload);
        answer.add_row([
            message.number() as usize,
            begin,
            reply_to - start,
            headers - reply_to,
            end - headers,
            payload.len(),
        ]);
    }
}
