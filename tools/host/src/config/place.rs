//! Where in a file something is said: line and column of a key, and the key at a place.

use std::fmt;
use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// A step from a table to a value in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Step {
    /// The value of a key.
    Key(String),
    /// A value of a list, from 0 on.
    Index(usize),
}

/// The way to a value, from the whole file on.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Way(pub(crate) Vec<Step>);

impl Way {
    /// The way by these keys.
    pub(crate) fn of(keys: &[&str]) -> Self {
        keys.iter().fold(Self::default(), |way, key| way.key(key))
    }

    /// The way on to a key.
    #[must_use]
    pub(crate) fn key(mut self, key: &str) -> Self {
        self.0.push(Step::Key(key.to_owned()));
        self
    }

    /// The way on to a value of a list.
    #[must_use]
    pub(crate) fn index(mut self, index: usize) -> Self {
        self.0.push(Step::Index(index));
        self
    }

    /// Its keys, without places in lists.
    pub(crate) fn keys(&self) -> Vec<&str> {
        let mut keys = Vec::new();
        for step in &self.0 {
            if let Step::Key(key) = step {
                keys.push(key.as_str());
            }
        }
        keys
    }
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.keys().join("."))
    }
}

/// Line and column of a byte, both from 1 on; columns count characters.
pub(crate) fn line_and_column(text: &str, at: usize) -> (usize, usize) {
    let before = &text[..text.floor_char_boundary(at.min(text.len()))];
    let line = before.rsplit('\n').next().unwrap_or(before);
    (before.matches('\n').count() + 1, line.chars().count() + 1)
}

/// Where the last part of `way` is said that the file has: the whole way's place only if `whole`.
pub(crate) struct Place {
    /// Its first byte.
    pub(crate) at: usize,
    /// Whether all of the way is there.
    pub(crate) whole: bool,
}

/// Where a value is said, or the last table on the way to it.
pub(crate) fn place_of(text: &str, way: &Way) -> Option<Place> {
    let root = DeTable::parse(text).ok()?;
    let mut value: Option<&Spanned<DeValue<'_>>> = None;
    let mut place = None;
    for (done, step) in way.0.iter().enumerate() {
        let found = match step {
            Step::Key(key) => {
                let table = match value {
                    None => Some(root.get_ref()),
                    Some(value) => value.get_ref().as_table(),
                };
                let entry = table.and_then(|t| t.iter().find(|(name, _)| name.get_ref() == key));
                entry.map(|(name, value)| (name.span(), value))
            }
            Step::Index(index) => {
                let list = value.and_then(|value| value.get_ref().as_array());
                list.and_then(|list| list.get(*index))
                    .map(|value| (value.span(), value))
            }
        };
        let Some((span, next)) = found else { break };
        let whole = done + 1 == way.0.len();
        place = Some(Place {
            at: span.start,
            whole,
        });
        value = Some(next);
    }
    place
}

/// The way to what is at this byte.
pub(crate) fn way_at(text: &str, at: usize) -> Way {
    let found = DeTable::parse(text).ok();
    let found = found.and_then(|root| in_table(root.get_ref(), at, &Way::default()));
    found.unwrap_or_default()
}

/// The way to a text with these words as its whole.
pub(crate) fn way_to_text(text: &str, words: &str, under: &Way) -> Option<Way> {
    let root = DeTable::parse(text).ok()?;
    text_in_table(root.get_ref(), words, &Way::default(), under)
}

fn in_table(table: &DeTable<'_>, at: usize, way: &Way) -> Option<Way> {
    table.iter().find_map(|(key, value)| {
        let here = way.clone().key(key.get_ref());
        match key.span().contains(&at) {
            true => Some(here),
            false => in_value(value, at, here),
        }
    })
}

fn in_value(value: &Spanned<DeValue<'_>>, at: usize, way: Way) -> Option<Way> {
    let deeper = match value.get_ref() {
        DeValue::Table(table) => in_table(table, at, &way),
        DeValue::Array(list) => {
            let mut values = list.iter().enumerate();
            values.find_map(|(index, value)| in_value(value, at, way.clone().index(index)))
        }
        _ => None,
    };
    let Range { start, end } = value.span();
    deeper.or_else(|| (start..=end).contains(&at).then_some(way))
}

fn text_in_table(table: &DeTable<'_>, words: &str, way: &Way, under: &Way) -> Option<Way> {
    table
        .iter()
        .find_map(|(key, value)| text_in_value(value, words, way.clone().key(key.get_ref()), under))
}

fn text_in_value(value: &Spanned<DeValue<'_>>, words: &str, way: Way, under: &Way) -> Option<Way> {
    let shared = way.0.iter().zip(&under.0).all(|(a, b)| a == b);
    match value.get_ref() {
        _ if !shared => None,
        DeValue::Table(table) => text_in_table(table, words, &way, under),
        DeValue::Array(list) => {
            let mut values = list.iter().enumerate();
            values.find_map(|(index, value)| {
                text_in_value(value, words, way.clone().index(index), under)
            })
        }
        DeValue::String(text) => (text == words).then_some(way),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const TEXT: &str = "\
[engine]
shards = 2

[[handler]]
subjects = [\"a\", \"b..c\"]
limits.batch_max = 1

[[handler]]
  [handler.limits]
  batch_max = \"é\" # x
  linger = { a = 1 }
";

    fn at(way: &Way) -> Option<(usize, usize, bool)> {
        let place = place_of(TEXT, way)?;
        let (line, column) = line_and_column(TEXT, place.at);
        Some((line, column, place.whole))
    }

    #[test]
    fn places_of_keys_are_found_and_else_of_the_table_on_the_way() {
        assert_eq!(at(&Way::of(&["engine", "shards"])), Some((2, 1, true)));
        assert_eq!(at(&Way::of(&["engine", "pin"])), Some((1, 2, false)));
        let handler = |index| Way::of(&["handler"]).index(index);
        assert_eq!(
            at(&handler(0).key("limits").key("batch_max")),
            Some((6, 8, true))
        );
        assert_eq!(
            at(&handler(1).key("limits").key("batch_max")),
            Some((10, 3, true))
        );
        assert_eq!(
            at(&handler(0).key("subjects").index(1)),
            Some((5, 18, true))
        );
        assert_eq!(at(&handler(1).key("name")).map(|(line, ..)| line), Some(8));
        assert_eq!(at(&Way::of(&["nats"])), None);
    }

    #[test]
    fn what_is_at_a_place_is_named() {
        let named = |words: &str| way_at(TEXT, TEXT.find(words).expect("it is there")).to_string();
        assert_eq!(named("shards"), "engine.shards");
        assert_eq!(named("\"b..c"), "handler.subjects");
        assert_eq!(named("\"é"), "handler.limits.batch_max");
        assert_eq!(named("a = 1"), "handler.limits.linger.a");
        assert_eq!(way_at("= =", 0), Way::default());
    }

    #[test]
    fn texts_are_found_where_they_are_looked_for() {
        let handler = |index| Way::of(&["handler"]).index(index);
        let found = way_to_text(TEXT, "b..c", &handler(0));
        assert_eq!(found, Some(handler(0).key("subjects").index(1)));
        assert_eq!(way_to_text(TEXT, "b..c", &handler(1)), None);
    }

    proptest! {
        #[test]
        fn every_byte_has_a_line_and_a_column(text: String, at in 0..200_usize) {
            let (line, column) = line_and_column(&text, at);
            prop_assert!(line >= 1 && column >= 1 && line <= text.matches('\n').count() + 1);
            way_at(&text, at);
        }
    }
}
