//! Tests.
mod host;
mod prebuilt;
