//! `cargo bench`: the engine beside what it is made of and what it is chosen instead of.
//!
//! What is compared, and the bias, is in the library's documentation. Each row is printed once it is measured: median, least and most of rounds in turn,
//! ratios being of the same round. What comes last is one table: the goals of which something was measured. Without arguments all is measured.
//! `-- PART...` measures parts, by their names in [`PARTS`]; `-- nats [echo|plain|consume] [SIDE]` a part of what is beside a NATS server. Other arguments
//! are criterion's: a filter measures only its benches whose names contain it. With `--record` the rows are kept under `bench/record/`, with the longer
//! tables that are made of them.

use std::time::Duration;

use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, BenchmarkId, Criterion, SamplingMode, Throughput};
use millpond::ResetMode;
use millpond_bench::clock;
use millpond_bench::cores::{Place, go};
use millpond_bench::engine::LoadedEngine;
use millpond_bench::goals;
use millpond_bench::groups::{self, again};
use millpond_bench::guest::Guest;
use millpond_bench::nats;
use millpond_bench::nats::role::{ROLE, play};
use millpond_bench::notes::{self, note};
use millpond_bench::parts::{PARTS, Part, part};
use millpond_bench::perf;
use millpond_bench::raw::{Allocator, RawLoop};
use millpond_bench::record::{Facts, Record, records};
use millpond_bench::report::BATCHES;
use millpond_bench::reset;
use millpond_bench::scale::Scale;
use wasmtime::ensure;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Keeps the rows.
const RECORD: &str = "--record";
/// Least calls of one sample of the engine: the load has to be sustained.
const ENGINE_CALLS_MIN: u64 = 2_000;

fn main() -> wasmtime::Result<()> {
    let mut arguments: Vec<String> = std::env::args()
        .skip(1)
        .filter(|a| a != "--bench")
        .collect();
    match arguments.split_first().map(|(a, b)| (a.as_str(), b)) {
        Some((ROLE, role)) => return play(role),
        Some((groups::role::ROLE, role)) => return groups::role::play(role),
        _ => {}
    }
    let begun = clock::now();
    let mut record = Record::begin(Facts::here(&arguments))?;
    let said = arguments.len();
    arguments.retain(|argument| argument != RECORD);
    let keeps = arguments.len() < said;
    go(Place::Anywhere)?;
    record.failed = measure(&arguments)?;
    let elapsed = clock::now() - begun;
    if arguments.is_empty() {
        note(goals::RUN, goals::ELAPSED, "s", [elapsed.as_secs_f64()]);
    }
    record.facts.at_end(elapsed)?;
    record.rows = notes::take();
    if keeps && !record.rows.is_empty() {
        let folder = perf::kept(&record, &records())?;
        println!(
            "kept in {}; draw it: python3 bench/plots.py {0}",
            folder.display()
        );
    }
    let judged = goals::judge(&record.rows);
    print!("\n{}", goals::table(&judged, arguments.is_empty()));
    let told = record.failed.join("; ");
    ensure!(told.is_empty(), "not all could be measured: {told}");
    Ok(())
}

/// Measures what the arguments name. Parts that failed, and why: the others are measured all the same.
fn measure(arguments: &[String]) -> wasmtime::Result<Vec<String>> {
    if let Some(("nats", words)) = arguments.split_first().map(|(a, b)| (a.as_str(), b)) {
        nats::measure(words, Scale::Whole)?;
        return Ok(Vec::new());
    }
    let named = arguments.iter().map(|name| part(name));
    if let Some(mut parts) = named.collect::<Option<Vec<_>>>() {
        if parts.is_empty() {
            criterion_benches(Criterion::default())?;
            parts = PARTS.into();
        }
        let failed = |(name, measure): Part| {
            let error = measure(Scale::Whole).err()?;
            eprintln!("{name} failed: {error:#}");
            Some(format!("{name}: {error:#}"))
        };
        return Ok(parts.into_iter().filter_map(failed).collect());
    }
    criterion_benches(Criterion::default().configure_from_args())?;
    Ok(Vec::new())
}

/// The groups whose arguments are criterion's.
fn criterion_benches(mut criterion: Criterion) -> wasmtime::Result<()> {
    raw(&mut criterion)?;
    engine(&mut criterion, reset::chosen()?)?;
    criterion.final_summary();
    Ok(())
}

/// A group whose benches are short: what counts is the table, which measures in turn.
fn group<'a>(criterion: &'a mut Criterion, name: &str) -> BenchmarkGroup<'a, WallTime> {
    let mut group = criterion.benchmark_group(name);
    group
        .sampling_mode(SamplingMode::Flat)
        .sample_size(10)
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_millis(1_200));
    group
}

/// Store, instance, typed call, drop; by allocator, component and messages a call.
fn raw(criterion: &mut Criterion) -> wasmtime::Result<()> {
    go(Place::Shard)?;
    let mut group = group(criterion, "raw");
    for guest in Guest::ALL {
        for allocator in Allocator::ALL.into_iter().filter(|a| a.is_available()) {
            for batch in BATCHES {
                let mut raw = RawLoop::new(guest, allocator, batch)?;
                let id = BenchmarkId::new(format!("{}/{}", guest.name(), allocator.name()), batch);
                group.throughput(Throughput::Elements(batch as u64));
                group.bench_function(id, |b| {
                    b.iter_custom(|calls| raw.run_calls(calls).expect("the raw loop runs").elapsed);
                });
            }
        }
    }
    group.finish();
    Ok(())
}

/// From the first publication to the last settlement; by component and messages a call.
fn engine(criterion: &mut Criterion, reset: ResetMode) -> wasmtime::Result<()> {
    let mut group = group(criterion, "engine");
    for guest in Guest::ALL {
        for batch in BATCHES {
            let mut engine = LoadedEngine::new(guest, reset, batch)?;
            let id = BenchmarkId::new(format!("{}/{}", guest.name(), reset.name()), batch);
            group.throughput(Throughput::Elements(batch as u64));
            group.bench_function(id, |b| {
                b.iter_custom(|calls| {
                    let most = calls.max(ENGINE_CALLS_MIN);
                    let run = again(|| engine.run(most * batch as u64)).expect("the engine runs");
                    run.elapsed.mul_f64(calls as f64 / most as f64)
                });
            });
        }
    }
    group.finish();
    Ok(())
}
