//! Streams: what the server knows of them, asked once each, and a handler's own stream, found or made.

use std::collections::HashMap;
use std::rc::Rc;
use std::time::Duration;

use serde_json::{Map, Value, json};

use super::error::{BindError, StreamFault};
use super::json::{Names, StreamInfo, differences, name_fault};
use super::session::{Session, Trouble};
use super::wanted::{CreateStream, Wanted};
use crate::patterns::overlap;

/// Streams that may overlap one pattern: 256. Each is a request at start. One over is an error.
pub(super) const STREAMS_MAX: usize = 256;

/// How long a server's stream remembers ids where nothing is said.
const DUPLICATE_WINDOW_DEFAULT: Duration = Duration::from_mins(2);

/// "stream not found".
pub(super) const STREAM_MISSING: u32 = 10_059;
/// "stream name already in use with a different configuration".
const STREAM_TAKEN: u32 = 10_058;

/// What is known of streams so far.
pub(super) struct Streams<'a> {
    session: &'a Session,
    known: HashMap<String, Rc<StreamInfo>>,
    /// Those that would be made, and are known as if they had been.
    planned: Vec<Rc<StreamInfo>>,
}

impl<'a> Streams<'a> {
    /// Nothing yet.
    pub(super) fn new(session: &'a Session) -> Self {
        Self {
            session,
            known: HashMap::new(),
            planned: Vec::new(),
        }
    }

    /// Whom it asks.
    pub(super) fn session(&self) -> &'a Session {
        self.session
    }

    /// A stream, if there is one of this name.
    ///
    /// # Errors
    /// The server can't be asked.
    pub(super) async fn info(&mut self, name: &str) -> Result<Option<Rc<StreamInfo>>, BindError> {
        if let Some(known) = self.known.get(name) {
            return Ok(Some(Rc::clone(known)));
        }
        let asked = format!("what stream {name:?} is");
        let subject = format!("STREAM.INFO.{name}");
        let missing = &[STREAM_MISSING];
        let info = self.session.ask(&asked, &subject, &Value::Null, missing);
        let info: Option<StreamInfo> = info.await?;
        Ok(info.map(|info| self.learn(info)))
    }

    fn learn(&mut self, info: StreamInfo) -> Rc<StreamInfo> {
        let info = Rc::new(info);
        self.known.insert(info.name().to_owned(), Rc::clone(&info));
        info
    }

    /// The streams that capture at least one subject that this pattern stands for.
    ///
    /// # Errors
    /// The server can't be asked, or there are more than [`STREAMS_MAX`].
    pub(super) async fn overlapping(
        &mut self,
        pattern: &str,
    ) -> Result<Vec<Rc<StreamInfo>>, BindError> {
        let mut streams = Vec::new();
        for name in self.names(pattern).await? {
            // One that is gone by now captures nothing.
            streams.extend(self.info(&name).await?);
        }
        let overlaps = |s: &&Rc<StreamInfo>| s.subjects().any(|subject| overlap(pattern, subject));
        streams.extend(self.planned.iter().filter(overlaps).cloned());
        Ok(streams)
    }

    async fn names(&self, pattern: &str) -> Result<Vec<String>, BindError> {
        let asked = format!("which streams capture {pattern:?}");
        let mut names = Vec::new();
        loop {
            let body = json!({"subject": pattern, "offset": names.len()});
            let page = self.session.ask(&asked, "STREAM.NAMES", &body, &[]);
            let page: Option<Names> = page.await?;
            let Names { total, streams } = page.expect("no refusal counts as missing");
            if total > STREAMS_MAX {
                return Err(BindError::TooManyStreams {
                    pattern: pattern.to_owned(),
                    found: total,
                    max: STREAMS_MAX,
                });
            }
            let streams = streams.unwrap_or_default();
            let last = streams.is_empty();
            names.extend(streams);
            if last || names.len() >= total {
                return Ok(names);
            }
        }
    }
}

/// Finds a handler's stream, or makes it where that is configured.
///
/// # Errors
/// There is none, or it differs from its configuration; the server can't be asked.
pub(super) async fn bind(streams: &mut Streams<'_>, wanted: &Wanted) -> Result<(), BindError> {
    let name = &*wanted.stream;
    let fault = |why| BindError::Stream {
        handler: wanted.handler.clone(),
        stream: name.to_owned(),
        why,
    };
    if let Some(reason) = name_fault(name) {
        return Err(fault(StreamFault::Name(reason)));
    }
    let create = wanted.create.as_ref().and_then(|c| c.stream.as_ref());
    let found = streams.info(name).await?;
    let found = match (found, create) {
        (Some(found), None) => found,
        (None, None) => return Err(fault(StreamFault::Missing)),
        (found, Some(create)) => {
            let config = config_of(name, create);
            let found = match found {
                Some(found) => found,
                None => made(streams, name, &config).await?,
            };
            let differences = differences(&config, &found.config);
            if !differences.is_empty() {
                return Err(fault(StreamFault::Differs(differences)));
            }
            found
        }
    };
    debug_assert_eq!(
        found.name(),
        name,
        "the server answers for what it was asked"
    );
    Ok(())
}

/// Makes a stream; what is there, if somebody else made one meanwhile.
async fn made(
    streams: &mut Streams<'_>,
    name: &str,
    config: &Map<String, Value>,
) -> Result<Rc<StreamInfo>, BindError> {
    let plan = || format!("there is no such stream as {name:?}; it will be made");
    if streams.session.plans(plan) {
        let planned = streams.learn(as_made(name, config));
        streams.planned.push(Rc::clone(&planned));
        return Ok(planned);
    }
    let asked = format!("to make stream {name:?}");
    let subject = format!("STREAM.CREATE.{name}");
    let body = Value::Object(config.clone());
    let info = streams
        .session
        .ask(&asked, &subject, &body, &[STREAM_TAKEN]);
    let info: Option<StreamInfo> = info.await?;
    if let Some(info) = info {
        return Ok(streams.learn(info));
    }
    let found = streams.info(name).await?;
    found.ok_or_else(|| BindError::Request {
        server: streams.session.servers().to_owned(),
        asked,
        why: Trouble::Nonsense("the name is taken, and there is no such stream".to_owned()),
    })
}

/// A stream as the server would make it: with its defaults, as far as they are looked at.
fn as_made(name: &str, config: &Map<String, Value>) -> StreamInfo {
    let mut config = config.clone();
    let subjects = config.get("subjects").and_then(Value::as_array);
    if subjects.is_none_or(Vec::is_empty) {
        config.insert("subjects".to_owned(), json!([name]));
    }
    let window = json!(nanos(DUPLICATE_WINDOW_DEFAULT));
    config.entry("duplicate_window").or_insert(window);
    StreamInfo {
        config,
        created: "1970-01-01T00:00:00Z".to_owned(),
    }
}

/// What is configured of a stream, as JetStream's API has it.
fn config_of(name: &str, create: &CreateStream) -> Map<String, Value> {
    let config = json!({
        "name": name,
        "subjects": create.subjects,
        "storage": create.storage,
        "retention": create.retention,
        "num_replicas": create.replicas,
        "max_age": create.max_age.map(nanos),
        "max_bytes": create.max_bytes,
        "max_msgs": create.max_messages,
        "duplicate_window": create.duplicate_window.map(nanos),
        "allow_atomic": create.allow_atomic,
    });
    configured(config)
}

/// The fields that are configured.
pub(super) fn configured(config: Value) -> Map<String, Value> {
    let Value::Object(mut config) = config else {
        unreachable!("a configuration is written as an object");
    };
    config.retain(|_, value| !value.is_null());
    config
}

/// Nanoseconds as the API has them; the most it can hold where it is longer.
pub(super) fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).map_or(i64::MAX as u64, |nanos| nanos.min(i64::MAX as u64))
}
