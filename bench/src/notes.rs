//! What a run has measured: rows that the table, the goals and the record are made of.
//!
//! All measuring is begun by the main thread, which keeps them; whoever measures something says so with [`note`].

use std::cell::{Cell, RefCell};

use serde::{Deserialize, Serialize};

/// One thing that was measured: all rounds of it, in their order. Rows of one group that were measured in turn have as many rounds,
/// and ratios are of the same round.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Row {
    /// What it belongs to.
    pub group: String,
    /// What was measured.
    pub case: String,
    /// Of what the numbers are.
    pub unit: String,
    /// A number a round.
    pub rounds: Vec<f64>,
}

impl Row {
    /// Least, median and most of the rounds.
    #[must_use]
    pub fn spread(&self) -> [f64; 3] {
        spread(self.rounds.clone())
    }

    /// The median.
    #[must_use]
    pub fn median(&self) -> f64 {
        self.spread()[1]
    }
}

thread_local! {
    static ROWS: RefCell<Vec<Row>> = const { RefCell::new(Vec::new()) };
    static IS_QUIET: Cell<bool> = const { Cell::new(false) };
}

/// Rows are kept and no more printed from now on: for who looks at them alone.
pub fn quiet() {
    IS_QUIET.set(true);
}

/// Keeps a row, and prints it.
pub fn note(group: &str, case: impl Into<String>, unit: &str, rounds: impl Into<Vec<f64>>) {
    let row = Row {
        group: group.to_owned(),
        case: case.into(),
        unit: unit.to_owned(),
        rounds: rounds.into(),
    };
    if !IS_QUIET.get() {
        print!("{}", line(&row));
    }
    ROWS.with_borrow_mut(|rows| rows.push(row));
}

/// All rows so far, which are then forgotten.
#[must_use]
pub fn take() -> Vec<Row> {
    ROWS.take()
}

/// A row as a line of the table.
#[must_use]
pub fn line(row: &Row) -> String {
    let [least, median, most] = row.spread();
    format!(
        "{:<14} {:<44} {:>12} {:>26}  {}\n",
        row.group,
        row.case,
        number(median),
        format!("({}, {})", number(least), number(most)),
        row.unit
    )
}

/// A number with three digits that count.
#[must_use]
pub fn number(value: f64) -> String {
    match value.abs() {
        size if size >= 100.0 || size == 0.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        size if size >= 0.1 => format!("{value:.3}"),
        _ => format!("{value:.5}"),
    }
}

/// Least, median, most.
#[must_use]
pub fn spread(mut values: Vec<f64>) -> [f64; 3] {
    values.sort_by(f64::total_cmp);
    match values.len() {
        0 => [f64::NAN; 3],
        n => [values[0], values[n / 2], values[n - 1]],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_kept_in_order_and_taken_once() {
        note("g", "a", "ns", [3.0, 1.0, 2.0]);
        note("g", "b", "ns", [1.0]);
        let rows = take();
        assert_eq!(rows.len(), 2);
        assert_eq!((rows[0].spread(), rows[0].median()), ([1.0, 2.0, 3.0], 2.0));
        assert!(take().is_empty());
    }
}
