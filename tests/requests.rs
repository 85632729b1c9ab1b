//! Requests of guests in process, of both contracts that have them: answered by another handler and by the embedder, several replies,
//! the time, nobody there, too many.

use std::time::Duration;

use millpond::{Engine, FaultKind, Grants, HandlerConfig, Message, Overflow, Spread, Subscription};
use millpond_tests::guest;

use crate::harness::{Asked, LONG, config, limited, settled, until};

/// The probe of this contract, and how it asks `subject` for one reply within this time.
type Asker = (&'static str, fn(&str, u32) -> String);

const ASKERS: [Asker; 2] = [
    ("probe-wasmcloud", |subject, ms| {
        format!("request {subject} hi {ms} report")
    }),
    ("probe-incoming", |subject, ms| {
        format!("request {subject} hi {ms} 1 report")
    }),
];

/// A probe whose waits may be long.
fn probe(name: &str) -> HandlerConfig {
    limited(name, |l| l.receive_wait_max = LONG).subject("probe")
}

/// Both contracts' probes, each with an embedder who hears `silent` and an echo that answers `ask`.
fn each(test: impl Fn(&Asked, &Subscription, fn(&str, u32) -> String)) {
    for (name, asks) in ASKERS {
        let echo = name.replace("probe", "echo");
        let asked = Asked::with(config([probe(name), limited(&echo, |_| {}).subject("ask")]));
        let silent = asked.engine.subscribe("silent", Overflow::Wait).unwrap();
        test(&asked, &silent, asks);
        let stats = asked.end();
        assert_eq!(stats.handlers[0].faults, [], "{name}");
    }
}

fn answer(engine: &Engine, question: &Message, text: &str) -> usize {
    let to = question.reply_to().expect("it is a request");
    let reply = Message::new(to, text.as_bytes()).unwrap();
    engine.publish(reply).expect("replies are taken")
}

fn question(silent: &Subscription) -> Message {
    silent.next(LONG).expect("the question comes")
}

#[test]
fn another_handler_answers() {
    each(|asked, _, asks| {
        let report = asked.ask(&asks("ask", 20_000));
        assert!(report.contains("hi"), "{report}");
        assert!(!report.contains("error"), "{report}");
    });
}

#[test]
fn the_embedder_answers_and_is_heard_once_by_who_waits_for_one() {
    each(|asked, silent, asks| {
        asked.tell(&asks("silent", 20_000));
        let question = question(silent);
        assert_eq!(question.payload(), b"hi");
        assert_eq!(answer(&asked.engine, &question, "there"), 1);
        let report = asked.report();
        assert!(report.contains("there"), "{report}");
        assert_eq!(answer(&asked.engine, &question, "late"), 0);
    });
}

#[test]
fn nobody_listens_is_told_at_once_and_no_reply_at_its_time() {
    each(|asked, silent, asks| {
        let report = asked.ask(&asks("nobody", 30_000));
        assert!(report.contains("nobody listens on"), "{report}");
        let report = asked.ask(&asks("silent", 20));
        let timeout = report.contains("no reply within 20ms") || report == "error:Error::Timeout";
        assert!(timeout, "{report}");
        assert_eq!(answer(&asked.engine, &question(silent), "late"), 0);
        let report = asked.ask(&asks("silent", 0));
        assert!(report.starts_with("error:"), "{report}");
    });
}

#[test]
fn what_is_not_granted_is_not_asked() {
    for (name, asks) in ASKERS {
        let grants = Grants {
            send: vec!["report".into(), "open.*".into()],
            ..Grants::default()
        };
        let handler = HandlerConfig::file(name, guest(name));
        let asked = Asked::new(handler.grants(grants).subject("probe"));
        let report = asked.ask(&asks("closed", 100));
        assert!(report.contains("not granted"), "{report}");
        let report = asked.ask(&asks("open.a", 100));
        assert!(report.contains("nobody listens"), "{report}");
        let report = asked.ask(&asks("a..b", 100));
        assert!(report.contains("empty token"), "{report}");
        asked.end();
    }
}

#[test]
fn requests_of_a_handler_at_their_most_and_one_over() {
    for (name, asks) in ASKERS {
        let handler = limited(name, |l| l.open_requests_max = 2).subject("probe");
        let asked = Asked::new(handler);
        let silent = asked.engine.subscribe("silent", Overflow::Wait).unwrap();
        let wait = asks("silent", 25_000);
        asked.tell(&wait);
        asked.tell(&wait);
        let questions = [question(&silent), question(&silent)];
        let report = asked.ask(&wait);
        assert!(report.contains("open_requests_max"), "{report}");
        for question in &questions {
            answer(&asked.engine, question, "yes");
            assert!(asked.report().contains("yes"));
        }
        asked.tell(&wait);
        answer(&asked.engine, &question(&silent), "again");
        assert!(asked.report().contains("again"));
        asked.end();
    }
}

#[test]
fn requests_of_an_engine_at_their_most_and_one_over() {
    for (name, asks) in ASKERS {
        let mut config = config([probe(name)]);
        config.limits.requests_max = 1;
        let asked = Asked::with(config);
        let silent = asked.engine.subscribe("silent", Overflow::Wait).unwrap();
        asked.tell(&asks("silent", 25_000));
        let first = question(&silent);
        let report = asked.ask(&asks("silent", 25_000));
        assert!(report.contains("too many requests"), "{report}");
        answer(&asked.engine, &first, "yes");
        assert!(asked.report().contains("yes"));
        asked.end();
    }
}

#[test]
fn shards_answer_each_other() {
    for (spread, (name, asks)) in [Spread::Any, Spread::Subject].into_iter().zip(ASKERS) {
        let asker = limited(name, |_| {}).subject("probe.*");
        let echo = limited(&name.replace("probe", "echo"), |_| {}).subject("ask.*");
        let mut config = config([asker, echo]).shards(2);
        config.spread = spread;
        let asked = Asked::with(config);
        for n in 0..200 {
            let command = asks(&format!("ask.{n}"), 20_000);
            let message = Message::new(&format!("probe.{n}"), command.as_bytes()).unwrap();
            asked.engine.publish(message).unwrap();
        }
        for _ in 0..200 {
            let report = asked.report();
            assert!(report.contains("hi"), "{name}: {report}");
        }
        assert_eq!(asked.end().settled(), 400);
    }
}

#[test]
fn a_request_goes_out_though_its_call_fails() {
    for (name, asks) in ASKERS {
        let handler = limited(name, |l| l.deliveries_max = 1).subject("probe");
        let asked = Asked::new(handler);
        let silent = asked.engine.subscribe("silent", Overflow::Wait).unwrap();
        asked.tell(&format!("{};error on purpose", asks("silent", 20_000)));
        answer(&asked.engine, &question(&silent), "heard");
        let stats = settled(&asked.engine);
        assert_eq!(stats.handlers[0].terminated_total(), 1, "{name}");
        // The report was held in the outbox, and is discarded with it.
        asked.end();
    }
}

#[test]
fn a_drain_lets_a_call_ask_and_be_answered() {
    for (name, asks) in ASKERS {
        let echo = name.replace("probe", "echo");
        let asked = Asked::with(config([probe(name), limited(&echo, |_| {}).subject("ask")]));
        let silent = asked.engine.subscribe("silent", Overflow::Wait).unwrap();
        asked.tell(&format!("{};{}", asks("silent", 300), asks("ask", 20_000)));
        question(&silent);
        let stats = settled(&asked.engine);
        assert_eq!(stats.settled(), 2, "{name}: {stats:?}");
        assert!(asked.report().starts_with("error:"));
        assert!(asked.report().contains("hi"));
    }
}

/// An engine with the probe of contract 2, and what it asks `silent`.
fn several() -> (Asked, Subscription) {
    let asked = Asked::new(probe("probe-incoming"));
    let silent = asked.engine.subscribe("silent", Overflow::Wait).unwrap();
    (asked, silent)
}

#[test]
fn options_say_how_many_replies_and_how_long() {
    let (asked, silent) = several();
    let replies = |command: &str, replies: &[&str]| {
        asked.tell(command);
        let question = question(&silent);
        let asked_by = question.headers().collect::<Vec<_>>();
        assert_eq!(asked_by, [("asked", "yes")], "its metadata goes along");
        let taken = replies.iter().map(|r| answer(&asked.engine, &question, r));
        let taken: usize = taken.sum();
        (asked.report(), taken)
    };
    // Neither: the first.
    let first = replies("request silent x - - report", &["a"]);
    assert_eq!(first, ("got:a".into(), 1));
    // So many, whatever the time.
    let three = replies("request silent x - 3 report", &["a", "b", "c"]);
    assert_eq!(three, ("got:a,b,c".into(), 3));
    // Both: as many as are expected, long before the time.
    let both = replies("request silent x 25000 2 report", &["a", "b"]);
    assert_eq!(both, ("got:a,b".into(), 2));
    // Both, and fewer came by the time: those.
    let fewer = replies("request silent x 2000 5 report", &["a", "b"]);
    assert_eq!(fewer, ("got:a,b".into(), 2));
    // The time alone: all that came in it.
    let all = replies("request silent x 2000 - report", &["a", "b", "c"]);
    assert_eq!(all, ("got:a,b,c".into(), 3));
    // None in time.
    let none = replies("request silent x 20 - report", &[]);
    assert_eq!(none, ("error:Error::Timeout".into(), 0));
    for (count, good) in [("256", true), ("257", false), ("0", false)] {
        let report = asked.ask(&format!("request nobody x 20 {count} report"));
        assert_eq!(report.contains("it may be 1 to 256"), !good, "{report}");
    }
    asked.end();
}

/// What a request asks for without a time, and how many replies it waits for.
const WITHOUT_A_TIME: [(&str, usize); 2] = [
    ("request silent x - - report", 1),
    ("request silent x - 3 report", 3),
];

#[test]
fn a_request_without_a_time_ended_when_one_to_receive_would() {
    let handler = limited("probe-incoming", |l| l.receive_wait_max = Duration::ZERO);
    let asked = Asked::new(handler.subject("probe"));
    let silent = asked.engine.subscribe("silent", Overflow::Wait).unwrap();
    for (command, replies) in WITHOUT_A_TIME {
        asked.tell(command);
        let question = question(&silent);
        let all = ["a", "b", "c"][..replies].iter();
        for reply in all.clone() {
            assert_eq!(asked.engine.stats().calls_suspended, 1, "{command}");
            assert_eq!(answer(&asked.engine, &question, reply), 1);
        }
        let all: Vec<_> = all.copied().collect();
        assert_eq!(asked.report(), format!("got:{}", all.join(",")));
    }
    asked.end();
}

#[test]
fn a_request_without_a_time_that_gets_too_few_replies_ends_with_its_call() {
    let handler = limited("probe-incoming", |l| {
        (l.receive_wait_max, l.deliveries_max) = (Duration::ZERO, 1);
        l.wall_deadline = Duration::from_millis(100);
    });
    let asked = Asked::new(handler.subject("probe"));
    let silent = asked.engine.subscribe("silent", Overflow::Wait).unwrap();
    for (command, replies) in WITHOUT_A_TIME {
        asked.tell(command);
        let question = question(&silent);
        for _ in 1..replies {
            // Not taken any more if the machine is so busy that the call has ended.
            answer(&asked.engine, &question, "too few");
        }
        until("its call ends", || asked.engine.stats().in_flight == 0);
    }
    let stats = asked.end();
    assert_eq!(stats.handlers[0].faults, [(FaultKind::Deadline, 2)]);
    assert_eq!(stats.handlers[0].terminated, [(FaultKind::Deadline, 2)]);
}

#[test]
fn replies_are_answered_in_turn() {
    let (asked, silent) = several();
    let thanks = asked.engine.subscribe("thanks.to", Overflow::Wait).unwrap();
    asked.tell("converse silent x report");
    let question = question(&silent);
    let reply = Message::builder(question.reply_to().unwrap()).reply_to("thanks.to");
    asked.engine.publish(reply.payload(b"y").unwrap()).unwrap();
    assert_eq!(asked.report(), "ok");
    assert_eq!(thanks.next(LONG).unwrap().payload(), b"thanks");
    asked.end();
}

#[test]
fn a_handler_answers_as_often_as_it_likes() {
    // It needs no grant to answer.
    let answers = HandlerConfig::file("answers", guest("probe-incoming")).subject("ask");
    let asked = Asked::with(config([probe("probe-incoming"), answers]));
    assert_eq!(
        asked.ask("request ask reply_3_n 20000 3 report"),
        "got:n0,n1,n2"
    );
    assert_eq!(
        asked.ask("request ask reply_0 100 - report"),
        "error:Error::Timeout"
    );
    asked.end();
}
