//! Settlements: each message once, as what is known of it demands.

use crate::message::{HandlerId, Message};
use crate::outcome::{FaultKind, Outcome};
use crate::time::Instant;
use crate::wire::serial;

use super::{Expect, Ledger, State};

impl Ledger {
    /// The shard settled a message.
    pub(crate) fn settled(
        &mut self,
        id: HandlerId,
        message: &Message,
        outcome: Outcome,
        now: Instant,
    ) {
        let code = match outcome {
            Outcome::Ack => 0,
            Outcome::Nak(_) => 1,
            Outcome::Term(kind) => 2 + kind as u64,
            Outcome::Shed(_) => 100,
        };
        self.note(
            now,
            "settled",
            [message.id, code, u64::from(message.attempts)],
        );
        if message.id == 0 || message.id as usize > self.deliveries.len() {
            return self.violate(|| format!("a message that never came is settled: {message:?}"));
        }
        let delivery = self.delivery(message.id);
        let (state, number) = (delivery.state, delivery.serial);
        let same = delivery.handler == id && Some(number) == serial(message);
        self.check(same, || {
            format!("what is settled as {} is not what came", message.id)
        });
        match state {
            State::Resolved(expect) => self.settle_resolved(id, message, expect, outcome),
            State::Queued => self.settle_queued(id, message, outcome, now),
            _ => self.violate(|| {
                format!(
                    "message {} is settled ({outcome:?}) while it is {state:?}",
                    message.id
                )
            }),
        }
        self.count(id, outcome);
        let after = match outcome {
            Outcome::Nak(_) => State::Outside,
            _ => State::Done,
        };
        self.set_state(message.id, after);
        let delivery = self.delivery(message.id);
        let (attempts, alone, counted) = (delivery.attempts, delivery.alone, message.attempts);
        let number = message.id;
        self.check(counted == attempts, || {
            format!("message {number} is settled with {counted} attempts, not {attempts}")
        });
        self.check(!alone || message.alone, || {
            format!("message {number} must come back alone")
        });
    }

    /// Everything is known of it: only one outcome is right.
    fn settle_resolved(
        &mut self,
        id: HandlerId,
        message: &Message,
        expect: Expect,
        outcome: Outcome,
    ) {
        let limits = &self.books[id.index()].limits;
        let (most, longest) = (limits.deliveries_max, limits.retry_delay_max);
        let first = limits.retry_delay_first;
        let dead_letter = self.books[id.index()].dead_letter.is_some();
        let delivery = self.delivery(message.id);
        let right = match (expect, outcome) {
            (Expect::Ack, Outcome::Ack) => true,
            (Expect::Retry, Outcome::Nak(delay)) => delay <= longest,
            (Expect::Later, Outcome::Nak(delay)) => {
                // It doubles with each time, and a random half to whole of it is waited.
                let times = (delivery.attempts + delivery.lost).min(31);
                let whole = first.saturating_mul(1 << (times - 1)).min(longest);
                delay >= whole / 2 && delay <= whole
            }
            (Expect::Term(kind), Outcome::Term(why)) => kind == why,
            (Expect::Attempt(kind), _) => {
                delivery.attempts += 1;
                delivery.alone = true;
                let last = delivery.attempts >= most;
                attempted(kind, outcome, last, dead_letter) && delay_of(outcome) <= Some(longest)
            }
            _ => false,
        };
        let (attempts, lost) = (delivery.attempts, delivery.lost);
        self.check(right, || {
            format!("message {} is settled as {outcome:?}; right is {expect:?}, attempt {attempts} of {most}, lost {lost} times, delays from {first:?} to {longest:?}", message.id)
        });
    }

    /// It waits: it may only be shed, or be given back since splitting takes too long.
    fn settle_queued(&mut self, id: HandlerId, message: &Message, outcome: Outcome, now: Instant) {
        let book = &self.books[id.index()];
        let droppable = book.droppable;
        let late = book.split.is_some_and(|split| now >= split.until);
        let (ordered, delivery) = (self.ordered, self.delivery(message.id));
        let right = match outcome {
            Outcome::Shed(_) => droppable && !delivery.in_split && !delivery.alone,
            Outcome::Nak(_) => !ordered && delivery.in_split && late,
            _ => false,
        };
        if matches!(outcome, Outcome::Nak(_)) {
            delivery.alone = true;
            self.tally.split_overdue += 1;
        }
        self.check(right, || {
            format!(
                "message {} is settled as {outcome:?} while it waits",
                message.id
            )
        });
    }

    fn count(&mut self, id: HandlerId, outcome: Outcome) {
        let counts = &mut self.books[id.index()].counts;
        match outcome {
            Outcome::Ack => counts.acked += 1,
            Outcome::Nak(_) => counts.retried += 1,
            Outcome::Term(kind) => counts.terminated[kind as usize] += 1,
            Outcome::Shed(_) => counts.shed += 1,
        }
        let tally = match outcome {
            Outcome::Ack => &mut self.tally.acks,
            Outcome::Nak(_) => &mut self.tally.naks,
            Outcome::Term(_) => &mut self.tally.terms,
            Outcome::Shed(_) => &mut self.tally.sheds,
        };
        *tally += 1;
    }
}

/// Whether an outcome is right after a fault of the message alone: given back, or on its last attempt given up on, where no
/// letter must go before.
fn attempted(kind: FaultKind, outcome: Outcome, last: bool, dead_letter: bool) -> bool {
    match outcome {
        Outcome::Nak(_) => !last,
        Outcome::Term(why) => last && why == kind && !dead_letter,
        _ => false,
    }
}

fn delay_of(outcome: Outcome) -> Option<std::time::Duration> {
    match outcome {
        Outcome::Nak(delay) => Some(delay),
        _ => None,
    }
}
