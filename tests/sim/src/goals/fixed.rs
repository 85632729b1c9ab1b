//! The rival: calls of a fixed size, started when that many wait or the oldest has waited for `linger`. Served by a server of
//! its own that has no overheads at all, neither slices nor turns.

use super::rows::{Arrival, Row};
use super::search::Grid;

/// Sizes that are tried.
pub(crate) const SIZES: [usize; 20] = [
    1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024,
];
/// Lingers that are tried, as parts of the budget.
pub(crate) const LINGERS: [f64; 5] = [0.0, 1.0 / 16.0, 1.0 / 8.0, 1.0 / 4.0, 1.0 / 2.0];

/// The messages of one handler: those of the trace, of which some have come and wait.
struct Queue {
    all: Vec<Arrival>,
    head: usize,
    tail: usize,
    linger: u64,
    budget: u64,
    late: usize,
}

impl Queue {
    fn new(row: &Row, trace: &[Arrival], handler: usize, linger: f64) -> Self {
        let budget = row.handlers[handler].budget_ns;
        let own = trace.iter().filter(|a| a.handler == handler);
        Self {
            all: own.copied().collect(),
            head: 0,
            tail: 0,
            linger: (budget as f64 * linger) as u64,
            budget,
            late: 0,
        }
    }

    fn waiting(&self) -> &[Arrival] {
        &self.all[self.head..self.tail]
    }

    fn admit(&mut self, now: u64) {
        while self.all.get(self.tail).is_some_and(|a| a.at_ns <= now) {
            self.tail += 1;
        }
    }

    /// When it next changes by itself: an arrival, or the end of lingering.
    fn next(&self) -> Option<u64> {
        let arrival = self.all.get(self.tail).map(|a| a.at_ns);
        let lingered = self.waiting().first().map(|a| a.at_ns + self.linger);
        arrival.into_iter().chain(lingered).min()
    }

    /// When its oldest message is due, if it may be called.
    fn due(&self, size: usize, now: u64) -> Option<u64> {
        let oldest = self.waiting().first()?;
        let ready = self.waiting().len() >= size || now >= oldest.at_ns + self.linger;
        ready.then_some(oldest.at_ns + self.budget)
    }

    /// Whether more than one message in a hundred was late.
    fn misses(&self) -> bool {
        self.late > self.all.len() / 100
    }
}

/// Whether the 99th percentile of each handler is within its budget on this trace; of several handlers the earliest due goes first.
fn meets(row: &Row, trace: &[Arrival], size: usize, linger: f64) -> bool {
    let queue = |handler| Queue::new(row, trace, handler, linger);
    let mut queues: Vec<_> = (0..row.handlers.len()).map(queue).collect();
    let (mut now, mut call) = (0, 0);
    loop {
        queues.iter_mut().for_each(|queue| queue.admit(now));
        let ready = queues.iter().enumerate();
        let due = ready.filter_map(|(handler, queue)| Some((queue.due(size, now)?, handler)));
        let Some((_, handler)) = due.min() else {
            match queues.iter().filter_map(Queue::next).min() {
                Some(next) => now = next,
                None => return true,
            }
            continue;
        };
        let queue = &mut queues[handler];
        let batch = &queue.waiting()[..size.min(queue.waiting().len())];
        let (count, bytes) = (batch.len(), batch.iter().map(|a| a.bytes).sum());
        now += row.service(handler, count, bytes, now, call);
        call += 1;
        let oldest = now.saturating_sub(queue.budget);
        let late = batch.iter().take_while(|a| a.at_ns < oldest).count();
        queue.late += late;
        queue.head += count;
        if queue.misses() {
            return false;
        }
    }
}

/// Every setting, in one order.
pub(crate) fn settings() -> impl Iterator<Item = (usize, f64)> {
    SIZES
        .iter()
        .flat_map(|&size| LINGERS.iter().map(move |&linger| (size, linger)))
}

/// The highest rate of every setting, in the order of [`settings`].
pub(crate) fn search(row: &Row, grid: &mut Grid<'_>) -> Vec<f64> {
    let highest = |(size, linger)| grid.highest(|trace| meets(row, trace, size, linger));
    settings().map(highest).collect()
}
