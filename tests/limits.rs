//! Each limit at its value and one over, with the effect that it documents; and never a crash of the shard.

use std::time::Duration;

use millpond::{Engine, FaultKind, Message, Overflow, Refusal};

use crate::harness::{Asked, LONG, PROBE, config, count, handler, limited, settled, start};

const PAGE: usize = 64 << 10;

fn message(subject: &str, payload: &[u8]) -> Message {
    Message::new(subject, payload).unwrap()
}

/// Publishes to a handler whose first call waits, so that what comes after stays in flight.
fn blocked(change: impl FnOnce(&mut millpond::HandlerLimits)) -> Engine {
    let handler = limited(PROBE, |l| {
        l.receive_wait_max = LONG;
        l.deadline = LONG;
        l.suspended_calls_max = 1;
        l.batch_messages_max = 1;
        change(l);
    });
    let engine = start(config([handler]));
    engine
        .publish(message("probe", b"receive release report"))
        .unwrap();
    while engine.stats().calls_suspended == 0 {
        std::thread::yield_now();
    }
    engine
}

fn release(engine: &Engine) {
    while engine.publish(message("release", b"")).unwrap() == 0 {
        std::thread::yield_now();
    }
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
    let handler = limited("counter", |l| l.in_flight_messages_max = 1 << 20);
    let mut config = config([
        handler,
        limited(PROBE, |l| l.deadline = Duration::from_millis(300)),
    ]);
    config.limits.inbox_messages_max = 50;
    let engine = start(config);
    // The shard is in an endless loop on its own stack: nothing is taken from the inbox meanwhile.
    let looping = millpond_tests::guest(PROBE);
    drop(looping);
    engine.publish(message("probe", b"loop")).unwrap();
    let taken = (0..10_000)
        .take_while(|_| engine.publish(message("counter", b"")).is_ok())
        .count();
    assert!(taken >= 49, "{taken} were taken");
    let refused = engine.stats().refused;
    settled(&engine);
    assert!(
        taken == 10_000 || refused == 1,
        "what was not taken was refused"
    );
}

#[test]
fn batches_have_the_messages_that_wait_up_to_the_limit() {
    let engine = blocked(|l| {
        l.batch_messages_max = 8;
        l.batch_bytes_max = 1 << 20;
    });
    (0..33).for_each(|_| {
        engine.publish(message("probe", b"ok")).unwrap();
    });
    release(&engine);
    let stats = settled(&engine);
    let handler = &stats.handlers[0];
    assert!(
        handler.calls > 5,
        "33 messages need 5 calls of 8: {}",
        handler.calls
    );
    assert_eq!(handler.called_messages, 34);
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
        assert_eq!(
            settled(&engine).handlers[0].calls,
            1 + calls,
            "at most {bytes_max} bytes a call"
        );
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

#[test]
fn sends_of_a_call() {
    for (limit, report) in [(11, "sent:10"), (10, "error:9")] {
        let asked = Asked::new(limited(PROBE, |l| {
            l.outbox_messages_max = limit;
            l.deliveries_max = 1;
        }));
        let out = asked.engine.subscribe("out", Overflow::Wait).unwrap();
        let commands = if limit == 11 {
            "flood 10 out report"
        } else {
            "say report error:9;flood 10 out report"
        };
        asked.tell(commands);
        if limit == 11 {
            assert_eq!(asked.report(), report);
        }
        let stats = asked.end();
        let faults = u64::from(limit == 10);
        assert_eq!(
            count(&stats.handlers[0].terminated, FaultKind::Outbox),
            faults
        );
        assert_eq!(
            std::iter::from_fn(|| out.try_next()).count(),
            if faults == 0 { 10 } else { 0 }
        );
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
fn deadline_of_a_call_on_the_stack_and_on_a_fiber() {
    for commands in ["loop", "receive never report"] {
        let asked = Asked::new(limited(PROBE, |l| {
            l.deadline = Duration::from_millis(30);
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
        l.deadline = LONG;
    }));
    (0..5).for_each(|_| asked.tell("receive release report"));
    while asked.engine.stats().calls_suspended < 3 {
        std::thread::yield_now();
    }
    assert_eq!(
        asked.engine.stats().handlers[0].calls,
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
        assert_eq!(stats.handlers[0].calls, u64::from(max));
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
    let counter = limited("counter", |l| l.in_flight_messages_max = 4);
    let asked = Asked::with(config([
        limited(PROBE, |l| l.batch_messages_max = 1),
        counter,
    ]));
    let mut config_full = 0;
    // Each call floods within its outbox; what it may exceed the bound by is that outbox.
    for _ in 0..50 {
        if asked.ask("flood 4 counter report").starts_with("error:") {
            config_full += 1;
        }
    }
    let stats = asked.end();
    assert_eq!(stats.handlers[1].terminated_total(), 0);
    assert_eq!(
        stats.handlers[1].acked, stats.handlers[1].received,
        "{config_full} floods were cut short"
    );
}
