//! The ledger: what one connection has sent and is under way.
//!
//! A ring of places, one a message, written by the sender and settled by the receiver without a lock. What is older than the ring is
//! given up on, so its memory is bounded however long a run is.

use std::sync::atomic::{
    AtomicU32, AtomicU64,
    Ordering::{AcqRel, Acquire, Relaxed, Release},
};

/// Least places: duplicates are told from late messages for as many messages as there are places.
const PLACES_MIN: u64 = 1 << 16;
/// Most places of all connections together: 4 Mi of 32 bytes, which are 128 MiB.
const PLACES_MAX: u64 = 1 << 22;

/// What a place holds, in the lowest bits of its state; the sequence is above them.
const UNDER_WAY: u64 = 1;
const SETTLED: u64 = 2;
const LOST: u64 = 3;
/// Not stored by its stream: it is neither awaited nor lost, and may come all the same.
const REFUSED: u64 = 4;
const STATE_BITS: u32 = 3;
const STATE_MASK: u64 = (1 << STATE_BITS) - 1;

/// The messages of one connection that are under way, and what became of the latest.
#[derive(Debug)]
pub(crate) struct Ledger {
    places: Box<[Place]>,
    sent: AtomicU64,
    settled: AtomicU64,
    lost: AtomicU64,
    /// The oldest that may be under way; only [`Ledger::expire`] moves it.
    oldest: AtomicU64,
}

#[derive(Debug, Default)]
struct Place {
    state: AtomicU64,
    due_ns: AtomicU64,
    sent_ns: AtomicU64,
    subject: AtomicU32,
}

/// What a message that came is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Taken {
    /// One that was under way.
    First {
        /// When it was to be sent.
        due_ns: u64,
        /// The place of its subject.
        subject: u32,
    },
    /// One that has come before.
    Again,
    /// One that was given up on.
    Late,
    /// One that was never sent.
    Never,
}

/// Places of each of so many ledgers, for messages that may be under way for `patience_ns` at `rate` a second, and `in_flight` at once.
pub(crate) fn places_for(ledgers: u64, rate: f64, patience_ns: u64, in_flight: u64) -> u64 {
    let in_time = (1.25 * rate * patience_ns as f64 / 1e9) as u64 / ledgers;
    let wanted = in_time.max(4 * in_flight).max(PLACES_MIN);
    wanted
        .min(PLACES_MAX / ledgers.next_power_of_two())
        .next_power_of_two()
}

impl Ledger {
    /// With this many places, a power of two.
    pub(crate) fn new(places: u64) -> Self {
        assert!(places.is_power_of_two(), "places are found by a mask");
        Self {
            places: (0..places).map(|_| Place::default()).collect(),
            sent: AtomicU64::new(0),
            settled: AtomicU64::new(0),
            lost: AtomicU64::new(0),
            oldest: AtomicU64::new(0),
        }
    }

    /// Notes the next message before it is sent; its sequence. Called by one thread only. Whatever is still under way in its place is
    /// given up on.
    pub(crate) fn send(&self, due_ns: u64, now_ns: u64, subject: u32) -> u64 {
        let sequence = self.sent.load(Relaxed);
        let place = self.place(sequence);
        self.give_up(place, place.state.load(Acquire));
        place.due_ns.store(due_ns, Relaxed);
        place.sent_ns.store(now_ns, Relaxed);
        place.subject.store(subject, Relaxed);
        place.state.store(state(sequence, UNDER_WAY), Release);
        self.sent.store(sequence + 1, Release);
        sequence
    }

    /// Settles a message that came.
    pub(crate) fn take(&self, sequence: u64) -> Taken {
        if sequence >= self.sent.load(Acquire) {
            return Taken::Never;
        }
        let place = self.place(sequence);
        let found = place.state.load(Acquire);
        if found >> STATE_BITS != sequence {
            return Taken::Late;
        }
        // Read before it is settled: then nobody has written another message here.
        let due_ns = place.due_ns.load(Relaxed);
        let subject = place.subject.load(Relaxed);
        let settled = state(sequence, SETTLED);
        match place
            .state
            .compare_exchange(found, settled, AcqRel, Acquire)
        {
            Err(_) => Taken::Late,
            Ok(_) if found == settled => Taken::Again,
            Ok(_) if found == state(sequence, LOST) => Taken::Late,
            Ok(_) if found == state(sequence, REFUSED) => Taken::First { due_ns, subject },
            Ok(_) => {
                self.settled.fetch_add(1, Release);
                Taken::First { due_ns, subject }
            }
        }
    }

    /// A message that is not awaited any more, since it was not stored. It is as settled as one that came.
    pub(crate) fn refuse(&self, sequence: u64) {
        let (under_way, refused) = (state(sequence, UNDER_WAY), state(sequence, REFUSED));
        let state = &self.place(sequence).state;
        if state
            .compare_exchange(under_way, refused, AcqRel, Relaxed)
            .is_ok()
        {
            self.settled.fetch_add(1, Release);
        }
    }

    /// Whether a message was given up on; none of those that others have the places of by now was.
    pub(crate) fn is_lost(&self, sequence: u64) -> bool {
        self.place(sequence).state.load(Acquire) == state(sequence, LOST)
    }

    /// Gives up on what was sent before this time, and says which those are. Called by one thread only.
    pub(crate) fn expire(&self, before_ns: u64, mut given_up: impl FnMut(u64)) {
        let sent = self.sent.load(Acquire);
        let mut oldest = self
            .oldest
            .load(Relaxed)
            .max(sent.saturating_sub(self.places.len() as u64));
        while oldest < sent {
            let place = self.place(oldest);
            let found = place.state.load(Acquire);
            if found == state(oldest, UNDER_WAY) {
                if place.sent_ns.load(Relaxed) >= before_ns {
                    break;
                }
                if self.give_up(place, found) {
                    given_up(oldest);
                }
            }
            oldest += 1;
        }
        self.oldest.store(oldest, Relaxed);
    }

    /// Messages sent.
    #[cfg(test)]
    pub(crate) fn sent(&self) -> u64 {
        self.sent.load(Acquire)
    }

    /// Messages given up on.
    pub(crate) fn lost(&self) -> u64 {
        self.lost.load(Acquire)
    }

    /// Messages under way.
    pub(crate) fn in_flight(&self) -> u64 {
        // In this order: one that is settled meanwhile was sent before.
        let over = self.settled.load(Acquire) + self.lost.load(Acquire);
        self.sent.load(Acquire) - over
    }

    fn place(&self, sequence: u64) -> &Place {
        let mask = self.places.len() as u64 - 1;
        &self.places[(sequence & mask) as usize]
    }

    /// Gives up on what is in this place, if it is under way; whether it was.
    fn give_up(&self, place: &Place, found: u64) -> bool {
        if found & STATE_MASK != UNDER_WAY {
            return false;
        }
        let lost = state(found >> STATE_BITS, LOST);
        let given_up = place
            .state
            .compare_exchange(found, lost, AcqRel, Relaxed)
            .is_ok();
        self.lost.fetch_add(u64::from(given_up), Release);
        given_up
    }
}

fn state(sequence: u64, what: u64) -> u64 {
    sequence << STATE_BITS | what
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn ledger(sent: u64, places: u64) -> Ledger {
        let ledger = Ledger::new(places);
        (0..sent).for_each(|n| assert_eq!(ledger.send(10 * n, 10 * n + 1, 7), n));
        ledger
    }

    #[test]
    fn a_message_comes_once_then_again_and_never_if_it_was_not_sent() {
        let ledger = ledger(3, 8);
        let first = Taken::First {
            due_ns: 10,
            subject: 7,
        };
        assert_eq!(
            [1, 1, 3].map(|n| ledger.take(n)),
            [first, Taken::Again, Taken::Never]
        );
        assert_eq!((ledger.in_flight(), ledger.lost()), (2, 0));
    }

    #[test]
    fn what_is_too_old_is_lost_and_late_if_it_comes() {
        let ledger = ledger(3, 8);
        ledger.take(1);
        let mut given_up = Vec::new();
        ledger.expire(12, |sequence| given_up.push(sequence));
        assert_eq!(given_up, [0]);
        assert_eq!([0, 1, 2].map(|n| ledger.is_lost(n)), [true, false, false]);
        assert_eq!((ledger.lost(), ledger.in_flight()), (1, 1));
        assert_eq!(
            [0, 0, 2].map(|n| ledger.take(n)),
            [
                Taken::Late,
                Taken::Again,
                Taken::First {
                    due_ns: 20,
                    subject: 7
                }
            ]
        );
        ledger.expire(u64::MAX, |_| panic!("nothing is under way"));
        assert_eq!((ledger.lost(), ledger.in_flight()), (1, 0));
    }

    #[test]
    fn what_was_refused_is_not_awaited_and_not_lost_and_may_come_all_the_same() {
        let ledger = ledger(3, 8);
        assert!(matches!(ledger.take(0), Taken::First { .. }));
        [0, 1, 2].into_iter().for_each(|n| ledger.refuse(n));
        assert_eq!(ledger.in_flight(), 0);
        ledger.expire(u64::MAX, |_| panic!("nothing is under way"));
        let first = Taken::First {
            due_ns: 10,
            subject: 7,
        };
        assert_eq!(
            [0, 1, 1].map(|n| ledger.take(n)),
            [Taken::Again, first, Taken::Again]
        );
        assert_eq!((ledger.in_flight(), ledger.lost()), (0, 0));
    }

    #[test]
    fn a_full_ring_gives_up_on_the_oldest() {
        let ledger = ledger(9, 8);
        assert_eq!((ledger.lost(), ledger.in_flight()), (1, 8));
        assert_eq!(ledger.take(0), Taken::Late);
        assert_eq!(
            ledger.take(8),
            Taken::First {
                due_ns: 80,
                subject: 7
            }
        );
    }

    #[test]
    fn the_memory_of_all_ledgers_is_bounded() {
        assert_eq!(places_for(1, 1e3, 1, 1), PLACES_MIN);
        for ledgers in 1..=64 {
            let all = ledgers * places_for(ledgers, 1e9, 60_000_000_000, 1 << 40);
            assert!(all <= PLACES_MAX, "{ledgers}");
        }
        // A rate of 100,000 with a patience of 5 s: 500,000 may be under way.
        assert!(places_for(1, 1e5, 5_000_000_000, 1) >= 500_000);
    }

    proptest! {
        #[test]
        fn every_message_is_settled_or_lost_or_under_way(steps in prop::collection::vec((0_u8..4, 0_u64..40), 1..200)) {
            let ledger = Ledger::new(16);
            let (mut first, mut refused) = (0, std::collections::HashSet::new());
            for (now, (step, n)) in steps.into_iter().enumerate() {
                match step {
                    0 => { ledger.send(now as u64, now as u64, 0); }
                    1 => {
                        let is_first = matches!(ledger.take(n), Taken::First { .. });
                        first += u64::from(is_first && !refused.contains(&n));
                    }
                    2 => {
                        let before = ledger.in_flight();
                        ledger.refuse(n);
                        if ledger.in_flight() < before {
                            refused.insert(n);
                        }
                    }
                    _ => ledger.expire((now as u64).saturating_sub(n), |_| {}),
                }
                prop_assert_eq!(ledger.sent(), first + refused.len() as u64 + ledger.lost() + ledger.in_flight());
            }
        }
    }
}
