//! Arguments: what may be typed, and its help.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::core::sizes::Sizes;
use crate::plan::rates::Sweep;
use crate::plan::slo::Slo;
use crate::units::{parse_rate, parse_size, parse_some_time, parse_time};

/// The exit codes, for `--help`; `exit::Exit` has the same.
macro_rules! exit_codes {
    () => {
        "\
Exit codes:
  0  all went well, and the objective was met if there was one
  1  something else failed: the system refused a thread, the engine failed
  2  the arguments can't be used
  3  the component can't be used
  4  the component's `configure` failed
  5  the engine can need more memory than there is
  6  messages were lost, unacked, came twice, came damaged or were refused, as --fail-on says
  7  standard output or a report's file can't be written
  8  the server can't be reached, or the connection was lost
  9  the server refuses the credentials, or TLS with it can't be had
 10  the server does not permit what the load needs
 11  no stream stores what is published
 12  a signal ended it before its objective was judged, or a second signal ended the program
 13  the objective was missed, whatever --fail-on says
Of several, what ended a load (1 to 5, 7 to 11) comes first, then 13, 12, 6.
With --slo, 0 and 6 say that the objective was met, and all others but 13 that it was not judged."
    };
}

/// Loads a NATS service, or the engine in process, and says what became of every message.
#[derive(Debug, Parser)]
#[command(
    name = "loadgen",
    version,
    arg_required_else_help = true,
    max_term_width = 110
)]
#[command(after_help = concat!("\
Examples:
  loadgen request --subject echo --rate 10000                      open loop: 10,000 requests a second for 10 seconds
  loadgen request --subject echo --find-max --slo p99=5ms          the highest rate that keeps the objective
  loadgen publish --subject in --observe out --sweep 10k..200k*1.5 --html report.html
  loadgen stream --subject ORDERS.new --observe done --rate 2000   stored by a stream, then seen again
  loadgen request --embedded echo.wasm --subject echo --rate 100k  the engine in process, no server
  loadgen publish --sink                                           how fast the generator itself is

", exit_codes!()))]
pub(crate) struct Arguments {
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What the program does.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Publishes, and with --observe waits for each message to come back on another subject
    Publish(Box<PublishArguments>),
    /// Sends requests, and waits for the reply to each
    Request(Box<RequestArguments>),
    /// Publishes to a stream, waits for each to be stored, and with --observe for it to come back
    Stream(Box<StreamArguments>),
    /// Listens as a server that takes everything and keeps nothing, for `publish --server`
    Sink(SinkArguments),
}

/// Arguments of `publish`.
#[derive(Debug, Args)]
#[command(after_help = concat!("\
Without --observe, a message's latency ends when the socket has taken it, and at the end the server says that it has taken all. With \
--observe it ends when the message, or what a handler made of it, comes on that subject with its stamp.

", exit_codes!()))]
pub(crate) struct PublishArguments {
    /// Subject on which messages come back; it may have wildcards
    #[arg(long, value_name = "SUBJECT")]
    pub(crate) observe: Option<String>,
    /// Publishes to a sink of its own, in this process: shows what the generator can do
    #[arg(long, conflicts_with_all = ["embedded", "server", "observe", "user", "token", "nkey", "creds", "tls_ca", "tls_cert"])]
    pub(crate) sink: bool,
    /// The load.
    #[command(flatten)]
    pub(crate) load: LoadArguments,
}

/// Arguments of `request`.
#[derive(Debug, Args)]
#[command(after_help = exit_codes!())]
pub(crate) struct RequestArguments {
    /// What is looked at in replies: `stamp` expects the request's payload back, `nothing` takes any reply
    #[arg(long, value_name = "WHAT", default_value = "stamp")]
    pub(crate) check: CheckKey,
    /// The load.
    #[command(flatten)]
    pub(crate) load: LoadArguments,
}

/// Arguments of `stream`.
#[derive(Debug, Args)]
#[command(after_help = concat!("\
Without --observe, a message's latency ends with the stream's acknowledgement. With it, it ends when the message comes on that subject, \
such as a handler's output or a push consumer's deliveries, and that of the acknowledgements is reported beside it, with those that did not \
come in time (unacked) and those that came twice.

", exit_codes!()))]
pub(crate) struct StreamArguments {
    /// Subject on which messages come back; it may have wildcards
    #[arg(long, value_name = "SUBJECT")]
    pub(crate) observe: Option<String>,
    /// Messages of a connection that may wait for the stream's acknowledgement; at it, the connection waits
    #[arg(long, value_name = "MESSAGES", default_value_t = 4_096, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    pub(crate) acks_max: u64,
    /// The load.
    #[command(flatten)]
    pub(crate) load: LoadArguments,
}

/// Arguments of `sink`.
#[derive(Debug, Args)]
#[command(after_help = exit_codes!())]
pub(crate) struct SinkArguments {
    /// Where it listens
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:4333")]
    pub(crate) listen: SocketAddr,
}

/// What all loads have.
#[derive(Debug, Args)]
pub(crate) struct LoadArguments {
    /// Where messages go; with --subjects, `SUBJECT.0`, `SUBJECT.1` and so on
    #[arg(long, value_name = "SUBJECT", default_value = "loadgen")]
    pub(crate) subject: String,
    /// How many subjects there are
    #[arg(long, value_name = "SUBJECTS", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=100_000), help_heading = "Messages")]
    pub(crate) subjects: u32,
    /// The k-th subject is picked as often as 1/k^SKEW says; 0: all alike
    #[arg(
        long,
        value_name = "SKEW",
        default_value_t = 0.0,
        help_heading = "Messages"
    )]
    pub(crate) skew: f64,
    /// Bytes of payloads: 128, 64..1024, lognormal:MEDIAN,SIGMA,MAX, pareto:MIN,ALPHA,MAX, or 128=90,1KiB=9,64KiB=1
    #[arg(long, value_name = "SIZES", default_value = "128", value_parser = Sizes::parse, help_heading = "Messages")]
    pub(crate) size: Sizes,
    /// A file whose lines are the payloads, in turn; stamps are in a header then
    #[arg(
        long,
        value_name = "FILE",
        conflicts_with = "size",
        help_heading = "Messages"
    )]
    pub(crate) payloads: Option<PathBuf>,
    /// A header of every message, such as 'tenant: blue'; may be repeated
    #[arg(long = "header", value_name = "KEY: VALUE", help_heading = "Messages")]
    pub(crate) headers: Vec<String>,
    /// Where a message's stamp is [default: in the payload if all are of 24 bytes or more, else in a header]
    #[arg(long, value_name = "PLACE", help_heading = "Messages")]
    pub(crate) stamp: Option<StampKey>,
    /// Seed of sizes, subjects and times
    #[arg(
        long,
        value_name = "NUMBER",
        default_value_t = 1,
        help_heading = "Messages"
    )]
    pub(crate) seed: u64,
    /// How the load is paced.
    #[command(flatten)]
    pub(crate) pace: PaceArguments,
    /// Where it goes.
    #[command(flatten)]
    pub(crate) target: TargetArguments,
    /// What is made of it.
    #[command(flatten)]
    pub(crate) report: ReportArguments,
}

/// How the load is paced.
#[derive(Debug, Args)]
#[command(next_help_heading = "Pace")]
pub(crate) struct PaceArguments {
    /// Open loop: messages a second at times fixed in advance, from which latency counts [default: a closed loop]
    #[arg(long, value_name = "RATE", value_parser = parse_rate)]
    pub(crate) rate: Option<f64>,
    /// How the times of an open loop are spread
    #[arg(long, value_name = "HOW", default_value = "poisson")]
    pub(crate) arrivals: ArrivalsKey,
    /// Closed loop: so many messages under way in all, the next sent when one has come back
    #[arg(long, value_name = "MESSAGES", conflicts_with_all = ["rate", "sweep", "find_max"], value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    pub(crate) window: Option<u64>,
    /// Several open loops one after another: FROM..TO*FACTOR, FROM..TO+STEP, or rates with commas
    #[arg(long, value_name = "RATES", conflicts_with_all = ["rate", "find_max"], value_parser = Sweep::parse)]
    pub(crate) sweep: Option<Sweep>,
    /// Looks for the highest rate that meets --slo, from --rate on [default: from 1000]
    #[arg(long, requires = "slo")]
    pub(crate) find_max: bool,
    /// Highest rate that --find-max tries
    #[arg(long, value_name = "RATE", default_value = "10M", value_parser = parse_rate)]
    pub(crate) rate_max: f64,
    /// How close --find-max gets, as a share of the rate
    #[arg(long, value_name = "SHARE", default_value_t = 0.05)]
    pub(crate) precision: f64,
    /// Objective: p50=1ms, p99.9=20ms, max=1s, mean=2ms, lost=0.001 (a share; 0 unless given), several with commas
    #[arg(long, value_name = "OBJECTIVE", value_parser = Slo::parse)]
    pub(crate) slo: Option<Slo>,
    /// How long each load is measured
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = parse_some_time)]
    pub(crate) duration: Duration,
    /// How long it runs before that; these messages are counted, and their latency is not
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = parse_time)]
    pub(crate) warmup: Duration,
    /// How long a message may be under way before it is lost; the end waits so long for the last ones
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = parse_some_time)]
    pub(crate) settle: Duration,
    /// Messages under way in all, in an open loop; at it the load waits, late and counted as late
    #[arg(long, value_name = "MESSAGES", default_value_t = 262_144, value_parser = clap::value_parser!(u64).range(1..=1_048_576))]
    pub(crate) in_flight_max: u64,
}

/// Where the load goes.
#[derive(Debug, Args)]
#[command(next_help_heading = "Target")]
pub(crate) struct TargetArguments {
    /// The server: nats://HOST:PORT, or tls://; with USER:PASSWORD@ or TOKEN@ before the host. Of several, with commas, the first that can be used
    #[arg(long, value_name = "URLS", default_value = "nats://127.0.0.1:4222")]
    pub(crate) server: String,
    /// User of the server
    #[arg(long, value_name = "NAME", requires = "password")]
    pub(crate) user: Option<String>,
    /// The user's password, as env:NAME or file:PATH
    #[arg(long, value_name = "WHERE", requires = "user")]
    pub(crate) password: Option<String>,
    /// A token, as env:NAME or file:PATH
    #[arg(long, value_name = "WHERE", conflicts_with = "user")]
    pub(crate) token: Option<String>,
    /// A file with the seed of a user's nkey, by which a server's nonce is signed
    #[arg(long, value_name = "FILE", conflicts_with_all = ["user", "token"])]
    pub(crate) nkey: Option<PathBuf>,
    /// A credentials file: a user's JWT and its seed
    #[arg(long, value_name = "FILE", conflicts_with_all = ["user", "token", "nkey"])]
    pub(crate) creds: Option<PathBuf>,
    /// Root certificates, in PEM, that the server's must come from; TLS is asked for then [default: the system's]
    #[arg(long, value_name = "FILE")]
    pub(crate) tls_ca: Option<PathBuf>,
    /// A certificate, in PEM, to show to the server; TLS is asked for then
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    pub(crate) tls_cert: Option<PathBuf>,
    /// The certificate's key, in PEM
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    pub(crate) tls_key: Option<PathBuf>,
    /// Connections, each with a thread that sends and one that receives; in process, threads that publish
    #[arg(long, value_name = "CONNECTIONS", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=64))]
    pub(crate) connections: u16,
    /// Runs this component on the engine in this process, in place of a server; it may publish anywhere
    #[arg(long, value_name = "COMPONENT", conflicts_with_all = ["server", "user", "token", "nkey", "creds", "tls_ca", "tls_cert"])]
    pub(crate) embedded: Option<PathBuf>,
    /// Shards of that engine [default: one less than cores, since the load needs one]
    #[arg(long, value_name = "SHARDS", requires = "embedded")]
    pub(crate) shards: Option<usize>,
    /// Most messages a call of it [default: 64]
    #[arg(long, value_name = "MESSAGES", requires = "embedded")]
    pub(crate) batch_max: Option<usize>,
    /// Memory that it may need in all; more is refused [default: the machine's]
    #[arg(long, value_name = "SIZE", requires = "embedded", value_parser = parse_size)]
    pub(crate) memory_total: Option<u64>,
}

/// What is made of it.
#[derive(Debug, Args)]
#[command(next_help_heading = "Report")]
pub(crate) struct ReportArguments {
    /// Writes one JSON object instead of a table
    #[arg(long, conflicts_with = "csv")]
    pub(crate) json: bool,
    /// Writes one line a rate instead of a table
    #[arg(long)]
    pub(crate) csv: bool,
    /// Writes the latencies' percentiles to this file, as HdrHistogram plotters read them
    #[arg(long, value_name = "FILE")]
    pub(crate) hgrm: Option<PathBuf>,
    /// Writes a page with the curves to this file
    #[arg(long, value_name = "FILE")]
    pub(crate) html: Option<PathBuf>,
    /// The page's title
    #[arg(long, value_name = "TEXT")]
    pub(crate) title: Option<String>,
    /// What makes exit code 6, with commas
    #[arg(
        long,
        value_name = "WHAT",
        value_delimiter = ',',
        default_value = "lost,unacked,duplicated,corrupted,refused"
    )]
    pub(crate) fail_on: Vec<FailOn>,
}

/// How the times of an open loop are spread.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ArrivalsKey {
    /// As those of many independent senders.
    Poisson,
    /// All alike.
    Constant,
}

/// What is looked at in replies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum CheckKey {
    /// The request's payload has to come back.
    Stamp,
    /// Any reply will do.
    Nothing,
}

/// Where stamps are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum StampKey {
    /// The payload's first 24 bytes.
    Payload,
    /// The header `Loadgen`.
    Header,
}

/// What makes exit code 6.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum FailOn {
    /// Messages did not come back in time.
    Lost,
    /// Messages that no stream acknowledged in time, of those that are observed too.
    Unacked,
    /// Messages, or their acknowledgements, came more than once.
    Duplicated,
    /// Messages came after later ones.
    Reordered,
    /// Messages came damaged.
    Corrupted,
    /// Requests that nobody answers, messages that no stream stored.
    Refused,
    /// Nothing does.
    Nothing,
}
