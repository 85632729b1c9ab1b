//! A set of small numbers: a bit each.

/// A set of numbers below a bound.
#[derive(Debug, Clone)]
pub(super) struct Bits {
    words: Vec<u64>,
    below: u64,
}

impl Bits {
    /// An empty set of numbers below `below`.
    pub(super) fn new(below: u64) -> Self {
        let words = usize::try_from(below.div_ceil(64)).expect("the plan bounds the number");
        Self {
            words: vec![0; words],
            below,
        }
    }

    /// Adds a number; whether it was new. `None` if it is not below the bound.
    pub(super) fn add(&mut self, number: u64) -> Option<bool> {
        if number >= self.below {
            return None;
        }
        let (word, bit) = (&mut self.words[(number / 64) as usize], 1 << (number % 64));
        let new = *word & bit == 0;
        *word |= bit;
        Some(new)
    }

    /// How many of these numbers are not in `other`.
    pub(super) fn missing_in(&self, other: &Self) -> u64 {
        let pairs = self.words.iter().zip(&other.words);
        pairs
            .map(|(mine, others)| u64::from((mine & !others).count_ones()))
            .sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_new_twice_too_large_and_missing_is_told_apart() {
        let (mut one, mut other) = (Bits::new(130), Bits::new(130));
        assert_eq!([one.add(0), one.add(129), one.add(64)], [Some(true); 3]);
        assert_eq!([one.add(0), one.add(129)], [Some(false); 2]);
        assert_eq!(one.add(130), None);
        other.add(64);
        other.add(1);
        assert_eq!((one.missing_in(&other), other.missing_in(&one)), (2, 1));
    }
}
