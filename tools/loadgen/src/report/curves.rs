//! The curves of a page: by rate, by percentile, over time.

use super::Report;
use super::charts::{Axis, Line, Mark, chart, escaped, short_rate};
use super::latency::Latency;
use super::step::StepReport;
use crate::core::series::Point;

/// A latency over time: its name, its colour, and where it is in a point.
type Over = (&'static str, usize, fn(&Point) -> Option<u64>);

/// Latency by rate; nothing where there is one rate.
pub(super) fn sweep(report: &Report) -> String {
    let mut loads: Vec<&StepReport> = report
        .loads
        .iter()
        .filter(|load| load.latency.count > 0)
        .collect();
    loads.sort_by(|a, b| {
        a.offered_rate
            .unwrap_or(0.0)
            .total_cmp(&b.offered_rate.unwrap_or(0.0))
    });
    // Of a rate that was tried twice, the second try counts: the order of one rate's loads is kept.
    loads.reverse();
    loads.dedup_by_key(|load| load.offered_rate.map(f64::to_bits));
    loads.reverse();
    let rates: Vec<f64> = loads.iter().filter_map(|load| load.offered_rate).collect();
    let line = |(name, colour): (&str, usize)| Line {
        name: name.to_owned(),
        colour,
        runs: vec![
            loads
                .iter()
                .filter_map(|load| Some((load.offered_rate?, load.latency.at(name) as f64)))
                .collect(),
        ],
    };
    let lines = [("p50", 1), ("p99", 2), ("p99.9", 3)].map(line);
    if rates.len() < 2 {
        return String::new();
    }
    let x = Axis::rates("offered, msgs/s (logarithmic)", &rates, short_rate);
    let y = latency_axis(&lines, &[]);
    figure(
        "Latency by offered rate",
        chart("Latency by offered rate", &x, &y, &lines, &[]),
        &lines,
    )
}

/// The three curves of one load.
pub(super) fn all(report: &Report, load: &StepReport) -> String {
    let mut html = String::new();
    // The wide line is beneath the other: where both are alike, both are seen.
    let stored = load.ack_latency.as_ref();
    let stored = stored.map(|acks| curve("stored by the stream", 4, acks));
    let mut curves: Vec<Line> = stored.into_iter().collect();
    curves.push(curve("latency", 1, &load.latency));
    if load.latency.count > 0 {
        let x = Axis::percentiles(
            "percentile of messages, % (logarithmic)",
            load.latency.count as f64,
        );
        let marks: Vec<Mark> = load.objective_marks();
        let y = latency_axis(&curves, &marks);
        html += &figure(
            "Latency by percentile",
            chart("Latency by percentile", &x, &y, &curves, &marks),
            &curves,
        );
    }
    let end = load
        .series
        .last()
        .map_or(1.0, |last| last.at_s + interval(&load.series));
    let seconds = || Axis::seconds("time, s", end);
    let rates = [
        Line {
            name: "sent".to_owned(),
            colour: 4,
            runs: vec![over_time(&load.series, |point| point.sent_rate)],
        },
        Line {
            name: report.back().to_owned(),
            colour: 1,
            runs: vec![over_time(&load.series, |point| point.received_rate)],
        },
    ];
    let over: [Over; 3] = [
        ("max", 3, |point| point.max_ns),
        ("p99", 2, |point| point.p99_ns),
        ("p50", 1, |point| point.p50_ns),
    ];
    let latencies = over.map(|(name, colour, of)| Line {
        name: name.to_owned(),
        colour,
        runs: runs(&load.series, of),
    });
    if load.latency.count > 0 {
        let y = latency_axis(&latencies, &[]);
        html += &figure(
            "Latency over time",
            chart("Latency over time", &seconds(), &y, &latencies, &[]),
            &latencies,
        );
    }
    let most = load
        .series
        .iter()
        .map(|point| point.sent_rate.max(point.received_rate))
        .fold(0.0, f64::max);
    let y = Axis::linear("msgs/s", most, short_rate);
    html + &figure(
        "Throughput over time",
        chart("Throughput over time", &seconds(), &y, &rates, &[]),
        &rates,
    )
}

fn curve(name: &str, colour: usize, latency: &Latency) -> Line {
    // The last percentiles are of one message each: the curve ends where there are no more.
    let most = latency.count.max(1) as f64;
    let point = |(quantile, ns): &(f64, u64)| {
        (
            (1.0 / (1.0 - quantile)).min(most),
            (*ns).max(latency.min_ns) as f64,
        )
    };
    Line {
        name: name.to_owned(),
        colour,
        runs: vec![latency.curve_ns.iter().map(point).collect()],
    }
}

/// Over all that these lines and marks have.
fn latency_axis(lines: &[Line], marks: &[Mark]) -> Axis {
    let values = || {
        lines
            .iter()
            .flat_map(|line| line.runs.iter().flatten())
            .map(|(_, value)| *value)
            .chain(marks.iter().map(|mark| mark.y))
    };
    Axis::latency(
        "latency (logarithmic)",
        values().fold(f64::MAX, f64::min),
        values().fold(0.0, f64::max),
    )
}

/// The length of intervals.
fn interval(series: &[Point]) -> f64 {
    match series {
        [first, second, ..] => second.at_s - first.at_s,
        _ => 1.0,
    }
}

/// Each value in the middle of its interval.
fn over_time(series: &[Point], of: impl Fn(&Point) -> f64) -> Vec<(f64, f64)> {
    let half = interval(series) / 2.0;
    series
        .iter()
        .map(|point| (point.at_s + half, of(point)))
        .collect()
}

/// The same of values that some intervals don't have: a gap where nothing came.
fn runs(series: &[Point], of: impl Fn(&Point) -> Option<u64>) -> Vec<Vec<(f64, f64)>> {
    let half = interval(series) / 2.0;
    let mut runs = vec![Vec::new()];
    for point in series {
        match (of(point), runs.last_mut()) {
            (Some(ns), Some(run)) => run.push((point.at_s + half, ns as f64)),
            _ => runs.push(Vec::new()),
        }
    }
    runs.retain(|run| !run.is_empty());
    runs
}

fn figure(title: &str, svg: String, lines: &[Line]) -> String {
    let legend: String = lines
        .iter()
        .map(|line| {
            format!(
                "<span><i class=\"c{}\"></i>{}</span>",
                line.colour,
                escaped(&line.name)
            )
        })
        .collect();
    let legend = if lines.len() > 1 {
        format!("<figcaption>{legend}</figcaption>")
    } else {
        String::new()
    };
    format!("<section><h2>{title}</h2><figure>{svg}{legend}</figure></section>\n")
}

#[cfg(test)]
mod tests {
    use super::super::testing::report;
    use super::*;

    #[test]
    fn an_interval_in_which_nothing_came_is_a_gap() {
        let report = report(1);
        let found = runs(&report.loads[0].series, |point| point.p50_ns);
        assert_eq!(found.iter().map(Vec::len).collect::<Vec<_>>(), [5, 4]);
    }
}
