//! `millpond run`: on NATS it is `serve`'s; here it is a shell pipe. Lines in are messages, what guests send are lines out.
//!
//! One thread reads lines and publishes them; one writes what comes out. The main thread waits for whichever ends first, so
//! that a reader of standard output that has gone ends the program though the input goes on.

mod escapes;
mod input;
mod lines;
mod output;
mod own;

use std::io::{self, BufReader, BufWriter};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, sync_channel};
use std::time::Duration;

use anyhow::{Context, bail};
use millpond::{DrainError, Engine, EngineConfig, Grants, HandlerStats, Overflow};

use self::input::{Input, Published};
use self::output::Output;
use self::own::Own;
use crate::args::RunArguments;
use crate::config;
use crate::exit::{Exit, Failed};
use crate::serve;
use crate::tap::{Drained, take_all};
use crate::units::count;

/// How long a drain goes on before this looks whether the output is still wanted.
const DRAIN_LOOK: Duration = Duration::from_millis(100);
/// Bytes that are read or written at once.
const BUFFER_BYTES: usize = 64 << 10;

/// What a thread has come to.
enum Ended {
    Input(anyhow::Result<Published>),
    Output(io::Result<()>),
}

/// Runs what a file or flags say, until it is over.
pub(crate) fn run(arguments: &RunArguments) -> anyhow::Result<Exit> {
    let flags = arguments.flags();
    let plan = match &arguments.config {
        Some(file) => config::of_file(file, &flags)?,
        None => config::of_components(&arguments.components, &flags)?,
    };
    for warning in &plan.warnings {
        tracing::warn!("{warning}");
    }
    match plan.engine.nats {
        Some(_) => serve::serve(plan),
        None => pipe(plan.engine, arguments.escaped),
    }
}

/// Runs components until the input has ended and all is settled.
fn pipe(config: EngineConfig, escaped: bool) -> anyhow::Result<Exit> {
    for handler in &config.handlers {
        let Grants {
            brokers,
            any_broker,
            ..
        } = &handler.grants;
        if *any_broker {
            tracing::info!(
                "guests may connect to a broker by any name: each is the in-process one"
            );
            break;
        }
        tracing::info!(
            ?brokers,
            "guests may connect to `default` and these: each is the in-process one"
        );
    }
    let engine = Engine::start(config)?;
    let (own, drained) = (Arc::new(Own::default()), Drained::default());
    let (ends, ended) = sync_channel(2);
    write_output(&engine, &own, &drained, escaped, ends.clone())?;
    read_input(&engine, &own, escaped, ends)?;
    let published = match ended.recv().context("the threads are alive")? {
        Ended::Input(published) => published?,
        Ended::Output(written) => return Err(stopped(written)),
    };
    drain(&engine, &ended)?;
    drained.set();
    match ended.recv().context("the output's thread is alive")? {
        Ended::Output(Ok(())) => {}
        Ended::Output(written) => return Err(stopped(written)),
        Ended::Input(_) => bail!("the input ended twice"),
    }
    engine.stop();
    judge(&published, &engine.stats().handlers)
}

/// Starts the thread that writes what guests send.
fn write_output(
    engine: &Engine,
    own: &Arc<Own>,
    drained: &Drained,
    escaped: bool,
    ends: SyncSender<Ended>,
) -> anyhow::Result<()> {
    let tap = engine.subscribe(">", Overflow::Wait)?;
    let (own, drained) = (Arc::clone(own), drained.clone());
    spawn("millpond-output", move || {
        let out = BufWriter::with_capacity(BUFFER_BYTES, io::stdout().lock());
        let written = take_all(&tap, &drained, &mut Output::new(out, own, escaped));
        // From here on nobody has to wait for room in the subscription.
        drop(tap);
        let _ = ends.send(Ended::Output(written));
    })
}

/// Starts the thread that publishes what is read.
fn read_input(
    engine: &Engine,
    own: &Arc<Own>,
    escaped: bool,
    ends: SyncSender<Ended>,
) -> anyhow::Result<()> {
    let (engine, own) = (engine.clone(), Arc::clone(own));
    spawn("millpond-input", move || {
        let stdin = BufReader::with_capacity(BUFFER_BYTES, io::stdin().lock());
        let published = Input::new(&engine, &own, escaped).publish_all(stdin);
        drop(engine);
        let _ = ends.send(Ended::Input(published));
    })
}

/// Starts a thread that is not waited for: it says itself when it has ended.
fn spawn(name: &str, body: impl FnOnce() + Send + 'static) -> anyhow::Result<()> {
    let started = std::thread::Builder::new().name(name.into()).spawn(body);
    started
        .map(drop)
        .with_context(|| format!("the system refused the thread {name}"))
}

/// Waits until everything is settled, as long as the output is written.
fn drain(engine: &Engine, ended: &Receiver<Ended>) -> anyhow::Result<()> {
    loop {
        match engine.drain(DRAIN_LOOK) {
            Ok(()) => return Ok(()),
            Err(DrainError::Timeout { .. }) => {}
            Err(failed) => return Err(failed.into()),
        }
        match ended.try_recv() {
            Ok(Ended::Output(written)) => return Err(stopped(written)),
            Ok(Ended::Input(_)) | Err(TryRecvError::Empty) => {}
            Err(TryRecvError::Disconnected) => bail!("the output's thread has panicked"),
        }
    }
}

/// The error that the output ended with; it has no other reason to end before the engine is drained.
fn stopped(written: io::Result<()>) -> anyhow::Error {
    match written {
        Err(error) => Failed::output(&error),
        Ok(()) => anyhow::anyhow!("the output ended before the engine was drained"),
    }
}

/// Reports what did not go well, and gives the exit code.
fn judge(published: &Published, handlers: &[HandlerStats]) -> anyhow::Result<Exit> {
    let mut given_up = Vec::new();
    for handler in handlers.iter().filter(|h| h.terminated_total() > 0) {
        let kinds: Vec<_> = handler
            .terminated
            .iter()
            .filter(|(_, number)| *number > 0)
            .map(|(kind, number)| format!("{} by {kind}", count(*number)))
            .collect();
        given_up.push(format!("{:?}: {}", handler.name, kinds.join(", ")));
    }
    if published.malformed > 0 {
        eprintln!(
            "{} of {} lines could not be used",
            count(published.malformed),
            count(published.lines)
        );
    }
    if !given_up.is_empty() {
        let why = format!(
            "messages were given up on, of handler {}",
            given_up.join("; of handler ")
        );
        return Err(Failed::error(Exit::Messages, why));
    }
    Ok(match published.malformed {
        0 => Exit::Ok,
        _ => Exit::Usage,
    })
}
