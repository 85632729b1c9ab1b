//! Receiving: a thread a connection reads, finds messages in place, and settles them.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::time::Duration;

use memchr::memmem;

use super::connection::{peer, refusal};
use super::outlet::Half;
use super::parse::{Came, Said, next};
use super::wire::ReadHalf;
use crate::clock::Clock;
use crate::control::{Control, Wake};
use crate::core::receiver::Receiver;
use crate::exit::{Exit, Failed};

/// Bytes read at once.
const READ_BYTES: usize = 256 << 10;
/// How long a read waits, after which it is looked whether the run is over.
pub(crate) const LOOK: Duration = Duration::from_millis(20);
/// The subscription to replies and acknowledgements.
pub(crate) const INBOX: u64 = 1;
/// The subscription to what is observed.
pub(crate) const OBSERVED: u64 = 2;
/// Bytes of what a stream said, at most.
const REFUSAL_BYTES_MAX: usize = 256;

/// What comes to a connection's inbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Inbox {
    /// Replies to requests.
    Replies,
    /// Acknowledgements of a stream.
    Acks,
}

/// Reads one connection.
pub(crate) struct Reader {
    /// What reads from the connection.
    pub(crate) reads: ReadHalf,
    /// What was read of it already.
    pub(crate) unread: Vec<u8>,
    /// Its sending half.
    pub(crate) half: Arc<Half>,
    /// What its inbox is for, and who settles that.
    pub(crate) inbox: Option<(Inbox, Receiver)>,
    /// Who settles what is observed.
    pub(crate) observed: Option<Receiver>,
    /// Answers to PINGs of ours.
    pub(crate) pongs: Arc<AtomicU64>,
    /// The senders that wait for room.
    pub(crate) wakes: Arc<[Wake]>,
    /// The run's.
    pub(crate) control: Arc<Control>,
    /// The run's.
    pub(crate) clock: Clock,
}

/// What a reader ends with.
#[derive(Debug)]
pub(crate) struct Finished {
    /// Who settled the inbox.
    pub(crate) inbox: Option<(Inbox, Receiver)>,
    /// Who settled what was observed.
    pub(crate) observed: Option<Receiver>,
    /// What was said of the first message that was not taken.
    pub(crate) refusal: Option<String>,
}

impl Reader {
    /// Reads until the run is over, or the connection is.
    pub(crate) fn run(mut self) -> Finished {
        let mut refusal = None;
        if let Err(error) = self.read(&mut refusal)
            && !self.control.is_over()
        {
            self.control.lose(error, self.clock.ns());
        }
        Finished {
            inbox: self.inbox,
            observed: self.observed,
            refusal,
        }
    }

    fn read(&mut self, refusal: &mut Option<String>) -> anyhow::Result<()> {
        let peer = peer(self.reads.socket());
        let lost = |why: String| {
            Failed::error(
                Exit::Unreachable,
                format!("the connection to {peer} was lost: {why}"),
            )
        };
        let socket = self.reads.socket();
        socket
            .set_read_timeout(Some(LOOK))
            .map_err(|error| lost(error.to_string()))?;
        let mut buffer = std::mem::take(&mut self.unread);
        let mut end = buffer.len();
        buffer.resize(READ_BYTES.max(2 * end), 0);
        while !self.control.is_over() {
            let mut begin = 0;
            let now_ns = self.clock.ns();
            while let Some((said, used)) =
                next(&buffer[begin..end]).map_err(|why| lost(why.into()))?
            {
                self.take(&said, now_ns, refusal, &peer)?;
                begin += used;
            }
            if begin > 0 {
                self.wakes.iter().for_each(Wake::wake);
            }
            buffer.copy_within(begin..end, 0);
            end -= begin;
            if end == buffer.len() {
                buffer.resize(2 * end, 0);
            }
            match self.reads.read(&mut buffer[end..]) {
                Ok(0) => return Err(lost("the server has closed it".into())),
                Ok(bytes) => end += bytes,
                Err(error)
                    if matches!(
                        error.kind(),
                        io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
                    ) =>
                {
                    self.rest()
                }
                Err(error) => return Err(lost(error.to_string())),
            }
        }
        Ok(())
    }

    /// Nothing comes at the moment.
    fn rest(&mut self) {
        let inbox = self.inbox.as_mut().map(|(_, receiver)| receiver);
        inbox
            .into_iter()
            .chain(&mut self.observed)
            .for_each(Receiver::rest);
    }

    fn take(
        &mut self,
        said: &Said<'_>,
        now_ns: u64,
        refused: &mut Option<String>,
        peer: &String,
    ) -> anyhow::Result<()> {
        match said {
            Said::Message(came) => self.settle(came, now_ns, refused),
            Said::Ping => self.half.pong()?,
            Said::Pong => {
                self.pongs.fetch_add(1, SeqCst);
            }
            Said::Error(why) => {
                // Some of these end the connection and some don't; a load that is refused anything is not the load that was asked for.
                self.control.fail(refusal(peer, why), now_ns);
            }
            Said::Info(_) | Said::Ok => {}
        }
        Ok(())
    }

    fn settle(&mut self, came: &Came<'_>, now_ns: u64, refused: &mut Option<String>) {
        if came.subscription == OBSERVED {
            if let Some(receiver) = &mut self.observed {
                receiver.observe(now_ns, came.stamp(), came.payload.len());
            }
            return;
        }
        let Some((inbox, receiver)) = &mut self.inbox else {
            return;
        };
        let Some(sequence) = came.last_number() else {
            receiver.strange();
            return;
        };
        match (refusal_of(*inbox, came), *inbox) {
            (Some(why), _) => {
                refused.get_or_insert(why);
                receiver.refused(sequence);
            }
            (None, Inbox::Replies) => {
                receiver.reply(now_ns, sequence, came.stamp(), came.payload.len())
            }
            (None, Inbox::Acks) => receiver.acknowledged(now_ns, sequence),
        }
    }
}

/// Why a message was not taken, if it was not.
fn refusal_of(inbox: Inbox, came: &Came<'_>) -> Option<String> {
    let nobody = match inbox {
        Inbox::Replies => "nobody answers requests on this subject",
        Inbox::Acks => "no stream stores this subject",
    };
    if came.status() == Some(503) && came.payload.is_empty() {
        return Some(nobody.to_owned());
    }
    let refused = inbox == Inbox::Acks && memmem::find(came.payload, b"\"error\"").is_some();
    refused.then(|| {
        let said = &came.payload[..came.payload.len().min(REFUSAL_BYTES_MAX)];
        format!("a stream says {}", String::from_utf8_lossy(said))
    })
}
