//! The reference: what must become of every message, call, send and letter, checked as it happens.
//!
//! Written from what the engine promises, not from its code: it knows nothing of queues, and follows each delivery through the
//! states that it may be in. The first broken promise is kept; the run ends with it.

mod calls;
mod counts;
mod packs;
mod rest;
mod sends;
mod settled;

use std::collections::{BTreeSet, HashMap};
use std::rc::Rc;
use std::time::Duration;

use crate::confirm::SendId;
use crate::limits::HandlerLimits;
use crate::message::{HandlerId, Message};
use crate::outcome::FaultKind;
use crate::scenario::{Scenario, Spec};
use crate::tally::Tally;
use crate::time::Instant;
use crate::trace::Trace;
use crate::wire::serial;

use calls::CallRecord;
use counts::Counts;
use sends::Sendee;

/// What must come next for a message of which everything is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Expect {
    /// To be acked.
    Ack,
    /// Its own fault: another attempt is counted, then it is given back or given up on.
    Attempt(FaultKind),
    /// To be given back, and that is no attempt.
    Retry,
    /// The same since its sends were lost: later each time.
    Later,
    /// To be terminated: its letter is in its place.
    Term(FaultKind),
}

/// Where a delivery is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    /// Waits for a call.
    Queued,
    /// In this call, which has not ended.
    Called(u64),
    /// Its call ended well, and its sends are not all confirmed.
    Released(u64),
    /// To be settled before the turn ends.
    Resolved(Expect),
    /// Given up on, its letter on its way, or to be sent again.
    Lettered { kind: FaultKind, pending: bool },
    /// Given back: the broker has it.
    Outside,
    /// Settled for good.
    Done,
}

/// One delivery of a message: what has an id.
#[derive(Debug)]
pub(crate) struct Delivery {
    pub(crate) serial: u64,
    pub(crate) handler: HandlerId,
    pub(crate) state: State,
    /// Failed calls on it alone.
    pub(crate) attempts: u32,
    /// Times that its sends were lost.
    pub(crate) lost: u32,
    /// Whether it must be called alone.
    pub(crate) alone: bool,
    /// Whether it is in a part of a failed batch.
    pub(crate) in_split: bool,
    /// The pack that it is in, until it is treated apart.
    pub(crate) pack: Option<u64>,
    /// When it came first.
    pub(crate) arrived: Instant,
    /// Its last call since it came.
    pub(crate) last: Option<u64>,
    /// Its place among the lines.
    line: usize,
}

/// What splitting a handler's failed batches may still do.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SplitBook {
    pub(crate) budget: u32,
    pub(crate) left: u32,
    pub(crate) calls: u32,
    pub(crate) until: Instant,
}

/// What is known of a handler.
#[derive(Debug)]
pub(crate) struct Book {
    pub(crate) limits: HandlerLimits,
    pub(crate) name: String,
    pub(crate) component: String,
    pub(crate) dead_letter: Option<String>,
    pub(crate) droppable: bool,
    pub(crate) counts: Counts,
    /// Deliveries that wait.
    pub(crate) queued: usize,
    /// Whether packs go into its calls as they are.
    pub(crate) packs: bool,
    /// Deliveries that wait in packs.
    pub(crate) packed: BTreeSet<u64>,
    pub(crate) split: Option<SplitBook>,
    pub(crate) in_split: usize,
    /// The last turn in which the guest refused a call.
    pub(crate) refused_turn: u64,
    /// The last turn in which it had as many suspended calls as it may have.
    pub(crate) full_turn: u64,
    /// Releases that are not confirmed.
    pub(crate) unconfirmed: usize,
    /// Until when it stays on fibers.
    pub(crate) fiber_until: Option<Instant>,
    /// A bit a call, the latest lowest: 1 if it failed.
    pub(crate) history: u32,
    /// Until when it is paused, as long as its limits are what they were at first.
    pub(crate) paused_until: Option<Instant>,
    /// How long its last pause was.
    pub(crate) pause: Duration,
    pub(crate) changed: bool,
}

/// All that is known of one run.
pub(crate) struct Ledger {
    pub(crate) trace: Trace,
    pub(crate) tally: Tally,
    pub(crate) books: Vec<Book>,
    violation: Option<String>,
    base: Instant,
    ordered: bool,
    fiber_stay_first: Duration,
    slice: Duration,
    turn: u64,
    specs: Rc<[Spec]>,
    /// By id; ids are given from 1 on.
    deliveries: Vec<Delivery>,
    /// Deliveries of a message that are not over, by serial number.
    live: Vec<Vec<u64>>,
    calls: Vec<CallRecord>,
    sends: HashMap<SendId, Sendee>,
    /// Calls whose sends are not all confirmed.
    open_calls: Vec<u64>,
    /// Letters that are not confirmed: the delivery, and until when.
    open_letters: Vec<(u64, Instant)>,
    /// Calls that ended well in this turn.
    ended_well: Vec<u64>,
    /// Packs that came, and those of which messages were shed in this turn.
    packs: u64,
    packs_shed: Vec<u64>,
    resolved: usize,
    unsettled: usize,
    /// Unsettled deliveries of each handler and subject, where order is kept.
    lines: Vec<BTreeSet<u64>>,
    line_places: HashMap<String, usize>,
}

impl Ledger {
    /// For a scenario in which nothing has happened.
    pub(crate) fn new(scenario: &Scenario, base: Instant, prints: bool) -> Self {
        let book = |plan: &crate::scenario::Plan| Book {
            limits: plan.setup.limits.clone(),
            name: plan.setup.name.clone(),
            component: plan.setup.component.clone(),
            dead_letter: plan.setup.dead_letter.clone(),
            droppable: plan.setup.droppable,
            counts: Counts::default(),
            queued: 0,
            packs: plan.setup.packs,
            packed: BTreeSet::new(),
            split: None,
            in_split: 0,
            refused_turn: 0,
            full_turn: 0,
            unconfirmed: 0,
            fiber_until: None,
            history: 0,
            paused_until: None,
            pause: Duration::ZERO,
            changed: false,
        };
        Self {
            trace: Trace::new(prints),
            tally: Tally::default(),
            books: scenario.handlers.iter().map(book).collect(),
            violation: None,
            base,
            ordered: scenario.rules.ordered,
            fiber_stay_first: scenario.rules.fiber_stay_first,
            slice: scenario.rules.time_slice,
            turn: 0,
            specs: scenario.specs.clone(),
            deliveries: Vec::new(),
            live: vec![Vec::new(); scenario.specs.len()],
            calls: Vec::new(),
            sends: HashMap::new(),
            open_calls: Vec::new(),
            open_letters: Vec::new(),
            ended_well: Vec::new(),
            packs: 0,
            packs_shed: Vec::new(),
            resolved: 0,
            unsettled: 0,
            lines: Vec::new(),
            line_places: HashMap::new(),
        }
    }

    /// Notes a broken promise; the first one counts.
    pub(crate) fn violate(&mut self, why: impl FnOnce() -> String) {
        if self.violation.is_none() {
            self.violation = Some(why());
        }
    }

    /// Notes a broken promise unless it is kept.
    pub(crate) fn check(&mut self, kept: bool, why: impl FnOnce() -> String) {
        if !kept {
            self.violate(why);
        }
    }

    /// The first broken promise, once.
    pub(crate) fn take_violation(&mut self) -> Option<String> {
        self.violation.take()
    }

    /// Deliveries that came and are not settled for good.
    pub(crate) fn unsettled(&self) -> usize {
        self.unsettled
    }

    fn note(&mut self, now: Instant, what: &str, numbers: [u64; 3]) {
        self.trace.note(now - self.base, what, numbers);
    }

    fn delivery(&mut self, id: u64) -> &mut Delivery {
        &mut self.deliveries[id as usize - 1]
    }

    /// A message is handed to the shard: for the first time, or again under the same id.
    pub(crate) fn admitted(&mut self, message: &Message, id: HandlerId, again: bool, now: Instant) {
        let serial = serial(message).expect("the broker put it there");
        self.note(now, "admitted", [message.id, serial, u64::from(id.0)]);
        let line = self.line(serial);
        if message.id as usize > self.deliveries.len() {
            self.deliveries.push(Delivery {
                serial,
                handler: id,
                state: State::Outside,
                attempts: 0,
                alone: false,
                in_split: false,
                lost: 0,
                pack: None,
                arrived: now,
                last: None,
                line,
            });
            assert_eq!(
                message.id as usize,
                self.deliveries.len(),
                "the broker counts ids"
            );
            self.live[serial as usize].push(message.id);
            self.lines[line].insert(message.id);
            self.unsettled += 1;
        }
        self.books[id.index()].counts.received += u64::from(!again);
        let delivery = self.delivery(message.id);
        (delivery.attempts, delivery.alone) = (message.attempts, message.alone);
        // A fresh copy knows nothing of what became of another.
        delivery.lost = message.returns.into();
        delivery.arrived = message.arrived_or(now);
        (delivery.last, delivery.pack) = (None, None);
        let state = delivery.state;
        self.check(state == State::Outside, || {
            format!("message {serial} came while it was {state:?}")
        });
        self.set_state(message.id, State::Queued);
    }

    /// The broker forgets a delivery that it has: the message comes under another id.
    pub(crate) fn replaced(&mut self, id: u64) {
        self.set_state(id, State::Done);
    }

    fn line(&mut self, serial: u64) -> usize {
        // Subjects of one handler are no other's.
        let subject = &self.specs[serial as usize].subject;
        if let Some(place) = self.line_places.get(subject) {
            return *place;
        }
        let place = self.lines.len();
        self.line_places.insert(subject.clone(), place);
        self.lines.push(BTreeSet::new());
        place
    }

    /// Moves a delivery on, and keeps what is counted by state.
    fn set_state(&mut self, id: u64, to: State) {
        let delivery = self.delivery(id);
        let from = std::mem::replace(&mut delivery.state, to);
        let (serial, handler, line) = (delivery.serial, delivery.handler, delivery.line);
        let packed = delivery.pack.is_some();
        let stays = matches!(to, State::Queued | State::Called(_)) && delivery.in_split;
        let leaves = delivery.in_split && !stays;
        delivery.in_split = stays;
        let book = &mut self.books[handler.index()];
        book.queued += usize::from(to == State::Queued);
        book.queued -= usize::from(from == State::Queued);
        book.in_split -= usize::from(leaves);
        match packed && to == State::Queued {
            true => book.packed.insert(id),
            false => book.packed.remove(&id),
        };
        self.resolved += usize::from(matches!(to, State::Resolved(_)));
        self.resolved -= usize::from(matches!(from, State::Resolved(_)));
        if to == State::Done && from != State::Done {
            self.live[serial as usize].retain(|other| *other != id);
            self.lines[line].remove(&id);
            self.unsettled -= 1;
        }
    }

    /// The broker tells the shard other limits.
    pub(crate) fn limits_changed(&mut self, id: HandlerId, limits: &HandlerLimits, now: Instant) {
        self.note(now, "limits", [u64::from(id.0), 0, 0]);
        self.tally.limit_changes += 1;
        let book = &mut self.books[id.index()];
        book.limits = limits.clone();
        (book.changed, book.paused_until) = (true, None);
    }
}
