//! Six guests that differ in what their `configure` does: five go wrong, one asks for extensions.

#[path = "../../bindings/r0_2_0_draft.rs"]
mod bindings;

use bindings::exports::wasi::messaging::messaging_guest::Guest;
use bindings::wasi::messaging::messaging_types::{Error, GuestConfiguration, Message};

struct Configure;

impl Guest for Configure {
    fn configure() -> Result<GuestConfiguration, Error> {
        outcome()
    }

    fn handler(_messages: Vec<Message>) -> Result<(), Error> {
        Ok(())
    }
}

/// An error can't be made, only received: this name is granted to no guest.
#[cfg(feature = "error")]
fn outcome() -> Result<GuestConfiguration, Error> {
    use bindings::wasi::messaging::messaging_types::Client;
    Client::connect("nowhere-granted").map(|_| configuration(&["granted"], &[]))
}

#[cfg(feature = "trap")]
fn outcome() -> Result<GuestConfiguration, Error> {
    core::arch::wasm32::unreachable()
}

#[cfg(feature = "endless")]
fn outcome() -> Result<GuestConfiguration, Error> {
    let mut turns = 0u64;
    loop {
        turns = std::hint::black_box(turns.wrapping_add(1));
    }
}

#[cfg(feature = "empty")]
fn outcome() -> Result<GuestConfiguration, Error> {
    Ok(configuration(&[], &[]))
}

#[cfg(feature = "bad-subject")]
fn outcome() -> Result<GuestConfiguration, Error> {
    Ok(configuration(&["a..b"], &[]))
}

#[cfg(feature = "extensions")]
fn outcome() -> Result<GuestConfiguration, Error> {
    let extensions = [
        ("batch-max", "7"),
        ("latency-budget", "5ms"),
        ("deadline", "250ms"),
        ("unknown-key", "x"),
    ];
    Ok(configuration(&["ext"], &extensions))
}

#[cfg(not(any(feature = "trap", feature = "endless")))]
fn configuration(channels: &[&str], extensions: &[(&str, &str)]) -> GuestConfiguration {
    let pair = |&(key, value): &(&str, &str)| (key.to_string(), value.to_string());
    GuestConfiguration {
        channels: channels.iter().map(|name| name.to_string()).collect(),
        extensions: (!extensions.is_empty()).then(|| extensions.iter().map(pair).collect()),
    }
}

bindings::export!(Configure with_types_in bindings);
