//! The input: publishes each line, no faster than the engine takes them, and says which can't be used.

use std::collections::HashSet;
use std::io::BufRead;
use std::time::Duration;

use anyhow::Context;
use millpond::{Engine, Message, Refusal};

use super::lines::{Read1, message, read_line, too_long};
use super::own::Own;

/// The first wait for room; it doubles with each.
const WAIT_FIRST: Duration = Duration::from_micros(50);
/// The longest such wait.
const WAIT_MAX: Duration = Duration::from_millis(2);
/// Most subjects that are remembered as reported.
const SUBJECTS_MAX: usize = 1_000;

/// What was read.
#[derive(Debug, Default)]
pub(super) struct Published {
    /// Lines, all of them.
    pub(super) lines: u64,
    /// Those that can't be used.
    pub(super) malformed: u64,
}

/// Publishes lines.
pub(super) struct Input<'a> {
    engine: &'a Engine,
    own: &'a Own,
    escaped: bool,
    unheard: HashSet<String>,
    published: Published,
}

impl<'a> Input<'a> {
    /// Publishes to this engine, and notes what in `own`.
    pub(super) fn new(engine: &'a Engine, own: &'a Own, escaped: bool) -> Self {
        Self {
            engine,
            own,
            escaped,
            unheard: HashSet::new(),
            published: Published::default(),
        }
    }

    /// Publishes every line, up to the end.
    ///
    /// # Errors
    /// The input can't be read, or the engine has failed.
    pub(super) fn publish_all(mut self, mut input: impl BufRead) -> anyhow::Result<Published> {
        let mut line = Vec::new();
        loop {
            let read = read_line(&mut input, &mut line).context("standard input can't be read")?;
            let made = match read {
                Read1::End => return Ok(self.published),
                Read1::TooLong => Err(too_long()),
                Read1::Line => message(&line, self.escaped),
            };
            self.published.lines += 1;
            match made {
                Ok(message) => self.publish(message)?,
                Err(why) => {
                    self.published.malformed += 1;
                    eprintln!("line {}: left out: {why}", self.published.lines);
                }
            }
        }
    }

    /// Publishes a message once there is room.
    fn publish(&mut self, mut message: Message) -> anyhow::Result<()> {
        self.own.add(&message);
        let kept = message.clone();
        let mut wait = WAIT_FIRST;
        let receivers = loop {
            match self.engine.publish(message) {
                Ok(receivers) => break receivers,
                Err(refused) if matches!(refused.reason, Refusal::Full(_)) => {
                    message = *refused.message;
                    std::thread::park_timeout(wait);
                    wait = (wait * 2).min(WAIT_MAX);
                }
                Err(refused) => return Err(refused.into()),
            }
        };
        // One is the tap of this program.
        if receivers <= 1 {
            self.report_unheard(kept.subject());
        }
        Ok(())
    }

    /// Says that nobody listens on a subject: once, as long as it can be remembered.
    fn report_unheard(&mut self, subject: &str) {
        if self.unheard.len() >= SUBJECTS_MAX || self.unheard.contains(subject) {
            return;
        }
        eprintln!(
            "line {}: nobody listens on {subject:?}; said once for each subject",
            self.published.lines
        );
        self.unheard.insert(subject.to_owned());
        if self.unheard.len() == SUBJECTS_MAX {
            eprintln!("nobody listens on {SUBJECTS_MAX} subjects; more are not named");
        }
    }
}
