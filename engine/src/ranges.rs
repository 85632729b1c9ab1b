//! What each limit may be: checked once, before anything is started.

use std::time::Duration;

use crate::admission;
use crate::limits::{EngineLimits, HandlerLimits};

/// Longest time that a limit may be: a day. What takes longer is no message's handling.
pub(crate) const TIME_MAX: Duration = Duration::from_secs(24 * 3_600);
/// Most that a limit on a count may be, so that sums of them stay numbers.
pub(crate) const COUNT_MAX: usize = 1 << 24;
/// Most that a limit on a size may be, in bytes: what 64-bit processors address.
pub(crate) const SIZE_MAX: usize = 1 << 48;
/// Most bytes that an outbox may have: places in its buffer are 32 bits.
const OUTBOX_BYTES_MAX: usize = 1 << 31;
/// Most that a weight may be: shares finer than that are not told apart.
const WEIGHT_MAX: u32 = 1_000;

/// The first fault that was found, if any.
#[derive(Default)]
struct Check(Option<String>);

impl Check {
    /// Notes a value that is not within these, both included.
    fn within<T: Copy + PartialOrd + std::fmt::Display>(
        self,
        name: &str,
        value: T,
        least: T,
        most: T,
    ) -> Self {
        let good = (least..=most).contains(&value);
        let fault = || format!("{name} is {value}; it may be {least} to {most}");
        Self(self.0.or_else(|| (!good).then(fault)))
    }

    /// Notes a time that is above the longest.
    fn time(self, name: &str, time: Duration) -> Self {
        let fault = || format!("{name} is {time:?}; it may be at most {TIME_MAX:?}");
        Self(self.0.or_else(|| (time > TIME_MAX).then(fault)))
    }

    /// Notes a time that is zero or above the longest.
    fn some_time(self, name: &str, time: Duration) -> Self {
        let fault = || format!("{name} is 0; it must be above 0 and at most {TIME_MAX:?}");
        Self(self.0.or_else(|| time.is_zero().then(fault))).time(name, time)
    }
}

/// What is wrong with a handler's limits, if anything is: the field, its value and what it may be.
pub(crate) fn of_handler(l: &HandlerLimits) -> Option<String> {
    let in_flight = l.in_flight_messages_max;
    let check = Check::default()
        .within("memory_bytes_max", l.memory_bytes_max, 0, SIZE_MAX)
        .within("table_elements_max", l.table_elements_max, 0, COUNT_MAX)
        .within("ready_instances_max", l.ready_instances_max, 0, COUNT_MAX)
        .within("suspended_calls_max", l.suspended_calls_max, 1, COUNT_MAX)
        .within("batch_messages_max", l.batch_messages_max, 1, COUNT_MAX)
        .within("batch_bytes_max", l.batch_bytes_max, 1, SIZE_MAX)
        .within(
            "in_flight_messages_max",
            in_flight,
            1,
            admission::MESSAGES_MAX,
        )
        .within(
            "in_flight_bytes_max",
            l.in_flight_bytes_max,
            1,
            admission::BYTES_MAX,
        )
        .within("open_requests_max", l.open_requests_max, 0, COUNT_MAX)
        .within("outbox_messages_max", l.outbox_messages_max, 0, COUNT_MAX)
        .within("outbox_bytes_max", l.outbox_bytes_max, 0, OUTBOX_BYTES_MAX)
        .within("log_lines_max", l.log_lines_max, 0, COUNT_MAX)
        .within("deliveries_max", l.deliveries_max, 1, u32::MAX)
        .within("weight", l.weight, 1, WEIGHT_MAX)
        .within("split_calls_max", l.split_calls_max, 0, COUNT_MAX as u32)
        .within(
            "unconfirmed_batches_max",
            l.unconfirmed_batches_max,
            1,
            COUNT_MAX,
        )
        .some_time("deadline", l.deadline)
        .some_time("wall_deadline", l.wall_deadline)
        .time("receive_wait_max", l.receive_wait_max)
        .some_time("latency_budget", l.latency_budget)
        .time("linger", l.linger)
        .time("retry_delay_first", l.retry_delay_first)
        .time("retry_delay_max", l.retry_delay_max)
        .time("split_time_max", l.split_time_max)
        .some_time("confirm_wait_max", l.confirm_wait_max)
        .time("pause_first", l.pause_first)
        .time("pause_max", l.pause_max);
    check.0
}

/// What is wrong with the times of servers, if anything is.
pub(crate) fn of_nats(
    silence: Duration,
    reconnect_delay: Duration,
    ready: Duration,
) -> Option<String> {
    let check = Check::default()
        .some_time("silence_max", silence)
        .some_time("reconnect_delay_max", reconnect_delay)
        .time("ready_wait_max", ready);
    check.0
}

/// What is wrong with an engine's limits, if anything is: the field, its value and what it may be.
pub(crate) fn of_engine(l: &EngineLimits) -> Option<String> {
    let micros = |time: Duration| time.as_micros();
    let in_flight = l.in_flight_messages_max;
    let check = Check::default()
        .within(
            "instances_max",
            l.instances_max.unwrap_or(1),
            1,
            COUNT_MAX as u32,
        )
        .within("ready_instances_max", l.ready_instances_max, 0, COUNT_MAX)
        .within("suspended_calls_max", l.suspended_calls_max, 1, COUNT_MAX)
        .within("core_instances_max", l.core_instances_max, 1, 1_000)
        .within("memories_max", l.memories_max, 1, 100)
        .within("tables_max", l.tables_max, 1, 100)
        .within(
            "memory_resident_bytes",
            l.memory_resident_bytes,
            0,
            SIZE_MAX,
        )
        .within("table_resident_bytes", l.table_resident_bytes, 0, SIZE_MAX)
        .within("stack_bytes_max", l.stack_bytes_max, 64 << 10, 64 << 20)
        .within(
            "in_flight_messages_max",
            in_flight,
            1,
            admission::MESSAGES_MAX,
        )
        .within(
            "in_flight_bytes_max",
            l.in_flight_bytes_max,
            1,
            admission::BYTES_MAX,
        )
        .within("inbox_messages_max", l.inbox_messages_max, 1, COUNT_MAX)
        .within(
            "subscription_messages_max",
            l.subscription_messages_max,
            1,
            COUNT_MAX,
        )
        .within("subscriptions_max", l.subscriptions_max, 0, COUNT_MAX)
        .within("requests_max", l.requests_max, 0, COUNT_MAX)
        .within("tick (in µs)", micros(l.tick), 1, 1_000_000)
        .within("time_slice (in µs)", micros(l.time_slice), 1, 1_000_000)
        .time("fiber_stay_first", l.fiber_stay_first)
        .time("fiber_stay_max", l.fiber_stay_max)
        .time("idle_spin", l.idle_spin);
    check.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_at_their_most_and_one_over() {
        for (bytes, good) in [(SIZE_MAX, true), (SIZE_MAX + 1, false), (usize::MAX, false)] {
            let limits = HandlerLimits {
                memory_bytes_max: bytes,
                ..Default::default()
            };
            assert_eq!(of_handler(&limits).is_none(), good, "{bytes}");
        }
        for (bytes, good) in [
            ((64 << 10) - 1, false),
            (64 << 10, true),
            ((64 << 20) + 1, false),
        ] {
            let limits = EngineLimits {
                stack_bytes_max: bytes,
                ..Default::default()
            };
            assert_eq!(of_engine(&limits).is_none(), good, "{bytes}");
        }
    }

    #[test]
    fn zero_limits_are_refused_by_name() {
        let h = HandlerLimits {
            batch_messages_max: 0,
            ..Default::default()
        };
        assert!(of_handler(&h).unwrap().contains("batch_messages_max"));
        let h = HandlerLimits {
            in_flight_messages_max: admission::MESSAGES_MAX,
            ..Default::default()
        };
        assert_eq!(of_handler(&h), None);
        let h = HandlerLimits {
            in_flight_messages_max: admission::MESSAGES_MAX + 1,
            ..Default::default()
        };
        assert!(of_handler(&h).unwrap().contains("in_flight_messages_max"));
        let times = |deadline| HandlerLimits {
            deadline,
            ..Default::default()
        };
        assert_eq!(of_handler(&times(TIME_MAX)), None);
        let over = of_handler(&times(TIME_MAX + Duration::from_nanos(1)));
        assert!(over.is_some_and(|f| f.contains("deadline")));
        let e = EngineLimits {
            inbox_messages_max: 0,
            ..Default::default()
        };
        assert!(of_engine(&e).unwrap().contains("inbox_messages_max"));
    }

    #[test]
    fn every_time_of_a_handler_is_bounded_and_some_are_not_zero() {
        type Field = fn(&mut HandlerLimits) -> &mut Duration;
        let fields: [(&str, Field, bool); 11] = [
            ("deadline", |l| &mut l.deadline, true),
            ("wall_deadline", |l| &mut l.wall_deadline, true),
            ("receive_wait_max", |l| &mut l.receive_wait_max, false),
            ("latency_budget", |l| &mut l.latency_budget, true),
            ("linger", |l| &mut l.linger, false),
            ("retry_delay_first", |l| &mut l.retry_delay_first, false),
            ("retry_delay_max", |l| &mut l.retry_delay_max, false),
            ("split_time_max", |l| &mut l.split_time_max, false),
            ("confirm_wait_max", |l| &mut l.confirm_wait_max, true),
            ("pause_first", |l| &mut l.pause_first, false),
            ("pause_max", |l| &mut l.pause_max, false),
        ];
        for (name, field, above_zero) in fields {
            let with = |time| {
                let mut limits = HandlerLimits::default();
                *field(&mut limits) = time;
                of_handler(&limits)
            };
            assert_eq!(with(TIME_MAX), None, "{name}");
            let over = with(TIME_MAX + Duration::from_nanos(1));
            assert!(over.is_some_and(|f| f.starts_with(name)), "{name}");
            assert_eq!(with(Duration::ZERO).is_some(), above_zero, "{name}");
        }
    }

    #[test]
    fn weights_and_bounds_on_calls_at_their_least_and_most_and_one_over() {
        let weight = |weight| {
            of_handler(&HandlerLimits {
                weight,
                ..Default::default()
            })
        };
        assert_eq!((weight(1), weight(WEIGHT_MAX)), (None, None));
        assert!(weight(0).is_some() && weight(WEIGHT_MAX + 1).is_some());
        let batches = |unconfirmed_batches_max| {
            of_handler(&HandlerLimits {
                unconfirmed_batches_max,
                ..Default::default()
            })
        };
        assert!(batches(1).is_none() && batches(0).is_some());
        let slice = |micros| {
            let time_slice = Duration::from_micros(micros);
            of_engine(&EngineLimits {
                time_slice,
                ..Default::default()
            })
        };
        assert_eq!((slice(1), slice(1_000_000)), (None, None));
        assert!(slice(0).is_some() && slice(1_000_001).is_some());
    }
}
