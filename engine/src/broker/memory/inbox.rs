//! A shard's inbox: one bounded channel, in which messages lie one by one or in runs.
//!
//! Owns the count of both: a run takes one place of the channel, and counts as many messages as it has. Knows no bound but its own.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use crossbeam_channel::{Receiver, Sender, TrySendError};

use super::{Delivery, Handlers, Padded};
use crate::message::Message;

/// What comes out of an inbox.
#[derive(Debug)]
pub(crate) enum Post {
    /// A message.
    One(Delivery),
    /// Several with the same handlers, in order; at least one.
    Run(Vec<Message>, Handlers),
}

/// Where publishers put messages.
pub(super) struct Inbox {
    places: Sender<Post>,
    /// Messages in runs, but for one of each run, whose place counts.
    beyond: Arc<Padded>,
    messages_max: u64,
}

/// Where the shard takes them out.
pub(crate) struct Outlet {
    places: Receiver<Post>,
    beyond: Arc<Padded>,
}

/// An inbox of so many messages: both its ends.
pub(super) fn inbox(messages_max: usize) -> (Inbox, Outlet) {
    let (sender, receiver) = crossbeam_channel::bounded(messages_max);
    let beyond = Arc::<Padded>::default();
    let outlet = Outlet {
        places: receiver,
        beyond: Arc::clone(&beyond),
    };
    let inbox = Inbox {
        places: sender,
        beyond,
        messages_max: messages_max as u64,
    };
    (inbox, outlet)
}

impl Inbox {
    /// Puts a message in; gives it back if there is no room, or nobody to take it out.
    pub(super) fn put(&self, delivery: Delivery) -> Result<(), Delivery> {
        let beyond = self.beyond.0.load(Ordering::Relaxed);
        if beyond > 0 && self.places.len() as u64 + beyond >= self.messages_max {
            return Err(delivery);
        }
        let Err(TrySendError::Full(back) | TrySendError::Disconnected(back)) =
            self.places.try_send(Post::One(delivery))
        else {
            return Ok(());
        };
        match back {
            Post::One(delivery) => Err(delivery),
            Post::Run(..) => unreachable!("what was put in comes back"),
        }
    }

    /// How many messages there is room for.
    pub(super) fn room(&self) -> usize {
        let taken = self.places.len() as u64 + self.beyond.0.load(Ordering::Relaxed);
        self.messages_max.saturating_sub(taken) as usize
    }

    /// Puts a run in, as a whole; gives it back if there is no room for it, or nobody to take it out.
    pub(super) fn put_run(
        &self,
        messages: Vec<Message>,
        handlers: Handlers,
    ) -> Result<(), Vec<Message>> {
        assert!(!messages.is_empty(), "a run has messages");
        let more = messages.len() as u64 - 1;
        // Taken before it is looked at, so that of two runs which race for the same room at most one gets it.
        let before = self.beyond.0.fetch_add(more, Ordering::SeqCst);
        let taken = self.places.len() as u64 + before;
        let sent = match taken + more < self.messages_max {
            true => self.places.try_send(Post::Run(messages, handlers)),
            false => Err(TrySendError::Full(Post::Run(messages, handlers))),
        };
        let Err(TrySendError::Full(back) | TrySendError::Disconnected(back)) = sent else {
            return Ok(());
        };
        self.beyond.0.fetch_sub(more, Ordering::SeqCst);
        match back {
            Post::Run(messages, _) => Err(messages),
            Post::One(_) => unreachable!("what was put in comes back"),
        }
    }
}

impl Outlet {
    /// Takes what came first.
    #[inline]
    pub(super) fn take(&self) -> Option<Post> {
        let post = self.places.try_recv().ok()?;
        if let Post::Run(messages, _) = &post {
            let more = messages.len() as u64 - 1;
            self.beyond.0.fetch_sub(more, Ordering::SeqCst);
        }
        Some(post)
    }

    /// Whether nothing is in it.
    pub(super) fn is_empty(&self) -> bool {
        self.places.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::HandlerId;

    const ONE: Handlers = Handlers::One(HandlerId(0));

    fn message() -> Message {
        Message::new("a", b"").unwrap()
    }

    fn one() -> Delivery {
        Delivery {
            message: message(),
            handlers: ONE,
        }
    }

    fn run(of: usize) -> Vec<Message> {
        vec![message(); of]
    }

    #[test]
    fn runs_count_by_their_messages_and_leave_room_when_they_are_taken() {
        let (inbox, outlet) = inbox(10);
        inbox.put(one()).unwrap();
        assert_eq!(inbox.room(), 9);
        assert_eq!(inbox.put_run(run(10), ONE).unwrap_err().len(), 10);
        inbox.put_run(run(8), ONE).unwrap();
        assert_eq!(inbox.room(), 1);
        assert!(inbox.put_run(run(2), ONE).is_err());
        inbox.put(one()).unwrap();
        assert_eq!(inbox.room(), 0);
        assert!(inbox.put(one()).is_err());
        assert!(inbox.put_run(run(1), ONE).is_err());
        assert!(matches!(outlet.take(), Some(Post::One(_))));
        assert_eq!(inbox.room(), 1);
        assert!(matches!(outlet.take(), Some(Post::Run(run, _)) if run.len() == 8));
        assert_eq!(inbox.room(), 9);
        inbox.put_run(run(9), ONE).unwrap();
        assert_eq!(inbox.room(), 0);
    }

    #[test]
    fn an_inbox_that_nobody_empties_gives_back_what_it_is_given() {
        let (inbox, outlet) = inbox(10);
        drop(outlet);
        assert!(inbox.put(one()).is_err());
        assert_eq!(inbox.put_run(run(3), ONE).unwrap_err().len(), 3);
        assert_eq!(inbox.room(), 10);
    }
}
