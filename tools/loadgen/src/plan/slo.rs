//! Objectives: `p99=5ms,lost=0.001`, and whether they are met.

use hdrhistogram::Histogram;
use serde::Serialize;

use crate::units::{parse_some_time, time};

/// By how much a latency may be above its bound, as a share of it, and have missed it by little. Picked by hand: seen of a hiccup of a few
/// milliseconds were 3 %, and a search that takes one for a bound ends a step too low.
const NEARLY: f64 = 0.1;
/// Most terms of one objective.
const TERMS_MAX: usize = 16;

/// An objective: bounds on latencies, and on the share of messages that may be lost, not acknowledged, damaged or refused.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Slo {
    terms: Vec<Term>,
    lost_max: f64,
}

#[derive(Debug, Clone, PartialEq)]
struct Term {
    name: String,
    of: Of,
    at_most_ns: u64,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Of {
    Quantile(f64),
    Mean,
}

/// One term, and how it did.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Judged {
    /// What was asked, as it was typed.
    pub(crate) term: String,
    /// What was found.
    pub(crate) found: String,
    /// Whether that is within it.
    pub(crate) met: bool,
    /// Whether it is, or is above it by no more than [`NEARLY`].
    #[serde(skip)]
    pub(crate) nearly: bool,
    /// The quantile and its bound in nanoseconds, where it is of one.
    #[serde(skip)]
    pub(crate) bound: Option<(f64, u64)>,
}

impl Slo {
    /// Reads one.
    ///
    /// # Errors
    /// What is none, with what may be written.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let mut slo = Self {
            terms: Vec::new(),
            lost_max: 0.0,
        };
        let mut any = false;
        for term in text.split(',') {
            let wrong = |why: &str| {
                format!(
                    "{term:?} is no objective: {why}; write terms such as p99=5ms, mean=1ms, max=1s, lost=0.001, with commas between"
                )
            };
            let (name, bound) = term.split_once('=').ok_or_else(|| wrong("it has no `=`"))?;
            let (name, bound) = (name.trim(), bound.trim());
            any = true;
            if name == "lost" {
                let share = bound
                    .parse()
                    .ok()
                    .filter(|share| (0.0..=1.0).contains(share));
                slo.lost_max = share.ok_or_else(|| wrong("a share is from 0 to 1"))?;
                continue;
            }
            slo.terms.push(Term {
                name: format!("{name}={bound}"),
                of: Of::parse(name).ok_or_else(|| wrong("what it bounds is not known"))?,
                at_most_ns: parse_some_time(bound)
                    .map_err(|why| wrong(&why))?
                    .as_nanos() as u64,
            });
        }
        match any && slo.terms.len() <= TERMS_MAX {
            true => Ok(slo),
            false => Err(format!("{text:?} has more than {TERMS_MAX} terms")),
        }
    }

    /// How each term does: latencies, and messages that are lost, not acknowledged, damaged or refused among all that were sent.
    pub(crate) fn judge(&self, latency: &Histogram<u64>, bad: u64, sent: u64) -> Vec<Judged> {
        let judge = |term: &Term| {
            let found = match term.of {
                Of::Quantile(quantile) => latency.value_at_quantile(quantile),
                Of::Mean => latency.mean() as u64,
            };
            // A histogram knows a value only to its digits.
            let found_ns = latency.lowest_equivalent(found);
            let within = |most: f64| found_ns as f64 <= most && !latency.is_empty();
            let at_most = term.at_most_ns as f64;
            Judged {
                term: term.name.clone(),
                found: if latency.is_empty() {
                    "nothing measured".to_owned()
                } else {
                    time(found)
                },
                met: within(at_most),
                nearly: within(at_most * (1.0 + NEARLY)),
                bound: match term.of {
                    Of::Quantile(quantile) => Some((quantile, term.at_most_ns)),
                    Of::Mean => None,
                },
            }
        };
        let mut all: Vec<Judged> = self.terms.iter().map(judge).collect();
        let share = bad as f64 / sent.max(1) as f64;
        let within = |most| share <= most && sent > 0;
        all.push(Judged {
            term: format!("lost={}", self.lost_max),
            found: share.to_string(),
            met: within(self.lost_max),
            nearly: within(self.lost_max * (1.0 + NEARLY)),
            bound: None,
        });
        all
    }
}

impl Of {
    fn parse(name: &str) -> Option<Self> {
        match name {
            "mean" => Some(Self::Mean),
            "max" => Some(Self::Quantile(1.0)),
            _ => {
                let percent: f64 = name.strip_prefix('p')?.parse().ok()?;
                let good = (0.0..=100.0).contains(&percent);
                good.then_some(Self::Quantile(percent / 100.0))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::recorder::latencies;

    /// Of latencies of 1 to 100 ms.
    fn judged(slo: &str, bad: u64) -> Vec<Judged> {
        let mut latency = latencies();
        (1..=100).for_each(|ms| latency.record(ms * 1_000_000).unwrap());
        Slo::parse(slo).unwrap().judge(&latency, bad, 100)
    }

    fn met(slo: &str, bad: u64) -> Vec<bool> {
        judged(slo, bad).iter().map(|judged| judged.met).collect()
    }

    #[test]
    fn an_objective_is_met_at_its_bound_and_missed_above() {
        assert_eq!(met("p50=50ms,p99=99ms,max=100ms", 0), [true; 4]);
        assert_eq!(met("p50=49ms", 0), [false, true]);
        assert_eq!(met("mean=50.6ms,mean=50.4ms", 0), [true, false, true]);
        assert_eq!(met("lost=0.02", 2), [true]);
        assert_eq!(met("lost=0.02", 3), [false]);
        assert_eq!(met("p99=1s", 1), [true, false]);
    }

    #[test]
    fn what_is_a_tenth_above_its_bound_misses_it_by_little() {
        let nearly = |slo: &str, bad| {
            judged(slo, bad)
                .iter()
                .map(|judged| judged.nearly)
                .collect::<Vec<_>>()
        };
        assert_eq!(nearly("p99=90ms,p98=90ms,p50=51ms", 0), [true; 4]);
        assert_eq!(nearly("p100=90ms", 0), [false, true]);
        assert_eq!(nearly("lost=0.1", 11), [true]);
        assert_eq!(nearly("lost=0.1", 12), [false]);
        assert_eq!(nearly("lost=0", 1), [false]);
    }

    #[test]
    fn nothing_measured_meets_nothing() {
        let judged = Slo::parse("p99=1s").unwrap().judge(&latencies(), 0, 0);
        assert!(judged.iter().all(|judged| !judged.met && !judged.nearly));
    }

    #[test]
    fn what_is_no_objective_is_refused() {
        for text in [
            "", "p99", "p99=5", "p101=5ms", "q=1ms", "lost=2", "p99=0ms", "p99=5ms,",
        ] {
            assert!(Slo::parse(text).unwrap_err().contains("p99=5ms"), "{text}");
        }
    }
}
