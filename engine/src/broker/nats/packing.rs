//! Packs of what came in a turn: messages for handlers whose calls take packs, laid out as contract 3 reads them.
//!
//! Owns that layout while it grows. A message is copied once, out of the read buffer, which is free again after the turn. Knows no connection,
//! and not what there is room for. Bounded by what a turn reads.

use std::collections::VecDeque;

use crate::message::{HandlerId, Layout};
use crate::pack::{Pack, Row};

/// Most bytes that room is made for at once. Default 256 KiB, as a turn reads; what is larger grows as it comes.
const ROOM_BYTES_MAX: usize = 256 << 10;

/// The packs of one turn: one a handler.
#[derive(Debug, Default)]
pub(super) struct Packing {
    /// By handler; empty where nothing came for it.
    laid: Vec<Laid>,
    /// Those that something came for, in that order.
    began: VecDeque<HandlerId>,
}

/// One handler's messages of this turn.
#[derive(Debug, Default)]
struct Laid {
    frame: Vec<u8>,
    rows: Vec<Row>,
    /// Bytes and messages of its last pack: as much room is made for the next one.
    last: (usize, usize),
}

impl Packing {
    /// For this many handlers.
    pub(super) fn new(handlers: usize) -> Self {
        Self {
            laid: (0..handlers).map(|_| Laid::default()).collect(),
            began: VecDeque::new(),
        }
    }

    /// Adds a message whose parts lie so in these bytes.
    #[inline]
    pub(super) fn add(&mut self, id: HandlerId, frame: &[u8], layout: &Layout) {
        let laid = &mut self.laid[id.index()];
        if laid.rows.is_empty() {
            self.began.push_back(id);
            laid.begin();
        }
        let start = laid.frame.len() as u32;
        let [subject, reply_to, headers, payload] = layout.write_parts(frame, &mut laid.frame);
        laid.rows
            .push([start, subject, reply_to, headers, payload, 0]);
    }

    /// The next pack of the turn, which is over.
    pub(super) fn next(&mut self) -> Option<(HandlerId, Pack)> {
        let id = self.began.pop_front()?;
        Some((id, self.laid[id.index()].take()))
    }
}

impl Laid {
    fn begin(&mut self) {
        self.frame.reserve(self.last.0.min(ROOM_BYTES_MAX));
        self.rows.reserve(self.last.1);
    }

    fn take(&mut self) -> Pack {
        self.last = (self.frame.len(), self.rows.len());
        let mut frame = std::mem::take(&mut self.frame);
        // What waits keeps its buffer, of which only the messages are counted.
        if frame.capacity() > 2 * frame.len() {
            frame.shrink_to_fit();
        }
        Pack::laid_out(frame, std::mem::take(&mut self.rows))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::Message;

    fn message(subject: &str, reply_to: &str, payload: &[u8]) -> Message {
        let builder = match reply_to {
            "" => Message::builder(subject),
            reply_to => Message::builder(subject).reply_to(reply_to),
        };
        builder.header("k", "v").payload(payload).unwrap()
    }

    #[test]
    fn a_small_pack_behind_a_large_one_keeps_no_large_buffer() {
        let (mut packing, id) = (Packing::new(1), HandlerId(0));
        for payload in [&[0; 60_000][..], b"small", b"small"] {
            let m = message("s", "", payload);
            let (frame, layout) = m.raw();
            packing.add(id, frame, layout);
            let laid = &packing.laid[0].frame;
            assert!(laid.capacity() <= ROOM_BYTES_MAX);
            let (_, pack) = packing.next().unwrap();
            let bytes = pack.bytes();
            assert_eq!(bytes, m.bytes());
            assert!((bytes..=2 * bytes).contains(&pack.buffer_bytes()));
        }
    }

    #[test]
    fn messages_of_a_turn_are_packed_by_handler_in_the_order_in_which_they_came() {
        let (mut packing, [a, b]) = (Packing::new(2), [HandlerId(0), HandlerId(1)]);
        for turn in 0..2u8 {
            let came = [
                (a, message("s", "", &[turn])),
                (a, message("t.u", "r", b"")),
                (b, message("s", "", b"second")),
                (a, message("s", "r.2", b"third")),
            ];
            for (id, m) in &came {
                let (frame, layout) = m.raw();
                packing.add(*id, frame, layout);
            }
            let mut packed = Vec::new();
            while let Some((id, pack)) = packing.next() {
                packed.extend(pack.messages().map(|m| (id, m)));
            }
            assert_eq!(packed.len(), came.len());
            let of = |id| came.iter().filter(move |(of, _)| *of == id);
            for ((got_id, got), (id, m)) in packed.iter().zip(of(a).chain(of(b))) {
                assert_eq!((got_id, got.subject()), (id, m.subject()));
                assert_eq!((got.reply_to(), got.payload()), (m.reply_to(), m.payload()));
                assert_eq!(got.raw_headers(), m.raw_headers());
            }
        }
        assert!(packing.next().is_none());
    }
}
