//! Packs of what came in a turn: messages for handlers whose calls take packs, laid out as contract 3 reads them.
//!
//! Owns that layout while it grows. A message is copied once, out of the read buffer, which is free again after the turn. Knows no connection,
//! and not what there is room for. Bounded by what a turn reads.

use std::collections::VecDeque;

use crate::message::{HandlerId, Layout};
use crate::pack::{Pack, Row};

/// The packs of one turn.
#[derive(Debug, Default)]
pub(super) struct Packing {
    /// Whose messages are being laid out; nobody's where there are none.
    of: Option<HandlerId>,
    frame: Vec<u8>,
    rows: Vec<Row>,
    done: VecDeque<(HandlerId, Pack)>,
    /// Bytes and messages of the last pack: as much room is made for the next one.
    last: (usize, usize),
}

impl Packing {
    /// Adds a message whose parts lie so in these bytes.
    #[inline]
    pub(super) fn add(&mut self, id: HandlerId, frame: &[u8], layout: &Layout) {
        if self.of != Some(id) {
            self.begin(id);
        }
        let start = self.frame.len() as u32;
        let [subject, reply_to, headers, payload] = layout.write_parts(frame, &mut self.frame);
        self.rows
            .push([start, subject, reply_to, headers, payload, 0]);
    }

    /// Begins a pack of another handler.
    #[cold]
    fn begin(&mut self, id: HandlerId) {
        self.end();
        self.of = Some(id);
        self.frame.reserve(self.last.0);
        self.rows.reserve(self.last.1);
    }

    /// Ends the pack that is being laid out.
    fn end(&mut self) {
        if let Some(id) = self.of.take() {
            self.last = (self.frame.len(), self.rows.len());
            let (frame, rows) = (&mut self.frame, &mut self.rows);
            let pack = Pack::laid_out(std::mem::take(frame), std::mem::take(rows));
            self.done.push_back((id, pack));
        }
    }

    /// The next pack of the turn, which is over.
    pub(super) fn next(&mut self) -> Option<(HandlerId, Pack)> {
        self.end();
        self.done.pop_front()
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
    fn messages_of_a_turn_are_packed_by_handler_in_the_order_in_which_they_came() {
        let (mut packing, [a, b]) = (Packing::default(), [HandlerId(0), HandlerId(1)]);
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
            for ((got_id, got), (id, m)) in packed.iter().zip(&came) {
                assert_eq!((got_id, got.subject()), (id, m.subject()));
                assert_eq!((got.reply_to(), got.payload()), (m.reply_to(), m.payload()));
                assert_eq!(got.raw_headers(), m.raw_headers());
            }
        }
        assert!(packing.next().is_none());
    }
}
