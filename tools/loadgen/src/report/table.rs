//! The table at the end of a run.

use std::fmt::Write;

use super::Report;
use super::latency::QUANTILES;
use super::step::{Acks, StepReport};
use crate::units::{count, rate, time};

/// Widths of a sweep's columns.
const WIDTH: usize = 10;

/// The table.
pub(super) fn text(report: &Report) -> String {
    let mut text = String::new();
    let mut line = |what: &str, value: &str| {
        writeln!(text, "{what:<12} {value}").expect("a text takes what is written")
    };
    for parameter in &report.parameters {
        line(parameter.name, &parameter.value);
    }
    text.push('\n');
    if report.loads.len() > 1 {
        text += &sweep(report);
        text.push('\n');
    }
    if let Some(load) = report.shown() {
        text += &details(report, load);
    }
    if let Some(verdict) = verdict(report) {
        text += &format!("\n{verdict}\n");
    }
    text
}

/// One line a load.
fn sweep(report: &Report) -> String {
    let mut text = String::new();
    let mut line = |cells: [String; 9]| {
        let cells = cells.map(|cell| format!("{cell:>WIDTH$}"));
        writeln!(text, "{}", cells.join(" ")).expect("a text takes what is written");
    };
    line(
        [
            "offered/s",
            "sent/s",
            "back/s",
            "p50",
            "p99",
            "p99.9",
            "lost",
            "late",
            "objective",
        ]
        .map(str::to_owned),
    );
    for load in &report.loads {
        line([
            load.offered_rate.map_or("-".to_owned(), rate),
            rate(load.sent_rate),
            rate(load.received_rate),
            load.latency.shown("p50"),
            load.latency.shown("p99"),
            load.latency.shown("p99.9"),
            count(load.lost),
            load.late(),
            load.judged().to_owned(),
        ]);
    }
    text
}

/// All about one load.
fn details(report: &Report, load: &StepReport) -> String {
    let mut text = String::new();
    let mut line = |what: &str, value: String| {
        writeln!(text, "{what:<12} {value}").expect("a text takes what is written")
    };
    let offered = load.offered_rate.map_or(String::new(), |offered| {
        format!("{} offered · ", rate(offered))
    });
    line(
        "msgs/s",
        format!(
            "{offered}{} sent · {} {}",
            rate(load.sent_rate),
            rate(load.received_rate),
            report.back()
        ),
    );
    line("messages", messages(report, load));
    line(
        "latency",
        format!(
            "{}, of {} messages",
            report.latency_is,
            count(load.latency.count)
        ),
    );
    line("", latencies(&load.latency));
    if let Some(acks) = &load.ack_latency {
        line("stored", latencies(acks));
    }
    if let Some(kept) = load.schedule {
        line(
            "schedule",
            format!(
                "{} of {} due were sent in time; {} left more than 1 ms late; p99 {}, the latest {}",
                count(kept.in_time),
                count(kept.due),
                count(kept.late),
                time(kept.p99_ns),
                time(kept.max_ns)
            ),
        );
    }
    line(
        "generator",
        format!(
            "{:.2} s of cores to send: {} msgs per CPU-second",
            load.sender_cpu_s,
            count(load.sent_per_cpu_second as u64)
        ),
    );
    for judged in &load.objective {
        line(
            "objective",
            format!(
                "{:<14} {:>10}  {}",
                judged.term,
                judged.found,
                load.judged_of(judged)
            ),
        );
    }
    for problem in &load.problems {
        line("note", problem.clone());
    }
    text
}

/// What became of the messages of a load.
pub(super) fn messages(report: &Report, load: &StepReport) -> String {
    let counts = &load.counts;
    let mut parts = vec![(load.sent, "sent"), (counts.received, report.back())];
    parts.extend([
        (load.lost, "lost"),
        (counts.duplicated, "duplicated"),
        (counts.reordered, "reordered"),
        (counts.corrupted, "corrupted"),
    ]);
    let acks = |of: fn(&Acks) -> u64| load.acks.as_ref().map_or(0, of);
    parts.extend(
        [
            (counts.refused, "refused"),
            (acks(|acks| acks.unacked), "not acknowledged"),
            (acks(|acks| acks.duplicated), "acknowledged again"),
            (load.unsent, "not sent"),
            (load.connections_lost, "connections lost"),
        ]
        .into_iter()
        .filter(|(number, _)| *number > 0),
    );
    parts.extend(load.sunk.map(|sunk| (sunk, "in the sink")));
    parts
        .iter()
        .map(|(number, what)| format!("{} {what}", count(*number)))
        .collect::<Vec<_>>()
        .join(" · ")
}

fn latencies(latency: &super::latency::Latency) -> String {
    let one = |(name, _): &(&str, f64)| format!("{name} {}", latency.shown(name));
    QUANTILES.iter().map(one).collect::<Vec<_>>().join(" · ")
}

/// The last word.
pub(super) fn verdict(report: &Report) -> Option<String> {
    if !report.has_slo {
        return None;
    }
    Some(match (report.best_rate, report.met) {
        (Some(best), Some(_)) => format!("the objective is met up to {} msgs/s", rate(best)),
        (Some(best), None) => format!(
            "the search was ended before its time; the objective is met at {} msgs/s",
            rate(best)
        ),
        (None, Some(true)) => "the objective was met".to_owned(),
        (None, Some(false)) => "the objective was missed".to_owned(),
        (None, None) => {
            "the objective was not judged: the load was ended before its time".to_owned()
        }
    })
}

#[cfg(test)]
mod tests {
    use super::super::latency::Latency;
    use super::super::testing::report;
    use super::*;
    use crate::core::recorder::latencies as latencies_of_none;

    #[test]
    fn a_table_says_what_became_of_the_messages() {
        let text = text(&report(1));
        for words in [
            "1,000 sent",
            "3 lost",
            "1 duplicated",
            "p99 990 µs",
            "p99=500us",
            "missed",
            "the objective was missed",
        ] {
            assert!(text.contains(words), "{words:?} is not in {text}");
        }
        assert!(!text.contains("offered/s"));
    }

    #[test]
    fn what_was_ended_before_its_time_is_not_judged() {
        let mut report = report(1);
        (report.met, report.loads[0].met) = (None, None);
        let found = text(&report);
        for words in ["  not judged", "the objective was not judged"] {
            assert!(found.contains(words), "{words:?} is not in {found}");
        }
        assert!(!found.contains("missed"), "{found}");
        report.best_rate = Some(1_000.0);
        let found = text(&report);
        assert!(
            found.contains("the search was ended before its time; the objective is met at 1,000"),
            "{found}"
        );
    }

    #[test]
    fn where_nothing_was_measured_no_latency_is_told() {
        let mut report = report(1);
        report.loads[0].latency = Latency::new(&latencies_of_none());
        let text = text(&report);
        assert!(
            text.contains("p50 – · p75 –") && !text.contains("0 ns"),
            "{text}"
        );
    }

    #[test]
    fn a_sweep_has_a_line_a_load() {
        let text = text(&report(3));
        assert!(text.contains("lost       late  objective"), "{text}");
        assert_eq!(
            text.lines()
                .filter(|line| line.ends_with("     missed"))
                .count(),
            3,
            "{text}"
        );
    }
}
