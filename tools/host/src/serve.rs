//! `millpond run` on NATS: from the start to `ready`, to a signal, to the end.
//!
//! Signals are taken by signal-hook: the standard library has none of it, rustix installs no handlers, and tokio's would need its
//! runtime for two signals. A thread of its own waits for them, since waiting for one can't be given up.

use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::Duration;

use anyhow::Context as _;
use millpond::{DrainError, Engine};
use signal_hook::consts::signal::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::clock;
use crate::config::Plan;
use crate::exit::{Exit, Failed};

/// How often the program looks whether the engine has failed, or is drained, while it waits for a signal.
const LOOK: Duration = Duration::from_millis(100);
/// Signals that may wait to be taken; the second is the last that means anything.
const SIGNALS_MAX: usize = 2;

/// Runs handlers on servers until a signal comes.
pub(crate) fn serve(plan: Plan) -> anyhow::Result<Exit> {
    // From before the start on, so that a signal during it is not one that kills.
    let signals = signals()?;
    let Some(engine) = start(&plan, &signals)? else {
        return Ok(Exit::Ok);
    };
    eprintln!("ready");
    let signal = wait(&engine, &signals)?;
    tracing::info!(
        signal = name(signal),
        "finishing what is in flight; a second signal ends at once"
    );
    let ended = drain(&engine, &signals, plan.drain_wait_max);
    match ended {
        Ok(_) => engine.stop(),
        // To stop it would be to wait for calls that run: it ends with the process.
        Err(_) => std::mem::forget(engine),
    }
    ended
}

/// Starts the engine, unless a signal comes first.
fn start(plan: &Plan, signals: &Receiver<i32>) -> anyhow::Result<Option<Engine>> {
    let config = plan.engine.clone();
    let (started, ended) = sync_channel(1);
    let starting = move || {
        // Nobody waits only if a signal has ended the program.
        let _ = started.send(Engine::start(config));
    };
    spawn("millpond-start", starting)?;
    loop {
        match ended.recv_timeout(LOOK) {
            Ok(engine) => return Ok(Some(engine?)),
            Err(RecvTimeoutError::Disconnected) => anyhow::bail!("the start has panicked"),
            Err(RecvTimeoutError::Timeout) => {}
        }
        if signals.try_recv().is_ok() {
            return Ok(None);
        }
    }
}

/// Signals that ask the program to end, as they come.
fn signals() -> anyhow::Result<Receiver<i32>> {
    let mut signals = Signals::new([SIGTERM, SIGINT])
        .context("the system refused handlers of SIGTERM and SIGINT")?;
    let (came, taken): (SyncSender<i32>, _) = sync_channel(SIGNALS_MAX);
    spawn("millpond-signals", move || {
        for signal in signals.forever() {
            // What has no room is a third signal or a later one.
            let _ = came.try_send(signal);
        }
    })?;
    Ok(taken)
}

/// Starts a thread that is not waited for.
fn spawn(name: &str, body: impl FnOnce() + Send + 'static) -> anyhow::Result<()> {
    let started = std::thread::Builder::new().name(name.into()).spawn(body);
    started
        .map(drop)
        .with_context(|| format!("the system refused the thread {name}"))
}

/// Waits for a signal, as long as the engine is sound.
fn wait(engine: &Engine, signals: &Receiver<i32>) -> anyhow::Result<i32> {
    loop {
        match signals.recv_timeout(LOOK) {
            Ok(signal) => return Ok(signal),
            Err(RecvTimeoutError::Disconnected) => {
                anyhow::bail!("the thread of the signals has panicked")
            }
            Err(RecvTimeoutError::Timeout) => {}
        }
        if let Some(why) = engine.failure() {
            return Err(DrainError::Failed(why).into());
        }
    }
}

/// Finishes what is in flight, unless a signal or the time ends it.
fn drain(engine: &Engine, signals: &Receiver<i32>, within: Duration) -> anyhow::Result<Exit> {
    let began = clock::now();
    loop {
        let left = within.saturating_sub(clock::now() - began);
        let in_flight = match engine.drain(LOOK.min(left)) {
            Ok(()) => return Ok(Exit::Ok),
            Err(DrainError::Timeout { in_flight, .. }) => in_flight,
            Err(failed) => return Err(failed.into()),
        };
        let why = match signals.try_recv() {
            Ok(signal) => format!("a second signal ({}) came", name(signal)),
            Err(_) if left.is_zero() => format!("drain_wait_max ({within:?}) is over"),
            Err(_) => continue,
        };
        return Err(Failed::error(
            Exit::Cut,
            format!("{why} with {in_flight} messages in flight; of a stream they come again"),
        ));
    }
}

fn name(signal: i32) -> &'static str {
    match signal {
        SIGTERM => "SIGTERM",
        _ => "SIGINT",
    }
}
