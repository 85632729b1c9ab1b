//! Connecting to a server: its greeting, who one is, what one hears, and its word that all of that is done.

use std::io;
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::time::Duration;

use serde::Deserialize;

use super::login;
use super::parse::{Said, next};
use super::tls::{Tls, explain};
use super::wire::{ReadHalf, Wire, WriteHalf, tls_error};
use crate::exit::{Exit, Failed};
use crate::plan::Server;

/// How long a server may take to be connected to, and then to answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// Bytes of a greeting, at most: a cluster names all its servers in it.
const GREETING_BYTES_MAX: usize = 1 << 20;

/// What a server says of itself.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Info {
    /// Its version.
    #[serde(default)]
    pub(crate) version: String,
    /// Bytes of the largest message that it takes.
    #[serde(default)]
    pub(crate) max_payload: u64,
    #[serde(default)]
    headers: bool,
    #[serde(default)]
    tls_required: bool,
    #[serde(default)]
    tls_available: bool,
    /// What is to be signed with an nkey.
    nonce: Option<String>,
}

/// A connection that is ready.
#[derive(Debug)]
pub(crate) struct Connection {
    /// What reads from it.
    pub(crate) reads: ReadHalf,
    /// What writes to it.
    pub(crate) writes: WriteHalf,
    /// What came behind the answer.
    pub(crate) unread: Vec<u8>,
    /// What the server is.
    pub(crate) info: Info,
}

/// Connects, subscribes to these subjects with these numbers, and waits until the server has taken that in.
///
/// # Errors
/// A server that isn't there, does not answer, or refuses.
pub(crate) fn connect(
    server: &Server,
    tls: &Tls,
    subscriptions: &[(String, u64)],
) -> anyhow::Result<Connection> {
    let unreachable = |error: io::Error| {
        Failed::error(
            Exit::Unreachable,
            format!(
                "the server at {server} can't be reached: {error}; see that it runs there, or name another with --server"
            ),
        )
    };
    let stream = dial(server).map_err(unreachable)?;
    stream.set_nodelay(true).map_err(unreachable)?;
    stream
        .set_read_timeout(Some(PATIENCE))
        .map_err(unreachable)?;
    let mut greeting = Greeting {
        server,
        wire: Wire::new(stream),
        bytes: Vec::new(),
    };
    let info = greeting.info()?;
    if info.tls_required || server.tls || tls.is_asked_for() {
        greeting.secure(&info, tls)?;
    }
    if !info.headers {
        return Err(
            greeting.wrong("it has no headers: it is older than 2.2, or they are turned off")
        );
    }
    greeting.subscribe(&info, subscriptions)?;
    greeting.pong()?;
    let (reads, writes) = greeting.wire.split().map_err(unreachable)?;
    Ok(Connection {
        reads,
        writes,
        unread: greeting.bytes,
        info,
    })
}

/// Connects to the first of its addresses that answers.
fn dial(server: &Server) -> io::Result<TcpStream> {
    let addresses = (server.host.as_str(), server.port).to_socket_addrs()?;
    let mut last = io::Error::new(io::ErrorKind::NotFound, "its name has no address");
    for address in addresses {
        match TcpStream::connect_timeout(&address, PATIENCE) {
            Ok(stream) => return Ok(stream),
            Err(error) => last = error,
        }
    }
    Err(last)
}

struct Greeting<'a> {
    server: &'a Server,
    wire: Wire,
    bytes: Vec<u8>,
}

impl Greeting<'_> {
    fn info(&mut self) -> anyhow::Result<Info> {
        loop {
            match next(&self.bytes) {
                Ok(Some((Said::Info(json), used))) => {
                    let info = serde_json::from_slice(json).map_err(|error| {
                        self.wrong(&format!("its greeting is no JSON: {error}"))
                    })?;
                    self.bytes.drain(..used);
                    return Ok(info);
                }
                Ok(Some((Said::Error(why), _))) => return Err(refusal(self.server, why)),
                Ok(Some(_)) => return Err(self.wrong("it does not begin with INFO")),
                Err(why) => return Err(self.wrong(why)),
                Ok(None) => self.fill()?,
            }
        }
    }

    /// Goes on in TLS.
    fn secure(&mut self, info: &Info, tls: &Tls) -> anyhow::Result<()> {
        if !(info.tls_required || info.tls_available) {
            return Err(self.refused(
                "it offers no TLS: use nats:// and no --tls flag if the network is trusted",
            ));
        }
        // Whoever stands between could have put it there: it must not be taken for the server's.
        if !self.bytes.is_empty() {
            return Err(self.wrong("it says more than INFO before TLS begins"));
        }
        let session = tls.session(&self.server.host);
        let session = session.map_err(|why| self.refused(&why))?;
        let secured = self.wire.secure(session);
        secured.map_err(|error| self.lost(&error))
    }

    /// Says who one is and what one hears, and asks whether that was taken in.
    fn subscribe(&mut self, info: &Info, subscriptions: &[(String, u64)]) -> anyhow::Result<()> {
        let is_secure = self.wire.is_secure();
        let who = login::connect(&self.server.auth, info.nonce.as_deref(), is_secure);
        let who = who.map_err(|why| self.refused(&why))?;
        let mut lines = format!("CONNECT {who}\r\n");
        for (subject, number) in subscriptions {
            lines += &format!("SUB {subject} {number}\r\n");
        }
        lines += "PING\r\n";
        let written = self.wire.write_all(lines.as_bytes());
        written.map_err(|error| self.lost(&error))
    }

    fn pong(&mut self) -> anyhow::Result<()> {
        loop {
            let used = match next(&self.bytes) {
                Ok(Some((Said::Pong, used))) => {
                    self.bytes.drain(..used);
                    return Ok(());
                }
                Ok(Some((Said::Error(why), _))) => return Err(refusal(self.server, why)),
                // Before the answer, nothing that was asked for can have come but other people's messages.
                Ok(Some((_, used))) => used,
                Err(why) => return Err(self.wrong(why)),
                Ok(None) => {
                    self.fill()?;
                    continue;
                }
            };
            self.bytes.drain(..used);
        }
    }

    fn fill(&mut self) -> anyhow::Result<()> {
        let mut some = [0; 4_096];
        let read = self.wire.read(&mut some);
        let read = read.map_err(|error| self.lost(&error))?;
        if read == 0 {
            return Err(self.wrong("it has closed the connection"));
        }
        self.bytes.extend_from_slice(&some[..read]);
        match self.bytes.len() > GREETING_BYTES_MAX {
            true => Err(self.wrong("its greeting does not end")),
            false => Ok(()),
        }
    }

    /// The error of a socket, or of TLS in it.
    fn lost(&self, error: &io::Error) -> anyhow::Error {
        if let Some(error) = tls_error(error) {
            return self.refused(&explain(error, &self.server.host));
        }
        match error.kind() {
            io::ErrorKind::WouldBlock => {
                self.wrong(&format!("it has not answered for {PATIENCE:?}"))
            }
            _ => self.wrong(&error.to_string()),
        }
    }

    fn refused(&self, why: &str) -> anyhow::Error {
        Failed::error(
            Exit::Refused,
            format!("the server at {} can't be used: {why}", self.server),
        )
    }

    fn wrong(&self, why: &str) -> anyhow::Error {
        Failed::error(
            Exit::Unreachable,
            format!(
                "what listens at {} is no NATS server that can be used: {why}",
                self.server
            ),
        )
    }
}

/// What a server refuses, as an error with its exit code.
pub(crate) fn refusal(server: &impl std::fmt::Display, why: &[u8]) -> anyhow::Error {
    let why = String::from_utf8_lossy(why);
    let why = why.trim_matches('\'');
    let small = why.to_ascii_lowercase();
    let (exit, help) = if small.contains("authorization") || small.contains("authentication") {
        (
            Exit::Refused,
            "; check the user and password, the token, the nkey or the credentials file",
        )
    } else if small.contains("permissions violation") {
        (
            Exit::Permission,
            "; have the server permit it to this user, with `_INBOX.>` for replies",
        )
    } else {
        (Exit::Failure, "")
    };
    Failed::error(exit, format!("the server at {server} says: {why}{help}"))
}

/// Where a socket is connected to, for errors.
pub(crate) fn peer(stream: &TcpStream) -> String {
    stream.peer_addr().map_or_else(
        |_| "the server".to_owned(),
        |address: SocketAddr| address.to_string(),
    )
}
