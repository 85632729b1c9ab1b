//! A guest's request: sent at once, outside its call's outbox, and waited for until enough replies have come or its time is over, if it
//! has one.
//!
//! Owns what one request waits for, and the count of those that wait. Knows the broker only as a port.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use super::host::{CallError, Profile};
use super::wait::{Sleep, Wait};
use crate::error::Refusal;
use crate::limits::{REPLIES_BYTES_MAX, REPLIES_MAX};
use crate::message::Message;
use crate::port::{Replies, Room};

/// What a guest asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Asked {
    /// How long it waits. `None`: until the replies have come. The interface of contract 2 has it so, without end; here its call ends at
    /// its `wall_deadline`, as one that waits for anything else does. A shorter time of the host's own would end with an error a guest
    /// that said it has time.
    pub(crate) within: Option<Duration>,
    /// How many replies it waits for. `None`: with a time, all that come in it; without one a single reply, as the interface says.
    pub(crate) expected: Option<usize>,
}

impl Asked {
    /// One reply, within this time.
    pub(crate) fn one(within: Duration) -> Self {
        Self {
            within: Some(within),
            expected: Some(1),
        }
    }

    fn replies_max(self) -> Result<usize, CallError> {
        match (self.expected, self.within) {
            (Some(count), _) if count == 0 || count > REPLIES_MAX => Err(CallError::Refused(
                format!("{count} replies are expected; it may be 1 to {REPLIES_MAX}"),
            )),
            (Some(count), _) => Ok(count),
            (None, Some(_)) => Ok(REPLIES_MAX),
            (None, None) => Ok(1),
        }
    }
}

/// Ready with the replies that came, or with the reason why none did.
pub(crate) struct Request {
    replies: Box<dyn Replies>,
    came: Vec<Message>,
    bytes: usize,
    replies_max: usize,
    /// Its time, if it has one, and how long that was.
    until: Option<(Sleep, Duration)>,
    _open: Open,
}

impl Request {
    /// Sends it.
    pub(crate) fn open(
        message: &Message,
        asked: Asked,
        profile: &Profile,
        wait: &Arc<Wait>,
    ) -> Result<Self, CallError> {
        let replies_max = asked.replies_max()?;
        let open = Open::of(profile)?;
        let room = Room {
            replies_max,
            bytes_max: REPLIES_BYTES_MAX,
        };
        let waker = Waker::from(Arc::clone(wait));
        Ok(Self {
            replies: profile.port.request(profile.id, message, room, waker)?,
            came: Vec::new(),
            bytes: 0,
            replies_max,
            until: asked
                .within
                .map(|within| (wait.sleep(wait.now() + within), within)),
            _open: open,
        })
    }

    /// What it has come to, with this error if that is nothing.
    fn end(&mut self, error: CallError) -> Result<Vec<Message>, CallError> {
        match self.came.is_empty() {
            true => Err(error),
            false => Ok(std::mem::take(&mut self.came)),
        }
    }
}

impl Future for Request {
    type Output = Result<Vec<Message>, CallError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        while let Some(next) = this.replies.next() {
            match next {
                Ok(message) => {
                    this.bytes += message.bytes();
                    this.came.push(message);
                }
                Err(why) => return Poll::Ready(this.end(why.into())),
            }
            if this.came.len() >= this.replies_max || this.bytes >= REPLIES_BYTES_MAX {
                return Poll::Ready(Ok(std::mem::take(&mut this.came)));
            }
        }
        let Some((until, within)) = &mut this.until else {
            return Poll::Pending;
        };
        let timeout = CallError::Timeout(*within);
        Pin::new(until).poll(cx).map(|()| this.end(timeout))
    }
}

/// One of those that wait, of a handler on a shard.
struct Open(Arc<AtomicUsize>);

impl Open {
    /// One more, if there may be one.
    fn of(profile: &Profile) -> Result<Self, Refusal> {
        let open = Self(Arc::clone(&profile.open_requests));
        let before = open.0.fetch_add(1, Ordering::Relaxed);
        match before < profile.limits.open_requests_max {
            true => Ok(open),
            false => Err(Refusal::Full(
                "as many requests of this handler wait as may (`open_requests_max`)",
            )),
        }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replies_at_their_most_and_one_over_and_none_said() {
        let max = |expected, within: Option<u64>| {
            let within = within.map(Duration::from_millis);
            Asked { within, expected }.replies_max().ok()
        };
        assert_eq!(max(Some(REPLIES_MAX), None), Some(REPLIES_MAX));
        assert_eq!(
            (max(Some(REPLIES_MAX + 1), None), max(Some(0), None)),
            (None, None)
        );
        assert_eq!(
            (max(None, None), max(None, Some(1))),
            (Some(1), Some(REPLIES_MAX))
        );
    }
}
