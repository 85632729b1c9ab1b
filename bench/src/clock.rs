//! The clock of the benches.

use std::time::Instant;

/// The time.
#[must_use]
#[allow(
    clippy::disallowed_methods,
    reason = "a bench is a shell: it reads the clock, here alone"
)]
pub fn now() -> Instant {
    Instant::now()
}
