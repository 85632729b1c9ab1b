//! The company a handler keeps: the strictest budget among the others that had messages lately on its shard.
//!
//! A call is not interrupted for them, so it should not be longer than they can wait. Pure: handed the time.

use std::time::Duration;

use crate::message::HandlerId;
use crate::time::Instant;

/// For how long at least a handler counts as company after its last message; at most twice that.
const LATELY: Duration = Duration::from_millis(100);

/// The two strictest budgets seen in a while, of different handlers.
#[derive(Debug, Clone, Copy, Default)]
struct Strictest {
    first: Option<(Duration, HandlerId)>,
    second: Option<(Duration, HandlerId)>,
}

impl Strictest {
    fn note(&mut self, id: HandlerId, budget: Duration) {
        let seen = Some((budget, id));
        match (self.first, self.second) {
            (Some((_, known)), _) if known == id => self.first = seen,
            (Some((least, _)), _) if budget < least => {
                self.second = self.first;
                self.first = seen;
            }
            (None, _) => self.first = seen,
            (_, Some((least, known))) if known != id && budget >= least => {}
            _ => self.second = seen,
        }
    }

    fn beside(&self, id: HandlerId) -> Option<Duration> {
        let others = [self.first, self.second].into_iter().flatten();
        others
            .filter(|(_, other)| *other != id)
            .map(|(budget, _)| budget)
            .min()
    }
}

/// What is known of the handlers that share a shard.
#[derive(Debug)]
pub(crate) struct Company {
    now: Strictest,
    before: Strictest,
    until: Instant,
}

impl Company {
    /// Nobody has been seen yet.
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            now: Strictest::default(),
            before: Strictest::default(),
            until: now + LATELY,
        }
    }

    /// Notes that a message came for a handler of this budget.
    pub(crate) fn note(&mut self, id: HandlerId, budget: Duration, now: Instant) {
        if now >= self.until {
            self.before = match now < self.until + LATELY {
                true => self.now,
                false => Strictest::default(),
            };
            self.now = Strictest::default();
            self.until = now + LATELY;
        }
        self.now.note(id, budget);
    }

    /// The strictest budget of the others, if there were any lately.
    pub(crate) fn beside(&self, id: HandlerId, now: Instant) -> Option<Duration> {
        let current = (now < self.until + LATELY).then_some(self.now);
        let before = (now < self.until).then_some(self.before);
        let both = [current, before].into_iter().flatten();
        both.filter_map(|strictest| strictest.beside(id)).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn the_strictest_of_the_others_counts_until_it_is_gone_for_long() {
        let start = crate::testing::start();
        let (a, b, c) = (HandlerId(0), HandlerId(1), HandlerId(2));
        let mut company = Company::new(start);
        let at = |ms| start + MS * ms;
        company.note(a, MS, start);
        assert_eq!(company.beside(a, start), None);
        assert_eq!(company.beside(b, start), Some(MS));
        company.note(b, 20 * MS, start);
        company.note(c, 5 * MS, start);
        company.note(a, MS, start);
        assert_eq!(company.beside(a, start), Some(5 * MS));
        assert_eq!(company.beside(c, start), Some(MS));
        company.note(b, 20 * MS, at(100));
        assert_eq!(company.beside(b, at(100)), Some(MS), "seen lately");
        company.note(b, 20 * MS, at(200));
        assert_eq!(company.beside(b, at(200)), None);
        assert_eq!(company.beside(a, at(399)), Some(20 * MS));
        assert_eq!(company.beside(a, at(400)), None, "nobody came since");
        company.note(b, 20 * MS, at(900));
        assert_eq!(company.beside(b, at(900)), None);
    }
}
