//! Random numbers from a seed: SplitMix64 (Steele, Lea, Flood 2014), and the draws that scenarios are made of.

use std::time::Duration;

/// A stream of random numbers that its seed decides.
#[derive(Debug, Clone)]
pub(crate) struct Rng(u64);

impl Rng {
    /// The stream of this seed; `stream` tells several of one seed apart.
    pub(crate) fn new(seed: u64, stream: u64) -> Self {
        let mut rng = Self(seed ^ stream.wrapping_mul(0xd134_2543_de82_ef95));
        rng.next();
        rng
    }

    /// The next number.
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number from `least` to `most`, both included.
    pub(crate) fn between(&mut self, least: u64, most: u64) -> u64 {
        least + self.next() % (most - least + 1)
    }

    /// Whether something happens that happens so many times in a thousand.
    pub(crate) fn chance(&mut self, permille: u32) -> bool {
        permille > 0 && self.next() % 1_000 < u64::from(permille)
    }

    /// One of several.
    pub(crate) fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.between(0, of.len() as u64 - 1) as usize]
    }

    /// A time between two, in microseconds; each order of magnitude as likely.
    pub(crate) fn micros(&mut self, least: u64, most: u64) -> Duration {
        let share = (self.next() >> 11) as f64 / (1u64 << 53) as f64;
        let (least, most) = (least.max(1) as f64, most.max(1) as f64);
        let micros = least * (most / least).powf(share);
        Duration::from_nanos((micros * 1_000.0) as u64)
    }

    /// A time up to `most`, uniformly.
    pub(crate) fn up_to(&mut self, most: Duration) -> Duration {
        Duration::from_nanos(self.between(0, most.as_nanos() as u64))
    }
}
