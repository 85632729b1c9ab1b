//! Arguments as typed → a plan that is checked, once.

mod auth;
pub(crate) mod rates;
pub(crate) mod slo;
mod target;
mod url;

use std::path::Path;
use std::time::Duration;

use millpond::subject::{check_pattern, check_subject};

pub(crate) use auth::Auth;
pub(crate) use target::{Embedded, Servers, Target};
pub(crate) use url::Server;

use crate::args::{
    ArrivalsKey, CheckKey, FailOn, LoadArguments, PublishArguments, ReportArguments,
    RequestArguments, StampKey, StreamArguments,
};
use crate::core::payloads::{Payloads, StampPlace};
use crate::core::receiver::Check;
use crate::core::schedule::Arrivals;
use crate::core::stamp::{STAMP_BYTES, STAMP_HEADER};
use crate::core::subjects::{SUBJECTS_MAX, Subjects};
use crate::exit::Failed;
use slo::Slo;

/// Largest file of payloads. Default 1 GiB, since it is held in memory.
const PAYLOADS_BYTES_MAX: u64 = 1 << 30;
/// Bytes that all headers may have. Default 32 KiB: half of what the engine takes.
const HEADERS_BYTES_MAX: usize = 32 << 10;
/// Messages under way in a closed loop that says nothing else.
const WINDOW_DEFAULT: u64 = 64;
/// The rate that a search begins with unless another is given.
const SEARCH_FIRST: f64 = 1_000.0;
/// The lowest that it tries.
const SEARCH_LEAST: f64 = 1.0;

/// What is loaded, how, and what is made of it.
#[derive(Debug)]
pub(crate) struct Plan {
    /// How messages come back.
    pub(crate) mode: Mode,
    /// Where they go.
    pub(crate) target: Target,
    /// What they are.
    pub(crate) messages: Messages,
    /// When they are sent.
    pub(crate) pace: Pace,
    /// What is asked of them.
    pub(crate) slo: Option<Slo>,
    /// What makes the program fail.
    pub(crate) fail_on: Vec<FailOn>,
    /// Connections, or threads that publish.
    pub(crate) connections: u16,
}

/// How messages come back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Not at all, or on this subject.
    Publish(Option<String>),
    /// As replies.
    Request(Check),
    /// As acknowledgements of a stream, of which so many of a connection may be awaited; and maybe on a subject too.
    Stream(u64, Option<String>),
}

/// What messages are.
#[derive(Debug)]
pub(crate) struct Messages {
    /// Where they go.
    pub(crate) subjects: Subjects,
    /// What they carry.
    pub(crate) payloads: Payloads,
    /// Where their stamps are.
    pub(crate) stamp: StampPlace,
    /// Their headers, beside the stamp.
    pub(crate) headers: Vec<(String, String)>,
    /// Of all that is drawn.
    pub(crate) seed: u64,
}

/// When messages are sent.
#[derive(Debug)]
pub(crate) struct Pace {
    /// At which rates.
    pub(crate) rates: Rates,
    /// How their times are spread.
    pub(crate) arrivals: Arrivals,
    /// How long each load is measured.
    pub(crate) duration: Duration,
    /// How long it runs before.
    pub(crate) warmup: Duration,
    /// How long a message may be under way.
    pub(crate) settle: Duration,
    /// How many may be, in an open loop.
    pub(crate) in_flight_max: u64,
}

/// At which rates loads run.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Rates {
    /// As fast as messages come back: a closed loop of so many under way.
    Closed(u64),
    /// At each of these.
    Open(Vec<f64>),
    /// At those that a search tries.
    Search {
        /// It begins here.
        first: f64,
        /// It stays between these.
        bounds: (f64, f64),
        /// It ends when it is so close, as a share.
        precision: f64,
    },
}

impl Mode {
    /// Its name in reports.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Publish(_) => "publish",
            Self::Request(_) => "request",
            Self::Stream(..) => "stream",
        }
    }

    /// The subject on which messages come back.
    pub(crate) fn observe(&self) -> Option<&str> {
        match self {
            Self::Publish(observe) | Self::Stream(_, observe) => observe.as_deref(),
            Self::Request(_) => None,
        }
    }

    /// What a message's latency is. Only an open loop has a time at which a message was to be sent.
    pub(crate) fn latency(&self, is_open: bool) -> String {
        let from = match (is_open, self) {
            (true, _) => "the intended time",
            (false, Self::Publish(None)) => "when it was sent, into a buffer of the load's,",
            (false, _) => "when it was sent",
        };
        let until = match self {
            Self::Publish(None) => "the socket took it",
            Self::Publish(Some(_)) | Self::Stream(_, Some(_)) => "it was observed",
            Self::Request(_) => "its reply",
            Self::Stream(_, None) => "the stream acknowledged it",
        };
        format!("from {from} until {until}")
    }
}

impl Rates {
    /// Whether messages have a time at which they are to be sent.
    pub(crate) fn is_open(&self) -> bool {
        !matches!(self, Self::Closed(_))
    }
}

impl Plan {
    /// The plan of `publish`.
    ///
    /// # Errors
    /// Arguments that can't be used.
    pub(crate) fn publish(arguments: &PublishArguments) -> anyhow::Result<Self> {
        let mode = Mode::Publish(observed(arguments.observe.as_ref())?);
        Self::new(mode, &arguments.load, arguments.sink)
    }

    /// The plan of `request`.
    ///
    /// # Errors
    /// As above.
    pub(crate) fn request(arguments: &RequestArguments) -> anyhow::Result<Self> {
        let check = match arguments.check {
            CheckKey::Stamp => Check::Stamp,
            CheckKey::Nothing => Check::Nothing,
        };
        Self::new(Mode::Request(check), &arguments.load, false)
    }

    /// The plan of `stream`.
    ///
    /// # Errors
    /// As above.
    pub(crate) fn stream(arguments: &StreamArguments) -> anyhow::Result<Self> {
        if arguments.load.target.embedded.is_some() {
            return Err(Failed::usage(
                "the engine in process has no streams: leave --embedded out, or use `publish` or `request`",
            ));
        }
        let observe = observed(arguments.observe.as_ref())?;
        Self::new(
            Mode::Stream(arguments.acks_max, observe),
            &arguments.load,
            false,
        )
    }

    fn new(mode: Mode, load: &LoadArguments, sink: bool) -> anyhow::Result<Self> {
        let target = target::target(&load.target, sink)?;
        let messages = messages(load)?;
        let embedded = matches!(target, Target::Embedded(_));
        if embedded && mode == Mode::Publish(None) {
            return Err(Failed::usage(
                "in process, what is published has to come back: name the subject that the component sends to with --observe, or use `request`",
            ));
        }
        Ok(Self {
            pace: pace(load, &mode)?,
            mode,
            target,
            messages,
            slo: load.pace.slo.clone(),
            fail_on: fail_on(&load.report)?,
            connections: load.target.connections,
        })
    }
}

/// A subject that is observed.
fn observed(subject: Option<&String>) -> anyhow::Result<Option<String>> {
    if let Some(subject) = subject {
        check_pattern(subject)
            .map_err(|error| Failed::usage(format!("--observe {subject:?}: {error}")))?;
    }
    Ok(subject.cloned())
}

fn messages(load: &LoadArguments) -> anyhow::Result<Messages> {
    check_subject(&load.subject)
        .map_err(|error| Failed::usage(format!("--subject {:?}: {error}", load.subject)))?;
    if !(0.0..=10.0).contains(&load.skew) || load.subjects > SUBJECTS_MAX {
        return Err(Failed::usage(format!(
            "--skew {} is not from 0 to 10",
            load.skew
        )));
    }
    let payloads = match &load.payloads {
        Some(file) => Payloads::Given(lines(file)?),
        None => Payloads::drawn(load.size.clone()),
    };
    let stamp = match load.stamp {
        None => payloads.stamp_place(),
        Some(StampKey::Header) => StampPlace::Header,
        Some(StampKey::Payload)
            if load.payloads.is_none() && load.size.most() as usize >= STAMP_BYTES =>
        {
            StampPlace::Payload
        }
        Some(StampKey::Payload) => {
            return Err(Failed::usage(format!(
                "--stamp payload needs payloads of {STAMP_BYTES} bytes or more that are not from a file; use --stamp header"
            )));
        }
    };
    Ok(Messages {
        subjects: Subjects::new(&load.subject, load.subjects, load.skew),
        payloads,
        stamp,
        headers: headers(&load.headers)?,
        seed: load.seed,
    })
}

/// The payloads of a file: its lines, without their ends.
fn lines(file: &Path) -> anyhow::Result<Vec<Vec<u8>>> {
    let wrong = |why: String| Failed::usage(format!("--payloads {}: {why}", file.display()));
    let bytes = std::fs::metadata(file)
        .map_err(|error| wrong(format!("it can't be read: {error}")))?
        .len();
    if bytes > PAYLOADS_BYTES_MAX {
        return Err(wrong(format!(
            "it has {bytes} bytes, above the {PAYLOADS_BYTES_MAX} that may be held"
        )));
    }
    let text = std::fs::read(file).map_err(|error| wrong(format!("it can't be read: {error}")))?;
    let text = text.strip_suffix(b"\n").unwrap_or(&text);
    let lines: Vec<Vec<u8>> = text
        .split(|byte| *byte == b'\n')
        .map(|line| line.strip_suffix(b"\r").unwrap_or(line).to_vec())
        .collect();
    match text.is_empty() {
        true => Err(wrong("it is empty; each line is a payload".into())),
        false => Ok(lines),
    }
}

fn headers(typed: &[String]) -> anyhow::Result<Vec<(String, String)>> {
    let bytes: usize = typed.iter().map(|header| header.len() + 4).sum();
    if bytes > HEADERS_BYTES_MAX {
        return Err(Failed::usage(format!(
            "the headers have {bytes} bytes, above {HEADERS_BYTES_MAX}"
        )));
    }
    let header = |text: &String| {
        let (key, value) = text.split_once(':')?;
        let (key, value) = (key.trim(), value.trim());
        let good = !key.is_empty()
            && key.bytes().all(|b| b.is_ascii_graphic())
            && !value.bytes().any(|b| b < b' ');
        good.then(|| (key.to_owned(), value.to_owned()))
    };
    let read = |text: &String| match header(text) {
        None => Err(Failed::usage(format!(
            "--header {text:?} is none: write 'KEY: VALUE'"
        ))),
        // Where stamps are looked for in headers first, every message would have a damaged one.
        Some((key, _)) if key.eq_ignore_ascii_case(STAMP_HEADER) => Err(Failed::usage(format!(
            "--header {text:?}: loadgen writes this header itself, for its stamps; take another name"
        ))),
        Some(header) => Ok(header),
    };
    typed.iter().map(read).collect()
}

fn pace(load: &LoadArguments, mode: &Mode) -> anyhow::Result<Pace> {
    let pace = &load.pace;
    if !(0.001..=1.0).contains(&pace.precision) {
        return Err(Failed::usage(format!(
            "--precision {} is not from 0.001 to 1",
            pace.precision
        )));
    }
    let first = pace.rate.unwrap_or(SEARCH_FIRST);
    let rates = match (&pace.sweep, pace.find_max, pace.rate) {
        (Some(sweep), ..) => Rates::Open(sweep.0.clone()),
        (None, true, _) if first > pace.rate_max => {
            return Err(Failed::usage(format!(
                "--rate {first} is above --rate-max {}",
                pace.rate_max
            )));
        }
        (None, true, _) => Rates::Search {
            first,
            bounds: (SEARCH_LEAST.min(first), pace.rate_max),
            precision: pace.precision,
        },
        (None, false, Some(rate)) => Rates::Open(vec![rate]),
        (None, false, None) => Rates::Closed(window(load, mode)?),
    };
    Ok(Pace {
        rates,
        arrivals: match pace.arrivals {
            ArrivalsKey::Poisson => Arrivals::Poisson,
            ArrivalsKey::Constant => Arrivals::Constant,
        },
        duration: pace.duration,
        warmup: pace.warmup,
        settle: pace.settle,
        in_flight_max: pace.in_flight_max,
    })
}

/// Messages under way in a closed loop: at least one a connection.
fn window(load: &LoadArguments, mode: &Mode) -> anyhow::Result<u64> {
    let connections = u64::from(load.target.connections);
    match load.pace.window {
        Some(_) if *mode == Mode::Publish(None) => Err(Failed::usage(
            "--window needs messages that come back: name their subject with --observe, or leave it out",
        )),
        Some(window) if window < connections => Err(Failed::usage(format!(
            "--window {window} is less than one message for each of {connections} connections"
        ))),
        Some(window) => Ok(window),
        None => Ok(WINDOW_DEFAULT.max(connections)),
    }
}

fn fail_on(report: &ReportArguments) -> anyhow::Result<Vec<FailOn>> {
    match report.fail_on.as_slice() {
        [FailOn::Nothing] => Ok(Vec::new()),
        all if all.contains(&FailOn::Nothing) => {
            Err(Failed::usage("--fail-on nothing stands alone"))
        }
        all => Ok(all.to_vec()),
    }
}
