//! The scripted broker: publishes, confirms, refuses, loses, repeats, and delivers again.

use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;

use crate::admission::{Bound, Load};
use crate::confirm::{Report, SendId, Sent};
use crate::limits::HandlerLimits;
use crate::message::{HandlerId, Message};
use crate::outbox::{GuestConfiguration, Sends};
use crate::outcome::Outcome;
use crate::pack::Pack;
use crate::packing::Published;
use crate::rng::Rng;
use crate::scenario::{Network, Scenario, Spec};
use crate::seams::{Arrival, Transport};
use crate::time::Instant;
use crate::wire::{self, Incoming};
use crate::world::Shared;

/// A message that comes back.
pub(crate) enum Back {
    /// As it was given back, as in process.
    Kept(Message, HandlerId),
    /// A fresh copy of the message with this serial number, instead of this delivery.
    Fresh(u64, u64),
}

/// The broker, and the network before it.
pub(crate) struct ScriptedBroker {
    pub(crate) world: Shared,
    pub(crate) rng: Rng,
    pub(crate) network: Network,
    pub(crate) ordered: bool,
    pub(crate) specs: Rc<[Spec]>,
    /// Published from this one on later.
    published: usize,
    /// Published and not admitted, a handler.
    pub(crate) backlog: Vec<VecDeque<u64>>,
    /// Packs that are to be published, and those that were and are not admitted yet, a handler.
    packs: Vec<Rc<[u64]>>,
    pub(crate) packed: Vec<VecDeque<Published>>,
    pub(crate) loads: Vec<Load>,
    pub(crate) bounds: Vec<Bound>,
    /// By time and by order of their making.
    pub(crate) back: BTreeMap<(Instant, u64), Back>,
    pub(crate) reports: BTreeMap<(Instant, u64), Report>,
    pub(crate) disconnects: VecDeque<(Instant, Instant)>,
    changes: VecDeque<(Instant, HandlerId, HandlerLimits)>,
    pub(crate) down_until: Instant,
    pub(crate) calm: Instant,
    /// What was acked lately.
    pub(crate) acked: Vec<u64>,
    next_id: u64,
    next_number: u64,
}

fn bound(limits: &HandlerLimits) -> Bound {
    Bound {
        messages_max: limits.in_flight_messages_max,
        bytes_max: limits.in_flight_bytes_max,
    }
}

impl ScriptedBroker {
    /// The broker of a scenario.
    pub(crate) fn new(scenario: &Scenario, world: Shared) -> Self {
        let base = world.borrow().base;
        let handlers = scenario.handlers.len();
        let disconnects = scenario.network.disconnects.iter();
        let changes = scenario.changes.iter().cloned();
        Self {
            world,
            rng: Rng::new(scenario.seed, 3),
            network: scenario.network.clone(),
            ordered: scenario.rules.ordered,
            specs: scenario.specs.clone(),
            published: 0,
            backlog: vec![VecDeque::new(); handlers],
            packs: scenario.packs.clone(),
            packed: vec![VecDeque::new(); handlers],
            loads: vec![Load::default(); handlers],
            bounds: scenario
                .handlers
                .iter()
                .map(|plan| bound(&plan.setup.limits))
                .collect(),
            back: BTreeMap::new(),
            reports: BTreeMap::new(),
            disconnects: disconnects
                .map(|(at, down)| (base + *at, base + *at + *down))
                .collect(),
            changes: changes
                .map(|(at, id, limits)| (base + at, id, limits))
                .collect(),
            down_until: base,
            calm: base + scenario.calm,
            acked: Vec::new(),
            next_id: 1,
            next_number: 0,
        }
    }

    /// When something next comes from outside that wakes the shard.
    pub(crate) fn outside(&self, now: Instant) -> Option<Instant> {
        let published = self
            .specs
            .get(self.published)
            .map(|spec| self.world.borrow().base + spec.at);
        let fits = |index| self.fits(index) || self.fitting_part(index) > 0;
        let room = (0..self.backlog.len()).any(fits);
        let due = [
            published.map(|at| at.max(self.down_until)),
            room.then(|| now.max(self.down_until)),
            self.reports.keys().next().map(|(at, _)| *at),
            self.disconnects.front().map(|(at, _)| *at),
            self.changes.front().map(|(at, ..)| *at),
            self.returns().filter(|_| self.network.returns_outside),
        ];
        due.into_iter().flatten().min()
    }

    /// Whether nothing more will come of what was published.
    pub(crate) fn is_done(&self) -> bool {
        let admitted = self.backlog.iter().all(VecDeque::is_empty)
            && self.packed.iter().all(VecDeque::is_empty);
        let published = self.published == self.specs.len();
        published
            && admitted
            && self.disconnects.is_empty()
            && self.changes.is_empty()
            && self.back.is_empty()
    }

    /// Whether nothing is counted as in flight.
    pub(crate) fn is_empty(&self) -> bool {
        self.loads.iter().all(|load| *load == Load::default())
    }

    fn returns(&self) -> Option<Instant> {
        self.back
            .keys()
            .next()
            .map(|(at, _)| (*at).max(self.down_until))
    }

    /// A number that nothing had before.
    pub(crate) fn number(&mut self) -> u64 {
        self.next_number += 1;
        self.next_number
    }

    pub(crate) fn id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id - 1
    }

    /// Whether the next message of a handler's backlog may be admitted.
    fn fits(&self, index: usize) -> bool {
        let Some(serial) = self.backlog[index].front() else {
            return false;
        };
        let load = self.load(*serial);
        Load::from_raw(self.loads[index].raw() + load.raw()).within(self.bounds[index])
    }

    /// What a message counts in flight.
    pub(crate) fn load(&self, serial: u64) -> Load {
        let spec = &self.specs[serial as usize];
        Load::one(spec.bytes())
    }

    fn publish(&mut self, now: Instant) {
        let base = self.world.borrow().base;
        while let Some(spec) = self
            .specs
            .get(self.published)
            .filter(|spec| base + spec.at <= now)
        {
            let (index, serial) = (spec.handler.index(), self.published as u64);
            match spec.pack.map(|pack| &self.packs[pack]) {
                None => self.backlog[index].push_back(serial),
                Some(pack) if pack[0] == serial => {
                    self.packed[index].push_back(Published::new(pack));
                }
                Some(_) => {}
            }
            self.published += 1;
        }
    }

    /// Messages whose time has come to come back.
    fn bring_back(
        &mut self,
        now: Instant,
        max: usize,
        arrivals: &mut Vec<Arrival>,
        fresh: &mut Vec<(u64, u64, bool)>,
    ) {
        while arrivals.len() + fresh.len() < max {
            let Some(entry) = self.back.first_entry().filter(|entry| entry.key().0 <= now) else {
                return;
            };
            match entry.remove() {
                Back::Kept(message, handler) => {
                    self.world
                        .borrow_mut()
                        .ledger
                        .admitted(&message, handler, true, now);
                    arrivals.push(Arrival {
                        handler,
                        message,
                        again: true,
                    });
                }
                Back::Fresh(serial, id) => {
                    let mut world = self.world.borrow_mut();
                    world.ledger.tally.fresh_copies += 1;
                    // Where order is kept, what is delivered again has the place in it that it had: the same id.
                    let id = match self.ordered {
                        true => id,
                        false => {
                            world.ledger.replaced(id);
                            drop(world);
                            self.id()
                        }
                    };
                    fresh.push((serial, id, true));
                }
            }
        }
    }

    /// Admits from the backlogs, in turn, as far as there is room.
    fn admit(&mut self, max: usize, fresh: &mut Vec<(u64, u64, bool)>) {
        while fresh.len() < max {
            let before = fresh.len();
            for index in 0..self.backlog.len() {
                if fresh.len() < max && self.fits(index) {
                    let serial = self.backlog[index].pop_front().expect("what fits is there");
                    let load = self.load(serial);
                    self.loads[index] = Load::from_raw(self.loads[index].raw() + load.raw());
                    let id = self.id();
                    fresh.push((serial, id, false));
                }
            }
            if fresh.len() == before {
                return;
            }
        }
    }

    /// Reads messages: all of one read from one buffer.
    fn read(&mut self, fresh: &[(u64, u64, bool)], now: Instant, arrivals: &mut Vec<Arrival>) {
        let reads_max = self.network.read_messages_max.max(1);
        for read in fresh.chunks(reads_max) {
            let incoming: Vec<_> = read
                .iter()
                .map(|(serial, id, _)| self.incoming(*serial, *id, now))
                .collect();
            let mut world = self.world.borrow_mut();
            world.buffers_read += 1;
            let (messages, read_buffer) = wire::read(&incoming, world.bytes_read);
            world.bytes_read += read_buffer.bytes;
            world.reads.push(read_buffer);
            for (message, (serial, _, again)) in messages.into_iter().zip(read) {
                let handler = self.specs[*serial as usize].handler;
                world.ledger.tally.messages += 1;
                world.ledger.admitted(&message, handler, *again, now);
                arrivals.push(Arrival {
                    handler,
                    message,
                    again: *again,
                });
            }
        }
    }

    pub(crate) fn incoming(&self, serial: u64, id: u64, now: Instant) -> Incoming {
        let spec = &self.specs[serial as usize];
        Incoming {
            id,
            serial,
            subject: spec.subject.clone(),
            payload_bytes: spec.payload_bytes,
            arrived: now,
        }
    }

    /// Takes room back.
    fn give_back(&mut self, handler: HandlerId, room: Load) {
        let load = &mut self.loads[handler.index()];
        let left = load.raw().checked_sub(room.raw());
        *load = Load::from_raw(left.expect("what is returned was taken"));
    }

    /// Takes a message back that is to come again.
    fn take_back(&mut self, handler: HandlerId, mut message: Message, due: Instant, now: Instant) {
        let number = self.number();
        let serial = wire::serial(&message).expect("the broker put it there");
        let fresh = now < self.calm && self.rng.chance(self.network.fresh);
        let back = match fresh {
            true => Back::Fresh(serial, message.id),
            false => {
                message.detach();
                Back::Kept(message, handler)
            }
        };
        self.back.insert((due, number), back);
    }
}

impl Transport for ScriptedBroker {
    fn receive(&mut self, now: Instant, max: usize, take: impl FnMut(Arrival)) {
        self.publish(now);
        self.lose_connection(now);
        if now < self.down_until {
            return;
        }
        let (mut arrivals, mut fresh) = (Vec::new(), Vec::new());
        self.bring_back(now, max, &mut arrivals, &mut fresh);
        let room = max - arrivals.len();
        self.admit(room, &mut fresh);
        self.read(&fresh, now, &mut arrivals);
        arrivals.into_iter().for_each(take);
    }

    fn receive_packs(&mut self, now: Instant, max: usize, mut take: impl FnMut(HandlerId, Pack)) {
        let (mut taken, mut index) = (0, 0);
        while taken < max && index < self.packed.len() && now >= self.down_until {
            match self.next_pack(index, now) {
                Some((handler, pack)) => {
                    taken += pack.len();
                    take(handler, pack);
                }
                None => index += 1,
            }
        }
    }

    fn changed(&mut self, apply: &mut dyn FnMut(HandlerId, &HandlerLimits)) {
        let now = self.world.borrow().now;
        while let Some((_, id, limits)) = self.changes.pop_front_if(|(at, ..)| *at <= now) {
            self.bounds[id.index()] = bound(&limits);
            self.world
                .borrow_mut()
                .ledger
                .limits_changed(id, &limits, now);
            apply(id, &limits);
        }
    }

    fn begin_release(
        &mut self,
        from: HandlerId,
        inputs: &[Message],
        _: u64,
        sends: Sends<'_>,
    ) -> Result<bool, String> {
        assert!(sends.len() > 0, "what sends nothing is not released");
        let now = self.world.borrow().now;
        if now >= self.calm || !self.rng.chance(self.network.releases_refused) {
            return Ok(false);
        }
        let ledger = &mut self.world.borrow_mut().ledger;
        ledger.release_refused(from, inputs, now);
        Err("too large".into())
    }

    fn send(&mut self, _: HandlerId, message: Message, id: SendId, now: Instant) -> Sent {
        let sent = self.answer(message.subject(), id, now);
        self.world
            .borrow_mut()
            .ledger
            .sent(&message, id, &sent, now);
        sent
    }

    fn send_letter(&mut self, _: HandlerId, message: Message, id: SendId, now: Instant) -> Sent {
        let sent = self.answer_letter(id, now);
        self.world
            .borrow_mut()
            .ledger
            .letter(&message, id, &sent, now);
        sent
    }

    fn report(&mut self, now: Instant) -> Option<Report> {
        let due = self
            .reports
            .first_entry()
            .filter(|entry| entry.key().0 <= now);
        let Some(entry) = due else {
            self.world.borrow_mut().ledger.overdue(now);
            return None;
        };
        let report = entry.remove();
        self.world.borrow_mut().ledger.reported(&report, now);
        Some(report)
    }

    fn update(&mut self, _: HandlerId, update: GuestConfiguration) {
        let mut world = self.world.borrow_mut();
        let now = world.now;
        world.ledger.updated(&update, now);
    }

    fn settle(&mut self, handler: HandlerId, message: Message, outcome: Outcome, now: Instant) {
        self.world
            .borrow_mut()
            .ledger
            .settled_apart(handler, &message, outcome, now);
        if let Outcome::Nak(delay) = outcome {
            return self.take_back(handler, message, now + delay, now);
        }
        let serial = wire::serial(&message).expect("the broker put it there");
        if outcome == Outcome::Ack {
            self.acked.push(serial);
        }
        self.give_back(handler, Load::one(message.bytes()));
    }

    fn settle_pack(&mut self, handler: HandlerId, pack: Pack, now: Instant) {
        self.world
            .borrow_mut()
            .ledger
            .settled_pack(handler, &pack, now);
        let serials = pack.messages().filter_map(|message| wire::serial(&message));
        self.acked.extend(serials);
        self.give_back(handler, Load::of(pack.len(), pack.bytes()));
    }

    fn flush(&mut self) {}

    fn shared_bytes(&self) -> u64 {
        self.world.borrow().bytes_read
    }

    fn is_quiet(&self) -> bool {
        let now = self.world.borrow().now;
        self.outside(now).is_none_or(|at| at > now)
    }

    fn due(&self) -> Option<Instant> {
        self.returns().filter(|_| !self.network.returns_outside)
    }
}
