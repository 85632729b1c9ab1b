//! A load on a server: a sender and a receiver a connection.

use std::net::Shutdown;
use std::sync::Arc;
use std::thread::ScopedJoinHandle;
use std::time::Duration;

use super::outcome::Outcome;
use super::progress::Progress;
use super::signals::Signals;
use super::step::Step;
use crate::exit::{Failed, said};
use crate::nats::connection::{Connection, Info, connect};
use crate::nats::outlet::{Half, NatsOutlet};
use crate::nats::reader::{Finished, INBOX, Inbox, OBSERVED, Reader};
use crate::nats::wire::ReadHalf;
use crate::plan::{Mode, Servers};

/// How long a server may take nothing at least before the connection is given up on, however short `--settle` is.
const WRITE_WAIT: Duration = Duration::from_secs(10);

/// Runs a load on this server.
///
/// # Errors
/// It can't be begun. What goes wrong later is in the outcome.
pub(super) fn run(
    step: &mut Step<'_>,
    servers: &Servers,
    progress: &mut Progress,
    signals: &Signals,
) -> anyhow::Result<Outcome> {
    let mut at = 0;
    let connections: Vec<Connection> = (0..step.plan.connections)
        .map(|connection| connect_to(servers, &mut at, &subscriptions(step, connection)))
        .collect::<Result<_, _>>()?;
    if let Some(first) = connections.first() {
        fits(step, &first.info)?;
    }
    step.begin();
    let step = &*step;
    std::thread::scope(|scope| {
        let (mut senders, mut readers, mut streams) = (Vec::new(), Vec::new(), Vec::new());
        for (connection, index) in connections.into_iter().zip(0..) {
            let Connection {
                reads,
                writes,
                unread,
                ..
            } = connection;
            writes.set_timeout(WRITE_WAIT.max(step.plan.pace.settle))?;
            streams.push(reads.socket().try_clone()?);
            let half = Arc::new(Half::new(writes));
            let reader = reader(step, (reads, unread), index, Arc::clone(&half));
            readers.push(named(scope, "receive", move || reader.run())?);
            let outlet = NatsOutlet::new(half, &step.plan.messages, inbox(step, index));
            let sender = step.sender(index, outlet);
            senders.push(named(scope, "send", move || sender.run())?);
        }
        let pongs = senders.len() as u64;
        let cut = step.watch(
            progress,
            signals,
            || senders.iter().all(ScopedJoinHandle::is_finished),
            pongs,
        );
        let sent = senders
            .into_iter()
            .map(joined)
            .collect::<Result<Vec<_>, _>>()?;
        // Readers end by themselves; a server that sends without end would keep them.
        let finished = readers
            .into_iter()
            .map(joined)
            .collect::<Result<Vec<_>, _>>()?;
        for stream in streams {
            // One that is closed already needs no end.
            let _ = stream.shutdown(Shutdown::Both);
        }
        let mut outcome = put_together(step, sent, finished, cut);
        if outcome.error.is_none() && step.pongs.load(std::sync::atomic::Ordering::SeqCst) < pongs {
            let why = format!(
                "{} has not said within {:?} that it took all; raise --settle if it is only slow",
                servers.all[at], step.plan.pace.settle
            );
            outcome.error = Some(Failed::error(crate::exit::Exit::Unreachable, why));
        }
        Ok(outcome)
    })
}

/// Connects to the first server, from this one on, that can be used; it is where the next connection begins.
fn connect_to(
    servers: &Servers,
    at: &mut usize,
    subscriptions: &[(String, u64)],
) -> anyhow::Result<Connection> {
    loop {
        match connect(&servers.all[*at], &servers.tls, subscriptions) {
            Err(error) if *at + 1 < servers.all.len() => {
                eprintln!("{}; trying the next server", said(&error));
                *at += 1;
            }
            done => return done,
        }
    }
}

/// What one connection hears: its inbox if it asks, and the first one what is observed.
fn subscriptions(step: &Step<'_>, connection: u16) -> Vec<(String, u64)> {
    let inbox = inbox(step, connection).map(|begin| (format!("{begin}*"), INBOX));
    let observed = step.plan.mode.observe().filter(|_| connection == 0);
    inbox
        .into_iter()
        .chain(observed.map(|subject| (subject.to_owned(), OBSERVED)))
        .collect()
}

/// What reply subjects of a connection begin with.
fn inbox(step: &Step<'_>, connection: u16) -> Option<String> {
    let asks = !matches!(step.plan.mode, Mode::Publish(_));
    asks.then(|| format!("_INBOX.loadgen-{:08x}.{connection}.", step.run))
}

/// Whether the server takes the largest message.
fn fits(step: &Step<'_>, info: &Info) -> anyhow::Result<()> {
    let headers: usize = step
        .plan
        .messages
        .headers
        .iter()
        .map(|(key, value)| key.len() + value.len() + 4)
        .sum();
    let most = (step.plan.messages.payloads.most() + headers + 128) as u64;
    match info.max_payload > 0 && most > info.max_payload {
        true => Err(Failed::usage(format!(
            "messages may have {most} bytes with their headers, above the {} that the server takes (version {}); lower --size, or raise its max_payload",
            info.max_payload, info.version
        ))),
        false => Ok(()),
    }
}

fn reader(
    step: &Step<'_>,
    (reads, unread): (ReadHalf, Vec<u8>),
    index: u16,
    half: Arc<Half>,
) -> Reader {
    let inbox = match &step.plan.mode {
        Mode::Publish(_) => None,
        Mode::Request(_) => Some((Inbox::Replies, step.inbox(index))),
        Mode::Stream(..) => Some((Inbox::Acks, step.inbox(index))),
    };
    let observes = index == 0 && step.plan.mode.observe().is_some();
    Reader {
        reads,
        unread,
        half,
        inbox,
        observed: observes.then(|| step.observer()),
        pongs: Arc::clone(&step.pongs),
        wakes: Arc::clone(&step.wakes),
        control: Arc::clone(&step.control),
        clock: step.clock,
    }
}

fn put_together(
    step: &Step<'_>,
    sent: Vec<super::sender::Sent>,
    finished: Vec<Finished>,
    cut: bool,
) -> Outcome {
    let (mut received, mut acks, mut refusal) = (Vec::new(), Vec::new(), None);
    let observed_too = step.plan.mode.observe().is_some();
    for one in finished {
        received.extend(one.observed);
        match one.inbox {
            Some((Inbox::Acks, receiver)) if observed_too => acks.push(receiver),
            Some((_, receiver)) => received.push(receiver),
            None => {}
        }
        refusal = refusal.or(one.refusal);
    }
    step.outcome(sent, received, acks, refusal, cut)
}

/// Starts a thread of this name.
pub(super) fn named<'scope, T: Send + 'scope>(
    scope: &'scope std::thread::Scope<'scope, '_>,
    name: &str,
    run: impl FnOnce() -> T + Send + 'scope,
) -> std::io::Result<ScopedJoinHandle<'scope, T>> {
    std::thread::Builder::new()
        .name(name.into())
        .spawn_scoped(scope, run)
}

/// What a thread made.
pub(super) fn joined<T>(thread: ScopedJoinHandle<'_, T>) -> anyhow::Result<T> {
    thread
        .join()
        .map_err(|_| anyhow::anyhow!("a thread of the load has panicked"))
}
