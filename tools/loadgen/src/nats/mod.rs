//! The protocol of NATS on blocking sockets: as little of it as a load needs, and as fast as one core does it.

pub(crate) mod connection;
pub(crate) mod login;
pub(crate) mod outlet;
pub(crate) mod parse;
pub(crate) mod reader;
pub(crate) mod sink;
pub(crate) mod tls;
pub(crate) mod wire;
