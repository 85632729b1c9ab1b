//! How a connection is made: from one phase to the next, until it is live.

use std::sync::Arc;

use crate::time::Instant;

use super::super::dial::Dial;
use super::super::greeting::{Greeting, Means};
use super::super::live::Live;
use super::super::servers::Pick;
use super::super::settings::ConnectionFault;
use super::super::url::ServerUrl;
use super::super::wire::info::ServerInfo;
use super::{Change, Connection, Phase};

impl Connection {
    /// Makes the connection, as far as it goes now.
    #[cold]
    pub(super) fn make(&mut self, now: Instant) -> Result<(), ConnectionFault> {
        while self.step(now)? {}
        let under_way = matches!(self.phase, Phase::Dialling(_) | Phase::Greeting(..));
        match under_way && now >= self.deadline {
            false => Ok(()),
            true => Err(ConnectionFault::TimedOut {
                step: self.stands(),
                limit: self.base.config.limits.connect_wait_max,
            }),
        }
    }

    /// Goes from one phase to the next, if it can. Whether it did.
    fn step(&mut self, now: Instant) -> Result<bool, ConnectionFault> {
        match &mut self.phase {
            Phase::Waiting(until) if now < *until => Ok(false),
            Phase::Waiting(until) => match self.base.servers.pick(now) {
                Pick::Wait(at) => {
                    *until = at;
                    Ok(false)
                }
                Pick::Dial(url) => self.dial(url, now).map(|()| true),
            },
            Phase::Dialling(dial) => match dial.drive(&self.place, now)? {
                Some((socket, auth)) => {
                    let greeting = Greeting::new(auth, self.base.config.tls.handshake_first());
                    self.phase = Phase::Greeting(greeting, socket);
                    Ok(true)
                }
                None => Ok(false),
            },
            Phase::Greeting(greeting, socket) => {
                let mut means = Means {
                    socket,
                    intake: &mut self.intake,
                    writer: &mut self.base.writer,
                    config: &self.base.config,
                    url: &self.url,
                };
                match greeting.drive(&mut means)? {
                    Some(info) => self.go_live(info, now),
                    None => return Ok(false),
                }
                Ok(true)
            }
            Phase::Live(_) | Phase::Closed => Ok(false),
        }
    }

    fn dial(&mut self, url: ServerUrl, now: Instant) -> Result<(), ConnectionFault> {
        self.url = url;
        let config = &self.base.config;
        self.deadline = now + config.limits.connect_wait_max;
        let (place, deadline) = (&self.place, self.deadline);
        let dial = Dial::begin(
            &self.url,
            &config.auth,
            &self.resolver,
            place,
            now,
            deadline,
        )?;
        self.phase = Phase::Dialling(dial);
        Ok(())
    }

    fn go_live(&mut self, info: Box<ServerInfo>, now: Instant) {
        let phase = std::mem::replace(&mut self.phase, Phase::Closed);
        let Phase::Greeting(_, socket) = phase else {
            unreachable!("a connection goes live when its greeting is over");
        };
        let live = Live::begin(socket, info, &mut self.base, now);
        tracing::debug!(
            server = %self.url,
            version = live.info.version,
            name = self.base.config.name,
            "connected"
        );
        self.session += 1;
        self.wake();
        self.base
            .changes
            .push_back(Change::Live(Arc::clone(&live.info)));
        self.phase = Phase::Live(live);
    }
}
