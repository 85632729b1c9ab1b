//! A live connection: what the server says beside messages, its keep-alive, and what is written.
//!
//! Owns the socket while it is live. Knows neither how it came to be live nor what comes after it.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::time::Instant;

use super::alive::{Alive, Stale, Verdict};
use super::connection::Change;
use super::greeting::{socket_fault, write_limits};
use super::refusal::ServerRefusal;
use super::servers::Servers;
use super::settings::{ConnectionConfig, ConnectionFault};
use super::socket::Socket;
use super::wire::info::ServerInfo;
use super::wire::parse::Op;
use super::wire::write::Writer;

/// What a live connection is doing, for errors.
pub(crate) const LIVE: &str = "it was live";

/// What a connection has in every phase.
pub(crate) struct Base {
    /// What it is told.
    pub(crate) config: Arc<ConnectionConfig>,
    /// The servers that it may be made to.
    pub(crate) servers: Servers,
    /// What is to be sent.
    pub(crate) writer: Writer,
    /// What has happened and was not taken yet.
    pub(crate) changes: VecDeque<Change>,
}

/// What there is of a live connection alone.
pub(crate) struct Live {
    /// Connected, and greeted.
    pub(crate) socket: Socket,
    /// Whether the server is still there.
    pub(crate) alive: Alive,
    /// Since when it is live.
    pub(crate) since: Instant,
    /// What the server says of itself.
    pub(crate) info: Arc<ServerInfo>,
    /// When it leaves a server that is about to stop.
    leaves: Option<Instant>,
    /// PINGs written.
    pings: u64,
    /// PONGs seen.
    pongs: u64,
}

impl Live {
    /// One that is live from now on.
    pub(crate) fn begin(
        socket: Socket,
        info: Box<ServerInfo>,
        base: &mut Base,
        now: Instant,
    ) -> Self {
        let mut live = Self {
            socket,
            alive: Alive::new(base.config.limits.alive.clone(), now),
            since: now,
            info: Arc::new(ServerInfo::default()),
            leaves: None,
            pings: 0,
            pongs: 0,
        };
        live.informed(info, base, now);
        live
    }

    /// Writes a PING; its number. `None` if the buffer is full.
    pub(crate) fn ping(&mut self, writer: &mut Writer, now: Instant) -> Option<u64> {
        // A server that leaves no room for a PING is as good as asked: it has that long to take something.
        self.alive.pinged(now);
        writer.ping().ok()?;
        self.pings += 1;
        Some(self.pings)
    }

    /// Whether the PONG to this PING has come.
    pub(crate) fn has_answered(&self, ping: u64) -> bool {
        self.pongs >= ping
    }

    /// An operation that is no message.
    #[cold]
    pub(crate) fn control(
        &mut self,
        op: Op,
        base: &mut Base,
        now: Instant,
    ) -> Result<(), ConnectionFault> {
        match op {
            Op::Info(info) => {
                self.informed(info, base, now);
                base.changes.push_back(Change::Info(Arc::clone(&self.info)));
            }
            Op::Ping => {
                let written = base.writer.pong();
                written.map_err(|_| ConnectionFault::Stale(Stale::Stuck))?;
            }
            Op::Pong => {
                self.alive.answered(now);
                self.pongs = self.pings.min(self.pongs + 1);
            }
            Op::Err(text) => {
                let refusal = ServerRefusal::read(&text);
                if refusal.ends() {
                    return Err(ConnectionFault::Refused(refusal));
                }
                base.changes.push_back(Change::Refused(refusal));
            }
            Op::TooLarge(message) => base.changes.push_back(Change::TooLarge(message)),
            Op::Ok => {}
            Op::Message(_) => debug_assert!(false, "messages are handed over by the reader"),
        }
        Ok(())
    }

    /// The server has said what it is: which others there are, what it takes, whether it is about to stop.
    fn informed(&mut self, info: Box<ServerInfo>, base: &mut Base, now: Instant) {
        let left_out = base.servers.discovered(&info.connect_urls);
        if left_out > 0 {
            tracing::warn!(
                left_out,
                "a server told of more servers than are kept (`servers_max`)"
            );
        }
        base.writer.set_limits(write_limits(&base.config, &info));
        if info.ldm {
            let stay = base.config.limits.lame_duck_stay;
            self.leaves.get_or_insert(now + stay);
        }
        self.info = Arc::from(info);
    }

    /// Has it leave at once, if it is going to.
    #[cfg(test)]
    pub(crate) fn hurry(&mut self, now: Instant) {
        self.leaves = self.leaves.map(|at| at.min(now));
    }

    /// When there is next something to do.
    pub(crate) fn due(&self) -> Instant {
        let alive = self.alive.due();
        self.leaves.map_or(alive, |leaves| leaves.min(alive))
    }

    /// Keeps it alive, or ends it.
    #[cold]
    pub(crate) fn keep(&mut self, base: &mut Base, now: Instant) -> Result<(), ConnectionFault> {
        match self.alive.check(now) {
            Verdict::Fine => {}
            Verdict::Ping => {
                self.ping(&mut base.writer, now);
                self.write(&mut base.writer, now)?;
            }
            Verdict::Lost(stale) => return Err(ConnectionFault::Stale(stale)),
        }
        if self.leaves.is_some_and(|at| at <= now) {
            // Where there is no other, the server ends it when it stops.
            self.leaves = None;
            if base.servers.has_other(now) {
                self.write(&mut base.writer, now)?;
                return Err(ConnectionFault::Left);
            }
        }
        Ok(())
    }

    /// Writes what is gathered, as far as the socket takes it.
    pub(crate) fn write(
        &mut self,
        writer: &mut Writer,
        now: Instant,
    ) -> Result<(), ConnectionFault> {
        if writer.is_empty() && !self.socket.holds_back() {
            return Ok(());
        }
        let sent = self.socket.write(writer.bytes());
        let sent = sent.map_err(|error| socket_fault(LIVE, error))?;
        writer.consume(sent);
        let left = !writer.is_empty() || self.socket.holds_back();
        self.alive.wrote(sent > 0, left, now);
        Ok(())
    }
}
