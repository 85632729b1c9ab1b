//! What a running shard has looked up anew: which streams capture what its guests send, and consumers that are gone.
//!
//! Owns when it is asked. The answers come from the control thread; nothing here waits.

use std::sync::Arc;
use std::task::{Wake, Waker};
use std::time::Duration;

use super::control::{Answer, Asker, Captured, Question, Ticket, Wanted};
use super::takes::{FromStream, Take};
use crate::message::HandlerId;
use crate::port::Unpark;
use crate::time::Instant;

/// How long to wait before a consumer that could not be bound again is looked up once more. Default 250 ms, doubled with each
/// failure up to [`BIND_WAIT_MAX`].
const BIND_WAIT_FIRST: Duration = Duration::from_millis(250);
/// Longest such wait. Default 5 s: a consumer that was made anew is found within it.
const BIND_WAIT_MAX: Duration = Duration::from_secs(5);

/// One shard's open questions.
pub(crate) struct Renewal {
    asker: Asker,
    asked: Vec<(Ticket, HandlerId)>,
    /// How often captured subjects are looked up.
    every: Duration,
    next: Instant,
    /// When a consumer that is gone is looked up again.
    bind: Option<Instant>,
}

impl Renewal {
    /// Nothing is asked yet.
    pub(crate) fn new(asker: Asker, every: Duration, now: Instant) -> Self {
        Self {
            asker,
            asked: Vec::new(),
            every,
            next: now + every,
            bind: None,
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
                stream.renewed(answer, now);
            }
        }
        let all = now >= self.next;
        if all {
            self.next = now + self.every;
        }
        self.bind = None;
        for (take, id) in handlers.iter_mut().zip(0..) {
            let (Take::Stream(stream), id) = (take, HandlerId(id)) else {
                continue;
            };
            let asked = self.asked.iter().any(|(_, of)| *of == id);
            if asked {
                continue;
            }
            if let Some(question) = stream.question(all, now)
                && let Ok(ticket) = self.asker.ask(question)
            {
                stream.gone = None;
                self.asked.push((ticket, id));
            }
            let later = stream.gone.filter(|at| *at > now);
            self.bind = self.bind.into_iter().chain(later).min();
        }
    }

    /// When it is due.
    pub(crate) fn due(&self) -> Instant {
        self.bind.map_or(self.next, |bind| bind.min(self.next))
    }
}

impl FromStream {
    /// What is to be asked for it; what is only asked now and then, if `all`.
    fn question(&self, all: bool, now: Instant) -> Option<Question> {
        let Wanted {
            handler, publishes, ..
        } = &self.wanted;
        if self.gone.is_some_and(|at| at <= now) {
            // It is not made again: a new one would begin where its policy says, and leave out or repeat what this one had reached.
            let wanted = Wanted {
                create: None,
                ..self.wanted.clone()
            };
            return Some(Question::Bind(Box::new(wanted)));
        }
        all.then(|| Question::Captured {
            handler: handler.clone(),
            publishes: publishes.clone(),
        })
    }

    fn renewed(&mut self, answer: Answer, now: Instant) {
        let handler = &self.wanted.handler;
        match answer {
            Answer::Captured(Ok(captured)) => self.capture(captured),
            Answer::Bound(Ok(bound)) => {
                tracing::info!(
                    handler,
                    stream = bound.stream,
                    consumer = bound.consumer,
                    "bound again"
                );
                self.capture(bound.captured.clone());
                (self.gone, self.stopped, self.failed_binds) = (None, false, 0);
                self.pulls.allow(self.most.messages, &bound);
                self.bound = Arc::new(*bound);
            }
            Answer::Captured(Err(why)) => {
                tracing::warn!(handler, %why, "not renewed; asking again later");
            }
            Answer::Bound(Err(why)) => {
                tracing::warn!(handler, %why, "its consumer can't be bound again; trying later");
                // What was looked up and is unfit, or is not there, is not pulled from.
                self.stopped |= !why.is_of_the_connection();
                let wait = BIND_WAIT_FIRST * (1 << self.failed_binds.min(8));
                self.gone = Some(now + wait.min(BIND_WAIT_MAX));
                self.failed_binds = self.failed_binds.saturating_add(1);
            }
        }
    }

    fn capture(&mut self, mut captured: Captured) {
        let left = captured.keep(&self.captured);
        if left > 0 {
            let handler = &self.wanted.handler;
            tracing::warn!(
                handler,
                left,
                "its streams capture too many subjects; sends to those of streams that are gone are not waited for"
            );
        }
        self.captured = captured;
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
