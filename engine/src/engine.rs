//! The engine: the handle that an embedder holds. Starting, publishing, requests, subscriptions, stats, drain and stop.

use std::sync::Arc;
use std::task::Waker;
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use crate::broker::memory::publish::ShardSide;
use crate::broker::memory::requests::{INBOX, Reply};
use crate::broker::memory::subscription::{Overflow, Subscription};
use crate::broker::memory::transport::MemoryTransport;
use crate::broker::memory::{Delivery, HandlerStart, Memory};
use crate::clock;
use crate::config::{EngineConfig, HandlerConfig, tighten};
use crate::dispatch::{Parker, State, spawn, spawn_ticker};
use crate::error::{DrainError, PublishError, Refusal, RequestError, StartError};
use crate::guest::host::{Feed, Port, Profile};
use crate::guest::wait::Unpark;
use crate::guest::{Guests, Shell, machine_memory};
use crate::limits::{HandlerLimits, MemorySum};
use crate::message::{HandlerId, Message};
use crate::metrics::{HandlerStats, ShardMetrics, Stats};
use crate::shard::Shard;
use crate::subject::check_pattern;

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
    state: Arc<State>,
    metrics: Vec<Arc<ShardMetrics>>,
    names: Vec<String>,
    memory: MemorySum,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine")
            .field("handlers", &self.inner.names)
            .field("shards", &self.inner.metrics.len())
            .finish_non_exhaustive()
    }
}

impl Engine {
    /// Loads and configures every handler, then starts the shards. Blocks until they are ready.
    ///
    /// # Errors
    /// A configuration, component or machine that can't do it; nothing is left running then.
    pub fn start(config: EngineConfig) -> Result<Self, StartError> {
        config.check()?;
        let guests = Arc::new(Guests::load(&config)?);
        let memory = guests.memory(&config);
        let available = config
            .limits
            .memory_bytes_max
            .unwrap_or_else(machine_memory);
        if memory.total() > available {
            return Err(StartError::Memory {
                sum: memory,
                available,
            });
        }
        tracing::info!(reset = guests.reset().name(), shards = config.shards, %memory, "starting");
        let starts = configure_all(&config, &guests)?;
        let parkers = (0..config.shards)
            .map(|_| Parker::new())
            .collect::<Result<Vec<_>, _>>()?;
        let unparks: Vec<Arc<dyn Unpark>> = parkers
            .iter()
            .map(|p| p.unparker() as Arc<dyn Unpark>)
            .collect();
        let limits: Vec<HandlerLimits> = starts.iter().map(|start| start.limits.clone()).collect();
        let (broker, inboxes) = Memory::new(starts, unparks.clone(), config.spread, &config.limits);
        let inner = Arc::new(Inner {
            broker,
            guests,
            state: Arc::default(),
            metrics: (0..config.shards)
                .map(|_| Arc::new(ShardMetrics::new(limits.len())))
                .collect(),
            names: config.handlers.iter().map(|h| h.name.clone()).collect(),
            memory,
            threads: Mutex::default(),
        });
        let engine = Self { inner };
        for (index, ((parker, inbox), unpark)) in
            parkers.into_iter().zip(inboxes).zip(unparks).enumerate()
        {
            engine.start_shard(index, &config, &limits, parker, inbox, unpark)?;
        }
        engine.start_ticker(&config)?;
        Ok(engine)
    }

    fn start_shard(
        &self,
        index: usize,
        config: &EngineConfig,
        limits: &[HandlerLimits],
        parker: Parker,
        inbox: crossbeam_channel::Receiver<Delivery>,
        unpark: Arc<dyn Unpark>,
    ) -> Result<(), StartError> {
        let Inner {
            broker,
            guests,
            state,
            metrics,
            threads,
            ..
        } = &*self.inner;
        let port: Arc<dyn Port> = Arc::new(ShardSide {
            broker: Arc::clone(broker),
            shard: index,
        });
        let profile = |((handler, limits), id): ((&HandlerConfig, &HandlerLimits), u32)| {
            Arc::new(profile(
                handler,
                limits,
                Arc::clone(&port),
                guests.has_wasi(HandlerId(id)),
                &broker.channels(HandlerId(id)),
            ))
        };
        let profiles = config
            .handlers
            .iter()
            .zip(limits)
            .zip(0..)
            .map(profile)
            .collect();
        let metrics = Arc::clone(&metrics[index]);
        let shell = Shell {
            clock: clock::now,
            unpark,
            metrics: Arc::clone(&metrics),
        };
        let shard_guests = guests.shard(profiles, &config.limits, shell);
        let transport = MemoryTransport::new(Arc::clone(broker), index, inbox, clock::now());
        let limits = limits.to_vec();
        let (broker, ended_state) = (Arc::clone(broker), Arc::clone(state));
        let ended = move || {
            let why = ended_state
                .failure()
                .map_or(Refusal::Stopping, Refusal::Failed);
            broker.requests.end_all(&why);
            broker.unpark_all();
        };
        let thread = spawn(
            index,
            config.pin,
            parker,
            Arc::clone(state),
            ended,
            move || Shard::new(shard_guests, transport, &limits, metrics),
        )?;
        threads.lock().push(thread);
        Ok(())
    }

    fn start_ticker(&self, config: &EngineConfig) -> Result<(), StartError> {
        let Inner {
            broker,
            guests,
            state,
            threads,
            ..
        } = &*self.inner;
        let (broker, guests) = (Arc::clone(broker), Arc::clone(guests));
        let thread = spawn_ticker(config.limits.tick, Arc::clone(state), move |now| {
            guests.tick();
            broker.requests.expire(now);
        })?;
        threads.lock().push(thread);
        Ok(())
    }

    /// Publishes a message: how many handlers and subscriptions get it; 0 if nobody listens on its subject. Does not block,
    /// unless a subscription with [`Overflow::Wait`] is full.
    ///
    /// # Errors
    /// A bound is reached, or the engine is ending: the message comes back.
    pub fn publish(&self, mut message: Message) -> Result<usize, PublishError> {
        if let Err(reason) = self.inner.state.open() {
            let message = Box::new(message);
            return Err(PublishError { reason, message });
        }
        message.arrived.get_or_insert_with(clock::now);
        self.inner.broker.publish(message)
    }

    /// Publishes a message and awaits the first reply to it: what a guest sends to the message's reply subject.
    ///
    /// # Errors
    /// The request can't be made: nobody listens, a bound is reached, the engine is ending. The [`Reply`] itself ends with an
    /// error if no reply comes `within` this time.
    pub fn request(&self, message: &Message, within: Duration) -> Result<Reply, RequestError> {
        self.inner.state.open()?;
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
            ..
        } = &*self.inner;
        let (refused, unrouted, dropped) = broker.counts();
        let mut stats = Stats {
            instances_configured: names.len() as u64,
            instances_created: names.len() as u64,
            in_flight: broker.in_flight(),
            refused,
            unrouted,
            dropped,
            reset: guests.reset().name(),
            ..Stats::default()
        };
        for shard in metrics {
            stats.instances_created += shard.instances_created.get();
            stats.instances_called += shard.instances_called.get();
            stats.instances_ready += shard.instances_ready.get();
            stats.instances_discarded += shard.instances_discarded.get();
            stats.calls_suspended += shard.calls_suspended.get();
            stats.latency.add(shard);
        }
        for (name, id) in names.iter().zip(0..) {
            let mut handler = HandlerStats {
                name: name.clone(),
                ..HandlerStats::default()
            };
            metrics
                .iter()
                .for_each(|shard| handler.add(shard.handler(HandlerId(id))));
            stats.handlers.push(handler);
        }
        stats
    }

    /// The most memory that this engine can need, as a sum of named terms.
    #[must_use]
    pub fn memory(&self) -> &MemorySum {
        &self.inner.memory
    }

    /// Ends publishing, then waits until everything in flight is settled. The engine still has to be stopped.
    ///
    /// # Errors
    /// Messages are still in flight when the time is over (they stay so), or a shard has failed.
    pub fn drain(&self, within: Duration) -> Result<(), DrainError> {
        let Inner { broker, state, .. } = &*self.inner;
        state.drain();
        let deadline = clock::now() + within;
        let (lock, look) = (Mutex::new(()), Condvar::new());
        loop {
            if let Some(why) = state.failure() {
                return Err(DrainError::Failed(why));
            }
            let in_flight = broker.in_flight();
            if in_flight == 0 {
                return Ok(());
            }
            if clock::now() >= deadline {
                return Err(DrainError::Timeout {
                    in_flight,
                    after: within,
                });
            }
            look.wait_for(&mut lock.lock(), DRAIN_LOOK);
        }
    }

    /// Ends the engine: every shard ends its turn, and what is not settled then is dropped. Waits for the threads.
    pub fn stop(&self) {
        self.inner.stop();
    }
}

impl Inner {
    fn stop(&self) {
        self.state.stop();
        self.broker.unpark_all();
        for thread in self.threads.lock().drain(..) {
            thread.thread().unpark();
            // A shard's own panic was caught and is the engine's failure already.
            let _ = thread.join();
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.stop();
    }
}

/// What the instances of a handler on one shard share.
fn profile(
    handler: &HandlerConfig,
    limits: &HandlerLimits,
    port: Arc<dyn Port>,
    wasi: bool,
    channels: &[String],
) -> Profile {
    let mut grants = handler.grants.clone();
    grants
        .subscribe
        .extend(handler.subjects.iter().chain(channels).cloned());
    Profile {
        name: handler.name.clone(),
        limits: limits.clone(),
        grants,
        port,
        wasi,
    }
}

/// Asks every guest for its configuration, and checks what it says.
fn configure_all(config: &EngineConfig, guests: &Guests) -> Result<Vec<HandlerStart>, StartError> {
    let configure = |(handler, id)| configure(handler, HandlerId(id), guests);
    config.handlers.iter().zip(0..).map(configure).collect()
}

fn configure(
    handler: &HandlerConfig,
    id: HandlerId,
    guests: &Guests,
) -> Result<HandlerStart, StartError> {
    let failed = |reason: String| StartError::Configure {
        path: handler.path(),
        reason,
    };
    let profile = profile(
        handler,
        &handler.limits,
        Arc::new(Nowhere),
        guests.has_wasi(id),
        &[],
    );
    let configuration = guests
        .configure(id, Arc::new(profile))
        .map_err(|fault| failed(format!("failed: {fault}")))?;
    for channel in &configuration.channels {
        check_pattern(channel).map_err(|error| failed(format!("named a {error}")))?;
        if channel.starts_with(INBOX) {
            return Err(failed(format!(
                "named {channel:?}, but subjects below _INBOX are for replies"
            )));
        }
    }
    if configuration.channels.is_empty() && handler.subjects.is_empty() {
        return Err(failed(
            "named no channels; a handler without subjects gets no messages, so give it some"
                .into(),
        ));
    }
    let mut limits = handler.limits.clone();
    let unknown = tighten(&mut limits, &configuration.extensions).map_err(failed)?;
    if !unknown.is_empty() {
        tracing::warn!(handler = handler.name, keys = ?unknown, "unknown settings of the guest are left out");
    }
    tracing::info!(handler = handler.name, way = ?guests.way(id), channels = ?configuration.channels, "configured");
    Ok(HandlerStart {
        name: handler.name.clone(),
        own: handler.subjects.clone(),
        configuration,
        most: handler.limits.clone(),
        limits,
    })
}

/// The broker of an instance that configures: there is none yet.
struct Nowhere;

impl Port for Nowhere {
    fn admits(&self, _: &str) -> Result<(), Refusal> {
        Err(Refusal::Stopping)
    }

    fn subscribe(&self, _: &str, _: Waker) -> Result<Box<dyn Feed>, Refusal> {
        Err(Refusal::Stopping)
    }
}
