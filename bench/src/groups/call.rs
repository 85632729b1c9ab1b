//! What a message takes of its shard, by contract, messages a call and payload: the engine under sustained load.

use std::time::Duration;

use millpond::{HandlerConfig, Message, ResetMode};
use wasmtime::Result;
use wasmtime::error::Context as _;

use super::again;
use crate::engine::LoadedEngine;
use crate::guest::HEADER;
use crate::notes::note;
use crate::warm::{ROWS, Row};

/// Bytes of payloads.
const PAYLOADS: [usize; 3] = [16, 1_024, 4_096];
/// Messages a call of contract 3: with the largest payload half of what a call may have in bytes.
const BATCH_PACKED: usize = 128;
const ROUNDS: usize = 3;
/// How long a round takes, about; and how many messages tell how many that is.
const ROUND: Duration = Duration::from_millis(120);
const FIRST_MESSAGES: u64 = 4_000;

/// Measures all; memory is reset in this way.
///
/// # Errors
/// A message was lost, or a call failed.
pub fn measure(reset: ResetMode) -> Result<()> {
    // One thread can't feed contract 3 with one message after another: its large calls are published as packs.
    let larger = |row: &Row| Row {
        batch: BATCH_PACKED,
        ..*row
    };
    let one_by_one = |row: &Row| row.contract != 3 || row.batch == 1;
    let packed = ROWS.iter().filter(|row| row.packed).map(larger);
    for row in ROWS.iter().copied().filter(one_by_one).chain(packed) {
        for payload in PAYLOADS {
            let case = format!("{}, {payload} bytes", row.name());
            let rounds = one(row, payload, reset)?;
            note("call", case, "ns of the shard a message", rounds);
        }
    }
    Ok(())
}

fn one(row: Row, payload: usize, reset: ResetMode) -> Result<Vec<f64>> {
    let handler = HandlerConfig::file(row.guest, row.path());
    let handler = match row.contract {
        1 => handler,
        _ => handler.subject(row.subject),
    };
    let payload = vec![b'x'; payload];
    let message = |_| {
        let builder = Message::builder(row.subject).header(HEADER.0, HEADER.1);
        builder.payload(&payload).context("building a message")
    };
    let messages = |count| (0..count).map(message).collect();
    let mut engine = LoadedEngine::of(handler, messages, 1, reset, row.batch)?;
    let rate = again(|| engine.run(FIRST_MESSAGES))?.rate();
    let count = ((rate * ROUND.as_secs_f64()) as u64).max(FIRST_MESSAGES);
    let round = |_| Ok(1e9 / again(|| engine.run(count))?.rate_on_core());
    (0..ROUNDS).map(round).collect()
}
