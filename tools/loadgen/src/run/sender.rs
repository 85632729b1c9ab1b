//! The sender: one thread that puts messages into its outlet, each at its time or, if that has passed, at once.

use std::sync::Arc;
use std::time::Duration;

use hdrhistogram::Histogram;

use super::outlet::{Outgoing, Outlet};
use crate::clock::{self, Clock};
use crate::control::{Control, Wake};
use crate::core::ledger::Ledger;
use crate::core::random::Random;
use crate::core::recorder::{Recorder, Span, latencies};
use crate::core::schedule::Schedule;
use crate::core::series::Live;
use crate::core::stamp::Stamp;
use crate::plan::Messages;

/// A message is late that is handed to its socket later than this after its time. A millisecond: what a sleep may be late by, ten times.
pub(crate) const LATE_NS: u64 = 1_000_000;
/// By how much a sleep may be late, with the timer slack of the sender's thread: so much before a time, it begins to spin. Seen: 5 to
/// 15 µs on an idle core.
const SLEEP_SLACK_NS: u64 = 20_000;
/// How often what was sent is added to what is watched.
const SHARE_EVERY_NS: u64 = 50_000_000;

/// When a sender sends.
#[derive(Debug)]
pub(crate) enum Pacing {
    /// At these times.
    Open(Schedule),
    /// As soon as there is room in its ledgers.
    Closed,
}

/// One thread's share of a load.
pub(crate) struct Sender<'a, O> {
    /// Where its messages go.
    pub(crate) outlet: O,
    /// What they are.
    pub(crate) messages: &'a Messages,
    /// Which run, and which of its connections.
    pub(crate) stamp: Stamp,
    /// When they are sent.
    pub(crate) pacing: Pacing,
    /// What is measured; it sends until the end of it, and up to `grace_ns` longer what was due by then.
    pub(crate) span: Span,
    /// See there.
    pub(crate) grace_ns: u64,
    /// Where each message is noted that is to come back, and how many may be under way.
    pub(crate) ledgers: Vec<(Arc<Ledger>, u64)>,
    /// Where nothing comes back: records until when the outlet took each.
    pub(crate) recorder: Option<Recorder>,
    /// Wakes it where there is room again.
    pub(crate) wake: &'a Wake,
    /// What is watched.
    pub(crate) live: &'a Live,
    /// The run's.
    pub(crate) control: &'a Control,
    /// The run's.
    pub(crate) clock: Clock,
}

/// What one sender did.
#[derive(Debug)]
pub(crate) struct Sent {
    /// Messages sent.
    pub(crate) sent: u64,
    /// Those sent within the measured time.
    pub(crate) in_span: u64,
    /// Messages that were due and never sent.
    pub(crate) unsent: u64,
    /// Messages of an open loop that were due within the measured time and sent within it.
    pub(crate) in_time: u64,
    /// How late messages of the measured time were sent.
    pub(crate) late: Histogram<u64>,
    /// Those that were late by more than [`LATE_NS`].
    pub(crate) late_count: u64,
    /// Times that there was no room.
    pub(crate) waits: u64,
    /// What the thread had of a core.
    pub(crate) on_core: Duration,
    /// What was recorded, where nothing comes back.
    pub(crate) recorders: Vec<Recorder>,
}

impl<O: Outlet> Sender<'_, O> {
    /// Sends all; what goes wrong ends the run.
    pub(crate) fn run(mut self) -> Sent {
        self.wake.is_mine();
        clock::precise();
        let mut sent = Sent {
            sent: 0,
            in_span: 0,
            unsent: 0,
            in_time: 0,
            late: latencies(),
            late_count: 0,
            waits: 0,
            on_core: Duration::ZERO,
            recorders: Vec::new(),
        };
        let begun = clock::on_core();
        let mut unshared = (0, 0);
        let ended = self.send(&mut sent, &mut unshared);
        self.live.sent(unshared.1, unshared.0);
        if let Err(error) = ended.and_then(|()| self.outlet.finish()) {
            self.control.lose(error, self.clock.ns());
        }
        sent.on_core = clock::on_core().saturating_sub(begun);
        sent.recorders.extend(self.recorder.take());
        sent
    }

    /// Sends until the end; `unshared` is what was sent and is not watched yet. A function of its own in every build: tests count the
    /// instructions that it takes a message.
    #[inline(never)]
    fn send(&mut self, sent: &mut Sent, unshared: &mut (u64, u64)) -> anyhow::Result<()> {
        let mut random = Random::new(self.messages.seed, u64::from(self.stamp.connection) + 1);
        let mut unflushed = Vec::new();
        while !self.control.is_stopped() {
            let Some((due_ns, now_ns)) = self.next_due(sent, &mut unflushed)? else {
                break;
            };
            let subject = self.messages.subjects.pick(&mut random);
            let sequence = self.note(due_ns, now_ns, subject, sent.sent);
            let rest = self
                .messages
                .payloads
                .rest(self.messages.stamp, sequence, &mut random);
            let stamp = Stamp {
                sequence,
                ..self.stamp
            };
            self.outlet.put(&Outgoing {
                subject,
                stamp,
                due_ns,
                rest,
            })?;
            sent.count(
                self.span,
                due_ns,
                now_ns,
                matches!(self.pacing, Pacing::Open(_)),
            );
            self.share(now_ns, unshared);
            if self.recorder.is_some() {
                unflushed.push(due_ns);
            }
            if self.outlet.is_full() {
                self.flush(&mut unflushed)?;
            }
        }
        self.flush(&mut unflushed)
    }

    /// When the next message is due, and the time once it is and there is room; none at the end.
    fn next_due(
        &mut self,
        sent: &mut Sent,
        unflushed: &mut Vec<u64>,
    ) -> anyhow::Result<Option<(u64, u64)>> {
        let Pacing::Open(schedule) = &mut self.pacing else {
            let now_ns = self.room(sent, unflushed)?;
            return Ok(now_ns
                .filter(|now| *now < self.span.end_ns)
                .map(|now| (now, now)));
        };
        let due_ns = schedule.next_ns();
        if due_ns >= self.span.end_ns {
            return Ok(None);
        }
        self.wait_until(due_ns, unflushed)?;
        let now_ns = self.room(sent, unflushed)?;
        let last_ns = self.span.end_ns + self.grace_ns;
        match now_ns {
            // One that was stopped while it waited has not come to this message's time.
            Some(now) if now >= due_ns && now < last_ns => Ok(Some((due_ns, now))),
            // Out of time: what was due and is not sent is counted. One that was stopped sends no more by intent.
            _ => {
                if let (Pacing::Open(schedule), false) = (&self.pacing, self.control.is_stopped()) {
                    sent.unsent += schedule.left_until(due_ns, self.span.end_ns);
                }
                Ok(None)
            }
        }
    }

    /// Waits until a time; what is gathered leaves before.
    fn wait_until(&mut self, due_ns: u64, unflushed: &mut Vec<u64>) -> anyhow::Result<()> {
        let mut now_ns = self.clock.ns();
        if now_ns < due_ns && !self.outlet.is_empty() {
            self.flush(unflushed)?;
            now_ns = self.clock.ns();
        }
        while now_ns < due_ns && !self.control.is_stopped() {
            let ahead = due_ns - now_ns;
            if ahead > 2 * SLEEP_SLACK_NS {
                clock::rest(Duration::from_nanos(ahead - SLEEP_SLACK_NS));
            } else {
                std::thread::yield_now();
            }
            now_ns = self.clock.ns();
        }
        Ok(())
    }

    /// The time once there is room in every ledger; none if the run ends before, or the time of grace.
    fn room(&mut self, sent: &mut Sent, unflushed: &mut Vec<u64>) -> anyhow::Result<Option<u64>> {
        let last_ns = self.span.end_ns + self.grace_ns;
        loop {
            let is_full = || {
                self.ledgers
                    .iter()
                    .any(|(ledger, most)| ledger.in_flight() >= *most)
            };
            if !is_full() {
                return Ok(Some(self.clock.ns()));
            }
            if self.control.is_stopped() || self.clock.ns() >= last_ns {
                return Ok(None);
            }
            if self.outlet.is_empty() {
                sent.waits += 1;
                self.wake.wait_while(is_full);
            } else {
                self.flush(unflushed)?;
            }
        }
    }

    /// Notes a message in every ledger; its sequence.
    fn note(&self, due_ns: u64, now_ns: u64, subject: usize, sent: u64) -> u64 {
        for (ledger, _) in &self.ledgers {
            let sequence = ledger.send(due_ns, now_ns, subject as u32);
            debug_assert_eq!(sequence, sent, "all ledgers count alike");
        }
        sent
    }

    /// Hands over what is gathered, and records it where nothing comes back.
    fn flush(&mut self, unflushed: &mut Vec<u64>) -> anyhow::Result<()> {
        if self.outlet.is_empty() {
            return Ok(());
        }
        self.outlet.flush()?;
        if let Some(recorder) = &mut self.recorder {
            let now_ns = self.clock.ns();
            unflushed
                .drain(..)
                .for_each(|due_ns| recorder.record(now_ns, due_ns));
        }
        Ok(())
    }

    /// Adds what was sent to what is watched: messages, since when.
    fn share(&self, now_ns: u64, (count, since_ns): &mut (u64, u64)) {
        if now_ns >= *since_ns + SHARE_EVERY_NS {
            self.live.sent(*since_ns, std::mem::take(count));
            *since_ns = now_ns - now_ns % SHARE_EVERY_NS;
        }
        *count += 1;
    }
}

impl Sent {
    /// Both together.
    pub(crate) fn and(mut self, other: Self) -> Self {
        self.late
            .add(&other.late)
            .expect("all have the same bounds");
        self.recorders.extend(other.recorders);
        Self {
            sent: self.sent + other.sent,
            in_span: self.in_span + other.in_span,
            unsent: self.unsent + other.unsent,
            in_time: self.in_time + other.in_time,
            late_count: self.late_count + other.late_count,
            waits: self.waits + other.waits,
            on_core: self.on_core + other.on_core,
            ..self
        }
    }

    fn count(&mut self, span: Span, due_ns: u64, now_ns: u64, is_open: bool) {
        self.sent += 1;
        self.in_span += u64::from(span.has(now_ns));
        if is_open && span.has(due_ns) {
            let late_ns = now_ns - due_ns;
            self.late_count += u64::from(late_ns > LATE_NS);
            self.in_time += u64::from(span.has(now_ns));
            self.late.saturating_record(late_ns.max(1));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering::Relaxed;

    use super::*;
    use crate::core::payloads::{Payloads, StampPlace};
    use crate::core::sizes::Sizes;
    use crate::core::subjects::Subjects;

    /// Takes what it is handed `left` times, each as soon as it is put, and nothing more.
    struct Breaks {
        left: u64,
        holds: bool,
    }

    impl Outlet for Breaks {
        fn put(&mut self, _: &Outgoing<'_>) -> anyhow::Result<()> {
            self.holds = true;
            Ok(())
        }

        fn is_full(&self) -> bool {
            self.holds
        }

        fn is_empty(&self) -> bool {
            !self.holds
        }

        fn flush(&mut self) -> anyhow::Result<()> {
            self.holds = false;
            self.left = self
                .left
                .checked_sub(1)
                .ok_or_else(|| anyhow::anyhow!("it broke"))?;
            Ok(())
        }

        fn finish(&mut self) -> anyhow::Result<()> {
            self.flush()
        }
    }

    #[test]
    fn what_was_sent_until_a_connection_was_lost_is_in_the_series_too() {
        let span = Span {
            begin_ns: 0,
            end_ns: 86_400_000_000_000,
        };
        let live = Arc::new(Live::new(span.begin_ns, span.end_ns));
        let control = Control::new(Arc::clone(&live));
        let messages = Messages {
            subjects: Subjects::new("in", 1, 0.0),
            payloads: Payloads::drawn(Sizes::Fixed(64)),
            headers: Vec::new(),
            stamp: StampPlace::Payload,
            seed: 1,
        };
        let sender = Sender {
            outlet: Breaks {
                left: 52,
                holds: false,
            },
            messages: &messages,
            stamp: Stamp {
                run: 1,
                connection: 0,
                sequence: 0,
            },
            pacing: Pacing::Closed,
            span,
            grace_ns: 0,
            ledgers: Vec::new(),
            recorder: None,
            wake: &Wake::default(),
            live: &live,
            control: &control,
            clock: Clock::start(),
        };
        let sent = sender.run();
        assert_eq!((sent.sent, sent.in_span), (53, 53));
        assert_eq!(live.sent.load(Relaxed), 53);
        let end_ns = live.stopped_ns();
        let points = live.series.lock().points(end_ns);
        let [only] = &points[..] else {
            panic!("one interval is as long as that: {points:?}");
        };
        let in_series = only.sent_rate * end_ns as f64 / 1e9;
        assert!((in_series - 53.0).abs() < 1e-6, "{in_series}");
        assert!(control.has_failed() && control.connections_lost() == 1);
    }
}
