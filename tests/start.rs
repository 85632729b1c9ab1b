//! What an engine refuses to start with: one clear error each, and nothing left running.

use std::time::Duration;

use millpond::{ComponentError, Engine, EngineConfig, HandlerConfig, StartError};
use millpond_tests::guest;

use crate::harness::{config, handler, limited};

fn refused(config: EngineConfig) -> StartError {
    Engine::start(config).expect_err("it does not start")
}

fn component(bytes: impl Into<Vec<u8>>) -> String {
    refused(config([HandlerConfig::bytes("given", bytes)])).to_string()
}

fn text(wat: &str) -> Vec<u8> {
    wat::parse_str(wat).unwrap()
}

#[test]
fn what_is_no_usable_component() {
    assert!(component(*b"plain text").contains("does not begin as WebAssembly does"));
    assert!(component(Vec::new()).contains("does not begin"));
    let module = component(text("(module)"));
    assert!(
        module.contains("core module") && module.contains("wasm-tools component new"),
        "{module}"
    );
    let damaged = &std::fs::read(guest("counter")).unwrap()[..1_000];
    assert!(component(damaged).contains("not a component that can be run"));
    let missing = refused(config([HandlerConfig::file("gone", "/no/such/file.wasm")]));
    assert!(matches!(
        &missing,
        StartError::Component {
            cause: ComponentError::Read(_),
            ..
        }
    ));
    assert!(missing.to_string().contains("/no/such/file.wasm"));
}

#[test]
fn a_component_without_a_contract_is_named_with_what_it_exports() {
    let error = component(text(
        r#"(component (instance $i) (export "some:thing/else@1.0.0" (instance $i)))"#,
    ));
    assert!(error.contains("some:thing/else@1.0.0"), "{error}");
    assert!(
        error.contains("wasi:messaging/messaging-guest@0.2.0-draft"),
        "{error}"
    );
    assert!(component(text("(component)")).contains("it exports nothing"));
}

/// A component of contract 1 with this import and these sizes, which only loads.
fn with_parts(parts: &str) -> Vec<u8> {
    text(&format!(
        r#"(component
            {parts}
            (instance $guest)
            (export "wasi:messaging/messaging-guest" (instance $guest)))"#
    ))
}

#[test]
fn a_contract_without_its_functions_is_none() {
    assert!(component(with_parts("")).contains("exports no contract"));
}

#[test]
fn an_import_that_nobody_provides_is_named() {
    let error = component(with_functions(
        r#"(import "acme:store/kv@1.2.0" (instance (export "get" (func))))"#,
    ));
    assert!(
        error.contains("imports acme:store/kv@1.2.0, which nobody provides"),
        "{error}"
    );
}

/// A component of contract 1 whose functions trap, with these other parts.
fn with_functions(parts: &str) -> Vec<u8> {
    text(&format!(
        r#"(component
            {parts}
            (core module $m (func (export "f") unreachable))
            (core instance $i (instantiate $m))
            (func $f (canon lift (core func $i "f")))
            (instance $guest (export "configure" (func $f)) (export "handler" (func $f)))
            (export "wasi:messaging/messaging-guest" (instance $guest)))"#
    ))
}

#[test]
fn memory_that_a_component_starts_with_at_the_limit_and_one_over() {
    let three_pages =
        with_functions("(core module $m3 (memory 3)) (core instance (instantiate $m3))");
    let start = |bytes| {
        let mut handler = HandlerConfig::bytes("three", three_pages.clone());
        handler.limits.memory_bytes_max = bytes;
        refused(config([handler])).to_string()
    };
    let loaded = start(3 << 16);
    assert!(
        loaded.contains("another type than its contract"),
        "at the limit it is loaded: {loaded}"
    );
    let error = start((3 << 16) - 1);
    assert!(
        error.contains("196608 bytes of memory") && error.contains("memory_bytes_max"),
        "{error}"
    );
}

#[test]
fn memories_and_tables_of_a_component_at_the_limit_and_one_over() {
    let memories = |count: usize| {
        let one = "(core module $M (memory 1)) (core instance (instantiate $M))";
        with_functions(
            &(0..count)
                .map(|i| one.replace("$M", &format!("$m{i}")))
                .collect::<String>(),
        )
    };
    let error = component(memories(5));
    assert!(
        error.contains("5 Wasm linear memories") && error.contains("memories_max"),
        "{error}"
    );
    assert!(
        component(memories(4)).contains("another type than its contract"),
        "four are loaded"
    );
    let tables = with_functions(
        &(0..5)
            .map(|i| {
                format!("(core module $t{i} (table 1 funcref)) (core instance (instantiate $t{i}))")
            })
            .collect::<String>(),
    );
    let error = component(tables);
    assert!(
        error.contains("5 tables") && error.contains("tables_max"),
        "{error}"
    );
}

#[test]
fn a_configure_that_errs_traps_never_ends_or_names_nothing_usable() {
    for (name, words) in [
        ("configure-error", "configure failed: guest error"),
        ("configure-trap", "configure failed: trap"),
        ("configure-loop", "did not end within"),
        ("configure-empty", "named no channels"),
        ("configure-bad-subject", "bad subject \"a..b\""),
    ] {
        let handler = limited(name, |l| l.deadline = Duration::from_millis(100));
        let error = refused(config([handler]));
        assert!(matches!(error, StartError::Configure { .. }), "{name}");
        assert!(
            error.to_string().contains(words) && error.to_string().contains(name),
            "{error}"
        );
    }
}

#[test]
fn subjects_given_by_the_owner_serve_a_guest_that_names_none() {
    Engine::start(config([handler("configure-empty").subject("given.*")])).expect("it starts");
}

#[test]
fn settings_of_a_guest_hold() {
    let engine = crate::harness::start(config([handler("configure-extensions")]));
    for _ in 0..700 {
        engine
            .publish(millpond::Message::new("ext", b"").unwrap())
            .unwrap();
    }
    let stats = crate::harness::settled(&engine);
    let handler = &stats.handlers[0];
    assert!(
        handler.calls >= 100,
        "at most 7 messages a call: {} calls of 700",
        handler.calls
    );
}

#[test]
fn more_memory_than_there_may_be_is_refused_with_the_sum() {
    let mut small = config([handler("counter")]);
    let sum = crate::harness::start(small.clone()).memory().clone();
    small.limits.memory_total_bytes_max = Some(sum.total());
    crate::harness::start(small.clone());
    small.limits.memory_total_bytes_max = Some(sum.total() - 1);
    let error = refused(small).to_string();
    assert!(error.contains(&sum.to_string()), "{error}");
    let huge = limited("counter", |l| l.memory_bytes_max = 1 << 45);
    let error = refused(config([huge])).to_string();
    assert!(
        error.contains("MiB may be used"),
        "the machine's own memory bounds it: {error}"
    );
}

#[test]
fn a_reset_mode_that_is_asked_for_is_used_or_refused() {
    for mode in millpond::ResetMode::ALL {
        let mut asked = config([handler("counter")]);
        asked.reset = Some(mode);
        match Engine::start(asked) {
            Ok(engine) => assert_eq!(engine.stats().reset, mode.name()),
            Err(error) => {
                assert_eq!(mode, millpond::ResetMode::PagemapScan, "{error}");
                assert!(matches!(error, StartError::Config(_)), "{error}");
                assert!(error.to_string().contains("can't be used here"), "{error}");
            }
        }
    }
}
