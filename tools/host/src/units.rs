//! Sizes, durations and counts, as people type and read them.

use std::time::Duration;

/// Names of sizes, the largest first.
const SIZES: [(&str, u64); 4] = [
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("", 1),
];

/// Names of durations, the longest first, in microseconds.
const TIMES: [(&str, u64); 3] = [("s", 1_000_000), ("ms", 1_000), ("us", 1)];

/// Reads a size above 0: bytes, or a whole number with `KiB`, `MiB` or `GiB`.
///
/// # Errors
/// Anything else, with what it may be.
pub(crate) fn parse_size(text: &str) -> Result<u64, String> {
    size_or_none(text)
        .filter(|bytes| *bytes > 0)
        .ok_or_else(|| {
            format!("{text:?} is no size; write bytes, or a number with KiB, MiB or GiB")
        })
}

/// The size that a text is, 0 included.
pub(crate) fn size_or_none(text: &str) -> Option<u64> {
    number(text, &SIZES)
}

/// The duration that a text is, 0 included: a whole number with `us`, `ms` or `s`.
pub(crate) fn duration_or_none(text: &str) -> Option<Duration> {
    number(text, &TIMES).map(Duration::from_micros)
}

/// A number with the name of a unit.
fn number(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let (digits, unit) = split(text);
    let (_, unit) = units.iter().find(|(name, _)| *name == unit)?;
    digits.parse::<u64>().ok()?.checked_mul(*unit)
}

/// A size as it may be typed, in the largest unit that it is a whole number of: `64MiB`.
pub(crate) fn typed_size(bytes: u64) -> String {
    typed(bytes, &SIZES)
}

/// A duration as it may be typed, in the largest unit that it is a whole number of: `250ms`.
pub(crate) fn typed_duration(time: Duration) -> String {
    match u64::try_from(time.as_micros()) {
        Ok(0) => "0s".to_owned(),
        micros => typed(micros.unwrap_or(u64::MAX), &TIMES),
    }
}

fn typed(number: u64, units: &[(&str, u64)]) -> String {
    let whole = units
        .iter()
        .find(|(_, unit)| number.is_multiple_of(*unit) && number >= *unit);
    match whole.or(units.last()) {
        Some((name, unit)) => format!("{}{name}", number / unit),
        None => number.to_string(),
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
    use proptest::prelude::*;

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
        let milliseconds = |n| Some(Duration::from_millis(n));
        assert_eq!(duration_or_none("250ms"), milliseconds(250));
        assert_eq!(duration_or_none("2 s"), milliseconds(2_000));
        assert_eq!(duration_or_none("0s"), milliseconds(0));
        for text in ["5", "1h", "s", "", "18446744073709551615s"] {
            assert_eq!(duration_or_none(text), None);
        }
    }

    proptest! {
        #[test]
        fn what_is_written_as_typed_is_read_again(number: u64) {
            prop_assert_eq!(size_or_none(&typed_size(number)), Some(number));
            let time = Duration::from_micros(number);
            prop_assert_eq!(duration_or_none(&typed_duration(time)), Some(time));
        }
    }

    #[test]
    fn what_is_written_as_typed_is_short() {
        assert_eq!([0, 1_000, 1 << 20].map(typed_size), ["0", "1000", "1MiB"]);
        let times = [0, 5, 5_000, 5_000_000].map(|n| typed_duration(Duration::from_micros(n)));
        assert_eq!(times, ["0s", "5us", "5ms", "5s"]);
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
