//! Random numbers from a seed: the same seed gives the same load.

/// A generator (SplitMix64, by Steele, Lea and Flood): eight bytes of state, fit for loads and for nothing secret.
#[derive(Debug, Clone)]
pub(crate) struct Random(u64);

impl Random {
    /// The generator of one stream of a seed: streams of one seed differ.
    pub(crate) fn new(seed: u64, stream: u64) -> Self {
        let mut random = Self(seed ^ stream.wrapping_mul(0xd605_1b22_9a3d_7f4b));
        random.next();
        random
    }

    /// The next 64 bits.
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number in `0..below`; `below` is not 0.
    pub(crate) fn below(&mut self, below: u64) -> u64 {
        ((u128::from(self.next()) * u128::from(below)) >> 64) as u64
    }

    /// A number above 0 and at most 1.
    pub(crate) fn unit(&mut self) -> f64 {
        ((self.next() >> 11) + 1) as f64 / (1_u64 << 53) as f64
    }

    /// Exponentially distributed, with mean 1.
    pub(crate) fn exponential(&mut self) -> f64 {
        -self.unit().ln()
    }

    /// Normally distributed, with mean 0 and deviation 1 (Box and Muller).
    pub(crate) fn normal(&mut self) -> f64 {
        let (radius, angle) = ((-2.0 * self.unit().ln()).sqrt(), self.unit());
        radius * (std::f64::consts::TAU * angle).cos()
    }
}

/// Picks places by weight: the sums of the weights up to each, and a search among them.
#[derive(Debug, Clone)]
pub(crate) struct Weighted(Vec<f64>);

impl Weighted {
    /// Of these weights, none below 0, at least one above it.
    pub(crate) fn new(weights: impl Iterator<Item = f64>) -> Self {
        let mut sum = 0.0;
        let sums: Vec<f64> = weights
            .map(|weight| {
                sum += weight;
                sum
            })
            .collect();
        assert!(sum > 0.0, "some weight is above 0");
        Self(sums)
    }

    /// A place, as often as its weight says.
    pub(crate) fn pick(&self, random: &mut Random) -> usize {
        let sum = self.0[self.0.len() - 1];
        let at = random.unit() * sum;
        let place = self.0.partition_point(|up_to| *up_to < at);
        place.min(self.0.len() - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DRAWS: usize = 200_000;

    #[test]
    fn the_same_seed_gives_the_same_numbers_and_streams_differ() {
        let draw = |seed, stream| {
            let mut random = Random::new(seed, stream);
            [random.next(), random.next()]
        };
        assert_eq!(draw(7, 0), draw(7, 0));
        assert_ne!(draw(7, 0), draw(7, 1));
        assert_ne!(draw(7, 0), draw(8, 0));
    }

    #[test]
    fn draws_have_their_mean_and_deviation() {
        let mut random = Random::new(1, 1);
        let mut mean = |draw: fn(&mut Random) -> f64| {
            (0..DRAWS).map(|_| draw(&mut random)).sum::<f64>() / DRAWS as f64
        };
        assert!((mean(Random::unit) - 0.5).abs() < 0.01);
        assert!((mean(Random::exponential) - 1.0).abs() < 0.02);
        assert!(mean(Random::normal).abs() < 0.02);
        assert!((mean(|r| r.normal().powi(2)) - 1.0).abs() < 0.03);
        assert!((mean(|r| r.below(10) as f64) - 4.5).abs() < 0.05);
    }

    #[test]
    fn places_are_picked_by_weight() {
        let weighted = Weighted::new([1.0, 0.0, 3.0].into_iter());
        let mut random = Random::new(3, 0);
        let mut picked = [0_usize; 3];
        (0..DRAWS).for_each(|_| picked[weighted.pick(&mut random)] += 1);
        assert_eq!(picked[1], 0);
        let share = picked[2] as f64 / DRAWS as f64;
        assert!((share - 0.75).abs() < 0.01, "{share}");
    }
}
