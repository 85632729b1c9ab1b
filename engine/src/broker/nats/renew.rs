//! What a running shard has looked up anew: which streams capture what its guests send, and consumers that are gone.
//!
//! Owns when it is asked. The answers come from the control thread; nothing here waits.

use std::sync::Arc;
use std::task::{Wake, Waker};
use std::time::Duration;

use super::control::{Answer, Asker, Question, Ticket, Wanted};
use super::takes::{FromStream, Take};
use crate::message::HandlerId;
use crate::port::Unpark;
use crate::time::Instant;

/// How often the streams that capture a handler's sends are looked up. Default 30 s: sends to a stream that was made since are not
/// waited for until then.
const RENEW_EVERY: Duration = Duration::from_secs(30);

/// One shard's open questions.
pub(crate) struct Renewal {
    asker: Asker,
    asked: Vec<(Ticket, HandlerId)>,
    next: Instant,
}

impl Renewal {
    /// Nothing is asked yet.
    pub(crate) fn new(asker: Asker, now: Instant) -> Self {
        Self {
            asker,
            asked: Vec::new(),
            next: now + RENEW_EVERY,
        }
    }

    /// Takes in what was answered, and asks what is due.
    pub(crate) fn go_on(&mut self, handlers: &mut [Take], now: Instant) {
        while let Some((ticket, answer)) = self.asker.poll() {
            let place = self.asked.iter().position(|(of, _)| *of == ticket);
            let Some((_, id)) = place.map(|place| self.asked.swap_remove(place)) else {
                continue;
            };
            if let Take::Stream(stream) = &mut handlers[id.index()] {
                stream.renewed(answer);
            }
        }
        let all = now >= self.next;
        if all {
            self.next = now + RENEW_EVERY;
        }
        for (take, id) in handlers.iter_mut().zip(0..) {
            let (Take::Stream(stream), id) = (take, HandlerId(id)) else {
                continue;
            };
            let asked = self.asked.iter().any(|(_, of)| *of == id);
            if let Some(question) = stream.question(all).filter(|_| !asked)
                && let Ok(ticket) = self.asker.ask(question)
            {
                stream.gone = false;
                self.asked.push((ticket, id));
            }
        }
    }

    /// When it is due.
    pub(crate) fn due(&self) -> Instant {
        self.next
    }
}

impl FromStream {
    /// What is to be asked for it; what is only asked now and then, if `all`.
    fn question(&self, all: bool) -> Option<Question> {
        let Wanted {
            handler, publishes, ..
        } = &self.wanted;
        if self.gone {
            return Some(Question::Bind(Box::new(self.wanted.clone())));
        }
        all.then(|| Question::Captured {
            handler: handler.clone(),
            publishes: publishes.clone(),
        })
    }

    fn renewed(&mut self, answer: Answer) {
        let handler = &self.wanted.handler;
        match answer {
            Answer::Captured(Ok(captured)) => self.captured = captured,
            Answer::Bound(Ok(bound)) => {
                tracing::info!(
                    handler,
                    stream = bound.stream,
                    consumer = bound.consumer,
                    "bound again"
                );
                self.captured = bound.captured.clone();
                self.bound = Arc::new(*bound);
            }
            Answer::Captured(Err(why)) | Answer::Bound(Err(why)) => {
                tracing::warn!(handler, %why, "not renewed; asking again later");
            }
        }
    }
}

/// Wakes a shard by a waker of the language.
pub(crate) struct WakeShard(pub(crate) Arc<dyn Unpark>);

impl WakeShard {
    /// The waker.
    pub(crate) fn waker(shard: Arc<dyn Unpark>) -> Waker {
        Waker::from(Arc::new(Self(shard)))
    }
}

impl Wake for WakeShard {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}
