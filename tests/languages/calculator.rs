//! The example in JavaScript: sums are answered.

use millpond::{FaultKind, Message};
use millpond_tests::nats::{Client, Post};

use super::{Example, kept, text, texts, values};
use crate::harness::{LONG, count, settled, start};
use crate::nats_core::{at, core, plain};

/// Questions for the calculator, and what it answers.
fn sums() -> Vec<(Vec<u8>, String)> {
    let sums: [(&str, &str); 22] = [
        ("2 * (3 + 4)", "14"),
        ("1+2*3-4/8", "6.5"),
        ("7 % 4 - 10", "-7"),
        ("10 - 3 - 2", "5"),
        ("2 ^ 3 ^ 2", "512"),
        ("-2 ^ 2", "-4"),
        ("2 ^ -1", "0.5"),
        ("--1 - -1", "2"),
        (" 0.1 + 0.2 ", "0.30000000000000004"),
        ("((((((7))))))", "7"),
        ("", "error: not finished"),
        ("1 +", "error: not finished"),
        ("(1", "error: not finished"),
        ("1 2", "error: not expected at 1"),
        ("1 + * 2", "error: not expected at 3"),
        ("two", "error: not understood at 0"),
        ("1 + process.exit()", "error: not understood at 3"),
        ("1 / (2 - 2)", "error: division by zero"),
        ("1 % 0", "error: division by zero"),
        ("9 ^ 9 ^ 9", "error: too large"),
        ("(-1) ^ 0.5", "error: too large"),
        ("1 +\n2", "3"),
    ];
    let mut sums: Vec<_> = sums
        .map(|(q, a)| (q.as_bytes().to_vec(), a.to_owned()))
        .into();
    sums.push((b"1 \xff 2".to_vec(), "error: not understood at 1".into()));
    sums.push((b"(".repeat(500), "error: too deep".into()));
    sums.push(([b"1".to_vec(), b"+1".repeat(499)].concat(), "500".into()));
    sums.push((b"1".repeat(1001), "error: longer than 1000 bytes".into()));
    sums
}

#[test]
fn sums_are_answered_and_so_is_what_is_none() {
    let example = Example::new("js-calculator", "sums", &["sums.answered"]);
    for (question, answer) in sums() {
        let shown = String::from_utf8_lossy(&question).into_owned();
        let question = Message::new("sums", &question).unwrap();
        let reply = example.engine.request(&question, LONG).unwrap().wait();
        assert_eq!(text(&reply.expect(&shown)), answer, "{shown}");
    }
    // Nobody waits for these.
    example.publish("sums", b"1 + 1");
    example.publish("sums", b"1 +");
    let (stats, out) = example.end();
    let handler = &stats.handlers[0];
    assert_eq!(
        (handler.acked, handler.dead_lettered),
        (sums().len() as u64 + 1, 1)
    );
    assert_eq!(count(&handler.faults, FaultKind::Guest), 2, "two attempts");
    assert_eq!(texts(&out["sums.answered"]), ["1 + 1 = 2"]);
    assert_eq!(texts(&out["dead"]), ["1 +"]);
    let details = values(&out["dead"][0], "Millpond-Detail");
    assert!(details[0].contains("not finished"), "{details:?}");
}

#[test]
fn the_calculator_answers_requests_of_nats() {
    let server = plain();
    let client = Client::connect(&server.url());
    let handler = core("js-calculator", Some("q")).subject("sums");
    let engine = start(kept(at(&server.url(), [handler])));
    for (question, answer) in sums() {
        let reply = client
            .request(Post::new("sums", question))
            .expect("a reply");
        assert_eq!(reply.payload, answer.as_bytes());
    }
    assert_eq!(settled(&engine).handlers[0].acked, sums().len() as u64);
}
