//! Calls: how one is begun in an instance, on the shard's stack or on a fiber, and how it ends.
//!
//! What happens to a call on a fiber between the two is in `suspended.rs`.

use std::pin::Pin;
use std::sync::Arc;

use wasmtime::Store;

use super::contract::batch::{self, packed::Packed};
use super::contract::messaging::{self, Handles, Resources, Returned};
use super::contract::{Exports, incoming, wasmcloud};
use super::host::Host;
use super::pond::{Ready, Used};
use super::{Kind, fault};
use crate::batch::Batch;
use crate::outbox::{Outbox, OutboxBound};
use crate::outcome::{Fault, FaultKind};

/// A call that is over.
pub(crate) struct Done {
    /// Its instance, to be dropped once what it sent has gone.
    pub(crate) used: Used,
    pub(crate) outbox: Box<Outbox>,
    pub(crate) result: Result<(), Fault>,
}

impl Done {
    fn new(mut ready: Ready, messages: usize, returned: Returned<()>) -> Self {
        let result = outcome(&ready.store, returned);
        let ended = ready.store.data_mut().end();
        let (outbox, answered) = ended.unwrap_or_else(|| (empty_outbox(), None));
        Self {
            used: Used::new(ready, answered, messages),
            outbox,
            result,
        }
    }

    /// Whether it was direct and the epoch ended it.
    pub(crate) fn interrupted(&self) -> bool {
        matches!(&self.result, Err(fault) if fault.kind == FaultKind::Deadline)
    }
}

/// What a call gave, or the fault that it ended with.
pub(crate) fn outcome<T>(store: &Store<Host>, returned: Returned<T>) -> Result<T, Fault> {
    match returned {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(reason)) => Err(Fault::new(FaultKind::Guest, reason)),
        Err(error) => Err(fault(&error, store.data().meter.denied)),
    }
}

/// In the place of one that was lost with its call.
pub(crate) fn empty_outbox() -> Box<Outbox> {
    Box::new(Outbox::new(OutboxBound {
        messages_max: 0,
        bytes_max: 0,
    }))
}

/// Calls a handler on this stack, for a slice at most. A contract that lays its batch out does so in `packed`.
pub(crate) fn direct(
    kind: &Kind,
    ready: Ready,
    batch: &Arc<Batch>,
    outbox: Box<Outbox>,
    packed: &mut Packed,
) -> Done {
    let Ready {
        mut store,
        instance,
    } = ready;
    store.data_mut().begin(Arc::clone(batch), outbox);
    store.set_epoch_deadline(kind.bounds.call);
    let messages = &batch.messages;
    let returned = match kind.loaded.exports {
        Exports::Batch(export) => batch::handle(&mut store, &instance, export, batch, packed),
        Exports::Handles(exports) => {
            messaging::handle::<Handles>(&mut store, &instance, exports, messages)
        }
        Exports::Resources(exports) => {
            messaging::handle::<Resources>(&mut store, &instance, exports, messages)
        }
        Exports::Incoming(export) => incoming::handle(&mut store, &instance, export, messages),
        Exports::Wasmcloud(export) => wasmcloud::handle(&mut store, &instance, export, messages),
    };
    Done::new(Ready { store, instance }, batch.len(), returned)
}

/// A call on a fiber: it owns its store and its batch.
pub(crate) type Running = Pin<Box<dyn Future<Output = Done> + Send>>;

/// Calls a handler on a fiber; the first poll begins it. The store is in yield mode, whichever way its instance was made.
pub(crate) fn on_fiber(
    kind: &Kind,
    ready: Ready,
    batch: Arc<Batch>,
    outbox: Box<Outbox>,
) -> Running {
    let Ready {
        mut store,
        instance,
    } = ready;
    let exports = kind.loaded.exports;
    store.data_mut().begin(Arc::clone(&batch), outbox);
    Box::pin(async move {
        let messages = &batch.messages;
        let returned = match exports {
            Exports::Batch(export) => {
                batch::handle_async(&mut store, &instance, export, &batch).await
            }
            Exports::Handles(exports) => {
                messaging::handle_async::<Handles>(&mut store, &instance, exports, messages).await
            }
            Exports::Resources(exports) => {
                messaging::handle_async::<Resources>(&mut store, &instance, exports, messages).await
            }
            Exports::Incoming(export) => {
                incoming::handle_async(&mut store, &instance, export, messages).await
            }
            Exports::Wasmcloud(export) => {
                wasmcloud::handle_async(&mut store, &instance, export, messages).await
            }
        };
        Done::new(Ready { store, instance }, batch.len(), returned)
    })
}
