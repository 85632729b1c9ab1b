//! Batches as a guest reads them: nothing is copied, everything borrows from the list that came.

use core::slice;

/// Numbers of a message in the index.
pub(crate) const ROW: usize = 6;

/// The messages of a call.
#[derive(Debug, Clone, Copy)]
pub struct Batch<'a> {
    arena: &'a [u8],
    rows: &'a [[u32; ROW]],
}

impl<'a> Batch<'a> {
    /// What the host laid out; numbers that make no whole message are left out.
    #[must_use]
    pub fn new(arena: &'a [u8], index: &'a [u32]) -> Self {
        // SAFETY: an array of numbers lies as they do, and `index` has so many of them for each.
        let rows = unsafe { slice::from_raw_parts(index.as_ptr().cast(), index.len() / ROW) };
        Self { arena, rows }
    }

    /// How many messages; at least one.
    #[must_use]
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there is none, which no host calls with.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The messages, in order.
    #[must_use]
    pub fn iter(&self) -> Messages<'a> {
        Messages {
            arena: self.arena,
            rows: self.rows.iter(),
            place: 0,
        }
    }

    /// Bytes of all messages.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.arena.len()
    }

    /// What all parts of its messages lie in.
    pub(crate) fn arena(&self) -> &'a [u8] {
        self.arena
    }
}

impl<'a> IntoIterator for &Batch<'a> {
    type Item = Message<'a>;
    type IntoIter = Messages<'a>;

    fn into_iter(self) -> Messages<'a> {
        self.iter()
    }
}

/// The messages of a batch.
#[derive(Debug, Clone)]
pub struct Messages<'a> {
    arena: &'a [u8],
    rows: slice::Iter<'a, [u32; ROW]>,
    place: u32,
}

impl<'a> Iterator for Messages<'a> {
    type Item = Message<'a>;

    #[inline]
    fn next(&mut self) -> Option<Message<'a>> {
        let row = *self.rows.next()?;
        let place = self.place;
        self.place += 1;
        Some(Message {
            bytes: &self.arena[row[0] as usize..],
            row,
            place,
        })
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.rows.size_hint()
    }
}

impl ExactSizeIterator for Messages<'_> {}

/// A message.
#[derive(Debug, Clone, Copy)]
pub struct Message<'a> {
    /// From its first byte on.
    bytes: &'a [u8],
    /// By value: what is written meanwhile can't have changed it.
    row: [u32; ROW],
    place: u32,
}

impl<'a> Message<'a> {
    /// Its place in the batch, from 0.
    #[must_use]
    pub fn place(&self) -> usize {
        self.place as usize
    }

    /// The subject that it was published to. Empty if a foreign publisher's was not UTF-8.
    #[must_use]
    pub fn subject(&self) -> &'a str {
        text(self.part(1))
    }

    /// Where a reply goes, if somebody waits for one.
    #[must_use]
    pub fn reply_to(&self) -> Option<&'a str> {
        (self.row[2] > 0).then(|| text(self.part(2)))
    }

    /// Its headers, in order; a name may come several times.
    #[must_use]
    pub fn headers(&self) -> Headers<'a> {
        Headers(self.raw_headers())
    }

    /// The first header of this name, which is compared as it is.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&'a str> {
        let mut headers = self.headers();
        headers
            .find(|(key, _)| *key == name)
            .map(|(_, value)| value)
    }

    /// Its headers as they came: lines `name: value` that each end in CR LF. To be handed on as they are.
    #[must_use]
    pub fn raw_headers(&self) -> &'a [u8] {
        self.part(3)
    }

    /// Its payload.
    #[must_use]
    pub fn payload(&self) -> &'a [u8] {
        self.part(4)
    }

    /// How many times it was delivered before this time and not handled.
    #[must_use]
    pub fn attempts(&self) -> u32 {
        self.row[5]
    }

    /// Its place in the batch, as a number of the index.
    pub(crate) fn number(&self) -> u32 {
        self.place
    }

    /// Where it begins in the batch; that byte; and how many it has.
    pub(crate) fn place_in_batch(&self) -> (usize, *const u8, usize) {
        let size = self.row[1..5].iter().sum::<u32>() as usize;
        (self.row[0] as usize, self.bytes.as_ptr(), size)
    }

    /// Its reply subject, as bytes; empty if nobody waits for a reply.
    #[inline]
    pub(crate) fn reply_bytes(&self) -> &'a [u8] {
        self.part(2)
    }

    /// Where its reply subject begins in it.
    #[inline]
    pub(crate) fn reply_place(&self) -> usize {
        self.row[1] as usize
    }

    /// The part whose length is at this place of the row.
    #[inline]
    fn part(&self, place: usize) -> &'a [u8] {
        let before: u32 = self.row[1..place].iter().sum();
        &self.bytes[before as usize..][..self.row[place] as usize]
    }
}

/// Headers: names and values.
#[derive(Debug, Clone)]
pub struct Headers<'a>(&'a [u8]);

impl<'a> Headers<'a> {
    /// Of lines as a message has them.
    #[cfg(not(target_arch = "wasm32"))]
    pub(crate) fn of(lines: &'a [u8]) -> Self {
        Self(lines)
    }
}

impl<'a> Iterator for Headers<'a> {
    type Item = (&'a str, &'a str);

    fn next(&mut self) -> Option<Self::Item> {
        let end = self.0.iter().position(|byte| *byte == b'\n')?;
        let (line, rest) = self.0.split_at(end + 1);
        self.0 = rest;
        let line = text(line).trim_end_matches(['\r', '\n']);
        let (name, value) = line.split_once(':').unwrap_or((line, ""));
        Some((name, value.strip_prefix(' ').unwrap_or(value)))
    }
}

fn text(bytes: &[u8]) -> &str {
    core::str::from_utf8(bytes).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{laid_out, Given};
    use alloc::vec::Vec;

    #[test]
    fn parts_are_read_where_they_lie() {
        let first = Given::new("a.b", b"\0data").reply_to("r").attempts(3);
        let headers = [("k", "v"), ("K", "w"), ("k", " x: y ")];
        let (mut arena, mut index) = laid_out(&[first.headers(&headers), Given::new("c", b"")]);
        // A space behind the colon may be left out.
        let space = arena
            .iter()
            .position(|byte| *byte == b'w')
            .expect("it is there")
            - 1;
        arena.remove(space);
        (index[3], index[6]) = (index[3] - 1, index[6] - 1);
        let batch = Batch::new(&arena, &index);
        assert_eq!(
            (batch.len(), batch.is_empty(), batch.bytes()),
            (2, false, arena.len())
        );
        let messages: Vec<_> = batch.iter().collect();
        let m = &messages[0];
        assert_eq!(
            (m.place(), m.subject(), m.reply_to()),
            (0, "a.b", Some("r"))
        );
        assert_eq!((m.payload(), m.attempts()), (&b"\0data"[..], 3));
        let headers: Vec<_> = m.headers().collect();
        assert_eq!(headers, [("k", "v"), ("K", "w"), ("k", " x: y ")]);
        assert_eq!((m.header("K"), m.header("x")), (Some("w"), None));
        let m = &messages[1];
        assert_eq!((m.place(), m.subject(), m.reply_to()), (1, "c", None));
        assert_eq!(
            (m.payload(), m.headers().count(), m.attempts()),
            (&b""[..], 0, 0)
        );
    }

    #[test]
    fn what_is_not_text_is_read_as_empty() {
        let (mut arena, index) = laid_out(&[Given::new("aa", b"").headers(&[("k", "v")])]);
        (arena[0], arena[5]) = (0xff, 0xff);
        let batch = Batch::new(&arena, &index);
        let message = batch.iter().next().expect("one");
        assert_eq!(message.subject(), "");
        assert_eq!(message.headers().collect::<Vec<_>>(), [("", "")]);
    }
}
