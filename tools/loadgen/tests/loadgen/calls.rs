//! System calls a message: those of the sending thread, as strace sees them, so that a busy machine changes nothing.

use std::fs;
use std::process::Command;

use millpond_tests::folder::Folder;

use crate::{done, loadgen, n};

/// Messages of 128 bytes for each system call of the thread that sends them to a sink, at least. A write has 32 KiB, which are 222 of
/// them with their line; the thread's beginning and end have 30 calls in all.
const MESSAGES_PER_CALL_MIN: f64 = 200.0;

#[test]
fn a_system_call_is_made_for_many_messages() {
    let folder = Folder::new();
    let traces = folder.path().join("trace");
    assert!(
        Command::new("strace").arg("--version").output().is_ok(),
        "strace can't be run: install it (`apt-get install strace`)"
    );
    let traced = loadgen("publish --sink --duration 1s --warmup 0s --settle 60s --json");
    let mut strace = Command::new("strace");
    strace.args(["-ff", "-qq", "-o"]).arg(&traces);
    strace.arg(traced.get_program()).args(traced.get_args());
    let load = done(&mut strace).ended(0).load();
    let files = fs::read_dir(folder.path()).expect("strace writes a file a thread");
    let mut threads = files.map(|file| {
        let file = file.expect("the folder is there").path();
        fs::read_to_string(file).expect("strace writes text")
    });
    // The name that a thread gives itself.
    let sends = threads
        .find(|trace| trace.contains("PR_SET_NAME, \"send\""))
        .expect("there is a thread that sends");
    let (calls, sent) = (sends.lines().count(), n(&load, "sent"));
    assert!(sent > 50_000, "{sent} messages in a second");
    let found = sent as f64 / calls as f64;
    eprintln!("{found:.1} messages a system call, of {sent}");
    assert!(
        found >= MESSAGES_PER_CALL_MIN,
        "{found:.1} messages a system call, of {sent}; calls were such as\n{}",
        sends.lines().rev().take(20).collect::<Vec<_>>().join("\n")
    );
}
