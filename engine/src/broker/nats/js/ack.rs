//! What a delivered message says of itself in its reply subject, and the bodies of the answers to it.
//! Source: <https://github.com/nats-io/nats-architecture-and-design/blob/main/adr/ADR-15.md>.
//!
//! Knows no consumer: it reads and writes single texts.

use std::time::Duration;

use crate::broker::nats::wire::line::leading_decimal;
use crate::broker::nats::wire::write::put_decimal;

/// The body that settles a message; an empty one means the same.
pub(crate) const ACK: &[u8] = b"+ACK";
/// The body that asks for more time: the ack wait begins again.
pub(crate) const PROGRESS: &[u8] = b"+WPI";

/// Bytes of a reason that are sent with a term: it is for an advisory that people read. What is more is cut off.
pub(crate) const TERM_REASON_BYTES_MAX: usize = 256;

/// What every reply subject of a delivery begins with.
const PREFIX: &str = "$JS.ACK.";
/// Tokens behind the prefix, from the stream to what is pending: the whole of the short form.
const TOKENS: usize = 7;
/// Tokens behind the prefix in the long form, without those that a later server may add at the end.
const TOKENS_WITH_DOMAIN: usize = TOKENS + 2;
/// What stands for no domain.
const NO_DOMAIN: &str = "_";

/// A delivery, as the reply subject of its message tells it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Delivery<'a> {
    /// The JetStream domain, where there is one.
    pub(crate) domain: Option<&'a str>,
    /// The stream.
    pub(crate) stream: &'a str,
    /// The consumer.
    pub(crate) consumer: &'a str,
    /// How often the message has been delivered, this time included: from 1.
    pub(crate) delivered: u64,
    /// The message's number in the stream: from 1.
    pub(crate) stream_sequence: u64,
    /// The delivery's number in the consumer: from 1.
    pub(crate) consumer_sequence: u64,
    /// When the stream took it, in nanoseconds since 1970.
    pub(crate) timestamp_ns: u64,
    /// Messages of the stream that the consumer has yet to deliver.
    pub(crate) pending: u64,
}

impl<'a> Delivery<'a> {
    /// Reads a reply subject: `$JS.ACK.<stream>.<consumer>.<delivered>.<stream sequence>.<consumer sequence>.<time>.<pending>`, or with
    /// `<domain>.<account hash>` before the stream and any tokens behind. `None` if it is none: then the message is no delivery.
    pub(crate) fn parse(reply_to: &'a str) -> Option<Self> {
        let (mut tokens, has_domain) = Tokens::of(reply_to)?;
        let domain = match has_domain {
            true => (tokens.name()?, tokens.name()?).0,
            false => NO_DOMAIN,
        };
        Some(Self {
            domain: Some(domain).filter(|&domain| domain != NO_DOMAIN),
            stream: tokens.name()?,
            consumer: tokens.name()?,
            delivered: tokens.number()?,
            stream_sequence: tokens.number()?,
            consumer_sequence: tokens.number()?,
            timestamp_ns: tokens.number()?,
            pending: tokens.number()?,
        })
    }
}

/// How often messages of one consumer have been delivered: what each message needs of its reply subject.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    /// What reply subjects of the consumer begin with, up to the count. Empty until the first has been read whole.
    head: Vec<u8>,
}

impl Counts {
    /// The count in this reply subject. `None` if it is no delivery's.
    #[inline]
    pub(crate) fn of(&mut self, reply_to: &[u8]) -> Option<u64> {
        match reply_to.strip_prefix(&self.head[..]) {
            Some(rest) if !self.head.is_empty() => Some(leading_decimal(rest)?.0),
            _ => self.learn(reply_to),
        }
    }

    /// Reads a reply subject whole, and keeps what it begins with.
    #[cold]
    fn learn(&mut self, reply_to: &[u8]) -> Option<u64> {
        let text = std::str::from_utf8(reply_to).ok()?;
        let delivery = Delivery::parse(text)?;
        let (mut tokens, has_domain) = Tokens::of(text)?;
        for _ in 0..if has_domain { 4 } else { 2 } {
            tokens.name()?;
        }
        self.head = reply_to[..reply_to.len() - tokens.rest.len()].to_vec();
        Some(delivery.delivered)
    }
}

/// The tokens of a subject, one after another.
struct Tokens<'a> {
    rest: &'a str,
}

impl<'a> Tokens<'a> {
    /// Those of a delivery's reply subject, and whether they begin with a domain and an account.
    #[inline]
    fn of(reply_to: &'a str) -> Option<(Self, bool)> {
        let rest = reply_to.strip_prefix(PREFIX)?;
        let has_domain = match memchr::memchr_iter(b'.', rest.as_bytes()).count() + 1 {
            TOKENS => false,
            TOKENS_WITH_DOMAIN.. => true,
            _ => return None,
        };
        Some((Self { rest }, has_domain))
    }

    /// The next token, if it has anything in it.
    #[inline]
    fn name(&mut self) -> Option<&'a str> {
        let end = self.rest.bytes().position(|byte| byte == b'.')?;
        let token = &self.rest[..end];
        self.rest = &self.rest[end + 1..];
        (end > 0).then_some(token)
    }

    /// The next token, if it is a number; what follows begins behind a dot, if there is more.
    #[inline]
    fn number(&mut self) -> Option<u64> {
        let (number, digits) = leading_decimal(self.rest.as_bytes())?;
        self.rest = match self.rest.as_bytes().get(digits) {
            None => "",
            Some(b'.') => &self.rest[digits + 1..],
            Some(_) => return None,
        };
        Some(number)
    }
}

/// Appends the body that gives a message back, to be delivered again after `delay`; at once if that is zero.
pub(crate) fn put_nak(body: &mut Vec<u8>, delay: Duration) {
    body.extend_from_slice(b"-NAK");
    if !delay.is_zero() {
        body.extend_from_slice(b" {\"delay\":");
        put_decimal(body, nanos(delay));
        body.push(b'}');
    }
}

/// Appends the body that ends a message for good; the reason is told in the server's advisory.
pub(crate) fn put_term(body: &mut Vec<u8>, reason: &str) {
    body.extend_from_slice(b"+TERM");
    if !reason.is_empty() {
        body.push(b' ');
        body.extend_from_slice(
            &reason.as_bytes()[..reason.floor_char_boundary(TERM_REASON_BYTES_MAX)],
        );
    }
}

/// Nanoseconds as JetStream counts them: in 64 bits with a sign.
pub(super) fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).map_or(i64::MAX as u64, |n| n.min(i64::MAX as u64))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn both_forms_are_read() {
        let short = Delivery::parse("$JS.ACK.ORDERS.worker.2.10.7.1700000000000000000.42").unwrap();
        let wanted = Delivery {
            domain: None,
            stream: "ORDERS",
            consumer: "worker",
            delivered: 2,
            stream_sequence: 10,
            consumer_sequence: 7,
            timestamp_ns: 1_700_000_000_000_000_000,
            pending: 42,
        };
        assert_eq!(short, wanted);
        let tail = "ORDERS.worker.2.10.7.1700000000000000000.42";
        for (head, tail_more, domain) in [
            ("_.ACCHASH", "", None),
            ("_.ACCHASH", ".rnd", None),
            ("hub.ACCHASH", ".rnd", Some("hub")),
            ("hub.ACCHASH", ".rnd.later.still", Some("hub")),
        ] {
            let reply = format!("$JS.ACK.{head}.{tail}{tail_more}");
            assert_eq!(
                Delivery::parse(&reply),
                Some(Delivery { domain, ..wanted }),
                "{reply}"
            );
            let mut counts = Counts::default();
            for _ in 0..2 {
                assert_eq!(counts.of(reply.as_bytes()), Some(2), "{reply}");
                let other = "$JS.ACK.other.one.7.1.1.1.1";
                assert_eq!(counts.of(other.as_bytes()), Some(7));
                assert_eq!(counts.of(b"$JS.ACK.other.one.x.1.1.1.1"), None);
            }
        }
    }

    #[test]
    fn what_is_no_delivery_is_none() {
        for reply in [
            "",
            "_INBOX.a",
            "$JS.ACK",
            "$JS.ACK.",
            "$JS.ACK.S.c.1.2.3.4",
            "$JS.ACK.S.c.1.2.3.4.5.6",
            "$JS.ACK.d.S.c.1.2.3.4.5",
            "$JS.ACK.S.c.1.2.3.4.",
            "$JS.ACK.S.c.1.2.3.4.x",
            "$JS.ACK..c.1.2.3.4.5",
            "$JS.ACK.S..1.2.3.4.5",
            "$JS.ACK.S.c.1.2.3.4.99999999999999999999",
            "$JS.ack.S.c.1.2.3.4.5",
        ] {
            assert_eq!(Delivery::parse(reply), None, "{reply}");
        }
    }

    #[test]
    fn bodies_are_as_the_server_reads_them() {
        let nak = |delay| {
            let mut body = Vec::new();
            put_nak(&mut body, delay);
            String::from_utf8(body).unwrap()
        };
        assert_eq!(nak(Duration::ZERO), "-NAK");
        assert_eq!(
            nak(Duration::from_millis(1_500)),
            "-NAK {\"delay\":1500000000}"
        );
        assert_eq!(
            nak(Duration::MAX),
            format!("-NAK {{\"delay\":{}}}", i64::MAX)
        );
        let term = |reason: &str| {
            let mut body = Vec::new();
            put_term(&mut body, reason);
            String::from_utf8(body).unwrap()
        };
        assert_eq!(term(""), "+TERM");
        assert_eq!(term("trap: unreachable"), "+TERM trap: unreachable");
        assert_eq!(
            term(&"x".repeat(TERM_REASON_BYTES_MAX + 1)).len(),
            6 + TERM_REASON_BYTES_MAX
        );
        assert_eq!(
            term(&format!("{}ü", "x".repeat(TERM_REASON_BYTES_MAX - 1))).len(),
            5 + TERM_REASON_BYTES_MAX
        );
    }

    proptest! {
        #[test]
        fn any_delivery_is_read_back(
            names in ("[A-Za-z0-9_-]{1,20}", "[^. \t\r\n]{1,20}"), numbers in any::<(u64, u64, u64, u64, u64)>(),
            domain in prop::option::of(prop::option::of("[a-z]{1,9}")), more in "(\\.[a-z]{1,4}){0,3}",
        ) {
            let (stream, consumer) = (names.0.as_str(), names.1.as_str());
            let (delivered, stream_sequence, consumer_sequence, timestamp_ns, pending) = numbers;
            let head = domain.as_ref().map_or(String::new(), |d| format!("{}.HASH.", d.as_deref().unwrap_or("_")));
            let more = if domain.is_some() { more } else { String::new() };
            let reply = format!("$JS.ACK.{head}{stream}.{consumer}.{delivered}.{stream_sequence}.{consumer_sequence}.{timestamp_ns}.{pending}{more}");
            let domain = domain.as_ref().and_then(|d| d.as_deref());
            let wanted = Delivery { domain, stream, consumer, delivered, stream_sequence, consumer_sequence, timestamp_ns, pending };
            prop_assert_eq!(Delivery::parse(&reply), Some(wanted));
        }

        #[test]
        fn any_text_is_taken_without_panic(text in "(\\$JS\\.ACK\\.)?[a-z0-9.ü]{0,60}") {
            Delivery::parse(&text);
        }
    }
}
