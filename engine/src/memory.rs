//! The memory that an engine can need: a sum of named terms that follows from its limits.
//!
//! Owns the arithmetic, and nothing of how memory is had.

use std::cmp::Reverse;
use std::fmt;

use crate::limits::{EngineLimits, HandlerLimits, USED_BYTES_MAX, USED_MESSAGES_MAX};
use crate::message::{HEADER_BYTES_MAX, Message, PAYLOAD_BYTES_MAX};
use crate::subject::SUBJECT_BYTES_MAX;

const MIB: usize = 1 << 20;
/// What a message in flight takes beside its bytes: its record, and the slack that its buffer may have.
const RECORD_BYTES: u64 = size_of::<Message>() as u64 + 192;

/// What one loaded handler adds to the sum.
#[derive(Debug, Clone)]
pub(crate) struct Footprint {
    pub(crate) limits: HandlerLimits,
    /// Bytes of linear memory that a new instance has.
    pub(crate) image_bytes: u64,
    /// Memories of an instance.
    pub(crate) memories: u64,
    /// Bytes of messages that the host keeps for a guest, beside its outbox.
    pub(crate) held_bytes: u64,
    /// Whether its contract lays batches out for its calls.
    pub(crate) lays_out: bool,
}

impl Footprint {
    /// What a batch takes that is laid out for a call: bytes, of one message at least, and six numbers a message.
    fn laid_out(&self) -> u64 {
        let bytes = self.limits.batch_bytes_max.max(MESSAGE_BYTES_MAX) as u64;
        let numbers = (self.limits.batch_messages_max as u64).saturating_mul(6 * 4);
        if self.lays_out {
            bytes.saturating_add(numbers)
        } else {
            0
        }
    }
}

/// The largest message.
const MESSAGE_BYTES_MAX: usize = PAYLOAD_BYTES_MAX + HEADER_BYTES_MAX + 2 * SUBJECT_BYTES_MAX;

/// The most memory that a configuration's handlers can need: a sum of named terms. It leaves out messages that wait in
/// subscriptions, which are bounded in number, and what WASI keeps for a guest.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct MemorySum {
    /// Each term's name and bytes.
    pub terms: Vec<(&'static str, u64)>,
}

impl MemorySum {
    /// The sum for `shards` shards with these handlers, each with a connection of so many bytes.
    pub(crate) fn new(
        limits: &EngineLimits,
        shards: usize,
        handlers: &[Footprint],
        connection_bytes: u64,
    ) -> Self {
        // Saturating: what can't be counted is more than any machine has.
        let product = |factors: &[u64]| factors.iter().fold(1u64, |a, b| a.saturating_mul(*b));
        let sum =
            |f: &dyn Fn(&Footprint) -> u64| handlers.iter().map(f).fold(0u64, u64::saturating_add);
        let max = |f: &dyn Fn(&Footprint) -> u64| handlers.iter().map(f).max().unwrap_or(0);
        // Of every handler: a direct call that overruns its slice goes on a fiber.
        let suspended =
            sum(&|h| h.limits.suspended_calls_max as u64).min(limits.suspended_calls_max as u64);
        let ready =
            sum(&|h| h.limits.ready_instances_max as u64).min(limits.ready_instances_max as u64);
        let in_flight_bytes =
            sum(&|h| h.limits.in_flight_bytes_max).min(limits.in_flight_bytes_max);
        let in_flight_messages = sum(&|h| h.limits.in_flight_messages_max.into())
            .min(limits.in_flight_messages_max.into());
        let shards_n = shards as u64;
        let slots = product(&[shards_n, 1 + suspended + ready + USED_MESSAGES_MAX as u64])
            .min(u64::from(limits.instances(shards)));
        let kept = product(&[max(&|h| h.memories), limits.memory_resident_bytes as u64])
            .saturating_add(limits.table_resident_bytes as u64);
        let calls = product(&[shards_n, 1 + suspended]);
        let messages = limits.inbox_messages_max as u64;
        let terms = [
            (
                "calls: memory of instances being called",
                product(&[calls, max(&|h| h.limits.memory_bytes_max as u64)]),
            ),
            (
                "used: memory of instances that wait to be dropped",
                product(&[shards_n, USED_BYTES_MAX as u64]),
            ),
            (
                "ready: images of ready instances",
                product(&[shards_n, ready, max(&|h| h.image_bytes)]),
            ),
            ("slots: memory kept resident", product(&[slots, kept])),
            (
                "stacks of fibers",
                product(&[slots, limits.fiber_stack_bytes() as u64]),
            ),
            ("messages in flight", product(&[shards_n, in_flight_bytes])),
            (
                "records of messages in flight",
                product(&[shards_n, in_flight_messages, RECORD_BYTES]),
            ),
            (
                "outboxes of calls",
                product(&[calls, max(&|h| h.limits.outbox_bytes_max as u64)]),
            ),
            (
                "messages that guests hold",
                product(&[calls, max(&|h| h.held_bytes)]),
            ),
            (
                "batches laid out for calls",
                product(&[calls, max(&Footprint::laid_out)]),
            ),
            (
                // What waits in one, and what its shard has taken out of it.
                "inboxes",
                product(&[shards_n, messages, 2, size_of::<Message>() as u64]),
            ),
            (
                "connections: buffers",
                product(&[shards_n, connection_bytes]),
            ),
        ];
        Self {
            terms: terms.into(),
        }
    }

    /// All terms together, in bytes.
    #[must_use]
    pub fn total(&self) -> u64 {
        let bytes = self.terms.iter().map(|(_, bytes)| *bytes);
        bytes.fold(0, u64::saturating_add)
    }
}

impl fmt::Display for MemorySum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The largest first; not what would be printed as nothing.
        let mut terms: Vec<_> = self.terms.iter().collect();
        terms.retain(|(_, bytes)| mib(*bytes) >= 0.005);
        terms.sort_by_key(|(_, bytes)| Reverse(*bytes));
        for (at, (name, bytes)) in terms.into_iter().enumerate() {
            let plus = if at == 0 { "" } else { " + " };
            write!(f, "{plus}{:.2} MiB ({name})", mib(*bytes))?;
        }
        write!(f, " = {:.2} MiB", mib(self.total()))
    }
}

/// Bytes as MiB, to be printed.
fn mib(bytes: u64) -> f64 {
    bytes as f64 / MIB as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admission;
    use crate::ranges::{COUNT_MAX, SIZE_MAX, of_engine, of_handler};
    use proptest::prelude::*;

    fn footprint() -> Footprint {
        Footprint {
            limits: HandlerLimits::default(),
            image_bytes: 1 << 20,
            memories: 1,
            held_bytes: 0,
            lays_out: false,
        }
    }

    #[test]
    fn sum_is_of_its_terms() {
        let limits = EngineLimits::default();
        let sum = MemorySum::new(&limits, 2, &[footprint(), footprint()], 1_000);
        let term = |name: &str| {
            sum.terms
                .iter()
                .find(|(n, _)| n.starts_with(name))
                .unwrap()
                .1
        };
        assert_eq!(term("calls"), 2 * (1 + 16) * (64 << 20));
        assert_eq!(term("stacks"), 2 * (1 + 16 + 4 + 16) * (3 << 19));
        assert_eq!(term("used"), 2 * (16 << 20));
        assert_eq!(term("ready"), 2 * 4 * (1 << 20));
        assert_eq!(term("messages"), 2 * 2 * (8 << 20));
        assert_eq!(term("connections"), 2 * 1_000);
        assert_eq!(
            term("slots"),
            2 * (1 + 16 + 4 + 16) * ((1 << 20) + (64 << 10))
        );
        assert_eq!(sum.total(), sum.terms.iter().map(|t| t.1).sum::<u64>());
        let told = sum.to_string();
        assert!(told.starts_with("2176.00 MiB (calls: "), "{told}");
        assert!(told.ends_with(&format!("= {:.2} MiB", mib(sum.total()))));
        // Of 0 bytes, and of 2,000.
        assert!(!told.contains("guests hold") && !told.contains("connections"));
    }

    #[test]
    fn a_sum_that_is_more_than_a_number_stays_one() {
        let mut most = footprint();
        most.limits.memory_bytes_max = SIZE_MAX;
        most.limits.suspended_calls_max = COUNT_MAX;
        most.limits.in_flight_bytes_max = admission::BYTES_MAX;
        assert_eq!(of_handler(&most.limits), None);
        let limits = EngineLimits {
            suspended_calls_max: COUNT_MAX,
            ready_instances_max: COUNT_MAX,
            inbox_messages_max: COUNT_MAX,
            ..EngineLimits::default()
        };
        assert_eq!(of_engine(&limits), None);
        let sum = MemorySum::new(&limits, 16, &vec![most; 4_096], 0);
        assert_eq!(sum.total(), u64::MAX);
    }

    proptest! {
        #[test]
        fn sum_never_falls_when_a_limit_rises(shards in 1usize..16, handlers in 1usize..20, calls in 1usize..64) {
            let limits = EngineLimits::default();
            let all = |n: usize, calls| {
                let mut f = footprint();
                f.limits.suspended_calls_max = calls;
                MemorySum::new(&limits, shards, &vec![f; n], 0).total()
            };
            prop_assert!(all(handlers, calls) <= all(handlers + 1, calls));
            prop_assert!(all(handlers, calls) <= all(handlers, calls + 1));
        }
    }
}
