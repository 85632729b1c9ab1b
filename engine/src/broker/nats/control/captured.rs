//! Which stream captures which subject, for the patterns that a guest may publish to: a table that shards read.
//!
//! Pure. Made anew when the streams may have changed; a subject that a new stream captures is unconfirmed until then.

use std::collections::{HashMap, HashSet};

use crate::subject::{SubjectError, check_pattern, matches};

/// Subjects and patterns of streams that one handler's table may hold: 4,096. Each is a row that is kept in memory; patterns with
/// wildcards are compared one by one with each send. One over is an error at start.
pub(crate) const CAPTURED_SUBJECTS_MAX: usize = 4_096;

/// What streams capture of what a guest may publish.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Captured {
    streams: Vec<Box<str>>,
    /// Subjects without wildcards, and the place of their stream.
    subjects: HashMap<Box<str>, usize>,
    /// Those with, and the place of theirs.
    patterns: Vec<(Box<str>, usize)>,
}

impl Captured {
    /// The stream that stores what is published to this subject, if one does. No subject has two: the server refuses streams that overlap.
    pub(crate) fn stream_of(&self, subject: &str) -> Option<&str> {
        let exact = self.subjects.get(subject).copied();
        let place = exact.or_else(|| {
            let mut patterns = self.patterns.iter();
            patterns
                .find(|(pattern, _)| matches(pattern, subject))
                .map(|(_, place)| *place)
        });
        place.map(|place| &*self.streams[place])
    }

    /// The names of all of them.
    #[cfg(test)]
    pub(crate) fn streams(&self) -> impl Iterator<Item = &str> {
        self.streams.iter().map(|name| &**name)
    }

    /// Whether nothing is captured.
    #[cfg(test)]
    pub(crate) fn is_empty(&self) -> bool {
        self.streams.is_empty()
    }

    /// Keeps what was captured before and is not any more: its stream is taken to come back, and sends to it wait for that. How
    /// many subjects and patterns there was no room for.
    pub(crate) fn keep(&mut self, before: &Self) -> usize {
        let patterns: HashSet<Box<str>> = self.patterns.iter().map(|(p, _)| p.clone()).collect();
        let gone = before
            .patterns
            .iter()
            .filter(|(p, _)| !patterns.contains(p));
        let (mut left, mut kept) = (0, Vec::new());
        for (pattern, place) in gone {
            kept.push((pattern, place, true));
        }
        for (subject, place) in &before.subjects {
            if self.stream_of(subject).is_none() {
                kept.push((subject, place, false));
            }
        }
        for (subject, place, is_pattern) in kept {
            if self.len() >= CAPTURED_SUBJECTS_MAX {
                left += 1;
                continue;
            }
            let place = self.place_of(&before.streams[*place]);
            match is_pattern {
                true => self.patterns.push((subject.clone(), place)),
                false => drop(self.subjects.insert(subject.clone(), place)),
            }
        }
        left
    }

    /// The place of a stream, which is added if it has none.
    fn place_of(&mut self, stream: &str) -> usize {
        let place = self.streams.iter().position(|name| &**name == stream);
        place.unwrap_or_else(|| {
            self.streams.push(stream.into());
            self.streams.len() - 1
        })
    }

    /// Subjects and patterns in it.
    pub(crate) fn len(&self) -> usize {
        self.subjects.len() + self.patterns.len()
    }

    /// Adds a stream and those of its subjects that count.
    ///
    /// # Errors
    /// A subject that is none: the server would have to be a strange one.
    pub(super) fn add<'a>(
        &mut self,
        stream: &str,
        subjects: impl Iterator<Item = &'a str>,
    ) -> Result<(), SubjectError> {
        let place = self.streams.len();
        self.streams.push(stream.into());
        for subject in subjects {
            check_pattern(subject)?;
            match subject.split('.').any(|token| token == "*" || token == ">") {
                true => self.patterns.push((subject.into(), place)),
                false => drop(self.subjects.insert(subject.into(), place)),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stream_of_a_subject_is_found_by_name_and_by_pattern() {
        let mut captured = Captured::default();
        assert!(captured.is_empty() && captured.stream_of("a").is_none());
        captured.add("A", ["a", "a.*.x"].into_iter()).unwrap();
        captured.add("B", ["b.>"].into_iter()).unwrap();
        for (subject, stream) in [
            ("a", Some("A")),
            ("a.1.x", Some("A")),
            ("a.1", None),
            ("b.c.d", Some("B")),
            ("b", None),
        ] {
            assert_eq!(captured.stream_of(subject), stream, "{subject}");
        }
        assert_eq!((captured.len(), captured.streams().count()), (3, 2));
        captured.add("C", ["c..d"].into_iter()).unwrap_err();
    }

    fn of(stream: &str, subjects: impl IntoIterator<Item = String>) -> Captured {
        let (mut captured, subjects) = (Captured::default(), Vec::from_iter(subjects));
        let subjects = subjects.iter().map(|subject| &**subject);
        captured.add(stream, subjects).unwrap();
        captured
    }

    #[test]
    fn what_a_stream_captured_that_is_gone_goes_on_being_captured() {
        let before = of("A", ["a".into(), "a.*.x".into(), "both".into()]);
        let mut now = of("B", ["b".into(), "both".into()]);
        for _ in 0..3 {
            assert_eq!(now.keep(&before), 0);
            assert_eq!((now.len(), now.streams().count()), (4, 2));
        }
        assert_eq!(
            ["a", "a.1.x", "b", "both"].map(|s| now.stream_of(s)),
            [Some("A"), Some("A"), Some("B"), Some("B")]
        );
        let full = of("A", (0..CAPTURED_SUBJECTS_MAX).map(|n| format!("a{n}")));
        let mut now = of("B", ["b".into()]);
        assert_eq!((now.keep(&full), now.len()), (1, CAPTURED_SUBJECTS_MAX));
    }
}
