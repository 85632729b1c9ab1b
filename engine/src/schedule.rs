//! Which handler of a shard goes next: the earliest due, held to weighted fairness.
//!
//! Each handler has used some of the shard's time, divided by its weight. One that has used more than one slice beyond the
//! least of those that want to go must let the others go first; among the rest the earliest due goes. A handler that comes back
//! from idleness starts where the last one that went stood, so that nobody saves up. That is start-time fair queueing (Goyal,
//! Vin, Cheng 1996) with earliest-due-first inside its window. Pure: handed the time.

use std::time::Duration;

use crate::message::HandlerId;
use crate::time::Instant;

/// Units of used time a nanosecond, so that division by a weight keeps precision.
const SCALE: u64 = 64;

/// A handler that wants to be called.
#[derive(Debug, Clone, Copy)]
struct Entry {
    id: HandlerId,
    /// When its oldest message is due.
    due: Instant,
    /// From when on it may be called.
    ready: Instant,
    /// Could not be called in this turn.
    passed: bool,
    /// Did not want to be called yet when it was last looked at.
    rested: bool,
}

/// A handler that has calls to go on with.
#[derive(Debug, Clone, Copy)]
struct Resumable {
    id: HandlerId,
    /// When the oldest message of them is due.
    due: Instant,
    /// Whether all of them have taken so long that they must not hold up new calls of their handler.
    stuck: bool,
}

/// What goes next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pick {
    /// A call of this handler that was suspended.
    Resume(HandlerId),
    /// A new call of this handler.
    Call(HandlerId),
}

/// The place of a handler that is not queued.
const NOT_QUEUED: u32 = u32::MAX;

/// The handlers of one shard.
#[derive(Debug)]
pub(crate) struct Schedule {
    entries: Vec<Entry>,
    /// Where a handler's entry is.
    places: Vec<u32>,
    /// Time of the shard that each has used, in units, divided by its weight.
    used: Vec<u64>,
    weights: Vec<u32>,
    /// What the last one that went had used before it went; never falls.
    level: u64,
    /// How far a handler may be ahead of the one that has used least, in units. One slice: what a single call may take anyway.
    ahead: u64,
    /// Handlers with suspended calls that want to go on, in this turn.
    resumable: Vec<Resumable>,
    /// Whether a handler went last with a new call.
    called: Vec<bool>,
    any_passed: bool,
}

impl Schedule {
    /// For handlers of these weights, each at least 1, and slices of this length.
    pub(crate) fn new(weights: Vec<u32>, slice: Duration) -> Self {
        assert!(weights.iter().all(|w| *w > 0), "a weight is at least 1");
        Self {
            entries: Vec::new(),
            places: vec![NOT_QUEUED; weights.len()],
            used: vec![0; weights.len()],
            called: vec![false; weights.len()],
            weights,
            level: 0,
            ahead: (slice.as_nanos() as u64).saturating_mul(SCALE),
            resumable: Vec::new(),
            any_passed: false,
        }
    }

    /// Changes a handler's weight.
    pub(crate) fn set_weight(&mut self, id: HandlerId, weight: u32) {
        assert!(weight > 0, "a weight is at least 1");
        self.weights[id.index()] = weight;
    }

    /// Queues a handler, or changes what is known of it: when its oldest message is due, from when on it may be called.
    pub(crate) fn queue(&mut self, id: HandlerId, due: Instant, ready: Instant) {
        let place = self.places[id.index()];
        if place != NOT_QUEUED {
            let entry = &mut self.entries[place as usize];
            (entry.due, entry.ready) = (due, ready);
            return;
        }
        self.wake(id);
        self.places[id.index()] = self.entries.len() as u32;
        self.entries.push(Entry {
            id,
            due,
            ready,
            passed: false,
            rested: false,
        });
    }

    /// Takes a handler out, if it is in.
    pub(crate) fn remove(&mut self, id: HandlerId) {
        let place = std::mem::replace(&mut self.places[id.index()], NOT_QUEUED);
        if place == NOT_QUEUED {
            return;
        }
        self.entries.swap_remove(place as usize);
        if let Some(moved) = self.entries.get(place as usize) {
            self.places[moved.id.index()] = place;
        }
    }

    /// Begins a turn: nobody has been passed over, and nobody has calls to go on with. Who could not go or did not want to, say
    /// for a pause, is as one that was idle.
    pub(crate) fn begin(&mut self, now: Instant) {
        self.resumable.clear();
        let any_passed = std::mem::take(&mut self.any_passed);
        if self.entries.len() < 2 && !any_passed {
            return;
        }
        let floor = self.level.saturating_sub(self.ahead);
        for entry in &mut self.entries {
            let rests = entry.ready > now;
            if entry.passed || (entry.rested && !rests) {
                let used = &mut self.used[entry.id.index()];
                *used = floor.max(*used);
            }
            (entry.passed, entry.rested) = (false, rests);
        }
    }

    /// Notes that a handler has a call to go on with in this turn: when its oldest message is due, and whether it has taken so long
    /// that it must not hold up new calls.
    pub(crate) fn resumable(&mut self, id: HandlerId, due: Instant, stuck: bool) {
        self.wake(id);
        match self.resumable.iter_mut().find(|r| r.id == id) {
            Some(r) => (r.due, r.stuck) = (due.min(r.due), stuck && r.stuck),
            None => self.resumable.push(Resumable { id, due, stuck }),
        }
    }

    /// Notes that a pick could not go: it is not picked again in this turn.
    pub(crate) fn pass(&mut self, pick: Pick) {
        match pick {
            Pick::Resume(id) => self.resumable.retain(|r| r.id != id),
            Pick::Call(id) => {
                let place = self.places[id.index()];
                if let Some(entry) = self.entries.get_mut(place as usize) {
                    entry.passed = true;
                    self.any_passed = true;
                }
            }
        }
    }

    /// What goes next at `now`, if anything may. A handler finishes what it has begun before it begins more, since two calls at once
    /// would only be slower each; but it takes turns with a call that is stuck, which would hold up all its messages.
    pub(crate) fn pick(&mut self, now: Instant) -> Option<Pick> {
        let ready = |e: &Entry| !e.passed && e.ready <= now;
        if let ([only], []) = (&*self.entries, &*self.resumable) {
            let only = ready(only).then_some(only.id);
            return only.map(|id| self.goes(Pick::Call(id)));
        }
        let resumable = |id: HandlerId| self.resumable.iter().find(|r| r.id == id);
        let called = |id: HandlerId| self.called[id.index()];
        let calls = || {
            let held_up = |e: &&Entry| resumable(e.id).is_some_and(|r| !r.stuck || called(e.id));
            let free = self.entries.iter().filter(|e| ready(e));
            let free = free.filter(move |e| !held_up(e));
            free.map(|e| (e.due, Pick::Call(e.id)))
        };
        let resumes = || {
            let yields = |r: &&Resumable| {
                let waits = self.entries.get(self.places[r.id.index()] as usize);
                r.stuck && !called(r.id) && waits.is_some_and(ready)
            };
            let free = self.resumable.iter().filter(move |r| !yields(r));
            free.map(|r| (r.due, Pick::Resume(r.id)))
        };
        let used = |pick: Pick| self.used[pick.handler().index()];
        let least = calls().chain(resumes()).map(|(_, pick)| used(pick)).min()?;
        let within = calls()
            .chain(resumes())
            .filter(|(_, pick)| used(*pick) <= least.saturating_add(self.ahead));
        let (_, pick) = within.min_by_key(|(due, pick)| (*due, used(*pick)))?;
        debug_assert!(used(pick) <= least.saturating_add(self.ahead));
        Some(self.goes(pick))
    }

    /// Notes what goes.
    fn goes(&mut self, pick: Pick) -> Pick {
        let index = pick.handler().index();
        self.level = self.level.max(self.used[index]);
        self.called[index] = matches!(pick, Pick::Call(_));
        pick
    }

    /// Charges a handler with time of the shard.
    pub(crate) fn charge(&mut self, id: HandlerId, ran: Duration) {
        let units = (ran.as_nanos() as u64).saturating_mul(SCALE);
        let used = &mut self.used[id.index()];
        *used = used.saturating_add(units / u64::from(self.weights[id.index()]));
    }

    /// Notes that a handler has something to do again: what it did not use while idle is gone.
    pub(crate) fn wake(&mut self, id: HandlerId) {
        let used = &mut self.used[id.index()];
        *used = (*used).max(self.level.saturating_sub(self.ahead));
    }

    /// Whether a queued handler may be called.
    pub(crate) fn is_ready(&self, now: Instant) -> bool {
        self.entries.iter().any(|entry| entry.ready <= now)
    }

    /// When the next queued handler may be called that may not yet.
    pub(crate) fn next_ready(&self, now: Instant) -> Option<Instant> {
        let later = self.entries.iter().map(|e| e.ready);
        later.filter(|ready| *ready > now).min()
    }
}

impl Pick {
    /// The handler that goes.
    pub(crate) fn handler(self) -> HandlerId {
        match self {
            Self::Resume(id) | Self::Call(id) => id,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MS: Duration = Duration::from_millis(1);
    const A: HandlerId = HandlerId(0);
    const B: HandlerId = HandlerId(1);

    #[test]
    fn the_earliest_due_goes_first_until_it_is_ahead_of_its_share() {
        let now = crate::testing::start();
        let mut s = Schedule::new(vec![1, 1], MS);
        s.queue(A, now + MS, now);
        s.queue(B, now + 50 * MS, now);
        let mut went = Vec::new();
        for _ in 0..6 {
            s.begin(now);
            let pick = s.pick(now).unwrap();
            went.push(pick.handler().0);
            s.charge(pick.handler(), MS);
        }
        assert_eq!(went, [0, 0, 1, 0, 1, 0], "A may be one millisecond ahead");
    }

    #[test]
    fn one_that_may_not_be_called_yet_holds_nobody_up() {
        let now = crate::testing::start();
        let mut s = Schedule::new(vec![1, 1], MS);
        s.queue(A, now, now + 5 * MS);
        s.queue(B, now + MS, now);
        s.charge(B, 100 * MS);
        assert_eq!(s.pick(now), Some(Pick::Call(B)));
        s.pass(Pick::Call(B));
        assert_eq!(s.pick(now), None);
        assert_eq!(s.next_ready(now), Some(now + 5 * MS));
        s.begin(now);
        assert_eq!(s.pick(now + 5 * MS), Some(Pick::Call(A)));
        s.remove(A);
        s.remove(A);
        assert_eq!(s.pick(now + 5 * MS), Some(Pick::Call(B)));
    }

    #[test]
    fn a_call_to_go_on_with_has_no_more_than_its_share() {
        let now = crate::testing::start();
        let mut s = Schedule::new(vec![1, 1], MS);
        s.queue(B, now + MS, now);
        let mut resumes = 0;
        for _ in 0..1_000 {
            s.begin(now);
            s.resumable(A, now, true);
            s.resumable(A, now + MS, true);
            let pick = s.pick(now).unwrap();
            resumes += u32::from(pick == Pick::Resume(A));
            s.charge(pick.handler(), MS);
        }
        assert!((499..=502).contains(&resumes), "{resumes}");
    }

    #[test]
    fn a_handler_finishes_what_it_has_begun_and_takes_turns_with_what_is_stuck() {
        let now = crate::testing::start();
        let went = |stuck| {
            let mut s = Schedule::new(vec![1], MS);
            s.queue(A, now, now);
            let picks = (0..4).map(|_| {
                s.begin(now);
                s.resumable(A, now - MS, stuck);
                s.pick(now).unwrap()
            });
            picks.collect::<Vec<_>>()
        };
        let (call, resume) = (Pick::Call(A), Pick::Resume(A));
        assert_eq!(went(false), [resume; 4]);
        assert_eq!(went(true), [call, resume, call, resume]);
    }

    #[test]
    fn who_was_idle_has_saved_nothing_up() {
        let now = crate::testing::start();
        let mut s = Schedule::new(vec![1, 1], MS);
        s.queue(A, now, now);
        for _ in 0..1_000 {
            s.pick(now).unwrap();
            s.charge(A, MS);
        }
        s.queue(B, now, now);
        let b = (0..100).filter(|_| {
            let pick = s.pick(now).unwrap().handler();
            s.charge(pick, MS);
            pick == B
        });
        let b = b.count();
        assert!((48..=52).contains(&b), "{b}");
    }

    #[test]
    fn who_was_paused_has_saved_nothing_up() {
        let start = crate::testing::start();
        let mut s = Schedule::new(vec![1, 1], MS);
        s.queue(A, start, start);
        s.queue(B, start, start + 1_000 * MS);
        let mut ran = [0, 0];
        for turn in 0..1_200 {
            let now = start + turn * MS;
            s.begin(now);
            let id = s.pick(now).unwrap().handler();
            s.charge(id, MS);
            ran[id.index()] += 1;
        }
        assert!((98..=102).contains(&ran[1]), "{ran:?}");
    }

    proptest! {
        /// Whoever always has something to do has its share by weight, but for one window and one call, whatever dues others name.
        #[test]
        fn nobody_within_its_share_loses_to_one_that_is_not(
            weights in prop::collection::vec(1u32..10, 2..6), turns in prop::collection::vec((0u64..50_000, 1u64..1_000), 200..600),
        ) {
            let now = crate::testing::start();
            let mut s = Schedule::new(weights.clone(), MS);
            let mut ran = vec![0u64; weights.len()];
            let ids = || (0..weights.len() as u32).map(HandlerId);
            for (step, (due, micros)) in turns.iter().enumerate() {
                for id in ids() {
                    let due = if step % weights.len() == id.index() { *due } else { 25_000 };
                    s.queue(id, now + Duration::from_micros(due), now);
                }
                let id = s.pick(now).unwrap().handler();
                s.charge(id, Duration::from_micros(*micros));
                ran[id.index()] += micros;
            }
            for (i, j) in ids().flat_map(|i| ids().map(move |j| (i.index(), j.index()))) {
                let share = |k: usize| ran[k] as f64 / f64::from(weights[k]);
                let bound = MS.as_micros() as f64 + 1_000.0;
                prop_assert!(share(i) - share(j) <= bound + 1.0, "{:?} of {:?}", ran, weights);
            }
        }
    }
}
