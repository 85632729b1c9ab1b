//! Copies of many bytes, by pieces.
//!
//! From 2,112 bytes on glibc leaves a copy to the processor's own instruction (`rep movsb`), where that is said to be quick. On some (Zen 4)
//! it takes twice as long as other copies where the target lies little behind the source within a page, which is left to chance; see glibc's
//! bug 30994.

use bytes::{BufMut, BytesMut};

/// Bytes that are copied at once.
const PIECE: usize = 2 << 10;

/// Copies bytes to a place of their size.
#[allow(dead_code, reason = "the simulator has no guest's memory")]
pub(crate) fn copy(into: &mut [u8], bytes: &[u8]) {
    let places = into.chunks_mut(PIECE);
    let pieces = places.zip(bytes.chunks(PIECE));
    pieces.for_each(|(place, piece)| place.copy_from_slice(piece));
}

/// Appends bytes.
pub(crate) fn append(into: &mut BytesMut, bytes: &[u8]) {
    into.reserve(bytes.len());
    bytes.chunks(PIECE).for_each(|piece| into.put_slice(piece));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_bytes_are_copied_whatever_their_number() {
        for count in [0, 1, PIECE - 1, PIECE, PIECE + 1, 3 * PIECE, 10_000] {
            let bytes: Vec<u8> = (0..count).map(|n| (n % 251) as u8).collect();
            let (mut copied, mut appended) = (vec![0; count], BytesMut::from(&b"-"[..]));
            copy(&mut copied, &bytes);
            append(&mut appended, &bytes);
            assert!(copied == bytes && appended[1..] == bytes[..]);
        }
    }
}
