//! The system calls of a warm turn stay within their goal. `strace` counts them: a busy machine adds a wake-up, and the goal is far above that.
//!
//! Without libtest, since it runs itself once more under `strace`.

#![allow(clippy::unwrap_used, reason = "a test that meets an error has failed")]

use std::fmt::Write as _;
use std::process::ExitCode;

use millpond_bench::groups::role;
use millpond_bench::groups::system_calls::counted;
use millpond_bench::lone_test;
use millpond_bench::scale::Scale;
use millpond_bench::warm::ROWS;
use wasmtime::ensure;

/// As in programs that the engine is made for, and in the bench.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The test's name, for who asks for tests by their names.
const NAME: &str = "a_message_among_others_takes_hardly_any_system_call";
/// The goal: system calls a message, beside the reset of memory, which is one a call.
const A_MESSAGE_MAX: f64 = 0.05;
/// Resets a call: one a memory.
const RESETS_MAX: f64 = 2.0;

fn checked() -> wasmtime::Result<String> {
    let mut out = format!(
        "{:<24} {:>10} {:>8}\n",
        "system calls", "a message", "resets"
    );
    for row in ROWS.into_iter().filter(|row| row.batch > 1 && !row.packed) {
        let counted = counted(row, Scale::Whole)?;
        let (name, a_message, reset) = (row.name(), counted.a_message, counted.reset);
        writeln!(out, "{name:<24} {a_message:>10.4} {reset:>8.2}")?;
        ensure!(
            a_message <= A_MESSAGE_MAX && reset <= RESETS_MAX,
            "{out}more than {A_MESSAGE_MAX} a message or {RESETS_MAX} resets a call"
        );
    }
    Ok(out)
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let Some((role::ROLE, words)) = arguments.split_first().map(|(a, b)| (a.as_str(), b)) {
        role::play(words).unwrap();
        return ExitCode::SUCCESS;
    }
    lone_test::run(NAME, checked)
}
