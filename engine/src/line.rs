//! Texts of guests as one line, in the log and in faults.
//!
//! Owns what is escaped in them, and how one that is too long is cut. Pure.

use std::fmt;

/// What stands for the rest of a text that was cut off.
pub(crate) const CUT: &str = "…";

/// A text that is written as one line, cut where it is too long: what ends a line, moves on it or turns its direction is escaped, so that
/// a guest can't write what looks like a line of somebody else's. A backslash is too.
#[derive(Clone, Copy)]
pub(crate) struct OneLine<'a> {
    kept: &'a str,
    is_cut: bool,
}

impl<'a> OneLine<'a> {
    /// At most so many bytes of this text. Escapes make what is written longer, sixfold at most.
    pub(crate) fn new(text: &'a str, bytes_max: usize) -> Self {
        let kept = &text[..text.floor_char_boundary(bytes_max)];
        Self {
            kept,
            is_cut: kept.len() < text.len(),
        }
    }
}

impl fmt::Display for OneLine<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut plain = 0;
        for (at, found) in self.kept.match_indices(is_escaped) {
            f.write_str(&self.kept[plain..at])?;
            found
                .escape_debug()
                .try_for_each(|c| fmt::Write::write_char(f, c))?;
            plain = at + found.len();
        }
        f.write_str(&self.kept[plain..])?;
        f.write_str(if self.is_cut { CUT } else { "" })
    }
}

fn is_escaped(c: char) -> bool {
    let turns = matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    c.is_control() || turns || matches!(c, '\\' | '\u{2028}' | '\u{2029}')
}

#[cfg(test)]
mod tests {
    use super::*;

    const BYTES_MAX: usize = 1_000;

    fn written(text: &str) -> String {
        OneLine::new(text, BYTES_MAX).to_string()
    }

    #[test]
    fn a_text_stays_on_its_line() {
        assert_eq!(
            written("it's \"fine\", grüße 🙂 e\u{301}"),
            "it's \"fine\", grüße 🙂 e\u{301}"
        );
        assert_eq!(
            written("a\nb\r\tc\\n\u{1b}[31m\0\u{7f}\u{85}"),
            r"a\nb\r\tc\\n\u{1b}[31m\0\u{7f}\u{85}"
        );
        assert_eq!(
            written("\u{202e}x\u{2028}y\u{2069}\u{200f}"),
            r"\u{202e}x\u{2028}y\u{2069}\u{200f}"
        );
    }

    #[test]
    fn a_text_at_its_length_and_one_over() {
        let full = "x".repeat(BYTES_MAX);
        assert_eq!(written(&full), full);
        assert_eq!(written(&format!("{full}y")), format!("{full}{CUT}"));
        // Cut before a character that would not fit whole.
        let (before, wide) = (&full[1..], "ü");
        assert_eq!(
            written(&format!("{before}{wide}")),
            format!("{before}{CUT}")
        );
        // At its longest.
        let longest = written(&"\u{7f}".repeat(BYTES_MAX + 1));
        assert_eq!(longest.len(), 6 * BYTES_MAX + CUT.len());
    }
}
