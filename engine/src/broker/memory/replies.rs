//! Replies to one request of a guest, from whoever hands them over to the call that waits.
//!
//! Owns what has come and is not taken, within the request's room. Knows neither where replies come from nor how long is waited.

use std::collections::VecDeque;
use std::sync::Arc;
use std::task::Waker;

use parking_lot::Mutex;

use crate::error::Refusal;
use crate::message::Message;
use crate::port::Room;

/// The replies to one request.
#[derive(Debug)]
pub(crate) struct Answers {
    waker: Waker,
    kept: Mutex<Kept>,
}

#[derive(Debug)]
struct Kept {
    messages: VecDeque<Message>,
    /// What is left of it.
    room: Room,
    ended: Option<Refusal>,
}

impl Answers {
    /// None has come; the waker is woken with each, and at the end.
    pub(crate) fn new(room: Room, waker: Waker) -> Arc<Self> {
        let kept = Mutex::new(Kept {
            messages: VecDeque::new(),
            room,
            ended: None,
        });
        Arc::new(Self { waker, kept })
    }

    /// A reply has come. Whether it was taken: there is no room for more than were expected.
    pub(crate) fn push(&self, mut message: Message) -> bool {
        message.detach();
        let mut kept = self.kept.lock();
        let room = &mut kept.room;
        if room.replies_max == 0 || room.bytes_max == 0 {
            return false;
        }
        room.replies_max -= 1;
        room.bytes_max = room.bytes_max.saturating_sub(message.bytes());
        kept.messages.push_back(message);
        drop(kept);
        self.waker.wake_by_ref();
        true
    }

    /// No more will come.
    pub(crate) fn end(&self, why: Refusal) {
        self.kept.lock().ended.get_or_insert(why);
        self.waker.wake_by_ref();
    }

    /// The next reply; after the last, why no more will come, if that is so.
    pub(crate) fn next(&self) -> Option<Result<Message, Refusal>> {
        let mut kept = self.kept.lock();
        match kept.messages.pop_front() {
            Some(message) => Some(Ok(message)),
            None => kept.ended.clone().map(Err),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(replies_max: usize, bytes_max: usize) -> usize {
        let room = Room {
            replies_max,
            bytes_max,
        };
        let answers = Answers::new(room, Waker::noop().clone());
        let reply = Message::new("r", b"123").unwrap();
        (0..10).filter(|_| answers.push(reply.clone())).count()
    }

    #[test]
    fn replies_at_their_number_and_their_bytes_and_one_over() {
        assert_eq!((taken(3, 1_000), taken(0, 1_000)), (3, 0));
        assert_eq!(
            (taken(10, 8), taken(10, 9)),
            (2, 3),
            "the one that reaches it is the last"
        );
    }
}
