//! The clocks of the program: the one place that reads them.

use std::time::{Duration, Instant, SystemTime};

use nix::sys::prctl::set_timerslack;
use nix::sys::resource::{UsageWho, getrusage};

/// Nanoseconds since a run's start.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock {
    start: Instant,
}

impl Clock {
    /// From now on.
    pub(crate) fn start() -> Self {
        Self { start: now() }
    }

    /// The time since then.
    pub(crate) fn ns(self) -> u64 {
        (now() - self.start).as_nanos() as u64
    }

    /// The moment that many nanoseconds from the start.
    pub(crate) fn at(self, ns: u64) -> Instant {
        self.start + Duration::from_nanos(ns)
    }
}

/// The time.
#[allow(
    clippy::disallowed_methods,
    reason = "the one place that reads the clock"
)]
pub(crate) fn now() -> Instant {
    Instant::now()
}

/// Seconds since 1970.
#[allow(
    clippy::disallowed_methods,
    reason = "the one place that reads the clock"
)]
pub(crate) fn unix_seconds() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs())
}

/// Waits for a time, or until this thread is unparked.
pub(crate) fn rest(time: Duration) {
    std::thread::park_timeout(time);
}

/// Has the kernel wake this thread from its rests on time, not up to 50 µs later to save wake-ups.
pub(crate) fn precise() {
    // Where it can't be set, rests are longer, and what that makes late is counted.
    let _ = set_timerslack(1);
}

/// Time that this thread has had of a core, in the kernel for it too.
pub(crate) fn on_core() -> Duration {
    let Ok(usage) = getrusage(UsageWho::RUSAGE_THREAD) else {
        return Duration::ZERO;
    };
    let times = [usage.user_time(), usage.system_time()];
    let micros = times.map(|time| time.tv_sec() * 1_000_000 + time.tv_usec());
    Duration::from_micros(micros.iter().sum::<i64>() as u64)
}
