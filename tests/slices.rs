//! Time slices: a direct call that overruns one is made again on a fiber, as if it had never been; calls on fibers give their
//! shard back at every tick; running time and wall time have a deadline each.

use std::time::Duration;

use millpond::{
    Engine, EngineConfig, FaultKind, HandlerConfig, HandlerLimits, Message, Overflow, Spread,
    Subscription,
};

use crate::harness::{Asked, LONG, PROBE, config, handler, limited, settled, start};
use crate::hostile::{CONNECT, Hand, SEND};

/// A direct handler that sends its one message on to `out`, and then turns ten million times for each that its first digit
/// says: some milliseconds each.
fn spinner(change: impl FnOnce(&mut HandlerLimits)) -> HandlerConfig {
    let hand = Hand {
        imports: format!("{CONNECT}{SEND}"),
        handler: "(local $left i32)
            (call $connect (i32.const 1072) (i32.const 7) (i32.const 3072))
            (i32.store (i32.const 2048) (i32.load (local.get 0)))
            (i32.store (i32.const 2052) (i32.load offset=4 (local.get 0)))
            (i32.store (i32.const 2056) (i32.const 5))
            (call $send (i32.load (i32.const 3076)) (i32.const 1104) (i32.const 3)
                (i32.const 2048) (i32.const 1) (i32.const 3080))
            (local.set $left (i32.mul (i32.const 10000000)
                (i32.sub (i32.load8_u (i32.load (local.get 0))) (i32.const 48))))
            (block $done (loop $go
                (br_if $done (i32.eqz (local.get $left)))
                (local.set $left (i32.sub (local.get $left) (i32.const 1)))
                (br $go)))
            (i32.const 3080)"
            .into(),
        ..Hand::default()
    };
    let mut handler = hand.config();
    handler.limits.batch_messages_max = 1;
    change(&mut handler.limits);
    handler
}

/// A direct handler that never ends, with this deadline.
fn endless(deadline: Duration) -> HandlerConfig {
    let hand = Hand {
        handler: "(loop $go (br $go)) unreachable".into(),
        ..Hand::default()
    };
    let mut handler = hand.config();
    (handler.limits.deadline, handler.limits.deliveries_max) = (deadline, 1);
    handler
}

fn publish(engine: &Engine, payload: &str) {
    let message = Message::new("hand", payload.as_bytes()).unwrap();
    assert_eq!(engine.publish(message).unwrap(), 1);
}

/// An engine of this configuration, and what its spinner sends.
fn spinning(config: EngineConfig) -> (Engine, Subscription) {
    let engine = start(config);
    let out = engine.subscribe("out", Overflow::Wait).unwrap();
    (engine, out)
}

fn next(out: &Subscription) -> String {
    let message = out.next(LONG).expect("it is sent");
    String::from_utf8(message.payload().to_vec()).unwrap()
}

#[test]
fn a_call_that_overruns_its_slice_is_made_again_on_a_fiber_and_that_is_no_attempt() {
    let mut config = config([spinner(|l| l.deliveries_max = 1)]);
    config.limits.fiber_stay_first = LONG;
    let (engine, out) = spinning(config);
    for payload in ["4a", "4b", "0c"] {
        publish(&engine, payload);
        assert_eq!(next(&out), payload);
    }
    let stats = settled(&engine);
    let handler = &stats.handlers[0];
    assert_eq!((handler.acked, handler.retried, handler.sent), (3, 0, 3));
    assert_eq!(
        (handler.overran, handler.calls),
        (1, 4),
        "while it stays on fibers none overruns"
    );
    assert_eq!((&*handler.faults, &*handler.terminated), (&[][..], &[][..]));
    assert!(out.try_next().is_none(), "nothing was sent twice");
}

#[test]
fn a_handler_finishes_what_it_has_begun_unless_that_takes_longer_than_its_budget() {
    // The first turns for some hundred milliseconds: the second comes meanwhile.
    let nothing = Duration::from_nanos(1);
    for (budget, order) in [(LONG, ["za", "0b"]), (nothing, ["0b", "za"])] {
        let mut config = config([spinner(|l| l.latency_budget = budget)]);
        config.limits.fiber_stay_max = Duration::ZERO;
        let (engine, out) = spinning(config);
        ["za", "0b"]
            .iter()
            .for_each(|payload| publish(&engine, payload));
        assert_eq!([next(&out), next(&out)], order, "{budget:?}");
        assert_eq!(settled(&engine).handlers[0].overran, 1);
    }
}

#[test]
fn a_suspended_call_is_not_overtaken_where_order_is_kept() {
    let mut config = config([spinner(|_| {})]);
    config.spread = Spread::Subject;
    config.limits.fiber_stay_max = Duration::ZERO;
    let (engine, out) = spinning(config);
    let sent = ["4a", "0b", "0c", "4d", "0e"];
    sent.iter().for_each(|payload| publish(&engine, payload));
    assert_eq!(sent.map(|_| next(&out)), sent);
    assert!(settled(&engine).handlers[0].overran > 0);
}

#[test]
fn a_call_that_never_ends_gives_its_shard_back_and_ends_when_its_running_time_is_used_up() {
    const NEIGHBOURS: u64 = 20;
    let engine = start(config([endless(Duration::from_secs(3)), handler("echo")]));
    publish(&engine, "");
    while engine.stats().calls_suspended == 0 {
        std::thread::yield_now();
    }
    for _ in 0..NEIGHBOURS {
        let message = Message::new("echo", b"x").unwrap();
        engine.request(&message, LONG).unwrap().wait().unwrap();
    }
    let meanwhile = engine.stats();
    assert_eq!(
        (meanwhile.calls_suspended, &*meanwhile.handlers[0].faults),
        (1, &[][..]),
        "the neighbour's are answered while it runs"
    );
    let stats = settled(&engine);
    assert_eq!(stats.handlers[0].terminated, [(FaultKind::Deadline, 1)]);
    assert_eq!((stats.handlers[0].overran, stats.handlers[0].calls), (1, 2));
    assert_eq!(stats.handlers[1].acked, NEIGHBOURS);
}

#[test]
fn endless_calls_that_share_a_shard_have_their_whole_running_time_each() {
    const CALLS: u64 = 4;
    const DEADLINE: Duration = Duration::from_millis(100);
    let engine = start(config([endless(DEADLINE)]));
    for _ in 0..CALLS {
        publish(&engine, "");
    }
    let stats = settled(&engine);
    let ended = &stats.handlers[0].terminated;
    assert_eq!(*ended, [(FaultKind::Deadline, CALLS)]);
    // One shard ran all of them, so the last can't have ended earlier.
    assert!(stats.latency.max() >= DEADLINE * CALLS as u32);
}

#[test]
fn a_deadline_that_is_no_longer_than_a_slice_ends_a_direct_call() {
    for (slice, overran) in [(20, 0), (19, 1)] {
        let mut config = config([endless(Duration::from_millis(20))]);
        config.limits.time_slice = Duration::from_millis(slice);
        let engine = start(config);
        publish(&engine, "");
        let handler = &settled(&engine).handlers[0];
        assert_eq!(handler.terminated, [(FaultKind::Deadline, 1)]);
        assert_eq!(handler.overran, overran, "a slice of {slice} ms");
    }
}

#[test]
fn waits_count_against_the_wall_deadline_alone() {
    const DEADLINE: Duration = Duration::from_millis(100);
    for (wall_deadline, terminated) in [(LONG, 0), (2 * DEADLINE, 1)] {
        let asked = Asked::new(limited(PROBE, |l| {
            (l.deadline, l.wall_deadline) = (DEADLINE, wall_deadline);
            l.deliveries_max = 1;
        }));
        asked.tell("try never 400 report");
        if terminated == 0 {
            assert_eq!(asked.report(), "none");
        }
        let stats = asked.end();
        let faults = &stats.handlers[0].terminated;
        assert_eq!(
            crate::harness::count(faults, FaultKind::Deadline),
            terminated
        );
        assert_eq!(stats.handlers[0].acked, 1 - terminated);
    }
}
