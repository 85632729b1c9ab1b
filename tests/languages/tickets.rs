//! The example in C: tickets are redacted and fanned out.

use super::{Example, assert_payloads, sorted, texts, values};

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
    for told in &out["tickets.audit"] {
        let [emails, cards] = ["emails", "cards"].map(|name| values(told, name).concat());
        let as_headers = format!("{emails} e-mails, {cards} cards");
        assert_eq!(told.payload(), as_headers.as_bytes());
    }
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
    assert_payloads(&out["dead"], bad);
}
