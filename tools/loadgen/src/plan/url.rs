//! URLs of servers: `nats://USER:PASSWORD@HOST:PORT`, `tls://HOST`.
//!
//! No text that this makes has a secret in it: no error, no `Debug`.

use std::fmt;

use super::Auth;

/// The port of a server whose URL names none.
const PORT_DEFAULT: u16 = 4222;

/// A NATS server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Server {
    /// Whether it is spoken to by TLS only.
    pub(crate) tls: bool,
    /// Its name or address; of IPv6 without brackets.
    pub(crate) host: String,
    /// Its port.
    pub(crate) port: u16,
    /// Who one is there.
    pub(crate) auth: Auth,
}

impl Server {
    /// Its URL, without who one is.
    pub(super) fn url(&self) -> String {
        format!("{}://{self}", if self.tls { "tls" } else { "nats" })
    }
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host.contains(':') {
            true => write!(f, "[{}]:{}", self.host, self.port),
            false => write!(f, "{}:{}", self.host, self.port),
        }
    }
}

/// Reads URLs that are separated by commas.
pub(super) fn urls(text: &str) -> Result<Vec<Server>, String> {
    text.split(',').map(|text| url(text.trim())).collect()
}

/// Reads a server's URL. What is wrong is said without the URL, which may have a secret in it.
fn url(text: &str) -> Result<Server, String> {
    let wrong = |why: &str| {
        format!(
            "--server can't be used: {why}; write nats://HOST:PORT or tls://HOST:PORT, with USER:PASSWORD@ or TOKEN@ before the host if need be, and commas between several"
        )
    };
    let (tls, rest) = match text.split_once("://") {
        Some(("nats", rest)) => (false, rest),
        Some(("tls", rest)) => (true, rest),
        Some(_) => return Err(wrong("its scheme is neither `nats` nor `tls`")),
        None => (false, text),
    };
    let (auth, place) = rest
        .rsplit_once('@')
        .map_or((None, rest), |(auth, place)| (Some(auth), place));
    let place = place.strip_suffix('/').unwrap_or(place);
    let (host, port) = match place.strip_prefix('[') {
        Some(v6) => {
            let (host, port) = v6
                .split_once(']')
                .ok_or_else(|| wrong("a bracket is open"))?;
            (host, port.strip_prefix(':'))
        }
        None => place
            .split_once(':')
            .map_or((place, None), |(host, port)| (host, Some(port))),
    };
    let port = port
        .map_or(Ok(PORT_DEFAULT), str::parse)
        .ok()
        .filter(|port| *port > 0);
    let port = port.ok_or_else(|| wrong("its port is no number from 1 to 65535"))?;
    if host.is_empty() || host.contains(['/', ' ']) {
        return Err(wrong("it names no host"));
    }
    let decoded = |text| {
        decoded(text)
            .ok_or_else(|| wrong("a percent sign is not followed by two hexadecimal digits"))
    };
    let auth = match auth.map(|auth| auth.split_once(':').ok_or(auth)) {
        None => Auth::None,
        Some(Ok((user, password))) => Auth::User(decoded(user)?, decoded(password)?),
        Some(Err(token)) => Auth::Token(decoded(token)?),
    };
    Ok(Server {
        tls,
        host: host.to_owned(),
        port,
        auth,
    })
}

/// A text without its percent-encoding.
fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, behind)) = rest.split_first() {
        rest = behind;
        match first {
            b'%' => {
                let (digits, behind) = rest.split_at_checked(2)?;
                bytes.push(u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?);
                rest = behind;
            }
            other => bytes.push(*other),
        }
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_name_a_host_and_maybe_a_port_and_who_one_is() {
        let read = |text| {
            let server = url(text).unwrap();
            (server.url(), server.auth)
        };
        assert_eq!(read("nats://a"), ("nats://a:4222".into(), Auth::None));
        assert_eq!(read("tls://a"), ("tls://a:4222".into(), Auth::None));
        assert_eq!(read("a:1/"), ("nats://a:1".into(), Auth::None));
        assert_eq!(
            read("nats://u:p%40@[::1]:5"),
            ("nats://[::1]:5".into(), Auth::User("u".into(), "p@".into()))
        );
        assert_eq!(
            read("nats://t@a:9"),
            ("nats://a:9".into(), Auth::Token("t".into()))
        );
        let all = urls("a, tls://t@b:9").unwrap();
        let all: Vec<String> = all.iter().map(Server::url).collect();
        assert_eq!(all, ["nats://a:4222", "tls://b:9"]);
    }

    #[test]
    fn what_is_wrong_with_one_is_said_without_its_secret() {
        for text in [
            "",
            "tls://u:hunter2@",
            "http://hunter2@a",
            "nats://u:hunter2@",
            "u:hunter2@a:0",
            "u:hunter2%zz@a",
            "hunter2@[::1",
            "a,u:hunter2@",
            "a,,b",
        ] {
            let error = urls(text).unwrap_err();
            assert!(
                error.contains("nats://HOST:PORT") && !error.contains("hunter2"),
                "{error}"
            );
        }
        let server = url("u:hunter2@a").unwrap();
        assert!(!format!("{server:?}{server}").contains("hunter2"));
    }
}
