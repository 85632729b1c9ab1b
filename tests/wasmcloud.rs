//! Contract 4: what a guest sees of a message, what becomes of what it publishes and of how it ends. In process, on the core of
//! NATS and on a stream. Its requests are in `requests.rs` and `nats_requests.rs`.

use millpond::{Contract, FaultKind, Grants, HandlerConfig, Message, Overflow};
use millpond_tests::guest;

use crate::harness::{Asked, LONG, count, handler, limited, once, settled};

const PROBE: &str = "probe-wasmcloud";

fn probe() -> Asked {
    Asked::new(handler(PROBE).subject("probe"))
}

#[test]
fn it_is_known_by_what_it_exports() {
    let inspected = millpond::inspect(&HandlerConfig::file("h", guest(PROBE))).unwrap();
    assert_eq!(inspected.contract, Contract::Wasmcloud020);
    assert_eq!(inspected.way, millpond::Way::Fiber, "it asks");
    let echo = millpond::inspect(&HandlerConfig::file("h", guest("echo-wasmcloud"))).unwrap();
    assert_eq!(echo.way, millpond::Way::Direct, "it does not");
}

#[test]
fn a_message_comes_with_subject_body_and_reply_subject() {
    let asked = probe();
    let message = Message::builder("probe").reply_to("r.1").header("k", "v");
    let message = message.payload(b"message report").unwrap();
    asked.engine.publish(message).unwrap();
    assert_eq!(asked.report(), "probe|message report|r.1");
    assert_eq!(asked.ask("message report"), "probe|message report|none");
    asked.end();
}

#[test]
fn what_it_publishes_arrives_and_what_it_may_not_is_an_error() {
    let grants = Grants {
        send: vec!["report".into(), "open.*".into()],
        ..Grants::default()
    };
    let handler = HandlerConfig::file(PROBE, guest(PROBE)).grants(grants);
    let asked = Asked::new(handler.subject("probe"));
    let open = asked.engine.subscribe("open.*", Overflow::Wait).unwrap();
    let message = Message::builder("probe").reply_to("r.1");
    let message = message.payload(b"forward open.a").unwrap();
    asked.engine.publish(message).unwrap();
    let got = open.next(LONG).unwrap();
    assert_eq!(
        (got.payload(), got.reply_to()),
        (&b"forward open.a"[..], Some("r.1"))
    );
    assert_eq!(asked.ask("send open.b x report"), "ok");
    for (command, why) in [
        ("send closed x report", "not granted"),
        ("send a..b x report", "empty token"),
        ("with-reply-to open.a closed report", "not granted"),
        ("with-reply-to open.a open.* report", "wildcards"),
    ] {
        let report = asked.ask(command);
        assert!(
            report.starts_with("error:") && report.contains(why),
            "{command}: {report}"
        );
    }
    asked.end();
}

#[test]
fn a_call_has_one_message_and_an_instance_of_its_own() {
    let asked = probe();
    for _ in 0..100 {
        asked.tell("count report");
    }
    for _ in 0..100 {
        assert_eq!(asked.report(), "1");
    }
    let stats = asked.end();
    assert_eq!(
        (once(&stats.handlers[0]), stats.handlers[0].acked),
        (100, 100)
    );
}

#[test]
fn an_error_is_a_fault_with_its_text_and_nothing_is_sent() {
    let handler = limited(PROBE, |l| l.deliveries_max = 2)
        .subject("probe")
        .dead_letter("dead");
    let asked = Asked::new(handler);
    let dead = asked.engine.subscribe("dead", Overflow::Wait).unwrap();
    asked.tell("say report leaked;error it is bad");
    let letter = dead.next(LONG).unwrap();
    let headers: Vec<_> = letter.headers().map(|(_, value)| value).collect();
    assert!(
        headers.iter().any(|v| v.contains("it is bad")),
        "{headers:?}"
    );
    asked.tell("say report leaked;trap");
    dead.next(LONG).unwrap();
    let stats = asked.end();
    assert_eq!(count(&stats.handlers[0].faults, FaultKind::Guest), 2);
    assert_eq!(count(&stats.handlers[0].faults, FaultKind::Trap), 2);
}

#[test]
fn what_a_call_may_send_at_its_most_and_one_over() {
    let handler = limited(PROBE, |l| {
        (l.outbox_messages_max, l.deliveries_max) = (5, 1);
    });
    let asked = Asked::new(handler.subject("probe"));
    assert_eq!(asked.ask("flood 4 nowhere report"), "sent:4");
    asked.tell("flood 6 nowhere report");
    let stats = settled(&asked.engine);
    assert_eq!(count(&stats.handlers[0].faults, FaultKind::Outbox), 1);
}

#[test]
fn the_embedders_request_is_answered() {
    // The second is made as components for wasmCloud are: it imports WASI.
    for name in ["echo-wasmcloud", "echo-wasmcloud-wasi"] {
        let asked = Asked::new(handler(name).subject("echo"));
        let question = Message::new("echo", b"hello").unwrap();
        let reply = asked.engine.request(&question, LONG).unwrap().wait();
        assert_eq!(reply.unwrap().payload(), b"hello", "{name}");
        asked.end();
    }
}
