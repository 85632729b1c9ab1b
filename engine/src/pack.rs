//! A pack: messages of one subject, laid out by their publisher one behind the other in one buffer, as contract 3 reads them.
//!
//! Owns that layout. Whoever hands a pack on hands on two reference counts, however many messages it has; a message of its own
//! becomes of one only where it is treated apart from the others. Knows no broker, contract or clock.

use std::ops::Range;
use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};
use thiserror::Error;

use crate::message::{Layout, Message, MessageError, PAYLOAD_BYTES_MAX, put_header};
use crate::subject::{SubjectError, check_subject};
use crate::time::Instant;

/// Most messages of one pack: 65,536, some 300 times what a call takes by default. More would be kept alive by the last of them.
pub const PACK_MESSAGES_MAX: usize = 1 << 16;
/// Most bytes of one pack, in all: 64 MiB, so that a message which is still waiting keeps no more than that.
pub const PACK_BYTES_MAX: usize = 64 << 20;

/// Numbers of a message in the index of contract 3: where it begins, the lengths of its subject, reply subject, headers and payload,
/// and attempts, of which a packed message has had none.
pub(crate) const ROW: usize = 6;

/// A message's numbers.
pub(crate) type Row = [u32; ROW];

/// Why a message can't be added to a pack. The pack is as it was.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum PackError {
    /// The message can't be made.
    #[error(transparent)]
    Message(#[from] MessageError),
    /// It has another subject than the pack.
    #[error("a pack has one subject, {pack:?}; the message has {message:?}")]
    Subject {
        /// The pack's.
        pack: String,
        /// The message's.
        message: String,
    },
    /// There is no room for it.
    #[error(
        "the pack is full: {} messages or {} bytes may be in one",
        PACK_MESSAGES_MAX,
        PACK_BYTES_MAX
    )]
    Full,
}

/// Messages of one subject in one buffer, to be published in one step: see [`Engine::publish_pack`](crate::Engine::publish_pack).
/// Cheap to clone: its bytes are shared.
///
/// ```
/// let mut builder = millpond::Pack::builder("orders.new")?;
/// for order in ["{\"id\":1}", "{\"id\":2}"] {
///     builder.push(&[("kind", "order")], order.as_bytes())?;
/// }
/// let pack = builder.build();
/// assert_eq!((pack.subject(), pack.len()), ("orders.new", 2));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Pack {
    frame: Bytes,
    rows: Arc<[Row]>,
    /// Those of the rows that are this pack's.
    range: Range<usize>,
    /// The id of its first message; given on admission, 0 before. The others follow.
    pub(crate) first_id: u64,
    /// When its messages came to be: when they were published.
    pub(crate) arrived: Option<Instant>,
}

impl Pack {
    /// Starts a pack of messages of this subject.
    ///
    /// # Errors
    /// A subject that can't be published to.
    pub fn builder(subject: &str) -> Result<PackBuilder, SubjectError> {
        check_subject(subject)?;
        Ok(PackBuilder {
            subject: subject.into(),
            frame: BytesMut::new(),
            rows: Vec::new(),
        })
    }

    /// Of messages that lie so in these bytes, one behind the other: what a transport made of what came. Their subjects may differ.
    pub(crate) fn laid_out(frame: impl Into<Bytes>, rows: Vec<Row>) -> Self {
        Self {
            range: 0..rows.len(),
            frame: frame.into(),
            rows: rows.into(),
            first_id: 0,
            arrived: None,
        }
    }

    /// Bytes of the buffer that it keeps.
    ///
    /// # Panics
    /// Others keep it too.
    #[cfg(test)]
    pub(crate) fn buffer_bytes(self) -> usize {
        let frame = self.frame.try_into_mut();
        frame.expect("nobody else has it").capacity()
    }

    /// Messages in it.
    #[must_use]
    pub fn len(&self) -> usize {
        self.range.len()
    }

    /// Whether there is none in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.range.is_empty()
    }

    /// The subject of its messages, or of the first where a server brought them; empty if there are none, or where it is no text.
    #[must_use]
    pub fn subject(&self) -> &str {
        let bytes = self.rows().first().map(|row| {
            let (start, len) = (row[0] as usize, row[1] as usize);
            &self.frame[start..start + len]
        });
        std::str::from_utf8(bytes.unwrap_or_default()).unwrap_or_default()
    }

    /// The bytes that limits count: of each message its subject, reply subject, headers and payload.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.arena().len()
    }

    /// Its messages, each as one of its own, which shares the pack's buffer.
    pub fn messages(&self) -> impl Iterator<Item = Message> {
        (0..self.len()).map(|place| self.message(place))
    }

    /// The message at a place.
    fn message(&self, place: usize) -> Message {
        let [start, subject, reply_to, headers, payload, _] = self.rows()[place];
        let layout = Layout::adjoining(start, [subject, reply_to, headers, payload]);
        let mut message = Message::from_frame(self.frame.clone(), layout);
        message.id = self.first_id + place as u64;
        message.arrived = self.arrived;
        message
    }

    /// The bytes of its messages, one behind the other.
    pub(crate) fn arena(&self) -> &[u8] {
        let end = |row: &Row| (row[0] + row[1] + row[2] + row[3] + row[4]) as usize;
        match self.rows() {
            [] => &[],
            [only] => &self.frame[only[0] as usize..end(only)],
            [first, .., last] => &self.frame[first[0] as usize..end(last)],
        }
    }

    /// Where the first of its messages begins, as its row says it.
    pub(crate) fn start(&self) -> u32 {
        self.rows().first().map_or(0, |row| row[0])
    }

    /// A row a message, with starts counted from the beginning of the pack that was built.
    pub(crate) fn rows(&self) -> &[Row] {
        &self.rows[self.range.clone()]
    }

    /// The bytes of each of its messages.
    pub(crate) fn sizes(&self) -> impl Iterator<Item = usize> + Clone {
        let size = |row: &Row| (row[1] + row[2] + row[3] + row[4]) as usize;
        self.rows().iter().map(size)
    }

    /// As many of its first messages as these bounds allow, but at least so many: how many, and their bytes.
    pub(crate) fn within(
        &self,
        least: usize,
        messages_max: usize,
        bytes_max: usize,
    ) -> (usize, usize) {
        let (rows, start) = (self.rows(), self.start());
        let end = |row: &Row| (row[0] + row[1] + row[2] + row[3] + row[4] - start) as usize;
        let most = rows.len().min(messages_max);
        let count = match rows[..most].last() {
            Some(last) if end(last) > bytes_max => {
                rows[..most].partition_point(|row| end(row) <= bytes_max)
            }
            _ => most,
        };
        let count = count.max(least.min(most));
        (count, rows[..count].last().map_or(0, end))
    }

    /// Whether the reply to the message at a place goes to this subject.
    pub(crate) fn asks_on(&self, place: usize, subject: &str) -> bool {
        let asked = self.reply_to(&self.rows()[place]);
        !asked.is_empty() && asked == subject.as_bytes()
    }

    /// The reply subject of the message of this row; empty where there is none.
    fn reply_to(&self, &[start, before, reply_to, ..]: &Row) -> &[u8] {
        &self.frame[(start + before) as usize..][..reply_to as usize]
    }

    /// Those of its messages.
    pub(crate) fn reply_subjects(&self) -> impl Iterator<Item = &[u8]> {
        self.rows().iter().map(|row| self.reply_to(row))
    }

    /// Copies its messages out of the buffer of the pack that it is a part of, if more than half of that is others'.
    pub(crate) fn detach(&mut self) {
        if self.frame.len() <= 2 * self.bytes() {
            return;
        }
        let start = self.start();
        let from_start = |row: &Row| [row[0] - start, row[1], row[2], row[3], row[4], row[5]];
        let rows: Arc<[Row]> = self.rows().iter().map(from_start).collect();
        (self.frame, self.range) = (Bytes::copy_from_slice(self.arena()), 0..rows.len());
        self.rows = rows;
    }

    /// Takes its first messages out, as a pack of their own.
    ///
    /// # Panics
    /// It has fewer.
    pub(crate) fn split_to(&mut self, count: usize) -> Self {
        assert!(count <= self.len(), "a pack is split within its messages");
        let middle = self.range.start + count;
        let first = Self {
            range: self.range.start..middle,
            ..self.clone()
        };
        self.range.start = middle;
        self.first_id += count as u64;
        first
    }
}

impl std::fmt::Debug for Pack {
    /// Without its payloads: they may be large, and may be secret.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pack")
            .field("subject", &self.subject())
            .field("messages", &self.len())
            .field("bytes", &self.bytes())
            .finish_non_exhaustive()
    }
}

/// Lays the messages of a [`Pack`] out.
#[derive(Debug, Clone)]
pub struct PackBuilder {
    subject: Box<str>,
    frame: BytesMut,
    rows: Vec<Row>,
}

impl PackBuilder {
    /// Makes room for so many messages and bytes of all their parts, so that the buffers need not grow.
    #[must_use]
    pub fn with_capacity(mut self, messages: usize, bytes: usize) -> Self {
        self.rows.reserve(messages.min(PACK_MESSAGES_MAX));
        self.frame.reserve(bytes.min(PACK_BYTES_MAX));
        self
    }

    /// Adds a message with these headers and this payload.
    ///
    /// # Errors
    /// A header that can't be written, a payload above [`PAYLOAD_BYTES_MAX`], or no room for it.
    pub fn push(&mut self, headers: &[(&str, &str)], payload: &[u8]) -> Result<(), PackError> {
        let start = self.frame.len();
        let added = self.add(headers, payload);
        if added.is_err() {
            self.frame.truncate(start);
        }
        added
    }

    fn add(&mut self, headers: &[(&str, &str)], payload: &[u8]) -> Result<(), PackError> {
        if payload.len() > PAYLOAD_BYTES_MAX {
            let bytes = payload.len();
            return Err(MessageError::Payload { bytes }.into());
        }
        let start = self.frame.len();
        self.frame.put_slice(self.subject.as_bytes());
        let block = self.frame.len();
        for (key, value) in headers {
            put_header(&mut self.frame, block, key, value)?;
        }
        let headers = self.frame.len() - block;
        self.frame.put_slice(payload);
        self.end(start, [self.subject.len(), 0, headers, payload.len()])
    }

    /// Adds a message that was made already: its bytes are copied. When it came to be is forgotten.
    ///
    /// # Errors
    /// It has another subject, or there is no room for it.
    pub fn push_message(&mut self, message: &Message) -> Result<(), PackError> {
        if message.subject() != &*self.subject {
            return Err(PackError::Subject {
                pack: self.subject.to_string(),
                message: message.subject().to_owned(),
            });
        }
        let start = self.frame.len();
        let parts = [
            self.subject.as_bytes(),
            message.reply_to().unwrap_or_default().as_bytes(),
            message.raw_headers(),
            message.payload(),
        ];
        parts.iter().for_each(|part| self.frame.put_slice(part));
        let added = self.end(start, parts.map(<[u8]>::len));
        if added.is_err() {
            self.frame.truncate(start);
        }
        added
    }

    /// Ends a message whose parts lie in the buffer from `start` on.
    fn end(&mut self, start: usize, lens: [usize; 4]) -> Result<(), PackError> {
        if self.rows.len() >= PACK_MESSAGES_MAX || self.frame.len() > PACK_BYTES_MAX {
            return Err(PackError::Full);
        }
        let [subject, reply_to, headers, payload] = lens.map(|len| len as u32);
        let row = [start as u32, subject, reply_to, headers, payload, 0];
        self.rows.push(row);
        Ok(())
    }

    /// Messages added so far.
    #[must_use]
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether none was added.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The pack.
    #[must_use]
    pub fn build(self) -> Pack {
        Pack {
            frame: self.frame.freeze(),
            ..Pack::laid_out(Bytes::new(), self.rows)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parts(message: &Message) -> (String, Option<String>, Vec<u8>, Vec<u8>) {
        let reply_to = message.reply_to().map(str::to_owned);
        let subject = message.subject().to_owned();
        let headers = message.raw_headers().to_vec();
        (subject, reply_to, headers, message.payload().to_vec())
    }

    #[test]
    fn messages_come_back_as_they_were_added() {
        let mut builder = Pack::builder("a.b").unwrap();
        builder.push(&[("k", "v"), ("l", "")], b"one").unwrap();
        let asked = Message::builder("a.b").reply_to("r.1").payload(b"two");
        builder.push_message(&asked.unwrap()).unwrap();
        builder.push(&[], b"").unwrap();
        let mut pack = builder.build();
        (pack.first_id, pack.arrived) = (7, Some(crate::clock::now()));
        let made = |m: crate::message::MessageBuilder, payload: &[u8]| m.payload(payload).unwrap();
        let of = Message::builder;
        let expected = [
            made(of("a.b").header("k", "v").header("l", ""), b"one"),
            made(of("a.b").reply_to("r.1"), b"two"),
            made(of("a.b"), b""),
        ];
        assert_eq!(pack.len(), 3);
        for (place, message) in pack.messages().enumerate() {
            assert_eq!(parts(&message), parts(&expected[place]));
            assert_eq!(message.id, 7 + place as u64);
            assert_eq!(message.arrived, pack.arrived);
            assert_eq!(message.pinned(), pack.bytes(), "it shares the buffer");
        }
        let sizes: Vec<_> = expected.iter().map(Message::bytes).collect();
        assert_eq!(pack.sizes().collect::<Vec<_>>(), sizes);
        assert_eq!(pack.bytes(), sizes.iter().sum::<usize>());
        let asks = |place| (pack.asks_on(place, "r.1"), pack.asks_on(place, ""));
        assert_eq!([asks(0), asks(1)], [(false, false), (true, false)]);
    }

    #[test]
    fn what_can_not_be_added_leaves_the_pack_as_it_was() {
        assert!(Pack::builder("a b").is_err());
        let mut builder = Pack::builder("a").unwrap();
        builder.push(&[("k", "v")], b"x").unwrap();
        let bad = builder.push(&[("k", "v"), ("", "v")], b"x").unwrap_err();
        assert!(bad.to_string().contains("key is empty"), "{bad}");
        let large = vec![0; PAYLOAD_BYTES_MAX + 1];
        let bad = builder.push(&[], &large).unwrap_err();
        assert!(bad.to_string().contains("1048577"), "{bad}");
        let other = Message::new("b", b"x").unwrap();
        let bad = builder.push_message(&other).unwrap_err();
        assert!(
            bad.to_string().contains("\"a\"; the message has \"b\""),
            "{bad}"
        );
        let pack = builder.build();
        let message = Message::builder("a").header("k", "v").payload(b"x");
        let all: Vec<_> = pack.messages().map(|m| parts(&m)).collect();
        assert_eq!(all, [parts(&message.unwrap())]);
        assert_eq!(pack.bytes(), pack.frame.len());
    }

    #[test]
    fn messages_and_bytes_at_the_bound_and_one_over() {
        let mut builder = Pack::builder("a").unwrap();
        for _ in 0..PACK_MESSAGES_MAX {
            builder.push(&[], b"").unwrap();
        }
        assert_eq!(builder.push(&[], b""), Err(PackError::Full));
        let one = Message::new("a", b"").unwrap();
        assert_eq!(builder.push_message(&one), Err(PackError::Full));
        assert_eq!(builder.len(), PACK_MESSAGES_MAX);
        assert_eq!(builder.build().bytes(), PACK_MESSAGES_MAX);

        let mut builder = Pack::builder("a").unwrap();
        let large = vec![0; PAYLOAD_BYTES_MAX - 1];
        for _ in 1..PACK_BYTES_MAX >> 20 {
            builder.push(&[], &large).unwrap();
        }
        let over = vec![0; PAYLOAD_BYTES_MAX];
        assert_eq!(builder.push(&[], &over), Err(PackError::Full));
        builder.push(&[], &large).unwrap();
        let one = Message::new("a", b"").unwrap();
        assert_eq!(builder.push_message(&one), Err(PackError::Full));
        assert_eq!(builder.build().bytes(), PACK_BYTES_MAX);
    }

    #[test]
    fn a_small_part_of_a_pack_is_copied_out_of_it_and_a_large_one_is_not() {
        let mut builder = Pack::builder("a").unwrap();
        for n in 0..8u8 {
            builder.push(&[], &[n; 9]).unwrap();
        }
        let whole = builder.build();
        for (skip, count, kept) in [(0, 4, 80), (4, 4, 80), (1, 3, 30), (5, 3, 30), (0, 8, 80)] {
            let mut rest = whole.clone();
            rest.split_to(skip);
            let part = rest.split_to(count);
            let mut alone = part.clone();
            alone.detach();
            assert_eq!(alone.frame.len(), kept);
            let all = |pack: &Pack| {
                pack.messages()
                    .map(|m| (m.id, parts(&m)))
                    .collect::<Vec<_>>()
            };
            assert_eq!(all(&alone), all(&part));
            assert_eq!(alone.bytes(), part.bytes());
        }
    }

    #[test]
    fn a_pack_of_nothing_has_nothing() {
        let pack = Pack::builder("a").unwrap().build();
        assert!(pack.is_empty() && pack.subject().is_empty());
        assert_eq!((pack.bytes(), pack.messages().count()), (0, 0));
    }

    proptest! {
        #[test]
        fn pieces_have_what_the_whole_has(
            payloads in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..9), 1..20),
            cuts in prop::collection::vec(0usize..6, 0..8),
        ) {
            let mut builder = Pack::builder("s.t").unwrap();
            payloads.iter().for_each(|p| builder.push(&[("k", "v")], p).unwrap());
            let mut rest = builder.build();
            rest.first_id = 1;
            let (whole, mut pieces) = (rest.clone(), Vec::new());
            for cut in cuts {
                pieces.push(rest.split_to(cut.min(rest.len())));
            }
            pieces.push(rest);
            let all: Vec<_> = whole.messages().map(|m| (m.id, parts(&m))).collect();
            let apart: Vec<_> = pieces.iter().flat_map(Pack::messages).map(|m| (m.id, parts(&m))).collect();
            prop_assert_eq!(apart, all);
            let bytes: Vec<_> = pieces.iter().flat_map(|p| p.arena().to_vec()).collect();
            prop_assert_eq!(bytes, whole.arena());
        }
    }
}
