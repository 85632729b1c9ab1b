//! The skeleton of a guest: it asks for one channel and accepts whatever comes.

#[path = "../../bindings/r2023_06.rs"]
mod bindings;

use bindings::exports::wasi::messaging::messaging_guest::Guest;
use bindings::wasi::messaging::messaging_types::{Error, GuestConfiguration, Message};

struct Skeleton;

impl Guest for Skeleton {
    fn configure() -> Result<GuestConfiguration, Error> {
        Ok(GuestConfiguration {
            channels: vec!["skeleton".to_string()],
            extensions: None,
        })
    }

    fn handler(_messages: Vec<Message>) -> Result<(), Error> {
        Ok(())
    }
}

bindings::export!(Skeleton with_types_in bindings);
