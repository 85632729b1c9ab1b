//! Time slices: which way a call goes, on the shard's own stack or on a fiber.
//!
//! A direct call may run for one slice. One that overruns it is abandoned and made again on a fiber, which gives the shard back
//! at every tick; its handler then stays on fibers for a bounded, growing time, unless the call turns out to be a short one. Pure:
//! handed the time.

use std::time::Duration;

use crate::penalty::Penalty;
use crate::time::Instant;

/// How a handler is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// On the shard's stack: nothing it imports waits, and it ends within its slice.
    Direct,
    /// On a fiber, which may wait or be interrupted while the shard goes on.
    Fiber,
}

/// One handler's ways.
#[derive(Debug)]
pub(crate) struct Slices {
    slice: Duration,
    stay: Penalty,
    /// What `stay` was before the last overrun.
    before: Penalty,
}

impl Slices {
    /// For slices of this length; after an overrun on fibers for `first`, and longer with each, up to `longest`.
    pub(crate) fn new(slice: Duration, first: Duration, longest: Duration) -> Self {
        let stay = Penalty::new(first, longest);
        Self {
            slice,
            before: stay.clone(),
            stay,
        }
    }

    /// The way of a call that is expected to take `expected`: one that would overrun its slice is not begun on the stack.
    pub(crate) fn way(&self, now: Instant, expected: Option<Duration>) -> Way {
        let long = expected.is_some_and(|expected| expected > self.slice);
        match long || self.stay.holds(now) {
            true => Way::Fiber,
            false => Way::Direct,
        }
    }

    /// Notes that a direct call overran its slice.
    pub(crate) fn overran(&mut self, now: Instant) {
        self.before = self.stay.clone();
        self.stay.begin(now);
    }

    /// Notes what the call that overran took when it was made again. If that was less than half a slice it was not the call that was
    /// long: something else had the core. Then its handler need not stay on fibers.
    pub(crate) fn made_again(&mut self, took: Duration) {
        if took < self.slice / 2 {
            self.stay = self.before.clone();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn a_handler_that_overran_stays_on_fibers_for_a_while() {
        let start = crate::testing::start();
        let mut slices = Slices::new(MS, 10 * MS, 100 * MS);
        assert_eq!(slices.way(start, None), Way::Direct);
        slices.overran(start);
        assert_eq!(slices.way(start + 9 * MS, None), Way::Fiber);
        assert_eq!(slices.way(start + 10 * MS, None), Way::Direct);
        slices.overran(start + 11 * MS);
        assert_eq!(slices.way(start + 30 * MS, None), Way::Fiber);
    }

    #[test]
    fn an_overrun_of_a_short_call_is_forgotten_and_one_of_a_long_call_is_not() {
        let start = crate::testing::start();
        let mut slices = Slices::new(MS, 10 * MS, 100 * MS);
        slices.overran(start);
        slices.made_again(MS / 2 - Duration::from_nanos(1));
        assert_eq!(slices.way(start, None), Way::Direct);
        slices.overran(start);
        slices.made_again(MS / 2);
        assert_eq!(slices.way(start + 9 * MS, None), Way::Fiber);
        // What was forgotten does not make the next stay longer either.
        let later = start + 10 * MS;
        slices.overran(later);
        slices.made_again(MS / 4);
        slices.overran(later);
        slices.made_again(MS);
        assert_eq!(slices.way(later + 19 * MS, None), Way::Fiber);
        assert_eq!(slices.way(later + 20 * MS, None), Way::Direct);
    }

    #[test]
    fn a_call_expected_to_last_a_slice_is_direct_and_one_over_is_not() {
        let start = crate::testing::start();
        let slices = Slices::new(MS, MS, MS);
        assert_eq!(slices.way(start, Some(MS)), Way::Direct);
        let over = MS + Duration::from_nanos(1);
        assert_eq!(slices.way(start, Some(over)), Way::Fiber);
    }
}
