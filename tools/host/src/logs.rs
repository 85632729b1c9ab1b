//! Log lines: on standard error, as `RUST_LOG` says.

use std::io::stderr;

use tracing_subscriber::EnvFilter;

use crate::args::Command;

/// Starts logging. Without `RUST_LOG`: warnings, what guests print, and what `run` itself has to say.
pub(crate) fn start(command: &Command) {
    let default = match command {
        Command::Run(_) => "warn,async_nats=off,millpond::run=info,millpond::serve=info,guest=info",
        Command::Demo(_)
        | Command::Check(_)
        | Command::Inspect(_)
        | Command::Compile(_)
        // What the client library logs is in the errors too.
        | Command::New(_) => "warn,async_nats=off,guest=info",
    };
    let asked = std::env::var(EnvFilter::DEFAULT_ENV).unwrap_or_default();
    let filter = match asked.is_empty() {
        true => EnvFilter::new(default),
        false => EnvFilter::try_new(&asked).unwrap_or_else(|error| {
            eprintln!("warning: RUST_LOG is {asked:?}, which can't be used: {error}");
            EnvFilter::new(default)
        }),
    };
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(stderr)
        .with_ansi(false)
        .without_time()
        .init();
}
