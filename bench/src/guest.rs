//! The components that are measured, and the messages that they get.

use std::path::PathBuf;

use millpond::Message;
use wasmtime::Result;
use wasmtime::error::Context as _;

/// Bytes of a payload.
pub const PAYLOAD_BYTES: usize = 128;

/// A component from `guests/prebuilt`: of contract 1, revision 0.2.0-draft (February 2024), or of contract 3.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Guest {
    /// Counts its messages and asks nothing of its host.
    Counter,
    /// Sends each message back: one host call to connect and one to send, a message.
    Echo,
    /// Counts its messages, with contract 3.
    BatchCounter,
    /// Sends each message back, with contract 3: no host call at all.
    BatchEcho,
}

/// The one pair of metadata that every message has.
pub const HEADER: (&str, &str) = ("kind", "bench");

impl Guest {
    /// Those of contract 1.
    pub const ALL: [Self; 2] = [Self::Counter, Self::Echo];
    /// Those of contract 3.
    pub const BATCH: [Self; 2] = [Self::BatchCounter, Self::BatchEcho];

    /// Whether it is one of contract 3.
    #[must_use]
    pub fn is_batch(self) -> bool {
        Self::BATCH.contains(&self)
    }

    /// Its name, which is also the subject that it handles.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Echo => "echo",
            Self::BatchCounter => "batch-counter",
            Self::BatchEcho => "batch-echo",
        }
    }

    /// Its file.
    #[must_use]
    pub fn path(self) -> PathBuf {
        let prebuilt = concat!(env!("CARGO_MANIFEST_DIR"), "/../guests/prebuilt");
        PathBuf::from(prebuilt).join(format!("{}.wasm", self.name()))
    }

    /// Messages that it sends for each that it gets.
    #[must_use]
    pub fn sends(self) -> u64 {
        match self {
            Self::Counter | Self::BatchCounter => 0,
            Self::Echo | Self::BatchEcho => 1,
        }
    }

    /// Builds this many messages for it, each in memory of its own.
    ///
    /// # Errors
    /// None that could happen with these subjects.
    pub fn messages(self, count: usize) -> Result<Vec<Message>> {
        let payload = [b'x'; PAYLOAD_BYTES];
        let message = |_| {
            let builder = Message::builder(self.name()).header(HEADER.0, HEADER.1);
            builder.payload(&payload).context("building a message")
        };
        (0..count).map(message).collect()
    }
}
