//! A header block as it comes: its version line with a status, and one header by its name, without a copy.
//! Source: <https://github.com/nats-io/nats-architecture-and-design/blob/main/adr/ADR-4.md>.
//!
//! Knows neither the operations around it nor what a status means.

/// What every header block begins with.
pub(crate) const VERSION: &[u8] = b"NATS/1.0";

/// Bytes of a block beside its headers: the version line and the blank line.
pub(crate) const BLOCK_FRAME_BYTES: usize = VERSION.len() + 4;

/// Where the parts of a header block lie in it: ranges of its bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Block {
    /// The number behind the version, where there is one: three digits.
    pub(crate) status: Option<u16>,
    /// The text behind the status: where it begins and ends.
    pub(crate) description: (usize, usize),
    /// The headers, each line ended by CR LF: where they begin and end.
    pub(crate) headers: (usize, usize),
}

impl Block {
    /// Takes a block apart. `None` if it has no version line, or no blank line at its end: the server does not look at what
    /// publishers send as headers, so it may be anything.
    pub(crate) fn parse(block: &[u8]) -> Option<Self> {
        let rest = block.strip_prefix(VERSION)?;
        let (line, lines_start) = match rest {
            [b'\r', b'\n', ..] => (&rest[..0], VERSION.len() + 2),
            _ => {
                let line = &rest[..memchr::memchr(b'\r', rest)?];
                (line, VERSION.len() + line.len() + 2)
            }
        };
        // The blank line's own end; the line before it, be it the version line, ends just before.
        if lines_start + 2 > block.len() || !block.ends_with(b"\r\n\r\n") {
            return None;
        }
        if block[lines_start - 1] != b'\n' {
            return None;
        }
        let (status, description) = status(line);
        Some(Self {
            status,
            description: description.map_or((0, 0), |at| {
                (VERSION.len() + at, VERSION.len() + line.len())
            }),
            headers: (lines_start, block.len() - 2),
        })
    }
}

/// The status of what stands behind the version (` 409 Consumer Deleted`), and where its text begins, if there is any.
fn status(line: &[u8]) -> (Option<u16>, Option<usize>) {
    match line {
        [
            b' ',
            a @ b'1'..=b'9',
            b @ b'0'..=b'9',
            c @ b'0'..=b'9',
            text @ ..,
        ] if text.first().is_none_or(|&b| b == b' ') => {
            let digit = |d: u8| u16::from(d - b'0');
            let status = digit(*a) * 100 + digit(*b) * 10 + digit(*c);
            (Some(status), (text.len() > 1).then_some(5))
        }
        _ => (None, None),
    }
}

/// The value of the first header of this name, whatever its case, in lines as [`crate::message::Message::raw_headers`] has them.
/// Leading and trailing blanks are no part of it. `None` if there is none, or it is no text.
pub(crate) fn find<'a>(headers: &'a [u8], name: &str) -> Option<&'a str> {
    let value = lines(headers).find_map(|line| value_of(line, name.as_bytes()))?;
    std::str::from_utf8(value).ok()
}

/// The lines, each with its line end.
pub(crate) fn lines(headers: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = headers;
    std::iter::from_fn(move || {
        let end = memchr::memchr(b'\n', rest)? + 1;
        let (line, after) = rest.split_at(end);
        rest = after;
        Some(line)
    })
}

/// The value in a line, if it is of the header `name`.
pub(crate) fn value_of<'a>(line: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let colon = line.get(name.len())?;
    if *colon != b':' || !line[..name.len()].eq_ignore_ascii_case(name) {
        return None;
    }
    Some(line[name.len() + 1..].trim_ascii())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn part(block: &str, (start, end): (usize, usize)) -> &str {
        &block[start..end]
    }

    #[test]
    fn version_line_alone() {
        let block = "NATS/1.0\r\n\r\n";
        let b = Block::parse(block.as_bytes()).unwrap();
        assert_eq!((b.status, part(block, b.headers)), (None, ""));
        assert_eq!(block.len(), BLOCK_FRAME_BYTES);
    }

    #[test]
    fn headers_and_status_are_told_apart() {
        let block = "NATS/1.0 409 Message Size Exceeds MaxBytes\r\nNats-Pending-Messages: 3\r\nb: c\r\n\r\n";
        let b = Block::parse(block.as_bytes()).unwrap();
        assert_eq!(b.status, Some(409));
        assert_eq!(part(block, b.description), "Message Size Exceeds MaxBytes");
        assert_eq!(
            part(block, b.headers),
            "Nats-Pending-Messages: 3\r\nb: c\r\n"
        );
        let bare = Block::parse(b"NATS/1.0 503\r\n\r\n").unwrap();
        assert_eq!((bare.status, bare.description), (Some(503), (0, 0)));
    }

    #[test]
    fn what_is_no_status_is_none() {
        for line in [
            "NATS/1.0 4o9 x",
            "NATS/1.0 40",
            "NATS/1.0 4040",
            "NATS/1.0409",
            "NATS/1.0 099",
        ] {
            let block = format!("{line}\r\n\r\n");
            assert_eq!(
                Block::parse(block.as_bytes()).unwrap().status,
                None,
                "{line}"
            );
        }
    }

    #[test]
    fn what_is_no_block_is_refused() {
        for block in [
            "",
            "NATS/1.0",
            "NATS/1.0\r\n",
            "NATS/1.0\n\n",
            "HTTP/1.1\r\n\r\n",
            "NATS/1.0\r\na: b\r\n",
            "NATS/1.0\r\na: b\n\n",
            "NATS/1.0 1\r",
            "NATS/1.0\rx\r\n\r\n",
            "nats/1.0\r\n\r\n",
        ] {
            assert_eq!(Block::parse(block.as_bytes()), None, "{block:?}");
        }
    }

    #[test]
    fn headers_are_found_by_name_in_any_case() {
        let h = b"A: 1\r\nNats-Pending-Bytes:  77 \r\na: 2\r\nno colon\r\nEmpty:\r\nbad: \xff\r\n";
        assert_eq!(find(h, "nats-pending-BYTES"), Some("77"));
        assert_eq!(find(h, "a"), Some("1"));
        assert_eq!(find(h, "Empty"), Some(""));
        for absent in ["Nats-Pending", "no colon", "bad", "", "b"] {
            assert_eq!(find(h, absent), None, "{absent}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_taken_without_panic(block in prop::collection::vec(any::<u8>(), 0..80), whole in any::<bool>()) {
            let block = match whole {
                true => [VERSION, &block, b"\r\n\r\n"].concat(),
                false => block,
            };
            if let Some(b) = Block::parse(&block) {
                let headers = &block[b.headers.0..b.headers.1];
                prop_assert!(headers.is_empty() || headers.ends_with(b"\r\n"));
                prop_assert!(b.description.1 <= b.headers.0);
                find(headers, "k");
            }
        }
    }
}
