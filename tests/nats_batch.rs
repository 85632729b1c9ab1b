//! Contract 3 on NATS: the core, and streams at least once. Effectively once is in `nats_once.rs`.

use std::time::{Duration, UNIX_EPOCH};

use millpond::{
    FaultKind, Grants, HandlerConfig, HandlerLimits, NatsSource, ShedReason, StreamSource,
};
use millpond_tests::nats::{Client, Post, header};
use serde_json::json;

use crate::harness::{LONG, count, limited, settled, start, until};
use crate::nats_core::{ask, at, on_core, plain};
use crate::nats_streams::{consumed, numbers, on, payloads, stopped, store, taking, with_input};

/// Messages of a run.
const MESSAGES: usize = 2_000;

#[test]
fn questions_over_the_server_are_answered_once_each() {
    let server = plain();
    let handler = limited("batch-echo", |_| {}).subject("echo");
    let engine = start(at(&server.url(), [on_core(handler, Some("q"))]));
    ask(server.address(), |_| "echo".into(), 50_000);
    let stats = settled(&engine);
    assert_eq!(
        (stats.handlers[0].acked, &*stats.handlers[0].faults),
        (50_000, &[][..])
    );
}

#[test]
fn what_comes_together_is_handled_as_if_each_had_come_alone() {
    const POISON: usize = 137;
    let server = plain();
    let handler = limited("batch-probe", |l| l.deliveries_max = 1).subject("probe.*");
    let engine = start(at(&server.url(), [on_core(handler, Some("q"))]));
    let client = Client::connect(&server.url());
    let mut out = client.subscribe("out");
    client.publish((0..300).map(|n| match n {
        POISON => Post::new("probe.poison", "send out never;trap"),
        n => Post::new(format!("probe.{}", n % 7), format!("send out {n}")),
    }));
    until("all is settled", || engine.stats().settled() == 300);
    let stats = settled(&engine);
    assert_eq!((stats.handlers[0].acked, stats.settled()), (299, 300));
    let sent = (0..299).map(|_| String::from_utf8(out.next_message().payload.to_vec()).unwrap());
    let mut sent: Vec<usize> = sent.map(|text| text.parse().unwrap()).collect();
    sent.sort_unstable();
    let all: Vec<_> = (0..300).filter(|n| *n != POISON).collect();
    assert_eq!(sent, all);
    assert!(out.rest().is_empty());
}

#[test]
fn what_is_above_the_room_of_a_handler_that_takes_packs_is_shed_and_counted() {
    let server = plain();
    let handler = limited("batch-probe", |l| {
        l.in_flight_messages_max = 4;
        l.deliveries_max = 2;
        l.retry_delay_first = LONG;
        l.retry_delay_max = LONG;
    });
    let engine = start(at(
        &server.url(),
        [on_core(handler.subject("probe"), Some("q"))],
    ));
    let client = Client::connect(&server.url());
    // Each fails, and keeps its room until it is called again.
    client.publish((0..10).map(|_| Post::new("probe", "trap")));
    until("all have come", || engine.stats().received() == 10);
    let stats = engine.stats();
    assert_eq!(stats.in_flight, 4);
    assert_eq!(stats.handlers[0].shed, [(ShedReason::Full, 6)]);
    engine.stop();
}

#[test]
fn small_messages_behind_one_that_finds_no_room_are_not_shed_with_it() {
    let server = plain();
    let handler = limited("batch-probe", |l| {
        l.in_flight_bytes_max = 10_000;
        l.deliveries_max = 2;
        l.retry_delay_first = LONG;
        l.retry_delay_max = LONG;
    });
    let engine = start(at(
        &server.url(),
        [on_core(handler.subject("probe"), Some("q"))],
    ));
    let client = Client::connect(&server.url());
    let large = format!("trap;{}", " ".repeat(9_000));
    client
        .publish([&large, &large, "trap", "trap"].map(|text| Post::new("probe", text.to_owned())));
    until("all have come", || engine.stats().received() == 4);
    let stats = engine.stats();
    assert_eq!(stats.in_flight, 3);
    assert_eq!(stats.handlers[0].shed, [(ShedReason::Full, 1)]);
    engine.stop();
}

#[test]
fn messages_for_two_handlers_in_turn_come_to_their_own_and_a_drain_sends_all_answers() {
    let server = plain();
    let handlers = [0, 1].map(|n| {
        let handler = HandlerConfig::file(format!("echo-{n}"), millpond_tests::guest("batch-echo"));
        let handler = handler.subject(format!("in.{n}")).grants(Grants::all());
        on_core(handler, Some("q"))
    });
    let engine = start(at(&server.url(), handlers));
    let client = Client::connect(&server.url());
    let mut out = client.subscribe("echo.out");
    client.publish((0..MESSAGES).map(|n| Post::new(format!("in.{}", n % 2), n.to_string())));
    until("all have come", || {
        engine.stats().received() == MESSAGES as u64
    });
    engine.drain(LONG).unwrap();
    let stats = engine.stats();
    assert_eq!([0, 1].map(|n| stats.handlers[n].acked), [1_000; 2]);
    let texts = out.collect(MESSAGES);
    let mut sent: Vec<usize> = texts
        .iter()
        .map(|m| String::from_utf8_lossy(&m.payload).parse().unwrap())
        .collect();
    sent.sort_unstable();
    assert!(sent.into_iter().eq(0..MESSAGES));
    assert!(out.rest().is_empty());
}

#[test]
fn headers_come_to_a_guest_and_from_it() {
    let server = plain();
    let handler = limited("batch-probe", |_| {}).subject("probe");
    let engine = start(at(&server.url(), [on_core(handler, None)]));
    let client = Client::connect(&server.url());
    let mut said = ["report", "out"].map(|subject| client.subscribe(subject));
    client.publish([Post::new("probe", "see;pass out")
        .header("Name", "one")
        .header("Name", "with spaces")]);
    let [report, out] = said.each_mut().map(|s| s.next_message());
    assert_eq!(
        &report.payload[..],
        b"probe None Name=one,Name=with spaces 0"
    );
    let headers = out.headers.as_ref().expect("it has headers");
    let names: Vec<_> = headers.get_all("Name").map(|v| v.as_str()).collect();
    assert_eq!(names, ["one", "with spaces"]);
    settled(&engine);
}

#[test]
fn what_a_stream_gives_is_echoed_into_another_and_nobody_sees_its_ack_subject() {
    let (server, client) = with_input(json!({}));
    client.create_stream("OUT", &["echo.out"], json!({}));
    store(&client, MESSAGES, |index| index.to_string());
    // Would it see the ack subject, it would answer there.
    let engine = start(on(&server.url(), taking("batch-echo", |_| {})));
    consumed(&client, &engine);
    assert_eq!(payloads(&client, "OUT"), numbers(MESSAGES));
    let stats = stopped(&engine);
    assert_eq!((stats.acked, &*stats.faults), (MESSAGES as u64, &[][..]));
    assert!(
        stats.calls < stats.acked,
        "calls have several messages each: {stats:?}"
    );
}

#[test]
fn a_send_that_a_stream_refuses_is_the_fault_of_its_message_alone() {
    let (server, client) = with_input(json!({}));
    client.create_stream("OUT", &["out.>"], json!({ "max_msg_size": 200 }));
    client.create_stream("DEAD", &["dead"], json!({}));
    let large = "x".repeat(500);
    store(&client, 64, |index| match index % 16 {
        5 => format!("send out.x {large}"),
        _ => format!("send out.x {index}"),
    });
    let handler = taking("batch-probe", |l| l.deliveries_max = 2);
    let engine = start(on(&server.url(), handler.dead_letter("dead")));
    consumed(&client, &engine);
    // No other was called again: there is one copy of what each sent.
    let out = payloads(&client, "OUT");
    assert_eq!(
        (out.len(), out.values().copied().max()),
        (60, Some(1)),
        "{out:?}"
    );
    let letters = client.stored_all("DEAD");
    assert_eq!(letters.len(), 4);
    for letter in letters {
        assert_eq!(
            header(letter.headers.as_ref(), "Millpond-Reason"),
            Some("refused")
        );
    }
    let stats = stopped(&engine);
    assert_eq!(
        (stats.acked, stats.splits, stats.retried),
        (60, 0, 4),
        "{stats:?}"
    );
    assert_eq!(count(&stats.terminated, FaultKind::Refused), 4);
}

#[test]
fn messages_of_a_stream_come_again_or_end_as_the_guest_says() {
    let (server, client) = with_input(json!({}));
    client.create_stream("OUT", &["report"], json!({}));
    client.create_stream("DEAD", &["dead"], json!({}));
    store(&client, 4, |index| {
        ["send report ok", "nak 1", "term", "trap-at 1;see"][index].to_owned()
    });
    let handler = taking("batch-probe", |l| {
        l.deliveries_max = 3;
        l.retry_delay_first = Duration::from_millis(1);
    });
    let engine = start(on(&server.url(), handler.dead_letter("dead")));
    consumed(&client, &engine);
    let mut said: Vec<_> = payloads(&client, "OUT").into_iter().collect();
    said.sort();
    assert_eq!(said, [("in.x None  1".to_owned(), 1), ("ok".to_owned(), 1)]);
    let reasons = client.stored_all("DEAD").into_iter().map(|letter| {
        let header = |name| header(letter.headers.as_ref(), name).map(str::to_owned);
        (header("Millpond-Reason"), header("Millpond-Attempts"))
    });
    let mut reasons: Vec<_> = reasons.collect();
    reasons.sort();
    let pair = |a: &str, b: &str| (Some(a.to_owned()), Some(b.to_owned()));
    assert_eq!(reasons, [pair("abandoned", "3"), pair("terminated", "1")]);
    stopped(&engine);
}

#[test]
fn a_message_of_a_stream_comes_again_after_the_milliseconds_that_its_guest_says() {
    let (server, client) = with_input(json!({}));
    client.create_stream("DEAD", &["dead"], json!({}));
    let mut dead = client.subscribe("dead");
    store(&client, 1, |_| "nak 300".into());
    // The policy's own delay would be shorter.
    let handler = taking("batch-probe", |l| {
        l.deliveries_max = 3;
        l.retry_delay_first = Duration::from_millis(1);
        l.retry_delay_max = Duration::from_millis(1);
    });
    let begun = UNIX_EPOCH.elapsed().unwrap();
    let engine = start(on(&server.url(), handler.dead_letter("dead")));
    let letter = dead.next_message();
    let took = UNIX_EPOCH.elapsed().unwrap() - begun;
    assert!(took >= Duration::from_millis(600), "{took:?}");
    assert_eq!(
        header(letter.headers.as_ref(), "Millpond-Attempts"),
        Some("3")
    );
    consumed(&client, &engine);
    stopped(&engine);
}

#[test]
fn a_handler_that_names_no_subject_takes_from_a_stream_and_not_from_the_core() {
    let of = |source| {
        let handler = HandlerConfig::file("batch-echo", millpond_tests::guest("batch-echo"));
        handler.limits(HandlerLimits::default()).nats(source)
    };
    let (server, client) = with_input(json!({}));
    let engine = start(on(
        &server.url(),
        of(NatsSource::Stream(StreamSource::existing("IN", "D"))),
    ));
    consumed(&client, &engine);
    stopped(&engine);
    let error = millpond::Engine::start(on(&server.url(), of(NatsSource::Core { queue: None })));
    let error = error.expect_err("nothing would come");
    assert!(
        matches!(&error, millpond::StartError::Config(why) if why.contains("has no subjects")),
        "{error}"
    );
}
