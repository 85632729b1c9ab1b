//! Contract 3 in process: what its guests see, what becomes of what they say and send, and nonsense of each kind.

use std::time::{Duration, UNIX_EPOCH};

use millpond::subject::SUBJECT_BYTES_MAX;
use millpond::{
    Contract, EngineConfig, FaultKind, Grants, HEADER_BYTES_MAX, HandlerConfig, HandlerLimits,
    HandlerStats, Message, Overflow, PAYLOAD_BYTES_MAX,
};
use millpond_tests::guest;
use millpond_tests::worlds::{of_world, two_contracts};

use crate::harness::{Asked, LONG, config, count, limited, once, settled, start, until};

const ECHO: &str = "batch-echo";
const PROBE: &str = "batch-probe";
const MS: Duration = Duration::from_millis(1);

/// A handler of this guest on `probe`, with its limits changed.
pub(crate) fn probe(change: impl FnOnce(&mut HandlerLimits)) -> HandlerConfig {
    limited(PROBE, |l| {
        l.retry_delay_first = MS;
        l.deliveries_max = 2;
        change(l);
    })
    .subject("probe")
}

fn asked() -> Asked {
    Asked::new(probe(|_| {}))
}

/// An engine whose shard is busy until the first message of a handler has had its deadline, so that what follows shares a call: of all
/// that, the handler's stats and what was sent.
fn together(
    change: impl FnOnce(&mut HandlerLimits),
    letters: bool,
    commands: &[&str],
) -> (HandlerStats, Vec<(String, String)>) {
    let handler = probe(|l| {
        l.linger = LONG;
        l.batch_messages_max = commands.len();
        change(l);
    });
    let handler = match letters {
        true => handler.dead_letter("dead"),
        false => handler,
    };
    let engine = start(config([handler]));
    let out = engine.subscribe(">", Overflow::Wait).unwrap();
    for command in commands {
        let message = Message::new("probe", command.as_bytes()).unwrap();
        assert!(engine.publish(message).unwrap() >= 1);
    }
    let stats = settled(&engine);
    let sent = std::iter::from_fn(|| out.try_next()).filter(|m| m.subject() != "probe");
    let text = |m: Message| {
        let payload = String::from_utf8_lossy(m.payload()).into_owned();
        (m.subject().to_owned(), payload)
    };
    (stats.handlers[0].clone(), sent.map(text).collect())
}

fn pairs(of: &[(&str, &str)]) -> Vec<(String, String)> {
    let own = |(a, b): &(&str, &str)| ((*a).to_owned(), (*b).to_owned());
    of.iter().map(own).collect()
}

#[test]
fn a_message_is_seen_with_all_its_parts() {
    let asked = asked();
    let message = Message::builder("probe")
        .reply_to("some.reply")
        .header("b", "2")
        .header("a", " 1: x");
    let message = message.payload(b"see").unwrap();
    asked.engine.publish(message).unwrap();
    assert_eq!(asked.report(), r#"probe Some("some.reply") b=2,a= 1: x 0"#);
    assert_eq!(asked.ask("see"), "probe None  0");
    assert_eq!(asked.end().handlers[0].faults, []);
}

#[test]
fn a_send_arrives_with_all_its_parts() {
    let asked = asked();
    let out = asked.engine.subscribe("out", Overflow::Wait).unwrap();
    let message = Message::builder("probe").reply_to("r.1").header("k", "v");
    asked
        .engine
        .publish(message.payload(b"pass out").unwrap())
        .unwrap();
    let got = out.next(LONG).expect("the send arrives");
    assert_eq!(
        (got.payload(), got.reply_to()),
        (&b"pass out"[..], Some("r.1"))
    );
    assert_eq!(got.headers().collect::<Vec<_>>(), [("k", "v")]);
    asked.tell("ask out me text of it");
    let got = out.next(LONG).expect("the send arrives");
    assert_eq!(
        (got.payload(), got.reply_to()),
        (&b"text of it"[..], Some("me"))
    );
    assert_eq!(asked.end().handlers[0].faults, []);
}

#[test]
fn requests_are_answered_though_no_subject_is_granted() {
    for name in [ECHO, PROBE] {
        let handler = HandlerConfig::file(name, guest(name)).subject("s");
        let engine = start(config([handler]));
        let replies: Vec<_> = (0..100)
            .map(|n| {
                let payload = if name == ECHO {
                    format!("{n}")
                } else {
                    format!("reply {n}")
                };
                engine
                    .request(&Message::new("s", payload.as_bytes()).unwrap(), LONG)
                    .unwrap()
            })
            .collect();
        for (n, reply) in replies.into_iter().enumerate() {
            assert_eq!(
                reply.wait().unwrap().payload(),
                n.to_string().as_bytes(),
                "{name}"
            );
        }
        assert_eq!(settled(&engine).handlers[0].faults, [], "{name}");
    }
}

#[test]
fn a_reply_subject_may_be_answered_by_another_message_of_its_call() {
    // Of one call, as with contract 1: what is granted is what a message of the batch asks for.
    let handler = limited(PROBE, |l| {
        (l.linger, l.batch_messages_max, l.deliveries_max) = (LONG, 2, 1)
    });
    let handler = handler.subject("probe").grants(Grants::default());
    let engine = start(config([handler]));
    let out = engine.subscribe("b", Overflow::Wait).unwrap();
    engine
        .publish(Message::new("probe", b"send b x").unwrap())
        .unwrap();
    let other = Message::builder("probe")
        .reply_to("b")
        .payload(b"ack")
        .unwrap();
    engine.publish(other).unwrap();
    assert_eq!(settled(&engine).handlers[0].acked, 2);
    assert_eq!(out.next(LONG).unwrap().payload(), b"x");
}

#[test]
fn messages_share_calls_and_each_is_settled_as_its_guest_says() {
    let commands = [
        "send out a",
        "nak 1;send out b",
        "term;send out c",
        "ack;send out d",
    ];
    let (stats, sent) = together(|l| l.deliveries_max = 3, true, &commands);
    assert_eq!(
        (stats.received, stats.acked, stats.retried),
        (4, 2, 2),
        "{stats:?}"
    );
    assert_eq!(count(&stats.terminated, FaultKind::Abandoned), 1);
    assert_eq!(count(&stats.terminated, FaultKind::Terminated), 1);
    assert_eq!(stats.faults, [], "its calls all succeed");
    let out: Vec<_> = sent.iter().filter(|(s, _)| s == "out").cloned().collect();
    assert_eq!(out, pairs(&[("out", "a"), ("out", "c"), ("out", "d")]));
    let dead: Vec<_> = sent
        .iter()
        .filter(|(s, _)| s == "dead")
        .map(|(_, p)| &**p)
        .collect();
    assert_eq!(dead, ["term;send out c", "nak 1;send out b"]);
}

#[test]
fn a_dead_letter_says_that_the_guest_gave_up() {
    let engine = start(config([probe(|_| {}).dead_letter("dead")]));
    let dead = engine.subscribe("dead", Overflow::Wait).unwrap();
    engine
        .publish(Message::new("probe", b"term").unwrap())
        .unwrap();
    let letter = dead.next(LONG).unwrap();
    let header = |key| {
        letter
            .headers()
            .find(|(k, _)| *k == key)
            .map(|(_, v)| v.to_owned())
    };
    assert_eq!(header("Millpond-Reason").as_deref(), Some("terminated"));
    assert_eq!(header("Millpond-Attempts").as_deref(), Some("1"));
    assert_eq!(
        header("Millpond-Detail").as_deref(),
        Some("the guest gave up on it")
    );
    settled(&engine);
}

#[test]
fn a_message_comes_again_with_its_attempts_and_after_the_delay_that_the_guest_says() {
    // Its policy would wait for longer than the test does.
    let asked = Asked::new(probe(|l| {
        (l.retry_delay_first, l.retry_delay_max) = (4 * LONG, 4 * LONG);
        l.deliveries_max = 3;
    }));
    asked.tell("nak 1;see");
    let stats = settled(&asked.engine);
    assert_eq!((stats.handlers[0].retried, stats.handlers[0].sent), (2, 0));
    let asked = Asked::new(probe(|l| l.deliveries_max = 3));
    asked.tell("trap-at 2;see");
    assert_eq!(asked.report(), "probe None  2");
}

#[test]
fn the_delay_that_a_guest_says_is_one_in_milliseconds() {
    // Another unit, or the policy's own delay, would be either far shorter or longer than the test waits.
    let policy = |l: &mut HandlerLimits| {
        (l.retry_delay_first, l.retry_delay_max, l.deliveries_max) = (4 * LONG, 4 * LONG, 3);
    };
    let engine = start(config([probe(policy).dead_letter("dead")]));
    let dead = engine.subscribe("dead", Overflow::Wait).unwrap();
    let begun = UNIX_EPOCH.elapsed().unwrap();
    engine
        .publish(Message::new("probe", b"nak 300").unwrap())
        .unwrap();
    dead.next(LONG).expect("it is given up on after two delays");
    let took = UNIX_EPOCH.elapsed().unwrap() - begun;
    assert!(took >= 600 * MS, "{took:?}");
    assert_eq!(settled(&engine).handlers[0].retried, 2);
}

#[test]
fn the_longest_delay_that_a_guest_can_say_is_waited_for() {
    let asked = asked();
    asked.tell(&format!("nak {}", (1 << 30) - 1));
    until("it is to come again", || {
        asked.engine.stats().handlers[0].retried == 1
    });
    // Others are handled meanwhile.
    assert_eq!(asked.ask("see"), "probe None  0");
    until("the other is settled", || {
        asked.engine.stats().in_flight == 1
    });
    let stats = asked.engine.stats();
    assert_eq!(
        (stats.handlers[0].acked, &*stats.handlers[0].faults),
        (1, &[][..])
    );
    asked.engine.stop();
}

#[test]
fn errors_and_traps_have_no_effect_and_only_their_message_suffers() {
    for (bad, kind) in [
        ("send out never;trap", FaultKind::Trap),
        ("send out never;error so it is", FaultKind::Guest),
        ("send out never;no-such-thing", FaultKind::Guest),
    ] {
        let (stats, sent) = together(|_| {}, true, &["send out a", bad, "send out b"]);
        assert_eq!(
            (stats.acked, count(&stats.terminated, kind)),
            (2, 1),
            "{bad}"
        );
        let mut out: Vec<_> = sent.iter().filter(|(s, _)| s == "out").collect();
        out.sort();
        assert_eq!(
            out.iter().map(|(_, p)| &**p).collect::<Vec<_>>(),
            ["a", "b"],
            "{bad}"
        );
    }
}

#[test]
fn a_call_that_never_ends_is_ended_on_a_fiber() {
    let (stats, _) = together(|l| l.deadline = 20 * MS, false, &["loop"]);
    assert_eq!(count(&stats.terminated, FaultKind::Deadline), 1);
}

/// Answers of one message's call, and what the fault says of it. Grants: `open` alone.
const NONSENSE: [(&str, &str); 25] = [
    ("lists 0 2 0 0", "2 outcomes for 1 messages"),
    ("lists 0 4294967295", "4294967295 outcomes for 1 messages"),
    ("lists 0 1", "0 of 1 outcomes"),
    ("lists 0 1 3", "the outcome 0x3"),
    ("lists 0 1 4", "the outcome 0x4"),
    ("lists 0 1 6", "the outcome 0x6"),
    ("lists 0 0 0", "a send of 1 numbers"),
    ("lists 0 1 0 0 0 4 0 0", "a send of 5 numbers"),
    ("arena 9 0 1 0 4 0 0 0", "a send for message 1 of 1"),
    ("arena 9 0 0 10 4 0 0 0", "is not in its 9 bytes"),
    ("arena 9 0 0 0 10 0 0 0", "is not in its 9 bytes"),
    ("arena 9 0 0 0 4 0 0 4294967295", "is not in its 9 bytes"),
    (
        "arena 9 0 0 4294967295 4294967295 4294967295 4294967295 4294967295",
        "is not in its 9 bytes",
    ),
    (
        "lists 4 111 112 101 110 0 0 0 4 0 0 0 0 0 4 0 0 0",
        "before the one before ends, at 4",
    ),
    (
        "lists 5 111 112 101 110 0 0 0 0 4 0 0 1 0 4 1 0 0 0",
        "before the one before ends, at 5",
    ),
    ("lists 0 0 0 0 0 0 0 0", "bad subject"),
    ("lists 1 255 0 0 0 1 0 0 0", "not UTF-8"),
    ("lists 3 97 46 46 0 0 0 3 0 0 0", "empty token"),
    ("lists 3 97 46 42 0 0 0 3 0 0 0", "wildcards"),
    ("arena 1025 0 0 0 1025 0 0 0", "longer than 1,024"),
    (
        "lists 6 97 111 112 101 110 107 0 0 1 4 0 1 0",
        "bad headers: the last line",
    ),
    (
        "lists 5 111 112 101 110 255 0 0 0 4 0 1 0",
        "bad headers: they are not UTF-8",
    ),
    (
        "lists 7 111 112 101 110 255 13 10 0 0 0 4 1 0 0",
        "not UTF-8",
    ),
    ("send closed x", "sending to \"closed\" is not granted"),
    ("ask open closed x", "a reply to \"closed\" is not granted"),
];

#[test]
fn nonsense_is_a_fault_of_its_call_with_one_reason() {
    let grants = Grants {
        send: vec!["open".into()],
        ..Grants::default()
    };
    let handler = probe(|l| (l.deliveries_max, l.batch_messages_max) = (1, 1));
    let engine = start(config([handler.grants(grants).dead_letter("dead")]));
    let dead = engine.subscribe("dead", Overflow::Wait).unwrap();
    for (commands, why) in NONSENSE {
        let message = Message::new("probe", commands.as_bytes()).unwrap();
        engine.publish(message).unwrap();
        let letter = dead.next(LONG).unwrap();
        let header = |key| {
            letter
                .headers()
                .find(|(k, _)| *k == key)
                .map(|(_, v)| v.to_owned())
        };
        let detail = header("Millpond-Detail").unwrap();
        assert!(detail.contains(why), "{commands}: {detail}");
        let kind = if detail.contains("granted") || detail.contains("bad subject") {
            "refused"
        } else {
            "host"
        };
        assert_eq!(
            header("Millpond-Reason").as_deref(),
            Some(kind),
            "{commands}: {detail}"
        );
    }
    let stats = settled(&engine);
    assert_eq!((stats.handlers[0].sent, stats.handlers[0].acked), (0, 0));
}

#[test]
fn sends_in_another_order_than_their_messages_are_nonsense() {
    let numbers = "arena 2 0 1 0 1 0 0 0 0 1 1 0 0 0";
    let (stats, sent) = together(|l| l.deliveries_max = 1, false, &[numbers, "send out x"]);
    // Alone, the first names a second message, which there is none of; the other is handled.
    assert_eq!(count(&stats.terminated, FaultKind::Host), 1, "{stats:?}");
    assert_eq!(sent, pairs(&[("out", "x")]));
}

#[test]
fn what_may_lie_between_and_behind_sends_is_left_out() {
    let asked = asked();
    let out = asked.engine.subscribe("open", Overflow::Wait).unwrap();
    // An arena of 5 + 5 + 2 bytes: one, then "open" and 1; a gap, another; two bytes more.
    let arena = "14 255 111 112 101 110 49 255 111 112 101 110 50 255 255";
    asked.tell(&format!("lists {arena} 0 0 1 4 0 0 1 0 7 4 0 0 1"));
    assert_eq!(out.next(LONG).unwrap().payload(), b"1");
    assert_eq!(out.next(LONG).unwrap().payload(), b"2");
    asked.tell("lists 0");
    asked.tell("arena 7");
    asked.tell("lists 0 0");
    asked.tell("lists 0 1 0");
    let stats = asked.end();
    assert_eq!(
        (stats.handlers[0].acked, &*stats.handlers[0].faults),
        (5, &[][..])
    );
}

#[test]
fn of_sends_near_and_far_what_is_heard_comes_and_what_nobody_hears_is_left_out() {
    for gap in [0, 1, 200] {
        let asked = asked();
        let out = asked.engine.subscribe("open", Overflow::Wait).unwrap();
        let (mut arena, mut sends) = (Vec::new(), Vec::new());
        for parts in [
            "gone1", "gone2", "open3", "gone4", "open5", "open6", "gone7",
        ] {
            arena.extend(vec![b'-'; gap]);
            sends.extend([0, arena.len(), 4, 0, 0, 1]);
            arena.extend(parts.bytes());
        }
        let arena: Vec<_> = arena.iter().map(ToString::to_string).collect();
        let index: Vec<_> = [0].iter().chain(&sends).map(ToString::to_string).collect();
        let numbers = [arena.join(" "), index.join(" ")].join(" ");
        asked.tell(&format!("lists {} {numbers}", arena.len()));
        let heard = [(); 3].map(|()| out.next(LONG).unwrap());
        assert_eq!(
            heard.each_ref().map(Message::payload),
            [b"3", b"5", b"6"],
            "{gap}"
        );
        let stats = asked.end();
        assert_eq!((stats.handlers[0].acked, stats.handlers[0].sent), (1, 7));
        assert!(out.try_next().is_none());
    }
}

/// What a handler that may send 2 messages of 40 bytes does with this.
fn bounded(commands: &str) -> Option<FaultKind> {
    let change = |l: &mut HandlerLimits| {
        (l.outbox_messages_max, l.outbox_bytes_max, l.deliveries_max) = (2, 40, 1);
    };
    let (stats, _) = together(change, false, &[commands]);
    stats.terminated.first().map(|(kind, _)| *kind)
}

#[test]
fn sends_at_the_outbox_s_bounds_and_one_over() {
    assert_eq!(bounded("send a 1;send a 2"), None);
    assert_eq!(
        bounded("send a 1;send a 2;send a 3"),
        Some(FaultKind::Outbox)
    );
    assert_eq!(bounded(&format!("send a {}", "x".repeat(39))), None);
    assert_eq!(
        bounded(&format!("send a {}", "x".repeat(40))),
        Some(FaultKind::Outbox)
    );
    assert_eq!(bounded("arena 40 0 0 0 30 0 0 10"), None);
    let over = bounded("arena 41 0 0 0 30 0 0 11");
    assert_eq!(over, Some(FaultKind::Outbox));
    // What is not sent does not count.
    assert_eq!(bounded("arena 4000 0 0 3959 40 0 0 0"), None);
}

#[test]
fn what_is_as_large_as_a_message_may_be_is_sent_and_one_over_is_not() {
    let asked = asked();
    let out = asked.engine.subscribe("out", Overflow::Wait).unwrap();
    let mut commands = b"pass out;".to_vec();
    commands.resize(PAYLOAD_BYTES_MAX, b';');
    let value = "v".repeat(HEADER_BYTES_MAX - "k: \r\n".len());
    let message = Message::builder("probe")
        .header("k", &value)
        .payload(&commands);
    asked.engine.publish(message.unwrap()).unwrap();
    let got = out.next(LONG).expect("the send arrives");
    assert_eq!(got.payload(), commands);
    assert!(got.headers().eq([("k", &*value)]));
    assert_eq!(asked.end().handlers[0].faults, []);
    let over = format!(
        "arena {0} 0 0 0 1 0 0 {1}",
        PAYLOAD_BYTES_MAX + 2,
        PAYLOAD_BYTES_MAX + 1
    );
    let (stats, _) = together(|_| {}, false, &[&over]);
    assert_eq!(count(&stats.terminated, FaultKind::Host), 1);
}

/// What becomes of a message alone with these commands: its fault, and what was sent.
fn ends(commands: &str) -> (Option<FaultKind>, usize) {
    let (stats, sent) = together(|l| l.deliveries_max = 1, false, &[commands]);
    (stats.terminated.first().map(|(kind, _)| *kind), sent.len())
}

#[test]
fn subjects_that_a_guest_sends_and_asks_on_at_their_longest_and_one_over() {
    let [longest, over] = [0, 1].map(|more| "s".repeat(SUBJECT_BYTES_MAX + more));
    assert_eq!(ends(&format!("send {longest} x")), (None, 1));
    assert_eq!(
        ends(&format!("send {over} x")),
        (Some(FaultKind::Refused), 0)
    );
    let asked = asked();
    let out = asked.engine.subscribe("out", Overflow::Wait).unwrap();
    asked.tell(&format!("ask out {longest} x"));
    let got = out.next(LONG).expect("the send arrives");
    assert_eq!(got.reply_to(), Some(&*longest));
    assert_eq!(
        ends(&format!("ask out {over} x")),
        (Some(FaultKind::Refused), 0)
    );
}

#[test]
fn headers_that_a_guest_sends_at_their_most_and_one_over() {
    let with_headers = |bytes: usize| {
        let value = "v".repeat(bytes - "k: \r\n".len());
        // Its subject is `o`.
        let arena = format!("ok: {value}\r\n").into_bytes();
        let numbers: Vec<_> = arena.iter().map(u8::to_string).collect();
        let all = format!("lists {} {} 0", arena.len(), numbers.join(" "));
        ends(&format!("{all} 0 0 1 0 {bytes} 0"))
    };
    assert_eq!(with_headers(HEADER_BYTES_MAX), (None, 1));
    assert_eq!(
        with_headers(HEADER_BYTES_MAX + 1),
        (Some(FaultKind::Host), 0)
    );
}

#[test]
fn an_answer_that_is_more_than_a_host_call_may_carry_is_refused_before_it_is_read() {
    let nine_mebibytes = format!("arena {} 0", 9 << 20);
    let (stats, _) = together(|l| l.outbox_bytes_max = 16 << 20, false, &[&nine_mebibytes]);
    assert_eq!(count(&stats.terminated, FaultKind::Host), 1);
}

#[test]
fn a_thousand_messages_of_a_call_are_echoed_in_order() {
    let handler = limited(ECHO, |l| {
        (l.batch_messages_max, l.linger) = (1_000, LONG);
    });
    let engine = start(config([handler.subject("e")]));
    let out = engine.subscribe("echo.out", Overflow::Wait).unwrap();
    for n in 0..1_000 {
        let message = Message::builder("e")
            .header("n", "x")
            .payload(format!("{n}").as_bytes());
        engine.publish(message.unwrap()).unwrap();
    }
    for n in 0..1_000 {
        assert_eq!(out.next(LONG).unwrap().payload(), n.to_string().as_bytes());
    }
    let stats = settled(&engine);
    assert_eq!(once(&stats.handlers[0]), 1);
}

#[test]
fn every_call_has_an_instance_that_has_seen_nothing() {
    let handler = limited("batch-counter", |l| l.batch_messages_max = 7).subject("c");
    let engine = start(EngineConfig {
        shards: 2,
        ..config([handler])
    });
    for _ in 0..2_000 {
        engine
            .publish(Message::new("c", b"12345678").unwrap())
            .unwrap();
    }
    let stats = settled(&engine);
    assert_eq!(
        (stats.handlers[0].acked, &*stats.handlers[0].faults),
        (2_000, &[][..])
    );
}

/// A component that exports contract 1 and 3: what it acks by the first it traps on by the other.
fn of_both() -> HandlerConfig {
    HandlerConfig::bytes("both", two_contracts())
        .subject("both")
        .limits(HandlerLimits {
            deliveries_max: 1,
            deadline: LONG,
            wall_deadline: LONG,
            ..HandlerLimits::default()
        })
}

#[test]
fn of_two_contracts_the_cheaper_is_called_unless_the_other_is_asked_for() {
    let outcome = |handler: HandlerConfig| {
        let engine = start(config([handler]));
        engine.publish(Message::new("both", b"").unwrap()).unwrap();
        let stats = settled(&engine);
        (
            stats.handlers[0].acked,
            count(&stats.handlers[0].faults, FaultKind::Trap),
        )
    };
    assert_eq!(outcome(of_both()), (0, 1));
    assert_eq!(outcome(of_both().contract(Contract::Batch010)), (0, 1));
    assert_eq!(outcome(of_both().contract(Contract::Messaging2023)), (1, 0));
    let inspection = millpond::inspect(&of_both()).unwrap();
    assert_eq!(inspection.contract, Contract::Batch010);
    assert_eq!(
        inspection.contracts,
        [Contract::Batch010, Contract::Messaging2023]
    );
    let error = millpond::Engine::start(config([of_both().contract(Contract::Messaging010)]));
    let error = error.expect_err("it has not that one").to_string();
    let why = "does not export wasi:messaging/messaging-guest@0.1.0, the contract that was asked for (it exports ";
    assert!(error.contains(why), "{error}");
    for contract in Contract::ALL {
        assert_eq!(Contract::named(contract.interface()), Some(contract));
    }
}

#[test]
fn a_function_of_another_type_than_the_contract_s_is_refused_at_the_start() {
    let module = r#"(module (memory (export "memory") 1)
        (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) i32.const 1024)
        (func (export "millpond:batch/handler@0.1.0#handle") (param i32 i32) (result i32) unreachable))"#;
    let world = "package millpond:batch@0.1.0; world written { export handler; }
        interface handler { handle: func(arena: list<u8>) -> result<list<u8>, string>; }";
    let component = of_world(module, &[], Some(world));
    let handler = HandlerConfig::bytes("other", component).subject("s");
    let error = millpond::Engine::start(config([handler]))
        .expect_err("it is none")
        .to_string();
    assert!(
        error.contains("another type than its contract says"),
        "{error}"
    );
}

/// What the header for C makes of these messages in one call: what is sent to `out`, and the stats.
fn in_c(payloads: &[&str]) -> (HandlerStats, Vec<Message>) {
    let handler = limited("c-batch-words", |l| {
        (l.batch_messages_max, l.linger) = (payloads.len(), LONG);
        (l.deliveries_max, l.retry_delay_first) = (2, MS);
    });
    let engine = start(config([handler.subject("words")]));
    let out = engine.subscribe("out", Overflow::Wait).unwrap();
    for payload in payloads {
        let message = Message::builder("words")
            .reply_to("r")
            .header("k", "v")
            .header("K", " 2");
        let message = message.payload(payload.as_bytes()).unwrap();
        engine.publish(message).unwrap();
    }
    let stats = settled(&engine);
    (
        stats.handlers[0].clone(),
        std::iter::from_fn(|| out.try_next()).collect(),
    )
}

#[test]
fn the_header_for_c_reads_batches_and_writes_answers() {
    let (stats, out) = in_c(&["pass", "names", "nak", "term", "ack", "x"]);
    assert_eq!((stats.acked, stats.retried), (4, 1), "{stats:?}");
    assert_eq!(
        stats.terminated.len(),
        2,
        "abandoned and terminated: {stats:?}"
    );
    assert_eq!(
        (out[0].payload(), out[0].reply_to()),
        (&b"pass"[..], Some("r"))
    );
    assert_eq!(
        out[0].headers().collect::<Vec<_>>(),
        [("k", "v"), ("K", " 2")]
    );
    assert_eq!(out[1].payload(), b"k=v;K= 2;");
    let (stats, _) = in_c(&["error"]);
    assert_eq!(count(&stats.terminated, FaultKind::Guest), 1);
}

#[test]
fn the_header_for_c_writes_headers() {
    let (stats, out) = in_c(&["head"]);
    assert_eq!(stats.acked, 1, "{stats:?}");
    let pairs = [("k", "v"), ("K", " 2"), ("own", "a: b"), ("empty", "")];
    assert_eq!(out[0].headers().collect::<Vec<_>>(), pairs);
    // Of the second the host would see another header, of the third two, so it is the header for C that looks.
    for (bad, kind) in [
        ("bad-name", FaultKind::Host),
        ("colon", FaultKind::Trap),
        ("bad-value", FaultKind::Trap),
    ] {
        let (stats, out) = in_c(&[bad]);
        assert_eq!((stats.acked, out.len()), (0, 0), "{bad}: {stats:?}");
        assert_eq!(count(&stats.terminated, kind), 1, "{bad}: {stats:?}");
    }
}

#[test]
fn the_header_for_c_puts_sends_in_the_order_of_their_messages() {
    let (stats, out) = in_c(&["twice", "x", "twice", "twice"]);
    assert_eq!((stats.acked, &*stats.faults), (4, &[][..]));
    let payloads: Vec<_> = out.iter().map(Message::payload).collect();
    assert_eq!(payloads, [b"a", b"0", b"a", b"2", b"a", b"3"]);
}

/// What two handlers do with the same messages, in turn: what is sent, and what becomes of the messages.
#[test]
fn the_same_handler_of_contract_1_and_3_does_the_same_with_random_batches() {
    use proptest::prelude::*;
    use proptest::test_runner::{Config, TestRunner};
    let guests = [
        ("echo", "echo-1"),
        (ECHO, "echo-3"),
        ("c-batch-echo", "echo-c"),
    ];
    let handlers = guests.map(|(name, subject)| {
        let handler = limited(name, |l| (l.linger, l.batch_messages_max) = (20 * MS, 16));
        let mut handler = handler.subject(subject);
        handler.limits.latency_budget = LONG;
        handler
    });
    // `echo` listens on its own subject too.
    let engine = start(config(handlers));
    let out = engine.subscribe("echo.out", Overflow::Wait).unwrap();
    let replies = engine.subscribe("reply.>", Overflow::Wait).unwrap();
    let message = (
        any::<Option<u8>>(),
        prop::collection::vec(any::<u8>(), 0..200),
        0usize..3,
    );
    let batch = prop::collection::vec(message, 1..16);
    let mut runner = TestRunner::new(Config {
        failure_persistence: None,
        ..Config::with_cases(60)
    });
    let seen = |count: [usize; 2]| {
        let read = |from: &millpond::Subscription, count: usize| -> Vec<_> {
            let next = |_| from.next(LONG).expect("each is answered");
            let text = |m: Message| {
                (
                    m.subject().to_owned(),
                    m.payload().to_vec(),
                    m.headers().count(),
                )
            };
            (0..count).map(next).map(text).collect()
        };
        [read(&out, count[0]), read(&replies, count[1])]
    };
    let result = runner.run(&batch, |messages| {
        let asking = messages
            .iter()
            .filter(|(reply, ..)| reply.is_some())
            .count();
        let mut all = Vec::new();
        for (_, subject) in guests {
            for (reply, payload, headers) in &messages {
                let mut builder = Message::builder(subject);
                if let Some(reply) = reply {
                    builder = builder.reply_to(&format!("reply.{reply}"));
                }
                let builder = (0..*headers).fold(builder, |b, n| b.header("k", &n.to_string()));
                engine.publish(builder.payload(payload).unwrap()).unwrap();
            }
            all.push(seen([messages.len() - asking, asking]));
        }
        prop_assert_eq!(&all[0], &all[1]);
        prop_assert_eq!(&all[0], &all[2]);
        Ok(())
    });
    result.expect("they do the same");
    let stats = settled(&engine);
    let acked: Vec<_> = stats.handlers.iter().map(|h| (h.acked, h.sent)).collect();
    assert!(acked.windows(2).all(|pair| pair[0] == pair[1]), "{acked:?}");
}
