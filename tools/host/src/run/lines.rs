//! Lines of the input: read with a bound, and taken apart.

use std::io::{self, BufRead, Read};

use millpond::{Message, PAYLOAD_BYTES_MAX, subject};

use super::escapes::unescape;

/// Subjects below this are for replies to requests; nobody makes any here.
const REPLIES: &str = "_INBOX.";
/// Longest line, in bytes: a subject, a space and a payload whose every byte may be an escape.
const LINE_BYTES_MAX: usize = subject::SUBJECT_BYTES_MAX + 1 + 4 * PAYLOAD_BYTES_MAX;

/// What reading a line has come to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Read1 {
    /// There is one, in the buffer.
    Line,
    /// There is one that is too long; it was skipped.
    TooLong,
    /// There is none: the input has ended.
    End,
}

/// Reads the next line into `line`, without its line break.
pub(super) fn read_line(input: &mut impl BufRead, line: &mut Vec<u8>) -> io::Result<Read1> {
    line.clear();
    let bound = LINE_BYTES_MAX as u64 + 1;
    if input.by_ref().take(bound).read_until(b'\n', line)? == 0 {
        return Ok(Read1::End);
    }
    if line.last() == Some(&b'\n') {
        line.pop();
        return Ok(Read1::Line);
    }
    if line.len() <= LINE_BYTES_MAX {
        return Ok(Read1::Line);
    }
    input.skip_until(b'\n')?;
    Ok(Read1::TooLong)
}

/// Says of a line that it is too long.
pub(super) fn too_long() -> String {
    format!("it is longer than {LINE_BYTES_MAX} bytes")
}

/// The message that a line is: a subject, and what follows the first space.
///
/// # Errors
/// What is wrong with it.
pub(super) fn message(line: &[u8], escaped: bool) -> Result<Message, String> {
    if line.is_empty() {
        return Err("it is empty; a line is `SUBJECT PAYLOAD`".into());
    }
    let space = line.iter().position(|byte| *byte == b' ');
    let (subject, payload) = match space {
        Some(0) => return Err("it begins with a space; a line is `SUBJECT PAYLOAD`".into()),
        Some(at) => (&line[..at], &line[at + 1..]),
        None => (line, &[][..]),
    };
    let subject = std::str::from_utf8(subject).map_err(|_| "its subject is not UTF-8")?;
    if subject.starts_with(REPLIES) {
        return Err(format!(
            "bad subject {subject:?}: those below _INBOX are for replies"
        ));
    }
    let made = match escaped {
        true => Message::new(subject, &unescape(payload)?),
        false => Message::new(subject, payload),
    };
    made.map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_a_subject_and_all_that_follows_the_first_space() {
        for (line, subject, payload) in [
            ("a.b c d", "a.b", "c d"),
            ("a  b", "a", " b"),
            ("a", "a", ""),
            ("a ", "a", ""),
            ("a \\n", "a", "\\n"),
        ] {
            let message = message(line.as_bytes(), false).expect("it is a good line");
            assert_eq!(
                (message.subject(), message.payload()),
                (subject, payload.as_bytes())
            );
        }
        let escaped = message(b"a \\n", true).expect("it is a good line");
        assert_eq!(escaped.payload(), b"\n");
    }

    #[test]
    fn bad_lines_say_why() {
        for (line, why) in [
            (&b""[..], "it is empty"),
            (b" a", "begins with a space"),
            (b"a..b c", "empty token"),
            (b"a.* c", "wildcards"),
            (b"\xff c", "not UTF-8"),
            (b"a\r", "control character"),
            (b"_INBOX.1 c", "for replies"),
        ] {
            let error = message(line, false).expect_err("it is a bad line");
            assert!(error.contains(why), "{error}");
        }
        let error = message(b"a \\q", true).expect_err("it is a bad line");
        assert!(error.contains("is no escape"), "{error}");
    }

    #[test]
    fn lines_end_at_a_line_break_or_the_end_and_those_too_long_are_skipped() {
        let text = [
            b"a b\n\n".to_vec(),
            vec![b'x'; LINE_BYTES_MAX],
            b"\n".to_vec(),
        ]
        .concat();
        let text = [text, vec![b'x'; LINE_BYTES_MAX + 1], b"\nlast".to_vec()].concat();
        let (mut input, mut line) = (&text[..], Vec::new());
        let mut next = || {
            (
                read_line(&mut input, &mut line).expect("it is in memory"),
                line.len(),
            )
        };
        assert_eq!(next(), (Read1::Line, 3));
        assert_eq!(next(), (Read1::Line, 0));
        assert_eq!(next(), (Read1::Line, LINE_BYTES_MAX));
        assert_eq!(next().0, Read1::TooLong);
        assert_eq!(next(), (Read1::Line, 4));
        assert_eq!(next().0, Read1::End);
    }
}
