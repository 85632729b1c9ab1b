//! One line a load, for spreadsheets. Times are in nanoseconds.

use std::fmt::Write;

use super::Report;
use super::latency::QUANTILES;
use super::step::{Acks, StepReport};

/// A column: its name, and what it has of a load.
type Column = (&'static str, fn(&StepReport) -> String);

/// The columns beside those of latencies.
const COLUMNS: [Column; 22] = [
    ("offered_rate", |load| {
        load.offered_rate
            .map_or(String::new(), |rate| rate.to_string())
    }),
    ("measured_s", |load| load.measured_s.to_string()),
    ("sent_rate", |load| load.sent_rate.to_string()),
    ("received_rate", |load| load.received_rate.to_string()),
    ("sent", |load| load.sent.to_string()),
    ("received", |load| load.counts.received.to_string()),
    ("lost", |load| load.lost.to_string()),
    ("duplicated", |load| load.counts.duplicated.to_string()),
    ("reordered", |load| load.counts.reordered.to_string()),
    ("corrupted", |load| load.counts.corrupted.to_string()),
    ("refused", |load| load.counts.refused.to_string()),
    ("acknowledged", |load| of_acks(load, |acks| acks.received)),
    ("unacked", |load| of_acks(load, |acks| acks.unacked)),
    ("acks_duplicated", |load| {
        of_acks(load, |acks| acks.duplicated)
    }),
    ("unsent", |load| load.unsent.to_string()),
    ("due", |load| {
        load.schedule
            .map_or(String::new(), |kept| kept.due.to_string())
    }),
    ("sent_in_time", |load| {
        load.schedule
            .map_or(String::new(), |kept| kept.in_time.to_string())
    }),
    ("sent_late", |load| {
        load.schedule
            .map_or(String::new(), |kept| kept.late.to_string())
    }),
    ("sent_late_max_ns", |load| {
        load.schedule
            .map_or(String::new(), |kept| kept.max_ns.to_string())
    }),
    ("sender_cpu_s", |load| load.sender_cpu_s.to_string()),
    ("met", |load| {
        load.met.map_or(String::new(), |met| met.to_string())
    }),
    ("mean_ns", |load| load.latency.mean_ns.to_string()),
];

/// A number of acknowledgements; nothing where none are awaited beside the messages.
fn of_acks(load: &StepReport, of: fn(&Acks) -> u64) -> String {
    load.acks
        .as_ref()
        .map_or(String::new(), |acks| of(acks).to_string())
}

/// A line of names, and a line a load.
pub(super) fn text(report: &Report) -> String {
    let names = COLUMNS.iter().map(|(name, _)| (*name).to_owned());
    let quantiles = QUANTILES.iter().map(|(name, _)| format!("{name}_ns"));
    let mut text = names.chain(quantiles).collect::<Vec<_>>().join(",") + "\n";
    for load in &report.loads {
        let values = COLUMNS.iter().map(|(_, of)| of(load));
        let quantiles = load
            .latency
            .quantiles_ns
            .iter()
            .map(|(_, ns)| ns.to_string());
        let line = values.chain(quantiles).collect::<Vec<_>>().join(",");
        writeln!(text, "{line}").expect("a text takes what is written");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::super::testing::report;
    use super::*;

    #[test]
    fn every_line_has_a_value_for_every_name() {
        let text = text(&report(2));
        let lines: Vec<Vec<&str>> = text.lines().map(|line| line.split(',').collect()).collect();
        assert_eq!(lines.len(), 3);
        assert!(lines.iter().all(|line| line.len() == lines[0].len()));
        let at = |name: &str| lines[0].iter().position(|found| *found == name).unwrap();
        assert_eq!(
            (lines[1][at("offered_rate")], lines[2][at("offered_rate")]),
            ("1000", "2000")
        );
        assert_eq!((lines[1][at("lost")], lines[1][at("met")]), ("3", "false"));
        let p50: u64 = lines[1][at("p50_ns")].parse().unwrap();
        assert!((499_000..=501_000).contains(&p50));
    }
}
