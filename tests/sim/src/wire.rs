//! How messages come: several in one read buffer, each a slice of it, in the form that NATS has.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::{Bytes, BytesMut};

use crate::message::{Format, Layout, Message, Span};
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

/// A read buffer that knows how many bytes of others are alive.
struct ReadBuffer {
    bytes: BytesMut,
    alive: Arc<AtomicUsize>,
}

impl AsRef<[u8]> for ReadBuffer {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for ReadBuffer {
    fn drop(&mut self) {
        self.alive.fetch_sub(self.bytes.len(), Ordering::Relaxed);
    }
}

/// Cuts messages from one read buffer that all of them share; and its bytes.
pub(crate) fn read(incoming: &[Incoming], alive: &Arc<AtomicUsize>) -> (Vec<Message>, usize) {
    let mut bytes = BytesMut::new();
    let mut cuts = Vec::with_capacity(incoming.len());
    for message in incoming {
        cuts.push(write(&mut bytes, message));
    }
    alive.fetch_add(bytes.len(), Ordering::Relaxed);
    let (alive, read) = (Arc::clone(alive), bytes.len());
    let buffer = Bytes::from_owner(ReadBuffer { bytes, alive });
    let cut = |(message, (start, end, layout)): (&Incoming, (usize, usize, Layout))| {
        let mut cut = Message::from_frame(buffer.slice(start..end), layout);
        cut.id = message.id;
        cut.arrived = Some(message.arrived);
        cut
    };
    (incoming.iter().zip(cuts).map(cut).collect(), read)
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
    let headers = put(b"N: 1\r\n");
    let mut payload = message.serial.to_be_bytes().to_vec();
    payload.resize(message.payload_bytes.max(8), b'.');
    let payload = put(&payload);
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
