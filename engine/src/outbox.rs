//! The outbox of one call: what the guest sent, settled and updated, held until the call's outcome is known.
//!
//! Released in order on success, discarded as a whole otherwise. A request whose reply the guest waits for within its call can't
//! be held so and is outside: it goes out at once, whatever becomes of the call. Owns the held effects and their bounds; does
//! not know which broker takes them. All sends of a call lie in one place, however many messages: in a buffer of the outbox, or where
//! the guest wrote them, in the memory of its used instance, which is [`Lent`] until they have gone.

use bytes::{BufMut, Bytes, BytesMut};
use thiserror::Error;

use crate::copy::append;
use crate::message::{Format, Layout, Message, MessageError, PAYLOAD_BYTES_MAX, put_header};
use crate::subject::check_subject;

/// How much one call may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct OutboxBound {
    /// Messages sent in one call.
    pub(crate) messages_max: usize,
    /// Their bytes.
    pub(crate) bytes_max: usize,
}

/// Why a send can't be held.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub(crate) enum HoldError {
    /// The message can't be made.
    #[error(transparent)]
    Message(#[from] MessageError),
    /// The call has sent too much: the whole call fails.
    #[error("a call may send {} messages of {} bytes in all", .0.messages_max, .0.bytes_max)]
    Full(OutboxBound),
}

/// What the guest said of one of its call's messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mark {
    /// Handled.
    Completed,
    /// To be delivered again after so many milliseconds; 0: after the delay that its policy has.
    Abandoned { delay_ms: u32 },
    /// Given up on.
    Terminated,
}

/// A send: the input that it is for, its start in the bytes that the call's sends lie in, and how long its subject, reply subject, headers and payload are,
/// which lie one behind the other. As contract 3 has it.
pub(crate) type SendRow = [u32; 6];

/// What of the memory of a used instance its call's sends lie in: their parts, and a row of each.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Lent<'a> {
    pub(crate) bytes: &'a [u8],
    pub(crate) rows: &'a [SendRow],
}

/// Where what is held lies.
#[derive(Debug, Clone, Copy)]
enum Lies {
    /// In the outbox. Whose it is, is not known.
    Here,
    /// In the guest's memory: all rows there, so many, of so many bytes. They say whose they are, in the order of their inputs.
    Lent { count: usize, bytes: usize },
    /// The same, but its guest abandoned inputs: the rows of the others are in the outbox, of so many bytes.
    Chosen { bytes: usize },
}

/// How many bytes lent sends may lie in for each of their own, so that messages made of them share one copy of all, with what lies between
/// them. Default 2: a copy of twice as much costs less than one a send.
const GAPS_MAX: usize = 2;

/// Its bytes.
#[inline]
pub(crate) fn size(&[_, _, subject, reply_to, headers, payload]: &SendRow) -> usize {
    subject as usize + reply_to as usize + headers as usize + payload as usize
}

/// Where it ends.
fn end(row: &SendRow) -> usize {
    row[1] as usize + size(row)
}

/// Its subject, in these bytes.
fn subject<'a>(bytes: &'a [u8], row: &SendRow) -> &'a [u8] {
    &bytes[row[1] as usize..][..row[2] as usize]
}

/// What is said of the input at this place.
fn mark_of(marks: &[Option<Mark>], index: usize) -> Option<Mark> {
    marks.get(index).copied().flatten()
}

impl Lies {
    /// The rows of all that is held, of which these are the outbox's own.
    fn rows<'a>(self, lent: Lent<'a>, own: &'a [SendRow]) -> &'a [SendRow] {
        match self {
            Self::Lent { count, .. } => {
                assert_eq!(lent.rows.len(), count, "what was checked is what is lent");
                lent.rows
            }
            _ => own,
        }
    }
}

/// Sends of one input among those of its call: it names those that the one before doesn't.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Run {
    /// The input's place in its call.
    pub(crate) input: u32,
    /// How many of the call's sends are before or in it.
    pub(crate) until: u32,
}

/// New subscriptions and settings that a guest asked for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct GuestConfiguration {
    /// Subjects to be subscribed to.
    pub(crate) channels: Vec<String>,
    /// Settings of the handler.
    pub(crate) extensions: Vec<(String, String)>,
}

/// How much an outbox held at some time.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Checkpoint {
    sends: usize,
    bytes: usize,
}

/// The held effects of one call. Reused: a drained outbox is an empty one.
#[derive(Debug)]
pub(crate) struct Outbox {
    bound: OutboxBound,
    frames: BytesMut,
    /// None if all are those in the guest's memory.
    sends: Vec<SendRow>,
    lies: Lies,
    /// What their payloads are, up to the last one that is not raw.
    formats: Vec<Format>,
    /// Whether all of them are known to have one subject.
    one_subject: bool,
    marks: Vec<Option<Mark>>,
    update: Option<GuestConfiguration>,
    overflowed: bool,
}

impl Outbox {
    /// An empty outbox.
    pub(crate) fn new(bound: OutboxBound) -> Self {
        Self {
            bound,
            frames: BytesMut::new(),
            sends: Vec::new(),
            lies: Lies::Here,
            formats: Vec::new(),
            one_subject: false,
            marks: Vec::new(),
            update: None,
            overflowed: false,
        }
    }

    /// Makes it ready for a call.
    pub(crate) fn open(&mut self, bound: OutboxBound) {
        debug_assert!(self.sends.is_empty() && self.frames.is_empty() && self.update.is_none());
        self.bound = bound;
        self.one_subject = false;
        self.lies = Lies::Here;
        self.overflowed = false;
        self.marks.clear();
    }

    /// How much it may hold.
    pub(crate) fn bound(&self) -> OutboxBound {
        self.bound
    }

    /// Notes that a send found no room.
    pub(crate) fn set_overflowed(&mut self) {
        self.overflowed = true;
    }

    /// Whether a send was refused for want of room: the call then fails whatever it returns.
    pub(crate) fn overflowed(&self) -> Option<OutboxBound> {
        self.overflowed.then_some(self.bound)
    }

    /// Messages held.
    pub(crate) fn len(&self) -> usize {
        match self.lies {
            Lies::Lent { count, .. } => count,
            _ => self.sends.len(),
        }
    }

    /// Bytes held: subjects, reply subjects, headers and payloads. Not above the bound.
    pub(crate) fn bytes(&self) -> usize {
        match self.lies {
            Lies::Here => self.frames.len(),
            Lies::Lent { bytes, .. } | Lies::Chosen { bytes } => bytes,
        }
    }

    /// What is held, to be looked at; `lent` is the memory that sends of [`Outbox::hold_for`] lie in.
    pub(crate) fn held<'a>(&'a self, lent: Lent<'a>) -> Sends<'a> {
        Sends {
            outbox: self,
            bytes: match self.lies {
                Lies::Here => &self.frames,
                _ => lent.bytes,
            },
            rows: self.lies.rows(lent, &self.sends),
        }
    }

    /// Starts a send to a checked subject. What is not ended with [`Draft::payload`] leaves no trace.
    pub(crate) fn draft(&mut self, subject: &str) -> Draft<'_> {
        debug_assert!(
            check_subject(subject).is_ok(),
            "it was checked when it was granted"
        );
        let start = self.frames.len();
        self.frames.put_slice(subject.as_bytes());
        let end = self.frames.len();
        Draft {
            outbox: self,
            start,
            reply_to: end,
            headers: end,
        }
    }

    /// Holds sends, each for the input that it names, in the order of these, where they lie in the guest's memory. Sends of an input that the
    /// guest abandoned are left out. Who calls it has checked that they are no more than may be, that each lies behind the one before, within that
    /// memory, and that they are `bytes` bytes. More bytes than it may hold mark it as overflowed.
    pub(crate) fn hold_for(&mut self, rows: &[SendRow], bytes: usize) {
        debug_assert!(
            self.sends.is_empty() && self.frames.is_empty(),
            "it holds sends of one kind"
        );
        debug_assert!(rows.len() <= self.bound.messages_max);
        if bytes > self.bound.bytes_max {
            self.overflowed = true;
            return;
        }
        let abandoned = |mark: &Option<Mark>| matches!(mark, Some(Mark::Abandoned { .. }));
        if !self.marks.iter().any(abandoned) {
            let count = rows.len();
            self.lies = Lies::Lent { count, bytes };
            return;
        }
        let sent = |[input, ..]: &&SendRow| !abandoned(&mark_of(&self.marks, *input as usize));
        self.sends.extend(rows.iter().filter(sent));
        let bytes = self.sends.iter().map(size).sum();
        self.lies = Lies::Chosen { bytes };
    }

    /// Notes that all sends held by [`Outbox::hold_for`] have one subject.
    pub(crate) fn set_one_subject(&mut self) {
        self.one_subject = true;
    }

    /// A point to [`Outbox::rewind`] to.
    pub(crate) fn checkpoint(&self) -> Checkpoint {
        Checkpoint {
            sends: self.sends.len(),
            bytes: self.frames.len(),
        }
    }

    /// Drops the sends that were held since the checkpoint.
    pub(crate) fn rewind(&mut self, to: Checkpoint) {
        assert!(to.sends <= self.sends.len() && to.bytes <= self.frames.len());
        self.sends.truncate(to.sends);
        self.formats.truncate(to.sends);
        self.frames.truncate(to.bytes);
    }

    /// What was said of the call's `index`-th message.
    pub(crate) fn mark(&self, index: usize) -> Option<Mark> {
        mark_of(&self.marks, index)
    }

    /// Whether the guest said anything of any of them.
    pub(crate) fn has_marks(&self) -> bool {
        !self.marks.is_empty()
    }

    /// Notes what the guest says of the call's `index`-th message, which has no mark yet.
    pub(crate) fn set_mark(&mut self, index: usize, mark: Mark) {
        if self.marks.len() <= index {
            self.marks.resize(index + 1, None);
        }
        assert!(self.marks[index].is_none(), "a message is settled once");
        self.marks[index] = Some(mark);
    }

    /// Holds a configuration update; a later one of the same call replaces it.
    pub(crate) fn set_update(&mut self, update: GuestConfiguration) {
        self.update = Some(update);
    }

    /// Takes the held update.
    pub(crate) fn take_update(&mut self) -> Option<GuestConfiguration> {
        self.update.take()
    }

    /// Hands the held sends over, in the order in which the guest made them; `lent` is as of [`Outbox::held`]. Whose they are is known until it is
    /// discarded.
    pub(crate) fn release<'a>(&'a mut self, lent: Lent<'a>) -> Released<'a> {
        Released {
            lent: (!matches!(self.lies, Lies::Here)).then_some(lent.bytes),
            own: &mut self.frames,
            copied: Copied::Not,
            bytes_max: self.bound.bytes_max,
            one_subject: self.one_subject,
            sends: self.lies.rows(lent, &self.sends),
            formats: &self.formats,
        }
    }

    /// Drops everything that is held.
    pub(crate) fn discard(&mut self) {
        self.frames.clear();
        self.sends.clear();
        self.lies = Lies::Here;
        self.formats.clear();
        self.marks.clear();
        self.update = None;
    }
}

/// What a call held, before it is released.
#[derive(Debug, Clone, Copy)]
#[allow(dead_code, reason = "the simulator looks at little of it")]
pub(crate) struct Sends<'a> {
    outbox: &'a Outbox,
    bytes: &'a [u8],
    rows: &'a [SendRow],
}

#[allow(dead_code, reason = "the simulator looks at little of it")]
impl<'a> Sends<'a> {
    /// How many.
    pub(crate) fn len(&self) -> usize {
        self.outbox.len()
    }

    /// Bytes of their parts.
    pub(crate) fn bytes(&self) -> usize {
        self.outbox.bytes()
    }

    /// Whose sends they are, where the guest says so; empty where it doesn't, or where there are none.
    pub(crate) fn runs(&self) -> Vec<Run> {
        let mut runs: Vec<Run> = Vec::new();
        if !matches!(self.outbox.lies, Lies::Here) {
            for (place, &[input, ..]) in self.rows.iter().enumerate() {
                let until = place as u32 + 1;
                match runs.last_mut() {
                    Some(run) if run.input == input => run.until = until,
                    _ => runs.push(Run { input, until }),
                }
            }
        }
        runs
    }

    /// Each, in the order in which the guest made them.
    pub(crate) fn iter(&self) -> impl Iterator<Item = Send<'a>> {
        let bytes = self.bytes;
        self.rows.iter().map(move |row| Send::of(bytes, row))
    }
}

/// Sends that are released, in the order in which the guest made them.
#[derive(Debug)]
pub(crate) struct Released<'a> {
    /// What they lie in, if not in the outbox's buffer.
    lent: Option<&'a [u8]>,
    own: &'a mut BytesMut,
    copied: Copied,
    /// How much a call may hold.
    bytes_max: usize,
    one_subject: bool,
    sends: &'a [SendRow],
    formats: &'a [Format],
}

/// What the messages that are made of sends have their parts in.
#[derive(Debug)]
enum Copied {
    /// No message is made yet.
    Not,
    /// Each in a copy of its own.
    Apart,
    /// All in these bytes, which began at this place of what the sends lie in.
    Shared(Bytes, u32),
}

#[allow(dead_code, reason = "the simulator sends each")]
impl Released<'_> {
    /// What they lie in.
    fn bytes(&self) -> &[u8] {
        match (self.lent, &self.copied) {
            (Some(lent), _) => lent,
            (None, Copied::Shared(own, _)) => own,
            (None, _) => self.own,
        }
    }

    /// The subject of the next one.
    pub(crate) fn subject(&self) -> Option<&[u8]> {
        Some(subject(self.bytes(), self.sends.first()?))
    }

    /// How many from the next one on have its subject.
    pub(crate) fn same(&self) -> usize {
        if self.one_subject {
            return self.sends.len();
        }
        let (bytes, first) = (self.bytes(), self.subject());
        let same = |row: &&SendRow| Some(subject(bytes, row)) == first;
        self.sends.iter().take_while(same).count()
    }

    /// The next one as it lies there: for who copies it, and then leaves it out.
    pub(crate) fn peek(&self) -> Option<Send<'_>> {
        Some(Send::of(self.bytes(), self.sends.first()?))
    }

    /// Leaves out the next ones, which nobody is to get.
    pub(crate) fn leave_out(&mut self, count: usize) {
        self.sends = self.sends.get(count..).unwrap_or_default();
        self.formats = self.formats.get(count..).unwrap_or_default();
    }

    /// The bytes that a message made of the next one has its parts in, and where it begins in them.
    #[inline]
    fn frame(&mut self, row: &SendRow) -> (Bytes, u32) {
        if let Copied::Not = self.copied {
            self.copied = self.copy(row[1]);
        }
        match &self.copied {
            Copied::Shared(shared, first) => (shared.clone(), row[1] - first),
            _ => {
                let parts = &self.bytes()[row[1] as usize..end(row)];
                (Bytes::copy_from_slice(parts), 0)
            }
        }
    }

    /// Copies all from the next one on, which begins there, if together they are to be: then no message of them keeps more than a call may hold,
    /// nor all of them more than [`GAPS_MAX`] times what they have.
    fn copy(&mut self, start: u32) -> Copied {
        let Some(lent) = self.lent else {
            return Copied::Shared(self.own.split().freeze(), 0);
        };
        let all = start as usize..self.sends.last().map_or(0, end);
        let bytes: usize = self.sends.iter().map(size).sum();
        if all.len() > self.bytes_max.min(GAPS_MAX * bytes) {
            return Copied::Apart;
        }
        append(self.own, &lent[all]);
        Copied::Shared(self.own.split().freeze(), start)
    }
}

impl Iterator for Released<'_> {
    type Item = Message;

    #[inline]
    fn next(&mut self) -> Option<Message> {
        let row = self.sends.first()?;
        let (frame, start) = self.frame(row);
        let &[_, _, subject, reply_to, headers, payload] = row;
        let lens = [subject, reply_to, headers, payload];
        let layout = Layout {
            format: self.formats.first().copied().unwrap_or_default(),
            ..Layout::adjoining(start, lens)
        };
        self.leave_out(1);
        Some(Message::from_frame(frame, layout))
    }
}

/// A held send, as it lies there.
#[derive(Debug, Clone, Copy)]
#[allow(dead_code, reason = "the simulator looks at none")]
pub(crate) struct Send<'a> {
    /// Its subject.
    pub(crate) subject: &'a [u8],
    /// Where its reply goes; empty where nobody waits for one.
    pub(crate) reply_to: &'a [u8],
    /// Its header lines, each with its line end.
    pub(crate) headers: &'a [u8],
    /// Its payload.
    pub(crate) payload: &'a [u8],
}

impl<'a> Send<'a> {
    /// The one whose parts lie so in these bytes.
    #[inline]
    fn of(frame: &'a [u8], &[_, start, subject, reply_to, headers, payload]: &SendRow) -> Self {
        let (subject, rest) = frame[start as usize..].split_at(subject as usize);
        let (reply_to, rest) = rest.split_at(reply_to as usize);
        let (headers, rest) = rest.split_at(headers as usize);
        Self {
            subject,
            reply_to,
            headers,
            payload: &rest[..payload as usize],
        }
    }
}

impl<'a> From<&'a Message> for Send<'a> {
    fn from(message: &'a Message) -> Self {
        Self {
            subject: message.raw_subject(),
            reply_to: message.reply_to().unwrap_or_default().as_bytes(),
            headers: message.raw_headers(),
            payload: message.payload(),
        }
    }
}

/// A send under construction: reply subject, then headers, then the payload that ends it.
#[derive(Debug)]
pub(crate) struct Draft<'a> {
    outbox: &'a mut Outbox,
    start: usize,
    /// Where its reply subject begins, and where its headers do.
    reply_to: usize,
    headers: usize,
}

impl Draft<'_> {
    /// Where a reply goes; before any header.
    pub(crate) fn reply_to(&mut self, subject: &str) -> Result<(), HoldError> {
        assert!(
            self.headers == self.outbox.frames.len(),
            "reply_to comes before headers"
        );
        check_subject(subject).map_err(MessageError::from)?;
        self.outbox.frames.put_slice(subject.as_bytes());
        self.headers = self.outbox.frames.len();
        Ok(())
    }

    /// Adds a header.
    pub(crate) fn header(&mut self, key: &str, value: &str) -> Result<(), HoldError> {
        Ok(put_header(
            &mut self.outbox.frames,
            self.headers,
            key,
            value,
        )?)
    }

    /// Ends the send: it is held.
    pub(crate) fn payload(mut self, payload: &[u8], format: Format) -> Result<(), HoldError> {
        if payload.len() > PAYLOAD_BYTES_MAX {
            return Err(MessageError::Payload {
                bytes: payload.len(),
            }
            .into());
        }
        let outbox = &mut *self.outbox;
        let bound = outbox.bound;
        let end = outbox.frames.len();
        if outbox.sends.len() >= bound.messages_max || end + payload.len() > bound.bytes_max {
            outbox.overflowed = true;
            return Err(HoldError::Full(bound));
        }
        outbox.frames.put_slice(payload);
        if format != Format::Raw {
            outbox.formats.resize(outbox.sends.len(), Format::Raw);
            outbox.formats.push(format);
        }
        // Whose it is, is not known.
        let row = [
            0,
            self.start,
            self.reply_to - self.start,
            self.headers - self.reply_to,
            end - self.headers,
            payload.len(),
        ];
        outbox.sends.push(row.map(|number| number as u32));
        self.start = outbox.frames.len();
        Ok(())
    }
}

impl Drop for Draft<'_> {
    fn drop(&mut self) {
        self.outbox.frames.truncate(self.start);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn outbox(messages_max: usize, bytes_max: usize) -> Outbox {
        Outbox::new(OutboxBound {
            messages_max,
            bytes_max,
        })
    }

    fn send(o: &mut Outbox, subject: &str, payload: &[u8]) -> Result<(), HoldError> {
        o.draft(subject).payload(payload, Format::Raw)
    }

    fn released(o: &mut Outbox, lent: Lent<'_>) -> Vec<(String, Vec<u8>)> {
        let mut out = Vec::new();
        out.extend(
            o.release(lent)
                .map(|m| (m.subject().to_owned(), m.payload().to_vec())),
        );
        o.discard();
        out
    }

    #[test]
    fn held_message_keeps_its_parts() {
        let mut o = outbox(8, 1_000);
        send(&mut o, "first", b"1").unwrap();
        let mut draft = o.draft("a.b");
        draft.reply_to("r").unwrap();
        draft.header("k", "v").unwrap();
        draft.payload(b"data", Format::Http).unwrap();
        let mut got = Vec::new();
        got.extend(o.release(Lent::default()));
        let m = &got[1];
        assert_eq!(
            (m.subject(), m.reply_to(), m.payload()),
            ("a.b", Some("r"), &b"data"[..])
        );
        assert_eq!(
            (m.headers().collect::<Vec<_>>(), m.format()),
            (vec![("k", "v")], Format::Http)
        );
    }

    #[test]
    fn what_has_one_subject_can_be_left_out_in_one_step() {
        let mut o = outbox(8, 1_000);
        for (subject, payload) in [("a", b"1"), ("a", b"2"), ("b", b"3"), ("a", b"4")] {
            send(&mut o, subject, payload).unwrap();
        }
        let mut sends = o.release(Lent::default());
        assert_eq!((sends.subject(), sends.same()), (Some(&b"a"[..]), 2));
        sends.leave_out(2);
        assert_eq!((sends.subject(), sends.same()), (Some(&b"b"[..]), 1));
        assert_eq!(sends.next().unwrap().payload(), b"3");
        assert_eq!(sends.next().unwrap().payload(), b"4");
        assert_eq!((sends.subject(), sends.same()), (None, 0));
    }

    #[test]
    fn lent_sends_are_looked_at_left_out_and_made_messages_of_in_any_order() {
        let mut o = outbox(8, 1_000);
        let lent = b"--a1a2b3b4a5";
        let rows: Vec<_> = (0..5).map(|n| [n, 2 + 2 * n, 1, 0, 0, 1]).collect();
        o.hold_for(&rows, 10);
        let lent = Lent {
            bytes: lent,
            rows: &rows,
        };
        assert_eq!((o.len(), o.bytes()), (5, 10));
        let payloads: Vec<_> = o.held(lent).iter().map(|send| send.payload).collect();
        assert_eq!(payloads, [b"1", b"2", b"3", b"4", b"5"]);
        let mut sends = o.release(lent);
        assert_eq!((sends.subject(), sends.same()), (Some(&b"a"[..]), 2));
        sends.leave_out(1);
        assert_eq!(sends.peek().unwrap().payload, b"2");
        assert_eq!(sends.next().unwrap().payload(), b"2");
        assert_eq!((sends.subject(), sends.same()), (Some(&b"b"[..]), 2));
        assert_eq!(sends.peek().unwrap().payload, b"3");
        sends.leave_out(1);
        let (fourth, last) = (sends.next().unwrap(), sends.next().unwrap());
        assert_eq!((fourth.subject(), fourth.payload()), ("b", &b"4"[..]));
        assert_eq!((last.subject(), last.payload()), ("a", &b"5"[..]));
        assert!(sends.next().is_none() && sends.peek().is_none());
        o.discard();
        assert_eq!((o.len(), o.bytes(), o.held(lent).runs().len()), (0, 0, 0));
        send(&mut o, "c", b"6").unwrap();
        assert_eq!(released(&mut o, lent), [("c".into(), b"6".to_vec())]);
    }

    #[test]
    fn messages_at_the_bound_and_one_over() {
        let mut o = outbox(2, 1_000);
        send(&mut o, "a", b"1").unwrap();
        send(&mut o, "a", b"2").unwrap();
        assert_eq!(o.overflowed(), None);
        assert!(matches!(send(&mut o, "a", b"3"), Err(HoldError::Full(_))));
        assert!(o.overflowed().is_some());
        assert_eq!(released(&mut o, Lent::default()).len(), 2);
    }

    #[test]
    fn bytes_at_the_bound_and_one_over() {
        let mut o = outbox(10, 6);
        send(&mut o, "a", b"12").unwrap();
        send(&mut o, "a", b"12").unwrap();
        assert!(matches!(send(&mut o, "a", b""), Err(HoldError::Full(_))));
    }

    #[test]
    fn a_refused_send_leaves_no_trace() {
        let mut o = outbox(10, 100);
        send(&mut o, "a", b"1").unwrap();
        send(&mut o, "b", &vec![0; PAYLOAD_BYTES_MAX + 1]).unwrap_err();
        let mut draft = o.draft("b");
        draft.header("bad key", "v").unwrap_err();
        drop(draft);
        send(&mut o, "c", b"3").unwrap();
        assert_eq!(
            released(&mut o, Lent::default()),
            [("a".into(), b"1".to_vec()), ("c".into(), b"3".to_vec())]
        );
    }

    /// How many bytes messages made of these lent sends keep, each.
    fn pinned(o: &mut Outbox, lent: Lent<'_>) -> Vec<usize> {
        o.release(lent).map(|m| m.pinned()).collect()
    }

    #[test]
    fn gaps_at_their_most_are_copied_with_the_sends_and_one_over_is_not() {
        for (gap, kept) in [(4, 8), (5, 2)] {
            let mut o = outbox(8, 1_000);
            let arena = [&b"s1"[..], &vec![b'-'; gap], b"s2"].concat();
            let second = arena.len() as u32 - 2;
            let rows = [[0, 0, 1, 0, 0, 1], [1, second, 1, 0, 0, 1]];
            o.hold_for(&rows, 4);
            assert_eq!(o.bytes(), 4);
            let lent = Lent {
                bytes: &arena,
                rows: &rows,
            };
            assert_eq!(pinned(&mut o, lent), [kept; 2]);
            let sent = [("s".into(), b"1".to_vec()), ("s".into(), b"2".to_vec())];
            assert_eq!(released(&mut o, lent), sent);
        }
    }

    /// A send to `s`, with this payload, of an input, behind so many bytes that are nobody's.
    type Lying = (u32, usize, Vec<u8>);

    fn lying() -> impl Strategy<Value = Vec<Lying>> {
        let gap = prop_oneof![4 => 0usize..2, 1 => 0usize..40];
        let send = (0u32..2, gap, prop::collection::vec(any::<u8>(), 0..9));
        prop::collection::vec(send, 0..8)
    }

    proptest! {
        #[test]
        fn holds_what_its_rows_name_and_no_gap_above_its_bound(
            sends in lying(),
            abandoned in 0usize..12,
            bytes_max in 1usize..80,
            left_out in prop_oneof![Just(0u8), any::<u8>()],
        ) {
            let mut o = outbox(8, bytes_max);
            if abandoned < 8 {
                o.set_mark(abandoned, Mark::Abandoned { delay_ms: 0 });
            }
            let (mut arena, mut rows, mut input) = (Vec::new(), Vec::new(), 0);
            let (mut expected, mut held) = (Vec::new(), 0);
            for (step, gap, payload) in &sends {
                input += step;
                arena.extend(vec![b'-'; *gap]);
                rows.push([input, arena.len() as u32, 1, 0, 0, payload.len() as u32]);
                arena.push(b's');
                arena.extend_from_slice(payload);
                held += 1 + payload.len();
                if input as usize != abandoned {
                    expected.push((input, payload.clone()));
                }
            }
            o.hold_for(&rows, held);
            prop_assert_eq!(o.overflowed().is_some(), held > bytes_max);
            prop_assert!(o.bytes() <= bytes_max);
            if held > bytes_max {
                prop_assert_eq!(o.len(), 0);
                return Ok(());
            }
            let lent = Lent { bytes: &arena, rows: &rows };
            let sizes = expected.iter().map(|(_, payload)| 1 + payload.len());
            prop_assert_eq!((o.len(), o.bytes()), (expected.len(), sizes.sum()));
            let runs = o.held(lent).runs();
            let inputs: Vec<_> = (0..o.len() as u32)
                .map(|send| runs.iter().find(|run| send < run.until).unwrap().input)
                .collect();
            prop_assert!(runs.is_sorted_by_key(|run| run.input));
            let seen: Vec<_> = o.held(lent).iter().map(|send| send.payload.to_vec()).collect();
            let seen: Vec<_> = inputs.into_iter().zip(seen).collect();
            prop_assert_eq!(&seen, &expected);
            // Some are left out, of the others messages are made.
            let mut sends = o.release(lent);
            let mut made = Vec::new();
            for (place, (_, payload)) in expected.iter().enumerate() {
                prop_assert_eq!(sends.peek().unwrap().payload, payload);
                match left_out >> place & 1 {
                    1 => sends.leave_out(1),
                    _ => made.push(sends.next().unwrap()),
                }
            }
            prop_assert!(sends.next().is_none());
            let kept = expected.iter().enumerate().filter(|(place, _)| left_out >> place & 1 == 0);
            prop_assert!(kept.map(|(_, (_, payload))| payload).eq(made.iter().map(Message::payload)));
            // All messages share one copy, or each has its own: what they keep is no more than a call may hold, and if none was left out behind the
            // first, than twice what they have.
            let pinned: Vec<_> = made.iter().map(Message::pinned).collect();
            let own: Vec<_> = made.iter().map(Message::bytes).collect();
            if pinned == own {
                prop_assert!(own.iter().sum::<usize>() <= bytes_max);
            } else {
                prop_assert!(pinned.iter().all(|p| *p == pinned[0] && *p <= bytes_max));
            }
            prop_assert!(left_out > 0 || pinned == own || pinned[0] <= GAPS_MAX * held);
            o.discard();
            prop_assert_eq!((o.len(), o.bytes(), o.held(lent).runs().len()), (0, 0, 0));
        }

        #[test]
        fn releases_exactly_what_the_successful_calls_held(
            calls in prop::collection::vec((any::<bool>(), prop::collection::vec(any::<u8>(), 0..20)), 0..20),
        ) {
            let mut o = outbox(64, 4_096);
            let (mut expected, mut got) = (Vec::new(), Vec::new());
            for (ok, payloads) in calls {
                o.open(o.bound);
                for p in &payloads {
                    send(&mut o, "s", &[*p]).unwrap();
                }
                if ok {
                    expected.extend(payloads.iter().map(|p| ("s".to_owned(), vec![*p])));
                    got.extend(released(&mut o, Lent::default()));
                }
                o.discard();
            }
            prop_assert_eq!(got, expected);
        }
    }
}
