//! Configuring handlers at the start: each guest is asked once, in an instance of its own, and what it says is checked.

use std::sync::Arc;
use std::task::Waker;

use crate::broker::memory::HandlerStart;
use crate::broker::nats::NatsSource;
use crate::config::{EngineConfig, HandlerConfig, check_channels, tighten, warn_unknown};
use crate::error::{Refusal, StartError};
use crate::guest::Guests;
use crate::guest::host::Profile;
use crate::limits::HandlerLimits;
use crate::message::{HandlerId, Message};
use crate::patterns::overlap;
use crate::port::{Feed, Port, Replies, Room};

/// Warns of a handler on NATS that may send to what it hears: it may then keep itself busy for ever.
fn warn_of_echoes(handler: &HandlerConfig, channels: &[String]) {
    if !matches!(handler.nats, Some(NatsSource::Core { .. })) {
        return;
    }
    let mut heard = handler.subjects.iter().chain(channels);
    let may_send = |heard: &String| handler.grants.send.iter().any(|sent| overlap(sent, heard));
    if let Some(heard) = heard.find(|heard| may_send(heard)) {
        tracing::warn!(
            handler = handler.name,
            %heard,
            "it may send to what it hears, and so to itself without end; grant it less if it should not"
        );
    }
}

/// What the instances of a handler on one shard share.
pub(crate) fn profile(
    id: HandlerId,
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
        id,
        name: handler.name.clone(),
        limits: limits.clone(),
        grants,
        port,
        wasi,
        open_requests: Arc::default(),
    }
}

/// Whether a handler has messages whatever its guest says.
fn is_fed(handler: &HandlerConfig) -> bool {
    !handler.subjects.is_empty() || handler.takes_stream()
}

/// Checks that every handler can have messages, as far as that is known without asking its guest.
pub(crate) fn check_fed(config: &EngineConfig, guests: &Guests) -> Result<(), StartError> {
    let handlers = config.handlers.iter().zip((0..).map(HandlerId));
    let mut handlers = handlers.map(|(handler, id)| (handler, guests.contract(id)));
    let unfed = handlers.find(|(handler, contract)| !is_fed(handler) && !contract.configures());
    match unfed {
        None => Ok(()),
        Some((handler, contract)) => Err(StartError::Config(format!(
            "handler {:?} has no subjects, and a component of `{}` names none: it would get no messages, so give it some (`subjects`, `--subject`)",
            handler.name,
            contract.interface()
        ))),
    }
}

/// Asks every guest for its configuration, and checks what it says.
pub(crate) fn configure_all(
    config: &EngineConfig,
    guests: &Guests,
) -> Result<Vec<HandlerStart>, StartError> {
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
        id,
        handler,
        &handler.limits,
        Arc::new(Nowhere),
        guests.has_wasi(id),
        &[],
    );
    let configuration = guests
        .configure(id, Arc::new(profile))
        .map_err(|fault| failed(format!("failed: {fault}")))?;
    check_channels(&configuration.channels).map_err(|error| failed(format!("named {error}")))?;
    if configuration.channels.is_empty() && !is_fed(handler) {
        return Err(failed(
            "named no channels, and its handler has no subjects: it would get no messages, so give it some"
                .into(),
        ));
    }
    warn_of_echoes(handler, &configuration.channels);
    let mut limits = handler.limits.clone();
    let unknown = tighten(&mut limits, &configuration.extensions).map_err(failed)?;
    warn_unknown(&handler.name, &unknown);
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

    fn request(
        &self,
        _: HandlerId,
        _: &Message,
        _: Room,
        _: Waker,
    ) -> Result<Box<dyn Replies>, Refusal> {
        Err(Refusal::Stopping)
    }
}
