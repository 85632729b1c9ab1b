//! A connected socket, plain or with TLS in it; and its two halves, of which the one that reads never holds up the one that writes.

use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use rustls::ClientConnection;

/// Bytes that are read at once of what TLS has encrypted: some of its records, which have 16 KiB at most.
const RECORDS_BYTES: usize = 64 << 10;

/// A socket while it is greeted, by one thread.
#[derive(Debug)]
pub(crate) struct Wire {
    stream: TcpStream,
    tls: Option<ClientConnection>,
}

impl Wire {
    /// A plain one.
    pub(crate) fn new(stream: TcpStream) -> Self {
        Self { stream, tls: None }
    }

    /// Begins TLS, and waits until both sides have agreed.
    ///
    /// # Errors
    /// They don't; a [`rustls::Error`] may be in it.
    pub(crate) fn secure(&mut self, mut session: ClientConnection) -> io::Result<()> {
        while session.is_handshaking() {
            session.complete_io(&mut self.stream)?;
        }
        self.tls = Some(session);
        Ok(())
    }

    /// Whether TLS is in it.
    pub(crate) fn is_secure(&self) -> bool {
        self.tls.is_some()
    }

    /// Reads some; 0 at the end.
    ///
    /// # Errors
    /// The socket's, or TLS's.
    pub(crate) fn read(&mut self, room: &mut [u8]) -> io::Result<usize> {
        match &mut self.tls {
            None => self.stream.read(room),
            Some(session) => rustls::Stream::new(session, &mut self.stream).read(room),
        }
    }

    /// Writes all.
    ///
    /// # Errors
    /// The socket's, or TLS's.
    pub(crate) fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        match &mut self.tls {
            None => self.stream.write_all(bytes),
            Some(session) => rustls::Stream::new(session, &mut self.stream).write_all(bytes),
        }
    }

    /// Its halves.
    ///
    /// # Errors
    /// The system refuses it.
    pub(crate) fn split(self) -> io::Result<(ReadHalf, WriteHalf)> {
        let session = self.tls.map(|session| Arc::new(Mutex::new(session)));
        let reads = ReadHalf {
            stream: self.stream.try_clone()?,
            tls: session.clone().map(|session| Decrypting {
                session,
                records: vec![0; RECORDS_BYTES],
                unread: (0, 0),
            }),
        };
        let writes = WriteHalf {
            stream: self.stream,
            tls: session.map(|session| Encrypting {
                session,
                records: Vec::new(),
            }),
        };
        Ok((reads, writes))
    }
}

/// What reads from a connection.
#[derive(Debug)]
pub(crate) struct ReadHalf {
    stream: TcpStream,
    tls: Option<Decrypting>,
}

#[derive(Debug)]
struct Decrypting {
    /// Locked for what has come, and not while more is waited for.
    session: Arc<Mutex<ClientConnection>>,
    records: Vec<u8>,
    /// Where what the session has not taken yet begins and ends in `records`.
    unread: (usize, usize),
}

impl ReadHalf {
    /// The socket, to end it.
    pub(crate) fn socket(&self) -> &TcpStream {
        &self.stream
    }

    /// Reads some; 0 at the end.
    ///
    /// # Errors
    /// The socket's, or TLS's.
    pub(crate) fn read(&mut self, room: &mut [u8]) -> io::Result<usize> {
        match &mut self.tls {
            None => self.stream.read(room),
            Some(tls) => tls.read(&mut self.stream, room),
        }
    }
}

impl Decrypting {
    fn read(&mut self, stream: &mut TcpStream, room: &mut [u8]) -> io::Result<usize> {
        loop {
            if let Some(bytes) = self.decrypt(room)? {
                return Ok(bytes);
            }
            let came = stream.read(&mut self.records)?;
            if came == 0 {
                return Ok(0);
            }
            self.unread = (0, came);
        }
    }

    /// What is in the bytes that have come: none if it is no whole record.
    fn decrypt(&mut self, room: &mut [u8]) -> io::Result<Option<usize>> {
        let mut session = self.session.lock();
        loop {
            match session.reader().read(room) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Ok(Some(0)),
                done => return done.map(Some),
            }
            let (from, to) = self.unread;
            if from == to {
                return Ok(None);
            }
            let taken = session.read_tls(&mut &self.records[from..to])?;
            self.unread.0 += taken;
            session
                .process_new_packets()
                .map_err(|error| io::Error::new(ErrorKind::InvalidData, error))?;
        }
    }
}

/// What writes to a connection.
#[derive(Debug)]
pub(crate) struct WriteHalf {
    stream: TcpStream,
    tls: Option<Encrypting>,
}

#[derive(Debug)]
struct Encrypting {
    session: Arc<Mutex<ClientConnection>>,
    records: Vec<u8>,
}

impl WriteHalf {
    /// The socket.
    pub(crate) fn socket(&self) -> &TcpStream {
        &self.stream
    }

    /// How long a write may take.
    ///
    /// # Errors
    /// The system refuses it.
    pub(crate) fn set_timeout(&self, time: Duration) -> io::Result<()> {
        self.stream.set_write_timeout(Some(time))
    }

    /// Writes all.
    ///
    /// # Errors
    /// The socket's, or TLS's.
    pub(crate) fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        match &mut self.tls {
            None => self.stream.write_all(bytes),
            Some(tls) => tls.write_all(&mut self.stream, bytes),
        }
    }
}

impl Encrypting {
    /// Encrypts as much at a time as the session holds, and writes that once the session is free again: while the socket takes nothing,
    /// what comes is read.
    fn write_all(&mut self, stream: &mut TcpStream, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            self.records.clear();
            let mut session = self.session.lock();
            let taken = session.writer().write(bytes)?;
            bytes = &bytes[taken..];
            while session.wants_write() {
                session.write_tls(&mut self.records)?;
            }
            drop(session);
            stream.write_all(&self.records)?;
        }
        Ok(())
    }
}

/// What TLS says is wrong, if an error is of it.
pub(crate) fn tls_error(error: &io::Error) -> Option<&rustls::Error> {
    error.get_ref()?.downcast_ref()
}
