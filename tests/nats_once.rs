//! Effectively once: one copy of every send, whatever is cut, and whoever sends into the same stream.

use std::collections::BTreeMap;
use std::time::Duration;

use millpond::{
    DeliveryLevel, Engine, Grants, HandlerConfig, HandlerLimits, NatsConfig, NatsSource, ServerUrl,
    StreamSource,
};
use millpond_tests::guest;
use millpond_tests::nats::{Client, Point, Post, Proxy, Server, Settings, Way, header};
use serde_json::json;

use crate::harness::{LONG, PROBE, config, start};

/// A name for each input of a handler, and what it makes of it: `OUT` has three messages an input.
const INPUTS: usize = 200;

/// A server with the streams `IN0`, `IN1` and `OUT`, and consumers whose messages come again after a second.
fn ready() -> (Server, Client) {
    let server = Settings::new().start();
    let client = Client::connect(&server.url());
    for stream in ["IN0", "IN1"] {
        client.create_stream(stream, &[&format!("{stream}.>")], json!({}));
        let pulled = json!({"ack_policy": "explicit", "ack_wait": 1_000_000_000u64, "max_ack_pending": 10_000});
        client.create_consumer(stream, "mill", pulled);
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
        ..StreamSource::existing(stream, "mill")
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
    feed_by("say", client, stream);
}

fn feed_by(verb: &str, client: &Client, stream: &str) {
    let input = |n: usize| {
        let say = |k| format!("{verb} out.{k} {stream}-{n}-{k}");
        let text = [say(0), say(1), say(2)].join(";");
        Post::new(format!("{stream}.in"), text)
    };
    client.store_all((0..INPUTS).map(input));
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
    let copies = copies(client);
    assert_eq!(copies.len(), streams.len() * INPUTS * 3);
    assert!(copies.values().all(|&n| n == 1), "{copies:?}");
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

#[test]
fn batches_of_a_guest_that_says_what_its_sends_are_for_leave_one_copy_of_each() {
    let (server, client) = ready();
    feed_by("send", &client, "IN0");
    feed_by("send", &client, "IN1");
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
            feed_by(verb, &client, "IN0");
        }
        proxy.wait_reached(done as u64 + 1);
    }
    client.wait_consumed("IN0", "mill");
    ended(&engine);
    one_of_each(&client, &["IN0"]);
    assert!(proxy.accepted() > cuts, "it connected again after each cut");
}
