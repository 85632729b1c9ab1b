//! Outcomes: what a failed call does to its message. One total function, [`Policy::after`].
//!
//! Owns faults and the policy on them. Pure: no clock, no thread, no wasm, no broker.

use std::fmt;
use std::time::Duration;

/// What made a call fail, or a message be given back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FaultKind {
    /// The guest trapped.
    Trap,
    /// The call ran past its deadline.
    Deadline,
    /// The guest trapped after it was refused memory, or its component needs more than its limit.
    Memory,
    /// The guest overflowed its stack.
    Stack,
    /// The guest returned an error.
    Guest,
    /// The guest abandoned the message.
    Abandoned,
    /// The call held more sends than its limit.
    Outbox,
    /// The host could not make the call: its instance could not be made, or a value that came back was nonsense.
    Host,
}

impl FaultKind {
    /// Every kind, in the order in which they are counted.
    pub const ALL: [Self; 8] = [
        Self::Trap,
        Self::Deadline,
        Self::Memory,
        Self::Stack,
        Self::Guest,
        Self::Abandoned,
        Self::Outbox,
        Self::Host,
    ];

    /// Its name, in the words that logs and stats use.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Trap => "trap",
            Self::Deadline => "deadline",
            Self::Memory => "memory",
            Self::Stack => "stack",
            Self::Guest => "guest error",
            Self::Abandoned => "abandoned",
            Self::Outbox => "outbox",
            Self::Host => "host",
        }
    }
}

impl fmt::Display for FaultKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A failed call: data, not an error of the engine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// What kind it is.
    pub kind: FaultKind,
    /// What was seen, for a person.
    pub detail: String,
}

impl Fault {
    /// A fault of `kind` with what was seen.
    pub(crate) fn new(kind: FaultKind, detail: impl Into<String>) -> Self {
        Self {
            kind,
            detail: detail.into(),
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.kind, self.detail)
    }
}

/// What a transport is told of a message, once a message and last of all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Handled: gone for good.
    Ack,
    /// To be delivered again after the delay; it stays in flight.
    Nak(Duration),
    /// Given up on for this reason: gone for good, and counted.
    Term(FaultKind),
}

/// How often, and after how long, a message is called again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Policy {
    /// Calls on a message alone before it is given up on; at least 1.
    pub(crate) deliveries_max: u32,
    /// The delay after the first failed call; it doubles with each.
    pub(crate) delay_first: Duration,
    /// The longest delay.
    pub(crate) delay_max: Duration,
}

impl Policy {
    /// What happens to a message after its `attempts`-th failure, the first being 1. Total: every kind of fault at every
    /// attempt has an outcome. Every kind is retried, since a fault may come of what the call met rather than of the message.
    pub(crate) fn after(&self, kind: FaultKind, attempts: u32) -> Outcome {
        debug_assert!(attempts > 0, "a failure is an attempt");
        if attempts >= self.deliveries_max {
            return Outcome::Term(kind);
        }
        let doubled = 1u32.checked_shl(attempts - 1).unwrap_or(u32::MAX);
        Outcome::Nak(self.delay_first.saturating_mul(doubled).min(self.delay_max))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MS: Duration = Duration::from_millis(1);

    fn policy() -> Policy {
        Policy {
            deliveries_max: 4,
            delay_first: 10 * MS,
            delay_max: 25 * MS,
        }
    }

    #[test]
    fn delays_double_to_their_limit_and_the_last_attempt_terminates() {
        let after = |n| policy().after(FaultKind::Trap, n);
        assert_eq!(after(1), Outcome::Nak(10 * MS));
        assert_eq!(after(2), Outcome::Nak(20 * MS));
        assert_eq!(after(3), Outcome::Nak(25 * MS));
        assert_eq!(after(4), Outcome::Term(FaultKind::Trap));
    }

    proptest! {
        #[test]
        fn total_and_bounded(kind in 0usize..8, attempts in 1u32.., max in 1u32..) {
            let policy = Policy { deliveries_max: max, ..policy() };
            match policy.after(FaultKind::ALL[kind], attempts) {
                Outcome::Nak(d) => { prop_assert!(attempts < max); prop_assert!(d <= policy.delay_max); }
                Outcome::Term(k) => { prop_assert!(attempts >= max); prop_assert_eq!(k, FaultKind::ALL[kind]); }
                Outcome::Ack => prop_assert!(false, "a failure is never an ack"),
            }
        }
    }
}
