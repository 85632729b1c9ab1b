//! What a PUB or HPUB carries: its header block, put together of a message's own headers and those that the engine adds.
//!
//! Owns how headers are merged, counted and written; the operations are `write.rs`'s.

use super::headers::{self, BLOCK_FRAME_BYTES, VERSION};
use super::write::{WriteError, WriteLimits};

/// What a PUB or HPUB carries beside its subjects.
pub(super) struct Parts<'a> {
    /// Headers that come first, and in the place of those of the same name.
    pub(super) extra: &'a [(&'a str, &'a str)],
    /// Names of headers of the message's own that are left out.
    pub(super) dropped: &'a [&'a str],
    /// Header lines of the message's own, each with its line end.
    pub(super) lines: &'a [u8],
    /// What follows the headers.
    pub(super) payload: &'a [u8],
}

impl<'a> Parts<'a> {
    /// The message's own header lines that stay; all of them as one where none can go.
    fn kept(&self) -> impl Iterator<Item = &'a [u8]> {
        let (extra, dropped) = (self.extra, self.dropped);
        let (whole, lines) = match extra.is_empty() && dropped.is_empty() {
            true => (self.lines, &b""[..]),
            false => (&b""[..], self.lines),
        };
        let goes = move |line: &[u8]| {
            let mut names = extra.iter().map(|(key, _)| key).chain(dropped);
            names.any(|name| headers::value_of(line, name.as_bytes()).is_some())
        };
        std::iter::once(whole).chain(headers::lines(lines).filter(move |line| !goes(line)))
    }

    /// Bytes of the header block; 0 where there is none.
    pub(super) fn header_bytes(&self, limits: &WriteLimits) -> Result<usize, WriteError> {
        if self.extra.is_empty() && self.lines.is_empty() {
            return Ok(0);
        }
        let mut bytes = self.kept().map(<[u8]>::len).sum();
        if bytes == 0 && self.extra.is_empty() {
            return Ok(0);
        }
        if !limits.headers {
            return Err(WriteError::NoHeaders);
        }
        for (key, value) in self.extra {
            check_header(key, value)?;
            bytes += key.len() + value.len() + 4;
        }
        let bytes_max = limits.header_bytes_max;
        match bytes > bytes_max {
            true => Err(WriteError::Headers { bytes, bytes_max }),
            false => Ok(bytes + BLOCK_FRAME_BYTES),
        }
    }

    /// Appends the header block, which has the bytes that [`Self::header_bytes`] says.
    pub(super) fn put_headers(&self, buffer: &mut Vec<u8>) {
        put_words(buffer, &[VERSION, b"\r\n"]);
        for (key, value) in self.extra {
            put_words(buffer, &[key.as_bytes(), b": ", value.as_bytes(), b"\r\n"]);
        }
        for kept in self.kept() {
            put_words(buffer, &[kept]);
        }
        put_words(buffer, &[b"\r\n"]);
    }
}

/// Appends what stands one after another.
#[inline]
pub(super) fn put_words(buffer: &mut Vec<u8>, words: &[&[u8]]) {
    for word in words {
        buffer.extend_from_slice(word);
    }
}

/// Whether it can stand between the blanks of a line. One pass without a branch a byte: this is on the path of every publish.
pub(super) fn is_word(text: &[u8]) -> bool {
    let bad = |bad, &b: &u8| bad | (b <= b' ') | (b == 0x7f);
    !text.is_empty() && !text.iter().fold(false, bad)
}

/// Checks a header as [`crate::message`] does for those of a message.
fn check_header(key: &str, value: &str) -> Result<(), WriteError> {
    let reason = if !is_word(key.as_bytes()) || key.contains(':') {
        "its key is empty, or has white space, a colon or a control character"
    } else if memchr::memchr2(b'\r', b'\n', value.as_bytes()).is_some() {
        "its value has a line break"
    } else {
        return Ok(());
    };
    Err(WriteError::Header {
        key: key.chars().take(64).collect(),
        reason,
    })
}
