//! The in-process broker: NATS subjects with wildcards, several handlers a subject, subscriptions and requests.
//!
//! [`Memory`] is what all threads share: read-only routes, a bounded inbox a shard, and what each handler has in flight on each
//! shard. A shard's own side is [`transport::MemoryTransport`].

mod inbox;
mod packs;
pub(crate) mod publish;
pub(crate) mod replies;
pub(crate) mod requests;
pub(crate) mod routes;
mod runs;
pub(crate) mod subscription;
pub(crate) mod transport;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

pub(crate) use self::inbox::Outlet;
use self::inbox::{Inbox, inbox};
use self::requests::Requests;
use self::routes::{Listener, Present, Routes};
use self::subscription::{Overflow, Queue, Subscription};
use crate::admission::{Bound, Load};
use crate::config::{Spread, tighten, warn_unknown};
use crate::dispatch::State;
use crate::error::Refusal;
use crate::limits::{EngineLimits, HandlerLimits};
use crate::message::{HandlerId, Message};
use crate::outbox::GuestConfiguration;
use crate::port::Unpark;
use crate::subject::check_listened;

/// A message on its way to a shard, with the handlers it is for.
#[derive(Debug)]
pub(crate) struct Delivery {
    pub(crate) message: Message,
    pub(crate) handlers: Handlers,
}

/// Handlers of one delivery; nearly always one, which then costs no allocation.
#[derive(Debug, Clone)]
pub(crate) enum Handlers {
    One(HandlerId),
    Several(Arc<[HandlerId]>),
}

impl Handlers {
    fn new(ids: &[HandlerId]) -> Self {
        match ids {
            [one] => Self::One(*one),
            several => Self::Several(several.into()),
        }
    }

    fn as_slice(&self) -> &[HandlerId] {
        match self {
            Self::One(id) => std::slice::from_ref(id),
            Self::Several(ids) => ids,
        }
    }
}

/// A number on a cache line of its own: publishers and one shard write it.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Padded(AtomicU64);

/// One shard as publishers see it.
struct ShardPort {
    inbox: Inbox,
    unpark: Arc<dyn Unpark>,
    /// A load a handler.
    in_flight: Box<[Padded]>,
    /// The load of all, where [`Memory::shard_bound`] is.
    in_flight_all: Padded,
    /// Messages that this shard's guests have sent to handlers; only this shard adds.
    forwarded: Padded,
}

/// What a handler is at present: changed by its guest's updates.
struct Configured {
    name: String,
    /// Subjects that its configuration adds to those its guest names.
    own: Vec<String>,
    channels: Vec<String>,
    /// As configured by its owner: what a guest may tighten.
    most: HandlerLimits,
    limits: HandlerLimits,
}

/// What changes now and then, under a lock that no message takes.
struct Control {
    handlers: Vec<Configured>,
    subscriptions: Vec<(String, Arc<Queue>)>,
    next_subscription: u64,
}

impl Control {
    fn routes(&self) -> Routes {
        let handlers = self.handlers.iter().zip(0..).flat_map(|(handler, index)| {
            let listener = Listener::Handler(HandlerId(index));
            handler
                .own
                .iter()
                .chain(&handler.channels)
                .map(move |pattern| (pattern.clone(), listener.clone()))
        });
        let subscriptions = self
            .subscriptions
            .iter()
            .map(|(p, queue)| (p.clone(), Listener::Subscription(Arc::clone(queue))));
        Routes::new(handlers.chain(subscriptions))
    }
}

/// What a handler is when the engine starts.
pub(crate) struct HandlerStart {
    pub(crate) name: String,
    pub(crate) own: Vec<String>,
    pub(crate) configuration: GuestConfiguration,
    pub(crate) most: HandlerLimits,
    pub(crate) limits: HandlerLimits,
}

/// The broker, shared by all threads.
pub(crate) struct Memory {
    routes: Present,
    control: Mutex<Control>,
    /// Goes up with every change of a handler's limits: each shard compares it with the last one it saw.
    generation: AtomicU64,
    shards: Box<[ShardPort]>,
    bounds: Box<[Bound]>,
    /// What all handlers together may have in flight on a shard, where that is less than what each may have added up.
    shard_bound: Option<Bound>,
    spread: Spread,
    subscription_messages_max: usize,
    subscriptions_max: usize,
    pub(crate) requests: Arc<Requests>,
    state: Arc<State>,
    refused: AtomicU64,
    unrouted: AtomicU64,
    dropped: AtomicU64,
}

impl Memory {
    /// A broker for these handlers and shards; and each shard's inbox.
    pub(crate) fn new(
        handlers: Vec<HandlerStart>,
        unparks: Vec<Arc<dyn Unpark>>,
        spread: Spread,
        limits: &EngineLimits,
        requests: Arc<Requests>,
        state: Arc<State>,
    ) -> (Arc<Self>, Vec<Outlet>) {
        let bound = |h: &HandlerStart| Bound {
            messages_max: h.limits.in_flight_messages_max,
            bytes_max: h.limits.in_flight_bytes_max,
        };
        let bounds: Box<[Bound]> = handlers.iter().map(bound).collect();
        let (shards, inboxes) = unparks
            .into_iter()
            .map(|unpark| {
                let (inbox, outlet) = inbox(limits.inbox_messages_max);
                let in_flight = bounds.iter().map(|_| Padded::default()).collect();
                (
                    ShardPort {
                        inbox,
                        unpark,
                        in_flight,
                        in_flight_all: Padded::default(),
                        forwarded: Padded::default(),
                    },
                    outlet,
                )
            })
            .unzip::<_, _, Vec<_>, _>();
        let configured = |h: HandlerStart| Configured {
            name: h.name,
            own: h.own,
            channels: h.configuration.channels,
            most: h.most,
            limits: h.limits,
        };
        let control = Control {
            handlers: handlers.into_iter().map(configured).collect(),
            subscriptions: Vec::new(),
            next_subscription: 0,
        };
        let broker = Self {
            routes: Present::new(control.routes()),
            control: Mutex::new(control),
            generation: AtomicU64::new(0),
            shards: shards.into(),
            shard_bound: limits.shard_bound(&bounds),
            bounds,
            spread,
            subscription_messages_max: limits.subscription_messages_max,
            subscriptions_max: limits.subscriptions_max,
            requests,
            state,
            refused: AtomicU64::new(0),
            unrouted: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
        };
        (Arc::new(broker), inboxes)
    }

    /// Subscribes to a pattern.
    pub(crate) fn subscribe(
        self: &Arc<Self>,
        pattern: &str,
        overflow: Overflow,
    ) -> Result<Subscription, Refusal> {
        check_listened(pattern)?;
        let mut control = self.control.lock();
        if control.subscriptions.len() >= self.subscriptions_max {
            return Err(Refusal::Full(
                "there are as many subscriptions as there may be",
            ));
        }
        let id = control.next_subscription;
        control.next_subscription += 1;
        let (queue, receiver) = Queue::new(
            id,
            self.subscription_messages_max,
            overflow,
            Arc::clone(&self.state),
        );
        control
            .subscriptions
            .push((pattern.to_owned(), Arc::clone(&queue)));
        self.routes.replace(control.routes());
        Ok(Subscription::new(queue, receiver, Arc::clone(self)))
    }

    /// Ends a subscription.
    pub(crate) fn unsubscribe(&self, id: u64) {
        let mut control = self.control.lock();
        control.subscriptions.retain(|(_, queue)| queue.id != id);
        self.routes.replace(control.routes());
    }

    /// Applies a guest's update of its handler to all shards: its subjects at once, its limits at each shard's next turn.
    /// Messages that wait are still handled.
    pub(crate) fn update(&self, id: HandlerId, update: GuestConfiguration) {
        let mut control = self.control.lock();
        let handler = &mut control.handlers[id.index()];
        let mut limits = handler.most.clone();
        match tighten(&mut limits, &update.extensions) {
            Ok(unknown) => {
                warn_unknown(&handler.name, &unknown);
                handler.limits = limits;
            }
            Err(why) => tracing::warn!(
                handler = handler.name,
                "an update of its settings is left out: the guest {why}"
            ),
        }
        handler.channels = update.channels;
        tracing::info!(handler = handler.name, channels = ?handler.channels, "configuration updated");
        self.routes.replace(control.routes());
        self.generation.fetch_add(1, Ordering::Release);
        drop(control);
        self.shards.iter().for_each(|shard| shard.unpark.unpark());
    }

    /// The subjects that a handler's guest has named.
    pub(crate) fn channels(&self, id: HandlerId) -> Vec<String> {
        self.control.lock().handlers[id.index()].channels.clone()
    }

    /// What a handler is to hear: its own subjects, and those its guest named.
    pub(crate) fn heard(&self, id: HandlerId) -> Vec<String> {
        let control = self.control.lock();
        let handler = &control.handlers[id.index()];
        handler
            .own
            .iter()
            .chain(&handler.channels)
            .cloned()
            .collect()
    }

    /// The load of a handler on one shard.
    fn load(&self, shard: usize, id: HandlerId) -> &AtomicU64 {
        &self.shards[shard].in_flight[id.index()].0
    }

    /// Messages in flight, all handlers and shards together.
    pub(crate) fn in_flight(&self) -> u64 {
        let of = |padded: &Padded| Load::from_raw(padded.0.load(Ordering::SeqCst)).messages();
        self.shards
            .iter()
            .flat_map(|shard| &shard.in_flight)
            .map(of)
            .sum()
    }

    /// Whether nothing is in flight, with publishing ended. Loads are read one after the other, so a message that a guest sends
    /// meanwhile could be missed; but then the count of those has changed.
    pub(crate) fn is_idle(&self) -> bool {
        let forwarded = || -> u64 {
            self.shards
                .iter()
                .map(|s| s.forwarded.0.load(Ordering::SeqCst))
                .sum()
        };
        let before = forwarded();
        self.in_flight() == 0 && forwarded() == before
    }

    /// Messages refused, unrouted and dropped so far.
    pub(crate) fn counts(&self) -> (u64, u64, u64) {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        (get(&self.refused), get(&self.unrouted), get(&self.dropped))
    }

    /// Ends what waits on an engine that has ended: requests, and tasks that wait for messages.
    pub(crate) fn end(&self, why: &Refusal) {
        self.requests.end_all(why);
        let queues: Vec<_> = {
            let control = self.control.lock();
            control
                .subscriptions
                .iter()
                .map(|(_, queue)| Arc::clone(queue))
                .collect()
        };
        queues.iter().for_each(|queue| queue.wake());
    }

    /// Wakes all shards.
    pub(crate) fn unpark_all(&self) {
        self.shards.iter().for_each(|shard| shard.unpark.unpark());
    }
}
