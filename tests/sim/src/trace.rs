//! What happened in a run: a hash of it, by which two runs are compared, and on request its lines.

use std::time::Duration;

/// The events of one run.
#[derive(Debug)]
pub(crate) struct Trace {
    hash: u64,
    prints: bool,
}

impl Trace {
    /// A trace that prints its lines, or only hashes them.
    pub(crate) fn new(prints: bool) -> Self {
        Self {
            hash: 0xcbf2_9ce4_8422_2325,
            prints,
        }
    }

    /// Notes that something happened, with up to three numbers that tell it apart.
    pub(crate) fn note(&mut self, at: Duration, what: &str, numbers: [u64; 3]) {
        let nanos = at.as_nanos() as u64;
        // FNV-1a's step, a word at a time.
        let mut step = |word: u64| {
            self.hash = (self.hash ^ word)
                .wrapping_mul(0x0100_0000_01b3)
                .rotate_left(23)
        };
        step(nanos);
        what.bytes().take(8).for_each(|b| step(u64::from(b)));
        numbers.into_iter().for_each(step);
        if self.prints {
            let [a, b, c] = numbers;
            println!(
                "{:>12.3} µs  {what:<22} {a:>6} {b:>6} {c:>6}",
                nanos as f64 / 1e3
            );
        }
    }

    /// The hash of all that was noted.
    pub(crate) fn hash(&self) -> u64 {
        self.hash
    }
}
