//! Relations between patterns of subjects: whether two share a subject, and whether one holds all of the other; and which of many
//! stand so to one, without looking at each.
//!
//! Pure; the syntax, and one subject against one pattern, are `subject.rs`'s. Both patterns must have been checked.

use std::collections::HashMap;

/// Whether some subject is one that both patterns stand for.
pub(crate) fn overlap(a: &str, b: &str) -> bool {
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
pub(crate) fn contains(outer: &str, inner: &str) -> bool {
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

/// A set of patterns, of which all that begin alike share a branch.
#[derive(Debug, Default)]
pub(crate) struct Patterns<'a> {
    below: HashMap<&'a str, Patterns<'a>>,
    /// The pattern that ends here.
    ends: Option<&'a str>,
}

impl<'a> Patterns<'a> {
    /// Adds one. Whether it is new.
    pub(crate) fn insert(&mut self, pattern: &'a str) -> bool {
        let mut node = self;
        for token in pattern.split('.') {
            node = node.below.entry(token).or_default();
        }
        node.ends.replace(pattern).is_none()
    }

    /// Those that stand for every subject that `pattern` stands for, itself among them.
    pub(crate) fn covering(&self, pattern: &str) -> Vec<&'a str> {
        self.found(pattern, Self::cover)
    }

    /// Those that stand for some subject that `pattern` stands for too, itself among them.
    pub(crate) fn meeting(&self, pattern: &str) -> Vec<&'a str> {
        self.found(pattern, Self::meet)
    }

    fn found(&self, pattern: &str, walk: fn(&Self, &[&str], &mut Vec<&'a str>)) -> Vec<&'a str> {
        let tokens: Vec<_> = pattern.split('.').collect();
        let mut found = Vec::new();
        walk(self, &tokens, &mut found);
        found
    }

    fn cover(&self, rest: &[&str], found: &mut Vec<&'a str>) {
        let Some((token, rest)) = rest.split_first() else {
            return found.extend(self.ends);
        };
        found.extend(self.tail());
        if *token == ">" {
            return;
        }
        let same = (*token != "*").then_some(*token);
        for token in same.into_iter().chain(["*"]) {
            if let Some(below) = self.below.get(token) {
                below.cover(rest, found);
            }
        }
    }

    fn meet(&self, rest: &[&str], found: &mut Vec<&'a str>) {
        let Some((token, rest)) = rest.split_first() else {
            return found.extend(self.ends);
        };
        if *token == ">" {
            return self.all_below(found);
        }
        found.extend(self.tail());
        if *token == "*" {
            for (_, below) in self.below.iter().filter(|(token, _)| **token != ">") {
                below.meet(rest, found);
            }
            return;
        }
        for token in [*token, "*"] {
            if let Some(below) = self.below.get(token) {
                below.meet(rest, found);
            }
        }
    }

    /// The pattern that ends with `>` here.
    fn tail(&self) -> Option<&'a str> {
        self.below.get(">")?.ends
    }

    fn all_below(&self, found: &mut Vec<&'a str>) {
        for below in self.below.values() {
            found.extend(below.ends);
            below.all_below(found);
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

    proptest! {
        /// What is found is what comparing with each by itself finds.
        #[test]
        fn as_many_are_found_as_there_are(
            stored in prop::collection::vec("([ab*](\\.[ab*]){0,3}|([ab*]\\.){0,3}>)", 0..12),
            asked in "([ab*](\\.[ab*]){0,3}|([ab*]\\.){0,3}>)",
        ) {
            let mut patterns = Patterns::default();
            let mut distinct: Vec<&str> = stored.iter().map(String::as_str).collect();
            distinct.sort_unstable();
            distinct.dedup();
            let new = stored.iter().filter(|p| patterns.insert(p)).count();
            prop_assert_eq!(new, distinct.len());
            let sorted = |mut found: Vec<&str>| { found.sort_unstable(); found.join(" ") };
            let those = |of: fn(&str, &str) -> bool| sorted(distinct.iter().copied().filter(|p| of(p, &asked)).collect());
            prop_assert_eq!(sorted(patterns.covering(&asked)), those(contains));
            prop_assert_eq!(sorted(patterns.meeting(&asked)), those(overlap));
        }
    }
}
