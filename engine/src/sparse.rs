//! Log lines that may come very often: the first at once, then one in a while that says how many were left out.
//!
//! Pure: handed the time.

use std::time::Duration;

use crate::time::Instant;

/// Between two lines of one kind at least.
const BETWEEN: Duration = Duration::from_secs(5);

/// One kind of line.
#[derive(Debug, Default)]
pub(crate) struct Sparse {
    next: Option<Instant>,
    left_out: u64,
}

impl Sparse {
    /// Whether a line is to be written now; else it is counted.
    pub(crate) fn ask(&mut self, now: Instant) -> bool {
        if self.next.is_some_and(|next| now < next) {
            self.left_out += 1;
            return false;
        }
        self.next = Some(now + BETWEEN);
        true
    }

    /// Lines that were left out since the last one: to be said on the next.
    pub(crate) fn left_out(&mut self) -> u64 {
        std::mem::take(&mut self.left_out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_line_is_written_at_once_and_the_others_are_counted() {
        let start = crate::testing::start();
        let mut lines = Sparse::default();
        assert!(lines.ask(start));
        assert_eq!(lines.left_out(), 0);
        for n in 0..100 {
            assert!(!lines.ask(start + Duration::from_millis(n)));
        }
        assert!(lines.ask(start + BETWEEN));
        assert_eq!((lines.left_out(), lines.left_out()), (100, 0));
        assert!(!lines.ask(start + BETWEEN));
    }
}
