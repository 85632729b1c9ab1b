//! Contract 3 at the level of the canonical ABI: hand-written guests whose returns are nonsense before anybody reads their numbers, what
//! a return may weigh, and how often a call allocates in its guest.

use millpond::{Engine, FaultKind, Grants, HandlerConfig, Message, Overflow};
use millpond_tests::worlds::of_world;

use crate::harness::{LONG, config, limited, once, settled, start};

/// Most bytes of both lists of a return: the WIT says so.
const LISTS_BYTES_MAX: usize = 8 << 20;
/// Pages of a memory in which such lists have room, behind what the host puts there.
const PAGES: usize = 256;
/// Where a guest's lists begin in the large memory: nothing but zeros lies there.
const ZEROS: usize = 1 << 20;
/// The return that these guests make begins here, with zeros: a good one, of two empty lists.
const RETURNED: usize = 2048;

/// A component whose `handle` is this. Its lists may be anywhere in a memory of so many pages; at 1024 is a byte that is no UTF-8, and
/// `$allocated` is how often the host has asked for memory.
fn guest(pages: usize, handle: &str) -> Vec<u8> {
    let module = format!(
        r#"(module
        (memory (export "memory") {pages})
        (data (i32.const 1024) "\ff")
        (global $next (mut i32) (i32.const 4096))
        (global $allocated (mut i32) (i32.const 0))
        (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
            (local $at i32)
            (global.set $allocated (i32.add (global.get $allocated) (i32.const 1)))
            (local.set $at (i32.and (i32.add (global.get $next) (i32.const 7)) (i32.const -8)))
            (global.set $next (i32.add (local.get $at) (local.get 3)))
            (local.get $at))
        (func (export "millpond:batch/handler@0.1.0#handle") (param i32 i32 i32 i32) (result i32) {handle}))"#
    );
    let world = "package test:hand; world written { export millpond:batch/handler@0.1.0; }";
    of_world(&module, &["millpond-batch-0.1.0"], Some(world))
}

/// A `handle` that returns this: whether it failed, and two lists.
fn returning(failed: u32, arena: (usize, usize), index: (usize, usize)) -> String {
    let numbers = [failed as usize, arena.0, arena.1, index.0, index.1];
    let stores = numbers.iter().enumerate().map(|(n, number)| {
        let place = RETURNED + 4 * n;
        format!("(i32.store (i32.const {place}) (i32.const {number}))")
    });
    stores.chain([format!("(i32.const {RETURNED})")]).collect()
}

/// A handler of it that takes so many messages a call, each once.
fn handler(component: Vec<u8>, batch: usize) -> HandlerConfig {
    let mut handler = limited("batch-echo", |l| {
        (l.batch_messages_max, l.linger, l.deliveries_max) = (batch, LONG, 1);
        l.outbox_bytes_max = 2 * LISTS_BYTES_MAX;
    });
    handler = HandlerConfig::bytes("hand", component).limits(handler.limits);
    handler = handler.grants(Grants::all());
    handler.subject("hand").dead_letter("dead")
}

fn publish(engine: &Engine, subject: &str, count: usize) {
    for _ in 0..count {
        let message = Message::builder(subject).header("k", "v").payload(b"x");
        assert_eq!(engine.publish(message.unwrap()).unwrap(), 1);
    }
}

/// What becomes of one message, beside one of another handler, which is handled: its fault, and what that says.
pub(crate) fn fault(component: Vec<u8>) -> Option<(FaultKind, String)> {
    let other = limited("batch-counter", |_| {}).subject("other");
    let engine = start(config([handler(component, 1), other]));
    let dead = engine.subscribe("dead", Overflow::Wait).unwrap();
    publish(&engine, "hand", 1);
    publish(&engine, "other", 1);
    let stats = settled(&engine);
    assert_eq!(stats.handlers[1].acked, 1, "the shard goes on");
    let [(kind, 1)] = stats.handlers[0].faults[..] else {
        assert_eq!(
            (stats.handlers[0].acked, dead.try_next().is_none()),
            (1, true)
        );
        return None;
    };
    let letter = dead.try_next().expect("it was given up on");
    let detail = letter.headers().find(|(key, _)| *key == "Millpond-Detail");
    Some((kind, detail.expect("a letter has it").1.to_owned()))
}

#[test]
fn a_return_that_is_nonsense_to_the_canonical_abi_is_a_fault() {
    const BOUNDS: &str = "out of bounds";
    let none = (0, 0);
    let rows = [
        ("a return before memory", "(i32.const -8)".into(), BOUNDS),
        (
            "that ends outside of it",
            "(i32.const 65520)".into(),
            BOUNDS,
        ),
        (
            "unaligned",
            "(i32.const 2049)".into(),
            "pointer not aligned",
        ),
        (
            "neither answer nor error",
            returning(7, none, none),
            "discriminant",
        ),
        ("an arena outside", returning(0, (65_536, 1), none), BOUNDS),
        ("one byte too long", returning(0, (0, 65_537), none), BOUNDS),
        (
            "as long as can be said",
            returning(0, (8, 0xffff_ffff), none),
            BOUNDS,
        ),
        ("an index outside", returning(0, none, (65_532, 2)), BOUNDS),
        ("unaligned", returning(0, none, (2_050, 1)), "not aligned"),
        // 4 bytes, if its length in bytes were one of 32 bits.
        (
            "too long to be counted",
            returning(0, none, (4_096, 0x4000_0001)),
            BOUNDS,
        ),
        (
            "as long as can be said",
            returning(0, none, (4_096, 0xffff_ffff)),
            BOUNDS,
        ),
        ("an error outside", returning(1, (65_535, 2), none), BOUNDS),
        ("that is no text", returning(1, (1_024, 1), none), "utf-8"),
    ];
    for (what, handle, why) in rows {
        let (kind, detail) = fault(guest(1, &handle)).expect(what);
        assert_eq!(kind, FaultKind::Host, "{what}: {detail}");
        assert!(detail.contains(why), "{what}: {detail}");
    }
}

#[test]
fn lists_of_a_return_at_their_bound_and_one_over() {
    let of = |arena: usize, index: usize| {
        let index = (ZEROS + arena.next_multiple_of(4), index);
        fault(guest(PAGES, &returning(0, (ZEROS, arena), index)))
    };
    let max = LISTS_BYTES_MAX;
    let fuel = "too much data";
    assert_eq!(of(max - 4, 1), None, "at the bound: all are acknowledged");
    assert_eq!(of(max, 0), None, "at the bound");
    // Zeros behind the number of outcomes are sends: the first of them is seen, so all were lifted.
    let (_, detail) = of(0, max / 4).expect("it is no answer");
    assert!(detail.contains("a send of 1 numbers"), "{detail}");
    for (arena, index) in [(max - 3, 1), (max + 1, 0), (0, max / 4 + 1)] {
        let (kind, detail) = fault_of(of(arena, index));
        assert_eq!(kind, FaultKind::Host, "{arena}, {index}: {detail}");
        assert!(detail.contains(fuel), "{arena}, {index}: {detail}");
    }
    // An error's text is what the guest says, and is cut.
    let error = |len| fault(guest(PAGES, &returning(1, (ZEROS, len), (0, 0))));
    assert_eq!(fault_of(error(max)).0, FaultKind::Guest);
    let (kind, detail) = fault_of(error(max + 1));
    assert_eq!(
        (kind, detail.contains(fuel)),
        (FaultKind::Host, true),
        "{detail}"
    );
}

fn fault_of(outcome: Option<(FaultKind, String)>) -> (FaultKind, String) {
    outcome.expect("it is a fault")
}

#[test]
fn a_call_allocates_twice_in_its_guest_however_many_messages_it_has() {
    let called = |expected: u32, batch: usize| {
        let handle = format!(
            "(if (i32.ne (global.get $allocated) (i32.const {expected})) (then unreachable)) (i32.const {RETURNED})"
        );
        let engine = start(config([handler(guest(4, &handle), batch)]));
        // Without anybody who takes it, a letter would wait.
        let _dead = engine.subscribe("dead", Overflow::Wait).unwrap();
        publish(&engine, "hand", batch);
        settled(&engine).handlers.remove(0)
    };
    for batch in [1, 64, 1_024] {
        let stats = called(2, batch);
        assert_eq!((stats.acked, once(&stats)), (batch as u64, 1), "{stats:?}");
    }
    // It is counted: a guest that expects another number traps.
    for other in [1, 3] {
        assert_eq!(called(other, 1).faults, [(FaultKind::Trap, 1)]);
    }
}
