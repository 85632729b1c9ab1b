//! The stamp that every message carries: who sent it, as which, and checksums by which damage is seen.
//!
//! Twenty-four bytes, at the payload's beginning or as hexadecimal digits in a header: two that say what it is, the connection (2),
//! the run (4), the sequence (8), the checksum of these (4) and of the rest of the payload (4). Little-endian.

/// Bytes of a stamp.
pub(crate) const STAMP_BYTES: usize = 24;
/// The header that holds one, where the payload does not.
pub(crate) const STAMP_HEADER: &str = "Loadgen";
/// What a stamp begins with.
const MARK: [u8; 2] = *b"\x1fL";
/// Bytes that say which message it is, mark included.
const IDENTITY_BYTES: usize = 16;

/// Which message it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stamp {
    /// The run: messages of others are told by it.
    pub(crate) run: u32,
    /// The connection that sent it.
    pub(crate) connection: u16,
    /// How many this connection had sent before.
    pub(crate) sequence: u64,
}

/// What bytes at the place of a stamp are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Found {
    /// Nothing like one.
    None,
    /// One that is damaged so that it isn't known whose it is.
    Broken,
    /// One; whether it and the rest of the payload are what was sent.
    Stamp(Stamp, bool),
}

impl Stamp {
    /// The stamp of a message with this payload behind it.
    pub(crate) fn bytes(self, rest: &[u8]) -> [u8; STAMP_BYTES] {
        let mut bytes = [0; STAMP_BYTES];
        bytes[..2].copy_from_slice(&MARK);
        bytes[2..4].copy_from_slice(&self.connection.to_le_bytes());
        bytes[4..8].copy_from_slice(&self.run.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.sequence.to_le_bytes());
        let identity = checksum(&bytes[2..IDENTITY_BYTES]);
        bytes[16..20].copy_from_slice(&identity.to_le_bytes());
        bytes[20..].copy_from_slice(&checksum(rest).to_le_bytes());
        bytes
    }

    /// The same in hexadecimal digits, for a header.
    pub(crate) fn digits(self, rest: &[u8]) -> [u8; 2 * STAMP_BYTES] {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let mut digits = [0; 2 * STAMP_BYTES];
        for (two, byte) in digits.chunks_exact_mut(2).zip(self.bytes(rest)) {
            two[0] = DIGITS[usize::from(byte >> 4)];
            two[1] = DIGITS[usize::from(byte & 15)];
        }
        digits
    }

    /// What a payload begins with.
    pub(crate) fn of_payload(payload: &[u8]) -> Found {
        match payload.split_first_chunk::<STAMP_BYTES>() {
            Some((stamp, rest)) => read(stamp, rest),
            None => Found::None,
        }
    }

    /// What a header's value is, with the payload beside it.
    pub(crate) fn of_header(value: &[u8], payload: &[u8]) -> Found {
        let mut stamp = [0; STAMP_BYTES];
        if value.len() != 2 * STAMP_BYTES {
            return Found::Broken;
        }
        for (byte, two) in stamp.iter_mut().zip(value.chunks_exact(2)) {
            let digit = |d: u8| char::from(d).to_digit(16);
            let (Some(high), Some(low)) = (digit(two[0]), digit(two[1])) else {
                return Found::Broken;
            };
            *byte = (high << 4 | low) as u8;
        }
        read(&stamp, payload)
    }
}

/// One damaged byte anywhere leaves a message recognisable: either the mark or the identity's checksum still holds.
fn read(bytes: &[u8; STAMP_BYTES], rest: &[u8]) -> Found {
    let word =
        |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
    let marked = bytes[..2] == MARK;
    let sound = checksum(&bytes[2..IDENTITY_BYTES]) == word(16);
    match (marked, sound) {
        (false, false) => Found::None,
        (true, false) => Found::Broken,
        (_, true) => {
            let stamp = Stamp {
                run: word(4),
                connection: u16::from_le_bytes([bytes[2], bytes[3]]),
                sequence: u64::from(word(8)) | u64::from(word(12)) << 32,
            };
            Found::Stamp(stamp, marked && checksum(rest) == word(20))
        }
    }
}

/// A checksum of bytes and their number. Each step is one-to-one in what it is given, so one changed word always changes the 64 bits
/// that the sum is folded from; it is for damage, not against malice.
fn checksum(bytes: &[u8]) -> u32 {
    const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;
    let step = |sum: u64, word: u64| (sum.rotate_left(25) ^ word).wrapping_mul(FACTOR);
    let (words, tail) = bytes.as_chunks::<8>();
    let mut sum = step(0, bytes.len() as u64);
    for word in words {
        sum = step(sum, u64::from_le_bytes(*word));
    }
    let mut last = [0; 8];
    last[..tail.len()].copy_from_slice(tail);
    sum = step(sum, u64::from_le_bytes(last));
    (sum ^ (sum >> 32)) as u32
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn payload(stamp: Stamp, rest: &[u8]) -> Vec<u8> {
        [&stamp.bytes(rest)[..], rest].concat()
    }

    prop_compose! {
        fn stamps()(run: u32, connection: u16, sequence: u64) -> Stamp {
            Stamp { run, connection, sequence }
        }
    }

    proptest! {
        #[test]
        fn what_was_stamped_is_read_again(stamp in stamps(), rest: Vec<u8>) {
            prop_assert_eq!(Stamp::of_payload(&payload(stamp, &rest)), Found::Stamp(stamp, true));
            prop_assert_eq!(Stamp::of_header(&stamp.digits(&rest), &rest), Found::Stamp(stamp, true));
        }

        #[test]
        fn one_damaged_byte_is_always_seen(stamp in stamps(), rest: Vec<u8>, at: prop::sample::Index, flip in 1_u8..) {
            let mut bytes = payload(stamp, &rest);
            let at = at.index(bytes.len());
            bytes[at] ^= flip;
            let found = Stamp::of_payload(&bytes);
            prop_assert!(matches!(found, Found::Broken | Found::Stamp(_, false)), "{found:?}");
            // Where the identity is whole, it is still known whose it is.
            if !(2..20).contains(&at) {
                prop_assert_eq!(found, Found::Stamp(stamp, false));
            }
        }

        #[test]
        fn a_cut_payload_is_seen(stamp in stamps(), rest in prop::collection::vec(any::<u8>(), 1..300)) {
            let bytes = payload(stamp, &rest);
            prop_assert_eq!(Stamp::of_payload(&bytes[..bytes.len() - 1]), Found::Stamp(stamp, false));
        }
    }

    #[test]
    fn other_bytes_are_no_stamp() {
        assert_eq!(Stamp::of_payload(b"hello"), Found::None);
        assert_eq!(Stamp::of_payload(&[b'x'; 64]), Found::None);
        assert_eq!(Stamp::of_header(b"zz", b""), Found::Broken);
        assert_eq!(Stamp::of_header(&[b'z'; 48], b""), Found::Broken);
    }
}
