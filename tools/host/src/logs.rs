//! Log lines: on standard error, as `RUST_LOG` says.

use std::io::{IsTerminal, stderr};

use tracing_subscriber::EnvFilter;

use crate::args::Command;

/// Starts logging. Without `RUST_LOG`: warnings, what guests print, and for `run` what the engine says of its start.
pub(crate) fn start(command: &Command) {
    let default = match command {
        Command::Run(_) => "warn,millpond=info,guest=info",
        Command::Demo(_) | Command::Inspect(_) => "warn,guest=info",
    };
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(default));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(stderr)
        .with_ansi(stderr().is_terminal())
        .without_time()
        .init();
}
