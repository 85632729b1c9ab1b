//! The engine: the handle that an embedder holds. Starting, publishing, requests, subscriptions, stats, drain and stop.

use std::collections::VecDeque;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use crate::broker::memory::publish::ShardSide;
use crate::broker::memory::requests::{Reply, Requests};
use crate::broker::memory::subscription::{Overflow, Subscription};
use crate::broker::memory::transport::MemoryTransport;
use crate::broker::memory::{Memory, Outlet};
use crate::broker::nats::{Nats, NatsSource, connection_bytes, fit_limits};
use crate::clock;
use crate::config::{EngineConfig, HandlerConfig, Spread};
use crate::configure::{check_fed, configure_all, profile};
use crate::dispatch::{Parker, State, Ticker, spawn};
use crate::error::{DrainError, PublishError, Refusal, RequestError, StartError};
use crate::guest::{Contract, Guests, ShardGuests, Shell, machine_memory};
use crate::handler::{Rules, Setup};
use crate::letter::Wall;
use crate::limits::HandlerLimits;
use crate::memory::MemorySum;
use crate::message::{HandlerId, Message};
use crate::metrics::{HandlerStats, ShardMetrics, Stats};
use crate::pack::Pack;
use crate::port::{Port, Unpark};
use crate::seams::Transport;
use crate::shard::{AGE_BYTES, Shard};

/// How often a drain looks whether it is done.
const DRAIN_LOOK: Duration = Duration::from_millis(1);

/// A running engine. Cheap to clone and safe to share: all clones are the same engine, which stops when the last is dropped.
#[derive(Clone)]
pub struct Engine {
    inner: Arc<Inner>,
}

struct Inner {
    broker: Arc<Memory>,
    guests: Arc<Guests>,
    threads: Threads,
    metrics: Vec<Arc<ShardMetrics>>,
    names: Vec<String>,
    memory: MemorySum,
    nats: Option<Nats>,
    seed: u64,
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine")
            .field("handlers", &self.inner.names)
            .field("shards", &self.inner.metrics.len())
            .finish_non_exhaustive()
    }
}

/// Loads every handler, and sees whether there is the memory that they can need.
fn load(config: &mut EngineConfig) -> Result<(Guests, MemorySum), StartError> {
    config.check()?;
    let guests = Guests::load(config)?;
    check_fed(config, &guests)?;
    fit_contracts(config, &guests);
    let sum = guests.memory(config, connection_bytes(config));
    let limit = config.limits.memory_total_bytes_max;
    let available = limit.unwrap_or_else(machine_memory);
    match sum.total() > available {
        true => Err(StartError::Memory { sum, available }),
        false => Ok((guests, sum)),
    }
}

/// The most memory that an engine of this configuration can need. Loads its components, and starts nothing.
///
/// # Errors
/// A configuration or a component that can't be used; more memory than there is.
pub fn memory_sum(config: &EngineConfig) -> Result<MemorySum, StartError> {
    load(&mut config.clone()).map(|(_, sum)| sum)
}

impl Engine {
    /// Loads and configures every handler, then starts the shards. Blocks until they are ready.
    ///
    /// # Errors
    /// A configuration, component or machine that can't do it; nothing is left running then.
    pub fn start(mut config: EngineConfig) -> Result<Self, StartError> {
        let (guests, memory) = load(&mut config)?;
        let guests = Arc::new(guests);
        tracing::info!(reset = guests.reset().name(), shards = config.shards, %memory, "starting");
        let requests = Arc::new(Requests::new(config.limits.requests_max));
        let threads = Threads::new(start_ticker(&config, &guests, &requests)?);
        let starts = configure_all(&config, &guests)?;
        let parkers = (0..config.shards)
            .map(|_| Parker::new(config.limits.idle_spin))
            .collect::<Result<Vec<_>, _>>()?;
        let unparks = parkers.iter().map(|p| p.unparker() as Arc<dyn Unpark>);
        let limits: Vec<HandlerLimits> = starts.iter().map(|s| s.limits.clone()).collect();
        let seed = config.seed.unwrap_or_else(any_seed);
        let nats = config.nats.as_ref();
        let packs = takes_packs(&config, &guests);
        let nats = nats.map(|nats| Nats::start(nats, &config, &limits, packs, any_seed()));
        let nats = nats.transpose()?;
        let (broker, inboxes) = Memory::new(
            starts,
            unparks.collect(),
            config.spread,
            &config.limits,
            requests,
            Arc::clone(&threads.state),
        );
        let metrics = (0..config.shards).map(|_| Arc::new(ShardMetrics::new(limits.len())));
        let inner = Arc::new(Inner {
            broker,
            guests,
            threads,
            metrics: metrics.collect(),
            names: config.handlers.iter().map(|h| h.name.clone()).collect(),
            memory,
            nats,
            seed,
        });
        for (index, (parker, inbox)) in parkers.into_iter().zip(inboxes).enumerate() {
            inner.start_shard(index, &config, &limits, parker, inbox)?;
        }
        if let Some(nats) = &inner.nats {
            nats.wait_ready(&inner.threads.state)?;
        }
        Ok(Self { inner })
    }

    /// Publishes a message: how many handlers and subscriptions get it; 0 if nobody listens on its subject. Does not block,
    /// unless a subscription with [`Overflow::Wait`] is full.
    ///
    /// # Errors
    /// A bound is reached, or the engine is ending: the message comes back.
    pub fn publish(&self, mut message: Message) -> Result<usize, PublishError> {
        if let Err(reason) = self.inner.threads.state.open() {
            let message = Box::new(message);
            return Err(PublishError { reason, message });
        }
        message.arrived.get_or_insert_with(clock::now);
        self.inner.broker.publish(message)
    }

    /// Publishes messages from the front of a queue, in order, until the queue is empty or one of them is refused: that one and all
    /// behind it stay in the queue, and nothing is lost or taken twice. How many handlers and subscriptions got them, added up.
    ///
    /// What becomes of each message is what [`Engine::publish`] does with it. But messages that follow each other and have one subject
    /// are routed once, admitted together and handed to one shard, which is woken once: up to 256 at a time, or as many as there is
    /// room for. That costs a fraction of publishing them one by one, and makes for full calls.
    ///
    /// # Errors
    /// A bound is reached, or the engine is ending. What was taken by then is no longer in the queue.
    pub fn publish_all(&self, messages: &mut VecDeque<Message>) -> Result<usize, Refusal> {
        self.inner.threads.state.open()?;
        self.inner.broker.publish_all(messages, clock::now())
    }

    /// Publishes the messages of a pack in one step, in order, until none is left or there is no room for more: what is left stays in the
    /// pack, and nothing is lost or taken twice. How many handlers and subscriptions got them, added up.
    ///
    /// What becomes of each message is what [`Engine::publish`] does with it. But where one handler listens, as much of the pack as there is
    /// room for is routed, admitted and handed to a shard as it is; and if that handler's contract is `millpond:batch`, it goes
    /// into a call as it is, and a call that says nothing of single messages settles it as a whole. That is the cheapest way into a guest.
    /// A message that is refused, fails or is to come again is treated as any other.
    ///
    /// # Errors
    /// A bound is reached, or the engine is ending. What was taken by then is no longer in the pack.
    pub fn publish_pack(&self, pack: &mut Pack) -> Result<usize, Refusal> {
        self.inner.threads.state.open()?;
        self.inner.broker.publish_pack(pack, clock::now())
    }

    /// Publishes a message and awaits the first reply to it: what a guest sends to the message's reply subject.
    ///
    /// # Errors
    /// The request can't be made: nobody listens, a bound is reached, the engine is ending. The [`Reply`] itself ends with an
    /// error if no reply comes `within` this time.
    pub fn request(&self, message: &Message, within: Duration) -> Result<Reply, RequestError> {
        self.inner.threads.state.open()?;
        let (subject, reply) = self.inner.broker.requests.open(clock::now(), within)?;
        let to = message.subject().to_owned();
        let message = message
            .with_reply_to(&subject)
            .expect("the parts of a message make a message again");
        match self.publish(message) {
            Ok(0) => Err(Refusal::NoResponders(to).into()),
            Ok(_) => Ok(reply),
            Err(refused) => Err(refused.reason.into()),
        }
    }

    /// Subscribes to a subject or a pattern, from now until the subscription is dropped.
    ///
    /// # Errors
    /// A bad pattern, or as many subscriptions as there may be.
    pub fn subscribe(&self, pattern: &str, overflow: Overflow) -> Result<Subscription, Refusal> {
        self.inner.broker.subscribe(pattern, overflow)
    }

    /// What the engine has done so far.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let Inner {
            broker,
            guests,
            metrics,
            names,
            nats,
            ..
        } = &*self.inner;
        let (refused, unrouted, dropped) = broker.counts();
        let (connected, connects, refusals) =
            nats.as_ref().map_or_else(Default::default, Nats::counts);
        let mut stats = Stats {
            instances_configured: names.len() as u64,
            instances_created: names.len() as u64,
            in_flight: broker.in_flight(),
            refused,
            unrouted,
            dropped,
            connected,
            connects,
            refusals,
            reset: guests.reset().name(),
            ..Stats::default()
        };
        for shard in metrics {
            stats.instances_created += shard.instances_created.get();
            stats.instances_called += shard.instances_called.get();
            stats.instances_ready += shard.instances_ready.get();
            stats.instances_discarded += shard.instances_discarded.get();
            stats.calls_suspended += shard.calls_suspended.get();
            stats.unconfirmed += shard.unconfirmed.get();
            stats.resources_left += shard.resources_left.get();
            stats.latency.add(shard);
            stats.call_time.add_calls(shard);
            stats.settle_time.add_settled(shard);
        }
        for (name, id) in names.iter().zip(0..) {
            let mut handler = HandlerStats {
                name: name.clone(),
                ..HandlerStats::default()
            };
            metrics
                .iter()
                .for_each(|shard| handler.add(shard.handler(HandlerId(id))));
            if let Some(nats) = nats {
                (handler.refusals, handler.refusal) = nats.refused(HandlerId(id));
            }
            stats.handlers.push(handler);
        }
        stats
    }

    /// The most memory that this engine can need, as a sum of named terms.
    #[must_use]
    pub fn memory(&self) -> &MemorySum {
        &self.inner.memory
    }

    /// Why the engine has failed, if it has: a shard has panicked. Nothing is handled any more then.
    #[must_use]
    pub fn failure(&self) -> Option<String> {
        self.inner.threads.state.failure()
    }

    /// Ends publishing, then waits until everything in flight is settled. The engine still has to be stopped.
    ///
    /// # Errors
    /// Messages are still in flight when the time is over (they stay so), or a shard has failed.
    pub fn drain(&self, within: Duration) -> Result<(), DrainError> {
        let broker = &self.inner.broker;
        let state = &self.inner.threads.state;
        state.drain();
        broker.unpark_all();
        let deadline = clock::now() + within;
        let (lock, look) = (Mutex::new(()), Condvar::new());
        loop {
            if let Some(why) = state.failure() {
                return Err(DrainError::Failed(why));
            }
            // In this order: a shard that settles a message has noted before that there is something to be said.
            let idle = broker.is_idle();
            if idle && self.inner.nats.as_ref().is_none_or(Nats::is_drained) {
                return Ok(());
            }
            if clock::now() >= deadline {
                let in_flight = broker.in_flight();
                return Err(DrainError::Timeout {
                    in_flight,
                    after: within,
                });
            }
            look.wait_for(&mut lock.lock(), DRAIN_LOOK);
        }
    }

    /// Ends the engine: every shard ends its turn, a running call's deadline being the longest that can take, and what is
    /// not settled then is dropped. Waits for that.
    pub fn stop(&self) {
        self.inner.stop();
    }
}

impl Inner {
    fn start_shard(
        &self,
        index: usize,
        config: &EngineConfig,
        limits: &[HandlerLimits],
        mut parker: Parker,
        inbox: Outlet,
    ) -> Result<(), StartError> {
        let Self {
            broker,
            guests,
            threads,
            metrics,
            nats,
            ..
        } = self;
        let port: Arc<dyn Port> = match nats {
            Some(nats) => nats.port(index, Arc::clone(&threads.state), config),
            None => Arc::new(ShardSide::new(Arc::clone(broker), index)),
        };
        let handlers = config.handlers.iter().zip(limits).zip(0..);
        let profile = |((handler, limits), id)| {
            let (id, port) = (HandlerId(id), Arc::clone(&port));
            let (wasi, channels) = (guests.has_wasi(id), broker.channels(id));
            Arc::new(profile(id, handler, limits, port, wasi, &channels))
        };
        let metrics = Arc::clone(&metrics[index]);
        let shell = Shell {
            clock: clock::now,
            unpark: parker.unparker(),
            metrics: Arc::clone(&metrics),
        };
        let guests = guests.shard(handlers.map(profile).collect(), config, shell);
        let process = MemoryTransport::new(Arc::clone(broker), index, inbox, clock::now());
        let setups = setups(config, &self.guests, limits);
        let Some(nats) = nats else {
            return self.spawn_shard(index, config, parker, setups, metrics, guests, process);
        };
        let (registry, unpark) = (parker.registry()?, parker.unparker());
        let side = nats.transport(index, process, registry, unpark, Arc::clone(&metrics))?;
        self.spawn_shard(index, config, parker, setups, metrics, guests, side)
    }

    #[allow(clippy::too_many_arguments, reason = "all that a shard is made of")]
    fn spawn_shard<T: Transport + Send + 'static>(
        &self,
        index: usize,
        config: &EngineConfig,
        parker: Parker,
        setups: Vec<Setup>,
        metrics: Arc<ShardMetrics>,
        guests: ShardGuests,
        transport: T,
    ) -> Result<(), StartError> {
        let rules = self.rules(index, config);
        let wall = Wall {
            at: clock::now(),
            unix: clock::unix(),
        };
        let (broker, state) = (Arc::clone(&self.broker), Arc::clone(&self.threads.state));
        let ended = move || {
            let why = state.failure().map_or(Refusal::Stopping, Refusal::Failed);
            broker.end(&why);
            broker.unpark_all();
        };
        let make = move || Shard::new(guests, transport, setups, rules, wall, metrics);
        let state = Arc::clone(&self.threads.state);
        let stack_bytes = config.limits.shard_stack_bytes();
        self.threads.add(spawn(
            index,
            config.pin,
            stack_bytes,
            parker,
            state,
            ended,
            make,
        )?);
        Ok(())
    }

    fn rules(&self, index: usize, config: &EngineConfig) -> Rules {
        let limits = &config.limits;
        Rules {
            ordered: config.spread == Spread::Subject,
            time_slice: limits.time_slice,
            fiber_stay_first: limits.fiber_stay_first,
            fiber_stay_max: limits.fiber_stay_max,
            seed: self.seed.wrapping_add(index as u64),
            age_bytes: AGE_BYTES,
        }
    }

    fn stop(&self) {
        self.threads.state.stop();
        self.broker.unpark_all();
        self.threads.join();
        self.broker.end(&Refusal::Stopping);
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Sets what a component's contract and where its messages come from ask of its handler's limits.
fn fit_contracts(config: &mut EngineConfig, guests: &Guests) {
    for (handler, id) in config.handlers.iter_mut().zip(0..) {
        let contract = guests.contract(HandlerId(id));
        if contract.has_one_message() {
            handler.limits.batch_messages_max = 1;
        }
        fit_limits(handler, contract.attributes_sends());
    }
}

/// A seed that differs from start to start.
fn any_seed() -> u64 {
    RandomState::new().hash_one(0)
}

/// What a shard is told of its handlers.
fn setups(config: &EngineConfig, guests: &Guests, limits: &[HandlerLimits]) -> Vec<Setup> {
    let handlers = config.handlers.iter().zip(limits).zip(0..);
    let packs = takes_packs(config, guests);
    let setup = |((handler, limits), id): ((&HandlerConfig, &HandlerLimits), u32)| Setup {
        name: handler.name.clone(),
        component: guests.digest(HandlerId(id)).to_owned(),
        limits: limits.clone(),
        budget_of_owner: handler.limits.latency_budget,
        dead_letter: handler.dead_letter.clone(),
        droppable: handler.droppable || matches!(handler.nats, Some(NatsSource::Core { .. })),
        packs: packs[id as usize],
    };
    handlers.map(setup).collect()
}

/// Whether packs go into the calls of each handler as they are. The order of a subject is a matter of each message, and a stream is told of
/// each of its messages.
fn takes_packs(config: &EngineConfig, guests: &Guests) -> Vec<bool> {
    let takes = |(handler, id): (&HandlerConfig, u32)| {
        guests.contract(HandlerId(id)) == Contract::Batch010
            && config.spread == Spread::Any
            && !matches!(handler.nats, Some(NatsSource::Stream(_)))
    };
    config.handlers.iter().zip(0..).map(takes).collect()
}

/// Starts what ends calls and requests at their time.
fn start_ticker(
    config: &EngineConfig,
    guests: &Arc<Guests>,
    requests: &Arc<Requests>,
) -> Result<Ticker, StartError> {
    let (guests, requests) = (Arc::clone(guests), Arc::clone(requests));
    Ticker::spawn(config.limits.tick, move |now| {
        guests.tick();
        requests.expire(now);
    })
}

/// The threads of an engine, which end with it, and with a start that fails: the shards', then the ticker's.
struct Threads {
    state: Arc<State>,
    shards: Mutex<Vec<JoinHandle<()>>>,
    _ticker: Ticker,
}

impl Threads {
    fn new(ticker: Ticker) -> Self {
        Self {
            state: Arc::default(),
            shards: Mutex::default(),
            _ticker: ticker,
        }
    }

    fn add(&self, shard: JoinHandle<()>) {
        self.shards.lock().push(shard);
    }

    fn join(&self) {
        for shard in self.shards.lock().drain(..) {
            // A shard's own panic was caught and is the engine's failure already.
            let _ = shard.join();
        }
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        self.state.stop();
        self.join();
    }
}
