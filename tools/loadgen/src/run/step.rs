//! One load at one rate: its threads are started, watched, waited for, and what they counted is put together.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::time::Duration;

use super::outcome::{Acks, Outcome};
use super::progress::Progress;
use super::sender::{Pacing, Sender, Sent};
use super::signals::Signals;
use crate::clock::{self, Clock};
use crate::control::{Control, Wake};
use crate::core::counts::Counts;
use crate::core::ledger::{Ledger, places_for};
use crate::core::random::Random;
use crate::core::receiver::{Check, Receiver};
use crate::core::recorder::{Recorder, Span, latencies};
use crate::core::schedule::Schedule;
use crate::core::series::Live;
use crate::core::stamp::Stamp;
use crate::plan::{Mode, Plan};

/// Between two looks at a run.
const LOOK: Duration = Duration::from_millis(20);
/// How long it must be quiet at the end, so that duplicates of the last messages are seen.
const QUIET: Duration = Duration::from_millis(100);
/// The share of the measured time that may be used to send what was due by its end, if that is longer than `settle`.
const GRACE: u32 = 10;

/// What a load needs while it runs.
pub(crate) struct Step<'a> {
    /// The plan.
    pub(crate) plan: &'a Plan,
    /// Messages a second; none in a closed loop.
    pub(crate) rate: Option<f64>,
    /// Which run it is, for stamps and reply subjects.
    pub(crate) run: u32,
    /// What is measured.
    pub(crate) span: Span,
    /// Messages that come back, one ledger a connection; none where nothing comes back.
    pub(crate) ledgers: Vec<Arc<Ledger>>,
    /// Messages that a stream has to acknowledge, where they are observed too.
    pub(crate) acks: Vec<Arc<Ledger>>,
    /// Messages that were neither observed nor acknowledged.
    lost_too: AtomicU64,
    /// What is watched.
    pub(crate) live: Arc<Live>,
    /// The senders that wait for room.
    pub(crate) wakes: Arc<[Wake]>,
    /// What the threads say to each other.
    pub(crate) control: Arc<Control>,
    /// When it began.
    pub(crate) clock: Clock,
    /// How many of our PINGs were answered.
    pub(crate) pongs: Arc<AtomicU64>,
}

impl<'a> Step<'a> {
    /// A load at this rate.
    pub(crate) fn new(plan: &'a Plan, rate: Option<f64>, run: u32) -> Self {
        let ns = |time: Duration| time.as_nanos() as u64;
        let begin_ns = ns(plan.pace.warmup);
        let span = Span {
            begin_ns,
            end_ns: begin_ns + ns(plan.pace.duration),
        };
        let connections = u64::from(plan.connections);
        let ledgers_of = |kinds: u64| {
            let in_flight = plan.pace.in_flight_max / connections;
            let places = places_for(
                connections * kinds,
                rate.unwrap_or(0.0),
                ns(plan.pace.settle),
                in_flight,
            );
            (0..connections)
                .map(|_| Arc::new(Ledger::new(places)))
                .collect::<Vec<_>>()
        };
        let (ledgers, acks) = match &plan.mode {
            Mode::Publish(None) => (Vec::new(), Vec::new()),
            Mode::Publish(Some(_)) | Mode::Request(_) | Mode::Stream(_, None) => {
                (ledgers_of(1), Vec::new())
            }
            Mode::Stream(_, Some(_)) => (ledgers_of(2), ledgers_of(2)),
        };
        let live = Arc::new(Live::new(span.begin_ns, span.end_ns));
        Self {
            plan,
            rate,
            run,
            span,
            ledgers,
            acks,
            lost_too: AtomicU64::new(0),
            control: Arc::new(Control::new(Arc::clone(&live))),
            live,
            wakes: (0..connections).map(|_| Wake::default()).collect(),
            clock: Clock::start(),
            pongs: Arc::default(),
        }
    }

    /// Starts its time: once it is connected, so that this takes nothing of it.
    pub(crate) fn begin(&mut self) {
        self.clock = Clock::start();
    }

    /// Who settles what comes to one connection's inbox: acknowledgements where messages are observed too, or else what comes back.
    pub(crate) fn inbox(&self, connection: u16) -> Receiver {
        let (check, ledgers, live) = match &self.plan.mode {
            Mode::Stream(_, Some(_)) => (
                Check::Nothing,
                &self.acks,
                Live::new(self.span.begin_ns, self.span.end_ns).into(),
            ),
            Mode::Request(check) => (*check, &self.ledgers, Arc::clone(&self.live)),
            _ => (Check::Nothing, &self.ledgers, Arc::clone(&self.live)),
        };
        let index = usize::from(connection);
        let ledger = Arc::clone(&ledgers[index]);
        let receiver = self.receiver(check, (connection, vec![ledger]), live);
        match self.acks.is_empty() {
            true => receiver,
            false => receiver.observed_in(Arc::clone(&self.ledgers[index])),
        }
    }

    /// Who settles what is observed, of all connections.
    pub(crate) fn observer(&self) -> Receiver {
        self.receiver(
            Check::Stamp,
            (0, self.ledgers.clone()),
            Arc::clone(&self.live),
        )
    }

    fn receiver(
        &self,
        check: Check,
        ledgers: (u16, Vec<Arc<Ledger>>),
        live: Arc<Live>,
    ) -> Receiver {
        let subjects = self.plan.messages.subjects.names().len();
        Receiver::new(
            self.run,
            check,
            ledgers,
            subjects,
            Recorder::new(self.span, live),
        )
    }

    /// The sender of one connection.
    pub(crate) fn sender<O>(&self, connection: u16, outlet: O) -> Sender<'_, O> {
        let plan = self.plan;
        let random = Random::new(plan.messages.seed, 1 << 32 | u64::from(connection));
        let pacing = match self.rate {
            None => Pacing::Closed,
            Some(rate) => Pacing::Open(Schedule::new(
                plan.pace.arrivals,
                rate,
                connection,
                plan.connections,
                random,
            )),
        };
        let fire_and_forget = self.ledgers.is_empty();
        Sender {
            outlet,
            messages: &plan.messages,
            stamp: Stamp {
                run: self.run,
                connection,
                sequence: 0,
            },
            pacing,
            span: self.span,
            grace_ns: (plan.pace.duration / GRACE)
                .max(plan.pace.settle)
                .as_nanos() as u64,
            ledgers: self.bounds(connection),
            recorder: fire_and_forget.then(|| Recorder::new(self.span, Arc::clone(&self.live))),
            wake: &self.wakes[usize::from(connection)],
            live: &self.live,
            control: &self.control,
            clock: self.clock,
        }
    }

    /// The ledgers of one connection, and how many of its messages may be under way in each.
    fn bounds(&self, connection: u16) -> Vec<(Arc<Ledger>, u64)> {
        let (connections, connection) = (u64::from(self.plan.connections), usize::from(connection));
        let share = |all: u64| {
            (all / connections + u64::from((connection as u64) < all % connections)).max(1)
        };
        let in_flight = match (self.rate, &self.plan.pace.rates) {
            (None, crate::plan::Rates::Closed(window)) => share(*window),
            _ => share(self.plan.pace.in_flight_max),
        };
        let acks_max = match &self.plan.mode {
            Mode::Stream(acks_max, _) => *acks_max,
            _ => u64::MAX,
        };
        let main = self.ledgers.get(connection).map(|ledger| {
            let most = if self.acks.is_empty() {
                in_flight.min(acks_max)
            } else {
                in_flight
            };
            (Arc::clone(ledger), most)
        });
        let acks = self
            .acks
            .get(connection)
            .map(|ledger| (Arc::clone(ledger), acks_max));
        main.into_iter().chain(acks).collect()
    }

    /// Watches the load until its senders are done, then waits for what is under way. Whether a signal ended it.
    pub(crate) fn watch(
        &self,
        progress: &mut Progress,
        signals: &Signals,
        senders_done: impl Fn() -> bool,
        pongs: u64,
    ) -> bool {
        let settle_ns = self.plan.pace.settle.as_nanos() as u64;
        let mut cut = false;
        let look = |progress: &mut Progress| {
            clock::rest(LOOK);
            let now_ns = self.clock.ns();
            self.expire(now_ns.saturating_sub(settle_ns));
            progress.show(self, now_ns);
        };
        while !senders_done() {
            look(progress);
            if signals.came() && !cut {
                cut = true;
                self.control.stop(self.clock.ns());
            }
        }
        let done_ns = self.clock.ns();
        let waits =
            || self.all().any(|ledger| ledger.in_flight() > 0) || self.pongs.load(SeqCst) < pongs;
        while waits() && !self.control.has_failed() && self.clock.ns() < done_ns + settle_ns {
            look(progress);
        }
        if !self.control.has_failed() && !self.ledgers.is_empty() {
            clock::rest(QUIET);
        }
        self.control.end();
        cut
    }

    /// What the senders and receivers of this load did, put together.
    pub(crate) fn outcome(
        &self,
        sent: Vec<Sent>,
        received: Vec<Receiver>,
        acks: Vec<Receiver>,
        refusal: Option<String>,
        cut: bool,
    ) -> Outcome {
        self.expire(u64::MAX);
        let mut counts = Counts::default();
        let mut latency = latencies();
        let mut in_span = 0;
        let mut sent = sent
            .into_iter()
            .reduce(Sent::and)
            .expect("there is a connection");
        let mut record = |recorder: Recorder| {
            let (found, found_in_span) = recorder.end();
            latency.add(&found).expect("all have the same bounds");
            in_span += found_in_span;
        };
        sent.recorders.drain(..).for_each(&mut record);
        for receiver in received {
            let (found, recorder) = receiver.end();
            counts.add(&found);
            record(recorder);
        }
        let acks = self.acknowledged(acks);
        if let Some(acks) = &acks {
            counts.refused += acks.counts.refused;
            counts.strange += acks.counts.strange;
        }
        let error = self.control.take_error();
        let measured = self.span.until(self.live.stopped_ns());
        if self.ledgers.is_empty() && error.is_none() {
            // The server has said that it took all.
            counts.received = sent.sent;
        }
        Outcome {
            rate: self.rate,
            sent,
            counts,
            lost: self.ledgers.iter().map(|ledger| ledger.lost()).sum(),
            in_span,
            latency,
            acks,
            points: self.live.series.lock().points(measured.end_ns),
            refusal,
            connections_lost: self.control.connections_lost(),
            span: self.span,
            measured,
            cut,
            error,
        }
    }

    /// What those that settled acknowledgements counted, put together; none where none are awaited beside the messages.
    fn acknowledged(&self, receivers: Vec<Receiver>) -> Option<Acks> {
        let mut acks = Acks {
            latency: latencies(),
            counts: Counts::default(),
            unacked: self.acks.iter().map(|ledger| ledger.lost()).sum(),
            lost_too: self.lost_too.load(SeqCst),
        };
        for receiver in receivers {
            let (found, recorder) = receiver.end();
            acks.counts.add(&found);
            let (latency, _) = recorder.end();
            let added = acks.latency.add(latency);
            added.expect("all have the same bounds");
        }
        (!self.acks.is_empty()).then_some(acks)
    }

    /// Gives up on what was sent before this time: on messages first, so that of each acknowledgement it is known whether its message is
    /// lost too.
    fn expire(&self, before_ns: u64) {
        for ledger in &self.ledgers {
            ledger.expire(before_ns, |_| {});
        }
        for (acks, messages) in self.acks.iter().zip(&self.ledgers) {
            acks.expire(before_ns, |sequence| {
                self.lost_too
                    .fetch_add(u64::from(messages.is_lost(sequence)), SeqCst);
            });
        }
    }

    /// Messages under way.
    pub(crate) fn in_flight(&self) -> u64 {
        self.ledgers.iter().map(|ledger| ledger.in_flight()).sum()
    }

    fn all(&self) -> impl Iterator<Item = &Arc<Ledger>> {
        self.ledgers.iter().chain(&self.acks)
    }
}
