//! The example in Rust: orders are enriched and routed.

use millpond_tests::nats::{Client, Post, header};
use serde_json::{Value, json};

use super::{Example, assert_payloads, kept, of_json, texts, values};
use crate::harness::{settled, start};
use crate::nats_core::{at, core, plain};

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
    assert_payloads(&out["dead"], mistakes.map(|(payload, _)| payload));
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
