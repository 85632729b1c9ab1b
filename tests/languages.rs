//! The examples in five languages: what really comes out of them for good input and bad. In process; the calculator and the orders on
//! the core of NATS too.

use std::collections::BTreeMap;

use millpond::{
    CacheConfig, Contract, Engine, EngineConfig, FaultKind, HandlerConfig, HandlerLimits, Message,
    Overflow, Stats, Subscription,
};
use millpond_tests::cache;
use millpond_tests::nats::{Client, Post, header};
use serde_json::{Value, json};

use crate::harness::{LONG, config, count, limited, settled, start};
use crate::nats_core::{at, core, plain};

/// The contract of each example: without it, it does not start.
const CONTRACTS: [(&str, Contract); 5] = [
    ("rust-orders", Contract::Batch010),
    ("c-redact", Contract::Batch010),
    ("go-window", Contract::Messaging2023),
    ("js-calculator", Contract::Wasmcloud020),
    ("python-validate", Contract::Incoming020Draft),
];

/// With its code kept from run to run: a Python component takes seconds to compile.
fn kept(mut config: EngineConfig) -> EngineConfig {
    config.cache = Some(CacheConfig::folder(cache().join("compiled")));
    config
}

/// An example that is given what comes on `subject`, and two attempts a message.
fn example(name: &str, subject: &str) -> HandlerConfig {
    let two = |l: &mut HandlerLimits| l.deliveries_max = 2;
    let (_, contract) = CONTRACTS.iter().find(|(n, _)| *n == name).expect(name);
    let handler = limited(name, two).dead_letter("dead").contract(*contract);
    // The example in Go names its subject itself.
    match name.starts_with("go-") {
        true => handler,
        false => handler.subject(subject),
    }
}

/// An engine with one example, and what comes out of it.
struct Example {
    engine: Engine,
    out: BTreeMap<&'static str, Subscription>,
}

impl Example {
    /// Starts it, and listens to these subjects and to its dead letters.
    fn new(name: &str, subject: &str, listens: &[&'static str]) -> Self {
        let engine = start(kept(config([example(name, subject)])));
        let listen = |subject| (subject, engine.subscribe(subject, Overflow::Wait).unwrap());
        let out = listens.iter().copied().chain(["dead"]).map(listen);
        Self {
            out: out.collect(),
            engine,
        }
    }

    fn publish(&self, subject: &str, payload: &[u8]) {
        let message = Message::builder(subject).header("trace", "t-1");
        let taken = self.engine.publish(message.payload(payload).unwrap());
        assert_eq!(taken.unwrap(), 1, "one handler listens");
    }

    /// Waits until all is settled: the stats, and the messages on each subject.
    fn end(self) -> (Stats, BTreeMap<&'static str, Vec<Message>>) {
        let stats = settled(&self.engine);
        let all = |s: Subscription| std::iter::from_fn(move || s.try_next()).collect();
        let out = self.out.into_iter().map(|(subject, s)| (subject, all(s)));
        (stats, out.collect())
    }
}

fn text(message: &Message) -> &str {
    std::str::from_utf8(message.payload()).expect("the examples send text")
}

fn of_json(message: &Message) -> Value {
    serde_json::from_slice(message.payload()).expect("it is JSON")
}

fn values<'a>(message: &'a Message, name: &str) -> Vec<&'a str> {
    let named = message.headers().filter(|(key, _)| *key == name);
    named.map(|(_, value)| value).collect()
}

/// Payloads, sorted: they come in any order.
fn texts(messages: &[Message]) -> Vec<&str> {
    let mut texts: Vec<_> = messages.iter().map(text).collect();
    texts.sort_unstable();
    texts
}

fn sorted<'a>(texts: impl IntoIterator<Item = &'a str>) -> Vec<&'a str> {
    let mut texts: Vec<_> = texts.into_iter().collect();
    texts.sort_unstable();
    texts
}

/// An order of one item with this price in cents.
fn order(id: &str, country: &str, price_cents: u64) -> Vec<u8> {
    let item =
        json!({"sku": "s-\"1\" ü", "quantity": 1, "price_cents": price_cents, "colour": "red"});
    json!({"id": id, "country": country, "items": [item]})
        .to_string()
        .into_bytes()
}

#[test]
fn orders_are_enriched_and_routed_by_amount() {
    let example = Example::new("rust-orders", "orders", &["orders.small", "orders.large"]);
    // (price, country, tax, total): half a cent of tax is rounded up, and 1,000.00 is large.
    let small = [
        (83_332, "FR", 16_666, 99_998_u64),
        (250, "DE", 48, 298),
        (0, "CH", 0, 0),
    ];
    let large = [
        (83_333, "FR", 16_667, 100_000),
        (4_294_967_295, "AT", 858_993_459, 5_153_960_754_u64),
    ];
    for (price, country, ..) in small.iter().chain(&large) {
        example.publish("orders", &order(&format!("o-{price}"), country, *price));
    }
    let two = json!({"items": [
        {"price_cents": 100, "quantity": 3, "sku": "a"},
        {"price_cents": 50, "quantity": 2, "sku": "b"},
    ], "country": "DE", "id": "o-two", "note": "unknown keys are left out"});
    example.publish("orders", two.to_string().as_bytes());

    let (stats, out) = example.end();
    assert_eq!(
        (stats.handlers[0].acked, &*stats.handlers[0].faults),
        (6, &[][..])
    );
    for (subject, expected) in [("orders.small", &small[..]), ("orders.large", &large)] {
        for &(price, country, tax, total) in expected {
            let id = format!("o-{price}");
            let found = out[subject]
                .iter()
                .find(|m| of_json(m)["id"] == id)
                .expect(&id);
            let item = json!({"sku": "s-\"1\" ü", "quantity": 1, "price_cents": price});
            let enriched = json!({"id": id, "country": country, "items": [item], "pieces": 1,
                "net_cents": price, "tax_cents": tax, "total_cents": total});
            assert_eq!(of_json(found), enriched);
            assert_eq!(values(found, "trace"), ["t-1"], "headers go along");
        }
    }
    let two = out["orders.small"]
        .iter()
        .map(of_json)
        .find(|o| o["id"] == "o-two")
        .unwrap();
    let sums = ["pieces", "net_cents", "tax_cents", "total_cents"].map(|key| two[key].as_u64());
    assert_eq!(sums, [Some(5), Some(400), Some(76), Some(476)]);
    assert_eq!(
        (
            out["orders.small"].len(),
            out["orders.large"].len(),
            out["dead"].len()
        ),
        (4, 2, 0)
    );
}

#[test]
fn orders_that_are_none_are_dead_letters_with_their_mistake_beside_and_stop_no_others() {
    let example = Example::new(
        "rust-orders",
        "orders",
        &["orders.small", "orders.large", "orders.mistakes"],
    );
    let item = r#"{"sku":"a","quantity":4294967295,"price_cents":4294967295}"#;
    let huge = format!(r#"{{"id":"x","country":"DE","items":[{item}]}}"#);
    let mistakes: [(&[u8], &str); 10] = [
        (b"", "EOF"),
        (b"{\"id\": \"o-1\"", "EOF"),
        (b"\xff\xfe", "expected value"),
        (b"[]", "invalid length 0"),
        (br#"{"country":"DE","items":[]}"#, "missing field `id`"),
        (
            br#"{"id":"x","country":"DE","items":[]}"#,
            "an order has items",
        ),
        (
            br#"{"id":"x","country":"DE","items":[{"sku":"a","quantity":-1,"price_cents":1}]}"#,
            "invalid value: integer `-1`",
        ),
        (
            br#"{"id":"x","country":"XX","items":[{"sku":"a","quantity":1,"price_cents":1}]}"#,
            "\"XX\" is not delivered to",
        ),
        (
            br#"{"id":"x","country":"DE","items":[{"sku":"a","quantity":1,"price_cents":1}]} {}"#,
            "trailing characters",
        ),
        (huge.as_bytes(), "the sum is too large"),
    ];
    for (payload, _) in mistakes {
        example.publish("orders", payload);
        example.publish("orders", &order("good", "DE", 100));
    }
    let (stats, out) = example.end();
    let handler = &stats.handlers[0];
    assert_eq!((handler.acked, handler.dead_lettered), (10, 10));
    assert_eq!(
        (out["orders.small"].len(), out["orders.large"].len()),
        (10, 0)
    );
    let mut dead: Vec<_> = out["dead"].iter().map(|m| m.payload().to_vec()).collect();
    let mut sent: Vec<_> = mistakes
        .iter()
        .map(|(payload, _)| payload.to_vec())
        .collect();
    (dead.sort(), sent.sort());
    assert_eq!(dead, sent);
    let told = texts(&out["orders.mistakes"]);
    assert_eq!(told.len(), mistakes.len());
    for (_, why) in mistakes {
        assert!(
            told.iter().any(|told| told.contains(why)),
            "{why:?} in {told:?}"
        );
    }
    assert_eq!(values(&out["orders.mistakes"][0], "trace"), ["t-1"]);
}

#[test]
fn tickets_are_redacted_and_fanned_out() {
    const OUT: [&str; 3] = ["tickets.search", "tickets.analytics", "tickets.audit"];
    let example = Example::new("c-redact", "tickets", &OUT);
    let long = "x".repeat(5_000);
    let long_local = format!("{long}@example.org");
    let long_redacted = format!("{}[email]", "x".repeat(5_000 - 64));
    // (ticket, what goes on, what is told of it)
    let tickets = [
        (
            "write to ann.lee+mill@example.co.uk, please.",
            "write to [email], please.",
            "1 e-mails, 0 cards",
        ),
        ("a@b.c", "[email]", "1 e-mails, 0 cards"),
        (
            "mail: <x@y.example>. Or z_1@y.example.",
            "mail: <[email]>. Or [email].",
            "2 e-mails, 0 cards",
        ),
        (
            "4111 1111 1111 1111 and 5500-0000-0000-0004",
            "[card] and [card]",
            "0 e-mails, 2 cards",
        ),
        (
            "card:4111111111111111, ann@example.org",
            "card:[card], [email]",
            "1 e-mails, 1 cards",
        ),
        ("no.4111111111111111x", "no.[card]x", "0 e-mails, 1 cards"),
        (&long_local, &long_redacted, "1 e-mails, 0 cards"),
        // A check digit that is wrong, too few digits, too many, no domain, no local part.
        ("4111111111111112", "4111111111111112", ""),
        ("411111111111", "411111111111", ""),
        ("94111111111111111111", "94111111111111111111", ""),
        (
            "@example.org root@localhost a@b",
            "@example.org root@localhost a@b",
            "",
        ),
        ("grüße, 你好 🙂 1 2 3 -", "grüße, 你好 🙂 1 2 3 -", ""),
        ("", "", ""),
        (&long, &long, ""),
    ];
    for (ticket, ..) in tickets {
        example.publish("tickets", ticket.as_bytes());
    }
    let (stats, out) = example.end();
    assert_eq!(
        (stats.handlers[0].acked, &*stats.handlers[0].faults),
        (14, &[][..])
    );
    let redacted = sorted(tickets.map(|(_, redacted, _)| redacted));
    assert_eq!(texts(&out["tickets.search"]), redacted);
    assert_eq!(texts(&out["tickets.analytics"]), redacted);
    let told = tickets.map(|(.., told)| told);
    assert_eq!(
        texts(&out["tickets.audit"]),
        sorted(told.into_iter().filter(|told| !told.is_empty()))
    );
    for message in OUT.iter().flat_map(|subject| &out[subject]) {
        assert_eq!(values(message, "trace"), ["t-1"], "headers go along");
    }
}

#[test]
fn tickets_that_are_no_text_are_dead_letters_and_go_nowhere_else() {
    let example = Example::new(
        "c-redact",
        "tickets",
        &["tickets.search", "tickets.analytics", "tickets.audit"],
    );
    // Cut short, begun in the middle, longer than need be, half of a pair, beyond the last, never a byte.
    let bad: [&[u8]; 8] = [
        b"a@b.c \xe4\xbd",
        b"\x80",
        b"\xc0\xaf",
        b"\xe0\x80\xaf",
        b"\xed\xa0\x80",
        b"\xf4\x90\x80\x80",
        b"\xf0\x8f\xbf\xbf",
        b"\xff",
    ];
    for payload in bad {
        example.publish("tickets", payload);
        example.publish("tickets", "fine \u{d7ff}\u{e000}\u{10ffff}".as_bytes());
    }
    let (stats, out) = example.end();
    assert_eq!(
        (stats.handlers[0].acked, stats.handlers[0].dead_lettered),
        (8, 8)
    );
    assert_eq!(
        (
            out["tickets.search"].len(),
            out["tickets.analytics"].len(),
            out["tickets.audit"].len()
        ),
        (8, 8, 0)
    );
    let mut dead: Vec<_> = out["dead"].iter().map(Message::payload).collect();
    let mut sent = bad.to_vec();
    (dead.sort_unstable(), sent.sort_unstable());
    assert_eq!(dead, sent);
}

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
    for partial in out["visits.counted"].iter().map(of_json) {
        let window = partial["window_ms"].as_i64().unwrap();
        let page = partial["page"].as_str().unwrap().to_owned();
        *counted.entry((window, page)).or_default() += partial["visits"].as_u64().unwrap();
    }
    assert_eq!(counted, expected);
    let mut dead: Vec<_> = out["dead"].iter().map(Message::payload).collect();
    let mut sent = bad.to_vec();
    (dead.sort_unstable(), sent.sort_unstable());
    assert_eq!(dead, sent);
}

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
    let example = Example::new("js-calculator", "sums", &[]);
    for (question, answer) in sums() {
        let shown = String::from_utf8_lossy(&question).into_owned();
        let question = Message::new("sums", &question).unwrap();
        let reply = example.engine.request(&question, LONG).unwrap().wait();
        assert_eq!(text(&reply.expect(&shown)), answer, "{shown}");
    }
    // Nobody waits for this one.
    example.publish("sums", b"1 + 1");
    let (stats, out) = example.end();
    let handler = &stats.handlers[0];
    assert_eq!(
        (handler.acked, handler.dead_lettered),
        (sums().len() as u64, 1)
    );
    assert_eq!(count(&handler.faults, FaultKind::Guest), 2, "two attempts");
    assert_eq!(texts(&out["dead"]), ["1 + 1"]);
    let details = values(&out["dead"][0], "Millpond-Detail");
    assert!(
        details[0].contains("nobody waits for an answer"),
        "{details:?}"
    );
}

#[test]
fn payments_that_are_wrong_are_rejected_with_reasons_and_what_is_none_is_a_dead_letter() {
    let example = Example::new(
        "python-validate",
        "payments",
        &["payments.valid", "payments.rejected"],
    );
    let payment = |id: Value, amount: Value, currency: &str, iban: &str| {
        json!({"id": id, "amount": amount, "currency": currency, "iban": iban}).to_string()
    };
    const IBAN: &str = "DE89370400440532013000";
    let valid = [
        payment(
            json!("p-1"),
            json!("12.5"),
            "eur",
            "DE89 3704 0044 0532 0130 00",
        ),
        payment(
            json!("p-2"),
            json!("1000000"),
            "GBP",
            "gb82 west 1234 5698 7654 32",
        ),
    ];
    let amounts = "amount: not above 0 and at most 1000000";
    let form = "iban: not of its form";
    let currencies = "currency: none of CHF, EUR, GBP";
    let wrong: [(String, &[&str]); 10] = [
        (payment(json!("p"), json!("0"), "EUR", IBAN), &[amounts]),
        (
            payment(json!("p"), json!("1000000.01"), "EUR", IBAN),
            &[amounts],
        ),
        (
            payment(json!("p"), json!("1.001"), "EUR", IBAN),
            &["amount: more than two decimals"],
        ),
        (
            payment(json!("p"), json!("NaN"), "EUR", IBAN),
            &["amount: not a number in quotes"],
        ),
        (
            payment(json!("p"), json!(12.5), "EUR", IBAN),
            &["amount: not a number in quotes"],
        ),
        (payment(json!("p"), json!("1"), "XXX", IBAN), &[currencies]),
        (
            payment(json!("p"), json!("1"), "EUR", "DE88370400440532013000"),
            &["iban: its check digits are wrong"],
        ),
        (payment(json!("p"), json!("1"), "EUR", "DE89"), &[form]),
        (
            payment(json!(" "), json!("-1"), "", ""),
            &["id: there is none", amounts, currencies, form],
        ),
        (
            "{}".into(),
            &[
                "id: there is none",
                "amount: not a number in quotes",
                currencies,
                form,
            ],
        ),
    ];
    let deep = b"[".repeat(100_000);
    let none: [&[u8]; 6] = [b"", b"{\"id\": ", b"\xff\xfe\xfa", b"[1]", b"null", &deep];
    for payload in valid.iter().chain(wrong.iter().map(|(payload, _)| payload)) {
        example.publish("payments", payload.as_bytes());
    }
    for payload in none {
        example.publish("payments", payload);
    }
    let (stats, out) = example.end();
    let handler = &stats.handlers[0];
    assert_eq!((handler.acked, handler.dead_lettered), (12, 6));
    assert_eq!(
        texts(&out["payments.valid"]),
        [
            r#"{"amount": "1000000.00", "currency": "GBP", "iban": "GB82WEST12345698765432", "id": "P-2"}"#,
            r#"{"amount": "12.50", "currency": "EUR", "iban": "DE89370400440532013000", "id": "P-1"}"#,
        ]
    );
    assert_eq!(out["payments.rejected"].len(), wrong.len());
    for (payload, reasons) in &wrong {
        let found = out["payments.rejected"].iter().find(|m| text(m) == payload);
        assert_eq!(
            values(found.expect(payload), "reason"),
            *reasons,
            "{payload}"
        );
    }
    let mut dead: Vec<_> = out["dead"].iter().map(Message::payload).collect();
    let mut sent = none.to_vec();
    (dead.sort_unstable(), sent.sort_unstable());
    assert_eq!(dead, sent);
    let list = out["dead"].iter().find(|m| m.payload() == b"[1]").unwrap();
    let details = values(list, "Millpond-Detail");
    assert!(
        details[0].contains("no JSON object, but list"),
        "{details:?}"
    );
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

#[test]
fn orders_of_nats_go_on_over_nats_with_their_headers() {
    let server = plain();
    let client = Client::connect(&server.url());
    let mut large = client.subscribe("orders.large");
    let mut dead = client.subscribe("dead");
    let handler = core("rust-orders", Some("q"))
        .subject("orders")
        .dead_letter("dead");
    let engine = start(kept(at(&server.url(), [handler])));
    client.publish((0..100).map(|n| {
        let post = Post::new("orders", order(&format!("o-{n:02}"), "DE", 100_000 + n));
        post.header("trace", &n.to_string())
    }));
    client.publish([Post::new("orders", "{")]);
    for message in large.collect(100) {
        let order: Value = serde_json::from_slice(&message.payload).unwrap();
        let n: u64 = header(message.headers.as_ref(), "trace")
            .unwrap()
            .parse()
            .unwrap();
        assert_eq!(
            (&order["id"], &order["net_cents"]),
            (&json!(format!("o-{n:02}")), &json!(100_000 + n))
        );
    }
    assert_eq!(dead.next_message().payload, "{");
    assert_eq!(settled(&engine).handlers[0].acked, 100);
}
