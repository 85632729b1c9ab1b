//! The bytes of a NATS server, and the texts of JetStream: see [`millpond_fuzz::nats`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| millpond_fuzz::nats(data));
