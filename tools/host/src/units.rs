//! Sizes, durations and counts, as people type and read them.

use std::time::Duration;

/// Names of sizes, the largest first.
const SIZES: [(&str, u64); 4] = [
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("", 1),
];

/// Reads a size: bytes, or a whole number with `KiB`, `MiB` or `GiB`.
///
/// # Errors
/// Anything else, with what it may be.
pub(crate) fn parse_size(text: &str) -> Result<u64, String> {
    let bad = || format!("{text:?} is no size; write bytes, or a number with KiB, MiB or GiB");
    let (digits, unit) = split(text);
    let (_, unit) = SIZES
        .iter()
        .find(|(name, _)| *name == unit)
        .ok_or_else(bad)?;
    let number = digits.parse::<u64>().map_err(|_| bad())?;
    number.checked_mul(*unit).filter(|n| *n > 0).ok_or_else(bad)
}

/// Reads a duration: a whole number with `us`, `ms` or `s`.
///
/// # Errors
/// Anything else, with what it may be.
pub(crate) fn parse_duration(text: &str) -> Result<Duration, String> {
    let bad = || format!("{text:?} is no duration; write a number above 0 with us, ms or s");
    let (digits, unit) = split(text);
    let number = digits
        .parse::<u64>()
        .ok()
        .filter(|n| *n > 0)
        .ok_or_else(bad)?;
    match unit {
        "us" => Ok(Duration::from_micros(number)),
        "ms" => Ok(Duration::from_millis(number)),
        "s" => Ok(Duration::from_secs(number)),
        _ => Err(bad()),
    }
}

fn split(text: &str) -> (&str, &str) {
    let at = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (digits, unit) = text.split_at(at);
    (digits, unit.trim_start())
}

/// A count with its thousands apart: `1,234,567`.
pub(crate) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A size in the largest unit that it has one of: `1.5 MiB`.
pub(crate) fn size(bytes: u64) -> String {
    match SIZES.iter().find(|(_, unit)| bytes >= *unit) {
        Some((name, unit)) if *unit > 1 => format!("{:.1} {name}", bytes as f64 / *unit as f64),
        _ => format!("{bytes} bytes"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_with_and_without_a_unit() {
        for (text, bytes) in [
            ("512", 512),
            ("64KiB", 64 << 10),
            ("1 MiB", 1 << 20),
            ("2GiB", 2 << 30),
        ] {
            assert_eq!(parse_size(text), Ok(bytes));
        }
        for text in ["", "0", "MiB", "1MB", "-1", "1.5MiB", "99999999999GiB"] {
            assert!(parse_size(text).unwrap_err().contains("KiB, MiB or GiB"));
        }
    }

    #[test]
    fn durations_need_a_unit() {
        assert_eq!(parse_duration("250ms"), Ok(Duration::from_millis(250)));
        for text in ["5", "0s", "1h", "s"] {
            assert!(parse_duration(text).unwrap_err().contains("us, ms or s"));
        }
    }

    #[test]
    fn numbers_are_written_for_people() {
        assert_eq!(
            [0, 999, 1000, 1_234_567].map(count),
            ["0", "999", "1,000", "1,234,567"]
        );
        assert_eq!(
            [1, 1536, 1 << 20].map(size),
            ["1 bytes", "1.5 KiB", "1.0 MiB"]
        );
    }
}
