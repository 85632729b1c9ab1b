//! Reading what a server says: lines, and messages in place.

use memchr::{memchr, memmem};

use crate::core::stamp::{Found, Stamp};

/// Longest control line. Default 8 KiB: servers send at most 4.
const LINE_BYTES_MAX: usize = 8 << 10;
/// How a stamp's header begins, on a line of its own: `STAMP_HEADER`.
const STAMP_LINE: &[u8] = b"\r\nLoadgen:";

/// What a server says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Said<'a> {
    /// A message.
    Message(Came<'a>),
    /// It wants to be answered.
    Ping,
    /// It has done all that was asked of it.
    Pong,
    /// What it is, as JSON.
    Info(&'a [u8]),
    /// Something is wrong, in its words.
    Error(&'a [u8]),
    /// It has understood.
    Ok,
}

/// A message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Came<'a> {
    /// Where it was sent to.
    pub(crate) subject: &'a [u8],
    /// Which subscription it is for.
    pub(crate) subscription: u64,
    /// Its headers with the version line; empty if it has none.
    pub(crate) head: &'a [u8],
    /// Its payload.
    pub(crate) payload: &'a [u8],
}

/// Why bytes can't be read.
pub(crate) type Malformed = &'static str;

/// The first thing in these bytes, and how many it takes; none while it is not whole.
///
/// # Errors
/// What no server says.
pub(crate) fn next(bytes: &[u8]) -> Result<Option<(Said<'_>, usize)>, Malformed> {
    let Some(end) = memchr(b'\n', bytes) else {
        return match bytes.len() > LINE_BYTES_MAX && !bytes.starts_with(b"INFO") {
            true => Err("a line does not end"),
            false => Ok(None),
        };
    };
    let line = bytes[..end].strip_suffix(b"\r").unwrap_or(&bytes[..end]);
    let said = match line {
        [b'M', b'S', b'G', b' ', rest @ ..] => return message(rest, false, bytes, end + 1),
        [b'H', b'M', b'S', b'G', b' ', rest @ ..] => return message(rest, true, bytes, end + 1),
        b"PING" => Said::Ping,
        b"PONG" => Said::Pong,
        b"+OK" => Said::Ok,
        [b'I', b'N', b'F', b'O', b' ', json @ ..] => Said::Info(json),
        [b'-', b'E', b'R', b'R', b' ', why @ ..] => Said::Error(why),
        _ => return Err("a line is not of the protocol"),
    };
    Ok(Some((said, end + 1)))
}

/// `SUBJECT SUBSCRIPTION [REPLY] [HEAD_BYTES] BYTES` and what follows.
fn message<'a>(
    line: &'a [u8],
    has_head: bool,
    bytes: &'a [u8],
    from: usize,
) -> Result<Option<(Said<'a>, usize)>, Malformed> {
    let mut words = [&line[..0]; 5];
    let mut count = 0;
    for word in line
        .split(|byte| *byte == b' ')
        .filter(|word| !word.is_empty())
    {
        *words
            .get_mut(count)
            .ok_or("a message's line has too many words")? = word;
        count += 1;
    }
    let least = 3 + usize::from(has_head);
    if !(least..=least + 1).contains(&count) {
        return Err("a message's line has too few words, or too many");
    }
    let number = |word| number(word).ok_or("a message's line has a word that is no number");
    let total = number(words[count - 1])? as usize;
    let head = if has_head {
        number(words[count - 2])? as usize
    } else {
        0
    };
    if head > total {
        return Err("a message's headers are larger than it");
    }
    let Some(body) = bytes.get(from..from + total + 2) else {
        return Ok(None);
    };
    let (head, payload) = body[..total].split_at(head);
    let came = Came {
        subject: words[0],
        subscription: number(words[1])?,
        head,
        payload,
    };
    Ok(Some((Said::Message(came), from + total + 2)))
}

/// A decimal number of at most 18 digits.
pub(crate) fn number(digits: &[u8]) -> Option<u64> {
    let all = (1..=18).contains(&digits.len()) && digits.iter().all(u8::is_ascii_digit);
    all.then(|| {
        digits
            .iter()
            .fold(0, |n, digit| n * 10 + u64::from(digit - b'0'))
    })
}

impl Came<'_> {
    /// The number at the end of its subject.
    pub(crate) fn last_number(&self) -> Option<u64> {
        let at = memchr::memrchr(b'.', self.subject)?;
        number(&self.subject[at + 1..])
    }

    /// The status that its headers begin with, such as 503: nobody listens.
    pub(crate) fn status(&self) -> Option<u64> {
        number(self.head.strip_prefix(b"NATS/1.0 ")?.get(..3)?)
    }

    /// Its stamp, in its headers if it is there, or else in its payload.
    pub(crate) fn stamp(&self) -> Found {
        match memmem::find(self.head, STAMP_LINE) {
            None => Stamp::of_payload(self.payload),
            Some(at) => {
                let value = &self.head[at + STAMP_LINE.len()..];
                let end = memchr(b'\r', value).unwrap_or(value.len());
                Stamp::of_header(value[..end].trim_ascii(), self.payload)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::stamp::STAMP_HEADER;
    use proptest::prelude::*;

    fn said(bytes: &[u8]) -> (Said<'_>, usize) {
        next(bytes).unwrap().unwrap()
    }

    #[test]
    fn what_servers_say_is_read() {
        assert_eq!(said(b"PING\r\nx"), (Said::Ping, 6));
        assert_eq!(said(b"PONG\r\n"), (Said::Pong, 6));
        assert_eq!(said(b"+OK\r\n"), (Said::Ok, 5));
        assert_eq!(said(b"INFO {}\r\n"), (Said::Info(b"{}"), 9));
        assert_eq!(said(b"-ERR 'no'\r\n").0, Said::Error(b"'no'"));
        let came = |head, payload| {
            Said::Message(Came {
                subject: b"a.12",
                subscription: 7,
                head,
                payload,
            })
        };
        assert_eq!(said(b"MSG a.12 7 2\r\nhi\r\nPING"), (came(b"", b"hi"), 18));
        assert_eq!(said(b"MSG a.12 7 re.ply 0\r\n\r\n").0, came(b"", b""));
        assert_eq!(
            said(b"HMSG a.12 7 12 14\r\nNATS/1.0\r\n\r\nhi\r\n").0,
            came(b"NATS/1.0\r\n\r\n", b"hi")
        );
    }

    #[test]
    fn numbers_statuses_and_stamps_are_found() {
        let Said::Message(came) = said(b"HMSG _I.x.12 1 16 16\r\nNATS/1.0 503\r\n\r\n\r\n").0
        else {
            panic!("it is a message");
        };
        assert_eq!(
            (came.last_number(), came.status(), came.stamp()),
            (Some(12), Some(503), Found::None)
        );
        let stamp = Stamp {
            run: 1,
            connection: 2,
            sequence: 3,
        };
        let digits = String::from_utf8(stamp.digits(b"hi").to_vec()).unwrap();
        let head = format!("NATS/1.0\r\na: b\r\n{STAMP_HEADER}: {digits}\r\n\r\n");
        let came = Came {
            subject: b"a",
            subscription: 1,
            head: head.as_bytes(),
            payload: b"hi",
        };
        assert_eq!(came.stamp(), Found::Stamp(stamp, true));
    }

    #[test]
    fn what_no_server_says_is_refused() {
        for bytes in [
            &b"HELLO\r\n"[..],
            b"MSG a 1\r\n",
            b"MSG a x 1\r\nz\r\n",
            b"MSG a 1 r r r 1\r\n",
            b"HMSG a 1 9 8\r\n",
            b"MSG a 1 -1\r\n",
        ] {
            assert!(next(bytes).is_err(), "{}", String::from_utf8_lossy(bytes));
        }
        assert!(next(&[b'x'; LINE_BYTES_MAX + 1]).is_err());
    }

    proptest! {
        #[test]
        fn what_is_not_whole_is_waited_for(payload: Vec<u8>, cut: prop::sample::Index) {
            let mut bytes = format!("MSG a 1 {}\r\n", payload.len()).into_bytes();
            bytes.extend_from_slice(&payload);
            bytes.extend_from_slice(b"\r\n");
            prop_assert_eq!(next(&bytes[..cut.index(bytes.len())]), Ok(None));
            let (whole, used) = next(&bytes).unwrap().unwrap();
            prop_assert!(matches!(whole, Said::Message(came) if came.payload == payload));
            prop_assert_eq!(used, bytes.len());
        }

        #[test]
        fn no_bytes_make_it_panic(bytes: Vec<u8>) {
            let _ = next(&bytes);
            let _ = next(&[b"HMSG ", &bytes[..]].concat());
        }
    }
}
