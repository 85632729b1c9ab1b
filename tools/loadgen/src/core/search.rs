//! The search for the highest rate that meets an objective: doubled until one does not, then halved between.

/// Most steps of a search: doubling from 1 to 100,000,000 takes 27, and 1 % between them 7.
pub(crate) const STEPS_MAX: usize = 40;

/// A search, told how each rate did.
#[derive(Debug, Clone)]
pub(crate) struct Search {
    /// The highest that met it.
    met: Option<f64>,
    /// The lowest that did not.
    missed: Option<f64>,
    first: f64,
    least: f64,
    most: f64,
    /// How close the two may be, as a share, when the search ends.
    precision: f64,
    steps: usize,
}

impl Search {
    /// From this rate on, between two others.
    pub(crate) fn new(first: f64, (least, most): (f64, f64), precision: f64) -> Self {
        Self {
            met: None,
            missed: None,
            first: first.clamp(least, most),
            least,
            most,
            precision,
            steps: 0,
        }
    }

    /// The rate to try next; none at the end.
    pub(crate) fn next_rate(&self) -> Option<f64> {
        if self.steps >= STEPS_MAX {
            return None;
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

    /// Whether that rate met the objective.
    pub(crate) fn told(&mut self, rate: f64, met: bool) {
        self.steps += 1;
        match met {
            true => self.met = Some(self.met.map_or(rate, |best| best.max(rate))),
            false => self.missed = Some(self.missed.map_or(rate, |least| least.min(rate))),
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

    /// The best that is found where rates up to `capacity` meet the objective, and how many were tried.
    fn search(capacity: f64, first: f64) -> (Option<f64>, usize) {
        let mut search = Search::new(first, (1.0, 1e8), 0.05);
        let mut tried = 0;
        while let Some(rate) = search.next_rate() {
            assert!((1.0..=1e8).contains(&rate));
            search.told(rate, rate <= capacity);
            tried += 1;
        }
        (search.best(), tried)
    }

    proptest! {
        #[test]
        fn the_highest_rate_is_found_within_the_precision(capacity in 1.0..1e8, first in 1.0..1e8) {
            let (best, tried) = search(capacity, first);
            let best = best.unwrap();
            prop_assert!(best <= capacity && capacity <= best * 1.05, "{best} of {capacity}");
            prop_assert!(tried <= STEPS_MAX);
        }
    }

    #[test]
    fn a_search_ends_at_its_bounds() {
        assert_eq!(search(0.5, 1_000.0).0, None);
        assert_eq!(search(1e9, 1_000.0).0, Some(1e8));
    }
}
