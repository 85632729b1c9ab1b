//! What the host allocates a call, once it is warm: of Wasmtime's, as a loop without an engine shows it, and of ours.
//!
//! A binary of its own, since the allocator counts all threads of the process; while it counts, the tests' thread only publishes.

#![allow(clippy::unwrap_used, reason = "a test that meets an error has failed")]

use std::alloc::System;
use std::time::Duration;

use millpond::{Engine, EngineConfig, Grants, HandlerConfig, HandlerLimits, Message, ResetMode};
use millpond_bench::guest::{Guest, HEADER};
use millpond_bench::raw::{Allocator, RawLoop};
use millpond_tests::worlds::of_world;
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

/// A component of this world whose one function is this, with these imports. What it is given by the host begins at 4,096; at 2,048 lie
/// zeros, which are a good result. Its memory has room for two lists of 8 MiB.
fn written(packages: &str, world: &str, imports: &str, function: &str) -> Vec<u8> {
    let module = format!(
        r#"(module
        {imports}
        (memory (export "memory") 300)
        (global $next (mut i32) (i32.const 4096))
        (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
            (local $at i32)
            (local.set $at (i32.and (i32.add (global.get $next) (i32.const 7)) (i32.const -8)))
            (global.set $next (i32.add (local.get $at) (local.get 3)))
            (local.get $at))
        {function})"#
    );
    let world = format!("package test:hand; world written {{ {world} }}");
    of_world(&module, &[packages], Some(&world))
}

/// Bytes that the host allocates for a call of this component with a message of this payload; how many of its calls have failed.
fn bytes_of_a_call(component: Vec<u8>, payload: usize) -> (usize, u64) {
    let limits = HandlerLimits {
        latency_budget: 100 * LONG,
        deadline: LONG,
        wall_deadline: LONG,
        deliveries_max: 1,
        pause_max: Duration::ZERO,
        ready_instances_max: 0,
        batch_messages_max: 1,
        in_flight_bytes_max: 1 << 30,
        ..HandlerLimits::default()
    };
    let handler = HandlerConfig::bytes("hand", component).limits(limits);
    let handler = handler.subject("in").grants(Grants::all());
    let mut config = EngineConfig::new().shards(1).handler(handler);
    config.reset = Some(ResetMode::Copy);
    config.pin = false;
    config.limits.time_slice = Duration::from_secs(1);
    config.limits.in_flight_bytes_max = 1 << 30;
    let engine = Engine::start(config).unwrap();
    let message = Message::builder("in").header(HEADER.0, HEADER.1);
    let message = message.payload(&vec![b'x'; payload]).unwrap();
    let publish = |calls: usize| (0..calls).for_each(|_| publish(&engine, message.clone()));
    publish(WARM);
    while engine.stats().in_flight > 0 {
        std::thread::yield_now();
    }
    let region = Region::new(ALLOCATOR);
    publish(CALLS);
    engine.drain(LONG).unwrap();
    let bytes = region.change().bytes_allocated / CALLS;
    let stats = engine.stats();
    assert_eq!(stats.handlers[0].calls, (WARM + CALLS) as u64);
    let failed = stats.handlers[0].faults.iter().map(|(_, count)| count);
    (bytes, failed.sum())
}

/// A guest of contract 2 that asks a message for these parts, and traps where one has not the length that it should have.
fn asking(parts: &[(&str, usize, usize)]) -> Vec<u8> {
    let imports = parts.iter().map(|(part, ..)| {
        format!(r#"(import "wasi:messaging/types@0.2.0-draft" "[method]message.{part}" (func ${part} (param i32 i32)))"#)
    });
    let calls = parts.iter().map(|(part, at, length)| {
        format!(
            "(call ${part} (local.get 0) (i32.const 1024))
            (if (i32.ne (i32.load (i32.const {})) (i32.const {length})) (then unreachable))",
            1024 + at
        )
    });
    let function = format!(
        r#"(func (export "wasi:messaging/incoming-handler@0.2.0-draft#handle") (param i32) (result i32)
        {} (i32.const 2048))"#,
        calls.collect::<String>()
    );
    let world = "import wasi:messaging/types@0.2.0-draft; export wasi:messaging/incoming-handler@0.2.0-draft;";
    let package = "wasi-messaging-0.2.0-draft-2024-12";
    written(package, world, &imports.collect::<String>(), &function)
}

/// Contract 2: what a guest doesn't ask for is not copied, and what it asks for goes from the buffer that it came in to the guest.
fn a_payload_is_copied_into_a_guest_that_asks_for_it_and_nowhere_else() {
    /// Of a call with a payload of a megabyte: what Wasmtime takes for it, and texts that are asked for.
    const BYTES_MAX: usize = 64 << 10;
    const PAYLOAD_BYTES: usize = 1 << 20;
    // Where the length of each part is in what its function returns, and what it should be.
    let (topic, metadata) = (("topic", 8, 2), ("metadata", 8, 1));
    let content_type = ("content-type", 0, 0);
    println!("bytes a call, of a message of {PAYLOAD_BYTES}");
    let data = ("data", 4, PAYLOAD_BYTES);
    for parts in [&[][..], &[topic, metadata, content_type], &[data]] {
        let (bytes, failed) = bytes_of_a_call(asking(parts), PAYLOAD_BYTES);
        let names: Vec<_> = parts.iter().map(|(part, ..)| *part).collect();
        println!("{bytes:>10} where {names:?} are asked for");
        assert_eq!(failed, 0);
        assert!(bytes < BYTES_MAX, "{bytes} bytes for {parts:?}");
    }
}

/// Contract 3: whatever a return says of itself, the host allocates no more for it than it may weigh.
fn a_hostile_return_costs_the_host_no_more_than_its_bound() {
    /// Most bytes of both lists of a return: the WIT says so.
    const LISTS_BYTES_MAX: usize = 8 << 20;
    /// What a call takes beside them.
    const SLACK_BYTES: usize = 64 << 10;
    // Whether it says that it failed, then bytes of its arena and numbers of its index; all of them are zeros.
    let rows = [
        (0, LISTS_BYTES_MAX - 4, 1),
        (0, 0, LISTS_BYTES_MAX / 4),
        (0, 0, LISTS_BYTES_MAX / 4 + 1),
        (0, LISTS_BYTES_MAX + 1, 0),
        (0, 0xffff_ffff, 0xffff_ffff),
        (1, LISTS_BYTES_MAX, 0),
        (1, LISTS_BYTES_MAX + 1, 0),
    ];
    println!("bytes a call of contract 3, by what it returns");
    for (failed, arena, index) in rows {
        let numbers = [failed, 1 << 20, arena, 1 << 20, index];
        let stores = numbers.iter().enumerate().map(|(n, number)| {
            format!(
                "(i32.store (i32.const {}) (i32.const {number}))",
                2048 + 4 * n
            )
        });
        let function = format!(
            r#"(func (export "millpond:batch/handler@0.1.0#handle") (param i32 i32 i32 i32) (result i32)
            {} (i32.const 2048))"#,
            stores.collect::<String>()
        );
        let world = "export millpond:batch/handler@0.1.0;";
        let component = written("millpond-batch-0.1.0", world, "", &function);
        let (bytes, faults) = bytes_of_a_call(component, 1);
        println!(
            "{bytes:>10} for an arena of {arena}, an index of {index}, failed {failed}: {faults} faults"
        );
        assert!(
            bytes < LISTS_BYTES_MAX + SLACK_BYTES,
            "{arena}, {index}: {bytes} bytes"
        );
    }
}

/// One test, one after the other: the allocator counts for all.
#[test]
fn what_a_call_allocates() {
    a_payload_is_copied_into_a_guest_that_asks_for_it_and_nowhere_else();
    a_hostile_return_costs_the_host_no_more_than_its_bound();
    nothing_is_ours_with_contract_3_and_nothing_a_message_with_contract_1();
}

fn nothing_is_ours_with_contract_3_and_nothing_a_message_with_contract_1() {
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
