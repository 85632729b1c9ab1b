//! From a server's URL to a connected socket: its name is looked up, its addresses are tried one after another.
//!
//! Never blocks: what does is the resolver's. Knows no NATS.

use std::net::SocketAddr;

use mio::{Registry, Token};

use crate::time::Instant;

use super::auth::Auth;
use super::resolver::{Answer, Lookup, Resolver};
use super::settings::ConnectionFault;
use super::socket::Socket;
use super::url::ServerUrl;

/// An attempt to reach a server.
pub(crate) struct Dial {
    /// Who the connection is going to be.
    auth: Auth,
    /// When the attempt is over.
    deadline: Instant,
    stage: Stage,
}

/// How far it is.
enum Stage {
    /// Its name is being looked up.
    Asking(Lookup),
    /// An address is being tried, and these are left; `until` it may take.
    Trying {
        socket: Socket,
        address: SocketAddr,
        rest: Vec<SocketAddr>,
        until: Instant,
    },
    /// It is over.
    Over,
}

/// Where sockets are registered.
#[derive(Debug)]
pub(crate) struct Place {
    /// The poller's.
    pub(crate) registry: Registry,
    /// The connection's.
    pub(crate) token: Token,
}

impl Dial {
    /// Begins; `auth` is of the configuration, and gives way to that of the URL.
    pub(crate) fn begin(
        url: &ServerUrl,
        auth: &Auth,
        resolver: &Resolver,
        place: &Place,
        now: Instant,
        deadline: Instant,
    ) -> Result<Self, ConnectionFault> {
        let auth = url.auth.as_ref().unwrap_or(auth).clone();
        let file = auth.file().map(ToOwned::to_owned);
        let mut dial = Self {
            auth,
            deadline,
            stage: Stage::Over,
        };
        match (url.address(), file) {
            (Some(address), None) => {
                dial.try_next(vec![(address, url.port).into()], place, now)?;
            }
            (_, file) => {
                let asked = resolver.ask(&url.host, url.port, file);
                let full = || ConnectionFault::Lookup("too many names are being looked up".into());
                dial.stage = Stage::Asking(asked.ok_or_else(full)?);
            }
        }
        Ok(dial)
    }

    /// Goes on. The socket, and who the connection is, once it is connected.
    pub(crate) fn drive(
        &mut self,
        place: &Place,
        now: Instant,
    ) -> Result<Option<(Socket, Auth)>, ConnectionFault> {
        if let Stage::Asking(lookup) = &self.stage {
            let Some(answer) = lookup.answer() else {
                return Ok(None);
            };
            let answer = answer.clone();
            self.answered(answer, place, now)?;
        }
        loop {
            let (socket, address, rest, until) =
                match std::mem::replace(&mut self.stage, Stage::Over) {
                    Stage::Trying {
                        socket,
                        address,
                        rest,
                        until,
                    } => (socket, address, rest, until),
                    stage @ (Stage::Asking(_) | Stage::Over) => {
                        self.stage = stage;
                        return Ok(None);
                    }
                };
            let fault = match socket.is_connected() {
                Ok(true) => return Ok(Some((socket, self.auth.clone()))),
                Ok(false) if now < until => {
                    self.stage = Stage::Trying {
                        socket,
                        address,
                        rest,
                        until,
                    };
                    return Ok(None);
                }
                Ok(false) => unreached(address, "it did not answer in time".into()),
                Err(error) => unreached(address, error.to_string()),
            };
            socket.close(&place.registry);
            if rest.is_empty() {
                return Err(fault);
            }
            self.try_next(rest, place, now)?;
        }
    }

    /// The name has been looked up, and the file of credentials read.
    fn answered(
        &mut self,
        answer: Answer,
        place: &Place,
        now: Instant,
    ) -> Result<(), ConnectionFault> {
        if let Some(read) = answer.credentials {
            self.auth = read?;
        }
        let mut addresses = answer.addresses.map_err(ConnectionFault::Lookup)?;
        addresses.reverse();
        self.try_next(addresses, place, now)
    }

    /// Tries the last of these addresses; those that can't even be tried are passed over. Each has an equal part of the time
    /// that is left.
    fn try_next(
        &mut self,
        mut rest: Vec<SocketAddr>,
        place: &Place,
        now: Instant,
    ) -> Result<(), ConnectionFault> {
        let mut fault = ConnectionFault::Lookup("it has no address".into());
        while let Some(address) = rest.pop() {
            match Socket::dial(address, &place.registry, place.token) {
                Ok(socket) => {
                    let parts = u32::try_from(rest.len())
                        .unwrap_or(u32::MAX)
                        .saturating_add(1);
                    let until = now + self.deadline.saturating_duration_since(now) / parts;
                    self.stage = Stage::Trying {
                        socket,
                        address,
                        rest,
                        until,
                    };
                    return Ok(());
                }
                Err(error) => fault = unreached(address, error.to_string()),
            }
        }
        Err(fault)
    }

    /// When it has something to do of its own accord.
    pub(crate) fn due(&self) -> Instant {
        match self.stage {
            Stage::Trying { until, .. } => until,
            Stage::Asking(_) | Stage::Over => self.deadline,
        }
    }

    /// Whether it waits for something outside.
    pub(crate) fn is_quiet(&self) -> bool {
        match &self.stage {
            Stage::Asking(lookup) => lookup.answer().is_none(),
            Stage::Trying { .. } | Stage::Over => true,
        }
    }

    /// What it is doing, for an error.
    pub(crate) fn step(&self) -> &'static str {
        match self.stage {
            Stage::Asking(_) => "looking up its name",
            Stage::Trying { .. } | Stage::Over => CONNECTING,
        }
    }

    /// Gives it up.
    pub(crate) fn abandon(self, place: &Place) {
        if let Stage::Trying { socket, .. } = self.stage {
            socket.close(&place.registry);
        }
    }
}

const CONNECTING: &str = "connecting";

/// An address that could not be reached.
fn unreached(address: SocketAddr, detail: String) -> ConnectionFault {
    ConnectionFault::Io {
        step: CONNECTING,
        detail: format!("{address}: {detail}"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::resolver::Resolver;
    use super::*;
    use crate::port::Unpark;
    use std::net::TcpListener;
    use std::sync::Arc;
    use std::time::Duration;

    const START: Instant = Instant::after_start(Duration::ZERO);

    struct Nobody;

    impl Unpark for Nobody {
        fn unpark(&self) {}
    }

    /// A dial with `time` to go, and where it happens.
    fn dial(host: &str, auth: &Auth, time: Duration) -> (Dial, Place, mio::Poll) {
        let poll = mio::Poll::new().unwrap();
        let place = Place {
            registry: poll.registry().try_clone().unwrap(),
            token: Token(1),
        };
        let resolver = Resolver::start(Arc::new(Nobody)).unwrap();
        let url = ServerUrl {
            host: host.to_owned(),
            ..ServerUrl::parse("any:1").unwrap()
        };
        let dial = Dial::begin(&url, auth, &resolver, &place, START, START + time);
        (dial.unwrap(), place, poll)
    }

    /// Drives it until it is over, at a time that stands still.
    fn over(dial: &mut Dial, place: &Place) -> Result<Auth, ConnectionFault> {
        loop {
            match dial.drive(place, START) {
                Ok(None) => std::thread::yield_now(),
                Ok(Some((_, auth))) => return Ok(auth),
                Err(fault) => return Err(fault),
            }
        }
    }

    #[test]
    fn addresses_are_tried_one_after_another() {
        let gone = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap();
        let there = TcpListener::bind("127.0.0.1:0").unwrap();
        let at = there.local_addr().unwrap();
        let (mut dial, place, _poll) = dial("127.0.0.1", &Auth::Nobody, Duration::from_secs(6));
        dial.try_next(vec![at, gone, gone], &place, START).unwrap();
        // A third of the time for the first of three.
        assert_eq!(dial.due(), START + Duration::from_secs(2));
        assert_eq!(over(&mut dial, &place), Ok(Auth::Nobody));
        dial.try_next(vec![gone], &place, START).unwrap();
        let fault = over(&mut dial, &place).unwrap_err().to_string();
        assert!(fault.contains(&gone.to_string()), "{fault}");
    }

    #[test]
    fn credentials_and_names_are_asked_for() {
        let file = Auth::CredentialsFile("/nowhere/user.creds".into());
        let (mut missing, place, _poll) = dial("127.0.0.1", &file, Duration::from_secs(5));
        assert!(matches!(
            over(&mut missing, &place),
            Err(ConnectionFault::Auth(_))
        ));
        let (mut unknown, place, _poll) =
            dial("not a host name", &Auth::Nobody, Duration::from_secs(5));
        assert!(matches!(
            over(&mut unknown, &place),
            Err(ConnectionFault::Lookup(_))
        ));
    }
}
