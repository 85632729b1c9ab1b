//! What one run is made of: configuration, workload and faults.
//!
//! Owns the form; `draw.rs` makes one of a seed.

use std::rc::Rc;
use std::time::Duration;

use crate::handler::{Rules, Setup};
use crate::limits::HandlerLimits;
use crate::message::HandlerId;
use crate::outcome::FaultKind;

/// Where guests send what needs no confirmation.
pub(crate) const OUT_PLAIN: &str = "out.plain";
/// Where guests send what a stream captures: confirmed later, if all goes well.
pub(crate) const OUT_STORED: &str = "out.stored";
/// Where guests send what is refused at once.
pub(crate) const OUT_REFUSED: &str = "out.refused";
/// Where guests send what is refused later.
pub(crate) const OUT_DENIED: &str = "out.denied";

/// What a guest does with one message.
#[derive(Debug, Clone, Default)]
pub(crate) struct Script {
    /// The call that meets it fails so.
    pub(crate) fault: Option<FaultKind>,
    /// How many calls it makes fail; then it is handled.
    pub(crate) faults: u32,
    /// How many calls abandon it; then it is handled.
    pub(crate) abandons: u32,
    /// Whether the guest says of it that it is handled, rather than nothing.
    pub(crate) completes: bool,
    /// Where it makes the guest send to.
    pub(crate) sends: Vec<&'static str>,
    /// Sends that are made and taken back.
    pub(crate) rewinds: bool,
    /// Whether the guest updates its configuration.
    pub(crate) updates: bool,
    /// What it costs beyond others.
    pub(crate) extra: Duration,
    /// How long it makes a call wait, on a guest that may.
    pub(crate) wait: Option<Duration>,
}

/// A message that is published.
#[derive(Debug, Clone)]
pub(crate) struct Spec {
    pub(crate) handler: HandlerId,
    pub(crate) subject: String,
    /// At least 8.
    pub(crate) payload_bytes: usize,
    pub(crate) at: Duration,
    pub(crate) script: Script,
    /// The pack that it is published in, by its place among the packs.
    pub(crate) pack: Option<usize>,
}

impl Spec {
    /// What it counts in flight: what [`crate::wire::read`] makes of it.
    pub(crate) fn bytes(&self) -> usize {
        self.subject.len() + "N: 1\r\n".len() + self.payload_bytes
    }
}

/// How a handler's guest behaves.
#[derive(Debug, Clone)]
pub(crate) struct Profile {
    /// What a call costs.
    pub(crate) fixed: Duration,
    /// What each of its messages costs.
    pub(crate) per_message: Duration,
    pub(crate) per_byte_nanos: u64,
    /// How far costs scatter, in thousandths.
    pub(crate) noise: u32,
    /// Calls in a thousand that are `slow_factor` times as long.
    pub(crate) slow: u32,
    pub(crate) slow_factor: u32,
    /// What the first call costs beyond.
    pub(crate) cold: Duration,
    /// Whether its component imports something that waits.
    pub(crate) waits: bool,
    /// Whether it says which message each send is for.
    pub(crate) attributes: bool,
}

/// How the guests' machine behaves.
#[derive(Debug, Clone)]
pub(crate) struct Machine {
    /// Instances alive at once.
    pub(crate) slots: usize,
    /// Suspended calls at once.
    pub(crate) suspended_max: usize,
    /// Starts in a thousand that find no slot although one should be free.
    pub(crate) no_slot: u32,
    /// Starts in a thousand that fail for reasons of the host.
    pub(crate) host_fault: u32,
    /// Ready instances that idle turns make.
    pub(crate) ready_max: usize,
}

/// How the broker behaves. Chances are in thousandths, and hold until [`Scenario::calm`].
#[derive(Debug, Clone)]
pub(crate) struct Network {
    /// Longest time that a report takes.
    pub(crate) report_delay: Duration,
    /// Reports that never come.
    pub(crate) lost: u32,
    /// Reports that come twice.
    pub(crate) repeated: u32,
    /// Sends that are refused later.
    pub(crate) refused: u32,
    /// Sends that are refused at once.
    pub(crate) refused_at_once: u32,
    /// Releases that are refused before anything of them is sent.
    pub(crate) releases_refused: u32,
    /// Reports that come far too late.
    pub(crate) late: u32,
    /// Letters that are not taken.
    pub(crate) letters_refused: u32,
    /// Whether letters are confirmed later.
    pub(crate) letters_stored: bool,
    /// Messages that come back as fresh copies.
    pub(crate) fresh: u32,
    /// Acks that are lost with a connection: their messages come again.
    pub(crate) acks_lost: u32,
    /// When the connection is lost, and for how long.
    pub(crate) disconnects: Vec<(Duration, Duration)>,
    /// Whether what comes back comes from outside, or from a timer of the transport.
    pub(crate) returns_outside: bool,
    /// Most messages that one read brings.
    pub(crate) read_messages_max: usize,
}

/// One handler of a run.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) setup: Setup,
    pub(crate) profile: Profile,
}

/// One run.
#[derive(Debug, Clone)]
pub(crate) struct Scenario {
    pub(crate) seed: u64,
    pub(crate) rules: Rules,
    pub(crate) handlers: Vec<Plan>,
    /// By serial number; in order of publication.
    pub(crate) specs: Rc<[Spec]>,
    /// Of each pack the serial numbers of its messages, which are published at once and are one handler's.
    pub(crate) packs: Vec<Rc<[u64]>>,
    pub(crate) machine: Machine,
    pub(crate) network: Network,
    /// Changes of limits, in order of time.
    pub(crate) changes: Vec<(Duration, HandlerId, HandlerLimits)>,
    /// From when on broker and network do no more harm.
    pub(crate) calm: Duration,
    /// What a turn costs beyond its call.
    pub(crate) turn_cost: Duration,
    /// Rests in a thousand that end early, for nothing.
    pub(crate) spurious: u32,
}
