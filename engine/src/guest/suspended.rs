//! Calls on fibers: each waits or gives its shard back at every tick, and is gone on with by a poll of one boxed future.
//!
//! Owns the suspended calls of a shard, and whose turn it is among those of one handler. Yield mode is set when an instance is
//! called, not when it is made. Wake-ups are the shard's own (`wait.rs`).

use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use wasmtime::Store;

use super::Kind;
use super::call::{Done, Running, empty_outbox, on_fiber};
use super::deadline::Spent;
use super::host::Host;
use super::pond::{Pond, Ready, Used};
use super::wait::Wait;
use crate::batch::Batch;
use crate::message::HandlerId;
use crate::outcome::Fault;
use crate::port::Unpark;
use crate::seams::{Call, Ended, Runnable};
use crate::time::Instant;

/// Lets a store's call run in slices of one tick, and wait on the shard's timers. For good: it can't be called directly again.
pub(crate) fn slice(store: &mut Store<Host>, wait: &Arc<Wait>) {
    store.data_mut().set_wait(Arc::clone(wait));
    store.epoch_deadline_async_yield_and_update(1);
    store.set_epoch_deadline(1);
}

/// A call on a fiber.
pub(crate) struct Suspended {
    handler: HandlerId,
    batch: Arc<Batch>,
    running: Running,
    wait: Arc<Wait>,
    waker: Waker,
    spent: Spent,
    /// When it was last polled: of two that want to go on, the one that had its turn longer ago does.
    polled: Instant,
    /// Since when it has waited for something else than its turn.
    waits: Option<Instant>,
}

/// How a poll ended a call.
enum End {
    /// It came to its own end.
    Done(Done),
    /// It was ended, and is lost with its instance.
    Late(Fault),
}

impl Suspended {
    /// Prepares a call; the first poll begins it.
    pub(crate) fn new(
        call: Call,
        kind: &Kind,
        mut ready: Ready,
        now: Instant,
        unpark: &Arc<dyn Unpark>,
    ) -> Self {
        let wait = Wait::new(now, Arc::clone(unpark));
        slice(&mut ready.store, &wait);
        Self {
            handler: call.handler,
            running: on_fiber(kind, ready, Arc::clone(&call.batch), call.outbox),
            batch: call.batch,
            waker: Waker::from(Arc::clone(&wait)),
            wait,
            spent: Spent::new(now, kind.limits()),
            polled: now,
            waits: None,
        }
    }

    /// When it wants to go on, or must end.
    fn due(&self) -> Instant {
        let until = self.spent.until();
        self.wait.due().map_or(until, |due| due.min(until))
    }

    /// Goes on with it until it ends, waits or gives the shard back; not at all past a deadline. Its end, and when that was.
    fn poll(&mut self, clock: fn() -> Instant) -> Option<(End, Instant)> {
        let from = clock();
        self.polled = from;
        if let Some(since) = self.waits.take() {
            self.spent.wait(from.saturating_duration_since(since));
        }
        if let Some(late) = self.spent.late(from) {
            return Some((End::Late(late), from));
        }
        self.wait.begin(from);
        let polled = self
            .running
            .as_mut()
            .poll(&mut Context::from_waker(&self.waker));
        let at = clock();
        self.spent.add(at.saturating_duration_since(from));
        let yielded = self.wait.due().is_some_and(|due| due <= at);
        self.waits = (!yielded).then_some(at);
        match polled {
            Poll::Ready(done) => Some((End::Done(done), at)),
            Poll::Pending => self.spent.late(at).map(|late| (End::Late(late), at)),
        }
    }
}

/// The suspended calls of one shard. Few, so they are looked through.
pub(crate) struct Calls {
    calls: Vec<Suspended>,
    calls_max: usize,
    /// Calls of one handler, whatever it may have.
    each_max: usize,
    by_handler: Vec<usize>,
}

impl Calls {
    /// For this many handlers, with so many calls in all and so many of each handler.
    pub(crate) fn new(handlers: usize, calls_max: usize, each_max: usize) -> Self {
        Self {
            calls: Vec::new(),
            calls_max,
            each_max,
            by_handler: vec![0; handlers],
        }
    }

    /// Whether a direct call of this handler may be made beside its suspended ones.
    pub(crate) fn room_beside(&self, handler: HandlerId) -> bool {
        self.by_handler[handler.index()] < self.each_max
    }

    /// Whether one more call of this handler, which may have `handler_max`, may begin on a fiber.
    pub(crate) fn room(&self, handler: HandlerId, handler_max: usize) -> bool {
        self.calls.len() < self.calls_max
            && self.by_handler[handler.index()] < handler_max.min(self.each_max)
    }

    /// Calls that wait.
    pub(crate) fn len(&self) -> usize {
        self.calls.len()
    }

    /// Adds a call: its place.
    pub(crate) fn add(&mut self, call: Suspended) -> usize {
        self.by_handler[call.handler.index()] += 1;
        self.calls.push(call);
        self.calls.len() - 1
    }

    /// Calls `mark` for each call that wants to go on, or must end, by `now`.
    pub(crate) fn runnable(&self, now: Instant, mark: &mut dyn FnMut(Runnable<'_>)) {
        for call in self.calls.iter().filter(|call| call.due() <= now) {
            mark(Runnable {
                handler: call.handler,
                batch: &call.batch,
                began: call.spent.began(),
            });
        }
    }

    /// The place of this handler's call that goes on at `now`: of those that want to, the one polled longest ago.
    pub(crate) fn next(&self, handler: HandlerId, now: Instant) -> Option<usize> {
        let calls = self.calls.iter().enumerate();
        let due = calls.filter(|(_, call)| call.handler == handler && call.due() <= now);
        due.min_by_key(|(_, call)| call.polled)
            .map(|(place, _)| place)
    }

    /// When the next call wants to go on.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.calls.iter().map(Suspended::due).min()
    }

    /// Polls one call: its end, if it has come to it.
    pub(crate) fn poll(
        &mut self,
        place: usize,
        clock: fn() -> Instant,
        pond: &mut Pond,
    ) -> Option<Ended<Used>> {
        let (end, at) = self.calls[place].poll(clock)?;
        let call = self.calls.swap_remove(place);
        self.by_handler[call.handler.index()] -= 1;
        // The future holds the batch too, and, unless the call is done, the instance.
        drop(call.running);
        let (outbox, used, result) = match end {
            End::Done(done) => (done.outbox, done.used, done.result),
            End::Late(late) => {
                pond.lost();
                (empty_outbox(), Used::none(), Err(late))
            }
        };
        Some(Ended {
            handler: call.handler,
            batch: call.batch,
            outbox,
            used,
            result,
            took: call.spent.own(),
            at,
        })
    }
}
