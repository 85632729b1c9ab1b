//! Wasmtime's settings, one at a time other than the engine has them: what each is worth to the raw loop.
//!
//! A ratio above 1 says that the loop is faster with it. Each round has all of them in turn, so that a noisy machine disturbs all alike; the
//! engine's own settings come twice, and what the second differs from 1 is noise.

use std::time::Duration;

use wasmtime::Result;

use crate::cores::{Place, go};
use crate::guest::Guest;
use crate::notes::note;
use crate::raw::{Allocator, RawLoop, Setting};
use crate::reset;
use crate::scale::Scale;

const ROUNDS: usize = 7;
const ROUND: Duration = Duration::from_millis(120);
/// What is called, and with how many messages.
const CASES: [(Guest, usize); 3] = [(Guest::Echo, 1), (Guest::Echo, 64), (Guest::BatchEcho, 256)];

/// Measures all of them.
///
/// # Errors
/// A call failed.
pub fn measure(scale: Scale) -> Result<()> {
    let reset = reset::chosen()?;
    for (guest, batch) in CASES {
        let varied = Setting::ALL.map(|s| (s.name(), Allocator::Varied(reset, s)));
        let ours = ("the engine's, once more", Allocator::Ours(reset));
        let mut sides = Vec::new();
        for (name, allocator) in [ours].into_iter().chain(varied) {
            sides.push((name, RawLoop::new(guest, allocator, batch)?, Vec::new()));
        }
        let mut base = RawLoop::new(guest, Allocator::Ours(reset), batch)?;
        go(Place::Shard)?;
        for round in 0..=scale.rounds(ROUNDS) {
            let least = base.run_for(scale.time(ROUND))?.rate_on_core();
            for (_, side, ratios) in &mut sides {
                let ratio = side.run_for(scale.time(ROUND))?.rate_on_core() / least;
                // The first warms up.
                if round > 0 {
                    ratios.push(ratio);
                }
            }
        }
        go(Place::Anywhere)?;
        for (name, _, ratios) in sides {
            let case = format!("{}, {batch} a call: {name}", guest.name());
            note("settings", case, "÷ the engine's", ratios);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use millpond::ResetMode;

    #[test]
    fn the_guests_work_with_each_setting() {
        for setting in Setting::ALL {
            for (guest, batch) in [(Guest::Echo, 2), (Guest::BatchEcho, 2)] {
                let varied = Allocator::Varied(ResetMode::Copy, setting);
                let mut raw = RawLoop::new(guest, varied, batch).unwrap();
                raw.run_calls(3).unwrap();
            }
        }
    }
}
