//! Guests that no compiler makes: called on the shard's own stack, and on a fiber if they don't end there, they break the rules of
//! the contract's encoding, hold what they should give back, or never end. Each is a fault of its own kind, and the shard goes on.

use std::fmt;
use std::time::Duration;

use millpond::{
    Engine, FaultKind, Grants, HEADER_BYTES_MAX, HandlerConfig, HandlerStats, Overflow,
    PAYLOAD_BYTES_MAX, StartError,
};

use crate::harness::{LONG, config, limited, once, settled, start};
use crate::isolation::component;

/// Calls of a message that always fails.
const DELIVERIES: u32 = 3;

/// A core module of the first revision's world, by its parts. It listens on `hand`.
///
/// In its memory lie at 1024 what `configure` returns, at 1040 its one channel, at 1056 and on the names; at 2048 begin zeros,
/// which are a good result of the handler; what the host allocates begins at 4096.
pub(crate) struct Hand {
    pub(crate) imports: String,
    pub(crate) pages: u32,
    pub(crate) configure: &'static str,
    pub(crate) realloc: &'static str,
    pub(crate) handler: String,
    pub(crate) more: &'static str,
}

impl Default for Hand {
    fn default() -> Self {
        Self {
            imports: String::new(),
            pages: 1,
            configure: "(i32.const 1024)",
            realloc: "(local $at i32)
                (local.set $at (i32.and (i32.add (global.get $next) (i32.const 7)) (i32.const -8)))
                (global.set $next (i32.add (local.get $at) (local.get 3)))
                (local.get $at)",
            handler: "(i32.const 2048)".into(),
            more: "",
        }
    }
}

impl fmt::Display for Hand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            imports,
            pages,
            configure,
            realloc,
            handler,
            more,
        } = self;
        write!(
            f,
            r#"(module
            {imports}
            (memory (export "memory") {pages})
            (data (i32.const 1024) "\00\00\00\00\10\04\00\00\01\00\00\00\00\00\00\00")
            (data (i32.const 1040) "\20\04\00\00\04\00\00\00")
            (data (i32.const 1056) "hand")
            (data (i32.const 1072) "default")
            (data (i32.const 1088) "nowhere")
            (data (i32.const 1104) "out")
            (data (i32.const 1120) "k")
            (global $next (mut i32) (i32.const 4096))
            (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) {realloc})
            (func (export "wasi:messaging/messaging-guest#configure") (result i32) {configure})
            (func (export "wasi:messaging/messaging-guest#handler") (param i32 i32) (result i32) {handler})
            {more})"#
        )
    }
}

impl Hand {
    /// A handler of it, which may send to `out` and connect to `default` alone.
    pub(crate) fn config(&self) -> HandlerConfig {
        let grants = Grants {
            send: vec!["out".into()],
            subscribe: vec![">".into()],
            ..Grants::default()
        };
        let mut handler = HandlerConfig::bytes("hand", component(&self.to_string())).grants(grants);
        handler.limits.deliveries_max = DELIVERIES;
        handler.limits.retry_delay_first = Duration::from_millis(1);
        handler.limits.deadline = LONG;
        handler.limits.wall_deadline = LONG;
        handler
    }

    /// Why an engine does not start with it.
    fn refused(&self) -> String {
        let mut handler = self.config();
        handler.limits.deadline = Duration::from_millis(50);
        let error = Engine::start(config([handler])).expect_err("it does not start");
        assert!(matches!(error, StartError::Configure { .. }), "{error}");
        error.to_string()
    }
}

/// Publishes one message to this handler, and one to another of the same shard, which handles it.
fn called(handler: HandlerConfig) -> HandlerStats {
    let engine = start(config([handler, limited("counter", |_| {})]));
    for subject in ["hand", "counter"] {
        let message = millpond::Message::new(subject, b"x").unwrap();
        assert_eq!(engine.publish(message).unwrap(), 1, "{subject}");
    }
    let stats = settled(&engine);
    assert_eq!(stats.handlers[1].acked, 1, "the shard goes on");
    stats.handlers[0].clone()
}

/// Asserts that each of the message's calls fails with this fault.
fn faults(handler: HandlerConfig, kind: FaultKind, what: &str) {
    let stats = called(handler);
    assert_eq!(stats.faults, [(kind, u64::from(DELIVERIES))], "{what}");
    assert_eq!(stats.terminated, [(kind, 1)], "{what}");
    // Calls that overran their slice were made again: that is no delivery.
    assert_eq!(
        (once(&stats), stats.retried),
        (u64::from(DELIVERIES), u64::from(DELIVERIES) - 1),
        "{what}"
    );
}

#[test]
fn a_hand_written_guest_that_keeps_the_rules_is_called() {
    let stats = called(Hand::default().config());
    assert_eq!((stats.acked, &*stats.faults), (1, &[][..]));
}

#[test]
fn a_call_that_never_ends_is_ended_at_its_deadline() {
    const ENDLESS: &str = "(loop $go (br $go)) unreachable";
    let in_handler = Hand {
        handler: ENDLESS.into(),
        ..Hand::default()
    };
    let in_realloc = Hand {
        realloc: ENDLESS,
        ..Hand::default()
    };
    for (hand, what) in [(in_handler, "its handler"), (in_realloc, "its realloc")] {
        let mut handler = hand.config();
        handler.limits.deadline = Duration::from_millis(20);
        faults(handler, FaultKind::Deadline, what);
    }
}

#[test]
fn a_direct_call_that_overflows_its_stack_is_ended() {
    let deep = Hand {
        handler: "(call $down (i32.const 0))".into(),
        more: "(func $down (param i32) (result i32)
            (i32.add (call $down (i32.add (local.get 0) (i32.const 1))) (local.get 0)))",
        ..Hand::default()
    };
    faults(deep.config(), FaultKind::Stack, "endless recursion");
}

#[test]
fn memory_for_arguments_that_is_none_is_a_fault() {
    for (realloc, kind) in [
        ("(i32.const -8)", FaultKind::Host),
        ("(i32.const 65536)", FaultKind::Host),
        ("(i32.const 4097)", FaultKind::Host),
        ("unreachable", FaultKind::Trap),
    ] {
        let hand = Hand {
            realloc,
            ..Hand::default()
        };
        faults(hand.config(), kind, realloc);
    }
}

#[test]
fn a_result_that_is_none_is_a_fault() {
    for (handler, kind) in [
        ("(i32.const -8)", FaultKind::Host),
        ("(i32.const 65532)", FaultKind::Host),
        ("(i32.const 2049)", FaultKind::Host),
        (
            "(i32.store8 (i32.const 2048) (i32.const 7)) (i32.const 2048)",
            FaultKind::Host,
        ),
        // An error whose handle was never given.
        (
            "(i32.store8 (i32.const 2048) (i32.const 1)) (i32.const 2048)",
            FaultKind::Guest,
        ),
    ] {
        let hand = Hand {
            handler: handler.into(),
            ..Hand::default()
        };
        faults(hand.config(), kind, handler);
    }
}

#[test]
fn a_configuration_that_is_none_is_refused() {
    for (configure, why) in [
        ("(i32.const -8)", "pointer out of bounds"),
        (
            "(i32.store8 (i32.const 1024) (i32.const 7)) (i32.const 1024)",
            "invalid expected discriminant",
        ),
        // A list that would end outside of memory, and one that begins there.
        (
            "(i32.store (i32.const 1032) (i32.const 0x0fffffff)) (i32.const 1024)",
            "list pointer/length out of bounds",
        ),
        (
            "(i32.store (i32.const 1028) (i32.const -8)) (i32.const 1024)",
            "list pointer/length out of bounds",
        ),
        (
            "(i32.store8 (i32.const 1056) (i32.const 0xff)) (i32.const 1024)",
            "invalid utf-8",
        ),
    ] {
        let hand = Hand {
            configure,
            ..Hand::default()
        };
        let error = hand.refused();
        assert!(error.contains("configure failed: host: "), "{error}");
        assert!(error.contains(why), "{configure}: {error}");
    }
}

#[test]
fn a_start_function_that_never_ends_or_traps_is_refused() {
    for (more, why) in [
        (
            "(start $start) (func $start (loop $go (br $go)))",
            "configure failed: deadline",
        ),
        (
            "(start $start) (func $start unreachable)",
            "configure failed: trap",
        ),
    ] {
        let hand = Hand {
            more,
            ..Hand::default()
        };
        let error = hand.refused();
        assert!(error.contains(why), "{error}");
    }
}

pub(crate) const CONNECT: &str =
    r#"(import "wasi:messaging/messaging-types" "connect" (func $connect (param i32 i32 i32)))"#;

#[test]
fn handles_that_a_guest_holds_at_the_limit_and_one_over() {
    const HANDLES_MAX: u32 = 1_024;
    // Connections, and errors of refused ones.
    for name in [1072, 1088] {
        let hold = |count| Hand {
            imports: CONNECT.into(),
            handler: format!(
                "(local $i i32)
                (loop $go
                    (call $connect (i32.const {name}) (i32.const 7) (i32.const 3072))
                    (local.set $i (i32.add (local.get $i) (i32.const 1)))
                    (br_if $go (i32.lt_u (local.get $i) (i32.const {count}))))
                (i32.const 2048)"
            ),
            ..Hand::default()
        };
        let held = called(hold(HANDLES_MAX).config());
        assert_eq!((held.acked, &*held.faults), (1, &[][..]));
        let over = hold(HANDLES_MAX + 1).config();
        faults(over, FaultKind::Host, "one handle over the limit");
    }
}

#[test]
fn a_guest_that_configures_can_do_nothing_else() {
    for (function, imports, configure) in [
        (
            "send",
            r#"(import "wasi:messaging/producer" "send" (func $f (param i32 i32 i32 i32 i32 i32)))"#,
            "(call $connect (i32.const 1072) (i32.const 7) (i32.const 3072))
            (call $f (i32.load (i32.const 3076)) (i32.const 1104) (i32.const 3) (i32.const 2048) (i32.const 1) (i32.const 3072))
            (i32.const 3072)",
        ),
        (
            "update-guest-configuration",
            r#"(import "wasi:messaging/consumer" "update-guest-configuration" (func $f (param i32 i32 i32 i32 i32 i32)))"#,
            "(call $f (i32.const 1040) (i32.const 1) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 3072))
            (i32.const 3072)",
        ),
        (
            "complete-message",
            r#"(import "wasi:messaging/consumer" "complete-message" (func $f (param i32 i32 i32 i32 i32 i32 i32)))"#,
            "(call $f (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 3072))
            (i32.const 3072)",
        ),
        (
            "subscribe-receive",
            r#"(import "wasi:messaging/consumer" "subscribe-receive" (func $f (param i32 i32 i32 i32)))"#,
            "(call $connect (i32.const 1072) (i32.const 7) (i32.const 3072))
            (call $f (i32.load (i32.const 3076)) (i32.const 1104) (i32.const 3) (i32.const 3072))
            (i32.const 3072)",
        ),
    ] {
        let hand = Hand {
            imports: format!("{CONNECT}{imports}"),
            configure,
            ..Hand::default()
        };
        let error = hand.refused();
        let why = format!("{function} can only be called while messages are handled");
        assert!(error.contains(&why), "{error}");
    }
}

pub(crate) const SEND: &str =
    r#"(import "wasi:messaging/producer" "send" (func $send (param i32 i32 i32 i32 i32 i32)))"#;

/// A guest that sends one message of so many bytes, with one header `k` whose value has so many, to `out`; an error is returned.
fn sender(payload: usize, value: usize) -> Hand {
    Hand {
        imports: format!("{CONNECT}{SEND}"),
        pages: 20,
        handler: format!(
            "(call $connect (i32.const 1072) (i32.const 7) (i32.const 3072))
            (i32.store (i32.const 2048) (i32.const 65536))
            (i32.store (i32.const 2052) (i32.const {payload}))
            (i32.store (i32.const 2056) (i32.const 5))
            (i32.store (i32.const 2060) (i32.const 1))
            (i32.store (i32.const 2064) (i32.const 2072))
            (i32.store (i32.const 2068) (i32.const 1))
            (i32.store (i32.const 2072) (i32.const 1120))
            (i32.store (i32.const 2076) (i32.const 1))
            (i32.store (i32.const 2080) (i32.const 65536))
            (i32.store (i32.const 2084) (i32.const {value}))
            (call $send (i32.load (i32.const 3076)) (i32.const 1104) (i32.const 3) (i32.const 2048) (i32.const 1) (i32.const 3080))
            (i32.const 3080)"
        ),
        ..Hand::default()
    }
}

#[test]
fn payload_and_headers_that_a_guest_sends_at_the_limit_and_one_over() {
    let value_max = HEADER_BYTES_MAX - "k: \r\n".len();
    let engine = start(config([sender(PAYLOAD_BYTES_MAX, value_max).config()]));
    let out = engine.subscribe("out", Overflow::Wait).unwrap();
    let message = millpond::Message::new("hand", b"").unwrap();
    engine.publish(message).unwrap();
    let sent = out.next(LONG).expect("the send arrives");
    assert_eq!(sent.payload().len(), PAYLOAD_BYTES_MAX);
    let headers: Vec<_> = sent.headers().map(|(k, v)| (k, v.len())).collect();
    assert_eq!(headers, [("k", value_max)]);
    assert_eq!(settled(&engine).handlers[0].acked, 1);
    let over = sender(PAYLOAD_BYTES_MAX + 1, 0).config();
    faults(over, FaultKind::Guest, "a payload one over the limit");
    let over = sender(0, value_max + 1).config();
    faults(over, FaultKind::Guest, "a header one over the limit");
}

/// Where a text lies, and how many bytes it has.
type Text = (u32, u32);

/// A guest that connects to this broker and sends one message with one header, of these texts.
fn said(broker: Text, channel: Text, key: Text, value: Text) -> Hand {
    let list = |texts: &[Text]| {
        let numbers = texts
            .iter()
            .map(|(at, bytes)| format!("(i32.const {at}) (i32.const {bytes})"));
        numbers.collect::<Vec<_>>().join(" ")
    };
    let put = |at: u32, number: u32| format!("(i32.store (i32.const {at}) (i32.const {number}))");
    // At 1136 what is no text; at 2048 a message, whose data is that, and at 2072 its header.
    let words = [
        (2048, 1136),
        (2052, 1),
        (2056, 5),
        (2060, 1),
        (2064, 2072),
        (2068, 1),
        (2072, key.0),
        (2076, key.1),
        (2080, value.0),
        (2084, value.1),
    ];
    let message: String = words.map(|(at, number)| put(at, number)).concat();
    Hand {
        imports: format!("{CONNECT}{SEND}"),
        handler: format!(
            "(i32.store8 (i32.const 1136) (i32.const 0xff)) {message}
            (call $connect {} (i32.const 3072))
            (call $send (i32.load (i32.const 3076)) {} (i32.const 3080))
            (i32.const 3080)",
            list(&[broker]),
            list(&[channel, (2048, 1)]),
        ),
        ..Hand::default()
    }
}

#[test]
fn texts_of_contract_1_that_are_none_end_the_call() {
    let (none, broker, out, key) = ((1136, 1), (1072, 7), (1104, 3), (1120, 1));
    let data_is_bytes = called(said(broker, out, key, key).config());
    assert_eq!((data_is_bytes.sent, &*data_is_bytes.faults), (1, &[][..]));
    for (what, hand) in [
        ("a broker's name", said(none, out, key, key)),
        ("a channel", said(broker, none, key, key)),
        ("a key", said(broker, out, none, key)),
        ("a value", said(broker, out, key, none)),
    ] {
        faults(hand.config(), FaultKind::Host, what);
    }
}
