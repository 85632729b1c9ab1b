//! Consume and ack: a stream's messages by each side, in turn, each with a new consumer.

use std::time::Duration;

use millpond_tests::nats::{Client, Post};
use serde_json::{Value, json};
use wasmtime::{Result, ensure, format_err};

use super::child::Service;
use super::echo::BATCHES_PACKED;
use super::side::{Measured, Side};
use crate::clock;
use crate::cores::{Place, go};
use crate::guest::PAYLOAD_BYTES;
use crate::scale::Scale;

/// The stream.
pub(super) const STREAM: &str = "BENCH";
/// Its subject.
const SUBJECT: &str = "bench.stream";
/// The messages that each consumer gets. One less is stored at first: the last is stored when the consumer is no longer paused,
/// since a server goes on at a new message, and not before a heartbeat otherwise. Each consumer begins one message later.
const MESSAGES: u64 = 200_000;
/// Digits at the beginning of a payload: the message's number.
pub(super) const PAYLOADS: usize = 12;
/// Messages of one pull of the bare socket, and what it asks with.
pub(super) const PULL_MESSAGES: u64 = 1_000;
/// The body of such a pull.
pub(super) const ASKED: &str =
    r#"{"batch":1000,"expires":30000000000,"idle_heartbeat":5000000000}"#;
/// Pulls that it has open.
pub(super) const CONSUMER_PULLS: usize = 4;
/// Messages delivered and not acked that each consumer may have.
const ACK_PENDING_MAX: u64 = 20_000;
/// Rounds of each side.
const ROUNDS: usize = 5;
/// Messages a call that ours is measured with.
const BATCHES: [u64; 3] = [64, 256, 1_024];
/// How often the server is asked whether a round is over.
const LOOK: Duration = Duration::from_millis(2);
/// How long a round may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// Measures all sides; only those whose name contains `filter`.
pub(super) fn measure(url: &str, address: &str, filter: &str, scale: Scale) -> Result<Vec<Side>> {
    let messages = scale.count(MESSAGES);
    go(Place::Anywhere)?;
    let client = Client::connect(url);
    let settings = json!({ "storage": "memory", "max_msgs": -1 });
    client.create_stream(STREAM, &[SUBJECT], settings);
    client.store_all((0..messages - 1).map(|number| post(number, messages)));
    let mut all = vec![
        ("bare".to_owned(), "consume-bare", messages),
        ("native".to_owned(), "consume-native", messages),
    ];
    for batch in BATCHES {
        all.push((format!("ours, {batch} a call"), "consume-ours", batch));
    }
    for batch in BATCHES_PACKED {
        let name = format!("ours, contract 3, {batch} a call");
        all.push((name, "consume-ours-3", batch));
    }
    all.retain(|(name, ..)| name.contains(filter));
    let mut stored = messages - 1;
    let mut sides: Vec<Side> = all.iter().map(|(name, ..)| Side::new(name)).collect();
    for round in 0..=scale.rounds(ROUNDS) {
        for (place, (_, role, number)) in all.iter().enumerate() {
            let durable = format!("{role}-{round}-{number}");
            stored += 1;
            let names = (*role, &*durable, *number);
            let measured = once(&client, address, names, (messages, stored))?;
            // The first is the server's warm-up.
            if round > 0 {
                sides[place].rounds.push(measured);
            }
        }
    }
    Ok(sides)
}

/// Any so many in a row have the same numbers.
fn post(number: u64, messages: u64) -> Post {
    let rest = "x".repeat(PAYLOAD_BYTES - PAYLOADS);
    Post::new(SUBJECT, format!("{:0PAYLOADS$}{rest}", number % messages))
}

/// One side once, on so many messages up to number `last`: the consumer is paused until the service waits for it.
fn once(
    client: &Client,
    address: &str,
    (role, durable, number): (&str, &str, u64),
    (messages, last): (u64, u64),
) -> Result<Measured> {
    let settings = json!({
        "max_ack_pending": ACK_PENDING_MAX,
        "ack_wait": 60_000_000_000_u64,
        "deliver_policy": "by_start_sequence",
        "opt_start_seq": last - messages + 1,
        "pause_until": "2100-01-01T00:00:00Z",
    });
    client.create_consumer(STREAM, durable, settings);
    let mut service = Service::start(role, address, durable, number)?;
    client.until("its pull", |client| {
        let waiting = client.consumer(STREAM, durable)["num_waiting"].as_u64();
        (waiting >= Some(1)).then_some(())
    });
    let before = service.usage()?;
    let begun = clock::now();
    let resumed = client.api(&format!("CONSUMER.PAUSE.{STREAM}.{durable}"), &json!({}));
    resumed.map_err(|error| format_err!("resuming a consumer: {}", error.description))?;
    client.publish([post(last - 1, messages)]);
    let info = loop {
        let info = client.consumer(STREAM, durable);
        if info["ack_floor"]["stream_seq"].as_u64() >= Some(last) {
            break info;
        }
        ensure!(
            clock::now() - begun < PATIENCE,
            "{role} is not done: {info}"
        );
        std::thread::park_timeout(LOOK);
    };
    let elapsed = clock::now() - begun;
    let after = service.usage()?;
    check(&info, messages)?;
    let handled = after.handled - before.handled;
    ensure!(
        handled == messages,
        "{role}: {handled} of {messages} were handled"
    );
    client.delete_consumer(STREAM, durable);
    let seconds = elapsed.as_secs_f64();
    Ok(Measured::between(before, after, messages, seconds))
}

/// Checks what the server says of a consumer at the end.
fn check(info: &Value, messages: u64) -> Result<()> {
    let wanted = [
        ("/delivered/consumer_seq", messages),
        ("/ack_floor/consumer_seq", messages),
        ("/num_ack_pending", 0),
        ("/num_pending", 0),
        ("/num_redelivered", 0),
    ];
    for (name, number) in wanted {
        let found = info.pointer(name).and_then(Value::as_u64);
        ensure!(found == Some(number), "{name} is {found:?}, not {number}");
    }
    Ok(())
}
