//! A guest that does what its messages say: each message's data is commands, separated by `;`, run in
//! order, message after message. Tests use it to put any question to the host; what it learns it sends
//! as text to the subject that the command names. `commands.rs` lists the commands.

#[cfg(feature = "r2023-06")]
#[path = "../../bindings/r2023_06.rs"]
mod bindings;
#[cfg(feature = "r0-1-0")]
#[path = "../../bindings/r0_1_0.rs"]
mod bindings;
#[cfg(feature = "r0-2-0-draft")]
#[path = "../../bindings/r0_2_0_draft.rs"]
mod bindings;

mod commands;
mod extremes;
#[cfg(feature = "r2023-06")]
#[path = "handles.rs"]
mod host;
#[cfg(not(feature = "r2023-06"))]
#[path = "resources.rs"]
mod host;

use bindings::exports::wasi::messaging::messaging_guest::Guest;
use bindings::wasi::messaging::messaging_types::{Error, GuestConfiguration, Message};

struct Probe;

impl Guest for Probe {
    fn configure() -> Result<GuestConfiguration, Error> {
        Ok(GuestConfiguration {
            channels: vec!["probe".to_string()],
            extensions: None,
        })
    }

    fn handler(messages: Vec<Message>) -> Result<(), Error> {
        for message in &messages {
            let Ok(text) = std::str::from_utf8(&message.data) else {
                extremes::trap()
            };
            for command in text.split(';').map(str::trim).filter(|c| !c.is_empty()) {
                commands::run(command, message)?;
            }
        }
        Ok(())
    }
}

bindings::export!(Probe with_types_in bindings);
