//! Pausing a handler that faults on nearly everything, so that a broken component neither burns its shard nor sends all that
//! waits to the dead letters at once.
//!
//! Pure: handed the time.

use std::time::Duration;

use crate::penalty::Penalty;
use crate::time::Instant;

/// Calls that are looked back on: the bits of the history.
const CALLS: u32 = u32::BITS;
/// Failed ones among them that are nearly everything: 30 of 32. Picked by hand: a batch that is split for one poisonous message
/// fails every second call, which must not count as broken.
const FAILED: u32 = CALLS - 2;

/// One handler's recent calls, and the pause they led to.
#[derive(Debug)]
pub(crate) struct Pausing {
    /// A bit a call, the latest lowest: 1 if it failed.
    history: u32,
    pause: Penalty,
}

impl Pausing {
    /// Pauses of `first`, longer with each, up to `longest`; none where that is zero.
    pub(crate) fn new(first: Duration, longest: Duration) -> Self {
        Self {
            history: 0,
            pause: Penalty::new(first, longest),
        }
    }

    /// Changes the lengths of pauses.
    pub(crate) fn set(&mut self, first: Duration, longest: Duration) {
        self.pause.set(first, longest);
    }

    /// Notes how a call ended. Whether a pause begins with it.
    pub(crate) fn ended(&mut self, failed: bool, now: Instant) -> bool {
        self.history = self.history << 1 | u32::from(failed);
        failed && self.history.count_ones() >= FAILED && self.pause.begin(now)
    }

    /// Until when the handler is paused, if it is.
    pub(crate) fn until(&self, now: Instant) -> Option<Instant> {
        self.pause.until(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn thirty_failed_calls_pause_and_twenty_nine_do_not() {
        let start = crate::testing::start();
        let mut p = Pausing::new(10 * MS, 40 * MS);
        assert!((0..29).all(|_| !p.ended(true, start)));
        assert_eq!(p.until(start), None);
        assert!(p.ended(true, start));
        assert_eq!(p.until(start), Some(start + 10 * MS));
    }

    #[test]
    fn every_second_call_failing_is_no_reason() {
        let start = crate::testing::start();
        let mut p = Pausing::new(10 * MS, 40 * MS);
        assert!((0..1_000).all(|i| !p.ended(i % 2 == 0, start)));
    }

    #[test]
    fn after_a_pause_one_failure_pauses_for_longer_and_successes_end_it() {
        let start = crate::testing::start();
        let mut p = Pausing::new(10 * MS, 40 * MS);
        for _ in 0..30 {
            p.ended(true, start);
        }
        assert!(p.ended(true, start + 10 * MS));
        assert_eq!(p.until(start + 10 * MS), Some(start + 30 * MS));
        for _ in 0..3 {
            p.ended(false, start + 30 * MS);
        }
        assert!(!p.ended(true, start + 31 * MS));
    }

    #[test]
    fn can_be_switched_off() {
        let start = crate::testing::start();
        let mut p = Pausing::new(10 * MS, Duration::ZERO);
        assert!((0..100).all(|_| !p.ended(true, start)));
    }
}
