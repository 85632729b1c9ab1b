//! The same handler, written for each contract, has the same outcomes and sends for 10,000 random batches.
//!
//! `guests/shared/rules.rs` is what it does. Four engines get the same messages; of each message it is compared what was sent for it, in
//! order, and what became of it: acknowledged, or given up on, why, and after how many attempts. All four are held against the rules
//! themselves. What can't be equal, since a contract can't say it:
//! - contract 4 has no headers and contract 2 no reply subjects of sends: there they are none;
//! - a send that is refused is an error that a guest sees, and a reason of its own, but with contract 3, where the host refuses it
//!   once the call has ended: there the reason is `refused`, elsewhere `guest error`;
//! - an error of contract 1 has the host's text, since its guests can't make one.
//!
//! Contracts 1 and 3 can give a message back, and do the same then in 2,000 batches of their own. What only one of them can say, to
//! complete a message (1), or to give it up or back for a time (3), is no part of it.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use millpond::{Engine, Grants, HandlerConfig, Message, Overflow, Subscription};

use crate::harness::{config, limited, once, settled, start, until};

#[path = "../guests/shared/rules.rs"]
#[allow(
    dead_code,
    unreachable_pub,
    reason = "it is the guests', which use all of it"
)]
mod rules;

use rules::Step;

const BATCHES: usize = 10_000;
/// Batches in flight together.
const ROUND: usize = 250;
/// Rounds of an engine. What calls cost is learned on a busy machine, and an engine that learns that single messages are best stays with
/// them: not all may.
const ENGINE_ROUNDS: usize = 5;
const BATCH_MESSAGES_MAX: usize = 12;
const RULES_MAX: usize = 5;
const SEED: u64 = 0x5eed_0000_0000_0005;

/// How long a call waits to be full: what is published together shares calls, however busy the machine is.
const LINGER: Duration = Duration::from_millis(2);
const DELIVERIES_MAX: u32 = 2;
const RETRY_DELAY: Duration = Duration::from_micros(100);

/// Numbers from a seed: SplitMix64.
pub(crate) struct Draw(u64);

impl Draw {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }

    /// The same as [`Self::message`], but one in eight is given back.
    fn message_or_back(&mut self, id: u32) -> Message {
        let message = self.message(id, true);
        if self.below(8) > 0 {
            return message;
        }
        let (id, rules) = message.payload().split_at(4);
        let payload = [id, &[rules::ABANDON], rules].concat();
        let message = Message::builder("in").payload(&payload);
        message.expect("a good message")
    }

    /// A message with this number, which asks for replies or does not. One in eight does anything; the others only what does not fail.
    pub(crate) fn message(&mut self, id: u32, may_ask: bool) -> Message {
        let (asks, any) = (may_ask && self.below(2) == 0, self.below(8) == 0);
        let rules = (0..self.below(RULES_MAX + 1)).map(|_| match (any, asks) {
            // The failures are among the last 16 values: drawn as often as all others.
            (true, _) if self.below(2) == 0 => 240 + self.below(16) as u8,
            (true, _) => self.below(256) as u8,
            (false, true) => self.below(251) as u8,
            (false, false) => self.below(200) as u8,
        });
        let mut rules: Vec<u8> = rules.collect();
        // Not every contract can do that; what is below does as little.
        let first = rules.first_mut().filter(|rule| **rule == rules::ABANDON);
        first.into_iter().for_each(|rule| *rule -= 1);
        let mut message = Message::builder("in");
        if asks {
            message = message.reply_to(&format!("out.reply.{}", id % 7));
        }
        for n in 0..self.below(4) {
            message = message.header(["a", "B-2", "a"][n], &format!("{n}: {id}"));
        }
        let payload = [&id.to_le_bytes()[..], &rules].concat();
        message.payload(&payload).expect("a good message")
    }
}

/// What one contract can say, and how it does.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Side {
    pub(crate) guest: &'static str,
    headers: bool,
    reply_to: bool,
    /// Calls have several messages.
    batches: bool,
    /// Errors have the guest's text.
    text: bool,
    /// The reason that a message is given up on for which a refused send was made.
    refused: &'static str,
}

const FIRST: Side = Side {
    guest: "rules",
    headers: true,
    reply_to: true,
    batches: true,
    text: false,
    refused: "guest error",
};

pub(crate) const SIDES: [Side; 4] = [
    FIRST,
    Side {
        guest: "rules-incoming",
        batches: false,
        reply_to: false,
        text: true,
        ..FIRST
    },
    Side {
        guest: "batch-rules",
        text: true,
        refused: "refused",
        ..FIRST
    },
    Side {
        guest: "rules-wasmcloud",
        batches: false,
        headers: false,
        text: true,
        ..FIRST
    },
];

/// One send: subject, payload, reply subject, headers.
pub(crate) type Seen = (String, Vec<u8>, Option<String>, Vec<(String, String)>);

/// What a message sent, and the letters of it: reason, attempts, and the text if it is the guest's own.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Became {
    pub(crate) sends: Vec<Seen>,
    pub(crate) letters: Vec<[String; 3]>,
}

pub(crate) type All = BTreeMap<u32, Became>;

fn headers(message: &Message) -> Vec<(String, String)> {
    let own = |(key, value): (&str, &str)| (key.to_owned(), value.to_owned());
    message.headers().map(own).collect()
}

/// What the rules say of a message, as far as this contract can.
pub(crate) fn expected(message: &Message, side: Side) -> Became {
    let own = if side.headers {
        headers(message)
    } else {
        Vec::new()
    };
    let mut became = Became::default();
    let mut failed: Option<(&str, String)> = None;
    rules::steps(message.payload(), &own, |step| {
        match step {
            Step::Trap => failed = Some(("trap", String::new())),
            Step::Fail(text) => failed = Some(("guest error", text)),
            Step::Abandon => failed = Some(("abandoned", String::new())),
            Step::Send(sending) => match sending.to.as_deref().or(message.reply_to()) {
                None => failed = Some(("guest error", String::new())),
                Some("closed" | "out..bad") => failed = Some((side.refused, String::new())),
                Some(_) if became.sends.len() == rules::OUTBOX_MESSAGES_MAX => {
                    failed = Some(("outbox", String::new()));
                }
                Some(to) => became.sends.push((
                    to.to_owned(),
                    sending.payload,
                    sending.reply_to.filter(|_| side.reply_to),
                    if side.headers {
                        sending.headers
                    } else {
                        Vec::new()
                    },
                )),
            },
        }
        failed.is_none()
    });
    if let Some((reason, text)) = failed {
        let text = if side.text { text } else { String::new() };
        became.sends.clear();
        became.letters = vec![[reason.to_owned(), DELIVERIES_MAX.to_string(), text]];
    }
    became
}

/// The handler of one contract, as the rules want it.
pub(crate) fn handler_of(side: Side) -> HandlerConfig {
    let handler = limited(side.guest, |l| {
        l.outbox_messages_max = rules::OUTBOX_MESSAGES_MAX;
        l.batch_messages_max = BATCH_MESSAGES_MAX;
        l.linger = LINGER;
        l.deliveries_max = DELIVERIES_MAX;
        l.retry_delay_first = RETRY_DELAY;
        l.retry_delay_max = RETRY_DELAY;
    });
    let grants = Grants {
        send: vec!["out.>".into()],
        ..Grants::default()
    };
    handler.grants(grants).dead_letter("out.dead")
}

/// An engine of one contract, and what came from it.
pub(crate) struct Running {
    side: Side,
    pub(crate) engine: Engine,
    out: Subscription,
    seen: All,
}

impl Running {
    pub(crate) fn new(side: Side) -> Self {
        let engine = start(config([handler_of(side).subject("in")]));
        let out = engine.subscribe("out.>", Overflow::Wait).unwrap();
        Self {
            side,
            engine,
            out,
            seen: All::new(),
        }
    }

    /// Reads what has come.
    fn read(&mut self) {
        while let Some(message) = self.out.try_next() {
            let (subject, reply_to) = (message.subject(), message.reply_to());
            let seen = (
                subject.to_owned(),
                message.payload().to_vec(),
                reply_to.map(str::to_owned),
                headers(&message),
            );
            record(&mut self.seen, seen);
        }
    }

    /// Waits until nothing is in flight: all that was seen of this round's messages.
    pub(crate) fn settle(&mut self) -> All {
        until("everything is settled", || {
            self.read();
            self.engine.stats().in_flight == 0
        });
        self.read();
        std::mem::take(&mut self.seen)
    }
}

/// Notes what came: a send, or a letter.
pub(crate) fn record(all: &mut All, seen: Seen) {
    let (id, _) = seen.1.split_first_chunk().expect("a number");
    let became = all.entry(u32::from_le_bytes(*id)).or_default();
    match &*seen.0 {
        "out.dead" => became.letters.push(letter(&seen.3)),
        _ => became.sends.push(seen),
    }
}

/// Of a letter its reason, its attempts, and its text where that is the rules'.
fn letter(headers: &[(String, String)]) -> [String; 3] {
    let [reason, attempts, detail] = ["Reason", "Attempts", "Detail"].map(|name| {
        let header = |(key, _): &&(String, String)| key.strip_prefix("Millpond-") == Some(name);
        let (_, value) = headers.iter().find(header).expect("a letter has it");
        value.clone()
    });
    let text = match detail.starts_with("rule ") {
        true => detail,
        false => String::new(),
    };
    [reason, attempts, text]
}

#[test]
fn contracts_1_to_4_do_the_same_with_10_000_random_batches() {
    let reasons = do_the_same(SIDES, BATCHES, |draw, id| draw.message(id, true));
    let all = ["acked", "guest error", "outbox", "refused", "trap"];
    assert!(reasons.keys().eq(all), "each is met: {reasons:?}");
}

#[test]
fn contracts_1_and_3_give_the_same_messages_back() {
    let [first, _, batch, _] = SIDES;
    let reasons = do_the_same([first, batch], BATCHES / 5, Draw::message_or_back);
    let abandoned = reasons.get("abandoned").copied().unwrap_or_default();
    assert!(abandoned > 1_000, "{reasons:?}");
}

/// Holds these contracts against the rules in so many batches of messages that are drawn so: how often they came to what.
fn do_the_same<const N: usize>(
    all: [Side; N],
    batches: usize,
    mut next: impl FnMut(&mut Draw, u32) -> Message,
) -> BTreeMap<String, u64> {
    let mut sides = all.map(Running::new);
    let mut totals = [Totals::default(); N];
    let mut draw = Draw::new(SEED);
    let mut id = 0;
    let mut reasons = BTreeMap::<String, u64>::new();
    for round in 0..batches / ROUND {
        if round > 0 && round % ENGINE_ROUNDS == 0 {
            add(&mut totals, &sides);
            sides = all.map(Running::new);
        }
        let mut messages = Vec::new();
        for _ in 0..ROUND {
            let from = messages.len();
            for _ in 0..=draw.below(BATCH_MESSAGES_MAX) {
                messages.push(next(&mut draw, id));
                id += 1;
            }
            for side in &sides {
                let mut batch: VecDeque<_> = messages[from..].iter().cloned().collect();
                let taken = side.engine.publish_all(&mut batch);
                assert_eq!(taken, Ok(messages.len() - from));
            }
        }
        for side in &mut sides {
            let mut seen = side.settle();
            for (id, message) in (id - messages.len() as u32..).zip(&messages) {
                let became = seen.remove(&id).unwrap_or_default();
                let should = expected(message, side.side);
                let guest = side.side.guest;
                let payload = message.payload();
                assert_eq!(
                    became, should,
                    "seed {SEED:#x}, round {round}, {guest}: {payload:?}"
                );
                let reason = should
                    .letters
                    .first()
                    .map_or("acked", |[reason, ..]| reason);
                *reasons.entry(reason.to_owned()).or_default() += 1;
            }
            assert_eq!(
                seen,
                All::new(),
                "seed {SEED:#x}, round {round}: of no message"
            );
        }
    }
    println!("{id} messages of {batches} batches, {N} contracts together: {reasons:?}");
    add(&mut totals, &sides);
    for (side, total) in all.iter().zip(&totals) {
        // What fails is called again, in parts and alone, yet there are far fewer calls than messages where a contract takes several.
        match side.batches {
            true => assert!(
                total.calls * 4 <= total.settled[0] * 3,
                "{side:?} {total:?}"
            ),
            false => assert!(total.calls >= total.settled[0], "{side:?} {total:?}"),
        }
        assert_eq!(total.settled[0], u64::from(id));
        assert_eq!(total.settled, totals[0].settled, "{side:?}");
    }
    reasons
}

/// What all engines of one contract did.
#[derive(Debug, Clone, Copy, Default)]
struct Totals {
    calls: u64,
    /// Messages received, acknowledged, and given up on.
    settled: [u64; 3],
}

/// Adds what these engines did.
fn add(totals: &mut [Totals], sides: &[Running]) {
    for (total, side) in totals.iter_mut().zip(sides) {
        let handler = &settled(&side.engine).handlers[0];
        let given_up = handler.terminated.iter().map(|(_, count)| count).sum();
        total.calls += once(handler);
        let these = [handler.received, handler.acked, given_up];
        total
            .settled
            .iter_mut()
            .zip(these)
            .for_each(|(all, n)| *all += n);
    }
}
