//! How many bytes payloads have: a distribution, as it is typed and as it is drawn from.

use super::random::{Random, Weighted};
use crate::units::size_or_none;

/// Most bytes of a payload. Picked by hand: NATS servers take 1 MiB unless told otherwise, and at most 64 MiB.
pub(crate) const SIZE_BYTES_MAX: u32 = 64 << 20;
/// Most sizes of a list.
const LIST_MAX: usize = 1_024;

/// A distribution of sizes, in bytes.
#[derive(Debug, Clone)]
pub(crate) enum Sizes {
    /// All alike.
    Fixed(u32),
    /// Any from the first to the second.
    Uniform(u32, u32),
    /// Their logarithm is normal.
    LogNormal {
        /// Half are below.
        median: u32,
        /// The logarithm's deviation.
        sigma: f64,
        /// What is above is cut to this.
        max: u32,
    },
    /// Few are large: `P(size > x) = (min / x) ^ alpha`.
    Pareto {
        /// None is below.
        min: u32,
        /// The larger, the fewer are large.
        alpha: f64,
        /// What is above is cut to this.
        max: u32,
    },
    /// Some sizes, each with a weight.
    List(Vec<u32>, Weighted),
}

/// What may be typed, for errors and help.
pub(crate) const SIZES_HELP: &str = "write bytes (128), a range (64..1024), lognormal:MEDIAN,SIGMA,MAX, pareto:MIN,ALPHA,MAX, or \
    sizes with weights (128=90,1KiB=9,64KiB=1)";

impl Sizes {
    /// Reads one.
    ///
    /// # Errors
    /// What is none, with what may be written.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        read(text)
            .ok_or_else(|| format!("{text:?} is no size of payloads up to 64MiB; {SIZES_HELP}"))
    }

    /// A size.
    pub(crate) fn draw(&self, random: &mut Random) -> u32 {
        match self {
            Self::Fixed(size) => *size,
            Self::Uniform(from, to) => from + random.below(u64::from(to - from) + 1) as u32,
            Self::LogNormal { median, sigma, max } => {
                let drawn = f64::from(*median) * (sigma * random.normal()).exp();
                (drawn as u32).min(*max)
            }
            Self::Pareto { min, alpha, max } => {
                let drawn = f64::from(*min) / random.unit().powf(1.0 / alpha);
                (drawn as u32).min(*max)
            }
            Self::List(sizes, weighted) => sizes[weighted.pick(random)],
        }
    }

    /// The least that can be drawn.
    pub(crate) fn least(&self) -> u32 {
        match self {
            Self::Fixed(size) | Self::Uniform(size, _) => *size,
            Self::LogNormal { .. } => 0,
            Self::Pareto { min, .. } => *min,
            Self::List(sizes, _) => sizes.iter().copied().min().unwrap_or(0),
        }
    }

    /// The most that can be drawn.
    pub(crate) fn most(&self) -> u32 {
        match self {
            Self::Fixed(size) | Self::Uniform(_, size) => *size,
            Self::LogNormal { max, .. } | Self::Pareto { max, .. } => *max,
            Self::List(sizes, _) => sizes.iter().copied().max().unwrap_or(0),
        }
    }
}

fn read(text: &str) -> Option<Sizes> {
    if let Some((name, rest)) = text.split_once(':') {
        let mut parts = rest.split(',');
        let (first, shape, max) = (parts.next()?, parts.next()?, parts.next()?);
        let (first, max) = (size(first)?, size(max)?);
        let shape: f64 = shape.trim().parse().ok()?;
        let good =
            parts.next().is_none() && first <= max && first > 0 && (0.01..=10.0).contains(&shape);
        return match name {
            "lognormal" if good => Some(Sizes::LogNormal {
                median: first,
                sigma: shape,
                max,
            }),
            "pareto" if good => Some(Sizes::Pareto {
                min: first,
                alpha: shape,
                max,
            }),
            _ => None,
        };
    }
    if let Some((from, to)) = text.split_once("..") {
        let (from, to) = (size(from)?, size(to)?);
        return (from <= to).then_some(Sizes::Uniform(from, to));
    }
    if text.contains('=') {
        return list(text);
    }
    size(text).map(Sizes::Fixed)
}

fn list(text: &str) -> Option<Sizes> {
    let (mut sizes, mut weights) = (Vec::new(), Vec::new());
    for part in text.split(',') {
        let (bytes, weight) = part.split_once('=')?;
        sizes.push(size(bytes)?);
        weights.push(
            weight
                .trim()
                .parse()
                .ok()
                .filter(|w: &f64| w.is_finite() && *w >= 0.0)?,
        );
    }
    let some = weights.iter().any(|weight| *weight > 0.0) && sizes.len() <= LIST_MAX;
    some.then(|| Sizes::List(sizes, Weighted::new(weights.into_iter())))
}

fn size(text: &str) -> Option<u32> {
    let bytes = u32::try_from(size_or_none(text.trim())?).ok()?;
    (bytes <= SIZE_BYTES_MAX).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn mean(text: &str) -> f64 {
        let sizes = Sizes::parse(text).unwrap();
        let mut random = Random::new(9, 0);
        (0..100_000)
            .map(|_| f64::from(sizes.draw(&mut random)))
            .sum::<f64>()
            / 100_000.0
    }

    #[test]
    fn sizes_have_the_mean_of_their_distribution() {
        for (text, expected) in [
            ("128", 128.0),
            ("0..1000", 500.0),
            ("100=3,1KiB=1", 331.0),
            // exp(sigma²/2) times the median; alpha/(alpha-1) times the least. Rounded down by half a byte.
            ("lognormal:1000,0.5,1MiB", 1_133.0),
            ("pareto:1000,3,1MiB", 1_500.0),
        ] {
            let mean = mean(text);
            assert!(
                (mean / expected - 1.0).abs() < 0.02,
                "{text}: {mean} is not {expected}"
            );
        }
    }

    #[test]
    fn what_is_no_size_is_told_what_may_be_written() {
        for text in [
            "",
            "x",
            "-1",
            "9..8",
            "65MiB",
            "pareto:0,1,9",
            "pareto:1,1",
            "normal:1,1,1",
            "1=0",
            "1=x",
            "1=",
        ] {
            let error = Sizes::parse(text).unwrap_err();
            assert!(
                error.contains("lognormal:") && error.contains(text),
                "{error}"
            );
        }
    }

    proptest! {
        #[test]
        fn no_size_is_outside_its_bounds(seed: u64, which in 0_usize..5) {
            let text = ["77", "5..60", "lognormal:100,2,1000", "pareto:10,0.5,999", "1=1,64KiB=1"][which];
            let sizes = Sizes::parse(text).unwrap();
            let mut random = Random::new(seed, 0);
            for _ in 0..100 {
                let size = sizes.draw(&mut random);
                prop_assert!((sizes.least()..=sizes.most()).contains(&size));
            }
        }
    }
}
