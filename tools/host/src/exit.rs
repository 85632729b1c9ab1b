//! What the program says of an error: beside the error, what can be done about it.

use std::process::ExitCode;

use millpond::{ComponentError, NatsError, StartError};

pub(crate) use millpond_exit::{Exit, Failed, print};

/// Prints an error, if there is one, and gives the exit code.
pub(crate) fn end(done: anyhow::Result<Exit>) -> ExitCode {
    millpond_exit::end(done, remedy)
}

/// What can be done about an error, in the words of this program's arguments.
fn remedy(error: &anyhow::Error) -> Option<&'static str> {
    Some(match error.downcast_ref::<StartError>()? {
        StartError::Component { cause, .. } => component_remedy(cause)?,
        StartError::Configure { .. } => {
            "name its subjects with --subject or `subjects`; or, where it has a `configure`, mend that: what it prints is in the log, and --deadline is how long it may take"
        }
        StartError::Memory { .. } => {
            "lower --shards or --memory-max; --memory-total is what the whole may need"
        }
        StartError::Nats(NatsError::Unreachable { .. }) => {
            "see that the server is there and its URL is right; --ready-wait-max is how long it is waited for"
        }
        StartError::Nats(NatsError::Refused(_)) => {
            "check the user and the password, token, nkey or credentials file, if any was given, and the certificates"
        }
        StartError::Nats(NatsError::Permission(_)) => {
            "have the server permit it to this user, or use a user who may"
        }
        StartError::Nats(NatsError::Stream(_)) => return None,
        StartError::Cache { .. } => {
            "name another folder with --cache, one that can be made and written, or allow it more bytes with --cache-max; `run` does without with --cache off"
        }
        StartError::Config(_) | StartError::System { .. } => return None,
    })
}

fn component_remedy(cause: &ComponentError) -> Option<&'static str> {
    Some(match cause {
        ComponentError::Read(_) => "check the path and who may read the file",
        ComponentError::Invalid(_) => {
            "give the file that a component toolchain wrote, such as `cargo build --target wasm32-wasip2`; a configuration goes with --config"
        }
        ComponentError::OtherContract { .. } => {
            "leave the contract out, or name one that the component exports; `millpond inspect` says which"
        }
        ComponentError::NoContract { .. } => "build it for one of the known contracts",
        ComponentError::Import { .. } => {
            "build it without this import: a handler may import what its contract has, and WASI 0.2"
        }
        ComponentError::Memory { .. } => "allow more with --memory-max",
        ComponentError::Slots { .. } | ComponentError::CoreModule => return None,
    })
}
