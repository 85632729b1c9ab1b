//! One shard: the loop that takes messages in, calls guests with them and settles them. Generic over where messages come from
//! and over what a guest is, so that a simulator can run this very loop on virtual time.
//!
//! Owns the batchers, the settlement of every message, and the rule that each admitted message is settled once. Does not know
//! which broker, nor which contract; is handed the time.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::batch::{Batch, BatchBound, Batcher};
use crate::limits::HandlerLimits;
use crate::message::{HandlerId, Message};
use crate::metrics::ShardMetrics;
use crate::outbox::{GuestConfiguration, Mark, Outbox, OutboxBound};
use crate::outcome::{Fault, FaultKind, Outcome, Policy};

/// Most messages that one turn takes in: bounds the time between two calls while the queues are deep.
const ARRIVALS_MAX: usize = 256;
/// How long a shard that found no free slot, and has nothing else to do, waits before it asks again.
const SLOT_RETRY: Duration = Duration::from_millis(1);

/// A message that has come for a handler.
#[derive(Debug)]
pub(crate) struct Arrival {
    pub(crate) handler: HandlerId,
    pub(crate) message: Message,
    /// Whether it comes back after a delay, and is called alone.
    pub(crate) again: bool,
}

/// Where messages come from, and where settlements and sends go.
pub(crate) trait Transport {
    /// Adds what has come to `arrivals`, up to `max`.
    fn receive(&mut self, now: Instant, max: usize, arrivals: &mut Vec<Arrival>);
    /// Calls `apply` for each handler whose limits have changed since the last time.
    fn changed(&mut self, apply: &mut dyn FnMut(HandlerId, &HandlerLimits));
    /// Takes a released send.
    fn send(&mut self, message: Message, now: Instant);
    /// Takes a released update of a handler's configuration.
    fn update(&mut self, handler: HandlerId, update: GuestConfiguration);
    /// Settles a message: its last word, or its return after a delay.
    fn settle(&mut self, handler: HandlerId, message: Message, outcome: Outcome, now: Instant);
    /// Writes out what the turn has gathered.
    fn flush(&mut self);
    /// Whether nothing has come from outside.
    fn is_quiet(&self) -> bool;
    /// When it next has something of its own accord.
    fn due(&self) -> Option<Instant>;
}

/// A call that has ended.
pub(crate) struct Ended {
    pub(crate) handler: HandlerId,
    /// Given back whole: nobody else holds it.
    pub(crate) batch: Arc<Batch>,
    /// What the call held; new and empty if it was lost with the call.
    pub(crate) outbox: Box<Outbox>,
    pub(crate) result: Result<(), Fault>,
    pub(crate) at: Instant,
}

/// What became of the start of a call.
pub(crate) enum Started {
    /// It is done.
    Ended(Ended),
    /// It waits; [`Guest::resume`] gives its end.
    Suspended,
    /// There is no free slot for an instance: nothing has happened.
    NoSlot(Arc<Batch>, Box<Outbox>),
}

/// What runs the handlers' components.
pub(crate) trait Guest {
    /// Calls a handler with a batch, in an instance that has seen nothing.
    fn start(
        &mut self,
        handler: HandlerId,
        batch: Arc<Batch>,
        outbox: Box<Outbox>,
        now: Instant,
    ) -> Started;
    /// Goes on with suspended calls whose wait is over: the first that ended.
    fn resume(&mut self, now: Instant) -> Option<Ended>;
    /// Whether the handler may have one more call.
    fn may_start(&self, handler: HandlerId) -> bool;
    /// Drops used instances; in an idle turn also readies one. Whether there is more of that to do.
    fn tend(&mut self, idle: bool) -> bool;
    /// Changes a handler's limits for the calls to come.
    fn set_limits(&mut self, handler: HandlerId, limits: &HandlerLimits);
    /// When a suspended call wants to go on.
    fn due(&self) -> Option<Instant>;
}

/// What the shard wants after a turn.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// Another turn, at once.
    Again,
    /// To rest until something comes, or until this time.
    Rest(Option<Instant>),
}

/// One handler on this shard.
struct Handler {
    /// What the log calls it.
    name: String,
    batcher: Batcher,
    policy: Policy,
    outbox: OutboxBound,
    /// Whether it stands in the queue of those that have messages.
    queued: bool,
}

impl Handler {
    fn new((name, limits): (String, HandlerLimits)) -> Self {
        let (bound, policy, outbox) = bounds(&limits);
        Self {
            name,
            batcher: Batcher::new(bound),
            policy,
            outbox,
            queued: false,
        }
    }

    fn set_limits(&mut self, limits: &HandlerLimits) {
        let (bound, policy, outbox) = bounds(limits);
        self.batcher.set_bound(bound);
        (self.policy, self.outbox) = (policy, outbox);
    }
}

fn bounds(limits: &HandlerLimits) -> (BatchBound, Policy, OutboxBound) {
    (
        BatchBound {
            messages_max: limits.batch_messages_max,
            bytes_max: limits.batch_bytes_max,
        },
        Policy {
            deliveries_max: limits.deliveries_max,
            delay_first: limits.retry_delay_first,
            delay_max: limits.retry_delay_max,
        },
        OutboxBound {
            messages_max: limits.outbox_messages_max,
            bytes_max: limits.outbox_bytes_max,
        },
    )
}

/// A shard: everything that one thread owns.
pub(crate) struct Shard<G, T> {
    guest: G,
    transport: T,
    handlers: Vec<Handler>,
    /// Handlers that have messages, in turn.
    queue: VecDeque<HandlerId>,
    arrivals: Vec<Arrival>,
    /// Batches and outboxes of calls that have ended, to be used again.
    spare: Vec<(Arc<Batch>, Box<Outbox>)>,
    metrics: Arc<ShardMetrics>,
}

impl<G: Guest, T: Transport> Shard<G, T> {
    /// A shard with a handler for each of these names and limits.
    pub(crate) fn new(
        guest: G,
        transport: T,
        handlers: Vec<(String, HandlerLimits)>,
        metrics: Arc<ShardMetrics>,
    ) -> Self {
        Self {
            guest,
            transport,
            handlers: handlers.into_iter().map(Handler::new).collect(),
            queue: VecDeque::new(),
            arrivals: Vec::with_capacity(ARRIVALS_MAX),
            spare: Vec::new(),
            metrics,
        }
    }

    /// One turn: take in, go on with what waited, make one call, write out, tidy up.
    pub(crate) fn turn(&mut self, now: Instant) -> Next {
        self.receive(now);
        let resumed = self.resume(now);
        let called = self.call(now);
        self.transport.flush();
        let more = self.guest.tend(self.queue.is_empty());
        if resumed || called || more {
            return Next::Again;
        }
        self.rest(now)
    }

    /// Whether anything has come that [`Shard::turn`] would act on: asked once more before the thread rests.
    pub(crate) fn stirred(&self, now: Instant) -> bool {
        !self.transport.is_quiet() || self.guest.due().is_some_and(|due| due <= now)
    }

    /// Takes in what has come, and what has changed.
    fn receive(&mut self, now: Instant) {
        let (guest, handlers) = (&mut self.guest, &mut self.handlers);
        self.transport.changed(&mut |handler, limits| {
            handlers[handler.index()].set_limits(limits);
            guest.set_limits(handler, limits);
        });
        let mut arrivals = std::mem::take(&mut self.arrivals);
        self.transport.receive(now, ARRIVALS_MAX, &mut arrivals);
        for arrival in arrivals.drain(..) {
            self.metrics
                .handler(arrival.handler)
                .received
                .add(u64::from(!arrival.again));
            self.push(arrival.handler, arrival.message, arrival.again);
        }
        self.arrivals = arrivals;
    }

    /// Goes on with suspended calls whose wait is over. Whether any ended.
    fn resume(&mut self, now: Instant) -> bool {
        let mut any = false;
        while let Some(ended) = self.guest.resume(now) {
            self.settle(ended);
            any = true;
        }
        any
    }

    fn push(&mut self, id: HandlerId, message: Message, alone: bool) {
        let handler = &mut self.handlers[id.index()];
        handler.batcher.push(message, alone);
        if !handler.queued {
            handler.queued = true;
            self.queue.push_back(id);
        }
    }

    /// Calls the next handler in turn that may be called. Whether one was.
    fn call(&mut self, now: Instant) -> bool {
        for _ in 0..self.queue.len() {
            let Some(id) = self.queue.pop_front() else {
                break;
            };
            if !self.guest.may_start(id) {
                self.queue.push_back(id);
                continue;
            }
            if self.call_one(id, now) {
                return true;
            }
        }
        false
    }

    /// Calls one handler with its next batch. Whether there was a slot for it.
    fn call_one(&mut self, id: HandlerId, now: Instant) -> bool {
        let (mut batch, mut outbox) = self.spare.pop().unwrap_or_else(|| self.new_pair());
        let handler = &mut self.handlers[id.index()];
        let messages = &mut exclusive(&mut batch).messages;
        handler.batcher.next(messages);
        assert!(!messages.is_empty(), "a queued handler has messages");
        let count = messages.len() as u64;
        outbox.open(handler.outbox, messages.len());
        let started = self.guest.start(id, batch, outbox, now);
        let handler = &mut self.handlers[id.index()];
        let slot = match started {
            Started::NoSlot(mut batch, mut outbox) => {
                handler
                    .batcher
                    .put_back(&mut exclusive(&mut batch).messages);
                outbox.discard();
                self.spare.push((batch, outbox));
                false
            }
            Started::Suspended => {
                self.metrics.called(id, count);
                true
            }
            // Counted before anything of the call can be seen.
            Started::Ended(ended) => {
                self.metrics.called(id, count);
                self.settle(ended);
                true
            }
        };
        let handler = &mut self.handlers[id.index()];
        handler.queued = !handler.batcher.is_empty();
        if handler.queued {
            self.queue.push_back(id);
        }
        slot
    }

    fn new_pair(&self) -> (Arc<Batch>, Box<Outbox>) {
        let bound = OutboxBound {
            messages_max: 0,
            bytes_max: 0,
        };
        (Arc::default(), Box::new(Outbox::new(bound)))
    }

    /// Settles every message of a call that has ended.
    fn settle(&mut self, ended: Ended) {
        let Ended {
            handler,
            mut batch,
            mut outbox,
            result,
            at,
        } = ended;
        let messages = &mut exclusive(&mut batch).messages;
        let overflow = outbox.overflowed().map(|bound| {
            let OutboxBound {
                messages_max,
                bytes_max,
            } = bound;
            Fault::new(
                FaultKind::Outbox,
                format!("sent more than {messages_max} messages or {bytes_max} bytes"),
            )
        });
        match overflow.map_or(result, Err) {
            Ok(()) => self.succeeded(handler, messages, &mut outbox, at),
            Err(fault) => self.failed(handler, messages, &fault, at),
        }
        assert!(messages.is_empty(), "every message of a call is settled");
        outbox.discard();
        self.spare.push((batch, outbox));
    }

    /// Releases what the call held, then settles its messages as the guest said, or else as handled.
    fn succeeded(
        &mut self,
        id: HandlerId,
        messages: &mut Vec<Message>,
        outbox: &mut Outbox,
        at: Instant,
    ) {
        self.metrics.handler(id).sent.add(outbox.len() as u64);
        outbox.release(|message| self.transport.send(message, at));
        if let Some(update) = outbox.take_update() {
            self.transport.update(id, update);
        }
        for (index, message) in messages.drain(..).enumerate() {
            match outbox.mark(index) {
                None | Some(Mark::Completed) => self.finish(id, message, Outcome::Ack, at),
                Some(Mark::Abandoned) => self.attempt(id, message, &abandoned(), at),
            }
        }
    }

    /// A fault of one message is its attempt. A fault of several has an unknown cause: each is called again alone, at once,
    /// and that is nobody's attempt.
    fn failed(&mut self, id: HandlerId, messages: &mut Vec<Message>, fault: &Fault, at: Instant) {
        self.metrics.faulted(id, fault.kind);
        tracing::debug!(handler = self.handlers[id.index()].name, messages = messages.len(), %fault, "a call failed");
        let several = messages.len() > 1;
        for message in messages.drain(..) {
            if several {
                self.push(id, message, true);
            } else {
                self.attempt(id, message, fault, at);
            }
        }
    }

    fn attempt(&mut self, id: HandlerId, mut message: Message, fault: &Fault, at: Instant) {
        message.attempts += 1;
        let handler = &self.handlers[id.index()];
        let outcome = handler.policy.after(fault.kind, message.attempts);
        if let Outcome::Term(_) = outcome {
            let (handler, attempts) = (&handler.name, message.attempts);
            tracing::warn!(handler, ?message, attempts, %fault, "a message was given up on");
        }
        self.finish(id, message, outcome, at);
    }

    fn finish(&mut self, id: HandlerId, message: Message, outcome: Outcome, at: Instant) {
        self.metrics.settled(
            id,
            outcome,
            at.saturating_duration_since(message.arrived_or(at)),
        );
        self.transport.settle(id, message, outcome, at);
    }

    /// Until when there is nothing to do.
    fn rest(&self, now: Instant) -> Next {
        let slot = (!self.queue.is_empty()).then(|| now + SLOT_RETRY);
        let due = [self.transport.due(), self.guest.due(), slot]
            .into_iter()
            .flatten()
            .min();
        match due {
            Some(due) if due <= now => Next::Again,
            due => Next::Rest(due),
        }
    }

    /// Messages that wait for a call here.
    pub(crate) fn waiting(&self) -> usize {
        self.handlers.iter().map(|h| h.batcher.len()).sum()
    }
}

/// What abandoning a message counts as.
fn abandoned() -> Fault {
    Fault::new(FaultKind::Abandoned, "the guest abandoned it")
}

/// The batch of a call that has not begun or has ended: only the shard holds it.
fn exclusive(batch: &mut Arc<Batch>) -> &mut Batch {
    Arc::get_mut(batch).expect("a batch outside a call is held by its shard alone")
}
