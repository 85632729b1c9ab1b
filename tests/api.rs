//! The embedding API: handles from many threads, synchronous and not; requests, subscriptions, draining and stopping.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;
use std::time::Duration;

use millpond::{DrainError, Engine, Message, Overflow, Refusal, RequestError, Spread};

use crate::harness::{Asked, LONG, PROBE, config, handler, limited, settled, start};

/// Runs a future on this thread: the engine's futures need no runtime.
fn block_on<T>(future: impl Future<Output = T>) -> T {
    struct Unpark(Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(value) => return value,
            Poll::Pending => std::thread::park(),
        }
    }
}

fn message(subject: &str, payload: &[u8]) -> Message {
    Message::new(subject, payload).unwrap()
}

#[test]
fn handles_are_send_and_sync() {
    fn shared<T: Send + Sync + 'static>() {}
    fn sent<T: Send + 'static>() {}
    shared::<Engine>();
    sent::<millpond::Subscription>();
    sent::<millpond::Reply>();
}

#[test]
fn requests_are_answered_to_threads_and_to_tasks() {
    let engine = start(config([handler("echo")]));
    let reply = engine.request(&message("echo", b"thread"), LONG).unwrap();
    assert_eq!(reply.wait().unwrap().payload(), b"thread");
    let reply = block_on(engine.request(&message("echo", b"task"), LONG).unwrap());
    assert_eq!(reply.unwrap().payload(), b"task");
    settled(&engine);
}

#[test]
fn many_threads_get_their_own_replies() {
    let mut config = config([handler("echo")]);
    config.shards = 2;
    let engine = start(config);
    std::thread::scope(|scope| {
        for thread in 0..8 {
            let engine = engine.clone();
            scope.spawn(move || {
                for index in 0..200 {
                    let payload = format!("{thread}/{index}");
                    let reply = engine
                        .request(&message("echo", payload.as_bytes()), LONG)
                        .unwrap();
                    assert_eq!(reply.wait().unwrap().payload(), payload.as_bytes());
                }
            });
        }
    });
    assert_eq!(settled(&engine).settled(), 1_600);
}

#[test]
fn a_request_that_nobody_answers_times_out_and_one_that_nobody_hears_fails_at_once() {
    let engine = start(config([handler("counter")]));
    let short = Duration::from_millis(20);
    let reply = engine.request(&message("counter", b""), short).unwrap();
    assert_eq!(reply.wait().unwrap_err(), RequestError::Timeout(short));
    let reply = block_on(engine.request(&message("counter", b""), short).unwrap());
    assert_eq!(reply.unwrap_err(), RequestError::Timeout(short));
    let refused = engine.request(&message("nobody", b""), short).unwrap_err();
    assert_eq!(
        refused,
        RequestError::Refused(Refusal::NoResponders("nobody".into()))
    );
}

#[test]
fn subscriptions_get_what_matches_until_they_are_dropped() {
    let engine = start(config([handler("echo")]));
    let all = engine.subscribe(">", Overflow::Wait).unwrap();
    let some = engine.subscribe("orders.*", Overflow::Wait).unwrap();
    assert_eq!(engine.publish(message("orders.new", b"1")).unwrap(), 2);
    assert_eq!(engine.publish(message("other", b"2")).unwrap(), 1);
    assert_eq!(block_on(some.recv()).unwrap().payload(), b"1");
    assert!(some.try_next().is_none());
    drop(some);
    assert_eq!(engine.publish(message("orders.new", b"3")).unwrap(), 1);
    let got: Vec<_> = (0..3)
        .map(|_| all.next(LONG).unwrap().payload().to_vec())
        .collect();
    assert_eq!(got, [b"1", b"2", b"3"]);
    assert!(all.next(Duration::from_millis(1)).is_none());
}

#[test]
fn a_task_that_waits_is_woken_by_a_message_from_another_thread() {
    let engine = start(config([handler("echo")]));
    let subscription = engine.subscribe("late", Overflow::Drop).unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            engine
                .request(&message("echo", b""), LONG)
                .unwrap()
                .wait()
                .unwrap();
            engine.publish(message("late", b"now")).unwrap();
        });
        assert_eq!(block_on(subscription.recv()).unwrap().payload(), b"now");
    });
}

#[test]
fn several_handlers_of_a_subject_each_get_each_message_once() {
    let two = |name: &str| {
        let path = millpond_tests::guest(PROBE);
        millpond::HandlerConfig::file(name, path)
            .subject("shared.>")
            .grants(millpond::Grants::all())
    };
    let engine = start(config([two("one"), two("two")]));
    let reports = engine.subscribe("report", Overflow::Wait).unwrap();
    for _ in 0..50 {
        assert_eq!(
            engine
                .publish(message("shared.x", b"say report x"))
                .unwrap(),
            2
        );
    }
    let stats = settled(&engine);
    assert_eq!((stats.handlers[0].acked, stats.handlers[1].acked), (50, 50));
    assert_eq!(std::iter::from_fn(|| reports.try_next()).count(), 100);
}

#[test]
fn what_a_guest_sends_reaches_other_handlers() {
    for spread in [Spread::Any, Spread::Subject] {
        let mut config = config([handler(PROBE), handler("counter")]);
        (config.shards, config.spread) = (2, spread);
        let asked = Asked::with(config);
        (0..100).for_each(|_| asked.tell("say counter x"));
        let stats = asked.end();
        assert_eq!(
            (stats.handlers[0].sent, stats.handlers[1].acked),
            (100, 100),
            "{spread:?}"
        );
    }
}

#[test]
fn spread_by_subject_keeps_a_subject_in_order() {
    let probe = limited(PROBE, |l| l.batch_messages_max = 3).subject("s.*");
    let mut config = config([probe]);
    (config.shards, config.spread) = (2, Spread::Subject);
    let asked = Asked::with(config);
    let results: Vec<_> = (0..4)
        .map(|s| {
            asked
                .engine
                .subscribe(&format!("r.{s}"), Overflow::Wait)
                .unwrap()
        })
        .collect();
    for index in 0..500 {
        let subject = index % 4;
        let commands = format!("say r.{subject} {index}");
        asked
            .engine
            .publish(message(&format!("s.{subject}"), commands.as_bytes()))
            .unwrap();
    }
    asked.end();
    for (subject, result) in results.iter().enumerate() {
        let got: Vec<usize> = std::iter::from_fn(|| result.try_next())
            .map(|m| String::from_utf8_lossy(m.payload()).parse().unwrap())
            .collect();
        assert_eq!(got, (subject..500).step_by(4).collect::<Vec<_>>());
    }
}

#[test]
fn spread_by_subject_keeps_order_while_calls_wait() {
    let probe = limited(PROBE, |l| {
        l.batch_messages_max = 1;
        l.receive_wait_max = Duration::from_millis(20);
    });
    let mut config = config([probe]);
    (config.shards, config.spread) = (2, Spread::Subject);
    let asked = Asked::with(config);
    for index in 0..5 {
        asked.tell(&format!("try never 10 waited;say report {index}"));
        asked.tell(&format!("say report {index}+"));
    }
    let got: Vec<_> = (0..10).map(|_| asked.report()).collect();
    let expected: Vec<_> = (0..5)
        .flat_map(|i| [i.to_string(), format!("{i}+")])
        .collect();
    assert_eq!(got, expected);
    asked.end();
}

#[test]
fn a_draining_engine_takes_nothing_and_finishes_what_it_has() {
    let engine = start(config([handler("counter")]));
    for _ in 0..1_000 {
        engine.publish(message("counter", b"x")).unwrap();
    }
    assert_eq!(settled(&engine).settled(), 1_000);
    let refused = engine.publish(message("counter", b"back")).unwrap_err();
    assert_eq!(
        (refused.reason, refused.message.payload()),
        (Refusal::Stopping, &b"back"[..])
    );
    let request = engine.request(&message("counter", b""), LONG).unwrap_err();
    assert_eq!(request, RequestError::Refused(Refusal::Stopping));
}

#[test]
fn a_drain_waits_for_what_guests_send_from_shard_to_shard() {
    const MESSAGES: u64 = 1_000;
    let path = millpond_tests::guest(PROBE);
    for _ in 0..5 {
        let relay = millpond::HandlerConfig::file("relay", &path)
            .subject("relay.*")
            .grants(millpond::Grants::all());
        let counter = handler("counter").subject("counted.*");
        let mut config = config([relay, counter]);
        (config.shards, config.spread) = (2, Spread::Subject);
        let engine = start(config);
        for index in 0..MESSAGES {
            // Two hops, each on the shard that its subject's hash is of.
            let commands = format!("say relay.{index}x say counted.{index} x");
            let message = message(&format!("relay.{index}"), commands.as_bytes());
            assert_eq!(engine.publish(message).unwrap(), 1);
        }
        let stats = settled(&engine);
        assert_eq!(
            (stats.handlers[0].acked, stats.handlers[1].acked),
            (2 * MESSAGES, MESSAGES)
        );
        assert_eq!((stats.dropped, stats.unrouted), (0, 0));
    }
}

#[test]
fn a_drain_that_takes_too_long_says_what_is_left() {
    let slow = limited(PROBE, |l| {
        l.receive_wait_max = LONG;
        l.deadline = LONG;
    });
    let asked = Asked::new(slow);
    asked.tell("receive never report");
    let after = Duration::from_millis(20);
    assert_eq!(
        asked.engine.drain(after),
        Err(DrainError::Timeout {
            in_flight: 1,
            after
        })
    );
    asked.engine.stop();
}

#[test]
fn engines_side_by_side_know_nothing_of_each_other() {
    let (one, two) = (
        start(config([handler("echo")])),
        start(config([handler("echo")])),
    );
    let others = two.subscribe(">", Overflow::Wait).unwrap();
    for engine in [&one, &two, &one] {
        let reply = engine.request(&message("echo", b"x"), LONG).unwrap();
        assert_eq!(reply.wait().unwrap().payload(), b"x");
    }
    assert_eq!(settled(&one).settled(), 2);
    one.stop();
    let refused = one.publish(message("echo", b"x")).unwrap_err();
    assert_eq!(refused.reason, Refusal::Stopping);
    let reply = two.request(&message("echo", b"goes on"), LONG).unwrap();
    assert_eq!(reply.wait().unwrap().payload(), b"goes on");
    assert_eq!(settled(&two).settled(), 2);
    let seen = std::iter::from_fn(|| others.try_next()).count();
    assert_eq!(seen, 2, "its own requests, and none of the other's");
}

#[test]
fn an_engine_stops_when_its_last_handle_goes() {
    let engine = start(config([handler("echo")]));
    let reply = engine.request(&message("echo", b"x"), LONG).unwrap();
    reply.wait().unwrap();
    let other = engine.clone();
    drop(engine);
    other
        .request(&message("echo", b"x"), LONG)
        .unwrap()
        .wait()
        .unwrap();
    other.stop();
    assert_eq!(
        other.publish(message("echo", b"x")).unwrap_err().reason,
        Refusal::Stopping
    );
}

#[test]
fn an_engine_stops_although_a_subscription_that_waits_is_full() {
    let mut config = config([handler("echo")]);
    config.limits.subscription_messages_max = 1;
    let engine = start(config);
    let out = engine.subscribe("echo.out", Overflow::Wait).unwrap();
    for _ in 0..10 {
        engine.publish(message("echo", b"x")).unwrap();
    }
    assert!(
        engine.drain(Duration::from_millis(50)).is_err(),
        "its shard waits for room"
    );
    engine.stop();
    assert_eq!(out.try_next().unwrap().payload(), b"x");
}

#[test]
fn a_time_without_end_is_no_error() {
    let engine = start(config([handler("echo")]));
    let reply = engine
        .request(&message("echo", b"x"), Duration::MAX)
        .unwrap();
    assert_eq!(reply.wait().unwrap().payload(), b"x");
    engine.drain(Duration::MAX).unwrap();
}

#[test]
fn a_task_that_waits_for_messages_ends_with_the_engine() {
    let engine = start(config([handler("echo")]));
    let subscription = engine.subscribe("never", Overflow::Drop).unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            engine
                .request(&message("echo", b""), LONG)
                .unwrap()
                .wait()
                .unwrap();
            engine.stop();
        });
        assert!(block_on(subscription.recv()).is_none());
    });
}

#[test]
fn requests_that_nobody_hears_or_waits_for_leave_nothing() {
    let mut config = config([handler("counter")]);
    config.limits.requests_max = 2;
    let engine = start(config);
    for _ in 0..10 {
        let refused = engine
            .request(&message("nobody", b""), Duration::MAX)
            .unwrap_err();
        assert!(matches!(
            refused,
            RequestError::Refused(Refusal::NoResponders(_))
        ));
        drop(
            engine
                .request(&message("counter", b""), Duration::MAX)
                .unwrap(),
        );
    }
    settled(&engine);
}

#[test]
fn a_waiting_request_ends_with_the_engine() {
    let engine = start(config([handler("counter")]));
    let reply = engine.request(&message("counter", b""), LONG).unwrap();
    engine.stop();
    assert_eq!(
        reply.wait().unwrap_err(),
        RequestError::Refused(Refusal::Stopping)
    );
}

#[test]
fn the_time_to_a_settlement_is_that_of_one_call_in_sixteen_and_longer_than_the_call() {
    let engine = start(config([handler("echo")]));
    let calls = 65;
    for _ in 0..calls {
        let reply = engine.request(&message("echo", b"one"), LONG).unwrap();
        reply.wait().unwrap();
    }
    let stats = settled(&engine);
    let (call, settle) = (stats.call_time, stats.settle_time);
    // A call that overran its slice waited, and is not among them.
    assert!((1..=calls / 16).contains(&settle.count()), "{settle:?}");
    // Each holds the whole of its call.
    assert!(
        settle.quantile(0.0) >= call.quantile(0.0),
        "{settle:?} {call:?}"
    );
    assert!(settle.max() > call.quantile(0.0), "{settle:?} {call:?}");
}
