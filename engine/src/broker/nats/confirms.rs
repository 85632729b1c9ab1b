//! Sends that a stream is to confirm: each has a reply subject of its own, by which its confirmation finds it.
//!
//! Owns the table of these. A place is used again, and its number with it says how often, so that a late confirmation is known to be
//! of another. Knows no connection; handed the time.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::time::Duration;

use crate::confirm::SendId;
use crate::time::Instant;

/// Sends of one shard that may wait for their confirmation. Default 65,536: 64 batches of a thousand; at it further sends
/// count as lost and are made again with their message.
pub(crate) const CONFIRMS_MAX: usize = 1 << 16;

/// The sends of one shard that wait to be confirmed.
#[derive(Debug)]
pub(crate) struct Confirms {
    /// What the subjects begin with, and the latest of them.
    subject: String,
    prefix: usize,
    places: Vec<(u32, Option<SendId>)>,
    free: Vec<u32>,
    /// When each was opened, in this order; those confirmed meanwhile leave when they are at the front.
    opened: VecDeque<(Instant, u32, u32)>,
    /// How long one may wait.
    wait_max: Duration,
}

impl Confirms {
    /// None waits; their subjects begin with `prefix`, which ends with a dot. One that has waited for `wait_max` is forgotten:
    /// whoever sent it has given it up by then.
    pub(crate) fn new(prefix: String, wait_max: Duration) -> Self {
        Self {
            prefix: prefix.len(),
            subject: prefix,
            places: Vec::new(),
            free: Vec::new(),
            opened: VecDeque::new(),
            wait_max,
        }
    }

    /// Opens one: the subject that its confirmation comes to. `None` if as many wait as may.
    pub(crate) fn open(&mut self, id: SendId, now: Instant) -> Option<&str> {
        self.expire(now);
        let place = match self.free.pop() {
            Some(place) => place,
            None if self.places.len() < CONFIRMS_MAX => {
                self.places.push((0, None));
                (self.places.len() - 1) as u32
            }
            None => return None,
        };
        let (used, waiting) = &mut self.places[place as usize];
        *waiting = Some(id);
        self.opened.push_back((now, place, *used));
        self.subject.truncate(self.prefix);
        let written = write!(self.subject, "{place}.{used}");
        written.expect("a String takes all that is written");
        Some(&self.subject)
    }

    /// Whether so many more may wait.
    pub(crate) fn has_room(&mut self, count: usize, now: Instant) -> bool {
        self.expire(now);
        self.places.len() - self.free.len() + count <= CONFIRMS_MAX
    }

    /// Takes the one back that was opened last: it was not sent.
    pub(crate) fn take_back(&mut self) {
        if let Some((_, place, _)) = self.opened.pop_back() {
            self.close(place);
        }
    }

    /// Whose confirmation came to this subject, if it still waits.
    pub(crate) fn answered(&mut self, subject: &str) -> Option<SendId> {
        let (place, used) = subject.get(self.prefix..)?.split_once('.')?;
        let (place, used): (u32, u32) = (place.parse().ok()?, used.parse().ok()?);
        let kept = self.places.get(place as usize)?;
        match kept.0 == used {
            true => self.close(place),
            false => None,
        }
    }

    /// Forgets all, since their connection is gone, and says which they were.
    pub(crate) fn forget(&mut self, mut lost: impl FnMut(SendId)) {
        self.opened.clear();
        for place in 0..self.places.len() as u32 {
            self.close(place).into_iter().for_each(&mut lost);
        }
    }

    /// The pattern of all their subjects.
    pub(crate) fn pattern(&self) -> String {
        format!("{}>", &self.subject[..self.prefix])
    }

    /// Sends that wait.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.places.len() - self.free.len()
    }

    fn close(&mut self, place: u32) -> Option<SendId> {
        let (used, waiting) = &mut self.places[place as usize];
        let id = waiting.take()?;
        *used = used.wrapping_add(1);
        self.free.push(place);
        Some(id)
    }

    /// Forgets those that have waited too long.
    fn expire(&mut self, now: Instant) {
        while let Some(&(opened, place, used)) = self.opened.front() {
            let waits = self.places[place as usize].0 == used;
            if waits && now < opened + self.wait_max {
                return;
            }
            self.opened.pop_front();
            if waits {
                self.close(place);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Instant = Instant::after_start(Duration::from_hours(1));
    const SECOND: Duration = Duration::from_secs(1);

    fn id(release: u64) -> SendId {
        SendId { release, index: 0 }
    }

    fn confirms() -> Confirms {
        Confirms::new("_INBOX.x.c.".into(), SECOND)
    }

    #[test]
    fn a_confirmation_finds_its_send_once() {
        let mut c = confirms();
        let first = c.open(id(1), START).unwrap().to_owned();
        let second = c.open(id(2), START).unwrap().to_owned();
        assert!(first.starts_with("_INBOX.x.c.") && first != second);
        assert_eq!(c.answered(&second), Some(id(2)));
        assert_eq!(c.answered(&second), None);
        assert_eq!((c.answered(&first), c.len()), (Some(id(1)), 0));
        for foreign in ["_INBOX.x.c.", "_INBOX.x.c.9.9", "_INBOX.x.c.a.b", "x", ""] {
            assert_eq!(c.answered(foreign), None, "{foreign}");
        }
    }

    #[test]
    fn a_late_confirmation_is_not_the_next_ones() {
        let mut c = confirms();
        let old = c.open(id(1), START).unwrap().to_owned();
        let _ = c.open(id(2), START + SECOND).unwrap();
        assert_eq!(c.len(), 1, "the first was forgotten at its time");
        assert!(
            c.has_room(CONFIRMS_MAX - 1, START + SECOND)
                && !c.has_room(CONFIRMS_MAX, START + SECOND)
        );
        assert_eq!(c.answered(&old), None);
    }

    #[test]
    fn as_many_wait_as_may_and_not_one_more() {
        let mut c = confirms();
        for n in 0..CONFIRMS_MAX {
            c.open(id(n as u64), START).unwrap();
        }
        assert!(!c.has_room(1, START) && c.has_room(0, START));
        assert_eq!(c.open(id(0), START), None);
        let mut lost = 0;
        c.forget(|_| lost += 1);
        assert_eq!((lost, c.len()), (CONFIRMS_MAX, 0));
        assert!(c.open(id(0), START).is_some());
    }

    #[test]
    fn one_that_was_not_sent_is_taken_back() {
        let mut c = confirms();
        let subject = c.open(id(1), START).unwrap().to_owned();
        c.take_back();
        assert_eq!((c.answered(&subject), c.len()), (None, 0));
    }
}
