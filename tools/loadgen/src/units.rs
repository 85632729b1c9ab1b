//! Sizes, durations, rates and counts, as people type and read them.

use std::time::Duration;

/// Names of sizes, the largest first.
const SIZES: [(&str, u64); 4] = [
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("", 1),
];
/// Names of durations, the longest first, in nanoseconds.
const TIMES: [(&str, u64); 5] = [
    ("m", 60_000_000_000),
    ("s", 1_000_000_000),
    ("ms", 1_000_000),
    ("us", 1_000),
    ("ns", 1),
];
/// What a rate may end with.
const RATES: [(&str, f64); 3] = [("M", 1e6), ("k", 1e3), ("", 1.0)];
/// Highest rate, messages a second.
pub(crate) const RATE_MAX: f64 = 1e8;
/// Longest time that may be typed: a day.
const TIME_MAX: Duration = Duration::from_secs(86_400);

/// The size that a text is: bytes, or a whole number with `KiB`, `MiB` or `GiB`.
pub(crate) fn size_or_none(text: &str) -> Option<u64> {
    let (digits, unit) = split(text);
    let (_, unit) = SIZES.iter().find(|(name, _)| *name == unit)?;
    digits.parse::<u64>().ok()?.checked_mul(*unit)
}

/// Reads a size above 0: bytes, or a whole number with `KiB`, `MiB` or `GiB`.
///
/// # Errors
/// Anything else, with what it may be.
pub(crate) fn parse_size(text: &str) -> Result<u64, String> {
    let size = size_or_none(text).filter(|bytes| *bytes > 0);
    size.ok_or_else(|| {
        format!("{text:?} is no size; write bytes, or a whole number with KiB, MiB or GiB")
    })
}

/// Reads a time: a number with `ns`, `us`, `ms`, `s` or `m`, such as `1.5s`; at most a day.
///
/// # Errors
/// Anything else, with what it may be.
pub(crate) fn parse_time(text: &str) -> Result<Duration, String> {
    let read = || {
        let (digits, unit) = split(text);
        let (_, unit) = TIMES.iter().find(|(name, _)| *name == unit)?;
        let number: f64 = digits
            .parse()
            .ok()
            .filter(|n: &f64| n.is_finite() && *n >= 0.0)?;
        let time = Duration::from_nanos((number * *unit as f64).round() as u64);
        (time <= TIME_MAX).then_some(time)
    };
    read().ok_or_else(|| {
        format!(
            "{text:?} is no time of at most a day; write a number with us, ms, s or m, such as 1.5s"
        )
    })
}

/// The same, and not 0.
///
/// # Errors
/// As above.
pub(crate) fn parse_some_time(text: &str) -> Result<Duration, String> {
    let time = parse_time(text)?;
    match time.is_zero() {
        true => Err(format!("{text:?} is no time at all; it has to be above 0")),
        false => Ok(time),
    }
}

/// Reads a rate: messages a second, maybe with `k` or `M`.
///
/// # Errors
/// Anything else, with what it may be.
pub(crate) fn parse_rate(text: &str) -> Result<f64, String> {
    let read = || {
        let (digits, unit) = split(text);
        let (_, unit) = RATES.iter().find(|(name, _)| *name == unit)?;
        let rate = digits.parse::<f64>().ok()? * unit;
        (0.1..=RATE_MAX).contains(&rate).then_some(rate)
    };
    read().ok_or_else(|| {
        format!("{text:?} is no rate; write messages a second from 0.1 to 100000000, such as 20000, 20k or 1.5M")
    })
}

/// A number and its unit.
fn split(text: &str) -> (&str, &str) {
    let text = text.trim();
    let at = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    (&text[..at], text[at..].trim())
}

/// A count with its digits in threes: `1,234,567`.
pub(crate) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A rate: with threes from 100 on, with a digit after the point below.
pub(crate) fn rate(rate: f64) -> String {
    match rate < 100.0 {
        true => format!("{rate:.1}"),
        false => count(rate.round() as u64),
    }
}

/// A time with three digits, in the unit that suits it: `1.23 ms`.
pub(crate) fn time(ns: u64) -> String {
    let (value, unit) = match ns {
        0..1_000 => return format!("{ns} ns"),
        1_000..1_000_000 => (ns as f64 / 1e3, "µs"),
        1_000_000..1_000_000_000 => (ns as f64 / 1e6, "ms"),
        _ => (ns as f64 / 1e9, "s"),
    };
    match value {
        100.0.. => format!("{value:.0} {unit}"),
        10.0.. => format!("{value:.1} {unit}"),
        _ => format!("{value:.2} {unit}"),
    }
}

/// A size in the largest unit that it has one of: `1.5 MiB`.
pub(crate) fn size(bytes: u64) -> String {
    match SIZES.iter().find(|(_, unit)| bytes >= *unit) {
        Some((name, unit)) if *unit > 1 => format!("{:.1} {name}", bytes as f64 / *unit as f64),
        _ => format!("{bytes} B"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_need_a_unit_and_may_have_a_fraction() {
        for (text, ns) in [
            ("5ms", 5_000_000),
            ("1.5s", 1_500_000_000),
            ("2 m", 120_000_000_000),
            ("250us", 250_000),
            ("0s", 0),
        ] {
            assert_eq!(parse_time(text), Ok(Duration::from_nanos(ns)));
        }
        for text in ["", "5", "1h", "-1s", "s", "1.2.3s", "25000m"] {
            assert!(
                parse_time(text).unwrap_err().contains("such as 1.5s"),
                "{text}"
            );
        }
        assert!(parse_some_time("0s").is_err());
    }

    #[test]
    fn rates_may_be_in_thousands_and_millions() {
        for (text, rate) in [("20000", 2e4), ("20k", 2e4), ("1.5M", 1.5e6), ("0.5", 0.5)] {
            assert_eq!(parse_rate(text), Ok(rate));
        }
        for text in ["", "0", "-5", "1e9", "200M", "x", "10/s"] {
            assert!(parse_rate(text).is_err(), "{text}");
        }
    }

    #[test]
    fn sizes_and_numbers_are_written_for_people() {
        assert_eq!(
            ["1KiB", "7", "1 MiB", "1.5MiB", "1MB"].map(size_or_none),
            [Some(1 << 10), Some(7), Some(1 << 20), None, None]
        );
        assert_eq!([0, 999, 1_234_567].map(count), ["0", "999", "1,234,567"]);
        assert_eq!(
            [9, 1_234, 12_345_678, 250_000_000, 3_000_000_000].map(time),
            ["9 ns", "1.23 µs", "12.3 ms", "250 ms", "3.00 s"]
        );
        assert_eq!([1.25, 1234.6].map(rate), ["1.2", "1,235"]);
        assert_eq!([5, 1536].map(size), ["5 B", "1.5 KiB"]);
    }
}
