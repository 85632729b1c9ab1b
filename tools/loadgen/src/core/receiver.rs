//! The receiver: what becomes of each message that comes, whatever it came by.

use std::sync::Arc;

use super::counts::Counts;
use super::ledger::{Ledger, Taken};
use super::order::Order;
use super::recorder::Recorder;
use super::stamp::{Found, Stamp};

/// What of a message is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Check {
    /// Its stamp: each must come back as it was sent.
    Stamp,
    /// Nothing: replies are told by their subjects, and may be anything.
    Nothing,
}

/// Settles messages of one or several connections.
#[derive(Debug)]
pub(crate) struct Receiver {
    run: u32,
    check: Check,
    /// One a connection; those of a receiver of replies begin at `first`.
    ledgers: Vec<Arc<Ledger>>,
    first: u16,
    /// Where the same messages are awaited as observed, beside their acknowledgements.
    observed: Option<Arc<Ledger>>,
    order: Order,
    recorder: Recorder,
    counts: Counts,
}

impl Receiver {
    /// Of the connections from `first` on, one a ledger, with messages on so many subjects.
    pub(crate) fn new(
        run: u32,
        check: Check,
        (first, ledgers): (u16, Vec<Arc<Ledger>>),
        subjects: usize,
        recorder: Recorder,
    ) -> Self {
        let order = Order::new(ledgers.len(), subjects);
        Self {
            run,
            check,
            ledgers,
            first,
            observed: None,
            order,
            recorder,
            counts: Counts::default(),
        }
    }

    /// Its messages are observed too, and awaited there.
    pub(crate) fn observed_in(mut self, ledger: Arc<Ledger>) -> Self {
        self.observed = Some(ledger);
        self
    }

    /// A message came whose stamp alone tells which it is.
    pub(crate) fn observe(&mut self, now_ns: u64, found: Found, bytes: usize) {
        self.counts.bytes += bytes as u64;
        match found {
            Found::Stamp(stamp, sound) if stamp.run == self.run => {
                let place = usize::from(stamp.connection).checked_sub(self.first.into());
                match place.filter(|place| *place < self.ledgers.len()) {
                    Some(place) => self.settle(now_ns, place, stamp.sequence, sound),
                    None => self.counts.strange += 1,
                }
            }
            Found::Broken => self.counts.corrupted += 1,
            Found::Stamp(..) | Found::None => self.counts.strange += 1,
        }
    }

    /// A reply came to the message with this sequence.
    pub(crate) fn reply(&mut self, now_ns: u64, sequence: u64, found: Found, bytes: usize) {
        self.counts.bytes += bytes as u64;
        let wanted = Stamp {
            run: self.run,
            connection: self.first,
            sequence,
        };
        let sound = self.check == Check::Nothing || found == Found::Stamp(wanted, true);
        self.settle(now_ns, 0, sequence, sound);
    }

    /// Word came that a stream has stored the message with this sequence.
    pub(crate) fn acknowledged(&mut self, now_ns: u64, sequence: u64) {
        self.settle(now_ns, 0, sequence, true);
    }

    /// Word came that the message with this sequence was not taken.
    pub(crate) fn refused(&mut self, sequence: u64) {
        if let Taken::First { .. } = self.ledgers[0].take(sequence) {
            self.counts.refused += 1;
            // What is not stored does not come: it is refused, and not lost as well.
            if let Some(ledger) = &self.observed {
                ledger.refuse(sequence);
            }
        }
    }

    /// A message came that is none of this run's.
    pub(crate) fn strange(&mut self) {
        self.counts.strange += 1;
    }

    /// Shows what came so far, where nothing comes at the moment.
    pub(crate) fn rest(&mut self) {
        self.recorder.share();
    }

    /// What came in all.
    pub(crate) fn end(self) -> (Counts, Recorder) {
        (self.counts, self.recorder)
    }

    fn settle(&mut self, now_ns: u64, place: usize, sequence: u64, sound: bool) {
        let taken = self.ledgers[place].take(sequence);
        if taken != Taken::Never {
            self.counts.corrupted += u64::from(!sound);
        }
        match taken {
            Taken::First { due_ns, subject } => {
                self.counts.received += 1;
                let after = self.order.is_after_a_later_one(place, subject, sequence);
                self.counts.reordered += u64::from(after);
                self.recorder.record(now_ns, due_ns);
            }
            Taken::Again => self.counts.duplicated += 1,
            Taken::Late => self.counts.late += 1,
            Taken::Never => self.counts.strange += 1,
        }
    }
}
