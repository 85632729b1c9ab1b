//! A record's rows as cells of tables.

use crate::notes::{Row, number, spread};

/// What stands where nothing was measured.
pub(super) const NONE: &str = "–";

/// The rows of a record.
#[derive(Clone, Copy)]
pub(super) struct Rows<'a>(pub(super) &'a [Row]);

impl<'a> Rows<'a> {
    pub(super) fn group(self, group: &str) -> impl Iterator<Item = &'a Row> {
        self.0.iter().filter(move |row| row.group == group)
    }

    pub(super) fn find(self, group: &str, case: &str) -> Option<&'a Row> {
        self.group(group).find(|row| row.case == case)
    }

    pub(super) fn median(self, group: &str, case: &str) -> Option<f64> {
        self.find(group, case).map(Row::median)
    }

    /// Median, and in parentheses the least and the most.
    pub(super) fn told(self, group: &str, case: &str) -> String {
        self.find(group, case).map_or_else(|| NONE.to_owned(), told)
    }

    /// The median alone.
    pub(super) fn middle(self, group: &str, case: &str) -> String {
        let median = self.median(group, case);
        median.map_or_else(|| NONE.to_owned(), number)
    }

    /// The median of the ratios of the same round.
    pub(super) fn ratio(self, group: &str, a: &str, b: &str) -> String {
        let (Some(a), Some(b)) = (self.find(group, a), self.find(group, b)) else {
            return NONE.to_owned();
        };
        let rounds = a.rounds.iter().zip(&b.rounds);
        number(spread(rounds.map(|(a, b)| a / b).collect())[1])
    }
}

pub(super) fn told(row: &Row) -> String {
    let [least, median, most] = row.spread();
    match row.rounds.len() {
        1 => number(median),
        _ => format!("{} ({}, {})", number(median), number(least), number(most)),
    }
}

/// A table; none without rows.
pub(super) fn table(head: &[&str], rows: Vec<Vec<String>>) -> Option<String> {
    if rows.is_empty() {
        return None;
    }
    let head = format!(
        "| {} |\n|{}\n",
        head.join(" | "),
        " --- |".repeat(head.len())
    );
    let row = |cells: Vec<String>| format!("| {} |\n", cells.join(" | "));
    Some(head + &rows.into_iter().map(row).collect::<String>())
}
