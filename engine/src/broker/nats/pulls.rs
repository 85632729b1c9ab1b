//! How one handler's messages are asked for on one shard: how many, how far ahead, and what is still to come.
//!
//! Owns the account of open pulls. Pure: handed the time, how much room there is, and what came; knows no connection. A message
//! does not say which pull it is of, and the server serves open ones in turn: it counts for the oldest, and the sum of what is to come
//! is right.

use std::collections::VecDeque;
use std::time::Duration;

use crate::time::Instant;

/// Open pulls of one handler on one shard. Default 4: one is served, one waits behind it so that the server never rests while
/// the next is on its way, and two more for answers that are late. At it nothing more is asked for.
const PULLS_MAX: usize = 4;
/// How long a pull may wait at the server. Default 30 s: it is made anew twice a minute when nothing comes.
const EXPIRES: Duration = Duration::from_secs(30);
/// How often the server says that a waiting pull is still there. Default 5 s.
const HEARTBEAT: Duration = Duration::from_secs(5);
/// How long nothing may be heard before open pulls are given up: two heartbeats, and time on the way.
const SILENCE_MAX: Duration = Duration::from_secs(12);
/// How long to wait before asking again after a refusal. Default 250 ms, doubled with each in a row up to [`PAUSE_MAX`].
const PAUSE_FIRST: Duration = Duration::from_millis(250);
/// Longest wait after a refusal. Default 5 s: a consumer that was made anew, or has a leader again, is found within it.
const PAUSE_MAX: Duration = Duration::from_secs(5);

/// What is to be asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ask {
    /// The pull's number, by which the server's answers name it.
    pub(crate) number: u64,
    /// Messages.
    pub(crate) messages: usize,
    /// How long it may wait at the server.
    pub(crate) expires: Duration,
    /// How often the server is to say that it still waits.
    pub(crate) heartbeat: Duration,
}

/// What the server said of a pull.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Told {
    /// It still waits.
    Waits,
    /// It is over; no more messages of it come.
    Over,
    /// It is over, and the next had better wait: a consumer that is gone, has no leader, or has enough unacknowledged.
    Refused,
}

/// One open pull.
#[derive(Debug)]
struct Pull {
    number: u64,
    left: usize,
    /// When it is over even if the server does not say so.
    until: Instant,
}

/// The open pulls of one handler on one shard.
#[derive(Debug)]
pub(crate) struct Pulls {
    batch_max: usize,
    expires: Duration,
    open: VecDeque<Pull>,
    /// The number of the next one.
    next: u64,
    /// When something was heard last.
    heard: Instant,
    /// Pulls of lower numbers were given up: what is said of them counts for nothing.
    first: u64,
    /// Nothing is asked for before.
    pause: Option<Instant>,
    refusals: u32,
}

impl Pulls {
    /// None is open. A pull may ask for `batch_max` messages, and wait for `expires_max` where the server bounds that.
    pub(crate) fn new(batch_max: usize, expires_max: Option<Duration>, now: Instant) -> Self {
        assert!(batch_max > 0, "a pull asks for something");
        Self {
            batch_max,
            expires: expires_max.map_or(EXPIRES, |most| most.min(EXPIRES)),
            open: VecDeque::new(),
            next: 1,
            first: 1,
            heard: now,
            pause: None,
            refusals: 0,
        }
    }

    /// Messages that may still come.
    pub(crate) fn coming(&self) -> usize {
        self.open.iter().map(|pull| pull.left).sum()
    }

    /// The next pull to be made, if `room` more messages than have come can be taken, out of `most` in all. A pull is worth
    /// making for a quarter of what can be taken at all, or when none is open.
    pub(crate) fn ask(&mut self, room: usize, most: usize, now: Instant) -> Option<Ask> {
        let free = room.saturating_sub(self.coming()).min(self.batch_max);
        let worth = free >= (most / 4).clamp(1, self.batch_max) || self.open.is_empty();
        let held = self.pause.is_some_and(|until| now < until) || self.open.len() >= PULLS_MAX;
        if free == 0 || !worth || held {
            return None;
        }
        self.pause = None;
        if self.open.is_empty() {
            self.heard = now;
        }
        let number = self.next;
        self.next += 1;
        let until = now + self.expires + HEARTBEAT;
        self.open.push_back(Pull {
            number,
            left: free,
            until,
        });
        Some(Ask {
            number,
            messages: free,
            expires: self.expires,
            heartbeat: HEARTBEAT.min(self.expires / 3),
        })
    }

    /// A message came: one of the oldest pull's.
    pub(crate) fn came(&mut self, now: Instant) {
        self.heard = now;
        self.refusals = 0;
        let Some(oldest) = self.open.front_mut() else {
            return;
        };
        oldest.left -= 1;
        if oldest.left == 0 {
            self.open.pop_front();
        }
    }

    /// The server said something of a pull: if it is over, that so many messages of it don't come, or none of those left if it does
    /// not say how many.
    pub(crate) fn told(&mut self, number: u64, told: Told, missing: Option<u64>, now: Instant) {
        self.heard = now;
        if told == Told::Waits {
            return;
        }
        if number >= self.first {
            self.over(number, missing, now);
        }
        if told == Told::Refused {
            let wait = PAUSE_FIRST * (1 << self.refusals.min(8));
            self.pause = Some(now + wait.min(PAUSE_MAX));
            self.refusals += 1;
        }
    }

    /// Ends a pull of which so many messages don't come. Those that came for it and counted for others are still to come for these,
    /// and the other way round.
    fn over(&mut self, number: u64, missing: Option<u64>, now: Instant) {
        let place = self.open.iter().position(|pull| pull.number == number);
        let left = place.and_then(|place| self.open.remove(place));
        let left = left.map_or(0, |pull| pull.left);
        let missing = missing.map_or(left, |n| usize::try_from(n).unwrap_or(usize::MAX));
        let owed = left.saturating_sub(missing);
        match self.open.front_mut() {
            Some(oldest) => oldest.left += owed,
            // They are of pulls that were counted as served.
            None if owed > 0 => self.open.push_back(Pull {
                number: 0,
                left: owed,
                until: now + self.expires + HEARTBEAT,
            }),
            None => {}
        }
        let mut excess = missing.saturating_sub(left);
        while let Some(newest) = self.open.back_mut().filter(|_| excess > 0) {
            let less = newest.left.min(excess);
            (newest.left, excess) = (newest.left - less, excess - less);
            if newest.left == 0 {
                self.open.pop_back();
            }
        }
    }

    /// Gives up all open pulls.
    fn give_up(&mut self) {
        self.open.clear();
        self.first = self.next;
    }

    /// Forgets all open pulls: the connection that they were made on is gone.
    pub(crate) fn forget(&mut self) {
        self.give_up();
        self.pause = None;
    }

    /// Gives up pulls that are over by their time, and all of them when nothing has been heard for too long. Whether any was.
    pub(crate) fn expire(&mut self, now: Instant) -> bool {
        let before = self.open.len();
        self.pause = self.pause.filter(|until| now < *until);
        match now >= self.heard + SILENCE_MAX {
            true => self.give_up(),
            false => self.open.retain(|pull| now < pull.until),
        }
        self.open.len() < before
    }

    /// When it has something to do of its own accord.
    pub(crate) fn due(&self) -> Option<Instant> {
        let silent = (!self.open.is_empty()).then(|| self.heard + SILENCE_MAX);
        let over = self.open.iter().map(|pull| pull.until).min();
        [silent, over, self.pause].into_iter().flatten().min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const START: Instant = Instant::after_start(Duration::from_hours(1));
    const SECOND: Duration = Duration::from_secs(1);

    fn pulls() -> Pulls {
        Pulls::new(100, None, START)
    }

    #[test]
    fn a_pull_asks_for_the_room_there_is_up_to_its_bound() {
        assert_eq!(pulls().ask(7, 1_000, START).unwrap().messages, 7);
        assert_eq!(pulls().ask(100, 1_000, START).unwrap().messages, 100);
        assert_eq!(pulls().ask(101, 1_000, START).unwrap().messages, 100);
        assert_eq!(pulls().ask(0, 1_000, START), None);
    }

    #[test]
    fn there_are_so_many_pulls_and_not_one_more() {
        let mut p = pulls();
        let asked = (0..PULLS_MAX)
            .filter_map(|_| p.ask(10_000, 400, START))
            .count();
        assert_eq!(asked, PULLS_MAX);
        assert_eq!(p.ask(10_000, 400, START), None);
        p.told(1, Told::Over, None, START);
        assert_eq!(
            p.ask(10_000, 400, START).unwrap().number,
            PULLS_MAX as u64 + 1
        );
    }

    #[test]
    fn a_refusal_makes_the_next_wait_longer_each_time_up_to_a_bound() {
        let (mut p, mut now) = (pulls(), START);
        for wait in [250, 500, 1_000, 2_000, 4_000, 5_000, 5_000] {
            let asked = p.ask(10, 10, now).unwrap();
            p.told(asked.number, Told::Refused, None, now);
            let until = now + Duration::from_millis(wait);
            assert_eq!(p.due(), Some(until));
            assert_eq!(p.ask(10, 10, until - Duration::from_nanos(1)), None);
            now = until;
        }
        p.ask(10, 10, now).unwrap();
        p.came(now);
        let asked = p.ask(10, 40, now);
        assert_eq!(
            asked, None,
            "nine are still to come, and there is room for one"
        );
    }

    #[test]
    fn silence_ends_all_pulls_and_heartbeats_keep_them() {
        let mut p = pulls();
        p.ask(10, 10, START).unwrap();
        let mut now = START;
        for _ in 0..2 {
            now += 10 * SECOND;
            p.told(1, Told::Waits, None, now);
            assert!(!p.expire(now));
        }
        assert!(!p.expire(now + SILENCE_MAX - Duration::from_nanos(1)));
        assert!(p.expire(now + SILENCE_MAX));
        assert_eq!(p.coming(), 0);
        assert!(p.ask(10, 10, now + SILENCE_MAX).is_some());
    }

    proptest! {
        #[test]
        fn what_is_thought_to_come_is_what_the_server_owes(steps in prop::collection::vec((0u8..4, 1usize..50), 0..300)) {
            // As nats-server has it: open pulls are served in turn, and one that is over says how many don't come.
            let (mut p, mut server) = (pulls(), VecDeque::<(u64, usize)>::new());
            for (step, n) in steps {
                match step {
                    0 => server.extend(p.ask(n + p.coming(), 4, START).map(|ask| (ask.number, ask.messages))),
                    1 => if let Some((number, missing)) = server.remove(n % server.len().max(1)) {
                        p.told(number, Told::Over, Some(missing as u64), START);
                    },
                    _ => if let Some((number, left)) = server.pop_front() {
                        p.came(START);
                        server.extend((left > 1).then_some((number, left - 1)));
                    },
                }
                prop_assert_eq!(p.coming(), server.iter().map(|(_, left)| left).sum::<usize>());
                prop_assert!(p.open.len() <= PULLS_MAX && p.open.iter().all(|pull| pull.left > 0));
            }
        }

        #[test]
        fn no_more_is_coming_than_there_is_room_for(steps in prop::collection::vec((0u8..4, 0usize..50), 0..200)) {
            let (mut p, mut now, mut room, mut open) = (pulls(), START, 300usize, Vec::new());
            for (step, n) in steps {
                now += Duration::from_millis(100);
                match step {
                    0 => open.extend(p.ask(room, 300, now).map(|ask| ask.number)),
                    1 => for _ in 0..n.min(p.coming()) { p.came(now); room -= 1; },
                    2 => room = (room + n).min(300),
                    _ => if let Some(number) = open.pop() { p.told(number, Told::Over, None, now) },
                }
                prop_assert!(p.coming() <= 300 && p.open.len() <= PULLS_MAX);
                prop_assert!(p.open.iter().all(|pull| pull.left > 0));
                room = room.max(p.coming());
            }
        }
    }
}
