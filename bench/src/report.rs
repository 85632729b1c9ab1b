//! Engine ÷ raw loop, measured in turn so that a noisy machine disturbs both alike; and the raw loop taken apart.

use std::time::Duration;

use millpond::ResetMode;
use wasmtime::Result;

use crate::cores::{Place, go};
use crate::engine::{Feed, LoadedEngine};
use crate::groups::again;
use crate::guest::Guest;
use crate::notes::note;
use crate::raw::{Allocator, Layout, RawLoop, Run};
use crate::reset;
use crate::scale::Scale;
use crate::single::{RawSingle, Single};

/// Messages a call that are compared.
pub const BATCHES: [usize; 2] = [1, 64];
/// The same for contract 3, in packs of a call's messages: both sides get a batch that is laid out.
pub const BATCHES_PACKED: [usize; 2] = [256, 1_024];
/// The same in messages, which both sides lay out; and what their cases are called.
const BATCH_MESSAGES: usize = 256;
const IN_MESSAGES: &str = ", in messages";
/// The group of what is compared, and that of the pieces.
pub const GROUP: &str = "engine÷raw";
/// See [`GROUP`].
pub const PIECES: &str = "raw loop";
/// Rounds of each side.
const ROUNDS: usize = 7;
/// How long a round takes, about.
const ROUND: Duration = Duration::from_millis(400);
/// What is taken apart: those that the budget in PERF.md adds up.
const APART: [(Guest, usize); 4] = [
    (Guest::Counter, 1),
    (Guest::Echo, 1),
    (Guest::Echo, 64),
    (Guest::BatchEcho, 256),
];
const PIECES_ROUNDS: usize = 7;
const PIECES_ROUND: Duration = Duration::from_millis(150);
/// Rounds of each way of resetting, and how long one takes.
const RESET_ROUNDS: usize = 7;
const RESET_ROUND: Duration = Duration::from_millis(200);

/// A round of both sides.
#[derive(Debug, Clone, Copy)]
struct Round {
    raw: Run,
    engine: Run,
}

/// Measures all.
///
/// # Errors
/// A run failed, or its answer was wrong.
pub fn measure(scale: Scale) -> Result<()> {
    resets(scale)?;
    let reset = reset::chosen()?;
    let contract_1 = Guest::ALL.into_iter().map(|guest| (guest, &BATCHES));
    let contract_3 = Guest::BATCH
        .into_iter()
        .map(|guest| (guest, &BATCHES_PACKED));
    for (guest, batches) in contract_1.chain(contract_3) {
        for &batch in batches {
            let engine = LoadedEngine::new(guest, reset, batch)?;
            let rounds = compared(guest, engine, Layout::Beforehand, batch, scale)?;
            noted(guest.name(), batch, &rounds);
        }
    }
    for guest in Guest::BATCH {
        let batch = BATCH_MESSAGES;
        let engine = LoadedEngine::fed(guest, reset, batch, Feed::Together)?;
        let rounds = compared(guest, engine, Layout::EachCall, batch, scale)?;
        noted(&format!("{}{IN_MESSAGES}", guest.name()), batch, &rounds);
    }
    for single in Single::ALL {
        let engine = single.engine(reset)?;
        go(Place::Shard)?;
        let mut raw = RawSingle::new(single, Allocator::Ours(reset))?;
        let rounds = in_turn(engine, |time| raw.run_for(time), scale)?;
        noted(single.name(), 1, &rounds);
    }
    for (guest, batch) in APART {
        pieces(guest, batch, reset, scale)?;
    }
    go(Place::Anywhere)
}

/// The ways of resetting that this machine has, by the raw loop with `counter` at one message a call.
fn resets(scale: Scale) -> Result<()> {
    go(Place::Shard)?;
    let time = scale.time(RESET_ROUND);
    for reset in ResetMode::ALL {
        let allocator = Allocator::Ours(reset);
        if !allocator.is_available() {
            continue;
        }
        let mut raw = RawLoop::new(Guest::Counter, allocator, 1)?;
        raw.run_for(time)?;
        let round = |_| Ok(raw.run_for(time)?.rate_on_core());
        let rounds = 0..scale.rounds(RESET_ROUNDS);
        let rates: Vec<f64> = rounds.map(round).collect::<Result<_>>()?;
        note("reset", reset.name(), "calls/s of a core, counter", rates);
    }
    Ok(())
}

/// Measures this engine and the raw loop in turn.
fn compared(
    guest: Guest,
    engine: LoadedEngine,
    layout: Layout,
    batch: usize,
    scale: Scale,
) -> Result<Vec<Round>> {
    go(Place::Shard)?;
    let raw = RawLoop::new(guest, Allocator::Ours(reset::chosen()?), batch)?;
    let mut raw = raw.laid_out(layout);
    in_turn(engine, |time| raw.run_for(time), scale)
}

fn in_turn(
    engine: LoadedEngine,
    mut raw: impl FnMut(Duration) -> Result<Run>,
    scale: Scale,
) -> Result<Vec<Round>> {
    let (mut engine, time) = (engine.scaled(scale), scale.time(ROUND));
    let messages = engine.full_calls((raw(time)?.rate() * time.as_secs_f64()) as u64);
    again(|| engine.run(messages))?;
    let mut round = || {
        go(Place::Shard)?;
        Ok(Round {
            raw: raw(time)?,
            engine: engine.run(messages)?,
        })
    };
    let rounds = 0..scale.rounds(ROUNDS);
    rounds.map(|_| again(&mut round)).collect()
}

/// What a row of the group is called.
#[must_use]
pub fn case(name: &str, batch: usize, what: &str) -> String {
    format!("{name}, {batch} a call: {what}")
}

/// Keeps the rounds as rows.
fn noted(name: &str, batch: usize, rounds: &[Round]) {
    let row = |what, unit, of: &dyn Fn(&Round) -> f64| {
        let rounds: Vec<f64> = rounds.iter().map(of).collect();
        note(GROUP, case(name, batch, what), unit, rounds);
    };
    let on_core = "ns on core a message";
    row("raw", on_core, &|r| 1e9 / r.raw.rate_on_core());
    row("engine", on_core, &|r| 1e9 / r.engine.rate_on_core());
    row("ratio", "of rates on core", &|r| {
        r.engine.rate_on_core() / r.raw.rate_on_core()
    });
    row("ratio by the clock", "of rates", &|r| {
        r.engine.rate() / r.raw.rate()
    });
}

/// Calls of the raw loop in their pieces, of each of which the clock's own time is taken off.
fn pieces(guest: Guest, batch: usize, reset: ResetMode, scale: Scale) -> Result<()> {
    let time = scale.time(PIECES_ROUND);
    go(Place::Shard)?;
    let mut raw = RawLoop::new(guest, Allocator::Ours(reset), batch)?;
    let rate = raw.run_for(time)?.rate() / batch as f64;
    let calls = (rate * time.as_secs_f64()) as u64;
    let mut rows = [const { Vec::new() }; 4];
    for _ in 0..scale.rounds(PIECES_ROUNDS) {
        let p = raw.pieces(calls)?;
        let pieces = [p.store, p.instantiate, p.call, p.drop];
        for (row, piece) in rows.iter_mut().zip(pieces) {
            row.push((piece - p.clock) / batch as f64);
        }
    }
    for (row, what) in rows.into_iter().zip(PIECE_NAMES) {
        note(PIECES, case(guest.name(), batch, what), "ns a message", row);
    }
    Ok(())
}

/// The pieces of a call, in their order.
pub const PIECE_NAMES: [&str; 4] = ["store", "instantiate", "call", "drop"];
