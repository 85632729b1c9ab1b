//! How Millpond's programs end: their exit codes, which mean the same in each, and what they say of an error.

use std::fmt;
use std::io::{self, Write};
use std::process::ExitCode;

use millpond::{NatsError, StartError};

/// Why a program ended, as its exit code. Each program's `--help` lists those that it has, in its own words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
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
    /// The engine can need more memory than there is.
    Memory = 5,
    /// Messages were lost, came twice, came damaged or were given up on.
    Messages = 6,
    /// Standard output or a file can't be written.
    Output = 7,
    /// A server can't be reached, is not ready in time, or its connection was lost.
    Unreachable = 8,
    /// A server refuses the credentials, or a certificate can't be used.
    Refused = 9,
    /// A server does not permit what is needed.
    Permission = 10,
    /// A stream or a consumer is missing or can't be used.
    Stream = 11,
    /// It was ended before everything in flight was settled, or before it was known whether an objective is met.
    Cut = 12,
    /// An objective was missed.
    Objective = 13,
}

/// An error with an exit code of its own.
#[derive(Debug, Clone)]
pub struct Failed {
    exit: Exit,
    message: String,
}

impl Failed {
    /// An error that ends the program with `exit`.
    pub fn error(exit: Exit, message: impl Into<String>) -> anyhow::Error {
        let message = message.into();
        Self { exit, message }.into()
    }

    /// Arguments that can't be used.
    pub fn usage(message: impl Into<String>) -> anyhow::Error {
        Self::error(Exit::Usage, message)
    }

    /// Standard output could not be written.
    pub fn output(error: &io::Error) -> anyhow::Error {
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

/// Prints an error, if there is one, with what can be done about it, and gives the exit code.
pub fn end(
    done: anyhow::Result<Exit>,
    remedy: impl Fn(&anyhow::Error) -> Option<&'static str>,
) -> ExitCode {
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
pub fn said(error: &anyhow::Error) -> String {
    error
        .chain()
        .fold(String::new(), |said, cause| match cause.to_string() {
            cause if said.is_empty() => cause,
            cause if said.contains(&cause) => said,
            cause => format!("{said}: {cause}"),
        })
}

/// Writes a text to standard output.
///
/// # Errors
/// It can't be written: [`Exit::Output`].
pub fn print(text: &str) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    let written = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    written.map_err(|error| Failed::output(&error))
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
