//! What decides and counts: schedules, sizes, subjects, stamps, the ledger of what is under way, the recorder.
//!
//! Nothing here names a clock, a thread or a socket: times are nanoseconds since the run's start, handed in, so that tests run it in
//! virtual time.

pub(crate) mod counts;
pub(crate) mod ledger;
pub(crate) mod order;
pub(crate) mod payloads;
pub(crate) mod random;
pub(crate) mod receiver;
pub(crate) mod recorder;
pub(crate) mod schedule;
pub(crate) mod search;
pub(crate) mod series;
pub(crate) mod sizes;
pub(crate) mod stamp;
pub(crate) mod subjects;

#[cfg(test)]
mod virtual_time;
