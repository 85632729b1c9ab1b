//! What of our side on NATS can be measured without a server: the engine's own parser, layout of contract 3 and writer, over the bytes of a
//! batch of requests in memory. The budget in PERF.md adds them up.

use std::time::Duration;

use millpond_bench_wire::{STEPS, Step, Steps};
use wasmtime::{Result, format_err};

use crate::clock::{self, THIS_THREAD, on_core};
use crate::cores::{Place, go};
use crate::guest::PAYLOAD_BYTES;
use crate::notes::note;
use crate::scale::Scale;

/// The group of these rows.
pub(crate) const GROUP: &str = "nats layers";
/// Messages of a batch: a call's in the budget.
const BATCH: usize = 256;
const ROUNDS: usize = 7;
const ROUND: Duration = Duration::from_millis(200);
/// Batches between two looks at the clock.
const BATCHES_A_LOOK: u64 = 16;
/// What a request of the echo has as its header block.
const HEAD: &str = "NATS/1.0\r\nkind: bench\r\n\r\n";

/// Measures each step.
///
/// # Errors
/// The engine does not read what a server sends.
pub fn layers(scale: Scale) -> Result<()> {
    go(Place::Shard)?;
    let mut steps = Steps::new(requests(), BATCH).map_err(|why| format_err!("{why}"))?;
    for (name, step) in STEPS {
        let mut round = || one(&mut steps, step, scale.time(ROUND));
        round()?;
        let rounds = (0..scale.rounds(ROUNDS)).map(|_| round());
        let rounds = rounds.collect::<Result<Vec<_>>>()?;
        note(GROUP, name, "ns a message", rounds);
    }
    go(Place::Anywhere)
}

/// A step for at least this long: nanoseconds of the core a message.
fn one(steps: &mut Steps, step: Step, time: Duration) -> Result<f64> {
    let (begun, begun_on_core) = (clock::now(), on_core(THIS_THREAD)?);
    let mut batches = 0;
    while batches % BATCHES_A_LOOK != 0 || clock::now() - begun < time {
        step(steps).map_err(|why| format_err!("{why}"))?;
        batches += 1;
    }
    let took = on_core(THIS_THREAD)? - begun_on_core;
    Ok(took.as_secs_f64() * 1e9 / (batches as usize * BATCH) as f64)
}

/// A batch of requests as the server sends them to our service.
fn requests() -> Vec<u8> {
    let (head, all) = (HEAD.len(), HEAD.len() + PAYLOAD_BYTES);
    let payload = "x".repeat(PAYLOAD_BYTES);
    let request = |number| {
        format!(
            "HMSG batch-echo 1 _INBOX.load-batch-echo.{number:04} {head} {all}\r\n{HEAD}{payload}\r\n"
        )
    };
    (0..BATCH).map(request).collect::<String>().into_bytes()
}
