//! Packs of what came in a turn: messages for handlers whose calls take packs, laid out as contract 3 reads them.
//!
//! Owns that layout while it grows. A message is copied once, out of the read buffer, which is free again after the turn. Knows no connection,
//! and not what there is room for. Bounded by what a turn reads, and by what is kept for the next.

use std::collections::VecDeque;

use bytes::Bytes;

use crate::message::{HandlerId, Layout};
use crate::pack::{Pack, Row};

/// Most bytes that room is made for at once. Default 256 KiB, as a turn reads; what is larger grows as it comes.
const ROOM_BYTES_MAX: usize = 256 << 10;
/// Buffers that are kept to be used again. Default 4: a turn's pack waits or is called while the next ones are laid out. One more takes the
/// place of the oldest.
const SPARES_MAX: usize = 4;
/// Messages that a list of rows has room for while it is kept. Default 4,096, 96 KiB; a longer one is let go.
const SPARE_ROWS_MAX: usize = 4 << 10;
/// Bytes that all of them take at most.
pub(super) const SPARE_BYTES: usize =
    SPARES_MAX * (ROOM_BYTES_MAX + SPARE_ROWS_MAX * size_of::<Row>());

/// The packs of one turn: one a handler.
#[derive(Debug, Default)]
pub(super) struct Packing {
    /// By handler; empty where nothing came for it.
    laid: Vec<Laid>,
    /// Those that something came for, in that order.
    began: VecDeque<HandlerId>,
    spares: Spares,
}

/// One handler's messages of this turn.
#[derive(Debug, Default)]
struct Laid {
    frame: Vec<u8>,
    rows: Vec<Row>,
    /// Bytes of its last pack: as many are expected of the next.
    last: usize,
}

/// Buffers that are used again: to allocate them anew for each pack, and to have them grow, takes a tenth of a core.
#[derive(Debug, Default)]
struct Spares {
    /// What packs lie in, the oldest first, with the room that each has: free once its pack is no more.
    frames: VecDeque<(usize, Bytes)>,
    rows: Vec<Vec<Row>>,
}

impl Packing {
    /// For this many handlers.
    pub(super) fn new(handlers: usize) -> Self {
        Self {
            laid: (0..handlers).map(|_| Laid::default()).collect(),
            ..Self::default()
        }
    }

    /// Adds a message whose parts lie so in these bytes; `left` bytes were read from its first one on, which others may lie in.
    #[inline]
    pub(super) fn add(&mut self, id: HandlerId, frame: &[u8], layout: &Layout, left: usize) {
        let laid = &mut self.laid[id.index()];
        if laid.rows.is_empty() {
            self.began.push_back(id);
            laid.begin(left, &mut self.spares);
        }
        let start = laid.frame.len() as u32;
        let [subject, reply_to, headers, payload] = layout.write_parts(frame, &mut laid.frame);
        laid.rows
            .push([start, subject, reply_to, headers, payload, 0]);
    }

    /// The next pack of the turn, which is over.
    pub(super) fn next(&mut self) -> Option<(HandlerId, Pack)> {
        let id = self.began.pop_front()?;
        Some((id, self.laid[id.index()].take(&mut self.spares)))
    }
}

impl Laid {
    #[cold]
    fn begin(&mut self, left: usize, spares: &mut Spares) {
        self.frame = spares.frame(left.max(self.last).min(ROOM_BYTES_MAX));
        self.rows = spares.rows.pop().unwrap_or_default();
    }

    fn take(&mut self, spares: &mut Spares) -> Pack {
        self.last = self.frame.len();
        let frame = spares.lend(std::mem::take(&mut self.frame));
        let pack = Pack::laid_out(frame, &self.rows);
        spares.keep_rows(std::mem::take(&mut self.rows));
        pack
    }
}

impl Spares {
    /// An empty buffer with room for so many bytes, and not for twice as many unless it has to be made.
    fn frame(&mut self, bytes: usize) -> Vec<u8> {
        let fits = |(room, frame): &(usize, Bytes)| {
            (bytes..=2 * bytes).contains(room) && frame.is_unique()
        };
        match self.frames.iter().position(fits) {
            Some(at) => {
                let spare = self.frames.remove(at);
                let (_, mut frame) = spare.expect("it was found there");
                frame.clear();
                Vec::from(frame)
            }
            None => Vec::with_capacity(bytes),
        }
    }

    /// What a pack lies in: the buffer, which is kept; or a copy, where more than half of it is empty, since what waits keeps its buffer, of
    /// which only the messages are counted.
    fn lend(&mut self, mut frame: Vec<u8>) -> Bytes {
        let room = frame.capacity();
        let copy = (room > 2 * frame.len()).then(|| Bytes::copy_from_slice(&frame));
        if copy.is_some() {
            frame.clear();
        }
        let frame = Bytes::from(frame);
        if room <= ROOM_BYTES_MAX {
            if self.frames.len() == SPARES_MAX {
                self.frames.pop_front();
            }
            self.frames.push_back((room, frame.clone()));
        }
        copy.unwrap_or(frame)
    }

    fn keep_rows(&mut self, mut rows: Vec<Row>) {
        rows.clear();
        if rows.capacity() <= SPARE_ROWS_MAX && self.rows.len() < SPARES_MAX {
            self.rows.push(rows);
        }
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
            packing.add(id, frame, layout, frame.len());
            let laid = &packing.laid[0].frame;
            assert!(laid.capacity() <= ROOM_BYTES_MAX);
            let (_, pack) = packing.next().unwrap();
            assert_eq!(pack.bytes(), m.bytes());
            packing.spares = Spares::default();
            assert!(pack.buffer_bytes() <= 2 * pack.bytes());
        }
    }

    /// A pack of so many bytes, for which room for `left` was made.
    fn packed(packing: &mut Packing, bytes: usize, left: usize) -> Pack {
        let m = message("s", "", &vec![0; bytes - 7]);
        let (frame, layout) = m.raw();
        assert_eq!(m.bytes(), bytes);
        packing.add(HandlerId(0), frame, layout, left);
        packing.next().expect("one was added").1
    }

    #[test]
    fn a_buffer_is_used_again_once_its_pack_is_no_more_and_never_before() {
        let mut packing = Packing::new(1);
        let first = packed(&mut packing, 1_000, 1_100);
        let place = first.arena().as_ptr();
        let second = packed(&mut packing, 1_000, 1_100);
        assert_ne!(second.arena().as_ptr(), place);
        let part = first.clone().split_to(1);
        drop(first);
        assert_ne!(packed(&mut packing, 1_000, 1_100).arena().as_ptr(), place);
        drop(part);
        assert_eq!(packed(&mut packing, 1_000, 1_100).arena().as_ptr(), place);
    }

    #[test]
    fn a_buffer_is_used_again_for_as_much_as_it_has_room_for_down_to_half() {
        for (left, again) in [(549, false), (550, true), (1_100, true), (1_101, false)] {
            let mut packing = Packing::new(1);
            packed(&mut packing, 600, 1_100);
            packing.laid[0].last = 0;
            packing.spares.frame(left);
            let taken = packing.spares.frames.is_empty();
            assert_eq!(taken, again, "{left}");
        }
    }

    #[test]
    fn no_more_buffers_are_kept_than_may_be_and_none_that_is_too_large() {
        let mut packing = Packing::new(1);
        let packs: Vec<_> = (0..=SPARES_MAX)
            .map(|n| {
                assert_eq!(packing.spares.frames.len(), n);
                packed(&mut packing, 1_000, 1_100)
            })
            .take(SPARES_MAX)
            .collect();
        let oldest = packs[0].arena().as_ptr();
        packed(&mut packing, 1_000, 1_100);
        assert_eq!(packing.spares.frames.len(), SPARES_MAX);
        let kept = |p: &Packing| p.spares.frames.iter().any(|(_, f)| f.as_ptr() == oldest);
        assert!(!kept(&packing));
        drop(packs);
        for (bytes, more) in [(ROOM_BYTES_MAX, true), (ROOM_BYTES_MAX + 1, false)] {
            packing.spares = Spares::default();
            packed(&mut packing, bytes, bytes);
            assert_eq!(packing.spares.frames.len(), usize::from(more), "{bytes}");
            assert_eq!(packing.spares.rows.len(), 1);
        }
        for (rows, kept) in [(SPARE_ROWS_MAX, 1), (SPARE_ROWS_MAX + 1, 0)] {
            let mut spares = Spares::default();
            spares.keep_rows(Vec::with_capacity(rows));
            assert_eq!(spares.rows.len(), kept, "{rows}");
        }
        let mut spares = Spares::default();
        (0..=SPARES_MAX).for_each(|_| spares.keep_rows(Vec::new()));
        assert_eq!(spares.rows.len(), SPARES_MAX);
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
                packing.add(*id, frame, layout, frame.len());
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
