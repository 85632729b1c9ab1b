//! Tests.
mod prebuilt;
