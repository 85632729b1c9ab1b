//! The line of a message: the fields of MSG and HMSG.
//!
//! Owns their syntax alone; the limits of what they say are `parse.rs`'s.

use crate::message::{Format, Layout, Span};

use super::parse::{WireError, shown};

/// Most that any size in a line may say, in bytes: above what a server can be set to (64 MiB), below what a span can hold.
const SIZE_MAX: u64 = 1 << 30;

/// The fields of a message's line.
pub(super) struct Line {
    /// Where it lies in the line.
    pub(super) subject: (usize, usize),
    /// Where it lies in the line; empty where there is none.
    pub(super) reply_to: (usize, usize),
    /// The subscription's number.
    pub(super) sid: u64,
    /// Bytes of the header block; 0 where there is none.
    pub(super) header_bytes: usize,
    /// Bytes of header block and payload together.
    pub(super) total_bytes: usize,
}

impl Line {
    /// Where its subjects lie in a frame that begins with the first of them.
    pub(super) fn layout(&self) -> Layout {
        let start = self.subject.0;
        let span = |(a, b): (usize, usize)| Span::since(a - start, b - start);
        Layout {
            subject: span(self.subject),
            reply_to: span(self.reply_to),
            headers: Span::default(),
            payload: Span::default(),
            format: Format::Raw,
        }
    }
}

/// The fields behind MSG (`subject sid [reply] bytes`) or HMSG (`subject sid [reply] header-bytes bytes`), from `start` on.
///
/// The sizes are read from the line's end: only the subject and the reply subject are long, and both are passed in one step.
#[inline(always)]
pub(super) fn fields(line: &[u8], start: usize, has_headers: bool) -> Result<Line, WireError> {
    read(line, start, has_headers).map_err(|reason| malformed(line, reason))
}

#[inline(always)]
fn read(line: &[u8], start: usize, has_headers: bool) -> Result<Line, &'static str> {
    let subject_start = skip_blanks(line, start);
    let subject_len = memchr::memchr2(b' ', b'\t', &line[subject_start..])
        .ok_or("it has no subject or no subscription")?;
    let subject = (subject_start, subject_start + subject_len);
    let (sid, sid_end) = number_at(line, skip_blanks(line, subject.1))?;

    let (total_bytes, mut rest_end) = size_before(line, sid_end, line.len())?;
    let mut header_bytes = 0;
    if has_headers {
        (header_bytes, rest_end) = size_before(line, sid_end, rest_end)?;
    }
    if header_bytes > total_bytes {
        return Err("its headers are larger than the whole");
    }
    let reply_start = skip_blanks(&line[..rest_end], sid_end);
    let reply_end = trim_blanks(line, reply_start, rest_end);
    if memchr::memchr2(b' ', b'\t', &line[reply_start..reply_end]).is_some() {
        return Err("it has too many fields");
    }
    Ok(Line {
        subject,
        reply_to: (reply_start, reply_end),
        sid,
        header_bytes,
        total_bytes,
    })
}

/// The number that begins at `start`, and where it ends: at a blank.
#[inline]
fn number_at(line: &[u8], start: usize) -> Result<(u64, usize), &'static str> {
    let Some((number, digits)) = leading_decimal(&line[start..]) else {
        return Err("its subscription is no number");
    };
    match line.get(start + digits) {
        Some(byte) if is_blank(byte) => Ok((number, start + digits)),
        Some(_) => Err("its subscription is no number"),
        None => Err("it has no size"),
    }
}

/// The size that is the last field of `line[after..end]`, and where that field begins: behind a blank.
#[inline]
fn size_before(line: &[u8], after: usize, end: usize) -> Result<(usize, usize), &'static str> {
    let end = trim_blanks(line, after, end);
    let (mut start, mut size, mut unit) = (end, 0u64, 1u64);
    while start > after
        && let Some(digit) = digit(&line[start - 1])
    {
        size = size.wrapping_add(digit.wrapping_mul(unit));
        unit = unit.wrapping_mul(10);
        start -= 1;
    }
    if end == after {
        return Err("it has too few fields");
    }
    let is_field = start > after && start < end && is_blank(&line[start - 1]);
    match is_field && end - start <= DIGITS_SAFE && size <= SIZE_MAX {
        true => Ok((size as usize, start)),
        false => Err("its size is no number, or too large"),
    }
}

#[inline]
fn is_blank(byte: &u8) -> bool {
    matches!(byte, b' ' | b'\t')
}

/// The first place from `at` on that has no blank.
#[inline]
fn skip_blanks(line: &[u8], mut at: usize) -> usize {
    while line.get(at).is_some_and(is_blank) {
        at += 1;
    }
    at
}

/// The end of `line[start..end]` without the blanks that it ends with.
#[inline]
fn trim_blanks(line: &[u8], start: usize, mut end: usize) -> usize {
    while end > start && is_blank(&line[end - 1]) {
        end -= 1;
    }
    end
}

/// Digits that any number of which fits into 64 bits.
const DIGITS_SAFE: usize = 19;

#[inline]
fn digit(byte: &u8) -> Option<u64> {
    let digit = byte.wrapping_sub(b'0');
    (digit <= 9).then_some(u64::from(digit))
}

/// The number that `bytes` begin with, and how many digits it has. `None` if it has none, or is above 64 bits.
#[inline]
pub(crate) fn leading_decimal(bytes: &[u8]) -> Option<(u64, usize)> {
    let (mut digits, mut number) = (0, 0u64);
    while let Some(digit) = bytes.get(digits).and_then(digit) {
        number = number.wrapping_mul(10).wrapping_add(digit);
        digits += 1;
    }
    match digits {
        0 => None,
        1..=DIGITS_SAFE => Some((number, digits)),
        _ => Some((long_decimal(&bytes[..digits])?, digits)),
    }
}

/// A number of at most 64 bits, in decimal digits alone.
pub(crate) fn decimal(bytes: &[u8]) -> Option<u64> {
    let (number, digits) = leading_decimal(bytes)?;
    (digits == bytes.len()).then_some(number)
}

/// A number of more digits than are safe.
#[cold]
fn long_decimal(digits: &[u8]) -> Option<u64> {
    digits.iter().try_fold(0u64, |number, byte| {
        number.checked_mul(10)?.checked_add(digit(byte)?)
    })
}

#[cold]
fn malformed(line: &[u8], reason: &'static str) -> WireError {
    WireError::Message {
        reason,
        line: shown(line),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn numbers_end_where_64_bits_do() {
        assert_eq!(decimal(b"18446744073709551615"), Some(u64::MAX));
        assert_eq!(decimal(b"18446744073709551616"), None);
        assert_eq!(
            decimal(b"9999999999999999999"),
            Some(9_999_999_999_999_999_999)
        );
        assert_eq!(decimal(b"000000000000000000000000000007"), Some(7));
        for none in [&b""[..], b"-1", b"+1", b" 1", b"1 ", b"1x", b"x"] {
            assert_eq!(decimal(none), None);
        }
        assert_eq!(leading_decimal(b"12.3"), Some((12, 2)));
        assert_eq!(leading_decimal(b".3"), None);
    }

    proptest! {
        #[test]
        fn any_number_is_read_back(number: u64, zeros in 0usize..25, behind in "[^0-9]{0,3}") {
            let text = format!("{}{number}", "0".repeat(zeros));
            prop_assert_eq!(decimal(text.as_bytes()), Some(number));
            let more = format!("{text}{behind}");
            prop_assert_eq!(leading_decimal(more.as_bytes()), Some((number, text.len())));
        }
    }
}
