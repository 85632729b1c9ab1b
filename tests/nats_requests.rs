//! Contracts 2 and 4 on real servers: from the core and from a stream, and their guests' requests, answered by the reference client.

use std::time::Duration;

use millpond::{EngineConfig, FaultKind, HandlerConfig, Message, Overflow};
use millpond_tests::nats::{Client, Post, Proxy, Server, Settings};
use serde_json::json;

use crate::harness::{LONG, limited, once, settled, start};
use crate::nats_core::{at, core};
use crate::nats_streams::{
    consumed, numbers, of_consumer, on, payloads, store, taking, with_input,
};

const PROBES: [&str; 2] = ["probe-wasmcloud", "probe-incoming"];

fn plain() -> Server {
    Settings::new().without_jetstream().start()
}

fn text(payload: &[u8]) -> &str {
    std::str::from_utf8(payload).expect("these tests send text")
}

/// How a probe asks for one reply.
fn asks(probe: &str, subject: &str, ms: u32) -> String {
    match probe {
        "probe-wasmcloud" => format!("request {subject} hi {ms} report"),
        _ => format!("request {subject} hi {ms} 1 report"),
    }
}

fn probe(name: &str, url: &str) -> EngineConfig {
    at(url, [on_core(name, |_| {})])
}

fn on_core(name: &str, change: impl FnOnce(&mut millpond::HandlerLimits)) -> HandlerConfig {
    let handler = limited(name, |l| {
        l.receive_wait_max = LONG;
        change(l);
    });
    let queue = Some("q".to_owned());
    handler
        .subject("probe")
        .nats(millpond::NatsSource::Core { queue })
}

#[test]
fn a_request_over_the_server_is_answered_by_a_guest_of_each_contract() {
    let server = plain();
    let client = Client::connect(&server.url());
    for name in ["echo-wasmcloud", "echo-incoming"] {
        let engine = start(at(&server.url(), [core(name, Some("q")).subject("ask")]));
        let reply = client.request(Post::new("ask", "hello")).expect("a reply");
        assert_eq!(text(&reply.payload), "hello", "{name}");
        assert_eq!(settled(&engine).settled(), 1);
    }
}

#[test]
fn what_a_stream_has_is_handled_and_acked_by_guests_of_each_contract() {
    for name in PROBES {
        let (server, client) = with_input(json!({}));
        client.create_stream("OUT", &["out.>"], json!({}));
        let engine = start(on(&server.url(), taking(name, |_| {})));
        store(&client, 100, |n| format!("say out.x {n}"));
        consumed(&client, &engine);
        assert_eq!(payloads(&client, "OUT"), numbers(100), "{name}");
        let stats = engine.stats();
        assert_eq!(once(&stats.handlers[0]), 100, "{name}: a message a call");
        engine.stop();
    }
}

#[test]
fn a_stream_has_nobody_who_waits_for_a_reply() {
    let (server, client) = with_input(json!({}));
    let mut reports = client.subscribe("report");
    let engine = start(on(&server.url(), taking("probe-incoming", |_| {})));
    store(&client, 1, |_| "try-reply report".into());
    let report = reports.next_message();
    let report = text(&report.payload);
    assert!(report.contains("nobody asked for a reply"), "{report}");
    consumed(&client, &engine);
}

#[test]
fn what_a_stream_has_may_be_asked_about_and_is_acked_once() {
    for name in PROBES {
        let (server, client) = with_input(json!({}));
        client.create_stream("OUT", &["report"], json!({}));
        let mut questions = client.subscribe("question");
        client.settle();
        let handler = taking(name, |l| l.receive_wait_max = LONG);
        let engine = start(on(&server.url(), handler));
        store(&client, 10, |_| asks(name, "question", 25_000));
        for n in 0..10 {
            let inbox = questions.next_message().reply.expect("it is a request");
            let left = ["/num_pending", "/num_ack_pending"].map(|of| of_consumer(&client, of));
            assert!(
                left[0] + left[1] >= 10 - n,
                "{name}: acked before it was answered"
            );
            client.publish([Post::new(inbox.to_string(), format!("answer-{n}"))]);
        }
        consumed(&client, &engine);
        let told = payloads(&client, "OUT");
        assert_eq!(told.values().sum::<usize>(), 10, "{name}: {told:?}");
        for n in 0..10 {
            let answer = format!("answer-{n}");
            let found = told.keys().filter(|text| text.contains(&answer)).count();
            assert_eq!(found, 1, "{name}: {told:?}");
        }
        let stats = engine.stats().handlers.remove(0);
        assert_eq!((stats.acked, stats.retried), (10, 0), "{name}: {stats:?}");
        assert_eq!(of_consumer(&client, "/num_redelivered"), 0, "{name}");
        engine.stop();
    }
}

#[test]
fn the_reference_client_answers_a_guest() {
    let server = plain();
    let client = Client::connect(&server.url());
    for name in PROBES {
        let engine = start(probe(name, &server.url()));
        let mut questions = client.subscribe("question");
        let mut reports = client.subscribe("report");
        let heard = engine.subscribe("question", Overflow::Wait).unwrap();
        client.settle();
        for round in 0..3 {
            client.publish([Post::new("probe", asks(name, "question", 25_000))]);
            let question = questions.next_message();
            assert_eq!(text(&question.payload), "hi", "{name}");
            // As all that guests send.
            assert_eq!(heard.next(LONG).unwrap().payload(), b"hi");
            let inbox = question.reply.expect("it is a request").to_string();
            // A reply to nobody's question is nobody's.
            let (prefix, token) = inbox.rsplit_once('.').expect("it ends with a token");
            assert_eq!(token.len(), 16, "{inbox}");
            for wrong in ["0000000000000000", "x", "+f"] {
                client.publish([Post::new(format!("{prefix}.{wrong}"), "forged")]);
            }
            client.publish([Post::new(inbox, format!("answer {round}"))]);
            let report = reports.next_message();
            let report = text(&report.payload);
            assert!(
                report.contains(&format!("answer {round}")),
                "{name}: {report}"
            );
        }
        settled(&engine);
    }
}

#[test]
fn several_replies_come_over_the_one_inbox() {
    let server = plain();
    let client = Client::connect(&server.url());
    let engine = start(probe("probe-incoming", &server.url()));
    let mut questions = client.subscribe("question");
    let mut reports = client.subscribe("report");
    client.settle();
    let mut inboxes = Vec::new();
    // The questions wait at once: each gets its own replies.
    for n in 0..4 {
        let command = format!("request question q{n} 25000 3 report");
        client.publish([Post::new("probe", command)]);
        let question = questions.next_message();
        let inbox = question.reply.expect("it is a request").to_string();
        inboxes.push((text(&question.payload).to_owned(), inbox));
    }
    for round in 0..3 {
        for (question, inbox) in &inboxes {
            client.publish([Post::new(inbox.clone(), format!("{question}.{round}"))]);
        }
    }
    let reports = reports.collect(4);
    let mut got: Vec<_> = reports.iter().map(|r| text(&r.payload)).collect();
    got.sort_unstable();
    let expected = [0, 1, 2, 3].map(|n| format!("got:q{n}.0,q{n}.1,q{n}.2"));
    assert_eq!(got, expected);
    let prefixes: std::collections::HashSet<_> = inboxes
        .iter()
        .filter_map(|(_, inbox)| inbox.rsplit_once('.'))
        .map(|(prefix, _)| prefix)
        .collect();
    assert_eq!(prefixes.len(), 1, "one inbox a shard");
    settled(&engine);
}

#[test]
fn the_time_ends_a_request_with_what_has_come() {
    let server = plain();
    let client = Client::connect(&server.url());
    let engine = start(probe("probe-incoming", &server.url()));
    let mut questions = client.subscribe("question");
    let mut reports = client.subscribe("report");
    client.settle();
    for (command, replies, report) in [
        ("request question x 50 - report", 0, "error:Error::Timeout"),
        ("request question x 3000 - report", 2, "got:r,r"),
        ("request question x 3000 5 report", 3, "got:r,r,r"),
    ] {
        client.publish([Post::new("probe", command)]);
        let inbox = questions.next_message().reply.expect("it is a request");
        client.publish((0..replies).map(|_| Post::new(inbox.to_string(), "r")));
        assert_eq!(text(&reports.next_message().payload), report, "{command}");
    }
    settled(&engine);
}

#[test]
fn a_request_without_a_time_waits_for_its_replies_until_its_call_ends() {
    let server = plain();
    let client = Client::connect(&server.url());
    let mut questions = client.subscribe("question");
    let mut reports = client.subscribe("report");
    client.settle();
    let commands = [
        ("request question x - - report", 1, "got:r"),
        ("request question x - 3 report", 3, "got:r,r,r"),
    ];
    let waits = on_core("probe-incoming", |l| l.receive_wait_max = Duration::ZERO);
    let engine = start(at(&server.url(), [waits]));
    for (command, replies, report) in commands {
        client.publish([Post::new("probe", command)]);
        let inbox = questions.next_message().reply.expect("it is a request");
        for _ in 0..replies {
            assert_eq!(engine.stats().calls_suspended, 1, "{command}");
            client.publish([Post::new(inbox.to_string(), "r")]);
        }
        assert_eq!(text(&reports.next_message().payload), report);
    }
    settled(&engine);
    drop(engine);

    let ends = on_core("probe-incoming", |l| {
        (l.receive_wait_max, l.deliveries_max) = (Duration::ZERO, 1);
        l.wall_deadline = Duration::from_millis(100);
    });
    let engine = start(at(&server.url(), [ends]));
    for (command, replies, _) in commands {
        client.publish([Post::new("probe", command)]);
        let inbox = questions.next_message().reply.expect("it is a request");
        client.publish((1..replies).map(|_| Post::new(inbox.to_string(), "too few")));
    }
    let stats = settled(&engine).handlers.remove(0);
    assert_eq!(stats.terminated, [(FaultKind::Deadline, 2)]);
}

#[test]
fn a_server_that_knows_nobody_says_so_at_once() {
    let server = plain();
    let client = Client::connect(&server.url());
    for name in PROBES {
        let engine = start(probe(name, &server.url()));
        let mut reports = client.subscribe("report");
        client.settle();
        client.publish([Post::new("probe", asks(name, "nobody", 25_000))]);
        let report = reports.next_message();
        let report = text(&report.payload);
        assert!(report.contains("nobody listens on"), "{name}: {report}");
        settled(&engine);
    }
}

#[test]
fn handlers_of_one_engine_ask_each_other_through_the_server() {
    let server = plain();
    let client = Client::connect(&server.url());
    for name in PROBES {
        let echo = core(&name.replace("probe", "echo"), Some("q")).subject("ask");
        let engine = start(at(&server.url(), [on_core(name, |_| {}), echo]));
        let mut reports = client.subscribe("report");
        client.settle();
        client.publish([Post::new("probe", asks(name, "ask", 25_000))]);
        let report = reports.next_message();
        let report = text(&report.payload);
        assert!(
            report.contains("hi") && !report.contains("error"),
            "{report}"
        );
        assert_eq!(settled(&engine).settled(), 2);
    }
}

#[test]
fn requests_on_a_shard_at_their_most_and_one_over() {
    let server = plain();
    let client = Client::connect(&server.url());
    let of_handler = |name| at(&server.url(), [on_core(name, |l| l.open_requests_max = 1)]);
    let of_shard = |name| {
        let mut config = probe(name, &server.url());
        config.limits.requests_max = 1;
        config
    };
    for name in PROBES {
        for (config, why) in [
            (of_handler(name), "open_requests_max"),
            (of_shard(name), "too many requests"),
        ] {
            let engine = start(config);
            let mut questions = client.subscribe("question");
            let mut reports = client.subscribe("report");
            client.settle();
            let ask = || client.publish([Post::new("probe", asks(name, "question", 25_000))]);
            ask();
            let first = questions.next_message();
            ask();
            let report = reports.next_message();
            assert!(text(&report.payload).contains(why), "{report:?}");
            let inbox = first.reply.expect("it is a request").to_string();
            client.publish([Post::new(inbox, "yes")]);
            assert!(text(&reports.next_message().payload).contains("yes"));
            ask();
            let inbox = questions.next_message().reply.expect("it is a request");
            client.publish([Post::new(inbox.to_string(), "again")]);
            assert!(text(&reports.next_message().payload).contains("again"));
            settled(&engine);
        }
    }
}

#[test]
fn a_lost_connection_ends_requests_at_once() {
    for name in PROBES {
        let server = plain();
        let proxy = Proxy::to(server.address());
        let engine = start(probe(name, &server.url_of(proxy.address())));
        // In process, since what a call holds is not sent while there is no connection.
        let reports = engine.subscribe("report", Overflow::Wait).unwrap();
        let client = Client::connect(&server.url());
        let mut questions = client.subscribe("question");
        client.settle();
        let report = || {
            let report: Message = reports.next(LONG).expect("a report comes");
            text(report.payload()).to_owned()
        };
        client.publish([Post::new("probe", asks(name, "question", 25_000))]);
        let lost = questions.next_message().reply.expect("it is a request");
        proxy.cut();
        let said = report();
        assert!(said.contains("no connection"), "{name}: {said}");
        // Its message is handled again, as one whose sends could not leave; until there is a connection, to the same end.
        let inbox = questions.next_message().reply.expect("it is a request");
        assert_ne!(inbox, lost);
        client.publish([Post::new(lost.to_string(), "late")]);
        client.publish([Post::new(inbox.to_string(), "answered")]);
        let answered = std::iter::repeat_with(report).find(|said| !said.contains("no connection"));
        assert!(
            answered.is_some_and(|said| said.contains("answered")),
            "{name}"
        );
        settled(&engine);
    }
}
