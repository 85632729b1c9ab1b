//! What holds for streams when an output is gone or full, an ack is lost, a consumer is unfit, and messages are large.

use std::time::Duration;

use millpond::{
    CreateConsumer, DeliverFrom, DeliveryLevel, HandlerLimits, NatsSource, ShedReason, Spread,
    StreamSource,
};
use millpond_tests::nats::{Point, Post, Proxy, Way};
use serde_json::json;

use crate::harness::{LONG, PROBE, limited, start, until};
use crate::nats_streams::{
    SECOND_NANOS, WAIT, consumed, let_go, numbers, of_consumer, on, payloads, stats, stopped,
    store, taking, with_input,
};

/// Between two calls of a message that can't be handled yet.
const DELAY: Duration = Duration::from_millis(50);

fn retried(limits: &mut HandlerLimits) {
    limits.retry_delay_first = DELAY;
    limits.deliveries_max = 5;
}

#[test]
fn inputs_wait_for_a_deleted_output_stream_beyond_a_renewal() {
    let (server, client) = with_input(json!({}));
    client.create_stream("OUT", &["echo.out"], json!({}));
    let mut config = on(&server.url(), taking("echo", |_| ()));
    config.nats.as_mut().unwrap().renew_every = Duration::from_millis(20);
    let engine = start(config);
    client.delete_stream("OUT");
    // Each renewal asks anew, once the one before is taken in.
    client.subscribe("$JS.API.STREAM.>").collect(10);
    store(&client, 20, |index| index.to_string());
    until("sends are not stored", || stats(&engine).unsent >= 10);
    assert_eq!(stats(&engine).acked, 0);
    client.create_stream("OUT", &["echo.out"], json!({}));
    consumed(&client, &engine);
    let outputs = payloads(&client, "OUT");
    assert!(numbers(20).keys().all(|text| outputs.contains_key(text)));
    assert_eq!(stopped(&engine).acked, 20);
}

#[test]
fn a_full_output_stream_costs_its_inputs_no_attempt() {
    let (server, client) = with_input(json!({ "ack_wait": SECOND_NANOS }));
    let full = json!({ "max_msgs": 1, "discard": "new" });
    client.create_stream("OUT", &["echo.out"], full);
    client.store_all([Post::new("echo.out", "")]);
    store(&client, 1, |index| index.to_string());
    let engine = start(on(&server.url(), taking("echo", retried)));
    until("it was called again and again", || {
        stats(&engine).unsent >= 25
    });
    assert_eq!(
        of_consumer(&client, "/delivered/consumer_seq"),
        1,
        "it waits in the engine, longer than the ack wait"
    );
    client.delete_stream("OUT");
    client.create_stream("OUT", &["echo.out"], json!({}));
    consumed(&client, &engine);
    let stats = stopped(&engine);
    assert_eq!((stats.acked, stats.terminated_total()), (1, 0));
}

#[test]
fn a_fault_after_many_calls_that_were_no_attempts_is_the_first_attempt() {
    let (server, client) = with_input(json!({}));
    let full = json!({ "max_msgs": 1, "discard": "new" });
    client.create_stream("OUT", &["echo.out"], full);
    client.store_all([Post::new("echo.out", "")]);
    store(&client, 1, |_| "longer than one byte".into());
    let engine = start(on(
        &server.url(),
        taking("echo", |l| {
            retried(l);
            l.retry_delay_max = DELAY;
            l.deliveries_max = 20;
        }),
    ));
    until("it was called again and again", || {
        stats(&engine).unsent >= 25
    });
    client.delete_stream("OUT");
    client.create_stream("OUT", &["echo.out"], json!({ "max_msg_size": 1 }));
    // Only what counts as an attempt is given back to the server.
    until("it failed", || {
        of_consumer(&client, "/delivered/consumer_seq") >= 2
    });
    client.delete_stream("OUT");
    client.create_stream("OUT", &["echo.out"], json!({}));
    consumed(&client, &engine);
    let stats = stopped(&engine);
    assert_eq!((stats.acked, stats.terminated_total()), (1, 0));
}

#[test]
fn an_ordered_subject_goes_on_after_a_failure() {
    let (server, client) = with_input(json!({ "ack_wait": SECOND_NANOS }));
    store(&client, 4, |index| {
        if index == 0 { "error" } else { "ok" }.into()
    });
    let handler = taking(PROBE, |l| {
        retried(l);
        l.deliveries_max = 3;
    });
    let mut config = on(&server.url(), handler);
    config.spread = Spread::Subject;
    let engine = start(config);
    consumed(&client, &engine);
    let stats = stopped(&engine);
    assert_eq!((stats.acked, stats.terminated_total()), (3, 1));
    assert_eq!(of_consumer(&client, "/delivered/consumer_seq"), 4);
}

#[test]
fn an_ordered_subject_keeps_its_order_over_a_full_output_stream() {
    let (server, client) = with_input(json!({}));
    let full = json!({ "max_msgs": 1, "discard": "new" });
    client.create_stream("OUT", &["echo.out"], full);
    client.store_all([Post::new("echo.out", "")]);
    store(&client, 20, |index| format!("{index:02}"));
    let mut config = on(
        &server.url(),
        taking("echo", |l| {
            retried(l);
            l.batch_messages_max = 1;
        }),
    );
    config.spread = Spread::Subject;
    let engine = start(config);
    until("sends are not stored", || stats(&engine).unsent >= 5);
    client.delete_stream("OUT");
    client.create_stream("OUT", &["echo.out"], json!({}));
    consumed(&client, &engine);
    assert_eq!(stopped(&engine).acked, 20);
    let stored = client.stored_all("OUT");
    let texts: Vec<_> = stored.iter().map(|m| m.payload.to_vec()).collect();
    assert!(texts.is_sorted() && texts.len() == 20, "{texts:?}");
}

#[test]
fn a_drain_gives_back_what_waits_for_a_full_output_stream() {
    let (server, client) = with_input(json!({}));
    let full = json!({ "max_msgs": 1, "discard": "new" });
    client.create_stream("OUT", &["echo.out"], full);
    client.store_all([Post::new("echo.out", "")]);
    store(&client, 10, |index| index.to_string());
    let handler = taking("echo", |l| {
        l.retry_delay_first = 100 * LONG;
        l.retry_delay_max = 100 * LONG;
    });
    let engine = start(on(&server.url(), handler));
    until("all wait", || stats(&engine).retried >= 10);
    assert_eq!(stopped(&engine).acked, 0);
    client.delete_stream("OUT");
    client.create_stream("OUT", &["echo.out"], json!({}));
    let engine = start(on(&server.url(), taking("echo", |_| ())));
    consumed(&client, &engine);
    assert_eq!(stopped(&engine).acked, 10);
}

/// A payload's worth of bytes that a probe does not read as commands.
fn padded(text: &str) -> Post {
    Post::new("in.x", text.to_owned()).header("Pad", &"x".repeat(60 << 10))
}

#[test]
fn no_more_bytes_are_in_flight_than_a_handler_may_have() {
    let (server, client) = with_input(json!({}));
    client.store_all((0..60).map(|index| padded(if index == 0 { WAIT } else { "ok" })));
    let handler = taking(PROBE, |l| {
        l.receive_wait_max = LONG;
        l.suspended_calls_max = 1;
        l.batch_messages_max = 1;
        l.in_flight_bytes_max = 400 << 10;
    });
    let engine = start(on(&server.url(), handler));
    until("calls wait", || engine.stats().calls_suspended == 1);
    client.until("some come ahead", |_| {
        (engine.stats().in_flight >= 4).then_some(())
    });
    client.settle();
    // Six fit, and one more that may be larger than the rest of the room.
    assert!(of_consumer(&client, "/num_ack_pending") <= 7);
    let_go(&client, &engine, || {
        assert!(engine.stats().in_flight <= 7);
        stats(&engine).acked == 60
    });
    consumed(&client, &engine);
    stopped(&engine);
}

#[test]
fn messages_that_are_larger_than_all_that_may_be_in_flight_are_handled_one_by_one() {
    let (server, client) = with_input(json!({}));
    client.store_all((0..30).map(|_| padded("ok")));
    let handler = taking("counter", |l| l.in_flight_bytes_max = 10 << 10);
    let engine = start(on(&server.url(), handler));
    until("all are handled", || {
        assert!(engine.stats().in_flight <= 1);
        stats(&engine).acked == 30
    });
    consumed(&client, &engine);
    assert_eq!(of_consumer(&client, "/delivered/consumer_seq"), 30);
    stopped(&engine);
}

fn at_most_once(name: &str) -> millpond::HandlerConfig {
    let mut source = StreamSource::existing("IN", "D");
    source.delivery = DeliveryLevel::AtMostOnce;
    limited(name, |_| ()).nats(NatsSource::Stream(source))
}

#[test]
fn at_most_once_a_message_whose_ack_is_lost_is_called_once() {
    let (server, client) = with_input(json!({ "ack_wait": SECOND_NANOS }));
    let proxy = Proxy::to(server.address());
    let engine = start(on(&server.url_of(proxy.address()), at_most_once("counter")));
    proxy.at(Point::before(Way::ToServer, "+ACK").cut());
    store(&client, 5, |index| index.to_string());
    proxy.wait_reached(1);
    consumed(&client, &engine);
    let stats = stopped(&engine);
    let repeated = stats
        .shed
        .iter()
        .find(|(why, _)| *why == ShedReason::Repeated);
    let repeated = repeated.map_or(0, |(_, count)| *count);
    assert!(repeated >= 1, "{stats:?}");
    let delivered = of_consumer(&client, "/delivered/consumer_seq");
    assert_eq!(stats.called_messages + repeated, stats.received);
    assert!(stats.called_messages <= 5 && delivered > 5, "{stats:?}");
}

#[test]
fn at_most_once_a_guest_sees_no_ack_subject() {
    let (server, client) = with_input(json!({}));
    let mut heard = client.subscribe("echo.out");
    let engine = start(on(&server.url(), at_most_once("echo")));
    store(&client, 5, |index| index.to_string());
    // Echo answers to the reply subject, where it sees one.
    assert_eq!(heard.collect(5).len(), 5);
    consumed(&client, &engine);
    assert_eq!(stopped(&engine).acked, 5);
}

#[test]
fn a_consumer_that_is_made_anew_and_is_unfit_is_not_pulled_from() {
    let (server, client) = with_input(json!({}));
    let engine = start(on(&server.url(), taking("counter", |_| ())));
    client.until("a pull that waits", |client| {
        (client.consumer("IN", "D")["num_waiting"].as_u64() >= Some(1)).then_some(())
    });
    let mut looked_up = client.subscribe("$JS.API.CONSUMER.INFO.IN.D");
    client.delete_consumer("IN", "D");
    client.create_consumer("IN", "D", json!({ "max_deliver": 5 }));
    store(&client, 5, |index| index.to_string());
    looked_up.collect(3);
    assert_eq!(of_consumer(&client, "/delivered/consumer_seq"), 0);
    assert_eq!(of_consumer(&client, "/num_waiting"), 0);
    client.delete_consumer("IN", "D");
    client.create_consumer("IN", "D", json!({}));
    consumed(&client, &engine);
    assert_eq!(stopped(&engine).acked, 5);
}

#[test]
fn a_consumer_that_is_gone_is_not_made_again_by_its_policy() {
    let (server, client) = with_input(json!({}));
    client.delete_consumer("IN", "D");
    let mut source = StreamSource::existing("IN", "D");
    source.create = Some(CreateConsumer {
        deliver: Some(DeliverFrom::New),
        ..CreateConsumer::default()
    });
    let handler = limited("counter", |_| ()).nats(NatsSource::Stream(source));
    let engine = start(on(&server.url(), handler));
    client.until("a pull that waits", |client| {
        (client.consumer("IN", "D")["num_waiting"].as_u64() >= Some(1)).then_some(())
    });
    let mut looked_up = client.subscribe("$JS.API.CONSUMER.INFO.IN.D");
    let mut made = client.subscribe("$JS.API.CONSUMER.CREATE.>");
    client.delete_consumer("IN", "D");
    store(&client, 5, |index| index.to_string());
    looked_up.collect(3);
    assert!(made.rest().is_empty(), "it would leave out what was stored");
    client.create_consumer("IN", "D", json!({}));
    consumed(&client, &engine);
    assert_eq!(stopped(&engine).acked, 5);
}
