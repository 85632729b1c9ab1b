//! Starting on servers: what every shard's connection shares, what streams are bound, and waiting until all is ready.
//!
//! Runs on the thread that starts the engine, and may block; nothing of it runs a message.

use std::sync::Arc;
use std::time::Duration;

use mio::{Registry, Token};
use parking_lot::{Condvar, Mutex};

use super::alive::AliveLimits;
use super::bounds::write_bytes_max;
use super::config::{NatsConfig, NatsSource, StreamSource};
use super::confirms::CONFIRMS_MAX;
use super::connection::Connection;
use super::control::{
    Access, Api, BindError, Bound, ConnectError, DeliveryLevel, Redelivery, Wanted, bind,
    bind_planned,
};
use super::feeds::{NatsPort, Wishes};
use super::js::ack::Counts;
use super::js::publish::BATCH_MESSAGES_MAX;
use super::pulls::Pulls;
use super::renew::WakeShard;
use super::resolver::Resolver;
use super::servers::ServerLimits;
use super::settings::{ConnectionConfig, ConnectionLimits};
use super::status::{Status, Trouble};
use super::takes::{FromStream, Take};
use super::tls::Tls;
use super::transport::{NatsSetup, NatsTransport};
use super::wire::write::WriteLimits;
use crate::admission::Room;
use crate::broker::memory::transport::MemoryTransport;
use crate::clock;
use crate::config::{EngineConfig, HandlerConfig};
use crate::dispatch::State;
use crate::error::{NatsError, StartError};
use crate::limits::HandlerLimits;
use crate::message::HandlerId;
use crate::metrics::ShardMetrics;
use crate::port::{Port, Unpark};
use crate::ranges::of_nats;

/// The socket's name among those of a shard's poller, whose waker is 0.
const SOCKET: Token = Token(1);
/// How often a start looks whether it is ready.
const LOOK: Duration = Duration::from_millis(1);

/// The servers of a running engine.
pub(crate) struct Nats {
    connection: Arc<ConnectionConfig>,
    /// A row a handler.
    sources: Vec<Option<(NatsSource, Option<BoundTo>)>>,
    /// Where streams are looked up anew, if any handler takes from one.
    api: Option<Api>,
    limits: Vec<HandlerLimits>,
    /// Whether packs go into a handler's calls.
    packs: Vec<bool>,
    shards: Vec<Shared>,
    /// What this engine's reply subjects begin with.
    inbox: String,
    ready_wait_max: Duration,
    renew_every: Duration,
    seed: u64,
}

/// What a handler is bound to, and by what.
type BoundTo = (Wanted, Arc<Bound>);

/// What a shard shares with who watches it.
#[derive(Default)]
struct Shared {
    status: Arc<Status>,
    wishes: Arc<Mutex<Wishes>>,
}

/// What an engine's configuration says of its servers that can't be so.
pub(crate) fn fault(config: &EngineConfig) -> Option<String> {
    let of = |h: &HandlerConfig, why: String| Some(format!("handler {:?}: {why}", h.name));
    if let Some(nats) = &config.nats {
        if nats.urls.is_empty() {
            return Some("nats has no server; name at least one url".into());
        }
        let (silence, delay) = (nats.silence_max, nats.reconnect_delay_max);
        if let Some(fault) = of_nats(silence, delay, nats.ready_wait_max) {
            return Some(fault);
        }
        if nats.renew_every.is_zero() {
            return Some("renew_every is 0; it must be above 0".into());
        }
    } else {
        let without = config.handlers.iter().find(|h| h.nats.is_some())?;
        return of(without, "it takes from nats, and no server is named".into());
    }
    let (shards, ordered) = (
        config.shards,
        config.spread == crate::config::Spread::Subject,
    );
    config.handlers.iter().find_map(|handler| {
        let source = handler.nats.as_ref()?;
        if ordered && shards > 1 {
            let why = format!(
                "the order of a subject can't be kept: the server spreads its messages over {shards} shards; use one, or no order"
            );
            return of(handler, why);
        }
        source.fault().and_then(|why| of(handler, why))
    })
}

/// Sets what a source asks of a handler's limits. Of a stream's the sends of a call can all wait for their confirmation at once. At
/// effectively-once a call's sends fit one atomic batch, and a call has one message, unless its guest says which message each send is
/// for.
pub(crate) fn fit_limits(handler: &mut HandlerConfig, attributes_sends: bool) {
    let Some(NatsSource::Stream(stream)) = &handler.nats else {
        return;
    };
    let limits = &mut handler.limits;
    let mut sends_max = CONFIRMS_MAX;
    if stream.delivery == DeliveryLevel::EffectivelyOnce {
        sends_max = BATCH_MESSAGES_MAX;
        if !attributes_sends {
            limits.batch_messages_max = 1;
        }
    }
    limits.outbox_messages_max = limits.outbox_messages_max.min(sends_max);
}

impl Nats {
    /// Reads certificates, and binds what handlers take from streams. Blocks.
    ///
    /// # Errors
    /// Certificates or credentials that can't be used; streams or consumers that can't be.
    pub(crate) fn start(
        nats: &NatsConfig,
        config: &EngineConfig,
        limits: &[HandlerLimits],
        packs: Vec<bool>,
        seed: u64,
    ) -> Result<Self, StartError> {
        let tls = Tls::load(&nats.tls).map_err(|why| NatsError::Refused(why.to_string()))?;
        let connection = ConnectionConfig {
            name: nats.name.clone(),
            auth: nats.auth.clone(),
            limits: ConnectionLimits {
                alive: AliveLimits::within(nats.silence_max),
                servers: ServerLimits {
                    retry_delay_max: nats.reconnect_delay_max,
                    ..ServerLimits::default()
                },
                write: WriteLimits {
                    buffer_bytes_max: write_bytes_max(limits.iter()),
                    ..WriteLimits::default()
                },
                ..ConnectionLimits::default()
            },
            ..ConnectionConfig::new(nats.urls.clone(), tls)
        };
        let bound = bind_all(nats, &connection, config, limits)?;
        let api = (!bound.is_empty()).then(|| Api::start(Access::of(&connection)));
        let api = api.transpose().map_err(no_thread)?;
        let mut bound = bound.into_iter();
        let sources = config.handlers.iter().map(|handler| {
            let source = handler.nats.clone()?;
            let stream = matches!(source, NatsSource::Stream(_));
            Some((source, stream.then(|| bound.next()).flatten()))
        });
        Ok(Self {
            sources: sources.collect(),
            api,
            connection: Arc::new(connection),
            limits: limits.to_vec(),
            packs,
            shards: (0..config.shards).map(|_| Shared::default()).collect(),
            inbox: format!("_INBOX.millpond-{seed:016x}"),
            ready_wait_max: nats.ready_wait_max,
            renew_every: nats.renew_every,
            seed,
        })
    }

    /// The servers as the guests of one shard see them.
    pub(crate) fn port(
        &self,
        index: usize,
        state: Arc<State>,
        config: &EngineConfig,
    ) -> Arc<dyn Port> {
        Arc::new(NatsPort {
            wishes: Arc::clone(&self.shards[index].wishes),
            state,
            messages_max: config.limits.subscription_messages_max,
            subscriptions_max: config.limits.subscriptions_max,
            requests_max: config.limits.requests_max,
            status: Arc::clone(&self.shards[index].status),
        })
    }

    /// One shard's side, whose socket wakes the poller of this registry.
    ///
    /// # Errors
    /// The system has no thread for looking up names.
    pub(crate) fn transport(
        &self,
        index: usize,
        process: MemoryTransport,
        registry: Registry,
        unpark: Arc<dyn Unpark>,
        metrics: Arc<ShardMetrics>,
    ) -> Result<NatsTransport, StartError> {
        let now = clock::now();
        let waker = WakeShard::waker(Arc::clone(&unpark));
        let resolver = Resolver::start(unpark).map_err(no_thread)?;
        let seed = self.seed.wrapping_add(index as u64);
        let config = Arc::clone(&self.connection);
        let connection = Connection::new(config, registry, SOCKET, resolver, seed, now);
        let Shared { status, wishes } = &self.shards[index];
        let waits = self.limits.iter().map(|limits| limits.confirm_wait_max);
        let takes = self.sources.iter().zip(&self.limits).enumerate();
        let setup = NatsSetup {
            takes: takes
                .map(|(id, (source, limits))| self.take(index, id, source, limits))
                .collect(),
            inbox: format!("{}.{index}.", self.inbox),
            seed: self.seed.wrapping_add(index as u64),
            asker: self.api.as_ref().map(|api| api.asker(waker)),
            renew_every: self.renew_every,
            confirm_wait_max: waits.max().unwrap_or_default(),
            status: Arc::clone(status),
            wishes: Arc::clone(wishes),
            metrics,
        };
        Ok(NatsTransport::new(connection, process, setup, now))
    }

    fn take(
        &self,
        index: usize,
        id: usize,
        source: &Option<(NatsSource, Option<BoundTo>)>,
        limits: &HandlerLimits,
    ) -> Take {
        let (stream, bound) = match source {
            None => return Take::Process,
            Some((NatsSource::Core { queue }, _)) => {
                return Take::Core {
                    here: queue.is_some() || index == 0,
                    queue: queue.clone(),
                    packs: self.packs[id],
                };
            }
            Some((NatsSource::Stream(stream), bound)) => (stream, bound),
        };
        let (wanted, bound) = bound.as_ref().expect("each stream's consumer was bound");
        let bound = Arc::clone(bound);
        let most = Room {
            messages: limits.in_flight_messages_max as usize,
            bytes: limits.in_flight_bytes_max,
        };
        let (name, consumer) = (&bound.stream, &bound.consumer);
        Take::Stream(Box::new(FromStream {
            asked: format!("$JS.API.CONSUMER.MSG.NEXT.{name}.{consumer}"),
            inbox: format!("{}.{index}.p{id}.", self.inbox),
            session: 0,
            counts: Counts::default(),
            pulls: Pulls::new(most.messages, &bound, clock::now()),
            level: stream.delivery,
            wanted: wanted.clone(),
            captured: bound.captured.clone(),
            gone: None,
            stopped: false,
            failed_binds: 0,
            most,
            bound,
        }))
    }

    /// Waits until every shard is connected, and all that its handlers hear is subscribed.
    ///
    /// # Errors
    /// The first trouble that trying again does not end; or the last one when the time is over.
    pub(crate) fn wait_ready(&self, state: &State) -> Result<(), StartError> {
        let deadline = clock::now() + self.ready_wait_max;
        let (lock, look) = (Mutex::new(()), Condvar::new());
        loop {
            let waiting = self.shards.iter().find(|shard| !shard.status.is_ready());
            let Some(waiting) = waiting else {
                return Ok(());
            };
            let trouble = waiting.status.trouble();
            let over = clock::now() >= deadline || state.ends();
            match trouble {
                Some(trouble) if trouble.is_final() => return Err(told(trouble).into()),
                trouble if over => return Err(self.unreachable(trouble).into()),
                _ => drop(look.wait_for(&mut lock.lock(), LOOK)),
            }
        }
    }

    fn unreachable(&self, trouble: Option<Trouble>) -> NatsError {
        let why = match trouble {
            Some(Trouble::Connection { error, .. }) => error.to_string(),
            Some(Trouble::Refused(why)) => why,
            None => "a server was reached and did not answer".into(),
        };
        let after = self.ready_wait_max;
        let why = format!("not ready within {after:?}: {why}");
        NatsError::Unreachable { after, why }
    }

    /// Whether, after a drain began, nothing more comes and all is said.
    pub(crate) fn is_drained(&self) -> bool {
        self.shards.iter().all(|shard| shard.status.is_drained())
    }

    /// What a handler was refused on all shards: how often, and the words of one of the latest.
    pub(crate) fn refused(&self, id: HandlerId) -> (u64, Option<String>) {
        let shards = self.shards.iter().filter_map(|s| s.status.refused(id));
        shards.fold((0, None), |(count, _), shard| {
            (count + shard.count, Some(shard.latest))
        })
    }

    /// Connections that are live, connects so far, and refusals so far.
    pub(crate) fn counts(&self) -> (u64, u64, u64) {
        self.shards
            .iter()
            .fold((0, 0, 0), |(live, connects, refusals), shard| {
                let status = &shard.status;
                (
                    live + u64::from(status.is_connected()),
                    connects + status.connects(),
                    refusals + status.refusals(),
                )
            })
    }
}

fn no_thread(error: std::io::Error) -> StartError {
    StartError::System {
        what: "a thread",
        detail: error.to_string(),
    }
}

/// A trouble that does not end by itself, as an error.
fn told(trouble: Trouble) -> NatsError {
    match trouble {
        Trouble::Connection { error, .. } => NatsError::Refused(error.to_string()),
        Trouble::Refused(why) => NatsError::Permission(why),
    }
}

/// What the engine's handlers need of streams, bound: in the order of the handlers that take from one.
fn bind_all(
    nats: &NatsConfig,
    connection: &ConnectionConfig,
    config: &EngineConfig,
    limits: &[HandlerLimits],
) -> Result<Vec<BoundTo>, NatsError> {
    let handlers = config.handlers.iter().zip(limits);
    let wanted: Vec<Wanted> = handlers
        .filter_map(|(handler, limits)| match &handler.nats {
            Some(NatsSource::Stream(source)) => {
                Some(wanted(handler, source, limits, config.shards))
            }
            _ => None,
        })
        .collect();
    if wanted.is_empty() {
        return Ok(Vec::new());
    }
    let access = Access::of(connection);
    let bound = bind(&access, &wanted, nats.ready_wait_max)
        .map_err(|error| told_by_control(error, nats.ready_wait_max))?;
    for bound in &bound {
        let (handler, stream, consumer) = (&bound.handler, &bound.stream, &bound.consumer);
        let (max_ack_pending, max_waiting) = (bound.max_ack_pending, bound.max_waiting);
        let (filters, ack_wait) = (&bound.filter_subjects, bound.ack_wait);
        tracing::info!(
            handler,
            stream,
            consumer,
            max_ack_pending,
            max_waiting,
            ?filters,
            ?ack_wait,
            "bound"
        );
        for warning in &bound.warnings {
            tracing::warn!(
                handler = bound.handler,
                stream = bound.stream,
                consumer = bound.consumer,
                "{warning}"
            );
        }
    }
    Ok(wanted
        .into_iter()
        .zip(bound.into_iter().map(Arc::new))
        .collect())
}

/// Asks the servers of a configuration whether an engine could start on them, and starts and makes nothing: what should be known.
///
/// # Errors
/// [`StartError::Nats`]: servers that can't be reached or refuse the credentials, certificates that can't be used, streams and
/// consumers that are missing and not to be made, or that can't keep a handler's delivery level.
pub fn check_nats(config: &EngineConfig) -> Result<Vec<String>, StartError> {
    let Some(nats) = &config.nats else {
        return Ok(Vec::new());
    };
    let tls = Tls::load(&nats.tls).map_err(|why| NatsError::Refused(why.to_string()))?;
    let connection = ConnectionConfig {
        auth: nats.auth.clone(),
        ..ConnectionConfig::new(nats.urls.clone(), tls)
    };
    let access = Access::of(&connection);
    let handlers = config.handlers.iter();
    let wanted = handlers.filter_map(|handler| match &handler.nats {
        Some(NatsSource::Stream(source)) => {
            Some(wanted(handler, source, &handler.limits, config.shards))
        }
        _ => None,
    });
    let wanted: Vec<_> = wanted.collect();
    let (bound, mut known) = bind_planned(&access, &wanted, nats.ready_wait_max)
        .map_err(|error| told_by_control(error, nats.ready_wait_max))?;
    for bound in &bound {
        let (handler, consumer) = (&bound.handler, &bound.consumer);
        let warnings = bound.warnings.iter();
        known.extend(warnings.map(|w| format!("handler {handler:?}, consumer {consumer:?}: {w}")));
    }
    Ok(known)
}

fn told_by_control(error: BindError, after: Duration) -> NatsError {
    match error {
        BindError::Connect(ConnectError::Unreachable { .. }) | BindError::Time { .. } => {
            let why = error.to_string();
            NatsError::Unreachable { after, why }
        }
        BindError::Connect(why) => NatsError::Refused(why.to_string()),
        BindError::Request { ref why, .. } if why.is_denied() => {
            NatsError::Permission(error.to_string())
        }
        BindError::Request { ref why, .. } if why.may_pass() => {
            let why = error.to_string();
            NatsError::Unreachable { after, why }
        }
        other => NatsError::Stream(other.to_string()),
    }
}

fn wanted(
    handler: &HandlerConfig,
    source: &StreamSource,
    limits: &HandlerLimits,
    shards: usize,
) -> Wanted {
    Wanted {
        handler: handler.name.clone(),
        stream: source.stream.clone(),
        durable: source.durable.clone(),
        create: source.create.clone(),
        delivery: source.delivery,
        dead_letter: handler.dead_letter.clone(),
        publishes: handler.grants.send.clone(),
        in_flight_messages: u64::from(limits.in_flight_messages_max) * shards as u64,
        redelivery: Redelivery {
            deliveries_max: limits.deliveries_max,
            retry_delay_max: limits.retry_delay_max,
            wall_deadline: limits.wall_deadline,
            confirm_wait_max: limits.confirm_wait_max,
            pause_max: limits.pause_max,
        },
    }
}
