//! How bytes that are not one line of text are written, and read.

use std::borrow::Cow;

/// Whether a payload is one line of text, which needs no escapes.
pub(super) fn is_plain(payload: &[u8]) -> bool {
    !payload.contains(&b'\n') && std::str::from_utf8(payload).is_ok()
}

/// Writes a payload with escapes: line breaks, backslashes and other control bytes, and what is not UTF-8.
pub(super) fn escape(payload: &[u8], into: &mut Vec<u8>) {
    for chunk in payload.utf8_chunks() {
        for byte in chunk.valid().bytes() {
            match byte {
                b'\n' => into.extend(b"\\n"),
                b'\r' => into.extend(b"\\r"),
                b'\t' => into.extend(b"\\t"),
                b'\\' => into.extend(b"\\\\"),
                byte if byte.is_ascii_control() => hex(byte, into),
                byte => into.push(byte),
            }
        }
        chunk.invalid().iter().for_each(|byte| hex(*byte, into));
    }
}

fn hex(byte: u8, into: &mut Vec<u8>) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    into.extend(b"\\x");
    into.extend([byte >> 4, byte & 15].map(|digit| DIGITS[usize::from(digit)]));
}

/// Reads a payload with escapes.
///
/// # Errors
/// A backslash that no escape follows.
pub(super) fn unescape(text: &[u8]) -> Result<Cow<'_, [u8]>, String> {
    if !text.contains(&b'\\') {
        return Ok(Cow::Borrowed(text));
    }
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((byte, after)) = rest.split_first() {
        rest = after;
        if *byte != b'\\' {
            bytes.push(*byte);
            continue;
        }
        let (byte, length) = match rest {
            [b'n', ..] => (b'\n', 1),
            [b'r', ..] => (b'\r', 1),
            [b't', ..] => (b'\t', 1),
            [b'\\', ..] => (b'\\', 1),
            [b'x', high, low, ..] => (digits(*high, *low).ok_or_else(|| bad(rest))?, 3),
            _ => return Err(bad(rest)),
        };
        bytes.push(byte);
        rest = &rest[length..];
    }
    Ok(Cow::Owned(bytes))
}

fn bad(rest: &[u8]) -> String {
    let shown = String::from_utf8_lossy(&rest[..rest.len().min(3)]).into_owned();
    format!("`\\{shown}` is no escape; write \\n, \\r, \\t, \\\\ or \\x and two hexadecimal digits")
}

fn digits(high: u8, low: u8) -> Option<u8> {
    let digit = |byte: u8| char::from(byte).to_digit(16);
    u8::try_from(digit(high)? << 4 | digit(low)?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn escaped(payload: &[u8]) -> String {
        let mut text = Vec::new();
        escape(payload, &mut text);
        String::from_utf8(text).expect("escapes are text")
    }

    #[test]
    fn every_byte_comes_back_as_one_line() {
        let all: Vec<u8> = (0..=255).collect();
        let text = escaped(&all);
        assert!(is_plain(text.as_bytes()));
        assert_eq!(unescape(text.as_bytes()).expect("it was escaped"), all);
    }

    #[test]
    fn escapes_are_as_documented() {
        assert_eq!(escaped("a\nb\\ü\0".as_bytes()), "a\\nb\\\\ü\\x00");
        assert_eq!(escaped(b"\xff\r\t"), "\\xff\\r\\t");
        assert!(is_plain(b"a\\b \t {}") && !is_plain(b"a\nb") && !is_plain(b"\xff"));
    }

    #[test]
    fn what_is_no_escape_is_refused() {
        for text in [&b"\\"[..], b"a\\q", b"\\x1", b"\\xg0"] {
            assert!(
                unescape(text)
                    .expect_err("no escape")
                    .contains("is no escape")
            );
        }
    }
}
