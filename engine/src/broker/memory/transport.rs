//! The in-process broker from a shard's side: its inbox, what its own guests send, and messages that wait to come back.

use std::cmp::{Ordering, Reverse};
use std::collections::{BinaryHeap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use super::inbox::Outlet;
use super::routes::LastRoute;
use super::{Delivery, Handlers, Memory};
use crate::admission::{Load, Room};
use crate::config::Spread;
use crate::confirm::{Report, SendId, Sent};
use crate::limits::HandlerLimits;
use crate::message::{HandlerId, Message, Via};
use crate::outbox::{GuestConfiguration, Released};
use crate::outcome::Outcome;
use crate::pack::Pack;
use crate::seams::{Arrival, Transport};
use crate::subject::INBOX;
use crate::time::Instant;

/// Bits of a message's id that number it on its shard; the shard's number is above them.
const ID_BITS: u32 = 48;
/// How long a shard with nothing else to do waits before it asks again for room in another shard's inbox.
const HAND_OVER_RETRY: Duration = Duration::from_millis(1);

/// A message that comes back at its time. Ordered by that, then by id.
#[derive(Debug)]
struct Delayed {
    due: Instant,
    handler: HandlerId,
    message: Message,
}

impl PartialEq for Delayed {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Delayed {}

impl PartialOrd for Delayed {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Delayed {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.due, self.message.id).cmp(&(other.due, other.message.id))
    }
}

/// One shard's side of the broker. Its queues are bounded by what is admitted.
pub(crate) struct MemoryTransport {
    broker: Arc<Memory>,
    shard: usize,
    inbox: Outlet,
    /// What this shard's guests sent to handlers of this shard.
    local: VecDeque<Delivery>,
    /// What they sent to another shard whose inbox was full: tried again every turn.
    waiting: VecDeque<(usize, Delivery)>,
    delayed: BinaryHeap<Reverse<Delayed>>,
    /// Room to be returned, gathered over a turn.
    settled: Option<(HandlerId, Load)>,
    generation: u64,
    last: LastRoute,
    /// Bytes of messages of this shard's guests so far: a call's sends share a buffer.
    shared_bytes: u64,
    /// Sends that nobody listened for, gathered over a turn: their count is shared by all threads.
    unrouted: u64,
    next_id: u64,
    /// The time as the shard last said it.
    now: Instant,
}

impl MemoryTransport {
    /// The side of this shard.
    pub(crate) fn new(broker: Arc<Memory>, shard: usize, inbox: Outlet, now: Instant) -> Self {
        Self {
            broker,
            shard,
            inbox,
            local: VecDeque::new(),
            waiting: VecDeque::new(),
            delayed: BinaryHeap::new(),
            settled: None,
            generation: 0,
            last: LastRoute::default(),
            shared_bytes: 0,
            unrouted: 0,
            next_id: ((shard as u64) << ID_BITS) + 1,
            now,
        }
    }

    /// Gives a delivery to each of its handlers, how many they are; the only one, as there mostly is, gets it without a copy.
    #[inline]
    fn arrive(
        &mut self,
        delivery: Delivery,
        now: Instant,
        take: &mut impl FnMut(Arrival),
    ) -> usize {
        let Delivery { message, handlers } = delivery;
        match handlers {
            Handlers::One(id) => {
                take(self.arrival(id, message, now));
                1
            }
            Handlers::Several(ids) => {
                for id in &*ids {
                    take(self.arrival(*id, message.clone(), now));
                }
                ids.len()
            }
        }
    }

    /// Numbers a message that has come.
    #[inline]
    pub(crate) fn arrival(
        &mut self,
        handler: HandlerId,
        mut message: Message,
        now: Instant,
    ) -> Arrival {
        message.id = self.next_id;
        message.arrived.get_or_insert(now);
        self.next_id += 1;
        Arrival {
            handler,
            message,
            again: false,
        }
    }

    /// Numbers the messages of a pack that has come.
    fn number(&mut self, pack: &mut Pack, now: Instant) {
        pack.first_id = self.next_id;
        pack.arrived.get_or_insert(now);
        self.next_id += pack.len() as u64;
    }

    /// Takes room for the messages of a pack that has come from elsewhere, and numbers them: what there is no room for is left in `pack`.
    pub(crate) fn admit_pack(&mut self, id: HandlerId, pack: &mut Pack, now: Instant) -> Pack {
        let admitted = self.broker.admit_part(self.shard, id, pack, pack.len());
        let mut first = pack.split_to(admitted.map_or(0, |(count, _)| count));
        self.number(&mut first, now);
        first
    }

    /// Takes room for a message that has come from elsewhere, if there is any.
    #[inline]
    pub(crate) fn admit(&self, id: HandlerId, message: &Message) -> bool {
        let load = Load::one(message.bytes());
        self.broker.admit(self.shard, &[id], load)
    }

    /// Takes room for one that was asked for, whether there is any.
    #[inline]
    pub(crate) fn admit_always(&self, id: HandlerId, message: &Message) {
        let load = Load::one(message.bytes());
        self.broker.admit_asked(self.shard, id, load);
    }

    /// What a handler could take beside what is in flight, of so much in all.
    pub(crate) fn room(&self, id: HandlerId, most: Room) -> Room {
        let load = self.broker.in_flight_of(self.shard, id);
        let messages = most.messages.saturating_sub(load.messages() as usize);
        let has_room = self.broker.has_room(self.shard, &[id]);
        Room {
            messages: if has_room { messages } else { 0 },
            bytes: most.bytes.saturating_sub(load.bytes()),
        }
    }

    /// Whether the order of a subject is kept.
    pub(crate) fn is_ordered(&self) -> bool {
        self.broker.spread == Spread::Subject
    }

    /// Takes out the messages of streams that wait to be called again.
    pub(crate) fn take_delayed(&mut self) -> Vec<(HandlerId, Message)> {
        let of_streams = |d: &Delayed| d.message.via == Via::Stream;
        let (taken, left) = std::mem::take(&mut self.delayed)
            .into_iter()
            .partition::<Vec<_>, _>(|Reverse(d)| of_streams(d));
        self.delayed = left.into();
        taken
            .into_iter()
            .map(|Reverse(d)| (d.handler, d.message))
            .collect()
    }

    /// Whether publishing has ended, and what is in flight goes on.
    pub(crate) fn is_draining(&self) -> bool {
        self.broker.state.open().is_err()
    }

    /// What a handler is to hear: its own subjects, and those its guest named.
    pub(crate) fn channels(&self, id: HandlerId) -> Vec<String> {
        self.broker.heard(id)
    }

    /// A handler's name.
    pub(crate) fn name(&self, id: HandlerId) -> String {
        self.broker.control.lock().handlers[id.index()].name.clone()
    }

    /// Hands a reply to the request of this process that waits for it. Whether one did.
    pub(crate) fn answer(&self, message: &Message) -> bool {
        message.raw_subject().starts_with(INBOX.as_bytes()) && self.broker.requests.reply(message)
    }

    /// Whether a request of this process waits for its reply on this subject.
    pub(crate) fn is_asked_on(&self, subject: &str) -> bool {
        self.broker.requests.is_open(subject)
    }

    /// Whether anybody in this process may hear what leaves it: a subscription, or a request that waits.
    pub(crate) fn hears_what_leaves(&self) -> bool {
        self.broker.requests.any_open() || self.broker.routes.table().has_subscriptions()
    }

    /// Hands a message that leaves the process to the subscriptions in it.
    pub(crate) fn tell_subscriptions(&mut self, message: &Message) {
        if !self.broker.routes.table().has_subscriptions() {
            return;
        }
        let route = self.last.find(&self.broker.routes, message.subject());
        if !route.subscriptions.is_empty() {
            self.broker.deliver(route, message);
        }
    }

    /// Hands a message that this shard sends to whoever listens: how many take it.
    fn route(&mut self, mut message: Message, now: Instant) -> usize {
        message.arrived = Some(now);
        let subject = message.subject();
        if subject.starts_with(INBOX) {
            return usize::from(self.broker.requests.reply(&message));
        }
        let route = self.last.find(&self.broker.routes, subject);
        if route.handlers.is_empty() && route.subscriptions.is_empty() {
            self.unrouted += 1;
            return 0;
        }
        let taken = self.broker.deliver(route, &message) + route.handlers.len();
        if !route.handlers.is_empty() {
            let handlers = Handlers::new(&route.handlers);
            self.forward(message, handlers);
        }
        taken
    }

    /// Whether anybody listens on a subject.
    fn is_heard(&mut self, subject: &str) -> bool {
        let route = self.last.find(&self.broker.routes, subject);
        !(route.handlers.is_empty() && route.subscriptions.is_empty())
    }

    /// The shard that handles what this one sends to a subject.
    fn shard_for(&self, subject: &str) -> usize {
        match self.broker.spread {
            Spread::Any => self.shard,
            Spread::Subject => self.broker.owner(subject),
        }
    }

    /// Puts a message of a guest of this shard on its way to handlers. One for another shard outlives this turn.
    fn forward(&mut self, mut message: Message, handlers: Handlers) {
        let shard = self.shard_for(message.subject());
        let load = Load::one(message.bytes());
        self.broker
            .admit_released(self.shard, shard, handlers.as_slice(), load);
        if shard == self.shard {
            self.local.push_back(Delivery { message, handlers });
        } else {
            message.detach();
            self.waiting
                .push_back((shard, Delivery { message, handlers }));
        }
    }

    /// Moves what waits for other shards into their inboxes, as far as there is room.
    fn hand_over(&mut self) {
        while let Some((shard, delivery)) = self.waiting.pop_front() {
            let port = &self.broker.shards[shard];
            match port.inbox.put(delivery) {
                Ok(()) => port.unpark.unpark(),
                Err(delivery) => {
                    self.waiting.push_front((shard, delivery));
                    return;
                }
            }
        }
    }

    /// Keeps a message until it is due again.
    fn delay(&mut self, handler: HandlerId, mut message: Message, due: Instant) {
        message.detach();
        self.delayed.push(Reverse(Delayed {
            due,
            handler,
            message,
        }));
    }

    /// Gathers room that is to be returned.
    #[inline]
    fn gather(&mut self, handler: HandlerId, load: Load) {
        match &mut self.settled {
            Some((id, gathered)) if *id == handler => *gathered = gathered.plus(load),
            _ => {
                self.return_room();
                self.settled = Some((handler, load));
            }
        }
    }

    fn return_room(&mut self) {
        if let Some((id, load)) = self.settled.take() {
            self.broker.settled(self.shard, id, load);
        }
    }
}

impl Transport for MemoryTransport {
    fn receive(&mut self, now: Instant, max: usize, mut take: impl FnMut(Arrival)) {
        self.now = now;
        let mut taken = 0;
        while taken < max && self.delayed.peek().is_some_and(|Reverse(d)| d.due <= now) {
            if let Some(Reverse(Delayed {
                handler, message, ..
            })) = self.delayed.pop()
            {
                taken += 1;
                take(Arrival {
                    handler,
                    message,
                    again: true,
                });
            }
        }
        while taken < max
            && let Some(delivery) = self.local.pop_front()
        {
            self.shared_bytes += delivery.message.bytes() as u64;
            taken += self.arrive(delivery, now, &mut take);
        }
        self.inbox.empty();
        while taken < max
            && let Some(delivery) = self.inbox.next()
        {
            taken += self.arrive(delivery, now, &mut take);
        }
        // What could not be taken in now outlives the turn.
        for delivery in &mut self.local {
            delivery.message.detach();
        }
    }

    fn receive_packs(&mut self, now: Instant, max: usize, mut take: impl FnMut(HandlerId, Pack)) {
        let mut taken = 0;
        while taken < max
            && let Some((id, mut pack)) = self.inbox.next_pack()
        {
            self.number(&mut pack, now);
            self.shared_bytes += pack.bytes() as u64;
            taken += pack.len();
            take(id, pack);
        }
    }

    fn changed(&mut self, apply: &mut dyn FnMut(HandlerId, &HandlerLimits)) {
        let generation = self
            .broker
            .generation
            .load(std::sync::atomic::Ordering::Acquire);
        if generation == self.generation {
            return;
        }
        self.generation = generation;
        let control = self.broker.control.lock();
        for (handler, index) in control.handlers.iter().zip(0..) {
            apply(HandlerId(index), &handler.limits);
        }
    }

    fn send(&mut self, _: HandlerId, message: Message, _: SendId, now: Instant) -> Sent {
        self.route(message, now);
        Sent::Done
    }

    /// What has one subject is routed once; what nobody listens for is only counted.
    fn send_all(
        &mut self,
        _: HandlerId,
        mut sends: Released<'_>,
        _: u64,
        now: Instant,
        _: impl FnMut(u32, Sent),
    ) {
        while let Some(subject) = sends.subject() {
            let subject = std::str::from_utf8(subject).unwrap_or_default();
            let same = sends.same();
            match subject.starts_with(INBOX) || self.is_heard(subject) {
                true => sends.by_ref().take(same).for_each(|message| {
                    self.route(message, now);
                }),
                false => {
                    self.unrouted += same as u64;
                    sends.leave_out(same);
                }
            }
        }
    }

    fn send_letter(&mut self, _: HandlerId, message: Message, _: SendId, now: Instant) -> Sent {
        let shard = self.shard_for(message.subject());
        let route = self.last.find(&self.broker.routes, message.subject());
        if !self.broker.has_room(shard, &route.handlers) {
            return Sent::Refused("its handler has as much in flight as it may have".into());
        }
        match self.route(message, now) {
            0 => Sent::Refused("nobody took it".into()),
            _ => Sent::Done,
        }
    }

    fn report(&mut self, _: Instant) -> Option<Report> {
        None
    }

    fn update(&mut self, handler: HandlerId, update: GuestConfiguration) {
        self.broker.update(handler, update);
    }

    /// Inlined, so that a message that is handled is dropped where it lies.
    #[inline]
    fn settle(&mut self, handler: HandlerId, message: Message, outcome: Outcome, now: Instant) {
        if let Outcome::Nak(delay) = outcome {
            return self.delay(handler, message, now + delay);
        }
        self.gather(handler, Load::one(message.bytes()));
    }

    fn settle_pack(&mut self, handler: HandlerId, pack: Pack, _: Instant) {
        self.gather(handler, Load::of(pack.len(), pack.bytes()));
    }

    fn flush(&mut self) {
        self.return_room();
        if self.unrouted > 0 {
            self.broker
                .count_unrouted(std::mem::take(&mut self.unrouted));
        }
        self.hand_over();
    }

    fn shared_bytes(&self) -> u64 {
        self.shared_bytes
    }

    fn is_quiet(&self) -> bool {
        self.inbox.is_empty() && self.local.is_empty()
    }

    fn due(&self) -> Option<Instant> {
        let retry = (!self.waiting.is_empty()).then(|| self.now + HAND_OVER_RETRY);
        self.delayed
            .peek()
            .map(|Reverse(delayed)| delayed.due)
            .into_iter()
            .chain(retry)
            .min()
    }
}
