//! Where the load goes: servers and how one gets in, the engine in process, or a sink.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use super::auth::auth;
use super::url::urls;
use super::{Auth, Server};
use crate::args::TargetArguments;
use crate::exit::Failed;
use crate::nats::tls::Tls;

/// Where the load goes.
#[derive(Debug)]
pub(crate) enum Target {
    /// NATS servers.
    Servers(Servers),
    /// A sink of our own, in this process.
    Sink,
    /// The engine, in this process.
    Embedded(Embedded),
}

/// NATS servers, of which the first that can be used is used.
#[derive(Debug, Clone)]
pub(crate) struct Servers {
    /// In the order that they are tried in; at least one.
    pub(crate) all: Vec<Server>,
    /// How TLS is done where it is.
    pub(crate) tls: Arc<Tls>,
}

/// The engine in process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Embedded {
    /// The component's file.
    pub(crate) component: PathBuf,
    /// Shards.
    pub(crate) shards: usize,
    /// Most messages a call.
    pub(crate) batch_max: Option<usize>,
    /// Memory that the engine may need in all; the machine's if it says nothing.
    pub(crate) memory_total: Option<u64>,
}

impl Servers {
    /// One at this address, without TLS, that lets everybody in.
    pub(crate) fn plain(address: SocketAddr) -> Self {
        let server = Server {
            tls: false,
            host: address.ip().to_string(),
            port: address.port(),
            auth: Auth::None,
        };
        Self {
            all: vec![server],
            tls: Arc::default(),
        }
    }

    /// Those that these arguments name.
    fn named(arguments: &TargetArguments) -> Result<Self, String> {
        let mut all = urls(&arguments.server)?;
        if let Some(auth) = auth(arguments)? {
            all.iter_mut().for_each(|server| server.auth = auth.clone());
        }
        let shown = arguments.tls_cert.as_deref();
        let tls = Tls::load(
            arguments.tls_ca.as_deref(),
            shown.zip(arguments.tls_key.as_deref()),
        )?;
        Ok(Self {
            all,
            tls: Arc::new(tls),
        })
    }
}

impl fmt::Display for Servers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let urls: Vec<String> = self.all.iter().map(Server::url).collect();
        f.write_str(&urls.join(", "))
    }
}

/// The target that these arguments name.
pub(super) fn target(arguments: &TargetArguments, sink: bool) -> anyhow::Result<Target> {
    if sink {
        return Ok(Target::Sink);
    }
    if let Some(component) = &arguments.embedded {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        return Ok(Target::Embedded(Embedded {
            component: component.clone(),
            shards: arguments
                .shards
                .unwrap_or((cores - 1).clamp(1, millpond::SHARDS_MAX)),
            batch_max: arguments.batch_max,
            memory_total: arguments.memory_total,
        }));
    }
    let servers = Servers::named(arguments).map_err(Failed::usage)?;
    Ok(Target::Servers(servers))
}
