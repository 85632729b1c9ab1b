//! Every limit of the engine, in one place: unit, default and its reason, what happens at it, and what it multiplies into.
//!
//! Owns the two limits structs. What each may be is in `ranges.rs`, the memory that they sum up to in `memory.rs`. Knows no
//! clock, thread or broker.

use std::time::Duration;

use crate::admission::Bound;

const KIB: usize = 1 << 10;
const MIB: usize = 1 << 20;

/// Subjects that one guest may name, in `configure` or by an update. One over is refused: each is a row of the routes.
pub(crate) const CHANNELS_MAX: usize = 1_024;
/// Bytes that a guest may hand to one host call: twice the largest message. One over ends the call with the fault `host`, so
/// that lists which name the same bytes many times cost the host no more than their guest.
pub(crate) const HOST_CALL_BYTES_MAX: usize = 8 * MIB;

/// Messages whose used instances wait to be dropped together, while calls follow one another. Default 16: with calls of one message, what drops
/// instances is in the caches then, and so is what makes the next ones; of 32, where
/// their memory would let so many wait, no more was gained. Calls of several gain nothing, and those of many would lose, since the memory of several instances is not in the caches (by experiment: a quarter with 1,024). Each holds its
/// slot, which is freed at once if none is free.
pub(crate) const USED_MESSAGES_MAX: usize = 16;
/// Their memory, grown as it is, in all: above, they are dropped at once. Default 16 MiB: fifteen of Rust's usual size, of a mebibyte and some
/// pages each. Beside it there is that of the last one, which counts as the call's.
pub(crate) const USED_BYTES_MAX: usize = 16 << 20;

/// Replies that one request of a guest may bring: a quarter of the handles that it may hold. With so many the request has ended;
/// to expect more is an error.
pub(crate) const REPLIES_MAX: usize = 256;
/// Their bytes: what a call may send. The reply that reaches it ends the request.
pub(crate) const REPLIES_BYTES_MAX: usize = 4 * MIB;
/// Bytes of messages that a guest of contract 2 has made, changed or been answered with, and not given away yet: one call's sends and the
/// replies to a request, at their defaults. At it the call ends with the fault `host`.
pub(crate) const HELD_BYTES_MAX: usize = 8 * MIB;

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
    /// Calls that may be on fibers at once a shard. Default 8. At it batches wait for one to end.
    pub suspended_calls_max: usize,
    /// How long a call may run, its waits left out. Default 1 s. At it the call ends with the fault `deadline`.
    pub deadline: Duration,
    /// How long a call may take, its waits and the turns of others included. Default 5 s: long enough for a call that shares its
    /// shard with others to use its whole `deadline`. At it the call ends with the fault `deadline`, and so does a request in it that was
    /// given no time.
    pub wall_deadline: Duration,
    /// How long `subscribe-receive` waits, which has no time of its own. Default 500 ms. Keep it under `wall_deadline`, which counts waits,
    /// so that the guest gets an error and not a fault.
    pub receive_wait_max: Duration,
    /// Requests of its guests that wait for their replies at once, a shard. Default 8: one for each call that may be on a fiber.
    /// One over is refused: its guest gets an error. 0: it may make none.
    pub open_requests_max: usize,
    /// The time a message may take from its arrival to its settlement. Default 10 ms. Batches are made as large as lets the
    /// oldest message meet it; messages that can't are still handled, unless they may be shed.
    pub latency_budget: Duration,
    /// How long after its arrival a message may be kept back so that others share its call. Default 0: not at all. It ends when
    /// a call is full, and where the learned cost of the call would break the budget.
    pub linger: Duration,
    /// Share of a shard's time, relative to other handlers', while several want it: 1 to 1,000. Default 1. Of weight 2 it has
    /// twice the time of one of weight 1; within one slice of each other the earliest due goes first.
    pub weight: u32,
    /// Messages a call. Default 64: there, the fixed cost of a call is under a tenth of the whole. 1 where the component's contract has
    /// one message a call, whatever is said here.
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
    /// Lines that one call may write into the log, by `wasi:logging` and WASI's output together. Default 256: four for each message
    /// of a call at its default. Those above it are left out, and one line says how many. A line has at most 4 KiB of what the guest
    /// said. 0: it writes none. It bounds a call, so that how much a handler writes follows from how often it is called.
    pub log_lines_max: usize,
    /// Failed calls on one message alone before it is terminated. Default 5.
    pub deliveries_max: u32,
    /// Delay before the second of them; it doubles with each. Default 10 ms. A random half to whole of it is waited. So does the delay
    /// before a message is handled again whose sends could not leave or were not confirmed, with each time: that is no attempt.
    pub retry_delay_first: Duration,
    /// Longest such delay. Default 1 s. It does not bound a delay that a guest of contract 3 asks for, of at most twelve days: such a
    /// message is in flight until it comes again.
    pub retry_delay_max: Duration,
    /// Calls that failed batches may be split into on a shard, from the first failure until no part is left, to find the message
    /// that is the cause. Default 32: one such message among 1,024 takes 20. What remains at it is called again later, each
    /// message alone. Below 2 nothing is split.
    pub split_calls_max: u32,
    /// How long after the first of these failures batches may be split. Default 100 ms. At it as above.
    pub split_time_max: Duration,
    /// Batches a shard whose sends are not all confirmed yet. Default 64. At it the handler is not called until one is.
    pub unconfirmed_batches_max: usize,
    /// How long a confirmation is waited for. Default 5 s. At it the batch's messages are handled again.
    pub confirm_wait_max: Duration,
    /// How long a handler whose calls nearly all fail (30 of the last 32) is paused on a shard; it doubles with each pause that
    /// begins sooner after the last than that one lasted. Default 100 ms. Its messages wait meanwhile, beyond their budget if need
    /// be; once as many are in flight as may be, publishers get `Full`. 0: never paused.
    pub pause_first: Duration,
    /// Longest such pause. Default 10 s. 0: never paused.
    pub pause_max: Duration,
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
            open_requests_max: 8,
            wall_deadline: Duration::from_secs(5),
            latency_budget: Duration::from_millis(10),
            linger: Duration::ZERO,
            weight: 1,
            batch_messages_max: 64,
            batch_bytes_max: MIB,
            in_flight_messages_max: 8_192,
            in_flight_bytes_max: 8 << 20,
            outbox_messages_max: 1_024,
            outbox_bytes_max: 4 * MIB,
            log_lines_max: 256,
            deliveries_max: 5,
            retry_delay_first: Duration::from_millis(10),
            retry_delay_max: Duration::from_secs(1),
            split_calls_max: 32,
            split_time_max: Duration::from_millis(100),
            unconfirmed_batches_max: 64,
            confirm_wait_max: Duration::from_secs(5),
            pause_first: Duration::from_millis(100),
            pause_max: Duration::from_secs(10),
        }
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
    /// Core instances of one component. Default 64: a Python component has 41. More is refused at load.
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
    /// Messages admitted and not settled, all handlers together, a shard. Default 65,536: eight handlers at their own default.
    /// At it publishers get `Full`.
    pub in_flight_messages_max: u32,
    /// Their bytes, a shard. Default 64 MiB. At it publishers get `Full`; one message alone is always admitted.
    pub in_flight_bytes_max: u64,
    /// How long a call may hold its shard. Default 1 ms: above nearly every call, below what others notice. A direct call that
    /// runs longer (counted in whole ticks and one more, so for one to two at the default) is abandoned with all it did, and made again on a fiber, which gives
    /// the shard back at every tick.
    pub time_slice: Duration,
    /// How long a handler stays on fibers after that; it doubles with each overrun. Default 100 ms.
    pub fiber_stay_first: Duration,
    /// Longest such stay. Default 60 s: then an overrun costs a slice a minute.
    pub fiber_stay_max: Duration,
    /// How long a shard that has nothing to do goes on looking for messages before its thread rests. Default 0: a thread that looks takes
    /// its whole core. A message that comes meanwhile finds the caches warm and nobody to wake; keep it under what others on the
    /// machine need of the core.
    pub idle_spin: Duration,
    /// Messages in a shard's inbox, published and not yet taken. Default 16,384. At it publishers get `Full`.
    pub inbox_messages_max: usize,
    /// Messages waiting in one subscription. Default 4,096. At it the subscription's policy holds: drop and count, or wait.
    pub subscription_messages_max: usize,
    /// Subscriptions at once, guests' ephemeral ones included. Default 1,024. One over is refused.
    pub subscriptions_max: usize,
    /// Requests waiting for their reply: the embedder's and, in process, guests' together; on NATS, guests' a shard. Default
    /// 65,536. One over is refused.
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
            core_instances_max: 64,
            memories_max: 4,
            tables_max: 4,
            memory_resident_bytes: MIB,
            table_resident_bytes: 64 * KIB,
            stack_bytes_max: 512 * KIB,
            in_flight_messages_max: 65_536,
            in_flight_bytes_max: 64 << 20,
            time_slice: Duration::from_millis(1),
            fiber_stay_first: Duration::from_millis(100),
            fiber_stay_max: Duration::from_secs(60),
            idle_spin: Duration::ZERO,
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

    /// What all handlers together may have in flight on a shard; `None` where their own bounds add up to no more.
    pub(crate) fn shard_bound(&self, handlers: &[Bound]) -> Option<Bound> {
        let messages: u64 = handlers.iter().map(|b| u64::from(b.messages_max)).sum();
        let bytes: u64 = handlers.iter().map(|b| b.bytes_max).sum();
        let binds =
            messages > u64::from(self.in_flight_messages_max) || bytes > self.in_flight_bytes_max;
        binds.then_some(Bound {
            messages_max: self.in_flight_messages_max,
            bytes_max: self.in_flight_bytes_max,
        })
    }

    /// Stacks of fibers that `shards` shards can need: each instance keeps the one that it last ran on until it is dropped, a
    /// ready one whose start functions ran on it too.
    pub(crate) fn stacks(&self, shards: usize) -> u32 {
        self.instances(shards)
    }

    /// Bytes of one fiber's stack: a guest's, and as much again for the host calls it makes.
    pub(crate) fn fiber_stack_bytes(&self) -> usize {
        self.stack_bytes_max + MIB
    }

    /// Bytes of a shard's own stack, on which direct calls run: a guest's, and room for the host's calls beside it.
    pub(crate) fn shard_stack_bytes(&self) -> usize {
        self.stack_bytes_max + 2 * MIB
    }
}
