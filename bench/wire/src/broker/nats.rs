//! Of `broker/nats` what reads and writes bytes.

#[path = "../../../../engine/src/broker/nats/wire/mod.rs"]
pub(crate) mod wire;
