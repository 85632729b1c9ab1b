//! Where the load goes: a server and how one gets in, the engine in process, or a sink.
//!
//! No text that this makes has a secret in it: no error, no `Debug`.

use std::fmt;
use std::io::Read;
use std::path::PathBuf;

use crate::args::TargetArguments;
use crate::exit::Failed;

/// The port of a server whose URL names none.
const PORT_DEFAULT: u16 = 4222;
/// Largest secret. Default 64 KiB: another file named by mistake is not read whole.
const SECRET_BYTES_MAX: u64 = 64 << 10;

/// Where the load goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Target {
    /// A NATS server.
    Server(Server),
    /// A sink of our own, in this process.
    Sink,
    /// The engine, in this process.
    Embedded(Embedded),
}

/// A NATS server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Server {
    /// Its name or address; of IPv6 without brackets.
    pub(crate) host: String,
    /// Its port.
    pub(crate) port: u16,
    /// Who one is there.
    pub(crate) auth: Auth,
}

/// Who one is to a server.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Auth {
    /// Nobody in particular.
    None,
    /// A user with a password.
    User(String, String),
    /// Who has this token.
    Token(String),
}

/// The engine in process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Embedded {
    /// The component's file.
    pub(crate) component: PathBuf,
    /// Shards.
    pub(crate) shards: usize,
    /// Most messages a call.
    pub(crate) batch_max: Option<usize>,
    /// Memory that the engine may need in all; the machine's if it says nothing.
    pub(crate) memory_total: Option<u64>,
}

impl fmt::Debug for Auth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "none",
            Self::User(..) => "user",
            Self::Token(_) => "token",
        })
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

/// The target that these arguments name.
pub(super) fn target(arguments: &TargetArguments, sink: bool) -> anyhow::Result<Target> {
    if sink {
        return Ok(Target::Sink);
    }
    if let Some(component) = &arguments.embedded {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        return Ok(Target::Embedded(Embedded {
            component: component.clone(),
            shards: arguments
                .shards
                .unwrap_or((cores - 1).clamp(1, millpond::SHARDS_MAX)),
            batch_max: arguments.batch_max,
            memory_total: arguments.memory_total,
        }));
    }
    let mut server = url(&arguments.server).map_err(Failed::usage)?;
    let read = |name, value| secret(name, value).map_err(Failed::usage);
    if let (Some(user), Some(password)) = (&arguments.user, &arguments.password) {
        server.auth = Auth::User(user.clone(), read("--password", password)?);
    }
    if let Some(token) = &arguments.token {
        server.auth = Auth::Token(read("--token", token)?);
    }
    Ok(Target::Server(server))
}

/// Reads a server's URL. What is wrong is said without the URL, which may have a secret in it.
fn url(text: &str) -> Result<Server, String> {
    let wrong = |why: &str| {
        format!(
            "--server can't be used: {why}; write nats://HOST:PORT, with USER:PASSWORD@ or TOKEN@ before the host if need be"
        )
    };
    let rest = match text.split_once("://") {
        Some(("nats", rest)) => rest,
        Some(("tls", _)) => {
            return Err(wrong(
                "TLS is not supported; use a server's port without it",
            ));
        }
        Some(_) => return Err(wrong("its scheme is not `nats`")),
        None => text,
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
    if host.is_empty() || host.contains(['/', ' ', ',']) {
        return Err(wrong("it names no host, or more than one"));
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

/// The secret at `env:NAME` or `file:PATH`.
fn secret(flag: &str, value: &str) -> Result<String, String> {
    let text = match value.split_once(':') {
        Some(("env", name)) => std::env::var(name).map_err(|_| {
            format!("{flag}: the environment variable {name:?} is not set to a text")
        })?,
        Some(("file", path)) => {
            let wrong =
                |error: std::io::Error| format!("{flag}: the file {path:?} can't be read: {error}");
            let mut text = String::new();
            let file = std::fs::File::open(path).map_err(wrong)?;
            file.take(SECRET_BYTES_MAX)
                .read_to_string(&mut text)
                .map_err(wrong)?;
            text.trim_end_matches(['\r', '\n']).to_owned()
        }
        _ => {
            return Err(format!(
                "{flag}: write env:NAME or file:PATH; a command line is seen by everybody on the machine"
            ));
        }
    };
    match text.is_empty() {
        true => Err(format!("{flag}: what it names is empty")),
        false => Ok(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_name_a_host_and_maybe_a_port_and_who_one_is() {
        let read = |text| {
            let server = url(text).unwrap();
            (server.to_string(), server.auth)
        };
        assert_eq!(read("nats://a"), ("a:4222".into(), Auth::None));
        assert_eq!(read("a:1/"), ("a:1".into(), Auth::None));
        assert_eq!(
            read("nats://u:p%40@[::1]:5"),
            ("[::1]:5".into(), Auth::User("u".into(), "p@".into()))
        );
        assert_eq!(
            read("nats://t@a:9"),
            ("a:9".into(), Auth::Token("t".into()))
        );
    }

    #[test]
    fn what_is_wrong_with_one_is_said_without_its_secret() {
        for text in [
            "",
            "tls://u:hunter2@a",
            "http://hunter2@a",
            "nats://u:hunter2@",
            "u:hunter2@a:0",
            "u:hunter2%zz@a",
            "hunter2@[::1",
            "a,b",
        ] {
            let error = url(text).unwrap_err();
            assert!(
                error.contains("nats://HOST:PORT") && !error.contains("hunter2"),
                "{error}"
            );
        }
        assert!(
            secret("--token", "hunter2")
                .unwrap_err()
                .contains("env:NAME")
        );
        let server = url("u:hunter2@a").unwrap();
        assert!(!format!("{server:?}{server}").contains("hunter2"));
    }
}
