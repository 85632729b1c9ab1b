//! What the host allocates a direct call, once it is warm: of Wasmtime's, as a loop without an engine shows it, and of ours. A call on a
//! fiber has a stack, a future and buffers of its own, and is not counted here.
//!
//! Without libtest, which would keep the table to itself, and a binary of its own, since the allocator counts all threads of the process;
//! while it counts, the tests' thread only publishes.

#![allow(clippy::unwrap_used, reason = "a test that meets an error has failed")]

use std::alloc::System;
use std::process::ExitCode;
use std::time::Duration;

use millpond::{
    Engine, EngineConfig, Grants, HandlerConfig, HandlerLimits, Message, Pack, ResetMode,
};
use millpond_bench::engine::pack;
use millpond_bench::guest::{Guest, HEADER};
use millpond_bench::lone_test;
use millpond_bench::raw::{Allocator, RawLoop};
use millpond_tests::worlds::of_world;
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// The test's name, for who asks for tests by their names.
const NAME: &str = "a_message_allocates_nothing_of_ours";
/// Long enough for anything that ends.
const LONG: Duration = Duration::from_secs(60);
/// How long a call waits to be full. What is left at the end, where a smaller one was tried, waits as long.
const LINGER: Duration = Duration::from_secs(2);
/// Calls before counting: every buffer has its size then, and the cost of calls is known.
const WARM: usize = 100;
/// Calls that are counted of a raw loop.
const CALLS: usize = 100;
/// Calls that are counted of an engine.
const CALLS_ENGINE: usize = 400;
/// Allocations of an engine's run that are none of calls, at most: a queue that grows once more, a drain. Up to 17 were seen; what came
/// with one call in sixteen would be found.
const STRAY_MAX: usize = 24;
/// Messages a call.
const BATCHES: [usize; 3] = [1, 64, 1_024];
/// Runs of an engine, at most, until all of its calls are full. Few are not: the engine tries a smaller call now and then, and a busy machine
/// may keep messages from a call for longer than it waits.
const RUNS_MAX: usize = 5;
/// Instances that may be made ahead, where any are: when counting begins and ends, as many less may be there.
const POND: usize = 2;
/// In flight at once, at most.
const MESSAGES_MAX: usize = CALLS_ENGINE * 1_024;

/// How messages are published.
#[derive(Debug, Clone, Copy)]
enum Feed {
    /// One by one.
    Single,
    /// Those of a call as one pack.
    Packs,
}

/// Allocations while this runs, those that grow an old one included.
fn counted(run: impl FnOnce()) -> usize {
    let region = Region::new(ALLOCATOR);
    run();
    let change = region.change();
    change.allocations + change.reallocations
}

/// Allocations of so many calls, a call. So many more are allowed that are none of calls.
fn a_call(all: usize, calls: usize, stray_max: usize, what: &str) -> usize {
    assert!(
        all % calls <= stray_max,
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
    a_call(twice - once, CALLS, 0, "the raw loop")
}

/// Of an engine whose calls are all full, and make their own instances.
fn of_engine(guest: Guest, batch: usize, feed: Feed) -> usize {
    let all = all_of_engine(guest, batch, feed, 0);
    a_call(all, CALLS_ENGINE, STRAY_MAX, guest.name())
}

/// The same with instances from the pond, of which some that were made ahead are for calls that are not counted.
fn of_engine_with_pond(guest: Guest, batch: usize) -> usize {
    let all = all_of_engine(guest, batch, Feed::Single, POND);
    let a_call = (all + CALLS_ENGINE / 2) / CALLS_ENGINE;
    let beside = all.abs_diff(a_call * CALLS_ENGINE);
    assert!(
        beside <= POND * a_call + STRAY_MAX,
        "from the pond: {all} allocations of {CALLS_ENGINE} calls"
    );
    a_call
}

/// Allocations of an engine with so many instances made ahead, whose calls are all full.
fn all_of_engine(guest: Guest, batch: usize, feed: Feed, ready: usize) -> usize {
    for _ in 0..RUNS_MAX {
        let (all, calls) = run_of_engine(guest, batch, feed, ready);
        if calls == CALLS_ENGINE {
            return all;
        }
    }
    let name = guest.name();
    panic!("{name}: not all calls have {batch} messages, in {RUNS_MAX} runs");
}

/// Allocations of one run, and of how many calls they are.
fn run_of_engine(guest: Guest, batch: usize, feed: Feed, ready: usize) -> (usize, usize) {
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
    let packed = pack(&ring).unwrap();
    // Each has a reference count by now, and nothing is allocated for another.
    let publish = |calls: usize| {
        for _ in 0..calls {
            match feed {
                Feed::Single => ring.iter().for_each(|m| publish(&engine, m.clone())),
                Feed::Packs => publish_pack(&engine, packed.clone()),
            }
        }
    };
    publish(WARM);
    while engine.stats().in_flight > 0 {
        std::thread::yield_now();
    }
    let warm = engine.stats().handlers[0].calls;
    let all = counted(|| {
        publish(CALLS_ENGINE);
        engine.drain(LONG).unwrap();
    });
    let handler = &engine.stats().handlers[0];
    assert_eq!(handler.acked, ((WARM + CALLS_ENGINE) * batch) as u64);
    assert_eq!((&*handler.faults, handler.overran), (&[][..], 0));
    let calls = (handler.calls - warm) as usize;
    (all, calls)
}

fn publish(engine: &Engine, mut message: Message) {
    while let Err(refused) = engine.publish(message) {
        message = *refused.message;
        std::thread::yield_now();
    }
}

fn publish_pack(engine: &Engine, mut pack: Pack) {
    while !pack.is_empty() {
        // Of an engine that is full some is left in the pack.
        _ = engine.publish_pack(&mut pack);
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
fn checked() -> wasmtime::Result<String> {
    a_payload_is_copied_into_a_guest_that_asks_for_it_and_nowhere_else();
    a_hostile_return_costs_the_host_no_more_than_its_bound();
    nothing_is_ours_with_contract_3_and_nothing_a_message_with_contract_1();
    nothing_is_ours_where_packs_are_published();
    nothing_is_ours_with_instances_from_the_pond();
    Ok("contract 3: nothing of ours a direct call; contract 1: nothing of ours a message".into())
}

fn main() -> ExitCode {
    lone_test::run(NAME, checked)
}

fn nothing_is_ours_with_contract_3_and_nothing_a_message_with_contract_1() {
    // Whatever is allocated once a process.
    of_engine(Guest::BatchEcho, 1, Feed::Single);
    println!("allocations a call     messages   raw loop   engine   ours");
    for guest in Guest::BATCH.into_iter().chain(Guest::ALL) {
        let rows = BATCHES.map(|batch| {
            let raw = of_raw_loop(guest, batch);
            let engine = of_engine(guest, batch, Feed::Single);
            (engine, row(guest.name(), batch, raw, engine))
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
}

/// Prints a row of the table: how many of an engine's allocations a call are ours.
fn row(name: &str, batch: usize, raw: usize, engine: usize) -> i64 {
    let ours = engine as i64 - raw as i64;
    println!("{name:<20} {batch:>10} {raw:>10} {engine:>8} {ours:>6}");
    ours
}

fn nothing_is_ours_where_packs_are_published() {
    for guest in Guest::BATCH {
        let name = format!("{}, packs", guest.name());
        let ours = BATCHES.map(|batch| {
            let raw = of_raw_loop(guest, batch);
            row(&name, batch, raw, of_engine(guest, batch, Feed::Packs))
        });
        assert_eq!(ours, [0; 3], "{name}");
    }
}

fn nothing_is_ours_with_instances_from_the_pond() {
    let guest = Guest::BatchEcho;
    let name = format!("{}, pond", guest.name());
    for batch in [1, 64] {
        let raw = of_raw_loop(guest, batch);
        let ours = row(&name, batch, raw, of_engine_with_pond(guest, batch));
        assert_eq!(ours, 0, "{name}, {batch} a call");
    }
}
