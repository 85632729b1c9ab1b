//! How long a call may last: its slice and deadline in ticks of the epoch, and the two deadlines of a call on a fiber.
//!
//! Pure: handed the time. A direct call is ended by the epoch; one on a fiber by its shard, which measures each of its polls.

use std::time::Duration;

use crate::limits::{EngineLimits, HandlerLimits};
use crate::outcome::{Fault, FaultKind};
use crate::time::Instant;

/// How an engine counts its handlers' time.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pace {
    tick: Duration,
    slice: Duration,
}

impl Pace {
    /// Of an engine with these limits.
    pub(crate) fn new(limits: &EngineLimits) -> Self {
        Self {
            tick: limits.tick,
            slice: limits.time_slice,
        }
    }

    /// Ticks after which `time` has passed, wherever between two ticks it began.
    fn ticks(self, time: Duration) -> u64 {
        let ticks = time.as_nanos().div_ceil(self.tick.as_nanos());
        u64::try_from(ticks).unwrap_or(u64::MAX / 2) + 1
    }

    /// The bounds of a handler's direct code. Worked out once, not at each call: it takes divisions of 128 bits.
    pub(crate) fn bounds(self, limits: &HandlerLimits) -> Bounds {
        let deadline = limits.deadline.min(limits.wall_deadline);
        Bounds {
            start: self.ticks(deadline),
            call: self.ticks(deadline.min(self.slice)),
            sliced: self.slice < deadline,
        }
    }
}

/// How long a handler's code may hold its shard, in ticks of the epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Bounds {
    /// Its start functions, while an instance is made.
    pub(crate) start: u64,
    /// A direct call.
    pub(crate) call: u64,
    /// Whether a direct call that is ended then has overrun its slice; otherwise that is its deadline.
    pub(crate) sliced: bool,
}

/// The time that one call on a fiber has had, and may have.
#[derive(Debug)]
pub(crate) struct Spent {
    began: Instant,
    ran: Duration,
    waited: Duration,
    deadline: Duration,
    wall_deadline: Duration,
}

impl Spent {
    /// Of a call that begins at `began`.
    pub(crate) fn new(began: Instant, limits: &HandlerLimits) -> Self {
        Self {
            began,
            ran: Duration::ZERO,
            waited: Duration::ZERO,
            deadline: limits.deadline,
            wall_deadline: limits.wall_deadline,
        }
    }

    /// When it began.
    pub(crate) fn began(&self) -> Instant {
        self.began
    }

    /// When it ends at the latest, whatever it waits for.
    pub(crate) fn until(&self) -> Instant {
        self.began + self.wall_deadline
    }

    /// Adds a poll's time.
    pub(crate) fn add(&mut self, ran: Duration) {
        self.ran += ran;
    }

    /// Adds a time that it waited for something else than its turn.
    pub(crate) fn wait(&mut self, waited: Duration) {
        self.waited += waited;
    }

    /// What it has taken by itself: its running time and its waits, but not the turns of others.
    pub(crate) fn own(&self) -> Duration {
        self.ran + self.waited
    }

    /// The fault that it ends with at `now`, if a deadline has passed: that of its own running time first.
    pub(crate) fn late(&self, now: Instant) -> Option<Fault> {
        let (limit, what) = if self.ran >= self.deadline {
            (self.deadline, "it ran for longer than its deadline")
        } else if now >= self.until() {
            let what = "with its waits and others' turns it took longer than its wall deadline";
            (self.wall_deadline, what)
        } else {
            return None;
        };
        Some(Fault::new(
            FaultKind::Deadline,
            format!("{what}, {limit:?}"),
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn limits(deadline: Duration, wall_deadline: Duration) -> HandlerLimits {
        HandlerLimits {
            deadline,
            wall_deadline,
            ..HandlerLimits::default()
        }
    }

    fn pace(tick: Duration, slice: Duration) -> Pace {
        Pace { tick, slice }
    }

    #[test]
    fn a_direct_call_has_its_whole_slice_wherever_between_two_ticks_it_begins() {
        let bounds = pace(MS, MS).bounds(&limits(1_000 * MS, 5_000 * MS));
        assert_eq!((bounds.call, bounds.sliced), (2, true));
        assert_eq!(bounds.start, 1_001);
        let bounds = pace(2 * MS, 3 * MS).bounds(&limits(1_000 * MS, 5_000 * MS));
        assert_eq!((bounds.call, bounds.sliced), (3, true));
    }

    #[test]
    fn a_deadline_of_a_slice_ends_a_direct_call_and_one_over_does_not() {
        for (deadline, wall, sliced) in [(4, 9, false), (5, 9, true), (9, 4, false), (9, 5, true)] {
            let bounds = pace(MS, 4 * MS).bounds(&limits(deadline * MS, wall * MS));
            assert_eq!(bounds.sliced, sliced, "{deadline} {wall}");
            assert_eq!(bounds.call, 5);
        }
    }

    #[test]
    fn running_time_and_wall_time_have_a_deadline_each() {
        let start = crate::testing::start();
        let mut spent = Spent::new(start, &limits(10 * MS, 50 * MS));
        spent.add(10 * MS - Duration::from_nanos(1));
        let before = start + 50 * MS - Duration::from_nanos(1);
        assert_eq!(spent.late(before), None);
        let wall = spent.late(start + 50 * MS).unwrap();
        assert_eq!(wall.kind, FaultKind::Deadline);
        assert!(wall.detail.contains("wall deadline, 50ms"), "{wall}");
        spent.add(Duration::from_nanos(1));
        let ran = spent.late(start).unwrap();
        assert!(ran.detail.contains("its deadline, 10ms"), "{ran}");
    }
}
