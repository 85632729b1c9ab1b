//! The engine's brokers, as far as they are fuzzed.

pub(crate) mod nats;
