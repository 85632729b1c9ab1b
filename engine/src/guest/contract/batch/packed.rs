//! The layout of contract 3, as `wit/millpond-batch-0.1.0/batch.wit` says it: batches laid out as bytes and numbers, and answers
//! read. Whatever comes back is checked here, in full, before anything of it counts.
//!
//! Names no Wasmtime: what a handler may do it asks of [`Rights`].

use crate::message::{Format, Layout, Message, PAYLOAD_BYTES_MAX, Span, fault_of_headers};
use crate::outbox::{Mark, Outbox};
use crate::outcome::{Fault, FaultKind};

/// Numbers of a message on its way in, and of a send on its way out.
const ROW: usize = 6;

/// A batch as it is lowered. Its buffers are used again.
#[derive(Debug, Default)]
pub(crate) struct Packed {
    arena: Vec<u8>,
    index: Vec<u32>,
}

impl Packed {
    /// Lays out a batch: what is to be lowered.
    ///
    /// # Errors
    /// The fault of a batch that is too large for the contract's numbers.
    pub(crate) fn fill(&mut self, messages: &[Message]) -> Result<(&[u8], &[u32]), Fault> {
        self.arena.clear();
        self.index.clear();
        self.index.reserve(messages.len() * ROW);
        for message in messages {
            let start = self.arena.len() as u32;
            let [subject, reply_to, headers, payload] = message.write_parts(&mut self.arena);
            let row: [u32; ROW] = [start, subject, reply_to, headers, payload, message.attempts];
            self.index.extend_from_slice(&row);
        }
        match u32::try_from(self.arena.len()) {
            Ok(_) => Ok((&self.arena, &self.index)),
            Err(_) => Err(Fault::new(FaultKind::Host, "a batch of more than 4 GiB")),
        }
    }
}

/// What a guest gave back.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Answer<'a> {
    pub(crate) arena: &'a [u8],
    pub(crate) index: &'a [u32],
}

/// What the guest of a call may do.
pub(crate) trait Rights {
    /// Whether it may send to this subject, for this message of its call; the reason why not.
    fn send(&self, message: usize, subject: &str) -> Result<(), String>;
    /// Whether it may ask for a reply there.
    fn reply_to(&self, message: usize, subject: &str) -> Result<(), String>;
}

/// Reads an answer to `messages` messages into their call's outbox, which is empty. An answer above the outbox's bound marks it as
/// overflowed. After an error the outbox is to be discarded.
///
/// # Errors
/// What is wrong with it: of several things the first.
pub(crate) fn read(
    answer: Answer<'_>,
    messages: usize,
    rights: &impl Rights,
    outbox: &mut Outbox,
) -> Result<(), Fault> {
    let Some((&outcomes, rest)) = answer.index.split_first() else {
        return Ok(());
    };
    let outcomes = outcomes as usize;
    if outcomes != 0 && outcomes != messages {
        return nonsense(format!("{outcomes} outcomes for {messages} messages"));
    }
    let Some((outcomes, sends)) = rest.split_at_checked(outcomes) else {
        return nonsense(format!("{} of {outcomes} outcomes", rest.len()));
    };
    for (place, &outcome) in outcomes.iter().enumerate() {
        match mark(outcome) {
            Some(mark) => mark.into_iter().for_each(|m| outbox.set_mark(place, m)),
            None => return nonsense(format!("the outcome {outcome:#x}, which is none")),
        }
    }
    let (rows, rest) = sends.as_chunks::<ROW>();
    if !rest.is_empty() {
        return nonsense(format!("a send of {} numbers; it has {ROW}", rest.len()));
    }
    let bound = outbox.bound();
    if rows.len() > bound.messages_max || answer.arena.len() > bound.bytes_max {
        outbox.set_overflowed();
        return Ok(());
    }
    let reader = Reader {
        arena: answer.arena,
        messages,
        rights,
        subject: b"",
        headers: b"",
        message: 0,
        base: rows.first().map_or(0, |row| row[1] as usize),
        end: 0,
    };
    reader.sends(rows, outbox)
}

/// What an outcome's number says: nothing of a message that is acknowledged. `None` if it is no outcome.
fn mark(outcome: u32) -> Option<Option<Mark>> {
    match (outcome & 3, outcome >> 2) {
        (0, 0) => Some(None),
        (1, delay_ms) => Some(Some(Mark::Abandoned { delay_ms })),
        (2, 0) => Some(Some(Mark::Terminated)),
        _ => None,
    }
}

fn nonsense<T>(what: String) -> Result<T, Fault> {
    Err(Fault::new(
        FaultKind::Host,
        format!("the guest answered with {what}"),
    ))
}

/// Reads sends, one behind the other.
struct Reader<'a, R> {
    arena: &'a [u8],
    /// Messages of the call.
    messages: usize,
    rights: &'a R,
    /// The latest subject and headers that were found good: most sends of a call have the same.
    subject: &'a [u8],
    headers: &'a [u8],
    /// The latest send's message.
    message: u32,
    /// Where the first send begins, and where the latest ends.
    base: usize,
    end: usize,
}

impl<'a, R: Rights> Reader<'a, R> {
    fn sends(mut self, rows: &[[u32; ROW]], outbox: &mut Outbox) -> Result<(), Fault> {
        for row in rows {
            let layout = self.send(row)?;
            if !matches!(outbox.mark(row[0] as usize), Some(Mark::Abandoned { .. })) {
                outbox.hold_for(row[0], layout);
            }
        }
        // Each lies behind the one before, all within the arena: so their bytes are within the outbox's bound, as the arena is.
        outbox.put_frames(&self.arena[self.base.min(self.end)..self.end]);
        Ok(())
    }

    /// Checks one send: where its parts lie, counted from the first send's start.
    fn send(&mut self, row: &[u32; ROW]) -> Result<Layout, Fault> {
        let &[message, start, subject, reply_to, headers, payload] = row;
        if message as usize >= self.messages {
            return nonsense(format!("a send for message {message} of {}", self.messages));
        }
        if message < self.message {
            let last = self.message;
            return nonsense(format!(
                "a send for message {message} behind one for message {last}"
            ));
        }
        let start = start as usize;
        if start < self.end {
            let end = self.end;
            return nonsense(format!(
                "a send that begins at {start}, before the one before ends, at {end}"
            ));
        }
        self.message = message;
        self.end = start;
        let layout = Layout {
            subject: self.span(subject)?,
            reply_to: self.span(reply_to)?,
            headers: self.span(headers)?,
            payload: self.span(payload)?,
            format: Format::Raw,
        };
        let part = |at: usize, len: u32| &self.arena[at..at + len as usize];
        let (reply_at, payload_at) = (start + subject as usize, self.end - payload as usize);
        let headers_at = payload_at - headers as usize;
        let (subject, headers) = (part(start, subject), part(headers_at, headers));
        let reply_to = part(reply_at, reply_to);
        self.check(message as usize, subject, reply_to, headers)?;
        if payload as usize > PAYLOAD_BYTES_MAX {
            return nonsense(format!(
                "a payload of {payload} bytes; {PAYLOAD_BYTES_MAX} may be"
            ));
        }
        (self.subject, self.headers) = (subject, headers);
        Ok(layout)
    }

    /// The next part of a send, of this length.
    fn span(&mut self, len: u32) -> Result<Span, Fault> {
        let from = self.end;
        let end = from
            .checked_add(len as usize)
            .filter(|end| *end <= self.arena.len());
        let Some(end) = end else {
            let bytes = self.arena.len();
            return nonsense(format!(
                "a send of which a part, {len} bytes at {from}, is not in its {bytes} bytes"
            ));
        };
        self.end = end;
        Ok(Span::since(from - self.base, end - self.base))
    }

    fn check(
        &self,
        message: usize,
        subject: &[u8],
        reply_to: &[u8],
        headers: &[u8],
    ) -> Result<(), Fault> {
        if subject != self.subject || subject.is_empty() {
            let allowed = self.rights.send(message, text(subject)?);
            allowed.map_err(|why| Fault::new(FaultKind::Refused, why))?;
        }
        if !reply_to.is_empty() {
            let allowed = self.rights.reply_to(message, text(reply_to)?);
            allowed.map_err(|why| Fault::new(FaultKind::Refused, why))?;
        }
        match fault_of_headers(headers).filter(|_| headers != self.headers) {
            Some(why) => nonsense(format!("bad headers: {why}")),
            None => Ok(()),
        }
    }
}

fn text(subject: &[u8]) -> Result<&str, Fault> {
    match std::str::from_utf8(subject) {
        Ok(text) => Ok(text),
        Err(_) => nonsense("a subject that is not UTF-8".into()),
    }
}
