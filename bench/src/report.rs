//! The table at the end: engine ÷ raw loop, measured in turn so that a noisy machine disturbs both alike.

use std::fmt::Write as _;
use std::time::Duration;

use millpond::ResetMode;
use wasmtime::Result;
use wasmtime::error::Context as _;

use crate::cores::{Place, go};
use crate::engine::LoadedEngine;
use crate::guest::{Guest, HEADER, PAYLOAD_BYTES};
use crate::notes::note;
use crate::raw::{Allocator, RawLoop, Run};
use crate::single::{RawSingle, Single};

/// Messages a call that are compared.
pub const BATCHES: [usize; 2] = [1, 64];
/// The same for contract 3, and what a message may take with each, in nanoseconds.
pub const BATCHES_PACKED: [(usize, f64); 2] = [(256, 40.0), (1_024, 25.0)];
/// What the engine is to reach of the raw loop with contract 3.
const PACKED_RATIO: f64 = 0.8;
/// What the engine is to reach of the raw loop with contracts 2 and 4.
const SINGLE_RATIO: f64 = 0.85;
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

/// A round: a rate of each side, and the same by what its thread had of its core.
#[derive(Debug, Clone, Copy)]
struct Round {
    raw: Run,
    engine: Run,
}

impl Round {
    fn ratio(&self) -> f64 {
        self.engine.rate() / self.raw.rate()
    }

    fn ratio_on_core(&self) -> f64 {
        self.engine.rate_on_core() / self.raw.rate_on_core()
    }
}

/// Measures raw loop and engine in turn.
fn rounds(guest: Guest, batch: usize, reset: ResetMode) -> Result<Vec<Round>> {
    let engine = LoadedEngine::new(guest, reset, batch)?;
    go(Place::Shard)?;
    let mut raw = RawLoop::new(guest, Allocator::Ours(reset), batch)?;
    in_turn(engine, |time| raw.run_for(time))
}

fn in_turn(
    mut engine: LoadedEngine,
    mut raw: impl FnMut(Duration) -> Result<Run>,
) -> Result<Vec<Round>> {
    let messages = (raw(ROUND)?.rate() * ROUND.as_secs_f64()) as u64;
    engine.run(messages)?;
    let round = |_| {
        go(Place::Shard)?;
        Ok(Round {
            raw: raw(ROUND)?,
            engine: engine.run(messages)?,
        })
    };
    (0..ROUNDS).map(round).collect()
}

/// The rows of contracts 2 and 4, which have one message a call; and their goal beside what was reached.
fn singles(reset: ResetMode) -> Result<String> {
    let mut out = format!(
        "contracts 2 and 4, one message a call, one metadata pair where the contract has them; goal: a ratio ≥ {SINGLE_RATIO}\n"
    );
    for single in Single::ALL {
        let engine = single.engine(reset)?;
        go(Place::Shard)?;
        let mut raw = RawSingle::new(single, Allocator::Ours(reset))?;
        let rounds = in_turn(engine, |time| raw.run_for(time))?;
        let ratio = sorted(rounds.iter().map(Round::ratio_on_core).collect())[ROUNDS / 2];
        out += &row(single.name(), 1, &rounds)?;
        let told = if ratio >= SINGLE_RATIO {
            "met"
        } else {
            "missed"
        };
        writeln!(out, "  on core: ratio {ratio:.3}: {told}")?;
    }
    Ok(out)
}

/// The whole report.
///
/// # Errors
/// A run failed, or its answer was wrong.
pub fn report() -> Result<String> {
    let resets = resets_by_speed()?;
    let &(reset, _) = resets.first().context("no reset mode is available")?;
    let speed = |(reset, rate): &(ResetMode, f64)| format!("{} {rate:.0}/s", reset.name());
    let speeds: Vec<_> = resets.iter().map(speed).collect();
    let mut out = format!(
        "\nreset, by the raw loop with counter at 1 a call: {}\n\
         engine ÷ raw loop: contract 1, messages of {PAYLOAD_BYTES} bytes, one core, reset by {}.\n\
         Medians of {ROUNDS} rounds of {ROUND:?} of each in turn. On core: by what the thread had of its core, whatever else ran.\n",
        speeds.join(", "),
        reset.name(),
    );
    writeln!(
        out,
        "guest          a call     raw/s  engine/s   ratio (least, most)       raw ns  engine ns  ratio on core (least, most)"
    )?;
    for guest in Guest::ALL {
        for batch in BATCHES {
            out += &row(guest.name(), batch, &rounds(guest, batch, reset)?)?;
        }
    }
    out += &packed(reset)?;
    out += &pieces(reset)?;
    out += &singles(reset)?;
    Ok(out)
}

/// The rows of contract 3, and its goals beside what was reached.
fn packed(reset: ResetMode) -> Result<String> {
    let mut out = format!(
        "contract 3, one header ({}: {}) on each message, in packs of a call's messages, which their publisher has laid out; on core is what counts\n",
        HEADER.0, HEADER.1
    );
    for guest in Guest::BATCH {
        for (batch, nanos_max) in BATCHES_PACKED {
            let rounds = rounds(guest, batch, reset)?;
            out += &row(guest.name(), batch, &rounds)?;
            let of = |f: &dyn Fn(&Round) -> f64| sorted(rounds.iter().map(f).collect())[ROUNDS / 2];
            let nanos = of(&|r| 1e9 / r.engine.rate_on_core());
            let ratio = of(&Round::ratio_on_core);
            let told = |met: bool| if met { "met" } else { "missed" };
            writeln!(
                out,
                "  on core: {nanos:.1} ns a message, goal ≤ {nanos_max:.0}: {}; ratio {ratio:.3}, goal ≥ {PACKED_RATIO}: {}",
                told(nanos <= nanos_max),
                told(ratio >= PACKED_RATIO),
            )?;
        }
    }
    Ok(out)
}

/// One row of the table.
fn row(name: &str, batch: usize, rounds: &[Round]) -> Result<String> {
    let of = |f: &dyn Fn(&Round) -> f64| sorted(rounds.iter().map(f).collect());
    let middle = |values: Vec<f64>| values[ROUNDS / 2];
    let (ratios, on_core) = (of(&Round::ratio), of(&Round::ratio_on_core));
    let case = |what: &str| format!("{name}, {batch} a call: {what}");
    let nanos = |f: fn(&Round) -> Run| rounds.iter().map(move |r| 1e9 / f(r).rate_on_core());
    let ratio = rounds.iter().map(Round::ratio_on_core);
    let group = "engine÷raw";
    note(
        group,
        case("raw"),
        "ns on core",
        nanos(|r| r.raw).collect::<Vec<_>>(),
    );
    note(
        group,
        case("engine"),
        "ns on core",
        nanos(|r| r.engine).collect::<Vec<_>>(),
    );
    note(
        group,
        case("ratio"),
        "of rates on core",
        ratio.collect::<Vec<_>>(),
    );
    let mut out = String::new();
    writeln!(
        out,
        "{:<14} {batch:>6} {:>9.0} {:>9.0} {:>7.3} ({:.3}, {:.3}) {:>12.0} {:>10.0} {:>14.3} ({:.3}, {:.3})",
        name,
        middle(of(&|r| r.raw.rate())),
        middle(of(&|r| r.engine.rate())),
        ratios[ROUNDS / 2],
        ratios[0],
        ratios[ROUNDS - 1],
        middle(of(&|r| 1e9 / r.raw.rate_on_core())),
        middle(of(&|r| 1e9 / r.engine.rate_on_core())),
        on_core[ROUNDS / 2],
        on_core[0],
        on_core[ROUNDS - 1],
    )?;
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
