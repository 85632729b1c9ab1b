//! Ending a load before its time.

use millpond_tests::program::{Program, Signal};

use crate::loadgen;
use crate::service::{Does, Service};

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
