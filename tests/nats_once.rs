//! Effectively once: one copy of every send, whatever is cut, and whoever sends into the same stream.

use std::collections::BTreeMap;
use std::io::Read;
use std::process::Command;
use std::time::Duration;

use millpond::{
    DeliveryLevel, Engine, Grants, HandlerConfig, HandlerLimits, NatsConfig, NatsSource, ServerUrl,
    StreamSource,
};
use millpond_tests::guest;
use millpond_tests::nats::{Client, Point, Post, Proxy, Server, Settings, Way, header};
use millpond_tests::program::Program;
use serde_json::json;

use crate::harness::{LONG, PROBE, config, start};

/// A name for each input of a handler, and what it makes of it: `OUT` has three messages an input.
const INPUTS: usize = 200;
/// Times that an engine is killed.
const KILLS: usize = 20;
/// The variable that makes this program an engine on the server that it names.
const URL: &str = "MILLPOND_TEST_ONCE_URL";

/// A consumer whose messages come again after a second.
fn consumer(client: &Client, stream: &str, durable: &str) {
    let pulled =
        json!({"ack_policy": "explicit", "ack_wait": 1_000_000_000u64, "max_ack_pending": 10_000});
    client.create_consumer(stream, durable, pulled);
}

/// A stream of inputs, with the consumer `mill`.
fn input(client: &Client, stream: &str) {
    client.create_stream(stream, &[&format!("{stream}.>")], json!({}));
    consumer(client, stream, "mill");
}

/// A server with the streams `IN0`, `IN1` and `OUT`.
fn ready() -> (Server, Client) {
    let server = Settings::new().start();
    let client = Client::connect(&server.url());
    for stream in ["IN0", "IN1"] {
        input(&client, stream);
    }
    let window = 3_600_000_000_000u64;
    let atomic = json!({"allow_atomic": true, "duplicate_window": window});
    client.create_stream("OUT", &["out.>"], atomic);
    (server, client)
}

/// A probe that takes from this stream, effectively once, and may publish below `out`.
fn once(name: &str, stream: &str) -> HandlerConfig {
    once_by(PROBE, name, stream)
}

fn once_by(component: &str, name: &str, stream: &str) -> HandlerConfig {
    once_of(component, name, stream, "mill")
}

fn once_of(component: &str, name: &str, stream: &str, durable: &str) -> HandlerConfig {
    let limits = HandlerLimits {
        pause_max: Duration::ZERO,
        retry_delay_first: Duration::from_millis(1),
        retry_delay_max: Duration::from_millis(10),
        deadline: Duration::from_secs(5),
        wall_deadline: Duration::from_secs(5),
        confirm_wait_max: Duration::from_secs(2),
        ..HandlerLimits::default()
    };
    let grants = Grants {
        send: vec!["out.>".into()],
        ..Grants::default()
    };
    let source = StreamSource {
        delivery: DeliveryLevel::EffectivelyOnce,
        ..StreamSource::existing(stream, durable)
    };
    HandlerConfig::file(name, guest(component))
        .limits(limits)
        .grants(grants)
        .nats(NatsSource::Stream(source))
}

fn engine(url: &str, handlers: impl IntoIterator<Item = HandlerConfig>) -> Engine {
    let mut config = config(handlers);
    let urls = ServerUrl::parse_list(url).expect("a server's own url");
    config.nats = Some(NatsConfig::new(urls));
    start(config)
}

/// Inputs that each make the probe send three messages, which name it.
fn feed(client: &Client, stream: &str) {
    feed_from(client, stream, 0);
}

/// The same, named from this number on.
fn feed_from(client: &Client, stream: &str, first: usize) {
    feed_by("say", client, stream, first);
}

fn feed_by(verb: &str, client: &Client, stream: &str, first: usize) {
    let input = |n: usize| {
        let say = |k| format!("{verb} out.{k} {stream}-{n}-{k}");
        let text = [say(0), say(1), say(2)].join(";");
        Post::new(format!("{stream}.in"), text)
    };
    client.store_all((first..first + INPUTS).map(input));
}

/// How often each text is in `OUT`.
fn copies(client: &Client) -> BTreeMap<String, usize> {
    let mut copies = BTreeMap::new();
    for message in client.stored_all("OUT") {
        let text = String::from_utf8(message.payload.to_vec()).expect("texts");
        *copies.entry(text).or_default() += 1;
    }
    copies
}

#[track_caller]
fn one_of_each(client: &Client, streams: &[&str]) {
    one_of_all(client, streams.len() * INPUTS);
}

/// One copy of every send of so many inputs, and nothing else.
#[track_caller]
fn one_of_all(client: &Client, inputs: usize) {
    let copies = copies(client);
    assert_eq!(copies.len(), inputs * 3);
    let more: Vec<_> = copies.iter().filter(|(_, n)| **n != 1).collect();
    assert_eq!(more, [], "more than one copy");
}

fn ended(engine: &Engine) {
    engine.drain(LONG).expect("what is in flight ends");
    engine.stop();
}

#[test]
fn two_handlers_into_one_stream_leave_one_copy_of_each_send() {
    let (server, client) = ready();
    feed(&client, "IN0");
    feed(&client, "IN1");
    let engine = engine(&server.url(), [once("a", "IN0"), once("b", "IN1")]);
    client.wait_consumed("IN0", "mill");
    client.wait_consumed("IN1", "mill");
    ended(&engine);
    one_of_each(&client, &["IN0", "IN1"]);
    let stored = client.stored("OUT", 1).expect("it has messages");
    let id = header(Some(&stored.headers), "Nats-Msg-Id").expect("each has an id");
    assert!(id.starts_with("IN") && id.ends_with(".OUT.0"), "{id}");
}

/// That there are so many copies of each send of `INPUTS` inputs.
#[track_caller]
fn copies_of_each(client: &Client, count: usize) {
    let copies = copies(client);
    assert_eq!(copies.len(), INPUTS * 3);
    let others: Vec<_> = copies.iter().filter(|(_, n)| **n != count).collect();
    assert_eq!(others, [], "not {count} copies");
}

#[test]
fn two_handlers_of_the_same_inputs_leave_a_copy_of_each_send_each() {
    let (server, client) = ready();
    consumer(&client, "IN0", "second");
    feed(&client, "IN0");
    let handlers = [("a", "mill"), ("b", "second")];
    let engine = engine(
        &server.url(),
        handlers.map(|(name, durable)| once_of(PROBE, name, "IN0", durable)),
    );
    client.wait_consumed("IN0", "mill");
    client.wait_consumed("IN0", "second");
    ended(&engine);
    copies_of_each(&client, 2);
}

#[test]
fn inputs_of_a_stream_that_was_made_anew_are_others_though_their_numbers_are_the_same() {
    let (server, client) = ready();
    for round in 0..2 {
        if round > 0 {
            client.delete_stream("IN0");
            input(&client, "IN0");
        }
        feed(&client, "IN0");
        let engine = engine(&server.url(), [once("a", "IN0")]);
        client.wait_consumed("IN0", "mill");
        ended(&engine);
        copies_of_each(&client, round + 1);
    }
}

#[test]
fn one_copy_of_every_send_is_left_over_restarts_of_the_server() {
    let (mut server, client) = ready();
    feed(&client, "IN0");
    let engine = engine(&server.url(), [once("a", "IN0")]);
    for round in 1..=4 {
        let client = Client::connect(&server.url());
        let some = (round * 100).min(INPUTS as u64 * 2);
        client.until("outputs", |client| {
            (client.stream_messages("OUT") >= some).then_some(())
        });
        server.restart();
    }
    let client = Client::connect(&server.url());
    client.wait_consumed("IN0", "mill");
    ended(&engine);
    copies_of_each(&client, 1);
}

#[test]
fn batches_of_a_guest_that_says_what_its_sends_are_for_leave_one_copy_of_each() {
    let (server, client) = ready();
    feed_by("send", &client, "IN0", 0);
    feed_by("send", &client, "IN1", 0);
    let handlers =
        [("a", "IN0"), ("b", "IN1")].map(|(name, stream)| once_by("batch-probe", name, stream));
    let engine = engine(&server.url(), handlers);
    client.wait_consumed("IN0", "mill");
    client.wait_consumed("IN1", "mill");
    ended(&engine);
    one_of_each(&client, &["IN0", "IN1"]);
    for handler in engine.stats().handlers {
        let received = (handler.received, handler.unsent);
        assert_eq!(received, (INPUTS as u64, 0), "none comes again");
        let calls = handler.calls;
        assert!(calls < INPUTS as u64, "calls have several messages each");
    }
    let ids = client.stored_all("OUT").into_iter().map(|message| {
        let id = header(message.headers.as_ref(), "Nats-Msg-Id").expect("each has an id");
        id.rsplit_once(".OUT.")
            .expect("it names its stream")
            .1
            .to_owned()
    });
    let ids: Vec<_> = ids.collect();
    assert!(
        ids.chunks(3).all(|ids| ids == ["0", "1", "2"]),
        "each input's sends lie together"
    );
}

#[test]
fn what_is_cut_between_the_stream_and_the_ack_is_stored_once() {
    cut_and_counted(PROBE, "say");
}

#[test]
fn what_is_cut_of_batches_whose_sends_are_attributed_is_stored_once() {
    cut_and_counted("batch-probe", "send");
}

fn cut_and_counted(component: &str, verb: &str) {
    let (server, client) = ready();
    let proxy = Proxy::to(server.address());
    let handler = once_by(component, "a", "IN0");
    let engine = engine(&server.url_of(proxy.address()), [handler]);
    // Before an ack leaves; after one has come through; in the midst of a batch; when a confirmation is on its way.
    let points = [
        Point::before(Way::ToServer, "+ACK").nth(10).cut(),
        Point::after(Way::ToServer, "+ACK").nth(10).cut(),
        Point::before(Way::ToServer, "Nats-Batch-Sequence: 2")
            .nth(10)
            .cut(),
        Point::after(Way::ToServer, "Nats-Batch-Commit")
            .nth(10)
            .cut(),
        Point::before(Way::ToClient, "\"stream\":\"OUT\"")
            .nth(10)
            .cut(),
        Point::after(Way::ToClient, "\"stream\":\"OUT\"")
            .nth(10)
            .cut(),
    ];
    let cuts = points.len() as u64;
    for (done, point) in points.into_iter().enumerate() {
        proxy.at(point);
        if done == 0 {
            feed_by(verb, &client, "IN0", 0);
        }
        proxy.wait_reached(done as u64 + 1);
    }
    client.wait_consumed("IN0", "mill");
    ended(&engine);
    one_of_each(&client, &["IN0"]);
    assert!(proxy.accepted() > cuts, "it connected again after each cut");
}

#[test]
fn the_engine_of_another_process() {
    let Ok(url) = std::env::var(URL) else {
        return;
    };
    let engine = engine(&url, [once("a", "IN0")]);
    eprintln!("ready");
    let _ = std::io::stdin().read(&mut [0]);
    ended(&engine);
}

/// Starts an engine in a process of its own.
fn process(url: &str) -> Program {
    let program = std::env::current_exe().expect("this program has a path");
    let mut command = Command::new(program);
    command
        .args([
            "--exact",
            "nats_once::the_engine_of_another_process",
            "--nocapture",
        ])
        .env(URL, url);
    Program::start(&mut command)
}

/// Numbers below `below` that look random and are the same each time.
fn random(round: usize, below: u64) -> u64 {
    (round as u64 + 1)
        .wrapping_mul(0x9e37_79b9_7f4a_7c15)
        .rotate_left(27)
        % below
}

/// The point at which the engine of the round is killed, or none: then it is a matter of chance.
fn point(round: usize) -> Option<Point> {
    let point = match round % 5 {
        // Between the stream's confirmation and the ack of the input: before the ack leaves.
        0 => Point::before(Way::ToServer, "+ACK"),
        // After a part of an input's batch.
        1 => Point::after(Way::ToServer, "Nats-Batch-Sequence: 2"),
        // After the whole of it: it is stored, and the engine never hears so.
        2 => Point::before(Way::ToClient, "\"stream\":\"OUT\""),
        // When the confirmation has come.
        3 => Point::after(Way::ToClient, "\"stream\":\"OUT\""),
        _ => return None,
    };
    Some(point.nth(2 + random(round, 40)))
}

#[test]
fn one_copy_of_every_send_is_left_by_engines_that_are_killed_twenty_times() {
    let (server, client) = ready();
    let proxy = Proxy::to(server.address());
    let url = server.url_of(proxy.address());
    let mut reached = 0;
    for round in 0..KILLS {
        feed_from(&client, "IN0", round * INPUTS);
        let point = point(round);
        let named = point.is_some();
        if let Some(point) = point {
            proxy.at(point);
        }
        let mut engine = process(&url);
        if named {
            reached += 1;
            proxy.wait_reached(reached);
        } else {
            engine.wait_for("ready");
            let bytes = proxy.bytes(Way::ToServer) + random(round, 40_000);
            client.until("so many bytes", |_| {
                (proxy.bytes(Way::ToServer) >= bytes).then_some(())
            });
        }
        engine.kill();
        proxy.cut();
        proxy.pass();
    }
    let named = KILLS as u64 / 5 * 4;
    assert_eq!((proxy.reached(), reached), (named, named), "each was hit");
    let mut last = process(&url);
    client.wait_consumed("IN0", "mill");
    last.close_input();
    assert!(last.ended().success());
    one_of_all(&client, KILLS * INPUTS);
    let again = client.consumer("IN0", "mill");
    let delivered = again["delivered"]["consumer_seq"].as_u64();
    assert!(delivered > Some((KILLS * INPUTS) as u64), "some came again");
}
