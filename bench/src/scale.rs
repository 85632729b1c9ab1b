//! How much is measured: all of it, or so little of each part that a test sees in seconds whether it works.

use std::time::Duration;

/// What a small run's times are divided by, and the least that is left of one.
const TIME_PART: u32 = 20;
const TIME_MIN: Duration = Duration::from_millis(2);
/// What its numbers of messages, calls and handlers are divided by.
const COUNT_PART: u64 = 50;

/// How much of each part is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scale {
    /// What a record is made of.
    Whole,
    /// One short round of everything: its numbers say nothing.
    Small,
}

impl Scale {
    /// Rounds, of so many.
    #[must_use]
    pub fn rounds(self, whole: usize) -> usize {
        match self {
            Self::Whole => whole,
            Self::Small => 1,
        }
    }

    /// How long something takes that takes so long.
    #[must_use]
    pub fn time(self, whole: Duration) -> Duration {
        match self {
            Self::Whole => whole,
            Self::Small => (whole / TIME_PART).max(TIME_MIN),
        }
    }

    /// How many, of so many; at least one.
    #[must_use]
    pub fn count(self, whole: u64) -> u64 {
        match self {
            Self::Whole => whole,
            Self::Small => (whole / COUNT_PART).max(1),
        }
    }
}
