//! JetStream at most once and at least once: real servers, real components. What has to hold is counted, by the server where it
//! knows it: what its consumer has delivered, what waits for an ack, what is in its streams.

use std::collections::HashMap;
use std::time::Duration;

use millpond::{
    CreateConsumer, CreateStream, DeliveryLevel, Engine, EngineConfig, FaultKind, HandlerConfig,
    HandlerLimits, HandlerStats, NatsConfig, NatsSource, ServerUrl, StartError, Storage,
    StreamSource,
};
use millpond_tests::nats::{Client, Point, Post, Proxy, Server, Settings, Way, header};
use serde_json::{Value, json};

use crate::harness::{LONG, PROBE, config, count, limited, once, start, until};

/// The least ack wait, in the API's nanoseconds.
pub(crate) const SECOND_NANOS: u64 = 1_000_000_000;

/// Between two looks at a consumer, and how many there are at most.
const LOOK: Duration = Duration::from_millis(5);
const LOOKS_MAX: u32 = 6_000;

/// A handler that takes from consumer D of stream IN, at least once.
pub(crate) fn taking(name: &str, change: impl FnOnce(&mut HandlerLimits)) -> HandlerConfig {
    limited(name, change).nats(NatsSource::Stream(StreamSource::existing("IN", "D")))
}

/// A configuration with one handler and one shard, on the server at this URL.
pub(crate) fn on(url: &str, handler: HandlerConfig) -> EngineConfig {
    let mut config = config([handler]);
    let urls = ServerUrl::parse_list(url).expect("the server's url is one");
    let mut nats = NatsConfig::new(urls);
    // Servers are restarted here more often than outside.
    nats.reconnect_delay_max = Duration::from_millis(100);
    config.nats = Some(nats);
    config
}

/// A server with stream IN, which captures `in.>`, and its consumer D.
pub(crate) fn with_input(settings: Value) -> (Server, Client) {
    let server = Server::start();
    let client = Client::connect(&server.url());
    client.create_stream("IN", &["in.>"], json!({}));
    client.create_consumer("IN", "D", settings);
    (server, client)
}

/// Stores so many messages with this text on `in.x`.
pub(crate) fn store(client: &Client, count: usize, text: impl Fn(usize) -> String) {
    client.store_all((0..count).map(|index| Post::new("in.x", text(index))));
}

/// A number of a consumer's info.
pub(crate) fn of_consumer(client: &Client, pointer: &str) -> u64 {
    let info = client.consumer("IN", "D");
    let found = info.pointer(pointer).and_then(Value::as_u64);
    found.unwrap_or_else(|| panic!("no {pointer} in {info}"))
}

/// Drains and stops it: its handler's stats then.
pub(crate) fn stopped(engine: &Engine) -> HandlerStats {
    engine.drain(LONG).expect("what is in flight ends");
    engine.stop();
    engine.stats().handlers.remove(0)
}

/// Waits until so many messages have come, since a server tells of what it stores before its consumers count it as pending.
pub(crate) fn received(engine: &Engine, count: usize) {
    for _ in 0..LOOKS_MAX {
        if engine.stats().received() >= count as u64 {
            return;
        }
        std::thread::park_timeout(LOOK);
    }
    panic!("of {count} messages not all came\n{:?}", engine.stats());
}

/// Waits until the consumer has delivered all, and all is acked.
pub(crate) fn consumed(client: &Client, engine: &Engine) {
    let mut info = Value::Null;
    for _ in 0..LOOKS_MAX {
        info = client.consumer("IN", "D");
        if info["num_pending"] == 0 && info["num_ack_pending"] == 0 {
            return;
        }
        std::thread::park_timeout(LOOK);
    }
    panic!("something is left: {info}\n{:?}", engine.stats());
}

/// The handler's stats.
pub(crate) fn stats(engine: &Engine) -> HandlerStats {
    engine.stats().handlers.remove(0)
}

/// How often each payload is in a stream.
pub(crate) fn payloads(client: &Client, stream: &str) -> HashMap<String, usize> {
    let mut found = HashMap::new();
    for message in client.stored_all(stream) {
        let text = String::from_utf8(message.payload.to_vec()).expect("these tests send text");
        *found.entry(text).or_default() += 1;
    }
    found
}

/// The texts from `0` on, so many.
pub(crate) fn numbers(count: usize) -> HashMap<String, usize> {
    (0..count).map(|index| (index.to_string(), 1)).collect()
}

/// A command that waits until [`let_go`].
pub(crate) const WAIT: &str = "receive release report";

/// An engine whose probes wait in their first call, one a shard, with at most ten messages in flight on each.
fn waiting(url: &str, shards: usize, level: DeliveryLevel) -> Engine {
    let mut source = StreamSource::existing("IN", "D");
    source.delivery = level;
    let handler = limited(PROBE, |l| {
        l.receive_wait_max = LONG;
        l.suspended_calls_max = 1;
        l.batch_messages_max = 1;
        l.in_flight_messages_max = 10;
    });
    let engine = start(on(url, handler.nats(NatsSource::Stream(source))).shards(shards));
    until("calls wait", || {
        engine.stats().calls_suspended == shards as u64
    });
    engine
}

/// Ends what waits, again and again until this holds.
pub(crate) fn let_go(client: &Client, engine: &Engine, holds: impl Fn() -> bool) {
    for _ in 0..LOOKS_MAX {
        client.publish([Post::new("release", "")]);
        if holds() {
            return;
        }
        std::thread::park_timeout(LOOK);
    }
    panic!(
        "something is left: {}\n{:?}",
        client.consumer("IN", "D"),
        engine.stats()
    );
}

#[test]
fn a_stream_is_consumed_by_two_shards_each_message_once() {
    let (server, client) = with_input(json!({}));
    store(&client, 20_000, |index| index.to_string());
    let engine = start(on(&server.url(), taking("counter", |_| ())).shards(2));
    consumed(&client, &engine);
    let stats = stopped(&engine);
    assert_eq!(
        of_consumer(&client, "/delivered/consumer_seq"),
        20_000,
        "{stats:?}"
    );
    assert_eq!(of_consumer(&client, "/ack_floor/stream_seq"), 20_000);
    assert_eq!(of_consumer(&client, "/num_redelivered"), 0);
    assert_eq!((stats.received, stats.acked), (20_000, 20_000));
    // Those of a call that a loaded machine held up beyond its slice were called twice.
    assert!(stats.called_messages >= 20_000);
    assert!(stats.calls < 20_000, "they come in batches");
}

#[test]
fn stream_and_consumer_are_made_as_configured_and_found_again() {
    let server = Server::start();
    let client = Client::connect(&server.url());
    let source = |ack_wait| {
        let mut source = StreamSource::existing("IN", "D");
        source.create = Some(CreateConsumer {
            stream: Some(CreateStream {
                subjects: vec!["in.>".into()],
                storage: Some(Storage::Memory),
                ..CreateStream::default()
            }),
            filter_subjects: vec!["in.x".into()],
            ack_wait: Some(ack_wait),
            ..CreateConsumer::default()
        });
        NatsSource::Stream(source)
    };
    let of = |ack_wait| {
        on(
            &server.url(),
            limited("counter", |_| ()).nats(source(ack_wait)),
        )
    };
    let engine = start(of(Duration::from_secs(7)));
    let stream = &client.stream("IN")["config"];
    assert_eq!(
        (&stream["subjects"], &stream["storage"]),
        (&json!(["in.>"]), &json!("memory"))
    );
    let consumer = &client.consumer("IN", "D")["config"];
    assert_eq!(
        (
            &consumer["ack_wait"],
            &consumer["max_deliver"],
            &consumer["ack_policy"]
        ),
        (&json!(7 * SECOND_NANOS), &json!(-1), &json!("explicit"))
    );
    store(&client, 100, |index| index.to_string());
    client.store_all([Post::new("in.y", "not its")]);
    consumed(&client, &engine);
    assert_eq!(stopped(&engine).acked, 100);
    stopped(&start(of(Duration::from_secs(7))));
    let Err(error) = Engine::start(of(Duration::from_secs(8))) else {
        panic!("it differs");
    };
    let error = error.to_string();
    assert!(
        error.contains("it exists and differs from its configuration")
            && error.contains("ack_wait"),
        "{error}"
    );
}

#[test]
fn another_engine_goes_on_where_the_first_stopped() {
    let (server, client) = with_input(json!({}));
    let mut handled = 0;
    for round in 1..=3 {
        store(&client, 500, |index| index.to_string());
        let engine = start(on(&server.url(), taking("counter", |_| ())));
        consumed(&client, &engine);
        let stats = stopped(&engine);
        handled += stats.acked;
        assert_eq!((stats.received, handled), (500, round * 500));
    }
    assert_eq!(of_consumer(&client, "/delivered/consumer_seq"), handled);
}

#[test]
fn at_most_once_is_acked_on_arrival_and_at_least_once_after_the_call() {
    for (level, pending) in [
        (DeliveryLevel::AtMostOnce, 0),
        (DeliveryLevel::AtLeastOnce, 5),
    ] {
        let (server, client) = with_input(json!({}));
        store(&client, 5, |_| WAIT.into());
        let engine = waiting(&server.url(), 1, level);
        client.until("so many wait for an ack", |client| {
            let info = client.consumer("IN", "D");
            (info["num_pending"] == 0 && info["num_ack_pending"] == pending).then_some(())
        });
        assert_eq!(engine.stats().in_flight, 5, "none is handled yet");
        let_go(&client, &engine, || stats(&engine).acked == 5);
        consumed(&client, &engine);
        assert_eq!(of_consumer(&client, "/delivered/consumer_seq"), 5);
        stopped(&engine);
    }
}

#[test]
fn no_more_is_in_flight_than_a_handler_may_have() {
    for shards in [1, 2] {
        let (server, client) = with_input(json!({}));
        store(&client, 100, |index| {
            if index < 10 * shards { WAIT } else { "ok" }.into()
        });
        let engine = waiting(&server.url(), shards, DeliveryLevel::AtLeastOnce);
        let most = 10 * shards as u64;
        let full = |client: &Client| {
            let info = client.consumer("IN", "D");
            info["num_ack_pending"].as_u64() == Some(most)
        };
        client.until("as much as may be", |client| full(client).then_some(()));
        // Whatever is asked of the server now comes after all that the engine has asked.
        client.settle();
        assert!(full(&client) && engine.stats().in_flight == most);
        let_go(&client, &engine, || {
            assert!(engine.stats().in_flight <= most);
            stats(&engine).acked == 100
        });
        consumed(&client, &engine);
        stopped(&engine);
    }
}

#[test]
fn in_flight_stays_in_bounds_while_messages_flow() {
    let (server, client) = with_input(json!({}));
    store(&client, 5_000, |index| index.to_string());
    let engine = start(on(
        &server.url(),
        taking("counter", |l| l.in_flight_messages_max = 10),
    ));
    let mut looks = 0;
    until("all are handled", || {
        let in_flight = engine.stats().in_flight;
        assert!(in_flight <= 10, "{in_flight} are in flight");
        looks += 1;
        stats(&engine).acked == 5_000
    });
    assert!(looks > 1);
    consumed(&client, &engine);
    stopped(&engine);
}

#[test]
fn pulls_of_a_lost_connection_bring_nothing_beyond_the_bound() {
    let (server, client) = with_input(json!({ "ack_wait": SECOND_NANOS }));
    let proxy = Proxy::to(server.address());
    let engine = start(on(
        &server.url_of(proxy.address()),
        taking("counter", |l| l.in_flight_messages_max = 10),
    ));
    for round in 1..=5 {
        // Ten are asked for each time, and none is there yet.
        client.until("a pull that waits", |client| {
            (client.consumer("IN", "D")["num_waiting"].as_u64() >= Some(1)).then_some(())
        });
        let connects = engine.stats().connects;
        proxy.cut();
        until("it is connected again", || {
            engine.stats().connects > connects
        });
        store(&client, 100, |index| index.to_string());
        until("all are handled", || {
            assert!(engine.stats().in_flight <= 10);
            stats(&engine).acked >= round * 100
        });
    }
    consumed(&client, &engine);
    stopped(&engine);
}

/// Outputs of `echo`, whose stream refuses them: it is full.
const FULL: &str = "a full stream";

#[test]
fn no_input_is_acked_while_the_output_stream_is_full_or_deleted() {
    let (server, client) = with_input(json!({}));
    client.create_stream(
        "OUT",
        &["echo.out"],
        json!({ "max_msgs": 1, "discard": "new" }),
    );
    client.store_all([Post::new("echo.out", FULL)]);
    store(&client, 20, |index| index.to_string());
    let mut terms = client.subscribe("$JS.EVENT.ADVISORY.CONSUMER.MSG_TERMINATED.>");
    let engine = start(on(&server.url(), taking("echo", |_| ())));
    let refused = |more: u64| {
        let before = stats(&engine).unsent;
        until("sends are not stored", || {
            stats(&engine).unsent >= before + more
        });
        assert_eq!(of_consumer(&client, "/ack_floor/stream_seq"), 0);
        assert_eq!(of_consumer(&client, "/num_ack_pending"), 20);
        let stats = stats(&engine);
        assert_eq!((stats.acked, stats.terminated_total()), (0, 0));
    };
    refused(60);
    assert_eq!(client.stream_messages("OUT"), 1);
    client.delete_stream("OUT");
    refused(60);
    client.create_stream("OUT", &["echo.out"], json!({}));
    consumed(&client, &engine);
    let outputs = payloads(&client, "OUT");
    assert_eq!(outputs.len(), 20);
    assert!(
        numbers(20).keys().all(|text| outputs.contains_key(text)),
        "{outputs:?}"
    );
    assert!(terms.rest().is_empty());
    assert_eq!(stopped(&engine).acked, 20);
}

#[test]
fn what_a_purge_makes_room_for_is_stored_and_acked() {
    let (server, client) = with_input(json!({}));
    client.create_stream(
        "OUT",
        &["echo.out"],
        json!({ "max_msgs": 10, "discard": "new" }),
    );
    store(&client, 10, |index| index.to_string());
    let engine = start(on(
        &server.url(),
        taking("echo", |l| l.batch_messages_max = 1),
    ));
    consumed(&client, &engine);
    assert_eq!(payloads(&client, "OUT"), numbers(10));
    store(&client, 5, |index| format!("later {index}"));
    until("sends are not stored", || stats(&engine).unsent >= 10);
    assert_eq!(of_consumer(&client, "/ack_floor/stream_seq"), 10);
    client.purge_stream("OUT");
    consumed(&client, &engine);
    let outputs = payloads(&client, "OUT");
    assert_eq!(
        outputs
            .keys()
            .filter(|text| text.starts_with("later"))
            .count(),
        5
    );
    stopped(&engine);
}

#[test]
fn a_send_is_confirmed_before_its_input_is_acked() {
    let (server, client) = with_input(json!({}));
    client.create_stream("OUT", &["echo.out"], json!({}));
    let proxy = Proxy::to(server.address());
    let engine = start(on(&server.url_of(proxy.address()), taking("echo", |_| ())));
    // The stream has stored it, and its answer does not reach the engine.
    proxy.at(Point::before(Way::ToClient, "{\"stream\":\"OUT\""));
    store(&client, 1, |index| index.to_string());
    proxy.wait_reached(1);
    assert_eq!(client.stream_messages("OUT"), 1);
    assert_eq!((stats(&engine).acked, engine.stats().unconfirmed), (0, 1));
    assert_eq!(of_consumer(&client, "/num_ack_pending"), 1);
    proxy.pass();
    consumed(&client, &engine);
    assert_eq!(client.stream_messages("OUT"), 1);
    assert_eq!(stopped(&engine).acked, 1);
}

#[test]
fn a_nak_comes_back_after_its_delay_and_counts_as_an_attempt() {
    let (server, client) = with_input(json!({}));
    client.create_stream("DEAD", &["dead"], json!({}));
    let of = |deliveries: u32| {
        let handler = taking(PROBE, |l| {
            l.deliveries_max = deliveries;
            l.retry_delay_first = Duration::from_millis(1);
            l.retry_delay_max = Duration::from_millis(1);
        });
        on(&server.url(), handler.dead_letter("dead"))
    };
    let proxy = Proxy::to(server.address());
    let mut first = of(1_000_000);
    first.nats.as_mut().unwrap().urls =
        ServerUrl::parse_list(&server.url_of(proxy.address())).unwrap();
    proxy.at(Point::after(Way::ToServer, "-NAK {\"delay\":").nth(3));
    let engine = start(first);
    store(&client, 1, |_| "error".into());
    proxy.wait_reached(1);
    proxy.pass();
    until("it has failed five times", || {
        count(&stats(&engine).faults, FaultKind::Guest) >= 5
    });
    let failed = stopped(&engine);
    assert_eq!((failed.acked, failed.terminated_total()), (0, 0));
    // The next engine knows of them: it calls the message once, and gives it up.
    let engine = start(of(5));
    consumed(&client, &engine);
    let last = stopped(&engine);
    assert_eq!((once(&last), last.dead_lettered), (1, 1));
    let letter = client.stored("DEAD", 1).expect("it was stored");
    let attempts = header(Some(&letter.headers), "Millpond-Attempts").unwrap();
    assert!(attempts.parse::<u64>().unwrap() > 5, "{attempts}");
}

#[test]
fn poison_among_good_messages_ends_in_the_dead_letters_once() {
    let (server, client) = with_input(json!({}));
    client.create_stream("DEAD", &["dead"], json!({}));
    let mut terms = client.subscribe("$JS.EVENT.ADVISORY.CONSUMER.MSG_TERMINATED.IN.D");
    let posts = (0..1_000).map(|index| match index % 100 {
        50 => Post::new("in.bad", format!("trap;{index}")).header("Number", &index.to_string()),
        _ => Post::new("in.x", "ok"),
    });
    client.store_all(posts);
    let handler = taking(PROBE, |l| l.deliveries_max = 3).dead_letter("dead");
    let engine = start(on(&server.url(), handler));
    consumed(&client, &engine);
    let stats = stopped(&engine);
    assert_eq!((stats.acked, stats.dead_lettered), (990, 10));
    assert_eq!(stats.terminated, [(FaultKind::Trap, 10)]);
    let mut letters = Vec::new();
    for letter in client.stored_all("DEAD") {
        let text = |name: &str| {
            header(letter.headers.as_ref(), name)
                .unwrap_or_default()
                .to_owned()
        };
        assert_eq!(
            [
                text("Millpond-Reason"),
                text("Millpond-Attempts"),
                text("Millpond-Handler"),
                text("Millpond-Subject")
            ],
            ["trap", "3", PROBE, "in.bad"]
        );
        assert!(
            text("Millpond-Detail").contains("unreachable"),
            "{}",
            text("Millpond-Detail")
        );
        assert_eq!(text("Millpond-Component").len(), 64);
        let [arrived, failed]: [u64; 2] = ["Millpond-Arrived-Unix-Ms", "Millpond-Failed-Unix-Ms"]
            .map(|name| text(name).parse().unwrap());
        assert!(arrived <= failed && arrived > 1_600_000_000_000);
        assert_eq!(
            &letter.payload[..],
            format!("trap;{}", text("Number")).as_bytes()
        );
        letters.push(text("Number").parse::<usize>().unwrap());
    }
    letters.sort_unstable();
    assert_eq!(letters, (0..10).map(|n| n * 100 + 50).collect::<Vec<_>>());
    let terms = terms.collect(10);
    assert!(
        terms
            .iter()
            .all(|term| String::from_utf8_lossy(&term.payload).contains("\"reason\":\"trap\""))
    );
}

#[test]
fn a_poison_message_is_terminated_after_its_letter_is_stored() {
    let (server, client) = with_input(json!({}));
    client.create_stream("DEAD", &["dead"], json!({}));
    let proxy = Proxy::to(server.address());
    let handler = taking(PROBE, |l| l.deliveries_max = 1).dead_letter("dead");
    let engine = start(on(&server.url_of(proxy.address()), handler));
    proxy.at(Point::before(Way::ToClient, "{\"stream\":\"DEAD\""));
    store(&client, 1, |_| "trap".into());
    proxy.wait_reached(1);
    assert_eq!(client.stream_messages("DEAD"), 1);
    assert_eq!(
        (
            stats(&engine).terminated_total(),
            stats(&engine).dead_lettered
        ),
        (0, 0)
    );
    assert_eq!(of_consumer(&client, "/num_ack_pending"), 1);
    proxy.at(Point::after(Way::ToServer, "+TERM trap"));
    proxy.pass();
    proxy.wait_reached(2);
    proxy.pass();
    consumed(&client, &engine);
    assert_eq!(stopped(&engine).dead_lettered, 1);
    assert_eq!(client.stream_messages("DEAD"), 1);
}

#[test]
fn a_letter_is_stored_although_its_message_had_headers_for_another_stream() {
    let (server, client) = with_input(json!({}));
    client.create_stream("DEAD", &["dead"], json!({}));
    client.store_all((0..3).map(|index| {
        Post::new("in.x", "trap")
            .header("Nats-Msg-Id", &format!("id {index}"))
            .header("Nats-Expected-Stream", "IN")
            .header("Own", "kept")
    }));
    // As a letter of another handler for the same message would have it.
    client.store_all([Post::new("dead", "").header("Nats-Msg-Id", "id 1")]);
    let handler = taking(PROBE, |l| l.deliveries_max = 1).dead_letter("dead");
    let engine = start(on(&server.url(), handler));
    consumed(&client, &engine);
    assert_eq!(stopped(&engine).dead_lettered, 3);
    assert_eq!(client.stream_messages("DEAD"), 4);
    let letter = client.stored("DEAD", 2).expect("it was stored");
    assert_eq!(header(Some(&letter.headers), "Own"), Some("kept"));
}

/// Takes messages off the consumer without an ack, and gives them back at once.
fn give_back(client: &Client, count: usize) {
    let mut taken = client.subscribe("taken");
    let asked = json!({ "batch": count, "expires": 30 * SECOND_NANOS }).to_string();
    let inner = client.inner();
    client
        .wait(inner.publish_with_reply("$JS.API.CONSUMER.MSG.NEXT.IN.D", "taken", asked.into()))
        .expect("it is connected");
    let messages = taken.collect(count);
    let naks = messages.into_iter().map(|message| {
        let ack = message.reply.expect("it can be acked");
        Post::new(ack.to_string(), "-NAK")
    });
    client.publish(naks);
    client.settle();
}

#[test]
fn what_was_delivered_before_is_called_alone() {
    let (server, client) = with_input(json!({}));
    store(&client, 30, |_| "ok".into());
    give_back(&client, 10);
    let handler = taking(PROBE, |l| l.linger = Duration::from_millis(200));
    let engine = start(on(&server.url(), handler));
    consumed(&client, &engine);
    let stats = stopped(&engine);
    assert_eq!((stats.acked, stats.called_messages), (30, 30));
    assert!(
        stats.calls >= 11 && stats.calls < 30,
        "{} calls",
        stats.calls
    );
}

#[test]
fn what_was_delivered_before_is_called_before_it_is_given_up_on() {
    let (server, client) = with_input(json!({}));
    client.create_stream("DEAD", &["dead"], json!({}));
    store(&client, 10, |index| {
        if index < 5 { "ok" } else { "trap" }.into()
    });
    // More deliveries than a message may have attempts.
    (0..4).for_each(|_| give_back(&client, 10));
    let handler = taking(PROBE, |l| l.deliveries_max = 3).dead_letter("dead");
    let engine = start(on(&server.url(), handler));
    consumed(&client, &engine);
    let stats = stopped(&engine);
    let calls = once(&stats);
    assert_eq!((calls, stats.acked, stats.dead_lettered), (10, 5, 5));
}

#[test]
fn a_slow_call_tells_the_server_in_time_and_nothing_comes_again() {
    let (server, client) = with_input(json!({ "ack_wait": SECOND_NANOS }));
    let proxy = Proxy::to(server.address());
    // One call with three messages: each of them waits longer than the ack wait.
    store(&client, 3, |_| "sleep 500".into());
    proxy.at(Point::after(Way::ToServer, "+WPI").nth(6));
    let handler = taking("sleeper", |l| l.linger = Duration::from_millis(50));
    let engine = start(on(&server.url_of(proxy.address()), handler));
    proxy.wait_reached(1);
    assert_eq!(stats(&engine).acked, 0, "still in the call");
    proxy.pass();
    consumed(&client, &engine);
    assert_eq!(of_consumer(&client, "/delivered/consumer_seq"), 3);
    let stats = stopped(&engine);
    assert_eq!((stats.received, stats.acked, once(&stats)), (3, 3, 1));
}

#[test]
fn a_batch_that_is_being_split_is_not_delivered_again() {
    let (server, client) = with_input(json!({ "ack_wait": SECOND_NANOS }));
    client.create_stream("DEAD", &["dead"], json!({}));
    store(&client, 4, |index| {
        if index < 3 {
            "sleep 250"
        } else {
            "sleep 250;trap"
        }
        .into()
    });
    let handler = taking("sleeper", |l| {
        l.linger = Duration::from_millis(50);
        l.deliveries_max = 1;
        l.split_time_max = LONG;
    });
    let engine = start(on(&server.url(), handler.dead_letter("dead")));
    consumed(&client, &engine);
    assert_eq!(of_consumer(&client, "/delivered/consumer_seq"), 4);
    let stats = stopped(&engine);
    assert_eq!(
        (stats.received, stats.acked, stats.dead_lettered),
        (4, 3, 1)
    );
    assert!(stats.splits > 0);
}

#[test]
fn a_consumer_that_is_deleted_and_made_again_is_gone_on_with() {
    let (server, client) = with_input(json!({}));
    store(&client, 2_000, |index| index.to_string());
    let proxy = Proxy::to(server.address());
    proxy.at(Point::after(Way::ToServer, "+ACK").nth(500));
    let handler = taking("counter", |l| {
        l.in_flight_messages_max = 100;
        l.batch_messages_max = 10;
    });
    let engine = start(on(&server.url_of(proxy.address()), handler));
    proxy.wait_reached(1);
    client.delete_consumer("IN", "D");
    proxy.pass();
    let given_out = stats(&engine).received;
    assert!(given_out < 2_000, "it was deleted under load");
    client.create_consumer("IN", "D", json!({}));
    consumed(&client, &engine);
    assert_eq!(of_consumer(&client, "/ack_floor/stream_seq"), 2_000);
    let stats = stopped(&engine);
    assert!(
        stats.acked >= 2_000 && stats.terminated_total() == 0,
        "{stats:?}"
    );
}

#[test]
fn nothing_is_lost_when_the_server_is_restarted_twenty_times_under_load() {
    let (mut server, client) = with_input(json!({ "ack_wait": SECOND_NANOS }));
    client.create_stream("OUT", &["echo.out"], json!({}));
    let proxy = Proxy::to(server.address());
    let handler = taking("echo", |l| {
        l.in_flight_messages_max = 32;
        l.batch_messages_max = 4;
    });
    let engine = start(on(&server.url_of(proxy.address()), handler));
    for round in 0..20 {
        proxy.at(Point::after(Way::ToServer, "+ACK").nth(20 + round % 7));
        store(&client, 200, |index| {
            (round as usize * 200 + index).to_string()
        });
        proxy.wait_reached(round + 1);
        match round % 2 {
            0 => server.kill(),
            _ => server.stop(),
        }
        proxy.cut();
        server.restart();
        proxy.pass();
        client.until("streams are there", |client| {
            client.api("CONSUMER.INFO.IN.D", &json!({})).ok()
        });
    }
    consumed(&client, &engine);
    let outputs = payloads(&client, "OUT");
    let missing: Vec<_> = numbers(4_000)
        .into_keys()
        .filter(|text| !outputs.contains_key(text))
        .collect();
    assert_eq!((outputs.len(), missing), (4_000, Vec::new()));
    assert!(proxy.accepted() > 20, "it connected every time");
    let stats = stopped(&engine);
    assert_eq!(stats.terminated_total(), 0);
}

#[test]
fn a_server_that_stalls_is_found_out_and_nothing_is_lost() {
    let (server, client) = with_input(json!({ "ack_wait": SECOND_NANOS }));
    client.create_stream("OUT", &["echo.out"], json!({}));
    let proxy = Proxy::to(server.address());
    store(&client, 1_000, |index| index.to_string());
    proxy.at(Point::after(Way::ToServer, "+ACK").nth(100));
    let handler = taking("echo", |l| {
        l.in_flight_messages_max = 32;
        l.batch_messages_max = 4;
    });
    let mut config = on(&server.url_of(proxy.address()), handler);
    config.nats.as_mut().unwrap().silence_max = Duration::from_millis(300);
    let engine = start(config);
    proxy.wait_reached(1);
    // The connection stays open and says nothing: the engine leaves it, and tries another.
    proxy.wait_accepted(proxy.accepted() + 1);
    proxy.pass();
    consumed(&client, &engine);
    let outputs = payloads(&client, "OUT");
    assert!(numbers(1_000).keys().all(|text| outputs.contains_key(text)));
    assert_eq!(stopped(&engine).terminated_total(), 0);
}

#[test]
fn a_connection_that_the_server_finds_stale_is_made_again() {
    let settings = Settings::new()
        .set("ping_interval", json!("100ms"))
        .set("debug", json!(true));
    let server = settings.set("ping_max", json!(1)).start();
    let client = Client::connect(&server.url());
    client.create_stream("IN", &["in.>"], json!({}));
    client.create_consumer("IN", "D", json!({ "ack_wait": SECOND_NANOS }));
    let proxy = Proxy::to(server.address());
    store(&client, 1_000, |index| index.to_string());
    proxy.at(Point::after(Way::ToServer, "+ACK").nth(100));
    let engine = start(on(
        &server.url_of(proxy.address()),
        taking("counter", |l| l.in_flight_messages_max = 32),
    ));
    proxy.wait_reached(1);
    server.wait_for_log("Stale Client Connection");
    let accepted = proxy.accepted();
    proxy.pass();
    proxy.wait_accepted(accepted + 1);
    consumed(&client, &engine);
    let stats = stopped(&engine);
    assert!(stats.acked >= 1_000, "{stats:?}");
}

#[test]
fn a_drain_leaves_nothing_handled_unacked_nor_acked_unhandled() {
    let (server, client) = with_input(json!({}));
    client.create_stream("OUT", &["echo.out"], json!({}));
    store(&client, 5_000, |index| index.to_string());
    let handler = taking("echo", |l| l.in_flight_messages_max = 500);
    let engine = start(on(&server.url(), handler).shards(2));
    until("some are handled", || stats(&engine).acked > 500);
    let stats = stopped(&engine);
    assert_eq!(stats.received, stats.acked);
    assert_eq!(
        client.stream_messages("OUT"),
        stats.acked,
        "each was handled once"
    );
    // What the server had on its way when it was told to stop comes to the next engine, after its ack wait.
    client.until("the acks have arrived", |client| {
        let info = client.consumer("IN", "D");
        let [pending, waits] = ["num_pending", "num_ack_pending"].map(|name| info[name].as_u64());
        (5_000 - pending? - waits? == stats.acked).then_some(())
    });
}

/// The text of the error that a start ends with.
fn refusal(config: EngineConfig) -> String {
    match Engine::start(config) {
        Err(error @ StartError::Nats(_)) => error.to_string(),
        Err(error) => panic!("not of nats: {error}"),
        Ok(_) => panic!("it started"),
    }
}

#[test]
fn streams_and_consumers_that_can_not_be_used_are_one_clear_error_each() {
    let server = Server::start();
    let client = Client::connect(&server.url());
    let of = |stream: &str, durable: &str| {
        let source = NatsSource::Stream(StreamSource::existing(stream, durable));
        limited("counter", |_| ()).nats(source)
    };
    let refused = |handler| refusal(on(&server.url(), handler));
    assert_eq!(
        refused(of("IN", "D")),
        "nats: handler \"counter\", stream \"IN\": there is no such stream: create it, or say how it is to be made (`[handler.create.stream]` of a file, `CreateConsumer::stream`)"
    );
    client.create_stream("IN", &["in.>"], json!({}));
    assert_eq!(
        refused(of("IN", "D")),
        "nats: handler \"counter\", consumer \"D\" of stream \"IN\": there is no such consumer: create it as a durable pull consumer, or say how it is to be made (`[handler.create]` of a file, `StreamSource::create`)"
    );
    client.create_consumer("IN", "PUSH", json!({ "deliver_subject": "to" }));
    assert_eq!(
        refused(of("IN", "PUSH")),
        "nats: handler \"counter\", consumer \"PUSH\" of stream \"IN\": it is of the wrong kind, a push consumer (to \"to\"): shards pull what they have room for; create a pull consumer, one without `deliver_subject`"
    );
    client.create_consumer("IN", "FEW", json!({ "max_deliver": 5 }));
    assert_eq!(
        refused(of("IN", "FEW")),
        "nats: handler \"counter\", consumer \"FEW\" of stream \"IN\": its max_deliver is 5: after as many deliveries the server drops a message with only an advisory, and counts deliveries that failed by no fault of the message; set it to -1: the engine counts failed calls itself (`deliveries_max`) and sends dead letters"
    );
    client.create_consumer("IN", "SHORT", json!({ "ack_wait": SECOND_NANOS / 2 }));
    assert_eq!(
        refused(of("IN", "SHORT")),
        "nats: handler \"counter\", consumer \"SHORT\" of stream \"IN\": its ack wait (or the shortest of its backoff) is 500ms, below 1s: a message would be delivered again while it is being handled; raise it"
    );
    client.create_consumer("IN", "D", json!({}));
    assert_eq!(
        refused(of("IN", "D").dead_letter("dead")),
        "nats: handler \"counter\", dead letters to \"dead\": no stream captures the subject, so a message that is given up on would be lost: create a stream for it, or name a subject that one captures"
    );
    let error = refused(of("IN", "D").dead_letter("in.dead"));
    assert!(
        error.contains("each would come back as a message"),
        "{error}"
    );
    stopped(&start(on(&server.url(), of("IN", "D"))));
}
