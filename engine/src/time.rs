//! Time as the engine counts it: one number, so that comparing, adding and keeping it costs one instruction and eight bytes.
//!
//! Knows no clock: times come from the shell (`clock.rs`), or from a simulator.

use std::fmt;
use std::num::NonZeroU64;
use std::ops::{Add, AddAssign, Sub};
use std::time::Duration;

/// A moment, in nanoseconds since some moment that is the same for all of a process: what [`std::time::Instant`] says, in eight
/// bytes. Made of that by `Instant::from`.
///
/// Reaches 584 years; what would be later is the latest, what would be earlier is the earliest.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Instant(NonZeroU64);

impl Instant {
    /// The moment this long after the one that times are counted from.
    pub(crate) const fn after_start(since: Duration) -> Self {
        Self::at(nanos(since).saturating_add(1))
    }

    const fn at(nanos: u64) -> Self {
        match NonZeroU64::new(nanos) {
            Some(nanos) => Self(nanos),
            None => Self(NonZeroU64::MIN),
        }
    }

    /// How long it is after `earlier`; zero if it is not.
    #[must_use]
    pub const fn saturating_duration_since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.get().saturating_sub(earlier.0.get()))
    }
}

/// Whole nanoseconds of a duration; the most there can be if it is longer.
const fn nanos(duration: Duration) -> u64 {
    let nanos = duration.as_nanos();
    match nanos > u64::MAX as u128 {
        true => u64::MAX,
        false => nanos as u64,
    }
}

impl fmt::Debug for Instant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "+{:?}", Duration::from_nanos(self.0.get()))
    }
}

impl Add<Duration> for Instant {
    type Output = Self;

    fn add(self, wait: Duration) -> Self {
        Self::at(self.0.get().saturating_add(nanos(wait)))
    }
}

impl AddAssign<Duration> for Instant {
    fn add_assign(&mut self, wait: Duration) {
        *self = *self + wait;
    }
}

impl Sub<Duration> for Instant {
    type Output = Self;

    fn sub(self, back: Duration) -> Self {
        Self::at(self.0.get().saturating_sub(nanos(back)))
    }
}

impl Sub for Instant {
    type Output = Duration;

    fn sub(self, earlier: Self) -> Duration {
        self.saturating_duration_since(earlier)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const START: Instant = Instant::after_start(Duration::ZERO);

    #[test]
    fn times_end_where_numbers_do() {
        let last = START + Duration::MAX;
        assert_eq!(last + Duration::MAX, last);
        assert_eq!(START - Duration::from_nanos(1), START);
        assert_eq!(START - last, Duration::ZERO);
        assert_eq!(size_of::<Option<Instant>>(), 8);
    }

    proptest! {
        #[test]
        fn what_is_added_is_what_lies_between(since in 0u64..1 << 62, wait in 0u64..1 << 62) {
            let (since, wait) = (Duration::from_nanos(since), Duration::from_nanos(wait));
            let start = START + since;
            prop_assert_eq!((start + wait) - start, wait);
            prop_assert_eq!((start + wait) - wait, start);
            prop_assert_eq!(start < start + wait, !wait.is_zero());
        }
    }
}
