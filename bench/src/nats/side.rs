//! What was measured of a side.

use super::child::Usage;
use crate::notes::note;

/// One side's rounds.
pub(super) struct Side {
    pub(super) name: String,
    pub(super) rounds: Vec<Measured>,
}

/// A round of one side.
#[derive(Debug, Clone, Copy)]
pub(super) struct Measured {
    /// The service's CPU, in nanoseconds a message.
    cpu: f64,
    /// Of that, the kernel's part.
    kernel: f64,
    /// Messages a second.
    rate: f64,
    /// Messages a call, where it calls a guest.
    a_call: Option<f64>,
}

impl Measured {
    /// What a service used between these, for so many messages in so many seconds.
    pub(super) fn between(before: Usage, after: Usage, messages: u64, seconds: f64) -> Self {
        let messages = messages as f64;
        Self {
            cpu: (after.cpu - before.cpu).as_secs_f64() * 1e9 / messages,
            kernel: (after.kernel - before.kernel).as_secs_f64() * 1e9 / messages,
            rate: messages / seconds,
            a_call: match after.calls - before.calls {
                0 => None,
                calls => Some(messages / calls as f64),
            },
        }
    }
}

impl Side {
    pub(super) fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            rounds: Vec::new(),
        }
    }
}

/// Keeps each side's rounds as rows of the run.
pub(super) fn noted(part: &str, sides: &[Side]) {
    let group = format!("nats {part}");
    for side in sides {
        let row = |what: &str, unit, of: fn(&Measured) -> f64| {
            let rounds: Vec<f64> = side.rounds.iter().map(of).collect();
            note(&group, format!("{}: {what}", side.name), unit, rounds);
        };
        row("CPU", "ns a message", |m| m.cpu);
        row("CPU in the kernel", "ns a message", |m| m.kernel);
        row("rate", "messages/s", |m| m.rate);
        let calls: Vec<f64> = side.rounds.iter().filter_map(|m| m.a_call).collect();
        if !calls.is_empty() {
            let case = format!("{}: calls", side.name);
            note(&group, case, "messages a call", calls);
        }
    }
}
