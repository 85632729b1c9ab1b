//! Each example from a stream: what comes out of it is stored before its input is acked, what it gives up on too.

use millpond::{NatsSource, StreamSource};
use serde_json::{Value, json};

use super::{CONTRACTS, attempted_twice, kept};
use crate::harness::start;
use crate::nats_streams::{consumed, on, payloads, received, store, with_input};

/// What an example is given, and what is stored of it then: each text once.
struct Row {
    example: &'static str,
    given: &'static [&'static str],
    stored: &'static [&'static str],
}

const ROWS: [Row; 5] = [
    Row {
        example: "rust-orders",
        given: &[
            r#"{"id":"o-1","country":"DE","items":[{"sku":"a","quantity":2,"price_cents":499}]}"#,
            "[]",
        ],
        stored: &[
            r#"{"id":"o-1","country":"DE","items":[{"sku":"a","quantity":2,"price_cents":499}],"pieces":2,"net_cents":998,"tax_cents":190,"total_cents":1188}"#,
            // Its mistake, and the letter.
            "invalid length 0, expected struct Order with 3 elements at line 1 column 2",
            "[]",
        ],
    },
    Row {
        example: "c-redact",
        given: &["write to a@b.example", "nothing private"],
        // Each goes to two, which store the same.
        stored: &[
            "write to [email]",
            "write to [email]",
            "1 e-mails, 0 cards",
            "nothing private",
            "nothing private",
        ],
    },
    Row {
        example: "go-window",
        given: &[
            r#"{"page":"/a","at_ms":59999}"#,
            r#"{"page":"/b","at_ms":60000}"#,
            "{",
        ],
        stored: &[
            r#"{"page":"/a","visits":1,"window_ms":0}"#,
            r#"{"page":"/b","visits":1,"window_ms":60000}"#,
            "{",
        ],
    },
    // A stream takes the reply subject of what is stored, so nobody waits for an answer.
    Row {
        example: "js-calculator",
        given: &["1 + 1", "2 + 2"],
        stored: &["1 + 1", "2 + 2"],
    },
    Row {
        example: "python-validate",
        given: &[
            r#"{"id":"p-1","amount":"12.5","currency":"eur","iban":"DE89 3704 0044 0532 0130 00"}"#,
            r#"{"id":"p-2","amount":"0","currency":"EUR","iban":"DE89370400440532013000"}"#,
            "[1]",
        ],
        stored: &[
            r#"{"amount":"12.50","currency":"EUR","iban":"DE89370400440532013000","id":"P-1"}"#,
            // Rejected as it came, and given up on.
            r#"{"amount":"0","currency":"EUR","iban":"DE89370400440532013000","id":"p-2"}"#,
            "[1]",
        ],
    },
];

/// A text in one form: JSON has its keys sorted and no spaces.
fn in_one_form(text: &str) -> String {
    serde_json::from_str::<Value>(text).map_or_else(|_| text.to_owned(), |json| json.to_string())
}

#[test]
fn each_example_handles_what_a_stream_has() {
    let all: Vec<_> = ROWS.iter().map(|row| row.example).collect();
    assert_eq!(all, CONTRACTS.map(|(name, _)| name), "one of each language");
    for Row {
        example,
        given,
        stored,
    } in ROWS
    {
        let (server, client) = with_input(json!({}));
        let subjects = ["orders.>", "tickets.>", "payments.>", "visits.>", "dead"];
        client.create_stream("OUT", &subjects, json!({}));
        let source = NatsSource::Stream(StreamSource::existing("IN", "D"));
        let handler = attempted_twice(example).nats(source);
        let engine = start(kept(on(&server.url(), handler)));
        store(&client, given.len(), |n| given[n].to_owned());
        received(&engine, given.len());
        consumed(&client, &engine);
        let stats = engine.stats().handlers.remove(0);
        let found = payloads(&client, "OUT").into_iter();
        let mut found: Vec<_> = found
            .flat_map(|(text, times)| vec![in_one_form(&text); times])
            .collect();
        let mut expected: Vec<_> = stored.iter().map(|text| in_one_form(text)).collect();
        found.sort_unstable();
        expected.sort_unstable();
        assert_eq!(found, expected, "{example}: {stats:?}");
        let given_up: u64 = stats.terminated.iter().map(|(_, count)| count).sum();
        assert_eq!(
            stats.acked + given_up,
            given.len() as u64,
            "{example}: {stats:?}"
        );
        engine.stop();
    }
}
