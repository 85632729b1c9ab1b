//! Arguments: what may be typed, and its help.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::config::Size;
use crate::config::file::{ContractKey, EngineKeys, Flags, HandlerKeys, NatsKeys, SpreadKey};
use crate::units::parse_size;

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
  6  in a shell pipe or a demo: messages were lost, came out twice or were given up on
  7  standard output can't be written
  8  no server can be reached, or none is ready in time
  9  a server refuses the credentials, or its certificate or ours can't be used
 10  a server does not permit what a handler needs
 11  a stream or a consumer is missing or can't be used
 12  it was ended before everything in flight was settled: by a second signal, or by drain_wait_max"
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
  millpond run --config millpond.toml         handlers on NATS, as a file says
  millpond check millpond.toml                whether that file is good
  millpond inspect echo.wasm                  what a component is and needs
  millpond compile echo.wasm                  compiles it ahead
  millpond new mill --lang rust               a project of a handler of your own

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
    /// Runs components on NATS, or in a shell pipe: lines in are messages to them, lines out are what they send
    Run(Box<RunArguments>),
    /// Checks a configuration without starting it, and says what it understood
    Check(CheckArguments),
    /// Says what a component is, what it needs, and why it can't be used if it can't
    Inspect(InspectArguments),
    /// Compiles components ahead, so that a later start loads them in milliseconds
    Compile(Box<CompileArguments>),
    /// Writes a project of a handler, and says how it is built and run
    New(NewArguments),
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
On NATS (--nats, or a file with [nats]): messages come from servers and what components send goes there. The program writes one \
line `ready` to standard error once every shard is connected and every subscription and consumer is there. At SIGTERM or SIGINT it \
takes no more, finishes what is in flight within drain_wait_max and ends; at a second one, at once.

In a shell pipe (otherwise): a line is `SUBJECT PAYLOAD`, where the payload is all that follows the first space and may be empty. \
Each line is published on the in-process broker; each message that a component sends is written as such a line, whoever else gets it. \
When the input has ended and every message is settled, the program ends. If components are slower than the input, it is read no \
faster than they are. A payload that is not one line of UTF-8 text is written with escapes: `\\n` for a line break, `\\\\` for a \
backslash and `\\x00` for other bytes; all else as it is. With --escaped, every payload is written with escapes and every line of the \
input is read with them, so that any bytes come through a pipe. A line that can't be used is reported and left out; the others are \
handled, and the exit code is 2. A message that its handler failed on again and again is given up on and reported; the exit code is 6.

A flag says the same as the key of the file that has its name, with underscores. What is said twice: the command line goes before \
[[handler]], [engine] and [nats], these before [handler_defaults], and that before what is built in. With --config the flags of \
limits are for every handler of the file. A component's own settings may only tighten what comes of all that.

Examples:
  printf 'echo one\\necho two\\n' | millpond run echo.wasm
  millpond run orders.wasm invoices.wasm < orders.txt > invoices.txt
  millpond run --escaped first.wasm < lines | millpond run --escaped second.wasm
  millpond run echo.wasm --nats nats://localhost:4222 --subject echo.in --allow-publish echo.out
  millpond run mill.wasm --nats tls://nats.example --creds mill.creds --stream ORDERS --durable mill --allow-publish 'done.>'
  millpond run --config millpond.toml --shards 2

", exit_codes!()))]
pub(crate) struct RunArguments {
    /// Components; a handler is called as its file, without the extension. One with --nats
    #[arg(required_unless_present = "config", value_name = "COMPONENT")]
    pub(crate) components: Vec<PathBuf>,
    /// A file that says what is run, such as millpond.example.toml shows; `millpond check` checks it
    #[arg(long, value_name = "FILE", conflicts_with = "components")]
    pub(crate) config: Option<PathBuf>,
    /// Handles the messages of one subject in the order of their lines; the same as --spread subject
    #[arg(long, conflicts_with = "spread")]
    pub(crate) ordered: bool,
    /// Reads and writes every payload with escapes, in a shell pipe
    #[arg(long, conflicts_with = "nats")]
    pub(crate) escaped: bool,
    /// Memory that the engine may need in all; more is refused [default: the machine's]
    #[arg(long, value_name = "SIZE")]
    pub(crate) memory_total: Option<Size>,
    /// Keys of `[engine]`.
    #[command(flatten)]
    pub(crate) engine: EngineKeys,
    /// Keys of `[nats]`.
    #[command(flatten)]
    pub(crate) nats: NatsKeys,
    /// Keys of `[[handler]]`.
    #[command(flatten)]
    pub(crate) handler: HandlerKeys,
}

impl RunArguments {
    /// Those that say the same as keys of a file.
    pub(crate) fn flags(&self) -> Flags {
        let mut engine = self.engine.clone();
        engine.limits.memory_total = self.memory_total;
        if self.ordered {
            engine.spread = Some(SpreadKey::Subject);
        }
        Flags {
            engine,
            nats: self.nats.clone(),
            handler: self.handler.clone(),
        }
    }
}

/// Arguments of `check`.
#[derive(Debug, Args)]
#[command(after_help = concat!("\
It checks every key and value, each component, and what they say together; it prints what it understood, or one error with file, line \
and column. It reads secrets from where they are, so run it where the handlers will run. With --connect it asks the servers too: \
credentials, streams, consumers, dead letters. Consumers that would be made are not made.

Examples:
  millpond check millpond.toml
  millpond check --connect millpond.toml && millpond run --config millpond.toml

", exit_codes!()))]
pub(crate) struct CheckArguments {
    /// The file
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    /// Asks the servers too
    #[arg(long)]
    pub(crate) connect: bool,
}

/// Arguments of `compile`.
#[derive(Debug, Args)]
#[command(after_help = concat!("\
`run` keeps what it compiled by itself; this is for images and machines where the first start is to be quick too. Compiled code is used \
for the same component, the same version of this program, a like processor and the same `guard_pages` alone: a `run` with \
`--guard-pages` looks for code that was compiled with it. Other flags of the engine that `run` has are taken, and change nothing. It is machine code that is \
run, so the folder and its files must belong to whoever runs the program, or to root, and nobody else may write to them. Where the \
code of a component is not kept, as in a folder that is full, that is an error (2): a start would have to compile it.

Examples:
  millpond compile orders.wasm
  millpond compile --config millpond.toml --cache /var/cache/millpond

", exit_codes!()))]
// What compiled code does not depend on is taken and not shown.
#[command(
    mut_arg("shards", |flag| flag.hide(true)),
    mut_arg("spread", |flag| flag.hide(true)),
    mut_arg("pin", |flag| flag.hide(true)),
    mut_arg("reset", |flag| flag.hide(true)),
    mut_arg("seed", |flag| flag.hide(true)),
    mut_arg("drain_wait_max", |flag| flag.hide(true)),
    mut_arg("guard_pages", |flag| flag.hide_short_help(false)),
    mut_arg("cache", |flag| flag.hide_short_help(false)),
    mut_arg("cache_max", |flag| flag.hide_short_help(false))
)]
pub(crate) struct CompileArguments {
    /// Components
    #[arg(required_unless_present = "config", value_name = "COMPONENT")]
    pub(crate) components: Vec<PathBuf>,
    /// A file that names them
    #[arg(long, value_name = "FILE", conflicts_with = "components")]
    pub(crate) config: Option<PathBuf>,
    /// Keys of `[engine]`.
    #[command(flatten)]
    pub(crate) engine: EngineKeys,
}

/// Arguments of `new`.
#[derive(Debug, Args)]
#[command(after_help = concat!("\
The project is a folder of this name in the current one: sources of a handler that greets, the SDK of its language, a README with the \
commands that are printed too. It needs nothing else of Millpond to be built. A folder that is there already must be empty; after an \
error there is no more than before.

Examples:
  millpond new mill --lang rust
  millpond new mill --lang c

", exit_codes!()))]
pub(crate) struct NewArguments {
    /// The project's name: lower-case letters, digits and hyphens
    #[arg(value_name = "NAME")]
    pub(crate) name: String,
    /// The language that it is written in
    #[arg(long, value_name = "LANGUAGE")]
    pub(crate) lang: Language,
}

/// Languages of new projects.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum Language {
    /// With the crate `millpond-guest`.
    Rust,
    /// With the header `millpond.h`.
    C,
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
    /// The interface that it is called by, if it exports several, such as `millpond:batch/handler@0.1.0`
    /// [default: the first that it exports, in the order of their cost a message]
    #[arg(long, value_name = "INTERFACE")]
    pub(crate) contract: Option<ContractKey>,
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
