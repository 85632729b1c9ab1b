//! The engine's brokers, as far as they are timed.

pub(crate) mod nats;
