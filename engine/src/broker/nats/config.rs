//! What an embedder says of NATS: where the servers are, and what each handler takes from them.
//!
//! Owns these shapes and their checks. Knows no socket.

use std::time::Duration;

use super::auth::Auth;
use super::control::{CreateConsumer, DeliveryLevel};
use super::tls::TlsOptions;
use super::url::ServerUrl;
use crate::subject::check_pattern;

/// Longest name of a queue group, stream or consumer, in bytes: what nats-server allows for the latter two.
pub(crate) const NAME_BYTES_MAX: usize = 255;

/// The servers of an engine, and how they are spoken to. Each shard has a connection of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NatsConfig {
    /// The servers, at least one; others of their cluster are learned from them.
    pub urls: Vec<ServerUrl>,
    /// The connections' name, as those who watch the server see it. Default `millpond`.
    pub name: String,
    /// Who the engine is. Default: nobody, or whom a URL names.
    pub auth: Auth,
    /// How TLS is done where a URL or a server asks for it.
    pub tls: TlsOptions,
    /// How long a start may take until every shard is connected, and every consumer bound. Default 30 s: several servers that
    /// don't answer, at 5 s each, and a cluster that elects a leader.
    pub ready_wait_max: Duration,
    /// How long a server may be silent, PINGs unanswered, before it is given up and connected to again. Default 30 s: longer
    /// than a pause of a healthy server or network, and below what those who wait for a reply usually have.
    pub silence_max: Duration,
    /// Longest delay before a lost server is connected to again: it begins with 50 ms, doubles with each failure, and a random
    /// half to whole of it is waited. Default 5 s: an outage is over for everybody 5 s after its end at the latest.
    pub reconnect_delay_max: Duration,
    /// How often the streams that capture what guests may send are looked up. Default 30 s: sends to a stream that was made since
    /// are not waited for until then. A subject that was captured once is waited for as long as the engine runs.
    pub renew_every: Duration,
}

impl NatsConfig {
    /// These servers, with nothing else said.
    #[must_use]
    pub fn new(urls: Vec<ServerUrl>) -> Self {
        Self {
            urls,
            name: "millpond".to_owned(),
            auth: Auth::default(),
            tls: TlsOptions::default(),
            ready_wait_max: Duration::from_secs(30),
            silence_max: Duration::from_secs(30),
            reconnect_delay_max: Duration::from_secs(5),
            renew_every: Duration::from_secs(30),
        }
    }
}

/// What a handler takes from NATS.
#[derive(Debug, Clone)]
#[allow(
    clippy::large_enum_variant,
    reason = "one a handler, made once at the start"
)]
pub enum NatsSource {
    /// Its subjects, and those that its guest names, from the server's core: at most once, since the server keeps nothing. What
    /// is above `in_flight_messages_max` is shed and counted, and so is what has waited too long.
    Core {
        /// The queue group that its subscriptions share, over all shards and processes, so that each message is handled once.
        /// `None`: it gets every message, on one shard; so does every other process that asks for it.
        queue: Option<String>,
    },
    /// What a durable pull consumer of a stream has for it. Its own subjects are then those of the consumer, and what its
    /// guest names in `configure` is heard in process alone.
    Stream(StreamSource),
}

/// A durable pull consumer.
#[derive(Debug, Clone)]
pub struct StreamSource {
    /// The stream.
    pub stream: String,
    /// The consumer's durable name.
    pub durable: String,
    /// How both are made if they are not there; `None`: they have to be.
    pub create: Option<CreateConsumer>,
    /// How often a message's effects may happen.
    pub delivery: DeliveryLevel,
}

impl StreamSource {
    /// An existing consumer, at least once.
    pub fn existing(stream: impl Into<String>, durable: impl Into<String>) -> Self {
        Self {
            stream: stream.into(),
            durable: durable.into(),
            create: None,
            delivery: DeliveryLevel::AtLeastOnce,
        }
    }
}

impl NatsSource {
    /// The first thing that is wrong with it.
    pub(crate) fn fault(&self) -> Option<String> {
        match self {
            // A server takes dots in the name of a group: it is no part of a subject.
            Self::Core { queue } => queue.as_deref().and_then(|q| bad_name("queue", q, "*>/\\")),
            Self::Stream(source) => {
                let filters = source.create.iter().flat_map(|c| &c.filter_subjects);
                let filter = filters.map(|f| check_pattern(f)).find_map(Result::err);
                bad_name("stream", &source.stream, ".*>/\\")
                    .or_else(|| bad_name("durable", &source.durable, ".*>/\\"))
                    .or_else(|| filter.map(|fault| fault.to_string()))
            }
        }
    }
}

/// Why a name of the server's can't be one; the rules are those of nats-server for streams and consumers. It may have none of the
/// characters `not`.
fn bad_name(what: &str, name: &str, not: &str) -> Option<String> {
    let foreign = |c: char| c.is_whitespace() || c.is_control() || not.contains(c);
    if name.is_empty() || name.len() > NAME_BYTES_MAX {
        let bytes = name.len();
        return Some(format!(
            "{what} has {bytes} bytes; it may have 1 to {NAME_BYTES_MAX}"
        ));
    }
    name.contains(foreign).then(|| {
        let not: Vec<String> = not.chars().map(String::from).collect();
        let not = not.join(" ");
        format!(
            "{what} {name:?} has white space, a control character or one of {not}; leave it out"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_at_the_limit_pass_and_one_over_is_told() {
        let core = |queue: &str| NatsSource::Core {
            queue: Some(queue.into()),
        };
        assert_eq!(core(&"q".repeat(NAME_BYTES_MAX)).fault(), None);
        let over = core(&"q".repeat(NAME_BYTES_MAX + 1)).fault().unwrap();
        assert!(over.contains("256 bytes"), "{over}");
        assert!(core("").fault().unwrap().contains("0 bytes"));
        assert_eq!(core("orders.v1").fault(), None);
        let star = core("orders.*").fault().unwrap();
        assert!(star.contains("one of * > / \\;"), "{star}");
    }

    #[test]
    fn what_a_server_would_refuse_is_named() {
        let stream = |stream: &str, durable: &str| {
            NatsSource::Stream(StreamSource::existing(stream, durable))
        };
        assert_eq!(stream("ORDERS", "mill").fault(), None);
        assert!(
            stream("a.b", "mill")
                .fault()
                .unwrap()
                .contains("stream \"a.b\"")
        );
        assert!(stream("ORDERS", "m l").fault().unwrap().contains("durable"));
    }
}
