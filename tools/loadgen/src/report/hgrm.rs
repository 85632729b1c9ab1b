//! The percentiles as HdrHistogram's plotters read them, in milliseconds; of the load that details are shown of.

use std::fmt::Write;

use super::Report;

/// Steps from one percentile to that half as far from 100.
const STEPS: u32 = 5;

/// The text; the title goes into nothing of it.
pub(super) fn text(report: &Report, _: &str) -> String {
    const MS: f64 = 1e6;
    let mut text = format!(
        "{:>12} {:>14} {:>10} {:>14}\n\n",
        "Value", "Percentile", "TotalCount", "1/(1-Percentile)"
    );
    let Some(load) = report.shown() else {
        return text;
    };
    let all = &load.histogram;
    let mut line = |value: f64, quantile: f64, count: u64| {
        let inverse = if quantile < 1.0 {
            format!("{:>14.2}", 1.0 / (1.0 - quantile))
        } else {
            String::new()
        };
        writeln!(
            text,
            "{value:>12.6} {quantile:>14.12} {count:>10} {inverse}"
        )
        .expect("a text takes what is written");
    };
    let mut count = 0;
    if !all.is_empty() {
        for step in all.iter_quantiles(STEPS) {
            count += step.count_since_last_iteration();
            line(
                step.value_iterated_to() as f64 / MS,
                step.quantile_iterated_to(),
                count,
            );
        }
    }
    let (mean, deviation, max) = (all.mean() / MS, all.stdev() / MS, all.max() as f64 / MS);
    write!(
        text,
        "#[Mean    = {mean:>12.3}, StdDeviation   = {deviation:>12.3}]\n\
         #[Max     = {max:>12.3}, Total count    = {:>12}]\n\
         #[Buckets = {:>12}, SubBuckets     = {:>12}]\n",
        all.len(),
        all.buckets(),
        2_048,
    )
    .expect("a text takes what is written");
    text
}

#[cfg(test)]
mod tests {
    use super::super::testing::report;
    use super::*;

    #[test]
    fn percentiles_rise_to_one_and_all_messages() {
        let text = text(&report(1), "");
        let rows: Vec<Vec<f64>> = text
            .lines()
            .skip(2)
            .take_while(|line| !line.starts_with('#'))
            .map(|line| {
                line.split_whitespace()
                    .map(|word| word.parse().unwrap())
                    .collect()
            })
            .collect();
        assert!(rows.len() > 10);
        for column in 0..3 {
            assert!(
                rows.iter().map(|row| row[column]).is_sorted(),
                "{column}: {text}"
            );
        }
        let last = rows.last().unwrap();
        assert_eq!((last[1], last[2], last.len()), (1.0, 1_000.0, 3));
        assert!((last[0] - 1.0).abs() < 0.001);
        assert!(text.contains("Total count    =         1000]"));
    }
}
