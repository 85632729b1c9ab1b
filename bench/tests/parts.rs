//! Every part of the bench works: a small run of each, which notes what the goals are judged by. Its numbers say nothing.
//!
//! Without libtest, since parts run this program once more in a role of its own.

#![allow(clippy::unwrap_used, reason = "a test that meets an error has failed")]

use std::fmt::Write as _;
use std::process::ExitCode;

use millpond_bench::cores::{Place, go};
use millpond_bench::goals::{ELAPSED, RUN, unmeasured};
use millpond_bench::groups::role;
use millpond_bench::nats::role as nats_role;
use millpond_bench::notes::{self, note};
use millpond_bench::parts::PARTS;
use millpond_bench::scale::Scale;
use millpond_bench::{clock, lone_test};
use wasmtime::ensure;
use wasmtime::error::Context as _;

/// As in the bench.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The test's name, for who asks for tests by their names.
const NAME: &str = "each_part_of_the_bench_measures_what_the_goals_need";

fn checked() -> wasmtime::Result<String> {
    go(Place::Anywhere)?;
    notes::quiet();
    let mut out = String::new();
    for (name, measure) in PARTS {
        let begun = clock::now();
        measure(Scale::Small).with_context(|| format!("the part {name}"))?;
        writeln!(
            out,
            "{name:<14} {:>6.1} s",
            (clock::now() - begun).as_secs_f64()
        )?;
    }
    note(RUN, ELAPSED, "s", [0.0]);
    let rows = notes::take();
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let missing = unmeasured(&rows, cores);
    ensure!(
        missing.is_empty(),
        "no part has measured anything of {missing:?}: the names of its row here and in bench/src/goals/list.rs differ"
    );
    Ok(out)
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.split_first().map(|(a, b)| (a.as_str(), b)) {
        Some((role::ROLE, words)) => role::play(words).unwrap(),
        Some((nats_role::ROLE, words)) => nats_role::play(words).unwrap(),
        _ => return lone_test::run(NAME, checked),
    }
    ExitCode::SUCCESS
}
