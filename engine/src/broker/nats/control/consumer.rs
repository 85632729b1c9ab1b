//! A handler's consumer, found or made, and the checks of what it is: [`check`] is pure.

use std::time::Duration;

use serde_json::{Map, Value, json};

use super::error::{BindError, ConsumerFault};
use super::json::{ConsumerConfig, ConsumerInfo, differences, name_fault};
use super::session::{Session, Trouble};
use super::stream::{STREAM_MISSING, configured, nanos};
use super::wanted::{CreateConsumer, DeliverFrom, Wanted};

/// Shortest ack wait. 1 s: progress is reported at half of it, and a shard may be away for as long as its connection takes to come back.
pub(crate) const ACK_WAIT_MIN: Duration = Duration::from_secs(1);
/// Messages delivered and not acked that a new consumer may have at least, where nothing is configured: the server's own default.
const ACK_PENDING_DEFAULT: u64 = 1_000;
/// A server's own default of a consumer's ack wait, and of the pulls that may wait.
const ACK_WAIT_DEFAULT: Duration = Duration::from_secs(30);
const MAX_WAITING_DEFAULT: u64 = 512;

/// "consumer not found".
const CONSUMER_MISSING: u32 = 10_014;
/// "consumer already exists".
const CONSUMER_TAKEN: u32 = 10_148;

/// Finds a handler's consumer, or makes it where that is configured, and checks it.
///
/// # Errors
/// There is none, or one that can't be used; the server can't be asked.
pub(super) async fn bind(session: &Session, wanted: &Wanted) -> Result<ConsumerConfig, BindError> {
    let fault = |why| BindError::Consumer {
        handler: wanted.handler.clone(),
        stream: wanted.stream.clone(),
        consumer: wanted.durable.clone(),
        why,
    };
    if let Some(reason) = name_fault(&wanted.durable) {
        return Err(fault(ConsumerFault::Name(reason)));
    }
    let found = info(session, &wanted.stream, &wanted.durable).await?;
    let (found, config) = match (found, &wanted.create) {
        (Some(found), create) => (found, create.as_ref().map(|c| config_of(wanted, c))),
        (None, None) => return Err(fault(ConsumerFault::Missing)),
        (None, Some(create)) => {
            let config = config_of(wanted, create);
            (made(session, wanted, &config).await?, Some(config))
        }
    };
    let has = read(session, wanted, &found.config)?;
    check(&has).map_err(fault)?;
    if let (Some(config), Some(create)) = (config, &wanted.create) {
        let differences = differences(
            &compared(config, create),
            &with_filters(&found.config, &has),
        );
        if !differences.is_empty() {
            return Err(fault(ConsumerFault::Differs(differences)));
        }
    }
    Ok(has)
}

/// What the server knows of a consumer, if there is one of this name.
///
/// # Errors
/// The server can't be asked.
pub(super) async fn info(
    session: &Session,
    stream: &str,
    consumer: &str,
) -> Result<Option<ConsumerInfo>, BindError> {
    let asked = format!("what consumer {consumer:?} of stream {stream:?} is");
    let subject = format!("CONSUMER.INFO.{stream}.{consumer}");
    let missing = &[CONSUMER_MISSING, STREAM_MISSING];
    session.ask(&asked, &subject, &Value::Null, missing).await
}

/// Makes a consumer; what is there, if somebody else made one meanwhile.
async fn made(
    session: &Session,
    wanted: &Wanted,
    config: &Map<String, Value>,
) -> Result<ConsumerInfo, BindError> {
    let (stream, durable) = (&wanted.stream, &wanted.durable);
    let handler = &wanted.handler;
    if session.plans(|| {
        format!("handler {handler:?}, stream {stream:?}: no such consumer as {durable:?}; it will be made")
    }) {
        let config = as_made(config);
        return Ok(ConsumerInfo { config });
    }
    let asked = format!("to make consumer {durable:?} of stream {stream:?}");
    let subject = format!("CONSUMER.CREATE.{stream}.{durable}");
    let body = json!({"stream_name": stream, "config": config, "action": "create"});
    let made = session
        .ask(&asked, &subject, &body, &[CONSUMER_TAKEN])
        .await?;
    if let Some(made) = made {
        return Ok(made);
    }
    let found = info(session, stream, durable).await?;
    found.ok_or_else(|| BindError::Request {
        server: session.servers().to_owned(),
        asked,
        why: Trouble::Nonsense("the name is taken, and there is no such consumer".to_owned()),
    })
}

/// A consumer's settings as the server would make it: with its defaults, as far as they are looked at.
fn as_made(config: &Map<String, Value>) -> Map<String, Value> {
    let mut config = config.clone();
    let ack_wait = json!(nanos(ACK_WAIT_DEFAULT));
    config.entry("ack_wait").or_insert(ack_wait);
    config
        .entry("max_waiting")
        .or_insert(json!(MAX_WAITING_DEFAULT));
    config
}

/// The settings that are read here.
fn read(
    session: &Session,
    wanted: &Wanted,
    config: &Map<String, Value>,
) -> Result<ConsumerConfig, BindError> {
    let read = serde_json::from_value(Value::Object(config.clone()));
    read.map_err(|error| BindError::Request {
        server: session.servers().to_owned(),
        asked: format!("what consumer {:?} is", wanted.durable),
        why: Trouble::Nonsense(error.to_string()),
    })
}

/// Whether shards can pull from a consumer and decide themselves when a message is given up on.
pub(super) fn check(config: &ConsumerConfig) -> Result<(), ConsumerFault> {
    if let Some(subject) = config.deliver_subject.clone() {
        return Err(ConsumerFault::Push(subject));
    }
    if config
        .durable_name
        .as_deref()
        .unwrap_or_default()
        .is_empty()
    {
        return Err(ConsumerFault::Ephemeral);
    }
    if config.ack_policy != "explicit" {
        return Err(ConsumerFault::AckPolicy(config.ack_policy.clone()));
    }
    if config.max_deliver > 0 {
        return Err(ConsumerFault::MaxDeliver(config.max_deliver));
    }
    if config.replay_policy != "instant" {
        return Err(ConsumerFault::Replay(config.replay_policy.clone()));
    }
    let priority = config.priority_policy.clone().unwrap_or_default();
    if !["", "none"].contains(&&*priority) {
        return Err(ConsumerFault::Priority(priority));
    }
    let (ack_wait, _) = config.ack_waits();
    if ack_wait < ACK_WAIT_MIN {
        let min = ACK_WAIT_MIN;
        return Err(ConsumerFault::AckWait { ack_wait, min });
    }
    Ok(())
}

/// A consumer to be made, as JetStream's API has it.
fn config_of(wanted: &Wanted, create: &CreateConsumer) -> Map<String, Value> {
    let needed = wanted.in_flight_messages.saturating_mul(2);
    let pending = create.max_ack_pending;
    let deliver = create.deliver.map(|deliver| match deliver {
        DeliverFrom::All => "all",
        DeliverFrom::New => "new",
        DeliverFrom::Last => "last",
        DeliverFrom::LastPerSubject => "last_per_subject",
        DeliverFrom::Sequence(_) => "by_start_sequence",
    });
    let sequence = match create.deliver {
        Some(DeliverFrom::Sequence(sequence)) => Some(sequence),
        _ => None,
    };
    configured(json!({
        "name": wanted.durable,
        "durable_name": wanted.durable,
        "ack_policy": "explicit",
        "max_deliver": -1,
        "replay_policy": "instant",
        "deliver_policy": deliver,
        "opt_start_seq": sequence,
        "filter_subjects": create.filter_subjects,
        "ack_wait": create.ack_wait.map(nanos),
        "max_ack_pending": pending.unwrap_or(needed.max(ACK_PENDING_DEFAULT)),
        "max_waiting": create.max_waiting,
    }))
}

/// What of a configuration is compared: not what the checks have seen to, and not what was not configured.
fn compared(mut config: Map<String, Value>, create: &CreateConsumer) -> Map<String, Value> {
    let checked = [
        "name",
        "durable_name",
        "ack_policy",
        "max_deliver",
        "replay_policy",
    ];
    config.retain(|field, _| !checked.contains(&&**field));
    if create.max_ack_pending.is_none() {
        config.remove("max_ack_pending");
    }
    config
}

/// A consumer's settings with all its filters in one field.
fn with_filters(config: &Map<String, Value>, read: &ConsumerConfig) -> Map<String, Value> {
    let mut config = config.clone();
    config.insert("filter_subjects".to_owned(), json!(read.filters()));
    config
}
