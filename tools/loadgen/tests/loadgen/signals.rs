//! Ending a load before its time.

use millpond_tests::program::{Program, Signal};

use crate::service::{Does, Service};
use crate::{is_of_what_was_measured, loadgen};

#[test]
fn the_first_signal_ends_the_load_and_reports_what_there_was() {
    let line = "publish --sink --rate 1000 --duration 600s --warmup 0s --json";
    let mut program = Program::start(&mut loadgen(line));
    program.wait_for("msgs/s");
    program.signal(Signal::INT);
    let status = program.ended();
    let report: serde_json::Value =
        serde_json::from_str(&program.out().ended().join("\n")).expect("it is JSON");
    let load = &report["loads"][0];
    assert_eq!(status.code(), Some(0), "{load}");
    assert_eq!((&load["sent"], &load["unsent"]), (&load["sunk"], &0.into()));
    let problems = load["problems"].to_string();
    assert!(problems.contains("a signal ended the load"), "{problems}");
    is_of_what_was_measured(load);
    assert!(load["measured_s"].as_f64() < Some(600.0), "{load}");
}

#[test]
fn an_objective_of_a_load_that_was_ended_is_not_judged() {
    for line in [
        "publish --sink --rate 1000 --duration 600s --warmup 0s --slo p99=60s",
        "publish --sink --sweep 1k,2k --duration 600s --warmup 0s --slo p99=60s",
        "publish --sink --find-max --duration 600s --warmup 0s --slo p99=60s",
    ] {
        let mut program = Program::start(&mut loadgen(line));
        program.wait_for(" % ");
        program.signal(Signal::INT);
        let code = program.ended().code();
        let (out, err) = (program.out().ended().join("\n"), program.err().so_far());
        assert_eq!(code, Some(12), "{line}: {out}");
        assert!(out.contains("the objective was not judged"), "{out}");
        let all = out + &err.join("\n");
        assert!(!all.contains("missed"), "{line}: {all}");
    }
}

#[test]
fn a_load_that_was_ended_while_it_warmed_up_has_no_rates() {
    let line = "publish --sink --rate 1000 --duration 1s --warmup 600s --json";
    let mut program = Program::start(&mut loadgen(line));
    program.wait_for("msgs/s");
    program.signal(Signal::INT);
    let status = program.ended();
    let out = program.out().ended().join("\n");
    assert_eq!(status.code(), Some(0), "{out}");
    let report: serde_json::Value = serde_json::from_str(&out).expect("it is JSON");
    let load = &report["loads"][0];
    for key in ["measured_s", "sent_rate", "received_rate"] {
        assert_eq!(load[key].as_f64(), Some(0.0), "{key} in {load}");
    }
    assert_eq!(load["series"].as_array().map(Vec::len), Some(0));
}

#[test]
fn the_second_signal_ends_the_program() {
    // Messages that never come back keep the load for as long as --settle says.
    let service = Service::start(|_| Does::Loses);
    let line = format!(
        "request --subject in --rate 100 --duration 600s --settle 600s --warmup 0s --server {}",
        service.url()
    );
    let mut program = Program::start(&mut loadgen(&line));
    program.wait_for("msgs/s");
    program.signal(Signal::INT);
    // The thread that takes signals writes these lines: by the second, the first signal has come.
    program.wait_for("msgs/s");
    program.wait_for("msgs/s");
    program.signal(Signal::TERM);
    assert_eq!(program.ended().code(), Some(12));
    assert!(program.out().ended().is_empty());
    assert!(service.taken() > 0);
}
