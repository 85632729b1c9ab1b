//! Arguments: what may be typed, and its help.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};

use crate::units::{parse_duration, parse_size};

/// The exit codes, for `--help`; `exit::Exit` has the same.
macro_rules! exit_codes {
    () => {
        "\
Exit codes:
  0  all went well
  1  something else failed: the system refused a thread, a shard failed
  2  the arguments, the configuration or lines of the input can't be used
  3  a component can't be used
  4  a component's `configure` failed
  5  the configuration can need more memory than there is
  6  messages were lost, came out twice or were given up on
  7  standard output can't be written"
    };
}

/// Runs message handlers that are WebAssembly components: every batch of messages in an instance that has never seen another.
#[derive(Debug, Parser)]
#[command(
    name = "millpond",
    version,
    arg_required_else_help = true,
    max_term_width = 110
)]
#[command(after_help = concat!("\
Examples:
  millpond demo                               the engine under load for 5 seconds
  echo 'echo hello' | millpond run echo.wasm  one message through a component
  millpond inspect echo.wasm                  what a component is and needs

Log lines go to standard error; RUST_LOG=debug shows more of them, RUST_LOG=off none.

", exit_codes!()))]
pub(crate) struct Arguments {
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What the program does.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Shows the engine under load, with a component that comes with this program
    Demo(DemoArguments),
    /// Runs components in a shell pipe: lines in are messages to them, lines out are what they send
    Run(RunArguments),
    /// Says what a component is, what it needs, and why it can't be used if it can't
    Inspect(InspectArguments),
}

/// Arguments of `demo`.
#[derive(Debug, Args)]
#[command(after_help = concat!("\
The load is open-loop: each message has a time at which it is sent, fixed in advance, and its latency counts from then until \
it is settled. A message that the engine has no room for is shed and counted, never sent again. Each message has a number; the \
component sends each back, and those that come out are compared with those that went in: none may be missing or come twice.

Examples:
  millpond demo --rate 500000 --batch-max 64
  millpond demo --seconds 30 --shards 1 --json > demo.json

", exit_codes!()))]
pub(crate) struct DemoArguments {
    /// How long messages are sent
    #[arg(long, value_name = "SECONDS", default_value_t = 5.0, value_parser = parse_seconds)]
    pub(crate) seconds: f64,
    /// Messages sent a second
    #[arg(long, value_name = "MESSAGES", default_value_t = 100_000, value_parser = clap::value_parser!(u64).range(1..=100_000_000))]
    pub(crate) rate: u64,
    /// Shards, each a thread with a core of its own [default: one less than cores, since the load needs one]
    #[arg(long, value_name = "SHARDS")]
    pub(crate) shards: Option<usize>,
    /// Most messages a call [default: 64]
    #[arg(long, value_name = "MESSAGES")]
    pub(crate) batch_max: Option<usize>,
    /// Bytes of each message; its number takes the first 8
    #[arg(long, value_name = "BYTES", default_value_t = 128, value_parser = clap::value_parser!(u32).range(8..=1 << 20))]
    pub(crate) payload_bytes: u32,
    /// Writes one JSON object instead of a table
    #[arg(long)]
    pub(crate) json: bool,
}

/// Arguments of `run`.
#[derive(Debug, Args)]
#[command(after_help = concat!("\
A line is `SUBJECT PAYLOAD`: the payload is all that follows the first space, and may be empty. Each line is published on the \
in-process broker; each message that a component sends is written as such a line, whoever else gets it. When the input has ended \
and every message is settled, the program ends. If components are slower than the input, it is read no faster than they are.

A payload that is not one line of UTF-8 text is written with escapes: `\\n` for a line break, `\\\\` for a backslash and `\\x00` for \
other bytes. All else is written as it is. With --escaped, every payload is written with escapes and every line of the input is \
read with them, so that any bytes come through a pipe.

A line that can't be used is reported and left out; the others are handled, and the exit code is 2. A message that its handler \
failed on again and again is given up on and reported; the exit code is 6.

Examples:
  printf 'echo one\\necho two\\n' | millpond run echo.wasm
  millpond run orders.wasm invoices.wasm < orders.txt > invoices.txt
  millpond run --escaped first.wasm < lines | millpond run --escaped second.wasm

", exit_codes!()))]
pub(crate) struct RunArguments {
    /// Components; a handler is called as its file, without the extension
    #[arg(required = true, value_name = "COMPONENT")]
    pub(crate) components: Vec<PathBuf>,
    /// Shards, each a thread with a core of its own [default: one a core]
    #[arg(long, value_name = "SHARDS")]
    pub(crate) shards: Option<usize>,
    /// Most messages a call [default: 64]
    #[arg(long, value_name = "MESSAGES")]
    pub(crate) batch_max: Option<usize>,
    /// Longest a call may take in all, such as 250ms [default: 1s of its own running time, 5s in all]
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    pub(crate) deadline: Option<Duration>,
    /// Memory that an instance may have, such as 16MiB [default: 64MiB]
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    pub(crate) memory_max: Option<u64>,
    /// Memory that the engine may need in all; more is refused [default: the machine's]
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    pub(crate) memory_total: Option<u64>,
    /// A broker, beside `default`, that components may connect to; may be repeated [default: any]
    #[arg(long = "broker", value_name = "NAME")]
    pub(crate) brokers: Vec<String>,
    /// Handles the messages of one subject in the order of their lines
    #[arg(long)]
    pub(crate) ordered: bool,
    /// Reads and writes every payload with escapes
    #[arg(long)]
    pub(crate) escaped: bool,
}

/// Arguments of `inspect`.
#[derive(Debug, Args)]
#[command(after_help = concat!("\
Examples:
  millpond inspect echo.wasm
  millpond inspect --json echo.wasm | jq .contract

", exit_codes!()))]
pub(crate) struct InspectArguments {
    /// The component's file
    #[arg(value_name = "COMPONENT")]
    pub(crate) component: PathBuf,
    /// Memory that an instance may have, such as 16MiB [default: 64MiB]
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    pub(crate) memory_max: Option<u64>,
    /// Writes one JSON object instead
    #[arg(long)]
    pub(crate) json: bool,
}

/// Reads a number of seconds, which may have a fraction.
fn parse_seconds(text: &str) -> Result<f64, String> {
    text.parse()
        .ok()
        .filter(|seconds| (0.001..=86_400.0).contains(seconds))
        .ok_or_else(|| format!("{text:?} is no number of seconds from 0.001 to 86400"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_consistent() {
        use clap::CommandFactory;
        Arguments::command().debug_assert();
    }
}
