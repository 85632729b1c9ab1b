//! The integration tests: real components in real engines, at each limit and one over, with each fault.

#![allow(clippy::unwrap_used, reason = "a test that meets an error has failed")]

extern crate alloc;

mod harness;

mod api;
mod architecture;
mod batch;
mod batch_abi;
mod contract;
mod differential;
mod faults;
mod first_document;
mod hostile;
mod incoming;
mod isolation;
mod languages;
mod limits;
mod logging;
mod matrix;
mod nats_batch;
mod nats_bounds;
mod nats_cluster;
mod nats_core;
mod nats_errors;
mod nats_harness;
mod nats_kills;
mod nats_once;
mod nats_refusals;
mod nats_requests;
mod nats_streams;
mod no_text;
mod policies;
mod pond;
mod prebuilt;
mod publish_all;
mod publish_pack;
mod requests;
mod slices;
mod start;
mod volume;
mod wasi;
mod wasmcloud;
