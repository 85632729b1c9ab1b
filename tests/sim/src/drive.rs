//! One run: the shard's turns on virtual time, every promise checked after each.

use std::sync::Arc;
use std::time::Duration;

use crate::broker::ScriptedBroker;
use crate::check::Ledger;
use crate::guest::ScriptedGuest;
use crate::letter::Wall;
use crate::message::HandlerId;
use crate::metrics::ShardMetrics;
use crate::rng::Rng;
use crate::scenario::{Plan, Scenario};
use crate::seams::Next;
use crate::shard::Shard;
use crate::tally::Tally;
use crate::time::Instant;
use crate::world::{Shared, World};

/// Most turns at one instant. Most that is right: as many as there are ready instances to be made, and a few.
const TURNS_AT_ONCE_MAX: u32 = 1_000;
/// By when all is settled, from when the broker does no more harm on. Every message of the largest run, called alone as often
/// as it may be, with the longest pause before each call, takes less.
const SETTLED_WITHIN: Duration = Duration::from_secs(600);

type SimShard = Shard<ScriptedGuest, ScriptedBroker>;

/// What a run came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ran {
    pub(crate) tally: Tally,
    /// Of all that happened.
    pub(crate) hash: u64,
    /// How long it lasted, in its own time.
    pub(crate) lasted: Duration,
    /// Read buffers that came.
    pub(crate) buffers: u64,
    /// Most bytes of them that were alive after a turn.
    pub(crate) kept_most: u64,
    /// Most messages that waited after a turn.
    pub(crate) waiting_most: usize,
}

/// A run in progress.
struct Drive {
    world: Shared,
    shard: SimShard,
    rng: Rng,
    turn_cost: Duration,
    spurious: u32,
    horizon: Instant,
    turns_at_once: u32,
    kept_most: u64,
    waiting_most: usize,
    aged: Aged,
}

/// When what waits was aged: what came before the last time but one is to be copied out of its read buffers.
struct Aged {
    /// Bytes between two times.
    every: u64,
    /// Bytes that had come at the last time but one, and at the last.
    before: u64,
    last: u64,
}

impl Aged {
    /// A turn ends, so many bytes having come.
    fn turn_ends(&mut self, read: u64) {
        if read - self.last >= self.every {
            (self.before, self.last) = (self.last, read);
        }
    }
}

/// Runs a scenario to its end: what it came to, or the promise that was broken.
pub(crate) fn run(scenario: &Scenario, base: Instant, prints: bool) -> Result<Ran, String> {
    let mut drive = Drive::new(scenario, base, prints);
    while drive.turn()? {}
    drive.end()
}

impl Drive {
    fn new(scenario: &Scenario, base: Instant, prints: bool) -> Self {
        let world = World::new(Ledger::new(scenario, base, prints), base);
        let guest = ScriptedGuest::new(scenario, world.clone());
        let broker = ScriptedBroker::new(scenario, world.clone());
        let setups = scenario
            .handlers
            .iter()
            .map(|Plan { setup, .. }| setup.clone())
            .collect();
        let wall = Wall {
            at: base,
            unix: Duration::from_secs(1_700_000_000),
        };
        let metrics = Arc::new(ShardMetrics::new(scenario.handlers.len()));
        Self {
            world,
            shard: Shard::new(guest, broker, setups, scenario.rules, wall, metrics),
            rng: Rng::new(scenario.seed, 4),
            turn_cost: scenario.turn_cost,
            spurious: scenario.spurious,
            horizon: base + scenario.calm + SETTLED_WITHIN,
            turns_at_once: 0,
            kept_most: 0,
            waiting_most: 0,
            aged: Aged {
                every: scenario.rules.age_bytes,
                before: 0,
                last: 0,
            },
        }
    }

    /// One turn, and the time until the next. Whether there is one.
    fn turn(&mut self) -> Result<bool, String> {
        let began = self.now();
        self.world.borrow_mut().ledger.turn_begins(began);
        let next = self.shard.turn(began);
        self.check(&next, began)?;
        match next {
            Next::Again => self.world.borrow_mut().advance(self.turn_cost),
            Next::Rest(due) => {
                if self.is_over() {
                    return Ok(false);
                }
                self.rest(due)?;
            }
        }
        let now = self.now();
        self.turns_at_once = if now > began {
            0
        } else {
            self.turns_at_once + 1
        };
        if self.turns_at_once > TURNS_AT_ONCE_MAX {
            return Err(format!("{TURNS_AT_ONCE_MAX} turns at one instant"));
        }
        if now > self.horizon {
            let unsettled = self.world.borrow().ledger.unsettled();
            return Err(format!(
                "{unsettled} messages are not settled {SETTLED_WITHIN:?} after the last harm"
            ));
        }
        Ok(true)
    }

    fn now(&self) -> Instant {
        self.world.borrow().now
    }

    /// Lets time pass until the shard, or somebody outside, wants to go on.
    fn rest(&mut self, due: Option<Instant>) -> Result<(), String> {
        let now = self.now();
        let outside = self.shard.transport.outside(now);
        let Some(wake) = due.into_iter().chain(outside).min() else {
            let unsettled = self.world.borrow().ledger.unsettled();
            return Err(format!(
                "the shard rests for ever, with {unsettled} messages unsettled"
            ));
        };
        let quiet = outside.is_none_or(|at| at > now);
        if quiet == self.shard.stirred(now) {
            return Err("what has come does not stir the shard, or something else does".into());
        }
        let wake = wake.max(now);
        let early = self.rng.chance(self.spurious);
        let until = if early {
            now + self.rng.up_to(wake - now)
        } else {
            wake
        };
        self.world.borrow_mut().now = until;
        Ok(())
    }

    fn is_over(&self) -> bool {
        let settled = self.world.borrow().ledger.unsettled() == 0;
        settled && self.shard.transport.is_done() && self.shard.guest.suspended() == 0
    }

    /// Every promise, after a turn.
    fn check(&mut self, next: &Next, began: Instant) -> Result<(), String> {
        let waiting = self.shard.waiting();
        let mut world = self.world.borrow_mut();
        self.kept_most = self.kept_most.max(world.bytes_alive());
        world.check_packs();
        let now = world.now;
        self.waiting_most = self.waiting_most.max(waiting);
        self.aged.turn_ends(world.bytes_read);
        let oldest = world.reads.first().map(|read| read.before);
        let (kept, aged) = (oldest.unwrap_or(u64::MAX), self.aged.before);
        let ledger = &mut world.ledger;
        ledger.turn_ends(waiting, next, began);
        ledger.check(kept >= aged, || {
            format!("a read buffer is kept that came after {kept} bytes; all before {aged} are to be gone")
        });
        ledger.check_counters(&self.shard.metrics);
        if let Next::Rest(due) = next {
            for (index, handler) in self.shard.handlers.iter().enumerate() {
                let paused = handler.pausing.until(now);
                ledger.rests(HandlerId(index as u32), paused, *due, now);
            }
        }
        ledger.take_violation().map_or(Ok(()), Err)
    }

    /// Nothing is left when all is settled.
    fn end(self) -> Result<Ran, String> {
        let Self {
            world,
            shard,
            kept_most,
            waiting_most,
            ..
        } = self;
        let mut world = world.borrow_mut();
        let (now, base) = (world.now, world.base);
        let releases = shard.releases.len();
        let ledger = &mut world.ledger;
        let empty = shard.transport.is_empty();
        ledger.check(empty, || "permits are not returned".into());
        ledger.check(releases == 0, || {
            format!("{releases} releases are open at the end")
        });
        ledger.check(shard.letters.due().is_none(), || {
            "a letter waits at the end".into()
        });
        for handler in &shard.handlers {
            ledger.check(handler.unconfirmed == 0, || {
                "a batch counts as unconfirmed at the end".into()
            });
        }
        if let Some(violation) = ledger.take_violation() {
            return Err(violation);
        }
        let mut tally = ledger.tally;
        tally.seeds = 1;
        let pauses = (0..shard.handlers.len())
            .map(|index| shard.metrics.handler(HandlerId(index as u32)).pauses.get());
        tally.pauses = pauses.sum();
        Ok(Ran {
            tally,
            hash: ledger.trace.hash(),
            lasted: now - base,
            buffers: world.buffers_read,
            kept_most,
            waiting_most,
        })
    }
}
