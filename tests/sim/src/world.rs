//! The world of one run: its time, what is known of what happened in it, and the read buffers that are alive.
//!
//! Shared by the scripted guest, the scripted broker and the loop that drives the shard.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use crate::check::Ledger;
use crate::time::Instant;
use crate::wire::Read;

/// When virtual time starts: late enough for times before it.
pub(crate) const START: Instant = Instant::after_start(Duration::from_hours(1));

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
    /// Read buffers of which somebody still holds some, as last looked.
    pub(crate) reads: Vec<Read>,
    /// Buffers of packs that were taken as they are, of which somebody still holds some, and the ids of their messages.
    pub(crate) packs: Vec<(Read, Vec<u64>)>,
    /// Read buffers that came.
    pub(crate) buffers_read: u64,
    /// Their bytes.
    pub(crate) bytes_read: u64,
}

impl World {
    /// A world in which nothing has happened.
    pub(crate) fn new(ledger: Ledger, base: Instant) -> Shared {
        Rc::new(RefCell::new(Self {
            base,
            now: base,
            ledger,
            reads: Vec::new(),
            packs: Vec::new(),
            buffers_read: 0,
            bytes_read: 0,
        }))
    }

    /// Lets time pass.
    pub(crate) fn advance(&mut self, by: Duration) {
        self.now += by;
    }

    /// Sees to it that no pack's buffer is kept by what is none of that pack any more.
    pub(crate) fn check_packs(&mut self) {
        self.packs.retain(|(read, _)| read.is_alive());
        for (read, ids) in &self.packs {
            self.ledger.check_pack_kept(ids, read.bytes);
        }
    }

    /// Bytes of read buffers of which somebody still holds some.
    pub(crate) fn bytes_alive(&mut self) -> u64 {
        self.reads.retain(Read::is_alive);
        self.reads.iter().map(|read| read.bytes).sum()
    }
}
