//! How messages come: several in one read buffer, each a slice of it, in the form that NATS has; or laid out in a pack.

use std::ops::Range;
use std::sync::{Arc, Weak};

use bytes::{Bytes, BytesMut};

use crate::batch::Batch;
use crate::message::{Format, Layout, Message, Span};
use crate::pack::{Pack, Row};
use crate::time::Instant;

/// A message that is to be cut from a read buffer.
pub(crate) struct Incoming {
    /// What the engine calls it.
    pub(crate) id: u64,
    /// What the simulator calls it, whatever its deliveries are called.
    pub(crate) serial: u64,
    pub(crate) subject: String,
    /// At least 8.
    pub(crate) payload_bytes: usize,
    pub(crate) arrived: Instant,
}

/// A read buffer, by which its token lives.
struct ReadBuffer {
    bytes: BytesMut,
    _token: Arc<()>,
}

impl AsRef<[u8]> for ReadBuffer {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

/// A read buffer that came.
pub(crate) struct Read {
    /// Bytes that came before it.
    pub(crate) before: u64,
    pub(crate) bytes: u64,
    token: Weak<()>,
}

impl Read {
    /// Whether somebody still holds some of it.
    pub(crate) fn is_alive(&self) -> bool {
        self.token.strong_count() > 0
    }
}

/// Cuts messages from one read buffer that all of them share, before which so many bytes came.
pub(crate) fn read(incoming: &[Incoming], before: u64) -> (Vec<Message>, Read) {
    let mut bytes = BytesMut::new();
    let mut cuts = Vec::with_capacity(incoming.len());
    for message in incoming {
        cuts.push(write(&mut bytes, message));
    }
    let (buffer, read) = watched(bytes, before);
    let cut = |(message, (start, end, layout)): (&Incoming, (usize, usize, Layout))| {
        let mut cut = Message::from_frame(buffer.slice(start..end), layout);
        cut.id = message.id;
        cut.arrived = Some(message.arrived);
        cut
    };
    (incoming.iter().zip(cuts).map(cut).collect(), read)
}

/// A buffer of which one sees whether somebody still holds some of it.
fn watched(bytes: BytesMut, before: u64) -> (Bytes, Read) {
    let token = Arc::new(());
    let read = Read {
        before,
        bytes: bytes.len() as u64,
        token: Arc::downgrade(&token),
    };
    let owner = ReadBuffer {
        bytes,
        _token: token,
    };
    (Bytes::from_owner(owner), read)
}

/// Lays a pack out, before which so many bytes came, and cuts the part from it that comes here: the rest went elsewhere, or comes later.
pub(crate) fn lay_out(whole: &[Incoming], part: Range<usize>, before: u64) -> (Pack, Read) {
    let (mut bytes, mut rows) = (BytesMut::new(), Vec::new());
    for message in whole {
        let (start, payload) = (bytes.len() as u32, payload(message));
        let parts = [message.subject.as_bytes(), b"", HEADERS, &payload];
        parts.iter().for_each(|part| bytes.extend_from_slice(part));
        let [subject, reply_to, headers, payload] = parts.map(|part| part.len() as u32);
        rows.push([start, subject, reply_to, headers, payload, 0]);
    }
    let (buffer, read) = watched(bytes, before);
    let mut pack = Pack::laid_out(buffer, rows);
    pack.split_to(part.start);
    pack = pack.split_to(part.len());
    let first = &whole[part.start];
    (pack.first_id, pack.arrived) = (first.id, Some(first.arrived));
    (pack, read)
}

/// The messages of a call, those in packs as messages of their own.
pub(crate) fn inputs(batch: &Batch) -> Vec<Message> {
    let packed = batch.packs.iter().flat_map(Pack::messages);
    packed.chain(batch.messages.iter().cloned()).collect()
}

/// Whether a pack is, where a guest reads it, what it is message by message.
pub(crate) fn lies_as_it_is(pack: &Pack) -> bool {
    let mut arena = pack.arena();
    let mut next = |len: u32| arena.split_off(..len as usize).unwrap_or_default();
    let mut start = pack.start();
    let mut same = |row: &Row, message: &Message| {
        let [from, subject, reply_to, headers, payload, attempts] = *row;
        let parts = [subject, reply_to, headers, payload].map(&mut next);
        let whole = [
            message.raw_subject(),
            message.raw_reply_to(),
            message.raw_headers(),
            message.payload(),
        ];
        let follows = from == std::mem::replace(&mut start, from + row[1..5].iter().sum::<u32>());
        follows && parts == whole && attempts == message.attempts
    };
    let all = pack.rows().iter().zip(pack.messages());
    let all = all.filter(|(row, message)| same(row, message)).count() == pack.len();
    all && arena.is_empty()
}

/// The headers of each message.
const HEADERS: &[u8] = b"N: 1\r\n";

/// The payload of a message: its serial number, and as much as there is to be.
fn payload(message: &Incoming) -> Vec<u8> {
    let mut payload = message.serial.to_be_bytes().to_vec();
    payload.resize(message.payload_bytes.max(8), b'.');
    payload
}

/// Writes one message as it comes over the wire: where it lies, and its parts within.
fn write(buffer: &mut BytesMut, message: &Incoming) -> (usize, usize, Layout) {
    let start = buffer.len();
    let mut put = |bytes: &[u8]| {
        let from = buffer.len() - start;
        buffer.extend_from_slice(bytes);
        Span::since(from, buffer.len() - start)
    };
    put(b"MSG ");
    let subject = put(message.subject.as_bytes());
    put(b" 1\r\n");
    let headers = put(HEADERS);
    let payload = put(&payload(message));
    put(b"\r\n");
    let layout = Layout {
        subject,
        headers,
        payload,
        format: Format::Raw,
        ..Layout::default()
    };
    (start, buffer.len(), layout)
}

/// The serial number that a message carries, also in its dead letter.
pub(crate) fn serial(message: &Message) -> Option<u64> {
    let first = message.payload().first_chunk::<8>()?;
    Some(u64::from_be_bytes(*first))
}

/// What a guest's send carries: who sent it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Origin {
    /// The call that it was made in.
    pub(crate) call: u64,
    /// Its place among the sends of that call.
    pub(crate) index: u32,
    /// The message that it was made for.
    pub(crate) input: u64,
}

impl Origin {
    /// As a payload.
    pub(crate) fn encode(self) -> Vec<u8> {
        let words = [self.call, u64::from(self.index), self.input];
        words.iter().flat_map(|word| word.to_be_bytes()).collect()
    }

    /// From a payload.
    pub(crate) fn decode(payload: &[u8]) -> Option<Self> {
        let mut words = payload.chunks_exact(8).map(|chunk| {
            let word = chunk.try_into().map(u64::from_be_bytes);
            word.unwrap_or_default()
        });
        Some(Self {
            call: words.next()?,
            index: u32::try_from(words.next()?).ok()?,
            input: words.next()?,
        })
    }
}
