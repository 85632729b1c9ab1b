//! Operations out of a read buffer, in place: a message is one slice of it, and nothing is copied or allocated for it.
//!
//! Owns the syntax of what a server sends, and its limits. Knows no socket, and not what an operation means. Stands between
//! `connection.rs`, which reads, and the transport, which hands messages to handlers.
//!
//! Nothing that another client can publish ends the connection: a message above the limits is skipped and reported, and a header
//! block that is none is taken for no headers. What only a broken server can send is a [`WireError`].

use std::ops::Range;

use bytes::Bytes;
use thiserror::Error;

use crate::message::{HEADER_BYTES_MAX, Layout, Message, PAYLOAD_BYTES_MAX, Span};

use super::headers::{BLOCK_FRAME_BYTES, Block};
use super::info::ServerInfo;
use super::line::{Line, fields};

/// Limits of what a server may send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct WireLimits {
    /// Bytes of a line but INFO, without its line end. Default 8,192: a server takes lines of 4,096 bytes unless told otherwise,
    /// and what it makes of one for a subscriber is longer by a number and may have another reply subject. One over ends the connection.
    pub(crate) control_line_bytes_max: usize,
    /// Bytes of INFO's line. Default 64 KiB: room for the addresses of a thousand servers. One over ends the connection.
    pub(crate) info_bytes_max: usize,
    /// Bytes of a message's headers, their version line and blank line left out. Default [`HEADER_BYTES_MAX`]. A message with one
    /// more is skipped and reported.
    pub(crate) header_bytes_max: usize,
    /// Bytes of a message's header block and payload together, as a server's `max_payload` counts. Default
    /// [`PAYLOAD_BYTES_MAX`]; at most 1 GiB. A message with one more is skipped and reported. The read buffer has to hold as much.
    pub(crate) payload_bytes_max: usize,
}

impl Default for WireLimits {
    fn default() -> Self {
        Self {
            control_line_bytes_max: 8 << 10,
            info_bytes_max: 64 << 10,
            header_bytes_max: HEADER_BYTES_MAX,
            payload_bytes_max: PAYLOAD_BYTES_MAX,
        }
    }
}

/// What is wrong with what the server sent. The connection can't go on: where the next operation begins is not known.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub(crate) enum WireError {
    /// A line is too long.
    #[error(
        "the server sent a line of more than {bytes_max} bytes, beginning {line}: is it a NATS server?"
    )]
    Line {
        /// The limit.
        bytes_max: usize,
        /// How it begins.
        line: String,
    },
    /// A line is no operation that a server sends.
    #[error(
        "the server sent {line}, which is no operation of NATS: is it a NATS server, and is TLS set as there?"
    )]
    Operation {
        /// How it begins.
        line: String,
    },
    /// The fields of a message's line are not what they should be.
    #[error("the server sent a message's line that can't be read ({reason}): {line}")]
    Message {
        /// What is wrong.
        reason: &'static str,
        /// How it begins.
        line: String,
    },
    /// A payload is not ended by CR LF.
    #[error(
        "the server sent a message of {bytes} bytes that does not end there: its stream is out of step"
    )]
    Payload {
        /// What its line said.
        bytes: usize,
    },
    /// INFO is no JSON of the known form.
    #[error("the server sent an INFO that can't be read: {reason}")]
    Info {
        /// What the JSON parser said.
        reason: String,
    },
}

/// What the server sends.
#[derive(Debug)]
pub(crate) enum Op {
    /// INFO: what the server is; sent first, and again when that changes.
    Info(Box<ServerInfo>),
    /// MSG or HMSG.
    Message(Found),
    /// A message above the limits; what it carried is skipped.
    TooLarge(TooLarge),
    /// PING: a PONG is due.
    Ping,
    /// PONG: everything sent before the PING has been taken in.
    Pong,
    /// `+OK`.
    Ok,
    /// `-ERR`: its text, without quotes.
    Err(String),
}

/// Where a message lies in what was read. It becomes one by [`Found::incoming`]; who only copies its parts needs no count of references.
#[derive(Debug, Clone)]
pub(crate) struct Found {
    /// The subscription's number.
    pub(crate) sid: u64,
    /// From its subject to the end of its payload.
    at: Range<usize>,
    layout: Layout,
    status: Option<u16>,
    description: Span,
}

impl Found {
    /// The message: a slice of `chunk`, in which it was found.
    pub(crate) fn incoming(self, chunk: &Bytes) -> Incoming {
        Incoming {
            sid: self.sid,
            message: Message::from_frame(chunk.slice(self.at), self.layout),
            status: self.status,
            description: self.description,
        }
    }

    /// Its bytes, and where its parts lie in them.
    #[inline]
    pub(crate) fn parts<'a>(&self, chunk: &'a [u8]) -> (&'a [u8], &Layout) {
        (&chunk[self.at.clone()], &self.layout)
    }
}

/// A message for one of the connection's subscriptions.
#[derive(Debug)]
pub(crate) struct Incoming {
    /// The subscription's number.
    #[allow(dead_code, reason = "tests and fuzz targets compare it")]
    pub(crate) sid: u64,
    /// The message: a slice of the buffer from its subject to the end of its payload.
    pub(crate) message: Message,
    /// The number in its headers' first line, where there is one. Any publisher can send one: it means something on an inbox alone.
    pub(crate) status: Option<u16>,
    /// Where in the message's frame the text behind the status lies.
    description: Span,
}

impl Incoming {
    /// The text behind the status; empty where there is none.
    pub(crate) fn description(&self) -> &str {
        std::str::from_utf8(self.message.part(self.description)).unwrap_or_default()
    }
}

/// A message that was not read because it is above the limits.
#[derive(Debug)]
pub(crate) struct TooLarge {
    /// The subscription's number.
    pub(crate) sid: u64,
    /// Its subject and reply subject, without headers and payload.
    pub(crate) message: Message,
    /// Bytes of its header block and payload together.
    pub(crate) bytes: usize,
}

/// Takes operations out of buffers, one after another.
#[derive(Debug)]
pub(crate) struct Parser {
    limits: WireLimits,
    /// Bytes from the present place on that the operation there has, as far as is known.
    needed: usize,
    /// Bytes of a message above the limits that are still to be skipped.
    skip: usize,
}

impl Parser {
    /// A parser at the beginning of a connection's stream.
    pub(crate) fn new(limits: WireLimits) -> Self {
        Self {
            limits,
            needed: 1,
            skip: 0,
        }
    }

    /// Changes the limits from the next operation on: the server's `max_payload` is known only after its INFO.
    #[cfg(test)]
    pub(crate) fn set_limits(&mut self, limits: WireLimits) {
        self.limits = limits;
    }

    /// Bytes from the place where [`Self::next`] stopped that the operation there has, as far as is known; always more than were
    /// there, and never more than the limits allow.
    pub(crate) fn needed(&self) -> usize {
        self.needed
    }

    /// The next complete operation in `chunk[*at..]`; moves `at` behind it. `None`: what is left there is none, and has to be there
    /// again, with more behind it, at the next call.
    ///
    /// # Errors
    /// What no server sends, and lines above the limits. The stream can't be read any further then.
    #[inline]
    pub(crate) fn next(&mut self, chunk: &Bytes, at: &mut usize) -> Result<Option<Op>, WireError> {
        debug_assert!(*at <= chunk.len());
        if self.skip > 0 {
            let skipped = self.skip.min(chunk.len() - *at);
            self.skip -= skipped;
            *at += skipped;
        }
        let rest = &chunk[*at..];
        let Some((line, line_end)) = self.line(rest)? else {
            return Ok(None);
        };
        let op = match line {
            [b'M' | b'm', b'S' | b's', b'G' | b'g', b' ' | b'\t', ..] => {
                return self.message(chunk, at, fields(line, 4, false)?, line_end);
            }
            [
                b'H' | b'h',
                b'M' | b'm',
                b'S' | b's',
                b'G' | b'g',
                b' ' | b'\t',
                ..,
            ] => {
                return self.message(chunk, at, fields(line, 5, true)?, line_end);
            }
            _ => other(line)?,
        };
        *at += line_end;
        Ok(Some(op))
    }

    /// The line that `rest` begins with, without its end, and where the next one begins.
    #[inline]
    fn line<'a>(&mut self, rest: &'a [u8]) -> Result<Option<(&'a [u8], usize)>, WireError> {
        let bytes_max = match rest.first() {
            None => {
                self.needed = 1;
                return Ok(None);
            }
            Some(b'M' | b'm' | b'H' | b'h' | b'P' | b'p' | b'+' | b'-') => {
                self.limits.control_line_bytes_max
            }
            Some(b'I' | b'i') => self.limits.info_bytes_max,
            Some(_) => return Err(operation(rest)),
        };
        let window = &rest[..rest.len().min(bytes_max + 2)];
        let Some(end) = memchr::memchr(b'\n', window) else {
            if window.len() == bytes_max + 2 {
                return Err(too_long(window, bytes_max));
            }
            self.needed = rest.len() + 1;
            return Ok(None);
        };
        let line = &window[..end];
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.len() > bytes_max {
            return Err(too_long(line, bytes_max));
        }
        Ok(Some((line, end + 1)))
    }

    /// The message whose line has been read, once all of it is there. Inlined, so that the line's fields stay in registers:
    /// through memory a message costs 40 % more.
    #[inline(always)]
    fn message(
        &mut self,
        chunk: &Bytes,
        at: &mut usize,
        line: Line,
        line_end: usize,
    ) -> Result<Option<Op>, WireError> {
        let (header_bytes, bytes) = (line.header_bytes, line.total_bytes);
        let header_bytes_max = self.limits.header_bytes_max + BLOCK_FRAME_BYTES;
        if header_bytes > header_bytes_max || bytes > self.limits.payload_bytes_max {
            return Ok(Some(self.too_large(chunk, at, &line, line_end)));
        }
        debug_assert!(header_bytes <= bytes && line.reply_to.1 < line_end);
        let rest = &chunk[*at..];
        let end = line_end + bytes;
        let Some(behind) = rest.get(end..end + 2) else {
            self.needed = end + 2;
            return Ok(None);
        };
        if behind != b"\r\n" {
            return Err(WireError::Payload { bytes });
        }
        let start = line.subject.0;
        let mut layout = line.layout();
        layout.payload = Span::since(line_end + header_bytes - start, end - start);
        let (mut status, mut description) = (None, Span::default());
        if header_bytes > 0
            && let Some(block) = Block::parse(&rest[line_end..line_end + header_bytes])
        {
            let span =
                |(a, b): (usize, usize)| Span::since(line_end + a - start, line_end + b - start);
            layout.headers = span(block.headers);
            status = block.status;
            description = span(block.description);
        }
        let place = *at + start..*at + end;
        *at += end + 2;
        Ok(Some(Op::Message(Found {
            sid: line.sid,
            at: place,
            layout,
            status,
            description,
        })))
    }

    /// Reports a message above the limits, and has what it carries skipped.
    #[cold]
    fn too_large(&mut self, chunk: &Bytes, at: &mut usize, line: &Line, line_end: usize) -> Op {
        let frame = chunk.slice(*at + line.subject.0..*at + line_end);
        *at += line_end;
        self.skip = line.total_bytes + 2;
        Op::TooLarge(TooLarge {
            sid: line.sid,
            message: Message::from_frame(frame, line.layout()),
            bytes: line.total_bytes,
        })
    }
}

/// An operation that is one line without a payload.
#[cold]
fn other(line: &[u8]) -> Result<Op, WireError> {
    let end = line.iter().position(|b| matches!(b, b' ' | b'\t'));
    let (name, rest) = line.split_at(end.unwrap_or(line.len()));
    let rest = rest.trim_ascii();
    match name.to_ascii_uppercase().as_slice() {
        b"PING" => Ok(Op::Ping),
        b"PONG" => Ok(Op::Pong),
        b"+OK" => Ok(Op::Ok),
        b"-ERR" => {
            let text = String::from_utf8_lossy(rest);
            Ok(Op::Err(text.trim_matches('\'').to_owned()))
        }
        b"INFO" => match serde_json::from_slice(rest) {
            Ok(info) => Ok(Op::Info(Box::new(info))),
            Err(error) => Err(WireError::Info {
                reason: error.to_string().chars().take(200).collect(),
            }),
        },
        _ => Err(operation(line)),
    }
}

#[cold]
fn operation(line: &[u8]) -> WireError {
    WireError::Operation { line: shown(line) }
}

#[cold]
fn too_long(line: &[u8], bytes_max: usize) -> WireError {
    WireError::Line {
        bytes_max,
        line: shown(line),
    }
}

/// How a line begins, for an error: at most 48 bytes of it, printable.
pub(super) fn shown(line: &[u8]) -> String {
    let end = memchr::memchr(b'\n', line).unwrap_or(line.len());
    let mut text = String::from("\"");
    for byte in line[..end.min(48)].escape_ascii() {
        text.push(char::from(byte));
    }
    text.push_str(if end > 48 { "\" ..." } else { "\"" });
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// An operation as something that can be compared.
    #[derive(Debug, Clone, PartialEq)]
    enum Seen {
        Info(Box<ServerInfo>),
        Message {
            sid: u64,
            subject: Vec<u8>,
            reply_to: Vec<u8>,
            headers: Vec<u8>,
            status: Option<u16>,
            description: String,
            payload: Vec<u8>,
        },
        TooLarge {
            sid: u64,
            subject: Vec<u8>,
            reply_to: Vec<u8>,
            bytes: usize,
        },
        Ping,
        Pong,
        Ok,
        Err(String),
    }

    impl Seen {
        fn of(op: Op, chunk: &Bytes) -> Self {
            let message = |found: Found| {
                let m = found.incoming(chunk);
                Self::Message {
                    sid: m.sid,
                    subject: m.message.raw_subject().to_vec(),
                    reply_to: m.message.raw_reply_to().to_vec(),
                    headers: m.message.raw_headers().to_vec(),
                    status: m.status,
                    description: m.description().to_owned(),
                    payload: m.message.payload().to_vec(),
                }
            };
            match op {
                Op::Info(info) => Self::Info(info),
                Op::Message(found) => message(found),
                Op::TooLarge(m) => Self::TooLarge {
                    sid: m.sid,
                    subject: m.message.raw_subject().to_vec(),
                    reply_to: m.message.raw_reply_to().to_vec(),
                    bytes: m.bytes,
                },
                Op::Ping => Self::Ping,
                Op::Pong => Self::Pong,
                Op::Ok => Self::Ok,
                Op::Err(text) => Self::Err(text),
            }
        }
    }

    /// Small limits, so that random streams meet them.
    fn small() -> WireLimits {
        WireLimits {
            control_line_bytes_max: 120,
            info_bytes_max: 200,
            header_bytes_max: 80,
            payload_bytes_max: 300,
        }
    }

    /// Reads a stream that comes in pieces, as `connection.rs` does: what is incomplete is carried over.
    fn read<'a>(
        limits: WireLimits,
        pieces: impl IntoIterator<Item = &'a [u8]>,
    ) -> (Vec<Seen>, Option<WireError>) {
        let needed_max = limits
            .info_bytes_max
            .max(limits.control_line_bytes_max + limits.payload_bytes_max)
            + 4;
        let (mut parser, mut seen, mut carried) = (Parser::new(limits), Vec::new(), Vec::new());
        for piece in pieces {
            carried.extend_from_slice(piece);
            let (chunk, mut at) = (Bytes::copy_from_slice(&carried), 0);
            loop {
                match parser.next(&chunk, &mut at) {
                    Ok(Some(op)) => seen.push(Seen::of(op, &chunk)),
                    Ok(None) => break,
                    Err(error) => return (seen, Some(error)),
                }
            }
            carried.drain(..at);
            assert!(parser.needed() > carried.len(), "it says what is missing");
            assert!(
                parser.needed() <= needed_max,
                "it never wants more than the limits"
            );
        }
        (seen, None)
    }

    fn all(stream: &[u8]) -> (Vec<Seen>, Option<WireError>) {
        read(WireLimits::default(), [stream])
    }

    fn one(stream: &[u8]) -> Seen {
        let (seen, error) = all(stream);
        assert_eq!(error, None);
        let [one] = <[Seen; 1]>::try_from(seen).unwrap();
        one
    }

    fn error(stream: &[u8]) -> WireError {
        all(stream).1.expect("an error")
    }

    #[test]
    fn operations_are_read_whatever_their_case_and_blanks() {
        for ping in ["PING\r\n", "ping\r\n", "PiNg \r\n", "PING\n"] {
            assert_eq!(one(ping.as_bytes()), Seen::Ping);
        }
        assert_eq!(one(b"pong\r\n"), Seen::Pong);
        assert_eq!(one(b"+ok\r\n"), Seen::Ok);
        assert_eq!(
            one(b"-ERR 'Stale Connection'\r\n"),
            Seen::Err("Stale Connection".into())
        );
        assert_eq!(one(b"-err\t'it's'\r\n"), Seen::Err("it's".into()));
        assert_eq!(one(b"-ERR\r\n"), Seen::Err(String::new()));
        let info = one(b"INFO {\"server_id\":\"N\",\"max_payload\":7,\"more\":[]} \r\n");
        let wanted = ServerInfo {
            server_id: "N".into(),
            max_payload: 7,
            ..ServerInfo::default()
        };
        assert_eq!(info, Seen::Info(Box::new(wanted)));
    }

    fn message(sid: u64, subject: &str, reply_to: &str, payload: &str) -> Seen {
        Seen::Message {
            sid,
            subject: subject.into(),
            reply_to: reply_to.into(),
            headers: Vec::new(),
            status: None,
            description: String::new(),
            payload: payload.into(),
        }
    }

    #[test]
    fn messages_are_read_with_and_without_reply() {
        assert_eq!(
            one(b"MSG a.b 1 5\r\nhello\r\n"),
            message(1, "a.b", "", "hello")
        );
        assert_eq!(
            one(b"MSG a.b 1 r.1 5\r\nhello\r\n"),
            message(1, "a.b", "r.1", "hello")
        );
        assert_eq!(
            one(b"msg  a \t 18446744073709551615\t0 \r\n\r\n"),
            message(u64::MAX, "a", "", "")
        );
        assert_eq!(
            one(b"MSG 1 2 3 4\r\n\r\n\r\n\r\n"),
            message(2, "1", "3", "\r\n\r\n")
        );
    }

    #[test]
    fn headers_and_status_are_read() {
        let block = "NATS/1.0 409 Consumer Deleted\r\nk: v\r\nk: w\r\n\r\n";
        let stream = format!(
            "HMSG s 3 r {} {}\r\n{block}data\r\n",
            block.len(),
            block.len() + 4
        );
        let wanted = Seen::Message {
            sid: 3,
            subject: "s".into(),
            reply_to: "r".into(),
            headers: "k: v\r\nk: w\r\n".into(),
            status: Some(409),
            description: "Consumer Deleted".into(),
            payload: "data".into(),
        };
        assert_eq!(one(stream.as_bytes()), wanted);
        let chunk = Bytes::from(stream);
        let Ok(Some(Op::Message(m))) = Parser::new(WireLimits::default()).next(&chunk, &mut 0)
        else {
            panic!("no message");
        };
        let m = m.incoming(&chunk);
        assert_eq!(
            m.message.headers().collect::<Vec<_>>(),
            [("k", "v"), ("k", "w")]
        );
        assert_eq!(m.message.bytes(), 1 + 1 + 12 + 4);
        let mut detached = m;
        detached.message.detach();
        assert_eq!(detached.message.headers().count(), 2);
    }

    #[test]
    fn a_message_is_one_slice_from_its_subject_to_its_end() {
        let chunk = Bytes::from_static(b"PING\r\nMSG a.b 1 r 5\r\nhello\r\nPING\r\n");
        let (mut parser, mut at) = (Parser::new(WireLimits::default()), 6);
        let Ok(Some(Op::Message(m))) = parser.next(&chunk, &mut at) else {
            panic!("no message");
        };
        let m = m.incoming(&chunk);
        assert_eq!(m.message.pinned(), "a.b 1 r 5\r\nhello".len());
        assert_eq!(m.message.payload().as_ptr(), chunk[6 + 15..].as_ptr());
        assert_eq!(at, chunk.len() - 6);
    }

    #[test]
    fn a_header_block_that_is_none_does_no_harm() {
        for block in [
            "x",
            "",
            "NATS/1.0\r\n",
            "NATS/1.0\r\nno end\r\n",
            "NATS/2.0\r\n\r\n",
        ] {
            let stream = format!(
                "HMSG s 3 {} {}\r\n{block}data\r\n",
                block.len(),
                block.len() + 4
            );
            assert_eq!(
                one(stream.as_bytes()),
                message(3, "s", "", "data"),
                "{block:?}"
            );
        }
    }

    #[test]
    fn what_no_server_sends_is_an_error_with_its_reason() {
        for (stream, reason) in [
            ("GET / HTTP/1.1\r\n", "no operation"),
            ("PUB a 0\r\n", "no operation"),
            ("MSGS a 1 0\r\n", "no operation"),
            ("MSG\r\n", "no operation"),
            ("\x16\x03", "no operation"),
            ("MSG a\r\n", "no subscription"),
            ("MSG a 1\r\n", "no size"),
            ("MSG a 1 \r\n", "too few"),
            ("MSG a 1 2 3 4\r\n", "too many"),
            ("MSG a 1 2 3 4 5\r\n", "too many"),
            ("HMSG a 1 2\r\n", "too few"),
            ("HMSG a 1 2 3 4 5\r\n", "too many"),
            ("MSG a x 0\r\n", "no number"),
            ("MSG a -1 0\r\n", "no number"),
            ("MSG a 18446744073709551616 0\r\n", "no number"),
            ("MSG a 1 0x\r\n", "size is no number"),
            ("MSG a 1 1073741825\r\n", "too large"),
            ("HMSG a 1 x 1\r\n", "size is no number"),
            ("HMSG a 1 2 1\r\n", "larger than the whole"),
            ("MSG a 1 3\r\nabcde", "out of step"),
            ("MSG a 1 3\r\nabc\n\n", "out of step"),
            ("INFO\r\n", "INFO"),
            ("INFO {\r\n", "INFO"),
            ("INFO 7\r\n", "INFO"),
        ] {
            let text = error(stream.as_bytes()).to_string();
            assert!(text.contains(reason), "{stream:?}: {text}");
        }
        let long = error(format!("PUBLISH{}\r\n", "\x01".repeat(90)).as_bytes()).to_string();
        assert!(long.len() < 320 && long.contains("\\x01\" ..."), "{long}");
    }

    #[test]
    fn line_limits_hold_to_the_byte() {
        let limits = small();
        for (head, bytes_max) in [("-ERR ", 120), ("INFO {}", 200)] {
            for end in ["\r\n", "\n"] {
                let pad = " ".repeat(bytes_max - head.len());
                let at = format!("{head}{pad}{end}");
                assert_eq!(read(limits, [at.as_bytes()]).1, None, "{at:?}");
                let over = format!("{head}{pad} {end}");
                let (_, error) = read(limits, [over.as_bytes()]);
                assert!(
                    matches!(error, Some(WireError::Line { bytes_max: max, .. }) if max == bytes_max)
                );
            }
            let endless = format!("{head}{}", " ".repeat(bytes_max + 2 - head.len()));
            assert!(matches!(
                read(limits, [endless.as_bytes()]).1,
                Some(WireError::Line { .. })
            ));
            assert_eq!(read(limits, [&endless.as_bytes()[..bytes_max + 1]]).1, None);
        }
    }

    #[test]
    fn a_message_above_the_limits_is_skipped_and_reported() {
        let limits = small();
        let too_large = |sid, bytes| Seen::TooLarge {
            sid,
            subject: "s.t".into(),
            reply_to: "r".into(),
            bytes,
        };
        for (bytes, taken) in [(300, true), (301, false), (70_000, false)] {
            let payload = "x".repeat(bytes);
            let stream = format!("MSG s.t 5 r {bytes}\r\n{payload}\r\nPING\r\n");
            let wanted = match taken {
                true => message(5, "s.t", "r", &payload),
                false => too_large(5, bytes),
            };
            for size in [1, 7, 100, stream.len()] {
                let (seen, error) = read(limits, stream.as_bytes().chunks(size));
                assert_eq!((seen, error), (vec![wanted.clone(), Seen::Ping], None));
            }
        }
        for (lines, taken) in [(80, true), (81, false)] {
            let block = format!("NATS/1.0\r\nk: {}\r\n\r\n", "v".repeat(lines - 5));
            let bytes = block.len() + 1;
            let stream = format!(
                "HMSG s.t 6 r {} {bytes}\r\n{block}x\r\nPONG\r\n",
                block.len()
            );
            let (seen, error) = read(limits, stream.as_bytes().chunks(3));
            assert_eq!((error, seen.len(), &seen[1]), (None, 2, &Seen::Pong));
            assert_eq!(seen[0] != too_large(6, bytes), taken);
        }
    }

    #[test]
    fn limits_can_be_changed_between_operations() {
        let mut parser = Parser::new(small());
        let chunk = Bytes::from(format!("MSG a 1 301\r\n{}\r\n", "x".repeat(301)));
        parser.set_limits(WireLimits::default());
        assert!(matches!(
            parser.next(&chunk, &mut 0),
            Ok(Some(Op::Message(_)))
        ));
    }

    /// An operation: its bytes, and what is to be seen of it.
    fn operation() -> impl Strategy<Value = (Vec<u8>, Seen)> {
        let subject = "[!-~]{1,24}";
        let payload = prop_oneof![
            prop::collection::vec(any::<u8>(), 0..60),
            prop::collection::vec(prop::sample::select(&b"\r\n M"[..]), 0..20),
            Just(vec![b'x'; 300]),
            Just(vec![b'y'; 301]),
        ];
        let lines = prop::option::of((
            prop::option::of((100u16..600, "[ -~]{0,20}")),
            "([a-c]: [ -~]{0,9}\r\n){0,4}",
        ));
        let name = prop::sample::select(vec!["MSG", "msg", "mSg"]);
        let blank = prop::sample::select(vec![" ", "\t", "  "]);
        let message = (
            subject,
            any::<u64>(),
            prop::option::of(subject),
            lines,
            payload,
            name,
            blank,
        );
        let message = message.prop_map(|(subject, sid, reply, lines, payload, name, blank)| {
            encoded(
                &subject,
                sid,
                reply.as_deref(),
                lines.as_ref(),
                payload,
                name,
                blank,
            )
        });
        prop_oneof![
            6 => message,
            1 => Just((b"PING\r\n".to_vec(), Seen::Ping)),
            1 => Just((b"pong\r\n".to_vec(), Seen::Pong)),
            1 => Just((b"+OK\r\n".to_vec(), Seen::Ok)),
            1 => "[a-zA-Z ]{0,20}".prop_map(|t| (format!("-ERR '{t}'\r\n").into_bytes(), Seen::Err(t))),
            1 => "[a-z]{0,9}".prop_map(|name| {
                let stream = format!("INFO {{\"server_name\":\"{name}\"}}\r\n").into_bytes();
                (stream, Seen::Info(Box::new(ServerInfo { server_name: name, ..ServerInfo::default() })))
            }),
        ]
    }

    type Lines = (Option<(u16, String)>, String);

    fn encoded(
        subject: &str,
        sid: u64,
        reply: Option<&str>,
        lines: Option<&Lines>,
        payload: Vec<u8>,
        name: &str,
        blank: &str,
    ) -> (Vec<u8>, Seen) {
        let mut block = String::new();
        let (mut headers, mut status, mut description) = (String::new(), None, String::new());
        let mut words = vec![name.to_owned(), subject.to_owned(), sid.to_string()];
        words.extend(reply.map(Into::into));
        if let Some((first, lines)) = lines {
            headers.clone_from(lines);
            let mut version = "NATS/1.0".to_owned();
            if let Some((code, text)) = first {
                status = Some(*code);
                description.clone_from(text);
                version += &if text.is_empty() {
                    format!(" {code}")
                } else {
                    format!(" {code} {text}")
                };
            }
            block = format!("{version}\r\n{headers}\r\n");
            words[0].insert(0, 'H');
            words.push(block.len().to_string());
        }
        let bytes = block.len() + payload.len();
        words.push(bytes.to_string());
        let line = words.join(blank) + "\r\n";
        let stream = [line.as_bytes(), block.as_bytes(), &payload, b"\r\n"].concat();
        let (subject, reply_to) = (subject.into(), reply.unwrap_or_default().into());
        let limits = small();
        let seen = match bytes > limits.payload_bytes_max
            || block.len() > limits.header_bytes_max + BLOCK_FRAME_BYTES
        {
            true => Seen::TooLarge {
                sid,
                subject,
                reply_to,
                bytes,
            },
            false => Seen::Message {
                sid,
                subject,
                reply_to,
                headers: headers.into(),
                status,
                description,
                payload,
            },
        };
        (stream, seen)
    }

    fn streams() -> impl Strategy<Value = (Vec<u8>, Vec<Seen>)> {
        prop::collection::vec(operation(), 1..8).prop_map(|ops| {
            let (bytes, seen): (Vec<_>, Vec<_>) = ops.into_iter().unzip();
            (bytes.concat(), seen)
        })
    }

    /// The stream cut into pieces of these sizes, over and over.
    fn pieces<'a>(stream: &'a [u8], sizes: &'a [usize]) -> impl Iterator<Item = &'a [u8]> {
        let (mut rest, mut sizes) = (stream, sizes.iter().cycle());
        std::iter::from_fn(move || {
            let (piece, after) = rest.split_at(rest.len().min(*sizes.next()?));
            rest = after;
            (!piece.is_empty()).then_some(piece)
        })
    }

    /// What kind of error it is: how much of a line is shown depends on how much had come.
    fn kind(error: &Option<WireError>) -> Option<std::mem::Discriminant<WireError>> {
        error.as_ref().map(std::mem::discriminant)
    }

    proptest! {
        #[test]
        fn every_split_gives_what_the_whole_gives((stream, wanted) in streams()) {
            prop_assert_eq!(read(small(), [&stream[..]]), (wanted.clone(), None));
            for cut in 0..=stream.len() {
                let (a, b) = stream.split_at(cut);
                prop_assert_eq!(read(small(), [a, b]), (wanted.clone(), None), "cut at {}", cut);
            }
        }

        #[test]
        fn any_pieces_give_what_the_whole_gives((stream, wanted) in streams(), sizes in prop::collection::vec(1usize..90, 1..20)) {
            prop_assert_eq!(read(small(), pieces(&stream, &sizes)), (wanted, None));
        }

        #[test]
        fn needed_never_says_more_than_the_operation_has((stream, _) in operation()) {
            let whole = Bytes::from(stream);
            for cut in 0..whole.len() {
                let mut parser = Parser::new(small());
                if let Ok(None) = parser.next(&whole.slice(..cut), &mut 0) {
                    prop_assert!(cut < parser.needed() && parser.needed() <= whole.len());
                }
            }
        }

        #[test]
        fn random_bytes_do_no_harm(bytes in prop::collection::vec(any::<u8>(), 0..400), sizes in prop::collection::vec(1usize..90, 1..20)) {
            let (seen, error) = read(small(), [&bytes[..]]);
            let (again, other) = read(small(), pieces(&bytes, &sizes));
            prop_assert_eq!((seen, kind(&error)), (again, kind(&other)));
        }

        #[test]
        fn a_stream_with_wrong_bytes_is_read_the_same_in_any_pieces(
            (mut stream, _) in streams(),
            wrong in prop::collection::vec((any::<prop::sample::Index>(), prop_oneof![any::<u8>(), prop::sample::select(&b"\r\n 09H"[..])]), 1..4),
            sizes in prop::collection::vec(1usize..90, 1..20),
        ) {
            for (place, byte) in wrong {
                let place = place.index(stream.len());
                stream[place] = byte;
            }
            let (seen, error) = read(small(), [&stream[..]]);
            let (again, other) = read(small(), pieces(&stream, &sizes));
            prop_assert_eq!((seen, kind(&error)), (again, kind(&other)));
        }
    }
}
