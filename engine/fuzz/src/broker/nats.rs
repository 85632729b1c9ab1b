//! Of `broker/nats` what reads and writes bytes, and nothing that needs a socket.

#[path = "../../../src/broker/nats/js/mod.rs"]
pub(crate) mod js;
#[path = "../../../src/broker/nats/wire/mod.rs"]
pub(crate) mod wire;
