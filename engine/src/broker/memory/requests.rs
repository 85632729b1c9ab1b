//! Requests that wait for a reply: each has a reply subject of its own below one prefix, so that replies need no route.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use crate::error::{Refusal, RequestError};
use crate::message::Message;
use crate::subject::INBOX;
use crate::time::Instant;

#[derive(Debug)]
enum State {
    Waiting(Option<Waker>),
    Ended(Result<Message, RequestError>),
    Taken,
}

/// One request's place for its reply.
#[derive(Debug)]
struct Cell {
    state: Mutex<State>,
    ended: Condvar,
}

impl Cell {
    fn end(&self, result: Result<Message, RequestError>) {
        let mut state = self.state.lock();
        if let State::Waiting(waker) = &mut *state {
            let waker = waker.take();
            *state = State::Ended(result);
            drop(state);
            self.ended.notify_all();
            if let Some(waker) = waker {
                waker.wake();
            }
        }
    }
}

#[derive(Debug)]
struct Waiting {
    cell: Arc<Cell>,
    deadline: Instant,
    within: Duration,
}

#[derive(Debug, Default)]
struct Slot {
    generation: u64,
    waiting: Option<Waiting>,
}

/// All requests of an engine that wait.
#[derive(Debug)]
pub(crate) struct Requests {
    slots: Mutex<(Vec<Slot>, Vec<usize>)>,
    open: AtomicUsize,
    requests_max: usize,
}

impl Requests {
    /// For this many at once.
    pub(crate) fn new(requests_max: usize) -> Self {
        Self {
            slots: Mutex::default(),
            open: AtomicUsize::new(0),
            requests_max,
        }
    }

    /// Opens a request: its reply subject, and the reply to come.
    pub(crate) fn open(
        self: &Arc<Self>,
        now: Instant,
        within: Duration,
    ) -> Result<(String, Reply), Refusal> {
        let cell = Arc::new(Cell {
            state: Mutex::new(State::Waiting(None)),
            ended: Condvar::new(),
        });
        let mut guard = self.slots.lock();
        let (slots, free) = &mut *guard;
        let index = match free.pop() {
            Some(index) => index,
            None if slots.len() < self.requests_max => {
                slots.push(Slot::default());
                slots.len() - 1
            }
            None => return Err(Refusal::Full("too many requests wait for their reply")),
        };
        let slot = &mut slots[index];
        slot.generation += 1;
        slot.waiting = Some(Waiting {
            cell: Arc::clone(&cell),
            deadline: now + within,
            within,
        });
        self.open.fetch_add(1, Ordering::Relaxed);
        let place = (index, slot.generation);
        let requests = Arc::clone(self);
        let subject = format!("{INBOX}{index}.{}", slot.generation);
        Ok((
            subject,
            Reply {
                cell,
                requests,
                place,
            },
        ))
    }

    /// Hands a reply to its request. Whether one waited for it.
    pub(crate) fn reply(&self, message: &Message) -> bool {
        // A reply to a request of another process has nothing to be looked for here.
        if self.open.load(Ordering::Relaxed) == 0 {
            return false;
        }
        let Some((index, generation)) = place_of(message.subject()) else {
            return false;
        };
        let Some(waiting) = self.take(index, generation) else {
            return false;
        };
        let mut message = message.clone();
        message.detach();
        waiting.cell.end(Ok(message));
        true
    }

    /// Whether a request waits for its reply on this subject.
    pub(crate) fn is_open(&self, subject: &str) -> bool {
        let Some((index, generation)) = place_of(subject) else {
            return false;
        };
        let slots = &self.slots.lock().0;
        let found = slots.get(index).filter(|s| s.generation == generation);
        found.is_some_and(|slot| slot.waiting.is_some())
    }

    fn take(&self, index: usize, generation: u64) -> Option<Waiting> {
        let mut guard = self.slots.lock();
        let (slots, free) = &mut *guard;
        let slot = slots
            .get_mut(index)
            .filter(|slot| slot.generation == generation)?;
        let waiting = slot.waiting.take()?;
        free.push(index);
        self.open.fetch_sub(1, Ordering::Relaxed);
        Some(waiting)
    }

    /// Ends the requests whose time is over by `now`.
    pub(crate) fn expire(&self, now: Instant) {
        if self.open.load(Ordering::Relaxed) == 0 {
            return;
        }
        self.end_where(
            |waiting| waiting.deadline <= now,
            |waiting| RequestError::Timeout(waiting.within),
        );
    }

    /// Ends all, since the engine ends.
    pub(crate) fn end_all(&self, why: &Refusal) {
        self.end_where(|_| true, |_| RequestError::Refused(why.clone()));
    }

    fn end_where(&self, ends: impl Fn(&Waiting) -> bool, error: impl Fn(&Waiting) -> RequestError) {
        let mut ended = Vec::new();
        {
            let mut guard = self.slots.lock();
            let (slots, free) = &mut *guard;
            for (index, slot) in slots.iter_mut().enumerate() {
                if let Some(waiting) = slot.waiting.take_if(|waiting| ends(waiting)) {
                    free.push(index);
                    ended.push(waiting);
                }
            }
            self.open.fetch_sub(ended.len(), Ordering::Relaxed);
        }
        for waiting in ended {
            waiting.cell.end(Err(error(&waiting)));
        }
    }
}

/// The place that a reply subject names, and how often it was used.
fn place_of(subject: &str) -> Option<(usize, u64)> {
    let (index, generation) = subject.strip_prefix(INBOX)?.split_once('.')?;
    Some((index.parse().ok()?, generation.parse().ok()?))
}

/// The reply to a request: a future, or waited for by a thread with [`Reply::wait`]. It ends by itself at the request's time.
#[derive(Debug)]
pub struct Reply {
    cell: Arc<Cell>,
    requests: Arc<Requests>,
    place: (usize, u64),
}

impl Drop for Reply {
    /// Frees its place: nobody waits any more.
    fn drop(&mut self) {
        let (index, generation) = self.place;
        self.requests.take(index, generation);
    }
}

impl Reply {
    /// Waits for the reply on this thread.
    ///
    /// # Errors
    /// None came in time, or the engine ended.
    ///
    /// # Panics
    /// If the reply was already taken by polling this as a future.
    pub fn wait(self) -> Result<Message, RequestError> {
        let mut state = self.cell.state.lock();
        loop {
            match std::mem::replace(&mut *state, State::Taken) {
                State::Ended(result) => return result,
                waiting @ State::Waiting(_) => *state = waiting,
                State::Taken => unreachable!("the reply was taken before"),
            }
            self.cell.ended.wait(&mut state);
        }
    }
}

impl Future for Reply {
    type Output = Result<Message, RequestError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut state = self.cell.state.lock();
        match std::mem::replace(&mut *state, State::Taken) {
            State::Ended(result) => Poll::Ready(result),
            State::Waiting(_) => {
                *state = State::Waiting(Some(cx.waker().clone()));
                Poll::Pending
            }
            State::Taken => unreachable!("the reply was taken before"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;

    const SECOND: Duration = Duration::from_secs(1);

    fn reply_to(subject: &str) -> Message {
        Message::new(subject, b"reply").unwrap()
    }

    #[test]
    fn a_reply_ends_its_request_once() {
        let requests = Arc::new(Requests::new(8));
        let (subject, reply) = requests.open(clock::now(), SECOND).unwrap();
        assert!(requests.reply(&reply_to(&subject)));
        assert!(
            !requests.reply(&reply_to(&subject)),
            "a second reply finds nobody"
        );
        assert_eq!(reply.wait().unwrap().payload(), b"reply");
        assert!(!requests.reply(&reply_to("_INBOX.999.1")));
        assert!(!requests.reply(&reply_to("_INBOX.x")));
    }

    #[test]
    fn a_late_reply_does_not_reach_the_next_request_in_its_place() {
        let requests = Arc::new(Requests::new(1));
        let start = clock::now();
        let (old, reply) = requests.open(start, SECOND).unwrap();
        requests.expire(start + SECOND);
        assert_eq!(reply.wait().unwrap_err(), RequestError::Timeout(SECOND));
        let (_, _next) = requests.open(start, SECOND).unwrap();
        assert!(!requests.reply(&reply_to(&old)));
    }

    #[test]
    fn requests_are_bounded_at_the_limit_and_one_over() {
        let requests = Arc::new(Requests::new(2));
        let open = || requests.open(clock::now(), SECOND);
        let (first, _a) = open().unwrap();
        let _b = open().unwrap();
        assert!(matches!(open(), Err(Refusal::Full(_))));
        requests.reply(&reply_to(&first));
        open().unwrap();
    }

    #[test]
    fn a_dropped_reply_frees_its_place() {
        let requests = Arc::new(Requests::new(1));
        for _ in 0..3 {
            let (_, reply) = requests.open(clock::now(), Duration::MAX).unwrap();
            drop(reply);
        }
    }

    #[test]
    fn all_end_with_the_engine() {
        let requests = Arc::new(Requests::new(2));
        let (_, reply) = requests.open(clock::now(), SECOND).unwrap();
        requests.end_all(&Refusal::Stopping);
        assert_eq!(
            reply.wait().unwrap_err(),
            RequestError::Refused(Refusal::Stopping)
        );
    }
}
