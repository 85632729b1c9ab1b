//! Each example with the same messages, wherever they come from: in process, from the core of NATS and from a stream, whose inputs are
//! acked once what comes of them is stored. The same comes out, what is given up on too.

use std::path::PathBuf;

use millpond::{HandlerStats, NatsSource, StreamSource};
use millpond_tests::guest;
use millpond_tests::nats::{Client, Post};
use serde_json::{Value, json};

use super::{CONTRACTS, Example, kept, made_for, made_of};
use crate::harness::{settled, start};
use crate::nats_core::{at, on_core, plain};
use crate::nats_streams::{consumed, on, received, with_input};

/// What an example is given, and what comes of it then.
struct Row {
    example: &'static str,
    /// Where it takes messages from, but for those of a stream.
    subject: &'static str,
    given: &'static [&'static [u8]],
    /// Subjects and payloads, in any order.
    sent: &'static [(&'static str, &'static [u8])],
}

const ROWS: [Row; 5] = [
    Row {
        example: "rust-orders",
        subject: "orders",
        given: &[
            br#"{"id":"o-1","country":"DE","items":[{"sku":"a","quantity":2,"price_cents":499}]}"#,
            br#"{"id":"o-2","country":"CH","items":[{"sku":"b","quantity":1,"price_cents":100000}]}"#,
            b"[]",
        ],
        sent: &[
            (
                "orders.small",
                br#"{"id":"o-1","country":"DE","items":[{"sku":"a","quantity":2,"price_cents":499}],"pieces":2,"net_cents":998,"tax_cents":190,"total_cents":1188}"#,
            ),
            (
                "orders.large",
                br#"{"id":"o-2","country":"CH","items":[{"sku":"b","quantity":1,"price_cents":100000}],"pieces":1,"net_cents":100000,"tax_cents":8000,"total_cents":108000}"#,
            ),
            (
                "orders.mistakes",
                b"invalid length 0, expected struct Order with 3 elements at line 1 column 2",
            ),
            ("dead", b"[]"),
        ],
    },
    Row {
        example: "c-redact",
        subject: "tickets",
        given: &[b"write to a@b.example", b"nothing private", b"no text \xff"],
        sent: &[
            ("tickets.search", b"write to [email]"),
            ("tickets.analytics", b"write to [email]"),
            ("tickets.audit", b"1 e-mails, 0 cards"),
            ("tickets.search", b"nothing private"),
            ("tickets.analytics", b"nothing private"),
            ("dead", b"no text \xff"),
        ],
    },
    Row {
        example: "go-window",
        subject: "visits",
        given: &[
            br#"{"page":"/a","at_ms":59999}"#,
            br#"{"page":"/b","at_ms":60000}"#,
            b"{",
        ],
        sent: &[
            (
                "visits.counted",
                br#"{"page":"/a","visits":1,"window_ms":0}"#,
            ),
            (
                "visits.counted",
                br#"{"page":"/b","visits":1,"window_ms":60000}"#,
            ),
            ("dead", b"{"),
        ],
    },
    // Requests, whose answers have other subjects, are in `calculator.rs`: a stream takes the reply subject of what it stores.
    Row {
        example: "js-calculator",
        subject: "sums",
        given: &[b"1 + 1", b"2 * (3 + 4)", b"2 +", b"1 + \xff"],
        sent: &[
            ("sums.answered", b"1 + 1 = 2"),
            ("sums.answered", b"2 * (3 + 4) = 14"),
            ("dead", b"2 +"),
            ("dead", b"1 + \xff"),
        ],
    },
    Row {
        example: "python-validate",
        subject: "payments",
        given: &[
            br#"{"id":"p-1","amount":"12.5","currency":"eur","iban":"DE89 3704 0044 0532 0130 00"}"#,
            br#"{"id":"p-2","amount":"0","currency":"EUR","iban":"DE89370400440532013000"}"#,
            b"[1]",
        ],
        sent: &[
            (
                "payments.valid",
                br#"{"amount":"12.50","currency":"EUR","iban":"DE89370400440532013000","id":"P-1"}"#,
            ),
            // As it came.
            (
                "payments.rejected",
                br#"{"id":"p-2","amount":"0","currency":"EUR","iban":"DE89370400440532013000"}"#,
            ),
            ("dead", b"[1]"),
        ],
    },
];

impl Row {
    /// Subjects of what comes of it but for dead letters, each once.
    fn subjects(&self) -> Vec<&'static str> {
        let sent = self.sent.iter().map(|(subject, _)| *subject);
        let mut subjects: Vec<_> = sent.filter(|subject| *subject != "dead").collect();
        subjects.sort_unstable();
        subjects.dedup();
        subjects
    }

    /// This is what comes of it, and each message is settled once.
    fn assert_sent<S: AsRef<str>, P: AsRef<[u8]>>(
        &self,
        found: impl IntoIterator<Item = (S, P)>,
        stats: &HandlerStats,
    ) {
        let sorted = |pairs: Vec<(String, String)>| {
            let mut pairs = pairs;
            pairs.sort_unstable();
            pairs
        };
        let shown = |(subject, payload): (S, P)| {
            (subject.as_ref().to_owned(), in_one_form(payload.as_ref()))
        };
        let expected = self.sent.iter();
        let expected = expected.map(|(subject, payload)| ((*subject).into(), in_one_form(payload)));
        let found = sorted(found.into_iter().map(shown).collect());
        assert_eq!(
            found,
            sorted(expected.collect()),
            "{}: {stats:?}",
            self.example
        );
        let given_up: u64 = stats.terminated.iter().map(|(_, count)| count).sum();
        assert_eq!(stats.acked + given_up, self.given.len() as u64, "{stats:?}");
    }

    /// In process, with the component of this file.
    fn in_process(&self, file: PathBuf) {
        let handler = made_for(self.subject, self.example, file);
        let example = Example::of(handler, &self.subjects());
        for payload in self.given {
            example.publish(self.subject, payload);
        }
        let (stats, out) = example.end();
        let found = out.iter().flat_map(|(subject, messages)| {
            let payloads = messages.iter().map(|message| message.payload());
            payloads.map(move |payload| (subject, payload))
        });
        self.assert_sent(found, &stats.handlers[0]);
    }
}

/// A payload as a text in one form: JSON has its keys sorted and no spaces, and what is no text has marks.
fn in_one_form(payload: &[u8]) -> String {
    let json = serde_json::from_slice::<Value>(payload);
    json.map_or_else(
        |_| String::from_utf8_lossy(payload).into_owned(),
        |json| json.to_string(),
    )
}

/// An example does what it should in process, made of this file; one that has no rows fails.
pub(crate) fn assert_works(example: &str, file: PathBuf) {
    let row = ROWS.iter().find(|row| row.example == example);
    row.expect(example).in_process(file);
}

#[test]
fn there_is_a_row_of_each_language() {
    let all: Vec<_> = ROWS.iter().map(|row| row.example).collect();
    assert_eq!(all, CONTRACTS.map(|(name, _)| name));
}

#[test]
fn each_example_handles_what_comes_in_process() {
    for row in ROWS {
        row.in_process(guest(row.example));
    }
}

#[test]
fn each_example_handles_what_the_core_of_nats_has() {
    for row in ROWS {
        let server = plain();
        let client = Client::connect(&server.url());
        let subjects = row.subjects().into_iter().chain(["dead"]);
        let mut out: Vec<_> = subjects.map(|s| client.subscribe(s)).collect();
        let handler = made_for(row.subject, row.example, guest(row.example));
        let engine = start(kept(at(&server.url(), [on_core(handler, Some("q"))])));
        client.publish(row.given.iter().map(|p| Post::new(row.subject, *p)));
        received(&engine, row.given.len());
        let stats = settled(&engine);
        let found = out.iter_mut().flat_map(|subscription| subscription.rest());
        let found = found.map(|m| (m.subject.as_str().to_owned(), m.payload));
        row.assert_sent(found, &stats.handlers[0]);
    }
}

#[test]
fn each_example_handles_what_a_stream_has() {
    for row in ROWS {
        let (server, client) = with_input(json!({}));
        let subjects: Vec<_> = row.subjects().into_iter().chain(["dead"]).collect();
        client.create_stream("OUT", &subjects, json!({}));
        let source = NatsSource::Stream(StreamSource::existing("IN", "D"));
        let handler = made_of(row.example, guest(row.example)).nats(source);
        let engine = start(kept(on(&server.url(), handler)));
        client.store_all(row.given.iter().map(|p| Post::new("in.x", *p)));
        received(&engine, row.given.len());
        consumed(&client, &engine);
        let stats = engine.stats().handlers.remove(0);
        let stored = client.stored_all("OUT").into_iter();
        let stored = stored.map(|m| (m.subject.as_str().to_owned(), m.payload));
        row.assert_sent(stored, &stats);
        engine.stop();
    }
}
