//! The recorder: latencies of one receiver, those of the warm-up left out.

use std::sync::Arc;

use hdrhistogram::Histogram;

use super::series::{Live, coarse};

/// Longest latency that is told from longer ones: an hour.
pub(crate) const LATENCY_NS_MAX: u64 = 3_600_000_000_000;
/// Digits that latencies have: off by 0.1 % at most.
const DIGITS: u8 = 3;
/// How often what was recorded is added to what is watched.
const SHARE_EVERY_NS: u64 = 50_000_000;

/// An empty histogram of latencies in nanoseconds.
pub(crate) fn latencies() -> Histogram<u64> {
    Histogram::new_with_bounds(1, LATENCY_NS_MAX, DIGITS).expect("the bounds are constants")
}

/// The time that is measured, from the run's start: what is to be sent in it counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Span {
    /// The end of the warm-up.
    pub(crate) begin_ns: u64,
    /// The end of the load.
    pub(crate) end_ns: u64,
}

impl Span {
    /// The same, ended at a time if that is sooner.
    pub(crate) fn until(self, at_ns: u64) -> Self {
        let end_ns = self.end_ns.min(at_ns).max(self.begin_ns);
        Self { end_ns, ..self }
    }

    /// How long it is.
    pub(crate) fn seconds(self) -> f64 {
        (self.end_ns - self.begin_ns) as f64 / 1e9
    }

    /// Whether a time is in it.
    pub(crate) fn has(self, at_ns: u64) -> bool {
        (self.begin_ns..self.end_ns).contains(&at_ns)
    }
}

/// Records latencies.
#[derive(Debug)]
pub(crate) struct Recorder {
    span: Span,
    latency: Histogram<u64>,
    /// Messages that came within the measured time.
    in_span: u64,
    recent: Histogram<u32>,
    /// Messages since the last time that they were shared, of which the warm-up's are not in `recent`.
    recent_count: u64,
    recent_ns: u64,
    live: Arc<Live>,
}

impl Recorder {
    /// Records the latencies of messages that are to be sent within `span`.
    pub(crate) fn new(span: Span, live: Arc<Live>) -> Self {
        Self {
            span,
            latency: latencies(),
            in_span: 0,
            recent: coarse(),
            recent_count: 0,
            recent_ns: 0,
            live,
        }
    }

    /// A message came that was to be sent then.
    pub(crate) fn record(&mut self, now_ns: u64, due_ns: u64) {
        let stopped_ns = self.live.stopped_ns();
        let is_stopped = now_ns >= stopped_ns;
        if now_ns >= self.recent_ns + SHARE_EVERY_NS || is_stopped && self.recent_ns < stopped_ns {
            self.share();
            let from_ns = now_ns - now_ns % SHARE_EVERY_NS;
            // What comes once the run is stopped is none of the interval's that it was stopped in.
            self.recent_ns = if is_stopped {
                from_ns.max(stopped_ns)
            } else {
                from_ns
            };
        }
        self.recent_count += 1;
        self.in_span += u64::from(self.span.has(now_ns) && !is_stopped);
        if self.span.has(due_ns) {
            let latency_ns = now_ns.saturating_sub(due_ns).max(1);
            self.latency.saturating_record(latency_ns);
            self.recent.saturating_record(latency_ns);
        }
    }

    /// Adds what was recorded to what is watched. Intervals are whole multiples of the time between two such additions. A function of its
    /// own in every build: what it takes is by time, not by message, and tests that count instructions leave it out.
    #[inline(never)]
    pub(crate) fn share(&mut self) {
        if self.recent_count > 0 {
            self.live
                .received(self.recent_ns, self.recent_count, &self.recent);
            self.recent.reset();
            self.recent_count = 0;
        }
    }

    /// All latencies, and how many messages came within the measured time.
    pub(crate) fn end(mut self) -> (Histogram<u64>, u64) {
        self.share();
        (self.latency, self.in_span)
    }
}
