//! Counters and latencies, a set a shard: written by its shard alone, merged by whoever reads.
//!
//! A counter is an atomic only so that others may read it; the shard adds with a plain load and store. The histogram has the
//! log-linear buckets of HDR histograms (<http://hdrhistogram.org>): 64 a power of two, so within 1.6 %.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use hdrhistogram::Histogram;

use crate::message::HandlerId;
use crate::outcome::{FaultKind, Outcome, ShedReason};

const KINDS: usize = FaultKind::ALL.len();
const REASONS: usize = ShedReason::ALL.len();

/// A count that one thread writes and any may read.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    /// Adds; only the counter's own thread may.
    pub(crate) fn add(&self, n: u64) {
        self.0.store(self.get() + n, Ordering::Relaxed);
    }

    /// Sets; only the counter's own thread may.
    pub(crate) fn set(&self, n: u64) {
        self.0.store(n, Ordering::Relaxed);
    }

    /// What it stands at.
    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// What one handler did on one shard.
#[derive(Debug, Default)]
pub(crate) struct HandlerMetrics {
    pub(crate) received: Counter,
    pub(crate) calls: Counter,
    pub(crate) called_messages: Counter,
    pub(crate) sent: Counter,
    pub(crate) acked: Counter,
    pub(crate) retried: Counter,
    pub(crate) terminated: [Counter; KINDS],
    pub(crate) faults: [Counter; KINDS],
    pub(crate) shed: [Counter; REASONS],
    pub(crate) overran: Counter,
    pub(crate) splits: Counter,
    pub(crate) dead_lettered: Counter,
    pub(crate) unsent: Counter,
    pub(crate) pauses: Counter,
    /// 1 while it is paused, and until a call succeeds after that.
    pub(crate) paused: Counter,
}

/// What one shard did.
#[derive(Debug)]
pub(crate) struct ShardMetrics {
    handlers: Box<[HandlerMetrics]>,
    latency: Latency,
    call_time: Latency,
    settle_time: Latency,
    pub(crate) instances_created: Counter,
    pub(crate) instances_called: Counter,
    pub(crate) instances_discarded: Counter,
    pub(crate) instances_ready: Counter,
    pub(crate) calls_suspended: Counter,
    pub(crate) unconfirmed: Counter,
    pub(crate) resources_left: Counter,
}

impl ShardMetrics {
    /// For this many handlers.
    pub(crate) fn new(handlers: usize) -> Self {
        Self {
            handlers: (0..handlers).map(|_| HandlerMetrics::default()).collect(),
            latency: Latency::default(),
            call_time: Latency::default(),
            settle_time: Latency::default(),
            instances_created: Counter::default(),
            instances_called: Counter::default(),
            instances_discarded: Counter::default(),
            instances_ready: Counter::default(),
            calls_suspended: Counter::default(),
            unconfirmed: Counter::default(),
            resources_left: Counter::default(),
        }
    }

    /// One handler's.
    pub(crate) fn handler(&self, id: HandlerId) -> &HandlerMetrics {
        &self.handlers[id.index()]
    }

    /// Counts a call with this many messages.
    pub(crate) fn called(&self, id: HandlerId, messages: u64) {
        let handler = self.handler(id);
        handler.calls.add(1);
        handler.called_messages.add(messages);
    }

    /// Counts a failed call.
    pub(crate) fn faulted(&self, id: HandlerId, kind: FaultKind) {
        self.handler(id).faults[kind as usize].add(1);
    }

    /// Counts a settlement, and its latency if it is the message's last.
    pub(crate) fn settled(&self, id: HandlerId, outcome: Outcome, latency: Duration) {
        let handler = self.handler(id);
        match outcome {
            Outcome::Ack => handler.acked.add(1),
            Outcome::Term(kind) => handler.terminated[kind as usize].add(1),
            Outcome::Nak(_) => return handler.retried.add(1),
            Outcome::Shed(reason) => return handler.shed[reason as usize].add(1),
        }
        self.latency.record(latency);
    }

    /// Counts messages that were handled, all with this latency.
    pub(crate) fn acked_many(&self, id: HandlerId, messages: u64, latency: Duration) {
        self.handler(id).acked.add(messages);
        self.latency.record_many(latency, messages);
    }

    /// Counts how long a call took.
    pub(crate) fn took(&self, time: Duration) {
        self.call_time.record(time);
    }

    /// Counts how long a turn with a call took until its settlements were written out.
    pub(crate) fn settled_within(&self, time: Duration) {
        self.settle_time.record(time);
    }
}

/// Bits of a value that its bucket keeps: 2^7 / 2 = 64 buckets a power of two.
const PRECISION_BITS: u32 = 7;
/// Buckets for values below 2^41 ns, which is 36 minutes; longer latencies count in the last.
const BUCKETS: usize = ((41 - PRECISION_BITS as usize) + 2) << (PRECISION_BITS - 1);

/// A histogram of latencies that one thread writes.
#[derive(Debug)]
struct Latency {
    buckets: Box<[Counter]>,
}

impl Default for Latency {
    fn default() -> Self {
        Self {
            buckets: (0..BUCKETS).map(|_| Counter::default()).collect(),
        }
    }
}

impl Latency {
    fn record(&self, latency: Duration) {
        self.record_many(latency, 1);
    }

    fn record_many(&self, latency: Duration, times: u64) {
        let nanos = u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX);
        self.buckets[bucket(nanos)].add(times);
    }

    fn merge(&self, into: &mut Histogram<u64>) {
        for (index, counter) in self.buckets.iter().enumerate() {
            let count = counter.get();
            if count > 0 {
                into.saturating_record_n(highest(index).max(1), count);
            }
        }
    }
}

/// The bucket of a value: its leading bits and how far they are shifted.
fn bucket(value: u64) -> usize {
    let shift = (u64::BITS - value.leading_zeros()).saturating_sub(PRECISION_BITS);
    let index = ((shift as usize) << (PRECISION_BITS - 1)) + (value >> shift) as usize;
    index.min(BUCKETS - 1)
}

/// The largest value of a bucket.
fn highest(index: usize) -> u64 {
    let half = 1usize << (PRECISION_BITS - 1);
    if index < 2 * half {
        return index as u64;
    }
    let shift = index / half - 1;
    let leading = (index - shift * half) as u64;
    ((leading + 1) << shift) - 1
}

/// What an engine has done so far.
#[derive(Debug, Clone, Default)]
pub struct Stats {
    /// One row a handler, in the order of the configuration.
    pub handlers: Vec<HandlerStats>,
    /// Instances made. All of them are among the next four, but for those being called.
    pub instances_created: u64,
    /// Instances that were called with messages.
    pub instances_called: u64,
    /// Instances that were called to configure their handler, once each.
    pub instances_configured: u64,
    /// Instances that wait to be called.
    pub instances_ready: u64,
    /// Instances that were dropped without being called, to give their slot away.
    pub instances_discarded: u64,
    /// Calls that wait on a fiber.
    pub calls_suspended: u64,
    /// Batches and dead letters whose sends are not all confirmed yet.
    pub unconfirmed: u64,
    /// Clients and errors that guests still held when their calls ended. They go with their instance.
    pub resources_left: u64,
    /// Messages admitted and not yet settled.
    pub in_flight: u64,
    /// Messages that were refused at publication: a bound was reached.
    pub refused: u64,
    /// Messages that nobody listened for.
    pub unrouted: u64,
    /// Messages that a full subscription did not take.
    pub dropped: u64,
    /// Shards that are connected to a server at present.
    pub connected: u64,
    /// Times that a shard was connected to a server; what is above one a shard was connected again.
    pub connects: u64,
    /// Things that a server refused: a subject that may not be heard, credentials, a message. What concerns one handler is in its
    /// row too.
    pub refusals: u64,
    /// Latency from arrival to settlement of messages that were handled or given up on; those shed are not among them.
    pub latency: Latencies,
    /// How long calls took that have ended, one a call: from the begin of the turn that made it, which first takes in what has come, until the
    /// guest's answer was there.
    pub call_time: Latencies,
    /// Of one in sixteen calls that did not wait, the same until what they sent was released, their messages were settled and their turn was written
    /// out: on an idle shard the time from a message's taking to its settlement. A busy one may hand out what it has settled a few
    /// turns later.
    pub settle_time: Latencies,
    /// How used memory is reset.
    pub reset: &'static str,
}

/// A handler's part of the stats.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HandlerStats {
    /// Its name.
    pub name: String,
    /// Messages admitted.
    pub received: u64,
    /// Calls made.
    pub calls: u64,
    /// Messages in those calls; a message that is called again counts again.
    pub called_messages: u64,
    /// Messages that successful calls sent.
    pub sent: u64,
    /// Messages handled.
    pub acked: u64,
    /// Times that a message was put back to be called again after a delay.
    pub retried: u64,
    /// Messages given up on, by the fault of their last call.
    pub terminated: Vec<(FaultKind, u64)>,
    /// Failed calls, by their fault.
    pub faults: Vec<(FaultKind, u64)>,
    /// Messages that were shed, by the reason.
    pub shed: Vec<(ShedReason, u64)>,
    /// Direct calls that were abandoned at the end of their slice and made again on a fiber. They are among the calls.
    pub overran: u64,
    /// Times that a failed batch, or a part of one, was split.
    pub splits: u64,
    /// Messages given up on whose dead letter is in its place.
    pub dead_lettered: u64,
    /// Batches and dead letters of which a send was refused or not confirmed in time.
    pub unsent: u64,
    /// Times that it was paused since nearly all its calls failed.
    pub pauses: u64,
    /// Shards on which it is paused, or has not succeeded since.
    pub paused_shards: u64,
    /// Times that a server refused it something: to hear one of its subjects, to pull, or what it sent. On each shard and connection
    /// each refused subscription counts; of two handlers that send to one refused subject the later one is meant.
    pub refusals: u64,
    /// The server's words at one of the latest of these, at most 1,024 bytes of them. It stays when the permission is given.
    pub refusal: Option<String>,
}

impl HandlerStats {
    /// Messages given up on, whatever the reason.
    #[must_use]
    pub fn terminated_total(&self) -> u64 {
        self.terminated.iter().map(|(_, n)| n).sum()
    }

    /// Adds what the handler did on one shard.
    pub(crate) fn add(&mut self, shard: &HandlerMetrics) {
        self.received += shard.received.get();
        self.calls += shard.calls.get();
        self.called_messages += shard.called_messages.get();
        self.sent += shard.sent.get();
        self.acked += shard.acked.get();
        self.retried += shard.retried.get();
        self.overran += shard.overran.get();
        self.splits += shard.splits.get();
        self.dead_lettered += shard.dead_lettered.get();
        self.unsent += shard.unsent.get();
        self.pauses += shard.pauses.get();
        self.paused_shards += shard.paused.get();
        add_by(&mut self.terminated, FaultKind::ALL, &shard.terminated);
        add_by(&mut self.faults, FaultKind::ALL, &shard.faults);
        add_by(&mut self.shed, ShedReason::ALL, &shard.shed);
    }

    /// Messages that were shed, whatever the reason.
    #[must_use]
    pub fn shed_total(&self) -> u64 {
        self.shed.iter().map(|(_, n)| n).sum()
    }
}

/// Adds counts by kind, leaving out kinds that never were.
fn add_by<K: PartialEq, const N: usize>(
    into: &mut Vec<(K, u64)>,
    kinds: [K; N],
    counters: &[Counter; N],
) {
    for (kind, counter) in kinds.into_iter().zip(counters) {
        let count = counter.get();
        match into.iter_mut().find(|(k, _)| *k == kind) {
            Some((_, total)) => *total += count,
            None if count > 0 => into.push((kind, count)),
            None => {}
        }
    }
}

impl Stats {
    /// Messages settled for good: handled, given up on or shed.
    #[must_use]
    pub fn settled(&self) -> u64 {
        self.handlers
            .iter()
            .map(|h| h.acked + h.terminated_total() + h.shed_total())
            .sum()
    }

    /// Messages admitted.
    #[must_use]
    pub fn received(&self) -> u64 {
        self.handlers.iter().map(|h| h.received).sum()
    }

    /// Calls made.
    #[must_use]
    pub fn calls(&self) -> u64 {
        self.handlers.iter().map(|h| h.calls).sum()
    }
}

/// Times, merged over shards: within 1.6 %.
#[derive(Debug, Clone)]
pub struct Latencies(Histogram<u64>);

impl Default for Latencies {
    fn default() -> Self {
        let histogram = Histogram::new_with_bounds(1, 1 << 42, 2)
            .expect("these bounds are constants that it takes");
        Self(histogram)
    }
}

impl Latencies {
    /// Adds one shard's latencies of messages.
    pub(crate) fn add(&mut self, shard: &ShardMetrics) {
        shard.latency.merge(&mut self.0);
    }

    /// Adds how long one shard's calls took.
    pub(crate) fn add_calls(&mut self, shard: &ShardMetrics) {
        shard.call_time.merge(&mut self.0);
    }

    /// Adds how long one shard's turns took until what they settled was written out.
    pub(crate) fn add_settled(&mut self, shard: &ShardMetrics) {
        shard.settle_time.merge(&mut self.0);
    }

    /// The time that this share of them did not exceed, `quantile` being from 0 to 1. Zero if nothing was counted.
    #[must_use]
    pub fn quantile(&self, quantile: f64) -> Duration {
        Duration::from_nanos(self.0.value_at_quantile(quantile))
    }

    /// Those that were counted since these, which are of the same engine and earlier.
    #[must_use]
    pub fn since(&self, before: &Self) -> Self {
        let mut since = Self::default();
        for bucket in self.0.iter_recorded() {
            let value = bucket.value_iterated_to();
            let earlier = before.0.count_at(value);
            let count = bucket.count_at_value().saturating_sub(earlier);
            since.0.saturating_record_n(value, count);
        }
        since
    }

    /// The longest.
    #[must_use]
    pub fn max(&self) -> Duration {
        Duration::from_nanos(self.0.max())
    }

    /// How many were counted.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.0.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_value_lies_in_its_bucket_within_the_precision(value in 0u64..1 << 41) {
            let high = highest(bucket(value));
            prop_assert!(high >= value);
            prop_assert!(high - value <= value >> (PRECISION_BITS - 1), "{value} → {high}");
        }
    }

    #[test]
    fn buckets_follow_each_other_and_end_at_the_longest() {
        assert!((1..BUCKETS).all(|i| highest(i) > highest(i - 1)));
        assert_eq!(bucket(u64::MAX), BUCKETS - 1);
        assert_eq!(bucket((1 << 41) - 1), BUCKETS - 1);
    }

    #[test]
    fn merged_latencies_count_every_message() {
        let shards = [ShardMetrics::new(1), ShardMetrics::new(1)];
        for (shard, ms) in shards.iter().zip([1, 3]) {
            for _ in 0..100 {
                shard.settled(HandlerId(0), Outcome::Ack, Duration::from_millis(ms));
            }
        }
        let mut all = Latencies::default();
        all.add(&shards[0]);
        let first = all.clone();
        all.add(&shards[1]);
        assert_eq!(all.count(), 200);
        let later = all.since(&first);
        assert_eq!((later.count(), first.count()), (100, 100));
        assert!(later.quantile(0.0) > first.max());
        let (p50, max) = (all.quantile(0.5).as_secs_f64(), all.max().as_secs_f64());
        assert!(
            (p50 - 0.001).abs() < 0.00003 && (max - 0.003).abs() < 0.0001,
            "{p50} {max}"
        );
    }
}
