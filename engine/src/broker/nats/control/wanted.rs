//! What a handler needs of JetStream, and what it gets: plain data between the configuration, the checks and the transport.

use std::time::Duration;

use serde::Serialize;
use thiserror::Error;

use super::captured::Captured;

/// How often a message's effects may happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(
    clippy::enum_variant_names,
    reason = "these are the names that they have everywhere"
)]
pub enum DeliveryLevel {
    /// Acked on arrival: a message is lost with the engine that took it.
    AtMostOnce,
    /// Acked after every send that a stream captures is known to be stored: sends may be repeated.
    AtLeastOnce,
    /// As that, and each input's sends are one atomic batch that its stream takes once, within its `duplicate_window`.
    EffectivelyOnce,
}

/// What a handler needs of JetStream.
#[derive(Debug, Clone)]
pub(crate) struct Wanted {
    /// The handler's name, for errors.
    pub(crate) handler: String,
    /// The stream that it takes from.
    pub(crate) stream: String,
    /// Its durable pull consumer.
    pub(crate) durable: String,
    /// How the consumer is made if there is none; `None`: it has to be there.
    pub(crate) create: Option<CreateConsumer>,
    /// What its level promises.
    pub(crate) delivery: DeliveryLevel,
    /// The subject of its dead letters.
    pub(crate) dead_letter: Option<String>,
    /// Patterns that its guest may publish to.
    pub(crate) publishes: Vec<String>,
    /// Messages that all shards together may have in flight.
    pub(crate) in_flight_messages: u64,
    /// What bounds the time until a message's last redelivery.
    pub(crate) redelivery: Redelivery,
}

/// The limits of a handler that bound how long after its sends were stored the engine may send them again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Redelivery {
    /// Failed calls on one message alone before it is given up on.
    pub(crate) deliveries_max: u32,
    /// Longest delay before the next of them.
    pub(crate) retry_delay_max: Duration,
    /// Longest time of one call.
    pub(crate) wall_deadline: Duration,
    /// Longest wait for a confirmation.
    pub(crate) confirm_wait_max: Duration,
    /// Longest pause of a handler that keeps failing.
    pub(crate) pause_max: Duration,
}

impl Redelivery {
    /// The redelivery horizon: how long after an input's sends were stored the engine may, of its own accord, publish them again.
    ///
    /// `deliveries_max × (max(ack_wait, retry_delay_max) + pause_max + wall_deadline + confirm_wait_max)`: the answer to the
    /// first publication is lost, and each further attempt comes after a nak's delay or, where the nak was lost too, the ack wait; may
    /// meet a pause; has one call; and waits once for a confirmation. All that can be stored again is refused as a duplicate while
    /// the stream remembers its ids. Time in which the engine, the server or the connection is away comes on top: the
    /// window minus this horizon is how much of that the guarantee outlives.
    pub(crate) fn horizon(&self, ack_wait: Duration) -> Duration {
        let attempt = ack_wait
            .max(self.retry_delay_max)
            .saturating_add(self.pause_max)
            .saturating_add(self.wall_deadline)
            .saturating_add(self.confirm_wait_max);
        attempt.saturating_mul(self.deliveries_max.max(1))
    }
}

/// How a consumer is made. What is `None` is the server's default, and is not compared with what a consumer that exists has.
#[derive(Debug, Clone, Default)]
pub struct CreateConsumer {
    /// How its stream is made if there is none; `None`: it has to be there.
    pub stream: Option<CreateStream>,
    /// Patterns of the messages that it takes; none: all of the stream, and that is compared too.
    pub filter_subjects: Vec<String>,
    /// How long after its delivery a message that was not acked is delivered again.
    pub ack_wait: Option<Duration>,
    /// Messages delivered and not acked, over all who pull. `None`: 1,000, or twice what all shards may have in flight if that is more.
    pub max_ack_pending: Option<u64>,
    /// Pulls that may wait at the server.
    pub max_waiting: Option<u64>,
    /// Where it begins; the server's default is the first message.
    pub deliver: Option<DeliverFrom>,
}

/// Where a new consumer begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeliverFrom {
    /// With the first message of the stream.
    All,
    /// With what comes after the consumer was made.
    New,
    /// With the last message.
    Last,
    /// With the last message of each subject.
    LastPerSubject,
    /// With this sequence of the stream.
    Sequence(u64),
}

/// How a stream is made. What is `None` is the server's default, and is not compared with what a stream that exists has.
#[derive(Debug, Clone, Default)]
pub struct CreateStream {
    /// What it captures.
    pub subjects: Vec<String>,
    /// Where it keeps its messages.
    pub storage: Option<Storage>,
    /// What it keeps.
    pub retention: Option<Retention>,
    /// Servers that keep a copy.
    pub replicas: Option<u32>,
    /// How long it keeps a message.
    pub max_age: Option<Duration>,
    /// How many bytes it keeps.
    pub max_bytes: Option<u64>,
    /// How many messages it keeps.
    pub max_messages: Option<u64>,
    /// How long it remembers message ids.
    pub duplicate_window: Option<Duration>,
    /// Whether it takes atomic batches.
    pub allow_atomic: Option<bool>,
}

/// Where a stream keeps its messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Storage {
    /// In files.
    File,
    /// In memory.
    Memory,
}

/// What a stream keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Retention {
    /// What its limits allow.
    Limits,
    /// What some consumer has not acked yet.
    Interest,
    /// What has not been acked.
    WorkQueue,
}

/// A handler's consumer that can be pulled from, and what its pulls and sends must know.
#[derive(Debug, Clone)]
pub(crate) struct Bound {
    /// The handler's name.
    pub(crate) handler: String,
    /// The stream.
    pub(crate) stream: String,
    /// When that was made, in nanoseconds since 1970: with its name it tells it from one that has the name later.
    pub(crate) stream_created: i64,
    /// The consumer.
    pub(crate) consumer: String,
    /// The shortest time after which a message that was not acked is delivered again: its ack wait, or the shortest of its backoff.
    pub(crate) ack_wait: Duration,
    /// Messages delivered and not acked, over all who pull; -1: any number.
    pub(crate) max_ack_pending: i64,
    /// Pulls that may wait at the server, over all who pull.
    pub(crate) max_waiting: u64,
    /// Messages that one pull may ask for, if that is bounded.
    pub(crate) max_request_batch: Option<u64>,
    /// Bytes that one pull may ask for, if that is bounded.
    pub(crate) max_request_bytes: Option<u64>,
    /// How long one pull may wait, if that is bounded.
    pub(crate) max_request_expires: Option<Duration>,
    /// Patterns of the messages that it takes; none: all of the stream.
    pub(crate) filter_subjects: Vec<String>,
    /// Which stream captures what the guest may publish; nothing at most once, where nobody waits for it.
    pub(crate) captured: Captured,
    /// The one stream of an effectively-once handler's sends; `None` if it may publish nothing, and at other levels.
    pub(crate) output: Option<Output>,
    /// What is allowed and should be known.
    pub(crate) warnings: Vec<Warning>,
}

/// The stream that an effectively-once handler's sends go to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Output {
    /// Its name.
    pub(crate) stream: String,
    /// How long it remembers message ids.
    pub(crate) duplicate_window: Duration,
    /// How long engine, server and connection may be away before sends can be stored twice: the window less [`Redelivery::horizon`].
    pub(crate) outage_max: Duration,
}

/// Something that is allowed and should be known.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub(crate) enum Warning {
    /// The consumer stops delivering before the shards are full.
    #[error(
        "max_ack_pending is {max_ack_pending}, below twice the {in_flight} messages that all shards may have in flight: the server holds \
         messages back while shards have room; raise it to {}",
        .in_flight.saturating_mul(2)
    )]
    AckPendingLow {
        /// What the consumer has.
        max_ack_pending: i64,
        /// Messages in flight, over all shards.
        in_flight: u64,
    },
    /// The consumer is paused.
    #[error("it is paused until {until}: nothing is delivered before")]
    Paused {
        /// When it goes on, as the server says it.
        until: String,
    },
    /// The consumer vanishes when nobody pulls.
    #[error(
        "inactive_threshold is {0:?}: the server deletes the consumer, and what it has delivered so far is forgotten, when nobody pulls for as long"
    )]
    Inactive(Duration),
    /// Messages come without payloads.
    #[error("headers_only is set: every message comes with an empty payload")]
    HeadersOnly,
    /// A filter takes nothing.
    #[error("its filter {filter:?} overlaps none of the stream's subjects ({}): it takes nothing", .subjects.join(", "))]
    FilterMisses {
        /// The filter.
        filter: String,
        /// What the stream captures.
        subjects: Vec<String>,
    },
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn redelivery() -> Redelivery {
        Redelivery {
            deliveries_max: 5,
            retry_delay_max: SECOND,
            wall_deadline: 5 * SECOND,
            confirm_wait_max: 5 * SECOND,
            pause_max: 10 * SECOND,
        }
    }

    #[test]
    fn the_horizon_of_the_defaults_is_what_the_formula_says() {
        assert_eq!(redelivery().horizon(30 * SECOND), 250 * SECOND);
        let short = redelivery().horizon(Duration::from_millis(500));
        assert_eq!(short, 5 * 21 * SECOND, "the nak's delay is longer");
    }

    proptest! {
        #[test]
        fn the_horizon_grows_with_each_term_and_is_never_below_one_attempt(deliveries_max: u32, ack: u64, more: u64) {
            let r = Redelivery { deliveries_max, ..redelivery() };
            let (ack, more) = (Duration::from_nanos(ack), Duration::from_nanos(more));
            prop_assert!(r.horizon(ack) >= ack + 20 * SECOND);
            prop_assert!(r.horizon(ack + more) >= r.horizon(ack));
            let longer = Redelivery { confirm_wait_max: r.confirm_wait_max + more, ..r };
            prop_assert!(longer.horizon(ack) >= r.horizon(ack));
        }
    }
}
