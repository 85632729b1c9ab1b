//! Sending: messages are formatted into one buffer, which is written when it is full or when the next message is not due yet.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

use parking_lot::Mutex;

use super::connection::peer;
use super::wire::WriteHalf;
use crate::core::payloads::StampPlace;
use crate::core::stamp::STAMP_HEADER;
use crate::exit::{Exit, Failed};
use crate::plan::Messages;
use crate::run::outlet::{Outgoing, Outlet};

/// Bytes gathered until they are written in any case. Default 32 KiB: at 128 bytes a message a write costs each 30 ns.
const WRITE_BYTES: usize = 32 << 10;

/// The sending half of a connection, which its receiver answers the server's PING on.
#[derive(Debug)]
pub(crate) struct Half {
    writes: Mutex<WriteHalf>,
    /// Set where the sender was just writing.
    pong_due: AtomicBool,
}

impl Half {
    /// Of this connection.
    pub(crate) fn new(writes: WriteHalf) -> Self {
        Self {
            writes: Mutex::new(writes),
            pong_due: AtomicBool::new(false),
        }
    }

    /// Answers a PING, now or with what is being written.
    pub(crate) fn pong(&self) -> io::Result<()> {
        self.pong_due.store(true, SeqCst);
        match self.writes.try_lock() {
            Some(mut writes) => self.answer(&mut writes),
            None => Ok(()),
        }
    }

    fn write(&self, bytes: &[u8]) -> io::Result<()> {
        let mut writes = self.writes.lock();
        writes.write_all(bytes)?;
        self.answer(&mut writes)?;
        drop(writes);
        // One that came while the lock was let go of.
        match self.pong_due.load(SeqCst) {
            true => self.pong(),
            false => Ok(()),
        }
    }

    fn answer(&self, writes: &mut WriteHalf) -> io::Result<()> {
        match self.pong_due.swap(false, SeqCst) {
            true => writes.write_all(b"PONG\r\n"),
            false => Ok(()),
        }
    }
}

/// Formats and writes the messages of one connection.
#[derive(Debug)]
pub(crate) struct NatsOutlet {
    half: Arc<Half>,
    peer: String,
    buffer: Vec<u8>,
    /// `PUB SUBJECT ` or `HPUB SUBJECT `, of each subject.
    begins: Vec<Vec<u8>>,
    /// What reply subjects begin with; none where no reply is wanted.
    inbox: Option<Vec<u8>>,
    head: Head,
    stamp: StampPlace,
}

/// The header block of every message.
#[derive(Debug)]
struct Head {
    /// Empty where there are no headers.
    bytes: Vec<u8>,
    /// Where the stamp's digits go.
    digits_at: Option<usize>,
}

impl NatsOutlet {
    /// For these messages, on this connection; with the beginning of reply subjects, if replies are wanted.
    pub(crate) fn new(half: Arc<Half>, messages: &Messages, inbox: Option<String>) -> Self {
        let head = Head::new(messages);
        let verb = if head.bytes.is_empty() { "PUB" } else { "HPUB" };
        let begin = |subject: &String| format!("{verb} {subject} ").into_bytes();
        let peer = peer(half.writes.lock().socket());
        Self {
            half,
            peer,
            buffer: Vec::with_capacity(2 * WRITE_BYTES),
            begins: messages.subjects.names().iter().map(begin).collect(),
            inbox: inbox.map(String::into_bytes),
            head,
            stamp: messages.stamp,
        }
    }
}

impl Head {
    fn new(messages: &Messages) -> Self {
        let mut bytes = b"NATS/1.0\r\n".to_vec();
        let mut digits_at = None;
        if messages.stamp == StampPlace::Header {
            bytes.extend_from_slice(STAMP_HEADER.as_bytes());
            bytes.extend_from_slice(b": ");
            digits_at = Some(bytes.len());
            bytes.extend_from_slice(&[b'0'; 48]);
            bytes.extend_from_slice(b"\r\n");
        }
        for (key, value) in &messages.headers {
            bytes.extend_from_slice(format!("{key}: {value}\r\n").as_bytes());
        }
        bytes.extend_from_slice(b"\r\n");
        if digits_at.is_none() && messages.headers.is_empty() {
            bytes.clear();
        }
        Self { bytes, digits_at }
    }
}

impl Outlet for NatsOutlet {
    fn put(&mut self, message: &Outgoing<'_>) -> anyhow::Result<()> {
        let out = &mut self.buffer;
        out.extend_from_slice(&self.begins[message.subject]);
        if let Some(inbox) = &self.inbox {
            out.extend_from_slice(inbox);
            put_number(out, message.stamp.sequence);
            out.push(b' ');
        }
        let stamp = match self.stamp {
            StampPlace::Payload => &message.stamp.bytes(message.rest)[..],
            StampPlace::Header => &[],
        };
        let payload = stamp.len() + message.rest.len();
        let head = self.head.bytes.len();
        if head > 0 {
            put_number(out, head as u64);
            out.push(b' ');
        }
        put_number(out, (head + payload) as u64);
        out.extend_from_slice(b"\r\n");
        let at = out.len();
        out.extend_from_slice(&self.head.bytes);
        if let Some(digits) = self.head.digits_at {
            let place = &mut out[at + digits..at + digits + 48];
            place.copy_from_slice(&message.stamp.digits(message.rest));
        }
        out.extend_from_slice(stamp);
        out.extend_from_slice(message.rest);
        out.extend_from_slice(b"\r\n");
        Ok(())
    }

    fn is_full(&self) -> bool {
        self.buffer.len() >= WRITE_BYTES
    }

    fn is_empty(&self) -> bool {
        self.buffer.is_empty()
    }

    fn flush(&mut self) -> anyhow::Result<()> {
        let written = self.half.write(&self.buffer);
        self.buffer.clear();
        written.map_err(|error| {
            let why = match error.kind() {
                io::ErrorKind::WouldBlock => "it has taken nothing for too long".to_owned(),
                _ => error.to_string(),
            };
            Failed::error(
                Exit::Unreachable,
                format!("the connection to {} was lost: {why}", self.peer),
            )
        })
    }

    fn finish(&mut self) -> anyhow::Result<()> {
        self.buffer.extend_from_slice(b"PING\r\n");
        self.flush()
    }
}

/// Writes a number in decimal digits.
fn put_number(out: &mut Vec<u8>, number: u64) {
    let (mut digits, mut at, mut left) = ([0; 20], 20, number);
    loop {
        at -= 1;
        digits[at] = b'0' + (left % 10) as u8;
        left /= 10;
        if left == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::net::{TcpListener, TcpStream};

    use super::super::wire::Wire;
    use super::*;
    use crate::core::payloads::Payloads;
    use crate::core::sizes::Sizes;
    use crate::core::stamp::Stamp;
    use crate::core::subjects::Subjects;
    use proptest::prelude::*;

    /// What is written for one message, as a server reads it.
    fn written(stamp: StampPlace, headers: &[(&str, &str)], inbox: Option<&str>) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut other, _) = listener.accept().unwrap();
        let messages = Messages {
            subjects: Subjects::new("a", 2, 0.0),
            payloads: Payloads::drawn(Sizes::Fixed(26)),
            stamp,
            headers: headers
                .iter()
                .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
                .collect(),
            seed: 0,
        };
        let (_, writes) = Wire::new(stream).split().unwrap();
        let mut outlet = NatsOutlet::new(
            Arc::new(Half::new(writes)),
            &messages,
            inbox.map(str::to_owned),
        );
        let stamp = Stamp {
            run: 1,
            connection: 0,
            sequence: 42,
        };
        outlet
            .put(&Outgoing {
                subject: 1,
                stamp,
                due_ns: 0,
                rest: b"hi",
            })
            .unwrap();
        outlet.finish().unwrap();
        drop(outlet);
        let mut bytes = Vec::new();
        other.read_to_end(&mut bytes).unwrap();
        let stamp = String::from_utf8_lossy(&stamp.bytes(b"hi")).into_owned();
        String::from_utf8_lossy(&bytes).replace(&stamp, "<stamp>")
    }

    #[test]
    fn messages_are_written_as_the_protocol_says() {
        let plain = written(StampPlace::Payload, &[], None);
        assert_eq!(plain, "PUB a.1 26\r\n<stamp>hi\r\nPING\r\n");
        let asked = written(StampPlace::Payload, &[("k", "v")], Some("_INBOX.x.0."));
        assert_eq!(
            asked,
            "HPUB a.1 _INBOX.x.0.42 18 44\r\nNATS/1.0\r\nk: v\r\n\r\n<stamp>hi\r\nPING\r\n"
        );
        let head = written(StampPlace::Header, &[], None);
        let digits = Stamp {
            run: 1,
            connection: 0,
            sequence: 42,
        }
        .digits(b"hi");
        let digits = String::from_utf8_lossy(&digits);
        assert_eq!(
            head,
            format!("HPUB a.1 71 73\r\nNATS/1.0\r\nLoadgen: {digits}\r\n\r\nhi\r\nPING\r\n")
        );
    }

    proptest! {
        #[test]
        fn numbers_are_written_in_digits(number: u64) {
            let mut out = Vec::new();
            put_number(&mut out, number);
            prop_assert_eq!(out, number.to_string().into_bytes());
        }
    }
}
