//! The example in Python: payments are validated.

use super::{Example, assert_payloads, text, texts, values};

const IBAN: &str = "DE89370400440532013000";
const ID: &str = "id: there is none";
const RANGE: &str = "amount: not above 0 and at most 1000000";
const NUMBER: &str = "amount: not a number in quotes";
const DECIMALS: &str = "amount: more than two decimals";
const CURRENCY: &str = "currency: none of CHF, EUR, GBP";
const FORM: &str = "iban: not of its form";
const DIGITS: &str = "iban: its check digits are wrong";

/// Id, amount as JSON has it, currency and IBAN of a payment, and what it is rejected for.
type Wrong = (
    &'static str,
    &'static str,
    &'static str,
    &'static str,
    &'static [&'static str],
);

const WRONG: [Wrong; 9] = [
    ("p", "\"0\"", "EUR", IBAN, &[RANGE]),
    ("p", "\"1000000.01\"", "EUR", IBAN, &[RANGE]),
    ("p", "\"1.001\"", "EUR", IBAN, &[DECIMALS]),
    ("p", "\"NaN\"", "EUR", IBAN, &[NUMBER]),
    ("p", "12.5", "EUR", IBAN, &[NUMBER]),
    ("p", "\"1\"", "XXX", IBAN, &[CURRENCY]),
    ("p", "\"1\"", "EUR", "DE88370400440532013000", &[DIGITS]),
    ("p", "\"1\"", "EUR", "DE89", &[FORM]),
    (" ", "\"-1\"", "", "", &[ID, RANGE, CURRENCY, FORM]),
];

fn payment(id: &str, amount: &str, currency: &str, iban: &str) -> String {
    format!(r#"{{"id":"{id}","amount":{amount},"currency":"{currency}","iban":"{iban}"}}"#)
}

#[test]
fn payments_that_are_wrong_are_rejected_with_reasons_and_what_is_none_is_a_dead_letter() {
    let listens = ["payments.valid", "payments.rejected"];
    let example = Example::new("python-validate", "payments", &listens);
    let valid = [
        payment("p-1", "\"12.5\"", "eur", "DE89 3704 0044 0532 0130 00"),
        payment("p-2", "\"1000000\"", "GBP", "gb82 west 1234 5698 7654 32"),
    ];
    let wrong = WRONG.map(|(id, amount, currency, iban, reasons)| {
        (payment(id, amount, currency, iban), reasons)
    });
    let all_is_wrong: (String, &[&str]) = ("{}".into(), &[ID, NUMBER, CURRENCY, FORM]);
    let wrong: Vec<_> = wrong.into_iter().chain([all_is_wrong]).collect();
    let deep = b"[".repeat(100_000);
    let none: [&[u8]; 6] = [b"", b"{\"id\": ", b"\xff\xfe\xfa", b"[1]", b"null", &deep];
    let good = valid.iter().chain(wrong.iter().map(|(payload, _)| payload));
    for payload in good.map(|payload| payload.as_bytes()).chain(none) {
        example.publish("payments", payload);
    }

    let (stats, out) = example.end();
    let handler = &stats.handlers[0];
    assert_eq!((handler.acked, handler.dead_lettered), (12, 6));
    let in_one_form = [
        r#"{"amount": "1000000.00", "currency": "GBP", "iban": "GB82WEST12345698765432", "id": "P-2"}"#,
        r#"{"amount": "12.50", "currency": "EUR", "iban": "DE89370400440532013000", "id": "P-1"}"#,
    ];
    assert_eq!(texts(&out["payments.valid"]), in_one_form);
    assert_eq!(out["payments.rejected"].len(), wrong.len());
    for (payload, reasons) in &wrong {
        let found = out["payments.rejected"].iter().find(|m| text(m) == payload);
        assert_eq!(
            values(found.expect(payload), "reason"),
            *reasons,
            "{payload}"
        );
    }
    assert_payloads(&out["dead"], none);
    let list = out["dead"].iter().find(|m| m.payload() == b"[1]").unwrap();
    let details = values(list, "Millpond-Detail");
    assert!(
        details[0].contains("no JSON object, but list"),
        "{details:?}"
    );
}
