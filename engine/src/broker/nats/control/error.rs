//! Why handlers could not be bound: one enum a boundary, each text with what, where, why and what to do. No secret is in any.

use std::fmt;
use std::time::Duration;

use thiserror::Error;

use super::connect::ConnectError;
use super::session::Trouble;

use crate::subject::SubjectError;

/// Why handlers could not be bound to JetStream.
#[derive(Debug, Error)]
pub(crate) enum BindError {
    /// There is no connection.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The server, or the account, has no JetStream.
    #[error(
        "{server} has no JetStream for this account ({detail}): start the server with `-js` or a `jetstream` block, and enable it for the account"
    )]
    JetStreamDisabled {
        /// The server.
        server: String,
        /// What it said.
        detail: String,
    },
    /// A request to the server failed.
    #[error("{server}, {asked}: {why}")]
    Request {
        /// The server.
        server: String,
        /// What it was asked.
        asked: String,
        /// What came of it.
        why: Trouble,
    },
    /// A handler's stream can't be used.
    #[error("handler {handler:?}, stream {stream:?}: {why}")]
    Stream {
        /// The handler.
        handler: String,
        /// The stream.
        stream: String,
        /// Why.
        why: StreamFault,
    },
    /// A handler's consumer can't be used.
    #[error("handler {handler:?}, consumer {consumer:?} of stream {stream:?}: {why}")]
    Consumer {
        /// The handler.
        handler: String,
        /// The stream.
        stream: String,
        /// The consumer.
        consumer: String,
        /// Why.
        why: ConsumerFault,
    },
    /// A handler's dead letters would be lost, or come back.
    #[error("handler {handler:?}, dead letters to {subject:?}: {why}")]
    DeadLetter {
        /// The handler.
        handler: String,
        /// The subject of its dead letters.
        subject: String,
        /// Why.
        why: LetterFault,
    },
    /// What a handler may publish can't be sent as its delivery level promises.
    #[error("handler {handler:?}, what it may publish: {why}")]
    Output {
        /// The handler.
        handler: String,
        /// Why.
        why: OutputFault,
    },
    /// More streams than are looked at.
    #[error(
        "pattern {pattern:?} overlaps {found} streams, more than the {max} that are looked at: grant narrower patterns"
    )]
    TooManyStreams {
        /// What the guest may publish to.
        pattern: String,
        /// Streams that the server named.
        found: usize,
        /// How many may be.
        max: usize,
    },
    /// The time for all of it is over.
    #[error(
        "not done within {limit:?}, while {doing}: see whether the server answers, or allow more time"
    )]
    Time {
        /// The time that was given.
        limit: Duration,
        /// What was being done.
        doing: String,
    },
    /// The system has no thread or no poller.
    #[error("the system refused a thread or a poller for JetStream's management: {0}")]
    System(std::io::Error),
}

impl BindError {
    /// Whether another connection might do better.
    pub(crate) fn is_of_the_connection(&self) -> bool {
        match self {
            Self::Connect(_) | Self::Time { .. } => true,
            Self::Request { why, .. } => matches!(why, Trouble::NoAnswer(_) | Trouble::Lost(_)),
            _ => false,
        }
    }
}

/// Why a stream can't be used.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub(crate) enum StreamFault {
    /// Its name can't be one.
    #[error("its name {0}: give one token of a subject, of at most 255 bytes")]
    Name(&'static str),
    /// There is none.
    #[error(
        "there is no such stream: create it, or say how it is to be made (`[handler.create.stream]` of a file, `CreateConsumer::stream`)"
    )]
    Missing,
    /// There is one, and it is not as configured.
    #[error(
        "it exists and differs from its configuration, and is left as it is: {}; change the stream or the configuration",
        list(.0)
    )]
    Differs(Vec<Difference>),
    /// What the server says of it can't be read.
    #[error("its time of creation {0:?} can't be read")]
    Created(String),
    /// What the server says that it captures can't be read.
    #[error("it captures what is no subject here: {0}")]
    Subject(SubjectError),
}

/// Why a consumer can't be used.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub(crate) enum ConsumerFault {
    /// Its name can't be one.
    #[error("its name {0}: give one token of a subject, of at most 255 bytes")]
    Name(&'static str),
    /// There is none.
    #[error(
        "there is no such consumer: create it as a durable pull consumer, or say how it is to be made (`[handler.create]` of a file, `StreamSource::create`)"
    )]
    Missing,
    /// The server pushes its messages.
    #[error(
        "it is of the wrong kind, a push consumer (to {0:?}): shards pull what they have room for; create a pull consumer, one without `deliver_subject`"
    )]
    Push(String),
    /// The server forgets it.
    #[error(
        "it is not durable: the server forgets it, and what was acked, while nobody pulls; create it with a durable name"
    )]
    Ephemeral,
    /// Acks don't mean what they have to.
    #[error(
        "its ack policy is {0:?}, and each message has to be acked by itself: create it with the ack policy `explicit`"
    )]
    AckPolicy(String),
    /// The server gives up before the engine does.
    #[error(
        "its max_deliver is {0}: after as many deliveries the server drops a message with only an advisory, and counts deliveries that failed \
         by no fault of the message; set it to -1: the engine counts failed calls itself (`deliveries_max`) and sends dead letters"
    )]
    MaxDeliver(i64),
    /// It plays at the pace of the past.
    #[error(
        "its replay policy is {0:?}, which holds messages back to the pace at which they once came: create it with `instant`"
    )]
    Replay(String),
    /// Pulls would have to name a group.
    #[error(
        "it has the priority policy {0:?}, and shards pull without a priority group: create it without one"
    )]
    Priority(String),
    /// Messages would come again while they are being handled.
    #[error(
        "its ack wait (or the shortest of its backoff) is {ack_wait:?}, below {min:?}: a message would be delivered again while it is being handled; raise it"
    )]
    AckWait {
        /// What it has.
        ack_wait: Duration,
        /// The least that is allowed.
        min: Duration,
    },
    /// There is one, and it is not as configured.
    #[error(
        "it exists and differs from its configuration, and is left as it is: {}; change the consumer or the configuration",
        list(.0)
    )]
    Differs(Vec<Difference>),
}

/// Why dead letters would be lost, or come back.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub(crate) enum LetterFault {
    /// Nobody keeps them.
    #[error(
        "no stream captures the subject, so a message that is given up on would be lost: create a stream for it, or name a subject that one captures"
    )]
    NoStream,
    /// Nobody says that they are kept.
    #[error(
        "stream {0:?} captures them and has `no_ack` set, so it never says that one is stored: turn that off"
    )]
    NoAck(String),
    /// The handler would be given them.
    #[error(
        "stream {stream:?}, which the handler takes from, captures them and {}, so each would come back as a message: use a subject of another stream, or a narrower filter",
        filter_text(.filter.as_deref())
    )]
    Loop {
        /// The stream.
        stream: String,
        /// The consumer's filter that takes them; `None`: it has no filter.
        filter: Option<String>,
    },
}

/// Why sends can't be made as a delivery level promises.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub(crate) enum OutputFault {
    /// Nobody says that they are stored.
    #[error(
        "stream {stream:?} captures {pattern:?} and has `no_ack` set, so it never says that a send is stored, and inputs would never be acked: turn that off, or use at-most-once"
    )]
    NoAck {
        /// The stream.
        stream: String,
        /// What the guest may publish to.
        pattern: String,
    },
    /// The table of subjects would be too large.
    #[error(
        "streams capture {found} subjects of it, more than the {max} that are kept: grant narrower patterns"
    )]
    TooManySubjects {
        /// How many there are.
        found: usize,
        /// How many may be.
        max: usize,
    },
    /// The server is too old.
    #[error(
        "effectively-once needs atomic batches, which nats-server has since 2.12, and {server} is {version:?}: upgrade it, or use at-least-once"
    )]
    ServerTooOld {
        /// The server.
        server: String,
        /// Its version.
        version: String,
    },
    /// Some of it is in no stream, or in several.
    #[error(
        "effectively-once needs one stream that captures all of {pattern:?}, and {}: capture it with one subject of a stream, or grant less",
        partial_text(.overlapping)
    )]
    NotContained {
        /// What the guest may publish to.
        pattern: String,
        /// Streams that capture a part of it.
        overlapping: Vec<String>,
    },
    /// There are several streams.
    #[error(
        "effectively-once sends an input's sends as one batch, which one stream takes, and these patterns are of several: {}; grant those of one stream only",
        .0.iter().map(|(pattern, stream)| format!("{pattern:?} of {stream:?}")).collect::<Vec<_>>().join(", ")
    )]
    SeveralStreams(Vec<(String, String)>),
    /// The stream takes no batches.
    #[error(
        "effectively-once needs atomic batches, and stream {0:?} does not take them: set its `allow_atomic`"
    )]
    NotAtomic(String),
    /// The stream forgets too early.
    #[error(
        "stream {stream:?} remembers message ids for {window:?} (its duplicate_window), and the engine may send an input's messages again for {horizon:?} after they were \
         stored (deliveries_max × (the longer of ack wait {ack_wait:?} and retry_delay_max + pause_max + wall_deadline + confirm_wait_max)): raise the window, or lower these limits"
    )]
    Window {
        /// The stream.
        stream: String,
        /// How long it remembers.
        window: Duration,
        /// How long it would have to.
        horizon: Duration,
        /// The longest time until a redelivery.
        ack_wait: Duration,
    },
}

/// One setting that is not as configured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Difference {
    /// The field, as JetStream's API calls it.
    pub(crate) field: String,
    /// What is there.
    pub(crate) found: String,
    /// What is configured.
    pub(crate) wanted: String,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            field,
            found,
            wanted,
        } = self;
        write!(f, "{field} is {found} and not {wanted}")
    }
}

fn list(differences: &[Difference]) -> String {
    let texts: Vec<_> = differences.iter().map(Difference::to_string).collect();
    texts.join(", ")
}

fn filter_text(filter: Option<&str>) -> String {
    match filter {
        None => "its consumer has no filter".to_owned(),
        Some(filter) => format!("its consumer's filter {filter:?} takes them"),
    }
}

fn partial_text(overlapping: &[String]) -> String {
    match overlapping {
        [] => "none captures any of it".to_owned(),
        some => format!("only parts of it are captured, by {}", some.join(", ")),
    }
}
