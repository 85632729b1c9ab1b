//! A socket that never blocks: plain, or with TLS in it.
//!
//! Owns the bytes that TLS holds back. Knows no NATS and no clock; whether it is worth reading or writing is its user's to know.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr};

use mio::net::TcpStream;
use mio::{Interest, Registry, Token};
use rustls::ClientConnection;
use thiserror::Error;

use super::tls::{Tls, TlsError, explain};

/// Most bytes that TLS holds back, encrypted and not sent. Default 64 KiB: four records, and what one write of a busy socket takes.
const TLS_HELD_BYTES_MAX: usize = 64 << 10;

/// Why a socket is of no more use.
#[derive(Debug, Error)]
pub(crate) enum SocketError {
    /// The system says so.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// TLS says so.
    #[error(transparent)]
    Tls(#[from] TlsError),
}

/// What a read came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Got {
    /// This many bytes; `more` if there may be more at once.
    Bytes {
        /// How many.
        bytes: usize,
        /// Whether to read on.
        more: bool,
    },
    /// The peer has closed it.
    Closed,
}

/// A socket, registered with a poller for as long as it lives.
pub(crate) struct Socket {
    tcp: TcpStream,
    tls: Option<Box<Session>>,
}

/// TLS on a socket.
struct Session {
    tls: ClientConnection,
    /// The server's name, for errors.
    name: String,
}

impl Socket {
    /// Begins to connect. Writable, it is connected or has failed: [`Socket::is_connected`] says which.
    pub(crate) fn dial(at: SocketAddr, registry: &Registry, token: Token) -> io::Result<Self> {
        let mut tcp = TcpStream::connect(at)?;
        registry.register(&mut tcp, token, Interest::READABLE | Interest::WRITABLE)?;
        Ok(Self { tcp, tls: None })
    }

    /// Whether it is connected by now.
    pub(crate) fn is_connected(&self) -> io::Result<bool> {
        if let Some(error) = self.tcp.take_error()? {
            return Err(error);
        }
        match self.tcp.peer_addr() {
            Ok(_) => {
                // Writes are gathered here, so waiting for more to send gains nothing and costs latency.
                self.tcp.set_nodelay(true)?;
                Ok(true)
            }
            Err(e) if matches!(e.kind(), ErrorKind::NotConnected) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Begins TLS; [`Socket::shake_hands`] goes on with it.
    pub(crate) fn start_tls(&mut self, tls: &Tls, name: &str) -> Result<(), TlsError> {
        debug_assert!(self.tls.is_none(), "TLS begins once");
        let mut session = tls.session(name)?;
        session.set_buffer_limit(Some(TLS_HELD_BYTES_MAX));
        self.tls = Some(Box::new(Session {
            tls: session,
            name: name.to_owned(),
        }));
        Ok(())
    }

    /// Whether TLS has been begun.
    pub(crate) fn is_tls(&self) -> bool {
        self.tls.is_some()
    }

    /// Goes on with the handshake of TLS. Whether it is done; where there is no TLS, it is.
    pub(crate) fn shake_hands(&mut self) -> Result<bool, SocketError> {
        let Some(session) = &mut self.tls else {
            return Ok(true);
        };
        loop {
            session.send(&mut self.tcp)?;
            if !session.tls.is_handshaking() {
                return Ok(true);
            }
            match session.fetch(&mut self.tcp)? {
                Fetched::Some => {}
                Fetched::Nothing => return Ok(false),
                Fetched::End => return Err(io::Error::from(ErrorKind::UnexpectedEof).into()),
            }
        }
    }

    /// Reads into `room`, which is not empty.
    pub(crate) fn read(&mut self, room: &mut [u8]) -> Result<Got, SocketError> {
        debug_assert!(!room.is_empty(), "a read needs room");
        match &mut self.tls {
            None => read_plain(&mut self.tcp, room),
            Some(session) => session.read(&mut self.tcp, room),
        }
    }

    /// Writes as much of `bytes` as is taken; TLS may take bytes and hold them back.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> Result<usize, SocketError> {
        match &mut self.tls {
            None => Ok(attempt(|| self.tcp.write(bytes))?.unwrap_or(0)),
            Some(session) => session.write(&mut self.tcp, bytes),
        }
    }

    /// Whether TLS holds bytes back that are to be sent: a write of nothing sends them.
    pub(crate) fn holds_back(&self) -> bool {
        self.tls.as_ref().is_some_and(|s| s.tls.wants_write())
    }

    /// Tells the peer that nothing more comes, as far as that goes without waiting, and closes it.
    pub(crate) fn close(mut self, registry: &Registry) {
        if let Some(session) = &mut self.tls {
            session.tls.send_close_notify();
            // It is over; whether the peer hears of it in good form is its own matter.
            let _ = session.send(&mut self.tcp);
        }
        let _ = self.tcp.shutdown(Shutdown::Write);
        let _ = registry.deregister(&mut self.tcp);
    }
}

/// What came from the socket into TLS.
enum Fetched {
    Some,
    Nothing,
    End,
}

impl Session {
    /// Takes what has come, and says what TLS makes of it.
    fn fetch(&mut self, tcp: &mut TcpStream) -> Result<Fetched, SocketError> {
        match attempt(|| self.tls.read_tls(tcp))? {
            None => return Ok(Fetched::Nothing),
            Some(0) => return Ok(Fetched::End),
            Some(_) => {}
        }
        if let Err(error) = self.tls.process_new_packets() {
            // The alert that tells the peer why is worth one try.
            let _ = self.send(tcp);
            return Err(explain(&error, &self.name).into());
        }
        Ok(Fetched::Some)
    }

    /// Sends what it holds back, as far as the socket takes it.
    fn send(&mut self, tcp: &mut TcpStream) -> io::Result<()> {
        while self.tls.wants_write() && attempt(|| self.tls.write_tls(tcp))?.is_some() {}
        Ok(())
    }

    /// Fills `room` as far as what has come goes.
    fn read(&mut self, tcp: &mut TcpStream, room: &mut [u8]) -> Result<Got, SocketError> {
        let mut bytes = 0;
        let mut more = true;
        while bytes < room.len() {
            match self.tls.reader().read(&mut room[bytes..]) {
                Ok(0) if bytes == 0 => return Ok(Got::Closed),
                Ok(0) => break,
                Ok(read) => bytes += read,
                Err(e) if e.kind() == ErrorKind::WouldBlock => match self.fetch(tcp)? {
                    Fetched::Some => {}
                    Fetched::Nothing => {
                        more = false;
                        break;
                    }
                    Fetched::End if bytes == 0 => return Ok(Got::Closed),
                    Fetched::End => break,
                },
                Err(e) if e.kind() == ErrorKind::UnexpectedEof && bytes == 0 => {
                    return Ok(Got::Closed);
                }
                Err(e) if e.kind() == ErrorKind::UnexpectedEof => break,
                Err(error) => return Err(error.into()),
            }
        }
        Ok(Got::Bytes { bytes, more })
    }

    /// Encrypts and sends, by turns, until the socket takes no more.
    fn write(&mut self, tcp: &mut TcpStream, bytes: &[u8]) -> Result<usize, SocketError> {
        let mut written = 0;
        loop {
            written += self.tls.writer().write(&bytes[written..])?;
            self.send(tcp)?;
            if self.tls.wants_write() || written == bytes.len() {
                return Ok(written);
            }
        }
    }
}

/// Does it until nothing interrupts it; `None` if it would block.
fn attempt(mut act: impl FnMut() -> io::Result<usize>) -> io::Result<Option<usize>> {
    loop {
        match act() {
            Ok(bytes) => return Ok(Some(bytes)),
            Err(e) if e.kind() == ErrorKind::WouldBlock => return Ok(None),
            Err(e) if e.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// One read of a plain socket. Less than there was room for means that nothing is left: the poller tells when more comes.
fn read_plain(tcp: &mut TcpStream, room: &mut [u8]) -> Result<Got, SocketError> {
    Ok(match attempt(|| tcp.read(room))? {
        Some(0) => Got::Closed,
        Some(bytes) => Got::Bytes {
            bytes,
            more: bytes == room.len(),
        },
        None => Got::Bytes {
            bytes: 0,
            more: false,
        },
    })
}
