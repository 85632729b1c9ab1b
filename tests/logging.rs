//! What guests log: by `wasi:logging`, as components for wasmCloud do, of any contract; and WASI's output, under the same bound.

use std::time::Duration;

use millpond::{
    Contract, FaultKind, Grants, HandlerConfig, HandlerLimits, HandlerStats, Message, StartError,
    Way,
};
use millpond_tests::guest;
use millpond_tests::log::{Line, of_handler, record};
use millpond_tests::worlds::of_world;
use tracing::Level;

use crate::harness::{LONG, config, settled, start};

/// Most bytes of a text that is logged as one: the WIT says so.
const LINE_BYTES_MAX: usize = 4_096;

/// What this handler's guest logs when it is called with these messages, one a call, and the stats then. Its name is the test's own.
fn logged(handler: HandlerConfig, messages: &[&str]) -> (Vec<Line>, HandlerStats) {
    record();
    let mut config = config([handler.subject("in")]);
    // A call that is made again on a fiber logs again: none is, however busy the machine is.
    config.limits.time_slice = Duration::from_secs(1);
    let engine = start(config);
    for text in messages {
        let message = Message::new("in", text.as_bytes()).unwrap();
        assert_eq!(engine.publish(message).unwrap(), 1);
    }
    let stats = settled(&engine).handlers.remove(0);
    // Used instances go with their shards, and say what was left out.
    engine.stop();
    (of_handler(&stats.name), stats)
}

/// A handler of this name whose calls, of one message, may write so many lines.
fn lines_max(handler: HandlerConfig, lines: usize) -> HandlerConfig {
    let limits = HandlerLimits {
        log_lines_max: lines,
        deliveries_max: 1,
        batch_messages_max: 1,
        latency_budget: 100 * LONG,
        deadline: LONG,
        wall_deadline: LONG,
        ..HandlerLimits::default()
    };
    handler.limits(limits).grants(Grants::all())
}

/// The guest that logs, under a name of the test's own.
fn logger(name: &str, lines: usize) -> HandlerConfig {
    lines_max(HandlerConfig::file(name, guest("logger")), lines)
}

/// Level, text and context of a line, and whether it is critical.
fn parts(line: &Line) -> (Level, &str, &str, bool) {
    let critical = line.field("critical") == "true";
    (line.level, line.message(), line.field("context"), critical)
}

fn texts(lines: &[Line]) -> Vec<&str> {
    lines.iter().map(Line::message).collect()
}

#[test]
fn a_component_for_wasmcloud_that_logs_runs_unchanged_and_directly() {
    let inspect = |name: &str| millpond::inspect(&HandlerConfig::file("h", guest(name))).unwrap();
    let logger = inspect("logger");
    assert_eq!(logger.contract, Contract::Wasmcloud020);
    assert_eq!(logger.way, Way::Direct, "to log is not to wait");
    let logging = |name: &str| {
        let inspected = inspect(name);
        let found = inspected
            .imports
            .into_iter()
            .find(|i| i.name.starts_with("wasi:logging"));
        found.map(|import| (import.name, import.granted))
    };
    let published = ("wasi:logging/logging@0.1.0-draft".to_owned(), true);
    assert_eq!(logging("logger"), Some(published));
    assert_eq!(
        logging("echo-wasmcloud"),
        None,
        "who imports nothing has nothing"
    );
}

#[test]
fn each_level_is_the_logs_own_and_what_is_critical_is_an_error_that_says_so() {
    let levels = ["trace", "debug", "info", "warn", "error", "critical"];
    let commands = levels.map(|level| format!("log {level} of {level} it is a text"));

    let (lines, stats) = logged(logger("levels", 5), &[&commands.join(";")]);
    assert_eq!((stats.acked, &*stats.faults), (1, &[][..]));
    // Nobody listens for the first: it is no line, and takes no other's place.
    let expected = [
        (Level::DEBUG, "debug it is a text", "of", false),
        (Level::INFO, "info it is a text", "of", false),
        (Level::WARN, "warn it is a text", "of", false),
        (Level::ERROR, "error it is a text", "of", false),
        (Level::ERROR, "critical it is a text", "of", true),
    ];
    assert_eq!(lines.iter().map(parts).collect::<Vec<_>>(), expected);
}

#[test]
fn lines_of_a_call_at_their_number_and_one_over() {
    let (lines, _) = logged(logger("lines-at", 3), &["count 3", "count 3"]);
    assert_eq!(
        texts(&lines),
        ["0", "1", "2", "0", "1", "2"],
        "each call has its own"
    );
    let (lines, stats) = logged(logger("lines-over", 3), &["count 4", "count 1003"]);
    assert_eq!(
        (stats.acked, &*stats.faults),
        (2, &[][..]),
        "a guest may go on"
    );
    let (left_out, written): (Vec<_>, Vec<_>) = lines
        .into_iter()
        .partition(|line| line.fields.contains_key("left_out"));
    assert_eq!(texts(&written), ["0", "1", "2", "0", "1", "2"]);
    let counts = left_out.iter().map(|line| {
        (
            line.level,
            line.field("left_out"),
            line.field("log_lines_max"),
        )
    });
    let expected = [(Level::WARN, "1", "3"), (Level::WARN, "1000", "3")];
    assert_eq!(counts.collect::<Vec<_>>(), expected);
    let (lines, _) = logged(logger("lines-none", 0), &["log error a b"]);
    assert_eq!(lines[0].field("left_out"), "1");
    assert_eq!(lines.len(), 1);
}

#[test]
fn texts_at_their_length_and_one_over() {
    let max = LINE_BYTES_MAX;
    let commands = format!(
        "long {max} {max};long {over} {over};long 3 8000000",
        over = max + 1
    );
    let (lines, stats) = logged(logger("long", 3), &[&commands]);
    assert_eq!(stats.acked, 1);
    let [at, over, huge] = &lines[..] else {
        panic!("{} lines", lines.len());
    };
    let (context, message) = ("c".repeat(max), "m".repeat(max));
    assert_eq!((at.field("context"), at.message()), (&*context, &*message));
    let (context, message) = (context + "…", message + "…");
    assert_eq!(
        (over.field("context"), over.message()),
        (&*context, &*message)
    );
    assert_eq!((huge.field("context"), huge.message()), ("ccc", &*message));
}

#[test]
fn a_text_stays_on_its_line_whatever_it_says() {
    let command = "log info a\nb \x1b[2Jdone\r\n2026-01-01 ERROR millpond: forged\u{202e}";
    let (lines, _) = logged(logger("one-line", 9), &[command]);
    let [line] = &lines[..] else {
        panic!("{lines:?}");
    };
    assert_eq!(line.field("context"), r"a\nb");
    let text = r"\u{1b}[2Jdone\r\n2026-01-01 ERROR millpond: forged\u{202e}";
    assert_eq!(line.message(), text);
}

#[test]
fn a_call_that_fails_has_logged() {
    let commands = "log warn why it fails;fail";
    let (lines, stats) = logged(logger("fails", 9), &[commands]);
    assert_eq!(stats.faults, [(FaultKind::Guest, 1)]);
    assert_eq!(texts(&lines), ["it fails"]);
}

#[test]
fn what_wasi_prints_is_under_the_same_bound() {
    let handler = lines_max(HandlerConfig::file("prints", guest("sleeper")), 3);
    let commands = "print a\u{1b}[1m;eprint b;print c;eprint d;print e";
    let (lines, stats) = logged(handler, &[commands]);
    assert_eq!(stats.acked, 1);
    let streams: Vec<_> = lines
        .iter()
        .map(|l| (l.field("stream"), l.message()))
        .collect();
    let expected = [("stdout", r"a\u{1b}[1m"), ("stderr", "b"), ("stdout", "c")];
    assert_eq!(streams[..3], expected);
    assert_eq!(lines[3].field("left_out"), "2");
}

/// A component of contract 3 that logs a byte as its message, by this interface.
fn of_contract_3(package: &str, interface: &str, byte: &str) -> Vec<u8> {
    let module = format!(
        r#"(module
        (import "{interface}" "log" (func $log (param i32 i32 i32 i32 i32)))
        (memory (export "memory") 4)
        (data (i32.const 1024) "{byte}")
        (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) (i32.const 4096))
        (func (export "millpond:batch/handler@0.1.0#handle") (param i32 i32 i32 i32) (result i32)
            (call $log (i32.const 3) (i32.const 0) (i32.const 0) (i32.const 1024) (i32.const 1))
            (i32.const 2048)))"#
    );
    let world = format!(
        "package test:logs; world written {{ import {interface}; export millpond:batch/handler@0.1.0; }}
        package {package} {{ interface logging {{
            enum level {{ trace, debug, info, warn, error, critical }}
            log: func(level: level, context: string, message: string);
        }} }}"
    );
    of_world(&module, &["millpond-batch-0.1.0"], Some(&world))
}

fn hand(name: &str, component: Vec<u8>) -> HandlerConfig {
    lines_max(HandlerConfig::bytes(name, component), 9)
}

#[test]
fn guests_of_other_contracts_log_too_by_either_name() {
    for (name, package, interface) in [
        (
            "published",
            "wasi:logging@0.1.0-draft",
            "wasi:logging/logging@0.1.0-draft",
        ),
        ("without-a-version", "wasi:logging", "wasi:logging/logging"),
    ] {
        let handler = hand(name, of_contract_3(package, interface, "x"));
        assert_eq!(millpond::inspect(&handler).unwrap().way, Way::Direct);
        let (lines, stats) = logged(handler, &["any"]);
        assert_eq!((stats.acked, &*stats.faults), (1, &[][..]), "{name}");
        let parts: Vec<_> = lines.iter().map(parts).collect();
        assert_eq!(parts, [(Level::WARN, "x", "", false)], "{name}");
    }
}

#[test]
fn a_message_that_is_no_text_ends_the_call_and_another_version_is_refused() {
    let interface = "wasi:logging/logging@0.1.0-draft";
    let handler = hand(
        "no-text",
        of_contract_3("wasi:logging@0.1.0-draft", interface, "\\ff"),
    );
    let (lines, stats) = logged(handler, &["any"]);
    assert_eq!((stats.faults, lines.len()), (vec![(FaultKind::Host, 1)], 0));
    let other = of_contract_3("wasi:logging@7.0.0", "wasi:logging/logging@7.0.0", "x");
    let refused = millpond::inspect(&hand("other", other)).expect_err("nobody provides it");
    let StartError::Component { cause, .. } = &refused else {
        panic!("{refused}");
    };
    assert!(
        cause.to_string().contains("wasi:logging/logging@7.0.0"),
        "{cause}"
    );
}
