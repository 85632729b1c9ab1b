//! What a message takes of its shard, by contract, messages a call and payload: the engine under sustained load.

use std::path::PathBuf;
use std::time::Duration;

use millpond::{HandlerConfig, Message, ResetMode};
use wasmtime::Result;
use wasmtime::error::Context as _;

use super::again;
use crate::engine::{Feed, LoadedEngine};
use crate::guest::HEADER;
use crate::notes::note;
use crate::reset;
use crate::scale::Scale;

/// Bytes of payloads.
const PAYLOADS: [usize; 3] = [16, 1_024, 4_096];
/// Bytes of a call's payloads, at most: half of what a call may have, the rest of which is for subjects and headers.
const CALL_BYTES_MAX: usize = 512 << 10;
const ROUNDS: usize = 7;
/// What the shard has of its core in a round, about; and how many messages are tried first to tell how many that is.
const ROUND: Duration = Duration::from_millis(120);
const FIRST_MESSAGES: u64 = 4_096;

/// A contract's component, its subject, and how it gets how many messages a call.
#[derive(Clone, Copy)]
struct Case(u8, &'static str, &'static str, usize, Feed);

use Feed::{Packs, Single, Together};

/// What is measured. One thread can't feed contract 3 with one message after another: its calls of many get a call's messages in one step,
/// or in a pack.
const CASES: [Case; 10] = [
    Case(1, "echo", "echo", 1, Single),
    Case(1, "echo", "echo", 64, Single),
    Case(2, "echo-incoming", "echo", 1, Single),
    Case(3, "batch-echo", "batch-echo", 1, Single),
    Case(3, "batch-echo", "batch-echo", 64, Together),
    Case(3, "batch-echo", "batch-echo", 64, Packs),
    Case(3, "batch-echo", "batch-echo", 256, Together),
    Case(3, "batch-echo", "batch-echo", 256, Packs),
    Case(3, "batch-echo", "batch-echo", 1_024, Packs),
    Case(4, "echo-wasmcloud", "echo", 1, Single),
];

/// Measures all whose calls hold the payloads.
///
/// # Errors
/// A message was lost, or a call failed.
pub fn measure(scale: Scale) -> Result<()> {
    let reset = reset::chosen()?;
    for case in CASES {
        let Case(contract, _, _, batch, feed) = case;
        let packed = if feed == Packs { ", packed" } else { "" };
        for payload in PAYLOADS {
            if batch * payload > CALL_BYTES_MAX {
                continue;
            }
            let rounds = one(case, payload, reset, scale)?;
            let case = format!("contract {contract}, {batch} a call{packed}, {payload} bytes");
            note("call", case, "ns of the shard a message", rounds);
        }
    }
    Ok(())
}

fn one(case: Case, payload: usize, reset: ResetMode, scale: Scale) -> Result<Vec<f64>> {
    let Case(contract, guest, subject, batch, feed) = case;
    let prebuilt = concat!(env!("CARGO_MANIFEST_DIR"), "/../guests/prebuilt");
    let path = PathBuf::from(prebuilt).join(format!("{guest}.wasm"));
    let handler = HandlerConfig::file(guest, path);
    // Contract 1 names its subject itself.
    let handler = match contract {
        1 => handler,
        _ => handler.subject(subject),
    };
    let payload = vec![b'x'; payload];
    let message = |_| {
        let builder = Message::builder(subject).header(HEADER.0, HEADER.1);
        builder.payload(&payload).context("building a message")
    };
    let messages = |count| (0..count).map(message).collect();
    let engine = LoadedEngine::of(handler, messages, 1, reset, (batch, feed))?;
    let mut engine = engine.scaled(scale);
    let count = enough(&mut engine, scale.time(ROUND))?;
    let count = engine.full_calls(count);
    let round = |_| Ok(1e9 / again(|| engine.run(count))?.rate_on_core());
    (0..scale.rounds(ROUNDS)).map(round).collect()
}

/// Messages that take a round. The kernel brings a thread's time up to date at its ticks, so that a short try says nothing.
fn enough(engine: &mut LoadedEngine, round: Duration) -> Result<u64> {
    let mut count = FIRST_MESSAGES;
    loop {
        let on_core = again(|| engine.run(count))?.on_core;
        if on_core >= round / 4 {
            return Ok((count as f64 * round.as_secs_f64() / on_core.as_secs_f64()) as u64);
        }
        count *= 4;
    }
}
