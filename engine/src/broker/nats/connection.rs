//! One connection to NATS: made, kept alive, lost and made again, without ever blocking.
//!
//! Owns the socket, what has been read and what is to be written, and the order of it all. Knows no subscription and no handler:
//! what was subscribed is said again by the transport when it hears [`Change::Live`]. Driven by its shard: `receive` once a turn,
//! `flush` at the turn's end, `wake` when the poller has something for it.

mod make;

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
#[cfg(test)]
use mio::event::Event;

use crate::time::Instant;

use super::dial::{Dial, Place};
use super::greeting::{Greeting, socket_fault};
use super::intake::Intake;
use super::live::{Base, LIVE, Live};
use super::refusal::ServerRefusal;
use super::resolver::Resolver;
use super::servers::{End, Servers};
use super::settings::{ConnectionConfig, ConnectionError, ConnectionFault};
use super::socket::{Got, Socket};
use super::url::ServerUrl;
use super::wire::info::ServerInfo;
use super::wire::parse::{Found, Op, TooLarge};
use super::wire::write::Writer;

/// Changes that wait to be taken. Default 64: more than a turn has. At it nothing more is read until they are taken.
const CHANGES_MAX: usize = 64;

/// What has happened to a connection.
#[derive(Debug)]
pub(crate) enum Change {
    /// It is live: what the server says of itself. Nothing that was said before it counts there; nothing is subscribed.
    Live(Arc<ServerInfo>),
    /// What the server says of itself has changed; where `ldm` is set it is about to stop, and the connection will leave.
    Info(Arc<ServerInfo>),
    /// It was live and is no more; what was written and not sent, this many bytes, is gone.
    Lost {
        /// Why.
        why: ConnectionError,
        /// Bytes that were never sent.
        unsent_bytes: usize,
    },
    /// An attempt failed; another follows.
    Failed(ConnectionError),
    /// The server refused something, and the connection goes on.
    Refused(ServerRefusal),
    /// A message was above the limits; it was not read.
    TooLarge(TooLarge),
}

/// A point in what was written: passed when the server has taken in all that stands before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Barrier {
    session: u64,
    ping: u64,
}

/// Where it stands.
enum Phase {
    /// It waits until it is some server's turn.
    Waiting(Instant),
    /// A server is being reached.
    Dialling(Dial),
    /// A server is being talked to.
    Greeting(Greeting, Socket),
    /// It is live.
    Live(Live),
    /// It was closed and stays so.
    Closed,
}

/// One connection.
pub(crate) struct Connection {
    base: Base,
    place: Place,
    resolver: Resolver,
    /// The server that it is or was last made to.
    url: ServerUrl,
    /// When the present attempt is over.
    deadline: Instant,
    phase: Phase,
    intake: Intake,
    /// Whether a read may bring something.
    readable: bool,
    /// Whether only a read that brings nothing tells that nothing is left. Else one that brings less than there was room for
    /// does: the poller tells of what comes later. Of an end that it told of before, it does not tell again.
    thorough: bool,
    /// Connections that have been live.
    session: u64,
    /// Bytes read so far, while live.
    read_bytes: u64,
}

impl Connection {
    /// A connection that is made as soon as it is driven. The seed says which server is first, and the jitter of delays.
    pub(crate) fn new(
        config: Arc<ConnectionConfig>,
        registry: mio::Registry,
        token: mio::Token,
        resolver: Resolver,
        seed: u64,
        now: Instant,
    ) -> Self {
        let limits = &config.limits;
        Self {
            url: config.urls[0].clone(),
            deadline: now,
            phase: Phase::Waiting(now),
            intake: Intake::new(limits.wire, limits.read_bytes),
            readable: false,
            thorough: false,
            session: 0,
            read_bytes: 0,
            base: Base {
                servers: Servers::new(&config.urls, limits.servers.clone(), seed),
                writer: Writer::new(limits.write),
                changes: VecDeque::new(),
                config,
            },
            place: Place { registry, token },
            resolver,
        }
    }

    /// The poller has this for it: the next `receive` reads.
    #[cfg(test)]
    pub(crate) fn on_event(&mut self, event: &Event) {
        self.readable = true;
        self.thorough |= event.is_read_closed() || event.is_error();
    }

    /// Something may have come that the poller has not told of yet: the next `receive` reads.
    pub(crate) fn look(&mut self) {
        self.readable = true;
    }

    /// The poller may have something for it, nobody knows what: the next `receive` reads until nothing is left, which costs one
    /// system call more than after [`Connection::look`].
    pub(crate) fn wake(&mut self) {
        (self.readable, self.thorough) = (true, true);
    }

    /// Makes the connection, keeps it, and hands over the messages that have come, with what they lie in: about `bytes_max` bytes of
    /// them.
    #[inline]
    pub(crate) fn receive(
        &mut self,
        now: Instant,
        bytes_max: usize,
        mut take: impl FnMut(Found, &Bytes),
    ) {
        let read = self.take_in(now, bytes_max, &mut take);
        let driven = read.and_then(|()| self.drive(now));
        if let Err(fault) = driven {
            self.end(fault, now);
        }
    }

    /// The next change, in the order in which they happened.
    pub(crate) fn state_changes(&mut self) -> Option<Change> {
        self.base.changes.pop_front()
    }

    /// What is to be sent is gathered here; nothing may be written unless it is live.
    pub(crate) fn writer(&mut self) -> &mut Writer {
        debug_assert!(self.is_live(), "nothing is written unless it is live");
        &mut self.base.writer
    }

    /// Has the server say when it has taken in all that was written so far. `None` unless it is live and has room for it.
    pub(crate) fn barrier(&mut self, now: Instant) -> Option<Barrier> {
        let Phase::Live(live) = &mut self.phase else {
            return None;
        };
        let ping = live.ping(&mut self.base.writer, now)?;
        Some(Barrier {
            session: self.session,
            ping,
        })
    }

    /// Whether a barrier is passed. One of a connection that was lost never is.
    pub(crate) fn has_passed(&self, barrier: Barrier) -> bool {
        match &self.phase {
            Phase::Live(live) => barrier.session == self.session && live.has_answered(barrier.ping),
            _ => false,
        }
    }

    /// Writes what is gathered, as far as the socket takes it.
    pub(crate) fn flush(&mut self, now: Instant) {
        if let Phase::Live(live) = &mut self.phase
            && let Err(fault) = live.write(&mut self.base.writer, now)
        {
            self.end(fault, now);
        }
    }

    /// Bytes that are written and not sent.
    pub(crate) fn unsent_bytes(&self) -> usize {
        self.base.writer.len()
    }

    /// Bytes read so far, while it was live.
    pub(crate) fn read_bytes(&self) -> u64 {
        self.read_bytes
    }

    /// When it next has something to do of its own accord.
    pub(crate) fn due(&self) -> Option<Instant> {
        match &self.phase {
            Phase::Waiting(until) => Some(*until),
            Phase::Dialling(dial) => Some(dial.due().min(self.deadline)),
            Phase::Greeting(..) => Some(self.deadline),
            Phase::Live(live) => Some(live.due()),
            Phase::Closed => None,
        }
    }

    /// Whether there is nothing to do before the poller or its time says so.
    pub(crate) fn is_quiet(&self) -> bool {
        let nothing_left = self.base.changes.is_empty() && self.intake.is_taken();
        nothing_left
            && match &self.phase {
                Phase::Live(_) => !self.readable,
                Phase::Dialling(dial) => dial.is_quiet(),
                Phase::Waiting(_) | Phase::Greeting(..) | Phase::Closed => true,
            }
    }

    /// Whether it is live: what is written now reaches the server, or its loss is told.
    pub(crate) fn is_live(&self) -> bool {
        matches!(self.phase, Phase::Live(_))
    }

    /// Whether every server that is known has refused us the last time in a way that will hardly change soon.
    pub(crate) fn all_refused(&self) -> bool {
        self.base.servers.all_refused()
    }

    /// The server's `max_payload`, where it is more than is read of a message.
    pub(crate) fn takes_more_than_is_read(&self) -> Option<usize> {
        let Phase::Live(live) = &self.phase else {
            return None;
        };
        let bytes = live.info.payload_bytes_max()?;
        let read = self.base.config.limits.wire.payload_bytes_max;
        (bytes > read).then_some(bytes)
    }

    /// What the server says of itself, while it is live.
    #[cfg(test)]
    pub(crate) fn info(&self) -> Option<&Arc<ServerInfo>> {
        match &self.phase {
            Phase::Live(live) => Some(&live.info),
            _ => None,
        }
    }

    /// The server that it is or was last made to, without credentials.
    pub(crate) fn server(&self) -> String {
        self.url.to_string()
    }

    /// Leaves a server that is about to stop before its time, since nothing is under way there any more.
    #[cfg(test)]
    pub(crate) fn leave(&mut self, now: Instant) {
        if let Phase::Live(live) = &mut self.phase {
            live.hurry(now);
        }
    }

    /// Ends it for good. What was flushed before reaches the server.
    #[cfg(test)]
    pub(crate) fn close(&mut self) {
        self.hang_up();
        self.phase = Phase::Closed;
    }

    /// Reads and hands over, while it is live.
    #[inline]
    fn take_in(
        &mut self,
        now: Instant,
        bytes_max: usize,
        take: &mut impl FnMut(Found, &Bytes),
    ) -> Result<(), ConnectionFault> {
        let Phase::Live(live) = &mut self.phase else {
            return Ok(());
        };
        let mut left = bytes_max;
        loop {
            while self.base.changes.len() < CHANGES_MAX {
                match self.intake.next()? {
                    Some(Op::Message(found)) => take(found, self.intake.chunk()),
                    Some(op) => live.control(op, &mut self.base, now)?,
                    None => break,
                }
            }
            if left == 0 || !self.readable || !self.intake.is_taken() {
                break;
            }
            let got = live.socket.read(self.intake.room());
            match got.map_err(|error| socket_fault(LIVE, error))? {
                Got::Bytes { bytes, more } => {
                    self.intake.came(bytes);
                    self.read_bytes += bytes as u64;
                    self.thorough &= bytes > 0;
                    self.readable = more || self.thorough;
                    left = left.saturating_sub(bytes);
                    if bytes > 0 {
                        live.alive.heard(now);
                    }
                }
                Got::Closed if self.intake.is_empty() => return Err(ConnectionFault::Closed(LIVE)),
                Got::Closed => return Err(ConnectionFault::Closed("a message was on its way")),
            }
        }
        if self.readable || !self.intake.is_taken() {
            // What waits to be read is a sign of life too.
            live.alive.heard(now);
        }
        Ok(())
    }

    /// Does what is to be done by itself: makes the connection, or keeps it.
    #[inline]
    fn drive(&mut self, now: Instant) -> Result<(), ConnectionFault> {
        match &mut self.phase {
            Phase::Live(live) if now < live.due() => Ok(()),
            Phase::Live(live) => live.keep(&mut self.base, now),
            Phase::Closed => Ok(()),
            _ if self.base.changes.len() >= CHANGES_MAX => Ok(()),
            _ => self.make(now),
        }
    }

    /// What it is doing, in words.
    pub(crate) fn stands(&self) -> &'static str {
        match &self.phase {
            Phase::Waiting(_) => "waiting to try again",
            Phase::Dialling(dial) => dial.step(),
            Phase::Greeting(greeting, _) => greeting.step(),
            Phase::Live(_) => LIVE,
            Phase::Closed => "closed",
        }
    }

    /// It is over with this server: says so, and goes on to the next.
    #[cold]
    fn end(&mut self, fault: ConnectionFault, now: Instant) {
        let end = match &fault {
            ConnectionFault::Left => End::Left,
            fault if fault.is_final() => End::Refused,
            _ => End::Failed,
        };
        let lived = match &self.phase {
            Phase::Live(live) => Some(now.saturating_duration_since(live.since)),
            _ => None,
        };
        self.base.servers.over(end, lived, now);
        let why = ConnectionError {
            server: self.url.to_string(),
            fault,
        };
        let unsent_bytes = self.base.writer.len();
        self.hang_up();
        let change = match lived {
            Some(_) => {
                tracing::debug!(unsent_bytes, "connection lost: {why}");
                Change::Lost { why, unsent_bytes }
            }
            None => {
                tracing::debug!("cannot connect: {why}");
                Change::Failed(why)
            }
        };
        self.base.changes.push_back(change);
        self.phase = Phase::Waiting(now);
    }

    /// Closes what is open and forgets what was read and written: the next connection begins with nothing.
    fn hang_up(&mut self) {
        match std::mem::replace(&mut self.phase, Phase::Closed) {
            Phase::Dialling(dial) => dial.abandon(&self.place),
            Phase::Greeting(_, socket) => socket.close(&self.place.registry),
            Phase::Live(live) => live.socket.close(&self.place.registry),
            Phase::Waiting(_) | Phase::Closed => {}
        }
        self.intake.reset();
        self.base.writer.clear();
        (self.readable, self.thorough) = (false, false);
    }
}

#[cfg(test)]
mod tests {
    use super::super::alive::Stale;
    use super::super::refusal::RefusalKind;
    use super::super::testing::{INFO, Rig, Server, accept, config};
    use super::*;
    use std::net::Shutdown;
    use std::time::Duration;

    const S: Duration = Duration::from_secs(1);

    #[test]
    fn messages_come_in_order_whatever_the_turns_are() {
        const COUNT: usize = 2_000;
        for bytes_max in [1, 1 << 10, 1 << 20] {
            let server = Server::run(|listener| {
                let mut client = accept(listener);
                client.greet();
                client.expect("SUB a.* 7");
                for i in 0..COUNT {
                    let payload = format!("{i}{}", "x".repeat(i % 300));
                    client.say(&format!("MSG a.b 7 {}\r\n{payload}\r\n", payload.len()));
                }
                client.end();
            });
            let mut settings = config(&server.url);
            settings.limits.read_bytes = 1 << 10;
            let mut rig = Rig::with(settings);
            rig.bytes_max = bytes_max;
            rig.live();
            rig.connection.writer().subscribe("a.*", None, 7).unwrap();
            rig.messages(COUNT);
            for (i, got) in rig.messages.iter().enumerate() {
                let wanted = format!("{i}{}", "x".repeat(i % 300));
                assert_eq!((got.sid, got.message.subject()), (7, "a.b"));
                assert_eq!(got.message.payload(), wanted.as_bytes());
            }
            rig.connection.close();
            server.join();
        }
    }

    #[test]
    fn large_messages_come_whole_between_small_ones() {
        let server = Server::run(|listener| {
            let mut client = accept(listener);
            client.greet();
            for size in [3, 1 << 20, 0, 70_000, 64 << 10, 5] {
                client.say(&format!("MSG a 1 {size}\r\n{}\r\n", "y".repeat(size)));
            }
            client.end();
        });
        let mut rig = Rig::to(&server.url);
        rig.messages(6);
        let sizes: Vec<_> = rig
            .messages
            .iter()
            .map(|m| m.message.payload().len())
            .collect();
        assert_eq!(sizes, [3, 1 << 20, 0, 70_000, 64 << 10, 5]);
        assert!(
            rig.messages
                .iter()
                .all(|m| m.message.payload().iter().all(|b| *b == b'y'))
        );
        rig.connection.close();
        server.join();
    }

    #[test]
    fn a_server_that_goes_in_the_middle_of_a_message_is_told_and_found_again() {
        let server = Server::run(|listener| {
            let mut first = accept(listener);
            first.greet();
            first.say("MSG a 1 5\r\nhello\r\nMSG a 1 5\r\nhel");
            drop(first);
            let mut second = accept(listener);
            second.greet();
            second.say("MSG a 1 5\r\nagain\r\n");
            second.end();
        });
        let mut rig = Rig::to(&server.url);
        let why = rig.fault();
        assert_eq!(
            why.fault,
            ConnectionFault::Closed("a message was on its way")
        );
        rig.messages(2);
        assert_eq!(rig.messages[1].message.payload(), b"again");
        rig.connection.close();
        server.join();
    }

    #[test]
    fn a_new_connection_begins_with_nothing() {
        let server = Server::run(|listener| {
            let mut first = accept(listener);
            first.greet();
            drop(first);
            let mut second = accept(listener);
            second.greet();
            second.expect("PUB b 0");
            second.end();
        });
        let mut rig = Rig::to(&server.url);
        rig.live();
        let old = rig.connection.barrier(rig.now()).unwrap();
        rig.connection
            .writer()
            .publish_bytes("a", None, &[], b"lost")
            .unwrap();
        // Not flushed: the end comes first.
        let now = rig.now();
        let unsent = loop {
            rig.connection.wake();
            rig.connection.receive(now, 1 << 10, |_, _| {});
            match rig.connection.state_changes() {
                Some(Change::Lost { unsent_bytes, .. }) => break unsent_bytes,
                Some(_) => {}
                None => std::thread::yield_now(),
            }
        };
        assert_eq!(unsent, "PING\r\nPUB a 4\r\nlost\r\n".len());
        assert_eq!(rig.connection.unsent_bytes(), 0);
        rig.live();
        assert!(!rig.connection.has_passed(old));
        rig.connection
            .writer()
            .publish_bytes("b", None, &[], b"")
            .unwrap();
        rig.turn();
        rig.connection.close();
        server.join();
    }

    #[test]
    fn a_barrier_is_passed_by_its_own_pong() {
        let server = Server::run(|listener| {
            let mut client = accept(listener);
            client.greet();
            // One that nobody asked for counts for nothing.
            client.say("PONG\r\nMSG a 1 0\r\n\r\n");
            client.expect("PING");
            client.expect("SUB a 1");
            client.expect("PING");
            client.say("PONG\r\nMSG a 1 0\r\n\r\n");
            client.expect("PUB b 0");
            client.expect("");
            client.say("PONG\r\n");
            client.end();
        });
        let mut rig = Rig::to(&server.url);
        rig.messages(1);
        let now = rig.now();
        let first = rig.connection.barrier(now).unwrap();
        rig.connection.writer().subscribe("a", None, 1).unwrap();
        let second = rig.connection.barrier(now).unwrap();
        rig.messages(2);
        assert!(rig.connection.has_passed(first) && !rig.connection.has_passed(second));
        rig.connection
            .writer()
            .publish_bytes("b", None, &[], b"")
            .unwrap();
        rig.until("the second", |rig| {
            rig.connection.has_passed(second).then_some(())
        });
        rig.connection.close();
        server.join();
    }

    #[test]
    fn a_server_that_says_nothing_more_is_given_up() {
        let server = Server::run(|listener| {
            let mut client = accept(listener);
            client.greet();
            client.expect("PING");
            client.expect("PING");
            client.end();
        });
        let mut rig = Rig::to(&server.url);
        rig.live();
        for wait in [20, 5] {
            assert_eq!(rig.connection.unsent_bytes(), 0);
            rig.skip(S * wait);
            rig.turn();
            assert!(rig.connection.is_live());
        }
        rig.skip(S * 5);
        assert_eq!(rig.fault().fault, ConnectionFault::Stale(Stale::Silent));
        rig.connection.close();
        server.join();
    }

    #[test]
    fn a_server_that_takes_nothing_is_given_up_and_its_buffer_is_bounded() {
        let (over, ends) = std::sync::mpsc::sync_channel::<()>(0);
        let server = Server::run(move |listener| {
            let mut client = accept(listener);
            client.greet();
            client.say("MSG a 1 0\r\n\r\n");
            // Reads nothing until the test is over.
            let _ = ends.recv();
        });
        let mut settings = config(&server.url);
        settings.limits.write.buffer_bytes_max = 1 << 20;
        let mut rig = Rig::with(settings);
        rig.messages(1);
        let payload = vec![b'x'; 64 << 10];
        // What the kernels take is unknown; it ends.
        let mut room = true;
        while room {
            let writer = rig.connection.writer();
            room = writer.publish_bytes("a", None, &[], &payload).is_ok();
            rig.turn();
        }
        let unsent = rig.connection.unsent_bytes();
        assert!(unsent > 900 << 10 && unsent <= 1 << 20, "{unsent}");
        rig.skip(S * 11);
        let fault = rig.fault().fault;
        assert_eq!(fault, ConnectionFault::Stale(Stale::Stuck));
        assert_eq!(rig.connection.unsent_bytes(), 0);
        drop(over);
        rig.connection.close();
        server.join();
    }

    #[test]
    fn a_slow_taker_gets_every_byte_in_order() {
        const COUNT: usize = 300;
        let (go, goes) = std::sync::mpsc::sync_channel::<()>(0);
        let server = Server::run(move |listener| {
            let mut client = accept(listener);
            client.greet();
            goes.recv().unwrap();
            for i in 0..COUNT {
                client.expect(&format!("PUB a.{i} 65536"));
                assert!(client.line().bytes().all(|b| b == b'0' + (i % 10) as u8));
            }
            client.say("MSG done 1 0\r\n\r\n");
            client.end();
        });
        let mut rig = Rig::to(&server.url);
        rig.live();
        let mut stuck = 0;
        let mut go = Some(go);
        for i in 0..COUNT {
            let payload = vec![b'0' + (i % 10) as u8; 64 << 10];
            let subject = format!("a.{i}");
            rig.until("room", |rig| {
                let written = rig
                    .connection
                    .writer()
                    .publish_bytes(&subject, None, &[], &payload);
                written.ok()
            });
            rig.turn();
            stuck = stuck.max(rig.connection.unsent_bytes());
            if stuck > 2 << 20
                && let Some(go) = go.take()
            {
                go.send(()).unwrap();
            }
        }
        assert!(go.is_none(), "it was stuck in between");
        rig.messages(1);
        assert_eq!(rig.connection.unsent_bytes(), 0);
        rig.connection.close();
        server.join();
    }

    #[test]
    fn refusals_of_a_live_connection_are_told_apart() {
        let server = Server::run(|listener| {
            let mut client = accept(listener);
            client.greet();
            client.say(
                "-ERR 'Permissions Violation for Publish to \"a\"'\r\n-ERR 'Slow Consumer'\r\n",
            );
            client.end();
        });
        let mut rig = Rig::to(&server.url);
        let fault = rig.fault().fault;
        assert!(
            matches!(fault, ConnectionFault::Refused(r) if r.kind == RefusalKind::SlowConsumer)
        );
        let changes = &rig.changes[..2];
        let [Change::Live(_), Change::Refused(refusal)] = changes else {
            panic!("{changes:?}");
        };
        let subject = "a".to_owned();
        assert_eq!(refusal.kind, RefusalKind::Publish { subject });
        rig.connection.close();
        server.join();
    }

    #[test]
    fn changes_are_bounded_and_none_is_lost() {
        const COUNT: usize = CHANGES_MAX * 3;
        let server = Server::run(|listener| {
            let mut client = accept(listener);
            client.greet();
            let refusals: String = (0..COUNT)
                .map(|i| format!("-ERR 'Permissions Violation for Publish to \"a.{i}\"'\r\n"))
                .collect();
            client.say(&refusals);
            client.end();
        });
        let mut rig = Rig::to(&server.url);
        rig.live();
        let mut seen = 0;
        rig.changes.clear();
        while seen < COUNT {
            let now = rig.now();
            rig.connection.wake();
            rig.connection.receive(now, 1 << 20, |_, _| {});
            assert!(rig.connection.base.changes.len() <= CHANGES_MAX);
            rig.turn();
            for change in rig.changes.drain(..) {
                let Change::Refused(refusal) = change else {
                    panic!("{change:?}");
                };
                let subject = format!("a.{seen}");
                assert_eq!(refusal.kind, RefusalKind::Publish { subject });
                seen += 1;
            }
        }
        rig.connection.close();
        server.join();
    }

    #[test]
    fn a_server_that_is_about_to_stop_is_left_for_another() {
        let second = Server::run(|listener| {
            let mut client = accept(listener);
            client.greet();
            client.say("MSG b 1 0\r\n\r\n");
            client.end();
        });
        let other = second.url.clone();
        let first = Server::run(move |listener| {
            let mut client = accept(listener);
            client.greet();
            let info = INFO.replace(
                '}',
                &format!(",\"ldm\":true,\"connect_urls\":[\"{other}\"]}}"),
            );
            client.say(&format!("INFO {info}\r\n"));
            client.expect("PUB last 0");
            client.end();
        });
        let mut rig = Rig::to(&first.url);
        rig.until("the news", |rig| {
            rig.changes
                .iter()
                .any(|c| matches!(c, Change::Info(i) if i.ldm))
                .then_some(())
        });
        rig.skip(S * 4);
        rig.turn();
        assert!(rig.connection.is_live(), "it stays for a while");
        rig.connection
            .writer()
            .publish_bytes("last", None, &[], b"")
            .unwrap();
        let now = rig.now();
        rig.connection.leave(now);
        assert_eq!(rig.fault().fault, ConnectionFault::Left);
        rig.messages(1);
        assert_eq!(rig.connection.server(), format!("nats://{}", second.url));
        rig.connection.close();
        first.join();
        second.join();
    }

    #[test]
    fn a_server_that_is_about_to_stop_is_not_left_for_nothing() {
        let server = Server::run(|listener| {
            let mut client = accept(listener);
            client.greet_as(&INFO.replace('}', ",\"ldm\":true}"));
            client.end();
        });
        let mut rig = Rig::to(&server.url);
        rig.live();
        rig.skip(S * 10);
        rig.turn();
        assert!(rig.connection.is_live());
        rig.connection.close();
        server.join();
    }

    #[test]
    fn the_next_server_is_tried_at_once_and_a_name_is_looked_up() {
        let gone = Server::run(|_| {});
        let url = gone.url.clone();
        gone.join();
        let server = Server::run(|listener| {
            let mut client = accept(listener);
            client.greet();
            client.end();
        });
        let named = server.url.replace("127.0.0.1", "localhost");
        let mut rig = Rig::to(&format!("{url},{named}"));
        let error = rig.fault().to_string();
        assert!(error.contains("connecting failed"), "{error}");
        rig.live();
        assert_eq!(rig.connection.server(), format!("nats://{named}"));
        rig.connection.close();
        assert!(!rig.connection.is_live() && rig.connection.due().is_none());
        server.join();
    }

    #[test]
    fn a_half_closed_socket_is_over() {
        let server = Server::run(|listener| {
            let mut client = accept(listener);
            client.greet();
            let stream = client.into_stream();
            stream.shutdown(Shutdown::Write).unwrap();
        });
        let mut rig = Rig::to(&server.url);
        assert_eq!(rig.fault().fault, ConnectionFault::Closed(LIVE));
        rig.connection.close();
        server.join();
    }
}
