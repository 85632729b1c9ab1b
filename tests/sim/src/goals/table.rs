//! The table: a line a row, and what they come to together.

use std::io::{self, Write};

use super::fixed;
use super::rows::Row;

/// What was found out about a row. Rates in messages per ns.
pub(crate) struct Line<'a> {
    pub(crate) row: &'a Row,
    pub(crate) ours: f64,
    /// The highest rate of each of [`fixed::settings`].
    pub(crate) fixed: Vec<f64>,
}

impl Line<'_> {
    pub(crate) fn best(&self) -> f64 {
        self.fixed.iter().copied().fold(0.0, f64::max)
    }
}

/// A setting's size, and linger as a part of the budget.
fn setting(index: usize) -> String {
    let (size, linger) = fixed::settings().nth(index).unwrap_or_default();
    if linger == 0.0 {
        format!("{size}, 0")
    } else {
        format!("{size}, 1/{}", (1.0 / linger).round())
    }
}

/// The setting whose worst ratio to each row's best is the best, and that ratio's row.
fn single(lines: &[Line]) -> (usize, usize) {
    let worst = |i: usize| {
        let ratio = |l: &Line| l.fixed[i] / l.best();
        lines
            .iter()
            .map(ratio)
            .enumerate()
            .min_by(|a, b| a.1.total_cmp(&b.1))
            .unwrap_or((0, 0.0))
    };
    let best = (0..fixed::settings().count())
        .max_by(|&a, &b| worst(a).1.total_cmp(&worst(b).1))
        .unwrap_or(0);
    (best, worst(best).0)
}

/// Prints the lines and whether the goals are met.
pub(crate) fn print(lines: &[Line<'_>], out: &mut impl Write) -> io::Result<bool> {
    let (one, worst_row) = single(lines);
    writeln!(
        out,
        "{:20} {:>9} {:>22} {:>14} {:>14} {:>6}   {:>8} of best",
        "row",
        "budget",
        "best fixed (n, linger)",
        "its msgs/s",
        "ours msgs/s",
        "ratio",
        setting(one)
    )?;
    for line in lines {
        let best = line.best();
        let at = line.fixed.iter().position(|&r| r == best).unwrap_or(0);
        writeln!(
            out,
            "{:20} {:>6} us {:>22} {:>14.0} {:>14.0} {:>6.3}   {:>8.3}",
            line.row.name,
            line.row.handlers[0].budget_ns / 1000,
            setting(at),
            best * 1e9,
            line.ours * 1e9,
            line.ours / best,
            line.fixed[one] / best
        )?;
    }
    let least = lines
        .iter()
        .map(|l| l.ours / l.best())
        .fold(f64::MAX, f64::min);
    let gain = lines[worst_row].ours / lines[worst_row].fixed[one];
    writeln!(
        out,
        "least ratio to the best fixed of a row: {least:.3} (goal 0.95)"
    )?;
    writeln!(
        out,
        "best single fixed: {}; worst in '{}', where ours is x{gain:.2} (goal 1.2)",
        setting(one),
        lines[worst_row].row.name
    )?;
    Ok(least >= 0.95 && gain >= 1.2)
}
