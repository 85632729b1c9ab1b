//! Outcomes: what a failed call does to its message. One total function, [`Policy::after`].
//!
//! Owns faults and the policy on them. Pure: no clock, no thread, no wasm, no broker.

use std::fmt;
use std::time::Duration;

use crate::line::OneLine;

/// Most bytes of what was seen of a fault: what a person reads. The rest is cut off, so that neither a line of the log nor a dead letter
/// that waits keeps more of what a guest said. Escapes make it longer, sixfold at most.
pub(crate) const DETAIL_BYTES_MAX: usize = 1_024;

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
    /// The guest gave up on the message: it is not called again.
    Terminated,
    /// The call held more sends than its limit.
    Outbox,
    /// The host could not make the call: its instance could not be made, or a value that came back was nonsense.
    Host,
    /// The call succeeded, but a message that it sent was refused by where it went, or may not go there.
    Refused,
    /// It came from a stream and is larger than is read: there was no call.
    TooLarge,
}

impl FaultKind {
    /// Every kind, in the order in which they are counted.
    pub const ALL: [Self; 11] = [
        Self::Trap,
        Self::Deadline,
        Self::Memory,
        Self::Stack,
        Self::Guest,
        Self::Abandoned,
        Self::Terminated,
        Self::Outbox,
        Self::Host,
        Self::Refused,
        Self::TooLarge,
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
            Self::Terminated => "terminated",
            Self::Outbox => "outbox",
            Self::Host => "host",
            Self::Refused => "refused",
            Self::TooLarge => "too-large",
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
    /// What was seen, for a person: one line, since a guest may have said it.
    pub detail: String,
}

impl Fault {
    /// A fault of `kind` with what was seen, cut to [`DETAIL_BYTES_MAX`] and escaped, whoever said it.
    pub(crate) fn new(kind: FaultKind, detail: impl AsRef<str>) -> Self {
        Self {
            kind,
            detail: OneLine::new(detail.as_ref(), DETAIL_BYTES_MAX).to_string(),
        }
    }
}

impl std::error::Error for Fault {}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.kind, self.detail)
    }
}

/// Why a message was not handled although nothing failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ShedReason {
    /// It had waited so long that it could not be handled within its budget, while more came than could be handled.
    Late,
    /// Its handler had as much in flight as it may have, and its server keeps nothing that could come later.
    Full,
    /// It was larger than may be read.
    TooLarge,
    /// Its stream delivered it once more, and its handler takes each message at most once.
    Repeated,
}

impl ShedReason {
    /// Every reason, in the order in which they are counted.
    pub const ALL: [Self; 4] = [Self::Late, Self::Full, Self::TooLarge, Self::Repeated];

    /// Its name, in the words that logs and stats use.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Late => "late",
            Self::Full => "full",
            Self::TooLarge => "too-large",
            Self::Repeated => "repeated",
        }
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
    /// Not handled, for this reason: gone for good, and counted.
    Shed(ShedReason),
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
    /// What happens to a message after a call on it alone: without a fault it is handled; with its `attempts`-th, the first
    /// being 1, it is called again after a delay, or given up on. Total: every kind of fault at every attempt has an outcome.
    /// Every kind is retried, since a fault may come of what the call met rather than of the message.
    pub(crate) fn outcome(
        &self,
        fault: Option<FaultKind>,
        attempts: u32,
        jitter: &mut Jitter,
    ) -> Outcome {
        match fault {
            None => Outcome::Ack,
            Some(kind) if attempts >= self.deliveries_max => Outcome::Term(kind),
            Some(_) => Outcome::Nak(self.delay(attempts, jitter)),
        }
    }

    /// The delay after the `attempts`-th failure: doubled with each, at most the longest, and of that a random half to whole, so
    /// that what failed together does not come back together ("equal jitter": Brooker, AWS Architecture Blog, 2015).
    pub(crate) fn delay(&self, attempts: u32, jitter: &mut Jitter) -> Duration {
        let doubled = 1u32
            .checked_shl(attempts.saturating_sub(1))
            .unwrap_or(u32::MAX);
        let whole = self.delay_first.saturating_mul(doubled).min(self.delay_max);
        jitter.half_to_whole(whole)
    }
}

/// Random numbers from a seed: SplitMix64 (Steele, Lea, Flood 2014).
#[derive(Debug, Clone)]
pub(crate) struct Jitter(u64);

impl Jitter {
    /// The numbers of this seed.
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A time between half of this one and the whole of it.
    fn half_to_whole(&mut self, whole: Duration) -> Duration {
        let half = whole / 2;
        let nanos = u64::try_from(half.as_nanos()).unwrap_or(u64::MAX - 1);
        half + Duration::from_nanos(self.next() % (nanos + 1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::line::CUT;
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
    fn what_was_seen_is_one_line_at_its_length_and_one_over() {
        let detail = |text: &str| Fault::new(FaultKind::Guest, text).detail;
        let full = "x".repeat(DETAIL_BYTES_MAX);
        assert_eq!(detail(&full), full);
        assert_eq!(detail(&format!("{full}y")), format!("{full}{CUT}"));
        assert_eq!(detail("a\nb"), r"a\nb");
    }

    #[test]
    fn delays_double_to_their_limit_and_the_last_attempt_terminates() {
        let mut jitter = Jitter::new(1);
        for (attempt, whole) in [(1, 10 * MS), (2, 20 * MS), (3, 25 * MS)] {
            let outcome = policy().outcome(Some(FaultKind::Trap), attempt, &mut jitter);
            let Outcome::Nak(delay) = outcome else {
                panic!("{attempt}: {outcome:?}");
            };
            assert!(delay >= whole / 2 && delay <= whole, "{attempt}: {delay:?}");
        }
        let last = policy().outcome(Some(FaultKind::Trap), 4, &mut jitter);
        assert_eq!(last, Outcome::Term(FaultKind::Trap));
    }

    #[test]
    fn jitter_is_the_seeds_and_spreads() {
        let delays = |seed| {
            let mut jitter = Jitter::new(seed);
            (0..100)
                .map(|_| policy().delay(1, &mut jitter))
                .collect::<Vec<_>>()
        };
        assert_eq!(delays(7), delays(7));
        assert_ne!(delays(7), delays(8));
        let distinct: std::collections::HashSet<_> = delays(7).into_iter().collect();
        assert!(distinct.len() > 90, "{}", distinct.len());
    }

    proptest! {
        #[test]
        fn total_and_bounded(kind in 0usize..FaultKind::ALL.len(), attempts in 1u32.., max in 1u32.., seed: u64) {
            let policy = Policy { deliveries_max: max, ..policy() };
            let mut jitter = Jitter::new(seed);
            prop_assert_eq!(policy.outcome(None, attempts, &mut jitter), Outcome::Ack);
            match policy.outcome(Some(FaultKind::ALL[kind]), attempts, &mut jitter) {
                Outcome::Nak(d) => { prop_assert!(attempts < max); prop_assert!(d <= policy.delay_max); }
                Outcome::Term(k) => { prop_assert!(attempts >= max); prop_assert_eq!(k, FaultKind::ALL[kind]); }
                other => prop_assert!(false, "a failure is never {:?}", other),
            }
        }
    }
}
