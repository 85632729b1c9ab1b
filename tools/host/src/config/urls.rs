//! The servers' URLs, in a file or on the command line: read once, and never shown with what stands before an `@`.

use std::convert::Infallible;
use std::fmt;
use std::str::FromStr;

use millpond::ServerUrl;
use serde::de::{Deserialize, Deserializer, Error, SeqAccess, Visitor};

/// What servers may be, for errors.
const FORM: &str = "a list of texts such as \"nats://localhost:4222\"";

/// Servers' URLs, or what is wrong with one of them: no URL that can't be used is ever repeated, since where the password in it ends
/// is not known then.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Urls(pub(crate) Result<Vec<ServerUrl>, &'static str>);

/// On the command line: separated by commas. What is wrong with one is told when they are used.
impl FromStr for Urls {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(Self(
            ServerUrl::parse_list(text).map_err(|error| error.reason),
        ))
    }
}

impl<'de> Deserialize<'de> for Urls {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Reader)
    }
}

struct Reader;

impl<'de> Visitor<'de> for Reader {
    type Value = Urls;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(FORM)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Urls, A::Error> {
        let mut urls = Vec::new();
        while let Some(One(url)) = list.next_element()? {
            urls.push(url);
        }
        Ok(Urls(Ok(urls)))
    }
}

/// One URL of a list.
struct One(ServerUrl);

impl<'de> Deserialize<'de> for One {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(OneReader)
    }
}

struct OneReader;

impl Visitor<'_> for OneReader {
    type Value = One;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text such as \"nats://localhost:4222\"")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<One, E> {
        let url = ServerUrl::parse(text).map_err(|error| E::custom(bad(error.reason)));
        url.map(One)
    }
}

/// What is wrong with a URL.
pub(super) fn bad(reason: &str) -> String {
    format!("this server's URL can't be used: {reason}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, serde::Deserialize)]
    struct All {
        urls: Urls,
    }

    fn read(value: &str) -> Result<Urls, String> {
        let all = toml::from_str::<All>(&format!("urls = {value}"));
        all.map(|all| all.urls)
            .map_err(|error| error.message().to_owned())
    }

    #[test]
    fn urls_are_read_alike_from_a_list_and_from_a_flag() {
        let list = read("[\"a\", \"tls://b:1\"]").expect("they are good");
        assert_eq!("a,tls://b:1".parse(), Ok(list));
    }

    #[test]
    fn what_is_wrong_with_one_is_told_without_it() {
        let error = read("[\"x://u:hunter2@a\"]").expect_err("its scheme is unknown");
        assert!(
            error.contains("scheme is unknown") && !error.contains("hunter2"),
            "{error}"
        );
        let error = read("[\"nats://u:hunter2\"]").expect_err("its @ is missing");
        assert!(!error.contains("hunter2"), "{error}");
        let urls: Urls = "a, x://u:hunter2@a"
            .parse()
            .expect("what is typed is never refused here");
        assert!(
            urls.0
                .as_ref()
                .is_err_and(|reason| reason.contains("scheme is unknown"))
        );
        assert!(!format!("{urls:?}").contains("hunter2"));
        assert!(read("5").is_err_and(|error| error.contains(FORM)));
        assert!(read("\"nats://a\"").is_err_and(|error| error.contains(FORM)));
        let shown = format!(
            "{:?}",
            read("[\"nats://u:hunter2@a\"]").expect("it is good")
        );
        assert!(!shown.contains("hunter2"), "{shown}");
    }
}
