//! NATS, core and JetStream, on each shard's own connection: a message goes from the socket to the guest without crossing a thread.
//!
//! `connection` and what is below it make and keep one connection; `wire` reads and writes the protocol, `js` the texts of
//! JetStream. `transport` is a shard's side, with `session` for what happens to its connection. `control` and `start` run before an engine
//! is ready, and on threads of their own. Nothing here knows of guests.

mod alive;
mod atomic;
pub(crate) mod auth;
mod bounds;
mod config;
mod confirms;
mod connection;
pub(crate) mod control;
mod dial;
mod feeds;
mod greeting;
mod intake;
mod js;
mod live;
mod packing;
mod pulls;
mod refusal;
mod release;
mod renew;
mod requests;
mod resolver;
mod senders;
mod servers;
mod session;
mod settings;
mod socket;
mod start;
mod status;
mod takes;
mod tls;
mod transport;
mod unacked;
pub(crate) mod url;
mod wire;

#[cfg(test)]
mod certificates;
#[cfg(test)]
mod corpus;
#[cfg(test)]
#[path = "../../../fuzz/src/checks.rs"]
mod fuzz_checks;
#[cfg(test)]
mod real;
#[cfg(test)]
mod testing;

pub use auth::{Auth, Secret};
pub use config::{NatsConfig, NatsSource, StreamSource};
pub use control::{CreateConsumer, CreateStream, DeliverFrom, DeliveryLevel, Retention, Storage};
pub use start::check_nats;
pub use tls::{ClientCertificate, Pem, Roots, TlsOptions};
pub use url::{ServerUrl, UrlError};

pub(crate) use bounds::connection_bytes;
pub(crate) use start::{Nats, fault, fit_limits};
