//! Calls: direct ones on the shard's stack, and those on a fiber, which may wait.
//!
//! A suspended call owns its store and its batch in one boxed future; the shard polls it when its wait is over. Deadline and
//! yield mode are set when an instance is called, not when it is made.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use wasmtime::component::Instance;
use wasmtime::{Engine, Store};

use super::contract::Contract;
use super::contract::messaging::{self, Handles, Resources, Returned};
use super::host::Host;
use super::pond::{self, Pond, Ready};
use super::wait::Wait;
use super::{Kind, fault};
use crate::batch::Batch;
use crate::clock;
use crate::message::HandlerId;
use crate::outbox::{GuestConfiguration, Outbox, OutboxBound};
use crate::outcome::{Fault, FaultKind};
use crate::port::Unpark;
use crate::shard::Ended;

/// A call that is over.
pub(crate) struct Done {
    /// Its instance, to be dropped later.
    pub(crate) used: Ready,
    pub(crate) outbox: Box<Outbox>,
    pub(crate) result: Result<(), Fault>,
}

impl Done {
    fn new(mut store: Store<Host>, instance: Instance, returned: Returned<()>) -> Self {
        let result = outcome(&store, returned);
        let outbox = store.data_mut().end().unwrap_or_else(empty_outbox);
        Self {
            used: Ready { store, instance },
            outbox,
            result,
        }
    }
}

/// What a call gave, or the fault that it ended with.
fn outcome<T>(store: &Store<Host>, returned: Returned<T>) -> Result<T, Fault> {
    match returned {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(reason)) => Err(Fault::new(FaultKind::Guest, reason)),
        Err(error) => Err(fault(&error, store.data().meter.denied)),
    }
}

fn empty_outbox() -> Box<Outbox> {
    Box::new(Outbox::new(OutboxBound {
        messages_max: 0,
        bytes_max: 0,
    }))
}

/// Calls a handler on this stack, under its deadline.
pub(crate) fn direct(kind: &Kind, ready: Ready, batch: &Arc<Batch>, outbox: Box<Outbox>) -> Done {
    let Ready {
        mut store,
        instance,
    } = ready;
    store.data_mut().begin(Arc::clone(batch), outbox);
    store.set_epoch_deadline(kind.deadline_ticks());
    let exports = kind.loaded.exports;
    let returned = match kind.loaded.contract {
        Contract::Messaging2023 => {
            messaging::handle::<Handles>(&mut store, &instance, exports, &batch.messages)
        }
        Contract::Messaging010 | Contract::Messaging020Draft => {
            messaging::handle::<Resources>(&mut store, &instance, exports, &batch.messages)
        }
    };
    Done::new(store, instance, returned)
}

type Running<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// A call on a fiber.
pub(crate) struct Suspended {
    handler: HandlerId,
    batch: Arc<Batch>,
    running: Running<Done>,
    wait: Arc<Wait>,
    waker: Waker,
    limit: Duration,
    deadline: Instant,
    /// The turn in which it was polled last: once a turn, so that one that never waits lets the shard go on.
    polled: Option<Instant>,
}

impl Suspended {
    /// Prepares a call; the first poll begins it.
    pub(crate) fn new(
        handler: HandlerId,
        kind: &Kind,
        ready: Ready,
        batch: Arc<Batch>,
        outbox: Box<Outbox>,
        now: Instant,
        unpark: &Arc<dyn Unpark>,
    ) -> Self {
        let wait = Wait::new(now, Arc::clone(unpark));
        let Ready {
            mut store,
            instance,
        } = ready;
        store.data_mut().begin(Arc::clone(&batch), outbox);
        slice(&mut store, &wait);
        let (contract, exports, messages) = (
            kind.loaded.contract,
            kind.loaded.exports,
            Arc::clone(&batch),
        );
        let running = Box::pin(async move {
            let messages = &messages.messages;
            let returned = match contract {
                Contract::Messaging2023 => {
                    messaging::handle_async::<Handles>(&mut store, &instance, exports, messages)
                        .await
                }
                Contract::Messaging010 | Contract::Messaging020Draft => {
                    messaging::handle_async::<Resources>(&mut store, &instance, exports, messages)
                        .await
                }
            };
            Done::new(store, instance, returned)
        });
        Self {
            handler,
            batch,
            running,
            waker: Waker::from(Arc::clone(&wait)),
            wait,
            limit: kind.profile.limits.deadline,
            deadline: now + kind.profile.limits.deadline,
            polled: None,
        }
    }

    fn due(&self) -> Instant {
        self.wait
            .due()
            .map_or(self.deadline, |due| due.min(self.deadline))
    }
}

/// Lets a store's call run in slices of one tick, and wait on the shard's timers.
fn slice(store: &mut Store<Host>, wait: &Arc<Wait>) {
    store.data_mut().set_wait(Arc::clone(wait));
    store.epoch_deadline_async_yield_and_update(1);
    store.set_epoch_deadline(1);
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

    /// Whether one more call of this handler, which may have `handler_max`, may begin.
    pub(crate) fn room(&self, handler: HandlerId, handler_max: usize) -> bool {
        self.calls.len() < self.calls_max
            && self.by_handler[handler.index()] < handler_max.min(self.each_max)
    }

    /// Calls that wait.
    pub(crate) fn len(&self) -> usize {
        self.calls.len()
    }

    /// Adds a call.
    pub(crate) fn add(&mut self, call: Suspended) {
        self.by_handler[call.handler.index()] += 1;
        self.calls.push(call);
    }

    /// The place of the call that was added last.
    pub(crate) fn last(&self) -> usize {
        self.calls.len() - 1
    }

    /// The place of a call that wants to go on, or must end, by `now`, and has not been polled then.
    pub(crate) fn next_due(&self, now: Instant) -> Option<usize> {
        let due = |call: &Suspended| call.due() <= now && call.polled != Some(now);
        self.calls.iter().position(due)
    }

    /// When the next call wants to go on.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.calls.iter().map(Suspended::due).min()
    }

    /// Goes on with one call: its end, if it has come to it. Past its deadline it is ended where it is.
    pub(crate) fn poll(&mut self, index: usize, now: Instant, pond: &mut Pond) -> Option<Ended> {
        let call = &mut self.calls[index];
        call.polled = Some(now);
        call.wait.begin(now);
        let late = now >= call.deadline;
        let polled = match late {
            true => Poll::Pending,
            false => call
                .running
                .as_mut()
                .poll(&mut Context::from_waker(&call.waker)),
        };
        if polled.is_pending() && !late {
            return None;
        }
        let Suspended {
            handler,
            batch,
            running,
            limit,
            ..
        } = self.calls.swap_remove(index);
        self.by_handler[handler.index()] -= 1;
        drop(running);
        let (outbox, result) = match polled {
            Poll::Ready(done) => {
                pond.put_used(done.used);
                (done.outbox, done.result)
            }
            Poll::Pending => {
                pond.lost();
                let late = format!("it ran longer than {limit:?}");
                (empty_outbox(), Err(Fault::new(FaultKind::Deadline, late)))
            }
        };
        Some(Ended {
            handler,
            batch,
            outbox,
            result,
            at: now,
        })
    }
}

/// Wakes the thread that configures a handler.
struct Caller(std::thread::Thread);

impl Unpark for Caller {
    fn unpark(&self) {
        self.0.unpark();
    }
}

/// Calls `configure` in an instance of its own and waits for its end, on this thread.
pub(crate) fn configure(engine: &Engine, kind: &Kind) -> Result<GuestConfiguration, Fault> {
    let Ready {
        mut store,
        instance,
    } = pond::make_one(engine, kind)?;
    let begun = clock::now();
    let wait = Wait::new(begun, Arc::new(Caller(std::thread::current())));
    slice(&mut store, &wait);
    let (contract, exports) = (kind.loaded.contract, kind.loaded.exports);
    let mut running: Running<Result<GuestConfiguration, Fault>> = Box::pin(async move {
        let returned = match contract {
            Contract::Messaging2023 => {
                messaging::configure::<Handles>(&mut store, &instance, exports).await
            }
            Contract::Messaging010 | Contract::Messaging020Draft => {
                messaging::configure::<Resources>(&mut store, &instance, exports).await
            }
        };
        outcome(&store, returned)
    });
    let waker = Waker::from(Arc::clone(&wait));
    let deadline = begun + kind.profile.limits.deadline;
    loop {
        let now = clock::now();
        if now >= deadline {
            let limit = kind.profile.limits.deadline;
            return Err(Fault::new(
                FaultKind::Deadline,
                format!("did not end within {limit:?}"),
            ));
        }
        wait.begin(now);
        match running.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(result) => return result,
            Poll::Pending => {
                let due = wait.due().map_or(deadline, |due| due.min(deadline));
                std::thread::park_timeout(due.saturating_duration_since(now));
            }
        }
    }
}
