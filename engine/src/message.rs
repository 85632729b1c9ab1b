//! A message: one slice of the buffer that it arrived in, and where its parts lie in it.
//!
//! Owns the parts of a message and how its headers are written. Knows nothing else: no broker, no contract, no clock.
//! One reference count a message, whatever it carries; headers are parsed only when somebody reads them.

use std::fmt;

use bytes::{BufMut, Bytes, BytesMut};
use thiserror::Error;

use crate::subject::{SubjectError, check_subject};
use crate::time::Instant;

/// Largest payload of one message, in bytes (1 MiB, the default of NATS): a larger one is refused where it is made.
pub const PAYLOAD_BYTES_MAX: usize = 1 << 20;
/// Largest header block of one message, in bytes (64 KiB): a larger one is refused where it is made.
pub const HEADER_BYTES_MAX: usize = 64 << 10;

/// Why a message can't be made.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum MessageError {
    /// Its subject or reply subject can't be published to.
    #[error(transparent)]
    Subject(#[from] SubjectError),
    /// A header can't be written.
    #[error("bad header {key:?}: {reason}")]
    Header {
        /// The header's key.
        key: String,
        /// Why it can't be written.
        reason: &'static str,
    },
    /// The payload is too large.
    #[error(
        "payload of {bytes} bytes is above the limit of {} bytes",
        PAYLOAD_BYTES_MAX
    )]
    Payload {
        /// Its size.
        bytes: usize,
    },
}

/// What a payload is, as the WIT contracts name it; carried, never looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Format {
    /// CloudEvents.
    CloudEvents,
    /// HTTP.
    Http,
    /// AMQP.
    Amqp,
    /// MQTT.
    Mqtt,
    /// Kafka.
    Kafka,
    /// Bytes.
    #[default]
    Raw,
}

/// Part of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Span {
    start: u32,
    len: u32,
}

impl Span {
    /// The span from `start` to the present end of `frame`.
    pub(crate) fn since(start: usize, end: usize) -> Self {
        debug_assert!(start <= end && end <= u32::MAX as usize);
        Self {
            start: start as u32,
            len: (end - start) as u32,
        }
    }

    pub(crate) fn of(self, frame: &[u8]) -> &[u8] {
        &frame[self.start as usize..][..self.len as usize]
    }
}

/// Where a message's parts lie in its frame.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Layout {
    pub(crate) subject: Span,
    pub(crate) reply_to: Span,
    pub(crate) headers: Span,
    pub(crate) payload: Span,
    pub(crate) format: Format,
}

impl Layout {
    /// Of parts that lie one behind the other from `start` on: subject, reply subject, headers, payload, of these lengths.
    #[inline]
    #[allow(dead_code, reason = "the simulator lays none out")]
    pub(crate) fn adjoining(start: u32, [subject, reply_to, headers, payload]: [u32; 4]) -> Self {
        let span = |start, len| Span { start, len };
        let reply_at = start + subject;
        let headers_at = reply_at + reply_to;
        Self {
            subject: span(start, subject),
            reply_to: span(reply_at, reply_to),
            headers: span(headers_at, headers),
            payload: span(headers_at + headers, payload),
            format: Format::Raw,
        }
    }
}

impl Layout {
    /// Appends the four parts, which lie so in `frame`, one behind the other; how long each is. Inlined, so that the lengths stay in registers:
    /// they would be written by fours and read by sixteens, which waits for the writes.
    #[inline(always)]
    #[allow(dead_code, reason = "the simulator lays none out")]
    pub(crate) fn write_parts(&self, frame: &[u8], into: &mut Vec<u8>) -> [u32; 4] {
        let Self {
            subject,
            reply_to,
            headers,
            payload,
            ..
        } = *self;
        let mut end = subject.start + subject.len;
        let mut adjoining = true;
        for span in [reply_to, headers, payload] {
            adjoining &= span.len == 0 || span.start == end;
            end += span.len;
        }
        match adjoining {
            true => into.extend_from_slice(&frame[subject.start as usize..end as usize]),
            false => {
                for span in [subject, reply_to, headers, payload] {
                    into.extend_from_slice(span.of(frame));
                }
            }
        }
        [subject.len, reply_to.len, headers.len, payload.len]
    }
}

/// Where a message came from, and so who is told how it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[allow(dead_code, reason = "the simulator has messages of one origin")]
pub(crate) enum Via {
    /// This process: nobody else knows of it.
    #[default]
    Process,
    /// A server that keeps nothing: it is told nothing.
    Core,
    /// A stream: its reply subject is where it is acknowledged.
    Stream,
    /// A stream that was told on arrival: its reply subject is nobody's any more.
    Acked,
}

impl Via {
    /// Whether the reply subject is that of who published the message.
    fn has_reply(self) -> bool {
        matches!(self, Self::Process | Self::Core)
    }
}

/// A message: subject, payload, and where there are any, a reply subject and headers. Cheap to clone: its bytes are shared.
///
/// ```
/// let message = millpond::Message::new("orders.new", b"{}")?;
/// assert_eq!((message.subject(), message.payload()), ("orders.new", &b"{}"[..]));
/// # Ok::<(), millpond::MessageError>(())
/// ```
#[derive(Clone)]
pub struct Message {
    frame: Bytes,
    layout: Layout,
    /// Unique in its engine; given on admission, 0 before.
    pub(crate) id: u64,
    /// Calls that have failed on this message alone, or abandoned it.
    pub(crate) attempts: u32,
    /// Whether it is called alone, so that the cause of a fault stands alone.
    pub(crate) alone: bool,
    /// Times that it was given back since its sends could not be sent, or were not confirmed: that is no attempt.
    pub(crate) returns: u8,
    /// Where it came from.
    pub(crate) via: Via,
    /// Its place in a table of who it came from; 0 where there is none.
    pub(crate) place: u32,
    /// When it came to be: latency and budget count from here.
    pub(crate) arrived: Option<Instant>,
}

impl Message {
    /// A message with a subject and a payload.
    ///
    /// # Errors
    /// A subject that can't be published to; a payload above [`PAYLOAD_BYTES_MAX`].
    pub fn new(subject: &str, payload: &[u8]) -> Result<Self, MessageError> {
        Self::builder(subject).payload(payload)
    }

    /// Starts a message that has more than a subject and a payload.
    #[must_use]
    pub fn builder(subject: &str) -> MessageBuilder {
        MessageBuilder::new(subject)
    }

    /// A message whose parts lie in `frame` as `layout` says.
    pub(crate) fn from_frame(frame: Bytes, layout: Layout) -> Self {
        Self {
            frame,
            layout,
            id: 0,
            attempts: 0,
            alone: false,
            returns: 0,
            via: Via::Process,
            place: 0,
            arrived: None,
        }
    }

    /// The subject that it was published to.
    #[must_use]
    pub fn subject(&self) -> &str {
        text(self.layout.subject.of(&self.frame))
    }

    /// The subject that a reply goes to, where the publisher waits for one.
    #[must_use]
    pub fn reply_to(&self) -> Option<&str> {
        let reply = self.layout.reply_to;
        let asked = reply.len > 0 && self.via.has_reply();
        asked.then(|| text(reply.of(&self.frame)))
    }

    /// Whether its reply goes to this subject.
    pub(crate) fn asks_on(&self, subject: &str) -> bool {
        let reply = self.asked_on();
        !reply.is_empty() && reply == subject.as_bytes()
    }

    /// The subject that its reply goes to; empty where nobody waits for one.
    pub(crate) fn asked_on(&self) -> &[u8] {
        match self.via.has_reply() {
            true => self.layout.reply_to.of(&self.frame),
            false => &[],
        }
    }

    /// Its subject as it came: from a foreign broker it may be no text. To look at it as text costs a check of each byte.
    #[allow(dead_code, reason = "the simulator writes no subject")]
    pub(crate) fn raw_subject(&self) -> &[u8] {
        self.layout.subject.of(&self.frame)
    }

    /// Its reply subject as it came; empty where there is none. Where it came from a stream, that is told there how it ended.
    #[allow(dead_code, reason = "the simulator has no stream")]
    pub(crate) fn raw_reply_to(&self) -> &[u8] {
        self.layout.reply_to.of(&self.frame)
    }

    /// Its headers as they came: lines that each end in CR LF, without a version line or a blank one.
    pub(crate) fn raw_headers(&self) -> &[u8] {
        self.layout.headers.of(&self.frame)
    }

    /// Appends subject, reply subject, headers and payload, one behind the other; how long each is. What a stream's reply subject
    /// is for, nobody else is told. In most frames they lie so already: then it is one copy.
    #[inline(always)]
    pub(crate) fn write_parts(&self, into: &mut Vec<u8>) -> [u32; 4] {
        match self.via {
            Via::Process | Via::Core => self.layout.write_parts(&self.frame, into),
            Via::Stream | Via::Acked => {
                let layout = Layout {
                    reply_to: Span::default(),
                    ..self.layout
                };
                layout.write_parts(&self.frame, into)
            }
        }
    }

    /// Its bytes, and where its parts lie in them.
    #[cfg(test)]
    pub(crate) fn raw(&self) -> (&[u8], &Layout) {
        (&self.frame, &self.layout)
    }

    /// Another part of the frame that it was made from, while it is not detached.
    pub(crate) fn part(&self, span: Span) -> &[u8] {
        let (start, len) = (span.start as usize, span.len as usize);
        self.frame.get(start..start + len).unwrap_or_default()
    }

    /// The payload.
    #[must_use]
    pub fn payload(&self) -> &[u8] {
        self.layout.payload.of(&self.frame)
    }

    /// The payload, sharing the message's buffer.
    #[allow(dead_code, reason = "the simulator's guests don't ask")]
    pub(crate) fn shared_payload(&self) -> Bytes {
        let Span { start, len } = self.layout.payload;
        self.frame.slice(start as usize..(start + len) as usize)
    }

    /// What the payload is.
    #[must_use]
    pub fn format(&self) -> Format {
        self.layout.format
    }

    /// Its headers, in the order in which they were written.
    pub fn headers(&self) -> impl Iterator<Item = (&str, &str)> {
        Headers(self.layout.headers.of(&self.frame))
    }

    /// The bytes that its limits count: subject, reply subject, headers and payload.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let l = &self.layout;
        (l.subject.len + l.reply_to.len + l.headers.len + l.payload.len) as usize
    }

    /// The bytes of the buffer that it keeps, which it may share with others.
    pub(crate) fn pinned(&self) -> usize {
        self.frame.len()
    }

    /// The same message with another place for its reply.
    pub(crate) fn with_reply_to(&self, reply_to: &str) -> Result<Self, MessageError> {
        let start = Self::builder(self.subject())
            .reply_to(reply_to)
            .format(self.format());
        let mut message = self
            .headers()
            .fold(start, |b, (key, value)| b.header(key, value))
            .payload(self.payload())?;
        message.arrived = self.arrived;
        Ok(message)
    }

    /// Copies the message out of the buffer that it arrived in, so that keeping it keeps nothing else.
    pub(crate) fn detach(&mut self) {
        if self.pinned() == self.bytes() {
            return;
        }
        let mut frame = BytesMut::with_capacity(self.bytes());
        let mut copy = |span: Span| {
            let start = frame.len();
            frame.put_slice(span.of(&self.frame));
            Span::since(start, frame.len())
        };
        self.layout = Layout {
            subject: copy(self.layout.subject),
            reply_to: copy(self.layout.reply_to),
            headers: copy(self.layout.headers),
            payload: copy(self.layout.payload),
            format: self.layout.format,
        };
        self.frame = frame.freeze();
    }

    /// When it came to be, as a publisher or the engine said it.
    pub(crate) fn arrived_or(&self, now: Instant) -> Instant {
        self.arrived.unwrap_or(now)
    }
}

impl fmt::Debug for Message {
    /// Without the payload: it may be large, and may be secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Message")
            .field("subject", &self.subject())
            .field("reply_to", &self.reply_to())
            .field("id", &self.id)
            .field("payload_bytes", &self.layout.payload.len)
            .finish_non_exhaustive()
    }
}

/// Collects a message's parts; see [`Message::builder`].
#[derive(Debug, Clone)]
pub struct MessageBuilder {
    frame: BytesMut,
    layout: Layout,
    arrived: Option<Instant>,
    error: Option<MessageError>,
}

impl MessageBuilder {
    fn new(subject: &str) -> Self {
        let mut builder = Self {
            frame: BytesMut::with_capacity(subject.len() + 192),
            layout: Layout::default(),
            arrived: None,
            error: check_subject(subject).err().map(Into::into),
        };
        builder.frame.put_slice(subject.as_bytes());
        builder.layout.subject = Span::since(0, builder.frame.len());
        builder.layout.headers = Span::since(builder.frame.len(), builder.frame.len());
        builder
    }

    /// Where a reply goes. Before any header.
    ///
    /// # Panics
    /// If a header was added first: the parts of a message lie in one buffer, in this order.
    #[must_use]
    pub fn reply_to(mut self, subject: &str) -> Self {
        assert!(
            self.layout.headers.len == 0,
            "reply_to comes before headers"
        );
        self.error = self.error.or(check_subject(subject).err().map(Into::into));
        let start = self.frame.len();
        self.frame.put_slice(subject.as_bytes());
        self.layout.reply_to = Span::since(start, self.frame.len());
        self.layout.headers = Span::since(self.frame.len(), self.frame.len());
        self
    }

    /// Adds a header; the same key may come several times.
    #[must_use]
    pub fn header(mut self, key: &str, value: &str) -> Self {
        let start = self.layout.headers.start as usize;
        if let Err(error) = put_header(&mut self.frame, start, key, value) {
            self.error = self.error.or(Some(error));
        }
        self.layout.headers = Span::since(start, self.frame.len());
        self
    }

    /// What the payload is; raw bytes unless said.
    #[must_use]
    pub fn format(mut self, format: Format) -> Self {
        self.layout.format = format;
        self
    }

    /// When the message came to be, if earlier than its publication: latency counts from here, so that an open-loop load
    /// generator can count from the time it meant to publish.
    #[must_use]
    pub fn arrived(mut self, at: impl Into<Instant>) -> Self {
        self.arrived = Some(at.into());
        self
    }

    /// Ends the message with its payload.
    ///
    /// # Errors
    /// The first thing that was wrong with any of its parts.
    pub fn payload(mut self, payload: &[u8]) -> Result<Message, MessageError> {
        if let Some(error) = self.error {
            return Err(error);
        }
        if payload.len() > PAYLOAD_BYTES_MAX {
            return Err(MessageError::Payload {
                bytes: payload.len(),
            });
        }
        let start = self.frame.len();
        self.frame.put_slice(payload);
        self.layout.payload = Span::since(start, self.frame.len());
        // Cut to its size it needs no count beside it until it is shared: whoever drops it frees one block.
        let frame = Vec::from(self.frame).into_boxed_slice();
        let mut message = Message::from_frame(frame.into(), self.layout);
        message.arrived = self.arrived;
        Ok(message)
    }
}

/// Writes one header as NATS does (`Key: Value`, CR LF), so that both brokers share one form. Nothing is written on an error.
pub(crate) fn put_header(
    frame: &mut BytesMut,
    block: usize,
    key: &str,
    value: &str,
) -> Result<(), MessageError> {
    let reason = if key.is_empty() {
        "its key is empty"
    } else if key.bytes().any(|b| b <= b' ' || b == b':' || b == 0x7f) {
        "its key has white space, a colon or a control character"
    } else if value.bytes().any(|b| matches!(b, b'\r' | b'\n')) {
        "its value has a line break"
    } else if frame.len() - block + key.len() + value.len() + 4 > HEADER_BYTES_MAX {
        "the headers are above 64 KiB"
    } else {
        for part in [key, ": ", value, "\r\n"] {
            frame.put_slice(part.as_bytes());
        }
        return Ok(());
    };
    Err(MessageError::Header {
        key: key.chars().take(64).collect(),
        reason,
    })
}

/// What is wrong with a header block that was not made by [`put_header`], if anything is.
pub(crate) fn fault_of_headers(block: &[u8]) -> Option<&'static str> {
    if block.len() > HEADER_BYTES_MAX {
        return Some("they are above 64 KiB");
    }
    if std::str::from_utf8(block).is_err() {
        return Some("they are not UTF-8");
    }
    let mut rest = block;
    while !rest.is_empty() {
        let Some(end) = memchr::memchr2(b'\r', b'\n', rest) else {
            return Some("the last line does not end in CR LF");
        };
        let (line, behind) = rest.split_at(end);
        let Some(behind) = behind.strip_prefix(b"\r\n") else {
            return Some("a line has a CR or LF that is not its end");
        };
        let Some(name) = memchr::memchr(b':', line).map(|colon| &line[..colon]) else {
            return Some("a line has no colon");
        };
        if name.is_empty() || name.iter().any(|b| *b <= b' ' || *b == 0x7f) {
            return Some("a name is empty or has white space or a control character");
        }
        rest = behind;
    }
    None
}

/// The lines of a header block.
struct Headers<'a>(&'a [u8]);

impl<'a> Iterator for Headers<'a> {
    type Item = (&'a str, &'a str);

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let end = memchr::memchr(b'\n', self.0)?;
        let (line, rest) = (&self.0[..end], &self.0[end + 1..]);
        self.0 = rest;
        let line = text(line).trim_end_matches('\r');
        let Some(colon) = line.bytes().position(|byte| byte == b':') else {
            return Some((line, ""));
        };
        let (key, value) = (&line[..colon], &line[colon + 1..]);
        Some((key, value.strip_prefix(' ').unwrap_or(value)))
    }
}

/// Text that was checked when the frame was made; from a foreign broker it may be none, and is then read as empty.
fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap_or_default()
}

/// A handler of one engine, by its place in the configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct HandlerId(pub(crate) u32);

impl HandlerId {
    /// Its place in tables that have a row a handler.
    pub(crate) fn index(self) -> usize {
        self.0 as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn full() -> Message {
        Message::builder("a.b")
            .reply_to("r.1")
            .header("k", "v")
            .header("k", " two: parts ")
            .format(Format::Kafka)
            .payload(b"data")
            .unwrap()
    }

    #[test]
    fn parts_come_back() {
        let m = full();
        assert_eq!(
            (m.subject(), m.reply_to(), m.payload()),
            ("a.b", Some("r.1"), &b"data"[..])
        );
        assert_eq!(
            m.headers().collect::<Vec<_>>(),
            [("k", "v"), ("k", " two: parts ")]
        );
        assert_eq!(m.format(), Format::Kafka);
        assert_eq!(m.bytes(), 3 + 3 + "k: v\r\nk:  two: parts \r\n".len() + 4);
    }

    #[test]
    fn detached_message_is_equal_and_alone() {
        let mut m = full();
        let frame = Bytes::from([b"XX", &m.frame[..], b"YY"].concat());
        for span in [
            &mut m.layout.subject,
            &mut m.layout.reply_to,
            &mut m.layout.headers,
            &mut m.layout.payload,
        ] {
            span.start += 2;
        }
        m.frame = frame;
        m.detach();
        assert_eq!(m.frame.len(), m.bytes());
        assert_eq!((m.subject(), m.payload()), ("a.b", &b"data"[..]));
        assert_eq!(m.headers().count(), 2);
    }

    #[test]
    fn parts_are_written_one_behind_the_other_wherever_they_lie() {
        let whole = b"a.br.1k: v\r\nk:  two: parts \r\ndata";
        let lens = [3, 3, whole.len() as u32 - 10, 4];
        let written = |m: &Message| {
            let mut into = b"before".to_vec();
            let lens = m.write_parts(&mut into);
            (into[6..].to_vec(), lens)
        };
        let mut m = full();
        assert_eq!(written(&m), (whole.to_vec(), lens));
        // As the server's lines have them: the headers behind something else.
        let frame = [&m.frame[..6], b" 12\r\n", &m.frame[6..]].concat();
        m.frame = frame.into();
        (m.layout.headers.start, m.layout.payload.start) =
            (m.layout.headers.start + 5, m.layout.payload.start + 5);
        assert_eq!(written(&m), (whole.to_vec(), lens));
        m.via = Via::Stream;
        let hidden = [&whole[..3], &whole[6..]].concat();
        assert_eq!(written(&m), (hidden, [3, 0, lens[2], 4]));
        let plain = Message::new("a", b"x").unwrap();
        assert_eq!(written(&plain), (b"ax".to_vec(), [1, 0, 0, 1]));
    }

    #[test]
    fn header_blocks_are_lines_of_names_and_values() {
        for good in ["", "k: v\r\n", "k:v\r\n", "k:\r\nK: \u{e4}: b\r\n"] {
            assert_eq!(fault_of_headers(good.as_bytes()), None, "{good:?}");
        }
        for (bad, why) in [
            (&b"k: v"[..], "does not end"),
            (b"k: v\n", "CR or LF"),
            (b"k: v\rx\r\n", "CR or LF"),
            (b"k: v\r", "CR or LF"),
            (b"k v\r\n", "no colon"),
            (b"\r\n", "no colon"),
            (b": v\r\n", "a name is empty"),
            (b"k k: v\r\n", "white space"),
            (b"k: \xff\r\n", "UTF-8"),
        ] {
            let fault = fault_of_headers(bad).unwrap_or("nothing");
            assert!(fault.contains(why), "{bad:?}: {fault}");
        }
        let long = |n: usize| ["k: ", &"v".repeat(n - 5), "\r\n"].concat();
        assert_eq!(fault_of_headers(long(HEADER_BYTES_MAX).as_bytes()), None);
        assert!(fault_of_headers(long(HEADER_BYTES_MAX + 1).as_bytes()).is_some());
    }

    #[test]
    fn bad_parts_are_refused() {
        let err = |b: MessageBuilder| b.payload(b"").unwrap_err().to_string();
        assert!(err(Message::builder("a b")).contains("white space"));
        assert!(err(Message::builder("a").reply_to("")).contains("empty"));
        assert!(err(Message::builder("a").header("", "v")).contains("key is empty"));
        assert!(err(Message::builder("a").header("k:", "v")).contains("colon"));
        assert!(err(Message::builder("a").header("k", "v\r\nx: y")).contains("line break"));
    }

    #[test]
    fn sizes_at_the_limit_pass_and_one_over_is_refused() {
        Message::new("a", &vec![0; PAYLOAD_BYTES_MAX]).unwrap();
        let over = Message::new("a", &vec![0; PAYLOAD_BYTES_MAX + 1]).unwrap_err();
        assert_eq!(
            over,
            MessageError::Payload {
                bytes: PAYLOAD_BYTES_MAX + 1
            }
        );
        let value = |n: usize| "v".repeat(n - "k: \r\n".len());
        let with = |n| Message::builder("a").header("k", &value(n)).payload(b"");
        with(HEADER_BYTES_MAX).unwrap();
        with(HEADER_BYTES_MAX + 1).unwrap_err();
    }

    proptest! {
        #[test]
        fn any_header_that_is_taken_comes_back(key in "[!-9;-~]{1,20}", value in "[^\r\n]{0,40}") {
            let m = Message::builder("a").header(&key, &value).payload(b"x").unwrap();
            prop_assert_eq!(fault_of_headers(m.raw_headers()), None);
            prop_assert_eq!(m.headers().collect::<Vec<_>>(), vec![(key.as_str(), value.as_str())]);
        }
    }
}
