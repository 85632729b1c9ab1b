//! What a server refuses one handler is in that handler's stats: at the start and later, by real servers with permissions. And what can't
//! leave at all keeps nothing back that can, and goes out once.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use millpond::{Engine, FaultKind, HandlerConfig, HandlerStats, Message, NatsSource, StreamSource};
use millpond_tests::nats::async_nats::ConnectOptions;
use millpond_tests::nats::{Client, Post, Scripted, Server, Settings, async_nats, header};
use serde_json::{Value, json};

use crate::harness::{LONG, PROBE, count, limited, settled, start, until};
use crate::nats_core::{at, core};

/// A server on which the user `some` may do all but this.
fn denying(publish: &str, subscribe: &str) -> Settings {
    let denied = json!({ "publish": { "deny": publish }, "subscribe": { "deny": subscribe } });
    Settings::new()
        .user("all", "a")
        .limited_user("some", "s", denied)
}

fn as_some(server: &Server) -> String {
    server.url().replace("://", "://some:s@")
}

fn as_all(server: &Server) -> Client {
    let all = ConnectOptions::with_user_and_password("all".into(), "a".into());
    Client::connect_as(&server.url(), all).expect("it may")
}

fn stats(engine: &Engine, index: usize) -> HandlerStats {
    engine.stats().handlers.swap_remove(index)
}

/// Waits until this handler was refused so much, the last time in words with this part.
#[track_caller]
fn refused(engine: &Engine, index: usize, times: u64, part: &str) {
    until(part, || {
        let stats = stats(engine, index);
        let told = stats.refusal.is_some_and(|words| words.contains(part));
        stats.refusals == times && told
    });
}

#[test]
fn a_refused_send_is_in_the_stats_of_the_handler_that_sent_it() {
    let server = denying("echo.out", "never").start();
    let client = as_all(&server);
    let mut out = client.subscribe("free");
    let handlers = [core("echo", Some("q")), core(PROBE, Some("q"))];
    let engine = start(at(&as_some(&server), handlers));
    client.publish([Post::new("echo", "x"), Post::new("probe", "say free x")]);
    refused(&engine, 0, 1, "Publish to \"echo.out\"");
    assert_eq!(out.next_message().payload, "x");
    client.publish([Post::new("probe", "say echo.out x")]);
    refused(&engine, 1, 1, "Publish to \"echo.out\"");
    client.publish([Post::new("echo", "x")]);
    refused(&engine, 0, 2, "Publish to \"echo.out\"");
    let stats = settled(&engine);
    assert_eq!((stats.refusals, stats.connects), (3, 1));
}

#[test]
fn a_refused_request_is_in_the_stats_of_the_handler_whose_guest_asked() {
    let server = denying("secret", "never").start();
    let client = as_all(&server);
    let mut reports = client.subscribe("report");
    let asks = core("probe-wasmcloud", Some("q")).subject("asks");
    let engine = start(at(&as_some(&server), [core("echo", Some("q")), asks]));
    client.publish([Post::new("asks", "request secret x 1000 report")]);
    refused(&engine, 1, 1, "Publish to \"secret\"");
    let report = reports.next_message();
    assert_eq!(&report.payload[..], b"error:no reply within 1s");
    settled(&engine);
}

#[test]
fn what_a_reload_takes_away_is_in_the_stats_of_whom_it_concerns() {
    let mut server = denying("never", "never").start();
    let client = as_all(&server);
    let handlers = [core("echo", Some("q")), core(PROBE, Some("q"))];
    let engine = start(at(&as_some(&server), handlers));
    for subject in ["echo", "probe"] {
        let reply = client.request(Post::new(subject, "reply x"));
        assert!(reply.is_ok(), "{subject}");
    }
    server.reload(denying("secret", "echo"));
    refused(&engine, 0, 1, "Subscription to \"echo\"");
    client.publish([Post::new("probe", "say secret x")]);
    refused(&engine, 1, 1, "Publish to \"secret\"");
    // It hears that subject no more, and the other handler goes on.
    client.request(Post::new("echo", "x")).expect_err("nobody");
    let reply = client.request(Post::new("probe", "reply x"));
    assert_eq!(&reply.expect("a reply").payload[..], b"x");
    let stats = settled(&engine);
    assert_eq!((stats.refusals, stats.connects), (2, 1));
}

#[test]
fn a_stream_that_may_not_be_asked_is_in_the_stats_of_who_takes_from_it() {
    let mut server = denying("never", "never").start();
    let client = as_all(&server);
    client.create_stream("IN", &["in.>"], json!({}));
    client.create_consumer("IN", "D", json!({}));
    let source = NatsSource::Stream(StreamSource::existing("IN", "D"));
    let handlers = [
        core("echo", Some("q")),
        limited("counter", |_| ()).nats(source),
    ];
    let engine = start(at(&as_some(&server), handlers));
    client.store_all([Post::new("in.x", "1")]);
    until("it is handled", || stats(&engine, 1).acked == 1);
    server.reload(denying("$JS.ACK.>", "never"));
    client.store_all([Post::new("in.x", "2")]);
    refused(&engine, 1, 1, "Publish to \"$JS.ACK.IN.D.");
    server.reload(denying("$JS.API.CONSUMER.MSG.NEXT.>", "never"));
    // Each message makes room, for which the stream is asked again.
    until("it is refused to ask", || {
        client.store_all([Post::new("in.x", "3")]);
        let told = stats(&engine, 1).refusal;
        told.is_some_and(|words| words.contains("MSG.NEXT.IN.D"))
    });
    assert_eq!(stats(&engine, 0).refusals, 0);
}

#[test]
fn two_handlers_of_one_refused_subject_are_each_told_once() {
    let mut server = denying("never", "never").start();
    let both = [("echo", "a"), (PROBE, "b")];
    let both = both.map(|(name, queue)| core(name, Some(queue)).subject("secret"));
    let engine = start(at(&as_some(&server), both));
    server.reload(denying("never", "secret"));
    for index in [0, 1] {
        refused(&engine, index, 1, "Subscription to \"secret\"");
    }
    // On a new connection both are refused again, in words without a number.
    server.restart();
    for index in [0, 1] {
        refused(&engine, index, 2, "Subscription to \"secret\"");
    }
    settled(&engine);
}

/// Inputs of one batch.
const BATCH: u64 = 64;

/// Has one batch sent with one send that the server does not take, and sees the others there once.
fn one_of_a_batch_is_too_large(server: &Server, handler: HandlerConfig, client: &Client) {
    let mut out = client.subscribe("out.*");
    client.settle();
    let engine = start(at(&server.url(), [handler]));
    for n in 0..BATCH {
        let text = match n {
            40 => "x".repeat(4_000),
            n => n.to_string(),
        };
        let input = Message::new("probe", format!("say out.{n} {text}").as_bytes());
        engine
            .publish(input.expect("a good message"))
            .expect("there is room");
    }
    until("one is given up on", || {
        let stats = stats(&engine, 0);
        stats.acked == BATCH - 1 && count(&stats.terminated, FaultKind::Refused) == 1
    });
    let heard: Vec<String> = [out.collect(BATCH as usize - 1), out.rest()]
        .concat()
        .iter()
        .map(|m| String::from_utf8_lossy(&m.payload).into_owned())
        .collect();
    let mut sorted: Vec<u64> = heard.iter().map(|text| text.parse().unwrap()).collect();
    sorted.sort_unstable();
    let wanted: Vec<u64> = (0..BATCH).filter(|n| *n != 40).collect();
    assert_eq!(sorted, wanted, "each once, and no more");
    let stats = settled(&engine);
    assert!(stats.handlers[0].splits > 0, "it was found by splitting");
    assert_eq!(stats.handlers[0].sent, BATCH - 1);
}

/// A probe whose calls begin once there is a whole batch.
fn batching() -> HandlerConfig {
    limited(PROBE, |l| {
        l.linger = LONG;
        l.batch_messages_max = BATCH as usize;
        l.deliveries_max = 2;
        l.retry_delay_first = Duration::from_millis(1);
        l.split_time_max = LONG;
    })
}

fn small(settings: Settings) -> Server {
    settings.max_payload(2_000).start()
}

#[test]
fn of_a_batch_with_a_send_that_is_too_large_the_others_go_out_once_on_the_core() {
    let server = small(Settings::new().without_jetstream());
    let client = Client::connect(&server.url());
    let handler = batching().nats(NatsSource::Core { queue: None });
    one_of_a_batch_is_too_large(&server, handler, &client);
}

#[test]
fn of_a_batch_with_a_send_that_is_too_large_the_others_are_stored_once() {
    let server = small(Settings::new());
    let client = Client::connect(&server.url());
    client.create_stream("IN", &["in.>"], json!({}));
    client.create_consumer("IN", "D", json!({}));
    client.create_stream("OUT", &["out.>"], json!({}));
    let source = NatsSource::Stream(StreamSource::existing("IN", "D"));
    one_of_a_batch_is_too_large(&server, batching().nats(source), &client);
    let stored = client.stream("OUT");
    let stored = stored.pointer("/state/messages").and_then(Value::as_u64);
    assert_eq!(stored, Some(BATCH - 1));
}

/// Messages in flight while the server is gone.
const HELD: u64 = 50;

#[test]
fn an_outage_is_not_spent_on_calls_in_vain() {
    let mut server = Settings::new().without_jetstream().start();
    let handler = core(PROBE, Some("q"));
    let (first, longest) = (
        handler.limits.retry_delay_first,
        handler.limits.retry_delay_max,
    );
    let engine = start(at(&server.url(), [handler]));
    server.kill();
    until("it is gone", || engine.stats().connected == 0);
    let clock = || SystemTime::elapsed(&UNIX_EPOCH).unwrap();
    let began = clock();
    for n in 0..HELD {
        let input = Message::new("probe", format!("say out {n}").as_bytes());
        engine.publish(input.unwrap()).unwrap();
    }
    until("each is called often", || {
        stats(&engine, 0).called_messages >= HELD * 7
    });
    let called = stats(&engine, 0).called_messages;
    let lasted = clock() - began;
    // The n-th delay is at least half of twice the one before, up to the longest.
    let (mut calls, mut over, mut delay) = (1, Duration::ZERO, first);
    while over < lasted {
        over += delay.min(longest) / 2;
        delay *= 2;
        calls += 1;
    }
    // Two more: those that are made as this is looked at, and calls that a loaded machine made twice.
    assert!(called <= HELD * (calls + 2), "{called} in {lasted:?}");
    server.restart();
    until("all is handled", || stats(&engine, 0).acked == HELD);
    settled(&engine);
}

/// A server whose largest message is this, with streams for inputs and dead letters.
fn with_letters(max_payload: usize) -> (Server, Client) {
    let server = Settings::new().max_payload(max_payload).start();
    let client = Client::connect(&server.url());
    client.create_stream("IN", &["in.>"], json!({}));
    client.create_consumer("IN", "D", json!({}));
    client.create_stream("DEAD", &["dead"], json!({}));
    (server, client)
}

fn lettered(name: &str) -> HandlerConfig {
    let source = NatsSource::Stream(StreamSource::existing("IN", "D"));
    let handler = limited(name, |l| {
        l.deliveries_max = 1;
        l.retry_delay_first = Duration::from_millis(1);
    });
    handler.nats(source).dead_letter("dead")
}

#[test]
fn a_letter_that_is_too_large_leaves_out_what_has_no_room_and_is_stored() {
    let (server, client) = with_letters(1_000);
    let large = "trap".to_owned() + &" ".repeat(900);
    let headers = Post::new("in.x", "trap").header("Long", &"v".repeat(700));
    client.store_all([Post::new("in.x", "trap"), headers, Post::new("in.x", large)]);
    let engine = start(at(&server.url(), [lettered(PROBE)]));
    client.wait_consumed("IN", "D");
    let letters: Vec<_> = (1..=3)
        .map(|n| client.stored("DEAD", n).expect("a letter of each"))
        .collect();
    let of = |sequence: &str| {
        let is = |m: &&_| named(m, "Millpond-Stream-Sequence").as_deref() == Some(sequence);
        letters.iter().find(is).expect("a letter of this message")
    };
    let (whole, without_headers, bare) = (of("1"), of("2"), of("3"));
    assert_eq!(&whole.payload[..], b"trap");
    assert_eq!(named(whole, "Millpond-Headers-Left-Out"), None);
    assert_eq!(&without_headers.payload[..], b"trap");
    assert_eq!(named(without_headers, "Long"), None);
    assert_eq!(
        named(without_headers, "Millpond-Headers-Left-Out").as_deref(),
        Some("1")
    );
    assert!(bare.payload.is_empty());
    assert_eq!(
        named(bare, "Millpond-Payload-Left-Out").as_deref(),
        Some("904")
    );
    assert_eq!(named(bare, "Millpond-Stream").as_deref(), Some("IN"));
    let stats = settled(&engine);
    assert_eq!(
        (stats.handlers[0].dead_lettered, stats.handlers[0].unsent),
        (3, 0)
    );
}

fn named(message: &async_nats::jetstream::message::StreamMessage, name: &str) -> Option<String> {
    header(Some(&message.headers), name).map(str::to_owned)
}

#[test]
fn a_streams_message_that_is_too_large_to_be_read_ends_in_the_dead_letters() {
    let (server, client) = with_letters(4 << 20);
    let large = "x".repeat((1 << 20) + 1);
    client.store_all([
        Post::new("in.x", "ok"),
        Post::new("in.large", large),
        Post::new("in.x", "ok"),
    ]);
    let engine = start(at(&server.url(), [lettered(PROBE)]));
    client.wait_consumed("IN", "D");
    assert_eq!(client.stream_messages("DEAD"), 1);
    let letter = client.stored("DEAD", 1).expect("its letter");
    assert_eq!(
        named(&letter, "Millpond-Subject").as_deref(),
        Some("in.large")
    );
    assert_eq!(
        named(&letter, "Millpond-Stream-Sequence").as_deref(),
        Some("2")
    );
    assert_eq!(
        named(&letter, "Millpond-Reason").as_deref(),
        Some("too-large")
    );
    let detail = named(&letter, "Millpond-Detail").expect("what it was");
    assert!(detail.contains("1048577 bytes"), "{detail}");
    let stats = settled(&engine).handlers.remove(0);
    assert_eq!(
        (stats.acked, stats.dead_lettered, stats.shed_total()),
        (2, 1, 0)
    );
    assert_eq!(count(&stats.terminated, FaultKind::TooLarge), 1);
    let redelivered = client.consumer("IN", "D")["num_redelivered"].as_u64();
    assert_eq!(redelivered, Some(0), "it is told that it was given up on");
}

#[test]
fn a_letter_of_a_handler_of_the_core_is_published_for_whoever_listens() {
    let server = Settings::new().without_jetstream().start();
    let client = Client::connect(&server.url());
    let mut dead = client.subscribe("dead");
    let handler = limited(PROBE, |l| l.deliveries_max = 1).dead_letter("dead");
    let handler = handler.nats(NatsSource::Core { queue: None });
    let engine = start(at(&server.url(), [handler]));
    client.publish([Post::new("probe", "trap")]);
    let letter = dead.next_message();
    assert_eq!(&letter.payload[..], b"trap");
    assert_eq!(
        header(letter.headers.as_ref(), "Millpond-Reason"),
        Some("trap")
    );
    assert_eq!(settled(&engine).handlers[0].dead_lettered, 1);
}

#[test]
fn a_connection_that_the_server_ends_with_a_reason_is_a_refusal_and_one_without_is_none() {
    let server = Scripted::start();
    let config = at(&server.url(), [core("echo", Some("q"))]);
    let starting = std::thread::spawn(|| start(config));
    let stream = server.greeted("echo");
    let engine = starting.join().expect("it starts");
    Scripted::refuse(stream, "Slow Consumer");
    let stream = server.greeted("echo");
    let seen = |connects| {
        until("it is connected", || engine.stats().connects == connects);
        let stats = engine.stats();
        (stats.refusals, stats.handlers[0].refusals)
    };
    assert_eq!(seen(2), (1, 0), "it concerns no handler");
    drop(stream);
    let _stream = server.greeted("echo");
    assert_eq!(seen(3), (1, 0));
}
