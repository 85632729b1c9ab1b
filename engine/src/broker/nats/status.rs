//! What the rest of an engine sees of one shard's connection: whether it is ready, what went wrong, what was counted.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::Mutex;

use super::settings::ConnectionError;

/// Why a shard is not ready yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// It could not be connected; it goes on trying.
    Connection(ConnectionError),
    /// The server refused something that a handler needs, in these words.
    Refused(String),
}

impl Trouble {
    /// Whether trying again comes to the same end until somebody changes something.
    pub(crate) fn is_final(&self) -> bool {
        match self {
            Self::Connection(error) => error.fault.is_final(),
            Self::Refused(_) => true,
        }
    }
}

/// One shard's connection as others see it. Written by the shard alone.
#[derive(Debug, Default)]
pub(crate) struct Status {
    ready: AtomicBool,
    drained: AtomicBool,
    connected: AtomicBool,
    connects: AtomicU64,
    refusals: AtomicU64,
    trouble: Mutex<Option<Trouble>>,
}

impl Status {
    /// It has been ready: connected, and all it needs is subscribed.
    pub(crate) fn is_ready(&self) -> bool {
        self.ready.load(Ordering::Acquire)
    }

    pub(super) fn set_ready(&self) {
        self.ready.store(true, Ordering::Release);
    }

    /// Nothing more comes, and all that was to be said is said.
    pub(crate) fn is_drained(&self) -> bool {
        self.drained.load(Ordering::Acquire)
    }

    pub(super) fn set_drained(&self, drained: bool) {
        self.drained.store(drained, Ordering::Release);
    }

    /// Whether it is connected at present.
    pub(crate) fn is_connected(&self) -> bool {
        self.connected.load(Ordering::Relaxed)
    }

    pub(super) fn set_connected(&self, connected: bool) {
        self.connected.store(connected, Ordering::Release);
        self.connects
            .fetch_add(u64::from(connected), Ordering::Relaxed);
    }

    /// Times that it was connected.
    pub(crate) fn connects(&self) -> u64 {
        self.connects.load(Ordering::Relaxed)
    }

    /// Things that the server refused.
    pub(crate) fn refusals(&self) -> u64 {
        self.refusals.load(Ordering::Relaxed)
    }

    /// What went wrong last.
    pub(crate) fn trouble(&self) -> Option<Trouble> {
        self.trouble.lock().clone()
    }

    pub(super) fn set_trouble(&self, trouble: Trouble) {
        let refused = matches!(trouble, Trouble::Refused(_));
        self.refusals
            .fetch_add(u64::from(refused), Ordering::Relaxed);
        *self.trouble.lock() = Some(trouble);
    }
}
