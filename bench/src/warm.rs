//! The warm path alone: an engine that makes calls of one size, for who counts its instructions or its system calls.
//!
//! Whatever time decides is switched off, so that a run does the same however fast the machine is: budgets and slices are so long
//! that no call is smaller than it may be or made again, no instance is made ahead, and nothing ticks.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::process::{Command, Output};
use std::time::Duration;

use millpond::{
    Engine, EngineConfig, Grants, HandlerConfig, HandlerLimits, HandlerStats, Message, ResetMode,
};
use wasmtime::error::Context as _;
use wasmtime::{Result, ensure};

use crate::engine::pack;
use crate::guest::{HEADER, PAYLOAD_BYTES};

/// Longer than anything that is run here.
const LONG: Duration = Duration::from_secs(3_600);
/// The longest slice and tick that an engine may have.
const TICK: Duration = Duration::from_secs(1);
/// Calls before counting: every buffer has its size then.
pub const WARM_CALLS: usize = 64;
/// Most messages that are in flight at once.
const MESSAGES_MAX: usize = 1 << 16;
/// Messages published in one step, which the engine hands to its shard as one: so the turns are the same however threads take turns.
const STEP: usize = 256;
/// What an error says of calls that were made and were not full, as happens on a busy machine.
const NOT_FULL: &str = "they were not full";
/// How often calls are made that a busy machine may leave less than full.
const TRIES: usize = 3;
/// How long whoever waits rests between two looks.
const REST: Duration = Duration::from_millis(2);

/// Runs a command whose process makes calls that have to be full, again if a busy machine left them less than that; what it wrote.
///
/// # Errors
/// It can't be run, for which there is advice; or it failed, at last.
pub fn ran(command: &mut Command, advice: &'static str) -> Result<Output> {
    for left in (0..TRIES).rev() {
        let ran = command.output().context(advice)?;
        let said = String::from_utf8_lossy(&ran.stderr);
        if ran.status.success() {
            return Ok(ran);
        }
        ensure!(
            left > 0 && said.contains(NOT_FULL),
            "{command:?} failed:\n{said}"
        );
        eprintln!("{NOT_FULL}, once more: {command:?}");
    }
    unreachable!("the last time it succeeds or fails")
}

/// A row: which component is called, and with how many messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Row {
    /// The contract's number.
    pub contract: u8,
    /// The component's name, in `guests/prebuilt`: it sends each message on.
    pub guest: &'static str,
    /// The subject that it handles.
    pub subject: &'static str,
    /// Messages a call.
    pub batch: usize,
    /// Whether a call's messages are published as one pack.
    pub packed: bool,
}

const fn row(contract: u8, guest: &'static str, subject: &'static str, batch: usize) -> Row {
    Row {
        contract,
        guest,
        subject,
        batch,
        packed: false,
    }
}

const fn packed(row: Row) -> Row {
    Row {
        packed: true,
        ..row
    }
}

/// All contracts; those that have batches with 64 messages too, and contract 3 with packs of as many.
pub const ROWS: [Row; 7] = [
    row(1, "echo", "echo", 1),
    row(1, "echo", "echo", 64),
    row(2, "echo-incoming", "echo", 1),
    row(3, "batch-echo", "batch-echo", 1),
    row(3, "batch-echo", "batch-echo", 64),
    packed(row(3, "batch-echo", "batch-echo", 64)),
    row(4, "echo-wasmcloud", "echo", 1),
];

impl Row {
    /// What it is called in tables and in the file of bounds.
    #[must_use]
    pub fn name(&self) -> String {
        let packed = if self.packed { "-packed" } else { "" };
        format!("contract-{}-batch-{}{packed}", self.contract, self.batch)
    }

    fn path(&self) -> PathBuf {
        let prebuilt = concat!(env!("CARGO_MANIFEST_DIR"), "/../guests/prebuilt");
        PathBuf::from(prebuilt).join(format!("{}.wasm", self.guest))
    }

    /// Messages for it, one header each.
    fn messages(&self, count: usize) -> Result<VecDeque<Message>> {
        let message = |_| {
            let builder = Message::builder(self.subject).header(HEADER.0, HEADER.1);
            let built = builder.payload(&[b'x'; PAYLOAD_BYTES]);
            built.context("building a message")
        };
        (0..count).map(message).collect()
    }
}

/// An engine of one shard and one handler, all of whose calls are full.
pub struct WarmEngine {
    engine: Engine,
    row: Row,
}

impl WarmEngine {
    /// Starts it, and calls it until it is warm.
    ///
    /// # Errors
    /// It does not start, or a call failed.
    pub fn new(row: Row, reset: ResetMode) -> Result<Self> {
        Self::start(row, Some(reset))
    }

    /// The same, with memory reset as the engine chooses here.
    ///
    /// # Errors
    /// As [`WarmEngine::new`].
    pub fn as_chosen(row: Row) -> Result<Self> {
        Self::start(row, None)
    }

    fn start(row: Row, reset: Option<ResetMode>) -> Result<Self> {
        let limits = HandlerLimits {
            batch_messages_max: row.batch,
            latency_budget: LONG,
            deadline: LONG,
            wall_deadline: LONG,
            in_flight_messages_max: MESSAGES_MAX as u32,
            in_flight_bytes_max: 1 << 30,
            ready_instances_max: 0,
            suspended_calls_max: 1,
            ..HandlerLimits::default()
        };
        let handler = HandlerConfig::file(row.guest, row.path()).limits(limits);
        let named = row.contract == 1;
        let handler = if named {
            handler
        } else {
            handler.subject(row.subject)
        };
        let mut config = EngineConfig::new()
            .shards(1)
            .handler(handler.grants(Grants::all()));
        config.reset = reset;
        config.pin = false;
        config.limits.tick = TICK;
        config.limits.time_slice = TICK;
        config.limits.inbox_messages_max = MESSAGES_MAX;
        config.limits.in_flight_messages_max = MESSAGES_MAX as u32;
        config.limits.in_flight_bytes_max = 1 << 30;
        // One called, one used and one suspended: a small pool, whose addresses other tools can hold too.
        config.limits.ready_instances_max = 0;
        config.limits.suspended_calls_max = 1;
        let warm = Self {
            engine: Engine::start(config)?,
            row,
        };
        warm.calls(WARM_CALLS)?;
        Ok(warm)
    }

    /// Publishes the messages of so many calls, and waits until they are settled.
    ///
    /// # Errors
    /// A message was not handled, a call failed or was not full.
    pub fn calls(&self, calls: usize) -> Result<()> {
        // A pack is handed over by itself.
        let step = if self.row.packed {
            self.row.batch
        } else {
            STEP
        };
        self.calls_in_steps(calls, step)
    }

    /// The same with all messages published in one step, so that the shard never rests.
    ///
    /// # Errors
    /// As [`WarmEngine::calls`].
    pub fn in_one_step(&self, calls: usize) -> Result<()> {
        self.calls_in_steps(calls, MESSAGES_MAX)
    }

    /// How memory is reset.
    #[must_use]
    pub fn reset(&self) -> &'static str {
        self.engine.stats().reset
    }

    fn calls_in_steps(&self, calls: usize, most: usize) -> Result<()> {
        let before = self.handler();
        let count = calls * self.row.batch;
        ensure!(count <= MESSAGES_MAX, "{count} messages don't fit");
        let mut left = self.row.messages(count)?;
        while !left.is_empty() {
            let step = left.drain(..left.len().min(most)).collect();
            self.publish(step)?;
        }
        let after = self.handler();
        ensure!(after.faults.is_empty(), "calls failed: {:?}", after.faults);
        let (acked, sent) = (after.acked - before.acked, after.sent - before.sent);
        ensure!(
            (acked, sent) == (count as u64, count as u64),
            "of {count} messages {acked} were handled and {sent} sent on"
        );
        let made = after.calls - before.calls;
        // While it warms up the engine tries smaller ones.
        ensure!(
            before.calls == 0 || made == calls as u64,
            "{made} calls were made, not {calls}: {NOT_FULL}"
        );
        Ok(())
    }

    /// Publishes messages in one step, or a pack after another, and waits until they are settled.
    fn publish(&self, mut step: VecDeque<Message>) -> Result<()> {
        if self.row.packed {
            for call in step.make_contiguous().chunks(self.row.batch) {
                self.engine.publish_pack(&mut pack(call)?)?;
            }
        } else {
            self.engine.publish_all(&mut step)?;
        }
        while self.engine.stats().in_flight > 0 {
            if let Some(why) = self.engine.failure() {
                wasmtime::bail!("the engine has failed: {why}");
            }
            std::thread::park_timeout(REST);
        }
        Ok(())
    }

    fn handler(&self) -> HandlerStats {
        self.engine.stats().handlers.swap_remove(0)
    }
}

impl Drop for WarmEngine {
    fn drop(&mut self) {
        self.engine.stop();
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use millpond_tests::folder::Folder;

    use super::*;

    /// A shell that notes that it ran, and fails so often with these words.
    fn shell(log: &std::path::Path, fails: usize, says: &str) -> Command {
        let mut shell = Command::new("sh");
        let script =
            r#"echo ran >> "$0"; [ $(wc -l < "$0") -gt "$1" ] || { echo "$2" >&2; exit 1; }"#;
        shell.args(["-c", script]).arg(log);
        shell.args([&fails.to_string(), says]);
        shell
    }

    #[test]
    fn what_a_busy_machine_left_less_than_full_is_run_again_and_nothing_else_is() {
        let other = "a message was lost";
        for (fails, says, runs, well) in [
            (0, NOT_FULL, 1, true),
            (TRIES - 1, NOT_FULL, TRIES, true),
            (TRIES, NOT_FULL, TRIES, false),
            (1, other, 1, false),
        ] {
            let folder = Folder::new();
            let log = folder.path().join("log");
            let ended = ran(&mut shell(&log, fails, says), "there is a shell");
            assert_eq!(ended.is_ok(), well, "{fails} times {says}");
            if let Err(error) = ended {
                assert!(error.to_string().contains(&format!("failed:\n{says}")));
            }
            assert_eq!(fs::read_to_string(&log).unwrap().lines().count(), runs);
        }
    }
}
