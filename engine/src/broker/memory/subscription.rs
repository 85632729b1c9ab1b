//! Subscriptions: bounded queues of messages for embedders and for guests that wait.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use crossbeam_channel::{Receiver, SendTimeoutError, Sender, TrySendError};
use parking_lot::Mutex;

use super::Memory;
use crate::dispatch::State;
use crate::message::Message;
use crate::port::Feed;

/// How often who waits for room in a subscription looks whether the engine has ended.
const ROOM_LOOK: Duration = Duration::from_millis(20);

/// What a full subscription does with one more message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Overflow {
    /// Leaves it out and counts it.
    #[default]
    Drop,
    /// Makes whoever sends it wait until there is room: a shard that waits handles nothing meanwhile. For sinks that must have
    /// everything, such as a pipe.
    Wait,
}

/// The sending end of a subscription.
pub(crate) struct Queue {
    pub(crate) id: u64,
    sender: Sender<Message>,
    overflow: Overflow,
    state: Arc<State>,
    dropped: AtomicU64,
    /// Whether a waker is set: looked at on every message, where the lock is not.
    waits: AtomicBool,
    waker: Mutex<Option<Waker>>,
}

impl fmt::Debug for Queue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Queue")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

impl Queue {
    /// A queue with this many places; its receiving end.
    pub(crate) fn new(
        id: u64,
        messages_max: usize,
        overflow: Overflow,
        state: Arc<State>,
    ) -> (Arc<Self>, Receiver<Message>) {
        let (sender, receiver) = crossbeam_channel::bounded(messages_max);
        let queue = Self {
            id,
            sender,
            overflow,
            state,
            dropped: AtomicU64::new(0),
            waits: AtomicBool::new(false),
            waker: Mutex::new(None),
        };
        (Arc::new(queue), receiver)
    }

    /// Delivers a message, as the subscription's policy says if it is full. Whether it was taken.
    pub(crate) fn push(&self, message: Message) -> bool {
        let taken = match self.sender.try_send(message) {
            Ok(()) => true,
            Err(TrySendError::Full(message)) if self.overflow == Overflow::Wait => {
                self.wait_for_room(message)
            }
            Err(_) => false,
        };
        if !taken {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
        self.wake();
        taken
    }

    /// Wakes who waits for a message. Outside the lock: a waker may do anything.
    pub(crate) fn wake(&self) {
        if self.waits.swap(false, Ordering::SeqCst) {
            let waker = self.waker.lock().take();
            if let Some(waker) = waker {
                waker.wake();
            }
        }
    }

    /// Waits until the message is taken, nobody subscribes any more, or the engine ends.
    fn wait_for_room(&self, mut message: Message) -> bool {
        while !self.state.ends() {
            match self.sender.send_timeout(message, ROOM_LOOK) {
                Ok(()) => return true,
                Err(SendTimeoutError::Timeout(back)) => message = back,
                Err(SendTimeoutError::Disconnected(_)) => return false,
            }
        }
        false
    }

    /// Sets who is woken by the next message.
    pub(crate) fn set_waker(&self, waker: Waker) {
        *self.waker.lock() = Some(waker);
        self.waits.store(true, Ordering::SeqCst);
    }
}

/// Messages of the subjects that it was made for, from now until it is dropped.
pub struct Subscription {
    queue: Arc<Queue>,
    receiver: Receiver<Message>,
    broker: Arc<Memory>,
}

impl fmt::Debug for Subscription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subscription")
            .field("waiting", &self.receiver.len())
            .finish_non_exhaustive()
    }
}

impl Subscription {
    pub(crate) fn new(queue: Arc<Queue>, receiver: Receiver<Message>, broker: Arc<Memory>) -> Self {
        Self {
            queue,
            receiver,
            broker,
        }
    }

    /// The next message, if one has come.
    #[must_use]
    pub fn try_next(&self) -> Option<Message> {
        self.receiver.try_recv().ok()
    }

    /// The next message, once it comes; `None` if none does within the time. Blocks the calling thread.
    #[must_use]
    pub fn next(&self, within: Duration) -> Option<Message> {
        self.receiver.recv_timeout(within).ok()
    }

    /// The next message, once it comes; `None` once the engine has ended and all that came was taken. For asynchronous code, of
    /// any runtime; one task at a time may wait.
    pub async fn recv(&self) -> Option<Message> {
        std::future::poll_fn(|cx| self.poll_next(cx)).await
    }

    fn poll_next(&self, cx: &mut Context<'_>) -> Poll<Option<Message>> {
        if let Some(message) = self.try_next() {
            return Poll::Ready(Some(message));
        }
        self.queue.set_waker(cx.waker().clone());
        // One that came before the waker was set has woken nobody, nor has an engine that ended.
        let ended = self.queue.state.ends();
        match self.try_next() {
            None if !ended => Poll::Pending,
            last => Poll::Ready(last),
        }
    }

    /// Messages that it left out because it was full.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.queue.dropped.load(Ordering::Relaxed)
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.broker.unsubscribe(self.queue.id);
    }
}

/// A guest's ephemeral subscription: wakes its call with every message.
pub(crate) struct GuestFeed {
    subscription: Subscription,
    waker: Waker,
}

impl GuestFeed {
    pub(crate) fn new(subscription: Subscription, waker: Waker) -> Self {
        subscription.queue.set_waker(waker.clone());
        Self {
            subscription,
            waker,
        }
    }
}

impl Feed for GuestFeed {
    fn next(&mut self) -> Option<Message> {
        let message = self.subscription.try_next();
        if message.is_none() {
            self.subscription.queue.set_waker(self.waker.clone());
            return self.subscription.try_next();
        }
        message
    }
}
