//! The end of a turn: nothing is left undone, and nothing waits for nothing.

use std::time::Duration;

use crate::message::HandlerId;
use crate::seams::Next;
use crate::time::Instant;

use super::{Book, Delivery, Ledger, State};

/// After how long at most a shard asks for a slot again.
const SLOT_RETRY: Duration = Duration::from_millis(1);

impl Ledger {
    /// A turn begins.
    pub(crate) fn turn_begins(&mut self, now: Instant) {
        self.turn += 1;
        self.tally.turns += 1;
        self.note(now, "turn", [self.turn, 0, 0]);
    }

    /// A turn ended, in which everything that could be settled must have been.
    pub(crate) fn turn_ends(&mut self, waiting: usize, next: &Next, began: Instant) {
        for number in std::mem::take(&mut self.ended_well) {
            let record = &self.calls[number as usize];
            let (released, sends, updates) = (record.released, record.sends, record.updates);
            self.check(released == sends && !updates, || {
                format!("call {number} ended well: {released} of {sends} sends are released, an update is not: {updates}")
            });
        }
        self.check_shed_packs();
        let resolved = self.resolved;
        self.check(resolved == 0, || {
            format!("{resolved} messages of which all is known are not settled")
        });
        let queued: usize = self.books.iter().map(|book| book.queued).sum();
        self.check(waiting == queued, || {
            format!("{waiting} messages wait in the shard, not {queued}")
        });
        if let Next::Rest(Some(due)) = next {
            self.check(*due > began, || {
                "the shard rests until a time that is past".into()
            });
        }
    }

    /// The shard rests until `due`: whatever waits for a handler has a reason, and is looked at again when that ends.
    pub(crate) fn rests(
        &mut self,
        id: HandlerId,
        paused: Option<Instant>,
        due: Option<Instant>,
        now: Instant,
    ) {
        let (most, lingers) = (self.unconfirmed_max(id), self.lingers(id, now));
        let book = &self.books[id.index()];
        if book.queued == 0 {
            return;
        }
        let refused = book.refused_turn == self.turn;
        let held = self.ordered && !self.any_callable(id);
        let until = if held {
            self.tally.rests_held += 1;
            return;
        } else if book.full_turn == self.turn {
            self.tally.rests_full += 1;
            return;
        } else if book.unconfirmed >= most {
            self.tally.rests_unconfirmed += 1;
            self.confirmed_by(id)
        } else if refused {
            Some(now + SLOT_RETRY)
        } else if paused.is_some() {
            self.tally.rests_paused += 1;
            paused.max(lingers)
        } else {
            self.tally.rests_lingering += u64::from(lingers.is_some());
            lingers
        };
        let queued = self.books[id.index()].queued;
        let Some(until) = until else {
            return self.violate(|| {
                format!(
                    "the shard rests while {queued} messages wait for handler {} for no reason",
                    id.0
                )
            });
        };
        let in_time = due.is_some_and(|due| due <= until);
        self.check(in_time, || {
            let (due, until) = (due.map(|due| due - now), until - now);
            format!(
                "the shard rests for {due:?}; handler {} may be called after {until:?}",
                id.0
            )
        });
    }

    /// By when the first unconfirmed batch of a handler is given up.
    fn confirmed_by(&self, id: HandlerId) -> Option<Instant> {
        let calls = self
            .open_calls
            .iter()
            .map(|number| &self.calls[*number as usize]);
        calls
            .filter(|call| call.handler == id)
            .filter_map(|call| call.until)
            .min()
    }

    /// Until when at most all that waits may wait for others to come, if it may.
    fn lingers(&self, id: HandlerId, now: Instant) -> Option<Instant> {
        let Book {
            limits,
            queued,
            packed,
            ..
        } = &self.books[id.index()];
        // Packs are called apart from other messages, and either may fill a call.
        let most = packed.len().max(queued - packed.len());
        if limits.linger.is_zero()
            || *queued == 0
            || (!self.ordered && most >= limits.batch_messages_max)
        {
            return None;
        }
        let waiting = self
            .lines
            .iter()
            .flatten()
            .map(|id| &self.deliveries[*id as usize - 1]);
        let suspect =
            |d: &Delivery| d.handler == id && d.state == State::Queued && (d.alone || d.in_split);
        let any_suspect = !self.ordered && waiting.into_iter().any(suspect);
        (!any_suspect).then(|| now + limits.linger.min(limits.latency_budget))
    }

    /// Batches of a handler that may be unconfirmed while it is called.
    pub(crate) fn unconfirmed_max(&self, id: HandlerId) -> usize {
        match self.ordered {
            true => 1,
            false => self.books[id.index()].limits.unconfirmed_batches_max,
        }
    }

    /// Whether some message that waits has nothing unsettled of its subject before it.
    fn any_callable(&self, id: HandlerId) -> bool {
        let firsts = self.lines.iter().filter_map(|line| line.first());
        let firsts = firsts.map(|id| &self.deliveries[*id as usize - 1]);
        firsts
            .into_iter()
            .any(|first| first.handler == id && first.state == State::Queued)
    }
}
