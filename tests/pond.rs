//! The pond: ready instances, and slots that go to who needs them.

use crate::harness::{LONG, config, handler, limited, settled, start};
use crate::hostile::Hand;
use millpond::{Engine, Message, Stats};

fn wait_for(engine: &Engine, done: impl Fn(&Stats) -> bool) -> Stats {
    loop {
        let stats = engine.stats();
        if done(&stats) {
            return stats;
        }
        std::thread::yield_now();
    }
}

fn balanced(stats: &Stats) {
    let parts = stats.instances_called
        + stats.instances_configured
        + stats.instances_ready
        + stats.instances_discarded;
    assert_eq!(
        stats.instances_created, parts,
        "every instance is accounted for"
    );
}

#[test]
fn an_idle_shard_stocks_up_to_the_limit_and_no_further() {
    for ready in [0, 1, 5] {
        let engine = start(config([limited("counter", |l| {
            l.ready_instances_max = ready
        })]));
        wait_for(&engine, |stats| stats.instances_ready == ready as u64);
        for _ in 0..20 {
            engine
                .publish(Message::new("counter", b"").unwrap())
                .unwrap();
        }
        settled(&engine);
        balanced(&wait_for(&engine, |stats| {
            stats.instances_ready == ready as u64
        }));
    }
}

#[test]
fn the_stock_of_a_shard_is_bounded_over_all_handlers() {
    let mut config = config([
        limited("counter", |l| l.ready_instances_max = 10),
        limited("echo", |l| l.ready_instances_max = 10),
    ]);
    config.limits.ready_instances_max = 12;
    let engine = start(config);
    wait_for(&engine, |stats| stats.instances_ready == 12);
    engine
        .request(&Message::new("echo", b"").unwrap(), LONG)
        .unwrap()
        .wait()
        .unwrap();
    balanced(&wait_for(&engine, |stats| stats.instances_ready == 12));
}

#[test]
fn an_idle_handler_s_stock_gives_its_slots_to_a_busy_one_when_the_pool_is_full() {
    // Four slots: one configures at start and is free again, so the idle handler can stock four.
    let idle = limited("counter", |l| l.ready_instances_max = 4);
    let busy = limited("rust-channels", |l| {
        l.ready_instances_max = 0;
        l.batch_messages_max = 1;
    });
    let mut config = config([idle, busy]);
    config.limits.instances_max = Some(4);
    let engine = start(config);
    wait_for(&engine, |stats| stats.instances_ready == 4);
    // Each of these waits 100 ms in its instance, so that several need slots at once.
    for _ in 0..12 {
        engine.publish(Message::new("b", b"").unwrap()).unwrap();
    }
    let full = wait_for(&engine, |stats| stats.calls_suspended == 4);
    assert_eq!((full.instances_ready, full.instances_discarded), (0, 4));
    let stats = settled(&engine);
    assert_eq!(
        stats.handlers[1].acked, 12,
        "no batch is lost for want of a slot"
    );
    assert_eq!(stats.handlers[1].faults, []);
    balanced(&engine.stats());
}

#[test]
fn a_shard_never_waits_for_the_stock_of_another() {
    let mut config = config([limited("counter", |l| l.ready_instances_max = 8)]);
    (config.shards, config.limits.instances_max) = (2, Some(2));
    let engine = start(config);
    wait_for(&engine, |stats| stats.instances_ready == 2);
    for _ in 0..100 {
        engine
            .publish(Message::new("counter", b"").unwrap())
            .unwrap();
    }
    assert_eq!(settled(&engine).handlers[0].acked, 100);
}

#[test]
fn one_slot_is_enough() {
    let mut config = config([handler("counter"), handler("echo")]);
    config.limits.instances_max = Some(1);
    let engine = start(config);
    for _ in 0..100 {
        engine
            .publish(Message::new("counter", b"").unwrap())
            .unwrap();
        engine.publish(Message::new("echo", b"").unwrap()).unwrap();
    }
    let stats = settled(&engine);
    assert_eq!(
        (stats.handlers[0].acked, stats.handlers[1].acked),
        (100, 100)
    );
    balanced(&engine.stats());
}

#[test]
fn ready_instances_whose_start_functions_ran_on_fibers_leave_stacks_for_calls() {
    // Wasmtime keeps the stack that a store last ran on with the store, so that each of these holds one.
    const READY: usize = 20;
    let hand = Hand {
        imports: r#"(import "wasi:messaging/consumer" "subscribe-receive" (func (param i32 i32 i32 i32)))"#.into(),
        more: "(start $start) (func $start)",
        ..Hand::default()
    };
    let mut handler = hand.config();
    handler.limits.ready_instances_max = READY;
    let mut config = config([handler]);
    config.limits.suspended_calls_max = 1;
    let engine = start(config);
    let full = |stats: &Stats| stats.instances_ready == READY as u64;
    wait_for(&engine, full);
    for _ in 0..3 {
        engine.publish(Message::new("hand", b"").unwrap()).unwrap();
    }
    let handler = &settled(&engine).handlers[0];
    assert_eq!((handler.acked, &*handler.faults), (3, &[][..]));
    balanced(&wait_for(&engine, full));
}
