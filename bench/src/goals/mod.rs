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
    /// The median of the rounds is good enough.
    Met(Measured),
    /// It is not, and by how many percent of the limit.
    Missed(Measured, f64),
    /// No number of a run: its command is a test that fails where it is not kept.
    Held,
    /// Not measured in this run, and why.
    Pending(String),
}

/// What was measured of a goal.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Measured {
    /// Least, median and most of the rounds.
    pub spread: [f64; 3],
    /// How many there were, and in how many the goal was met.
    pub rounds: usize,
    /// See `rounds`.
    pub met: usize,
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
    is_goal: bool,
}

/// How the commands of most goals begin.
const BENCH: &str = "cargo bench -p millpond-bench -- ";

/// The part of the benches that notes a group.
fn part_of(group: &'static str) -> &'static str {
    match group {
        COMPARED => "report",
        "memory" => "handlers",
        "cold start" => "cold",
        "system calls" => "system-calls",
        "taken to settled" => "taken",
        "nats latency" => "latency",
        "scaling published" => "scaling",
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
    let rounds = match goal.of {
        One(group, case) => find(group, case).map(|row| row.rounds.clone()),
        Ratio(group, a, b) => find(group, a).and_then(|a| Ok(ratios(a, find(group, b)?))),
        Held(_) => return goal.judged(Verdict::Held),
    };
    goal.judged(match rounds {
        Err(why) => Verdict::Pending(why),
        Ok(rounds) => goal.verdict(rounds),
    })
}

impl Goal {
    fn judged(&self, verdict: Verdict) -> Judged {
        Judged {
            goal: self.told(),
            verdict,
            command: self.command(),
            unit: self.unit,
            is_goal: self.is_goal,
        }
    }

    /// Judged by the median of these.
    fn verdict(&self, rounds: Vec<f64>) -> Verdict {
        let is_met = |value: f64| (value <= self.limit) == self.at_most || value == self.limit;
        let measured = Measured {
            rounds: rounds.len(),
            met: rounds.iter().filter(|value| is_met(**value)).count(),
            spread: spread(rounds),
        };
        let median = measured.spread[1];
        if median.is_nan() {
            return Verdict::Pending("no number was measured".into());
        }
        match is_met(median) {
            true => Verdict::Met(measured),
            false => Verdict::Missed(measured, (median / self.limit - 1.0).abs() * 100.0),
        }
    }

    /// With its limit; what is none names that of the goal that it stands beside.
    fn told(&self) -> String {
        let sign = if self.at_most { "≤" } else { "≥" };
        let (name, limit, unit) = (self.name, self.limit, self.unit);
        match self.is_goal {
            true => format!("{name} {sign} {limit}{unit}"),
            false => format!("(no goal) {name}, beside {sign} {limit}{unit}"),
        }
    }

    /// What measures or checks it.
    fn command(&self) -> String {
        match self.of {
            Held(command) => command.to_owned(),
            One(RUN, _) => "cargo bench -p millpond-bench".to_owned(),
            One(group, _) | Ratio(group, ..) => {
                format!("{BENCH}{}", part_of(group))
            }
        }
    }
}

/// The ratios of the same round.
fn ratios(a: &Row, b: &Row) -> Vec<f64> {
    let rounds = a.rounds.iter().zip(&b.rounds);
    rounds.map(|(a, b)| a / b).collect()
}

/// The names of goals of which none of these rows says anything, though one should on a machine with so many cores.
#[must_use]
pub fn unmeasured(rows: &[Row], cores: usize) -> Vec<String> {
    let judged = judge(rows).into_iter();
    let none = judged.filter(|j| matches!(j.verdict, Verdict::Pending(_)));
    let shards = |goal: &str| match goal {
        _ if goal.starts_with("two shards") => 2,
        _ if goal.starts_with("16 shards") => 16,
        _ => 1,
    };
    let none = none.filter(|judged| cores >= shards(&judged.goal));
    none.map(|judged| judged.goal).collect()
}

impl Judged {
    /// What was measured, with the least and the most; and what that means, with how often where rounds disagree.
    fn words(&self) -> (String, String) {
        let (measured, told, again) = match &self.verdict {
            Verdict::Met(measured) => (measured, self.yes_or_no("met"), ""),
            Verdict::Missed(measured, percent) => {
                let digits = usize::from(*percent < 10.0);
                let told = self.yes_or_no("missed");
                let told = format!("{told} by {percent:.digits$} %");
                (measured, told, "; met")
            }
            Verdict::Held => return ("–".to_owned(), "held by its test".to_owned()),
            Verdict::Pending(why) => return ("–".to_owned(), format!("pending: {why}")),
        };
        let Measured {
            spread: [least, median, most],
            rounds,
            met,
        } = *measured;
        let told = match met {
            0 => told,
            _ if met == rounds => told,
            _ => format!("{told}{again} in {met} of {rounds} rounds"),
        };
        let unit = self.unit;
        let number = match rounds {
            1 => format!("{}{unit}", number(median)),
            _ => format!(
                "{} ({}, {}){unit}",
                number(median),
                number(least),
                number(most)
            ),
        };
        (number, told)
    }

    fn yes_or_no(&self, word: &str) -> String {
        match self.is_goal {
            true => word.to_owned(),
            false => format!("would be {word}"),
        }
    }
}

/// The goals as a table: those of which something was measured, unless all was.
#[must_use]
pub fn table(judged: &[Judged], all: bool) -> String {
    let line = |judged: &Judged| {
        let (measured, told) = judged.words();
        format!("{:<104} {measured:>26}  {told}\n", judged.goal)
    };
    let is_measured =
        |judged: &&Judged| all || matches!(judged.verdict, Verdict::Met(_) | Verdict::Missed(..));
    judged.iter().filter(is_measured).map(line).collect()
}

/// The goals as PERF.md has them.
#[must_use]
pub fn markdown(judged: &[Judged]) -> String {
    let row = |judged: &Judged| {
        let (measured, told) = judged.words();
        let Judged { goal, command, .. } = judged;
        let command = command.replace(BENCH, "");
        format!("| {goal} | {measured} | {told} | `{command}` |\n")
    };
    let rows: String = judged.iter().map(row).collect();
    let command = BENCH.trim_end();
    format!("| goal | median (least, most) | | `{command}` … |\n| --- | --- | --- | --- |\n{rows}")
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

    fn met(value: f64) -> Verdict {
        Verdict::Met(one(value, true))
    }

    /// What one round measured.
    fn one(value: f64, is_met: bool) -> Measured {
        Measured {
            spread: [value; 3],
            rounds: 1,
            met: is_met.into(),
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
        assert_eq!(verdict(&at(25.0), "cold start"), met(25.0));
        assert_eq!(
            verdict(&at(50.0), "cold start"),
            Verdict::Missed(one(50.0, false), 100.0)
        );
        let two = |ratio| {
            [
                row("scaling", "2 shards", &[ratio]),
                row("scaling", "1 shard", &[1.0]),
            ]
        };
        assert_eq!(verdict(&two(1.85), "two shards"), met(1.85));
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
        let measured = Measured {
            spread: [2.0, 3.0, 4.0],
            rounds: 3,
            met: 3,
        };
        assert_eq!(verdict(&rows, "two shards"), Verdict::Met(measured));
    }

    #[test]
    fn the_spread_is_told_and_how_often_a_goal_was_met_where_rounds_disagree() {
        let of = |rounds: &[f64]| {
            let judged = judge(&[row("cold start", "kept code", rounds)]);
            table(&judged, false)
        };
        let told = of(&[30.0, 24.0, 26.0]);
        for part in [
            "26.0 (24.0, 30.0) ms",
            "missed by 4.0 %; met in 1 of 3 rounds",
        ] {
            assert!(told.contains(part) && told.lines().count() == 1, "{told}");
        }
        assert!(of(&[24.0, 26.0, 23.0]).contains(" met in 2 of 3 rounds"));
        assert!(!of(&[24.0, 23.0]).contains("rounds"));
    }

    #[test]
    fn what_stands_beside_a_goal_is_judged_and_is_none() {
        let rows = [row(COMPARED, "echo, 1 a call: ratio by the clock", &[0.8])];
        let told = table(&judge(&rows), false);
        for part in ["(no goal) by the clock: echo", "would be missed by 11 %"] {
            assert!(told.contains(part), "{told}");
        }
    }

    #[test]
    fn what_was_not_measured_is_pending() {
        let judged = judge(&[]);
        let mut pending = judged
            .iter()
            .filter(|j| !matches!(j.verdict, Verdict::Held));
        assert!(pending.all(|j| matches!(j.verdict, Verdict::Pending(_))));
        let why = "pending: not measured in this run";
        let unmeasured = |cores| unmeasured(&[], cores).len();
        assert_eq!(
            (
                unmeasured(16) - unmeasured(2),
                unmeasured(2) - unmeasured(1)
            ),
            (1, 2)
        );
        assert!(table(&judged, true).contains(why) && markdown(&judged).contains(why));
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
