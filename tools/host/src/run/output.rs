//! The output: a line for each message that a guest sends.

use std::io::{self, Write};
use std::sync::Arc;

use millpond::Message;

use super::escapes::{escape, is_plain};
use super::own::Own;
use crate::tap::Taker;

/// Writes lines.
pub(super) struct Output<W> {
    out: W,
    own: Arc<Own>,
    escaped: bool,
    line: Vec<u8>,
}

impl<W: Write> Output<W> {
    /// Writes to `out` what is not in `own`.
    pub(super) fn new(out: W, own: Arc<Own>, escaped: bool) -> Self {
        Self {
            out,
            own,
            escaped,
            line: Vec::new(),
        }
    }
}

impl<W: Write> Taker for Output<W> {
    type Error = io::Error;

    fn take(&mut self, message: Message) -> io::Result<()> {
        if self.own.take(&message) {
            return Ok(());
        }
        self.line.clear();
        self.line.extend(message.subject().as_bytes());
        self.line.push(b' ');
        let payload = message.payload();
        if self.escaped || !is_plain(payload) {
            escape(payload, &mut self.line);
        } else {
            self.line.extend(payload);
        }
        self.line.push(b'\n');
        self.out.write_all(&self.line)
    }

    fn idle(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}
