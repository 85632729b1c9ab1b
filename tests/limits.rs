//! Each limit at its value and one over, with the effect that it documents; and never a crash of the shard.

use std::time::Duration;

use millpond::{Engine, FaultKind, HandlerConfig, Message, Overflow, Refusal};

use crate::harness::{
    Asked, LONG, PROBE, blocked, config, count, handler, limited, once, release, settled, start,
};

const PAGE: usize = 64 << 10;

fn message(subject: &str, payload: &[u8]) -> Message {
    Message::new(subject, payload).unwrap()
}

#[test]
fn messages_in_flight() {
    let engine = blocked(|l| l.in_flight_messages_max = 10);
    (1..10).for_each(|_| assert_eq!(engine.publish(message("probe", b"ok")).unwrap(), 1));
    let refused = engine.publish(message("probe", b"one over")).unwrap_err();
    assert!(matches!(refused.reason, Refusal::Full(_)));
    assert_eq!(
        refused.message.payload(),
        b"one over",
        "the message comes back"
    );
    assert_eq!(engine.stats().refused, 1);
    release(&engine);
    assert_eq!(settled(&engine).settled(), 10);
}

#[test]
fn bytes_in_flight() {
    let first = message("probe", b"receive release report").bytes() as u64;
    let engine = blocked(|l| l.in_flight_bytes_max = first + 100);
    engine.publish(message("probe", &[b';'; 95])).unwrap();
    assert!(matches!(
        engine.publish(message("probe", b"")).unwrap_err().reason,
        Refusal::Full(_)
    ));
    release(&engine);
    settled(&engine);
    let small = start(config([limited("counter", |l| l.in_flight_bytes_max = 1)]));
    small
        .publish(message("counter", &[0; 1_000]))
        .expect("one message alone is always admitted");
    settled(&small);
}

#[test]
fn messages_in_an_inbox() {
    const INBOX: usize = 50;
    // The shard is in an endless loop on its own stack for a tick at least, so that nothing is taken from its inbox.
    let looping = HandlerConfig::bytes("looping", crate::isolation::component(LOOPER));
    let mut config = config([looping]);
    config.limits.inbox_messages_max = INBOX;
    let second = Duration::from_secs(1);
    (config.limits.tick, config.limits.time_slice) = (second, second);
    config.handlers[0].limits.deadline = second;
    config.handlers[0].limits.deliveries_max = 1;
    config.handlers[0].limits.batch_messages_max = 1;
    let engine = start(config);
    engine.publish(message("loop", b"")).unwrap();
    while engine.stats().received() == 0 {
        std::thread::yield_now();
    }
    for _ in 0..INBOX {
        engine.publish(message("loop", b"")).expect("there is room");
    }
    let refused = engine.publish(message("loop", b"back")).unwrap_err();
    assert_eq!(
        (
            refused.reason.to_string().as_str(),
            refused.message.payload()
        ),
        ("full: the inbox of its shard is full", &b"back"[..])
    );
    engine.stop();
}

#[test]
fn batches_have_the_messages_that_wait_up_to_the_limit() {
    for (messages, calls) in [(16, 2), (17, 3)] {
        let engine = blocked(|l| l.batch_messages_max = 8);
        (0..messages).for_each(|_| {
            engine.publish(message("probe", b"ok")).unwrap();
        });
        release(&engine);
        let handler = &settled(&engine).handlers[0];
        assert_eq!(
            (once(handler), handler.acked),
            (1 + calls, 1 + messages),
            "{messages} messages, at most 8 a call"
        );
    }
}

#[test]
fn bytes_of_a_batch() {
    let each = message("probe", b"ok").bytes();
    for (bytes_max, calls) in [(4 * each, 5), (4 * each - 1, 7)] {
        let engine = blocked(|l| {
            l.batch_messages_max = 100;
            l.batch_bytes_max = bytes_max;
        });
        (0..20).for_each(|_| {
            engine.publish(message("probe", b"ok")).unwrap();
        });
        release(&engine);
        let handler = &settled(&engine).handlers[0];
        assert_eq!(once(handler), 1 + calls, "at most {bytes_max} bytes a call");
    }
}

#[test]
fn memory_of_an_instance() {
    // The probe starts with 19 pages; `grow 1` needs some more than 16.
    let (enough, short) = (40 * PAGE, 30 * PAGE);
    for (max, terminated) in [(enough, 0), (short, 1)] {
        let asked = Asked::new(limited(PROBE, |l| {
            l.memory_bytes_max = max;
            l.deliveries_max = 1;
        }));
        asked.tell("grow 1");
        let stats = asked.end();
        assert_eq!(
            count(&stats.handlers[0].terminated, FaultKind::Memory),
            terminated,
            "limit {max}"
        );
        assert_eq!(stats.handlers[0].terminated_total(), terminated);
    }
}

/// A guest that never returns.
const LOOPER: &str = r#"
(module
  (memory (export "memory") 1)
  (data (i32.const 1024) "\00\00\00\00\10\04\00\00\01\00\00\00\00\00\00\00")
  (data (i32.const 1040) "\20\04\00\00\04\00\00\00")
  (data (i32.const 1056) "loop")
  (func (export "wasi:messaging/messaging-guest#configure") (result i32) (i32.const 1024))
  (global $next (mut i32) (i32.const 4096))
  (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
    (local $at i32)
    (local.set $at (i32.and (i32.add (global.get $next) (i32.const 7)) (i32.const -8)))
    (global.set $next (i32.add (local.get $at) (local.get 3)))
    (local.get $at))
  (func (export "wasi:messaging/messaging-guest#handler") (param i32 i32) (result i32)
    (loop $go (br $go))
    unreachable))"#;

/// A guest that grows its table of 8 elements by as many as its batch has messages, and traps if that is refused.
const TABLE_GROWER: &str = r#"
(module
  (memory (export "memory") 1)
  (table $t 8 funcref)
  (data (i32.const 1024) "\00\00\00\00\10\04\00\00\01\00\00\00\00\00\00\00")
  (data (i32.const 1040) "\20\04\00\00\05\00\00\00")
  (data (i32.const 1056) "table")
  (func (export "wasi:messaging/messaging-guest#configure") (result i32) (i32.const 1024))
  (global $next (mut i32) (i32.const 4096))
  (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
    (local $at i32)
    (local.set $at (i32.and (i32.add (global.get $next) (i32.const 7)) (i32.const -8)))
    (global.set $next (i32.add (local.get $at) (local.get 3)))
    (local.get $at))
  (func (export "wasi:messaging/messaging-guest#handler") (param i32 i32) (result i32)
    (if (i32.eq (table.grow $t (ref.null func) (local.get 1)) (i32.const -1)) (then unreachable))
    (i32.const 2048)))"#;

#[test]
fn elements_of_a_table() {
    for (max, terminated) in [(9, 0), (8, 1)] {
        let mut handler = HandlerConfig::bytes("grower", crate::isolation::component(TABLE_GROWER));
        handler.limits.table_elements_max = max;
        handler.limits.deliveries_max = 1;
        let engine = start(config([handler]));
        engine.publish(message("table", b"")).unwrap();
        let stats = settled(&engine);
        assert_eq!(
            count(&stats.handlers[0].terminated, FaultKind::Memory),
            terminated,
            "limit {max}"
        );
        assert_eq!(stats.handlers[0].acked, 1 - terminated, "limit {max}");
    }
}

#[test]
fn suspended_calls_of_a_shard() {
    let waiting = |name: &str| {
        let path = millpond_tests::guest(PROBE);
        let mut handler = HandlerConfig::file(name, path).grants(millpond::Grants::all());
        handler.limits.batch_messages_max = 1;
        (
            handler.limits.receive_wait_max,
            handler.limits.wall_deadline,
        ) = (LONG, LONG);
        handler
    };
    let mut config = config([waiting("one"), waiting("two").subject("two")]);
    config.limits.suspended_calls_max = 3;
    let engine = start(config);
    for _ in 0..2 {
        // Both handlers hear this one.
        assert_eq!(
            engine
                .publish(message("probe", b"receive release report"))
                .unwrap(),
            2
        );
    }
    while engine.stats().calls_suspended < 3 {
        std::thread::yield_now();
    }
    engine
        .publish(message("two", b"receive release report"))
        .unwrap();
    assert_eq!(
        (engine.stats().calls_suspended, engine.stats().calls()),
        (3, 3),
        "the others wait"
    );
    while engine.stats().settled() < 5 {
        engine.publish(message("release", b"")).unwrap();
        std::thread::yield_now();
    }
    settled(&engine);
}

#[test]
fn handlers_of_an_engine() {
    let handlers =
        |count: usize| (0..count).map(|i| HandlerConfig::bytes(i.to_string(), *b"not a component"));
    let error = |count| {
        Engine::start(config(handlers(count)))
            .unwrap_err()
            .to_string()
    };
    assert!(
        error(millpond::HANDLERS_MAX).contains("does not begin"),
        "as many as there may be are looked at"
    );
    assert!(error(millpond::HANDLERS_MAX + 1).contains("at most 4096"));
}

#[test]
fn sends_of_a_call() {
    // Ten sends to `out` and the report of them.
    for (limit, faults) in [(11, 0), (10, 1)] {
        let asked = Asked::new(limited(PROBE, |l| {
            l.outbox_messages_max = limit;
            l.deliveries_max = 1;
        }));
        let out = asked.engine.subscribe("out", Overflow::Wait).unwrap();
        asked.tell("flood 10 out report");
        if faults == 0 {
            assert_eq!(asked.report(), "sent:10");
        }
        let stats = asked.end();
        assert_eq!(
            count(&stats.handlers[0].terminated, FaultKind::Outbox),
            faults
        );
        let sent = std::iter::from_fn(|| out.try_next()).count();
        assert_eq!(sent, if faults == 0 { 10 } else { 0 }, "all or nothing");
    }
}

#[test]
fn bytes_sent_by_a_call() {
    // Three bytes of subject and one of payload each, and what the report takes.
    let needed = 10 * 4 + "report".len() + "sent:10".len();
    for (limit, faults) in [(needed, 0), (needed - 1, 1)] {
        let asked = Asked::new(limited(PROBE, |l| {
            l.outbox_bytes_max = limit;
            l.deliveries_max = 1;
        }));
        asked.tell("flood 10 out report");
        if faults == 0 {
            assert_eq!(asked.report(), "sent:10");
        }
        assert_eq!(
            count(&asked.end().handlers[0].terminated, FaultKind::Outbox),
            faults
        );
    }
}

#[test]
fn deadlines_of_a_call_that_runs_and_of_one_that_waits() {
    const SHORT: Duration = Duration::from_millis(30);
    for (commands, deadline, wall_deadline) in
        [("loop", SHORT, LONG), ("receive never report", LONG, SHORT)]
    {
        let asked = Asked::new(limited(PROBE, |l| {
            (l.deadline, l.wall_deadline) = (deadline, wall_deadline);
            l.receive_wait_max = LONG;
            l.deliveries_max = 1;
        }));
        asked.tell(commands);
        assert_eq!(asked.ask("count report"), "1", "the shard goes on");
        assert_eq!(
            asked.end().handlers[0].terminated,
            [(FaultKind::Deadline, 1)],
            "{commands}"
        );
    }
}

#[test]
fn suspended_calls_of_a_handler() {
    let asked = Asked::new(limited(PROBE, |l| {
        l.suspended_calls_max = 3;
        l.batch_messages_max = 1;
        l.receive_wait_max = LONG;
    }));
    (0..5).for_each(|_| asked.tell("receive release report"));
    while asked.engine.stats().calls_suspended < 3 {
        std::thread::yield_now();
    }
    assert_eq!(
        once(&asked.engine.stats().handlers[0]),
        3,
        "the fourth waits for one to end"
    );
    while asked.engine.stats().handlers[0].acked < 5 {
        asked.engine.publish(message("release", b"go")).unwrap();
        std::thread::yield_now();
    }
    for _ in 0..5 {
        assert!(asked.report().starts_with("some:go"));
    }
    asked.end();
}

#[test]
fn deliveries_of_a_message() {
    for max in [1, 3] {
        let asked = Asked::new(limited(PROBE, |l| {
            l.deliveries_max = max;
            l.retry_delay_first = Duration::from_millis(1);
        }));
        asked.tell("trap");
        let stats = asked.end();
        let handler = &stats.handlers[0];
        assert_eq!(once(handler), u64::from(max));
        assert_eq!(stats.handlers[0].terminated, [(FaultKind::Trap, 1)]);
    }
}

#[test]
fn messages_in_a_subscription() {
    let mut config = config([handler("counter")]);
    config.limits.subscription_messages_max = 5;
    let engine = start(config);
    let subscription = engine.subscribe("x", Overflow::Drop).unwrap();
    (0..5).for_each(|_| {
        engine.publish(message("x", b"")).unwrap();
    });
    assert_eq!(subscription.dropped(), 0);
    engine.publish(message("x", b"")).unwrap();
    assert_eq!((subscription.dropped(), engine.stats().dropped), (1, 1));
    assert_eq!(std::iter::from_fn(|| subscription.try_next()).count(), 5);
}

#[test]
fn subscriptions_and_requests_at_once() {
    let mut config = config([handler("counter")]);
    (config.limits.subscriptions_max, config.limits.requests_max) = (2, 2);
    let engine = start(config);
    let _held = (
        engine.subscribe("a", Overflow::Drop).unwrap(),
        engine.subscribe("b", Overflow::Drop).unwrap(),
    );
    assert!(matches!(
        engine.subscribe("c", Overflow::Drop).unwrap_err(),
        Refusal::Full(_)
    ));
    let request = || engine.request(&message("counter", b""), LONG);
    let _open = (request().unwrap(), request().unwrap());
    assert!(request().unwrap_err().to_string().starts_with("full"));
    settled_without_refusals(&engine);
}

fn settled_without_refusals(engine: &Engine) {
    assert_eq!(settled(engine).refused, 0);
}

#[test]
fn a_guest_is_told_when_a_handler_has_too_much_in_flight() {
    for (in_flight_max, told) in [
        (2, "ok"),
        (
            1,
            "error:full: a handler of this subject, or its shard, has as much in flight as it may have",
        ),
    ] {
        let sleeper = limited("sleeper", |l| {
            l.in_flight_messages_max = in_flight_max;
            l.suspended_calls_max = 1;
        });
        let asked = Asked::with(config([handler(PROBE), sleeper]));
        let asleep = message("sleeper", b"sleep 3600000");
        assert_eq!(asked.engine.publish(asleep).unwrap(), 1);
        while asked.engine.stats().calls_suspended == 0 {
            std::thread::yield_now();
        }
        assert_eq!(asked.ask("send sleeper x report"), told);
        asked.engine.stop();
    }
}
