//! What the rest of an engine sees of one shard's connection: whether it is ready, what went wrong, what was counted.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::Mutex;

use super::refusal::ServerRefusal;
use super::settings::{ConnectionError, ConnectionFault};
use crate::message::HandlerId;

/// Why a shard is not ready yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// It could not be connected; it goes on trying.
    Connection {
        /// Why not.
        error: ConnectionError,
        /// Whether every server that is known has refused it: none is left that may accept.
        all_refused: bool,
    },
    /// The server refused something that a handler needs, in these words.
    Refused(String),
}

impl Trouble {
    /// Whether trying again comes to the same end until somebody changes something.
    pub(crate) fn is_final(&self) -> bool {
        match self {
            Self::Connection { error, all_refused } => *all_refused && error.fault.is_final(),
            Self::Refused(_) => true,
        }
    }
}

/// One shard's connection as others see it. Written by the shard alone.
#[derive(Debug, Default)]
pub(crate) struct Status {
    ready: AtomicBool,
    drained: AtomicBool,
    connected: AtomicBool,
    connects: AtomicU64,
    refusals: AtomicU64,
    trouble: Mutex<Option<Trouble>>,
    /// A row a handler that was refused something, in the order of the first time.
    refused: Mutex<Vec<Refused>>,
}

/// What a server refused one handler.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refused {
    handler: HandlerId,
    /// Times.
    pub(crate) count: u64,
    /// The server's words, the last time: at most 1,024 bytes, as [`ServerRefusal`] has them.
    pub(crate) latest: String,
}

impl Status {
    /// It has been ready: connected, and all it needs is subscribed.
    pub(crate) fn is_ready(&self) -> bool {
        self.ready.load(Ordering::Acquire)
    }

    pub(super) fn set_ready(&self) {
        self.ready.store(true, Ordering::Release);
    }

    /// Nothing more comes, and all that was to be said is said.
    pub(crate) fn is_drained(&self) -> bool {
        self.drained.load(Ordering::Acquire)
    }

    pub(super) fn set_drained(&self, drained: bool) {
        self.drained.store(drained, Ordering::Release);
    }

    /// Whether it is connected at present.
    pub(crate) fn is_connected(&self) -> bool {
        self.connected.load(Ordering::Relaxed)
    }

    pub(super) fn set_connected(&self, connected: bool) {
        self.connected.store(connected, Ordering::Release);
        self.connects
            .fetch_add(u64::from(connected), Ordering::Relaxed);
    }

    /// Times that it was connected.
    pub(crate) fn connects(&self) -> u64 {
        self.connects.load(Ordering::Relaxed)
    }

    /// Things that the server refused, connections among them.
    pub(crate) fn refusals(&self) -> u64 {
        self.refusals.load(Ordering::Relaxed)
    }

    /// What went wrong last.
    pub(crate) fn trouble(&self) -> Option<Trouble> {
        self.trouble.lock().clone()
    }

    pub(super) fn set_trouble(&self, trouble: Trouble) {
        let refused = match &trouble {
            Trouble::Refused(_) => true,
            Trouble::Connection { error, .. } => matches!(error.fault, ConnectionFault::Refused(_)),
        };
        self.refusals
            .fetch_add(u64::from(refused), Ordering::Relaxed);
        *self.trouble.lock() = Some(trouble);
    }

    /// What this handler was refused, if it was anything.
    pub(crate) fn refused(&self, handler: HandlerId) -> Option<Refused> {
        let refused = self.refused.lock();
        refused.iter().find(|row| row.handler == handler).cloned()
    }

    pub(super) fn add_refused(&self, handler: HandlerId, refusal: &ServerRefusal) {
        let (mut refused, latest) = (self.refused.lock(), refusal.text.clone());
        match refused.iter_mut().find(|row| row.handler == handler) {
            Some(row) => (row.count, row.latest) = (row.count + 1, latest),
            None => refused.push(Refused {
                handler,
                count: 1,
                latest,
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::refusal::ServerRefusal;
    use super::*;

    fn refusal(text: &str) -> ServerRefusal {
        ServerRefusal::read(text)
    }

    #[test]
    fn every_err_of_a_server_is_counted_and_what_is_none_is_not() {
        let status = Status::default();
        let ended = |fault| {
            let server = "nats://a:4222".into();
            let error = ConnectionError { server, fault };
            status.set_trouble(Trouble::Connection {
                error,
                all_refused: false,
            });
            status.refusals()
        };
        let ends = [
            "'Maximum Payload Violation'",
            "'Authorization Violation'",
            "'User Authentication Expired'",
            "'Stale Connection'",
            "'Slow Consumer'",
            "'Maximum Connections Exceeded'",
        ];
        for (text, count) in ends.into_iter().zip(1..) {
            let refusal = refusal(text);
            assert!(refusal.ends(), "{text}");
            assert_eq!(ended(ConnectionFault::Refused(refusal)), count, "{text}");
        }
        assert_eq!(ended(ConnectionFault::Closed("it was live")), 6);
        status.set_trouble(Trouble::Refused("a subject".into()));
        assert_eq!(status.refusals(), 7);
    }

    #[test]
    fn each_handler_has_its_own_count_and_the_latest_words() {
        let status = Status::default();
        let [first, second] = [HandlerId(0), HandlerId(1)];
        status.add_refused(first, &refusal("'a'"));
        status.add_refused(second, &refusal("'b'"));
        status.add_refused(first, &refusal("'c'"));
        let told = |id| status.refused(id).map(|row| (row.count, row.latest));
        assert_eq!(told(first), Some((2, "c".into())));
        assert_eq!(told(second), Some((1, "b".into())));
        assert_eq!(told(HandlerId(2)), None);
    }
}
