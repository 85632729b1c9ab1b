//! The scripted guest: what stands where components run.
//!
//! Each call has a plan (runs and waits, what it holds, how it ends), made of its messages' scripts. A direct call that would
//! run longer than its slice is abandoned; a call on a fiber gives the shard back after every slice. Time passes as it runs.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use crate::guest_plan::{self, Course, Memory, Step};
use crate::limits::HandlerLimits;
use crate::message::HandlerId;
use crate::outbox::{Outbox, OutboxBound};
use crate::outcome::{Fault, FaultKind};
use crate::rng::Rng;
use crate::scenario::{Machine, Plan, Profile, Scenario, Spec};
use crate::seams::{Call, Ended, Guest, Runnable, Started};
use crate::slice::Way;
use crate::time::Instant;
use crate::wire;
use crate::world::Shared;

/// Direct calls that lose their core for longer than a slice, in a thousand.
const STALLS: u32 = 10;
/// What readying an instance in an idle turn takes.
const READYING: Duration = Duration::from_micros(20);
/// How long no call may wait for its turn. Others' share of the shard is at most 50 of 51, and a round of a handler's suspended
/// calls takes it 8 slices of a millisecond: that is 0.4 s.
const STARVES: Duration = Duration::from_millis(500);

/// One handler's guest.
pub(crate) struct Role {
    pub(crate) profile: Profile,
    pub(crate) limits: HandlerLimits,
    /// Whether it was called before.
    pub(crate) warm: bool,
}

/// A call on a fiber.
struct Running {
    call: Call,
    number: u64,
    course: Course,
    began: Instant,
    /// Running time so far.
    ran: Duration,
    /// Running and waiting time so far.
    took: Duration,
    /// When it goes on.
    wake: Instant,
}

/// All guests of the shard.
pub(crate) struct ScriptedGuest {
    world: Shared,
    pub(crate) rng: Rng,
    pub(crate) roles: Vec<Role>,
    /// What each message makes of a call.
    pub(crate) specs: Rc<[Spec]>,
    /// Calls that each message was in and that met it: faults and abandons are counted down by it.
    pub(crate) met: Vec<u32>,
    pub(crate) machine: Machine,
    slice: Duration,
    ordered: bool,
    suspended: Vec<Running>,
    used: usize,
    ready: usize,
}

impl ScriptedGuest {
    /// The guests of a scenario.
    pub(crate) fn new(scenario: &Scenario, world: Shared) -> Self {
        let role = |plan: &Plan| Role {
            profile: plan.profile.clone(),
            limits: plan.setup.limits.clone(),
            warm: false,
        };
        Self {
            world,
            rng: Rng::new(scenario.seed, 2),
            roles: scenario.handlers.iter().map(role).collect(),
            specs: scenario.specs.clone(),
            met: vec![0; scenario.specs.len()],
            machine: scenario.machine.clone(),
            slice: scenario.rules.time_slice,
            ordered: scenario.rules.ordered,
            suspended: Vec::new(),
            used: 0,
            ready: 0,
        }
    }

    /// Calls that are suspended.
    pub(crate) fn suspended(&self) -> usize {
        self.suspended.len()
    }

    fn suspended_of(&self, id: HandlerId) -> usize {
        self.suspended
            .iter()
            .filter(|r| r.call.handler == id)
            .count()
    }

    /// Whether there is a slot, after used instances have gone.
    fn takes_slot(&mut self) -> bool {
        if self.suspended.len() + self.used >= self.machine.slots {
            self.used = 0;
        }
        self.suspended.len() < self.machine.slots && !self.rng.chance(self.machine.no_slot)
    }

    /// Makes a direct call: it ends, or overruns its slice.
    fn direct(&mut self, call: Call, number: u64, mut course: Course) -> Started<Memory> {
        let deadline = self.roles[call.handler.index()].limits.deadline;
        let runs = course.running_time();
        let mut world = self.world.borrow_mut();
        // Some that are short lose their core for longer than a slice.
        let stalls = self.rng.chance(STALLS);
        if (runs > self.slice || stalls) && self.slice <= deadline {
            // The epoch's tick comes some time after the slice's end.
            world.advance(self.slice + self.rng.up_to(self.slice / 4));
            let at = world.now;
            world.ledger.overran(number, at);
            return Started::Overran(call, at);
        }
        if runs > deadline {
            course.result = Err(FaultKind::Deadline);
        }
        world.advance(runs.min(deadline));
        drop(world);
        Started::Ended(self.end(call, number, course, runs.min(deadline)))
    }

    /// Goes on with a call on a fiber for a slice, or until it waits. Its end, if it came.
    fn tick(&mut self, mut running: Running) -> Option<Ended<Memory>> {
        let limits = &self.roles[running.call.handler.index()].limits;
        let (deadline, wall) = (limits.deadline, running.began + limits.wall_deadline);
        let mut world = self.world.borrow_mut();
        if let Some(Step::Run(left)) = running.course.steps.front_mut() {
            let run = (*left)
                .min(self.slice)
                .min(deadline.saturating_sub(running.ran));
            *left -= run;
            running.ran += run;
            running.took += run;
            world.advance(run);
            if left.is_zero() {
                running.course.steps.pop_front();
            }
        }
        running.wake = world.now;
        if let Some(Step::Wait(wait)) = running.course.steps.front() {
            running.wake += *wait;
            running.took += *wait;
            running.course.steps.pop_front();
        }
        let over = running.course.steps.is_empty() && running.wake <= world.now;
        let late = !over && (running.ran >= deadline || world.now >= wall);
        running.wake = running.wake.min(wall.max(world.now));
        drop(world);
        if late {
            running.course.result = Err(FaultKind::Deadline);
        }
        if over || late {
            return Some(self.end(running.call, running.number, running.course, running.took));
        }
        self.world
            .borrow_mut()
            .ledger
            .suspended(&running.call.batch);
        self.suspended.push(running);
        None
    }

    /// Ends a call.
    fn end(
        &mut self,
        mut call: Call,
        number: u64,
        course: Course,
        took: Duration,
    ) -> Ended<Memory> {
        let at = self.world.borrow().now;
        guest_plan::count_met(self, &wire::inputs(&call.batch), &course);
        let ledger = &mut self.world.borrow_mut().ledger;
        ledger.ended(number, &course, took, at);
        if course.result.is_err() && !course.overflowed && self.rng.chance(300) {
            // Lost with its call, as when the instance is gone.
            let bound = OutboxBound {
                messages_max: 0,
                bytes_max: 0,
            };
            call.outbox = Box::new(Outbox::new(bound));
        }
        let result = course
            .result
            .map_err(|kind| Fault::new(kind, "scripted\nfault"));
        Ended {
            handler: call.handler,
            batch: call.batch,
            outbox: call.outbox,
            used: course.memory,
            result,
            took,
            at,
        }
    }
}

impl Guest for ScriptedGuest {
    type Used = Memory;

    fn start(&mut self, mut call: Call, now: Instant) -> Started<Memory> {
        assert_eq!(
            self.world.borrow().now,
            now,
            "a call starts at the shard's time"
        );
        let id = call.handler;
        if !self.takes_slot() {
            self.world.borrow_mut().ledger.refused(&call);
            return Started::NoSlot(call);
        }
        let number = self.world.borrow_mut().ledger.began(&call, now);
        let course = guest_plan::course(self, &mut call, number);
        self.ready = self.ready.saturating_sub(1);
        let fiber = call.way == Way::Fiber || self.roles[id.index()].profile.waits;
        if !fiber {
            return self.direct(call, number, course);
        }
        if call.way == Way::Direct {
            // A component that waits goes on a fiber whatever the shard says: the guest sees to it that it keeps no read buffer.
            let batch = Arc::get_mut(&mut call.batch)
                .expect("nobody else holds the batch of a call that begins");
            batch.detach();
        }
        let running = Running {
            call,
            number,
            course,
            began: now,
            ran: Duration::ZERO,
            took: Duration::ZERO,
            wake: now,
        };
        match self.tick(running) {
            Some(ended) => Started::Ended(ended),
            None => Started::Suspended,
        }
    }

    fn runnable(&self, now: Instant, mark: &mut dyn FnMut(Runnable<'_>)) {
        let ready = self.suspended.iter().filter(|r| r.wake <= now);
        for running in ready {
            let starves = now.saturating_duration_since(running.wake) > STARVES;
            let ledger = &mut self.world.borrow_mut().ledger;
            ledger.check(!starves, || {
                format!(
                    "call {} could go on for {STARVES:?} and did not",
                    running.number
                )
            });
            mark(Runnable {
                handler: running.call.handler,
                batch: &running.call.batch,
                began: running.began,
            });
        }
    }

    fn put_used(&mut self, _: Memory) {
        self.used += 1;
    }

    fn resume(&mut self, handler: HandlerId, now: Instant) -> Option<Ended<Memory>> {
        let ready = self.suspended.iter().enumerate();
        let ready = ready.filter(|(_, r)| r.wake <= now && r.call.handler == handler);
        let (place, _) = ready.min_by_key(|(_, r)| (r.wake, r.number))?;
        let running = self.suspended.remove(place);
        self.tick(running)
    }

    fn may_start(&self, handler: HandlerId, way: Way) -> bool {
        let role = &self.roles[handler.index()];
        let fiber = way == Way::Fiber || role.profile.waits;
        let of_handler = self.suspended_of(handler);
        // In the order of a subject nothing overtakes a suspended call, whichever way it goes.
        let overtakes = self.ordered && of_handler > 0;
        let room = of_handler < role.limits.suspended_calls_max
            && self.suspended.len() < self.machine.suspended_max;
        let may = !overtakes && (!fiber || room);
        if !may {
            self.world.borrow_mut().ledger.full(handler);
        }
        may
    }

    fn tend(&mut self, idle: bool) -> bool {
        self.used = 0;
        let readies = idle
            && self.ready < self.machine.ready_max
            && self.suspended.len() < self.machine.slots;
        if readies {
            self.ready += 1;
            self.world.borrow_mut().advance(READYING);
        }
        readies
    }

    fn set_limits(&mut self, handler: HandlerId, limits: &HandlerLimits) {
        self.roles[handler.index()].limits = limits.clone();
    }

    fn due(&self) -> Option<Instant> {
        self.suspended.iter().map(|r| r.wake).min()
    }
}
