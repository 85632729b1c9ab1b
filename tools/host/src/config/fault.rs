//! What is wrong with a configuration, and where: a place in the file, or a flag.
//!
//! Everything of the file that reaches an error is the name of a key, or a value that is no secret: what a value is instead of
//! what it should be is told only by kinds whose readers choose to.

use super::file::Flags;
use super::place::{Step, Way, line_and_column, place_of, way_at, way_to_text};
use super::read::Document;
use super::values::Keys;
use crate::exit::{Exit, Failed};

/// What is wrong with a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fault {
    /// The value.
    pub(crate) at: Way,
    /// What is wrong, why, and what to do.
    pub(crate) what: String,
}

impl Fault {
    /// This is wrong with the value at the end of this way.
    pub(crate) fn new(at: Way, what: impl Into<String>) -> Self {
        Self {
            at,
            what: what.into(),
        }
    }
}

/// Where a configuration comes from.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Origin<'a> {
    /// The file, if there is one.
    pub(crate) document: Option<&'a Document>,
    /// What was typed beside it or instead of it.
    pub(crate) flags: &'a Flags,
}

impl Origin<'_> {
    /// The error that a fault is for whoever wrote the configuration.
    pub(super) fn error(&self, fault: &Fault) -> anyhow::Error {
        Failed::error(Exit::Usage, self.text(fault))
    }

    /// A fault with its place.
    pub(crate) fn text(&self, fault: &Fault) -> String {
        let place = match self.document {
            Some(document) if !self.is_flag(&fault.at) => document.place(&fault.at),
            _ => flag(&fault.at),
        };
        match place.is_empty() {
            true => fault.what.clone(),
            false => format!("{place}: {}", fault.what),
        }
    }

    /// The way to a text of the file below `under`.
    pub(crate) fn way_to(&self, words: &str, under: &Way) -> Option<Way> {
        way_to_text(&self.document?.text, words, under)
    }

    /// Whether a value was typed as a flag.
    pub(super) fn is_flag(&self, at: &Way) -> bool {
        let Flags {
            engine,
            nats,
            handler,
        } = self.flags;
        match at.keys().as_slice() {
            ["engine", "limits", key, ..] => engine.limits.has(key),
            ["engine", key, ..] => engine.has(key),
            ["nats", "tls", key, ..] => nats.tls.has(key),
            ["nats", key, ..] => nats.has(key),
            ["handler", "limits", key, ..] => handler.limits.has(key),
            ["handler", key, ..] => handler.has(key),
            _ => false,
        }
    }
}

/// The flag that says the same as a key.
pub(crate) fn flag(at: &Way) -> String {
    let hyphens = |key: &str| format!("--{}", key.replace('_', "-"));
    match at.keys().as_slice() {
        ["nats", "urls", ..] => "--nats".into(),
        ["nats", "tls", key, ..] => format!("--tls-{}", key.replace('_', "-")),
        ["handler", "subjects", ..] => "--subject".into(),
        ["handler", "brokers", ..] => "--broker".into(),
        [_, "limits", key, ..] | ["engine" | "nats" | "handler", key, ..] => hyphens(key),
        _ => String::new(),
    }
}

/// Where a handler's value is said if not by itself.
fn of_defaults(at: &Way) -> Option<Way> {
    match at.0.as_slice() {
        [Step::Key(handler), Step::Index(_), rest @ ..]
            if handler == "handler" && !rest.is_empty() =>
        {
            let mut way = Way::of(&["handler_defaults"]);
            way.0.extend_from_slice(rest);
            Some(way)
        }
        _ => None,
    }
}

impl Document {
    /// File, line and column of a value, or of the table that it should be in.
    pub(crate) fn place(&self, at: &Way) -> String {
        let file = self.path.display();
        let mut place = place_of(&self.text, at);
        if place.as_ref().is_some_and(|place| !place.whole)
            && let Some(default) = of_defaults(at)
            && let Some(there) = place_of(&self.text, &default).filter(|there| there.whole)
        {
            place = Some(there);
        }
        match place {
            Some(place) => {
                let (line, column) = line_and_column(&self.text, place.at);
                format!("{file}:{line}:{column}")
            }
            None => file.to_string(),
        }
    }

    /// The error that a file which can't be read is for whoever wrote it.
    pub(super) fn unreadable(&self, error: &toml::de::Error) -> anyhow::Error {
        let file = self.path.display();
        let (mut place, mut way) = (file.to_string(), Way::default());
        if let Some(span) = error.span() {
            let (line, column) = line_and_column(&self.text, span.start);
            place = format!("{file}:{line}:{column}");
            way = way_at(&self.text, span.start);
        }
        Failed::error(
            Exit::Usage,
            format!("{place}: {}", reworded(error.message(), &way)),
        )
    }
}

/// What serde and the parser say, in our words and without the value that they saw.
fn reworded(message: &str, way: &Way) -> String {
    let key = way.to_string();
    let of = if key.is_empty() {
        String::new()
    } else {
        format!("{key}: ")
    };
    if let Some(rest) = message.strip_prefix("unknown field ") {
        let table = way.keys().split_last().map(|(_, table)| table.join("."));
        let table = table.filter(|table| !table.is_empty());
        let of = table.map_or_else(String::new, |table| format!("{table}: "));
        return of + &unknown(rest, "key");
    }
    if let Some(rest) = message.strip_prefix("unknown variant ") {
        return format!("{of}{}", unknown(rest, "value"));
    }
    let type_error = message
        .strip_prefix("invalid type: ")
        .or_else(|| message.strip_prefix("invalid value: "))
        .or_else(|| message.strip_prefix("invalid length "));
    if let Some((found, expected)) = type_error.and_then(|rest| rest.rsplit_once(", expected ")) {
        let kind = found.split([' ', ',']).next().unwrap_or(found);
        return format!(
            "{of}{} can't be used here; write {}",
            kind_of(kind),
            expectation(expected)
        );
    }
    match message.starts_with("duplicate key") {
        true => format!("{of}this is said twice; leave one out"),
        false => format!("{of}{message}"),
    }
}

/// A name that nobody knows, and those that are known.
fn unknown(rest: &str, what: &str) -> String {
    let names: Vec<&str> = rest.split('`').skip(1).step_by(2).collect();
    let Some((name, known)) = names.split_first() else {
        return format!("unknown {what}");
    };
    let near = |known: &&&str| strsim::damerau_levenshtein(name, known);
    let nearest = known
        .iter()
        .min_by_key(near)
        .filter(|known| near(known) <= name.len().max(3) / 3);
    match nearest {
        Some(nearest) => format!("unknown {what} {name:?}; did you mean {nearest:?}?"),
        None => format!("unknown {what} {name:?}; it may be {}", known.join(", ")),
    }
}

fn kind_of(kind: &str) -> &'static str {
    match kind {
        "string" => "a text",
        "integer" => "this number",
        "floating" => "a number with a fraction",
        "boolean" => "true or false",
        "sequence" => "a list",
        "map" => "a table",
        _ => "this",
    }
}

fn expectation(expected: &str) -> String {
    match expected {
        "a string" | "path string" => "a text, in quotes".into(),
        "a boolean" => "true or false".into(),
        "a sequence" => "a list, in square brackets".into(),
        "u64" => "a whole number, 0 or more".into(),
        "a map" => "a table".into(),
        other if other.starts_with("struct ") => "a table".into(),
        other if other.starts_with("tuple struct ") => "a text, in quotes".into(),
        other => other.to_owned(),
    }
}
