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
/// Headers of the message that found no room beside these.
pub(crate) const LEFT_OUT: &str = "Millpond-Headers-Left-Out";
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

/// The letter of a message. One that came to this handler as its own letter has none: it would go round for ever.
pub(crate) fn letter(
    message: &Message,
    fault: &Fault,
    sender: &Sender,
    wall: Wall,
    now: Instant,
) -> Option<Message> {
    let mut headers = message.headers();
    let own = headers.any(|(key, value)| key == HANDLER && value == sender.handler);
    if own && message.subject() == sender.to {
        return None;
    }
    let detail: String = fault.detail.chars().take(DETAIL_CHARS_MAX).collect();
    let detail = detail.replace(|c: char| c.is_control(), " ");
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
    let start = own
        .iter()
        .fold(start, |b, (key, value)| b.header(key, value));
    let with = |start: MessageBuilder, count: usize| {
        let some = message.headers().take(count);
        some.fold(start, |b, (key, value)| b.header(key, value))
    };
    let all = message.headers().count();
    let whole = with(start.clone(), all).payload(message.payload());
    whole.ok().or_else(|| {
        let start = start.header(LEFT_OUT, &all.to_string());
        start.payload(message.payload()).ok()
    })
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
        let letter = letter(&m, &fault, &sender(), wall(start), later).unwrap();
        assert_eq!(
            (letter.subject(), letter.payload(), letter.format()),
            ("dead", &b"data"[..], Format::Http)
        );
        let expected = [
            (REASON, "trap"),
            (DETAIL, "unreachable at f"),
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
        assert!(letter(&of("h"), &fault, &sender(), wall(start), start).is_none());
        assert!(letter(&of("other"), &fault, &sender(), wall(start), start).is_some());
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
        let letter = letter(&m, &fault, &sender(), wall(start), start).unwrap();
        assert_eq!(header(&letter, LEFT_OUT), Some("1"));
        assert_eq!(
            header(&letter, DETAIL).map(str::len),
            Some(DETAIL_CHARS_MAX)
        );
        assert_eq!(letter.payload(), b"x");
    }
}
