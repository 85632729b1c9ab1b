//! What a message costs the generator: instructions of its sending thread, counted by callgrind, so that a busy machine changes nothing.
//!
//! Counted is `Sender::send` with all that it calls outside the kernel: the draw of a subject, the stamp, the message's text, the socket's
//! writes, the records; not what is done 20 times a second, whatever was sent. The test build is counted (our code at `opt-level` 1, with its assertions); what a release build does on a core,
//! `loadgen publish --sink` prints.

#![cfg(target_arch = "x86_64")]

use std::fs;
use std::process::Command;

use millpond_tests::folder::Folder;

use crate::{done, n};

/// Instructions a message of 128 bytes to a sink, as counted when this was set, on x86-64. To move it, write what the test prints, and say
/// in the commit why.
const INSTRUCTIONS: f64 = 1_360.0;
/// How far from that a count may be, in shares of it: three counts of one build were within 0.2 % of each other, the last beside six busy loops
/// on two cores. One far below it is a gain whose loss would not be seen: the bound is to be moved then too.
const MARGINS: std::ops::RangeInclusive<f64> = 0.9..=1.03;
/// What is counted, as callgrind names it, and what of it is not: each switches counting when it is entered and left.
const COUNTED: [&str; 2] = [
    "--toggle-collect=loadgen::run::sender::Sender<*>::send",
    "--toggle-collect=loadgen::core::recorder::Recorder::share",
];

#[test]
fn a_message_to_a_sink_takes_no_more_instructions_than_its_bound() {
    let folder = Folder::new();
    let counts = folder.path().join("counts");
    let mut valgrind = Command::new("valgrind");
    valgrind.arg("--tool=callgrind").args(COUNTED);
    valgrind.arg(format!("--callgrind-out-file={}", counts.display()));
    valgrind.arg(env!("CARGO_BIN_EXE_loadgen"));
    valgrind.args("publish --sink --duration 2s --warmup 0s --settle 60s --json".split(' '));
    assert!(
        Command::new("valgrind").arg("--version").output().is_ok(),
        "valgrind can't be run: install valgrind 3.19 or newer (`apt-get install valgrind`)"
    );
    let load = done(&mut valgrind).ended(0).load();
    let text = fs::read_to_string(&counts).expect("callgrind has written what it counted");
    let total = text.lines().find_map(|line| line.strip_prefix("totals: "));
    let total: f64 = total
        .and_then(|total| total.trim().parse().ok())
        .expect("callgrind writes totals");
    let sent = n(&load, "sent");
    // Below that, what a load costs by itself would count. Seen are 100,000 a second under callgrind.
    assert!(sent > 5_000, "{sent} messages in two seconds");
    let found = total / sent as f64;
    eprintln!("{found:.1} instructions a message, of {sent} messages");
    assert!(
        MARGINS.contains(&(found / INSTRUCTIONS)),
        "{found:.1} instructions a message, and the bound is {INSTRUCTIONS}; is `Sender::send` still a function, and what is new in it?"
    );
}
