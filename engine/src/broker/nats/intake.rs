//! What has been read and not yet taken: the read buffer, and the parser on it.
//!
//! Bytes are read into a block and handed on as slices of it. A block is used until it is full; then it is used anew if nobody
//! holds a slice of it any more, or else left to those who do. Knows no socket and no clock.

use bytes::{Bytes, BytesMut};

use super::wire::parse::{Op, Parser, WireError, WireLimits};

/// Least room for a read, as a part of the block: below, the block counts as full. A quarter: reads that end a block are then
/// seldom short, and no more than that of a block is left unused.
const ROOM_PART: usize = 4;
/// Blocks kept at once beside the one in use, for the time when nobody holds a slice of them any more: a turn's messages are
/// held until its end, and fill a few.
const SPARES_MAX: usize = 4;

/// What has been read and not yet taken.
#[derive(Debug)]
pub(crate) struct Intake {
    parser: Parser,
    limits: WireLimits,
    /// Bytes of a block.
    block_bytes: usize,
    /// The block in use: `filled` bytes that have been read, then room.
    block: BytesMut,
    filled: usize,
    /// Whether the block was made for one large message.
    is_large: bool,
    /// Bytes that the operation at the beginning of the block has, as far as is known.
    needed: usize,
    /// What is being taken, up to `at`.
    chunk: Bytes,
    at: usize,
    /// Full blocks, the oldest first: empty handles, by which they are used anew.
    spares: Vec<BytesMut>,
}

impl Intake {
    /// An empty one, with blocks of this size.
    pub(crate) fn new(limits: WireLimits, block_bytes: usize) -> Self {
        assert!(block_bytes >= ROOM_PART, "a block has room");
        Self {
            parser: Parser::new(limits),
            limits,
            block_bytes,
            block: BytesMut::new(),
            filled: 0,
            is_large: false,
            needed: 0,
            chunk: Bytes::new(),
            at: 0,
            spares: Vec::with_capacity(SPARES_MAX),
        }
    }

    /// Forgets what was read: another connection begins.
    pub(crate) fn reset(&mut self) {
        self.parser = Parser::new(self.limits);
        self.chunk = Bytes::new();
        (self.at, self.filled, self.needed) = (0, 0, 0);
    }

    /// Room for a read; [`Intake::came`] says how much of it was used.
    pub(crate) fn room(&mut self) -> &mut [u8] {
        let least = self.block_bytes / ROOM_PART;
        let missing = self.needed.saturating_sub(self.filled);
        let enough = if missing > 0 { missing } else { least };
        if self.block.len() - self.filled < enough {
            self.renew(missing + least);
        }
        &mut self.block[self.filled..]
    }

    /// So many bytes have been read into the room.
    pub(crate) fn came(&mut self, bytes: usize) {
        debug_assert!(
            self.at == self.chunk.len(),
            "what came before has been taken"
        );
        self.filled += bytes;
        // An operation known to be incomplete stays where it is: a large message is not moved again at each read.
        if self.filled >= self.needed.max(1) {
            self.chunk = self.block.split_to(self.filled).freeze();
            (self.at, self.filled, self.needed) = (0, 0, 0);
        }
    }

    /// The next operation that has been read whole.
    #[inline]
    pub(crate) fn next(&mut self) -> Result<Option<Op>, WireError> {
        if self.at == self.chunk.len() {
            // Let go of, so that its block can be used anew.
            self.chunk = Bytes::new();
            self.at = 0;
            return Ok(None);
        }
        let next = self.parser.next(&self.chunk, &mut self.at);
        if let Ok(None) = next {
            self.carry();
        }
        next
    }

    /// What operations are being taken from: a message lies in it until the next one is taken.
    pub(crate) fn chunk(&self) -> &Bytes {
        &self.chunk
    }

    /// Whether operations may be left to be taken.
    pub(crate) fn is_taken(&self) -> bool {
        self.at == self.chunk.len()
    }

    /// Whether nothing at all is left, not even part of an operation.
    pub(crate) fn is_empty(&self) -> bool {
        self.is_taken() && self.filled == 0
    }

    /// Puts the incomplete operation at the end of the chunk before what is read next.
    fn carry(&mut self) {
        let chunk = std::mem::take(&mut self.chunk);
        let rest = &chunk[std::mem::take(&mut self.at)..];
        self.needed = self.parser.needed();
        if self.block.len() < rest.len() {
            self.renew(self.needed + self.block_bytes / ROOM_PART);
        }
        self.block[..rest.len()].copy_from_slice(rest);
        self.filled = rest.len();
    }

    /// Has a block with room for `wanted` bytes behind those that it has.
    #[cold]
    fn renew(&mut self, wanted: usize) {
        let bytes = self.block_bytes.max(self.filled + wanted);
        let mut fresh = self.fresh(bytes);
        fresh[..self.filled].copy_from_slice(&self.block[..self.filled]);
        let mut full = std::mem::replace(&mut self.block, fresh);
        let was_large = std::mem::replace(&mut self.is_large, bytes > self.block_bytes);
        if was_large {
            return;
        }
        if self.spares.len() == SPARES_MAX {
            self.spares.remove(0);
        }
        full.clear();
        self.spares.push(full);
    }

    /// A block of this many bytes: one that nobody holds a slice of any more, or a new one.
    fn fresh(&mut self, bytes: usize) -> BytesMut {
        if bytes == self.block_bytes {
            let free = self.spares.iter_mut().position(|b| b.try_reclaim(bytes));
            if let Some(at) = free {
                let mut block = self.spares.remove(at);
                block.resize(bytes, 0);
                return block;
            }
        }
        BytesMut::zeroed(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::Message;
    use proptest::prelude::*;

    fn intake(block_bytes: usize) -> Intake {
        Intake::new(WireLimits::default(), block_bytes)
    }

    /// Reads `bytes` of the stream, as far as there is room, and takes what is whole.
    fn feed(intake: &mut Intake, stream: &mut &[u8], bytes: usize) -> Vec<Message> {
        let room = intake.room();
        let bytes = bytes.min(room.len()).min(stream.len());
        room[..bytes].copy_from_slice(&stream[..bytes]);
        *stream = &stream[bytes..];
        intake.came(bytes);
        let mut taken = Vec::new();
        while let Some(op) = intake.next().expect("a good stream") {
            match op {
                Op::Message(found) => taken.push(found.incoming(intake.chunk()).message),
                other => panic!("{other:?}"),
            }
        }
        assert!(intake.is_taken());
        taken
    }

    fn message(payload: &str) -> String {
        format!("MSG a.b 1 {}\r\n{payload}\r\n", payload.len())
    }

    #[test]
    fn a_block_that_nobody_holds_is_used_anew() {
        let mut intake = intake(1 << 10);
        let stream = message(&"x".repeat(100)).repeat(1_000);
        let mut stream = stream.as_bytes();
        let mut places = std::collections::HashSet::new();
        while !stream.is_empty() {
            drop(feed(&mut intake, &mut stream, 700));
            places.insert(intake.room().as_ptr() as usize >> 10);
        }
        assert!(
            places.len() <= 2 * (1 + SPARES_MAX),
            "{} blocks",
            places.len()
        );
    }

    #[test]
    fn what_is_held_is_never_written_over() {
        let mut intake = intake(1 << 10);
        let stream: String = (0..1_000)
            .map(|i| message(&format!("payload {i}")))
            .collect();
        let mut stream = stream.as_bytes();
        let mut held = Vec::new();
        while !stream.is_empty() {
            held.append(&mut feed(&mut intake, &mut stream, 300));
        }
        assert_eq!(held.len(), 1_000);
        for (i, message) in held.iter().enumerate() {
            assert_eq!(message.payload(), format!("payload {i}").as_bytes());
        }
    }

    #[test]
    fn a_large_message_is_moved_once_and_its_block_is_not_kept() {
        let mut intake = intake(4 << 10);
        let payload = "x".repeat(1 << 20);
        let text = message(&payload) + &message("small").repeat(2_000);
        let mut stream = text.as_bytes();
        assert!(feed(&mut intake, &mut stream, 1_000).is_empty());
        let room = intake.room().as_ptr() as usize;
        let mut taken = 0;
        for turn in 1.. {
            let large = feed(&mut intake, &mut stream, 1_000);
            if let Some(message) = large.first() {
                assert_eq!(message.payload(), payload.as_bytes());
                taken += large.len();
                break;
            }
            let moved = intake.room().as_ptr() as usize - room;
            assert_eq!(moved, turn * 1_000, "it stays where it is");
        }
        while !stream.is_empty() {
            taken += feed(&mut intake, &mut stream, 1_000).len();
        }
        assert_eq!(taken, 2_001);
        assert!(!intake.is_large && intake.block.capacity() <= 4 << 10);
        assert!(
            intake
                .spares
                .iter_mut()
                .all(|spare| !spare.try_reclaim(5 << 10))
        );
    }

    #[test]
    fn another_connection_begins_with_nothing() {
        let mut intake = intake(1 << 10);
        let text = message("x") + "MSG a 1 20\r\nhalf";
        assert_eq!(feed(&mut intake, &mut text.as_bytes(), 100).len(), 1);
        assert!(!intake.is_empty());
        intake.reset();
        assert!(intake.is_empty());
        assert_eq!(
            feed(&mut intake, &mut message("y").as_bytes(), 100).len(),
            1
        );
    }

    proptest! {
        #[test]
        fn what_comes_out_does_not_depend_on_how_it_was_read(
            sizes in proptest::collection::vec(0usize..3_000, 1..40),
            reads in proptest::collection::vec(1usize..2_000, 1..40),
            block_bytes in 16usize..2_000, hold: bool
        ) {
            let text = |i: usize, size: usize| format!("{i}").repeat(size);
            let stream: String = sizes.iter().enumerate().map(|(i, n)| message(&text(i, *n))).collect();
            let mut stream = stream.as_bytes();
            let mut intake = intake(block_bytes);
            let mut held = Vec::new();
            let mut seen = 0;
            for read in reads.iter().cycle() {
                if stream.is_empty() { break; }
                for message in feed(&mut intake, &mut stream, *read) {
                    prop_assert!(message.payload() == text(seen, sizes[seen]).as_bytes());
                    seen += 1;
                    if hold { held.push(message); }
                }
            }
            prop_assert_eq!(seen, sizes.len());
            for (i, message) in held.iter().enumerate() {
                prop_assert!(message.payload() == text(i, sizes[i]).as_bytes());
            }
            prop_assert!(intake.is_empty());
        }
    }
}
