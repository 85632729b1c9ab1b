//! One shard: the loop that takes messages in, calls guests with them and settles them. Generic over where messages come from
//! and over what a guest is, so that the simulator runs this very loop on virtual time.
//!
//! Owns the turn. What a call's end means for its messages is in `settle.rs`. Does not know which broker, nor which contract; is
//! handed the time.

use std::sync::Arc;
use std::time::Duration;

use crate::batch::Batch;
use crate::company::Company;
use crate::confirm::Releases;
use crate::handler::{Handler, Rules, Setup};
use crate::letter::Wall;
use crate::message::HandlerId;
use crate::metrics::ShardMetrics;
use crate::outbox::{Outbox, OutboxBound};
use crate::outcome::{Jitter, Outcome, ShedReason};
use crate::schedule::{Pick, Schedule};
use crate::seams::{Call, Guest, Next, Runnable, Started, Transport};
use crate::settle::Letters;
use crate::slice::Way;
use crate::time::Instant;

/// Most messages that one turn takes in: bounds the time between two calls while the queues are deep, to some 200 µs at 50 ns a
/// message, and is well above a batch, so that what waits is seen to wait.
const ARRIVALS_MAX: usize = 4_096;
/// Bytes of shared buffers that come between two times that what waits is aged. Default 512 KiB: what is called before as much
/// has come again is never copied, which a thousand messages in flight are. Messages that wait keep alive at most twice that and
/// twice what a turn reads.
pub(crate) const AGE_BYTES: u64 = 512 << 10;
/// How often what has come is taken in and what is done is handed out, while shorter calls follow one another. Default 20 µs: a
/// fiftieth of the shortest budget that is worth setting, and some calls of one message, which then share the locks and counts that
/// the shard has in common with other threads.
const MOVE_EVERY: Duration = Duration::from_micros(20);
/// How long a shard that found no free slot, and has nothing else to do, waits before it asks again.
const SLOT_RETRY: Duration = Duration::from_millis(1);

/// A shard: everything that one thread owns.
pub(crate) struct Shard<G, T> {
    pub(crate) guest: G,
    pub(crate) transport: T,
    pub(crate) handlers: Vec<Handler>,
    pub(crate) schedule: Schedule,
    pub(crate) company: Company,
    pub(crate) releases: Releases,
    pub(crate) letters: Letters,
    pub(crate) jitter: Jitter,
    pub(crate) wall: Wall,
    /// Batches and outboxes of calls that have ended, to be used again.
    pub(crate) spare: Vec<(Arc<Batch>, Box<Outbox>)>,
    pub(crate) metrics: Arc<ShardMetrics>,
    /// Handlers that messages came for in this turn.
    arrived: Vec<HandlerId>,
    time_slice: Duration,
    /// When the last turn began, and whose call it made: charged with the time until this one.
    turned: Instant,
    went: Option<HandlerId>,
    /// When messages were taken in last.
    moved: Instant,
    /// Whether a call found no free slot in this turn.
    no_slot: bool,
    /// Bytes that had come in shared buffers when what waits was aged last, and how many come in between.
    aged: u64,
    age_bytes: u64,
}

impl<G: Guest, T: Transport> Shard<G, T> {
    /// A shard with these handlers, beginning at `wall`.
    pub(crate) fn new(
        guest: G,
        transport: T,
        setups: Vec<Setup>,
        rules: Rules,
        wall: Wall,
        metrics: Arc<ShardMetrics>,
    ) -> Self {
        let weights = setups.iter().map(|setup| setup.limits.weight).collect();
        let handler = |setup| Handler::new(setup, &rules);
        Self {
            guest,
            transport,
            handlers: setups.into_iter().map(handler).collect(),
            schedule: Schedule::new(weights, rules.time_slice),
            company: Company::new(wall.at),
            releases: Releases::default(),
            letters: Letters::default(),
            jitter: Jitter::new(rules.seed),
            wall,
            spare: Vec::new(),
            metrics,
            arrived: Vec::new(),
            time_slice: rules.time_slice,
            turned: wall.at,
            went: None,
            moved: wall.at,
            no_slot: false,
            aged: 0,
            age_bytes: rules.age_bytes,
        }
    }

    /// One turn: take in, make one call or go on with one, write out, tidy up.
    pub(crate) fn turn(&mut self, now: Instant) -> Next {
        let moves = self.moves(now);
        self.charge(now);
        if moves {
            self.moved = now;
            self.receive(now);
            self.give_up_unfit(now);
        }
        self.confirm(now);
        let went = self.go(now);
        if moves || !went {
            self.transport.flush();
        }
        self.age();
        let more = self.guest.tend(!went);
        if went || more {
            return Next::Again;
        }
        self.rest(now)
    }

    /// Whether anything has come that [`Shard::turn`] would act on: asked once more before the thread rests.
    pub(crate) fn stirred(&self, now: Instant) -> bool {
        !self.transport.is_quiet() || self.guest.due().is_some_and(|due| due <= now)
    }

    /// Whether this turn takes messages in and hands out what is done: not if the last one went, another may go at once, and it was
    /// done just before.
    fn moves(&self, now: Instant) -> bool {
        let busy = self.went.is_some() && self.schedule.is_ready(now);
        !busy || now.saturating_duration_since(self.moved) >= MOVE_EVERY
    }

    /// Charges the handler that went in the last turn with the time since: its call, and what it caused.
    fn charge(&mut self, now: Instant) {
        if let Some(id) = self.went.take() {
            let ran = now.saturating_duration_since(self.turned);
            self.schedule.charge(id, ran);
        }
        self.turned = now;
    }

    /// Takes in what has come, and what has changed.
    fn receive(&mut self, now: Instant) {
        let (guest, handlers, schedule) = (&mut self.guest, &mut self.handlers, &mut self.schedule);
        let queued = &mut self.arrived;
        self.transport.changed(&mut |id, limits| {
            handlers[id.index()].set_limits(limits);
            schedule.set_weight(id, limits.weight);
            guest.set_limits(id, limits);
            // It may be called earlier now than it could be before.
            queued.push(id);
        });
        let (handlers, arrived) = (&mut self.handlers, &mut self.arrived);
        self.transport.receive(now, ARRIVALS_MAX, |arrival| {
            let id = arrival.handler;
            let received = &self.metrics.handler(id).received;
            received.add(u64::from(!arrival.again));
            handlers[id.index()].batcher.push(arrival.message);
            if arrived.last() != Some(&id) {
                arrived.push(id);
            }
        });
        self.transport.receive_packs(now, ARRIVALS_MAX, |id, pack| {
            self.metrics.handler(id).received.add(pack.len() as u64);
            handlers[id.index()].push_pack(pack);
            arrived.push(id);
        });
        while let Some(id) = self.arrived.pop() {
            self.company
                .note(id, self.handlers[id.index()].budget_of_owner, now);
            self.queue(id, now);
        }
    }

    /// Tells the schedule what it should know of a handler.
    pub(crate) fn queue(&mut self, id: HandlerId, now: Instant) {
        let handler = &self.handlers[id.index()];
        match handler.ready(now) {
            Some(ready) => self.schedule.queue(id, handler.batcher.due(now), ready),
            None => self.schedule.remove(id),
        }
    }

    /// Goes on with a suspended call or makes a new one, whichever is next. Whether there was one.
    fn go(&mut self, now: Instant) -> bool {
        let schedule = &mut self.schedule;
        schedule.begin(now);
        self.no_slot = false;
        self.guest.runnable(now, &mut |call: Runnable<'_>| {
            let stuck = now.saturating_duration_since(call.began) >= call.batch.stuck_after;
            schedule.resumable(call.handler, call.batch.due.unwrap_or(now), stuck);
        });
        while let Some(pick) = self.schedule.pick(now) {
            let went = match pick {
                Pick::Resume(id) => {
                    if let Some(ended) = self.guest.resume(id, now) {
                        self.settle(ended);
                        self.queue(id, now);
                    }
                    true
                }
                Pick::Call(id) => self.call(id, now),
            };
            if went {
                self.went = Some(pick.handler());
                return true;
            }
            self.schedule.pass(pick);
        }
        false
    }

    /// Calls one handler with its next batch. Whether it could.
    fn call(&mut self, id: HandlerId, now: Instant) -> bool {
        let handler = &self.handlers[id.index()];
        let overdue = handler.batcher.is_overdue(now);
        if handler.droppable {
            self.shed(id, now);
        }
        if overdue {
            self.end_split(id, now);
        }
        let (mut batch, outbox) = self.spare.pop().unwrap_or_else(new_pair);
        let call_max = self.call_max(id, now);
        let handler = &mut self.handlers[id.index()];
        if handler.batcher.is_empty() {
            self.spare.push((batch, outbox));
            self.queue(id, now);
            return false;
        }
        handler.batcher.next(now, call_max, exclusive(&mut batch));
        let way = handler.way(&batch, now);
        let call = Call {
            handler: id,
            batch,
            outbox,
            way,
        };
        let went = match self.guest.may_start(id, way) {
            true => self.start(call, now),
            false => self.put_back(call),
        };
        self.queue(id, now);
        went
    }

    /// Starts a call; on a fiber once more, if it overran its slice. Whether it began.
    fn start(&mut self, mut call: Call, now: Instant) -> bool {
        let id = call.handler;
        let handler = &mut self.handlers[id.index()];
        let count = call.batch.len();
        assert!(count > 0, "a call has messages");
        if call.way == Way::Fiber {
            exclusive(&mut call.batch).detach();
        }
        call.outbox.open(handler.outbox);
        let started = self.guest.start(call, now);
        if let Started::NoSlot(call) = started {
            self.no_slot = true;
            return self.put_back(call);
        }
        // Counted before anything of the call can be seen.
        self.metrics.called(id, count as u64);
        match started {
            Started::Ended(ended) => self.settle(ended),
            Started::Overran(call, at) => self.overran(call, at),
            Started::Suspended | Started::NoSlot(_) => {}
        }
        true
    }

    /// Makes a call that overran its slice again on a fiber. That is no attempt: nothing of it was seen.
    fn overran(&mut self, mut call: Call, at: Instant) {
        let id = call.handler;
        self.metrics.handler(id).overran.add(1);
        self.handlers[id.index()].slices.overran(at);
        call.outbox.discard();
        call.way = Way::Fiber;
        exclusive(&mut call.batch).overran = true;
        match self.guest.may_start(id, call.way) {
            true => self.start(call, at),
            false => self.put_back(call),
        };
    }

    /// Gives the messages of a call that could not begin back to their batcher.
    fn put_back(&mut self, call: Call) -> bool {
        let Call {
            handler,
            mut batch,
            mut outbox,
            ..
        } = call;
        let batcher = &mut self.handlers[handler.index()].batcher;
        batcher.put_back(exclusive(&mut batch));
        outbox.discard();
        self.spare.push((batch, outbox));
        false
    }

    /// How long a call may take for the sake of the others: three quarters of the strictest budget among them, which leaves the
    /// rest for that handler's own call (by experiment: 0.7 to 0.8). A long one goes on a fiber, which gives the shard back
    /// every slice or two, so nothing above that matters.
    fn call_max(&self, id: HandlerId, now: Instant) -> Option<Duration> {
        let most = self.company.beside(id, now)? * 3 / 4;
        (most < self.time_slice * 2).then_some(most)
    }

    /// Sheds what has waited too long, where that is allowed.
    fn shed(&mut self, id: HandlerId, now: Instant) {
        let mut late = Vec::new();
        let batcher = &mut self.handlers[id.index()].batcher;
        batcher.shed(now, |message| late.push(message));
        for message in late {
            self.finish(id, message, Outcome::Shed(ShedReason::Late), now);
        }
    }

    /// Ends splitting that takes too long: what is left is called later, each message alone.
    fn end_split(&mut self, id: HandlerId, now: Instant) {
        let mut left = Vec::new();
        self.handlers[id.index()].batcher.end_split(&mut left);
        self.call_alone(id, &mut left, now);
    }

    /// Copies what has waited for long out of the buffers that it came in, where others share them.
    fn age(&mut self) {
        let shared = self.transport.shared_bytes();
        if shared - self.aged >= self.age_bytes {
            self.aged = shared;
            let handlers = self.handlers.iter_mut();
            handlers.for_each(|handler| handler.batcher.age());
        }
    }

    /// Until when there is nothing to do.
    fn rest(&self, now: Instant) -> Next {
        let slot = self.no_slot.then(|| now + SLOT_RETRY);
        let due = [
            self.transport.due(),
            self.guest.due(),
            self.schedule.next_ready(now),
            self.releases.due(),
            self.letters.due(),
            slot,
        ];
        match due.into_iter().flatten().min() {
            Some(due) if due <= now => Next::Again,
            due => Next::Rest(due),
        }
    }

    /// Messages that wait for a call here.
    pub(crate) fn waiting(&self) -> usize {
        self.handlers.iter().map(|h| h.batcher.len()).sum()
    }
}

/// A batch and an outbox that no call has used.
fn new_pair() -> (Arc<Batch>, Box<Outbox>) {
    let bound = OutboxBound {
        messages_max: 0,
        bytes_max: 0,
    };
    (Arc::default(), Box::new(Outbox::new(bound)))
}

/// The batch of a call that has not begun or has ended: only the shard holds it.
pub(crate) fn exclusive(batch: &mut Arc<Batch>) -> &mut Batch {
    Arc::get_mut(batch).expect("a batch outside a call is held by its shard alone")
}
