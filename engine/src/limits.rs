//! Every limit of the engine, in one place: unit, default and its reason, what happens at it, and what it multiplies into.
//!
//! Owns the two limits structs and the sum that follows from them, [`MemorySum`]. Knows no clock, thread or broker.

use std::fmt;
use std::time::Duration;

use crate::admission;
use crate::message::Message;

const KIB: usize = 1 << 10;
const MIB: usize = 1 << 20;

/// Longest time that a handler's limit may be: a day. What takes longer is no message's handling.
pub(crate) const TIME_MAX: Duration = Duration::from_secs(24 * 3_600);
/// Most that a limit on a count may be, so that sums of them stay numbers.
const COUNT_MAX: u64 = 1 << 24;
/// Most that a limit on a size may be, in bytes: what 64-bit processors address.
const SIZE_MAX: u64 = 1 << 48;
/// Most bytes that an outbox may have: places in its buffer are 32 bits.
const OUTBOX_BYTES_MAX: u64 = 1 << 31;
/// Subjects that one guest may name, in `configure` or by an update. One over is refused: each is a row of the routes.
pub(crate) const CHANNELS_MAX: usize = 1_024;
/// Bytes that a guest may hand to one host call: twice the largest message. One over ends the call with the fault `host`, so
/// that lists which name the same bytes many times cost the host no more than their guest.
pub(crate) const HOST_CALL_BYTES_MAX: usize = 8 * MIB;

/// Limits of one handler. A guest's own settings (see [`crate::HandlerConfig`]) may only tighten them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HandlerLimits {
    /// Bytes of linear memory of one instance, all its memories together. Default 64 MiB: room for the runtimes of Go and
    /// Python. At it a growth fails in the guest; a guest that then traps has the fault `memory`.
    pub memory_bytes_max: usize,
    /// Elements of one instance's tables, each. Default 20,000: what large Go components need. At it a growth fails in the guest.
    pub table_elements_max: usize,
    /// Ready instances kept a shard. Default 2: one for the message that comes, one while that is refilled. 0 keeps none.
    pub ready_instances_max: usize,
    /// Calls that may wait at once a shard, for a handler called on fibers. Default 8. At it batches wait for one to end.
    pub suspended_calls_max: usize,
    /// How long a call may run, its waits included. Default 1 s. At it the call ends with the fault `deadline`.
    pub deadline: Duration,
    /// How long `subscribe-receive` waits, which has no time of its own. Default 500 ms, under the deadline, so that the guest
    /// gets an error and not a fault.
    pub receive_wait_max: Duration,
    /// The time a message may take from its arrival to its settlement. Default 10 ms; noted for batching, not yet acted on.
    pub latency_budget: Duration,
    /// Messages a call. Default 64: there, the fixed cost of a call is under a tenth of the whole.
    pub batch_messages_max: usize,
    /// Bytes of messages a call. Default 1 MiB. A larger message is called alone.
    pub batch_bytes_max: usize,
    /// Messages admitted and not settled, a shard. Default 8,192: some milliseconds of work. At it publishers get `Full`.
    pub in_flight_messages_max: u32,
    /// Their bytes, a shard. Default 8 MiB. At it publishers get `Full`; one message alone is always admitted.
    pub in_flight_bytes_max: u64,
    /// Messages that one call may send. Default 1,024. One over: the send fails, and the call with the fault `outbox`.
    pub outbox_messages_max: usize,
    /// Their bytes. Default 4 MiB. One over: as above.
    pub outbox_bytes_max: usize,
    /// Failed calls on one message alone before it is terminated. Default 5.
    pub deliveries_max: u32,
    /// Delay before the second of them; it doubles with each. Default 10 ms.
    pub retry_delay_first: Duration,
    /// Longest such delay. Default 1 s.
    pub retry_delay_max: Duration,
}

impl Default for HandlerLimits {
    fn default() -> Self {
        Self {
            memory_bytes_max: 64 * MIB,
            table_elements_max: 20_000,
            ready_instances_max: 2,
            suspended_calls_max: 8,
            deadline: Duration::from_secs(1),
            receive_wait_max: Duration::from_millis(500),
            latency_budget: Duration::from_millis(10),
            batch_messages_max: 64,
            batch_bytes_max: MIB,
            in_flight_messages_max: 8_192,
            in_flight_bytes_max: 8 << 20,
            outbox_messages_max: 1_024,
            outbox_bytes_max: 4 * MIB,
            deliveries_max: 5,
            retry_delay_first: Duration::from_millis(10),
            retry_delay_max: Duration::from_secs(1),
        }
    }
}

impl HandlerLimits {
    /// What is wrong with these limits, if anything is: the field, its value and what it may be.
    pub(crate) fn fault(&self) -> Option<String> {
        let ranges = [
            (
                "memory_bytes_max",
                self.memory_bytes_max as u64,
                0,
                SIZE_MAX,
            ),
            (
                "table_elements_max",
                self.table_elements_max as u64,
                0,
                COUNT_MAX,
            ),
            (
                "ready_instances_max",
                self.ready_instances_max as u64,
                0,
                COUNT_MAX,
            ),
            (
                "suspended_calls_max",
                self.suspended_calls_max as u64,
                1,
                COUNT_MAX,
            ),
            (
                "batch_messages_max",
                self.batch_messages_max as u64,
                1,
                COUNT_MAX,
            ),
            ("batch_bytes_max", self.batch_bytes_max as u64, 1, SIZE_MAX),
            (
                "in_flight_messages_max",
                u64::from(self.in_flight_messages_max),
                1,
                u64::from(admission::MESSAGES_MAX),
            ),
            (
                "in_flight_bytes_max",
                self.in_flight_bytes_max,
                1,
                admission::BYTES_MAX,
            ),
            (
                "outbox_messages_max",
                self.outbox_messages_max as u64,
                0,
                COUNT_MAX,
            ),
            (
                "outbox_bytes_max",
                self.outbox_bytes_max as u64,
                0,
                OUTBOX_BYTES_MAX,
            ),
            (
                "deliveries_max",
                u64::from(self.deliveries_max),
                1,
                u64::from(u32::MAX),
            ),
        ];
        if let Some(fault) = out_of_range(&ranges) {
            return Some(fault);
        }
        self.fault_of_times()
    }

    fn fault_of_times(&self) -> Option<String> {
        let times = [
            ("deadline", self.deadline),
            ("receive_wait_max", self.receive_wait_max),
            ("latency_budget", self.latency_budget),
            ("retry_delay_first", self.retry_delay_first),
            ("retry_delay_max", self.retry_delay_max),
        ];
        if let Some((name, time)) = times.iter().find(|(_, time)| *time > TIME_MAX) {
            return Some(format!(
                "{name} is {time:?}; it may be at most {TIME_MAX:?}"
            ));
        }
        self.deadline
            .is_zero()
            .then(|| "deadline is 0; it must be above".to_owned())
    }
}

/// Limits of an engine. What they multiply into is the sum that [`crate::Engine::memory`] gives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EngineLimits {
    /// Instances alive at once, all shards together: being called, waiting, ready, and used ones not yet dropped. Each shard
    /// has an equal share of them, at least one. Default
    /// (`None`): what the other limits can need. When none is free, used instances go first, then ready ones of other handlers,
    /// then a batch waits.
    pub instances_max: Option<u32>,
    /// Ready instances a shard, all handlers together. Default 64.
    pub ready_instances_max: usize,
    /// Suspended calls a shard, all handlers together. Default 32. At it batches wait.
    pub suspended_calls_max: usize,
    /// Core instances of one component. Default 32; more is refused at load.
    pub core_instances_max: u32,
    /// Memories of one component. Default 4: QuickJS components need 3. More is refused at load.
    pub memories_max: u32,
    /// Tables of one component. Default 4: QuickJS components need 3. More is refused at load.
    pub tables_max: u32,
    /// Bytes of a used memory that are reset in place rather than given back to the system. Default 1 MiB, a slot's memory.
    pub memory_resident_bytes: usize,
    /// The same of a table. Default 64 KiB.
    pub table_resident_bytes: usize,
    /// Stack of a guest. Default 512 KiB. At it the call ends with the fault `stack`. One for all handlers: Wasmtime has one a
    /// runtime.
    pub stack_bytes_max: usize,
    /// Messages in a shard's inbox, published and not yet taken. Default 16,384. At it publishers get `Full`.
    pub inbox_messages_max: usize,
    /// Messages waiting in one subscription. Default 4,096. At it the subscription's policy holds: drop and count, or wait.
    pub subscription_messages_max: usize,
    /// Subscriptions at once, guests' ephemeral ones included. Default 1,024. One over is refused.
    pub subscriptions_max: usize,
    /// Requests waiting for their reply. Default 65,536. One over is refused.
    pub requests_max: usize,
    /// Time between two ticks of the epoch, by which deadlines are kept. Default 1 ms: its thread then costs nothing measurable.
    pub tick: Duration,
    /// Memory that the engine may need in the worst case. Default (`None`): the machine's, or its control group's. A
    /// configuration whose sum is above is refused.
    pub memory_total_bytes_max: Option<u64>,
}

impl Default for EngineLimits {
    fn default() -> Self {
        Self {
            instances_max: None,
            ready_instances_max: 64,
            suspended_calls_max: 32,
            core_instances_max: 32,
            memories_max: 4,
            tables_max: 4,
            memory_resident_bytes: MIB,
            table_resident_bytes: 64 * KIB,
            stack_bytes_max: 512 * KIB,
            inbox_messages_max: 16_384,
            subscription_messages_max: 4_096,
            subscriptions_max: 1_024,
            requests_max: 65_536,
            tick: Duration::from_millis(1),
            memory_total_bytes_max: None,
        }
    }
}

impl EngineLimits {
    /// Instances that `shards` shards can need: ready, suspended, one being called and one used. The one that
    /// configures a handler is gone before they start.
    pub(crate) fn instances(&self, shards: usize) -> u32 {
        let a_shard = self.ready_instances_max + self.suspended_calls_max + 2;
        let needed = u32::try_from(shards * a_shard).unwrap_or(u32::MAX);
        self.instances_max.unwrap_or(needed)
    }

    /// Stacks of fibers that `shards` shards can need.
    pub(crate) fn stacks(&self, shards: usize) -> u32 {
        u32::try_from(shards * (self.suspended_calls_max + 1) + 1).unwrap_or(u32::MAX)
    }

    /// Bytes of one fiber's stack: a guest's, and as much again for the host calls it makes.
    pub(crate) fn fiber_stack_bytes(&self) -> usize {
        self.stack_bytes_max + MIB
    }

    /// What is wrong with these limits, if anything is: the field, its value and what it may be.
    pub(crate) fn fault(&self) -> Option<String> {
        let ranges = [
            (
                "instances_max",
                u64::from(self.instances_max.unwrap_or(1)),
                1,
                COUNT_MAX,
            ),
            (
                "ready_instances_max",
                self.ready_instances_max as u64,
                0,
                COUNT_MAX,
            ),
            (
                "suspended_calls_max",
                self.suspended_calls_max as u64,
                1,
                COUNT_MAX,
            ),
            (
                "core_instances_max",
                u64::from(self.core_instances_max),
                1,
                1_000,
            ),
            ("memories_max", u64::from(self.memories_max), 1, 100),
            ("tables_max", u64::from(self.tables_max), 1, 100),
            (
                "memory_resident_bytes",
                self.memory_resident_bytes as u64,
                0,
                SIZE_MAX,
            ),
            (
                "table_resident_bytes",
                self.table_resident_bytes as u64,
                0,
                SIZE_MAX,
            ),
            (
                "stack_bytes_max",
                self.stack_bytes_max as u64,
                64 << 10,
                64 << 20,
            ),
            (
                "inbox_messages_max",
                self.inbox_messages_max as u64,
                1,
                COUNT_MAX,
            ),
            (
                "subscription_messages_max",
                self.subscription_messages_max as u64,
                1,
                COUNT_MAX,
            ),
            (
                "subscriptions_max",
                self.subscriptions_max as u64,
                0,
                COUNT_MAX,
            ),
            ("requests_max", self.requests_max as u64, 0, COUNT_MAX),
            ("tick (in µs)", self.tick.as_micros() as u64, 1, 1_000_000),
        ];
        out_of_range(&ranges)
    }

    /// Bytes of a shard's own stack, on which direct calls run: a guest's, and room for the host's calls beside it.
    pub(crate) fn shard_stack_bytes(&self) -> usize {
        self.stack_bytes_max + 2 * MIB
    }
}

/// The first of these values, each with its name and its least and most, that is out of its range.
fn out_of_range(ranges: &[(&str, u64, u64, u64)]) -> Option<String> {
    let (name, value, least, most) = ranges
        .iter()
        .find(|(_, value, least, most)| !(*least..=*most).contains(value))?;
    Some(format!("{name} is {value}; it may be {least} to {most}"))
}

/// What one loaded handler adds to the sum.
#[derive(Debug, Clone)]
pub(crate) struct Footprint {
    pub(crate) limits: HandlerLimits,
    /// Bytes of linear memory that a new instance has.
    pub(crate) image_bytes: u64,
    /// Memories of an instance.
    pub(crate) memories: u64,
    /// Whether it is called on fibers.
    pub(crate) fibers: bool,
}

/// The most memory that a configuration's handlers can need: a sum of named terms. It leaves out messages that wait in
/// subscriptions, which are bounded in number, and what WASI keeps for a guest.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct MemorySum {
    /// Each term's name and bytes.
    pub terms: Vec<(&'static str, u64)>,
}

impl MemorySum {
    /// The sum for `shards` shards with these handlers.
    pub(crate) fn new(limits: &EngineLimits, shards: usize, handlers: &[Footprint]) -> Self {
        // Saturating: what can't be counted is more than any machine has.
        let product = |factors: &[u64]| factors.iter().fold(1u64, |a, b| a.saturating_mul(*b));
        let sum =
            |f: &dyn Fn(&Footprint) -> u64| handlers.iter().map(f).fold(0u64, u64::saturating_add);
        let max = |f: &dyn Fn(&Footprint) -> u64| handlers.iter().map(f).max().unwrap_or(0);
        let suspended = sum(&|h| u64::from(h.fibers) * h.limits.suspended_calls_max as u64)
            .min(limits.suspended_calls_max as u64);
        let ready =
            sum(&|h| h.limits.ready_instances_max as u64).min(limits.ready_instances_max as u64);
        let shards_n = shards as u64;
        let slots = product(&[shards_n, 1 + suspended + ready + 1])
            .min(u64::from(limits.instances(shards)));
        let kept = product(&[max(&|h| h.memories), limits.memory_resident_bytes as u64])
            .saturating_add(limits.table_resident_bytes as u64);
        let calls = product(&[shards_n, 1 + suspended]);
        let stacks = if suspended > 0 { calls } else { 0 };
        let messages = limits.inbox_messages_max as u64;
        let terms = [
            (
                "calls: memory of instances being called",
                product(&[calls, max(&|h| h.limits.memory_bytes_max as u64)]),
            ),
            (
                "ready: images of ready instances",
                product(&[shards_n, ready, max(&|h| h.image_bytes)]),
            ),
            ("slots: memory kept resident", product(&[slots, kept])),
            (
                "stacks of fibers",
                product(&[stacks, limits.fiber_stack_bytes() as u64]),
            ),
            (
                "messages in flight",
                product(&[shards_n, sum(&|h| h.limits.in_flight_bytes_max)]),
            ),
            (
                "outboxes of calls",
                product(&[calls, max(&|h| h.limits.outbox_bytes_max as u64)]),
            ),
            (
                "inboxes",
                product(&[shards_n, messages, size_of::<Message>() as u64]),
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
        for (at, (name, bytes)) in self.terms.iter().enumerate() {
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
    use proptest::prelude::*;

    fn footprint(fibers: bool) -> Footprint {
        Footprint {
            limits: HandlerLimits::default(),
            image_bytes: 1 << 20,
            memories: 1,
            fibers,
        }
    }

    #[test]
    fn sum_is_of_its_terms() {
        let limits = EngineLimits::default();
        let sum = MemorySum::new(&limits, 2, &[footprint(false), footprint(true)]);
        let term = |name: &str| {
            sum.terms
                .iter()
                .find(|(n, _)| n.starts_with(name))
                .unwrap()
                .1
        };
        assert_eq!(term("calls"), 2 * (1 + 8) * (64 << 20));
        assert_eq!(term("ready"), 2 * 4 * (1 << 20));
        assert_eq!(term("messages"), 2 * 2 * (8 << 20));
        assert_eq!(
            term("slots"),
            2 * (1 + 8 + 4 + 1) * ((1 << 20) + (64 << 10))
        );
        assert_eq!(sum.total(), sum.terms.iter().map(|t| t.1).sum::<u64>());
        assert!(
            sum.to_string()
                .ends_with(&format!("= {:.2} MiB", mib(sum.total())))
        );
    }

    #[test]
    fn a_sum_that_is_more_than_a_number_stays_one() {
        let mut most = footprint(true);
        most.limits.memory_bytes_max = SIZE_MAX as usize;
        most.limits.suspended_calls_max = COUNT_MAX as usize;
        most.limits.in_flight_bytes_max = admission::BYTES_MAX;
        assert_eq!(most.limits.fault(), None);
        let limits = EngineLimits {
            suspended_calls_max: COUNT_MAX as usize,
            ready_instances_max: COUNT_MAX as usize,
            inbox_messages_max: COUNT_MAX as usize,
            ..EngineLimits::default()
        };
        assert_eq!(limits.fault(), None);
        let sum = MemorySum::new(&limits, 16, &vec![most; 4_096]);
        assert_eq!(sum.total(), u64::MAX);
    }

    #[test]
    fn sizes_at_their_most_and_one_over() {
        for (bytes, good) in [(SIZE_MAX, true), (SIZE_MAX + 1, false), (u64::MAX, false)] {
            let limits = HandlerLimits {
                memory_bytes_max: bytes as usize,
                ..Default::default()
            };
            assert_eq!(limits.fault().is_none(), good, "{bytes}");
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
            assert_eq!(limits.fault().is_none(), good, "{bytes}");
        }
    }

    #[test]
    fn zero_limits_are_refused_by_name() {
        let h = HandlerLimits {
            batch_messages_max: 0,
            ..Default::default()
        };
        assert!(h.fault().unwrap().contains("batch_messages_max"));
        let h = HandlerLimits {
            in_flight_messages_max: admission::MESSAGES_MAX,
            ..Default::default()
        };
        assert_eq!(h.fault(), None);
        let h = HandlerLimits {
            in_flight_messages_max: admission::MESSAGES_MAX + 1,
            ..Default::default()
        };
        assert!(h.fault().unwrap().contains("in_flight_messages_max"));
        let times = |deadline| HandlerLimits {
            deadline,
            ..Default::default()
        };
        assert_eq!(times(TIME_MAX).fault(), None);
        let over = times(TIME_MAX + Duration::from_nanos(1)).fault();
        assert!(over.is_some_and(|f| f.contains("deadline")));
        let e = EngineLimits {
            inbox_messages_max: 0,
            ..Default::default()
        };
        assert!(e.fault().unwrap().contains("inbox_messages_max"));
    }

    proptest! {
        #[test]
        fn sum_never_falls_when_a_limit_rises(shards in 1usize..16, handlers in 1usize..20, calls in 1usize..64) {
            let limits = EngineLimits::default();
            let all = |n: usize, calls| {
                let mut f = footprint(true);
                f.limits.suspended_calls_max = calls;
                MemorySum::new(&limits, shards, &vec![f; n]).total()
            };
            prop_assert!(all(handlers, calls) <= all(handlers + 1, calls));
            prop_assert!(all(handlers, calls) <= all(handlers, calls + 1));
        }
    }
}
