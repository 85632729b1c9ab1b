//! `cargo bench -p millpond-bench`: the raw Wasmtime loop and the engine, then one table with their ratios.
//!
//! What is compared, and the bias, is in the library's documentation. Arguments are criterion's: a filter measures only the
//! benches whose names contain it and leaves the table out; `-- report` measures only the table,
//! `-- load` only what a load takes, `-- nats [echo|plain|consume] [SIDE]` only what is beside a NATS server.

use std::time::Duration;

use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, BenchmarkId, Criterion, SamplingMode, Throughput};
use millpond::ResetMode;
use millpond_bench::cores::{Place, go};
use millpond_bench::engine::LoadedEngine;
use millpond_bench::guest::Guest;
use millpond_bench::load::load_report;
use millpond_bench::nats;
use millpond_bench::nats::role::{ROLE, play};
use millpond_bench::raw::{Allocator, RawLoop};
use millpond_bench::report::{BATCHES, report, resets_by_speed};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Least calls of one sample of the engine: the load has to be sustained.
const ENGINE_CALLS_MIN: u64 = 2_000;

fn main() -> wasmtime::Result<()> {
    let arguments: Vec<String> = std::env::args()
        .skip(1)
        .filter(|a| a != "--bench")
        .collect();
    if let Some((ROLE, role)) = arguments.split_first().map(|(a, b)| (a.as_str(), b)) {
        return play(role);
    }
    go(Place::Anywhere)?;
    if let Some(("nats", words)) = arguments.split_first().map(|(a, b)| (a.as_str(), b)) {
        println!("{}", nats::report(words)?);
        return Ok(());
    }
    if arguments == ["load"] {
        print!("{}", load_report()?);
        return Ok(());
    }
    if arguments != ["report"] {
        let mut criterion = Criterion::default().configure_from_args();
        raw(&mut criterion)?;
        engine(&mut criterion, resets_by_speed()?[0].0)?;
        criterion.final_summary();
    }
    if arguments.is_empty() || arguments == ["report"] {
        println!("{}{}", report()?, load_report()?);
    }
    if arguments.is_empty() {
        println!("{}", nats::report(&[])?);
    }
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
                    let run = engine.run(most * batch as u64).expect("the engine runs");
                    run.elapsed.mul_f64(calls as f64 / most as f64)
                });
            });
        }
    }
    group.finish();
    Ok(())
}
