//! Request and reply: the same echo by each side, in turn.

use std::time::Duration;

use wasmtime::{Result, ensure};

use super::child::Service;
use super::load::Load;
use super::side::{Measured, Side};
use crate::cores::{Place, go};
use crate::scale::Scale;

/// Rounds of each side.
const ROUNDS: usize = 7;
/// How long a round takes.
const ROUND: Duration = Duration::from_millis(1_000);
/// Messages a call that ours is measured with.
const BATCHES: [u64; 3] = [64, 256, 1_024];
/// The same with contract 3.
pub(super) const BATCHES_PACKED: [u64; 2] = [256, 1_024];

/// One side: its service and its load.
struct Pair {
    name: String,
    service: Service,
    load: Load,
}

/// Measures all sides; only those whose name contains `filter`.
pub(super) fn measure(address: &str, head: bool, filter: &str, scale: Scale) -> Result<Vec<Side>> {
    let mut pairs = Vec::new();
    let mut pair = |name: &str, role: &str, subject: &str, number: u64| -> Result<()> {
        if !name.contains(filter) {
            return Ok(());
        }
        pairs.push((name.to_owned(), role.to_owned(), subject.to_owned(), number));
        Ok(())
    };
    pair("bare", "echo-bare", "echo.bare", 0)?;
    pair("native", "echo-native", "echo.native", 0)?;
    for batch in BATCHES {
        pair(&format!("ours, {batch} a call"), "echo-ours", "echo", batch)?;
    }
    for batch in BATCHES_PACKED {
        let name = format!("ours, contract 3, {batch} a call");
        pair(&name, "echo-ours-3", "batch-echo", batch)?;
    }
    let mut sides: Vec<Side> = pairs.iter().map(|p| Side::new(&p.0)).collect();
    for round in 0..=scale.rounds(ROUNDS) {
        for (place, (name, role, subject, number)) in pairs.iter().enumerate() {
            go(Place::Anywhere)?;
            let service = Service::start(role, address, subject, *number)?;
            go(Place::Publisher)?;
            let load = Load::new(address, subject, head)?;
            let mut pair = Pair {
                name: name.clone(),
                service,
                load,
            };
            let measured = pair.round(scale.time(ROUND))?;
            // The first is the server's warm-up.
            if round > 0 {
                sides[place].rounds.push(measured);
            }
        }
    }
    Ok(sides)
}

impl Pair {
    fn round(&mut self, time: Duration) -> Result<Measured> {
        self.load.run(time / 5)?;
        let before = self.service.usage()?;
        let asked = self.load.run(time)?;
        let after = self.service.usage()?;
        let handled = after.handled - before.handled;
        ensure!(
            handled == asked.messages,
            "{}: {handled} of {} were handled",
            self.name,
            asked.messages
        );
        let seconds = asked.elapsed.as_secs_f64();
        Ok(Measured::between(before, after, asked.messages, seconds))
    }
}
