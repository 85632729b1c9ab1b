//! Contract 2: messages as resources, what a guest sends and replies, and what it may not do with its resources. In process, on
//! the core of NATS and on a stream. Its requests are in `requests.rs` and `nats_requests.rs`.

use millpond::{Contract, FaultKind, Format, Grants, HandlerConfig, Message, Overflow, Stats};
use millpond_tests::guest;

use crate::harness::{Asked, LONG, count, handler, limited, once, settled};

const PROBE: &str = "probe-incoming";

fn probe() -> Asked {
    Asked::new(handler(PROBE).subject("probe"))
}

#[test]
fn it_is_known_by_what_it_exports_though_the_other_draft_has_its_version() {
    let inspect = |name: &str| millpond::inspect(&HandlerConfig::file("h", guest(name))).unwrap();
    let probe = inspect(PROBE);
    assert_eq!(probe.contract, Contract::Incoming020Draft);
    assert_eq!(probe.way, millpond::Way::Fiber, "it asks");
    assert_eq!(
        inspect("echo-incoming").way,
        millpond::Way::Direct,
        "it does not"
    );
    let other = inspect("probe-0.2.0-draft");
    assert_eq!(other.contract, Contract::Messaging020Draft);
    let producer = "wasi:messaging/producer@0.2.0-draft";
    for inspected in [probe, other] {
        let import = inspected.imports.iter().find(|i| i.name == producer);
        assert!(!import.expect("both have it").granted);
    }
}

#[test]
fn a_guest_sees_what_came() {
    let asked = probe();
    let message = Message::builder("probe")
        .header("b", "2")
        .header("content-type", "text/x")
        .header("b", "3");
    let message = message.payload(b"message report").unwrap();
    asked.engine.publish(message).unwrap();
    assert_eq!(
        asked.report(),
        "probe|text/x|14|b=2,content-type=text/x,b=3"
    );
    assert_eq!(asked.ask("message report"), "probe|none|14|none");
    asked.end();
}

#[test]
fn what_it_changes_is_its_own_and_what_it_copied_is_sent() {
    let asked = probe();
    let message = Message::builder("probe")
        .header("a", "0")
        .header("gone", "1");
    let message = message.header("Content-Type", "x").payload(b"edit report");
    asked.engine.publish(message.unwrap()).unwrap();
    let pairs = "a=second,b=2,Content-Type=text/plain";
    assert_eq!(asked.report(), format!("probe|text/plain|6|{pairs}"));
    let copy = asked.reports().next(LONG).unwrap();
    let came = [("a", "0"), ("gone", "1"), ("Content-Type", "x")];
    assert_eq!(copy.headers().collect::<Vec<_>>(), came);
    assert_eq!(copy.payload(), b"edit report");
    asked.end();
}

#[test]
fn a_message_of_its_own_has_what_it_was_given() {
    let asked = probe();
    asked.tell("metadata report");
    assert_eq!(asked.report(), "none|none|4|none");
    assert_eq!(asked.report(), "none|none|4|k=1,k=2");
    let sent = asked.reports().next(LONG).unwrap();
    let pairs = [("k", "3"), ("Content-Type", "c/d")];
    assert_eq!(sent.headers().collect::<Vec<_>>(), pairs);
    assert_eq!((sent.payload(), sent.reply_to()), (&b"four"[..], None));
    asked.end();
}

#[test]
fn a_message_that_is_sent_on_keeps_all_but_where_replies_go() {
    let asked = Asked::new(handler("echo-incoming").subject("echo"));
    let out = asked.engine.subscribe("echo.out", Overflow::Wait).unwrap();
    let message = Message::builder("echo").reply_to("r.1").header("k", "v");
    let message = message.format(Format::Http).payload(b"hello").unwrap();
    asked.engine.publish(message).unwrap();
    let got = out.next(LONG).unwrap();
    assert_eq!((got.payload(), got.reply_to()), (&b"hello"[..], None));
    assert_eq!(got.headers().collect::<Vec<_>>(), [("k", "v")]);
    assert_eq!(got.format(), Format::Http);
    asked.end();
}

#[test]
fn replies_go_to_who_asked_as_often_as_it_likes_and_need_no_grant() {
    let grants = Grants {
        send: vec!["report".into()],
        ..Grants::default()
    };
    let asked = Asked::new(
        HandlerConfig::file(PROBE, guest(PROBE))
            .grants(grants)
            .subject("probe"),
    );
    let replies = asked.engine.subscribe("secret", Overflow::Wait).unwrap();
    let message = Message::builder("probe").reply_to("secret");
    let message = message.payload(b"reply 3 n;try-reply report").unwrap();
    asked.engine.publish(message).unwrap();
    assert_eq!(asked.report(), "ok");
    for text in ["n0", "n1", "n2", "x"] {
        assert_eq!(replies.next(LONG).unwrap().payload(), text.as_bytes());
    }
    let report = asked.ask("send secret x report");
    assert!(
        report.starts_with("error:Error::PermissionDenied"),
        "{report}"
    );
    asked.end();
}

#[test]
fn a_reply_that_nobody_asked_for_is_an_error() {
    let asked = probe();
    for command in ["try-reply report", "reply-to-new report"] {
        let report = asked.ask(command);
        assert!(
            report.contains("nobody asked for a reply"),
            "{command}: {report}"
        );
    }
    asked.end();
}

#[test]
fn any_granted_name_is_the_one_broker_and_a_closed_client_is_an_error() {
    let asked = probe();
    assert_eq!(asked.ask("connect default report"), "ok");
    assert_eq!(asked.ask("connect some-broker report"), "ok");
    let report = asked.ask("connect other report");
    assert!(
        report.starts_with("error:Error::PermissionDenied"),
        "{report}"
    );
    asked.tell("disconnect report");
    assert_eq!(asked.report(), "before");
    let report = asked.report();
    assert!(
        report.starts_with("error:Error::Connection") && report.contains("disconnected"),
        "{report}"
    );
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
    assert_eq!(
        stats.resources_left, 0,
        "the guest dropped what it was given"
    );
}

/// The letter of a message with these commands: the fault's kind and its text; and the stats after it. Nothing that the call sent
/// has come.
fn given_up(commands: &str) -> (String, Stats) {
    let handler = limited(PROBE, |l| l.deliveries_max = 1).subject("probe");
    let asked = Asked::new(handler.dead_letter("dead"));
    let dead = asked.engine.subscribe("dead", Overflow::Wait).unwrap();
    // It asks for a reply, which is never sent.
    let replies = asked.engine.subscribe("asked", Overflow::Wait).unwrap();
    let message = Message::builder("probe").reply_to("asked");
    let commands = format!("say report leaked;{commands}");
    let message = message.payload(commands.as_bytes()).unwrap();
    asked.engine.publish(message).unwrap();
    let letter = dead.next(LONG).unwrap();
    let detail = letter.headers().find(|(key, _)| key.ends_with("-Detail"));
    let (_, detail) = detail.expect("a letter says why");
    let stats = asked.end();
    assert!(replies.try_next().is_none(), "a reply of a failed call");
    (detail.to_owned(), stats)
}

#[test]
fn each_error_that_a_guest_returns_is_a_fault_with_its_text() {
    for (command, text) in [
        ("error timeout", "timeout"),
        ("error connection lost it", "connection: lost it"),
        ("error denied to me", "permission denied: to me"),
        ("error it is bad", "it is bad"),
    ] {
        let (detail, stats) = given_up(command);
        assert_eq!(detail, text);
        assert_eq!(count(&stats.handlers[0].faults, FaultKind::Guest), 1);
    }
}

#[test]
fn a_resource_that_is_not_the_guests_ends_the_call() {
    for command in [
        "use-dropped",
        "use-sent report",
        "use-foreign 77",
        "use-foreign 4000000000",
        "use-as-client",
        "use-client-dropped",
        "use-options-dropped",
        "use-options-taken",
        "drop-twice",
        "reply-to-dropped",
        "use-replied",
    ] {
        let (detail, stats) = given_up(command);
        let faults = &stats.handlers[0].faults;
        let ended = count(faults, FaultKind::Trap) + count(faults, FaultKind::Host);
        assert_eq!(ended, 1, "{command}: {detail}: {faults:?}");
        assert!(detail.contains("handle"), "{command}: {detail}");
    }
}

#[test]
fn a_handle_that_another_call_has_is_none_of_this_one() {
    let handler = limited(PROBE, |l| l.deliveries_max = 1).subject("probe");
    let asked = Asked::new(handler.dead_letter("dead"));
    let dead = asked.engine.subscribe("dead", Overflow::Wait).unwrap();
    // The first call keeps what it made, and ends well: its number is no longer anybody's.
    let last: u32 = asked.ask("keep 5 report").parse().unwrap();
    assert!(last > 5, "{last}: the message that came has a number too");
    asked.tell(&format!("use-foreign {last}"));
    let letter = dead.next(LONG).unwrap();
    let detail = letter.headers().find(|(key, _)| key.ends_with("-Detail"));
    assert!(
        detail.is_some_and(|(_, why)| why.contains("handle")),
        "{detail:?}"
    );
    // While a call waits, what it holds is not another's either.
    let silent = asked.engine.subscribe("silent", Overflow::Wait).unwrap();
    asked.tell("keep 5 report;request silent hi 25000 1 report");
    let question = silent.next(LONG).unwrap();
    asked.tell(&format!("use-foreign {last}"));
    dead.next(LONG).expect("it is given up on meanwhile");
    let answer = Message::new(question.reply_to().unwrap(), b"yes").unwrap();
    asked.engine.publish(answer).unwrap();
    let mut reports = [asked.report(), asked.report()];
    reports.sort_unstable();
    assert_eq!(reports, [last.to_string(), "got:yes".to_owned()]);
    assert_eq!(asked.end().handlers[0].acked, 2);
}

#[test]
fn resources_at_their_number_and_one_over() {
    // 1,023 in all: the message that came, and of a send a client and a message.
    let asked = probe();
    assert_eq!(asked.ask("hoard 1020 1;say report held"), "held");
    let stats = asked.end();
    assert_eq!(stats.resources_left, 1_020);
    let (detail, _) = given_up("hoard 1021 1;say report held");
    assert!(detail.contains("handle"), "{detail}");
}

#[test]
fn bytes_of_resources_at_their_most_and_one_over() {
    let asked = probe();
    assert_eq!(asked.ask("hoard 15 524288;say report held"), "held");
    assert_eq!(asked.ask("pass 400;say report passed"), "passed");
    asked.end();
    let (detail, stats) = given_up("hoard 17 524288");
    assert!(detail.contains("may hold 8388608"), "{detail}");
    assert_eq!(count(&stats.handlers[0].faults, FaultKind::Host), 1);
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
    let asked = Asked::new(handler("echo-incoming").subject("ask"));
    let question = Message::new("ask", b"hello").unwrap();
    let reply = asked.engine.request(&question, LONG).unwrap().wait();
    assert_eq!(reply.unwrap().payload(), b"hello");
    asked.end();
}
