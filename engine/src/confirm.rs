//! Batches between release and settlement: their sends are out, and some are not confirmed yet.
//!
//! Owns the way released → confirmed → settled. An input is settled only after every send of its batch that needs it has been
//! confirmed; the shard goes on meanwhile. Where it is known which input a send is for, one that fails is that input's alone. Pure: handed the time and what the transport reports.

use crate::message::{HandlerId, Message};
use crate::outbox::{Mark, Run};
use crate::outcome::Fault;
use crate::time::Instant;

/// One released send, by which the transport reports what became of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct SendId {
    /// The release it belongs to.
    pub(crate) release: u64,
    /// Its place among the sends of its release.
    pub(crate) index: u32,
}

/// Why a send is not known to be stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Unsent {
    /// Its taker said no, for this reason.
    Refused(String),
    /// The connection was lost, or nothing was heard in time: it may be stored or not.
    Disconnected,
}

/// What became of a send at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Sent {
    /// It needs no confirmation.
    Done,
    /// Its confirmation, or its failure, will be reported.
    #[allow(
        dead_code,
        reason = "what is sent in process is there at once; the simulator's sends are not"
    )]
    Pending,
    /// It was refused, for this reason.
    Refused(String),
}

/// What the transport reports of a send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Report {
    pub(crate) id: SendId,
    pub(crate) result: Result<(), Unsent>,
}

/// What waits for confirmation.
#[derive(Debug)]
pub(crate) enum Held {
    /// The inputs of a successful call, with what its guest said of each.
    Inputs(Vec<(Message, Option<Mark>)>),
    /// A message that was given up on, whose dead letter is out.
    Letter(Letter),
}

/// A message on its way to the dead letters.
#[derive(Debug)]
pub(crate) struct Letter {
    pub(crate) message: Message,
    /// The fault of its last call.
    pub(crate) fault: Fault,
    /// Times that its letter was not taken.
    pub(crate) refusals: u32,
}

/// Which sends of a release are for which of its inputs, and why those failed that did.
#[derive(Debug, Default)]
pub(crate) struct Shares {
    /// In order. Empty where nobody says: then each send is for all inputs.
    runs: Vec<Run>,
    /// By input, 0 where each send is for all: of several reasons the first.
    unsent: Vec<(u32, Unsent)>,
}

impl Shares {
    /// None has failed. Without runs, each send is for all inputs.
    pub(crate) fn new(runs: Vec<Run>) -> Self {
        Self {
            runs,
            unsent: Vec::new(),
        }
    }

    /// Notes that a send failed.
    pub(crate) fn fail(&mut self, send: u32, why: Unsent) {
        let input = match self.runs.is_empty() {
            true => 0,
            false => self.runs[self.place(send)].input,
        };
        if let Err(place) = self
            .unsent
            .binary_search_by_key(&input, |(input, _)| *input)
        {
            self.unsent.insert(place, (input, why));
        }
    }

    /// Whether it is known which input a send is for.
    pub(crate) fn are_known(&self) -> bool {
        !self.runs.is_empty()
    }

    /// Why a send of this input failed, if one did.
    pub(crate) fn why(&self, input: usize) -> Option<&Unsent> {
        if self.runs.is_empty() {
            return self.first();
        }
        let found = self
            .unsent
            .binary_search_by_key(&input, |(input, _)| *input as usize);
        found.ok().map(|place| &self.unsent[place].1)
    }

    /// Why a send failed, if any did.
    pub(crate) fn first(&self) -> Option<&Unsent> {
        self.unsent.first().map(|(_, why)| why)
    }

    fn place(&self, send: u32) -> usize {
        let place = self.runs.partition_point(|run| run.until <= send);
        assert!(place < self.runs.len(), "each send is for an input");
        place
    }
}

/// A release that is not settled yet.
#[derive(Debug)]
pub(crate) struct Release {
    handler: HandlerId,
    held: Held,
    shares: Shares,
    /// Sends that nothing was heard of, by their place.
    pending: Pending,
    until: Instant,
}

impl Release {
    /// What is held until these sends are reported, or `until`.
    pub(crate) fn new(
        handler: HandlerId,
        held: Held,
        pending: Pending,
        shares: Shares,
        until: Instant,
    ) -> Self {
        Self {
            handler,
            held,
            shares,
            pending,
            until,
        }
    }

    /// Whether nothing more is to be reported of it.
    pub(crate) fn is_over(&self) -> bool {
        self.pending.is_empty()
    }

    /// Whose it is, what was held, and why not all of it was sent.
    pub(crate) fn into_parts(self) -> (HandlerId, Held, Shares) {
        (self.handler, self.held, self.shares)
    }
}

/// Which sends of a release are to be reported: few releases have more than 64.
#[derive(Debug, Default)]
pub(crate) struct Pending {
    words: Vec<u64>,
    count: u32,
}

impl Pending {
    /// Adds a send.
    pub(crate) fn add(&mut self, index: u32) {
        let (word, bit) = (index as usize / 64, 1 << (index % 64));
        if self.words.len() <= word {
            self.words.resize(word + 1, 0);
        }
        debug_assert!(self.words[word] & bit == 0, "a send is added once");
        self.words[word] |= bit;
        self.count += 1;
    }

    /// Takes one out. Whether it was in: a report that comes twice counts once.
    fn take(&mut self, index: u32) -> bool {
        let (word, bit) = (index as usize / 64, 1 << (index % 64));
        let Some(word) = self.words.get_mut(word).filter(|word| **word & bit != 0) else {
            return false;
        };
        *word &= !bit;
        self.count -= 1;
        true
    }

    /// Those that are in.
    fn iter(&self) -> impl Iterator<Item = u32> {
        let words = self.words.iter().zip(0u32..);
        words.flat_map(|(word, place)| {
            let bits = (0..64).filter(move |bit| word >> bit & 1 == 1);
            bits.map(move |bit| place * 64 + bit)
        })
    }

    /// Whether nothing is to be reported.
    pub(crate) fn is_empty(&self) -> bool {
        self.count == 0
    }
}

/// The releases of one shard that are not settled yet. Bounded by each handler's `unconfirmed_batches_max`, and by admission for
/// dead letters. A place is used again once its release is settled; a number has the place in its lower half, and in its upper
/// how often that was used, so that a late report is known to be of another.
#[derive(Debug, Default)]
pub(crate) struct Releases {
    places: Vec<(u32, Option<Release>)>,
    free: Vec<u32>,
    /// No release is overdue before.
    earliest: Option<Instant>,
}

impl Releases {
    /// The number that the next release has.
    pub(crate) fn next_id(&self) -> u64 {
        let place = self
            .free
            .last()
            .copied()
            .unwrap_or(self.places.len() as u32);
        let used = self.places.get(place as usize).map_or(0, |(used, _)| *used);
        u64::from(used) << 32 | u64::from(place)
    }

    /// Keeps a release, whose number was [`Releases::next_id`], until its pending sends are reported, or its time is over.
    pub(crate) fn keep(&mut self, release: Release) {
        assert!(
            !release.is_over(),
            "a release without pending sends is settled at once"
        );
        let until = release.until;
        self.earliest = Some(self.earliest.map_or(until, |earliest| earliest.min(until)));
        match self.free.pop() {
            Some(place) => self.places[place as usize].1 = Some(release),
            None => self.places.push((0, Some(release))),
        }
    }

    /// Releases that are open.
    pub(crate) fn len(&self) -> usize {
        self.places.len() - self.free.len()
    }

    /// Takes a report in: the release, if it was the last that was missing. Unknown and repeated reports change nothing.
    pub(crate) fn report(&mut self, report: Report) -> Option<Release> {
        let SendId { release, index } = report.id;
        let place = release as u32 as usize;
        let (used, kept) = self.places.get_mut(place)?;
        let release = kept
            .as_mut()
            .filter(|_| u64::from(*used) == release >> 32)?;
        if !release.pending.take(index) {
            return None;
        }
        if let Err(why) = report.result {
            release.shares.fail(index, why);
        }
        let over = release.is_over();
        over.then(|| self.close(place)).flatten()
    }

    /// A release that waited too long: it counts as disconnected.
    pub(crate) fn overdue(&mut self, now: Instant) -> Option<Release> {
        if self.earliest.is_none_or(|earliest| now < earliest) {
            return None;
        }
        let late = |kept: &Option<Release>| kept.as_ref().is_some_and(|r| r.until <= now);
        if let Some(place) = self.places.iter().position(|(_, kept)| late(kept)) {
            let mut release = self.close(place)?;
            for send in release.pending.iter() {
                release.shares.fail(send, Unsent::Disconnected);
            }
            return Some(release);
        }
        let open = self.places.iter().filter_map(|(_, kept)| kept.as_ref());
        self.earliest = open.map(|r| r.until).min();
        None
    }

    /// When the next release may be overdue.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.earliest.filter(|_| self.len() > 0)
    }

    fn close(&mut self, place: usize) -> Option<Release> {
        let (used, kept) = &mut self.places[place];
        let release = kept.take()?;
        *used = used.wrapping_add(1);
        self.free.push(place as u32);
        Some(release)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::time::Duration;

    const MS: Duration = Duration::from_millis(1);

    fn keep(releases: &mut Releases, sends: u32, until: Instant) -> u64 {
        let id = releases.next_id();
        let mut pending = Pending::default();
        (0..sends).for_each(|index| pending.add(index));
        let held = Held::Inputs(Vec::new());
        let shares = Shares::default();
        releases.keep(Release::new(HandlerId(0), held, pending, shares, until));
        id
    }

    fn report(release: u64, index: u32, result: Result<(), Unsent>) -> Report {
        let id = SendId { release, index };
        Report { id, result }
    }

    #[test]
    fn a_release_is_over_with_its_last_report_and_a_repeated_one_counts_once() {
        let start = crate::testing::start();
        let mut r = Releases::default();
        let id = keep(&mut r, 100, start + MS);
        for index in 0..99 {
            assert!(r.report(report(id, index, Ok(()))).is_none());
            assert!(r.report(report(id, index, Ok(()))).is_none(), "again");
        }
        let (_, _, shares) = r
            .report(report(id, 99, Ok(())))
            .expect("the last")
            .into_parts();
        assert_eq!(shares.first(), None);
        assert!(r.report(report(id, 99, Ok(()))).is_none(), "it is gone");
        assert!(
            r.report(report(id + 7, 0, Ok(()))).is_none(),
            "there never was such a one"
        );
        assert_eq!((r.len(), r.due()), (0, None));
    }

    #[test]
    fn one_that_stays_open_keeps_no_place_of_those_that_come_and_go() {
        let start = crate::testing::start();
        let mut r = Releases::default();
        let stuck = keep(&mut r, 1, start + MS);
        let mut before = None;
        for _ in 0..10_000 {
            let id = keep(&mut r, 1, start + MS);
            assert_ne!(before.replace(id), Some(id));
            assert!(r.report(report(id, 0, Ok(()))).is_some());
        }
        assert_eq!((r.places.len(), r.len()), (2, 1));
        let late = before.expect("the last");
        assert!(r.report(report(late, 0, Ok(()))).is_none(), "it is gone");
        assert!(r.report(report(stuck, 0, Ok(()))).is_some());
    }

    #[test]
    fn one_refusal_is_kept_until_all_is_known() {
        let start = crate::testing::start();
        let mut r = Releases::default();
        let id = keep(&mut r, 2, start + MS);
        assert!(
            r.report(report(id, 0, Err(Unsent::Refused("full".into()))))
                .is_none()
        );
        let over = r.report(report(id, 1, Ok(()))).expect("the last");
        let refused = Unsent::Refused("full".into());
        assert_eq!(over.into_parts().2.first(), Some(&refused));
    }

    #[test]
    fn a_failure_is_that_of_the_input_whose_send_it_is() {
        let start = crate::testing::start();
        // Of four inputs the second and the last send: three and two.
        let run = |input, until| Run { input, until };
        let mut shares = Shares::new(vec![run(1, 3), run(3, 5)]);
        shares.fail(2, Unsent::Refused("a".into()));
        shares.fail(0, Unsent::Disconnected);
        let mut pending = Pending::default();
        (3..5).for_each(|send| pending.add(send));
        let mut r = Releases::default();
        let held = Held::Inputs(Vec::new());
        r.keep(Release::new(
            HandlerId(0),
            held,
            pending,
            shares,
            start + MS,
        ));
        assert!(r.report(report(0, 3, Ok(()))).is_none());
        let (_, _, shares) = r.overdue(start + MS).expect("it").into_parts();
        let why: Vec<_> = (0..4).map(|input| shares.why(input).cloned()).collect();
        let refused = Unsent::Refused("a".into());
        assert_eq!(why, [None, Some(refused), None, Some(Unsent::Disconnected)]);
    }

    #[test]
    fn what_is_not_heard_of_in_time_counts_as_disconnected() {
        let start = crate::testing::start();
        let mut r = Releases::default();
        keep(&mut r, 1, start + 2 * MS);
        keep(&mut r, 1, start + MS);
        assert_eq!(r.due(), Some(start + MS));
        assert!(r.overdue(start + MS - Duration::from_nanos(1)).is_none());
        let over = r.overdue(start + MS).expect("the second");
        assert_eq!(over.into_parts().2.first(), Some(&Unsent::Disconnected));
        assert!(r.overdue(start + MS).is_none());
        assert_eq!((r.len(), r.due()), (1, Some(start + 2 * MS)));
    }

    proptest! {
        #[test]
        fn every_release_is_over_once(sends in prop::collection::vec(1u32..100, 1..40), order in prop::collection::vec(any::<prop::sample::Index>(), 0..6_000)) {
            let start = crate::testing::start();
            let mut r = Releases::default();
            let mut ids = Vec::new();
            for n in &sends {
                let id = keep(&mut r, *n, start + MS);
                ids.extend((0..*n).map(|index| (id, index)));
            }
            let mut over = 0;
            for pick in order {
                let (id, index) = ids[pick.index(ids.len())];
                over += usize::from(r.report(report(id, index, Ok(()))).is_some());
            }
            while r.overdue(start + MS).is_some() {
                over += 1;
            }
            prop_assert_eq!((over, r.len()), (sends.len(), 0));
        }
    }
}
