//! Operations into a write buffer: what a turn sends is gathered here and leaves in one write.
//!
//! Owns the syntax of what a client sends, and its limits: what is refused leaves the buffer as it was. Knows no socket, and not
//! whether the connection is live. Once warm, nothing is allocated an operation.

use thiserror::Error;

use crate::message::{HEADER_BYTES_MAX, Message, PAYLOAD_BYTES_MAX};
use crate::outbox::Send;

use super::headers::BLOCK_FRAME_BYTES;
use super::info::Connect;
use super::publish::{Parts, is_word, put_words};

/// Limits of what is sent to a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct WriteLimits {
    /// Bytes of a line but CONNECT, without its line end. Default 4,096, as servers have it. One over is refused.
    pub(crate) control_line_bytes_max: usize,
    /// Bytes of a message's headers, their version line and blank line left out. Default [`HEADER_BYTES_MAX`]. One over is refused.
    pub(crate) header_bytes_max: usize,
    /// Bytes of header block and payload together: the server's `max_payload`. Default [`PAYLOAD_BYTES_MAX`], which is the
    /// default of servers too. One over is refused: the server would end the connection.
    pub(crate) payload_bytes_max: usize,
    /// Bytes gathered and not yet sent. Default 16 MiB: the sends of four calls at their largest. An operation that would make
    /// them more is refused, so that a server which takes nothing costs no more memory; one alone is always taken.
    pub(crate) buffer_bytes_max: usize,
    /// Whether the server takes headers, as its INFO says. Default yes. Where not, a message with headers is refused.
    pub(crate) headers: bool,
}

impl Default for WriteLimits {
    fn default() -> Self {
        Self {
            control_line_bytes_max: 4 << 10,
            header_bytes_max: HEADER_BYTES_MAX,
            payload_bytes_max: PAYLOAD_BYTES_MAX,
            buffer_bytes_max: 16 << 20,
            headers: true,
        }
    }
}

/// Room beyond `buffer_bytes_max` for operations without a payload: a full buffer must not keep a PONG or an UNSUB back.
const CONTROL_RESERVE_BYTES: usize = 64 << 10;

/// Bytes of an empty buffer that are kept: above, giving them back costs little beside what was written.
const BUFFER_KEEP_BYTES: usize = 1 << 20;

/// Why an operation was not written.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub(crate) enum WriteError {
    /// A subject or queue group can't be written.
    #[error(
        "can't write the subject or queue group {subject:?}: it is empty, has white space or a control character, or is too long for a line"
    )]
    Subject {
        /// What was given, cut to 64 characters.
        subject: String,
    },
    /// A header can't be written.
    #[error("can't write the header {key:?}: {reason}")]
    Header {
        /// Its key, cut to 64 characters.
        key: String,
        /// Why.
        reason: &'static str,
    },
    /// The server takes no headers.
    #[error(
        "the server takes no headers, and the message has some: let the server support them or send none"
    )]
    NoHeaders,
    /// Headers above the limit.
    #[error("headers of {bytes} bytes are above the limit of {bytes_max} bytes")]
    Headers {
        /// Their size.
        bytes: usize,
        /// The limit.
        bytes_max: usize,
    },
    /// Headers and payload above the limit.
    #[error(
        "headers and payload of {bytes} bytes are above the server's `max_payload` of {bytes_max} bytes"
    )]
    Payload {
        /// Their size.
        bytes: usize,
        /// The limit.
        bytes_max: usize,
    },
    /// Too much waits to be sent.
    #[error(
        "{bytes} bytes wait to be sent already, with a limit of {bytes_max}: the server takes them too slowly"
    )]
    Full {
        /// What waits.
        bytes: usize,
        /// The limit.
        bytes_max: usize,
    },
}

/// Gathers what is to be sent.
#[derive(Debug)]
pub(crate) struct Writer {
    limits: WriteLimits,
    buffer: Vec<u8>,
    /// Bytes at the beginning of `buffer` that have been sent.
    sent: usize,
}

impl Writer {
    /// An empty writer.
    pub(crate) fn new(limits: WriteLimits) -> Self {
        Self {
            limits,
            buffer: Vec::new(),
            sent: 0,
        }
    }

    /// Changes the limits from the next operation on: the server's are known only after its INFO.
    pub(crate) fn set_limits(&mut self, limits: WriteLimits) {
        self.limits = limits;
    }

    /// The limits.
    #[cfg(test)]
    pub(crate) fn limits(&self) -> &WriteLimits {
        &self.limits
    }

    /// Publishes a message with its headers and payload to `subject`; where a reply is to go is `reply` alone.
    ///
    /// # Errors
    /// See [`WriteError`]; nothing is written then.
    pub(crate) fn publish(
        &mut self,
        subject: impl AsRef<[u8]>,
        reply: Option<&str>,
        message: &Message,
    ) -> Result<(), WriteError> {
        self.publish_edited(subject, reply, &[], &[], message)
    }

    /// Publishes what a call sent, as it lies in its outbox.
    ///
    /// # Errors
    /// See [`WriteError`]; nothing is written then.
    #[inline(always)]
    pub(crate) fn publish_send(&mut self, send: Send<'_>) -> Result<(), WriteError> {
        let parts = Parts {
            extra: &[],
            dropped: &[],
            lines: send.headers,
            payload: send.payload,
        };
        let reply = (!send.reply_to.is_empty()).then_some(send.reply_to);
        self.put(send.subject, reply, &parts)
    }

    /// As [`Self::publish`], with headers that come first and in the place of the message's own of the same name (in any case).
    ///
    /// # Errors
    /// See [`WriteError`]; nothing is written then.
    #[cfg(test)]
    pub(crate) fn publish_with(
        &mut self,
        subject: impl AsRef<[u8]>,
        reply: Option<&str>,
        extra: &[(&str, &str)],
        message: &Message,
    ) -> Result<(), WriteError> {
        self.publish_edited(subject, reply, extra, &[], message)
    }

    /// As [`Self::publish_with`], and without those of the message's own headers that are `dropped`.
    ///
    /// # Errors
    /// See [`WriteError`]; nothing is written then.
    pub(crate) fn publish_edited(
        &mut self,
        subject: impl AsRef<[u8]>,
        reply: Option<&str>,
        extra: &[(&str, &str)],
        dropped: &[&str],
        message: &Message,
    ) -> Result<(), WriteError> {
        let parts = Parts {
            extra,
            dropped,
            lines: message.raw_headers(),
            payload: message.payload(),
        };
        self.put(subject.as_ref(), reply.map(str::as_bytes), &parts)
    }

    /// Whether a message is within the limits for sure: with these bytes of header lines, or fewer, and of payload.
    #[inline]
    pub(crate) fn surely_takes(&self, header_bytes: usize, payload_bytes: usize) -> bool {
        let limits = &self.limits;
        let block = header_bytes + BLOCK_FRAME_BYTES;
        (limits.headers || header_bytes == 0)
            && header_bytes <= limits.header_bytes_max
            && block + payload_bytes <= limits.payload_bytes_max
    }

    /// Whether a message with these header lines, but those that are `dropped`, is within the limits.
    ///
    /// # Errors
    /// Why not.
    pub(crate) fn check(
        &self,
        dropped: &[&str],
        lines: &[u8],
        payload: &[u8],
    ) -> Result<(), WriteError> {
        let parts = Parts {
            extra: &[],
            dropped,
            lines,
            payload,
        };
        self.bytes_of(&parts).map(drop)
    }

    /// Whether operations of so many bytes in all are taken now.
    pub(crate) fn has_room(&self, bytes: usize) -> bool {
        self.len() + bytes <= self.limits.buffer_bytes_max
    }

    /// Publishes what is no message: an acknowledgement, a pull, a request.
    ///
    /// # Errors
    /// See [`WriteError`]; nothing is written then.
    pub(crate) fn publish_bytes(
        &mut self,
        subject: impl AsRef<[u8]>,
        reply: Option<&str>,
        headers: &[(&str, &str)],
        payload: &[u8],
    ) -> Result<(), WriteError> {
        let parts = Parts {
            extra: headers,
            dropped: &[],
            lines: b"",
            payload,
        };
        self.put(subject.as_ref(), reply.map(str::as_bytes), &parts)
    }

    /// Subscribes to a pattern, in a queue group where there is one.
    ///
    /// # Errors
    /// A pattern or queue group that can't be written; a full buffer.
    pub(crate) fn subscribe(
        &mut self,
        subject: &str,
        queue: Option<&str>,
        sid: u64,
    ) -> Result<(), WriteError> {
        self.check_subjects(subject.as_bytes(), queue.map(str::as_bytes))?;
        self.reserve(subject.len() + queue.map_or(0, str::len) + 32, true)?;
        self.words(&[b"SUB ", subject.as_bytes(), b" "]);
        if let Some(queue) = queue {
            self.words(&[queue.as_bytes(), b" "]);
        }
        put_decimal(&mut self.buffer, sid);
        self.words(&[b"\r\n"]);
        Ok(())
    }

    /// Ends a subscription, at once or once it has got `after` messages in all.
    ///
    /// # Errors
    /// A full buffer.
    pub(crate) fn unsubscribe(&mut self, sid: u64, after: Option<u64>) -> Result<(), WriteError> {
        self.reserve(64, true)?;
        self.words(&[b"UNSUB "]);
        put_decimal(&mut self.buffer, sid);
        if let Some(after) = after {
            self.words(&[b" "]);
            put_decimal(&mut self.buffer, after);
        }
        self.words(&[b"\r\n"]);
        Ok(())
    }

    /// Asks the server for a PONG.
    ///
    /// # Errors
    /// A full buffer.
    pub(crate) fn ping(&mut self) -> Result<(), WriteError> {
        self.reserve(6, true)?;
        self.words(&[b"PING\r\n"]);
        Ok(())
    }

    /// Answers a PING.
    ///
    /// # Errors
    /// A full buffer.
    pub(crate) fn pong(&mut self) -> Result<(), WriteError> {
        self.reserve(6, true)?;
        self.words(&[b"PONG\r\n"]);
        Ok(())
    }

    /// Says what the client is.
    ///
    /// # Errors
    /// A full buffer.
    pub(crate) fn connect(&mut self, connect: &Connect) -> Result<(), WriteError> {
        let json = serde_json::to_vec(connect).expect("texts and flags can always be written");
        self.reserve(json.len() + 16, true)?;
        self.words(&[b"CONNECT ", &json, b"\r\n"]);
        Ok(())
    }

    /// Bytes that are not sent yet.
    pub(crate) fn len(&self) -> usize {
        self.buffer.len() - self.sent
    }

    /// Whether everything is sent.
    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What is not sent yet.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.buffer[self.sent..]
    }

    /// Forgets the first `sent` bytes of [`Self::bytes`]: the socket has taken them.
    ///
    /// # Panics
    /// If there are not as many.
    pub(crate) fn consume(&mut self, sent: usize) {
        assert!(sent <= self.len(), "no more is sent than was written");
        self.sent += sent;
        if self.is_empty() {
            self.clear();
        }
    }

    /// Forgets everything: a new connection begins with nothing.
    pub(crate) fn clear(&mut self) {
        self.buffer.clear();
        self.sent = 0;
        self.buffer.shrink_to(BUFFER_KEEP_BYTES);
    }

    /// Writes a PUB or HPUB.
    fn put(
        &mut self,
        subject: &[u8],
        reply: Option<&[u8]>,
        parts: &Parts<'_>,
    ) -> Result<(), WriteError> {
        self.check_subjects(subject, reply)?;
        let (header_bytes, bytes) = self.bytes_of(parts)?;
        self.reserve(
            bytes + subject.len() + reply.map_or(0, <[u8]>::len) + 64,
            false,
        )?;
        let has_headers = header_bytes > 0;
        let name: &[u8] = if has_headers { b"HPUB " } else { b"PUB " };
        self.words(&[name, subject, b" "]);
        if let Some(reply) = reply {
            self.words(&[reply, b" "]);
        }
        if has_headers {
            put_decimal(&mut self.buffer, header_bytes as u64);
            self.words(&[b" "]);
        }
        put_decimal(&mut self.buffer, bytes as u64);
        self.words(&[b"\r\n"]);
        if has_headers {
            parts.put_headers(&mut self.buffer);
        }
        self.words(&[parts.payload, b"\r\n"]);
        Ok(())
    }

    /// Bytes of the header block, and of that and the payload.
    #[inline]
    fn bytes_of(&self, parts: &Parts<'_>) -> Result<(usize, usize), WriteError> {
        let header_bytes = parts.header_bytes(&self.limits)?;
        let bytes = header_bytes + parts.payload.len();
        let bytes_max = self.limits.payload_bytes_max;
        match bytes > bytes_max {
            true => Err(WriteError::Payload { bytes, bytes_max }),
            false => Ok((header_bytes, bytes)),
        }
    }

    /// Checks what stands between the blanks of a line, and that the line is not too long with it: besides them it has a name
    /// and at most two numbers.
    fn check_subjects(&self, first: &[u8], second: Option<&[u8]>) -> Result<(), WriteError> {
        let room = self.limits.control_line_bytes_max.saturating_sub(48);
        let second_len = second.map_or(0, <[u8]>::len);
        if !is_word(first) || first.len() + second_len > room {
            return Err(bad_subject(first));
        }
        match second {
            Some(second) if !is_word(second) => Err(bad_subject(second)),
            _ => Ok(()),
        }
    }

    /// Makes room for an operation of at most `bytes`, unless too much waits already.
    fn reserve(&mut self, bytes: usize, is_control: bool) -> Result<(), WriteError> {
        let reserve = if is_control { CONTROL_RESERVE_BYTES } else { 0 };
        if !self.is_empty() && self.len() + bytes > self.limits.buffer_bytes_max + reserve {
            return Err(WriteError::Full {
                bytes: self.len(),
                bytes_max: self.limits.buffer_bytes_max,
            });
        }
        if self.sent > self.len() {
            self.buffer.drain(..self.sent);
            self.sent = 0;
        }
        self.buffer.reserve(bytes);
        Ok(())
    }

    #[inline]
    fn words(&mut self, words: &[&[u8]]) {
        put_words(&mut self.buffer, words);
    }
}

#[cold]
fn bad_subject(subject: &[u8]) -> WriteError {
    WriteError::Subject {
        subject: String::from_utf8_lossy(subject).chars().take(64).collect(),
    }
}

/// Appends a number in decimal digits.
#[inline]
pub(crate) fn put_decimal(buffer: &mut Vec<u8>, mut number: u64) {
    let mut digits = [0; 20];
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            break;
        }
    }
    buffer.extend_from_slice(&digits[at..]);
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use proptest::prelude::*;

    /// What a server makes of what a client sends: a reader of its own, which shares no code with the parser of this crate.
    #[derive(Debug, PartialEq)]
    enum Said {
        Publish {
            words: Vec<String>,
            block: String,
            payload: Vec<u8>,
        },
        Line(String),
    }

    fn read(mut bytes: &[u8]) -> Vec<Said> {
        let mut said = Vec::new();
        while !bytes.is_empty() {
            let text = bytes.windows(2).position(|w| w == b"\r\n").expect("a line");
            let line = std::str::from_utf8(&bytes[..text]).unwrap().to_owned();
            bytes = &bytes[text + 2..];
            let mut words: Vec<String> = line.split(' ').map(Into::into).collect();
            let mut size = |has: bool| {
                if has {
                    words.pop().unwrap().parse().unwrap()
                } else {
                    0
                }
            };
            let has_headers = line.starts_with("HPUB ");
            if !has_headers && !line.starts_with("PUB ") {
                said.push(Said::Line(line));
                continue;
            }
            let total: usize = size(true);
            let header: usize = size(has_headers);
            words.remove(0);
            assert_eq!(&bytes[total..total + 2], b"\r\n");
            said.push(Said::Publish {
                words,
                block: std::str::from_utf8(&bytes[..header]).unwrap().to_owned(),
                payload: bytes[header..total].to_vec(),
            });
            bytes = &bytes[total + 2..];
        }
        said
    }

    fn published(words: &[&str], block: &str, payload: &[u8]) -> Said {
        Said::Publish {
            words: words.iter().map(|&w| w.to_owned()).collect(),
            block: block.to_owned(),
            payload: payload.to_vec(),
        }
    }

    fn writer() -> Writer {
        Writer::new(WriteLimits::default())
    }

    #[test]
    fn operations_without_payload_are_as_the_protocol_says() {
        let mut w = writer();
        w.subscribe("a.*", None, 1).unwrap();
        w.subscribe("a.>", Some("q"), u64::MAX).unwrap();
        w.unsubscribe(1, None).unwrap();
        w.unsubscribe(2, Some(10)).unwrap();
        w.ping().unwrap();
        w.pong().unwrap();
        let lines = "SUB a.* 1\r\nSUB a.> q 18446744073709551615\r\nUNSUB 1\r\nUNSUB 2 10\r\nPING\r\nPONG\r\n";
        assert_eq!(std::str::from_utf8(w.bytes()).unwrap(), lines);
        assert_eq!(w.len(), lines.len());
    }

    #[test]
    fn connect_is_one_line() {
        let mut w = writer();
        let connect = Connect {
            name: Some("two\r\nlines".into()),
            ..Connect::default()
        };
        w.connect(&connect).unwrap();
        let said = read(w.bytes());
        let [Said::Line(line)] = &said[..] else {
            panic!("{said:?}");
        };
        let json: serde_json::Value =
            serde_json::from_str(line.strip_prefix("CONNECT ").unwrap()).unwrap();
        assert_eq!(
            (&json["name"], &json["lang"]),
            (&"two\r\nlines".into(), &"rust".into())
        );
    }

    #[test]
    fn extra_headers_come_first_and_replace_those_of_their_name() {
        let m = Message::builder("in")
            .reply_to("not.this")
            .header("A", "1")
            .header("nats-msg-id", "guest's")
            .header("b", "2");
        let m = m.payload(b"x").unwrap();
        let mut w = writer();
        w.publish("out", None, &m).unwrap();
        w.publish_edited(
            "out",
            Some("r"),
            &[("Nats-Msg-Id", "ours"), ("C", "")],
            &[],
            &m,
        )
        .unwrap();
        w.publish_edited(
            "out",
            None,
            &[("k", "v")],
            &[],
            &Message::new("in", b"").unwrap(),
        )
        .unwrap();
        w.publish_bytes("ack", None, &[], b"+ACK").unwrap();
        w.publish_bytes("ask", Some("r"), &[("k", "v")], b"")
            .unwrap();
        let own = "NATS/1.0\r\nA: 1\r\nnats-msg-id: guest's\r\nb: 2\r\n\r\n";
        let merged = "NATS/1.0\r\nNats-Msg-Id: ours\r\nC: \r\nA: 1\r\nb: 2\r\n\r\n";
        let one = "NATS/1.0\r\nk: v\r\n\r\n";
        let wanted = [
            published(&["out"], own, b"x"),
            published(&["out", "r"], merged, b"x"),
            published(&["out"], one, b""),
            published(&["ack"], "", b"+ACK"),
            published(&["ask", "r"], one, b""),
        ];
        assert_eq!(read(w.bytes()), wanted);
    }

    #[test]
    fn dropped_headers_are_left_out_in_any_case() {
        let m = Message::builder("in")
            .header("A", "1")
            .header("nats-batch-id", "x")
            .header("b", "2");
        let m = m.payload(b"").unwrap();
        let mut w = writer();
        w.publish_edited("o", None, &[], &["Nats-Batch-Id", "B"], &m)
            .unwrap();
        w.publish_edited("o", None, &[("C", "3")], &["Nats-Batch-Id"], &m)
            .unwrap();
        w.publish_edited("o", None, &[], &["Nats-Batch-Id", "B", "a"], &m)
            .unwrap();
        let blocks = [
            "NATS/1.0\r\nA: 1\r\n\r\n",
            "NATS/1.0\r\nC: 3\r\nA: 1\r\nb: 2\r\n\r\n",
            "",
        ];
        assert_eq!(
            read(w.bytes()),
            blocks.map(|block| published(&["o"], block, b""))
        );
    }

    /// Applies `write` to a writer that holds a PING already, and gives its error; nothing may have been written then.
    fn refused(
        limits: WriteLimits,
        write: impl FnOnce(&mut Writer) -> Result<(), WriteError>,
    ) -> WriteError {
        let mut w = Writer::new(limits);
        w.ping().unwrap();
        let error = write(&mut w).unwrap_err();
        assert_eq!(w.bytes(), b"PING\r\n");
        error
    }

    #[test]
    fn max_payload_counts_headers_and_payload_and_holds_to_the_byte() {
        let limits = WriteLimits {
            payload_bytes_max: 100,
            ..WriteLimits::default()
        };
        let over = WriteError::Payload {
            bytes: 101,
            bytes_max: 100,
        };
        let mut w = Writer::new(limits);
        w.publish_bytes("a", None, &[], &[b'x'; 100]).unwrap();
        assert_eq!(
            refused(limits, |w| w.publish_bytes("a", None, &[], &[b'x'; 101])),
            over
        );
        let block = "NATS/1.0\r\nk: v\r\n\r\n".len();
        w.publish_bytes("a", None, &[("k", "v")], &vec![b'x'; 100 - block])
            .unwrap();
        let one_more = vec![b'x'; 101 - block];
        assert_eq!(
            refused(limits, |w| w.publish_bytes(
                "a",
                None,
                &[("k", "v")],
                &one_more
            )),
            over
        );
        let m = |n| {
            Message::builder("a")
                .header("k", "v")
                .payload(&vec![b'x'; n])
                .unwrap()
        };
        w.publish("a", None, &m(100 - block)).unwrap();
        assert_eq!(
            refused(limits, |w| w.publish("a", None, &m(101 - block))),
            over
        );
    }

    #[test]
    fn header_limit_holds_to_the_byte() {
        let limits = WriteLimits {
            header_bytes_max: 20,
            ..WriteLimits::default()
        };
        let value = |n| "v".repeat(n - "k: \r\n".len());
        let m = |n| {
            Message::builder("a")
                .header("k", &value(n))
                .payload(b"")
                .unwrap()
        };
        let mut w = Writer::new(limits);
        w.publish("a", None, &m(20)).unwrap();
        w.publish_edited("a", None, &[("j", &value(10))], &[], &m(10))
            .unwrap();
        w.publish_edited("a", None, &[("k", &value(20))], &[], &m(20))
            .unwrap();
        let over = WriteError::Headers {
            bytes: 21,
            bytes_max: 20,
        };
        assert_eq!(refused(limits, |w| w.publish("a", None, &m(21))), over);
        assert_eq!(
            refused(limits, |w| w.publish_edited(
                "a",
                None,
                &[("j", &value(10))],
                &[],
                &m(11)
            )),
            over
        );
    }

    #[test]
    fn a_server_without_headers_gets_none() {
        let limits = WriteLimits {
            headers: false,
            ..WriteLimits::default()
        };
        Writer::new(limits)
            .publish_bytes("a", None, &[], b"x")
            .unwrap();
        let error = refused(limits, |w| w.publish_bytes("a", None, &[("k", "v")], b""));
        assert_eq!(error, WriteError::NoHeaders);
    }

    #[test]
    fn nothing_breaks_out_of_its_place_in_a_line() {
        let limits = WriteLimits::default();
        for bad in ["", "a b", "a\r\nPUB b 0\r\n", "a\tb", "a\0", "\u{7f}"] {
            let subject = WriteError::Subject {
                subject: bad.to_owned(),
            };
            assert_eq!(
                refused(limits, |w| w.publish_bytes(bad, None, &[], b"")),
                subject
            );
            assert_eq!(
                refused(limits, |w| w.publish_bytes("a", Some(bad), &[], b"")),
                subject
            );
            assert_eq!(refused(limits, |w| w.subscribe(bad, None, 1)), subject);
            assert_eq!(refused(limits, |w| w.subscribe("a", Some(bad), 1)), subject);
        }
        for (key, value) in [
            ("", "v"),
            ("k:", "v"),
            ("k k", "v"),
            ("k\r\n", "v"),
            ("k", "v\r\nx: y"),
            ("k", "\n"),
        ] {
            let error = refused(limits, |w| w.publish_bytes("a", None, &[(key, value)], b""));
            assert!(matches!(error, WriteError::Header { .. }), "{error}");
        }
    }

    #[test]
    fn line_limit_holds_for_the_longest_line() {
        let limits = WriteLimits::default();
        let room = limits.control_line_bytes_max - 48;
        let long = |n| "s".repeat(n);
        let mut w = Writer::new(limits);
        w.publish_bytes(long(room - 1), Some("r"), &[("k", "v")], &[b'x'; 1 << 19])
            .unwrap();
        let end = memchr::memchr(b'\r', w.bytes()).unwrap();
        assert!(end <= limits.control_line_bytes_max);
        w.clear();
        w.subscribe(&long(room - 1), Some("r"), u64::MAX).unwrap();
        assert!(w.len() <= limits.control_line_bytes_max);
        refused(limits, |w| w.publish_bytes(long(room), Some("r"), &[], b""));
        refused(limits, |w| w.subscribe(&long(room + 1), None, 1));
    }

    #[test]
    fn a_full_buffer_refuses_payloads_but_lets_control_through() {
        let limits = WriteLimits {
            buffer_bytes_max: 1_000,
            ..WriteLimits::default()
        };
        let mut w = Writer::new(limits);
        w.publish_bytes("a", None, &[], &[0; 2_000]).unwrap();
        let full = WriteError::Full {
            bytes: w.len(),
            bytes_max: 1_000,
        };
        assert_eq!(w.publish_bytes("a", None, &[], b""), Err(full));
        for _ in 0..CONTROL_RESERVE_BYTES {
            let before = w.len();
            if w.pong().is_err() {
                assert_eq!(w.len(), before);
                break;
            }
        }
        assert!(w.len() <= 1_000 + CONTROL_RESERVE_BYTES);
        assert!(w.len() > 990 + CONTROL_RESERVE_BYTES);
        w.consume(w.len());
        w.publish_bytes("a", None, &[], b"").unwrap();
    }

    #[test]
    fn a_large_buffer_is_given_back_once_sent() {
        let mut w = writer();
        for _ in 0..4 {
            w.publish_bytes("a", None, &[], &[0; 1 << 20]).unwrap();
        }
        w.consume(w.len());
        assert!(
            w.buffer.capacity() <= 2 * BUFFER_KEEP_BYTES,
            "{}",
            w.buffer.capacity()
        );
    }

    #[test]
    fn numbers_are_written_in_decimal() {
        for n in [0, 1, 9, 10, 99, 100, 12_345, u64::from(u32::MAX), u64::MAX] {
            let mut buffer = Vec::new();
            put_decimal(&mut buffer, n);
            assert_eq!(String::from_utf8(buffer).unwrap(), n.to_string());
        }
    }

    type Publish = (
        String,
        Option<String>,
        Vec<(String, String)>,
        Vec<(String, String)>,
        Vec<u8>,
    );

    fn publishes() -> impl Strategy<Value = Vec<Publish>> {
        let header = || prop::collection::vec(("[a-cA-C]{1,2}", "[ -~]{0,12}"), 0..4);
        let payload = prop::collection::vec(any::<u8>(), 0..300);
        let one = (
            "[a-z.]{1,20}",
            prop::option::of("[a-z.$]{1,20}"),
            header(),
            header(),
            payload,
        );
        prop::collection::vec(one, 1..12)
    }

    proptest! {
        #[test]
        fn what_was_published_is_read_back_however_it_was_sent(all in publishes(), takes in prop::collection::vec(1usize..200, 1..40)) {
            let mut w = writer();
            let (mut sent, mut wanted, mut takes) = (Vec::new(), Vec::new(), takes.iter().cycle());
            for (subject, reply, extra, own, payload) in &all {
                let mut m = Message::builder("in");
                for (key, value) in own {
                    m = m.header(key, value);
                }
                let m = m.payload(payload).unwrap();
                let extra: Vec<(&str, &str)> = extra.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
                w.publish_with(subject, reply.as_deref(), &extra, &m).unwrap();
                let kept = own.iter().map(|(k, v)| (k.as_str(), v.as_str()));
                let kept = kept.filter(|(k, _)| !extra.iter().any(|(e, _)| e.eq_ignore_ascii_case(k)));
                let lines: String = extra.iter().copied().chain(kept).map(|(k, v)| format!("{k}: {v}\r\n")).collect();
                let none = extra.is_empty() && own.is_empty();
                let block = if none { String::new() } else { format!("NATS/1.0\r\n{lines}\r\n") };
                let words: Vec<&str> = std::iter::once(subject.as_str()).chain(reply.as_deref()).collect();
                wanted.push(published(&words, &block, payload));
                let n = w.len().min(*takes.next().unwrap());
                sent.extend_from_slice(&w.bytes()[..n]);
                w.consume(n);
            }
            sent.extend_from_slice(w.bytes());
            prop_assert_eq!(read(&sent), wanted);
        }

        #[test]
        fn what_is_sent_to_a_server_comes_back_from_it_the_same(all in publishes()) {
            // A server turns `HPUB subject …` into `HMSG subject sid …`, and leaves the rest as it is.
            for (subject, reply, extra, own, payload) in &all {
                let headers: Vec<(&str, &str)> = extra.iter().chain(own).map(|(k, v)| (k.as_str(), v.as_str())).collect();
                let mut w = writer();
                w.publish_bytes(subject, reply.as_deref(), &headers, payload).unwrap();
                let name = if headers.is_empty() { "PUB " } else { "HPUB " };
                let behind = &w.bytes()[name.len() + subject.len()..];
                let line = format!("{}{subject} 7", name.replace("PUB", "MSG"));
                let chunk = Bytes::from([line.as_bytes(), behind].concat());
                let mut parser = crate::broker::nats::wire::parse::Parser::new(Default::default());
                let Ok(Some(crate::broker::nats::wire::parse::Op::Message(m))) = parser.next(&chunk, &mut 0) else {
                    panic!("no message in {chunk:?}");
                };
                prop_assert_eq!(m.sid, 7);
                let m = m.incoming(&chunk).message;
                prop_assert_eq!((m.subject(), m.reply_to(), m.payload()), (subject.as_str(), reply.as_deref(), &payload[..]));
                let unpadded = m.headers().collect::<Vec<_>>();
                prop_assert_eq!(unpadded, headers);
            }
        }
    }
}
