//! How the program ends: its exit codes, and what it says of an error.

use std::fmt;
use std::io::{self, Write};
use std::process::ExitCode;

use millpond::{ComponentError, NatsError, StartError};

/// Why the program ended, as its exit code. `--help` lists them: see `args`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Exit {
    /// All went well.
    Ok = 0,
    /// Something else failed.
    Failure = 1,
    /// Arguments, configuration or input lines can't be used.
    Usage = 2,
    /// A component can't be used.
    Component = 3,
    /// A component's `configure` failed.
    Configure = 4,
    /// The configuration can need more memory than there is.
    Memory = 5,
    /// In a shell pipe or a demo: messages were lost, came out twice or were given up on.
    Messages = 6,
    /// Standard output can't be written.
    Output = 7,
    /// No server can be reached, or none is ready in time.
    Unreachable = 8,
    /// A server refuses the credentials, or a certificate can't be used.
    Refused = 9,
    /// A server does not permit what a handler needs.
    Permission = 10,
    /// A stream or a consumer is missing or can't be used.
    Stream = 11,
    /// It was ended before everything in flight was settled.
    Cut = 12,
}

/// An error with an exit code of its own.
#[derive(Debug)]
pub(crate) struct Failed {
    exit: Exit,
    message: String,
}

impl Failed {
    /// An error that ends the program with `exit`.
    pub(crate) fn error(exit: Exit, message: impl Into<String>) -> anyhow::Error {
        let message = message.into();
        Self { exit, message }.into()
    }

    /// Standard output could not be written.
    pub(crate) fn output(error: &io::Error) -> anyhow::Error {
        let why = match error.kind() {
            io::ErrorKind::BrokenPipe => "whoever read it has closed it".to_owned(),
            _ => error.to_string(),
        };
        Self::error(
            Exit::Output,
            format!("standard output can't be written: {why}"),
        )
    }
}

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Failed {}

/// Prints an error, if there is one, and gives the exit code.
pub(crate) fn end(done: anyhow::Result<Exit>) -> ExitCode {
    let exit = done.unwrap_or_else(|error| {
        eprintln!("error: {}", said(&error));
        if let Some(remedy) = remedy(&error) {
            eprintln!("  help: {remedy}");
        }
        code(&error)
    });
    ExitCode::from(exit as u8)
}

/// An error and what it comes from, where that is not said already.
fn said(error: &anyhow::Error) -> String {
    error
        .chain()
        .fold(String::new(), |said, cause| match cause.to_string() {
            cause if said.is_empty() => cause,
            cause if said.contains(&cause) => said,
            cause => format!("{said}: {cause}"),
        })
}

/// Writes a text to standard output.
pub(crate) fn print(text: &str) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())
        .and_then(|()| out.flush())
        .map_err(|error| Failed::output(&error))
}

/// The exit code of an error.
fn code(error: &anyhow::Error) -> Exit {
    if let Some(failed) = error.downcast_ref::<Failed>() {
        return failed.exit;
    }
    match error.downcast_ref::<StartError>() {
        Some(StartError::Config(_) | StartError::Cache { .. }) => Exit::Usage,
        Some(StartError::Component { .. }) => Exit::Component,
        Some(StartError::Configure { .. }) => Exit::Configure,
        Some(StartError::Memory { .. }) => Exit::Memory,
        Some(StartError::Nats(cause)) => of_nats(cause),
        Some(StartError::System { .. }) | None => Exit::Failure,
    }
}

/// The exit code of an error that is about servers.
fn of_nats(cause: &NatsError) -> Exit {
    match cause {
        NatsError::Unreachable { .. } => Exit::Unreachable,
        NatsError::Refused(_) => Exit::Refused,
        NatsError::Permission(_) => Exit::Permission,
        NatsError::Stream(_) => Exit::Stream,
    }
}

/// What can be done about an error, in the words of this program's arguments.
fn remedy(error: &anyhow::Error) -> Option<&'static str> {
    Some(match error.downcast_ref::<StartError>()? {
        StartError::Component { cause, .. } => component_remedy(cause)?,
        StartError::Configure { .. } => {
            "name its subjects with --subject or `subjects`, or mend the component's `configure`: what it prints is in the log, and --deadline is how long it may take"
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
            "name another folder with --cache, or allow it more bytes with --cache-max; `run` does without with --cache off"
        }
        StartError::Config(_) | StartError::System { .. } => return None,
    })
}

fn component_remedy(cause: &ComponentError) -> Option<&'static str> {
    Some(match cause {
        ComponentError::Read(_) => "check the path and who may read the file",
        ComponentError::Invalid(_) => {
            "give the file that a component toolchain wrote, such as `cargo build --target wasm32-wasip2`"
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
