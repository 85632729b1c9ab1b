//! The load: messages at times that are fixed in advance, whatever the engine does.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use millpond::{Engine, Message, Refusal};

use super::bits::Bits;
use crate::args::DemoArguments;
use crate::clock;
use crate::exit::{Exit, Failed};

/// The subject that the component listens on.
const SUBJECT: &str = "echo";
/// Most messages of one demo: each takes two bits, so this is 250 MB.
const MESSAGES_MAX: u64 = 1_000_000_000;
/// Waits longer than this are slept, but for this much, by which a sleep may be late.
const SLEEP_SLACK: Duration = Duration::from_micros(200);

/// What is sent, and when.
#[derive(Debug, Clone, Copy)]
pub(super) struct Plan {
    /// Messages.
    pub(super) messages: u64,
    /// Messages a second.
    pub(super) rate: u64,
    payload_bytes: usize,
}

impl Plan {
    /// The plan that these arguments make.
    ///
    /// # Errors
    /// Too many messages, or none.
    pub(super) fn new(arguments: &DemoArguments) -> anyhow::Result<Self> {
        let messages = (arguments.seconds * arguments.rate as f64).round() as u64;
        if !(1..=MESSAGES_MAX).contains(&messages) {
            return Err(Failed::error(
                Exit::Usage,
                format!(
                    "--seconds {} at --rate {} are {messages} messages; 1 to {MESSAGES_MAX} can be counted",
                    arguments.seconds, arguments.rate
                ),
            ));
        }
        Ok(Self {
            messages,
            rate: arguments.rate,
            payload_bytes: arguments.payload_bytes as usize,
        })
    }

    /// When a message is sent, from the start.
    fn due(&self, number: u64) -> Duration {
        Duration::from_nanos((u128::from(number) * 1_000_000_000 / u128::from(self.rate)) as u64)
    }
}

/// What was sent.
#[derive(Debug)]
pub(super) struct Load {
    /// Messages that the engine took.
    pub(super) admitted: u64,
    /// Which they are.
    pub(super) numbers: Bits,
    /// Messages that it had no room for.
    pub(super) shed: u64,
    /// The furthest that the load was behind its plan.
    pub(super) lag_max: Duration,
}

/// Sends the plan's messages, each at its time or, if that has passed, at once.
pub(super) fn generate(engine: &Engine, plan: Plan, offered: &AtomicU64) -> anyhow::Result<Load> {
    let mut load = Load {
        admitted: 0,
        numbers: Bits::new(plan.messages),
        shed: 0,
        lag_max: Duration::ZERO,
    };
    let mut payload = vec![b'.'; plan.payload_bytes];
    let start = clock::now();
    for number in 0..plan.messages {
        let due = start + plan.due(number);
        load.lag_max = load.lag_max.max(wait_until(due));
        payload[..8].copy_from_slice(&number.to_le_bytes());
        let message = Message::builder(SUBJECT).arrived(due).payload(&payload)?;
        // Before it can be settled, so that no more are said to be settled than sent.
        offered.store(number + 1, Ordering::Relaxed);
        match engine.publish(message) {
            Ok(_) => {
                load.admitted += 1;
                load.numbers.add(number);
            }
            Err(refused) if matches!(refused.reason, Refusal::Full(_)) => load.shed += 1,
            Err(refused) => return Err(refused.into()),
        }
    }
    Ok(load)
}

/// Waits until a time, and says by how much it was late.
fn wait_until(due: Instant) -> Duration {
    loop {
        let now = clock::now();
        if now >= due {
            return now - due;
        }
        let ahead = due - now;
        if ahead > SLEEP_SLACK {
            std::thread::park_timeout(ahead - SLEEP_SLACK);
        } else {
            std::thread::yield_now();
        }
    }
}
