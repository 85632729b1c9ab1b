//! Sweeps: `10k..200k*1.5`, `1000..5000+1000`, `100,200,500`.

use crate::units::parse_rate;

/// Most loads of a sweep.
pub(crate) const SWEEP_MAX: usize = 100;

/// Rates, one after another.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Sweep(pub(crate) Vec<f64>);

impl Sweep {
    /// Reads one.
    ///
    /// # Errors
    /// What is none, with what may be written.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let wrong = |why: String| {
            format!(
                "{text:?} is no sweep: {why}; write 10k..200k*1.5, 1000..5000+1000, or rates with commas"
            )
        };
        let rates = match text.split_once("..") {
            Some((from, rest)) => range(from, rest).map_err(wrong)?,
            None => text
                .split(',')
                .map(parse_rate)
                .collect::<Result<_, _>>()
                .map_err(wrong)?,
        };
        match rates.len() {
            1..=SWEEP_MAX => Ok(Self(rates)),
            count => Err(wrong(format!(
                "it has {count} rates, and may have {SWEEP_MAX}"
            ))),
        }
    }
}

/// Each rate up to the last, which is among them if it is reached.
fn range(from: &str, rest: &str) -> Result<Vec<f64>, String> {
    let at = rest
        .find(['*', '+'])
        .ok_or("it says no factor and no step")?;
    let (to, step) = (parse_rate(&rest[..at])?, &rest[at + 1..]);
    let from = parse_rate(from)?;
    let times = rest.as_bytes()[at] == b'*';
    let step = match times {
        true => step
            .trim()
            .parse()
            .ok()
            .filter(|f: &f64| *f >= 1.01 && f.is_finite())
            .ok_or("a factor is 1.01 or more")?,
        false => parse_rate(step)?,
    };
    let next = |rate: f64| if times { rate * step } else { rate + step };
    // A product may come out a little above what was meant.
    let within = |rate: &f64| *rate <= to * (1.0 + 1e-9);
    let rates = std::iter::successors(Some(from), |rate| Some(next(*rate)));
    Ok(rates.take_while(within).take(SWEEP_MAX + 1).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sweeps_are_ranges_by_factor_or_step_and_lists() {
        let rates = |text| Sweep::parse(text).unwrap().0;
        assert_eq!(rates("10k..40k*2"), [1e4, 2e4, 4e4]);
        assert_eq!(rates("10000..25000*1.5"), [10_000.0, 15_000.0, 22_500.0]);
        assert_eq!(rates("1..3+1"), [1.0, 2.0, 3.0]);
        assert_eq!(rates("5,1k"), [5.0, 1_000.0]);
    }

    #[test]
    fn what_is_no_sweep_is_refused() {
        for text in [
            "", "1..5", "5..1*2", "1..5*1", "1..5*x", "1..1M+1", "1,,2", "..*",
        ] {
            assert!(
                Sweep::parse(text).unwrap_err().contains("10k..200k*1.5"),
                "{text}"
            );
        }
    }
}
