//! Rates and latencies over time, in intervals of one length, chosen so that there are never more than [`INTERVALS_MAX`].

use std::sync::atomic::{
    AtomicU64,
    Ordering::{Relaxed, SeqCst},
};

use hdrhistogram::Histogram;
use parking_lot::Mutex;
use serde::Serialize;

use super::recorder::LATENCY_NS_MAX;

/// Most intervals: what a page has room for. Each has a histogram of 37 KB while the run lasts.
pub(crate) const INTERVALS_MAX: u64 = 600;
/// Lengths of intervals, in milliseconds; the first that makes few enough is taken.
const LENGTHS_MS: [u64; 9] = [100, 200, 500, 1_000, 2_000, 5_000, 10_000, 60_000, 600_000];

/// A time that never comes.
pub(crate) const NEVER_NS: u64 = u64::MAX;

/// A histogram with two digits, for intervals: 3 % wide at worst.
pub(crate) fn coarse() -> Histogram<u32> {
    Histogram::new_with_bounds(1, LATENCY_NS_MAX, 2).expect("the bounds are constants")
}

/// What happened in each interval of the measured time.
#[derive(Debug)]
pub(crate) struct Series {
    begin_ns: u64,
    length_ns: u64,
    intervals: Vec<Interval>,
}

#[derive(Debug, Default)]
struct Interval {
    sent: u64,
    received: u64,
    latency: Option<Histogram<u32>>,
}

/// An interval, as reports show it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Point {
    /// Where it begins, from the start of the measured time.
    pub(crate) at_s: f64,
    /// Messages sent a second.
    pub(crate) sent_rate: f64,
    /// Messages that came back a second.
    pub(crate) received_rate: f64,
    /// Of the messages that came back then; none where none did.
    pub(crate) p50_ns: Option<u64>,
    /// The same.
    pub(crate) p99_ns: Option<u64>,
    /// The same.
    pub(crate) max_ns: Option<u64>,
}

impl Series {
    /// Of a measured time.
    pub(crate) fn new(begin_ns: u64, end_ns: u64) -> Self {
        let whole_ms = (end_ns - begin_ns) / 1_000_000;
        let fits = |ms: &&u64| whole_ms.div_ceil(**ms) <= INTERVALS_MAX;
        let length = LENGTHS_MS.iter().find(fits).or(LENGTHS_MS.last());
        let length_ns = length.map_or(1, |ms| ms * 1_000_000);
        let count = (end_ns - begin_ns).div_ceil(length_ns).max(1);
        Self {
            begin_ns,
            length_ns,
            intervals: (0..count).map(|_| Interval::default()).collect(),
        }
    }

    /// Which interval a time is in: none before the measured time; what is after it is in none either.
    pub(crate) fn index(&self, now_ns: u64) -> Option<usize> {
        let index = now_ns.checked_sub(self.begin_ns)? / self.length_ns;
        (index < self.intervals.len() as u64).then_some(index as usize)
    }

    /// Adds messages sent then.
    pub(crate) fn add_sent(&mut self, now_ns: u64, count: u64) {
        if let Some(index) = self.index(now_ns) {
            self.intervals[index].sent += count;
        }
    }

    /// Adds messages that came then.
    pub(crate) fn add_received(&mut self, now_ns: u64, count: u64, latency: &Histogram<u32>) {
        let Some(index) = self.index(now_ns) else {
            return;
        };
        let interval = &mut self.intervals[index];
        interval.received += count;
        let all = interval.latency.get_or_insert_with(coarse);
        all.add(latency).expect("all have the same bounds");
    }

    /// The intervals until then. The last may be shorter than the others.
    pub(crate) fn points(&self, end_ns: u64) -> Vec<Point> {
        let whole_ns = end_ns.saturating_sub(self.begin_ns);
        let count = whole_ns.div_ceil(self.length_ns) as usize;
        let point = |(index, interval): (usize, &Interval)| {
            let at_ns = index as u64 * self.length_ns;
            let length_ns = self.length_ns.min(whole_ns - at_ns);
            let a_second = |count: u64| count as f64 * 1e9 / length_ns as f64;
            let latency = interval.latency.as_ref().filter(|all| !all.is_empty());
            let at = |q| latency.map(|all| all.value_at_quantile(q));
            Point {
                at_s: at_ns as f64 / 1e9,
                sent_rate: a_second(interval.sent),
                received_rate: a_second(interval.received),
                p50_ns: at(0.5),
                p99_ns: at(0.99),
                max_ns: at(1.0),
            }
        };
        let intervals = self.intervals.iter().take(count);
        intervals.enumerate().map(point).collect()
    }
}

/// What senders and receivers share with who watches a run: added to a few times a second.
#[derive(Debug)]
pub(crate) struct Live {
    /// Over time.
    pub(crate) series: Mutex<Series>,
    /// Latencies since the last look.
    pub(crate) recent: Mutex<Histogram<u32>>,
    /// Messages sent so far.
    pub(crate) sent: AtomicU64,
    /// Messages that came back so far.
    pub(crate) received: AtomicU64,
    /// When the run was ended before its time.
    stopped_ns: AtomicU64,
}

impl Live {
    /// For a run that measures this time.
    pub(crate) fn new(begin_ns: u64, end_ns: u64) -> Self {
        Self {
            series: Mutex::new(Series::new(begin_ns, end_ns)),
            recent: Mutex::new(coarse()),
            sent: AtomicU64::new(0),
            received: AtomicU64::new(0),
            stopped_ns: AtomicU64::new(NEVER_NS),
        }
    }

    /// Ends the run before its time, if it has not ended sooner.
    pub(crate) fn stop(&self, now_ns: u64) {
        self.stopped_ns.fetch_min(now_ns, SeqCst);
    }

    /// When that was; [`NEVER_NS`] where it was not.
    pub(crate) fn stopped_ns(&self) -> u64 {
        self.stopped_ns.load(Relaxed)
    }

    /// Adds messages sent then.
    pub(crate) fn sent(&self, now_ns: u64, count: u64) {
        self.sent.fetch_add(count, Relaxed);
        self.series.lock().add_sent(now_ns, count);
    }

    /// Adds messages that came then.
    pub(crate) fn received(&self, now_ns: u64, count: u64, latency: &Histogram<u32>) {
        self.received.fetch_add(count, Relaxed);
        if now_ns < self.stopped_ns() {
            self.series.lock().add_received(now_ns, count, latency);
        }
        self.recent
            .lock()
            .add(latency)
            .expect("all have the same bounds");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn there_are_never_too_many_intervals() {
        for (seconds, length_ms, count) in [
            (1, 100, 10),
            (60, 100, 600),
            (61, 200, 305),
            (3_600, 10_000, 360),
            (86_400, 600_000, 144),
        ] {
            let series = Series::new(SECOND, (1 + seconds) * SECOND);
            assert_eq!(
                (series.length_ns, series.intervals.len()),
                (length_ms * 1_000_000, count),
                "{seconds}"
            );
        }
    }

    #[test]
    fn a_run_that_is_stopped_has_no_intervals_behind_that() {
        let live = Live::new(SECOND, 11 * SECOND);
        live.stop(2 * SECOND + 50_000_000);
        live.stop(3 * SECOND);
        let stopped_ns = live.stopped_ns();
        let mut latency = coarse();
        latency.record(5_000).expect("it is within the bounds");
        for now in [2 * SECOND, stopped_ns, stopped_ns + 1] {
            live.received(now, 1, &latency);
        }
        let points = live.series.lock().points(stopped_ns);
        assert_eq!(points.len(), 11);
        // The last interval has half the length of the others.
        assert_eq!((points[10].at_s, points[10].received_rate), (1.0, 20.0));
        for nothing in [0, SECOND] {
            assert_eq!(live.series.lock().points(nothing), []);
        }
    }

    #[test]
    fn what_happens_is_in_its_interval_and_nothing_outside_the_measured_time() {
        let live = Live::new(SECOND, 2 * SECOND);
        let mut latency = coarse();
        latency.record(5_000).unwrap();
        for now in [0, SECOND - 1, SECOND, SECOND + 150_000_000, 2 * SECOND] {
            live.sent(now, 2);
            live.received(now, 1, &latency);
        }
        let points = live.series.lock().points(2 * SECOND);
        let rates: Vec<_> = points
            .iter()
            .map(|p| (p.sent_rate, p.received_rate))
            .collect();
        assert_eq!(rates[..3], [(20.0, 10.0), (20.0, 10.0), (0.0, 0.0)]);
        assert!(
            points[0]
                .p50_ns
                .is_some_and(|ns| (4_950..=5_050).contains(&ns))
        );
        assert_eq!(points[2].p50_ns, None);
        assert_eq!(
            (live.sent.load(Relaxed), live.received.load(Relaxed)),
            (10, 5)
        );
        assert_eq!(live.recent.lock().len(), 5);
    }
}
