//! What the guests called `rules` do, once for all contracts, so that the four can't drift: a function of one message alone.
//!
//! A payload is a number of four bytes, then rules, a byte each, in order:
//!
//! | byte | what it does |
//! | --- | --- |
//! | 255 | traps |
//! | 254 | fails, with a reason that names the message |
//! | 253 | sends where nobody may send, and ends there |
//! | 252 | sends to what is no subject, and ends there |
//! | 251 | sends one message more than a call may, and ends there |
//! | 250 | sends one message with the payload repeated `REPEATS` times |
//! | 249, as the first | gives the message back, and ends there |
//! | 240–249 | nothing, else |
//! | 220–239 | replies with the payload as it came, which fails where nobody asked |
//! | 200–219 | replies with one made of the message, the same |
//! | 180–199 | sends the message on, with its headers and its payload as it came |
//! | 160–179 | sends the message on, with its headers and a payload made of it |
//! | below | sends to a subject that the byte names, with headers and a payload made of the message |
//!
//! After 251 to 253 a guest does no more, since with contract 3 a send is looked at only once the call has ended: what it did then would
//! count for its fault. A message is given back before anything is sent for it: contract 3 leaves its sends out then, and contract 1 can't
//! say which they are. No contract can say everything: headers are unknown to contract 4, a send's reply subject to contract 2, and to both
//! that a message is given back. Those guests leave them out, or trap.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

/// The rule that gives a message back.
pub const ABANDON: u8 = 249;
/// Messages that the test lets a call send.
pub const OUTBOX_MESSAGES_MAX: usize = 48;
/// How often the payload is in a large send.
const REPEATS: usize = 40;
/// Where everything that may be sent goes: the test grants it.
const OUT: [&str; 4] = ["out.a", "out.b", "out.long.subject.with.tokens", "out.c"];

/// One message of the guest.
pub struct Sending {
    /// Where it goes; none: it is a reply.
    pub to: Option<String>,
    pub payload: Vec<u8>,
    pub headers: Vec<(String, String)>,
    /// Where replies to it are to go.
    pub reply_to: Option<String>,
}

/// What a guest does next.
pub enum Step {
    Send(Sending),
    Fail(String),
    Trap,
    /// Gives the message back.
    Abandon,
}

fn plain(to: &str, payload: Vec<u8>) -> Step {
    Step::Send(Sending {
        to: Some(to.to_string()),
        payload,
        headers: Vec::new(),
        reply_to: None,
    })
}

/// What a message makes a guest do, in order, until a step fails. The headers are those of the message without `reply-to`.
pub fn steps(payload: &[u8], headers: &[(String, String)], mut step: impl FnMut(Step) -> bool) {
    let (id, rules) = payload.split_at(payload.len().min(4));
    for (place, rule) in rules.iter().enumerate() {
        let named = [id, &[place as u8, *rule]].concat();
        let goes_on = match *rule {
            255 => step(Step::Trap),
            254 => step(Step::Fail(format!("rule {place} of {id:?}"))),
            253 => {
                step(plain("closed", named));
                false
            }
            252 => {
                step(plain("out..bad", named));
                false
            }
            251 => {
                let mut one = || step(plain(OUT[0], named.clone()));
                (0..=OUTBOX_MESSAGES_MAX).all(|_| one());
                false
            }
            250 => step(plain(
                OUT[1],
                [&named, payload.repeat(REPEATS).as_slice()].concat(),
            )),
            ABANDON if place == 0 => {
                step(Step::Abandon);
                false
            }
            240..=249 => true,
            200..=239 => step(Step::Send(Sending {
                to: None,
                payload: if *rule < 220 { named } else { payload.to_vec() },
                headers: Vec::new(),
                reply_to: None,
            })),
            160..=199 => step(Step::Send(Sending {
                to: Some(OUT[0].to_string()),
                payload: match *rule {
                    ..180 => [&named, payload].concat(),
                    _ => payload.to_vec(),
                },
                headers: headers.to_vec(),
                reply_to: None,
            })),
            rule => step(Step::Send(made(rule, place, named, payload))),
        };
        if !goes_on {
            return;
        }
    }
}

/// A send whose every part is made of the rule and its message.
fn made(rule: u8, place: usize, named: Vec<u8>, payload: &[u8]) -> Sending {
    let header = |n: u8| {
        let key = if n % 3 == 2 {
            "Again".to_string()
        } else {
            format!("K-{n}")
        };
        (
            key,
            format!("{rule} of {}{}", payload.len(), " é".repeat(usize::from(n))),
        )
    };
    let reversed = payload.iter().rev().copied().skip(place);
    Sending {
        to: Some(OUT[usize::from(rule) % OUT.len()].to_string()),
        payload: named.into_iter().chain(reversed).collect(),
        headers: (0..rule / 32).map(header).collect(),
        reply_to: match rule % 5 {
            0 => Some(format!("out.replies.{rule}")),
            _ => None,
        },
    }
}
