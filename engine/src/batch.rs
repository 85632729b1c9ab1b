//! The batcher of one handler on one shard: which of the waiting messages go into the next call, and from when on.
//!
//! Owns the messages that wait, and what was learned of the cost of calls. Pure and deterministic: handed messages and the
//! time; knows no clock, thread, wasm or broker. Work-conserving: unless the handler asks to linger, whoever asks gets what
//! waits, at once, so an idle system adds no latency and a busy one forms batches by itself.

use std::collections::VecDeque;
use std::time::Duration;

use crate::cost::{CostModel, Sizes};
use crate::message::Message;
use crate::order::Order;
use crate::pack::Pack;
use crate::split::Parts;
use crate::time::Instant;

/// Calls this short are so many that one in [`SHORT_OF`] tells as much, and learning from each would cost them a hundredth.
const SHORT: Duration = Duration::from_micros(10);
/// Of so many short calls one is learned from.
const SHORT_OF: u32 = 4;
/// How many times as long as expected a call may take before it is taken to be stuck. Picked by hand: others have turns too.
const STUCK: u32 = 4;

/// How large one call may be, and how long its messages may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BatchBound {
    /// Messages a call; at least 1.
    pub(crate) messages_max: usize,
    /// Bytes a call; a larger message is called alone.
    pub(crate) bytes_max: usize,
    /// From a message's arrival to its settlement.
    pub(crate) budget: Duration,
    /// How long a message may wait for others to come.
    pub(crate) linger: Duration,
    /// Calls that one failed batch may be split into.
    pub(crate) split_calls_max: u32,
    /// How long after its fault a batch may be split.
    pub(crate) split_time_max: Duration,
}

/// Where a batch comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Origin {
    /// Messages that were in no failed call.
    #[default]
    Fresh,
    /// A part of a batch that failed.
    Split,
    /// A message that must be alone.
    Alone,
}

/// The sizes of messages in packs.
struct Packs<'a>(&'a VecDeque<Pack>);

impl Sizes for Packs<'_> {
    fn each(&self) -> impl Iterator<Item = usize> {
        self.0.iter().flat_map(Pack::sizes)
    }

    /// Without a look at most messages: those of a pack lie one behind the other.
    fn within(&self, messages_max: usize, bytes_max: usize) -> (usize, usize) {
        let (mut messages, mut bytes) = (0, 0usize);
        for pack in self.0 {
            let least = usize::from(messages == 0);
            let left = (messages_max - messages, bytes_max.saturating_sub(bytes));
            let (count, more) = pack.within(least, left.0, left.1);
            (messages, bytes) = (messages + count, bytes + more);
            if count < pack.len() {
                break;
            }
        }
        (messages, bytes)
    }
}

/// The messages of one call, shared by the shard and the call while it runs.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    /// In order.
    pub(crate) messages: Vec<Message>,
    /// Where there are no others: messages that came in packs, in order.
    pub(crate) packs: Vec<Pack>,
    /// Their bytes, as they were when the call was made of them.
    pub(crate) bytes: usize,
    /// Where they come from.
    pub(crate) origin: Origin,
    /// When the first of them is due.
    pub(crate) due: Option<Instant>,
    /// What the call is expected to take at most, once something is known.
    pub(crate) expected: Option<Duration>,
    /// Whether a direct call of it overran its slice, so that this one is made again.
    pub(crate) overran: bool,
    /// After how long the call is taken to be stuck: it may not hold up other calls of its handler any more.
    pub(crate) stuck_after: Duration,
}

impl Batch {
    /// Messages in it.
    pub(crate) fn len(&self) -> usize {
        self.messages.len() + self.packs.iter().map(Pack::len).sum::<usize>()
    }

    /// When the first of its messages arrived.
    fn arrived(&self, now: Instant) -> Option<Instant> {
        let message = self.messages.first().map(|m| m.arrived_or(now));
        message.or_else(|| self.packs.first().map(|p| p.arrived.unwrap_or(now)))
    }

    /// Makes messages of their own of those that came in packs, since they are treated apart from each other now.
    pub(crate) fn unpack(&mut self) {
        for pack in self.packs.drain(..) {
            self.messages.extend(pack.messages());
        }
    }

    /// Makes it outlive the turn: each message lies in a buffer of its own then, and those of a pack in one that is at least half theirs.
    pub(crate) fn detach(&mut self) {
        self.packs.iter_mut().for_each(Pack::detach);
        self.messages.iter_mut().for_each(Message::detach);
    }

    /// The reply subject of each message, in their order; empty where there is none.
    #[allow(dead_code, reason = "the simulator's guests don't ask")]
    pub(crate) fn reply_subjects(&self) -> impl Iterator<Item = &[u8]> {
        let packed = self.packs.iter().flat_map(Pack::reply_subjects);
        packed.chain(self.messages.iter().map(Message::asked_on))
    }

    /// Whether the reply to the message at a place goes to this subject.
    #[allow(dead_code, reason = "the simulator's guests don't ask")]
    pub(crate) fn asks_on(&self, mut place: usize, subject: &str) -> bool {
        for pack in &self.packs {
            match place.checked_sub(pack.len()) {
                None => return pack.asks_on(place, subject),
                Some(behind) => place = behind,
            }
        }
        self.messages[place].asks_on(subject)
    }
}

/// The messages of one handler that wait for a call.
#[derive(Debug)]
pub(crate) struct Batcher {
    bound: BatchBound,
    cost: CostModel,
    /// Calls so far that were short, modulo 2^32.
    short_calls: u32,
    /// Never in a failed call: may share one with others.
    fresh: VecDeque<Message>,
    /// The same in packs, which go into calls of their own.
    packs: VecDeque<Pack>,
    /// Messages in them.
    packed: usize,
    /// Since when the oldest has waited for longer than it should, whenever it was asked, and when it was asked last.
    standing: Option<(Instant, Instant)>,
    /// Of `fresh`, how many from the front hold no buffer but their own.
    detached: usize,
    /// Of `fresh`, how many from the front were there when [`Batcher::age`] was called last; may be more than there are.
    aged: usize,
    /// Called alone, so that the cause of a fault stands alone.
    alone: VecDeque<Message>,
    /// Parts of failed batches.
    parts: Parts,
    /// Whether the last call was of a suspect: then what is fresh goes before the next one.
    suspect_last: bool,
    /// The order of each subject, where it is kept.
    order: Option<Order>,
}

impl Batcher {
    /// An empty batcher, which keeps the order of each subject or does not. Its queues are bounded by admission, which every
    /// message has passed.
    pub(crate) fn new(bound: BatchBound, ordered: bool) -> Self {
        assert!(bound.messages_max > 0, "a batch holds at least one message");
        Self {
            bound,
            cost: CostModel::new(),
            short_calls: 0,
            fresh: VecDeque::new(),
            packs: VecDeque::new(),
            packed: 0,
            standing: None,
            detached: 0,
            aged: 0,
            alone: VecDeque::new(),
            parts: Parts::default(),
            suspect_last: false,
            order: ordered.then(Order::default),
        }
    }

    /// Changes how large the calls to come may be.
    pub(crate) fn set_bound(&mut self, bound: BatchBound) {
        assert!(bound.messages_max > 0, "a batch holds at least one message");
        self.bound = bound;
    }

    /// Whether the order of a subject is kept.
    pub(crate) fn is_ordered(&self) -> bool {
        self.order.is_some()
    }

    /// Adds a message. Inlined, so that one which is fresh is moved once.
    #[inline]
    pub(crate) fn push(&mut self, message: Message) {
        match self.order.is_none() && !message.alone {
            true => self.fresh.push_back(message),
            false => self.push_apart(message),
        }
    }

    /// Adds a pack, which is split only by the bounds of calls. Where order is kept its messages are added one by one instead.
    pub(crate) fn push_pack(&mut self, pack: Pack) {
        debug_assert!(self.order.is_none(), "a subject's order is kept by message");
        self.packed += pack.len();
        self.packs.push_back(pack);
    }

    /// Adds one that must be alone, or may have to wait behind others.
    fn push_apart(&mut self, mut message: Message) {
        match &mut self.order {
            Some(order) if order.holds(&message) => order.wait(message),
            Some(_) if message.alone => {
                message.detach();
                insert(&mut self.alone, message);
            }
            None if message.alone => {
                message.detach();
                self.alone.push_back(message);
            }
            _ => self.fresh.push_back(message),
        }
    }

    /// Messages that wait, those behind others of their subject included.
    pub(crate) fn len(&self) -> usize {
        let held = self.order.as_ref().map_or(0, Order::len);
        self.fresh.len() + self.packed + self.alone.len() + self.parts.messages() + held
    }

    /// Whether none could be called.
    pub(crate) fn is_empty(&self) -> bool {
        self.fresh.is_empty()
            && self.packs.is_empty()
            && self.alone.is_empty()
            && self.parts.is_empty()
    }

    /// When the oldest pack came, if it is older than all other fresh messages.
    fn oldest_pack(&self, now: Instant) -> Option<Instant> {
        let packed = self.packs.front()?.arrived.unwrap_or(now);
        let other = self.fresh.front().map(|m| m.arrived_or(now));
        other.is_none_or(|other| packed <= other).then_some(packed)
    }

    /// When the oldest fresh message came, and how many there are of its kind: packed, or not.
    fn oldest(&self, now: Instant) -> Option<(Instant, usize)> {
        let packed = self.oldest_pack(now).map(|arrived| (arrived, self.packed));
        let other = || Some((self.fresh.front()?.arrived_or(now), self.fresh.len()));
        packed.or_else(other)
    }

    /// When the message that has waited longest, as far as is known, is due.
    pub(crate) fn due(&self, now: Instant) -> Instant {
        let heads = [self.parts.first(), self.alone.front(), self.fresh.front()];
        let heads = heads.into_iter().flatten().map(|m| m.arrived_or(now));
        let arrived = heads.chain(self.oldest_pack(now)).min();
        arrived.unwrap_or(now) + self.bound.budget
    }

    /// From when on a call may be made: at once, unless all that waits is to linger for others. Lingering ends where it would
    /// break the budget of the oldest.
    pub(crate) fn ready(&self, now: Instant) -> Instant {
        let lingers =
            !self.bound.linger.is_zero() && self.alone.is_empty() && self.parts.is_empty();
        let Some((arrived, waiting)) = self.oldest(now).filter(|_| lingers) else {
            return now;
        };
        let (messages, bytes) = self.fit(now, None);
        // Of either kind: what fills a call doesn't wait for an older one that lingers.
        let full = self.fresh.len().max(self.packed) >= self.bound.messages_max;
        if messages < waiting || full {
            return now;
        }
        // Nothing learned yet: half the budget is left for the call.
        let took = self
            .cost
            .guarded(messages, bytes)
            .unwrap_or(self.bound.budget / 2);
        let until = arrived
            + self
                .bound
                .linger
                .min(self.bound.budget.saturating_sub(took));
        until.max(now)
    }

    /// How many of the oldest fresh messages go into a call at `now`, and their bytes: of those in packs, or of the others.
    fn fit(&self, now: Instant, call_max: Option<Duration>) -> (usize, usize) {
        match self.oldest_pack(now) {
            Some(arrived) => self.fit_of(arrived, self.packed, &Packs(&self.packs), now, call_max),
            None => match self.fresh.front() {
                Some(oldest) => {
                    let sizes = &self.fresh.iter().map(Message::bytes);
                    self.fit_of(
                        oldest.arrived_or(now),
                        self.fresh.len(),
                        sizes,
                        now,
                        call_max,
                    )
                }
                None => (0, 0),
            },
        }
    }

    /// The same of so many messages of these sizes, the oldest of which arrived then.
    fn fit_of(
        &self,
        arrived: Instant,
        waiting: usize,
        sizes: &impl Sizes,
        now: Instant,
        call_max: Option<Duration>,
    ) -> (usize, usize) {
        if waiting.min(self.bound.messages_max) == 1 {
            return sizes.within(1, 0);
        }
        let due = arrived + self.bound.budget;
        let left = due.saturating_duration_since(now);
        let BatchBound {
            messages_max,
            bytes_max,
            budget,
            ..
        } = self.bound;
        let shedding = self
            .stands(now)
            .then(|| self.cost.shedding_call_max(budget));
        let call_max = call_max.into_iter().chain(shedding).min();
        let fit = self
            .cost
            .fit(sizes, messages_max, bytes_max, left, budget, call_max);
        assert!(fit.0 >= 1 && fit.0 <= messages_max.min(waiting));
        fit
    }

    /// Moves the next call's messages into `batch`, which is empty. In turn: a part of a failed batch, else a message that must
    /// be alone; and what is fresh, oldest first, as many as can be done in time. Where order is kept what failed goes first.
    pub(crate) fn next(&mut self, now: Instant, call_max: Option<Duration>, batch: &mut Batch) {
        assert!(batch.len() == 0, "a batch is made from nothing");
        let suspects = !(self.parts.is_empty() && self.alone.is_empty());
        let fresh = !(self.fresh.is_empty() && self.packs.is_empty());
        let yields = self.suspect_last && fresh && self.order.is_none();
        self.suspect_last = suspects && !yields;
        if self.suspect_last {
            self.next_suspects(batch);
        } else {
            batch.origin = Origin::Fresh;
            let (count, bytes) = self.fit(now, call_max);
            batch.bytes = bytes;
            match self.oldest_pack(now) {
                Some(_) => self.take_packed(count, &mut batch.packs),
                None => {
                    self.take_fresh(count, &mut batch.messages);
                    self.took_fresh(count);
                }
            }
        }
        let budget = self.bound.budget;
        batch.overran = false;
        batch.due = batch.arrived(now).map(|arrived| arrived + budget);
        batch.expected = self.cost.guarded(batch.len(), batch.bytes);
        let long = batch.expected.map_or(budget, |expected| expected * STUCK);
        batch.stuck_after = long.max(budget);
    }

    /// The next of those that were in a failed call.
    fn next_suspects(&mut self, batch: &mut Batch) {
        // Where order is kept, what must be alone was before what is left of its batch.
        let alone_first = self.order.is_some() && !self.alone.is_empty();
        if !alone_first && self.parts.next(&mut batch.messages) {
            batch.origin = Origin::Split;
        } else {
            batch.origin = Origin::Alone;
            batch.messages.extend(self.alone.pop_front());
        }
        batch.bytes = batch.messages.iter().map(Message::bytes).sum();
    }

    /// Moves the first `count` fresh messages into `into`, which is empty. If these are all, the memory that they lie in changes
    /// hands, and none of them is moved.
    fn take_fresh(&mut self, count: usize, into: &mut Vec<Message>) {
        if count < self.fresh.len() {
            into.extend(self.fresh.drain(..count));
            return;
        }
        let empty = VecDeque::from(std::mem::take(into));
        *into = Vec::from(std::mem::replace(&mut self.fresh, empty));
    }

    /// Moves the first `count` messages in packs into `into`.
    fn take_packed(&mut self, mut count: usize, into: &mut Vec<Pack>) {
        self.packed -= count;
        while let Some(first) = self.packs.front_mut().filter(|_| count > 0) {
            if first.len() > count {
                into.push(first.split_to(count));
                return;
            }
            count -= first.len();
            into.extend(self.packs.pop_front());
        }
        assert!(count == 0, "as many are packed as were counted");
    }

    fn took_fresh(&mut self, count: usize) {
        self.detached = self.detached.saturating_sub(count);
        self.aged = self.aged.saturating_sub(count);
    }

    /// Puts a batch back that could not be called: in its old order, before all others.
    pub(crate) fn put_back(&mut self, batch: &mut Batch) {
        match batch.origin {
            Origin::Split => self.parts.put_back(&mut batch.messages),
            Origin::Alone => batch
                .messages
                .drain(..)
                .rev()
                .for_each(|m| self.alone.push_front(m)),
            Origin::Fresh if !batch.packs.is_empty() => {
                for pack in batch.packs.drain(..).rev() {
                    self.packed += pack.len();
                    self.packs.push_front(pack);
                }
            }
            Origin::Fresh => {
                self.detached = 0;
                self.aged += batch.messages.len();
                batch
                    .messages
                    .drain(..)
                    .rev()
                    .for_each(|m| self.fresh.push_front(m));
            }
        }
        self.suspect_last = false;
    }

    /// Notes what a call of so many messages and bytes took.
    pub(crate) fn observe(&mut self, messages: usize, bytes: usize, took: Duration) {
        self.short_calls = self.short_calls.wrapping_add(u32::from(took < SHORT));
        if took >= SHORT || self.short_calls.is_multiple_of(SHORT_OF) {
            self.cost.observe(messages, bytes, took);
        }
    }

    /// Gives `shed` the fresh messages that have waited too long to be handled within their budget together with a batch worth
    /// calling, if the queue has been standing for one budget. That is CoDel's idea (Nichols and Jacobson, RFC 8289: tell a
    /// standing queue from a burst by how long the oldest has waited for too long; drop at the head) as servers use it (Maurer,
    /// "Fail at Scale", 2015), without CoDel's slow start: our sources don't slow down for a drop.
    pub(crate) fn shed(&mut self, now: Instant, mut shed: impl FnMut(Message)) {
        let patience = self.cost.patience(self.bound.budget);
        let arrived = self.oldest(now).map(|(arrived, _)| arrived);
        let late = |arrived| now.saturating_duration_since(arrived) > patience;
        match arrived.map(|arrived| (arrived, now.saturating_duration_since(arrived))) {
            Some((arrived, oldest)) if oldest > patience => {
                // Asked lately, or not since the oldest came: calls may be longer than the budget.
                let knows = |(_, asked): &(Instant, Instant)| {
                    now < *asked + self.bound.budget || arrived <= *asked
                };
                let since = self.standing.filter(knows).map_or(now, |(since, _)| since);
                self.standing = Some((since, now));
            }
            Some((_, oldest)) if oldest > patience / 2 => {}
            _ => self.standing = None,
        }
        if !self.stands(now) {
            return;
        }
        let fresh = &mut self.fresh;
        while let Some(message) = fresh.pop_front_if(|m| late(m.arrived_or(now))) {
            self.detached = self.detached.saturating_sub(1);
            self.aged = self.aged.saturating_sub(1);
            shed(message);
        }
        let packs = &mut self.packs;
        while let Some(pack) = packs.pop_front_if(|p| late(p.arrived.unwrap_or(now))) {
            self.packed -= pack.len();
            pack.messages().for_each(&mut shed);
        }
    }

    /// Whether the queue has been standing for one budget.
    fn stands(&self, now: Instant) -> bool {
        let long = |(since, _)| now.saturating_duration_since(since) >= self.bound.budget;
        self.standing.is_some_and(long)
    }

    /// Splits a batch that failed in two, within bounds. Whether it was; if not, the batch is left with its messages, and those
    /// of all other parts, none of which can be split any more.
    pub(crate) fn split(&mut self, batch: &mut Batch, now: Instant) -> bool {
        let bound = self.bound;
        self.parts.split(
            &mut batch.messages,
            bound.split_calls_max,
            bound.split_time_max,
            now,
        )
    }

    /// Whether splitting takes too long.
    pub(crate) fn is_overdue(&self, now: Instant) -> bool {
        self.parts.is_overdue(now)
    }

    /// Ends splitting: moves what is left of it into `messages`.
    pub(crate) fn end_split(&mut self, messages: &mut Vec<Message>) {
        self.parts.end(messages);
    }

    /// Notes that a call of a batch of this origin has ended.
    pub(crate) fn ended(&mut self, origin: Origin) {
        if origin == Origin::Split {
            self.parts.closed(1);
        }
    }

    /// Notes that a message is to be called again after a delay: where order is kept, later ones of its subject wait.
    pub(crate) fn retry(&mut self, message: &Message) {
        let Some(order) = &mut self.order else { return };
        order.retry(message);
        let mut keep = |queue: &mut VecDeque<Message>| {
            for _ in 0..queue.len() {
                let Some(other) = queue.pop_front() else {
                    break;
                };
                match order.holds(&other) {
                    true => order.wait(other),
                    false => queue.push_back(other),
                }
            }
        };
        keep(&mut self.fresh);
        keep(&mut self.alone);
        self.parts.sift(keep);
        self.detached = 0;
    }

    /// Notes that a message is settled for good: where order is kept, what waited behind it goes on, before all that is fresh.
    pub(crate) fn settled(&mut self, message: &Message) {
        let Some(order) = &mut self.order else { return };
        let (mut freed, alone) = (Vec::new(), &mut self.alone);
        order.settled(message, |m| match m.alone {
            true => insert(alone, m),
            false => freed.push(m),
        });
        if freed.is_empty() {
            return;
        }
        self.detached = 0;
        self.aged += freed.len();
        freed
            .into_iter()
            .rev()
            .for_each(|m| self.fresh.push_front(m));
    }

    /// Copies what has waited since the last time out of the buffers it came in, so that waiting keeps nothing else.
    pub(crate) fn age(&mut self) {
        let aged = self.aged.min(self.fresh.len());
        if self.detached < aged {
            let old = self.fresh.range_mut(self.detached..aged);
            old.for_each(Message::detach);
        }
        self.detached = aged;
        self.aged = self.fresh.len();
    }
}

/// Puts a message at its place by id: where order is kept, what failed together may come back apart.
fn insert(queue: &mut VecDeque<Message>, message: Message) {
    let place = queue.partition_point(|other| other.id < message.id);
    queue.insert(place, message);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MS: Duration = Duration::from_millis(1);

    fn bound(messages_max: usize, bytes_max: usize) -> BatchBound {
        BatchBound {
            messages_max,
            bytes_max,
            budget: 10 * MS,
            linger: Duration::ZERO,
            split_calls_max: 32,
            split_time_max: 100 * MS,
        }
    }

    /// A batcher and a time.
    struct Bench {
        batcher: Batcher,
        now: Instant,
    }

    impl Bench {
        fn new(bound: BatchBound, ordered: bool) -> Self {
            Self {
                batcher: Batcher::new(bound, ordered),
                now: crate::testing::start(),
            }
        }

        fn message(&self, id: u64, subject: &str, payload: usize, alone: bool) -> Message {
            let mut m = Message::new(subject, &vec![0; payload]).unwrap();
            (m.id, m.alone, m.arrived) = (id, alone, Some(self.now));
            m
        }

        fn push(&mut self, id: u64, payload: usize) {
            let m = self.message(id, "a", payload, false);
            self.batcher.push(m);
        }

        fn push_alone(&mut self, id: u64, subject: &str) {
            let m = self.message(id, subject, 1, true);
            self.batcher.push(m);
        }

        fn next(&mut self) -> Batch {
            let mut batch = Batch::default();
            self.batcher.next(self.now, None, &mut batch);
            batch
        }

        fn ids(&mut self) -> Vec<u64> {
            ids(&self.next())
        }
    }

    fn ids(batch: &Batch) -> Vec<u64> {
        batch.messages.iter().map(|m| m.id).collect()
    }

    #[test]
    fn messages_at_the_bound_and_one_over() {
        let mut b = Bench::new(bound(3, 1_000), false);
        (0..4).for_each(|i| b.push(i, 1));
        assert_eq!(b.ids(), [0, 1, 2]);
        assert_eq!(b.ids(), [3]);
        assert!(b.batcher.is_empty());
    }

    /// A pack of messages of ten bytes each, whose ids begin here.
    fn pack(b: &Bench, first_id: u64, of: usize) -> Pack {
        let mut builder = Pack::builder("a").unwrap();
        (0..of).for_each(|_| builder.push(&[], &[0; 9]).unwrap());
        let mut pack = builder.build();
        (pack.first_id, pack.arrived) = (first_id, Some(b.now));
        pack
    }

    fn packed_ids(batch: &Batch) -> Vec<u64> {
        let messages = batch.packs.iter().flat_map(Pack::messages);
        messages.map(|m| m.id).collect()
    }

    #[test]
    fn packs_are_split_and_joined_at_the_bounds_of_calls() {
        for bound in [bound(4, 1_000), bound(100, 40), bound(100, 49)] {
            let mut b = Bench::new(bound, false);
            for (first, of) in [(0, 3), (3, 3), (6, 7)] {
                let pack = pack(&b, first, of);
                b.batcher.push_pack(pack);
            }
            let mut calls = Vec::new();
            while !b.batcher.is_empty() {
                let left = b.batcher.len();
                let batch = b.next();
                assert!(batch.messages.is_empty());
                assert_eq!(batch.bytes, 10 * batch.len());
                assert_eq!(b.batcher.len(), left - batch.len());
                calls.push(packed_ids(&batch));
            }
            let all: Vec<_> = (0..13).collect();
            let expected: Vec<_> = all.chunks(4).map(<[u64]>::to_vec).collect();
            assert_eq!(calls, expected);
        }
    }

    proptest! {
        #[test]
        fn what_of_packs_is_within_bounds_is_what_is_of_their_messages(
            packs in prop::collection::vec(prop::collection::vec(0usize..20, 1..9), 0..5),
            cut in 0usize..4,
            messages_max in 0usize..20,
            bytes_max in 0usize..120,
        ) {
            let build = |sizes: &Vec<usize>| {
                let mut builder = Pack::builder("a").unwrap();
                sizes.iter().for_each(|n| builder.push(&[], &vec![0; *n]).unwrap());
                let mut pack = builder.build();
                pack.split_to(cut.min(pack.len() - 1));
                pack
            };
            let packs: VecDeque<_> = packs.iter().map(build).collect();
            let packs = Packs(&packs);
            let each: Vec<_> = packs.each().collect();
            prop_assert_eq!(packs.within(messages_max, bytes_max), each.into_iter().within(messages_max, bytes_max));
        }
    }

    #[test]
    fn packs_and_other_messages_are_called_apart_and_the_oldest_first() {
        let mut b = Bench::new(bound(8, 1_000), false);
        b.push(0, 1);
        b.now += MS;
        let middle = pack(&b, 1, 2);
        b.batcher.push_pack(middle);
        b.now += MS;
        b.push(3, 1);
        let first = b.batcher.due(b.now);
        assert_eq!(b.ids(), [0, 3], "what is not packed goes along");
        let batch = b.next();
        assert_eq!(packed_ids(&batch), [1, 2]);
        assert_eq!(batch.due, Some(first + MS), "a budget after it came");
        b.push_alone(4, "a");
        let last = pack(&b, 5, 2);
        b.batcher.push_pack(last);
        assert_eq!(b.ids(), [4]);
        b.push_alone(7, "a");
        assert_eq!(packed_ids(&b.next()), [5, 6], "suspects take turns");
    }

    #[test]
    fn a_pack_lingers_as_other_messages_do() {
        let mut b = Bench::new(
            BatchBound {
                linger: 2 * MS,
                ..bound(4, 1_000)
            },
            false,
        );
        let came = b.now;
        let three = pack(&b, 0, 3);
        b.batcher.push_pack(three);
        assert_eq!(b.batcher.ready(b.now), came + 2 * MS);
        b.now += MS;
        let full = pack(&b, 3, 1);
        b.batcher.push_pack(full);
        assert_eq!(b.batcher.ready(b.now), b.now, "a call is full");
    }

    #[test]
    fn what_fills_a_call_does_not_wait_while_older_messages_of_the_other_kind_linger() {
        for packed_first in [true, false] {
            let linger = 2 * MS;
            let mut b = Bench::new(
                BatchBound {
                    linger,
                    ..bound(3, 1_000)
                },
                false,
            );
            let push = |b: &mut Bench, id, count, packed: bool| match packed {
                true => {
                    let pack = pack(b, id, count);
                    b.batcher.push_pack(pack);
                }
                false => (id..id + count as u64).for_each(|id| b.push(id, 1)),
            };
            let came = b.now;
            push(&mut b, 0, 1, packed_first);
            b.now += MS;
            push(&mut b, 1, 2, !packed_first);
            assert_eq!(b.batcher.ready(b.now), came + linger);
            push(&mut b, 3, 1, !packed_first);
            assert_eq!(b.batcher.ready(b.now), b.now, "a call is full");
            let calls = [b.next(), b.next()];
            let of = |batch: &Batch| [ids(batch), packed_ids(batch)].concat();
            assert_eq!(calls.each_ref().map(of), [vec![0], vec![1, 2, 3]]);
        }
    }

    #[test]
    fn packs_that_could_not_be_called_go_back_and_those_that_failed_are_split() {
        let mut b = Bench::new(bound(4, 1_000), false);
        let six = pack(&b, 0, 6);
        b.batcher.push_pack(six);
        let mut batch = b.next();
        b.batcher.put_back(&mut batch);
        assert_eq!((batch.len(), b.batcher.len()), (0, 6));
        let mut batch = b.next();
        assert_eq!(packed_ids(&batch), [0, 1, 2, 3]);
        batch.unpack();
        assert_eq!(ids(&batch), [0, 1, 2, 3]);
        assert!(b.batcher.split(&mut batch, b.now));
        let calls: Vec<_> = (0..3).map(|_| b.next()).collect();
        let of = |batch: &Batch| [ids(batch), packed_ids(batch)].concat();
        assert_eq!(of(&calls[0]), [0, 1]);
        assert_eq!(of(&calls[1]), [4, 5], "suspects take turns");
        assert_eq!(of(&calls[2]), [2, 3]);
    }

    #[test]
    fn bytes_at_the_bound_and_one_over() {
        let mut b = Bench::new(bound(10, 20), false);
        let sizes = [9, 9, 9, 10];
        sizes.iter().zip(0..).for_each(|(&n, i)| b.push(i, n));
        assert_eq!(b.ids(), [0, 1], "two of 10 bytes each are 20");
        assert_eq!(b.ids(), [2], "10 and 11 bytes are 21");
        assert_eq!(b.ids(), [3]);
    }

    #[test]
    fn a_message_above_the_bound_is_called_alone() {
        let mut b = Bench::new(bound(10, 5), false);
        (0..2).for_each(|i| b.push(i, 100));
        assert_eq!(b.ids(), [0]);
        assert_eq!(b.ids(), [1]);
    }

    #[test]
    fn suspects_are_called_alone_and_in_turn_with_what_is_fresh() {
        let mut b = Bench::new(bound(2, 1_000), false);
        (0..4).for_each(|i| b.push(i, 1));
        (4..7).for_each(|i| b.push_alone(i, "a"));
        let calls: Vec<_> = (0..5).map(|_| b.ids()).collect();
        assert_eq!(calls, [vec![4], vec![0, 1], vec![5], vec![2, 3], vec![6]]);
    }

    #[test]
    fn a_failed_batch_is_halved_until_one_is_left() {
        let mut b = Bench::new(bound(8, 1_000), false);
        (0..8).for_each(|i| b.push(i, 1));
        let mut calls = Vec::new();
        while !b.batcher.is_empty() {
            let mut batch = b.next();
            calls.push(ids(&batch));
            let poisonous = batch.messages.iter().any(|m| m.id == 5);
            if poisonous && batch.messages.len() > 1 {
                assert!(b.batcher.split(&mut batch, b.now));
            }
            b.batcher.ended(batch.origin);
        }
        let expected: [&[u64]; 7] = [
            &[0, 1, 2, 3, 4, 5, 6, 7],
            &[0, 1, 2, 3],
            &[4, 5, 6, 7],
            &[4, 5],
            &[4],
            &[5],
            &[6, 7],
        ];
        assert_eq!(calls, expected);
        assert!(!b.batcher.parts.are_open(), "it is over");
    }

    /// Splits whatever is called until it may not: calls made, and messages left to be called alone.
    fn split_all(b: &mut Bench) -> (u32, Vec<u64>) {
        let (mut calls, mut left) = (0, Vec::new());
        while !b.batcher.is_empty() {
            let mut batch = b.next();
            calls += 1;
            if batch.messages.len() > 1 && !b.batcher.split(&mut batch, b.now) {
                left.extend(ids(&batch));
            }
            b.batcher.ended(batch.origin);
        }
        (calls, left)
    }

    #[test]
    fn splitting_ends_at_its_bound_on_calls() {
        for (max, calls, left) in [(0, 1, 8), (1, 1, 8), (2, 3, 8), (6, 7, 6), (14, 15, 0)] {
            let mut b = Bench::new(
                BatchBound {
                    split_calls_max: max,
                    ..bound(8, 1_000)
                },
                false,
            );
            (0..8).for_each(|i| b.push(i, 1));
            let (made, remain) = split_all(&mut b);
            assert!(made <= 1 + max, "{made} calls of {max}");
            if max < 6 {
                assert_eq!((made.min(calls), remain.len()), (made, left), "{max}");
            }
            assert!(
                !b.batcher.parts.are_open(),
                "the next failed batch may be split again"
            );
        }
    }

    #[test]
    fn splitting_ends_at_its_bound_on_time() {
        let mut b = Bench::new(bound(8, 1_000), false);
        (0..8).for_each(|i| b.push(i, 1));
        let mut batch = b.next();
        assert!(b.batcher.split(&mut batch, b.now));
        b.batcher.ended(batch.origin);
        let mut late = Batch::default();
        let end = b.now + 100 * MS;
        assert!(!b.batcher.is_overdue(end - Duration::from_nanos(1)));
        assert!(b.batcher.is_overdue(end));
        b.batcher.end_split(&mut late.messages);
        assert_eq!(ids(&late), [0, 1, 2, 3, 4, 5, 6, 7]);
        assert!(b.batcher.is_empty() && !b.batcher.parts.are_open());
    }

    #[test]
    fn lingering_ends_with_its_time_a_full_batch_or_the_budget() {
        let mut b = Bench::new(
            BatchBound {
                linger: 2 * MS,
                ..bound(3, 1_000)
            },
            false,
        );
        assert_eq!(b.batcher.ready(b.now), b.now);
        b.push(0, 1);
        assert_eq!(b.batcher.ready(b.now), b.now + 2 * MS);
        assert_eq!(b.batcher.ready(b.now + 3 * MS), b.now + 3 * MS);
        b.push(1, 1);
        assert_eq!(b.batcher.ready(b.now), b.now + 2 * MS);
        b.push(2, 1);
        assert_eq!(b.batcher.ready(b.now), b.now, "the batch is full");
        let mut b = Bench::new(
            BatchBound {
                linger: 20 * MS,
                ..bound(3, 1_000)
            },
            false,
        );
        b.push(0, 1);
        assert!(b.batcher.ready(b.now) < b.now + 10 * MS, "the budget");
    }

    #[test]
    fn later_messages_of_a_subject_wait_behind_one_that_is_called_again() {
        let mut b = Bench::new(bound(10, 1_000), true);
        let subjects = ["a", "b", "a", "b", "a"];
        for (subject, id) in subjects.iter().zip(1..) {
            let m = b.message(id, subject, 1, false);
            b.batcher.push(m);
        }
        let mut failed = b.message(0, "a", 1, true);
        b.batcher.retry(&failed);
        assert_eq!((b.ids(), b.batcher.len()), (vec![2, 4], 3));
        let later = b.message(6, "a", 1, false);
        b.batcher.push(later);
        assert!(b.batcher.is_empty(), "all that is left waits");
        failed.alone = true;
        b.batcher.push(failed.clone());
        assert_eq!(b.ids(), [0], "the one that they wait for does not wait");
        b.batcher.settled(&failed);
        assert_eq!(b.ids(), [1, 3, 5, 6]);
    }

    #[test]
    fn what_has_waited_too_long_is_shed_only_where_the_queue_stands() {
        for packed in [false, true] {
            shed_where_the_queue_stands(packed);
        }
    }

    /// The same of messages that came in packs, two each, and of others.
    fn shed_where_the_queue_stands(packed: bool) {
        let mut b = Bench::new(bound(10, 1_000), false);
        let start = b.now;
        let shed = |b: &mut Bench, ms: u32| {
            b.now = start + ms * MS;
            let mut shed = Vec::new();
            b.batcher.shed(b.now, |m| shed.push(m.id));
            shed
        };
        let push = |b: &mut Bench, id| match packed {
            true => {
                let pack = pack(b, id, 2);
                b.batcher.push_pack(pack);
            }
            false => {
                b.push(id, 1);
                b.push(id + 1, 1);
            }
        };
        push(&mut b, 0);
        assert_eq!(
            shed(&mut b, 9),
            [0; 0],
            "a message that is nearly late begins it"
        );
        push(&mut b, 2);
        assert_eq!(shed(&mut b, 18), [0; 0], "for less than a budget");
        b.now = start + 18 * MS;
        push(&mut b, 4);
        assert_eq!(shed(&mut b, 19), [0, 1, 2, 3]);
        assert_eq!(b.batcher.len(), 2);
        let batch = b.next();
        let ids: Vec<_> = batch.messages.iter().map(|m| m.id).collect();
        assert_eq!([ids, packed_ids(&batch)].concat(), [4, 5]);
        assert_eq!(shed(&mut b, 20), [0; 0]);
        push(&mut b, 6);
        assert_eq!(shed(&mut b, 29), [0; 0], "it was empty meanwhile");
        push(&mut b, 8);
        assert_eq!(
            shed(&mut b, 60),
            [6, 7, 8, 9],
            "over a call of three budgets too"
        );
        b.now = start + 61 * MS;
        push(&mut b, 10);
        assert_eq!(shed(&mut b, 80), [0; 0], "the oldest came after that call");
        assert_eq!(b.batcher.len(), 2);
    }

    #[test]
    fn what_waits_for_long_pins_no_foreign_buffer() {
        let mut b = Bench::new(bound(10, 1_000), false);
        let mut outbox = crate::outbox::Outbox::new(crate::outbox::OutboxBound {
            messages_max: 10,
            bytes_max: 1_000,
        });
        (0..10).for_each(|_| {
            outbox
                .draft("a")
                .payload(b"12345", crate::message::Format::Raw)
                .unwrap()
        });
        let mut sends = Vec::new();
        sends.extend(outbox.release(crate::outbox::Lent::default()));
        assert!(sends[0].pinned() > sends[0].bytes());
        let late = sends.split_off(6);
        sends.into_iter().for_each(|m| b.batcher.push(m));
        b.batcher.age();
        let mut batch = b.next();
        assert!(batch.messages.iter().all(|m| m.pinned() > m.bytes()));
        b.batcher.put_back(&mut batch);
        late.into_iter().for_each(|m| b.batcher.push(m));
        b.batcher.age();
        let batch = b.next();
        let own = |m: &Message| m.pinned() == m.bytes();
        assert!(batch.messages[..6].iter().all(own));
        assert!(!batch.messages[6..].iter().any(own));
        assert_eq!(batch.messages.len(), 10);
    }

    proptest! {
        #[test]
        fn batches_partition_what_was_pushed_in_order(
            sizes in prop::collection::vec(0usize..50, 0..200), messages_max in 1usize..20, bytes_max in 1usize..200,
            put_back in any::<bool>(), took in 0u64..20_000,
        ) {
            let mut b = Bench::new(bound(messages_max, bytes_max), false);
            sizes.iter().zip(0..).for_each(|(&n, i)| b.push(i, n));
            let mut seen = Vec::new();
            while !b.batcher.is_empty() {
                let mut batch = b.next();
                if put_back {
                    b.batcher.put_back(&mut batch);
                    batch = b.next();
                }
                prop_assert!(!batch.messages.is_empty() && batch.messages.len() <= messages_max);
                prop_assert!(batch.bytes <= bytes_max || batch.messages.len() == 1);
                let took = Duration::from_micros(took);
                b.batcher.observe(batch.messages.len(), batch.bytes, took);
                b.now += took;
                seen.extend(ids(&batch));
            }
            prop_assert_eq!(seen, (0..sizes.len() as u64).collect::<Vec<_>>());
        }

        /// Calls end in success or not, at random; what fails alone comes back later. The order of each subject holds.
        #[test]
        fn order_within_a_subject_holds_whatever_fails(
            subjects in prop::collection::vec(0usize..4, 1..60), fails in prop::collection::vec(0u8..4, 1..400), split_calls_max in 0u32..12,
        ) {
            let mut b = Bench::new(BatchBound { split_calls_max, ..bound(8, 1_000) }, true);
            for (subject, id) in subjects.iter().zip(0..) {
                let m = b.message(id, ["a", "b", "c", "d"][*subject], 1, false);
                b.batcher.push(m);
            }
            let (mut done, mut delayed, mut fails) = (vec![Vec::new(); 4], Vec::<Message>::new(), fails.into_iter());
            while b.batcher.len() + delayed.len() > 0 {
                if b.batcher.is_empty() {
                    let back = delayed.pop().expect("what all wait for is delayed");
                    b.batcher.push(back);
                    continue;
                }
                let mut batch = b.next();
                let failed = fails.next().is_some_and(|f| f == 0);
                let alone = batch.messages.len() == 1;
                let origin = batch.origin;
                if failed && !alone && !b.batcher.split(&mut batch, b.now) {
                    batch.messages.iter_mut().for_each(|m| m.alone = true);
                    batch.messages.drain(..).for_each(|m| b.batcher.push(m));
                }
                for mut message in batch.messages.drain(..) {
                    if failed {
                        message.alone = true;
                        b.batcher.retry(&message);
                        delayed.push(message);
                    } else {
                        b.batcher.settled(&message);
                        done[subjects[message.id as usize]].push(message.id);
                    }
                }
                b.batcher.ended(origin);
            }
            prop_assert_eq!(done.iter().map(Vec::len).sum::<usize>(), subjects.len());
            prop_assert!(done.iter().all(|ids| ids.is_sorted()), "{:?}", done);
            prop_assert_eq!(b.batcher.order.as_ref().map(Order::len), Some(0));
        }
    }
}
