//! URLs of NATS servers: `nats://user:password@host:4222`, `tls://host`, `host:port`, `[::1]:4222`.
//!
//! Owns how they are read, and that no secret in one is ever shown. Knows no socket and no clock.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};

use thiserror::Error;

use super::auth::{Auth, Secret};

/// The port of a server whose URL names none: what nats-server listens on by default.
pub(crate) const PORT_DEFAULT: u16 = 4222;
/// Longest URL, in bytes. Default 4,096, as long as a control line: a token may be long, a host name is not.
const URL_BYTES_MAX: usize = 4_096;

/// Why a URL can't be used. Of the URL it has the scheme, and the host and port where all but the scheme is well formed: in any other,
/// where a password begins and ends is not known.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("bad server url {url:?}: {reason}")]
pub struct UrlError {
    /// The URL, with no secret in it.
    pub url: String,
    /// What is wrong with it, and what to write instead.
    pub reason: &'static str,
}

/// Where a server is, and what is said to it there and nowhere else.
#[derive(Clone, PartialEq, Eq)]
pub struct ServerUrl {
    /// Whether it is spoken to by TLS only.
    pub(crate) tls: bool,
    /// Its name or its address; one of IPv6 without brackets.
    pub(crate) host: String,
    /// Its port.
    pub(crate) port: u16,
    /// The name that its certificate must have, where that is not `host`.
    pub(crate) tls_name: Option<String>,
    /// Credentials in the URL itself; they go before those of the configuration.
    pub(crate) auth: Option<Auth>,
}

impl ServerUrl {
    /// Reads one URL. A scheme may be missing (`nats` then), and so may a port (4222 then). `user:password@` and `token@` may be
    /// percent-encoded.
    ///
    /// # Errors
    /// What is no such URL.
    pub fn parse(text: &str) -> Result<Self, UrlError> {
        read(text.trim()).map_err(|reason| UrlError {
            url: without_secrets(text.trim()),
            reason,
        })
    }

    /// Reads URLs that are separated by commas.
    ///
    /// # Errors
    /// The first one that can't be used; none at all.
    pub fn parse_list(text: &str) -> Result<Vec<Self>, UrlError> {
        text.split(',').map(Self::parse).collect()
    }

    /// Its address, if it names one and not a host.
    pub(crate) fn address(&self) -> Option<IpAddr> {
        self.host.parse().ok()
    }

    /// The name that its certificate must have.
    pub(crate) fn certified_name(&self) -> &str {
        self.tls_name.as_deref().unwrap_or(&self.host)
    }

    /// Whether both are the same place.
    pub(crate) fn same_place(&self, other: &Self) -> bool {
        self.port == other.port && self.host.eq_ignore_ascii_case(&other.host)
    }
}

impl fmt::Display for ServerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.tls { "tls" } else { "nats" };
        match self.host.contains(':') {
            true => write!(f, "{scheme}://[{}]:{}", self.host, self.port),
            false => write!(f, "{scheme}://{}:{}", self.host, self.port),
        }
    }
}

impl fmt::Debug for ServerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// What can be shown of a URL that can't be used. Where its `@` is missing, or stands where it should not, what looks like a host, a
/// port or a scheme may be the password.
fn without_secrets(text: &str) -> String {
    const SCHEMES: [&str; 6] = ["nats", "tls", "ws", "wss", "http", "https"];
    let known = |scheme: &str| SCHEMES.iter().any(|s| s.eq_ignore_ascii_case(scheme));
    let (scheme, rest) = match text.split_once("://") {
        Some((scheme, rest)) if known(scheme) => (format!("{scheme}://"), rest),
        _ => return "…".to_owned(),
    };
    match read(rest) {
        Ok(url) => {
            let login = if url.auth.is_some() { "…@" } else { "" };
            let place = url.to_string();
            let place = place.strip_prefix("nats://").unwrap_or(&place);
            format!("{scheme}{login}{place}")
        }
        Err(_) => format!("{scheme}…"),
    }
}

fn read(text: &str) -> Result<ServerUrl, &'static str> {
    if text.len() > URL_BYTES_MAX {
        return Err("it is longer than 4,096 bytes");
    }
    let (scheme, rest) = text.split_once("://").unwrap_or(("nats", text));
    let tls = match scheme.to_ascii_lowercase().as_str() {
        "nats" => false,
        "tls" => true,
        "ws" | "wss" => return Err("websockets are not supported; use nats:// or tls://"),
        _ => return Err("its scheme is unknown; use nats:// or tls://"),
    };
    let (login, place) = match rest.rsplit_once('@') {
        Some((login, place)) => (Some(login), place),
        None => (None, rest),
    };
    let auth = login.map(read_login).transpose()?;
    let (host, port) = read_place(place.strip_suffix('/').unwrap_or(place))?;
    Ok(ServerUrl {
        tls,
        host,
        port,
        tls_name: None,
        auth,
    })
}

/// `user:password` or a token alone.
fn read_login(login: &str) -> Result<Auth, &'static str> {
    match login.split_once(':') {
        None if login.is_empty() => Err("nothing stands before its @"),
        None => Ok(Auth::Token(Secret::new(decoded(login)?))),
        Some(("", _)) => Err("it has a password and no user"),
        Some((user, password)) => Ok(Auth::Password {
            user: decoded(user)?,
            password: Secret::new(decoded(password)?),
        }),
    }
}

/// Undoes percent-encoding.
fn decoded(text: &str) -> Result<String, &'static str> {
    const BAD: &str =
        "its user or password is not percent-encoded as it should be; write % as %25 and @ as %40";
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        (rest, bytes) = match (byte, after) {
            (b'%', [high, low, after @ ..]) => {
                let digit = |d: u8| char::from(d).to_digit(16).ok_or(BAD);
                bytes.push((digit(*high)? << 4 | digit(*low)?) as u8);
                (after, bytes)
            }
            (b'%', _) => return Err(BAD),
            (byte, after) => {
                bytes.push(byte);
                (after, bytes)
            }
        };
    }
    String::from_utf8(bytes).map_err(|_| BAD)
}

/// `host`, `host:port`, `[address]` or `[address]:port`.
fn read_place(place: &str) -> Result<(String, u16), &'static str> {
    let (host, port) = match place.strip_prefix('[') {
        Some(bracketed) => {
            let (host, after) = bracketed
                .split_once(']')
                .ok_or("its [ is not closed by a ]")?;
            host.parse::<Ipv6Addr>()
                .map_err(|_| "what stands in its brackets is no IPv6 address")?;
            (
                host,
                after.strip_prefix(':').or(after.is_empty().then_some("")),
            )
        }
        None => match place.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (place, Some("")),
        },
    };
    let named = !host.is_empty() && host.bytes().all(may_stand_in_a_host);
    if !named {
        return Err(
            "its host is missing or has a character that none has; write an IPv6 address in brackets",
        );
    }
    match port.ok_or("what follows its ] is no port")? {
        "" if place.ends_with(':') => Err("its port is missing after the colon"),
        "" => Ok((host.to_owned(), PORT_DEFAULT)),
        port => match port.parse() {
            Ok(port) if port > 0 => Ok((host.to_owned(), port)),
            _ => Err("its port is no number from 1 to 65,535; nothing may follow it"),
        },
    }
}

fn may_stand_in_a_host(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b':')
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parse(text: &str) -> ServerUrl {
        ServerUrl::parse(text).unwrap_or_else(|e| panic!("{e}"))
    }

    #[test]
    fn what_is_missing_is_as_documented() {
        for (text, shown) in [
            ("demo.nats.io", "nats://demo.nats.io:4222"),
            ("nats://a", "nats://a:4222"),
            ("NATS://a:1/", "nats://a:1"),
            ("tls://a:65535", "tls://a:65535"),
            (" 127.0.0.1:4223 ", "nats://127.0.0.1:4223"),
            ("[::1]:4223", "nats://[::1]:4223"),
            ("tls://[fe80::1]", "tls://[fe80::1]:4222"),
        ] {
            assert_eq!(parse(text).to_string(), shown);
        }
        assert!(parse("[::1]").address().is_some() && parse("a").address().is_none());
    }

    #[test]
    fn credentials_are_read_and_never_shown() {
        let url = parse("nats://me:p%40ss:w%25rd@host:1");
        let Some(Auth::Password { user, password }) = &url.auth else {
            panic!("{:?}", url.auth);
        };
        assert_eq!((user.as_str(), password.expose()), ("me", "p@ss:w%rd"));
        let token = parse("s3cr3t@host");
        assert_eq!(token.auth, Some(Auth::Token(Secret::new("s3cr3t"))));
        for shown in [format!("{url:?} {url}"), format!("{token:?} {token}")] {
            assert!(!shown.contains("ss") && !shown.contains("s3"), "{shown}");
        }
    }

    #[test]
    fn what_is_no_url_is_refused_without_its_secret() {
        for (text, part) in [
            ("", "host is missing"),
            ("nats://", "host is missing"),
            ("ws://a", "websockets"),
            ("http://a", "scheme is unknown"),
            ("a:b", "no number"),
            ("a:0", "no number"),
            ("a:65536", "no number"),
            ("a:", "port is missing"),
            ("a:1/x", "no number"),
            ("a b", "character"),
            ("::1", "host is missing"),
            ("[::1", "not closed"),
            ("[::1]x", "follows its ]"),
            ("[x]", "no IPv6 address"),
            ("@a", "nothing stands before"),
            (":p@a", "no user"),
            ("u:hidden%2@a", "percent-encoded"),
            ("u:hidden%zz@a", "percent-encoded"),
            ("u:hidden%ff@a", "percent-encoded"),
            ("u:hidden@a:x", "no number"),
            ("nats://u:hidden@", "host is missing"),
        ] {
            let error = ServerUrl::parse(text).expect_err(text);
            let shown = format!("{error} {error:?}");
            assert!(shown.contains(part), "{text}: {shown}");
            assert!(!shown.contains("hidden"), "{shown}");
        }
        let long = "a".repeat(URL_BYTES_MAX + 1);
        assert!(ServerUrl::parse(&long).is_err());
        assert!(ServerUrl::parse(&long[1..]).is_ok());
    }

    #[test]
    fn no_password_is_shown_wherever_its_at_sign_is() {
        for text in [
            // Without an @.
            "nats://alice:hunter2",
            "nats://alice:hunter2/",
            "alice:hunter2",
            "nats://alice:hunter2host:4222",
            "tls://alice:hunter2:4222",
            "nats://hunter2:",
            // In the wrong place.
            "nats://host:4222@alice:hunter2",
            "nats://host@alice:hunter2",
            "nats://alice@hunter2:host:4222",
            "nats://alice@hunter2:host",
            "alice:hunter2@://host",
            "@nats://alice:hunter2",
            "nats:/alice:hunter2@host:x",
            // In the password itself, as other marks of a URL.
            "nats://alice:hun@ter2:hunter2@host:x",
            "nats://alice:hunter2://hunter2@host:x",
            "hunter2://alice@host",
            "ws://alice:hunter2@host",
            "http://alice:hunter2@host:80",
            "nats://alice:hunter2%@host",
            "nats://alice%:x@hunter2:1",
            "nats://alice:[hunter2@host]:1",
            "nats://[hunter2]",
            "nats://u:1@hunter2@h:x",
        ] {
            let error = ServerUrl::parse(text).expect_err(text);
            let shown = format!("{error} {error:?}");
            assert!(!shown.contains("hunter2"), "{text}: {shown}");
        }
        let of = |text| ServerUrl::parse(text).expect_err("it is none").url;
        assert_eq!(of("ws://u:p@a:1"), "ws://…@a:1");
        assert_eq!(of("http://a"), "http://a:4222");
        assert_eq!(
            (of("nats://a:x"), of("a b")),
            ("nats://…".into(), "…".into())
        );
    }

    #[test]
    fn a_list_is_as_good_as_its_parts() {
        let urls = ServerUrl::parse_list("nats://a, tls://b:1").unwrap();
        assert_eq!(format!("{urls:?}"), "[nats://a:4222, tls://b:1]");
        assert!(ServerUrl::parse_list("a,").is_err());
        assert!(urls[0].same_place(&parse("A:4222")) && !urls[0].same_place(&urls[1]));
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in ".{0,40}") {
            let _ = ServerUrl::parse(&text);
        }

        #[test]
        fn no_password_is_shown_in_any_error(before in "[a-z:/@%.\\[\\]]{0,12}", after in "[a-z:/@%.\\[\\]]{0,12}") {
            if let Err(error) = ServerUrl::parse(&format!("nats://{before}:hunter2{after}")) {
                let shown = format!("{error} {error:?}");
                prop_assert!(!shown.contains("hunter2"), "{}", shown);
            }
        }

        #[test]
        fn what_is_shown_is_read_again(tls: bool, host in "[a-z][a-z0-9-]{0,10}(\\.[a-z]{1,5})?", port in 1u16..) {
            let scheme = if tls { "tls" } else { "nats" };
            let url = parse(&format!("{scheme}://{host}:{port}"));
            prop_assert_eq!(parse(&url.to_string()), url);
        }
    }
}
