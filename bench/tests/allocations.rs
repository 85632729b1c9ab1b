//! What the host allocates a call, once it is warm: of Wasmtime's, as a loop without an engine shows it, and of ours.
//!
//! A binary of its own, since the allocator counts all threads of the process; while it counts, the tests' thread only publishes.

#![allow(clippy::unwrap_used, reason = "a test that meets an error has failed")]

use std::alloc::System;
use std::time::Duration;

use millpond::{Engine, EngineConfig, Grants, HandlerConfig, HandlerLimits, Message, ResetMode};
use millpond_bench::guest::Guest;
use millpond_bench::raw::{Allocator, RawLoop};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// Long enough for anything that ends.
const LONG: Duration = Duration::from_secs(60);
/// How long a call waits to be full. What is left at the end, where a smaller one was tried, waits as long.
const LINGER: Duration = Duration::from_secs(2);
/// Calls before counting: every buffer has its size then, and the cost of calls is known.
const WARM: usize = 100;
/// Calls that are counted.
const CALLS: usize = 100;
/// Messages a call.
const BATCHES: [usize; 3] = [1, 64, 1_024];
/// The same where instances are made ahead, and how many may be: when counting begins and ends, as many less may be there.
const CALLS_POND: usize = 4 * CALLS;
const POND: usize = 2;
/// In flight at once, at most.
const MESSAGES_MAX: usize = CALLS * 1_024;

/// Allocations while this runs, those that grow an old one included.
fn counted(run: impl FnOnce()) -> usize {
    let region = Region::new(ALLOCATOR);
    run();
    let change = region.change();
    change.allocations + change.reallocations
}

/// Allocations of so many calls, a call. A few more are allowed that are none of calls: a queue that grows once more, a drain.
fn a_call(all: usize, calls: usize, what: &str) -> usize {
    assert!(
        all % calls < CALLS / 4,
        "{what}: {all} allocations of {calls} calls"
    );
    all / calls
}

/// Of a loop that makes a store and an instance, calls it and drops both: the same settings, nothing of ours.
fn of_raw_loop(guest: Guest, batch: usize) -> usize {
    let mut raw = RawLoop::new(guest, Allocator::Ours(ResetMode::Copy), batch).unwrap();
    raw.run_calls(WARM as u64).unwrap();
    // The difference of two runs, so that what a run costs beside its calls does not count.
    let [once, twice] = [1, 2].map(|times| {
        let calls = (times * CALLS) as u64;
        counted(|| _ = raw.run_calls(calls).unwrap())
    });
    a_call(twice - once, CALLS, "the raw loop")
}

/// Of an engine whose calls are all full, and make their own instances.
fn of_engine(guest: Guest, batch: usize) -> usize {
    let (all, calls) = all_of_engine(guest, batch, CALLS, 0);
    a_call(all, calls, guest.name())
}

/// The same with instances from the pond: to the nearest number, since of those made ahead some are for calls that are not counted.
fn of_engine_with_pond(guest: Guest, batch: usize) -> usize {
    let (all, calls) = all_of_engine(guest, batch, CALLS_POND, POND);
    (all + calls / 2) / calls
}

/// Allocations of an engine with so many instances made ahead, and of how many calls they are: as many as asked for or some more.
fn all_of_engine(guest: Guest, batch: usize, asked: usize, ready: usize) -> (usize, usize) {
    let limits = HandlerLimits {
        batch_messages_max: batch,
        linger: LINGER,
        latency_budget: 100 * LONG,
        deadline: LONG,
        wall_deadline: LONG,
        in_flight_messages_max: MESSAGES_MAX as u32,
        in_flight_bytes_max: 1 << 30,
        ready_instances_max: ready,
        ..HandlerLimits::default()
    };
    let handler = HandlerConfig::file(guest.name(), guest.path());
    let handler = match guest.is_batch() {
        true => handler.subject(guest.name()),
        false => handler,
    };
    let handler = handler.limits(limits).grants(Grants::all());
    let mut config = EngineConfig::new().shards(1).handler(handler);
    config.reset = Some(ResetMode::Copy);
    config.pin = false;
    // However busy the machine is, no call is made again on a fiber.
    config.limits.time_slice = Duration::from_secs(1);
    // A refusal would allocate.
    config.limits.inbox_messages_max = MESSAGES_MAX;
    config.limits.in_flight_messages_max = MESSAGES_MAX as u32;
    config.limits.in_flight_bytes_max = 1 << 30;
    let engine = Engine::start(config).unwrap();
    let ring = guest.messages(batch).unwrap();
    // Each has a reference count by now, and nothing is allocated for another.
    let publish = |calls: usize| {
        for _ in 0..calls {
            ring.iter()
                .for_each(|message| publish(&engine, message.clone()));
        }
    };
    publish(WARM);
    while engine.stats().in_flight > 0 {
        std::thread::yield_now();
    }
    let warm = engine.stats().handlers[0].calls;
    let all = counted(|| {
        publish(asked);
        engine.drain(LONG).unwrap();
    });
    let handler = &engine.stats().handlers[0];
    assert_eq!(handler.acked, ((WARM + asked) * batch) as u64);
    assert_eq!((&*handler.faults, handler.overran), (&[][..], 0));
    // Most are full: now and then a smaller one is tried, for what it costs, or its time to wait is over on a busy machine.
    let calls = (handler.calls - warm) as usize;
    assert!((asked..=asked * 2).contains(&calls), "{calls} calls");
    (all, calls)
}

fn publish(engine: &Engine, mut message: Message) {
    while let Err(refused) = engine.publish(message) {
        message = *refused.message;
        std::thread::yield_now();
    }
}

/// One test, one after the other: the allocator counts for all.
#[test]
fn a_call_allocates_nothing_of_ours_with_contract_3_and_nothing_a_message_with_contract_1() {
    // Whatever is allocated once a process.
    of_engine(Guest::BatchEcho, 1);
    println!("allocations a call   messages   raw loop   engine   ours");
    for guest in Guest::BATCH.into_iter().chain(Guest::ALL) {
        let rows = BATCHES.map(|batch| {
            let (raw, engine) = (of_raw_loop(guest, batch), of_engine(guest, batch));
            let (name, ours) = (guest.name(), engine as i64 - raw as i64);
            println!("{name:<20} {batch:>8} {raw:>10} {engine:>8} {ours:>6}");
            (engine, ours)
        });
        match guest.is_batch() {
            true => assert_eq!(rows, [(rows[0].0, 0); 3], "{}", guest.name()),
            // Some a call may be ours, as the client that a guest asks for; none a message.
            false => assert_eq!(
                rows.map(|(_, ours)| ours),
                [rows[0].1; 3],
                "{}",
                guest.name()
            ),
        }
    }
    // Nor does the pond add anything.
    for batch in [1, 64] {
        let guest = Guest::BatchEcho;
        let (without, with) = (of_engine(guest, batch), of_engine_with_pond(guest, batch));
        println!("{:<20} {batch:>8} from the pond {with:>8}", guest.name());
        assert_eq!(with, without, "{batch} a call, from the pond");
    }
}
