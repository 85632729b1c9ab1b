//! What a file may say, and the flags that say the same: one shape for both, so that they have the same names and meanings.
//!
//! A flag has hyphens where its key has underscores, and leaves the section out; what may be given several times is in the
//! singular there. Owns the shapes; what they mean together is `build`'s.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::str::FromStr;

use clap::{Args, ValueEnum};
use millpond::Contract;
use serde::Deserialize;

use super::limits::{EngineLimitKeys, HandlerLimitKeys};
use super::secret::{PemValue, SecretValue};
use super::urls::Urls;
use super::values::{Count, Size, Time, Value, keys};

/// A whole file.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct FileKeys {
    /// The engine: shards, spread, limits of the whole.
    pub(crate) engine: EngineKeys,
    /// The servers. Without it, and without `--nats`, components run in a shell pipe.
    pub(crate) nats: Option<NatsKeys>,
    /// What handlers have that do not say otherwise.
    pub(crate) handler_defaults: DefaultKeys,
    /// The handlers, at least one.
    pub(crate) handler: Vec<HandlerKeys>,
}

/// How messages are spread over shards.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum SpreadKey {
    /// To any shard that has room
    Any,
    /// By a hash of the subject, so that the messages of one subject are handled in their order
    Subject,
}

/// How the memory of a used instance is made new.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum ResetKey {
    /// The kernel says which pages were written, and only these are reset (Linux 6.7)
    PagemapScan,
    /// All of the resident part is copied over
    Copy,
    /// The kernel drops what was written
    Madvise,
}

/// How often a message's effects may happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
#[allow(
    clippy::enum_variant_names,
    reason = "these are the names of the levels"
)]
pub(crate) enum DeliveryKey {
    /// Acked on arrival: a message is lost with the engine that took it
    AtMostOnce,
    /// Acked after every send that a stream captures is stored: sends may be repeated
    AtLeastOnce,
    /// As that, and the sends of an input are one atomic batch that its stream takes once, within its duplicate window
    EffectivelyOnce,
}

/// A contract, by its interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct ContractKey(pub(crate) Contract);

impl FromStr for ContractKey {
    type Err = String;

    fn from_str(interface: &str) -> Result<Self, String> {
        Contract::named(interface).map(Self).ok_or_else(|| {
            let known = Contract::ALL.map(Contract::interface).join(", ");
            format!("{interface:?} is no contract that is known here; known are {known}")
        })
    }
}

impl TryFrom<String> for ContractKey {
    type Error = String;

    fn try_from(interface: String) -> Result<Self, String> {
        interface.parse()
    }
}

keys! {
    /// The engine: `[engine]`.
    #[derive(Args)]
    EngineKeys {
        /// Shards, each a thread with a core of its own, 1 to 16 [default: one a core]
        #[arg(long, value_name = "SHARDS")]
        shards: Option<Count>,
        /// How messages are spread over shards [default: any]
        #[arg(long, value_name = "HOW")]
        spread: Option<SpreadKey>,
        /// Whether each shard's thread is pinned to a core [default: true]
        #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", hide_short_help = true)]
        pin: Option<bool>,
        /// How used memory is made new [default: the fastest that is safe here]
        #[arg(long, value_name = "HOW", hide_short_help = true)]
        reset: Option<ResetKey>,
        /// Where the random parts of retry delays come from [default: another one each start]
        #[arg(long, value_name = "NUMBER", hide_short_help = true)]
        seed: Option<u64>,
        /// Whether guests' memory is bounded by pages without access rather than by checks in their code, which pays for guests
        /// that compute long or never grow [default: false]
        #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", hide_short_help = true)]
        guard_pages: Option<bool>,
        /// A folder for compiled code, so that a second start compiles nothing, or `off` [default: millpond/compiled in
        /// $XDG_CACHE_HOME or ~/.cache, if it can be used]
        #[arg(long, value_name = "FOLDER", hide_short_help = true)]
        cache: Option<PathBuf>,
        /// Bytes that its files may have; above, those used longest ago are removed [default: 1GiB]
        #[arg(long, value_name = "SIZE", hide_short_help = true)]
        cache_max: Option<Size>,
        /// How long what is in flight may take at the end, after SIGTERM or SIGINT; less than what kills the program after them
        /// has [default: 25s]
        #[arg(long, value_name = Time::NAME, hide_short_help = true)]
        drain_wait_max: Option<Time>,
        /// Limits of the engine.
        #[arg(skip)]
        limits: EngineLimitKeys,
    }
}

keys! {
    /// The servers: `[nats]`.
    #[derive(Args)]
    #[command(next_help_heading = "NATS")]
    NatsKeys {
        /// Servers, such as nats://localhost:4222 or tls://host, a list; as a flag separated by commas. Others of their cluster
        /// are learned from them
        #[arg(long = "nats", id = "nats", value_name = "URL")]
        urls: Option<Urls>,
        /// The connections' name, as those who watch the server see it [default: millpond]
        #[arg(long = "connection-name", value_name = "NAME", hide_short_help = true)]
        connection_name: Option<String>,
        /// The user; needs `password`
        #[arg(long, value_name = "NAME", hide_short_help = true)]
        user: Option<String>,
        /// The user's password. A secret is `{ env = "NAME" }`, `{ file = "PATH" }` or, discouraged, the text itself; as a flag
        /// env:NAME or file:PATH
        #[arg(long, value_name = "SECRET", hide_short_help = true)]
        password: Option<SecretValue>,
        /// A token, a secret
        #[arg(long, value_name = "SECRET", hide_short_help = true)]
        token: Option<SecretValue>,
        /// The seed of a user's nkey (SU…), a secret
        #[arg(long, value_name = "SECRET", hide_short_help = true)]
        nkey_seed: Option<SecretValue>,
        /// A file of credentials; it is read anew for every attempt to connect
        #[arg(long, value_name = "FILE")]
        creds: Option<PathBuf>,
        /// How TLS is done where a URL (tls://) or a server asks for it.
        #[command(flatten)]
        tls: TlsKeys,
        /// How long a start may take until every shard is connected and every consumer bound [default: 30s]
        #[arg(long, value_name = Time::NAME, hide_short_help = true)]
        ready_wait_max: Option<Time>,
        /// How long a server may be silent, PINGs unanswered, before it is given up and connected to again [default: 30s]
        #[arg(long, value_name = Time::NAME, hide_short_help = true)]
        silence_max: Option<Time>,
        /// Longest delay before a lost server is connected to again; it begins with 50ms and doubles [default: 5s]
        #[arg(long, value_name = Time::NAME, hide_short_help = true)]
        reconnect_delay_max: Option<Time>,
    }
}

keys! {
    /// TLS: `[nats.tls]`.
    #[derive(Args)]
    TlsKeys {
        /// A PEM file of the certificates that the server's must come from [default: whom the system trusts]
        #[arg(long = "tls-ca", value_name = "FILE")]
        ca: Option<PemValue>,
        /// A PEM file of the certificate to show, and those between it and its root [default: none]
        #[arg(long = "tls-certificate", value_name = "FILE", hide_short_help = true)]
        certificate: Option<PemValue>,
        /// A PEM file of its key
        #[arg(long = "tls-key", value_name = "FILE", hide_short_help = true)]
        key: Option<PemValue>,
        /// Whether TLS begins before the server has said anything, as `handshake_first` of its own configuration
        /// [default: false]
        #[arg(long = "tls-handshake-first", value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", hide_short_help = true)]
        handshake_first: Option<bool>,
    }
}

keys! {
    /// A handler: `[[handler]]`.
    #[derive(Args)]
    #[command(next_help_heading = "The handler")]
    HandlerKeys {
        /// Its name, in logs, counts and dead letters [default: its file's, without the extension]
        #[arg(long, value_name = "NAME", conflicts_with = "config")]
        name: Option<String>,
        /// The component's file.
        #[arg(skip)]
        component: Option<PathBuf>,
        /// The interface that the component is called by, if it exports several, such as `millpond:batch/handler@0.1.0`
        /// [default: the first that it exports, in the order of their cost a message]
        #[arg(long, value_name = "INTERFACE", conflicts_with = "config")]
        contract: Option<ContractKey>,
        /// A subject or pattern that it takes, beside those that its guest's `configure` names; may be repeated
        #[arg(long = "subject", value_name = "SUBJECT", conflicts_with = "config")]
        subjects: Option<Vec<String>>,
        /// The queue group that takes them, over all shards and processes, so that each message is handled once
        /// [default: the handler's name]
        #[arg(long, value_name = "NAME", requires = "nats", conflicts_with_all = ["config", "stream"])]
        queue: Option<String>,
        /// Takes every message, whoever else does, on one shard; no queue group [default: false]
        #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", requires = "nats", conflicts_with_all = ["config", "queue", "stream"])]
        every_message: Option<bool>,
        /// The stream whose messages it takes, instead of subjects; needs `durable`
        #[arg(long, value_name = "NAME", requires = "nats", requires = "durable", conflicts_with_all = ["config", "subjects"])]
        stream: Option<String>,
        /// The durable pull consumer of the stream
        #[arg(long, value_name = "NAME", requires = "stream")]
        durable: Option<String>,
        /// How often a message's effects may happen [default: at-least-once of a stream; subjects are at-most-once always]
        #[arg(long, value_name = "LEVEL", requires = "nats", conflicts_with = "config")]
        delivery: Option<DeliveryKey>,
        /// How the consumer, and its stream, are made if they are not there; without it they have to be.
        #[arg(skip)]
        create: Option<CreateKeys>,
        /// The subject that messages go to which are given up on; of a handler of a stream, one that a stream captures
        /// [default: none; they are counted and logged]
        #[arg(long, value_name = "SUBJECT", conflicts_with = "config")]
        dead_letter: Option<String>,
        /// Whether its messages may be shed, and counted, when more come than can be handled within `latency_budget`; those of
        /// subjects on NATS always may, since the server keeps nothing that could come later [default: false]
        #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", conflicts_with = "config")]
        droppable: Option<bool>,
        /// A pattern of subjects that its guest may send to, beside replies; may be repeated [default: none; in a shell pipe all]
        #[arg(long, value_name = "PATTERN", conflicts_with = "config")]
        allow_publish: Option<Vec<String>>,
        /// A pattern of subjects that its guest may subscribe to in a call, beside those that it named in `configure`; may be
        /// repeated [default: none; in a shell pipe all]
        #[arg(long, value_name = "PATTERN", conflicts_with = "config")]
        allow_subscribe: Option<Vec<String>>,
        /// A broker, beside `default`, that its guest may connect to; may be repeated [default: of a file none, else any]
        #[arg(long = "broker", value_name = "NAME", conflicts_with = "config")]
        brokers: Option<Vec<String>>,
        /// Whether its guest may connect to a broker by any name: each is the one that there is.
        #[arg(skip)]
        any_broker: Option<bool>,
        /// Environment variables that its guest sees: each a text, `{ env = "NAME" }` or `{ file = "PATH" }`.
        #[arg(skip)]
        env: Option<BTreeMap<String, SecretValue>>,
        /// Its limits.
        #[command(flatten)]
        limits: HandlerLimitKeys,
    }
}

keys! {
    /// What handlers have that do not say otherwise: `[handler_defaults]`. A key of a handler replaces the whole value of one here;
    /// limits do so one by one. What each means is said of a handler's.
    DefaultKeys {
        /// As a handler's, for those of a stream.
        delivery: Option<DeliveryKey>,
        /// As a handler's.
        dead_letter: Option<String>,
        /// As a handler's.
        droppable: Option<bool>,
        /// As a handler's.
        allow_publish: Option<Vec<String>>,
        /// As a handler's.
        allow_subscribe: Option<Vec<String>>,
        /// As a handler's.
        brokers: Option<Vec<String>>,
        /// As a handler's.
        any_broker: Option<bool>,
        /// As a handler's.
        env: Option<BTreeMap<String, SecretValue>>,
        /// As a handler's.
        limits: HandlerLimitKeys,
    }
}

impl DefaultKeys {
    /// A handler that says nothing else.
    pub(crate) fn handler(&self) -> HandlerKeys {
        let Self {
            delivery,
            dead_letter,
            droppable,
            allow_publish,
            allow_subscribe,
            brokers,
            any_broker,
            env,
            limits,
        } = self.clone();
        HandlerKeys {
            delivery,
            dead_letter,
            droppable,
            allow_publish,
            allow_subscribe,
            brokers,
            any_broker,
            env,
            limits,
            ..HandlerKeys::default()
        }
    }
}

keys! {
    /// How a consumer is made if there is none: `[handler.create]`. What is left out is the server's default, and is not compared
    /// with what a consumer that exists has.
    CreateKeys {
        /// Patterns of the messages that it takes. Default: all of the stream, and that is compared too.
        filter_subjects: Option<Vec<String>>,
        /// How long after its delivery a message that was not acked is delivered again. Keep it above what handling takes.
        ack_wait: Option<Time>,
        /// Messages delivered and not acked, over all who pull. Default: 1000, or twice what all shards may have in flight if that
        /// is more.
        max_ack_pending: Option<u64>,
        /// Pulls that may wait at the server.
        max_waiting: Option<u64>,
        /// Where it begins: `"all"`, `"new"`, `"last"`, `"last-per-subject"` or `{ sequence = 1 }`. The server's default is `"all"`.
        deliver: Option<DeliverKey>,
        /// How the stream is made if there is none; without it, it has to be there.
        stream: Option<StreamKeys>,
    }
}

/// Where a new consumer begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum DeliverKey {
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

keys! {
    /// How a stream is made if there is none: `[handler.create.stream]`. What is left out is the server's default, and is not
    /// compared with what a stream that exists has.
    StreamKeys {
        /// What it captures.
        subjects: Option<Vec<String>>,
        /// Where it keeps its messages: `"file"` or `"memory"`.
        storage: Option<StorageKey>,
        /// What it keeps: `"limits"` (all that its limits allow), `"interest"` (what some consumer has not acked) or `"workqueue"`
        /// (what has not been acked).
        retention: Option<RetentionKey>,
        /// Servers that keep a copy.
        replicas: Option<Count>,
        /// How long it keeps a message.
        max_age: Option<Time>,
        /// How many bytes it keeps.
        max_bytes: Option<Size>,
        /// How many messages it keeps.
        max_messages: Option<u64>,
        /// How long it remembers message ids.
        duplicate_window: Option<Time>,
        /// Whether it takes atomic batches, which a stream that an effectively-once handler sends to must.
        allow_atomic: Option<bool>,
    }
}

/// Where a stream keeps its messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum StorageKey {
    /// In files.
    File,
    /// In memory.
    Memory,
}

/// What a stream keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum RetentionKey {
    /// What its limits allow.
    Limits,
    /// What some consumer has not acked yet.
    Interest,
    /// What has not been acked.
    WorkQueue,
}

/// What was typed beside the file or instead of it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Flags {
    /// Of `[engine]`.
    pub(crate) engine: EngineKeys,
    /// Of `[nats]`.
    pub(crate) nats: NatsKeys,
    /// Of the handler, or of every one beside a file.
    pub(crate) handler: HandlerKeys,
}
