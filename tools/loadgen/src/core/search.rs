//! The search for the highest rate that meets an objective: doubled until one does not, then halved between. A rate that only just
//! missed it is tried once more before that counts: a hiccup of the machine is no bound of the target.

/// Most rates of a search, each tried once or twice: doubling from 1 to 100,000,000 takes 27, and 1 % between them 7.
pub(crate) const RATES_MAX: usize = 40;

/// How a rate did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tried {
    /// It met the objective.
    Met,
    /// It missed it by little.
    Nearly,
    /// It missed it.
    Missed,
}

/// A search, told how each rate did.
#[derive(Debug, Clone)]
pub(crate) struct Search {
    /// The highest that met it.
    met: Option<f64>,
    /// The lowest that did not.
    missed: Option<f64>,
    /// One that nearly met it, and is to be tried once more.
    again: Option<f64>,
    first: f64,
    least: f64,
    most: f64,
    /// How close the two may be, as a share, when the search ends.
    precision: f64,
    /// Rates that are decided.
    decided: usize,
}

impl Search {
    /// From this rate on, between two others.
    pub(crate) fn new(first: f64, (least, most): (f64, f64), precision: f64) -> Self {
        Self {
            met: None,
            missed: None,
            again: None,
            first: first.clamp(least, most),
            least,
            most,
            precision,
            decided: 0,
        }
    }

    /// The rate to try next; none at the end.
    pub(crate) fn next_rate(&self) -> Option<f64> {
        if self.again.is_some() || self.decided >= RATES_MAX {
            return self.again;
        }
        match (self.met, self.missed) {
            (None, None) => Some(self.first),
            (Some(met), None) => (met < self.most).then(|| (2.0 * met).min(self.most)),
            (None, Some(missed)) => (missed > self.least).then(|| (missed / 2.0).max(self.least)),
            (Some(met), Some(missed)) => {
                (missed / met > 1.0 + self.precision).then(|| (met * missed).sqrt())
            }
        }
    }

    /// How that rate did. Of two tries, the second decides.
    pub(crate) fn told(&mut self, rate: f64, tried: Tried) {
        let is_second = self.again.take().is_some();
        if tried == Tried::Nearly && !is_second {
            self.again = Some(rate);
            return;
        }
        self.decided += 1;
        match tried {
            Tried::Met => self.met = Some(self.met.map_or(rate, |best| best.max(rate))),
            Tried::Nearly | Tried::Missed => {
                self.missed = Some(self.missed.map_or(rate, |least| least.min(rate)));
            }
        }
    }

    /// The highest rate that met it.
    pub(crate) fn best(&self) -> Option<f64> {
        self.met
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The best that is found where rates do as `tried` says, told which try of all it is; and how many tries there were.
    fn search(first: f64, tried: impl Fn(f64, usize) -> Tried) -> (Option<f64>, usize) {
        let mut search = Search::new(first, (1.0, 1e8), 0.05);
        let mut tries = 0;
        while let Some(rate) = search.next_rate() {
            assert!((1.0..=1e8).contains(&rate));
            search.told(rate, tried(rate, tries));
            tries += 1;
        }
        (search.best(), tries)
    }

    /// Up to `capacity` the objective is met, nearly so up to a tenth above it, and missed beyond.
    fn of(capacity: f64) -> impl Fn(f64, usize) -> Tried {
        move |rate, _| match rate / capacity {
            ..=1.0 => Tried::Met,
            ..=1.1 => Tried::Nearly,
            _ => Tried::Missed,
        }
    }

    proptest! {
        #[test]
        fn the_highest_rate_is_found_within_the_precision(capacity in 1.0..1e8, first in 1.0..1e8) {
            let (best, tries) = search(first, of(capacity));
            let best = best.unwrap();
            prop_assert!(best <= capacity && capacity <= best * 1.05, "{best} of {capacity}");
            prop_assert!(tries <= 2 * RATES_MAX);
        }

        #[test]
        fn hiccups_that_do_not_come_twice_end_no_search_low(capacity in 1.0..1e8, first in 1.0..1e8, hiccups: u64) {
            // Where a bit is set, a try that would have met the objective nearly does; not in two tries one after another.
            let hiccups = hiccups & !(hiccups << 1);
            let (best, tries) = search(first, |rate, tries| match of(capacity)(rate, tries) {
                Tried::Met if tries < 64 && hiccups >> tries & 1 == 1 => Tried::Nearly,
                tried => tried,
            });
            let best = best.unwrap();
            prop_assert!(best <= capacity && capacity <= best * 1.05, "{best} of {capacity}");
            prop_assert!(tries <= 2 * RATES_MAX);
        }
    }

    #[test]
    fn a_rate_that_nearly_met_it_is_tried_once_more_and_no_oftener() {
        for (second, next) in [
            (Tried::Met, 8.0),
            (Tried::Nearly, 8.0_f64.sqrt()),
            (Tried::Missed, 8.0_f64.sqrt()),
        ] {
            let mut search = Search::new(2.0, (1.0, 100.0), 0.05);
            search.told(2.0, Tried::Met);
            search.told(4.0, Tried::Nearly);
            assert_eq!(search.next_rate(), Some(4.0));
            search.told(4.0, second);
            assert_eq!(search.next_rate(), Some(next), "{second:?}");
        }
    }

    #[test]
    fn a_rate_that_missed_it_is_not_tried_again() {
        let mut search = Search::new(2.0, (1.0, 100.0), 0.05);
        search.told(2.0, Tried::Missed);
        assert_eq!(search.next_rate(), Some(1.0));
    }

    #[test]
    fn a_search_ends_at_its_bounds_and_with_its_rates() {
        assert_eq!(search(1_000.0, of(0.5)).0, None);
        assert_eq!(search(1_000.0, of(1e9)).0, Some(1e8));
        let mut endless = Search::new(1.0, (1.0, f64::MAX), 0.05);
        let mut tries = 0;
        while let Some(rate) = endless.next_rate() {
            tries += 1;
            let tried = if tries % 2 == 0 {
                Tried::Met
            } else {
                Tried::Nearly
            };
            endless.told(rate, tried);
        }
        assert_eq!(tries, 2 * RATES_MAX);
    }
}
