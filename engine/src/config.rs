//! Configuration: what an embedder says, checked once.
//!
//! Owns the shapes and their checks; a guest's own settings (`extensions`) are read here too, since they change the same limits.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use crate::broker::nats::{self, NatsConfig, NatsSource};
use crate::error::StartError;
use crate::guest::Contract;
use crate::limits::{CHANNELS_MAX, EngineLimits, HandlerLimits};
use crate::patterns::contains;
use crate::ranges::{of_engine, of_handler};
use crate::subject::{check_listened, check_pattern, check_subject, matches};

/// How messages are spread over shards.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Spread {
    /// Any shard: the next one in turn that has room. What a guest sends stays on its own shard.
    #[default]
    Any,
    /// By a hash of the subject, so that one shard handles all messages of a subject, in the order of their publication: a handler
    /// has one call at a time on a shard, and while a message waits to be called again, later ones of its subject wait behind it.
    Subject,
}

/// How the memory of a used instance is made new.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ResetMode {
    /// The kernel says which pages were written (`PAGEMAP_SCAN`, Linux 6.7), and only these are reset. The fastest. Not used
    /// while swap is active: before Wasmtime 50 a written page that was swapped out would not be reset.
    PagemapScan,
    /// All of the resident part is copied over.
    Copy,
    /// The kernel drops what was written (`madvise`) and maps the image anew on the next touch.
    Madvise,
}

impl ResetMode {
    /// All, the fastest first.
    pub const ALL: [Self; 3] = [Self::PagemapScan, Self::Copy, Self::Madvise];

    /// Its name in logs and stats.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::PagemapScan => "pagemap-scan",
            Self::Copy => "copy",
            Self::Madvise => "madvise",
        }
    }
}

/// Where a component comes from.
#[derive(Debug, Clone)]
pub(crate) enum Source {
    File(PathBuf),
    Bytes(Vec<u8>),
}

/// What a guest may reach. Nothing unless granted; the reply subject of a message that it is handling always is.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Grants {
    /// Names of brokers, beside `default`, that the guest may connect to.
    pub brokers: Vec<String>,
    /// Whether it may connect to a broker by any name; every name is then the in-process broker.
    pub any_broker: bool,
    /// Patterns of subjects that it may send to, and ask.
    pub send: Vec<String>,
    /// Patterns of subjects that it may subscribe to, in a call or by an update of its configuration. What it named in
    /// `configure` is granted too.
    pub subscribe: Vec<String>,
    /// Environment variables that it sees. Their values may be secrets: `Debug` shows their names alone.
    pub env: Vec<(String, String)>,
}

impl fmt::Debug for Grants {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.env.iter().map(|(name, _)| name).collect();
        f.debug_struct("Grants")
            .field("brokers", &self.brokers)
            .field("any_broker", &self.any_broker)
            .field("send", &self.send)
            .field("subscribe", &self.subscribe)
            .field("env", &names)
            .finish()
    }
}

impl Grants {
    /// All in-process subjects and any broker's name; no environment.
    #[must_use]
    pub fn all() -> Self {
        Self {
            any_broker: true,
            send: vec![">".into()],
            subscribe: vec![">".into()],
            ..Self::default()
        }
    }

    /// Whether it may connect to the broker `name`.
    pub(crate) fn allows_broker(&self, name: &str) -> bool {
        self.any_broker || name == "default" || self.brokers.iter().any(|b| b == name)
    }

    /// Whether it may send to `subject`.
    pub(crate) fn allows_send(&self, subject: &str) -> bool {
        self.send.iter().any(|p| matches(p, subject))
    }

    /// Whether it may subscribe to `pattern`: a granted pattern must stand for all that this one stands for.
    pub(crate) fn allows_subscribe(&self, pattern: &str) -> bool {
        self.subscribe.iter().any(|p| contains(p, pattern))
    }
}

/// A handler: a component bound to subjects, with limits and grants.
///
/// A component that has `configure` says its subjects and settings itself. The settings (its `extensions`) may tighten these
/// limits and never loosen them: `batch-max` (messages), `batch-bytes-max` (bytes), `latency-budget` and `deadline` (a number
/// with `us`, `ms` or `s`), `deliveries-max`. A guest's `deadline` leaves `wall_deadline` as it was. An unknown key is a warning in the log.
#[derive(Debug, Clone)]
pub struct HandlerConfig {
    pub(crate) name: String,
    pub(crate) source: Source,
    pub(crate) subjects: Vec<String>,
    pub(crate) dead_letter: Option<String>,
    pub(crate) droppable: bool,
    pub(crate) nats: Option<NatsSource>,
    pub(crate) contract: Option<Contract>,
    /// Its limits.
    pub limits: HandlerLimits,
    /// What it may reach.
    pub grants: Grants,
}

impl HandlerConfig {
    /// A handler whose component is a file.
    pub fn file(name: impl Into<String>, path: impl Into<PathBuf>) -> Self {
        Self::new(name.into(), Source::File(path.into()))
    }

    /// A handler whose component is in memory.
    pub fn bytes(name: impl Into<String>, component: impl Into<Vec<u8>>) -> Self {
        Self::new(name.into(), Source::Bytes(component.into()))
    }

    fn new(name: String, source: Source) -> Self {
        Self {
            name,
            source,
            subjects: Vec::new(),
            dead_letter: None,
            droppable: false,
            nats: None,
            contract: None,
            limits: HandlerLimits::default(),
            grants: Grants::default(),
        }
    }

    /// Calls its component by this contract. Without, by the first of [`Contract::ALL`] that the component exports.
    #[must_use]
    pub fn contract(mut self, contract: Contract) -> Self {
        self.contract = Some(contract);
        self
    }

    /// Adds a subject, or a pattern of subjects, to those that `configure` names. A component whose contract has no `configure` has
    /// these alone.
    #[must_use]
    pub fn subject(mut self, pattern: impl Into<String>) -> Self {
        self.subjects.push(pattern.into());
        self
    }

    /// Names the subject that messages go to which are given up on: the payload and headers as they were, and before them
    /// `Millpond-Reason` (the kind of fault), `-Detail`, `-Attempts`, `-Handler`, `-Component` (its SHA-256), `-Subject`,
    /// `-Arrived-Unix-Ms` and `-Failed-Unix-Ms`; if the message's own headers don't
    /// all fit, none is kept, and `-Headers-Left-Out` says how many there were. Headers that tell a stream how to store a message
    /// (`Nats-Msg-Id`, `Nats-Expected-…`, `Nats-Rollup`, `Nats-TTL` and the like) are not on the letter of one that came from a stream.
    ///
    /// Where a stream's message is larger than is read, or the letter is larger than the server takes, the headers are left out of it, then
    /// the payload (`Millpond-Payload-Left-Out` says its bytes); `Millpond-Stream` and `-Stream-Sequence` say where it is. The
    /// letter of a handler of the core of NATS is published at most once, as all that it sends: it is kept if a stream captures it.
    ///
    /// A message is terminated only once its letter is taken: by a handler, or by a subscription with room. While nobody takes
    /// it, it is sent again after a delay, and its message stays in flight. Without a subject such a message is terminated at
    /// once, counted and logged. So is a letter that its own handler gives up on: it would go round for ever.
    #[must_use]
    pub fn dead_letter(mut self, subject: impl Into<String>) -> Self {
        self.dead_letter = Some(subject.into());
        self
    }

    /// Lets its messages be shed, and counted, when more come than can be handled: those that have waited too long to be handled
    /// within `latency_budget`, as learned costs tell, once the oldest that waits has been that late for a whole budget. A
    /// shorter burst is handled late, not shed. Never, unless this is said or they come from the core of NATS.
    #[must_use]
    pub fn droppable(mut self) -> Self {
        self.droppable = true;
        self
    }

    /// Takes messages from NATS too, and sends what its guest sends there. From the core of NATS, messages may be shed as
    /// [`HandlerConfig::droppable`] says: the server keeps nothing that could come later.
    #[must_use]
    pub fn nats(mut self, source: NatsSource) -> Self {
        self.nats = Some(source);
        self
    }

    /// Sets its limits.
    #[must_use]
    pub fn limits(mut self, limits: HandlerLimits) -> Self {
        self.limits = limits;
        self
    }

    /// Sets what it may reach.
    #[must_use]
    pub fn grants(mut self, grants: Grants) -> Self {
        self.grants = grants;
        self
    }

    /// Whether its messages come from a stream: then it needs no subjects.
    pub(crate) fn takes_stream(&self) -> bool {
        matches!(self.nats, Some(NatsSource::Stream(_)))
    }

    /// What errors call it: its file, or its name.
    pub(crate) fn path(&self) -> PathBuf {
        match &self.source {
            Source::File(path) => path.clone(),
            Source::Bytes(_) => PathBuf::from(&self.name),
        }
    }
}

/// A folder in which compiled code is kept, so that a component is compiled once: a second start loads it in milliseconds. What is
/// kept is used for the same component (by its SHA-256), the same version and the same settings alone; what is damaged is
/// compiled anew.
///
/// The code in it is run. So the folder and its files must belong to this user or to root, and nobody else may write to them: a
/// folder of which that is not true is an error at start, unless it is optional; a file is left unused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CacheConfig {
    /// The folder. It is made if it is missing, for this user alone.
    pub folder: PathBuf,
    /// Whether the engine starts without it, and warns of that, where it can't be used: for a folder that nobody asked for. Default: no.
    pub optional: bool,
    /// Bytes that its files may have. Default 1 GiB: a Python component has some 60 MiB. Above it, those that were used longest ago
    /// are removed; one that is larger by itself is not kept.
    pub bytes_max: u64,
}

impl CacheConfig {
    /// This folder, with the default bound.
    pub fn folder(folder: impl Into<PathBuf>) -> Self {
        Self {
            folder: folder.into(),
            optional: false,
            bytes_max: 1 << 30,
        }
    }
}

/// An engine's configuration.
#[derive(Debug, Clone)]
pub struct EngineConfig {
    /// Shards, each a thread. Default: one a core, at most 16, where the pool's own shards stop.
    pub shards: usize,
    /// Where the random parts of retry delays come from. Default (`None`): another one each start.
    pub seed: Option<u64>,
    /// Whether each shard's thread is pinned to a core. Default: yes.
    pub pin: bool,
    /// How messages are spread over shards.
    pub spread: Spread,
    /// How used memory is made new. Default (`None`): the fastest that is safe here.
    pub reset: Option<ResetMode>,
    /// Whether guests' memory is bounded by pages without access rather than by checks in their code. Default: no. With guard
    /// pages a call that grows its memory costs two `mprotect`, one to grow and one when its slot shrinks, which interrupts
    /// every other core; without them, loops over memory run longer (bench/TRIED.md). So guard
    /// pages pay for guests that compute for tens of microseconds a call, or never grow.
    pub guard_pages: bool,
    /// Where compiled code is kept from start to start. Default (`None`): nowhere, and each start compiles.
    pub cache: Option<CacheConfig>,
    /// The NATS servers, if there are any. What guests send then goes there, and comes back to a handler of this engine only from
    /// there; replies to [`crate::Engine::request`] and subscriptions of the embedder stay in process.
    pub nats: Option<NatsConfig>,
    /// Limits of the engine.
    pub limits: EngineLimits,
    /// Its handlers.
    pub handlers: Vec<HandlerConfig>,
}

/// Most shards of one engine: Wasmtime's pool has at most as many shards of its own.
pub const SHARDS_MAX: usize = 16;
/// Bytes of a handler's name at most: it is a header of its dead letters.
const NAME_BYTES_MAX: usize = 256;
/// Most handlers of one engine.
pub const HANDLERS_MAX: usize = 4_096;

impl Default for EngineConfig {
    fn default() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Self {
            shards: cores.min(SHARDS_MAX),
            seed: None,
            pin: true,
            spread: Spread::default(),
            reset: None,
            guard_pages: false,
            cache: None,
            nats: None,
            limits: EngineLimits::default(),
            handlers: Vec::new(),
        }
    }
}

impl EngineConfig {
    /// The default configuration, without handlers.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a handler.
    #[must_use]
    pub fn handler(mut self, handler: HandlerConfig) -> Self {
        self.handlers.push(handler);
        self
    }

    /// Sets the number of shards.
    #[must_use]
    pub fn shards(mut self, shards: usize) -> Self {
        self.shards = shards;
        self
    }

    /// Checks all that can be checked without loading a component, starting a thread or asking a server.
    ///
    /// # Errors
    /// [`StartError::Config`]: the first thing that contradicts itself or its range.
    pub fn validate(&self) -> Result<(), StartError> {
        self.check()
    }

    /// Checks everything that can be checked before a component is loaded.
    pub(crate) fn check(&self) -> Result<(), StartError> {
        let bad = |what: String| Err(StartError::Config(what));
        if self.shards == 0 || self.shards > SHARDS_MAX {
            return bad(format!(
                "shards is {}; it may be 1 to {SHARDS_MAX}",
                self.shards
            ));
        }
        if self.handlers.is_empty() {
            return bad("there is no handler; add at least one".into());
        }
        if self.handlers.len() > HANDLERS_MAX {
            return bad(format!(
                "{} handlers; at most {HANDLERS_MAX} are allowed",
                self.handlers.len()
            ));
        }
        if let Some(fault) = of_engine(&self.limits).or_else(|| nats::fault(self)) {
            return bad(fault);
        }
        let mut names = std::collections::HashSet::new();
        let slots = self.limits.instances(self.shards);
        if (slots as usize) < self.shards {
            return bad(format!(
                "instances_max is {slots}, for {} shards; each needs at least one",
                self.shards
            ));
        }
        for handler in &self.handlers {
            if let Some(fault) = fault_of_name(&handler.name) {
                return bad(fault);
            }
            if !names.insert(&handler.name) {
                return bad(format!(
                    "two handlers are named {:?}; give one another name",
                    handler.name
                ));
            }
            let within = |fault| format!("handler {:?}: {fault}", handler.name);
            if let Some(fault) = of_handler(&handler.limits) {
                return bad(within(fault));
            }
            let granted = handler.grants.send.iter().chain(&handler.grants.subscribe);
            let subjects = handler.subjects.iter().map(|s| check_listened(s));
            let mut checked = subjects.chain(granted.map(|pattern| check_pattern(pattern)));
            if let Some(fault) = checked.find_map(Result::err) {
                return bad(within(fault.to_string()));
            }
            let letters = handler.dead_letter.as_deref().map(check_letters);
            if let Some(Err(fault)) = letters {
                return bad(within(format!("dead_letter: {fault}")));
            }
        }
        Ok(())
    }
}

/// What is wrong with a handler's name, which is a header of its dead letters, if anything is.
fn fault_of_name(name: &str) -> Option<String> {
    let bad = name.is_empty() || name.len() > NAME_BYTES_MAX || name.contains(char::is_control);
    let short: String = name.chars().take(64).collect();
    bad.then(|| {
        format!("a handler is named {short:?}; a name has 1 to {NAME_BYTES_MAX} bytes and no control characters")
    })
}

/// Checks a dead-letter subject: one that can be published to, and no reply subject.
fn check_letters(subject: &str) -> Result<(), String> {
    check_listened(subject).map_err(|error| error.to_string())?;
    check_subject(subject).map_err(|error| error.to_string())
}

/// Checks the subjects that a guest names.
///
/// # Errors
/// Too many, one that is no pattern, or one below the subjects of replies: by name and reason.
pub(crate) fn check_channels(channels: &[String]) -> Result<(), String> {
    if channels.len() > CHANNELS_MAX {
        return Err(format!(
            "{} channels; at most {CHANNELS_MAX} are allowed",
            channels.len()
        ));
    }
    channels
        .iter()
        .try_for_each(|channel| check_listened(channel).map_err(|error| error.to_string()))
}

/// Tightens `limits` by a guest's settings. Gives the keys that are unknown.
///
/// # Errors
/// A known key whose value can't be read, by key and value.
pub(crate) fn tighten(
    limits: &mut HandlerLimits,
    extensions: &[(String, String)],
) -> Result<Vec<String>, String> {
    let mut unknown = Vec::new();
    for (key, value) in extensions {
        let bad = || format!("gave the setting {key:?} the value {value:?}, which can't be read");
        let number = || {
            value
                .parse::<usize>()
                .ok()
                .filter(|n| *n > 0)
                .ok_or_else(bad)
        };
        let time = || parse_duration(value).ok_or_else(bad);
        match key.as_str() {
            "batch-max" => limits.batch_messages_max = limits.batch_messages_max.min(number()?),
            "batch-bytes-max" => limits.batch_bytes_max = limits.batch_bytes_max.min(number()?),
            "deliveries-max" => {
                limits.deliveries_max = limits
                    .deliveries_max
                    .min(u32::try_from(number()?).unwrap_or(u32::MAX))
            }
            "latency-budget" => limits.latency_budget = limits.latency_budget.min(time()?),
            "deadline" => limits.deadline = limits.deadline.min(time()?),
            _ => unknown.push(key.clone()),
        }
    }
    Ok(unknown)
}

/// Says in the log which of a guest's settings nobody knows: the first few, cut, since a guest chooses them.
pub(crate) fn warn_unknown(handler: &str, keys: &[String]) {
    if keys.is_empty() {
        return;
    }
    let first: Vec<String> = keys
        .iter()
        .take(8)
        .map(|key| key.chars().take(64).collect())
        .collect();
    tracing::warn!(
        handler,
        count = keys.len(),
        ?first,
        "unknown settings of the guest are left out"
    );
}

/// A duration as settings write it: a whole number above 0 with `us`, `ms` or `s`.
fn parse_duration(text: &str) -> Option<Duration> {
    let at = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at(at);
    let number = number.parse::<u64>().ok().filter(|n| *n > 0)?;
    match unit.trim() {
        "us" => Some(Duration::from_micros(number)),
        "ms" => Some(Duration::from_millis(number)),
        "s" => Some(Duration::from_secs(number)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(list: &[(&str, &str)]) -> Vec<(String, String)> {
        list.iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
            .collect()
    }

    #[test]
    fn no_secret_of_a_configuration_is_shown_by_debug() {
        use crate::broker::nats::{Auth, ClientCertificate, Pem, Secret, ServerUrl};
        let secret = || Secret::new("hunter2");
        let logins = [
            Auth::Password {
                user: "mill".into(),
                password: secret(),
            },
            Auth::Token(secret()),
            Auth::Nkey(secret()),
            Auth::Jwt {
                jwt: secret(),
                seed: secret(),
            },
        ];
        for auth in logins {
            let handler = HandlerConfig::file("a", "a.wasm").grants(Grants {
                env: vec![("API_KEY".into(), "hunter2".into())],
                ..Grants::default()
            });
            let urls = ["nats://u:hunter2@a", "nats://hunter2@a"];
            let urls = urls.map(|url| ServerUrl::parse(url).expect("it is one"));
            let mut nats = NatsConfig::new(urls.into());
            nats.auth = auth;
            nats.tls.certificate = Some(ClientCertificate {
                chain: Pem::Text(secret()),
                key: Pem::Text(secret()),
            });
            let mut config = EngineConfig::new().handler(handler);
            config.nats = Some(nats);
            for shown in [format!("{config:?}"), format!("{config:#?}")] {
                assert!(!shown.contains("hunter2"), "{shown}");
                assert!(
                    shown.contains("API_KEY") && shown.contains("nats://a:4222"),
                    "{shown}"
                );
            }
        }
    }

    #[test]
    fn settings_tighten_and_never_loosen() {
        let mut limits = HandlerLimits::default();
        let unknown = tighten(
            &mut limits,
            &pairs(&[
                ("batch-max", "7"),
                ("deadline", "250ms"),
                ("latency-budget", "1s"),
                ("x", "y"),
            ]),
        );
        assert_eq!(unknown.unwrap(), ["x"]);
        assert_eq!(limits.batch_messages_max, 7);
        assert_eq!(limits.deadline, Duration::from_millis(250));
        assert_eq!(
            limits.latency_budget,
            HandlerLimits::default().latency_budget
        );
        tighten(
            &mut limits,
            &pairs(&[("batch-max", "1000"), ("deadline", "9s")]),
        )
        .unwrap();
        assert_eq!(
            (limits.batch_messages_max, limits.deadline),
            (7, Duration::from_millis(250))
        );
    }

    #[test]
    fn bad_values_are_refused_by_key_and_value() {
        for (key, value) in [
            ("batch-max", "0"),
            ("batch-max", "many"),
            ("deadline", "5"),
            ("deadline", "0ms"),
            ("deadline", "1h"),
        ] {
            let error =
                tighten(&mut HandlerLimits::default(), &pairs(&[(key, value)])).unwrap_err();
            assert!(error.contains(key) && error.contains(value), "{error}");
        }
    }

    #[test]
    fn channels_at_the_limit_and_one_over_and_below_replies() {
        let channels = |count: usize| vec!["a".to_owned(); count];
        check_channels(&channels(CHANNELS_MAX)).unwrap();
        let over = check_channels(&channels(CHANNELS_MAX + 1)).unwrap_err();
        assert!(over.contains("1025 channels"), "{over}");
        for reserved in ["_INBOX.>", "_INBOX.*.1", "_INBOX"] {
            let error = check_channels(&[reserved.into()]).unwrap_err();
            assert!(error.contains("for replies"), "{error}");
        }
    }

    #[test]
    fn bad_configurations_are_refused() {
        let one = |name: &str| HandlerConfig::bytes(name, Vec::new());
        let refused = |c: EngineConfig, why: &str| {
            let error = c.check().unwrap_err().to_string();
            assert!(error.contains(why), "{error}");
        };
        refused(EngineConfig::new(), "no handler");
        refused(
            EngineConfig::new().handler(one("a")).shards(0),
            "shards is 0",
        );
        refused(
            EngineConfig::new().handler(one("a")).shards(SHARDS_MAX + 1),
            "shards is 17",
        );
        refused(
            EngineConfig::new().handler(one("a")).handler(one("a")),
            "two handlers are named \"a\"",
        );
        refused(
            EngineConfig::new().handler(one("a").subject("x..y")),
            "x..y",
        );
        EngineConfig::new()
            .handler(one("a").subject("x.*"))
            .shards(SHARDS_MAX)
            .check()
            .unwrap();
    }
}
