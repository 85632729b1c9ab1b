//! Counts, sizes and durations as values of a key or a flag: one reading for both.

use std::fmt;
use std::marker::PhantomData;
use std::str::FromStr;
use std::time::Duration;

use serde::de::{Deserialize, Deserializer, Error, Visitor};

use crate::units::{duration_or_none, size_or_none, typed_duration, typed_size};

/// A whole number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Count(pub(crate) u32);

/// A number of bytes: a whole number, or a text with `KiB`, `MiB` or `GiB`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Size(pub(crate) u64);

/// A duration: a text, a whole number with `us`, `ms` or `s`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Time(pub(crate) Duration);

/// How a kind of value is read and written.
pub(crate) trait Value: Sized {
    /// What `--help` calls it.
    const NAME: &'static str;
    /// What it may be, for errors.
    const FORM: &'static str;

    /// The value that a number of the file is.
    fn of_number(number: u64) -> Option<Self>;

    /// The value that a text is.
    fn of_text(text: &str) -> Option<Self>;
}

impl Value for Count {
    const NAME: &'static str = "NUMBER";
    const FORM: &'static str = "a whole number from 0 to 4294967295";

    fn of_number(number: u64) -> Option<Self> {
        u32::try_from(number).ok().map(Self)
    }

    fn of_text(text: &str) -> Option<Self> {
        text.parse().ok().map(Self)
    }
}

impl Value for Size {
    const NAME: &'static str = "SIZE";
    const FORM: &'static str = "bytes, or a text such as \"64MiB\" with KiB, MiB or GiB";

    fn of_number(number: u64) -> Option<Self> {
        Some(Self(number))
    }

    fn of_text(text: &str) -> Option<Self> {
        size_or_none(text).map(Self)
    }
}

impl Value for Time {
    const NAME: &'static str = "TIME";
    const FORM: &'static str = "a text such as \"250ms\", a whole number with us, ms or s";

    fn of_number(_: u64) -> Option<Self> {
        None
    }

    fn of_text(text: &str) -> Option<Self> {
        duration_or_none(text).map(Self)
    }
}

/// Reads a value of the file.
struct Reader<V>(PhantomData<V>);

impl<V: Value> Visitor<'_> for Reader<V> {
    type Value = V;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(V::FORM)
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<V, E> {
        V::of_number(number)
            .ok_or_else(|| E::custom(format!("{number} can't be used here; write {}", V::FORM)))
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<V, E> {
        let value = u64::try_from(number).ok().and_then(V::of_number);
        value.ok_or_else(|| E::custom(format!("{number} can't be used here; write {}", V::FORM)))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<V, E> {
        // What a file has in quotes as a number is a slip that is told, not read.
        let typed = text.parse::<u64>().is_err().then(|| V::of_text(text));
        typed
            .flatten()
            .ok_or_else(|| E::custom(format!("{text:?} can't be used here; write {}", V::FORM)))
    }
}

/// Makes values of a kind readable in a file and on the command line.
macro_rules! readable {
    ($($kind:ty),*) => {$(
        impl<'de> Deserialize<'de> for $kind {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                deserializer.deserialize_any(Reader(PhantomData))
            }
        }

        impl FromStr for $kind {
            type Err = String;

            fn from_str(text: &str) -> Result<Self, String> {
                Self::of_text(text).ok_or_else(|| format!("write {}", <Self as Value>::FORM))
            }
        }
    )*};
}

readable!(Count, Size, Time);

/// A field of the engine's limits that a value is for.
pub(crate) trait Field<V> {
    /// The field with this value.
    fn of(value: V) -> Self;

    /// The field as it may be typed in the file, if it has a value.
    fn typed(&self) -> Option<String>;
}

/// Makes fields of some types take a kind of value.
macro_rules! fields {
    ($($kind:ident: $($field:ty)|* , $of:expr, $typed:expr;)*) => {$($(
        impl Field<$kind> for $field {
            fn of(value: $kind) -> Self {
                let of: fn(_) -> Self = $of;
                of(value.0)
            }

            fn typed(&self) -> Option<String> {
                let typed: fn(Self) -> String = $typed;
                Some(typed(*self))
            }
        }
    )*)*};
}

fields! {
    Count: u32, |n| n, |n| n.to_string();
    Count: usize, |n: u32| usize::try_from(n).unwrap_or(usize::MAX), |n| n.to_string();
    Size: u64, |n| n, |n| quoted(&typed_size(n));
    Size: usize, |n: u64| usize::try_from(n).unwrap_or(usize::MAX), |n| quoted(&typed_size(n as u64));
    Time: Duration, |time| time, |time| quoted(&typed_duration(time));
}

impl<V, F: Field<V>> Field<V> for Option<F> {
    fn of(value: V) -> Self {
        Some(F::of(value))
    }

    fn typed(&self) -> Option<String> {
        self.as_ref()?.typed()
    }
}

/// A text as a file has it; a number needs no quotes.
fn quoted(text: &str) -> String {
    match text.parse::<u64>() {
        Ok(_) => text.to_owned(),
        Err(_) => format!("{text:?}"),
    }
}

/// Something that can lie over something like it: what it says goes before what is below.
pub(crate) trait Layer {
    /// Itself, and what is below where it says nothing.
    fn over(self, below: Self) -> Self;

    /// Whether it says anything.
    fn says(&self) -> bool;
}

/// A table's keys, by name.
pub(crate) trait Keys {
    /// Whether this key has a value.
    fn has(&self, key: &str) -> bool;
}

impl<T> Layer for Option<T> {
    fn over(self, below: Self) -> Self {
        self.or(below)
    }

    fn says(&self) -> bool {
        self.is_some()
    }
}

/// Keys of a table, each also a flag: makes one lie over another, field by field.
macro_rules! keys {
    ($(#[$about:meta])* $name:ident { $($(#[$meta:meta])* $key:ident: $kind:ty,)* }) => {
        $(#[$about])*
        #[derive(Debug, Clone, Default, serde::Deserialize)]
        #[serde(default, deny_unknown_fields)]
        pub(crate) struct $name {
            $($(#[$meta])* pub(crate) $key: $kind,)*
        }

        impl crate::config::values::Layer for $name {
            fn over(self, below: Self) -> Self {
                Self { $($key: crate::config::values::Layer::over(self.$key, below.$key),)* }
            }

            fn says(&self) -> bool {
                false $(|| crate::config::values::Layer::says(&self.$key))*
            }
        }

        #[cfg(test)]
        impl $name {
            /// Its keys.
            pub(crate) const KEYS: &[&str] = &[$(stringify!($key)),*];
        }

        impl crate::config::values::Keys for $name {
            fn has(&self, key: &str) -> bool {
                match key {
                    $(stringify!($key) => crate::config::values::Layer::says(&self.$key),)*
                    _ => false,
                }
            }
        }
    };
}

pub(crate) use keys;

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, serde::Deserialize)]
    struct All {
        count: Count,
        size: Size,
        time: Time,
    }

    fn read(count: &str, size: &str, time: &str) -> Result<All, String> {
        let text = format!("count = {count}\nsize = {size}\ntime = {time}\n");
        toml::from_str(&text).map_err(|error| error.message().to_owned())
    }

    #[test]
    fn values_are_read_alike_in_a_file_and_on_the_command_line() {
        let all = read("64", "\"2KiB\"", "\"5ms\"").expect("they are good");
        assert_eq!(Ok(all.count), "64".parse());
        assert_eq!(Ok(all.size), "2KiB".parse());
        assert_eq!(Ok(all.time), "5ms".parse());
        let all = read("0", "0", "\"0s\"").expect("they are good");
        assert_eq!(
            (all.count, all.size, all.time),
            (Count(0), Size(0), Time(Duration::ZERO))
        );
    }

    #[test]
    fn what_is_no_value_says_what_it_may_be() {
        for (count, size, time, form) in [
            ("-1", "1", "\"1s\"", Count::FORM),
            ("4294967296", "1", "\"1s\"", Count::FORM),
            ("\"1\"", "1", "\"1s\"", Count::FORM),
            ("1.5", "1", "\"1s\"", Count::FORM),
            ("1", "\"1MB\"", "\"1s\"", Size::FORM),
            ("1", "\"1024\"", "\"1s\"", Size::FORM),
            ("1", "true", "\"1s\"", Size::FORM),
            ("1", "1", "5", Time::FORM),
            ("1", "1", "\"5m\"", Time::FORM),
        ] {
            let error = read(count, size, time).expect_err("one of them is bad");
            assert!(error.contains(form), "{error}");
        }
        assert!(
            "x".parse::<Time>()
                .is_err_and(|error| error.contains("ms or s"))
        );
    }

    #[test]
    fn fields_are_written_as_they_may_be_typed() {
        assert_eq!(
            Field::<Size>::typed(&(64_usize << 20)),
            Some("\"64MiB\"".into())
        );
        assert_eq!(Field::<Size>::typed(&1_000_u64), Some("1000".into()));
        assert_eq!(Field::<Count>::typed(&1_000_usize), Some("1000".into()));
        assert_eq!(Field::<Count>::typed(&None::<u32>), None);
        assert_eq!(
            Field::<Time>::typed(&Duration::from_millis(10)),
            Some("\"10ms\"".into())
        );
    }
}
