//! The integration tests: real components in real engines, at each limit and one over, with each fault.

mod harness;

mod api;
mod contract;
mod faults;
mod first_document;

mod limits;
mod pond;
mod prebuilt;
mod start;
mod volume;
mod wasi;
