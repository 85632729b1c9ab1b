//! Which subject a message goes to: one, or many with a skew.

use super::random::{Random, Weighted};

/// Most subjects. Default bound of 100,000: each costs its name and, a connection, eight bytes of order.
pub(crate) const SUBJECTS_MAX: u32 = 100_000;

/// The subjects of a load.
#[derive(Debug, Clone)]
pub(crate) struct Subjects {
    names: Vec<String>,
    /// None where all are alike.
    skew: Option<Weighted>,
}

impl Subjects {
    /// One subject, or `count` of them: `BASE.0`, `BASE.1` and so on. The k-th is picked as often as `1 / k^skew` says (Zipf); all
    /// alike with a skew of 0.
    pub(crate) fn new(base: &str, count: u32, skew: f64) -> Self {
        let names = match count {
            1 => vec![base.to_owned()],
            _ => (0..count).map(|n| format!("{base}.{n}")).collect(),
        };
        let weights = || (1..=count).map(|k| f64::from(k).powf(-skew));
        let skew = (count > 1 && skew > 0.0).then(|| Weighted::new(weights()));
        Self { names, skew }
    }

    /// Their names.
    pub(crate) fn names(&self) -> &[String] {
        &self.names
    }

    /// The place of one among them.
    pub(crate) fn pick(&self, random: &mut Random) -> usize {
        match (&self.skew, self.names.len()) {
            (_, 1) => 0,
            (Some(weighted), _) => weighted.pick(random),
            (None, count) => random.below(count as u64) as usize,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shares(count: u32, skew: f64) -> Vec<f64> {
        const DRAWS: u32 = 200_000;
        let subjects = Subjects::new("a", count, skew);
        let (mut picked, mut random) = (vec![0_u32; count as usize], Random::new(2, 0));
        (0..DRAWS).for_each(|_| picked[subjects.pick(&mut random)] += 1);
        picked
            .iter()
            .map(|n| f64::from(*n) / f64::from(DRAWS))
            .collect()
    }

    #[test]
    fn one_subject_keeps_its_name_and_several_are_numbered() {
        assert_eq!(Subjects::new("a.b", 1, 1.0).names(), ["a.b"]);
        assert_eq!(Subjects::new("a", 3, 0.0).names(), ["a.0", "a.1", "a.2"]);
    }

    #[test]
    fn a_skew_of_one_halves_the_second_and_none_leaves_all_alike() {
        let zipf = shares(3, 1.0);
        for (share, expected) in zipf.iter().zip([6.0 / 11.0, 3.0 / 11.0, 2.0 / 11.0]) {
            assert!((share - expected).abs() < 0.01, "{zipf:?}");
        }
        assert!(
            shares(4, 0.0)
                .iter()
                .all(|share| (share - 0.25).abs() < 0.01)
        );
    }
}
