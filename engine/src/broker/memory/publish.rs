//! Publishing: from any thread into a shard's inbox, and from a shard's own guests.

use std::cell::{Cell, RefCell};
use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Waker;

use parking_lot::Mutex;

use super::replies::Answers;
use super::requests::Open;
use super::routes::{LastRoute, Route};
use super::subscription::{GuestFeed, Overflow};
use super::{Delivery, Handlers, Memory};
use crate::admission::Load;
use crate::config::Spread;
use crate::dispatch::State;
use crate::error::{PublishError, Refusal};
use crate::message::{HandlerId, Message};
use crate::port::{Feed, Port, Replies, Room};
use crate::subject::INBOX;

/// Why a message is refused.
pub(super) const FULL_LOAD: &str = "a handler, or its shard, has as much in flight as it may have";
pub(super) const FULL_INBOX: &str = "the inbox of its shard is full";
/// Why a guest's send is refused.
const FULL: &str = "a handler of this subject, or its shard, has as much in flight as it may have";

thread_local! {
    /// The shard that this thread's next message goes to, so that publishers share no counter.
    static TURN: Cell<usize> = const { Cell::new(0) };
    /// The route of the subject that this thread published to last: a publisher mostly has one, and then allocates nothing.
    pub(super) static LAST: RefCell<LastRoute> = RefCell::default();
}

/// Who publishes.
#[derive(Debug, Clone, Copy)]
pub(super) enum Publisher {
    /// Any thread.
    Outside,
    /// A guest, on the thread of this shard, which is the first that is asked for room.
    Guest(usize),
}

impl Publisher {
    /// Whether it may, with the engine in this state.
    fn may(self, state: &State) -> Result<(), Refusal> {
        match self {
            Self::Outside => state.open(),
            Self::Guest(_) if state.ends() => Err(Refusal::Stopping),
            Self::Guest(_) => Ok(()),
        }
    }
}

impl Memory {
    /// Publishes a message: how many handlers and subscriptions get it. A message for several handlers goes to one shard, and
    /// to all of them or none.
    pub(crate) fn publish(&self, message: Message) -> Result<usize, PublishError> {
        self.publish_as(message, Publisher::Outside)
    }

    /// Publishes a request of this shard's guest: at once, and also while the engine drains, since its call is in flight.
    fn publish_request(&self, shard: usize, message: Message) -> Result<usize, Refusal> {
        // Counted before it can be in flight, so that a drain does not miss it.
        self.count_forwarded(shard);
        self.publish_as(message, Publisher::Guest(shard))
            .map_err(|refused| refused.reason)
    }

    fn publish_as(&self, message: Message, publisher: Publisher) -> Result<usize, PublishError> {
        if message.subject().starts_with(INBOX) {
            return Ok(usize::from(self.requests.reply(&message)));
        }
        // Taken out meanwhile: a subscription that is woken may publish on this thread too.
        let mut last = LAST.take();
        let published = self.publish_to(&mut last, message, publisher);
        LAST.set(last);
        published
    }

    pub(super) fn publish_to(
        &self,
        last: &mut LastRoute,
        message: Message,
        publisher: Publisher,
    ) -> Result<usize, PublishError> {
        let route = last.find(&self.routes, message.subject());
        let receivers = route.handlers.len() + route.subscriptions.len();
        if receivers == 0 {
            self.unrouted.fetch_add(1, Ordering::Relaxed);
            return Ok(0);
        }
        if route.handlers.is_empty() {
            self.deliver(route, &message);
            return Ok(receivers);
        }
        let copy = (!route.subscriptions.is_empty()).then(|| message.clone());
        self.to_a_shard(message, &route.handlers, publisher)?;
        if let Some(message) = copy {
            self.deliver(route, &message);
        }
        Ok(receivers)
    }

    /// Puts a message into the inbox of the first shard that has room.
    fn to_a_shard(
        &self,
        message: Message,
        ids: &[HandlerId],
        publisher: Publisher,
    ) -> Result<(), PublishError> {
        let (first, tries) = self.shards_for(message.subject(), publisher);
        let load = Load::one(message.bytes());
        let mut delivery = Delivery {
            message,
            handlers: Handlers::new(ids),
        };
        let mut why = FULL_LOAD;
        for shard in (0..tries).map(|step| (first + step) % self.shards.len()) {
            if !self.admit(shard, ids, load) {
                continue;
            }
            // Asked again once the room is taken: a drain that began before either refuses this message or waits for it.
            if let Err(reason) = publisher.may(&self.state) {
                self.release(shard, ids, load);
                let message = Box::new(delivery.message);
                return Err(PublishError { reason, message });
            }
            match self.shards[shard].inbox.put(delivery) {
                Ok(()) => {
                    self.shards[shard].unpark.unpark();
                    return Ok(());
                }
                Err(back) => {
                    self.release(shard, ids, load);
                    why = FULL_INBOX;
                    delivery = back;
                }
            }
        }
        self.refused.fetch_add(1, Ordering::Relaxed);
        Err(PublishError {
            reason: Refusal::Full(why),
            message: Box::new(delivery.message),
        })
    }

    /// The shard that is asked first for room for a message, and how many are asked, one after the other.
    pub(super) fn shards_for(&self, subject: &str, publisher: Publisher) -> (usize, usize) {
        let count = self.shards.len();
        match (self.spread, publisher) {
            (Spread::Subject, _) => (self.owner(subject), 1),
            (Spread::Any, Publisher::Guest(shard)) => (shard, count),
            (Spread::Any, Publisher::Outside) => {
                (TURN.replace(TURN.get().wrapping_add(1)) % count, count)
            }
        }
    }

    /// The shard that owns a subject, where they are spread by subject.
    pub(super) fn owner(&self, subject: &str) -> usize {
        let hash = BuildHasherDefault::<DefaultHasher>::default().hash_one(subject);
        (hash % self.shards.len() as u64) as usize
    }

    /// Takes room for a message on a shard, in each of its handlers and in all of them together: everywhere or nowhere.
    pub(super) fn admit(&self, shard: usize, ids: &[HandlerId], load: Load) -> bool {
        for (taken, id) in ids.iter().enumerate() {
            let before = self
                .load(shard, *id)
                .fetch_add(load.raw(), Ordering::SeqCst);
            if !Load::from_raw(before + load.raw()).within(self.bounds[id.index()]) {
                self.release_handlers(shard, &ids[..=taken], load);
                return false;
            }
        }
        let Some(bound) = self.shard_bound else {
            return true;
        };
        let all = load.times(ids.len());
        let before = self.shards[shard]
            .in_flight_all
            .0
            .fetch_add(all.raw(), Ordering::SeqCst);
        let within = Load::from_raw(before + all.raw()).within(bound);
        if !within {
            self.release(shard, ids, load);
        }
        within
    }

    /// Returns room.
    pub(super) fn release(&self, shard: usize, ids: &[HandlerId], load: Load) {
        self.release_handlers(shard, ids, load);
        self.release_shard(shard, load.times(ids.len()));
    }

    fn release_handlers(&self, shard: usize, ids: &[HandlerId], load: Load) {
        for id in ids {
            self.load(shard, *id)
                .fetch_sub(load.raw(), Ordering::SeqCst);
        }
    }

    fn release_shard(&self, shard: usize, all: Load) {
        if self.shard_bound.is_some() {
            let total = &self.shards[shard].in_flight_all.0;
            total.fetch_sub(all.raw(), Ordering::SeqCst);
        }
    }

    /// Returns the room of messages that are settled for good.
    pub(super) fn settled(&self, shard: usize, id: HandlerId, load: Load) {
        self.load(shard, id).fetch_sub(load.raw(), Ordering::SeqCst);
        self.release_shard(shard, load);
    }

    /// Takes room for what this shard sends, whether there is any: [`Memory::has_room`] was asked when a guest sent it, so that
    /// the bound is exceeded by one call's outbox at most, and for a dead letter just now.
    pub(super) fn admit_released(&self, from: usize, shard: usize, ids: &[HandlerId], load: Load) {
        self.count_forwarded(from);
        for id in ids {
            self.load(shard, *id)
                .fetch_add(load.raw(), Ordering::SeqCst);
        }
        if self.shard_bound.is_some() {
            let total = &self.shards[shard].in_flight_all.0;
            total.fetch_add(load.times(ids.len()).raw(), Ordering::SeqCst);
        }
    }

    /// Takes room for a message that was asked for, since there was room for it then.
    pub(super) fn admit_asked(&self, shard: usize, id: HandlerId, load: Load) {
        self.load(shard, id).fetch_add(load.raw(), Ordering::SeqCst);
        if self.shard_bound.is_some() {
            let total = &self.shards[shard].in_flight_all.0;
            total.fetch_add(load.raw(), Ordering::SeqCst);
        }
    }

    /// Counts a message that this shard's guests send; called by that shard alone.
    fn count_forwarded(&self, from: usize) {
        let forwarded = &self.shards[from].forwarded.0;
        forwarded.store(forwarded.load(Ordering::Relaxed) + 1, Ordering::SeqCst);
    }

    /// What a handler has in flight on this shard.
    pub(super) fn in_flight_of(&self, shard: usize, id: HandlerId) -> Load {
        Load::from_raw(self.load(shard, id).load(Ordering::Acquire))
    }

    /// Whether one message more could be taken on this shard, by each of these handlers and all together.
    pub(super) fn has_room(&self, shard: usize, ids: &[HandlerId]) -> bool {
        let one_more = |load: &AtomicU64, bound| {
            let load = load.load(Ordering::Acquire);
            Load::from_raw(load + Load::one(0).raw()).within(bound)
        };
        let all = &self.shards[shard].in_flight_all.0;
        let shard_has = || self.shard_bound.is_none_or(|bound| one_more(all, bound));
        let has = |id: &HandlerId| one_more(self.load(shard, *id), self.bounds[id.index()]);
        ids.is_empty() || (shard_has() && ids.iter().all(has))
    }

    /// Hands a message to the subscriptions of its route: how many took it.
    pub(super) fn deliver(&self, route: &Route, message: &Message) -> usize {
        let mut taken = 0;
        for queue in &route.subscriptions {
            let mut message = message.clone();
            message.detach();
            match queue.push(message) {
                true => taken += 1,
                false => drop(self.dropped.fetch_add(1, Ordering::Relaxed)),
            }
        }
        taken
    }

    /// Counts messages that nobody listened for.
    pub(super) fn count_unrouted(&self, messages: u64) {
        self.unrouted.fetch_add(messages, Ordering::Relaxed);
    }
}

/// The broker as the guests of one shard see it.
pub(crate) struct ShardSide {
    pub(crate) broker: Arc<Memory>,
    pub(crate) shard: usize,
    /// Locked by the shard's own thread alone.
    last: Mutex<LastRoute>,
}

impl ShardSide {
    /// The side of this shard.
    pub(crate) fn new(broker: Arc<Memory>, shard: usize) -> Self {
        Self {
            broker,
            shard,
            last: Mutex::default(),
        }
    }
}

impl Port for ShardSide {
    fn admits(&self, subject: &str) -> Result<(), Refusal> {
        if subject.starts_with(INBOX) {
            return Ok(());
        }
        let broker = &self.broker;
        let shard = match broker.spread {
            Spread::Any => self.shard,
            Spread::Subject => broker.owner(subject),
        };
        let mut last = self.last.lock();
        let handlers = &last.find(&broker.routes, subject).handlers;
        match broker.has_room(shard, handlers) {
            true => Ok(()),
            false => Err(Refusal::Full(FULL)),
        }
    }

    fn subscribe(&self, pattern: &str, waker: Waker) -> Result<Box<dyn Feed>, Refusal> {
        let subscription = self.broker.subscribe(pattern, Overflow::Drop)?;
        Ok(Box::new(GuestFeed::new(subscription, waker)))
    }

    fn request(
        &self,
        _: HandlerId,
        message: &Message,
        room: Room,
        waker: Waker,
    ) -> Result<Box<dyn Replies>, Refusal> {
        let answers = Answers::new(room, waker);
        let (subject, open) = self.broker.requests.open_several(&answers)?;
        let asked = message.with_reply_to(&subject);
        let asked = asked.expect("the parts of a message make a message again");
        match self.broker.publish_request(self.shard, asked)? {
            0 => Err(Refusal::NoResponders(message.subject().to_owned())),
            _ => Ok(Box::new(GuestReplies {
                answers,
                _open: open,
            })),
        }
    }
}

/// Replies to a guest's request, for as long as it waits.
struct GuestReplies {
    answers: Arc<Answers>,
    _open: Open,
}

impl Replies for GuestReplies {
    fn next(&mut self) -> Option<Result<Message, Refusal>> {
        self.answers.next()
    }
}
