//! What should be text and is none: of a guest of contract 2 or 4, which ends its call, and of a foreign publisher, which its guests see
//! as their contract says.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};

use millpond::FaultKind;
use millpond_tests::nats::Client;
use millpond_tests::worlds::of_world;

use crate::batch_abi::fault;
use crate::harness::{limited, settled, start};
use crate::nats_core::{at, on_core, plain};

/// A component of this contract. At 1024 lies a byte that is no UTF-8, at 1040 `out`, at 1056 `default`, at 1072 and 1088 lists of one pair,
/// whose key or whose value is that byte; at 2048 zeros, which are a good result; results may be put at 3072 and 3088.
fn guest(package: &str, world: &str, module: &str) -> Vec<u8> {
    let module = format!(
        r#"(module
        {module}
        (memory (export "memory") 1)
        (data (i32.const 1024) "\ff")
        (data (i32.const 1040) "out")
        (data (i32.const 1056) "default")
        (data (i32.const 1072) "\00\04\00\00\01\00\00\00\10\04\00\00\03\00\00\00")
        (data (i32.const 1088) "\10\04\00\00\03\00\00\00\00\04\00\00\01\00\00\00")
        (global $next (mut i32) (i32.const 4096))
        (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
            (local $at i32)
            (local.set $at (i32.and (i32.add (global.get $next) (i32.const 7)) (i32.const -8)))
            (global.set $next (i32.add (local.get $at) (local.get 3)))
            (local.get $at)))"#
    );
    let world = format!("package test:hand; world written {{ {world} }}");
    of_world(&module, &[package], Some(&world))
}

/// A guest of contract 4 that does this and returns where its result lies.
fn of_contract_4(handle: &str) -> Vec<u8> {
    let module = format!(
        r#"(import "wasmcloud:messaging/consumer@0.2.0" "publish" (func $publish (param i32 i32 i32 i32 i32 i32 i32 i32)))
        (import "wasmcloud:messaging/consumer@0.2.0" "request" (func $request (param i32 i32 i32 i32 i32 i32)))
        (func (export "wasmcloud:messaging/handler@0.2.0#handle-message") (param i32 i32 i32 i32 i32 i32 i32) (result i32)
            {handle})"#
    );
    let world =
        "import wasmcloud:messaging/consumer@0.2.0; export wasmcloud:messaging/handler@0.2.0;";
    guest("wasmcloud-messaging-0.2.0", world, &module)
}

/// A guest of contract 2 that does this with its message, which is `$m`, and returns where its result lies.
fn of_contract_2(handle: &str) -> Vec<u8> {
    let functions = [
        (
            "types",
            "[static]client.connect",
            "connect",
            "i32 i32 i32",
            "",
        ),
        (
            "types",
            "[constructor]message",
            "new",
            "i32 i32",
            "(result i32)",
        ),
        (
            "types",
            "[method]message.set-content-type",
            "type",
            "i32 i32 i32",
            "",
        ),
        (
            "types",
            "[method]message.add-metadata",
            "add",
            "i32 i32 i32 i32 i32",
            "",
        ),
        (
            "types",
            "[method]message.set-metadata",
            "set",
            "i32 i32 i32",
            "",
        ),
        (
            "types",
            "[method]message.remove-metadata",
            "remove",
            "i32 i32 i32",
            "",
        ),
        ("producer", "send", "send", "i32 i32 i32 i32 i32", ""),
        (
            "request-reply",
            "request",
            "request",
            "i32 i32 i32 i32 i32 i32 i32",
            "",
        ),
    ];
    let imports = functions.map(|(interface, name, own, params, result)| {
        format!(r#"(import "wasi:messaging/{interface}@0.2.0-draft" "{name}" (func ${own} (param {params}) {result}))"#)
    });
    let module = format!(
        r#"{}
        (func $client (result i32)
            (call $connect (i32.const 1056) (i32.const 7) (i32.const 3072)) (i32.load (i32.const 3076)))
        (func (export "wasi:messaging/incoming-handler@0.2.0-draft#handle") (param $m i32) (result i32)
            {handle})"#,
        imports.concat()
    );
    let world = "include wasi:messaging/messaging-request-reply@0.2.0-draft;";
    guest("wasi-messaging-0.2.0-draft-2024-12", world, &module)
}

/// Numbers as a module's text has them, one behind the other.
fn numbers(numbers: &[u32]) -> String {
    numbers.iter().map(|n| format!("(i32.const {n})")).collect()
}

const GOOD: &str = "(i32.const 2048)";

#[test]
fn texts_of_contract_4_that_are_none_end_the_call() {
    let call = |name: &str, given: &[u32]| format!("(call ${name} {}) {GOOD}", numbers(given));
    let rows = [
        (
            "a subject",
            call("publish", &[1024, 1, 0, 0, 0, 0, 0, 3072]),
        ),
        (
            "a reply subject",
            call("publish", &[1040, 3, 0, 0, 1, 1024, 1, 3072]),
        ),
        (
            "a request's subject",
            call("request", &[1024, 1, 0, 0, 100, 3072]),
        ),
        ("an error", error(2052, 2056, None)),
    ];
    for (what, handle) in rows {
        ends_the_call(of_contract_4(&handle), what);
    }
    // A body is bytes.
    let body = call("publish", &[1040, 3, 1024, 1, 0, 0, 0, 3072]);
    let sent = format!("{body} (if (i32.load8_u (i32.const 3072)) (then unreachable))");
    assert_eq!(fault(of_contract_4(&sent)), None);
}

#[test]
fn texts_of_contract_2_that_are_none_end_the_call() {
    let of_message = |name: &str, given: &[u32]| {
        format!("(call ${name} (local.get $m) {}) {GOOD}", numbers(given))
    };
    let send = |topic: &str, data: &str| {
        let message = format!("(call $new {data})");
        format!("(call $send (call $client) {topic} {message} (i32.const 3088)) {GOOD}")
    };
    let (none, out) = (numbers(&[1024, 1]), numbers(&[1040, 3]));
    let rows = [
        (
            "a broker's name",
            format!("(call $connect {none} (i32.const 3072)) {GOOD}"),
        ),
        ("a topic", send(&none, &out)),
        (
            "a request's topic",
            format!(
                "(call $request (call $client) {none} (local.get $m) {} (i32.const 3088)) {GOOD}",
                numbers(&[0, 0])
            ),
        ),
        ("a content type", of_message("type", &[1024, 1])),
        ("a key", of_message("add", &[1024, 1, 1040, 3])),
        ("a value", of_message("add", &[1040, 3, 1024, 1])),
        ("a key of several", of_message("set", &[1072, 1])),
        ("a value of several", of_message("set", &[1088, 1])),
        ("a key to be removed", of_message("remove", &[1024, 1])),
        ("an error", error(2056, 2060, Some(2052))),
    ];
    for (what, handle) in rows {
        ends_the_call(of_contract_2(&handle), what);
    }
    // Data is bytes.
    let sent = send(&out, &none);
    let sent = format!("{sent} (if (i32.load8_u (i32.const 3088)) (then unreachable))");
    assert_eq!(fault(of_contract_2(&sent)), None);
}

/// Returns an error whose text is none: where its place and its length are, and of a variant which it is.
fn error(place: u32, length: u32, variant: Option<u32>) -> String {
    let other = variant.map(|at| format!("(i32.store8 {})", numbers(&[at, 3])));
    format!(
        "(i32.store8 {}) {} (i32.store {}) (i32.store {}) {GOOD}",
        numbers(&[2048, 1]),
        other.unwrap_or_default(),
        numbers(&[place, 1024]),
        numbers(&[length, 1])
    )
}

fn ends_the_call(component: Vec<u8>, what: &str) {
    let (kind, detail) = fault(component).expect(what);
    assert_eq!(kind, FaultKind::Host, "{what}: {detail}");
    assert!(detail.contains("invalid utf-8"), "{what}: {detail}");
}

/// Publishes by hand what no client library lets pass: a subject and a header that are not UTF-8, beside a header that is.
fn publish(server: SocketAddr, payload: &str) {
    let stream = TcpStream::connect(server).expect("the server listens");
    let limit = Some(millpond_tests::PATIENCE);
    stream.set_read_timeout(limit).expect("it is not zero");
    let headers = b"NATS/1.0\r\nbad: \xfe\r\ngood: 1\r\n\r\n";
    let all = headers.len() + payload.len();
    let mut out = b"CONNECT {\"verbose\":false,\"headers\":true}\r\nHPUB in.\xff ".to_vec();
    write!(out, "{} {all}\r\n", headers.len()).expect("there is room");
    out.extend([&headers[..], payload.as_bytes(), b"\r\nPING\r\n"].concat());
    (&stream).write_all(&out).expect("the server reads");
    let answers = BufReader::new(stream).split(b'\n').map_while(Result::ok);
    let known = answers.skip(1).find(|line| line.starts_with(b"PONG"));
    assert!(known.is_some(), "the server has taken it");
}

#[test]
fn what_a_foreign_publisher_says_that_is_no_text_is_seen_as_none() {
    let server = plain();
    let client = Client::connect(&server.url());
    let mut reports = client.subscribe("report");
    client.settle();
    for (guest, command, seen) in [
        // A header of which a part is no text has neither name nor value.
        ("probe-incoming", "message report", "|none|14|=,good=1"),
        ("probe-wasmcloud", "message report", "|message report|none"),
        ("batch-probe", "see", " None =,good=1 0"),
    ] {
        let handler = limited(guest, |_| {}).subject("in.*");
        let engine = start(at(&server.url(), [on_core(handler, Some("q"))]));
        publish(server.address(), command);
        let report = reports.next_message();
        assert_eq!(report.payload, seen.as_bytes(), "{guest}: {report:?}");
        assert_eq!(settled(&engine).handlers[0].acked, 1, "{guest}");
    }
}

#[test]
fn headers_of_contract_3_come_and_may_be_handed_on_as_they_came_where_they_are_text() {
    let server = plain();
    let client = Client::connect(&server.url());
    let handler = limited("batch-probe", |l| l.deliveries_max = 1).subject("in.*");
    let mut config = at(
        &server.url(),
        [on_core(handler.dead_letter("dead"), Some("q"))],
    );
    config.pin = false;
    let engine = start(config);
    let mut dead = client.subscribe("dead");
    client.settle();
    // What it hands on is checked as all that a guest sends.
    publish(server.address(), "pass out");
    let letter = dead.next_message();
    let headers = letter.headers.expect("a letter has them");
    let why = headers.get("Millpond-Detail").expect("it says why");
    assert!(why.as_str().contains("not UTF-8"), "{why}");
    assert_eq!(settled(&engine).handlers[0].dead_lettered, 1);
}
