//! Enriches JSON orders and routes them by amount. Contract 3, `millpond:batch/handler`, in Rust.
//!
//! An order is `{"id": "o-1", "country": "DE", "items": [{"sku": "a", "quantity": 2, "price_cents": 499}]}`; keys that are not known
//! here are left out. It goes on with its sums and the tax of its country, in integers of cents: to `orders.large` from 1,000.00 on, to
//! `orders.small` below. The headers that it came with go along.
//!
//! What is no such order is given up on: the host sends it to the handler's dead-letter subject. Why goes to `orders.mistakes`, with
//! the order's headers, since a message that is terminated carries no reason of the guest's.
#![no_std]

extern crate alloc;

use alloc::borrow::Cow;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use millpond_guest::{Answer, Batch, Failed, Message};
use serde::{Deserialize, Serialize};

/// Cents from which on an order is large.
const LARGE_CENTS: u64 = 100_000;

/// Tax of the countries that are delivered to, in percent.
const TAX_PERCENT: [(&str, u64); 4] = [("AT", 20), ("CH", 8), ("DE", 19), ("FR", 20)];

/// An order as it comes. What its texts borrow is the message itself, unless they have escapes.
#[derive(Deserialize)]
struct Order<'a> {
    #[serde(borrow)]
    id: Cow<'a, str>,
    #[serde(borrow)]
    country: Cow<'a, str>,
    #[serde(borrow)]
    items: Vec<Item<'a>>,
}

#[derive(Deserialize, Serialize)]
struct Item<'a> {
    #[serde(borrow)]
    sku: Cow<'a, str>,
    quantity: u32,
    price_cents: u32,
}

/// An order as it goes on.
#[derive(Serialize)]
struct Enriched<'a> {
    id: Cow<'a, str>,
    country: Cow<'a, str>,
    items: Vec<Item<'a>>,
    pieces: u64,
    net_cents: u64,
    tax_cents: u64,
    total_cents: u64,
}

fn handle(batch: &Batch<'_>, answer: &mut Answer) -> millpond_guest::Result {
    for message in batch {
        match read(&message).and_then(enriched) {
            Ok(order) => send(&message, &order, answer)?,
            Err(mistake) => {
                answer.term(&message);
                answer
                    .send(&message, "orders.mistakes")
                    .raw_headers(message.raw_headers())
                    .payload(mistake.as_bytes());
            }
        }
    }
    Ok(())
}

/// The order in a message, or what is wrong with it.
fn read<'a>(message: &Message<'a>) -> Result<Order<'a>, String> {
    serde_json::from_slice(message.payload()).map_err(|error| error.to_string())
}

/// The order with its sums.
fn enriched(order: Order<'_>) -> Result<Enriched<'_>, String> {
    if order.items.is_empty() {
        return Err("an order has items".to_string());
    }
    let known = TAX_PERCENT.iter().find(|(country, _)| *country == order.country);
    let (_, percent) = known.ok_or_else(|| format!("{:?} is not delivered to", order.country))?;
    let net = order.items.iter().try_fold(0_u64, |sum, item| {
        // Two numbers of 32 bits have a product of 64; only the sum may be too large.
        sum.checked_add(u64::from(item.quantity) * u64::from(item.price_cents))
    });
    let net_cents = net.filter(|net| *net <= u64::MAX / 200).ok_or("the sum is too large")?;
    // Half a cent and more is rounded up.
    let tax_cents = (net_cents * percent + 50) / 100;
    Ok(Enriched {
        pieces: order.items.iter().map(|item| u64::from(item.quantity)).sum(),
        id: order.id,
        country: order.country,
        items: order.items,
        net_cents,
        tax_cents,
        total_cents: net_cents + tax_cents,
    })
}

fn send(message: &Message<'_>, order: &Enriched<'_>, answer: &mut Answer) -> millpond_guest::Result {
    let subject = match order.total_cents {
        LARGE_CENTS.. => "orders.large",
        _ => "orders.small",
    };
    let payload = serde_json::to_vec(order).map_err(|error| Failed::from(error.to_string()))?;
    answer.send(message, subject).raw_headers(message.raw_headers()).payload(&payload);
    Ok(())
}

millpond_guest::handler!(handle);

#[cfg(test)]
mod tests {
    use super::*;
    use millpond_guest::testing::{call, Given, Outcome};

    const ORDER: &str = r#"{"id":"o-1","country":"DE","items":[{"sku":"a","quantity":2,"price_cents":499}]}"#;

    #[test]
    fn an_order_goes_on_with_its_sums_and_headers() {
        let given = Given::new("orders", ORDER.as_bytes()).headers(&[("trace", "t-1")]);
        let answered = call(handle, &[given]).expect("no order fails a call");
        assert_eq!(answered.outcomes, [Outcome::Ack]);
        let [sent] = &answered.sends[..] else {
            panic!("one send, not {}", answered.sends.len());
        };
        assert_eq!((&*sent.subject, sent.header("trace")), ("orders.small", Some("t-1")));
        let sums = r#""pieces":2,"net_cents":998,"tax_cents":190,"total_cents":1188}"#;
        assert!(String::from_utf8_lossy(&sent.payload).ends_with(sums), "{sent:?}");
    }

    #[test]
    fn what_is_no_order_is_given_up_on_and_stops_no_other() {
        let large = ORDER.replace("499", "42017");
        let given = ["{", &large, &ORDER.replace("DE", "XX")];
        let given = given.map(|payload| Given::new("orders", payload.as_bytes()));
        let answered = call(handle, &given).expect("no order fails a call");
        assert_eq!(answered.outcomes, [Outcome::Term, Outcome::Ack, Outcome::Term]);
        let sends: Vec<_> = answered.sends.iter().map(|sent| (sent.place, &*sent.subject)).collect();
        assert_eq!(sends, [(0, "orders.mistakes"), (1, "orders.large"), (2, "orders.mistakes")]);
        assert_eq!(answered.sends[2].payload, b"\"XX\" is not delivered to");
    }
}
