//! The example in Go: visits are counted in windows.

use std::collections::BTreeMap;

use millpond::FaultKind;
use serde_json::json;

use super::{Example, assert_payloads, of_json};
use crate::harness::count;

#[test]
fn partial_counts_of_windows_add_up_however_messages_were_batched() {
    let example = Example::new("go-window", "visits", &["visits.counted"]);
    let mut expected: BTreeMap<(i64, String), u64> = BTreeMap::new();
    let mut visit = |page: &str, at_ms: i64| {
        *expected
            .entry((at_ms - at_ms % 60_000, page.to_owned()))
            .or_default() += 1;
        example.publish(
            "visits",
            json!({"page": page, "at_ms": at_ms}).to_string().as_bytes(),
        );
    };
    // The last millisecond of a window, and the first of the next; the first of all.
    for at_ms in [0, 59_999, 60_000, 1_700_000_039_999, 1_700_000_040_000] {
        visit("/start", at_ms);
    }
    for n in 0..500 {
        visit(
            ["/a", "/b ü", "/c\"<>"][n as usize % 3],
            1_700_000_000_000 + n * 997,
        );
    }
    let bad: [&[u8]; 7] = [
        b"",
        b"{",
        b"[1]",
        br#"{"page":"/a"}"#,
        br#"{"at_ms":5}"#,
        br#"{"page":"/a","at_ms":-1}"#,
        br#"{"page":"/a","at_ms":"5"}"#,
    ];
    for payload in bad {
        example.publish("visits", payload);
    }
    let (stats, out) = example.end();
    let handler = &stats.handlers[0];
    assert_eq!((handler.acked, handler.dead_lettered), (505, 7));
    assert_eq!(count(&handler.terminated, FaultKind::Abandoned), 7);
    let mut counted: BTreeMap<(i64, String), u64> = BTreeMap::new();
    // A partial count has what one call saw: more than one visit, here and there.
    let partials = out["visits.counted"].len();
    assert!(partials < 505, "{partials} partial counts of 505 visits");
    for partial in out["visits.counted"].iter().map(of_json) {
        let window = partial["window_ms"].as_i64().unwrap();
        let page = partial["page"].as_str().unwrap().to_owned();
        *counted.entry((window, page)).or_default() += partial["visits"].as_u64().unwrap();
    }
    assert_eq!(counted, expected);
    assert_payloads(&out["dead"], bad);
}
