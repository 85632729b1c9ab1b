//! The threads of an engine: one a shard, pinned and parked; and the ticker, by which deadlines are kept.
//!
//! Owns starting, parking and ending them. A shard that panics fails the engine, and no other part of the process.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering, fence};
use std::thread::JoinHandle;
use std::time::Duration;

use mio::{Events, Poll, Registry, Token, Waker};
use parking_lot::Mutex;
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

use crate::clock;
use crate::error::{Refusal, StartError};
use crate::port::Unpark;
use crate::seams::{Guest, Next, Transport};
use crate::shard::Shard;
use crate::time::Instant;

const RUNNING: u8 = 0;
const DRAINING: u8 = 1;
const STOPPING: u8 = 2;
const FAILED: u8 = 3;

/// Whether an engine runs, seen by its handles and its threads.
#[derive(Debug, Default)]
pub(crate) struct State {
    state: AtomicU8,
    failure: Mutex<Option<String>>,
}

impl State {
    /// Whether publishers may publish; the reason if not.
    pub(crate) fn open(&self) -> Result<(), Refusal> {
        match self.state.load(Ordering::SeqCst) {
            RUNNING => Ok(()),
            FAILED => Err(Refusal::Failed(self.failure().unwrap_or_default())),
            _ => Err(Refusal::Stopping),
        }
    }

    /// Ends publishing; what is in flight goes on.
    pub(crate) fn drain(&self) {
        let _ = self
            .state
            .compare_exchange(RUNNING, DRAINING, Ordering::SeqCst, Ordering::SeqCst);
    }

    /// Ends all threads after their turn.
    pub(crate) fn stop(&self) {
        let _ = self.state.fetch_max(STOPPING, Ordering::AcqRel);
    }

    /// Ends all threads since one has failed. The first reason stays.
    fn fail(&self, why: String) {
        self.failure.lock().get_or_insert(why);
        self.state.store(FAILED, Ordering::Release);
    }

    /// Whether threads are to end.
    pub(crate) fn ends(&self) -> bool {
        self.state.load(Ordering::Acquire) >= STOPPING
    }

    /// Why the engine has failed, if it has.
    pub(crate) fn failure(&self) -> Option<String> {
        self.failure.lock().clone()
    }
}

/// Wakes a parked shard: one load when it runs.
pub(crate) struct Unparker {
    parked: AtomicBool,
    waker: Waker,
}

impl Unpark for Unparker {
    fn unpark(&self) {
        // The message was put into a queue before; the shard says that it parks, then looks into the queues once more. The
        // fences order each side's write before its read, so one of them sees the other's.
        fence(Ordering::SeqCst);
        if self.parked.load(Ordering::Relaxed) && self.parked.swap(false, Ordering::AcqRel) {
            // It fails only if the poller is gone, and then nobody is parked.
            let _ = self.waker.wake();
        }
    }
}

/// A thread's place to rest: a poller, so that a later transport's sockets wake it too.
pub(crate) struct Parker {
    poll: Poll,
    events: Events,
    unparker: Arc<Unparker>,
    /// How long it looks for something to do before it rests.
    spin: Duration,
    /// Whether sockets may wake it: else there is nothing to ask the system for.
    has_sockets: bool,
}

impl Parker {
    /// A new one, which looks for so long before it rests; its waker is [`Parker::unparker`].
    pub(crate) fn new(spin: Duration) -> Result<Self, StartError> {
        let refused = |error: std::io::Error| StartError::System {
            what: "a poller",
            detail: error.to_string(),
        };
        let poll = Poll::new().map_err(refused)?;
        let waker = Waker::new(poll.registry(), Token(0)).map_err(refused)?;
        Ok(Self {
            poll,
            events: Events::with_capacity(16),
            unparker: Arc::new(Unparker {
                parked: AtomicBool::new(false),
                waker,
            }),
            spin,
            has_sockets: false,
        })
    }

    /// What wakes it.
    pub(crate) fn unparker(&self) -> Arc<Unparker> {
        Arc::clone(&self.unparker)
    }

    /// Where sockets that wake it are registered.
    pub(crate) fn registry(&mut self) -> Result<Registry, StartError> {
        self.has_sockets = true;
        let registry = self.poll.registry().try_clone();
        registry.map_err(|error| StartError::System {
            what: "a poller",
            detail: error.to_string(),
        })
    }

    /// Rests until woken or due, unless `stirred` says that something came meanwhile, or it comes while this still looks.
    fn park(&mut self, due: Option<Instant>, stirred: impl Fn(Instant) -> bool) {
        if !self.spin.is_zero() && self.spins(due, &stirred) {
            return;
        }
        self.unparker.parked.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        let now = clock::now();
        if !stirred(now) {
            let timeout = due.map(|due| due.saturating_duration_since(now));
            // An interrupted wait is a wake-up without a reason: the next turn finds nothing and parks again.
            let _ = self.poll.poll(&mut self.events, timeout);
        }
        self.unparker.parked.store(false, Ordering::Relaxed);
    }

    /// Looks for something to do as long as it may: whether there is any. Nobody wakes this thread meanwhile, nor need they.
    fn spins(&mut self, due: Option<Instant>, stirred: impl Fn(Instant) -> bool) -> bool {
        let begun = clock::now();
        let mut now = begun;
        while now.saturating_duration_since(begun) < self.spin {
            if stirred(now) || due.is_some_and(|due| due <= now) || self.has_event() {
                return true;
            }
            std::hint::spin_loop();
            now = clock::now();
        }
        false
    }

    /// Whether a socket has something: asked without a wait. One that can't be asked is looked at by the turn.
    fn has_event(&mut self) -> bool {
        self.has_sockets
            && (self
                .poll
                .poll(&mut self.events, Some(Duration::ZERO))
                .is_err()
                || !self.events.is_empty())
    }
}

/// Runs a shard on a thread of its own, with a stack of this size, until the engine ends.
pub(crate) fn spawn<G, T>(
    index: usize,
    pin: bool,
    stack_bytes: usize,
    parker: Parker,
    state: Arc<State>,
    ended: impl FnOnce() + Send + 'static,
    shard: impl FnOnce() -> Shard<G, T> + Send + 'static,
) -> Result<JoinHandle<()>, StartError>
where
    G: Guest,
    T: Transport,
{
    thread(format!("millpond-shard-{index}"), stack_bytes, move || {
        if pin {
            pin_to(index);
        }
        let run = AssertUnwindSafe(|| run(shard(), parker, &state));
        if let Err(panic) = catch_unwind(run) {
            let why = format!("shard {index} panicked: {}", panic_text(&*panic));
            tracing::error!("{why}");
            state.fail(why);
        }
        ended();
    })
}

/// The loop of a shard's thread.
fn run<G: Guest, T: Transport>(mut shard: Shard<G, T>, mut parker: Parker, state: &State) {
    while !state.ends() {
        match shard.turn(clock::now()) {
            Next::Again => {}
            Next::Rest(due) => {
                parker.park(due, |now| state.ends() || shard.stirred(now));
                shard.transport.woken();
            }
        }
    }
    tracing::debug!(waiting = shard.waiting(), "shard ended");
}

/// The ticker's thread. It outlives the shards, whose calls end by its ticks, and ends when this is dropped.
pub(crate) struct Ticker {
    ends: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Ticker {
    /// Runs `tick` about every `period` on a thread of its own.
    pub(crate) fn spawn(
        period: Duration,
        tick: impl Fn(Instant) + Send + 'static,
    ) -> Result<Self, StartError> {
        let ends = Arc::new(AtomicBool::new(false));
        let ended = Arc::clone(&ends);
        let thread = thread("millpond-ticker".into(), 256 << 10, move || {
            while !ended.load(Ordering::Relaxed) {
                std::thread::park_timeout(period);
                tick(clock::now());
            }
        })?;
        Ok(Self {
            ends,
            thread: Some(thread),
        })
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            // A tick that panics has been reported by the panic itself.
            let _ = thread.join();
        }
    }
}

fn thread(
    name: String,
    stack_bytes: usize,
    body: impl FnOnce() + Send + 'static,
) -> Result<JoinHandle<()>, StartError> {
    std::thread::Builder::new()
        .name(name)
        .stack_size(stack_bytes)
        .spawn(body)
        .map_err(|error| StartError::System {
            what: "a thread",
            detail: error.to_string(),
        })
}

/// Pins this thread to the `index`-th of the cores that it may run on. One that can't be pinned runs all the same.
fn pin_to(index: usize) {
    let pinned = sched_getaffinity(None).and_then(|allowed| {
        let cores: Vec<usize> = (0..CpuSet::MAX_CPU)
            .filter(|core| allowed.is_set(*core))
            .collect();
        let mut one = CpuSet::new();
        one.set(cores[index % cores.len().max(1)]);
        sched_setaffinity(None, &one)
    });
    if let Err(error) = pinned {
        tracing::warn!(shard = index, %error, "a shard's thread could not be pinned");
    }
}

fn panic_text(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("without a message")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::confirm::{Report, SendId, Sent};
    use crate::handler::Rules;
    use crate::letter::Wall;
    use crate::limits::HandlerLimits;
    use crate::message::{HandlerId, Message};
    use crate::metrics::ShardMetrics;
    use crate::outbox::GuestConfiguration;
    use crate::outcome::Outcome;
    use crate::seams::{Arrival, Call, Ended, Runnable, Started};
    use crate::slice::Way;

    #[test]
    fn a_failure_stays_and_names_the_first_reason() {
        let state = State::default();
        state.open().unwrap();
        state.drain();
        assert_eq!(state.open(), Err(Refusal::Stopping));
        assert!(!state.ends());
        state.fail("shard 1 panicked: x".into());
        state.fail("shard 0 panicked: y".into());
        state.stop();
        state.drain();
        assert_eq!(
            state.open(),
            Err(Refusal::Failed("shard 1 panicked: x".into()))
        );
        assert!(state.ends());
    }

    #[test]
    fn a_parked_thread_is_woken_and_what_came_before_is_not_missed() {
        let mut parker = Parker::new(Duration::ZERO).unwrap();
        let unparker = parker.unparker();
        parker.park(None, |_| true);
        let waker = std::thread::spawn(move || {
            while !unparker.parked.load(Ordering::Relaxed) {
                std::hint::spin_loop();
            }
            unparker.unpark();
        });
        parker.park(None, |_| false);
        waker.join().unwrap();
    }

    #[test]
    fn a_thread_that_looks_is_not_parked_and_sees_what_comes() {
        let mut parker = Parker::new(Duration::from_secs(3_600)).unwrap();
        let unparker = parker.unparker();
        let looks = std::cell::Cell::new(0);
        let third = |_| {
            assert!(!unparker.parked.load(Ordering::Relaxed), "it rests");
            looks.set(looks.get() + 1);
            looks.get() == 3
        };
        parker.park(None, third);
        assert_eq!(looks.get(), 3);
        // What is due ends it too.
        parker.park(Some(clock::now()), |_| false);
    }

    #[test]
    fn a_thread_that_looks_sees_its_sockets() {
        let mut parker = Parker::new(Duration::from_secs(3_600)).unwrap();
        let registry = parker.registry().unwrap();
        let (mut ours, theirs) = mio::net::UnixStream::pair().unwrap();
        let readable = mio::Interest::READABLE;
        registry.register(&mut ours, Token(1), readable).unwrap();
        let looks = std::cell::Cell::new(0);
        parker.park(None, |_| {
            looks.set(looks.get() + 1);
            if looks.get() == 2 {
                std::io::Write::write_all(&mut &theirs, b"x").unwrap();
            }
            false
        });
        assert_eq!(looks.get(), 2, "it was not seen at once");
    }

    #[test]
    fn a_thread_that_has_looked_long_enough_rests() {
        let mut parker = Parker::new(Duration::from_nanos(1)).unwrap();
        let unparker = parker.unparker();
        let waker = std::thread::spawn(move || {
            while !unparker.parked.load(Ordering::Relaxed) {
                std::hint::spin_loop();
            }
            unparker.unpark();
        });
        parker.park(None, |_| false);
        waker.join().unwrap();
    }

    /// Messages that never come, and a guest that panics as soon as it is asked for anything.
    struct Panicking;

    impl Transport for Panicking {
        fn receive(&mut self, _: Instant, _: usize, _: impl FnMut(Arrival)) {}
        fn changed(&mut self, _: &mut dyn FnMut(HandlerId, &HandlerLimits)) {}
        fn send(&mut self, _: HandlerId, _: Message, _: SendId, _: Instant) -> Sent {
            Sent::Done
        }
        fn send_letter(&mut self, _: HandlerId, _: Message, _: SendId, _: Instant) -> Sent {
            Sent::Done
        }
        fn report(&mut self, _: Instant) -> Option<Report> {
            None
        }
        fn update(&mut self, _: HandlerId, _: GuestConfiguration) {}
        fn settle(&mut self, _: HandlerId, _: Message, _: Outcome, _: Instant) {}
        fn flush(&mut self) {}
        fn shared_bytes(&self) -> u64 {
            0
        }
        fn is_quiet(&self) -> bool {
            true
        }
        fn due(&self) -> Option<Instant> {
            None
        }
    }

    impl Guest for Panicking {
        type Used = ();
        fn start(&mut self, call: Call, _: Instant) -> Started<()> {
            Started::NoSlot(call)
        }
        fn runnable(&self, _: Instant, _: &mut dyn FnMut(Runnable<'_>)) {
            panic!("on purpose");
        }
        fn resume(&mut self, _: HandlerId, _: Instant) -> Option<Ended<()>> {
            None
        }
        fn put_used(&mut self, _: ()) {}
        fn may_start(&self, _: HandlerId, _: Way) -> bool {
            true
        }
        fn tend(&mut self, _: bool) -> bool {
            false
        }
        fn set_limits(&mut self, _: HandlerId, _: &HandlerLimits) {}
        fn due(&self) -> Option<Instant> {
            None
        }
    }

    #[test]
    fn a_shard_that_panics_fails_its_engine_and_names_itself() {
        let state = Arc::new(State::default());
        let parker = Parker::new(Duration::ZERO).unwrap();
        let ended = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&ended);
        let metrics = Arc::new(ShardMetrics::new(0));
        let now = clock::now();
        let (wall, rules) = (
            Wall {
                at: now,
                unix: Duration::ZERO,
            },
            Rules::default(),
        );
        let shard = move || Shard::new(Panicking, Panicking, Vec::new(), rules, wall, metrics);
        let tell = move || told.store(true, Ordering::Release);
        let thread = spawn(7, false, 1 << 20, parker, Arc::clone(&state), tell, shard).unwrap();
        thread.join().expect("the panic ends with its thread");
        let why = "shard 7 panicked: on purpose";
        assert_eq!(state.open(), Err(Refusal::Failed(why.into())));
        assert!(state.ends() && ended.load(Ordering::Acquire));
    }
}
