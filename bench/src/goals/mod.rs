//! The goals, each beside what a run has measured: met, missed and by how much, or pending where it was not measured; and those that a test
//! holds. Nothing else here or in PERF.md judges one.

mod list;

use self::list::Of::{Held, Ratio, Row as One};
use self::list::{COMPARED, GOALS, Goal};
pub use self::list::{ELAPSED, RUN};
use crate::notes::{Row, number, spread};

/// What has become of a goal.
#[derive(Debug, Clone, PartialEq)]
pub enum Verdict {
    /// The median of the rounds, which is good enough.
    Met(f64),
    /// The median, which is not, and by how many percent of the limit.
    Missed(f64, f64),
    /// No number of a run: its command is a test that fails where it is not kept.
    Held,
    /// Not measured in this run, and why.
    Pending(String),
}

/// A goal judged.
#[derive(Debug, Clone, PartialEq)]
pub struct Judged {
    /// The goal with its limit.
    pub goal: String,
    /// What has become of it.
    pub verdict: Verdict,
    /// The command that measures or checks it.
    pub command: String,
    unit: &'static str,
}

/// The part of the benches that notes a group.
fn part_of(group: &'static str) -> &'static str {
    match group {
        COMPARED => "report",
        "memory" => "handlers",
        "cold start" => "cold",
        "system calls" => "system-calls",
        "taken→settled" => "taken",
        "nats latency" => "latency",
        same => same,
    }
}

/// Judges all goals by these rows.
#[must_use]
pub fn judge(rows: &[Row]) -> Vec<Judged> {
    GOALS.iter().map(|goal| judge_one(goal, rows)).collect()
}

fn judge_one(goal: &Goal, rows: &[Row]) -> Judged {
    let find = |group: &str, case: &str| {
        let found = rows.iter().find(|r| r.group == group && r.case == case);
        found.ok_or_else(|| "not measured in this run".to_owned())
    };
    let median = match goal.of {
        One(group, case) => Some(find(group, case).map(Row::median)),
        Ratio(group, a, b) => Some(find(group, a).and_then(|a| Ok(ratio(a, find(group, b)?)))),
        Held(_) => None,
    };
    let verdict = match median {
        None => Verdict::Held,
        Some(Err(why)) => Verdict::Pending(why),
        Some(Ok(value)) if value.is_nan() => Verdict::Pending("no number was measured".into()),
        Some(Ok(value)) if (value <= goal.limit) == goal.at_most || value == goal.limit => {
            Verdict::Met(value)
        }
        Some(Ok(value)) => Verdict::Missed(value, (value / goal.limit - 1.0).abs() * 100.0),
    };
    Judged {
        goal: goal.told(),
        verdict,
        command: goal.command(),
        unit: goal.unit,
    }
}

impl Goal {
    /// With its limit.
    fn told(&self) -> String {
        let sign = if self.at_most { "≤" } else { "≥" };
        format!("{} {sign} {}{}", self.name, self.limit, self.unit)
    }

    /// What measures or checks it.
    fn command(&self) -> String {
        match self.of {
            Held(command) => command.to_owned(),
            One(RUN, _) => "cargo bench -p millpond-bench".to_owned(),
            One(group, _) | Ratio(group, ..) => {
                format!("cargo bench -p millpond-bench -- {}", part_of(group))
            }
        }
    }
}

/// The median of the ratios of the same round.
fn ratio(a: &Row, b: &Row) -> f64 {
    let rounds = a.rounds.iter().zip(&b.rounds);
    spread(rounds.map(|(a, b)| a / b).collect())[1]
}

impl Judged {
    /// What was measured, and what that means.
    fn words(&self) -> (String, String) {
        let unit = self.unit;
        match &self.verdict {
            Verdict::Met(value) => (format!("{}{unit}", number(*value)), "met".to_owned()),
            Verdict::Missed(value, percent) => {
                let digits = usize::from(*percent < 10.0);
                let told = format!("missed by {percent:.digits$} %");
                (format!("{}{unit}", number(*value)), told)
            }
            Verdict::Held => ("–".to_owned(), "held by its test".to_owned()),
            Verdict::Pending(why) => ("–".to_owned(), format!("pending: {why}")),
        }
    }
}

/// The goals as a table.
#[must_use]
pub fn table(judged: &[Judged]) -> String {
    let line = |judged: &Judged| {
        let (measured, told) = judged.words();
        format!("{:<96} {measured:>9}  {told}\n", judged.goal)
    };
    judged.iter().map(line).collect()
}

/// The goals as PERF.md has them.
#[must_use]
pub fn markdown(judged: &[Judged]) -> String {
    let row = |judged: &Judged| {
        let (measured, told) = judged.words();
        let Judged { goal, command, .. } = judged;
        format!("| {goal} | {measured} | {told} | `{command}` |\n")
    };
    let rows: String = judged.iter().map(row).collect();
    format!("| goal | measured | | command |\n| --- | --- | --- | --- |\n{rows}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(group: &str, case: &str, rounds: &[f64]) -> Row {
        Row {
            group: group.into(),
            case: case.into(),
            unit: String::new(),
            rounds: rounds.into(),
        }
    }

    fn verdict(rows: &[Row], name: &str) -> Verdict {
        let judged = judge(rows);
        let found = judged.into_iter().find(|j| j.goal.starts_with(name));
        found.unwrap().verdict
    }

    #[test]
    fn goals_are_met_at_their_limit_and_missed_beyond() {
        let at = |ms| [row("cold start", "kept code", &[ms])];
        assert_eq!(verdict(&at(25.0), "cold start"), Verdict::Met(25.0));
        assert_eq!(
            verdict(&at(50.0), "cold start"),
            Verdict::Missed(50.0, 100.0)
        );
        let two = |ratio| {
            [
                row("scaling", "2 shards", &[ratio]),
                row("scaling", "1 shard", &[1.0]),
            ]
        };
        assert_eq!(verdict(&two(1.85), "two shards"), Verdict::Met(1.85));
        assert!(matches!(
            verdict(&two(1.8), "two shards"),
            Verdict::Missed(..)
        ));
    }

    #[test]
    fn ratios_are_of_the_same_round_and_their_median_counts() {
        let rows = [
            row("scaling", "2 shards", &[2.0, 40.0, 9.0]),
            row("scaling", "1 shard", &[1.0, 10.0, 3.0]),
        ];
        assert_eq!(verdict(&rows, "two shards"), Verdict::Met(3.0));
    }

    #[test]
    fn what_was_not_measured_is_pending() {
        let judged = judge(&[]);
        let mut pending = judged
            .iter()
            .filter(|j| !matches!(j.verdict, Verdict::Held));
        assert!(pending.all(|j| matches!(j.verdict, Verdict::Pending(_))));
        let why = "pending: not measured in this run";
        assert!(table(&judged).contains(why) && markdown(&judged).contains(why));
    }

    #[test]
    fn what_a_test_holds_is_told_so_with_the_command_that_runs_it() {
        let judged = judge(&[]);
        let held = judged.iter().find(|j| j.goal.starts_with("heap alloc"));
        let told = markdown(std::slice::from_ref(held.unwrap()));
        for part in [
            "held by its test",
            "`cargo test --workspace --test allocations`",
        ] {
            assert!(told.contains(part), "{told}");
        }
    }
}
