//! How one handler's messages are asked for on one shard: how many, how far ahead, and what is still to come.
//!
//! Owns the account of open pulls. Pure: handed the time, how much room there is, and what came; knows no connection. A message
//! does not say which pull it is of, and the server serves open ones in turn: it counts for the oldest, and the sum of what is to come
//! is right.

use std::collections::VecDeque;
use std::time::Duration;

use super::control::Bound;
use crate::admission::Room;
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
/// Most messages that one pull asks for, where the server does not say less. Default 1,024: four calls' worth, some 150 KiB on
/// its way.
const PULL_MESSAGES_MAX: usize = 1_024;
/// Bytes that the server counts of a message and we don't: a version line, a blank one, and some to spare.
const FRAMING_BYTES: u64 = 64;

/// What is to be asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ask {
    /// The pull's number, by which the server's answers name it.
    pub(crate) number: u64,
    /// Messages.
    pub(crate) messages: usize,
    /// Their bytes, as the server counts them; 0 for any number.
    pub(crate) bytes: u64,
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
    /// It is over, since the next message does not fit into what is left of its bytes.
    TooSmall,
}

/// One open pull.
#[derive(Debug)]
struct Pull {
    number: u64,
    /// Messages that it asked for, and those that are still to come.
    messages: usize,
    left: usize,
    /// The bytes that it asked for, and those that may still come; 0 for any number.
    asked: u64,
    bytes: u64,
    /// When it is over even if the server does not say so.
    until: Instant,
}

/// The open pulls of one handler on one shard.
#[derive(Debug)]
pub(crate) struct Pulls {
    batch_max: usize,
    /// Bytes that the server lets a pull ask for.
    bytes_max: Option<u64>,
    expires: Duration,
    /// About the size of the largest message of late.
    largest: u64,
    /// Whether the next message is larger than a pull was: one of any size is asked for.
    large: bool,
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
    /// None is open, of a handler that may have so many messages in flight.
    pub(crate) fn new(most: usize, bound: &Bound, now: Instant) -> Self {
        let mut pulls = Self::of(most.min(PULL_MESSAGES_MAX), now);
        pulls.allow(most, bound);
        pulls
    }

    /// What the consumer lets a pull ask for.
    pub(crate) fn allow(&mut self, most: usize, bound: &Bound) {
        let of_server = bound.max_request_batch;
        let of_server = of_server.map_or(PULL_MESSAGES_MAX, |most| most as usize);
        self.batch_max = most.min(PULL_MESSAGES_MAX).min(of_server).max(1);
        self.bytes_max = bound.max_request_bytes;
        let expires = bound.max_request_expires;
        self.expires = expires.map_or(EXPIRES, |most| most.min(EXPIRES));
    }

    fn of(batch_max: usize, now: Instant) -> Self {
        Self {
            batch_max,
            bytes_max: None,
            expires: EXPIRES,
            largest: 0,
            large: false,
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

    /// Bytes that may still come, as far as is known.
    fn coming_bytes(&self) -> u64 {
        self.open.iter().map(|pull| pull.bytes).sum()
    }

    /// The next pull to be made, if there is `room` for more than has come, out of `most` in all. A pull is worth making for a
    /// quarter of the messages that can be taken at all, or when none is open; and for a quarter of the bytes, so that several can
    /// be open. A message that is larger is asked for alone: it may be above the bound, which is so exceeded by one message.
    pub(crate) fn ask(&mut self, room: Room, most: Room, now: Instant) -> Option<Ask> {
        let free = room
            .messages
            .saturating_sub(self.coming())
            .min(self.batch_max);
        let worth = free >= (most.messages / 4).clamp(1, self.batch_max) || self.open.is_empty();
        let held = self.pause.is_some_and(|until| now < until) || self.open.len() >= PULLS_MAX;
        let quarter = most.bytes / PULLS_MAX as u64;
        let each = quarter.max(self.largest + FRAMING_BYTES).min(most.bytes);
        let needed = if self.large { quarter } else { each };
        let fits = room.bytes.saturating_sub(self.coming_bytes()) >= needed;
        if free == 0 || !worth || held || !fits || (self.large && !self.open.is_empty()) {
            return None;
        }
        let (free, bytes) = match self.large {
            true => (1, self.bytes_max.unwrap_or(0)),
            false => (free, self.bytes_max.map_or(each, |of| of.min(each)).max(1)),
        };
        self.largest -= self.largest / 8;
        self.pause = None;
        if self.open.is_empty() {
            self.heard = now;
        }
        let number = self.next;
        self.next += 1;
        let until = now + self.expires + HEARTBEAT;
        self.open.push_back(Pull {
            number,
            messages: free,
            left: free,
            asked: bytes,
            bytes,
            until,
        });
        Some(Ask {
            number,
            messages: free,
            bytes,
            expires: self.expires,
            heartbeat: HEARTBEAT.min(self.expires / 3),
        })
    }

    /// A message of so many bytes came: the server serves open pulls in turn, one message each.
    pub(crate) fn came(&mut self, bytes: u64, now: Instant) {
        self.heard = now;
        self.refusals = 0;
        self.large = false;
        self.largest = self.largest.max(bytes);
        let Some(next) = self.open.front_mut() else {
            return;
        };
        next.left -= 1;
        next.bytes = next.bytes.saturating_sub(bytes);
        if next.left == 0 {
            self.open.pop_front();
        } else if self.open.len() > 1 {
            self.open.rotate_left(1);
        }
    }

    /// The last pull could not be written.
    pub(crate) fn take_back(&mut self) {
        self.open.pop_back();
    }

    /// The server said something of a pull: if it is over, that so many messages of it don't come, or none of those left if it does
    /// not say how many. Whether the next message is too large for any pull that the consumer allows.
    pub(crate) fn told(
        &mut self,
        number: u64,
        told: Told,
        missing: Option<u64>,
        now: Instant,
    ) -> bool {
        self.heard = now;
        if told == Told::Waits {
            return false;
        }
        let of = self.open.iter().find(|pull| pull.number == number);
        let nothing = |pull: &Pull| missing.unwrap_or(pull.left as u64) >= pull.messages as u64;
        let empty = of.filter(|pull| told == Told::TooSmall && nothing(pull));
        let (is_empty, asked) = (empty.is_some(), empty.map_or(0, |pull| pull.asked));
        let never = is_empty && self.bytes_max.is_some_and(|most| asked >= most);
        if number >= self.first {
            self.over(number, missing, now);
        }
        self.large |= is_empty;
        if told == Told::Refused || never {
            let wait = PAUSE_FIRST * (1 << self.refusals.min(8));
            self.pause = Some(now + wait.min(PAUSE_MAX));
            self.refusals += 1;
        }
        never
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
                messages: owed,
                left: owed,
                asked: 0,
                bytes: 0,
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

    /// Room for so many messages, and for their bytes whatever they are.
    fn up_to(messages: usize) -> Room {
        let bytes = 1 << 40;
        Room { messages, bytes }
    }

    fn pulls() -> Pulls {
        Pulls::of(100, START)
    }

    #[test]
    fn a_pull_asks_for_the_room_there_is_up_to_its_bound() {
        assert_eq!(
            pulls().ask(up_to(7), up_to(1_000), START).unwrap().messages,
            7
        );
        assert_eq!(
            pulls()
                .ask(up_to(100), up_to(1_000), START)
                .unwrap()
                .messages,
            100
        );
        assert_eq!(
            pulls()
                .ask(up_to(101), up_to(1_000), START)
                .unwrap()
                .messages,
            100
        );
        assert_eq!(pulls().ask(up_to(0), up_to(1_000), START), None);
    }

    #[test]
    fn there_are_so_many_pulls_and_not_one_more() {
        let mut p = pulls();
        let asked = (0..PULLS_MAX)
            .filter_map(|_| p.ask(up_to(10_000), up_to(400), START))
            .count();
        assert_eq!(asked, PULLS_MAX);
        assert_eq!(p.ask(up_to(10_000), up_to(400), START), None);
        p.told(1, Told::Over, None, START);
        assert_eq!(
            p.ask(up_to(10_000), up_to(400), START).unwrap().number,
            PULLS_MAX as u64 + 1
        );
    }

    #[test]
    fn a_refusal_makes_the_next_wait_longer_each_time_up_to_a_bound() {
        let (mut p, mut now) = (pulls(), START);
        for wait in [250, 500, 1_000, 2_000, 4_000, 5_000, 5_000] {
            let asked = p.ask(up_to(10), up_to(10), now).unwrap();
            p.told(asked.number, Told::Refused, None, now);
            let until = now + Duration::from_millis(wait);
            assert_eq!(p.due(), Some(until));
            assert_eq!(
                p.ask(up_to(10), up_to(10), until - Duration::from_nanos(1)),
                None
            );
            now = until;
        }
        p.ask(up_to(10), up_to(10), now).unwrap();
        p.came(1, now);
        let asked = p.ask(up_to(10), up_to(40), now);
        assert_eq!(
            asked, None,
            "nine are still to come, and there is room for one"
        );
    }

    #[test]
    fn silence_ends_all_pulls_and_heartbeats_keep_them() {
        let mut p = pulls();
        p.ask(up_to(10), up_to(10), START).unwrap();
        let mut now = START;
        for _ in 0..2 {
            now += 10 * SECOND;
            p.told(1, Told::Waits, None, now);
            assert!(!p.expire(now));
        }
        assert!(!p.expire(now + SILENCE_MAX - Duration::from_nanos(1)));
        assert!(p.expire(now + SILENCE_MAX));
        assert_eq!(p.coming(), 0);
        assert!(p.ask(up_to(10), up_to(10), now + SILENCE_MAX).is_some());
    }

    /// Room for so many messages and bytes.
    fn bytes(messages: usize, bytes: u64) -> Room {
        Room { messages, bytes }
    }

    #[test]
    fn open_pulls_ask_for_no_more_bytes_than_there_is_room_for() {
        let (mut p, most) = (pulls(), bytes(1_000, 1_000));
        let asked: Vec<_> = std::iter::from_fn(|| p.ask(most, most, START)).collect();
        assert!(asked.iter().all(|ask| ask.bytes == 250), "{asked:?}");
        assert_eq!((asked.len(), p.coming_bytes()), (PULLS_MAX, 1_000));
        // Each brings one message and is over: the next has its room once the message is settled.
        for ask in &asked {
            p.came(200, START);
            p.told(ask.number, Told::TooSmall, Some(99), START);
        }
        assert_eq!((p.coming(), p.pause), (0, None));
        assert!(p.ask(bytes(996, 200), most, START).is_none());
        let asked = p.ask(bytes(997, 400), most, START).unwrap();
        assert_eq!(asked.bytes, 200 + FRAMING_BYTES);
    }

    #[test]
    fn a_message_that_is_larger_than_a_pull_is_asked_for_alone() {
        let (mut p, most) = (pulls(), bytes(1_000, 1_000));
        let first = p.ask(most, most, START).unwrap();
        let second = p.ask(most, most, START).unwrap();
        p.told(first.number, Told::TooSmall, Some(100), START);
        assert!(p.ask(most, most, START).is_none(), "another pull is open");
        p.told(second.number, Told::TooSmall, Some(100), START);
        let alone = p.ask(most, most, START).unwrap();
        assert_eq!((alone.messages, alone.bytes), (1, 0));
        p.came(5_000, START);
        assert!(p.ask(bytes(999, 0), most, START).is_none());
        assert!(p.ask(most, most, START).unwrap().messages > 1);
    }

    #[test]
    fn a_message_that_is_larger_than_the_consumer_allows_is_told_and_asked_for_later() {
        let (mut p, most) = (pulls(), bytes(1_000, 1_000));
        p.bytes_max = Some(100);
        let first = p.ask(most, most, START).unwrap();
        assert_eq!(first.bytes, 100);
        assert!(p.told(first.number, Told::TooSmall, Some(100), START));
        assert!(p.ask(most, most, START).is_none() && p.due().is_some());
    }

    proptest! {
        #[test]
        fn what_is_thought_to_come_is_what_the_server_owes(steps in prop::collection::vec((0u8..4, 1usize..50), 0..300)) {
            // As nats-server has it: open pulls are served in turn, and one that is over says how many don't come.
            let (mut p, mut server) = (pulls(), VecDeque::<(u64, usize)>::new());
            for (step, n) in steps {
                match step {
                    0 => server.extend(p.ask(up_to(n + p.coming()), up_to(4), START).map(|ask| (ask.number, ask.messages))),
                    1 => if let Some((number, missing)) = server.remove(n % server.len().max(1)) {
                        p.told(number, Told::Over, Some(missing as u64), START);
                    },
                    _ => if let Some((number, left)) = server.pop_front() {
                        p.came(1, START);
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
                    0 => open.extend(p.ask(up_to(room), up_to(300), now).map(|ask| ask.number)),
                    1 => for _ in 0..n.min(p.coming()) { p.came(1, now); room -= 1; },
                    2 => room = (room + n).min(300),
                    _ => if let Some(number) = open.pop() { p.told(number, Told::Over, None, now); },
                }
                prop_assert!(p.coming() <= 300 && p.open.len() <= PULLS_MAX);
                prop_assert!(p.open.iter().all(|pull| pull.left > 0));
                room = room.max(p.coming());
            }
        }
    }
}
