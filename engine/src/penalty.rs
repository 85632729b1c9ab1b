//! A penalty: a bounded, growing time for which something is done the careful way. A handler that overran its slice stays on
//! fibers for one, a handler that faults on nearly everything is paused for one.
//!
//! Pure: handed the time.

use std::time::Duration;

use crate::time::Instant;

/// Doubles with each time it begins, up to its longest; begins anew at its first after a calm as long as itself.
#[derive(Debug, Clone)]
pub(crate) struct Penalty {
    first: Duration,
    longest: Duration,
    last: Duration,
    until: Option<Instant>,
}

impl Penalty {
    /// One that lasts `first`, then twice that, up to `longest`; none at all where either is zero.
    pub(crate) fn new(first: Duration, longest: Duration) -> Self {
        Self {
            first,
            longest,
            last: Duration::ZERO,
            until: None,
        }
    }

    /// Changes its lengths from the next time on.
    pub(crate) fn set(&mut self, first: Duration, longest: Duration) {
        (self.first, self.longest) = (first, longest);
    }

    /// Begins it, unless it holds. Whether it began.
    pub(crate) fn begin(&mut self, now: Instant) -> bool {
        if self.first.min(self.longest).is_zero() || self.holds(now) {
            return false;
        }
        let calm = self
            .until
            .is_none_or(|until| now.saturating_duration_since(until) >= self.last);
        let length = if calm { self.first } else { self.last * 2 };
        self.last = length.min(self.longest);
        self.until = Some(now + self.last);
        debug_assert!(self.last <= self.longest);
        true
    }

    /// Whether it holds.
    pub(crate) fn holds(&self, now: Instant) -> bool {
        self.until(now).is_some()
    }

    /// Until when, if it holds.
    pub(crate) fn until(&self, now: Instant) -> Option<Instant> {
        self.until.filter(|until| now < *until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn grows_to_its_longest_and_starts_anew_after_a_calm() {
        let start = crate::testing::start();
        let mut p = Penalty::new(10 * MS, 35 * MS);
        assert!(!p.holds(start));
        assert!(p.begin(start));
        assert!(p.holds(start + 9 * MS) && !p.holds(start + 10 * MS));
        assert!(!p.begin(start + 5 * MS), "it holds already");
        assert!(p.begin(start + 10 * MS));
        assert_eq!(p.until(start + 10 * MS), Some(start + 30 * MS));
        assert!(p.begin(start + 30 * MS));
        assert_eq!(p.until(start + 30 * MS), Some(start + 65 * MS));
        assert!(p.begin(start + 65 * MS + 35 * MS), "calm as long as it was");
        assert_eq!(p.until(start + 100 * MS), Some(start + 110 * MS));
    }

    #[test]
    fn one_of_no_length_never_holds() {
        let start = crate::testing::start();
        for (first, longest) in [(10 * MS, Duration::ZERO), (Duration::ZERO, 10 * MS)] {
            let mut p = Penalty::new(first, longest);
            assert!(!p.begin(start));
            assert!(!p.holds(start));
        }
    }

    proptest! {
        #[test]
        fn never_longer_than_its_longest(first in 1u64..100, longest in 1u64..1_000, gaps in prop::collection::vec(0u64..2_000, 1..50)) {
            let mut now = crate::testing::start();
            let mut p = Penalty::new(Duration::from_micros(first), Duration::from_micros(longest));
            for gap in gaps {
                now += Duration::from_micros(gap);
                p.begin(now);
                let until = p.until(now).expect("it holds once it has begun");
                prop_assert!(until - now <= Duration::from_micros(longest));
            }
        }
    }
}
