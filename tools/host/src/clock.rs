//! The clock of the program: the one place that reads it.

use std::time::Instant;

/// The time.
#[allow(
    clippy::disallowed_methods,
    reason = "the one place that reads the clock"
)]
pub(crate) fn now() -> Instant {
    Instant::now()
}
