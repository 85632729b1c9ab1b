//! `cargo bench`: the engine beside what it is made of and what it is chosen instead of.
//!
//! What is compared, and the bias, is in the library's documentation. Without arguments all is measured, and one table of all rows,
//! what PERF.md makes of them and the goals come last. `-- PART...` measures parts, by their names in [`PARTS`]; `-- nats [echo|plain|consume] [SIDE]` a part of what is
//! beside a NATS server. Other arguments are criterion's: a filter measures only its benches whose names contain it. With `--record` the rows are
//! kept under `bench/record/`.

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
use millpond_bench::load;
use millpond_bench::nats;
use millpond_bench::nats::role::{ROLE, play};
use millpond_bench::notes::{self, Row, note};
use millpond_bench::perf;
use millpond_bench::raw::{Allocator, RawLoop};
use millpond_bench::record::{Facts, Record, records};
use millpond_bench::report::{self, BATCHES};
use millpond_bench::reset;
use wasmtime::ensure;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Keeps the rows.
const RECORD: &str = "--record";
/// Least calls of one sample of the engine: the load has to be sustained.
const ENGINE_CALLS_MIN: u64 = 2_000;

/// A part that can be asked for by its name.
type Part = (&'static str, fn() -> wasmtime::Result<()>);

/// Those that are all measured when nothing is asked for, in this order, after criterion's.
const PARTS: [Part; 12] = [
    ("report", report::measure),
    ("load", load::measure),
    ("instantiate", groups::instantiate::measure),
    ("call", groups::call::measure),
    ("scaling", groups::scaling::measure),
    ("handlers", groups::process::handlers),
    ("cold", groups::process::cold_start),
    ("system-calls", groups::system_calls::measure),
    ("latency", || {
        groups::steady::measure().and_then(|()| nats::latency())
    }),
    ("taken", groups::taken::taken_to_settled),
    ("settings", groups::settings::measure),
    ("nats", || nats::measure(&[])),
];

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
    let mut facts = Facts::here(&arguments);
    let said = arguments.len();
    arguments.retain(|argument| argument != RECORD);
    let keeps = arguments.len() < said;
    go(Place::Anywhere)?;
    let failed = measure(&arguments)?;
    let elapsed = clock::now() - begun;
    if arguments.is_empty() {
        note(goals::RUN, goals::ELAPSED, "s", [elapsed.as_secs_f64()]);
    }
    facts.at_end(elapsed)?;
    let told = failed.join("; ");
    let record = Record {
        facts,
        rows: notes::take(),
        failed,
    };
    let has_rows = !record.rows.is_empty();
    if has_rows {
        print_record(&record);
    }
    if keeps && has_rows {
        let folder = record.write(&records())?;
        println!(
            "kept in {}; draw it: python3 bench/plots.py {0}",
            folder.display()
        );
    }
    ensure!(told.is_empty(), "not all could be measured: {told}");
    Ok(())
}

/// All rows, what PERF.md makes of them, and the goals.
fn print_record(record: &Record) {
    println!(
        "\nall that was measured: medians (least, most) of rounds in turn; ratios are of the same round"
    );
    let rows: &[Row] = &record.rows;
    rows.iter().for_each(|row| print!("{}", notes::line(row)));
    println!("\n{}", perf::printed(record));
    println!("goals\n{}", goals::table(&goals::judge(rows)));
}

/// Measures what the arguments name. Parts that failed, and why: the others are measured all the same.
fn measure(arguments: &[String]) -> wasmtime::Result<Vec<String>> {
    if let Some(("nats", words)) = arguments.split_first().map(|(a, b)| (a.as_str(), b)) {
        nats::measure(words)?;
        return Ok(Vec::new());
    }
    let named = |name: &str| PARTS.iter().find(|part| part.0 == name);
    if let Some(parts) = arguments
        .iter()
        .map(|a| named(a))
        .collect::<Option<Vec<_>>>()
    {
        let parts = if parts.is_empty() {
            PARTS.iter().collect()
        } else {
            parts
        };
        if arguments.is_empty() {
            criterion_benches(Criterion::default())?;
        }
        let failed = |(name, measure): &Part| {
            let error = measure().err()?;
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
