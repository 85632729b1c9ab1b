//! The program `loadgen`, driven as a user drives it: against a scripted service, a real server, and the engine in process.

mod arrivals;
mod calls;
mod cost;
mod in_process;
mod outputs;
mod refusals;
mod scripted;
mod secured;
mod servers;
mod service;
mod signals;
mod terminal;

use std::process::{Command, Output};

use serde_json::Value;

use crate::service::{Does, Seen, Service};

/// The program with these arguments.
fn loadgen(line: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_loadgen"));
    command.args(line.split_whitespace());
    command
}

/// What a run of the program came to.
struct Done {
    code: Option<i32>,
    out: String,
    err: String,
}

impl Done {
    fn of(output: Output) -> Self {
        let text = |bytes| String::from_utf8(bytes).expect("the program writes text");
        Self {
            code: output.status.code(),
            out: text(output.stdout),
            err: text(output.stderr),
        }
    }

    #[track_caller]
    fn ended(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "{}{}", self.out, self.err);
        self
    }

    #[track_caller]
    fn says(self, words: &[&str]) -> Self {
        for word in words {
            assert!(self.err.contains(word), "{word:?} is not in {}", self.err);
        }
        self
    }

    /// The loads of its report.
    #[track_caller]
    fn loads(&self) -> Vec<Value> {
        let report: Value = serde_json::from_str(&self.out)
            .unwrap_or_else(|error| panic!("{error}: {}{}", self.out, self.err));
        report["loads"]
            .as_array()
            .expect("a report has loads")
            .clone()
    }

    /// Its only load.
    #[track_caller]
    fn load(&self) -> Value {
        let mut loads = self.loads();
        assert_eq!(loads.len(), 1);
        loads.remove(0)
    }
}

/// Runs the program to its end.
fn done(command: &mut Command) -> Done {
    Done::of(command.output().expect("the program exists"))
}

/// Runs requests of a constant rate through a service; what became of the program, and what the service saw.
fn asked(script: fn(u64) -> Does, more: &str) -> (Done, Seen) {
    let service = Service::start(script);
    let line = format!(
        "request --subject in --arrivals constant --warmup 0s --json --server {} {more}",
        service.url()
    );
    let ended = done(&mut loadgen(&line));
    (ended, service.seen())
}

/// A number of a report.
#[track_caller]
fn n(load: &Value, key: &str) -> u64 {
    load[key]
        .as_u64()
        .unwrap_or_else(|| panic!("{key} in {load}"))
}

/// That the rates and the series of a load without warm-up, which was ended before its time, are of what was measured.
#[track_caller]
fn is_of_what_was_measured(load: &Value) {
    let of = |key: &str| {
        load[key]
            .as_f64()
            .unwrap_or_else(|| panic!("{key} in {load}"))
    };
    let measured_s = of("measured_s");
    let sent = of("sent_rate") * measured_s;
    // One that was just being sent when the load was ended may be behind that.
    let all = of("sent");
    assert!((all - 1.5..all + 0.5).contains(&sent), "{load}");
    let series = load["series"].as_array().expect("there is one");
    let at = |index: usize| series[index]["at_s"].as_f64().expect("it has a time");
    let length = if series.len() > 1 { at(1) } else { 1.0 };
    let last = at(series.len() - 1);
    assert!(last < measured_s && measured_s <= last + length, "{load}");
    let in_series: f64 = (0..series.len())
        .map(|index| {
            let length = length.min(measured_s - at(index));
            series[index]["sent_rate"].as_f64().expect("it has a rate") * length
        })
        .sum();
    assert!((sent - 1.5..sent + 1.5).contains(&in_series), "{load}");
}

/// A quantile of a report, in milliseconds.
#[track_caller]
fn quantile_ms(load: &Value, name: &str) -> f64 {
    let all = load["latency"]["quantiles_ns"]
        .as_array()
        .expect("there are some");
    let found = all.iter().find(|pair| pair[0] == name);
    found.unwrap_or_else(|| panic!("{name} in {load}"))[1]
        .as_f64()
        .expect("it is a number")
        / 1e6
}
