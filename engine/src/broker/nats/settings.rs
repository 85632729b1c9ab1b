//! What a connection is told: where to, as whom, how, within which limits; and what it says when something is wrong.
//!
//! Owns these shapes alone.

use std::time::Duration;

use thiserror::Error;

use super::alive::{AliveLimits, Stale};
use super::auth::{Auth, AuthError};
use super::refusal::ServerRefusal;
use super::servers::ServerLimits;
use super::tls::{Tls, TlsError};
use super::url::ServerUrl;
use super::wire::parse::{WireError, WireLimits};
use super::wire::write::WriteLimits;

/// What a connection is told. Shared by the connections of all shards.
#[derive(Debug, Clone)]
pub(crate) struct ConnectionConfig {
    /// The servers, at least one. Connections spread over them by their seeds.
    pub(crate) urls: Vec<ServerUrl>,
    /// The connections' name, as those who watch the server see it. Default `millpond`.
    pub(crate) name: String,
    /// Who it is, where a URL does not say so. Default: nobody.
    pub(crate) auth: Auth,
    /// How TLS is done where it is asked for.
    pub(crate) tls: Tls,
    /// Its limits.
    pub(crate) limits: ConnectionLimits,
}

impl ConnectionConfig {
    /// To these servers, with nothing else said.
    pub(crate) fn new(urls: Vec<ServerUrl>, tls: Tls) -> Self {
        Self {
            urls,
            name: "millpond".to_owned(),
            auth: Auth::default(),
            tls,
            limits: ConnectionLimits::default(),
        }
    }
}

/// Limits of one connection. Its memory is at most twice `read_bytes` and one message of the largest size for what it reads, and
/// `write.buffer_bytes_max` and 128 KiB for what it writes; with TLS 128 KiB more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ConnectionLimits {
    /// How long an attempt may take, from the name of a server to its first PONG. Default 5 s: a round trip or four, with room
    /// for a lost packet. At it the next server is tried.
    pub(crate) connect_wait_max: Duration,
    /// How long a connection stays with a server that is about to stop, if there is another. Default 5 s: what is under way
    /// there has that long; the server itself waits 10 s before it closes anything.
    pub(crate) lame_duck_stay: Duration,
    /// Bytes of a read buffer. Default 64 KiB: one read then brings 400 messages of 128 bytes, so its system call costs one
    /// nanosecond a message, and the buffer stays in the core's own cache. A larger message has a buffer of its own size.
    pub(crate) read_bytes: usize,
    /// When to ask a server whether it is there, and when to give it up.
    pub(crate) alive: AliveLimits,
    /// How servers are tried, and how many.
    pub(crate) servers: ServerLimits,
    /// What a server may send.
    pub(crate) wire: WireLimits,
    /// What is sent to it; its `max_payload` and whether it takes headers come from its INFO.
    pub(crate) write: WriteLimits,
}

impl Default for ConnectionLimits {
    fn default() -> Self {
        Self {
            connect_wait_max: Duration::from_secs(5),
            lame_duck_stay: Duration::from_secs(5),
            read_bytes: 64 << 10,
            alive: AliveLimits::default(),
            servers: ServerLimits::default(),
            wire: WireLimits::default(),
            write: WriteLimits::default(),
        }
    }
}

/// Why a connection could not be made, or is no more.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{server}: {fault}")]
pub(crate) struct ConnectionError {
    /// The server, as its URL without credentials.
    pub(crate) server: String,
    /// What is wrong.
    pub(crate) fault: ConnectionFault,
}

/// What is wrong with a connection.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub(crate) enum ConnectionFault {
    /// The name can't be looked up.
    #[error("its host cannot be found: {0}")]
    Lookup(String),
    /// Nobody answers there, or the connection broke.
    #[error("{step} failed: {detail}")]
    Io {
        /// What was being done.
        step: &'static str,
        /// What the system said.
        detail: String,
    },
    /// It took too long.
    #[error("not ready within {limit:?}: it stood still while {step}")]
    TimedOut {
        /// What was being done.
        step: &'static str,
        /// The limit.
        limit: Duration,
    },
    /// TLS says no.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// Its credentials can't be used.
    #[error(transparent)]
    Auth(#[from] AuthError),
    /// The server says no.
    #[error("the server ended the connection with {0}")]
    Refused(ServerRefusal),
    /// What the server sent can't be read.
    #[error(transparent)]
    Wire(#[from] WireError),
    /// The server closed it.
    #[error("the server closed the connection while {0}")]
    Closed(&'static str),
    /// The server is not there any more.
    #[error("given up: the server {}", said(*.0))]
    Stale(Stale),
    /// The server is about to stop, and there is another.
    #[error("left: the server is about to stop")]
    Left,
}

fn said(stale: Stale) -> &'static str {
    match stale {
        Stale::Silent => "has said nothing and answered no PING",
        Stale::Unanswered => "sends but answers no PING",
        Stale::Stuck => "takes nothing of what is sent",
    }
}

impl ConnectionFault {
    /// Whether the same attempt would come to the same end until somebody changes something: credentials and certificates.
    pub(crate) fn is_final(&self) -> bool {
        match self {
            Self::Refused(refusal) => refusal.is_final(),
            Self::Tls(TlsError::Other { .. }) => false,
            Self::Tls(_) | Self::Auth(_) => true,
            _ => false,
        }
    }
}

/// A fault of the system.
pub(crate) fn io_fault(step: &'static str, error: &std::io::Error) -> ConnectionFault {
    use std::io::ErrorKind as E;
    match error.kind() {
        E::ConnectionReset | E::ConnectionAborted | E::BrokenPipe | E::UnexpectedEof => {
            ConnectionFault::Closed(step)
        }
        _ => ConnectionFault::Io {
            step,
            detail: error.to_string(),
        },
    }
}
