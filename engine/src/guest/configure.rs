//! Calling `configure`, at the start: in an instance of its own, on the thread that starts the engine.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use wasmtime::Engine;

use super::Kind;
use super::call::outcome;
use super::contract::messaging::{self, Handles, Resources};
use super::contract::{Exports, batch, incoming, wasmcloud};
use super::pond::{self, Ready};
use super::suspended::slice;
use super::wait::Wait;
use crate::clock;
use crate::outbox::GuestConfiguration;
use crate::outcome::{Fault, FaultKind};
use crate::port::Unpark;
use crate::time::Instant;

/// Wakes the thread that configures a handler.
struct Caller(std::thread::Thread);

impl Unpark for Caller {
    fn unpark(&self) {
        self.0.unpark();
    }
}

/// Calls `configure` and waits for its end, on this thread. It runs alone, so that its running time is wall time: the shorter
/// of its two deadlines ends it.
pub(crate) fn configure(engine: &Engine, kind: &Kind) -> Result<GuestConfiguration, Fault> {
    let ready = pond::make_one(engine, kind)?;
    let begun = clock::now();
    let wait = Wait::new(begun, Arc::new(Caller(std::thread::current())));
    let running = running(kind, ready, &wait);
    let limit = kind.limits().deadline.min(kind.limits().wall_deadline);
    until(begun + limit, &wait, running).unwrap_or_else(|| {
        Err(Fault::new(
            FaultKind::Deadline,
            format!("did not end within {limit:?}"),
        ))
    })
}

type Configuring = Pin<Box<dyn Future<Output = Result<GuestConfiguration, Fault>> + Send>>;

/// The call, on a fiber.
fn running(kind: &Kind, ready: Ready, wait: &Arc<Wait>) -> Configuring {
    let Ready {
        mut store,
        instance,
    } = ready;
    slice(&mut store, wait);
    let exports = kind.loaded.exports;
    Box::pin(async move {
        let returned = match exports {
            Exports::Batch(export) => batch::configure(&mut store, &instance, export),
            Exports::Handles(exports) => {
                messaging::configure::<Handles>(&mut store, &instance, exports).await
            }
            Exports::Resources(exports) => {
                messaging::configure::<Resources>(&mut store, &instance, exports).await
            }
            // These have none: what they take is their handler's to say. Their function is seen to be of the right type.
            Exports::Incoming(export) => {
                incoming::check(&mut store, &instance, export).map(|()| Ok(Default::default()))
            }
            Exports::Wasmcloud(export) => {
                wasmcloud::check(&mut store, &instance, export).map(|()| Ok(Default::default()))
            }
        };
        outcome(&store, returned)
    })
}

/// Polls it until it ends; `None` if it has not by `deadline`.
fn until(
    deadline: Instant,
    wait: &Arc<Wait>,
    mut running: Configuring,
) -> Option<Result<GuestConfiguration, Fault>> {
    let waker = Waker::from(Arc::clone(wait));
    loop {
        let now = clock::now();
        if now >= deadline {
            return None;
        }
        wait.begin(now);
        if let Poll::Ready(result) = running.as_mut().poll(&mut Context::from_waker(&waker)) {
            return Some(result);
        }
        let due = wait.due().map_or(deadline, |due| due.min(deadline));
        std::thread::park_timeout(due.saturating_duration_since(now));
    }
}
