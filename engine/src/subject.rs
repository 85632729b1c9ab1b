//! Subjects and patterns, in the syntax of NATS: tokens between dots; `*` stands for one token, a last `>` for the rest.
//! Source of the rules: <https://docs.nats.io/nats-concepts/subjects>.
//!
//! Owns what a good subject is. Knows nothing of messages, brokers or contracts.

use thiserror::Error;

/// Longest subject or pattern, in bytes. NATS recommends far less; a whole control line of NATS is 4,096 bytes.
pub const SUBJECT_BYTES_MAX: usize = 1_024;

/// A subject or pattern that can't be used, by name and with the reason.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("bad subject {subject:?}: {reason}")]
pub struct SubjectError {
    /// What was given, cut to 64 characters.
    pub subject: String,
    /// Why it can't be used.
    pub reason: &'static str,
}

/// Checks a subject that a message is published to: no wildcards.
///
/// # Errors
/// Empty, longer than [`SUBJECT_BYTES_MAX`], an empty token, white space or control characters, or a wildcard.
pub fn check_subject(subject: &str) -> Result<(), SubjectError> {
    check(subject, false)
}

/// Checks a pattern that somebody subscribes to: a subject that may have wildcards.
///
/// # Errors
/// As [`check_subject`], but for wildcards, which must be whole tokens, `>` the last one.
pub fn check_pattern(pattern: &str) -> Result<(), SubjectError> {
    check(pattern, true)
}

/// What the subjects of replies begin with. Reserved: nobody subscribes below it.
pub(crate) const INBOX: &str = "_INBOX.";

/// Checks a pattern that somebody is to listen on.
///
/// # Errors
/// As [`check_pattern`]; and one that stands for subjects of replies alone.
pub(crate) fn check_listened(pattern: &str) -> Result<(), SubjectError> {
    check_pattern(pattern)?;
    if pattern.split('.').next() == INBOX.split('.').next() {
        return Err(SubjectError {
            subject: pattern.chars().take(64).collect(),
            reason: "subjects below _INBOX are for replies",
        });
    }
    Ok(())
}

fn check(subject: &str, wildcards: bool) -> Result<(), SubjectError> {
    if is_plain(subject.as_bytes()) {
        return Ok(());
    }
    match fault(subject.as_bytes(), wildcards) {
        None => Ok(()),
        Some(reason) => Err(SubjectError {
            subject: subject.chars().take(64).collect(),
            reason,
        }),
    }
}

/// Whether it is a good subject without wildcards, as nearly all are. Passes without a branch a byte: this is on the path of every
/// send.
fn is_plain(subject: &[u8]) -> bool {
    let [first, .., last] = subject else {
        return false;
    };
    let odd = |odd, &b: &u8| odd | (b <= b' ') | (b == 0x7f) | (b == b'*') | (b == b'>');
    let gap = |gap, (&a, &b): (&u8, &u8)| gap | ((a == b'.') & (b == b'.'));
    let is_between = *first != b'.' && *last != b'.' && subject.len() <= SUBJECT_BYTES_MAX;
    is_between
        && !subject.iter().fold(false, odd)
        && !subject.iter().zip(&subject[1..]).fold(false, gap)
}

/// What is wrong with a subject.
fn fault(subject: &[u8], wildcards: bool) -> Option<&'static str> {
    if subject.is_empty() {
        return Some("it is empty");
    }
    if subject.len() > SUBJECT_BYTES_MAX {
        return Some("it is longer than 1,024 bytes");
    }
    let mut start = 0;
    for at in 0..=subject.len() {
        let byte = subject.get(at).copied().unwrap_or(b'.');
        if byte <= b' ' || byte == 0x7f {
            return Some("it has white space or a control character");
        }
        if byte != b'.' {
            continue;
        }
        let token = &subject[start..at];
        start = at + 1;
        match token {
            [] => return Some("it has an empty token (a dot at an end, or two in a row)"),
            b"*" | b">" if !wildcards => {
                return Some("wildcards can be subscribed to, not published to");
            }
            b">" if at != subject.len() => return Some("`>` may only be the last token"),
            b"*" | b">" => {}
            token if token.contains(&b'*') || token.contains(&b'>') => {
                return Some("`*` and `>` must be whole tokens");
            }
            _ => {}
        }
    }
    None
}

/// Whether `subject` is one that `pattern` stands for. Both must have been checked.
///
/// ```
/// use millpond::subject::matches;
/// assert!(matches("orders.*.new", "orders.eu.new"));
/// assert!(matches("orders.>", "orders.eu.new"));
/// assert!(!matches("orders.>", "orders"));
/// ```
#[must_use]
pub fn matches(pattern: &str, subject: &str) -> bool {
    let (mut patterns, mut tokens) = (pattern.split('.'), subject.split('.'));
    loop {
        match (patterns.next(), tokens.next()) {
            (Some(">"), Some(_)) | (None, None) => return true,
            (Some("*"), Some(_)) => {}
            (Some(p), Some(t)) if p == t => {}
            _ => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn good_ones_pass() {
        for s in ["a", "a.b.c", "orders.eu-1._x", "ünï.code"] {
            check_subject(s).unwrap();
        }
        for p in ["a.*", "*", ">", "a.*.c.>", "a"] {
            check_pattern(p).unwrap();
        }
    }

    #[test]
    fn bad_ones_are_refused_by_name_and_reason() {
        for (s, why) in [
            ("", "empty"),
            ("a..b", "empty token"),
            (".a", "empty token"),
            ("a.", "empty token"),
            ("a b", "white space"),
            ("a\n", "control"),
            ("a.*", "wildcards"),
            (">", "wildcards"),
            ("a.b*", "whole tokens"),
        ] {
            let e = check_subject(s).unwrap_err();
            assert!(e.reason.contains(why), "{s:?}: {e}");
            assert_eq!(e.subject, s);
        }
        for (p, why) in [("a.>.b", "last"), ("a*.b", "whole"), ("x.>y", "whole")] {
            assert!(check_pattern(p).unwrap_err().reason.contains(why), "{p}");
        }
    }

    proptest! {
        #[test]
        fn what_is_plain_is_good_and_what_is_good_without_wildcards_is_plain(subject in "[ab.*> \\x7f]{0,6}") {
            let good = fault(subject.as_bytes(), false).is_none();
            prop_assert_eq!(is_plain(subject.as_bytes()), good && subject.len() > 1);
        }
    }

    #[test]
    fn length_is_bounded() {
        check_subject(&"a".repeat(SUBJECT_BYTES_MAX)).unwrap();
        check_subject(&"a".repeat(SUBJECT_BYTES_MAX + 1)).unwrap_err();
    }

    #[test]
    fn patterns_match_as_documented() {
        for (p, s, yes) in [
            ("a", "a", true),
            ("a", "b", false),
            ("a", "a.b", false),
            ("a.*", "a.b", true),
            ("a.*", "a", false),
            ("a.*", "a.b.c", false),
            (">", "a.b", true),
            ("a.>", "a", false),
            ("*.b.>", "x.b.c.d", true),
        ] {
            assert_eq!(matches(p, s), yes, "{p} ~ {s}");
        }
    }
}
