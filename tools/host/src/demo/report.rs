//! The report: what came of the messages, as a table or as JSON.

use std::fmt::Write;
use std::time::Duration;

use millpond::{DrainError, Stats};
use serde::Serialize;

use super::load::Load;
use super::sink::Came;
use crate::args::DemoArguments;
use crate::units::{count, size};

/// A load that was further behind its plan than this says so: the latencies then are not the engine's alone.
const LAG_NOTED: Duration = Duration::from_millis(5);

/// What a demo has shown. Its fields are those of the JSON object.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    /// Messages that the load meant to send.
    messages_offered: u64,
    /// Messages that the engine took.
    messages_in: u64,
    /// Messages settled: handled or given up on.
    messages_settled: u64,
    /// Messages that the engine had no room for.
    messages_shed: u64,
    /// Messages given up on.
    messages_failed: u64,
    /// Messages that went in and never came out.
    messages_lost: u64,
    /// Messages that came out once more than they went in.
    messages_twice: u64,
    /// Messages that came out and never went in.
    messages_strange: u64,
    /// From the first message to the last settlement.
    seconds: f64,
    rate_offered: u64,
    rate_settled: u64,
    calls: u64,
    batch_mean: f64,
    instances_created: u64,
    instances_called: u64,
    instances_configured: u64,
    instances_ready: u64,
    instances_discarded: u64,
    latency_us: Latency,
    /// The furthest that the load was behind its plan.
    load_lag_us_max: f64,
    payload_bytes: u32,
    /// The most memory that the program had resident; `null` where the system doesn't say.
    memory_peak_bytes: Option<u64>,
    reset: &'static str,
    shards: usize,
    /// What is wrong; nothing in a good run.
    pub(super) problems: Vec<String>,
}

/// Latencies from the planned time of a message to its settlement, in microseconds.
#[derive(Debug, Serialize)]
struct Latency {
    p50: f64,
    p99: f64,
    p999: f64,
    max: f64,
}

impl Report {
    /// Puts together what was counted at each end.
    pub(super) fn new(
        arguments: &DemoArguments,
        load: &Load,
        came: &Came,
        stats: &Stats,
        elapsed: Duration,
        drained: &Result<(), DrainError>,
        shards: usize,
    ) -> Self {
        let (seconds, settled) = (elapsed.as_secs_f64(), stats.settled());
        let called: u64 = stats.handlers.iter().map(|h| h.called_messages).sum();
        let quantile = |q| micros(stats.latency.quantile(q));
        let mut report = Self {
            messages_offered: load.admitted + load.shed,
            messages_in: load.admitted,
            messages_settled: settled,
            messages_shed: load.shed,
            messages_failed: stats.handlers.iter().map(|h| h.terminated_total()).sum(),
            messages_lost: load.numbers.missing_in(&came.numbers),
            messages_twice: came.twice,
            messages_strange: came.numbers.missing_in(&load.numbers) + came.unnumbered,
            seconds,
            rate_offered: arguments.rate,
            rate_settled: (settled as f64 / seconds) as u64,
            calls: stats.calls(),
            batch_mean: called as f64 / stats.calls().max(1) as f64,
            instances_created: stats.instances_created,
            instances_called: stats.instances_called,
            instances_configured: stats.instances_configured,
            instances_ready: stats.instances_ready,
            instances_discarded: stats.instances_discarded,
            latency_us: Latency {
                p50: quantile(0.5),
                p99: quantile(0.99),
                p999: quantile(0.999),
                max: micros(stats.latency.max()),
            },
            load_lag_us_max: micros(load.lag_max),
            payload_bytes: arguments.payload_bytes,
            memory_peak_bytes: memory_peak(),
            reset: stats.reset,
            shards,
            problems: Vec::new(),
        };
        report.problems = report.find_problems(drained);
        report
    }

    /// Everything that must not be.
    fn find_problems(&self, drained: &Result<(), DrainError>) -> Vec<String> {
        let mut problems: Vec<String> = drained
            .as_ref()
            .err()
            .map(ToString::to_string)
            .into_iter()
            .collect();
        let counts = [
            (self.messages_lost, "messages were lost"),
            (self.messages_twice, "messages came out twice"),
            (
                self.messages_strange,
                "messages came out that never went in",
            ),
            (self.messages_failed, "messages were given up on"),
        ];
        for (number, what) in counts {
            if number > 0 {
                problems.push(format!("{} {what}", count(number)));
            }
        }
        if self.messages_settled != self.messages_in {
            problems.push(format!(
                "{} messages went in, but {} were settled",
                count(self.messages_in),
                count(self.messages_settled)
            ));
        }
        if self.instances_created != self.instances_accounted() {
            problems.push(format!(
                "{} instances were created, but {} are accounted for",
                count(self.instances_created),
                count(self.instances_accounted())
            ));
        }
        problems
    }

    /// The instances that were created, by what became of them.
    fn instances_accounted(&self) -> u64 {
        self.instances_called
            + self.instances_configured
            + self.instances_ready
            + self.instances_discarded
    }
}

impl Report {
    /// The report as a table: what it is, and how much.
    pub(super) fn table(&self) -> String {
        let mut table = String::new();
        let mut row = |name: &str, value: String| {
            // Writing to a string can't fail.
            let _ = writeln!(table, "{name:<12}{value}");
        };
        let n = count;
        row("load", self.load_row());
        row(
            "messages",
            format!(
                "{} in · {} settled · {} shed · {} failed · {} lost · {} twice",
                n(self.messages_in),
                n(self.messages_settled),
                n(self.messages_shed),
                n(self.messages_failed),
                n(self.messages_lost),
                n(self.messages_twice)
            ),
        );
        row("rate", format!("{} settled a second", n(self.rate_settled)));
        row(
            "calls",
            format!("{} · {:.1} messages a call", n(self.calls), self.batch_mean),
        );
        row("instances", self.instances_row());
        let Latency {
            p50,
            p99,
            p999,
            max,
        } = self.latency_us;
        row(
            "latency",
            format!("p50 {p50:.0} µs · p99 {p99:.0} µs · p99.9 {p999:.0} µs · max {max:.0} µs"),
        );
        row(
            "memory",
            self.memory_peak_bytes.map_or_else(
                || "not known on this system".into(),
                |bytes| format!("{} at its peak", size(bytes)),
            ),
        );
        row(
            "engine",
            format!(
                "{} shard{} · reset by {}",
                self.shards,
                if self.shards == 1 { "" } else { "s" },
                self.reset
            ),
        );
        table
    }

    fn load_row(&self) -> String {
        let mut text = format!(
            "{} messages of {} bytes, {} a second",
            count(self.messages_offered),
            count(u64::from(self.payload_bytes)),
            count(self.rate_offered)
        );
        let lag = self.load_lag_us_max;
        if lag > micros(LAG_NOTED) {
            let _ = write!(
                text,
                "; up to {:.1} ms behind schedule, which the latencies include",
                lag / 1e3
            );
        } else {
            let _ = write!(text, "; {lag:.0} µs behind schedule at most");
        }
        text
    }

    fn instances_row(&self) -> String {
        let sign = match self.instances_created == self.instances_accounted() {
            true => "=",
            false => "≠",
        };
        format!(
            "{} created {sign} {} called + {} configured + {} ready + {} discarded",
            count(self.instances_created),
            count(self.instances_called),
            count(self.instances_configured),
            count(self.instances_ready),
            count(self.instances_discarded)
        )
    }
}

fn micros(time: Duration) -> f64 {
    (time.as_secs_f64() * 1e7).round() / 10.0
}

/// The most memory that this process has had resident, in bytes, where the system says it.
fn memory_peak() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib = line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?;
    Some(kib << 10)
}
