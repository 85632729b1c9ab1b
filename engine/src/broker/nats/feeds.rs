//! What guests subscribe to and ask within a call: wished for through a port by the guest's side, done by the transport on the same
//! thread, before its turn ends.
//!
//! Owns the list between the two. Bounded by `subscriptions_max` and `requests_max`.

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::task::Waker;

use crossbeam_channel::Receiver;
use parking_lot::Mutex;

use super::status::Status;
use crate::broker::memory::replies::Answers;
use crate::broker::memory::subscription::{Overflow, Queue};
use crate::dispatch::State;
use crate::error::Refusal;
use crate::message::{HandlerId, Message};
use crate::port::{Feed, Port, Replies, Room};
use crate::subject::check_listened;

/// Something that guests ask of their shard's connection.
#[derive(Debug)]
pub(crate) enum Wish {
    /// To hear this pattern.
    Subscribe(String, Arc<Queue>),
    /// To hear it no more.
    Unsubscribe(u64),
    /// To ask.
    Request(Question),
    /// To hear replies to that no more.
    Forget(u64),
}

/// A request of a guest.
#[derive(Debug)]
pub(crate) struct Question {
    /// Names it in its reply subject.
    pub(crate) token: u64,
    pub(crate) from: HandlerId,
    pub(crate) message: Message,
    pub(crate) answers: Arc<Answers>,
}

/// The wishes of one shard's guests, and how many of them are granted. Locked by the shard's own thread alone.
#[derive(Debug, Default)]
pub(crate) struct Wishes {
    open: usize,
    next: u64,
    /// Requests that wait, and made so far.
    requests: usize,
    asked: u64,
    /// Makes tokens of numbers: random, and its own.
    keys: RandomState,
    waiting: Vec<Wish>,
}

impl Wishes {
    /// Takes what was wished for since the last time.
    pub(crate) fn take(&mut self) -> Vec<Wish> {
        std::mem::take(&mut self.waiting)
    }

    /// Whether anything was wished for.
    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }
}

/// The servers as the guests of one shard see them.
pub(crate) struct NatsPort {
    pub(crate) wishes: Arc<Mutex<Wishes>>,
    pub(crate) state: Arc<State>,
    pub(crate) messages_max: usize,
    pub(crate) subscriptions_max: usize,
    pub(crate) requests_max: usize,
    pub(crate) status: Arc<Status>,
}

impl Port for NatsPort {
    /// Always: a guest that is refused fails its call, and a message is given up on after a few of those, though all that is
    /// wrong may be a server that is gone for a second. What can't leave when the call is over is nobody's attempt.
    /// Always: while there is no connection, what a call has held is not sent, and its messages are handled again.
    fn admits(&self, _: &str) -> Result<(), Refusal> {
        Ok(())
    }

    fn subscribe(&self, pattern: &str, waker: Waker) -> Result<Box<dyn Feed>, Refusal> {
        check_listened(pattern)?;
        let mut wishes = self.wishes.lock();
        if wishes.open >= self.subscriptions_max {
            return Err(Refusal::Full(
                "there are as many subscriptions as there may be",
            ));
        }
        wishes.open += 1;
        wishes.next += 1;
        let state = Arc::clone(&self.state);
        let (queue, receiver) = Queue::new(wishes.next, self.messages_max, Overflow::Drop, state);
        queue.set_waker(waker.clone());
        let wish = Wish::Subscribe(pattern.to_owned(), Arc::clone(&queue));
        wishes.waiting.push(wish);
        let wishes = Arc::clone(&self.wishes);
        Ok(Box::new(NatsFeed {
            queue,
            receiver,
            wishes,
            waker,
        }))
    }

    /// A request is not held back like a send: while there is no connection it is refused at once.
    fn request(
        &self,
        from: HandlerId,
        message: &Message,
        room: Room,
        waker: Waker,
    ) -> Result<Box<dyn Replies>, Refusal> {
        if !self.status.is_connected() {
            return Err(Refusal::Disconnected);
        }
        let mut wishes = self.wishes.lock();
        if wishes.requests >= self.requests_max {
            return Err(Refusal::Full("too many requests wait for their reply"));
        }
        wishes.requests += 1;
        wishes.asked += 1;
        let token = wishes.keys.hash_one(wishes.asked);
        let answers = Answers::new(room, waker);
        wishes.waiting.push(Wish::Request(Question {
            from,
            token,
            message: message.clone(),
            answers: Arc::clone(&answers),
        }));
        Ok(Box::new(NatsReplies {
            token,
            answers,
            wishes: Arc::clone(&self.wishes),
        }))
    }
}

/// Replies to a guest's request, for as long as it waits.
struct NatsReplies {
    token: u64,
    answers: Arc<Answers>,
    wishes: Arc<Mutex<Wishes>>,
}

impl Replies for NatsReplies {
    fn next(&mut self) -> Option<Result<Message, Refusal>> {
        self.answers.next()
    }
}

impl Drop for NatsReplies {
    fn drop(&mut self) {
        let mut wishes = self.wishes.lock();
        wishes.requests -= 1;
        wishes.waiting.push(Wish::Forget(self.token));
    }
}

/// A guest's ephemeral subscription.
struct NatsFeed {
    queue: Arc<Queue>,
    receiver: Receiver<Message>,
    wishes: Arc<Mutex<Wishes>>,
    waker: Waker,
}

impl Feed for NatsFeed {
    fn next(&mut self) -> Option<Message> {
        let message = self.receiver.try_recv().ok();
        if message.is_none() {
            self.queue.set_waker(self.waker.clone());
            return self.receiver.try_recv().ok();
        }
        message
    }
}

impl Drop for NatsFeed {
    fn drop(&mut self) {
        let mut wishes = self.wishes.lock();
        wishes.open -= 1;
        wishes.waiting.push(Wish::Unsubscribe(self.queue.id));
    }
}
