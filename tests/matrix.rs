//! Every contract on every transport: what the rules of `differential.rs` say is what is sent and given up on, wherever messages come
//! from and wherever sends go.

use std::collections::BTreeMap;

use millpond::{Engine, HandlerConfig, Message, NatsSource, StreamSource};
use millpond_tests::nats::{Client, Server};
use serde_json::json;

use crate::differential::{All, Draw, Running, SIDES, Side, expected, handler_of, record};
use crate::harness::{LONG, start, until};
use crate::nats_core::{at, on_core, plain};
use crate::nats_streams::{consumed, with_input};

/// Messages of a row.
const MESSAGES: u32 = 400;
const SEED: u64 = 0x5eed_0000_0000_0012;

/// Where messages come from and where sends go.
#[derive(Debug, Clone, Copy)]
enum Transport {
    InProcess,
    Core,
    Stream,
}

const TRANSPORTS: [Transport; 3] = [Transport::InProcess, Transport::Core, Transport::Stream];

#[test]
fn every_contract_does_the_same_on_every_transport() {
    let mut rows = 0;
    for side in SIDES {
        for transport in TRANSPORTS {
            let mut draw = Draw::new(SEED + rows);
            // A stream takes the reply subject of what is stored, so nobody asks there.
            let asks = !matches!(transport, Transport::Stream);
            let messages: Vec<_> = (0..MESSAGES).map(|id| draw.message(id, asks)).collect();
            let mut seen = match transport {
                Transport::InProcess => in_process(side, &messages),
                Transport::Core => on_the_core(side, &messages),
                Transport::Stream => on_streams(side, &messages),
            };
            let row = format!("seed {SEED:#x}, row {rows}: {} {transport:?}", side.guest);
            let mut given_up = 0;
            for (id, message) in (0..).zip(&messages) {
                let became = seen.remove(&id).unwrap_or_default();
                let mut should = expected(message, side);
                given_up += should.letters.len();
                for (_, _, reply_to, headers) in &mut should.sends {
                    // What is stored has no reply subject; the reference client keeps no order of names.
                    reply_to.take_if(|_| !asks);
                    headers.sort();
                }
                assert_eq!(became, should, "{row}: {:?}", message.payload());
            }
            assert_eq!(seen, All::new(), "{row}: of no message");
            assert!(given_up > 10, "{row}: {given_up} fail");
            rows += 1;
        }
    }
    assert_eq!(rows, 12);
}

fn in_process(side: Side, messages: &[Message]) -> All {
    let mut running = Running::new(side);
    let mut queue = messages.iter().cloned().collect();
    let taken = running.engine.publish_all(&mut queue);
    assert_eq!(taken, Ok(messages.len()));
    let mut all = running.settle();
    let sends = all.values_mut().flat_map(|became| &mut became.sends);
    sends.for_each(|(.., headers)| headers.sort());
    all
}

fn on_the_core(side: Side, messages: &[Message]) -> All {
    let server = plain();
    let client = Client::connect(&server.url());
    let mut out = client.subscribe("out.>");
    let engine = start(at(
        &server.url(),
        [on_core(handler_of(side).subject("in"), Some("q"))],
    ));
    send(&client, messages, "in");
    until("all have come", || {
        engine.stats().received() == messages.len() as u64
    });
    ended(&engine, messages);
    let out = out.rest();
    gathered(out)
}

fn on_streams(side: Side, messages: &[Message]) -> All {
    let (server, client): (Server, Client) = with_input(json!({}));
    client.create_stream("OUT", &["out.>"], json!({}));
    send(&client, messages, "in.x");
    let source = NatsSource::Stream(StreamSource::existing("IN", "D"));
    let handler: HandlerConfig = handler_of(side).nats(source);
    let engine = start(at(&server.url(), [handler]));
    consumed(&client, &engine);
    ended(&engine, messages);
    gathered(client.stored_all("OUT"))
}

/// Publishes them, with their headers and where replies go.
fn send(client: &Client, messages: &[Message], subject: &str) {
    let inner = client.inner();
    client.wait(async {
        for message in messages {
            let mut headers = async_nats::HeaderMap::new();
            message.headers().for_each(|(k, v)| headers.append(k, v));
            let payload = message.payload().to_vec().into();
            let subject = subject.to_owned();
            let published = match message.reply_to() {
                Some(reply) => {
                    let reply = reply.to_owned();
                    inner
                        .publish_with_reply_and_headers(subject, reply, headers, payload)
                        .await
                }
                None => inner.publish_with_headers(subject, headers, payload).await,
            };
            published.expect("the message is well formed");
        }
        inner.flush().await.expect("it is connected");
    });
    client.settle();
}

/// Drains and stops it: each message was settled once.
fn ended(engine: &Engine, messages: &[Message]) {
    engine.drain(LONG).expect("what is in flight ends");
    let handler = &engine.stats().handlers[0];
    let given_up: u64 = handler.terminated.iter().map(|(_, count)| count).sum();
    assert_eq!(handler.acked + given_up, messages.len() as u64);
    engine.stop();
}

/// What came over the wire, by its message.
fn gathered(messages: Vec<async_nats::Message>) -> All {
    let mut all = BTreeMap::new();
    for message in messages {
        let mut headers = Vec::new();
        for (name, values) in message.headers.iter().flat_map(|map| map.iter()) {
            let pair = |value: &async_nats::HeaderValue| (name.to_string(), value.to_string());
            headers.extend(values.iter().map(pair));
        }
        headers.sort();
        let reply_to = message.reply.map(|subject| subject.to_string());
        let subject = message.subject.to_string();
        record(
            &mut all,
            (subject, message.payload.to_vec(), reply_to, headers),
        );
    }
    all
}
