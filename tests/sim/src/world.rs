//! The world of one run: its time, what is known of what happened in it, and the read buffers that are alive.
//!
//! Shared by the scripted guest, the scripted broker and the loop that drives the shard.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::check::Ledger;

/// The clock of this machine: where virtual time starts, and what long runs are ended by.
#[allow(
    clippy::disallowed_methods,
    reason = "virtual time has to start somewhere; nothing depends on where"
)]
pub(crate) fn real_now() -> Instant {
    Instant::now()
}

/// What guest, broker and driver share.
pub(crate) type Shared = Rc<RefCell<World>>;

/// One run's world.
pub(crate) struct World {
    /// When it began.
    pub(crate) base: Instant,
    /// Its time.
    pub(crate) now: Instant,
    /// What happened, checked as it happens.
    pub(crate) ledger: Ledger,
    /// Read buffers that somebody still holds.
    pub(crate) buffers: Arc<AtomicUsize>,
    /// Read buffers that came.
    pub(crate) buffers_read: u64,
}

impl World {
    /// A world in which nothing has happened.
    pub(crate) fn new(ledger: Ledger, base: Instant) -> Shared {
        Rc::new(RefCell::new(Self {
            base,
            now: base,
            ledger,
            buffers: Arc::default(),
            buffers_read: 0,
        }))
    }

    /// Lets time pass.
    pub(crate) fn advance(&mut self, by: Duration) {
        self.now += by;
    }

    /// Read buffers that somebody still holds.
    pub(crate) fn buffers_alive(&self) -> usize {
        self.buffers.load(Ordering::Relaxed)
    }
}
