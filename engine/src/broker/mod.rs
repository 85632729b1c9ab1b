//! Brokers: where messages come from and where sends go. None of them knows anything of wasm.

pub(crate) mod memory;
pub(crate) mod nats;
