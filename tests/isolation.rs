//! Isolation: no call sees what another left. A hand-written guest looks at every byte of its three memories, at its globals and
//! at its tables, traps if anything is not as its component made it, then scribbles over all of it.

use millpond::{Engine, EngineConfig, HandlerConfig, Message, ResetMode, StartError};
use millpond_tests::worlds::of_world;

use crate::harness::{Asked, PROBE, config, handler, limited, once, settled, start};

/// Calls in each reset mode.
const CALLS: u64 = 100_000;

/// A core module of the first revision's world. Memory 0 holds what the contract needs in its first page; the rest of it, and
/// the two others, are only looked at and scribbled over. Each memory begins with data, so that both an image's pages and
/// those that were never written are looked at. The page of memory 2 grows by one a call.
const SCRIBBLER: &str = r#"
(module
  (memory (export "memory") 3)
  (memory $b 2)
  (memory $c 1 8)
  (global $i (mut i32) (i32.const 7))
  (global $l (mut i64) (i64.const -7))
  (table $t 8 16 funcref)
  (elem (table $t) (i32.const 0) func $true)
  (func $true (result i32) i32.const 1)

  ;; configure: ok, with one channel "isolation" and no extensions.
  (data (i32.const 1024) "\00\00\00\00\10\04\00\00\01\00\00\00\00\00\00\00")
  (data (i32.const 1040) "\20\04\00\00\09\00\00\00")
  (data (i32.const 1056) "isolation")
  (func (export "wasi:messaging/messaging-guest#configure") (result i32) (i32.const 1024))

  ;; Arguments are put below the scribbled pages, one after the other; none is freed.
  (global $next (mut i32) (i32.const 4096))
  (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
    (local $at i32)
    (local.set $at (i32.and (i32.add (global.get $next) (i32.const 7)) (i32.const -8)))
    (global.set $next (i32.add (local.get $at) (local.get 3)))
    (local.get $at))

  ;; What the image holds of each memory: one word in its scribbled part.
  (data (memory 0) (i32.const 65536) "\01\02\03\04\05\06\07\08")
  (data (memory $b) (i32.const 65528) "\11\12\13\14\15\16\17\18")
  (data (memory $c) (i32.const 0) "\21\22\23\24\25\26\27\28")

  (func $check (param $dirty i32) (if (local.get $dirty) (then unreachable)))

  ;; Zero but for the one word, from $from to $to, by steps of 8. One function a memory: their index is no operand.
  (func $pristine0 (param $from i32) (param $to i32)
    (loop $go
      (call $check (i64.ne (i64.load (local.get $from)) (select (i64.const 0x0807060504030201) (i64.const 0) (i32.eq (local.get $from) (i32.const 65536)))))
      (i64.store (local.get $from) (i64.const -1))
      (local.set $from (i32.add (local.get $from) (i32.const 8)))
      (br_if $go (i32.lt_u (local.get $from) (local.get $to)))))
  (func $pristine1 (param $from i32) (param $to i32)
    (loop $go
      (call $check (i64.ne (i64.load $b (local.get $from)) (select (i64.const 0x1817161514131211) (i64.const 0) (i32.eq (local.get $from) (i32.const 65528)))))
      (i64.store $b (local.get $from) (i64.const -1))
      (local.set $from (i32.add (local.get $from) (i32.const 8)))
      (br_if $go (i32.lt_u (local.get $from) (local.get $to)))))
  (func $pristine2 (param $from i32) (param $to i32)
    (loop $go
      (call $check (i64.ne (i64.load $c (local.get $from)) (select (i64.const 0x2827262524232221) (i64.const 0) (i32.eqz (local.get $from)))))
      (i64.store $c (local.get $from) (i64.const -1))
      (local.set $from (i32.add (local.get $from) (i32.const 8)))
      (br_if $go (i32.lt_u (local.get $from) (local.get $to)))))

  (func (export "wasi:messaging/messaging-guest#handler") (param i32 i32) (result i32)
    (call $check (i32.ne (global.get $i) (i32.const 7)))
    (global.set $i (i32.const -1))
    (call $check (i64.ne (global.get $l) (i64.const -7)))
    (global.set $l (i64.const 99))
    (call $check (i32.ne (memory.size $c) (i32.const 1)))
    (call $check (i32.eq (memory.grow $c (i32.const 1)) (i32.const -1)))
    (call $check (i32.ne (table.size $t) (i32.const 8)))
    (call $check (ref.is_null (table.get $t (i32.const 0))))
    (call $check (i32.eqz (ref.is_null (table.get $t (i32.const 1)))))
    (call $check (i32.eqz (ref.is_null (table.get $t (i32.const 7)))))
    (table.fill $t (i32.const 1) (ref.func $true) (i32.const 7))
    (table.set $t (i32.const 0) (ref.null func))
    (call $check (i32.eq (table.grow $t (ref.func $true) (i32.const 2)) (i32.const -1)))
    (call $pristine0 (i32.const 65536) (i32.const 81920))
    (call $pristine0 (i32.const 192512) (i32.const 196608))
    (call $pristine1 (i32.const 61440) (i32.const 65536))
    (call $pristine1 (i32.const 126976) (i32.const 131072))
    (call $pristine2 (i32.const 0) (i32.const 4096))
    (call $pristine2 (i32.const 65536) (i32.const 69632))
    (i32.const 2048))
  (elem declare func $true)
)"#;

/// A module as a component of the first revision.
pub(crate) fn component(module: &str) -> Vec<u8> {
    of_world(module, &["wasi-messaging-2023-06"], None)
}

fn scribbler() -> Vec<u8> {
    component(SCRIBBLER)
}

/// A configuration of this handler for every reset mode that this machine has, of which only the page map may be missing;
/// and the first of them with guard pages.
fn modes(handler: &HandlerConfig) -> Vec<EngineConfig> {
    let mut configs = Vec::new();
    for mode in ResetMode::ALL {
        let mut config = config([handler.clone()]);
        config.reset = Some(mode);
        match Engine::start(config.clone()) {
            Ok(engine) => {
                assert_eq!(engine.stats().reset, mode.name());
                configs.push(config);
            }
            Err(StartError::Config(why)) if mode == ResetMode::PagemapScan => {
                assert!(why.contains("can't be used here"), "{why}");
            }
            Err(error) => panic!("{}: {error}", mode.name()),
        }
    }
    let guarded = EngineConfig {
        guard_pages: true,
        ..configs[0].clone()
    };
    configs.push(guarded);
    configs
}

#[test]
fn a_guest_that_scribbles_is_never_seen_by_another_call() {
    let mut handler = HandlerConfig::bytes("scribbler", scribbler());
    handler.limits.batch_messages_max = 1;
    handler.limits.deadline = crate::harness::LONG;
    for config in modes(&handler) {
        let engine = start(config);
        let message = Message::new("isolation", b"scribble").unwrap();
        for _ in 0..CALLS {
            while engine.publish(message.clone()).is_err() {
                std::thread::yield_now();
            }
        }
        let stats = settled(&engine);
        let calls = &stats.handlers[0];
        assert_eq!(
            calls.faults,
            [],
            "{}: a call found what another had left",
            stats.reset
        );
        // On a busy machine some overrun their slice and are made again, in other instances.
        assert_eq!(
            (once(calls), calls.acked),
            (CALLS, CALLS),
            "{}",
            stats.reset
        );
    }
}

#[test]
fn the_scribbler_traps_when_it_is_called_in_what_it_left() {
    // Two calls by hand in one instance: what the test above relies on.
    let engine = wasmtime::Engine::default();
    let component = wasmtime::component::Component::new(&engine, scribbler()).unwrap();
    let mut store = wasmtime::Store::new(&engine, ());
    let mut linker = wasmtime::component::Linker::new(&engine);
    linker.define_unknown_imports_as_traps(&component).unwrap();
    let instance = linker.instantiate(&mut store, &component).unwrap();
    let guest = instance
        .get_export_index(&mut store, None, "wasi:messaging/messaging-guest")
        .unwrap();
    let handler = instance
        .get_export_index(&mut store, Some(&guest), "handler")
        .unwrap();
    let handler = instance.get_func(&mut store, handler).unwrap();
    let mut call = || {
        let mut results = [wasmtime::component::Val::Bool(false)];
        handler.call(
            &mut store,
            &[wasmtime::component::Val::List(Vec::new())],
            &mut results,
        )
    };
    call().expect("a fresh instance is as its component made it");
    let trap = call().unwrap_err();
    assert_eq!(
        trap.downcast_ref::<wasmtime::Trap>(),
        Some(&wasmtime::Trap::UnreachableCodeReached)
    );
}

#[test]
fn a_compiled_guest_that_scribbles_is_never_seen_by_another_call() {
    for config in modes(&limited(PROBE, |l| l.batch_messages_max = 1)) {
        let mode = config.reset.unwrap();
        let asked = Asked::with(config);
        for _ in 0..500 {
            assert_eq!(
                asked.ask("pristine report;scribble"),
                "ok",
                "{}",
                mode.name()
            );
            assert_eq!(asked.ask("count report"), "1", "{}", mode.name());
        }
        asked.end();
    }
}

#[test]
fn a_batch_shares_one_instance_and_batches_never_do() {
    let engine = start(config([handler("counter")]));
    // The counter traps if its static is not as its component made it.
    for _ in 0..20_000 {
        while engine
            .publish(Message::new("counter", b"x").unwrap())
            .is_err()
        {
            std::thread::yield_now();
        }
    }
    let stats = settled(&engine);
    assert_eq!(
        (stats.handlers[0].faults.len(), stats.handlers[0].acked),
        (0, 20_000)
    );
    assert_eq!(
        stats.instances_called, stats.handlers[0].calls,
        "an instance a call"
    );
}
