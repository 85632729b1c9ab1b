//! The texts of JetStream's data plane: acknowledgements, pulls and the server's answers to them, and confirmations of publishes.
//! Source: <https://github.com/nats-io/nats-architecture-and-design> (ADR-13 pulls, ADR-15 acknowledgements, ADR-50 batches), checked
//! against nats-server 2.15.1.
//!
//! Knows no socket, clock or handler: texts in, values out, and the reverse.

pub(crate) mod ack;
pub(crate) mod publish;
pub(crate) mod pull;
