//! The goals, each beside what a run has measured: met, missed and by how much, or pending where it was not measured.

use crate::notes::{Row, number, spread};

/// What is judged: a row, or the ratio of two of one group, round by round.
#[derive(Debug, Clone, Copy)]
enum Of {
    Row(&'static str, &'static str),
    Ratio(&'static str, &'static str, &'static str),
    /// What this command does not measure, and what does.
    Elsewhere(&'static str),
}

/// A goal.
struct Goal {
    name: &'static str,
    of: Of,
    at_most: bool,
    limit: f64,
    unit: &'static str,
}

const fn most(name: &'static str, of: Of, limit: f64, unit: &'static str) -> Goal {
    Goal {
        name,
        of,
        at_most: true,
        limit,
        unit,
    }
}

const fn least(name: &'static str, of: Of, limit: f64) -> Goal {
    Goal {
        name,
        of,
        at_most: false,
        limit,
        unit: "",
    }
}

use Of::{Elsewhere, Ratio, Row as One};

/// All goals. The names of groups and cases are those that the parts of this crate note.
const GOALS: &[Goal] = &[
    least(
        "engine ÷ raw loop on core: echo, contract 1, 1 a call",
        One("engine÷raw", "echo, 1 a call: ratio"),
        0.9,
    ),
    least(
        "engine ÷ raw loop on core: echo, contract 1, 64 a call",
        One("engine÷raw", "echo, 64 a call: ratio"),
        0.9,
    ),
    least(
        "engine ÷ raw loop on core: echo, contract 3, 256 a call",
        One("engine÷raw", "batch-echo, 256 a call: ratio"),
        0.9,
    ),
    least(
        "two shards ÷ one, fresh instance a message",
        Ratio("scaling", "2 shards", "1 shard"),
        1.85,
    ),
    least(
        "fresh instances, 2 threads: ours ÷ pool's defaults",
        Ratio("instantiate", "ours, 2 threads", "pool-defaults, 2 threads"),
        4.0,
    ),
    least(
        "fresh instances, 2 threads: ours ÷ on demand",
        Ratio("instantiate", "ours, 2 threads", "on-demand, 2 threads"),
        8.0,
    ),
    most(
        "NATS echo, CPU: ours (contract 3, 1024) ÷ native",
        Ratio(
            "nats echo",
            "ours, contract 3, 1024 a call: CPU",
            "native: CPU",
        ),
        0.5,
        "",
    ),
    most(
        "NATS echo at 50 %, p99.9: ours ÷ native",
        Ratio(
            "nats latency",
            "ours at 50 %: p99.9",
            "native at 50 %: p99.9",
        ),
        1.0,
        "",
    ),
    most(
        "NATS echo, idle p50: ours ÷ native",
        Ratio("nats latency", "ours idle: p50", "native idle: p50"),
        1.0,
        "",
    ),
    most(
        "heap allocations of ours a message, contract 3, 64 a call",
        Elsewhere("cargo test --workspace --test allocations"),
        0.0,
        "",
    ),
    most(
        "system calls a message, contract 3, 64 a call, reset apart",
        One("system calls", "contract-3-batch-64: beside the reset"),
        0.05,
        "",
    ),
    most(
        "one message, taken to settled, echo from the pond",
        One("taken→settled", "echo, from the pond"),
        2.0,
        " µs",
    ),
    most(
        "the same ÷ without the pond",
        Ratio(
            "taken→settled",
            "echo, from the pond",
            "echo, without the pond",
        ),
        0.5,
        "",
    ),
    most(
        "cold start, exec to first message settled, kept code",
        One("cold start", "kept code"),
        25.0,
        " ms",
    ),
    most(
        "memory of a loaded idle handler, 64 KB image",
        One("memory", "an idle handler"),
        200.0,
        " KB",
    ),
    least(
        "16 shards ÷ one, on 16 cores",
        Ratio("scaling", "16 shards", "1 shard"),
        14.0,
    ),
];

/// What has become of a goal.
#[derive(Debug, Clone, PartialEq)]
pub enum Verdict {
    /// The median of the rounds, which is good enough.
    Met(f64),
    /// The median, which is not, and by how many percent of the limit.
    Missed(f64, f64),
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
        "engine÷raw" => "report",
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
        found.ok_or_else(|| format!("{group}, {case}: not measured in this run"))
    };
    let median = match goal.of {
        One(group, case) => find(group, case).map(Row::median),
        Ratio(group, a, b) => find(group, a).and_then(|a| Ok(ratio(a, find(group, b)?))),
        Elsewhere(command) => Err(format!("checked by `{command}`")),
    };
    let command = match goal.of {
        One(group, _) | Ratio(group, ..) => {
            format!("cargo bench -p millpond-bench -- {}", part_of(group))
        }
        Elsewhere(command) => command.to_owned(),
    };
    let verdict = match median {
        Err(why) => Verdict::Pending(why),
        Ok(value) if value.is_nan() => Verdict::Pending("no number was measured".into()),
        Ok(value) if (value <= goal.limit) == goal.at_most || value == goal.limit => {
            Verdict::Met(value)
        }
        Ok(value) => Verdict::Missed(value, (value / goal.limit - 1.0).abs() * 100.0),
    };
    let sign = if goal.at_most { "≤" } else { "≥" };
    Judged {
        goal: format!("{} {sign} {}{}", goal.name, goal.limit, goal.unit),
        verdict,
        command,
        unit: goal.unit,
    }
}

/// The median of the ratios of the same round.
fn ratio(a: &Row, b: &Row) -> f64 {
    let rounds = a.rounds.iter().zip(&b.rounds);
    spread(rounds.map(|(a, b)| a / b).collect())[1]
}

/// The goals as a table.
#[must_use]
pub fn table(judged: &[Judged]) -> String {
    let line = |judged: &Judged| {
        let Judged {
            goal,
            verdict,
            unit,
            ..
        } = judged;
        let told = match verdict {
            Verdict::Met(value) => format!("{}{unit}: met", number(*value)),
            Verdict::Missed(value, percent) => {
                format!("{}{unit}: missed by {percent:.0} %", number(*value))
            }
            Verdict::Pending(why) => format!("pending ({why})"),
        };
        format!("{goal:<72} {told}\n")
    };
    judged.iter().map(line).collect()
}

/// The goals as PERF.md has them.
#[must_use]
pub fn markdown(judged: &[Judged]) -> String {
    let row = |judged: &Judged| {
        let unit = judged.unit;
        let (measured, told) = match &judged.verdict {
            Verdict::Met(value) => (format!("{}{unit}", number(*value)), "met".to_owned()),
            Verdict::Missed(value, percent) => (
                format!("{}{unit}", number(*value)),
                format!("missed by {percent:.0} %"),
            ),
            Verdict::Pending(_) => ("–".to_owned(), "pending".to_owned()),
        };
        format!(
            "| {} | {measured} | {told} | `{}` |\n",
            judged.goal, judged.command
        )
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
        assert!(
            judge(&[])
                .iter()
                .all(|j| matches!(j.verdict, Verdict::Pending(_)))
        );
        assert!(table(&judge(&[])).contains("pending (scaling, 2 shards: not measured"));
    }
}
