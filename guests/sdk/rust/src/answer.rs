//! Answers as a guest writes them: outcomes and sends, in the order of the messages whatever the order they were said in.

use alloc::string::{String, ToString as _};
use alloc::vec;
use alloc::vec::Vec;
use core::fmt;

use crate::batch::{Batch, Message, ROW};
use crate::finished::{head_length, Finished, Head};
use crate::send::Send;

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
///
/// A payload that is handed on as it came is not copied, as long as those before it weren't made anew: what precedes it in a send is
/// written in front of it in the batch, once the handler has returned.
#[derive(Debug)]
pub struct Answer<'a> {
    /// The bytes of the batch.
    given: &'a [u8],
    /// Where the latest payload ends that is sent from there; [`GATHERED`] once one could not be.
    placed: usize,
    /// The sends. While they are in place, their heads: all but the payloads, and those that are the same in a row once.
    arena: Vec<u8>,
    /// While they are in place: the latest send's head, by its start and end.
    head: (usize, usize),
    heads: Vec<Head>,
    /// A 0, for that there are no outcomes, and the sends. They start in the arena, or if these are in place, in the batch.
    index: Vec<u32>,
    /// Empty until one is not the usual.
    outcomes: Vec<u32>,
    /// Messages of the call.
    messages: usize,
    /// Once they are gathered: the latest send's message.
    last: u32,
    /// Whether sends are not in the order of their messages.
    unsorted: bool,
}

/// Bytes that the two lists of an answer may have together.
const LISTS_MAX: usize = 8 << 20;

/// A place that no payload lies behind.
const GATHERED: usize = usize::MAX;

impl<'a> Answer<'a> {
    /// An answer to this batch that says nothing yet.
    #[must_use]
    pub fn new(batch: &Batch<'a>) -> Self {
        Self {
            given: batch.arena(),
            placed: 0,
            arena: Vec::new(),
            head: (0, 0),
            heads: Vec::new(),
            index: Vec::new(),
            outcomes: Vec::new(),
            messages: batch.len(),
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
        let subject = message.reply_bytes();
        if subject.is_empty() {
            return false;
        }
        if !self.reply_in_place(message, subject.len(), payload) {
            self.reply_from_arena(*message, payload);
        }
        true
    }

    /// Sends a reply whose subject is written into the arena. It is not compared with the last: reply subjects differ, mostly at their ends.
    #[inline(never)]
    fn reply_from_arena(&mut self, message: Message<'_>, payload: &[u8]) {
        let subject = message.reply_bytes();
        let start = self.add_subject(subject);
        let begin = self.put(&message, (start, start + subject.len()), false, payload);
        let number = message.number() as usize;
        self.add_row([number, begin, subject.len(), 0, 0, payload.len()]);
    }

    /// Sends a reply from the batch, if its payload can be: its subject is moved there from where it lies in its message. That is still
    /// whole once the handler has returned, as long as nothing else is sent from this message before.
    #[inline(always)]
    fn reply_in_place(&mut self, message: &Message<'_>, subject: usize, payload: &[u8]) -> bool {
        let (first, ..) = message.place_in_batch();
        if self.placed > first {
            return false;
        }
        let Some(begin) = self.place(message, subject, payload) else {
            return false;
        };
        if self.index.is_empty() {
            self.begin(0);
        }
        // The next send writes a head of its own: this one's is moved from where it lies, which is right for one send alone.
        self.head = (0, 0);
        let start = first + message.reply_place();
        self.heads.push(Head::in_batch(self.index.len(), start));
        let number = message.number() as usize;
        self.add_row([number, begin, subject, 0, 0, payload.len()]);
        true
    }

    /// Starts a send for this message: its reply subject and headers may follow, its payload ends it. Without, nothing is sent.
    #[inline]
    pub fn send<'m>(&mut self, message: &Message<'m>, subject: &str) -> Send<'_, 'a, 'm> {
        let (start, end) = self.head;
        let known = start < end && self.arena.get(start..end) == Some(subject.as_bytes());
        self.start(message, subject.as_bytes(), known)
    }

    /// Starts a send whose head is that of the send before, so far; or has its own, with this subject.
    #[inline(always)]
    fn start<'m>(
        &mut self,
        message: &Message<'m>,
        subject: &[u8],
        known: bool,
    ) -> Send<'_, 'a, 'm> {
        let (mut start, mut end) = self.head;
        if !known {
            start = self.add_subject(subject);
            end = start + subject.len();
        }
        Send::new(self, *message, known, (start, end))
    }

    /// Writes a subject into the arena: where it begins.
    #[inline(always)]
    fn add_subject(&mut self, subject: &[u8]) -> usize {
        if self.index.is_empty() {
            self.begin(subject.len());
        }
        let start = self.arena.len();
        self.arena.extend_from_slice(subject);
        start
    }

    /// Makes room for a send a message, each with a head of so many bytes: what grows is copied, and touches memory that has to be reset
    /// after the call. Where there is no such room, it grows as it is written.
    #[cold]
    fn begin(&mut self, head: usize) {
        let _ = self.arena.try_reserve(self.messages * head);
        let _ = self.heads.try_reserve(self.messages);
        let _ = self.index.try_reserve(1 + self.messages * ROW);
        self.index.push(0);
    }

    /// Where a send with this payload begins in the batch, if it can be sent from there with a head of so many bytes: it lies in its
    /// message, with room in front of it, and behind what was sent from the batch before.
    #[inline(always)]
    fn place(&mut self, message: &Message<'_>, head: usize, payload: &[u8]) -> Option<usize> {
        let (first, bytes, size) = message.place_in_batch();
        let own = (bytes as usize).wrapping_sub(self.given.as_ptr() as usize) == first;
        // What lies in front of the message has a place behind all of it.
        let at = (payload.as_ptr() as usize).wrapping_sub(bytes as usize);
        let within = own && at <= size && payload.len() <= size - at;
        if !(within && 0 < head && head <= at && self.placed <= first + at - head) {
            return None;
        }
        self.placed = first + at + payload.len();
        Some(first + at - head)
    }

    /// Notes the head of a send in place that is not like the one before.
    #[inline(never)]
    fn add_head(&mut self, start: usize, end: usize) {
        self.head = (start, end);
        self.heads.push(Head::in_arena(self.index.len(), start));
    }

    /// Where a send with this payload begins, the head of which lies there in the arena: in the batch, or gathered behind those before.
    #[inline(always)]
    pub(crate) fn put(
        &mut self,
        message: &Message<'_>,
        (start, end): (usize, usize),
        known: bool,
        payload: &[u8],
    ) -> usize {
        if let Some(begin) = self.place(message, end - start, payload) {
            if !known {
                self.add_head(start, end);
            }
            return begin;
        }
        let begin = self.gather(start, end);
        self.arena.extend_from_slice(payload);
        self.unsorted |= message.number() < self.last;
        self.last = message.number();
        begin
    }

    /// Notes a send: its message, where it begins, and the lengths of its parts.
    #[inline(always)]
    pub(crate) fn add_row(&mut self, row: [usize; ROW]) {
        let index = &mut self.index;
        index.reserve(ROW);
        let at = index.len();
        // One after another, and not as an array: that is written by fours and read by sixteens, which waits for the writes.
        for (place, number) in row.into_iter().enumerate() {
            // SAFETY: there is room for a row behind the last.
            unsafe { index.as_mut_ptr().add(at + place).write(number as u32) };
        }
        // SAFETY: there was room for a row, and all of it was written.
        unsafe { index.set_len(at + ROW) };
    }

    /// Writes more behind the head that lies there in the arena, at its end: where it begins now.
    #[inline]
    pub(crate) fn add(&mut self, start: usize, end: usize, bytes: &[u8]) -> usize {
        let begin = match end == self.arena.len() {
            true => start,
            false => self.repeat(start, end),
        };
        self.arena.extend_from_slice(bytes);
        begin
    }

    /// Puts the sends together in a list of their own, if they are in place, and then the head of one that has no payload yet: where that
    /// begins.
    fn gather(&mut self, start: usize, end: usize) -> usize {
        match (self.placed, end == self.arena.len()) {
            (GATHERED, true) => start,
            (GATHERED, false) => self.repeat(start, end),
            _ => self.leave(start, end),
        }
    }

    /// Writes what lies there in the arena once more, at its end: where that begins.
    #[cold]
    fn repeat(&mut self, start: usize, end: usize) -> usize {
        let begin = self.arena.len();
        self.arena.extend_from_within(start..end);
        begin
    }

    /// Leaves the batch: sends are no longer in place.
    #[cold]
    fn leave(&mut self, start: usize, end: usize) -> usize {
        self.placed = GATHERED;
        self.head = (0, 0);
        // They are in the order of their messages, in which their payloads lie.
        self.last = self.index.rchunks_exact(ROW).next().map_or(0, |row| row[0]);
        let heads = core::mem::take(&mut self.heads);
        let old = core::mem::take(&mut self.arena);
        let _ = self.arena.try_reserve(self.given.len());
        for (head, rows) in Head::rows(&heads, &mut self.index) {
            for row in rows.chunks_exact_mut(ROW) {
                let length = head_length(row);
                let payload = &self.given[row[1] as usize + length..][..row[5] as usize];
                row[1] = self.arena.len() as u32;
                self.arena
                    .extend_from_slice(head.bytes(length, &old, self.given));
                self.arena.extend_from_slice(payload);
            }
        }
        let begin = self.arena.len();
        self.arena.extend_from_slice(&old[start..end]);
        begin
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
        self.gather(0, 0);
        let given = self.given;
        let Finished { arena, index, .. } = self.finished(&Batch::new(given, &[]));
        (arena, index)
    }

    /// The same, in this batch where it can be: if it is an answer to it. A handler may have put one to another batch in its place.
    pub(crate) fn finished(mut self, batch: &Batch<'_>) -> Finished {
        let numbers = core::mem::size_of::<u32>() * (self.index.len() + self.outcomes.len());
        let stays = core::ptr::eq(self.given, batch.arena())
            && self.placed.saturating_add(numbers) <= LISTS_MAX;
        if self.unsorted {
            self.sort();
        } else if !(stays || self.heads.is_empty()) {
            self.gather(0, 0);
        }
        if !self.outcomes.is_empty() {
            let sends = self.index.get(1..).unwrap_or_default();
            let mut index = Vec::with_capacity(1 + self.outcomes.len() + sends.len());
            index.push(self.outcomes.len() as u32);
            index.extend_from_slice(&self.outcomes);
            index.extend_from_slice(sends);
            self.index = index;
            let outcomes = self.outcomes.len();
            self.heads.iter_mut().for_each(|head| head.row += outcomes);
        }
        Finished {
            arena: self.arena,
            index: self.index,
            heads: self.heads,
        }
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

#[cfg(test)]
mod tests {
    extern crate std;

    use super::*;
    use crate::testing::{self, laid_out, Given};

    /// An answer to three messages, the first of which asks for a reply.
    fn answered(write: impl FnOnce(&[Message<'_>], &mut Answer<'_>)) -> (Vec<u8>, Vec<u32>) {
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

    /// What an answer to this batch says as it is gathered, and as it lies in the batch; and whether it does.
    fn both(
        given: &[Given<'_>],
        write: impl Fn(&[Message<'_>], &mut Answer<'_>),
    ) -> (testing::Answered, testing::Answered, bool) {
        let (mut arena, index) = laid_out(given);
        let made = |arena: &[u8], finish: &mut dyn FnMut(Answer<'_>)| {
            let batch = Batch::new(arena, &index);
            let messages: Vec<_> = batch.iter().collect();
            let mut answer = Answer::new(&batch);
            write(&messages, &mut answer);
            finish(answer);
        };
        let (mut gathered, mut finished) = (None, None);
        made(&arena, &mut |answer| gathered = Some(answer.finish()));
        made(&arena, &mut |answer| {
            finished = Some(answer.finished(&Batch::new(&arena, &index)))
        });
        let (own, rows) = gathered.expect("it was finished");
        let finished = finished.expect("it was finished");
        let in_place = !finished.heads.is_empty();
        let before = arena.as_ptr_range();
        let (bytes, places) = finished.into_lists(&mut arena);
        assert!(!in_place || before.contains(&bytes.as_ptr()));
        let read = |bytes, places| testing::read(bytes, places, given.len());
        (read(&own, &rows), read(bytes, places), in_place)
    }

    #[test]
    fn payloads_that_are_handed_on_stay_where_they_are() {
        let given = [
            Given::new("orders", b"1").headers(&[("key", "value")]),
            Given::new("orders", b"").reply_to("answers"),
            Given::new("orders", b"a longer one"),
        ];
        let (gathered, lies, in_place) = both(&given, |messages, answer| {
            for m in messages {
                answer.nak(m, 3);
                if !answer.reply(m, m.payload()) {
                    let send = answer.send(m, "to").reply_to("me");
                    send.payload(m.payload());
                }
            }
        });
        assert_eq!(gathered, lies);
        assert!(in_place);
        let subjects: Vec<_> = lies.sends.iter().map(|sent| &*sent.subject).collect();
        assert_eq!(subjects, ["to", "answers", "to"]);
        assert_eq!(lies.sends[2].payload, b"a longer one");
        assert_eq!(lies.outcomes, [testing::Outcome::Nak(3); 3]);
    }

    #[test]
    fn each_of_several_replies_to_a_message_has_its_whole_subject() {
        // Moved behind so short headers, a subject covers its own end.
        let given = Given::new("s", b"a payload of which both ends are sent");
        let given = given.reply_to("a.reply.subject").headers(&[("a", "b")]);
        let (gathered, lies, in_place) = both(&[given], |m, answer| {
            assert!(answer.reply(&m[0], &m[0].payload()[..1]));
            assert!(answer.reply(&m[0], &m[0].payload()[33..]));
        });
        assert_eq!(gathered, lies);
        assert!(in_place);
        assert_eq!(lies.sends[1].subject, "a.reply.subject");
        assert_eq!(lies.sends[1].payload, b"sent");
        // What is sent from the message besides stays in place.
        let (gathered, lies, in_place) = both(&[given], |m, answer| {
            assert!(answer.reply(&m[0], &m[0].payload()[..1]));
            answer.send(&m[0], "t").payload(&m[0].payload()[33..]);
        });
        assert_eq!(gathered, lies);
        assert!(in_place);
    }

    #[test]
    fn what_has_no_room_in_the_batch_or_is_made_anew_is_gathered() {
        let given = [Given::new("s", b"1"), Given::new("s", b"2")];
        type Write = fn(&[Message<'_>], &mut Answer<'_>);
        let cases: [Write; 4] = [
            // A head that is longer than what lies in front.
            |m, answer| answer.send(&m[0], "to").payload(m[0].payload()),
            |m, answer| answer.send(&m[0], "t").payload(b"new"),
            // The same twice; not in the order of the batch.
            |m, answer| (0..2).for_each(|_| answer.send(&m[0], "t").payload(m[0].payload())),
            |m, answer| {
                [1, 0]
                    .into_iter()
                    .for_each(|i| answer.send(&m[i], "t").payload(m[i].payload()))
            },
        ];
        for write in cases {
            let (gathered, lies, in_place) = both(&given, write);
            assert_eq!(gathered, lies);
            assert!(!in_place && !lies.sends.is_empty());
        }
        // The payload of another message, in front and behind.
        let (gathered, lies, in_place) = both(&given, |m, answer| {
            answer.send(&m[0], "t").payload(m[1].payload());
            answer.send(&m[1], "t").payload(m[0].payload());
        });
        assert_eq!(gathered, lies);
        assert!(!in_place && lies.sends[0].payload == b"2");
    }

    #[test]
    fn messages_of_a_batch_that_the_handler_made_are_copied() {
        let (arena, index) = laid_out(&[Given::new("subject", b"outer"), Given::new("s", b"2")]);
        let (inner, rows) = laid_out(&[Given::new("subject", b"inner")]);
        let (batch, own) = (Batch::new(&arena, &index), Batch::new(&inner, &rows));
        let mut answer = Answer::new(&batch);
        let (outer, inner) = (batch.iter().next(), own.iter().next());
        let (outer, inner) = (outer.expect("one"), inner.expect("one"));
        answer.send(&outer, "t").payload(outer.payload());
        answer.send(&inner, "t").payload(inner.payload());
        answer.send(&inner, "t").payload(outer.payload());
        assert_eq!(answer.finish().0, b"toutertinnertouter");
    }

    #[test]
    fn an_answer_to_another_batch_is_gathered_whoever_is_given_it() {
        let (arena, index) = laid_out(&[Given::new("subject", b"outer"), Given::new("s", b"2")]);
        let (inner, rows) = laid_out(&[Given::new("subject", b"inner")]);
        let (batch, own) = (Batch::new(&arena, &index), Batch::new(&inner, &rows));
        let mut answer = Answer::new(&own);
        let message = own.iter().next().expect("one");
        answer.send(&message, "t").payload(message.payload());
        let mut given = arena.clone();
        let (bytes, _) = answer.finished(&batch).into_lists(&mut given);
        assert_eq!(bytes, b"tinner");
    }

    #[test]
    fn what_would_be_more_than_two_lists_may_have_is_gathered() {
        let most = LISTS_MAX - 4 * (1 + ROW);
        for over in [0, 1] {
            let payload = vec![b'x'; most + over - 1];
            let given = [Given::new("s", &payload)];
            let (gathered, lies, in_place) = both(&given, |m, answer| {
                answer.send(&m[0], "t").payload(m[0].payload());
            });
            assert!(gathered == lies);
            assert_eq!(in_place, over == 0);
        }
    }

    #[test]
    fn of_the_batch_nothing_behind_the_last_send_is_given_back() {
        let (mut arena, index) = laid_out(&[Given::new("s", b"1"), Given::new("s", b"2")]);
        let batch = Batch::new(&arena, &index);
        let mut answer = Answer::new(&batch);
        let first = batch.iter().next().expect("one");
        answer.send(&first, "t").payload(first.payload());
        let finished = answer.finished(&batch);
        assert_eq!(finished.into_lists(&mut arena).0, b"t1");
    }

    #[test]
    fn answers_say_the_same_wherever_their_sends_lie() {
        let mut state = 7u32;
        let mut below = |n: u32| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) % n
        };
        let mut in_place = 0;
        let rounds = if cfg!(miri) { 50 } else { 5_000 };
        for _ in 0..rounds {
            let headers = [("a", "b"), ("key", "a longer value")];
            let given: Vec<_> = (0..=below(4))
                .map(|_| {
                    let payload = &b"a payload of some bytes, or less"[..below(33) as usize];
                    let given = Given::new(
                        &"a.subject.of.up.to.forty.bytes.of.length"[..1 + below(39) as usize],
                        payload,
                    );
                    let reply = &"a.reply.subject.of.up.to.eighty.bytes.which.is.longer.than.\
                        all.that.is.moved.at.once"
                        [..(below(2) * below(72) + below(8)) as usize];
                    let given = given.reply_to(reply);
                    given.headers(&headers[..below(3) as usize])
                })
                .collect();
            let sends: Vec<_> = (0..below(6))
                .map(|_| [below(8), below(20), below(4), below(14)])
                .collect();
            let asked = core::cell::RefCell::new(Vec::new());
            let (gathered, lies, placed) = both(&given, |messages, answer| {
                asked.take();
                for (at, &[of, subject, headers, cut]) in sends.iter().enumerate() {
                    // Mostly in order.
                    let place = if of == 0 {
                        0
                    } else {
                        at.min(messages.len() - 1)
                    };
                    let m = &messages[place];
                    if cut > 11 {
                        // Its first bytes, or its last: with what is moved between both.
                        let (first, last) = (headers as usize, subject as usize);
                        let part = match cut {
                            12 => m.payload().get(..first),
                            _ => m.payload().get(last..),
                        };
                        let part = part.unwrap_or_default();
                        let asks = answer.reply(m, part);
                        assert_eq!(asks, m.reply_to().is_some());
                        if let Some(to) = m.reply_to() {
                            let sent = (place, to.to_string(), false, part.to_vec());
                            asked.borrow_mut().push(sent);
                        }
                        continue;
                    }
                    let to = &"to.some.other.subject"[..1 + subject as usize];
                    let send = answer.send(m, to);
                    let send = if headers == 0 {
                        send.raw_headers(m.raw_headers())
                    } else {
                        send
                    };
                    let payload = match cut {
                        0 => b"new",
                        // One that is not ended leaves no trace.
                        11 => {
                            drop(send);
                            continue;
                        }
                        10 => messages[messages.len() - 1].payload(),
                        cut => m.payload().get(cut as usize - 1..).unwrap_or(m.payload()),
                    };
                    send.payload(payload);
                    let sent = (place, to.to_string(), headers == 0, payload.to_vec());
                    asked.borrow_mut().push(sent);
                }
            });
            assert_eq!(gathered, lies);
            // What was asked for, in the order of the messages, those of one as they were made.
            let mut asked = asked.take();
            asked.sort_by_key(|sent| sent.0);
            let own = |place: usize| given[place].headers.iter();
            let owned = |(key, value): &(&str, &str)| (key.to_string(), value.to_string());
            assert_eq!(lies.sends.len(), asked.len());
            for (sent, (place, subject, headers, payload)) in lies.sends.iter().zip(asked) {
                assert_eq!((sent.place, &sent.subject), (place, &subject));
                assert_eq!(sent.payload, payload);
                let headers: Vec<_> = own(place).filter(|_| headers).map(owned).collect();
                assert_eq!((&sent.headers, &sent.reply_to), (&headers, &None));
            }
            in_place += u32::from(placed);
        }
        assert!(in_place > rounds / 10, "{in_place}");
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
