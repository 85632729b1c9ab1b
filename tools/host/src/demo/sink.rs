//! The sink: notes the number of every message that comes out.

use std::convert::Infallible;
use std::thread::JoinHandle;

use millpond::{Engine, Message, Overflow};

use super::bits::Bits;
use crate::tap::{Drained, Taker, take_all};

/// The subject that the component sends to.
const SUBJECT: &str = "echo.out";

/// What came out.
#[derive(Debug)]
pub(super) struct Came {
    /// The numbers of the messages.
    pub(super) numbers: Bits,
    /// Messages with a number that had come before.
    pub(super) twice: u64,
    /// Messages without a number that was sent.
    pub(super) unnumbered: u64,
}

impl Taker for Came {
    type Error = Infallible;

    fn take(&mut self, message: Message) -> Result<(), Infallible> {
        let number = message.payload().first_chunk().copied();
        match number.and_then(|bytes| self.numbers.add(u64::from_le_bytes(bytes))) {
            Some(true) => {}
            Some(false) => self.twice += 1,
            None => self.unnumbered += 1,
        }
        Ok(())
    }

    fn idle(&mut self) -> Result<(), Infallible> {
        Ok(())
    }
}

/// The thread that takes what comes out.
#[derive(Debug)]
pub(super) struct Sink {
    thread: JoinHandle<Came>,
    drained: Drained,
}

impl Sink {
    /// Starts to take messages, whose numbers are below `messages`.
    pub(super) fn start(engine: &Engine, messages: u64) -> anyhow::Result<Self> {
        let tap = engine.subscribe(SUBJECT, Overflow::Wait)?;
        let drained = Drained::default();
        let until = drained.clone();
        let thread = std::thread::Builder::new()
            .name("millpond-sink".into())
            .spawn(move || {
                let mut came = Came {
                    numbers: Bits::new(messages),
                    twice: 0,
                    unnumbered: 0,
                };
                let Ok(()) = take_all(&tap, &until, &mut came);
                came
            })?;
        Ok(Self { thread, drained })
    }

    /// Takes the last messages of an engine that is drained.
    pub(super) fn finish(self) -> anyhow::Result<Came> {
        self.drained.set();
        let came = self.thread.join();
        came.map_err(|_| anyhow::anyhow!("the thread that counts what comes out has panicked"))
    }
}
