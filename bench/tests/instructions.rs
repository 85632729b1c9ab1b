//! The instructions of a warm turn stay under their bounds. They are counted, not timed: a busy machine changes nothing.
//!
//! Without libtest, since it runs itself once more under callgrind: all rows, one after another, with a mark around what is counted.

#![allow(clippy::unwrap_used, reason = "a test that meets an error has failed")]

use std::process::ExitCode;

use millpond::ResetMode;
use millpond_bench::instructions::{BLESS, CALLS, bless, bounds, check, count};
use millpond_bench::lone_test;
use millpond_bench::warm::{ROWS, WarmEngine};

/// The test's name, for who asks for tests by their names.
const NAME: &str = "a_warm_turn_takes_no_more_instructions_than_its_bound";
/// The argument of the process that is counted.
const TURNS: &str = "turns";

/// Where callgrind writes what it has counted since the last mark.
#[inline(never)]
fn mark() {
    std::hint::black_box(());
}

/// What is counted.
fn turns() -> wasmtime::Result<()> {
    for row in ROWS {
        let engine = WarmEngine::new(row, ResetMode::Madvise)?;
        mark();
        engine.calls(CALLS)?;
        mark();
        engine.calls(2 * CALLS)?;
        mark();
    }
    Ok(())
}

/// Counts, and holds the counts against the bounds; the table.
fn checked() -> wasmtime::Result<String> {
    let counts = count(&std::env::current_exe()?, TURNS)?;
    if std::env::var_os(BLESS).is_some() {
        bless(&counts)?;
    }
    check(&bounds()?, &counts)
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments == [TURNS] {
        turns().unwrap();
        return ExitCode::SUCCESS;
    }
    if cfg!(not(target_arch = "x86_64")) {
        println!("test {NAME} ... not run: bench/instructions.toml has bounds of x86-64 alone");
        return ExitCode::SUCCESS;
    }
    lone_test::run(NAME, checked)
}
