//! The clock of the shell. The deciding parts are handed the time and never ask; this is the one place that reads it.

use std::time::{Duration, Instant};

/// What counts as for ever: no deadline is later, so that adding one never overflows.
const EVER: Duration = Duration::from_secs(100 * 365 * 24 * 3_600);

/// The time after `wait`, at most a century later.
pub(crate) fn after(now: Instant, wait: Duration) -> Instant {
    now + wait.min(EVER)
}

/// The time.
#[allow(
    clippy::disallowed_methods,
    reason = "the one place that reads the clock"
)]
pub(crate) fn now() -> Instant {
    Instant::now()
}

/// The world's time, since 1970; zero on a machine whose clock is before that.
#[allow(
    clippy::disallowed_methods,
    reason = "the one place that reads the clock"
)]
pub(crate) fn unix() -> Duration {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.unwrap_or_default()
}
