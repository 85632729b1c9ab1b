//! What a handler has answered, as the contract has it. Of sends in the batch, what precedes their payloads is written there.

use alloc::vec::Vec;

use crate::batch::ROW;

/// The head of sends from one on, until another's.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Head {
    /// Where the first of them stands in the index.
    pub(crate) row: usize,
    /// Where it begins in the arena; from [`IN_BATCH`] on, in the batch.
    start: usize,
}

/// More than a list has bytes where components are made: 2 GiB.
const IN_BATCH: usize = 1 << 31;

/// What a handler has answered: two lists, the first of which may yet have to be written into the batch that it answers.
#[derive(Debug)]
pub struct Finished {
    pub(crate) arena: Vec<u8>,
    pub(crate) index: Vec<u32>,
    /// Of sends in the batch, whose heads lie in the arena; none if the sends do.
    pub(crate) heads: Vec<Head>,
}

impl Finished {
    /// These two lists, as they are.
    #[must_use]
    pub fn lists((arena, index): (Vec<u8>, Vec<u32>)) -> Self {
        Self {
            arena,
            index,
            heads: Vec::new(),
        }
    }

    /// The two lists of the contract, of which the first may lie in these bytes of the batch, which nobody reads any more.
    pub(crate) fn into_lists(self, batch: &mut [u8]) -> (&mut [u8], &mut [u32]) {
        let Self {
            arena,
            index,
            heads,
        } = self;
        let index = index.leak();
        if heads.is_empty() {
            return (arena.leak(), index);
        }
        for (head, rows) in Head::rows(&heads, index) {
            match head.start.checked_sub(IN_BATCH) {
                // It has one send alone.
                Some(from) => move_head(batch, from, rows),
                None => put_heads(batch, &arena[head.start..], rows),
            }
        }
        let last = index.rchunks_exact(ROW).next();
        let end = last.map_or(0, |row| (row[1] + row[5]) as usize + head_length(row));
        (&mut batch[..end], index)
    }
}

impl Head {
    /// One that lies there in the arena.
    pub(crate) fn in_arena(row: usize, start: usize) -> Self {
        Self { row, start }
    }

    /// One that lies there in the batch.
    #[inline(always)]
    pub(crate) fn in_batch(row: usize, start: usize) -> Self {
        let start = start + IN_BATCH;
        Self { row, start }
    }

    /// Its bytes: so many.
    pub(crate) fn bytes<'a>(self, length: usize, arena: &'a [u8], batch: &'a [u8]) -> &'a [u8] {
        match self.start.checked_sub(IN_BATCH) {
            Some(from) => &batch[from..from + length],
            None => &arena[self.start..self.start + length],
        }
    }

    /// Each of these heads, with the rows of its sends.
    pub(crate) fn rows<'a>(
        heads: &'a [Self],
        index: &'a mut [u32],
    ) -> impl Iterator<Item = (Self, &'a mut [u32])> {
        let mut rest = index;
        let mut at = 0;
        let ends = heads.iter().skip(1).map(|head| head.row);
        let ends = ends.chain([usize::MAX]);
        heads.iter().zip(ends).map(move |(head, end)| {
            let here = core::mem::take(&mut rest);
            let (rows, behind) = here.split_at_mut(end.min(at + here.len()) - at);
            let skipped = head.row - at;
            at += rows.len();
            rest = behind;
            (*head, &mut rows[skipped..])
        })
    }
}

/// How many bytes a send has in front of its payload.
pub(crate) fn head_length(row: &[u32]) -> usize {
    (row[2] + row[3] + row[4]) as usize
}

/// Writes the head that these sends have to where each begins. It is read once, if it is as short as most are: not inlined, so that
/// nothing that is written is taken for it.
#[inline(never)]
fn put_heads(batch: &mut [u8], head: &[u8], rows: &[u32]) {
    /// By its first and its last bytes, which are all.
    fn ends<const N: usize>(batch: &mut [u8], head: &[u8], rows: &[u32]) -> Option<()> {
        let (first, last) = (*head.first_chunk::<N>()?, *head.last_chunk::<N>()?);
        for row in rows.chunks_exact(ROW) {
            let into = &mut batch[row[1] as usize..][..head.len()];
            *into.first_chunk_mut()? = first;
            *into.last_chunk_mut()? = last;
        }
        Some(())
    }
    let head = &head[..head_length(rows)];
    let put = match head.len() {
        8..=16 => ends::<8>(batch, head, rows),
        17..=32 => ends::<16>(batch, head, rows),
        _ => None,
    };
    if put.is_none() {
        for row in rows.chunks_exact(ROW) {
            batch[row[1] as usize..][..head.len()].copy_from_slice(head);
        }
    }
}

/// Moves the head of a send, which lies there in the batch, to where the send begins.
#[inline(always)]
fn move_head(batch: &mut [u8], from: usize, row: &[u32]) {
    /// By its first and its last bytes, which are all: both are read before anything is written.
    fn ends<const N: usize>(batch: &mut [u8], from: usize, to: usize, length: usize) -> Option<()> {
        let head = batch.get(from..from + length)?;
        let (first, last) = (*head.first_chunk::<N>()?, *head.last_chunk::<N>()?);
        let into = batch.get_mut(to..to + length)?;
        *into.first_chunk_mut()? = first;
        *into.last_chunk_mut()? = last;
        Some(())
    }
    let (to, length) = (row[1] as usize, head_length(row));
    let moved = match length {
        _ if from == to => Some(()),
        8..=16 => ends::<8>(batch, from, to, length),
        17..=32 => ends::<16>(batch, from, to, length),
        33..=64 => ends::<32>(batch, from, to, length),
        _ => None,
    };
    if moved.is_none() {
        batch.copy_within(from..from + length, to);
    }
}
