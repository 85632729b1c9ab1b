//! The pond: ready instances, made while no message waits, and used ones, dropped after their settlements are out.
//!
//! Owns one shard's share of the pool's slots. Shards share no slots, so that none waits for another's stock. They go to who needs them: when none is free, used instances go first, then
//! ready ones of other handlers; only then does a batch wait.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use wasmtime::component::Instance;
use wasmtime::{Engine, PoolConcurrencyLimitError, Store};

use super::contract::batch::Answered;
use super::contract::incoming::Table;
use super::handles::HANDLES_MAX;
use super::host::Host;
use super::{Kind, fault};
use crate::limits::{HOST_CALL_BYTES_MAX, USED_BYTES_MAX, USED_MESSAGES_MAX};
use crate::message::HandlerId;
use crate::metrics::ShardMetrics;
use crate::outbox::Lent;
use crate::outcome::{Fault, FaultKind};
use crate::seams;
use crate::slice::Way;

/// An instance with the store it lives in: one that has never been called, unless it waits to be dropped.
pub(crate) struct Ready {
    pub(crate) store: Store<Host>,
    pub(crate) instance: Instance,
}

/// An instance that was called: what it sent may lie in its memory until it is given back. None of a call that had none, or was lost with it.
pub(crate) struct Used(Option<Called>);

struct Called {
    ready: Ready,
    answered: Option<Answered>,
    /// Messages that it was called with.
    messages: usize,
}

impl Used {
    /// One that was called with so many messages.
    pub(crate) fn new(ready: Ready, answered: Option<Answered>, messages: usize) -> Self {
        Self(Some(Called {
            ready,
            answered,
            messages,
        }))
    }

    /// None.
    pub(crate) fn none() -> Self {
        Self(None)
    }
}

impl seams::Used for Used {
    fn lent(&self) -> Lent<'_> {
        match &self.0 {
            Some(Called {
                ready,
                answered: Some(answered),
                ..
            }) => answered.lent(&ready.store),
            _ => Lent::default(),
        }
    }
}

/// What became of the wish for an instance.
pub(crate) enum Taken {
    /// Here it is.
    Ready(Ready),
    /// No slot is free, and none can be freed here.
    NoSlot,
    /// It can't be made.
    Failed(Fault),
}

/// Why an instance could not be made.
enum Unmade {
    NoSlot,
    Failed(Fault),
}

/// One shard's instances that are not being called.
pub(crate) struct Pond {
    engine: Engine,
    ready: Vec<Vec<Ready>>,
    ready_count: usize,
    ready_max: usize,
    /// This shard's share of the pool's slots, and how many of them hold an instance: being called, waiting, ready or used.
    slots: usize,
    live: usize,
    used: Vec<Ready>,
    /// An empty table of messages, whose room the next instance uses that has one.
    table: Option<Box<Table>>,
    /// Messages that the used ones were called with.
    used_messages: usize,
    /// Their memory.
    used_bytes: usize,
    /// Handlers whose stock may be short, each once, looked at in idle turns.
    short: Vec<HandlerId>,
    is_short: Vec<bool>,
    metrics: Arc<ShardMetrics>,
}

impl Pond {
    /// For this many handlers, with so many ready instances in all, and so many slots.
    pub(crate) fn new(
        engine: Engine,
        handlers: usize,
        ready_max: usize,
        slots: usize,
        metrics: Arc<ShardMetrics>,
    ) -> Self {
        Self {
            engine,
            ready: (0..handlers).map(|_| Vec::new()).collect(),
            ready_count: 0,
            ready_max,
            slots,
            live: 0,
            used: Vec::new(),
            table: None,
            used_messages: 0,
            used_bytes: 0,
            short: (0..handlers as u32).rev().map(HandlerId).collect(),
            is_short: vec![true; handlers],
            metrics,
        }
    }

    /// An instance to call: a ready one, or one made now.
    pub(crate) fn take(&mut self, id: HandlerId, kind: &Kind) -> Taken {
        let mut taken = self.take_or_make(id, kind);
        if let Taken::Ready(ready) = &mut taken
            && kind.has_table()
        {
            ready.store.data_mut().lend_incoming(&mut self.table);
        }
        taken
    }

    fn take_or_make(&mut self, id: HandlerId, kind: &Kind) -> Taken {
        if !std::mem::replace(&mut self.is_short[id.index()], true) {
            self.short.push(id);
        }
        if let Some(ready) = self.ready[id.index()].pop() {
            self.counted(-1);
            self.metrics.instances_called.add(1);
            return Taken::Ready(ready);
        }
        loop {
            match self.make(kind) {
                Ok(ready) => {
                    self.metrics.instances_called.add(1);
                    return Taken::Ready(ready);
                }
                Err(Unmade::NoSlot) if self.free_a_slot(id) => {}
                Err(Unmade::NoSlot) => return Taken::NoSlot,
                Err(Unmade::Failed(fault)) => return Taken::Failed(fault),
            }
        }
    }

    /// Keeps an instance that was called until the turn's settlements are out, and for some calls more.
    pub(crate) fn put_used(&mut self, used: Used) {
        let Some(Called {
            ready: mut used,
            messages,
            ..
        }) = used.0
        else {
            return;
        };
        let host = used.store.data_mut();
        self.used_messages += messages;
        self.used_bytes += host.meter.bytes();
        self.metrics.resources_left.add(host.resources());
        self.table = host.take_incoming().or(self.table.take());
        self.used.push(used);
    }

    /// Whether used instances have waited for enough messages.
    pub(crate) fn is_to_drop(&self) -> bool {
        is_enough(self.used_messages, self.used_bytes)
    }

    /// Drops used instances: their memory is reset.
    pub(crate) fn drop_used(&mut self) {
        (self.used_messages, self.used_bytes) = (0, 0);
        self.live -= self.used.len();
        self.used.clear();
    }

    /// Notes that a call was dropped together with its instance.
    pub(crate) fn lost(&mut self) {
        self.live -= 1;
    }

    /// Makes an instance, if a slot is free.
    fn make(&mut self, kind: &Kind) -> Result<Ready, Unmade> {
        if self.live >= self.slots {
            return Err(Unmade::NoSlot);
        }
        let made = make(&self.engine, kind)?;
        self.live += 1;
        self.metrics.instances_created.add(1);
        Ok(made)
    }

    /// Makes one ready instance of a handler whose stock is short. Whether there may be more to make.
    pub(crate) fn refill(&mut self, kinds: &[Kind]) -> bool {
        let Some(&id) = self.short.last() else {
            return false;
        };
        let kind = &kinds[id.index()];
        let stock = self.ready[id.index()].len();
        if stock >= kind.profile.limits.ready_instances_max {
            return self.enough(id);
        }
        if self.ready_count >= self.ready_max {
            self.short.clear();
            self.is_short.fill(false);
            return false;
        }
        match self.make(kind) {
            Ok(ready) => {
                self.ready[id.index()].push(ready);
                self.counted(1);
                true
            }
            // No slot, or a fault that a call will meet too and settle: this handler waits until its next call.
            Err(_) => self.enough(id),
        }
    }

    /// Looks no more at a handler, the last of those that are short, until its next call. Whether others are short.
    fn enough(&mut self, id: HandlerId) -> bool {
        self.is_short[id.index()] = false;
        self.short.pop();
        !self.short.is_empty()
    }

    /// Frees a slot: a used instance's, else a ready one's of another handler. Whether there was one.
    fn free_a_slot(&mut self, wanted: HandlerId) -> bool {
        if !self.used.is_empty() {
            self.drop_used();
            return true;
        }
        let other = self
            .ready
            .iter_mut()
            .enumerate()
            .filter(|(index, _)| *index != wanted.index());
        let Some(dropped) = other
            .max_by_key(|(_, stock)| stock.len())
            .and_then(|(_, stock)| stock.pop())
        else {
            return false;
        };
        drop(dropped);
        self.live -= 1;
        self.counted(-1);
        self.metrics.instances_discarded.add(1);
        true
    }

    fn counted(&mut self, change: isize) {
        self.ready_count = self
            .ready_count
            .checked_add_signed(change)
            .expect("ready instances are counted as they come and go");
        self.metrics.instances_ready.set(self.ready_count as u64);
    }
}

/// Makes an instance, the way that its component's imports ask for. Its start functions run under the handler's deadline.
fn make(engine: &Engine, kind: &Kind) -> Result<Ready, Unmade> {
    let mut store = Store::new(engine, Host::new(&kind.profile));
    store.limiter(|host| &mut host.meter);
    store.set_hostcall_fuel(HOST_CALL_BYTES_MAX);
    store.set_max_component_handles(HANDLES_MAX);
    store.set_epoch_deadline(kind.bounds.start);
    let made = match kind.loaded.way {
        Way::Direct => kind.loaded.pre.instantiate(&mut store),
        Way::Fiber => at_once(kind.loaded.pre.instantiate_async(&mut store)),
    };
    match made {
        Ok(instance) => Ok(Ready { store, instance }),
        Err(error) if error.is::<PoolConcurrencyLimitError>() => Err(Unmade::NoSlot),
        Err(error) => Err(Unmade::Failed(fault(&error, store.data().meter.denied))),
    }
}

/// Instances one handler's component for `configure`.
pub(crate) fn make_one(engine: &Engine, kind: &Kind) -> Result<Ready, Fault> {
    make(engine, kind).map_err(|unmade| match unmade {
        Unmade::NoSlot => Fault::new(
            FaultKind::Host,
            "the pool has no free slot; raise `instances_max`",
        ),
        Unmade::Failed(fault) => fault,
    })
}

/// The result of a future that does not wait: start functions have nothing to wait for.
fn at_once<T>(future: impl Future<Output = wasmtime::Result<T>>) -> wasmtime::Result<T> {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(result) => result,
        Poll::Pending => wasmtime::bail!("its start function waits, which it may not"),
    }
}

/// Whether used instances of calls with so many messages, with so much memory, are to be dropped.
fn is_enough(messages: usize, bytes: usize) -> bool {
    messages >= USED_MESSAGES_MAX || bytes > USED_BYTES_MAX
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn used_instances_wait_for_each_other_up_to_the_limits_and_no_further() {
        assert!(!is_enough(USED_MESSAGES_MAX - 1, USED_BYTES_MAX));
        assert!(is_enough(USED_MESSAGES_MAX, 0));
        assert!(is_enough(1, USED_BYTES_MAX + 1));
    }
}
