//! What became of messages, in numbers.

use serde::Serialize;

/// What one or several receivers counted. Each message that came back is in `received` once, whatever else it is counted as.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Counts {
    /// Messages that came back: the first time that each did, in time.
    pub(crate) received: u64,
    /// Messages that came again.
    pub(crate) duplicated: u64,
    /// Messages that came after a later one of their connection and subject.
    pub(crate) reordered: u64,
    /// Messages that came damaged.
    pub(crate) corrupted: u64,
    /// Requests that nobody answers, and messages that no stream stored.
    pub(crate) refused: u64,
    /// Messages that came after they were given up on. They are among the lost.
    pub(crate) late: u64,
    /// Messages that are none of this run's.
    pub(crate) strange: u64,
    /// Bytes of payloads that came.
    pub(crate) bytes: u64,
}

impl Counts {
    /// Adds another receiver's.
    pub(crate) fn add(&mut self, other: &Self) {
        let Self {
            received,
            duplicated,
            reordered,
            corrupted,
            refused,
            late,
            strange,
            bytes,
        } = other;
        self.received += received;
        self.duplicated += duplicated;
        self.reordered += reordered;
        self.corrupted += corrupted;
        self.refused += refused;
        self.late += late;
        self.strange += strange;
        self.bytes += bytes;
    }
}
