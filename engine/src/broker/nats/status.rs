//! What the rest of an engine sees of one shard's connection: whether it is ready, what went wrong, what was counted.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::Mutex;

use super::refusal::ServerRefusal;
use super::settings::{ConnectionError, ConnectionFault};
use crate::message::HandlerId;

/// Why a shard is not ready yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// It could not be connected; it goes on trying.
    Connection {
        /// Why not.
        error: ConnectionError,
        /// Whether every server that is known has refused it: none is left that may accept.
        all_refused: bool,
    },
    /// The server refused something that a handler needs, in these words.
    Refused(String),
}

impl Trouble {
    /// Whether trying again comes to the same end until somebody changes something.
    pub(crate) fn is_final(&self) -> bool {
        match self {
            Self::Connection { error, all_refused } => *all_refused && error.fault.is_final(),
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
    /// A row a handler that was refused something, in the order of the first time.
    refused: Mutex<Vec<Refused>>,
}

/// What a server refused one handler.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refused {
    handler: HandlerId,
    /// Times.
    pub(crate) count: u64,
    /// The server's words, the last time: at most 1,024 bytes, as [`ServerRefusal`] has them.
    pub(crate) latest: String,
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

    /// Things that the server refused, connections among them.
    pub(crate) fn refusals(&self) -> u64 {
        self.refusals.load(Ordering::Relaxed)
    }

    /// What went wrong last.
    pub(crate) fn trouble(&self) -> Option<Trouble> {
        self.trouble.lock().clone()
    }

    pub(super) fn set_trouble(&self, trouble: Trouble) {
        let refused = match &trouble {
            Trouble::Refused(_) => true,
            Trouble::Connection { error, .. } => matches!(error.fault, ConnectionFault::Refused(_)),
        };
        self.refusals
            .fetch_add(u64::from(refused), Ordering::Relaxed);
        *self.trouble.lock() = Some(trouble);
    }

    /// What this handler was refused, if it was anything.
    pub(crate) fn refused(&self, handler: HandlerId) -> Option<Refused> {
        let refused = self.refused.lock();
        refused.iter().find(|row| row.handler == handler).cloned()
    }

    pub(super) fn add_refused(&self, handler: HandlerId, refusal: &ServerRefusal) {
        let (mut refused, latest) = (self.refused.lock(), refusal.text.clone());
        match refused.iter_mut().find(|row| row.handler == handler) {
            Some(row) => (row.count, row.latest) = (row.count + 1, latest),
            None => refused.push(Refused {
                handler,
                count: 1,
                latest,
            }),
        }
    }
}
