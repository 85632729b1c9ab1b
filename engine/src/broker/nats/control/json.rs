//! What JetStream's API says, as far as it is read here: types that ignore what they don't know, and comparisons that show a person
//! what differs. Source of the fields: the schemas of <https://github.com/nats-io/jsm.go>, and a server 2.15.1.
//!
//! Pure; sends nothing.

use std::time::Duration;

use serde::Deserialize;
use serde_json::{Map, Value};

use super::error::Difference;

/// A refusal, in place of what was asked for.
#[derive(Debug, Deserialize)]
pub(super) struct ApiError {
    /// Which one; <https://github.com/nats-io/nats-server/blob/main/server/errors.json> has all.
    #[serde(default)]
    pub(super) err_code: u32,
    #[serde(default)]
    pub(super) description: String,
}

/// Any answer: a refusal, or something else.
#[derive(Debug, Deserialize)]
pub(super) struct Envelope {
    pub(super) error: Option<ApiError>,
}

/// A page of names.
#[derive(Debug, Deserialize)]
pub(super) struct Names {
    /// Names on all pages.
    #[serde(default)]
    pub(super) total: usize,
    /// Those on this one; the server writes `null` for none.
    pub(super) streams: Option<Vec<String>>,
}

/// A stream.
#[derive(Debug, Deserialize)]
pub(super) struct StreamInfo {
    /// Its settings, as the server wrote them: compared with those that are configured.
    pub(super) config: Map<String, Value>,
    pub(super) created: String,
}

impl StreamInfo {
    /// What it captures; empty for a mirror.
    pub(super) fn subjects(&self) -> impl Iterator<Item = &str> {
        let subjects = self.config.get("subjects").and_then(Value::as_array);
        subjects.into_iter().flatten().filter_map(Value::as_str)
    }

    /// Its name.
    pub(super) fn name(&self) -> &str {
        let name = self.config.get("name").and_then(Value::as_str);
        name.unwrap_or_default()
    }

    /// A setting that is on or off, and absent where it is off.
    pub(super) fn is(&self, field: &str) -> bool {
        self.config.get(field).is_some_and(|v| v == true)
    }

    /// A setting that is a time, and absent where it is zero.
    pub(super) fn time(&self, field: &str) -> Duration {
        let nanos = self.config.get(field).and_then(Value::as_u64);
        Duration::from_nanos(nanos.unwrap_or_default())
    }
}

/// A consumer.
#[derive(Debug, Deserialize)]
pub(super) struct ConsumerInfo {
    pub(super) config: Map<String, Value>,
}

/// The settings of a consumer that are read here. Times are in nanoseconds.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct ConsumerConfig {
    pub(super) durable_name: Option<String>,
    pub(super) deliver_subject: Option<String>,
    pub(super) ack_policy: String,
    pub(super) ack_wait: u64,
    pub(super) backoff: Vec<u64>,
    pub(super) max_deliver: i64,
    pub(super) filter_subject: Option<String>,
    pub(super) filter_subjects: Vec<String>,
    pub(super) replay_policy: String,
    pub(super) max_waiting: u64,
    pub(super) max_ack_pending: i64,
    pub(super) max_batch: u64,
    pub(super) max_bytes: u64,
    pub(super) max_expires: u64,
    pub(super) inactive_threshold: u64,
    pub(super) headers_only: bool,
    pub(super) pause_until: Option<String>,
    pub(super) priority_policy: Option<String>,
}

impl ConsumerConfig {
    /// Its filters, of which the server has one in a field of its own.
    pub(super) fn filters(&self) -> Vec<String> {
        let one = self.filter_subject.iter().filter(|f| !f.is_empty());
        one.chain(&self.filter_subjects).cloned().collect()
    }

    /// The shortest and the longest time until a message that was not acked is delivered again: a backoff takes the ack wait's place.
    pub(super) fn ack_waits(&self) -> (Duration, Duration) {
        let waits = match &*self.backoff {
            [] => &[self.ack_wait],
            waits => waits,
        };
        let shortest = waits.iter().min().copied().unwrap_or_default();
        let longest = waits.iter().max().copied().unwrap_or_default();
        (
            Duration::from_nanos(shortest),
            Duration::from_nanos(longest),
        )
    }
}

/// Settings whose numbers are nanoseconds.
const TIMES: [&str; 3] = ["ack_wait", "duplicate_window", "max_age"];

/// The fields of `wanted` that `found` has otherwise. Lists are sets, and what is absent is as good as zero, `false` and nothing.
pub(super) fn differences(
    wanted: &Map<String, Value>,
    found: &Map<String, Value>,
) -> Vec<Difference> {
    let differs = wanted.iter().filter(|(field, wanted)| {
        let found = found.get(*field).unwrap_or(&Value::Null);
        sorted(wanted) != sorted(found)
    });
    let difference = differs.map(|(field, wanted)| Difference {
        field: field.clone(),
        found: shown(field, found.get(field).unwrap_or(&Value::Null)),
        wanted: shown(field, wanted),
    });
    difference.collect()
}

/// A value as it is compared.
fn sorted(value: &Value) -> Value {
    match value {
        Value::Array(items) if items.is_empty() => Value::Null,
        Value::Array(items) => {
            let mut texts: Vec<_> = items.iter().map(Value::to_string).collect();
            texts.sort();
            texts.into()
        }
        Value::Bool(false) => Value::Null,
        Value::Number(number) if number.as_u64() == Some(0) => Value::Null,
        other => other.clone(),
    }
}

/// A value as a person reads it.
fn shown(field: &str, value: &Value) -> String {
    match value {
        Value::Number(number) if TIMES.contains(&field) => {
            format!("{:?}", Duration::from_nanos(number.as_u64().unwrap_or(0)))
        }
        Value::Null => "not set".to_owned(),
        value => value.to_string(),
    }
}

/// Nanoseconds since 1970 of a time as the server writes it (RFC 3339, years 1970 to 2261); `None` for anything else.
pub(super) fn nanos_since_1970(time: &str) -> Option<i64> {
    let (date, rest) = time.split_once('T')?;
    let mut date = date.split('-').map(number);
    let (year, month, day) = (date.next()??, date.next()??, date.next()??);
    let zone = rest.rfind(['Z', '+', '-'])?;
    let (clock, zone) = rest.split_at(zone);
    let (clock, fraction) = clock.split_once('.').unwrap_or((clock, "0"));
    let mut clock = clock.split(':').map(number);
    let (hour, minute, second) = (clock.next()??, clock.next()??, clock.next()??);
    if !(1970..2262).contains(&year) || !(1..=12).contains(&month) || fraction.len() > 9 {
        return None;
    }
    let fraction: i64 = format!("{fraction:0<9}").parse().ok()?;
    let minutes = hour * 60 + minute - zone_minutes(zone)?;
    let seconds = (days(year, month, day) * 24 * 60 + minutes) * 60 + second;
    seconds.checked_mul(1_000_000_000)?.checked_add(fraction)
}

/// A part of a time; bounded, so that no sum of them overflows.
fn number(part: &str) -> Option<i64> {
    part.parse::<u16>().ok().map(i64::from)
}

/// Minutes that a zone is ahead of UTC.
fn zone_minutes(zone: &str) -> Option<i64> {
    if zone == "Z" {
        return Some(0);
    }
    let (hours, minutes) = zone.get(1..)?.split_once(':')?;
    let minutes = number(hours)? * 60 + number(minutes)?;
    Some(if zone.starts_with('-') {
        -minutes
    } else {
        minutes
    })
}

/// Days from 1970 to a day of the Gregorian calendar: a year begins in March, so that the leap day is its last.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let (year, month) = if month > 2 {
        (year, month - 3)
    } else {
        (year - 1, month + 9)
    };
    let leaps = year / 4 - year / 100 + year / 400;
    // Months from March on have 30.6 days on average, and the sum of the first `m` is this, rounded down.
    let of_months = (153 * month + 2) / 5;
    365 * year + leaps + of_months + day - 1 - 719_468
}

/// Why this can't be the name of a stream or a consumer, if it can't: it is a token of subjects, and a file's name at the server.
pub(super) fn name_fault(name: &str) -> Option<&'static str> {
    let forbidden = |c: char| c.is_whitespace() || c.is_control() || ".*>/\\".contains(c);
    match name {
        "" => Some("is empty"),
        long if long.len() > 255 => Some("is longer than 255 bytes"),
        odd if odd.contains(forbidden) => {
            Some("has white space, or one of `.`, `*`, `>`, `/` and `\\`")
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn map(value: Value) -> Map<String, Value> {
        value.as_object().expect("an object").clone()
    }

    #[test]
    fn times_are_read_to_the_nanosecond() {
        for (time, nanos) in [
            ("1970-01-01T00:00:00Z", Some(0)),
            (
                "2026-11-22T18:21:08.422003149Z",
                Some(1_795_371_668_422_003_149),
            ),
            (
                "2026-11-22T19:21:08.422003149+01:00",
                Some(1_795_371_668_422_003_149),
            ),
            ("2024-02-29T00:00:00.5Z", Some(1_709_164_800_500_000_000)),
            ("0001-01-01T00:00:00Z", None),
            ("2026-13-01T00:00:00Z", None),
            ("yesterday", None),
            ("", None),
        ] {
            assert_eq!(nanos_since_1970(time), nanos, "{time}");
        }
    }

    #[test]
    fn only_what_is_wanted_is_compared_and_shown_in_its_unit() {
        let wanted = map(
            json!({"subjects": ["b", "a"], "ack_wait": 1_000_000_000u64, "no_ack": false, "storage": "file"}),
        );
        let found = map(
            json!({"subjects": ["a", "b"], "ack_wait": 2_000_000_000u64, "storage": "memory", "other": 1}),
        );
        let texts: Vec<_> = differences(&wanted, &found)
            .iter()
            .map(Difference::to_string)
            .collect();
        assert_eq!(
            texts,
            [
                "ack_wait is 2s and not 1s",
                r#"storage is "memory" and not "file""#
            ]
        );
    }

    #[test]
    fn names_are_tokens() {
        assert_eq!(name_fault("ORDERS-1_x"), None);
        for (name, why) in [
            ("", "empty"),
            ("a.b", "white space"),
            ("a b", "white space"),
            (">", "one of"),
        ] {
            assert!(
                name_fault(name).is_some_and(|fault| fault.contains(why)),
                "{name}"
            );
        }
        assert!(name_fault(&"a".repeat(255)).is_none() && name_fault(&"a".repeat(256)).is_some());
    }

    proptest! {
        #[test]
        fn a_day_is_one_after_the_day_before(year in 1970i64..2262, month in 1i64..=12, day in 1i64..=27) {
            prop_assert_eq!(days(year, month, day) + 1, days(year, month, day + 1));
            let (next_year, next_month) = if month == 12 { (year + 1, 1) } else { (year, month + 1) };
            let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
            let length = match month { 2 => 28 + i64::from(leap), 4 | 6 | 9 | 11 => 30, _ => 31 };
            prop_assert_eq!(days(year, month, 1) + length, days(next_year, next_month, 1));
        }

        #[test]
        fn what_is_no_time_is_none_and_never_a_panic(text in "[0-9TZ:.+-]{0,40}") {
            let _ = nanos_since_1970(&text);
        }
    }
}
