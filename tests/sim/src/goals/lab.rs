//! The lab: the production loop on one trace, with calls that cost what a function says. No faults of the broker: those are the
//! seeded scenarios'; here it is measured how well the shard decides.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::confirm::{Report, SendId, Sent};
use crate::handler::{Rules, Setup};
use crate::letter::Wall;
use crate::limits::HandlerLimits;
use crate::message::{Format, HandlerId, Layout, Message, Span};
use crate::metrics::ShardMetrics;
use crate::outbox::{GuestConfiguration, Outbox, OutboxBound};
use crate::outcome::{Fault, FaultKind, Outcome};
use crate::seams::{Arrival, Call, Ended, Guest, Next, Runnable, Started, Transport};
use crate::shard::Shard;
use crate::slice::Way;
use crate::time::Instant;
use crate::world::START;

use super::rows;

/// How long one turn of a sliced call lasts.
pub(crate) const SLICE: Duration = Duration::from_millis(1);

/// What becomes of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It succeeds after so many nanoseconds.
    Done(u64),
    /// It traps after so many.
    Trap(u64),
    /// It never ends.
    Endless,
}

/// What becomes of a call: by handler, the numbers of its messages in the trace, their bytes, the time, the call's number.
pub(crate) type Fates<'a> = &'a dyn Fn(usize, &[u64], usize, u64, u64) -> Fate;

/// What a run is given.
pub(crate) struct Plan<'a> {
    /// Limits a handler.
    pub(crate) limits: Vec<HandlerLimits>,
    /// Whether messages may be shed.
    pub(crate) droppable: bool,
    /// Whether what is given up on goes to dead letters.
    pub(crate) letters: bool,
    pub(crate) trace: &'a [rows::Arrival],
    pub(crate) fate: Fates<'a>,
    /// Whether the run may end once more than one message in a hundred of a handler is late.
    pub(crate) give_up: bool,
}

/// What became of one handler's messages.
#[derive(Debug, Default, Clone)]
pub(crate) struct Tally {
    /// Messages in the trace.
    pub(crate) messages: usize,
    /// From arrival to settlement, in nanoseconds, of what was acked.
    pub(crate) latencies: Vec<u64>,
    pub(crate) late: usize,
    pub(crate) shed: usize,
    /// Refused at publication: too much was in flight.
    pub(crate) refused: usize,
    pub(crate) termed: usize,
    pub(crate) letters: usize,
    pub(crate) calls: usize,
    /// Times that each message's send was released, by its number in the trace.
    pub(crate) sends: std::collections::BTreeMap<u64, usize>,
    /// Most bytes in flight.
    pub(crate) bytes_peak: usize,
    /// When the last call of more than one message began, in nanoseconds.
    pub(crate) shared_last_ns: u64,
}

impl Tally {
    /// The latency that this share did not exceed.
    pub(crate) fn quantile(&self, share: f64) -> u64 {
        let mut sorted = self.latencies.clone();
        sorted.sort_unstable();
        let place = ((sorted.len() as f64 * share).ceil() as usize).clamp(1, sorted.len().max(1));
        sorted.get(place - 1).copied().unwrap_or(0)
    }
}

/// What became of a run.
#[derive(Debug, Clone)]
pub(crate) struct Result {
    pub(crate) handlers: Vec<Tally>,
    /// When the last thing happened, in nanoseconds.
    pub(crate) end_ns: u64,
    pub(crate) gave_up: bool,
    /// Most messages that the shard held for a call.
    pub(crate) waiting_peak: usize,
    /// Times that it took messages in, and that it handed out what was done.
    pub(crate) received: usize,
    pub(crate) flushed: usize,
}

impl Result {
    /// Whether the 99th percentile of each handler is within its budget.
    pub(crate) fn meets(&self) -> bool {
        let within = |t: &Tally| t.late <= t.messages / 100;
        !self.gave_up && self.handlers.iter().all(within)
    }
}

struct World<'a> {
    base: Instant,
    now_ns: u64,
    plan: Plan<'a>,
    result: Result,
    budgets: Vec<u64>,
    in_flight: Vec<(usize, usize)>,
}

impl World<'_> {
    fn ns(&self, at: Instant) -> u64 {
        at.saturating_duration_since(self.base).as_nanos() as u64
    }

    fn at(&self, ns: u64) -> Instant {
        self.base + Duration::from_nanos(ns)
    }

    fn now(&self) -> Instant {
        self.at(self.now_ns)
    }

    fn pass(&mut self, ns: u64) -> Instant {
        self.now_ns += ns;
        self.at(self.now_ns)
    }
}

type Shared<'a> = Rc<RefCell<World<'a>>>;

/// A call that was sliced.
struct Suspended {
    call: Call,
    began: Instant,
    left: Fate,
    ran: u64,
}

struct LabGuest<'a> {
    world: Shared<'a>,
    suspended: VecDeque<Suspended>,
    deadlines: Vec<u64>,
    call: u64,
}

const SLICE_NS: u64 = SLICE.as_nanos() as u64;

impl LabGuest<'_> {
    fn fate(&mut self, call: &Call) -> Fate {
        let messages = &call.batch.messages;
        let numbers: Vec<u64> = messages.iter().map(|m| m.id).collect();
        let world = self.world.borrow();
        let fate = (world.plan.fate)(
            call.handler.index(),
            &numbers,
            call.batch.bytes,
            world.now_ns,
            self.call,
        );
        self.call += 1;
        fate
    }

    fn ended(
        &self,
        mut call: Call,
        ran_ns: u64,
        result: std::result::Result<(), Fault>,
    ) -> Ended<()> {
        let world = self.world.borrow();
        if result.is_ok() {
            for message in &call.batch.messages {
                let number = message.id.to_le_bytes();
                let held = call.outbox.draft("out").payload(&number, Format::Raw);
                held.expect("an outbox in the lab has room");
            }
        }
        Ended {
            handler: call.handler,
            batch: call.batch,
            outbox: call.outbox,
            used: (),
            result,
            took: Duration::from_nanos(ran_ns),
            at: world.at(world.now_ns),
        }
    }

    fn count(&self, call: &Call) {
        let world = &mut *self.world.borrow_mut();
        let tally = &mut world.result.handlers[call.handler.index()];
        tally.calls += 1;
        if call.batch.messages.len() > 1 {
            tally.shared_last_ns = world.now_ns;
        }
    }

    /// Runs a call on a fiber for one slice.
    fn slice(&mut self, mut s: Suspended) -> Option<Ended<()>> {
        let (need, fault) = match s.left {
            Fate::Done(ns) => (ns, None),
            Fate::Trap(ns) => (ns, Some(Fault::new(FaultKind::Trap, "as planned"))),
            Fate::Endless => (u64::MAX, None),
        };
        let deadline = self.deadlines[s.call.handler.index()];
        let ran = need.min(SLICE_NS);
        self.world.borrow_mut().pass(ran);
        s.ran += ran;
        if ran == need {
            return Some(self.ended(s.call, s.ran, fault.map_or(Ok(()), Err)));
        }
        if s.ran >= deadline {
            s.call.outbox = Box::new(Outbox::new(OutboxBound {
                messages_max: 0,
                bytes_max: 0,
            }));
            return Some(self.ended(
                s.call,
                s.ran,
                Err(Fault::new(FaultKind::Deadline, "it never ends")),
            ));
        }
        s.left = match s.left {
            Fate::Done(ns) => Fate::Done(ns - ran),
            Fate::Trap(ns) => Fate::Trap(ns - ran),
            Fate::Endless => Fate::Endless,
        };
        self.suspended.push_back(s);
        None
    }
}

impl Guest for LabGuest<'_> {
    type Used = ();

    fn start(&mut self, call: Call, now: Instant) -> Started<()> {
        let left = self.fate(&call);
        self.count(&call);
        let (need, fault) = match left {
            Fate::Done(ns) => (ns, None),
            Fate::Trap(ns) => (ns, Some(Fault::new(FaultKind::Trap, "as planned"))),
            Fate::Endless => (u64::MAX, None),
        };
        if call.way == Way::Fiber {
            return match self.slice(Suspended {
                call,
                began: now,
                left,
                ran: 0,
            }) {
                Some(ended) => Started::Ended(ended),
                None => Started::Suspended,
            };
        }
        // As in production a slice is counted in ticks: it lasts one to two of them.
        if need > 2 * SLICE_NS {
            let at = self.world.borrow_mut().pass(2 * SLICE_NS);
            // Made again, the same call costs the same.
            self.call -= 1;
            return Started::Overran(call, at);
        }
        self.world.borrow_mut().pass(need);
        Started::Ended(self.ended(call, need, fault.map_or(Ok(()), Err)))
    }

    fn runnable(&self, _: Instant, mark: &mut dyn FnMut(Runnable<'_>)) {
        for s in &self.suspended {
            mark(Runnable {
                handler: s.call.handler,
                batch: &s.call.batch,
                began: s.began,
            });
        }
    }

    fn put_used(&mut self, _: ()) {}

    fn resume(&mut self, handler: HandlerId, _: Instant) -> Option<Ended<()>> {
        let place = self
            .suspended
            .iter()
            .position(|s| s.call.handler == handler)?;
        let suspended = self.suspended.remove(place)?;
        self.slice(suspended)
    }

    fn may_start(&self, _: HandlerId, way: Way) -> bool {
        way == Way::Direct || self.suspended.len() < 32
    }

    fn tend(&mut self, _: bool) -> bool {
        false
    }

    fn set_limits(&mut self, _: HandlerId, _: &HandlerLimits) {}

    fn due(&self) -> Option<Instant> {
        let world = self.world.borrow();
        (!self.suspended.is_empty()).then(|| world.at(world.now_ns))
    }
}

struct LabTransport<'a> {
    world: Shared<'a>,
    next: usize,
    payload: Bytes,
    delayed: Vec<(Instant, HandlerId, Message)>,
}

impl LabTransport<'_> {
    /// A message of so many bytes, its subject included, in a buffer of its own as far as anyone can tell.
    fn message(&self, number: u64, arrived: Instant, bytes: usize) -> Message {
        let frame = self.payload.slice(..bytes.clamp(1, self.payload.len()));
        let layout = Layout {
            subject: Span::since(0, 1),
            headers: Span::since(1, 1),
            payload: Span::since(1, frame.len()),
            ..Layout::default()
        };
        let mut message = Message::from_frame(frame, layout);
        (message.id, message.arrived) = (number, Some(arrived));
        message
    }
}

impl Transport for LabTransport<'_> {
    fn receive(&mut self, now: Instant, max: usize, mut take: impl FnMut(Arrival)) {
        let mut taken = 0;
        let mut place = 0;
        while place < self.delayed.len() {
            if self.delayed[place].0 > now {
                place += 1;
                continue;
            }
            let (_, handler, message) = self.delayed.swap_remove(place);
            taken += 1;
            take(Arrival {
                handler,
                message,
                again: true,
            });
        }
        let world = &mut *self.world.borrow_mut();
        world.result.received += 1;
        while taken < max {
            let Some(a) = world
                .plan
                .trace
                .get(self.next)
                .filter(|a| a.at_ns <= world.now_ns)
            else {
                break;
            };
            let number = self.next as u64;
            self.next += 1;
            let (limits, (messages, bytes)) = (
                &world.plan.limits[a.handler],
                &mut world.in_flight[a.handler],
            );
            if *messages >= limits.in_flight_messages_max as usize
                || *bytes + a.bytes > limits.in_flight_bytes_max as usize
            {
                world.result.handlers[a.handler].refused += 1;
                continue;
            }
            let arrived = world.base + Duration::from_nanos(a.at_ns);
            let message = self.message(number, arrived, a.bytes);
            *messages += 1;
            *bytes += message.bytes();
            let peak = &mut world.result.handlers[a.handler].bytes_peak;
            *peak = (*peak).max(*bytes);
            taken += 1;
            take(Arrival {
                handler: HandlerId(a.handler as u32),
                message,
                again: false,
            });
        }
    }

    fn changed(&mut self, _: &mut dyn FnMut(HandlerId, &HandlerLimits)) {}

    fn send(&mut self, _: HandlerId, message: Message, _: SendId, _: Instant) -> Sent {
        let number = u64::from_le_bytes(
            message
                .payload()
                .try_into()
                .expect("a send names its message"),
        );
        let world = &mut *self.world.borrow_mut();
        let handler = world.plan.trace[number as usize].handler;
        if !world.plan.give_up {
            *world.result.handlers[handler]
                .sends
                .entry(number)
                .or_default() += 1;
        }
        Sent::Done
    }

    fn send_letter(&mut self, _: HandlerId, _: Message, _: SendId, _: Instant) -> Sent {
        self.world.borrow_mut().result.handlers[0].letters += 1;
        Sent::Done
    }

    fn report(&mut self, _: Instant) -> Option<Report> {
        None
    }

    fn update(&mut self, _: HandlerId, _: GuestConfiguration) {}

    fn settle(&mut self, handler: HandlerId, message: Message, outcome: Outcome, at: Instant) {
        let world = &mut *self.world.borrow_mut();
        let index = handler.index();
        let took = world.ns(at) - world.ns(message.arrived_or(at));
        let tally = &mut world.result.handlers[index];
        match outcome {
            Outcome::Nak(delay) => return self.delayed.push((at + delay, handler, message)),
            Outcome::Ack => {
                tally.latencies.push(took);
                tally.late += usize::from(took > world.budgets[index]);
                world.result.gave_up |= world.plan.give_up && tally.late > tally.messages / 100;
            }
            Outcome::Term(_) => tally.termed += 1,
            Outcome::Shed(_) => tally.shed += 1,
        }
        let (messages, bytes) = &mut world.in_flight[index];
        *messages -= 1;
        *bytes -= message.bytes();
    }

    fn flush(&mut self) {
        self.world.borrow_mut().result.flushed += 1;
    }

    fn shared_bytes(&self) -> u64 {
        0
    }

    fn is_quiet(&self) -> bool {
        let world = self.world.borrow();
        world
            .plan
            .trace
            .get(self.next)
            .is_none_or(|a| a.at_ns > world.now_ns)
    }

    fn due(&self) -> Option<Instant> {
        let world = self.world.borrow();
        let next = world.plan.trace.get(self.next).map(|a| world.at(a.at_ns));
        self.delayed.iter().map(|(due, ..)| *due).chain(next).min()
    }
}

/// The world of a plan, at its beginning.
fn world(plan: Plan<'_>) -> Shared<'_> {
    let count = plan.limits.len();
    let mut handlers = vec![Tally::default(); count];
    let messages = plan.trace.iter();
    messages.for_each(|a| handlers[a.handler].messages += 1);
    let budgets = plan.limits.iter().map(|l| nanos(l.latency_budget));
    Rc::new(RefCell::new(World {
        base: START,
        now_ns: 0,
        result: Result {
            handlers,
            end_ns: 0,
            gave_up: false,
            waiting_peak: 0,
            received: 0,
            flushed: 0,
        },
        budgets: budgets.collect(),
        in_flight: vec![(0, 0); count],
        plan,
    }))
}

fn nanos(time: Duration) -> u64 {
    time.as_nanos() as u64
}

/// A shard in this world.
fn shard<'a>(shared: &Shared<'a>) -> Shard<LabGuest<'a>, LabTransport<'a>> {
    let world = shared.borrow();
    let plan = &world.plan;
    let setup = |(limits, index): (&HandlerLimits, usize)| Setup {
        name: format!("h{index}"),
        component: String::new(),
        limits: limits.clone(),
        budget_of_owner: limits.latency_budget,
        dead_letter: plan.letters.then(|| "dead".into()),
        droppable: plan.droppable,
        packs: false,
    };
    let guest = LabGuest {
        world: Rc::clone(shared),
        suspended: VecDeque::new(),
        deadlines: plan.limits.iter().map(|l| nanos(l.deadline)).collect(),
        call: 0,
    };
    let transport = LabTransport {
        world: Rc::clone(shared),
        next: 0,
        payload: Bytes::from(vec![b's'; 1 << 20]),
        delayed: Vec::new(),
    };
    let rules = Rules {
        ordered: false,
        time_slice: SLICE,
        fiber_stay_first: SLICE * 100,
        fiber_stay_max: SLICE * 60_000,
        seed: 1,
        age_bytes: 0,
    };
    let wall = Wall {
        at: world.base,
        unix: Duration::ZERO,
    };
    let setups = plan.limits.iter().zip(0..).map(setup).collect();
    let metrics = Arc::new(ShardMetrics::new(plan.limits.len()));
    Shard::new(guest, transport, setups, rules, wall, metrics)
}

/// Runs the production loop on a plan until all is settled.
pub(crate) fn run(plan: Plan<'_>) -> Result {
    let shared = world(plan);
    let mut shard = shard(&shared);
    loop {
        let now = shared.borrow().now();
        let next = shard.turn(now);
        let world = &mut *shared.borrow_mut();
        let waiting = &mut world.result.waiting_peak;
        *waiting = shard.waiting().max(*waiting);
        if world.result.gave_up {
            break;
        }
        match next {
            Next::Again => {}
            Next::Rest(Some(due)) => world.now_ns = world.ns(due).max(world.now_ns),
            Next::Rest(None) => break,
        }
    }
    drop(shard);
    let world = Rc::into_inner(shared).map(RefCell::into_inner);
    let mut world = world.expect("the shard was the only other that held it");
    world.result.end_ns = world.now_ns;
    world.result
}
