//! Latencies of a load, as reports show them.

use hdrhistogram::Histogram;
use serde::Serialize;

use crate::units::time;

/// The quantiles that tables show.
pub(crate) const QUANTILES: [(&str, f64); 7] = [
    ("p50", 0.5),
    ("p75", 0.75),
    ("p90", 0.9),
    ("p99", 0.99),
    ("p99.9", 0.999),
    ("p99.99", 0.9999),
    ("max", 1.0),
];
/// Steps of a curve from one quantile to that half as far from 1.
const CURVE_STEPS: u32 = 5;

/// Latencies, in nanoseconds.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Latency {
    /// Messages that were measured.
    pub(crate) count: u64,
    /// Their mean.
    pub(crate) mean_ns: u64,
    /// The least.
    pub(crate) min_ns: u64,
    /// [`QUANTILES`], by name.
    pub(crate) quantiles_ns: Vec<(&'static str, u64)>,
    /// The curve: quantiles and their latencies.
    pub(crate) curve_ns: Vec<(f64, u64)>,
}

impl Latency {
    /// Of these.
    pub(crate) fn new(all: &Histogram<u64>) -> Self {
        let at = |(name, quantile): &(&'static str, f64)| (*name, all.value_at_quantile(*quantile));
        let curve = all
            .iter_quantiles(CURVE_STEPS)
            .map(|step| (step.quantile(), step.value_iterated_to()));
        Self {
            count: all.len(),
            mean_ns: all.mean() as u64,
            min_ns: all.min(),
            quantiles_ns: QUANTILES.iter().map(at).collect(),
            curve_ns: if all.is_empty() {
                Vec::new()
            } else {
                curve.collect()
            },
        }
    }

    /// A quantile by its name.
    pub(crate) fn at(&self, name: &str) -> u64 {
        let found = self.quantiles_ns.iter().find(|(found, _)| *found == name);
        found.map_or(0, |(_, ns)| *ns)
    }

    /// The same for people; a dash where nothing was measured.
    pub(crate) fn shown(&self, name: &str) -> String {
        match self.count {
            0 => "–".to_owned(),
            _ => time(self.at(name)),
        }
    }
}
