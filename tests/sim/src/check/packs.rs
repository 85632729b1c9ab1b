//! Packs: admitted, called and settled as a whole, until their messages are treated apart.

use crate::batch::{Batch, Origin};
use crate::message::{HandlerId, Message};
use crate::outcome::Outcome;
use crate::pack::Pack;
use crate::time::Instant;
use crate::wire;

use super::{Ledger, State};

impl Ledger {
    /// A pack is handed to the shard. Whether it goes into calls as it is.
    pub(crate) fn pack_came(&mut self, id: HandlerId, pack: &Pack, now: Instant) -> bool {
        self.packs += 1;
        self.tally.packs += 1;
        self.note(now, "pack", [self.packs, pack.first_id, pack.len() as u64]);
        for message in pack.messages() {
            self.tally.messages += 1;
            self.admitted(&message, id, false, now);
        }
        if !self.books[id.index()].packs {
            self.tally.packs_opened += 1;
            return false;
        }
        for message in pack.messages() {
            self.delivery(message.id).pack = Some(self.packs);
            self.books[id.index()].packed.insert(message.id);
        }
        self.tally.packs_several += u64::from(pack.len() > 1);
        true
    }

    /// A call begins: of the packs that have waited longest, in order, or of messages that are in none.
    pub(crate) fn check_packed(&mut self, id: HandlerId, batch: &Batch, inputs: &[Message]) {
        let packed = !batch.packs.is_empty();
        let strange = inputs.iter().map(|m| m.id);
        let mut strange =
            strange.filter(|id| self.deliveries[*id as usize - 1].pack.is_some() != packed);
        if let Some(id) = strange.next() {
            return self
                .violate(|| format!("message {id} is called in a pack, or is not: {packed}"));
        }
        if !packed {
            return self.check_before_packs(id, batch, inputs);
        }
        let fresh = batch.messages.is_empty() && batch.origin == Origin::Fresh;
        self.check(fresh, || {
            "a call of packs has others in it, or is of a failed one".into()
        });
        let lies = batch.packs.iter().all(wire::lies_as_it_is);
        self.check(lies, || "a pack does not lie as its messages are".into());
        let first = self.books[id.index()].packed.iter().take(inputs.len());
        let oldest = first.eq(inputs.iter().map(|m| &m.id));
        self.check(oldest, || {
            "a call of packs that are not those which came first".into()
        });
        self.check_after_others(id, inputs);
        self.count_pack_call(id, batch, inputs);
    }

    /// Fresh messages are called that are older than the first pack.
    fn check_before_packs(&mut self, id: HandlerId, batch: &Batch, inputs: &[Message]) {
        let Some(pack) = self.books[id.index()].packed.first().copied() else {
            return;
        };
        self.tally.packs_passed += 1;
        let (packed, first) = (
            self.delivery(pack).arrived,
            self.delivery(inputs[0].id).arrived,
        );
        let before = batch.origin != Origin::Fresh || first < packed;
        self.check(before, || {
            "fresh messages are called before a pack that is no younger".into()
        });
    }

    /// Packs are called that are no younger than all other fresh messages.
    fn check_after_others(&mut self, id: HandlerId, inputs: &[Message]) {
        let packed = self.delivery(inputs[0].id).arrived;
        let fresh = self.deliveries.iter().filter(|d| {
            let waits = d.handler == id && d.state == State::Queued;
            waits && d.pack.is_none() && !d.alone && !d.in_split
        });
        let (mut others, mut older) = (0, 0);
        for delivery in fresh {
            others += 1;
            older += u64::from(delivery.arrived < packed);
        }
        self.check(others == 0 || older < others, || {
            format!("packs are called before {older} fresh messages, all of which are older")
        });
    }

    fn count_pack_call(&mut self, id: HandlerId, batch: &Batch, inputs: &[Message]) {
        let book = &self.books[id.index()];
        let beside = book.queued > book.packed.len();
        let mut ids = inputs.iter().map(|m| m.id);
        let last = ids
            .next_back()
            .and_then(|id| self.deliveries.get(id as usize - 1..=id as usize));
        let cut =
            last.is_some_and(|pair| pair[1].state == State::Queued && pair[0].pack == pair[1].pack);
        self.tally.pack_calls += 1;
        self.tally.packs_cut += u64::from(cut);
        self.tally.packs_joined += u64::from(batch.packs.len() > 1);
        self.tally.packs_beside += u64::from(beside);
    }

    /// A call failed: its messages are treated apart from now on.
    pub(crate) fn unpack(&mut self, ids: &[u64]) {
        let packed = |id: &u64| self.deliveries[*id as usize - 1].pack.is_some();
        self.tally.packs_failed += u64::from(ids.len() > 1 && ids.iter().any(packed));
        for id in ids {
            self.delivery(*id).pack = None;
        }
    }

    /// The shard settled a whole pack as handled.
    pub(crate) fn settled_pack(&mut self, id: HandlerId, pack: &Pack, now: Instant) {
        self.tally.packs_settled += 1;
        for message in pack.messages() {
            self.settled(id, &message, Outcome::Ack, now);
        }
    }

    /// The shard settled a message by itself.
    pub(crate) fn settled_apart(
        &mut self,
        id: HandlerId,
        message: &Message,
        outcome: Outcome,
        now: Instant,
    ) {
        self.check_apart(message, outcome);
        self.settled(id, message, outcome, now);
    }

    /// No call has handled the pack of a message that is settled by itself as a whole.
    fn check_apart(&mut self, message: &Message, outcome: Outcome) {
        let Some(delivery) = self.deliveries.get((message.id as usize).wrapping_sub(1)) else {
            return;
        };
        if let (Outcome::Shed(_), Some(pack)) = (outcome, delivery.pack) {
            self.tally.packed_shed += 1;
            return self.packs_shed.push(pack);
        }
        let call = delivery.last.map(|number| &self.calls[number as usize]);
        let whole = delivery.pack.is_some() && !call.is_some_and(|call| call.apart);
        self.tally.packed_apart += u64::from(delivery.pack.is_some());
        self.check(!whole, || {
            format!(
                "message {} is settled apart from its pack, as {outcome:?}",
                message.id
            )
        });
    }

    /// A turn ends: of a pack of which messages were shed nothing waits.
    pub(crate) fn check_shed_packs(&mut self) {
        for pack in std::mem::take(&mut self.packs_shed) {
            let waiting = self.books.iter().flat_map(|book| &book.packed);
            let left = waiting.filter(|id| self.deliveries[**id as usize - 1].pack == Some(pack));
            let left = left.count();
            self.check(left == 0, || {
                format!("{left} messages wait of a pack that was shed")
            });
        }
    }

    /// The buffer of a pack, of so many bytes, is kept: some of it must wait in it, or a suspended call have half of it.
    pub(crate) fn check_pack_kept(&mut self, ids: &[u64], bytes: u64) {
        let of = |id: &u64| &self.deliveries[*id as usize - 1];
        let size = |id: &u64| self.specs[of(id).serial as usize].bytes() as u64;
        let called = |call: u64| {
            ids.iter()
                .filter(move |id| of(id).state == State::Called(call))
        };
        let keeps = |id: &u64| match of(id).state {
            State::Queued => of(id).pack.is_some(),
            State::Called(call) => {
                of(id).pack.is_some() && 2 * called(call).map(size).sum::<u64>() >= bytes
            }
            _ => false,
        };
        let kept = ids.iter().any(keeps);
        self.check(kept, || {
            format!("the buffer of a pack is kept, whose messages {ids:?} are not in it any more")
        });
    }
}
