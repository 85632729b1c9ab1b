//! What was counted here, held against what the shard counted.

use crate::message::HandlerId;
use crate::metrics::{Counter, ShardMetrics};
use crate::outcome::FaultKind;

use super::Ledger;

const KINDS: usize = FaultKind::ALL.len();

/// What one handler did.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    pub(crate) received: u64,
    pub(crate) calls: u64,
    pub(crate) called_messages: u64,
    pub(crate) sent: u64,
    pub(crate) acked: u64,
    pub(crate) retried: u64,
    pub(crate) terminated: [u64; KINDS],
    pub(crate) faults: [u64; KINDS],
    pub(crate) shed: u64,
    pub(crate) overran: u64,
    pub(crate) splits: u64,
    pub(crate) dead_lettered: u64,
    pub(crate) unsent: u64,
}

impl Ledger {
    /// The shard's counters say what happened.
    pub(crate) fn check_counters(&mut self, metrics: &ShardMetrics) {
        for index in 0..self.books.len() {
            let (theirs, ours) = (
                metrics.handler(HandlerId(index as u32)),
                &self.books[index].counts,
            );
            let shed = theirs.shed.iter().map(Counter::get).sum();
            // Where order is kept, whether a failed batch may still be split is not foreseen.
            let splits = match self.ordered {
                true => theirs.splits.get().min(ours.splits),
                false => ours.splits,
            };
            let pairs = [
                ("received", theirs.received.get(), ours.received),
                ("calls", theirs.calls.get(), ours.calls),
                (
                    "called_messages",
                    theirs.called_messages.get(),
                    ours.called_messages,
                ),
                ("sent", theirs.sent.get(), ours.sent),
                ("acked", theirs.acked.get(), ours.acked),
                ("retried", theirs.retried.get(), ours.retried),
                ("shed", shed, ours.shed),
                ("overran", theirs.overran.get(), ours.overran),
                ("splits", theirs.splits.get(), splits),
                (
                    "dead_lettered",
                    theirs.dead_lettered.get(),
                    ours.dead_lettered,
                ),
                ("unsent", theirs.unsent.get(), ours.unsent),
            ];
            let wrong = pairs.into_iter().find(|(_, theirs, ours)| theirs != ours);
            let kinds = (0..KINDS).find(|kind| {
                let faults = theirs.faults[*kind].get() == ours.faults[*kind];
                !(faults && theirs.terminated[*kind].get() == ours.terminated[*kind])
            });
            self.check(wrong.is_none() && kinds.is_none(), || {
                format!("handler {index} counts (what, shard, true): {wrong:?}; kind of fault: {kinds:?}")
            });
        }
        let open = (self.open_calls.len() + self.open_letters.len()) as u64;
        let theirs = metrics.unconfirmed.get();
        self.check(theirs == open, || {
            format!("the shard counts {theirs} unconfirmed, not {open}")
        });
    }
}
