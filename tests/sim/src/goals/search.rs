//! The highest rate that a policy sustains: on a grid of 1 % steps, the same for every policy of a row.

use std::collections::HashMap;
use std::rc::Rc;

use super::rows::{Arrival, Row};

/// Steps of the grid: 1.01^-460 is about 1 % of the top.
const STEPS: usize = 460;
/// Steps above the edge that bisection found which are tried as well: near the edge, feasible and not may alternate.
const BEYOND: usize = 6;
/// Traces kept.
const TRACES_MAX: usize = 60;

/// The rates of a row, and the traces at some of them.
pub(crate) struct Grid<'a> {
    row: &'a Row,
    top: f64,
    traces: HashMap<usize, Rc<Vec<Arrival>>>,
}

impl<'a> Grid<'a> {
    pub(crate) fn new(row: &'a Row) -> Self {
        Self {
            row,
            top: row.rate_top(),
            traces: HashMap::new(),
        }
    }

    pub(crate) fn rate(&self, step: usize) -> f64 {
        self.top * 1.01f64.powi(-(step as i32))
    }

    pub(crate) fn trace(&mut self, step: usize) -> Rc<Vec<Arrival>> {
        if self.traces.len() > TRACES_MAX {
            self.traces.clear();
        }
        let rate = self.rate(step);
        let row = self.row;
        self.traces
            .entry(step)
            .or_insert_with(|| Rc::new(row.arrivals(rate)))
            .clone()
    }

    /// The highest rate (messages per ns) at which `meets` holds; 0 if there is none on the grid.
    pub(crate) fn highest(&mut self, mut meets: impl FnMut(&[Arrival]) -> bool) -> f64 {
        let (mut bad, mut good) = (0, STEPS);
        while good - bad > 1 {
            let middle = (good + bad) / 2;
            if meets(&self.trace(middle)) {
                good = middle
            } else {
                bad = middle
            }
        }
        if good == STEPS {
            return 0.0;
        }
        let above = good.saturating_sub(BEYOND)..bad;
        let best = above
            .into_iter()
            .find(|&step| meets(&self.trace(step)))
            .unwrap_or(good);
        self.rate(best)
    }
}
