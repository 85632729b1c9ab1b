//! Relations between two patterns of subjects: whether they share a subject, and whether one holds all of the other.
//!
//! Pure; the syntax, and one subject against one pattern, are `subject.rs`'s. Both patterns must have been checked.

/// Whether some subject is one that both patterns stand for.
pub(super) fn overlap(a: &str, b: &str) -> bool {
    let (mut a, mut b) = (a.split('.'), b.split('.'));
    loop {
        match (a.next(), b.next()) {
            (Some(">"), Some(_)) | (Some(_), Some(">")) | (None, None) => return true,
            (Some("*"), Some(_)) | (Some(_), Some("*")) => {}
            (Some(x), Some(y)) if x == y => {}
            _ => return false,
        }
    }
}

/// Whether every subject that `inner` stands for is one that `outer` stands for.
pub(super) fn contains(outer: &str, inner: &str) -> bool {
    let (mut outer, mut inner) = (outer.split('.'), inner.split('.'));
    loop {
        match (outer.next(), inner.next()) {
            (Some(">"), Some(_)) | (None, None) => return true,
            (Some(_), Some(">")) => return false,
            (Some("*"), Some(_)) => {}
            (Some(x), Some(y)) if x == y => {}
            _ => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::subject::matches;
    use proptest::prelude::*;

    /// All subjects of up to four tokens of three: enough for patterns of three tokens of two of them.
    fn subjects() -> Vec<String> {
        let longer = |shorter: &Vec<String>| {
            let all = shorter.iter().flat_map(|s| {
                ["a", "b", "c"].map(|t| match s.is_empty() {
                    true => t.to_owned(),
                    false => format!("{s}.{t}"),
                })
            });
            all.collect::<Vec<_>>()
        };
        let mut level = vec![String::new()];
        let mut all = Vec::new();
        for _ in 0..4 {
            level = longer(&level);
            all.extend(level.clone());
        }
        all
    }

    fn pattern() -> impl Strategy<Value = String> {
        let token = prop::sample::select(vec!["a", "b", "*"]);
        (prop::collection::vec(token, 0..=3), any::<bool>()).prop_map(|(mut tokens, rest)| {
            if rest || tokens.is_empty() {
                tokens.truncate(2);
                tokens.push(">");
            }
            tokens.join(".")
        })
    }

    #[test]
    fn examples() {
        assert!(overlap("a.>", "*.b") && !overlap("a.>", "a") && overlap(">", "a"));
        assert!(contains("a.>", "a.*") && !contains("a.*", "a.>") && contains(">", ">"));
        assert!(!contains("a.b", "a.*") && contains("a.>", "a.b.>") && !contains("a", "a.b"));
    }

    proptest! {
        #[test]
        fn both_say_what_all_subjects_together_say(a in pattern(), b in pattern()) {
            let all = subjects();
            prop_assert_eq!(overlap(&a, &b), all.iter().any(|s| matches(&a, s) && matches(&b, s)), "{} {}", a, b);
            prop_assert_eq!(contains(&a, &b), all.iter().all(|s| !matches(&b, s) || matches(&a, s)), "{} {}", a, b);
        }
    }
}
