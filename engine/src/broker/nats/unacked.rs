//! Messages of streams that a shard has and has not settled: their server is told in time that they are still worked on.
//!
//! Owns when. Holds what their acknowledgement subject is made of, not the message: a message that waits is copied out of its
//! buffer, and this must not keep the buffer either. Pure: handed the time.

use std::time::Duration;

use crate::time::Instant;

/// A place for one message, which is used again with the memory that it has.
#[derive(Debug)]
struct Entry {
    /// Whether there is a message that is not settled.
    waits: bool,
    due: Instant,
    half: Duration,
    subject: Vec<u8>,
}

/// The unsettled messages of streams of one shard. Bounded by admission.
#[derive(Debug, Default)]
pub(crate) struct Unacked {
    places: Vec<Entry>,
    free: Vec<u32>,
    /// No message is due before.
    earliest: Option<Instant>,
}

impl Unacked {
    /// Keeps a message that came at `now`, whose server waits for so long: its place.
    pub(crate) fn keep(&mut self, subject: &[u8], ack_wait: Duration, now: Instant) -> u32 {
        let half = ack_wait / 2;
        let due = now + half;
        self.earliest = Some(self.earliest.map_or(due, |earliest| earliest.min(due)));
        match self.free.pop() {
            Some(place) => {
                let entry = &mut self.places[place as usize];
                (entry.waits, entry.due, entry.half) = (true, due, half);
                entry.subject.clear();
                entry.subject.extend_from_slice(subject);
                place
            }
            None => {
                self.places.push(Entry {
                    waits: true,
                    due,
                    half,
                    subject: subject.to_vec(),
                });
                (self.places.len() - 1) as u32
            }
        }
    }

    /// The message at this place is settled.
    pub(crate) fn settled(&mut self, place: u32) {
        let waited = std::mem::take(&mut self.places[place as usize].waits);
        assert!(waited, "a message is settled once");
        self.free.push(place);
        if self.is_empty() {
            self.earliest = None;
        }
    }

    /// Whether all are settled.
    pub(crate) fn is_empty(&self) -> bool {
        self.free.len() == self.places.len()
    }

    /// When the next of them is due.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.earliest
    }

    /// Calls `progress` with the acknowledgement subject of each whose server has waited for half its time; and again after as
    /// long.
    pub(crate) fn progress(&mut self, now: Instant, mut progress: impl FnMut(&[u8])) {
        if self.earliest.is_none_or(|earliest| now < earliest) {
            return;
        }
        let mut earliest = None::<Instant>;
        for entry in self.places.iter_mut().filter(|entry| entry.waits) {
            if entry.due <= now {
                progress(&entry.subject);
                entry.due = now + entry.half;
            }
            earliest = Some(earliest.map_or(entry.due, |e| e.min(entry.due)));
        }
        self.earliest = earliest;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Instant = Instant::after_start(Duration::from_hours(1));
    const SECOND: Duration = Duration::from_secs(1);

    fn told(unacked: &mut Unacked, now: Instant) -> Vec<String> {
        let mut told = Vec::new();
        unacked.progress(now, |subject| {
            told.push(String::from_utf8(subject.to_vec()).unwrap())
        });
        told
    }

    #[test]
    fn progress_is_told_at_each_half_of_the_wait_until_the_message_is_settled() {
        let mut u = Unacked::default();
        let a = u.keep("a".as_bytes(), 10 * SECOND, START);
        u.keep("b".as_bytes(), 20 * SECOND, START);
        let before = START + 5 * SECOND - Duration::from_nanos(1);
        assert_eq!(told(&mut u, before), [""; 0]);
        assert_eq!(u.due(), Some(START + 5 * SECOND));
        assert_eq!(told(&mut u, START + 5 * SECOND), ["a"]);
        assert_eq!(told(&mut u, START + 10 * SECOND), ["a", "b"]);
        u.settled(a);
        assert_eq!(told(&mut u, START + 20 * SECOND), ["b"]);
    }

    #[test]
    fn places_are_used_again_and_nothing_is_due_when_all_are_settled() {
        let mut u = Unacked::default();
        let places = [
            u.keep("a".as_bytes(), SECOND, START),
            u.keep("b".as_bytes(), SECOND, START),
        ];
        places.iter().for_each(|place| u.settled(*place));
        assert_eq!((u.is_empty(), u.due()), (true, None));
        assert!(places.contains(&u.keep("c".as_bytes(), SECOND, START)));
    }
}
