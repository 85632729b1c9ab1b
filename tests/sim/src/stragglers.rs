//! What once made a broker's memory grow: one small message that waits in every large read buffer whose others are long gone.

use std::time::Duration;

use crate::drive;
use crate::handler::{Rules, Setup};
use crate::limits::HandlerLimits;
use crate::message::HandlerId;
use crate::scenario::{Machine, Network, Plan, Profile, Scenario, Script, Spec};
use crate::seeds::Failure;
use crate::shard::AGE_BYTES;
use crate::world::START;

/// Bytes of a message that is handled at once; with 63 of them, a read buffer of 64 KiB.
const BUSY_BYTES: usize = 1_000;
const BUSY: usize = 64;
/// Bytes of the one that waits.
const STRAGGLER_BYTES: usize = 128 - "in.1.0".len() - "N: 1\r\n".len();

/// What was seen.
#[derive(Debug, Clone, Copy)]
pub struct Stragglers {
    /// Read buffers that came.
    pub buffers: u64,
    /// Bytes that came in them.
    pub read_bytes: u64,
    /// Most messages that waited.
    pub waiting_most: usize,
    /// Most bytes of read buffers that were alive after a turn.
    pub kept_most: u64,
}

/// Lets `reads` buffers of 64 KiB come, in each of which one message of 128 bytes waits to the end.
///
/// # Errors
/// A broken promise.
pub fn run(reads: u32) -> Result<Stragglers, Failure> {
    let scenario = scenario(reads);
    let ran = drive::run(&scenario, START, false).map_err(|why| Failure {
        seed: scenario.seed,
        why,
    })?;
    let read_bytes = scenario
        .specs
        .iter()
        .map(|spec| spec.payload_bytes as u64)
        .sum();
    Ok(Stragglers {
        buffers: ran.buffers,
        read_bytes,
        waiting_most: ran.waiting_most,
        kept_most: ran.kept_most,
    })
}

fn plan(index: usize, linger: Duration) -> Plan {
    let second = Duration::from_secs(1);
    let limits = HandlerLimits {
        latency_budget: 20 * second,
        linger,
        batch_messages_max: 8_192,
        batch_bytes_max: 16 << 20,
        ..HandlerLimits::default()
    };
    let setup = Setup {
        name: format!("handler-{index}"),
        component: String::new(),
        budget_of_owner: limits.latency_budget,
        limits,
        dead_letter: None,
        droppable: false,
        packs: false,
    };
    let micro = Duration::from_micros(1);
    let profile = Profile {
        fixed: micro,
        per_message: micro / 10,
        per_byte_nanos: 0,
        noise: 0,
        slow: 0,
        slow_factor: 1,
        cold: Duration::ZERO,
        waits: false,
        attributes: false,
    };
    Plan { setup, profile }
}

fn scenario(reads: u32) -> Scenario {
    let milli = Duration::from_millis(1);
    let message = |read: u32, handler, payload_bytes| Spec {
        handler: HandlerId(handler),
        subject: format!("in.{handler}.0"),
        payload_bytes,
        at: milli * read,
        script: Script::default(),
        pack: None,
    };
    let read = |read: u32| {
        let busy = (0..BUSY).map(move |_| message(read, 0, BUSY_BYTES));
        busy.chain([message(read, 1, STRAGGLER_BYTES)])
    };
    Scenario {
        seed: 0,
        rules: Rules {
            ordered: false,
            time_slice: milli,
            fiber_stay_first: milli,
            fiber_stay_max: milli,
            seed: 0,
            age_bytes: AGE_BYTES,
        },
        handlers: vec![
            plan(0, Duration::ZERO),
            plan(1, 10 * Duration::from_secs(1)),
        ],
        specs: (0..reads).flat_map(read).collect(),
        packs: Vec::new(),
        machine: Machine {
            slots: 10,
            suspended_max: 1,
            no_slot: 0,
            host_fault: 0,
            ready_max: 2,
        },
        network: Network {
            report_delay: milli,
            lost: 0,
            repeated: 0,
            refused: 0,
            refused_at_once: 0,
            releases_refused: 0,
            late: 0,
            letters_refused: 0,
            letters_stored: false,
            fresh: 0,
            acks_lost: 0,
            disconnects: Vec::new(),
            returns_outside: true,
            read_messages_max: 256,
        },
        changes: Vec::new(),
        calm: Duration::ZERO,
        turn_cost: Duration::ZERO,
        spurious: 0,
    }
}
