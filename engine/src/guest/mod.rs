//! Guests: handlers' components in Wasmtime, called in instances that have seen nothing.
//!
//! Owns all that names Wasmtime: the engine and its pool, loading, contracts, limits, the pond of ready instances, calls. Knows
//! brokers only as the [`crate::port::Port`] that a guest's imports use.

mod cache;
mod call;
mod component;
mod configure;
mod contract;
mod deadline;
mod handles;
pub(crate) mod host;
mod log;
mod pond;
mod reply_subjects;
mod request;
mod runtime;
mod suspended;
mod wait;
mod wasi;

use std::sync::Arc;
use std::time::Duration;

use wasmtime::component::Linker;

pub use self::component::{Import, Inspection, compile_ahead, inspect};
pub use self::contract::Contract;
pub(crate) use self::runtime::machine_memory;

use self::cache::Cache;
use self::component::Loaded;
use self::contract::batch::packed::Packed;
use self::deadline::{Bounds, Pace};
use self::host::{Host, Profile};
use self::pond::{Pond, Ready, Taken, Used};
use self::suspended::{Calls, Suspended};
use crate::config::{EngineConfig, ResetMode, Spread};
use crate::error::StartError;
use crate::limits::HandlerLimits;
use crate::memory::MemorySum;
use crate::message::HandlerId;
use crate::metrics::ShardMetrics;
use crate::outbox::GuestConfiguration;
use crate::outcome::{Fault, FaultKind};
use crate::port::Unpark;
use crate::seams::{Call, Ended, Guest, Runnable, Started};
use crate::shard::exclusive;
use crate::slice::Way;
use crate::time::Instant;

/// Of so many direct calls, one's time to its settlement is measured: each costs one look at the clock more.
const SETTLE_SAMPLE: u64 = 16;

/// A linker of what guests may import.
type HostLinker = Linker<Host>;

/// The loaded components of an engine, shared by its shards.
pub(crate) struct Guests {
    engine: wasmtime::Engine,
    loaded: Vec<Loaded>,
    reset: ResetMode,
    pace: Pace,
}

impl Guests {
    /// Builds the pool and loads every handler's component.
    pub(crate) fn load(config: &EngineConfig) -> Result<Self, StartError> {
        let reset = runtime::choose_reset(config.reset)?;
        let engine = runtime::engine(config, reset)?;
        let cache = Cache::of(config.cache.as_ref(), &engine)?;
        let load = |handler| Loaded::load(&engine, cache.as_ref(), handler);
        let loaded = config.handlers.iter().map(load).collect::<Result<_, _>>()?;
        Ok(Self {
            loaded,
            reset,
            pace: Pace::new(&config.limits),
            engine,
        })
    }

    /// The most memory that these handlers can need.
    pub(crate) fn memory(&self, config: &EngineConfig, connection_bytes: u64) -> MemorySum {
        let footprints: Vec<_> = self
            .loaded
            .iter()
            .zip(&config.handlers)
            .map(|(l, h)| l.footprint(h))
            .collect();
        MemorySum::new(&config.limits, config.shards, &footprints, connection_bytes)
    }

    /// How used memory is reset.
    pub(crate) fn reset(&self) -> ResetMode {
        self.reset
    }

    /// Advances the epoch by one tick: the ticker thread's only act.
    pub(crate) fn tick(&self) {
        self.engine.increment_epoch();
    }

    /// Asks a handler's guest for its configuration, in an instance of its own. Waits for it, up to the handler's deadlines.
    pub(crate) fn configure(
        &self,
        id: HandlerId,
        profile: Arc<Profile>,
    ) -> Result<GuestConfiguration, Fault> {
        let kind = Kind::new(&self.loaded[id.index()], profile, self.pace);
        configure::configure(&self.engine, &kind)
    }

    /// What one shard calls: a copy of every handler, and a pond for them.
    pub(crate) fn shard(
        &self,
        profiles: Vec<Arc<Profile>>,
        config: &EngineConfig,
        shell: Shell,
    ) -> ShardGuests {
        let kinds: Vec<_> = self
            .loaded
            .iter()
            .zip(profiles)
            .map(|(l, profile)| Kind::new(l, profile, self.pace))
            .collect();
        let limits = &config.limits;
        let slots = limits.instances(config.shards) as usize / config.shards;
        let metrics = Arc::clone(&shell.metrics);
        let engine = self.engine.clone();
        let pond = Pond::new(
            engine,
            kinds.len(),
            limits.ready_instances_max,
            slots,
            metrics,
        );
        // In the order of a subject, a suspended call is not overtaken by the next, whichever way that goes.
        let each_max = if config.spread == Spread::Subject {
            1
        } else {
            usize::MAX
        };
        let calls = Calls::new(kinds.len(), limits.suspended_calls_max, each_max);
        ShardGuests {
            kinds,
            packed: Packed::default(),
            pond,
            calls,
            shell,
            direct: 0,
            sampled: None,
        }
    }
}

/// What a shard's guests need of the thread they run on.
pub(crate) struct Shell {
    /// Reads the clock.
    pub(crate) clock: fn() -> Instant,
    /// Wakes the shard.
    pub(crate) unpark: Arc<dyn Unpark>,
    /// Where instances are counted.
    pub(crate) metrics: Arc<ShardMetrics>,
}

/// A handler on one shard: its component and what its instances share.
pub(crate) struct Kind {
    loaded: Loaded,
    profile: Arc<Profile>,
    pace: Pace,
    bounds: Bounds,
}

impl Kind {
    fn new(loaded: &Loaded, profile: Arc<Profile>, pace: Pace) -> Self {
        Self {
            loaded: loaded.clone(),
            bounds: pace.bounds(&profile.limits),
            profile,
            pace,
        }
    }

    fn limits(&self) -> &HandlerLimits {
        &self.profile.limits
    }

    fn set_limits(&mut self, limits: &HandlerLimits) {
        let old = &*self.profile;
        self.bounds = self.pace.bounds(limits);
        self.profile = Arc::new(Profile {
            id: old.id,
            name: old.name.clone(),
            limits: limits.clone(),
            grants: old.grants.clone(),
            port: Arc::clone(&old.port),
            wasi: old.wasi,
            open_requests: Arc::clone(&old.open_requests),
        });
    }

    /// Whether its contract's messages are resources, which the host has a table of.
    fn has_table(&self) -> bool {
        matches!(self.loaded.exports, contract::Exports::Incoming(_))
    }

    /// The way that a call goes which was to go `asked`: what imports something that waits is always on a fiber.
    fn way(&self, asked: Way) -> Way {
        match self.loaded.way {
            Way::Direct => asked,
            Way::Fiber => Way::Fiber,
        }
    }
}

/// All guests of one shard.
pub(crate) struct ShardGuests {
    kinds: Vec<Kind>,
    /// Where batches are laid out for direct calls.
    packed: Packed,
    pond: Pond,
    calls: Calls,
    shell: Shell,
    /// Direct calls that have ended; and when the turn of one began whose time to its settlement is measured.
    direct: u64,
    sampled: Option<Instant>,
}

impl ShardGuests {
    /// Calls an instance on this stack. Reads the clock once, at the end.
    fn call(&mut self, call: Call, ready: Ready, now: Instant) -> Started<Used> {
        let kind = &self.kinds[call.handler.index()];
        let mut done = call::direct(kind, ready, &call.batch, call.outbox, &mut self.packed);
        let at = (self.shell.clock)();
        if kind.bounds.sliced && done.interrupted() {
            self.pond.put_used(done.used);
            done.outbox.discard();
            let outbox = done.outbox;
            return Started::Overran(Call { outbox, ..call }, at);
        }
        self.direct += 1;
        if self.direct.is_multiple_of(SETTLE_SAMPLE) {
            self.sampled = Some(now);
        }
        Started::Ended(Ended {
            handler: call.handler,
            batch: call.batch,
            outbox: done.outbox,
            used: done.used,
            result: done.result,
            took: at.saturating_duration_since(now),
            at,
        })
    }

    /// Calls an instance on a fiber, up to where it waits, ends or gives the shard back.
    fn suspend(&mut self, mut call: Call, ready: Ready, now: Instant) -> Started<Used> {
        let kind = &self.kinds[call.handler.index()];
        if call.way == Way::Direct {
            // Its shard did not expect it to outlive the turn, and left its messages in the buffers that they came in.
            exclusive(&mut call.batch).detach();
        }
        let suspended = Suspended::new(call, kind, ready, now, &self.shell.unpark);
        let place = self.calls.add(suspended);
        match self.poll(place) {
            Some(ended) => Started::Ended(ended),
            None => Started::Suspended,
        }
    }

    /// Polls one suspended call: its end, if it has come to it.
    fn poll(&mut self, place: usize) -> Option<Ended<Used>> {
        let ended = self.calls.poll(place, self.shell.clock, &mut self.pond);
        let suspended = &self.shell.metrics.calls_suspended;
        suspended.set(self.calls.len() as u64);
        ended
    }
}

impl Guest for ShardGuests {
    type Used = Used;

    fn start(&mut self, call: Call, now: Instant) -> Started<Used> {
        let kind = &self.kinds[call.handler.index()];
        let way = kind.way(call.way);
        match (self.pond.take(call.handler, kind), way) {
            (Taken::Ready(ready), Way::Direct) => self.call(call, ready, now),
            (Taken::Ready(ready), Way::Fiber) => self.suspend(call, ready, now),
            (Taken::NoSlot, _) => Started::NoSlot(call),
            (Taken::Failed(fault), _) => Started::Ended(Ended {
                handler: call.handler,
                batch: call.batch,
                outbox: call.outbox,
                used: Used::none(),
                result: Err(fault),
                took: Duration::ZERO,
                at: (self.shell.clock)(),
            }),
        }
    }

    fn runnable(&self, now: Instant, mark: &mut dyn FnMut(Runnable<'_>)) {
        self.calls.runnable(now, mark);
    }

    fn resume(&mut self, id: HandlerId, now: Instant) -> Option<Ended<Used>> {
        let place = self.calls.next(id, now)?;
        self.poll(place)
    }

    fn put_used(&mut self, used: Used) {
        self.pond.put_used(used);
    }

    fn may_start(&self, id: HandlerId, way: Way) -> bool {
        let kind = &self.kinds[id.index()];
        match kind.way(way) {
            Way::Direct => self.calls.room_beside(id),
            Way::Fiber => self.calls.room(id, kind.limits().suspended_calls_max),
        }
    }

    fn tend(&mut self, idle: bool) -> bool {
        if let Some(turned) = self.sampled.take() {
            let time = (self.shell.clock)().saturating_duration_since(turned);
            self.shell.metrics.settled_within(time);
        }
        if idle || self.pond.is_to_drop() {
            self.pond.drop_used();
        }
        idle && self.pond.refill(&self.kinds)
    }

    fn set_limits(&mut self, id: HandlerId, limits: &HandlerLimits) {
        self.kinds[id.index()].set_limits(limits);
    }

    fn due(&self) -> Option<Instant> {
        self.calls.due()
    }
}

/// The fault that an error of Wasmtime is: `denied` says whether the instance was refused memory before.
fn fault(error: &wasmtime::Error, denied: bool) -> Fault {
    use wasmtime::Trap;
    if let Some(fault) = error.downcast_ref::<Fault>() {
        return fault.clone();
    }
    if let Some(exit) = error.downcast_ref::<wasmtime_wasi::I32Exit>() {
        return Fault::new(FaultKind::Guest, format!("exited with status {}", exit.0));
    }
    let kind = match error.downcast_ref::<Trap>() {
        Some(Trap::Interrupt) => FaultKind::Deadline,
        Some(Trap::StackOverflow) => FaultKind::Stack,
        _ if denied => FaultKind::Memory,
        Some(_) => FaultKind::Trap,
        None => FaultKind::Host,
    };
    Fault::new(kind, seen(error))
}

/// What is seen of an error: its cause, then the guest's frames, which may be so long that they are cut off.
fn seen(error: &wasmtime::Error) -> String {
    if !error.is::<wasmtime::WasmBacktrace>() {
        return format!("{error:#}");
    }
    let causes: Vec<_> = error.chain().skip(1).map(ToString::to_string).collect();
    format!("{}: {error}", causes.join(": "))
}

/// Whether WASI is imported by a loaded component: its instances then get a context.
impl Guests {
    /// Whether this handler's component imports WASI.
    pub(crate) fn has_wasi(&self, id: HandlerId) -> bool {
        self.loaded[id.index()].wasi
    }

    /// This handler's contract.
    pub(crate) fn contract(&self, id: HandlerId) -> Contract {
        self.loaded[id.index()].contract
    }

    /// SHA-256 of this handler's component.
    pub(crate) fn digest(&self, id: HandlerId) -> &str {
        &self.loaded[id.index()].digest
    }

    /// How this handler's component is called.
    pub(crate) fn way(&self, id: HandlerId) -> Way {
        self.loaded[id.index()].way
    }
}
