//! The client protocol of NATS, as bytes: what the server sends, what is sent to it.
//! Source: <https://docs.nats.io/reference/reference-protocols/nats-protocol>.
//!
//! Knows no socket, clock or handler: bytes in, operations out, and the reverse.

pub(crate) mod headers;
pub(crate) mod info;
pub(crate) mod line;
pub(crate) mod parse;
mod publish;
pub(crate) mod write;
