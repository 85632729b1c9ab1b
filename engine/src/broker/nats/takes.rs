//! What one shard takes from the servers: its subscriptions by number, and what each handler's are for.
//!
//! Owns the table of subscriptions and the rule for what a handler hears. Knows no connection: says what is to be written.

use std::collections::HashSet;
use std::sync::Arc;

use super::confirms::Confirms;
use super::control::{Bound, Captured, DeliveryLevel, Wanted};
use super::js::ack::Counts;
use super::pulls::Pulls;
use crate::admission::Room;
use crate::broker::memory::subscription::Queue;
use crate::message::HandlerId;
use crate::patterns::Patterns;
use crate::subject::matches;
use crate::time::Instant;

/// What a subscription is for.
#[derive(Debug)]
pub(crate) enum Use {
    /// A handler's messages.
    Core(HandlerId),
    /// What a handler's pulls bring.
    Pulls(HandlerId),
    /// Confirmations of sends.
    Confirms,
    /// Replies to guests' requests.
    Requests,
    /// What a guest listens to within a call.
    Feed(Arc<Queue>),
}

/// One subscription.
#[derive(Debug)]
pub(crate) struct Subscribed {
    pub(crate) pattern: String,
    pub(crate) queue: Option<String>,
    pub(crate) use_: Use,
}

/// Where a handler's messages come from, on one shard.
#[derive(Debug)]
pub(crate) enum Take {
    /// From this process alone.
    Process,
    /// From the servers' core; on this shard, or not: one that hears every message is on one shard alone.
    Core {
        /// The queue group.
        queue: Option<String>,
        /// Whether this shard listens.
        here: bool,
        /// Whether its messages go into its calls as a pack.
        packs: bool,
    },
    /// From a stream.
    Stream(Box<FromStream>),
}

/// A handler that takes from a stream.
#[derive(Debug)]
pub(crate) struct FromStream {
    /// What it was bound by, and would be again.
    pub(crate) wanted: Wanted,
    pub(crate) bound: Arc<Bound>,
    /// Which streams capture what its guest sends, as last looked up.
    pub(crate) captured: Captured,
    /// When its consumer, which seems to be gone, is to be looked up.
    pub(crate) gone: Option<Instant>,
    /// Nothing is pulled until its consumer is bound again, or the connection is made again.
    pub(crate) stopped: bool,
    /// Lookups in a row that found no consumer that is fit.
    pub(crate) failed_binds: u32,
    pub(crate) level: DeliveryLevel,
    pub(crate) pulls: Pulls,
    /// What of it may be in flight on this shard.
    pub(crate) most: Room,
    /// The subject that is asked, and what the answers' subject begins with.
    pub(crate) asked: String,
    pub(crate) inbox: String,
    /// Connections so far, by which that goes on: the server may still serve pulls of the last one, and they are not counted.
    pub(crate) session: u64,
    pub(crate) counts: Counts,
}

impl FromStream {
    /// What the answers to the present connection's pulls come to.
    pub(crate) fn answers(&self) -> String {
        format!("{}{}.*", self.inbox, self.session)
    }
}

/// The subscriptions of one shard: their number is their place and one, and above [`PLACE_BITS`] how many that place had before. A
/// number is never used twice on a connection that lives, so that a late message of one that ended is nobody's.
#[derive(Debug, Default)]
pub(crate) struct Takes {
    places: Vec<Place>,
    /// Places that are empty.
    free: Vec<usize>,
}

/// Bits of a number that are its place: 16 million subscriptions a shard.
const PLACE_BITS: u32 = 24;

/// A place for a subscription, and the number that it has or had last.
#[derive(Debug)]
struct Place {
    sid: u64,
    subscribed: Option<Subscribed>,
    /// Of a handler that hears every message: its subscriptions before this one that hear some of the same subjects. Such a
    /// message comes on all of them, and is taken from the first. Of a queue group the server picks one by itself.
    crossing: Vec<String>,
}

/// The place of a number.
fn place_of(sid: u64) -> usize {
    ((sid & ((1 << PLACE_BITS) - 1)) as usize).wrapping_sub(1)
}

impl Takes {
    /// The subscription of this number.
    #[inline]
    pub(crate) fn get(&self, sid: u64) -> Option<&Subscribed> {
        let place = self.places.get(place_of(sid))?;
        place.subscribed.as_ref().filter(|_| place.sid == sid)
    }

    /// What the subscription of this number is for.
    #[inline]
    pub(crate) fn use_of(&self, sid: u64) -> Option<&Use> {
        Some(&self.get(sid)?.use_)
    }

    /// Whether a message comes on an earlier subscription of the same handler too.
    #[inline]
    pub(crate) fn is_anothers(&self, sid: u64, subject: &[u8]) -> bool {
        let place = self.places.get(place_of(sid));
        place.filter(|place| place.sid == sid).is_some_and(|place| {
            let mut before = place.crossing.iter();
            before.any(|p| matches(p, std::str::from_utf8(subject).unwrap_or_default()))
        })
    }

    /// Adds one: its number.
    pub(crate) fn add(&mut self, subscription: Subscribed) -> u64 {
        if let Some(free) = self.free.pop() {
            let place = &mut self.places[free];
            place.sid += 1 << PLACE_BITS;
            place.subscribed = Some(subscription);
            place.crossing.clear();
            return place.sid;
        }
        let sid = self.places.len() as u64 + 1;
        assert!(sid < 1 << PLACE_BITS, "each has memory of its own");
        self.places.push(Place {
            sid,
            subscribed: Some(subscription),
            crossing: Vec::new(),
        });
        sid
    }

    /// All, with their numbers.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u64, &Subscribed)> {
        let places = self.places.iter();
        places.filter_map(|place| Some((place.sid, place.subscribed.as_ref()?)))
    }

    /// Ends those of which `ends` says so: their numbers.
    pub(crate) fn end(&mut self, ends: impl Fn(&Subscribed) -> bool) -> Vec<u64> {
        let mut ended = Vec::new();
        for (index, place) in self.places.iter_mut().enumerate() {
            if place.subscribed.take_if(|s| ends(s)).is_some() {
                ended.push(place.sid);
                self.free.push(index);
            }
        }
        ended
    }

    /// The numbers of those that bring handlers their messages.
    pub(crate) fn of_handlers(&self) -> impl Iterator<Item = u64> {
        let brings = |s: &Subscribed| matches!(s.use_, Use::Core(_) | Use::Pulls(_));
        self.iter()
            .filter(move |(_, s)| brings(s))
            .map(|(sid, _)| sid)
    }

    /// Ends those.
    pub(crate) fn end_of_handlers(&mut self) {
        self.end(|s| matches!(s.use_, Use::Core(_) | Use::Pulls(_)));
    }

    /// Makes a handler's pulls be answered to this pattern: before they are subscribed on a new connection.
    pub(crate) fn answer_to(&mut self, id: HandlerId, pattern: String) {
        let pulls = |s: &&mut Subscribed| matches!(s.use_, Use::Pulls(of) if of == id);
        let mut all = self
            .places
            .iter_mut()
            .filter_map(|place| place.subscribed.as_mut());
        if let Some(found) = all.find(pulls) {
            found.pattern = pattern;
        }
    }

    /// Forgets the numbers of those that ended: on a new connection all are given anew.
    pub(crate) fn renumber(&mut self) {
        self.places.retain(|place| place.subscribed.is_some());
        for (place, sid) in self.places.iter_mut().zip(1..) {
            place.sid = sid;
        }
        self.free.clear();
    }

    /// Notes which subscriptions of a handler hear what earlier ones hear too.
    fn cross(&mut self, id: HandlerId) {
        let own = |s: &Subscribed| matches!(s.use_, Use::Core(of) if of == id) && s.queue.is_none();
        let mut earlier = Patterns::default();
        for place in &mut self.places {
            let Some(subscribed) = place.subscribed.as_ref().filter(|s| own(s)) else {
                continue;
            };
            let pattern = subscribed.pattern.as_str();
            let meeting = earlier.meeting(pattern);
            place.crossing = meeting.into_iter().map(str::to_owned).collect();
            earlier.insert(pattern);
        }
    }

    /// Makes a handler's subscriptions these patterns: the numbers of those that ended, and of those that are new.
    pub(crate) fn set(
        &mut self,
        id: HandlerId,
        queue: Option<&str>,
        patterns: &[String],
    ) -> (Vec<u64>, Vec<u64>) {
        let wanted: Vec<&str> = without_covered(patterns).collect();
        let mut missing: HashSet<&str> = wanted.iter().copied().collect();
        let own = |s: &Subscribed| matches!(s.use_, Use::Core(of) if of == id);
        let ended = self.end(|s| own(s) && !missing.contains(s.pattern.as_str()));
        for (_, subscribed) in self.iter().filter(|(_, s)| own(s)) {
            missing.remove(subscribed.pattern.as_str());
        }
        let added = wanted
            .into_iter()
            .filter(|pattern| missing.contains(pattern))
            .map(|pattern| {
                self.add(Subscribed {
                    pattern: pattern.to_owned(),
                    queue: queue.map(str::to_owned),
                    use_: Use::Core(id),
                })
            })
            .collect();
        self.cross(id);
        (ended, added)
    }
}

/// The patterns that no other of them covers, each once: a message on two subscriptions of one handler would come twice.
fn without_covered(patterns: &[String]) -> impl Iterator<Item = &str> {
    let mut all = Patterns::default();
    let distinct: Vec<&str> = patterns
        .iter()
        .map(String::as_str)
        .filter(|pattern| all.insert(pattern))
        .collect();
    distinct
        .into_iter()
        .filter(move |pattern| all.covering(pattern).len() == 1)
}

/// The subscription to a shard's own confirmations.
pub(crate) fn to_confirms(confirms: &Confirms) -> Subscribed {
    Subscribed {
        pattern: confirms.pattern(),
        queue: None,
        use_: Use::Confirms,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const H: HandlerId = HandlerId(0);

    fn patterns(of: &[&str]) -> Vec<String> {
        of.iter().map(|s| (*s).to_owned()).collect()
    }

    #[test]
    fn a_pattern_that_another_covers_is_left_out() {
        let all = patterns(&["a.b", "a.*", "c", "a.*", "d.>", "d.e.f"]);
        assert!(without_covered(&all).eq(["a.*", "c", "d.>"]));
    }

    #[test]
    fn what_two_patterns_hear_is_the_first_ones_and_in_a_queue_group_nobodys() {
        let mut takes = Takes::default();
        takes.set(H, None, &patterns(&["a.*", "*.b", "c"]));
        let anothers =
            |takes: &Takes, sid, subject: &str| takes.is_anothers(sid, subject.as_bytes());
        assert!(
            !anothers(&takes, 1, "a.b")
                && anothers(&takes, 2, "a.b")
                && !anothers(&takes, 2, "x.b")
        );
        takes.set(HandlerId(1), None, &patterns(&["a.b"]));
        assert!(!anothers(&takes, 4, "a.b"), "it is another handler's");
        takes.set(H, None, &patterns(&["*.b", "c"]));
        assert!(!anothers(&takes, 2, "a.b"), "the first has ended");
        let mut takes = Takes::default();
        takes.set(H, Some("q"), &patterns(&["a.*", "*.b"]));
        assert!(!anothers(&takes, 2, "a.b"));
    }

    #[test]
    fn ten_thousand_subjects_are_set_and_changed() {
        let mut takes = Takes::default();
        let all = |from: usize| -> Vec<String> {
            (from..from + 10_000)
                .map(|n| format!("load.{n}.x"))
                .collect()
        };
        let (ended, added) = takes.set(H, None, &all(0));
        assert_eq!((ended.len(), added.len()), (0, 10_000));
        let (ended, added) = takes.set(H, None, &all(5_000));
        assert_eq!((ended.len(), added.len()), (5_000, 5_000));
        takes.renumber();
        assert_eq!(takes.iter().count(), 10_000);
    }

    #[test]
    fn only_what_changed_is_subscribed_and_ended_and_no_number_comes_twice() {
        let mut takes = Takes::default();
        assert_eq!(
            takes.set(H, Some("q"), &patterns(&["a", "b"])),
            (vec![], vec![1, 2])
        );
        assert_eq!(
            takes.set(H, Some("q"), &patterns(&["b", "c"])),
            (vec![1], vec![(1 << PLACE_BITS) + 1])
        );
        assert!(
            [1, 0, 9, 1 << PLACE_BITS]
                .iter()
                .all(|sid| takes.use_of(*sid).is_none())
        );
        assert!(matches!(
            takes.use_of((1 << PLACE_BITS) + 1),
            Some(Use::Core(H))
        ));
        assert_eq!(
            takes.set(HandlerId(1), None, &patterns(&["b"])),
            (vec![], vec![3])
        );
        takes.renumber();
        let all: Vec<_> = takes
            .iter()
            .map(|(sid, s)| (sid, s.pattern.as_str()))
            .collect();
        assert_eq!(all, [(1, "c"), (2, "b"), (3, "b")]);
    }

    #[test]
    fn what_comes_and_goes_leaves_the_table_at_its_size() {
        let (mut takes, mut numbers) = (Takes::default(), HashSet::new());
        takes.set(H, Some("q"), &patterns(&["a", "b"]));
        for _ in 0..100_000 {
            let sid = takes.add(Subscribed {
                pattern: "c".to_owned(),
                queue: None,
                use_: Use::Confirms,
            });
            assert!(numbers.insert(sid), "{sid} came twice");
            assert_eq!(takes.end(|s| matches!(s.use_, Use::Confirms)), [sid]);
            assert!(takes.use_of(sid).is_none());
        }
        assert_eq!((takes.places.len(), takes.free.len()), (3, 1));
    }
}
