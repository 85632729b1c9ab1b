//! How the program ends: its exit codes, those of `millpond` and one more, and what it says of an error.

use std::fmt;
use std::io::{self, Write};
use std::process::ExitCode;

use millpond::StartError;

/// Why the program ended, as its exit code. `--help` lists them: see `args`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Exit {
    /// All went well, and the objective was met if there was one.
    Ok = 0,
    /// Something else failed.
    Failure = 1,
    /// Arguments can't be used.
    Usage = 2,
    /// A component can't be used.
    Component = 3,
    /// A component's `configure` failed.
    Configure = 4,
    /// The engine can need more memory than there is.
    Memory = 5,
    /// Messages were lost, came twice or came damaged: `--fail-on`.
    Messages = 6,
    /// Standard output or a report's file can't be written.
    Output = 7,
    /// The server can't be reached, or the connection was lost.
    Unreachable = 8,
    /// The server refuses the credentials.
    Refused = 9,
    /// The server does not permit what the load needs.
    Permission = 10,
    /// No stream takes what is published.
    Stream = 11,
    /// It was ended by a second signal.
    Cut = 12,
    /// The objective was missed.
    Objective = 13,
}

/// An error with an exit code of its own.
#[derive(Debug, Clone)]
pub(crate) struct Failed {
    /// The code.
    pub(crate) exit: Exit,
    message: String,
}

impl Failed {
    /// An error that ends the program with `exit`.
    pub(crate) fn error(exit: Exit, message: impl Into<String>) -> anyhow::Error {
        let message = message.into();
        Self { exit, message }.into()
    }

    /// Arguments that can't be used.
    pub(crate) fn usage(message: impl Into<String>) -> anyhow::Error {
        Self::error(Exit::Usage, message)
    }

    /// Standard output could not be written.
    fn output(error: &io::Error) -> anyhow::Error {
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
        code(&error)
    });
    ExitCode::from(exit as u8)
}

/// An error and what it comes from, where that is not said already.
pub(crate) fn said(error: &anyhow::Error) -> String {
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
    let written = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    written.map_err(|error| Failed::output(&error))
}

/// The exit code of an error.
pub(crate) fn code(error: &anyhow::Error) -> Exit {
    if let Some(failed) = error.downcast_ref::<Failed>() {
        return failed.exit;
    }
    match error.downcast_ref::<StartError>() {
        Some(StartError::Config(_) | StartError::Cache { .. }) => Exit::Usage,
        Some(StartError::Component { .. }) => Exit::Component,
        Some(StartError::Configure { .. }) => Exit::Configure,
        Some(StartError::Memory { .. }) => Exit::Memory,
        Some(StartError::Nats(_)) => Exit::Unreachable,
        Some(StartError::System { .. }) | None => Exit::Failure,
    }
}
