//! What tests of a connection share: one that is driven until something holds, and servers that speak by a script.
//!
//! Nothing here waits for a time: a rig turns until its condition holds, and a server blocks on its socket; both give up after
//! [`LONG`], which only something broken reaches. Time can be let pass, for the connection alone.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use mio::{Events, Poll, Token, Waker};

use crate::clock;
use crate::port::Unpark;
use crate::time::Instant;

use super::connection::{Change, Connection};
use super::resolver::Resolver;
use super::settings::{ConnectionConfig, ConnectionError};
use super::tls::{Tls, TlsOptions};
use super::url::ServerUrl;
use super::wire::parse::Incoming;

/// Longer than anything here takes.
pub(crate) const LONG: Duration = Duration::from_secs(30);
const CONNECTION: Token = Token(1);
const WAKER: Token = Token(0);

struct Bell(Waker);

impl Unpark for Bell {
    fn unpark(&self) {
        self.0.wake().expect("the poller is there");
    }
}

/// A connection, and a shard that does nothing but drive it.
pub(crate) struct Rig {
    poll: Poll,
    events: Events,
    pub(crate) connection: Connection,
    pub(crate) messages: Vec<Incoming>,
    pub(crate) changes: Vec<Change>,
    /// By how much its time is ahead.
    ahead: Duration,
    /// Bytes that a turn may read.
    pub(crate) bytes_max: usize,
}

/// What a connection to these servers is told.
pub(crate) fn config(urls: &str) -> ConnectionConfig {
    let urls = ServerUrl::parse_list(urls).expect("good urls");
    ConnectionConfig::new(
        urls,
        Tls::load(&TlsOptions::default()).expect("TLS is there"),
    )
}

impl Rig {
    pub(crate) fn to(urls: &str) -> Self {
        Self::with(config(urls))
    }

    pub(crate) fn with(config: ConnectionConfig) -> Self {
        let poll = Poll::new().expect("a poller");
        let waker = Waker::new(poll.registry(), WAKER).expect("a waker");
        let resolver = Resolver::start(Arc::new(Bell(waker))).expect("a thread");
        let registry = poll.registry().try_clone().expect("a registry");
        let now = clock::now();
        Self {
            poll,
            events: Events::with_capacity(16),
            connection: Connection::new(Arc::new(config), registry, CONNECTION, resolver, 0, now),
            messages: Vec::new(),
            changes: Vec::new(),
            ahead: Duration::ZERO,
            bytes_max: 64 << 10,
        }
    }

    /// The connection's time.
    pub(crate) fn now(&self) -> Instant {
        clock::now() + self.ahead
    }

    /// Lets time pass.
    pub(crate) fn skip(&mut self, time: Duration) {
        self.ahead += time;
    }

    /// One turn, without a wait.
    pub(crate) fn turn(&mut self) {
        let (now, messages) = (self.now(), &mut self.messages);
        self.connection
            .receive(now, self.bytes_max, |found, chunk| {
                messages.push(found.incoming(chunk));
            });
        while let Some(change) = self.connection.state_changes() {
            self.changes.push(change);
        }
        self.connection.flush(now);
    }

    /// Turns, and rests between, until something holds.
    pub(crate) fn until<T>(
        &mut self,
        what: &str,
        mut holds: impl FnMut(&mut Self) -> Option<T>,
    ) -> T {
        let end = clock::now() + LONG;
        loop {
            self.turn();
            if let Some(found) = holds(self) {
                return found;
            }
            let changes = &self.changes;
            assert!(clock::now() < end, "never: {what}; {changes:?}");
            if self.connection.is_quiet() {
                let due = self
                    .connection
                    .due()
                    .map(|due| due.saturating_duration_since(self.now()));
                let wait = due.unwrap_or(LONG).min(Duration::from_millis(100));
                self.poll
                    .poll(&mut self.events, Some(wait))
                    .expect("a poll");
                for event in self
                    .events
                    .iter()
                    .filter(|event| event.token() == CONNECTION)
                {
                    self.connection.on_event(event);
                }
            }
        }
    }

    /// Turns until it is live.
    pub(crate) fn live(&mut self) {
        self.until("live", |rig| rig.connection.is_live().then_some(()));
    }

    /// Turns until an attempt has failed, or a connection was lost: why.
    pub(crate) fn fault(&mut self) -> ConnectionError {
        self.until("a fault", |rig| {
            let at = rig
                .changes
                .iter()
                .position(|c| matches!(c, Change::Failed(_) | Change::Lost { .. }));
            match at.map(|at| rig.changes.remove(at)) {
                Some(Change::Failed(why) | Change::Lost { why, .. }) => Some(why),
                _ => None,
            }
        })
    }

    /// Turns until so many messages have come.
    pub(crate) fn messages(&mut self, count: usize) {
        self.until("messages", |rig| {
            (rig.messages.len() >= count).then_some(())
        });
    }
}

/// A server that speaks by a script, one client after another. It is joined when dropped.
pub(crate) struct Server {
    pub(crate) url: String,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    pub(crate) fn run(script: impl FnOnce(&TcpListener) + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let url = listener.local_addr().expect("an address").to_string();
        let thread = std::thread::spawn(move || script(&listener));
        Self {
            url,
            thread: Some(thread),
        }
    }

    /// Ends with its script, whose panic is this one's.
    pub(crate) fn join(mut self) {
        let thread = self.thread.take().expect("it is joined once");
        if let Err(panic) = thread.join() {
            std::panic::resume_unwind(panic);
        }
    }
}

/// A client, as a scripted server sees it.
pub(crate) struct Client<S> {
    stream: BufReader<S>,
}

pub(crate) const INFO: &str =
    r#"{"server_id":"S","version":"2.15.1","headers":true,"max_payload":1048576}"#;

/// The next client.
pub(crate) fn accept(listener: &TcpListener) -> Client<TcpStream> {
    let (stream, _) = listener.accept().expect("a client");
    stream.set_read_timeout(Some(LONG)).expect("a limit");
    stream.set_write_timeout(Some(LONG)).expect("a limit");
    Client::new(stream)
}

impl<S: Read + Write> Client<S> {
    pub(crate) fn new(stream: S) -> Self {
        Self {
            stream: BufReader::new(stream),
        }
    }

    /// Gives the stream back, of which nothing may have been read ahead.
    pub(crate) fn into_stream(self) -> S {
        assert!(self.stream.buffer().is_empty(), "nothing was read ahead");
        self.stream.into_inner()
    }

    pub(crate) fn say(&mut self, text: &str) {
        let stream = self.stream.get_mut();
        stream
            .write_all(text.as_bytes())
            .expect("the client is there");
        stream.flush().expect("the client is there");
    }

    /// Says it if the client is still there. Whether it is.
    pub(crate) fn try_say(&mut self, text: &str) -> bool {
        self.stream.get_mut().write_all(text.as_bytes()).is_ok()
    }

    /// The next line; empty at the end.
    pub(crate) fn line(&mut self) -> String {
        let mut line = String::new();
        self.stream.read_line(&mut line).expect("a line");
        line.trim_end().to_owned()
    }

    pub(crate) fn expect(&mut self, wanted: &str) {
        assert_eq!(self.line(), wanted);
    }

    /// Reads CONNECT and PING: what CONNECT says.
    pub(crate) fn connect(&mut self) -> serde_json::Value {
        let line = self.line();
        let json = line
            .strip_prefix("CONNECT ")
            .unwrap_or_else(|| panic!("{line:?} is no CONNECT"));
        let connect = serde_json::from_str(json).expect("CONNECT is JSON");
        self.expect("PING");
        connect
    }

    /// The whole greeting of a server that wants nothing.
    pub(crate) fn greet(&mut self) -> serde_json::Value {
        self.greet_as(INFO)
    }

    /// The same, with another INFO.
    pub(crate) fn greet_as(&mut self, info: &str) -> serde_json::Value {
        self.say(&format!("INFO {info}\r\n"));
        let connect = self.connect();
        self.say("PONG\r\n");
        connect
    }

    /// Reads until the client ends it.
    pub(crate) fn end(&mut self) {
        // A reset is an end too.
        let _ = self.stream.read_to_end(&mut Vec::new());
    }
}
