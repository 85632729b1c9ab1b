//! The core in virtual time: a schedule, a service with known delays, and what is recorded of it, to the last message.

use std::sync::Arc;

use hdrhistogram::Histogram;

use super::counts::Counts;
use super::ledger::Ledger;
use super::random::Random;
use super::receiver::{Check, Receiver};
use super::recorder::{Recorder, Span};
use super::schedule::{Arrivals, Schedule};
use super::series::Live;
use super::stamp::{Found, Stamp};

const MS: u64 = 1_000_000;
const RUN: u32 = 77;

/// A load of one connection whose arrivals are handed over at times that the test says.
struct World {
    ledger: Arc<Ledger>,
    receiver: Receiver,
    live: Arc<Live>,
}

impl World {
    fn new(span: Span) -> Self {
        let ledger = Arc::new(Ledger::new(1 << 16));
        let live = Arc::new(Live::new(span.begin_ns, span.end_ns));
        let recorder = Recorder::new(span, Arc::clone(&live));
        let ledgers = (0, vec![Arc::clone(&ledger)]);
        let receiver = Receiver::new(RUN, Check::Stamp, ledgers, 1, recorder);
        Self {
            ledger,
            receiver,
            live,
        }
    }

    fn arrive(&mut self, now_ns: u64, sequence: u64) {
        let stamp = Stamp {
            run: RUN,
            connection: 0,
            sequence,
        };
        self.receiver.observe(now_ns, Found::Stamp(stamp, true), 0);
    }

    fn end(self) -> (Counts, Histogram<u64>, u64, u64) {
        let (counts, recorder) = self.receiver.end();
        let (latency, in_span) = recorder.end();
        (counts, latency, in_span, self.ledger.lost())
    }
}

/// All messages of a constant load through a service that takes `delay_ns` of each, one after another if it is `single`.
fn served(rate: f64, span: Span, single: bool, mut delay_ns: impl FnMut(u64, u64) -> u64) -> World {
    let mut world = World::new(span);
    let mut schedule = Schedule::new(Arrivals::Constant, rate, 0, 1, Random::new(0, 0));
    let mut arrivals = Vec::new();
    let mut free_ns = 0;
    loop {
        let due_ns = schedule.next_ns();
        if due_ns >= span.end_ns {
            break;
        }
        let sequence = world.ledger.send(due_ns, due_ns, 0);
        let begun_ns = if single { due_ns.max(free_ns) } else { due_ns };
        free_ns = begun_ns + delay_ns(sequence, begun_ns);
        arrivals.push((free_ns, sequence));
    }
    arrivals.sort_unstable();
    arrivals
        .into_iter()
        .for_each(|(now, sequence)| world.arrive(now, sequence));
    world
}

#[track_caller]
fn is(latency: &Histogram<u64>, quantile: f64, expected_ns: u64) {
    let found = latency.value_at_quantile(quantile);
    assert!(
        latency.equivalent(found, expected_ns),
        "p{quantile} is {found}, not {expected_ns}"
    );
}

#[test]
fn known_delays_give_known_percentiles() {
    // Of a hundred: ninety take 1 ms, nine 10 ms, one 250 ms.
    let delay = |n: u64, _| match n % 100 {
        99 => 250 * MS,
        90.. => 10 * MS,
        _ => MS,
    };
    let span = Span {
        begin_ns: 0,
        end_ns: 10_000 * MS,
    };
    let (counts, latency, _, lost) = served(1_000.0, span, false, delay).end();
    assert_eq!((counts.received, latency.len(), lost), (10_000, 10_000, 0));
    is(&latency, 0.5, MS);
    is(&latency, 0.9, MS);
    is(&latency, 0.901, 10 * MS);
    is(&latency, 0.99, 10 * MS);
    is(&latency, 0.9901, 250 * MS);
    is(&latency, 1.0, 250 * MS);
    // Of each hundred, the last and seven of those of 10 ms are overtaken by the next hundred's first, 11 ms later at 1 ms each; the last
    // hundred has no next.
    assert_eq!(counts.reordered, 99 * 8);
}

#[test]
fn a_stall_is_in_the_tail_of_an_open_loop() {
    // A service of 10 µs a message stands still for a second in the middle of ten. Every message that was to be sent meanwhile waits:
    // a tenth of all, for half a second in the mean. A closed loop would have sent one.
    let span = Span {
        begin_ns: 0,
        end_ns: 10_000 * MS,
    };
    let mut stalled = false;
    let delay = |_, begun_ns| match !stalled && begun_ns >= 5_000 * MS {
        true => {
            stalled = true;
            1_000 * MS
        }
        false => MS / 100,
    };
    let world = served(1_000.0, span, true, delay);
    let points = world.live.series.lock().points(span.end_ns);
    let (counts, latency, in_span, _) = world.end();
    assert_eq!(
        (counts.received, counts.reordered, in_span),
        (10_000, 0, 10_000)
    );
    is(&latency, 0.5, MS / 100);
    is(&latency, 0.898, MS / 100);
    // The k-th of those that waited did so for 1,000 - k ms, and then 10 µs for each before it.
    is(&latency, 1.0, 1_000 * MS);
    is(&latency, 0.95, 505 * MS);
    let quiet = points
        .iter()
        .filter(|point| point.received_rate == 0.0)
        .count();
    assert!(
        (9..=10).contains(&quiet),
        "{quiet} intervals of 100 ms had nothing"
    );
}

#[test]
fn the_warm_up_is_in_the_counts_and_not_in_the_latencies() {
    let span = Span {
        begin_ns: 1_000 * MS,
        end_ns: 2_000 * MS,
    };
    let delay = |_, begun_ns| if begun_ns < 1_000 * MS { 100 * MS } else { MS };
    let world = served(1_000.0, span, false, delay);
    let (counts, latency, in_span, _) = world.end();
    assert_eq!((counts.received, latency.len()), (2_000, 1_000));
    is(&latency, 1.0, MS);
    // The last hundred of the warm-up come within the measured time, and its own last one after it.
    assert_eq!(in_span, 1_000 + 100 - 1);
}

#[test]
fn losses_duplicates_reordering_and_damage_are_each_counted_once() {
    let mut world = World::new(Span {
        begin_ns: 0,
        end_ns: 1_000 * MS,
    });
    (0..10).for_each(|n| assert_eq!(world.ledger.send(n * MS, n * MS, 0), n));
    let stamp = |sequence| Stamp {
        run: RUN,
        connection: 0,
        sequence,
    };
    // 0 lost; 1 comes twice; 3 before 2; 4 damaged; 5's stamp damaged; 6 of another run; 7 late; the rest as they should.
    for n in [1, 1, 3, 2] {
        world.arrive(20 * MS, n);
    }
    world
        .receiver
        .observe(21 * MS, Found::Stamp(stamp(4), false), 0);
    world.receiver.observe(21 * MS, Found::Broken, 0);
    world.receiver.observe(
        21 * MS,
        Found::Stamp(
            Stamp {
                run: RUN + 1,
                ..stamp(6)
            },
            true,
        ),
        0,
    );
    world.receiver.observe(
        21 * MS,
        Found::Stamp(
            Stamp {
                connection: 1,
                ..stamp(6)
            },
            true,
        ),
        0,
    );
    world
        .receiver
        .observe(21 * MS, Found::Stamp(stamp(10), true), 0);
    [6, 8, 9].into_iter().for_each(|n| world.arrive(22 * MS, n));
    world.ledger.expire(u64::MAX, |_| {});
    world.arrive(23 * MS, 7);
    let (counts, latency, _, lost) = world.end();
    let expected = Counts {
        received: 7,
        duplicated: 1,
        reordered: 1,
        corrupted: 2,
        late: 1,
        strange: 3,
        ..Counts::default()
    };
    assert_eq!((counts, lost, latency.len()), (expected, 3, 7));
}
