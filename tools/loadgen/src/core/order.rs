//! Order: whether messages come in the order that they were sent in. Nothing promises more than the order of one connection's messages
//! on one subject, so that is what is looked at.

/// The highest sequence that came, of each connection and subject.
#[derive(Debug)]
pub(crate) struct Order {
    subjects: usize,
    /// One above it; 0 if none has come.
    highest: Vec<u64>,
}

impl Order {
    /// Of so many connections and subjects.
    pub(crate) fn new(connections: usize, subjects: usize) -> Self {
        Self {
            subjects,
            highest: vec![0; connections * subjects],
        }
    }

    /// Whether a message comes after a later one.
    pub(crate) fn is_after_a_later_one(
        &mut self,
        connection: usize,
        subject: u32,
        sequence: u64,
    ) -> bool {
        let highest = &mut self.highest[connection * self.subjects + subject as usize];
        let after = sequence < *highest;
        *highest = (*highest).max(sequence + 1);
        after
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_one_that_was_overtaken_is_counted_and_only_on_its_subject() {
        let mut order = Order::new(2, 2);
        let mut came = |connection, subject, sequence| {
            order.is_after_a_later_one(connection, subject, sequence)
        };
        assert!(!came(0, 0, 0) && !came(0, 0, 2) && came(0, 0, 1) && !came(0, 0, 3));
        assert!(!came(0, 1, 0) && !came(1, 0, 1));
    }
}
