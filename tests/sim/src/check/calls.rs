//! Calls: what goes into them, and what follows from how they end.

use std::time::Duration;

use crate::batch::{Batch, Origin};
use crate::guest_plan::Course;
use crate::message::{HandlerId, Message};
use crate::outbox::Mark;
use crate::outcome::FaultKind;
use crate::seams::Call;
use crate::slice::Way;
use crate::time::Instant;
use crate::wire::{inputs, serial};

use super::sends::Failure;
use super::{Expect, Ledger, SplitBook, State};

/// One call.
#[derive(Debug)]
pub(crate) struct CallRecord {
    pub(crate) handler: HandlerId,
    /// The ids of its messages.
    pub(crate) ids: Vec<u64>,
    pub(crate) origin: Origin,
    pub(crate) marks: Vec<Option<Mark>>,
    /// How it ended, if it has.
    pub(crate) result: Option<Result<(), FaultKind>>,
    pub(crate) overran: bool,
    /// Whether it is one that overran, made again.
    made_again: bool,
    /// Sends that must be released.
    pub(crate) sends: u32,
    /// Sends that were.
    pub(crate) released: u32,
    /// Sends that are to be confirmed.
    pub(crate) pending: u32,
    /// Whether it is known which message each of them is for.
    pub(crate) attributes: bool,
    /// Whether its messages must be treated apart: the guest said something of some, or not all sends were done at once.
    pub(crate) apart: bool,
    /// Why some of them failed, and for which message each was: in the order in which that was found out.
    pub(crate) failures: Vec<(u64, Failure)>,
    /// Whether its update must come.
    pub(crate) updates: bool,
    /// Which calls before it failed.
    pub(crate) history: u32,
    /// Until when confirmations are waited for.
    pub(crate) until: Option<Instant>,
}

impl Ledger {
    /// A handler has as many suspended calls as it may have: it goes on when one of them does.
    pub(crate) fn full(&mut self, id: HandlerId) {
        self.books[id.index()].full_turn = self.turn;
    }

    /// The guest refused a call, or said that it would.
    pub(crate) fn refused(&mut self, call: &Call) {
        self.tally.slots_refused += 1;
        self.tally.packs_refused += u64::from(!call.batch.packs.is_empty());
        self.books[call.handler.index()].refused_turn = self.turn;
    }

    /// A call begins: its number.
    pub(crate) fn began(&mut self, call: &Call, now: Instant) -> u64 {
        let (number, batch) = (self.calls.len() as u64, &call.batch);
        let messages = &inputs(batch)[..];
        self.note(
            now,
            "call",
            [number, u64::from(call.handler.0), messages.len() as u64],
        );
        self.check_size(call, messages);
        self.check_packed(call.handler, batch, messages);
        self.check_way(call, now);
        self.check_allowed(call.handler, now);
        self.count_call(call, messages);
        let made_again = self.restarts(messages);
        for (place, message) in messages.iter().enumerate() {
            let line = self.delivery(message.id).line as u64;
            self.note(now, "  with", [message.id, line, call.batch.origin as u64]);
            self.check_input(call, message);
            if self.ordered {
                self.check_order(messages, place);
            }
            let keeps = batch.origin == Origin::Split;
            self.leave_split_unless(keeps, message.id);
            self.set_state(message.id, State::Called(number));
            self.delivery(message.id).last = Some(number);
        }
        self.calls.push(CallRecord {
            handler: call.handler,
            made_again,
            ids: messages.iter().map(|m| m.id).collect(),
            origin: batch.origin,
            marks: Vec::new(),
            result: None,
            overran: false,
            sends: 0,
            released: 0,
            pending: 0,
            attributes: false,
            apart: false,
            failures: Vec::new(),
            updates: false,
            history: 0,
            until: None,
        });
        number
    }

    fn check_size(&mut self, call: &Call, messages: &[Message]) {
        let limits = &self.books[call.handler.index()].limits;
        let (most, most_bytes) = (limits.batch_messages_max, limits.batch_bytes_max);
        let (count, bytes) = (
            messages.len(),
            messages.iter().map(Message::bytes).sum::<usize>(),
        );
        self.check(count > 0, || "a call without messages".into());
        if call.batch.origin == Origin::Fresh {
            let fits = count == 1 || (count <= most && bytes <= most_bytes);
            self.check(fits, || {
                format!("a call of {count} messages, {bytes} bytes; {most}, {most_bytes} may be")
            });
        }
        let alone = call.batch.origin == Origin::Alone || messages.iter().any(|m| m.alone);
        self.check(!alone || count == 1, || {
            format!("{count} messages in a call of one that must be alone")
        });
    }

    fn check_way(&mut self, call: &Call, now: Instant) {
        let until = self.books[call.handler.index()].fiber_until;
        let bound = until.is_some_and(|until| now < until);
        self.check(!bound || call.way == Way::Fiber, || {
            "a direct call soon after an overrun".into()
        });
    }

    /// The handler is not paused, and does not have too many batches unconfirmed.
    fn check_allowed(&mut self, id: HandlerId, now: Instant) {
        let most = self.unconfirmed_max(id);
        let book = &self.books[id.index()];
        let (unconfirmed, paused) = (
            book.unconfirmed,
            book.paused_until.is_some_and(|until| now < until),
        );
        self.check(unconfirmed < most, || {
            format!("a call while {unconfirmed} batches are unconfirmed, {most} may be")
        });
        self.check(!paused, || {
            format!("a call of handler {}, which is paused", id.0)
        });
    }

    /// Nearly everything fails (30 calls of the last 32): a pause begins, unless one holds.
    fn note_history(&mut self, id: HandlerId, failed: bool, now: Instant) {
        let book = &mut self.books[id.index()];
        book.history = book.history << 1 | u32::from(failed);
        let holds = book.paused_until.is_some_and(|until| now < until);
        let (first, longest) = (book.limits.pause_first, book.limits.pause_max);
        if !failed || book.history.count_ones() < 30 || holds || book.changed || longest.is_zero() {
            return;
        }
        // It doubles, unless there was a calm as long as the last one.
        let calm = book
            .paused_until
            .is_none_or(|until| now >= until + book.pause);
        let length = if calm { first } else { book.pause * 2 };
        book.pause = length.min(longest);
        book.paused_until = Some(now + book.pause);
    }

    /// Counts a call that is made of a failed batch, and every other.
    fn count_call(&mut self, call: &Call, messages: &[Message]) {
        self.tally.calls += 1;
        let restarted = self.restarts(messages);
        let book = &mut self.books[call.handler.index()];
        book.counts.calls += 1;
        book.counts.called_messages += messages.len() as u64;
        if call.batch.origin != Origin::Split || restarted {
            return;
        }
        self.tally.split_calls += 1;
        if self.ordered {
            return;
        }
        let Some(split) = &mut book.split else {
            return self.violate(|| "a part of no failed batch is called".into());
        };
        split.calls += 1;
        let SplitBook { calls, budget, .. } = *split;
        self.check(calls <= budget, || {
            format!("{calls} calls of one split batch, {budget} may be")
        });
    }

    /// Whether a call is one that overran, made again.
    fn restarts(&self, messages: &[Message]) -> bool {
        let ids = messages.iter().map(|m| m.id);
        let last = messages
            .first()
            .and_then(|m| self.deliveries[m.id as usize - 1].last);
        let last = last.map(|number| &self.calls[number as usize]);
        last.is_some_and(|last| last.overran && last.ids.iter().copied().eq(ids))
    }

    fn check_input(&mut self, call: &Call, message: &Message) {
        let delivery = self.delivery(message.id);
        let (state, attempts, alone) = (delivery.state, delivery.attempts, delivery.alone);
        let (number, of) = (delivery.serial, delivery.handler);
        let spec = &self.specs[number as usize];
        let same = of == call.handler
            && Some(number) == serial(message)
            && (message.subject(), message.bytes()) == (&*spec.subject, spec.bytes());
        let id = message.id;
        self.check(same, || format!("message {id} is not what came"));
        self.check(state == State::Queued, || {
            format!("message {id} is called while it is {state:?}")
        });
        let counted = message.attempts;
        self.check(counted == attempts, || {
            format!("message {id} counts {counted} attempts, not {attempts}")
        });
        self.check(!alone || message.alone, || {
            format!("message {id} must be alone and is not")
        });
    }

    /// No message is called before all earlier ones of its subject are settled, or are before it in its call.
    fn check_order(&mut self, messages: &[Message], place: usize) {
        let id = messages[place].id;
        let line = self.delivery(id).line;
        let earlier = self.lines[line].range(..id);
        let overtaken = earlier
            .copied()
            .find(|other| !messages[..place].iter().any(|m| m.id == *other));
        if let Some(other) = overtaken {
            let state = self.delivery(other).state;
            self.violate(|| {
                format!("order: message {id} is called before {other}, which is {state:?}")
            });
        }
    }

    fn leave_split_unless(&mut self, keeps: bool, id: u64) {
        let delivery = self.delivery(id);
        if delivery.in_split && !keeps {
            delivery.in_split = false;
            let handler = delivery.handler;
            self.books[handler.index()].in_split -= 1;
        }
    }

    /// A direct call overran its slice: nothing of it counts, its messages wait again.
    pub(crate) fn overran(&mut self, number: u64, now: Instant) {
        self.note(now, "overran", [number, 0, 0]);
        self.tally.overruns += 1;
        let record = &mut self.calls[number as usize];
        record.overran = true;
        let (ids, handler) = (record.ids.clone(), record.handler);
        self.tally.packs_overran += u64::from(self.delivery(ids[0]).pack.is_some());
        let stay = now + self.fiber_stay_first;
        let book = &mut self.books[handler.index()];
        book.counts.overran += 1;
        book.fiber_until = Some(stay);
        ids.into_iter()
            .for_each(|id| self.set_state(id, State::Queued));
    }

    /// A call is suspended.
    pub(crate) fn suspended(&mut self, batch: &Batch) {
        self.tally.suspensions += 1;
        self.tally.packs_suspended += u64::from(!batch.packs.is_empty());
    }

    /// A call ends, which took so long. One that overran and is short after all has its handler called directly again.
    pub(crate) fn ended(&mut self, number: u64, course: &Course, took: Duration, now: Instant) {
        let record = &self.calls[number as usize];
        if record.made_again && took < self.slice / 2 {
            self.tally.overruns_forgotten += 1;
            self.books[record.handler.index()].fiber_until = None;
        }
        let verdict = course.verdict();
        self.note(
            now,
            "ended",
            [number, u64::from(verdict.is_ok()), u64::from(course.sends)],
        );
        let record = &mut self.calls[number as usize];
        record.result = Some(verdict);
        record.marks.clone_from(&course.marks);
        record.apart = course.marks.iter().any(Option::is_some);
        let handler = record.handler;
        record.history = self.books[handler.index()].history;
        self.note_history(handler, verdict.is_err(), now);
        match verdict {
            Ok(()) => self.ended_well(number, course, now),
            Err(kind) => self.failed(number, kind, now),
        }
    }

    /// A call failed: its message alone, or all of them together.
    fn failed(&mut self, number: u64, kind: FaultKind, now: Instant) {
        let record = &self.calls[number as usize];
        let (ids, handler, origin) = (record.ids.clone(), record.handler, record.origin);
        self.tally.faults += 1;
        self.books[handler.index()].counts.faults[kind as usize] += 1;
        self.unpack(&ids);
        match ids.as_slice() {
            [id] => self.set_state(*id, State::Resolved(Expect::Attempt(kind))),
            _ => self.failed_together(handler, &ids, origin, now),
        }
    }

    /// The broker refuses what a call that ended well would send, before any of it is released: the call failed after all.
    pub(crate) fn release_refused(&mut self, id: HandlerId, inputs: &[Message], now: Instant) {
        let Some(number) = self.ended_well.last().copied() else {
            return self.violate(|| "a release of no call that ended well".into());
        };
        self.note(now, "release refused", [number, 0, 0]);
        self.tally.releases_refused += 1;
        let record = &mut self.calls[number as usize];
        // What is in packs is no transport's to name.
        let packed = self.deliveries[record.ids[0] as usize - 1].pack.is_some();
        let ids = inputs.iter().map(|m| m.id);
        let same = record.handler == id
            && match packed {
                true => inputs.is_empty(),
                false => record.ids.iter().copied().eq(ids),
            };
        let (handler, sends, released) = (record.handler, record.sends, record.released);
        record.result = Some(Err(FaultKind::Refused));
        (record.sends, record.updates, record.until) = (0, false, None);
        let book = &mut self.books[handler.index()];
        book.counts.sent -= u64::from(sends);
        book.history = record.history;
        self.ended_well.retain(|other| *other != number);
        self.check(same && released == 0, || {
            format!("call {number} is released with other inputs, or again")
        });
        self.note_history(handler, true, now);
        self.failed(number, FaultKind::Refused, now);
    }

    fn ended_well(&mut self, number: u64, course: &Course, now: Instant) {
        self.ended_well.push(number);
        let record = &mut self.calls[number as usize];
        (record.sends, record.updates) = (course.sends, course.updates);
        record.attributes = course.attributes && course.sends > 0;
        let (ids, handler) = (record.ids.clone(), record.handler);
        let book = &mut self.books[handler.index()];
        record.until = Some(now + book.limits.confirm_wait_max);
        book.counts.sent += u64::from(course.sends);
        ids.into_iter()
            .for_each(|id| self.set_state(id, State::Released(number)));
        if course.sends == 0 {
            self.resolve(number, now);
        }
    }

    /// A batch of several failed: it must be split as long as that is within its bounds, and be called one by one after.
    fn failed_together(&mut self, handler: HandlerId, ids: &[u64], origin: Origin, now: Instant) {
        let book = &mut self.books[handler.index()];
        self.tally.splits += 1;
        if self.ordered {
            book.counts.splits += 1;
            // Parts mix with what waits behind others there: what follows is not foreseen.
            return ids.iter().for_each(|id| self.set_state(*id, State::Queued));
        }
        let limits = &book.limits;
        if origin != Origin::Split && book.in_split == 0 {
            let (budget, until) = (limits.split_calls_max, now + limits.split_time_max);
            book.split = Some(SplitBook {
                budget,
                left: budget,
                calls: 0,
                until,
            });
        }
        let split = book
            .split
            .as_mut()
            .expect("a part of a batch comes of splitting");
        let may = split.left >= 2 && now < split.until;
        if may {
            split.left -= 2;
            book.counts.splits += 1;
            for id in ids {
                self.set_state(*id, State::Queued);
                self.enter_split(*id);
            }
            return;
        }
        self.tally.split_ends += 1;
        ids.iter()
            .for_each(|id| self.leave_split_unless(false, *id));
        for id in ids {
            self.delivery(*id).alone = true;
            self.set_state(*id, State::Resolved(Expect::Retry));
        }
        self.end_split(handler);
    }

    /// All parts that wait are given back, each message to be called alone.
    fn end_split(&mut self, handler: HandlerId) {
        let parts = self.deliveries.iter().zip(1..);
        let parts =
            parts.filter(|(d, _)| d.handler == handler && d.in_split && d.state == State::Queued);
        let ids: Vec<u64> = parts.map(|(_, id)| id).collect();
        for id in ids {
            self.delivery(id).alone = true;
            self.set_state(id, State::Resolved(Expect::Retry));
        }
    }

    fn enter_split(&mut self, id: u64) {
        let delivery = self.delivery(id);
        if !std::mem::replace(&mut delivery.in_split, true) {
            let handler = delivery.handler;
            self.books[handler.index()].in_split += 1;
        }
    }
}
