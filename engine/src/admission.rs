//! Admission: how much of a handler may be in flight on one shard, in messages and in bytes.
//!
//! Owns the arithmetic of the bound, packed into one number so that a broker may keep it in one atomic and take or return
//! both parts in one step. Pure: no clock, no thread, no broker.

/// The bound on what a handler has in flight on one shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Bound {
    /// Messages admitted and not yet settled.
    pub(crate) messages_max: u32,
    /// Their bytes.
    pub(crate) bytes_max: u64,
}

/// How much more may be in flight.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Room {
    /// Messages.
    pub(crate) messages: usize,
    /// Their bytes.
    pub(crate) bytes: u64,
}

/// What is in flight: messages in the upper 24 bits, bytes in the lower 40 (16 million messages, 1 TiB).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Load(u64);

const BYTES_BITS: u32 = 40;
const BYTES_MASK: u64 = (1 << BYTES_BITS) - 1;

/// Most messages that a [`Bound`] may allow; [`Load`] counts twice that without wrapping.
pub(crate) const MESSAGES_MAX: u32 = 1 << 23;
/// Most bytes that a [`Bound`] may allow; [`Load`] counts twice that without wrapping.
pub(crate) const BYTES_MAX: u64 = 1 << 39;

impl Load {
    /// The load of one message.
    pub(crate) fn one(bytes: usize) -> Self {
        Self::of(1, bytes)
    }

    /// The load of so many messages with so many bytes in all.
    pub(crate) fn of(messages: usize, bytes: usize) -> Self {
        Self(((messages as u64) << BYTES_BITS) | (bytes as u64 & BYTES_MASK))
    }

    /// This load so many times.
    pub(crate) fn times(self, count: usize) -> Self {
        Self(self.0 * count as u64)
    }

    /// This load and another.
    pub(crate) fn plus(self, other: Self) -> Self {
        Self(self.0 + other.0)
    }

    /// From the number that [`Load::raw`] gave.
    pub(crate) fn from_raw(raw: u64) -> Self {
        Self(raw)
    }

    /// As one number: loads add and subtract as these numbers do.
    pub(crate) fn raw(self) -> u64 {
        self.0
    }

    /// Messages in flight.
    pub(crate) fn messages(self) -> u64 {
        self.0 >> BYTES_BITS
    }

    /// Bytes in flight.
    pub(crate) fn bytes(self) -> u64 {
        self.0 & BYTES_MASK
    }

    /// Whether this load, with what was just added, is within the bound. One message alone always is: a message above the
    /// bound on bytes would otherwise never be handled.
    pub(crate) fn within(self, bound: Bound) -> bool {
        self.messages() <= u64::from(bound.messages_max)
            && (self.bytes() <= bound.bytes_max || self.messages() == 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const BOUND: Bound = Bound {
        messages_max: 3,
        bytes_max: 100,
    };

    fn load(sizes: &[usize]) -> Load {
        Load::from_raw(sizes.iter().map(|&b| Load::one(b).raw()).sum())
    }

    #[test]
    fn at_the_bound_is_within_and_one_over_is_not() {
        assert!(load(&[1, 1, 1]).within(BOUND));
        assert!(!load(&[1, 1, 1, 1]).within(BOUND));
        assert!(load(&[50, 50]).within(BOUND));
        assert!(!load(&[50, 51]).within(BOUND));
    }

    #[test]
    fn one_message_is_never_too_large() {
        assert!(load(&[101]).within(BOUND));
    }

    proptest! {
        #[test]
        fn what_is_taken_and_returned_leaves_nothing(sizes in prop::collection::vec(0usize..2_000_000, 0..500)) {
            let total = load(&sizes);
            prop_assert_eq!(total.messages(), sizes.len() as u64);
            prop_assert_eq!(total.bytes(), sizes.iter().sum::<usize>() as u64);
            let left = sizes.iter().fold(total.raw(), |l, &b| l - Load::one(b).raw());
            prop_assert_eq!(Load::from_raw(left), Load::default());
        }
    }
}
