//! What the threads of a run say to each other: that it ends, what went wrong, and that there is room again.

use std::sync::atomic::{
    AtomicBool, AtomicU64,
    Ordering::{Relaxed, SeqCst},
};
use std::sync::{Arc, OnceLock};
use std::thread::Thread;
use std::time::Duration;

use parking_lot::Mutex;

use crate::clock;
use crate::core::series::{Live, NEVER_NS};

/// Most errors that are kept; the first is the one that is told.
const ERRORS_MAX: usize = 16;
/// How long a sender waits at most until it looks for room again.
const ROOM_LOOK: Duration = Duration::from_millis(5);

/// The state of one run.
#[derive(Debug)]
pub(crate) struct Control {
    /// When senders end, if they do before their time: nothing later is measured.
    live: Arc<Live>,
    /// Receivers end.
    over: AtomicBool,
    /// Connections that were lost.
    lost: AtomicU64,
    errors: Mutex<Vec<anyhow::Error>>,
}

impl Control {
    /// Of a run that is measured there.
    pub(crate) fn new(live: Arc<Live>) -> Self {
        Self {
            live,
            over: AtomicBool::new(false),
            lost: AtomicU64::new(0),
            errors: Mutex::default(),
        }
    }

    /// Ends the senders, at this time.
    pub(crate) fn stop(&self, now_ns: u64) {
        self.live.stop(now_ns);
    }

    /// Whether senders end.
    pub(crate) fn is_stopped(&self) -> bool {
        self.live.stopped_ns() != NEVER_NS
    }

    /// Ends the receivers.
    pub(crate) fn end(&self) {
        self.over.store(true, SeqCst);
    }

    /// Whether receivers end.
    pub(crate) fn is_over(&self) -> bool {
        self.over.load(Relaxed)
    }

    /// Ends the run with an error that came at this time.
    pub(crate) fn fail(&self, error: anyhow::Error, now_ns: u64) {
        let mut errors = self.errors.lock();
        if errors.len() < ERRORS_MAX {
            errors.push(error);
        }
        drop(errors);
        self.stop(now_ns);
    }

    /// Ends the run since a connection is gone.
    pub(crate) fn lose(&self, error: anyhow::Error, now_ns: u64) {
        self.lost.fetch_add(1, Relaxed);
        self.fail(error, now_ns);
    }

    /// Connections lost.
    pub(crate) fn connections_lost(&self) -> u64 {
        self.lost.load(Relaxed)
    }

    /// The first error.
    pub(crate) fn take_error(&self) -> Option<anyhow::Error> {
        let mut errors = self.errors.lock();
        (!errors.is_empty()).then(|| errors.swap_remove(0))
    }

    /// Whether there was one.
    pub(crate) fn has_failed(&self) -> bool {
        !self.errors.lock().is_empty()
    }
}

/// By which a receiver wakes a sender that waits for room.
#[derive(Debug, Default)]
pub(crate) struct Wake {
    thread: OnceLock<Thread>,
    waits: AtomicBool,
}

impl Wake {
    /// Says which thread is woken: this one.
    pub(crate) fn is_mine(&self) {
        self.thread.get_or_init(std::thread::current);
    }

    /// Waits for a moment while `full` holds, or until woken.
    pub(crate) fn wait_while(&self, full: impl Fn() -> bool) {
        self.waits.store(true, SeqCst);
        // Looked at again behind the mark: who makes room before does not see it.
        if full() {
            clock::rest(ROOM_LOOK);
        }
        self.waits.store(false, SeqCst);
    }

    /// Wakes it, if it waits.
    pub(crate) fn wake(&self) {
        if self.waits.load(SeqCst)
            && let Some(thread) = self.thread.get()
        {
            thread.unpark();
        }
    }
}
