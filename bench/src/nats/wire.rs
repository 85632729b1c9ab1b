//! The protocol of NATS on a blocking socket, as little as the bare-socket sides and the load need of it.
//!
//! Nothing of the engine is used here: it is what the engine is measured beside.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::fd::AsFd;
use std::time::Duration;

use memchr::memchr;
use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::time::TimeSpec;
use wasmtime::error::Context as _;
use wasmtime::{Result, bail, ensure};

/// Bytes read at once: what a socket holds at 1,024 outstanding, and more.
const READ_BYTES: usize = 256 << 10;
/// How long nothing may come.
const PATIENCE: Duration = Duration::from_secs(30);

/// A connection.
pub(super) struct Wire {
    stream: TcpStream,
    buffer: Vec<u8>,
    begin: usize,
    end: usize,
    /// What is to be sent with the next [`Wire::flush`].
    pub(super) out: Vec<u8>,
}

/// A message that came.
pub(super) struct Came<'a> {
    pub(super) subject: &'a [u8],
    pub(super) reply: &'a [u8],
    /// Its header block with the version line; empty if it has none.
    pub(super) head: &'a [u8],
    pub(super) payload: &'a [u8],
}

/// What a line says.
enum Line<'a> {
    /// A message: subject, reply, bytes of its headers, and of both together.
    Message(&'a [u8], &'a [u8], usize, usize),
    Ping,
    Other(&'a [u8]),
}

impl Wire {
    /// Connects and waits until the server answers.
    pub(super) fn connect(address: &str) -> Result<Self> {
        let stream = TcpStream::connect(address).context("connecting to the server")?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let mut wire = Self {
            stream,
            buffer: vec![0; READ_BYTES],
            begin: 0,
            end: 0,
            out: Vec::new(),
        };
        wire.say(r#"CONNECT {"verbose":false,"pedantic":false,"headers":true,"no_responders":true,"lang":"bench","version":"0"}"#);
        wire.settle()?;
        Ok(wire)
    }

    /// Adds a line to what is to be sent.
    pub(super) fn say(&mut self, line: &str) {
        self.out.extend_from_slice(line.as_bytes());
        self.out.extend_from_slice(b"\r\n");
    }

    /// Waits until the server has taken in all that was said; no message may come meanwhile.
    pub(super) fn settle(&mut self) -> Result<()> {
        self.say("PING");
        self.flush()?;
        loop {
            while let Some(line) = self.line() {
                let (from, to) = line;
                if self.buffer[from..to].starts_with(b"PONG") {
                    return Ok(());
                }
            }
            self.fill()?;
        }
    }

    /// Sends what is gathered.
    pub(super) fn flush(&mut self) -> Result<()> {
        self.stream.write_all(&self.out)?;
        self.out.clear();
        Ok(())
    }

    /// Reads once, waiting for it.
    pub(super) fn fill(&mut self) -> Result<()> {
        self.buffer.copy_within(self.begin..self.end, 0);
        self.end -= self.begin;
        self.begin = 0;
        let bytes = self.stream.read(&mut self.buffer[self.end..])?;
        ensure!(bytes > 0, "the server has closed the connection");
        self.end += bytes;
        Ok(())
    }

    /// Reads once if anything comes within this time. Whether it did.
    pub(super) fn fill_within(&mut self, time: Duration) -> Result<bool> {
        let mut fds = [PollFd::new(self.stream.as_fd(), PollFlags::POLLIN)];
        if ppoll(&mut fds, Some(TimeSpec::from_duration(time)), None)? == 0 {
            return Ok(false);
        }
        self.fill()?;
        Ok(true)
    }

    /// Takes every message that has been read whole; `take` may add to what is to be sent.
    pub(super) fn drain(&mut self, mut take: impl FnMut(&Came<'_>, &mut Vec<u8>)) -> Result<()> {
        loop {
            let bytes = &self.buffer[self.begin..self.end];
            let Some(end) = memchr(b'\n', bytes) else {
                return Ok(());
            };
            let mut next = end + 1;
            match read_line(&bytes[..end.saturating_sub(1)])? {
                Line::Message(subject, reply, head, total) => {
                    let Some(body) = bytes.get(next..next + total) else {
                        return Ok(());
                    };
                    next += total + 2;
                    if next > bytes.len() {
                        return Ok(());
                    }
                    let (head, payload) = body.split_at(head);
                    let came = Came {
                        subject,
                        reply,
                        head,
                        payload,
                    };
                    take(&came, &mut self.out);
                }
                Line::Ping => self.out.extend_from_slice(b"PONG\r\n"),
                Line::Other(line) if line.starts_with(b"-ERR") => {
                    bail!("the server says {}", String::from_utf8_lossy(line))
                }
                Line::Other(_) => {}
            }
            self.begin += next;
        }
    }

    /// Where the next line is, which is not a message's.
    fn line(&mut self) -> Option<(usize, usize)> {
        let at = memchr(b'\n', &self.buffer[self.begin..self.end])?;
        let from = self.begin;
        self.begin += at + 1;
        Some((from, from + at))
    }
}

/// Reads a line without its end.
fn read_line(line: &[u8]) -> Result<Line<'_>> {
    let (has_head, rest) = match line {
        [b'M', b'S', b'G', b' ', rest @ ..] => (false, rest),
        [b'H', b'M', b'S', b'G', b' ', rest @ ..] => (true, rest),
        b"PING" => return Ok(Line::Ping),
        other => return Ok(Line::Other(other)),
    };
    let mut words = [&rest[..0]; 5];
    let mut count = 0;
    for word in rest.split(|b| *b == b' ') {
        *words.get_mut(count).context("a line with too many words")? = word;
        count += 1;
    }
    let numbers = if has_head { 2 } else { 1 };
    ensure!(count >= 2 + numbers, "a line with too few words");
    let reply = if count > 2 + numbers { words[2] } else { &[] };
    let head = if has_head {
        number(words[count - 2])
    } else {
        0
    };
    Ok(Line::Message(
        words[0],
        reply,
        head,
        number(words[count - 1]),
    ))
}

/// A decimal number of the server's.
pub(super) fn number(digits: &[u8]) -> usize {
    digits
        .iter()
        .fold(0, |n, digit| n * 10 + usize::from(digit - b'0'))
}
