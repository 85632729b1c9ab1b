//! A handler's keys → the engine's `HandlerConfig`: its component, what it takes, what it may reach.

use std::path::Path;

use millpond::{
    CreateConsumer, CreateStream, DeliverFrom, DeliveryLevel, Grants, HandlerConfig, NatsSource,
    Retention, Storage, StreamSource,
};

use super::fault::Fault;
use super::file::{
    CreateKeys, DeliverKey, DeliveryKey, HandlerKeys, RetentionKey, StorageKey, StreamKeys,
};
use super::place::Way;
use super::values::Keys;

/// What a handler's keys are read in.
#[derive(Debug, Clone, Copy)]
pub(super) struct Around<'a> {
    /// What paths are relative to.
    pub(super) folder: &'a Path,
    /// Whether there are servers.
    pub(super) nats: bool,
}

/// The handler that these keys make, and its name.
///
/// # Errors
/// Keys that contradict each other or are missing, and secrets that can't be read; `at` is where the handler is.
pub(super) fn config(
    keys: &HandlerKeys,
    base: Grants,
    at: &Way,
    around: Around<'_>,
) -> Result<(String, HandlerConfig), Fault> {
    let Some(component) = &keys.component else {
        let what = "the handler has no component; write component = \"FILE.wasm\"";
        return Err(Fault::new(at.clone(), what));
    };
    let name = match &keys.name {
        Some(name) => name.clone(),
        None => name_of(component).ok_or_else(|| {
            let what = format!(
                "a handler is called as its file, and {} names none that is text; write name",
                component.display()
            );
            Fault::new(at.clone().key("component"), what)
        })?,
    };
    let mut handler = HandlerConfig::file(&name, around.folder.join(component));
    if let Some(source) = source(keys, &name, at, around.nats)? {
        handler = handler.nats(source);
    }
    for subject in keys.subjects.iter().flatten() {
        handler = handler.subject(subject);
    }
    if let Some(contract) = keys.contract {
        handler = handler.contract(contract.0);
    }
    if let Some(subject) = &keys.dead_letter {
        handler = handler.dead_letter(subject);
    }
    if keys.droppable == Some(true) {
        handler = handler.droppable();
    }
    keys.limits.set(&mut handler.limits);
    handler.grants = grants(keys, base, at, around.folder)?;
    Ok((name, handler))
}

/// A handler's name: that of its file, without the extension.
pub(crate) fn name_of(component: &Path) -> Option<String> {
    component.file_stem()?.to_str().map(str::to_owned)
}

/// What a handler takes from servers, if there are any.
fn source(
    keys: &HandlerKeys,
    name: &str,
    at: &Way,
    nats: bool,
) -> Result<Option<NatsSource>, Fault> {
    let fault = |key: &str, what: String| Err(Fault::new(at.clone().key(key), what));
    let said = |key: &&&str| keys.has(key);
    if !nats {
        let needy = [
            "queue",
            "every_message",
            "stream",
            "durable",
            "create",
            "delivery",
        ];
        return match needy.iter().find(said) {
            Some(key) => fault(
                key,
                format!("{key} needs servers; add [nats] with urls, or --nats"),
            ),
            None => Ok(None),
        };
    }
    if let Some(stream) = &keys.stream {
        let others = ["queue", "every_message", "subjects"];
        if let Some(key) = others.iter().find(said) {
            let what = format!(
                "{key} can't be with stream, whose consumer says what is taken; `create.filter_subjects` does if it is made here"
            );
            return fault(key, what);
        }
        let Some(durable) = &keys.durable else {
            return fault(
                "stream",
                "stream needs durable, the name of a durable pull consumer".into(),
            );
        };
        return Ok(Some(NatsSource::Stream(StreamSource {
            create: keys.create.as_ref().map(create),
            delivery: level(keys.delivery.unwrap_or(DeliveryKey::AtLeastOnce)),
            ..StreamSource::existing(stream, durable)
        })));
    }
    if let Some(key) = ["durable", "create"].iter().find(said) {
        return fault(key, format!("{key} needs stream"));
    }
    if let Some(level) = keys
        .delivery
        .filter(|level| *level != DeliveryKey::AtMostOnce)
    {
        let what = format!(
            "delivery is {}, and subjects are taken at most once: the server keeps nothing; take from a stream (stream, durable)",
            level_name(level)
        );
        return fault("delivery", what);
    }
    let every = keys.every_message == Some(true);
    if every && keys.queue.is_some() {
        return fault(
            "queue",
            "queue and every_message contradict each other; leave one out".into(),
        );
    }
    let queue = keys.queue.clone().unwrap_or_else(|| name.to_owned());
    Ok(Some(NatsSource::Core {
        queue: (!every).then_some(queue),
    }))
}

/// What a handler may reach, beside what it has from `base`.
fn grants(keys: &HandlerKeys, base: Grants, at: &Way, folder: &Path) -> Result<Grants, Fault> {
    let mut grants = base;
    if let Some(brokers) = &keys.brokers {
        grants.brokers.clone_from(brokers);
        grants.any_broker = false;
    }
    grants.any_broker = keys.any_broker.unwrap_or(grants.any_broker);
    if let Some(patterns) = &keys.allow_publish {
        grants.send.clone_from(patterns);
    }
    if let Some(patterns) = &keys.allow_subscribe {
        grants.subscribe.clone_from(patterns);
    }
    for (name, value) in keys.env.iter().flatten() {
        let text = value.read(folder).map_err(|why| {
            Fault::new(
                at.clone().key("env").key(name),
                format!("env.{name}: {why}"),
            )
        })?;
        grants.env.push((name.clone(), text));
    }
    Ok(grants)
}

fn level(key: DeliveryKey) -> DeliveryLevel {
    match key {
        DeliveryKey::AtMostOnce => DeliveryLevel::AtMostOnce,
        DeliveryKey::AtLeastOnce => DeliveryLevel::AtLeastOnce,
        DeliveryKey::EffectivelyOnce => DeliveryLevel::EffectivelyOnce,
    }
}

/// A delivery level as a file has it.
pub(crate) fn level_name(key: DeliveryKey) -> &'static str {
    match key {
        DeliveryKey::AtMostOnce => "at-most-once",
        DeliveryKey::AtLeastOnce => "at-least-once",
        DeliveryKey::EffectivelyOnce => "effectively-once",
    }
}

fn create(keys: &CreateKeys) -> CreateConsumer {
    CreateConsumer {
        stream: keys.stream.as_ref().map(create_stream),
        filter_subjects: keys.filter_subjects.clone().unwrap_or_default(),
        ack_wait: keys.ack_wait.map(|time| time.0),
        max_ack_pending: keys.max_ack_pending,
        max_waiting: keys.max_waiting,
        deliver: keys.deliver.map(|deliver| match deliver {
            DeliverKey::All => DeliverFrom::All,
            DeliverKey::New => DeliverFrom::New,
            DeliverKey::Last => DeliverFrom::Last,
            DeliverKey::LastPerSubject => DeliverFrom::LastPerSubject,
            DeliverKey::Sequence(sequence) => DeliverFrom::Sequence(sequence),
        }),
    }
}

fn create_stream(keys: &StreamKeys) -> CreateStream {
    CreateStream {
        subjects: keys.subjects.clone().unwrap_or_default(),
        storage: keys.storage.map(|storage| match storage {
            StorageKey::File => Storage::File,
            StorageKey::Memory => Storage::Memory,
        }),
        retention: keys.retention.map(|retention| match retention {
            RetentionKey::Limits => Retention::Limits,
            RetentionKey::Interest => Retention::Interest,
            RetentionKey::WorkQueue => Retention::WorkQueue,
        }),
        replicas: keys.replicas.map(|count| count.0),
        max_age: keys.max_age.map(|time| time.0),
        max_bytes: keys.max_bytes.map(|size| size.0),
        max_messages: keys.max_messages,
        duplicate_window: keys.duplicate_window.map(|time| time.0),
        allow_atomic: keys.allow_atomic,
    }
}
