//! From a connected socket to a live connection: INFO, TLS where it is asked for, CONNECT and PING, PONG.
//!
//! Owns the order of these, and what may come between. Handed everything else: the socket, the buffers, who the connection is.

use super::auth::Auth;
use super::intake::Intake;
use super::refusal::ServerRefusal;
use super::settings::{ConnectionConfig, ConnectionFault, io_fault};
use super::socket::{Got, Socket, SocketError};
use super::tls::TlsError;
use super::url::ServerUrl;
use super::wire::info::{Connect, ServerInfo};
use super::wire::parse::Op;
use super::wire::write::{WriteLimits, Writer};

/// Most that a server may send before it is live, in bytes. Default 256 KiB: a few INFOs of the largest size. One over is a fault,
/// so that nobody is kept busy by what never becomes a connection.
const BYTES_MAX: usize = 256 << 10;

/// How far it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// INFO is to come.
    Info,
    /// TLS is being begun; INFO has come, or comes in it.
    Tls,
    /// CONNECT and PING have been written, PONG is to come.
    Pong,
}

/// A connection that is being made.
#[derive(Debug)]
pub(crate) struct Greeting {
    auth: Auth,
    stage: Stage,
    info: Option<Box<ServerInfo>>,
    /// Bytes that have come.
    bytes: usize,
}

/// What it works with.
pub(crate) struct Means<'a> {
    /// Connected.
    pub(crate) socket: &'a mut Socket,
    /// Empty at the beginning.
    pub(crate) intake: &'a mut Intake,
    /// Empty at the beginning.
    pub(crate) writer: &'a mut Writer,
    /// What the connection is told.
    pub(crate) config: &'a ConnectionConfig,
    /// Where it is made to.
    pub(crate) url: &'a ServerUrl,
}

impl Greeting {
    /// Begins, as somebody; with TLS before anything else, if `tls_first`.
    pub(crate) fn new(auth: Auth, tls_first: bool) -> Self {
        Self {
            auth,
            stage: if tls_first { Stage::Tls } else { Stage::Info },
            info: None,
            bytes: 0,
        }
    }

    /// Goes on as far as it can. What the server said of itself, once the connection is live.
    pub(crate) fn drive(
        &mut self,
        means: &mut Means<'_>,
    ) -> Result<Option<Box<ServerInfo>>, ConnectionFault> {
        loop {
            if self.stage == Stage::Tls {
                if !means.socket.is_tls() {
                    let name = means.url.certified_name();
                    means.socket.start_tls(&means.config.tls, name)?;
                }
                if !means.socket.shake_hands().map_err(|e| self.lost(e))? {
                    return Ok(None);
                }
                match self.info.is_some() {
                    true => self.connect(means)?,
                    false => self.stage = Stage::Info,
                }
            }
            self.send(means)?;
            if !means.intake.is_taken() || self.read(means)? {
                let live = self.take(means)?;
                if live.is_some() {
                    return Ok(live);
                }
            } else {
                return Ok(None);
            }
        }
    }

    /// Takes what has been read. What the server said of itself, once the connection is live.
    fn take(&mut self, means: &mut Means<'_>) -> Result<Option<Box<ServerInfo>>, ConnectionFault> {
        while self.stage != Stage::Tls
            && let Some(op) = means.intake.next()?
        {
            match (op, self.stage) {
                (Op::Info(info), Stage::Info) => self.informed(info, means)?,
                (Op::Info(info), _) => self.info = Some(info),
                (Op::Pong, Stage::Pong) => return Ok(self.info.take()),
                (Op::Ping, Stage::Pong) => {
                    let written = means.writer.pong();
                    written.map_err(|_| out_of_order("more PINGs than can be answered"))?;
                    self.send(means)?;
                }
                (Op::Ok, Stage::Pong) => {}
                (Op::Err(text), _) => {
                    return Err(ConnectionFault::Refused(ServerRefusal::read(&text)));
                }
                _ => return Err(out_of_order("something else than INFO and PONG")),
            }
        }
        Ok(None)
    }

    /// INFO has come: the next is TLS, if the URL or the server asks for it, or else CONNECT.
    fn informed(
        &mut self,
        info: Box<ServerInfo>,
        means: &mut Means<'_>,
    ) -> Result<(), ConnectionFault> {
        let offered = info.tls_required || info.tls_available;
        let wanted = info.tls_required || means.url.tls;
        self.info = Some(info);
        if means.socket.is_tls() || !wanted {
            return self.connect(means);
        }
        if !offered {
            return Err(TlsError::NotOffered.into());
        }
        // Whoever stands between could have put it there: it must not be taken for the server's.
        if !means.intake.is_empty() {
            return Err(out_of_order("more than INFO before TLS"));
        }
        self.stage = Stage::Tls;
        Ok(())
    }

    /// Writes CONNECT and PING.
    fn connect(&mut self, means: &mut Means<'_>) -> Result<(), ConnectionFault> {
        let info = self.info.as_deref().expect("INFO came before");
        let login = self.auth.login(info.nonce.as_deref())?;
        let connect = Connect {
            tls_required: means.socket.is_tls(),
            name: Some(means.config.name.clone()),
            user: login.user,
            pass: login.pass,
            auth_token: login.auth_token,
            nkey: login.nkey,
            jwt: login.jwt,
            sig: login.sig,
            ..Connect::default()
        };
        means.writer.set_limits(write_limits(means.config, info));
        let written = means.writer.connect(&connect);
        let written = written.and_then(|()| means.writer.ping());
        written.map_err(|_| out_of_order("no room for CONNECT: the write buffer is too small"))?;
        self.stage = Stage::Pong;
        Ok(())
    }

    /// Sends what has been written, as far as the socket takes it.
    fn send(&self, means: &mut Means<'_>) -> Result<(), ConnectionFault> {
        let sent = means.socket.write(means.writer.bytes());
        means.writer.consume(sent.map_err(|e| self.lost(e))?);
        Ok(())
    }

    /// Reads once. Whether anything came.
    fn read(&mut self, means: &mut Means<'_>) -> Result<bool, ConnectionFault> {
        match means.socket.read(means.intake.room()) {
            Ok(Got::Bytes { bytes, .. }) => {
                means.intake.came(bytes);
                self.bytes += bytes;
                if self.bytes > BYTES_MAX {
                    return Err(out_of_order("too much"));
                }
                Ok(bytes > 0)
            }
            Ok(Got::Closed) => Err(ConnectionFault::Closed(self.step())),
            Err(error) => Err(self.lost(error)),
        }
    }

    fn lost(&self, error: SocketError) -> ConnectionFault {
        socket_fault(self.step(), error)
    }

    /// What it is doing, for an error.
    pub(crate) fn step(&self) -> &'static str {
        match self.stage {
            Stage::Info => "waiting for its INFO",
            Stage::Tls => "beginning TLS",
            Stage::Pong => "waiting for its answer to CONNECT",
        }
    }
}

/// What may be written to a server that said this of itself.
pub(crate) fn write_limits(config: &ConnectionConfig, info: &ServerInfo) -> WriteLimits {
    let own = &config.limits.write;
    WriteLimits {
        payload_bytes_max: info.payload_bytes_max().unwrap_or(own.payload_bytes_max),
        headers: info.headers,
        ..*own
    }
}

/// A fault of a socket.
pub(crate) fn socket_fault(step: &'static str, error: SocketError) -> ConnectionFault {
    match error {
        SocketError::Io(error) => io_fault(step, &error),
        SocketError::Tls(error) => error.into(),
    }
}

fn out_of_order(what: &'static str) -> ConnectionFault {
    ConnectionFault::Io {
        step: "the handshake",
        detail: format!("the server sent {what}; is it a NATS server?"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::auth::Secret;
    use super::super::refusal::RefusalKind;
    use super::super::testing::{Client, INFO, Rig, Server, accept, config};
    use super::*;
    use std::net::TcpStream;

    /// A server that greets its first client by this script.
    fn server(script: impl FnOnce(Client<TcpStream>) + Send + 'static) -> Server {
        Server::run(move |listener| script(accept(listener)))
    }

    /// The fault that this script leads to.
    fn fault(script: impl FnOnce(Client<TcpStream>) + Send + 'static) -> ConnectionFault {
        let server = server(script);
        let mut rig = Rig::to(&server.url);
        let error = rig.fault();
        assert!(
            error
                .to_string()
                .starts_with(&format!("nats://{}: ", server.url))
        );
        drop(rig);
        server.join();
        error.fault
    }

    #[test]
    fn connect_says_what_is_documented() {
        let server = server(|mut client| {
            let connect = client.greet();
            for (field, value) in [
                ("verbose", false),
                ("pedantic", false),
                ("headers", true),
                ("no_responders", true),
                ("echo", true),
            ] {
                assert_eq!(connect[field], value, "{field}");
            }
            assert_eq!(
                (&connect["protocol"], &connect["name"]),
                (&1.into(), &"millpond".into())
            );
            assert!(connect.get("user").is_none() && connect.get("sig").is_none());
        });
        let mut rig = Rig::to(&server.url);
        rig.live();
        assert_eq!(rig.connection.info().expect("it is live").version, "2.15.1");
        server.join();
    }

    #[test]
    fn a_greeting_may_come_in_pieces_and_with_more_between() {
        let server = server(|mut client| {
            for byte in format!("INFO {INFO}\r\n").chars() {
                client.say(&byte.to_string());
            }
            client.connect();
            client.say("PING\r\n");
            client.expect("PONG");
            let later = INFO.replace("1048576", "7");
            client.say(&format!(
                "+OK\r\nINFO {later}\r\nPONG\r\nMSG a 1 2\r\nhi\r\n"
            ));
            client.end();
        });
        let mut rig = Rig::to(&server.url);
        rig.messages(1);
        assert_eq!(rig.connection.info().expect("it is live").max_payload, 7);
        assert_eq!(rig.connection.writer().limits().payload_bytes_max, 7);
        drop(rig);
        server.join();
    }

    #[test]
    fn credentials_of_the_url_go_before_those_of_the_configuration() {
        for (login, user) in [("", "of-config"), ("of-url:p@", "of-url")] {
            let server = server(move |mut client| assert_eq!(client.greet()["user"], user));
            let mut config = config(&format!("nats://{login}{}", server.url));
            config.auth = Auth::Password {
                user: "of-config".into(),
                password: Secret::new("hidden"),
            };
            Rig::with(config).live();
            server.join();
        }
    }

    #[test]
    fn a_refusal_is_told_apart() {
        let refused = fault(|mut client| {
            client.say(&format!("INFO {INFO}\r\n"));
            client.connect();
            client.say("-ERR 'Authorization Violation'\r\n");
        });
        let ConnectionFault::Refused(refusal) = &refused else {
            panic!("{refused:?}");
        };
        assert_eq!(refusal.kind, RefusalKind::Authorization);
        assert!(refused.is_final());
    }

    #[test]
    fn what_is_no_server_is_found_out() {
        let said = |text: &'static str| {
            fault(move |mut client| {
                client.say(text);
                client.end();
            })
        };
        assert!(matches!(
            said("HTTP/1.1 400 Bad Request\r\n"),
            ConnectionFault::Wire(_)
        ));
        assert!(matches!(
            said("INFO {nonsense\r\n"),
            ConnectionFault::Wire(_)
        ));
        assert!(matches!(said("PONG\r\n"), ConnectionFault::Io { .. }));
        assert!(matches!(
            fault(drop),
            ConnectionFault::Closed("waiting for its INFO")
        ));
        let flood = fault(|mut client| {
            client.say(&format!("INFO {INFO}\r\n"));
            client.connect();
            for _ in 0..BYTES_MAX / 5 + 1 {
                if !client.try_say("+OK\r\n") {
                    return;
                }
            }
            client.end();
        });
        assert!(matches!(flood, ConnectionFault::Io { .. }), "{flood:?}");
    }

    #[test]
    fn one_that_stands_still_is_given_up_and_says_where() {
        type Script = fn(&mut Client<TcpStream>);
        let silent: Script = |_| {};
        let halfway: Script = |client| {
            client.say(&format!("INFO {INFO}\r\n"));
            client.connect();
        };
        for (script, wanted) in [(silent, "INFO"), (halfway, "CONNECT")] {
            let server = server(move |mut client| {
                script(&mut client);
                client.end();
            });
            let mut rig = Rig::to(&server.url);
            rig.until("the step", |rig| {
                rig.connection.stands().ends_with(wanted).then_some(())
            });
            rig.skip(std::time::Duration::from_millis(4_900));
            rig.turn();
            assert!(rig.changes.is_empty(), "{:?}", rig.changes);
            rig.skip(std::time::Duration::from_millis(100));
            let error = rig.fault().to_string();
            assert!(
                error.contains("not ready within 5s") && error.ends_with(wanted),
                "{error}"
            );
            drop(rig);
            server.join();
        }
    }

    #[test]
    fn tls_that_is_not_offered_is_no_connection() {
        let server = server(|mut client| {
            client.say(&format!("INFO {INFO}\r\n"));
            client.end();
        });
        let mut rig = Rig::to(&format!("tls://{}", server.url));
        assert_eq!(rig.fault().fault, TlsError::NotOffered.into());
        drop(rig);
        server.join();
    }

    #[test]
    fn nothing_that_came_before_tls_counts() {
        let fault = fault(|mut client| {
            client.say("INFO {\"tls_required\":true}\r\nPONG\r\n");
            client.end();
        });
        assert!(fault.to_string().contains("before TLS"), "{fault}");
    }
}
