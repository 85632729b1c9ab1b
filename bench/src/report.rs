//! The table at the end: engine ÷ raw loop, measured in turn so that a noisy machine disturbs both alike.

use std::fmt::Write as _;
use std::time::Duration;

use millpond::ResetMode;
use wasmtime::Result;
use wasmtime::error::Context as _;

use crate::cores::{Place, go};
use crate::engine::LoadedEngine;
use crate::guest::Guest;
use crate::raw::{Allocator, RawLoop, Run};

/// Messages a call that are compared.
pub const BATCHES: [usize; 2] = [1, 64];
/// Rounds of each side; the table has their medians.
const ROUNDS: usize = 7;
/// How long a round takes, about.
const ROUND: Duration = Duration::from_millis(400);
/// Calls that are taken apart.
const PIECES_CALLS: u64 = 50_000;

/// The ways of resetting that are available, by what they reach with `counter`, one message a call; the fastest first.
///
/// # Errors
/// A run failed.
pub fn resets_by_speed() -> Result<Vec<(ResetMode, f64)>> {
    go(Place::Shard)?;
    let mut rates = Vec::new();
    for reset in ResetMode::ALL {
        let allocator = Allocator::Ours(reset);
        if !allocator.is_available() {
            continue;
        }
        let mut raw = RawLoop::new(Guest::Counter, allocator, 1)?;
        raw.run_for(ROUND / 2)?;
        rates.push((reset, median(|| Ok(raw.run_for(ROUND / 2)?.rate()), 3)?));
    }
    rates.sort_by(|a, b| b.1.total_cmp(&a.1));
    Ok(rates)
}

/// One row of the table.
#[derive(Debug, Clone)]
pub struct Row {
    guest: Guest,
    batch: usize,
    raw: f64,
    engine: f64,
    ratio: f64,
    ratio_min: f64,
    ratio_max: f64,
}

/// Measures one row: raw loop and engine in turn.
///
/// # Errors
/// A run failed, or its answer was wrong.
pub fn row(guest: Guest, batch: usize, reset: ResetMode) -> Result<Row> {
    let mut engine = LoadedEngine::new(guest, reset, batch)?;
    go(Place::Shard)?;
    let mut raw = RawLoop::new(guest, Allocator::Ours(reset), batch)?;
    let messages = |run: Run| (run.rate() * ROUND.as_secs_f64()) as u64;
    let messages = messages(raw.run_for(ROUND)?);
    engine.run(messages)?;
    let mut rounds = Vec::new();
    for _ in 0..ROUNDS {
        go(Place::Shard)?;
        let raw = raw.run_for(ROUND)?.rate();
        rounds.push((raw, engine.run(messages)?.rate()));
    }
    let of = |f: &dyn Fn(&(f64, f64)) -> f64| sorted(rounds.iter().map(f).collect());
    let (raws, engines) = (of(&|r| r.0), of(&|r| r.1));
    let ratios = of(&|r| r.1 / r.0);
    let middle = ROUNDS / 2;
    Ok(Row {
        guest,
        batch,
        raw: raws[middle],
        engine: engines[middle],
        ratio: ratios[middle],
        ratio_min: ratios[0],
        ratio_max: ratios[ROUNDS - 1],
    })
}

/// The whole report.
///
/// # Errors
/// A run failed, or its answer was wrong.
pub fn report() -> Result<String> {
    let resets = resets_by_speed()?;
    let &(reset, _) = resets.first().context("no reset mode is available")?;
    let mut out = String::new();
    let of: Vec<_> = resets
        .iter()
        .map(|(reset, rate)| format!("{} {:.0}/s", reset.name(), rate))
        .collect();
    writeln!(
        out,
        "\nreset modes, raw loop, counter, 1 a call: {}",
        of.join(", ")
    )?;
    writeln!(
        out,
        "engine ÷ raw loop, one core each, {} messages of {} bytes, reset by {}; {ROUNDS} rounds of {ROUND:?} in turn, medians of messages/s",
        "contract 1",
        crate::guest::PAYLOAD_BYTES,
        reset.name()
    )?;
    writeln!(
        out,
        "{:<8} {:>6} {:>12} {:>12} {:>9} {:>9} {:>7}  {}",
        "guest",
        "a call",
        "raw /s",
        "engine /s",
        "raw ns",
        "engine ns",
        "ratio",
        "ratios of rounds"
    )?;
    for guest in Guest::ALL {
        for batch in BATCHES {
            let row = row(guest, batch, reset)?;
            let nanos = |rate: f64| 1e9 / rate;
            writeln!(
                out,
                "{:<8} {:>6} {:>12.0} {:>12.0} {:>9.0} {:>9.0} {:>7.3}  {:.3} to {:.3}",
                row.guest.name(),
                row.batch,
                row.raw,
                row.engine,
                nanos(row.raw),
                nanos(row.engine),
                row.ratio,
                row.ratio_min,
                row.ratio_max
            )?;
        }
    }
    out += &pieces(reset)?;
    Ok(out)
}

/// One message a call in its pieces.
fn pieces(reset: ResetMode) -> Result<String> {
    go(Place::Shard)?;
    let mut out = String::from(
        "one message a call in the raw loop, ns (mean; of each, the clock took what is in the last column)\n",
    );
    writeln!(
        out,
        "{:<8} {:>7} {:>12} {:>7} {:>7} {:>7}",
        "guest", "store", "instantiate", "call", "drop", "clock"
    )?;
    for guest in Guest::ALL {
        let mut raw = RawLoop::new(guest, Allocator::Ours(reset), 1)?;
        raw.run_for(ROUND / 4)?;
        let p = raw.pieces(PIECES_CALLS)?;
        writeln!(
            out,
            "{:<8} {:>7.0} {:>12.0} {:>7.0} {:>7.0} {:>7.0}",
            guest.name(),
            p.store,
            p.instantiate,
            p.call,
            p.drop,
            p.clock
        )?;
    }
    Ok(out)
}

fn median(mut measure: impl FnMut() -> Result<f64>, times: usize) -> Result<f64> {
    let values = (0..times).map(|_| measure()).collect::<Result<_>>()?;
    Ok(sorted(values)[times / 2])
}

fn sorted(mut values: Vec<f64>) -> Vec<f64> {
    values.sort_by(f64::total_cmp);
    values
}
