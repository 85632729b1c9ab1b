//! A sink: a server that takes every message and keeps none, to see what the generator itself can do.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use memchr::memchr;

use super::parse::number;

const INFO: &[u8] = b"INFO {\"server_id\":\"SINK\",\"version\":\"sink\",\"proto\":1,\"headers\":true,\"max_payload\":67108864}\r\n";
/// Bytes read at once.
const READ_BYTES: usize = 256 << 10;
/// Connections at once. Default 64, as many as one load has; above it they are closed.
const CONNECTIONS_MAX: u64 = 64;

/// What a sink took.
#[derive(Debug, Default)]
pub(crate) struct Taken {
    /// Messages.
    pub(crate) messages: AtomicU64,
    /// Bytes of their payloads and headers.
    pub(crate) bytes: AtomicU64,
    /// Connections at present.
    connections: AtomicU64,
}

/// A sink that listens.
#[derive(Debug)]
pub(crate) struct Sink {
    listener: TcpListener,
    taken: Arc<Taken>,
}

impl Sink {
    /// Listens there.
    ///
    /// # Errors
    /// The address can't be listened on.
    pub(crate) fn listen(address: SocketAddr) -> io::Result<Self> {
        Ok(Self {
            listener: TcpListener::bind(address)?,
            taken: Arc::default(),
        })
    }

    /// Where it listens.
    ///
    /// # Errors
    /// The system can't say.
    pub(crate) fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// What it takes.
    pub(crate) fn taken(&self) -> Arc<Taken> {
        Arc::clone(&self.taken)
    }

    /// Takes connections while the process runs, each on a thread of its own.
    ///
    /// # Errors
    /// No more can be accepted, or the system refuses a thread.
    pub(crate) fn serve(&self) -> io::Result<()> {
        for stream in self.listener.incoming() {
            let (stream, taken) = (stream?, Arc::clone(&self.taken));
            if taken.connections.fetch_add(1, Relaxed) >= CONNECTIONS_MAX {
                taken.connections.fetch_sub(1, Relaxed);
                continue;
            }
            let thread = std::thread::Builder::new().name("sink".into());
            thread.spawn(move || {
                // A client that goes ends its connection; what it did wrong, it is told.
                if let Err(why) = swallow(&stream, &taken) {
                    let _ = (&stream).write_all(format!("-ERR '{why}'\r\n").as_bytes());
                }
                taken.connections.fetch_sub(1, Relaxed);
            })?;
        }
        Ok(())
    }
}

/// Takes what comes on one connection.
fn swallow(mut stream: &TcpStream, taken: &Taken) -> io::Result<()> {
    stream.set_nodelay(true)?;
    stream.write_all(INFO)?;
    let mut buffer = vec![0; READ_BYTES];
    // Bytes at the buffer's beginning that are the start of a line, and bytes of a payload that are still to come.
    let (mut kept, mut skip) = (0, 0);
    loop {
        let read = stream.read(&mut buffer[kept..])?;
        if read == 0 {
            return Ok(());
        }
        let end = kept + read;
        let mut begin = 0;
        let (mut messages, mut bytes) = (0, 0);
        loop {
            let skipped = skip.min(end - begin);
            begin += skipped;
            skip -= skipped;
            let Some(at) = memchr(b'\n', &buffer[begin..end]) else {
                break;
            };
            let line = &buffer[begin..begin + at.saturating_sub(1)];
            begin += at + 1;
            if line.starts_with(b"PUB ") || line.starts_with(b"HPUB ") {
                let last = memchr::memrchr(b' ', line).map_or(line, |space| &line[space + 1..]);
                let total =
                    number(last).ok_or_else(|| io::Error::other("a message has no size"))?;
                messages += 1;
                bytes += total;
                skip = total as usize + 2;
            } else if line == b"PING" {
                // Whoever asks is told once all before it is counted.
                taken
                    .messages
                    .fetch_add(std::mem::take(&mut messages), Relaxed);
                taken.bytes.fetch_add(std::mem::take(&mut bytes), Relaxed);
                stream.write_all(b"PONG\r\n")?;
            } else if !line.starts_with(b"CONNECT ")
                && line != b"PONG"
                && !line.starts_with(b"SUB ")
            {
                return Err(io::Error::other("unknown protocol operation"));
            }
        }
        taken.messages.fetch_add(messages, Relaxed);
        taken.bytes.fetch_add(bytes, Relaxed);
        kept = end - begin;
        if kept == buffer.len() {
            return Err(io::Error::other("a line does not end"));
        }
        buffer.copy_within(begin..end, 0);
    }
}
