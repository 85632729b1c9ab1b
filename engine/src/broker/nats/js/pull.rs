//! Pull requests, and what the server's status messages on a pull's inbox mean for who pulls.
//! Source: <https://github.com/nats-io/nats-architecture-and-design/blob/main/adr/ADR-13.md> and ADR-37, and the texts in
//! nats-server 2.15.1 (`server/consumer.go`).
//!
//! Owns the texts and what follows of each; which pulls are open and when to ask again is the puller's.

use std::time::Duration;

use crate::broker::nats::wire::headers;
use crate::broker::nats::wire::line::decimal;
use crate::broker::nats::wire::write::put_decimal;

use super::ack::nanos;

/// The header of a status that says how many messages of the pull won't come.
const PENDING_MESSAGES: &str = "Nats-Pending-Messages";
/// The header of a status that says how many bytes of the pull won't come.
const PENDING_BYTES: &str = "Nats-Pending-Bytes";
/// The header of a heartbeat that says where an empty message has to go before anything more comes.
const STALLED: &str = "Nats-Consumer-Stalled";

/// A request for messages. It ends with its last message, without a word, or with a status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PullRequest {
    /// Messages at most.
    pub(crate) batch: u64,
    /// How long the server keeps the request; zero for as long as the inbox is subscribed to.
    pub(crate) expires: Duration,
    /// How long the server is silent before it says that it still has the request: at most half of `expires`. Zero: never.
    pub(crate) idle_heartbeat: Duration,
    /// Bytes at most, as the server counts them: subjects, headers and payload. 0: no bound.
    pub(crate) max_bytes: u64,
    /// Whether the server answers at once when it has nothing, rather than keep the request.
    pub(crate) no_wait: bool,
}

impl PullRequest {
    /// Appends the request's body. No allocation once the buffer is warm.
    pub(crate) fn put(&self, body: &mut Vec<u8>) {
        body.extend_from_slice(b"{\"batch\":");
        put_decimal(body, self.batch);
        let fields = [
            (&b",\"expires\":"[..], nanos(self.expires)),
            (&b",\"idle_heartbeat\":"[..], nanos(self.idle_heartbeat)),
            (&b",\"max_bytes\":"[..], self.max_bytes),
        ];
        for (name, value) in fields.into_iter().filter(|(_, value)| *value > 0) {
            body.extend_from_slice(name);
            put_decimal(body, value);
        }
        if self.no_wait {
            body.extend_from_slice(b",\"no_wait\":true");
        }
        body.push(b'}');
    }
}

/// What a status message on a pull's inbox says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PullStatus {
    /// 100: the server still has the pull.
    Heartbeat,
    /// 404 No Messages: there is nothing, and the pull was not to wait.
    NoMessages,
    /// 408 Request Timeout: the pull's time is over.
    Expired,
    /// 408 with another text: other pulls wait for what there is, or the server saw nobody on the inbox.
    Refused,
    /// 409 Batch Completed: all that the pull may have has come.
    BatchCompleted,
    /// 409 Message Size Exceeds MaxBytes: the next message does not fit into what is left of the pull's bytes. If nothing came of
    /// the pull, the same one again gets the same answer.
    SizeExceeded,
    /// 409 Consumer Deleted.
    ConsumerDeleted,
    /// 409 Leadership Change: another server has the consumer now, or soon, and knows of no pull.
    LeadershipChange,
    /// 409 Server Shutdown.
    ServerShutdown,
    /// 409 Exceeded MaxWaiting, or 429: the consumer has as many pulls waiting as it may have.
    TooManyWaiting,
    /// 409 Exceeded MaxRequestBatch, MaxRequestExpires or MaxRequestMaxBytes: the pull asks for more than the consumer allows.
    LimitExceeded,
    /// 409 Consumer is push based.
    PushBased,
    /// 400 Bad Request, 412 Required Api Level, 423 Nats-Wrong-Pin-Id: the server doesn't take such a pull.
    BadRequest,
    /// 503: nobody takes pulls for this consumer: no JetStream, no such consumer, or none that leads.
    NoResponders,
    /// A status of a server that is newer than this.
    Unknown(u16),
}

/// What has to be done about a pull after a status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Then {
    /// The pull goes on.
    GoOn,
    /// The pull has ended: ask again at once.
    AskAgain,
    /// The pull has ended: ask again at once if something came of it, and else with more `max_bytes`.
    AskLarger,
    /// The pull has ended: ask again after a while; where this goes on, check the consumer.
    AskLater,
    /// The pull has ended: the consumer is gone. Check it, and create it again or give up.
    ConsumerGone,
    /// The pull has ended, and every one like it will: give up, with the status as the reason.
    GiveUp,
}

impl PullStatus {
    /// What a status says, of its number and text.
    pub(crate) fn of(status: u16, description: &str) -> Self {
        let is = |text: &str| description.eq_ignore_ascii_case(text);
        let begins = |text: &str| {
            let start = description.get(..text.len());
            start.is_some_and(|start| start.eq_ignore_ascii_case(text))
        };
        match status {
            100 => Self::Heartbeat,
            400 | 412 | 423 => Self::BadRequest,
            404 => Self::NoMessages,
            408 if is("Request Timeout") => Self::Expired,
            408 => Self::Refused,
            409 if is("Batch Completed") => Self::BatchCompleted,
            409 if is("Message Size Exceeds MaxBytes") => Self::SizeExceeded,
            409 if is("Consumer Deleted") => Self::ConsumerDeleted,
            409 if is("Leadership Change") => Self::LeadershipChange,
            409 if is("Server Shutdown") => Self::ServerShutdown,
            409 if is("Consumer is push based") => Self::PushBased,
            409 if begins("Exceeded MaxRequest") => Self::LimitExceeded,
            // `MaxWaiting`, and `MaxAckPending` should a server ever say it: both end by themselves.
            409 if begins("Exceeded Max") => Self::TooManyWaiting,
            429 => Self::TooManyWaiting,
            503 => Self::NoResponders,
            other => Self::Unknown(other),
        }
    }

    /// What has to be done about the pull.
    pub(crate) fn then(self) -> Then {
        match self {
            Self::Heartbeat | Self::Unknown(100..=199) => Then::GoOn,
            Self::Expired | Self::BatchCompleted => Then::AskAgain,
            Self::SizeExceeded => Then::AskLarger,
            Self::NoMessages
            | Self::Refused
            | Self::LeadershipChange
            | Self::ServerShutdown
            | Self::TooManyWaiting
            | Self::NoResponders
            | Self::Unknown(_) => Then::AskLater,
            Self::ConsumerDeleted => Then::ConsumerGone,
            Self::LimitExceeded | Self::PushBased | Self::BadRequest => Then::GiveUp,
        }
    }
}

/// What a status message's headers say of its pull.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct PullRest<'a> {
    /// Messages of the pull that won't come. Where it is not said, none of those that have not come will.
    pub(crate) messages: Option<u64>,
    /// Bytes of the pull that won't come. Where it is not said, as above.
    pub(crate) bytes: Option<u64>,
    /// Where an empty message has to go, because the consumer waits for it.
    pub(crate) stalled: Option<&'a str>,
}

impl<'a> PullRest<'a> {
    /// Reads header lines, as [`crate::message::Message::raw_headers`] has them.
    pub(crate) fn of(lines: &'a [u8]) -> Self {
        let number = |name| headers::find(lines, name).and_then(|value| decimal(value.as_bytes()));
        Self {
            messages: number(PENDING_MESSAGES),
            bytes: number(PENDING_BYTES),
            stalled: headers::find(lines, STALLED).filter(|subject| !subject.is_empty()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn body(request: PullRequest) -> String {
        let mut body = Vec::new();
        request.put(&mut body);
        String::from_utf8(body).unwrap()
    }

    const PULL: PullRequest = PullRequest {
        batch: 100,
        expires: Duration::from_secs(30),
        idle_heartbeat: Duration::from_millis(500),
        max_bytes: 1 << 20,
        no_wait: false,
    };

    #[test]
    fn requests_say_what_is_set() {
        let all = "{\"batch\":100,\"expires\":30000000000,\"idle_heartbeat\":500000000,\"max_bytes\":1048576}";
        assert_eq!(body(PULL), all);
        let least = PullRequest {
            expires: Duration::ZERO,
            idle_heartbeat: Duration::ZERO,
            max_bytes: 0,
            no_wait: true,
            ..PULL
        };
        assert_eq!(body(least), "{\"batch\":100,\"no_wait\":true}");
    }

    #[test]
    fn every_status_says_what_to_do() {
        use PullStatus as S;
        let all = [
            ("100 Idle Heartbeat", S::Heartbeat, Then::GoOn),
            ("404 No Messages", S::NoMessages, Then::AskLater),
            ("408 Request Timeout", S::Expired, Then::AskAgain),
            ("408 Requests Pending", S::Refused, Then::AskLater),
            ("408 Interest Expired", S::Refused, Then::AskLater),
            ("409 Batch Completed", S::BatchCompleted, Then::AskAgain),
            (
                "409 Message Size Exceeds MaxBytes",
                S::SizeExceeded,
                Then::AskLarger,
            ),
            (
                "409 Consumer Deleted",
                S::ConsumerDeleted,
                Then::ConsumerGone,
            ),
            ("409 Leadership Change", S::LeadershipChange, Then::AskLater),
            ("409 Server Shutdown", S::ServerShutdown, Then::AskLater),
            ("409 Exceeded MaxWaiting", S::TooManyWaiting, Then::AskLater),
            (
                "409 Exceeded MaxAckPending",
                S::TooManyWaiting,
                Then::AskLater,
            ),
            ("429 Too Many Requests", S::TooManyWaiting, Then::AskLater),
            (
                "409 Exceeded MaxRequestBatch of 5",
                S::LimitExceeded,
                Then::GiveUp,
            ),
            (
                "409 Exceeded MaxRequestExpires of 1s",
                S::LimitExceeded,
                Then::GiveUp,
            ),
            (
                "409 Exceeded MaxRequestMaxBytes of 9",
                S::LimitExceeded,
                Then::GiveUp,
            ),
            ("409 Consumer is push based", S::PushBased, Then::GiveUp),
            ("400 Bad Request", S::BadRequest, Then::GiveUp),
            ("412 Required Api Level", S::BadRequest, Then::GiveUp),
            ("423 Nats-Wrong-Pin-Id", S::BadRequest, Then::GiveUp),
            ("503 ", S::NoResponders, Then::AskLater),
            ("409 Something New", S::Unknown(409), Then::AskLater),
            ("409 Exceeded Mäx", S::Unknown(409), Then::AskLater),
            ("110 ", S::Unknown(110), Then::GoOn),
            ("599 ", S::Unknown(599), Then::AskLater),
        ];
        for (line, says, then) in all {
            let (status, text) = line.split_once(' ').unwrap();
            let status = status.parse().unwrap();
            let seen = PullStatus::of(status, text);
            assert_eq!((seen, seen.then()), (says, then), "{line}");
            assert_eq!(PullStatus::of(status, &text.to_ascii_lowercase()), says);
        }
    }

    #[test]
    fn what_will_not_come_is_read() {
        let rest = PullRest::of(b"Nats-Pending-Messages: 3\r\nNats-Pending-Bytes: 1048000\r\n");
        assert_eq!(
            (rest.messages, rest.bytes, rest.stalled),
            (Some(3), Some(1_048_000), None)
        );
        assert_eq!(PullRest::of(b""), PullRest::default());
        assert_eq!(
            PullRest::of(b"Nats-Pending-Messages: -1\r\n"),
            PullRest::default()
        );
        let stalled =
            PullRest::of(b"Nats-Last-Consumer: 1\r\nNats-Consumer-Stalled: $JS.FC.S.c.x\r\n");
        assert_eq!(stalled.stalled, Some("$JS.FC.S.c.x"));
    }

    proptest! {
        #[test]
        fn any_request_is_json_with_its_numbers(batch: u64, expires: u32, heartbeat: u32, max_bytes: u64, no_wait: bool) {
            let request = PullRequest {
                batch,
                expires: Duration::from_millis(expires.into()),
                idle_heartbeat: Duration::from_nanos(heartbeat.into()),
                max_bytes,
                no_wait,
            };
            let json: serde_json::Value = serde_json::from_str(&body(request)).unwrap();
            let number = |name: &str| json.get(name).map_or(0, |n| n.as_u64().unwrap());
            prop_assert_eq!((number("batch"), number("max_bytes")), (batch, max_bytes));
            prop_assert_eq!(number("expires"), u64::from(expires) * 1_000_000);
            prop_assert_eq!(number("idle_heartbeat"), u64::from(heartbeat));
            prop_assert_eq!(json.get("no_wait").is_some(), no_wait);
        }

        #[test]
        fn any_status_is_taken_without_panic(status: u16, text in ".{0,40}", lines in prop::collection::vec(any::<u8>(), 0..60)) {
            PullStatus::of(status, &text).then();
            PullRest::of(&lines);
        }
    }
}
