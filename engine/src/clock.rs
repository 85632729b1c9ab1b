//! The clock of the shell. The deciding parts are handed the time and never ask; this is the one place that reads it.

use std::sync::OnceLock;
use std::time::Duration;

use crate::time::Instant;

/// The moment that the times of this process are counted from: when it was first asked for one.
static START: OnceLock<std::time::Instant> = OnceLock::new();

#[allow(
    clippy::disallowed_methods,
    reason = "the one place that reads the clock"
)]
fn start() -> std::time::Instant {
    *START.get_or_init(std::time::Instant::now)
}

impl From<std::time::Instant> for Instant {
    /// The same moment; one before the first that the engine saw is taken to be that one.
    fn from(at: std::time::Instant) -> Self {
        Self::after_start(at.saturating_duration_since(start()))
    }
}

/// The time.
#[allow(
    clippy::disallowed_methods,
    reason = "the one place that reads the clock"
)]
pub(crate) fn now() -> Instant {
    let start = start();
    Instant::after_start(std::time::Instant::now().saturating_duration_since(start))
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

/// The same, as files have it.
pub(crate) fn file_time() -> std::time::SystemTime {
    std::time::UNIX_EPOCH + unix()
}
