//! Dead letters: the message that says why another was given up on.
//!
//! Owns its form: the original payload, and headers that name the reason. Pure.

use std::time::Duration;

use crate::message::{Message, MessageBuilder};
use crate::outcome::Fault;
use crate::time::Instant;

/// What kind of fault the last call ended with.
pub(crate) const REASON: &str = "Millpond-Reason";
/// What was seen of it.
pub(crate) const DETAIL: &str = "Millpond-Detail";
/// Failed calls on the message alone.
pub(crate) const ATTEMPTS: &str = "Millpond-Attempts";
/// The handler that gave up on it.
pub(crate) const HANDLER: &str = "Millpond-Handler";
/// SHA-256 of the handler's component.
pub(crate) const COMPONENT: &str = "Millpond-Component";
/// The subject that the message was published to.
pub(crate) const SUBJECT: &str = "Millpond-Subject";
/// When it arrived, in milliseconds since 1970.
pub(crate) const ARRIVED: &str = "Millpond-Arrived-Unix-Ms";
/// When its last call failed, in milliseconds since 1970.
pub(crate) const FAILED: &str = "Millpond-Failed-Unix-Ms";
/// The stream that it came from, if it came from one.
pub(crate) const STREAM: &str = "Millpond-Stream";
/// Its number there.
pub(crate) const SEQUENCE: &str = "Millpond-Stream-Sequence";
/// Headers of the message that found no room beside these.
pub(crate) const LEFT_OUT: &str = "Millpond-Headers-Left-Out";
/// Bytes of its payload, which found no room.
pub(crate) const PAYLOAD_LEFT_OUT: &str = "Millpond-Payload-Left-Out";
/// Most characters of the detail on a letter that has no room for the payload either.
const SHORT_DETAIL_CHARS_MAX: usize = 64;
/// Most characters of a detail: what a person reads.
const DETAIL_CHARS_MAX: usize = 512;

/// What the shard's clock showed at one time of the world's.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wall {
    /// On the shard's clock.
    pub(crate) at: Instant,
    /// Since 1970.
    pub(crate) unix: Duration,
}

impl Wall {
    /// A time of the shard's clock, in milliseconds since 1970.
    fn unix_ms(self, at: Instant) -> u128 {
        let since = at.saturating_duration_since(self.at);
        let before = self.at.saturating_duration_since(at);
        (self.unix + since).saturating_sub(before).as_millis()
    }
}

/// Who gave up on a message, and where its letter goes.
#[derive(Debug, Clone)]
pub(crate) struct Sender {
    pub(crate) handler: String,
    pub(crate) component: String,
    /// The dead-letter subject.
    pub(crate) to: String,
}

/// What a letter has of its message, the most first: what its taker takes is tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Carries {
    /// Payload and headers.
    All,
    /// The payload.
    Payload,
    /// Nothing: what it was is only told.
    Nothing,
}

impl Carries {
    /// All, the most first.
    pub(crate) const ALL: [Self; 3] = [Self::All, Self::Payload, Self::Nothing];
}

/// The letter of a message, which came from this place of a stream. One that came to this handler as its own letter has none: it would go round for ever.
pub(crate) fn letter(
    message: &Message,
    fault: &Fault,
    sender: &Sender,
    from: Option<(String, u64)>,
    carries: Carries,
    (wall, now): (Wall, Instant),
) -> Option<Message> {
    let mut headers = message.headers();
    let own = headers.any(|(key, value)| key == HANDLER && value == sender.handler);
    if own && message.subject() == sender.to {
        return None;
    }
    let chars_max = match carries {
        Carries::All | Carries::Payload => DETAIL_CHARS_MAX,
        Carries::Nothing => SHORT_DETAIL_CHARS_MAX,
    };
    let detail = fault.detail.chars().take(chars_max).collect();
    let own = [
        (REASON, fault.kind.name().to_owned()),
        (DETAIL, detail),
        (ATTEMPTS, message.attempts.to_string()),
        (HANDLER, sender.handler.clone()),
        (COMPONENT, sender.component.clone()),
        (SUBJECT, message.subject().to_owned()),
        (ARRIVED, wall.unix_ms(message.arrived_or(now)).to_string()),
        (FAILED, wall.unix_ms(now).to_string()),
    ];
    let start = Message::builder(&sender.to).format(message.format());
    let mut start = own
        .iter()
        .fold(start, |b, (key, value)| b.header(key, value));
    if let Some((stream, sequence)) = from {
        start = start
            .header(STREAM, &stream)
            .header(SEQUENCE, &sequence.to_string());
    }
    let with = |start: MessageBuilder, count: usize| {
        let some = message.headers().take(count);
        some.fold(start, |b, (key, value)| b.header(key, value))
    };
    let all = message.headers().count();
    if carries == Carries::All {
        let whole = with(start.clone(), all).payload(message.payload());
        if let Ok(whole) = whole {
            return Some(whole);
        }
    }
    if all > 0 {
        start = start.header(LEFT_OUT, &all.to_string());
    }
    match carries {
        Carries::All | Carries::Payload => start.payload(message.payload()).ok(),
        Carries::Nothing => {
            let bytes = message.payload().len().to_string();
            start.header(PAYLOAD_LEFT_OUT, &bytes).payload(b"").ok()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::{Format, HEADER_BYTES_MAX};
    use crate::outcome::FaultKind;

    fn sender() -> Sender {
        Sender {
            handler: "h".into(),
            component: "0a".into(),
            to: "dead".into(),
        }
    }

    fn wall(at: Instant) -> Wall {
        Wall {
            at,
            unix: Duration::from_secs(1_000),
        }
    }

    fn header<'a>(message: &'a Message, key: &str) -> Option<&'a str> {
        message.headers().find(|(k, _)| *k == key).map(|(_, v)| v)
    }

    #[test]
    fn a_letter_says_what_happened_and_carries_the_message() {
        let start = crate::testing::start();
        let mut m = Message::builder("orders.7")
            .header("k", "v")
            .format(Format::Http)
            .payload(b"data")
            .unwrap();
        (m.attempts, m.arrived) = (5, Some(start));
        let fault = Fault::new(FaultKind::Trap, "unreachable\nat f");
        let later = start + Duration::from_millis(1_500);
        let times = (wall(start), later);
        let letter = letter(&m, &fault, &sender(), None, Carries::All, times).unwrap();
        assert_eq!(
            (letter.subject(), letter.payload(), letter.format()),
            ("dead", &b"data"[..], Format::Http)
        );
        let expected = [
            (REASON, "trap"),
            (DETAIL, r"unreachable\nat f"),
            (ATTEMPTS, "5"),
            (HANDLER, "h"),
            (COMPONENT, "0a"),
            (SUBJECT, "orders.7"),
            (ARRIVED, "1000000"),
            (FAILED, "1001500"),
            ("k", "v"),
        ];
        assert_eq!(letter.headers().collect::<Vec<_>>(), expected);
    }

    #[test]
    fn a_letter_of_the_same_handler_has_none() {
        let start = crate::testing::start();
        let of = |name| {
            Message::builder("dead")
                .header(HANDLER, name)
                .payload(b"")
                .unwrap()
        };
        let fault = Fault::new(FaultKind::Trap, "");
        let of_letter = |name| {
            let times = (wall(start), start);
            letter(&of(name), &fault, &sender(), None, Carries::All, times)
        };
        assert!(of_letter("h").is_none());
        assert!(of_letter("other").is_some());
    }

    #[test]
    fn headers_without_room_are_left_out_and_counted() {
        let start = crate::testing::start();
        let value = "v".repeat(HEADER_BYTES_MAX - "k: \r\n".len());
        let m = Message::builder("a")
            .header("k", &value)
            .payload(b"x")
            .unwrap();
        let fault = Fault::new(FaultKind::Trap, "d".repeat(10_000));
        let times = (wall(start), start);
        let letter = letter(&m, &fault, &sender(), None, Carries::All, times).unwrap();
        assert_eq!(header(&letter, LEFT_OUT), Some("1"));
        assert_eq!(
            header(&letter, DETAIL).map(str::len),
            Some(DETAIL_CHARS_MAX)
        );
        assert_eq!(letter.payload(), b"x");
    }

    #[test]
    fn what_has_no_room_is_left_out_and_told() {
        let start = crate::testing::start();
        let m = Message::builder("a")
            .header("k", "v")
            .payload(b"12345")
            .unwrap();
        let fault = Fault::new(FaultKind::Trap, "d".repeat(100));
        let of = |carries| {
            let from = Some(("ORDERS".to_owned(), 7));
            let times = (wall(start), start);
            letter(&m, &fault, &sender(), from, carries, times).unwrap()
        };
        for carries in Carries::ALL {
            let letter = of(carries);
            assert_eq!(header(&letter, STREAM), Some("ORDERS"));
            assert_eq!(header(&letter, SEQUENCE), Some("7"));
            let whole = carries == Carries::All;
            assert_eq!(header(&letter, "k"), whole.then_some("v"));
            assert_eq!(header(&letter, LEFT_OUT), (!whole).then_some("1"));
        }
        let (most, least) = (of(Carries::Payload), of(Carries::Nothing));
        assert_eq!((most.payload(), least.payload()), (&b"12345"[..], &b""[..]));
        assert_eq!(header(&least, PAYLOAD_LEFT_OUT), Some("5"));
        assert_eq!(header(&least, DETAIL).map(str::len), Some(64));
    }
}
