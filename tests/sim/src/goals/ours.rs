//! Ours on a row: the production loop, with one set of parameters for all rows.

use std::time::Duration;

use super::lab::{Fate, Plan, run};
use super::rows::{Arrival, Row};
use crate::limits::HandlerLimits;

/// What a handler of a row is given: nothing but its budget differs.
pub(crate) fn limits(budget_ns: u64) -> HandlerLimits {
    HandlerLimits {
        latency_budget: Duration::from_nanos(budget_ns),
        batch_messages_max: 1_024,
        in_flight_messages_max: 1 << 23,
        in_flight_bytes_max: 1 << 39,
        ..HandlerLimits::default()
    }
}

/// Whether the 99th percentile of each handler is within its budget on this trace.
pub(crate) fn meets(row: &Row, trace: &[Arrival]) -> bool {
    let fate = |handler, numbers: &[u64], bytes, at, call| {
        Fate::Done(row.service(handler, numbers.len(), bytes, at, call))
    };
    let result = run(Plan {
        limits: row.handlers.iter().map(|h| limits(h.budget_ns)).collect(),
        droppable: false,
        letters: false,
        trace,
        fate: &fate,
        give_up: true,
    });
    result.meets()
}
