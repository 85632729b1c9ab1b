//! Requests that wait for a reply: each has a reply subject of its own below one prefix, so that replies need no route. Who does
//! not know it can't guess it.

use std::future::Future;
use std::hash::{BuildHasher, RandomState};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use super::replies::Answers;
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

/// Who waits.
#[derive(Debug)]
enum Waiting {
    /// An embedder, for one reply.
    One {
        cell: Arc<Cell>,
        deadline: Instant,
        within: Duration,
    },
    /// A guest, for any number, until it goes on.
    Several(Arc<Answers>),
}

impl Waiting {
    fn end(&self, error: RequestError) {
        match (self, error) {
            (Self::One { cell, .. }, error) => cell.end(Err(error)),
            (Self::Several(answers), RequestError::Refused(why)) => answers.end(why),
            (Self::Several(_), RequestError::Timeout(_)) => {}
        }
    }
}

#[derive(Debug, Default)]
struct Slot {
    /// Of the latest request in it: any number but those before.
    token: u64,
    waiting: Option<Waiting>,
}

/// A request's place, and the token by which replies name it.
type Place = (usize, u64);

/// All requests of an engine that wait.
#[derive(Debug)]
pub(crate) struct Requests {
    slots: Mutex<(Vec<Slot>, Vec<usize>)>,
    open: AtomicUsize,
    opened: AtomicU64,
    /// Makes tokens of numbers: random, and its own.
    keys: RandomState,
    requests_max: usize,
}

impl Requests {
    /// For this many at once.
    pub(crate) fn new(requests_max: usize) -> Self {
        Self {
            slots: Mutex::default(),
            open: AtomicUsize::new(0),
            opened: AtomicU64::new(0),
            keys: RandomState::new(),
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
        let (subject, open) = self.place(Waiting::One {
            cell: Arc::clone(&cell),
            deadline: now + within,
            within,
        })?;
        Ok((subject, Reply { cell, _open: open }))
    }

    /// Opens a request whose replies go to `answers`: its reply subject. It is open until what this gives is dropped.
    pub(crate) fn open_several(
        self: &Arc<Self>,
        answers: &Arc<Answers>,
    ) -> Result<(String, Open), Refusal> {
        self.place(Waiting::Several(Arc::clone(answers)))
    }

    fn place(self: &Arc<Self>, waiting: Waiting) -> Result<(String, Open), Refusal> {
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
        let token = self
            .keys
            .hash_one(self.opened.fetch_add(1, Ordering::Relaxed));
        slots[index] = Slot {
            token,
            waiting: Some(waiting),
        };
        self.open.fetch_add(1, Ordering::Relaxed);
        let open = Open {
            requests: Arc::clone(self),
            place: (index, token),
        };
        Ok((format!("{INBOX}{index}.{token:016x}"), open))
    }

    /// Hands a reply to its request. Whether one waited for it.
    pub(crate) fn reply(&self, message: &Message) -> bool {
        // A reply to a request of another process has nothing to be looked for here.
        if !self.any_open() {
            return false;
        }
        let Some(place) = place_of(message.subject()) else {
            return false;
        };
        match self.awaiting(place) {
            Some(Waiting::One { cell, .. }) => {
                let mut message = message.clone();
                message.detach();
                cell.end(Ok(message));
                true
            }
            Some(Waiting::Several(answers)) => answers.push(message.clone()),
            None => false,
        }
    }

    /// Whether any request waits.
    pub(crate) fn any_open(&self) -> bool {
        self.open.load(Ordering::Relaxed) > 0
    }

    /// Whether a request waits for a reply on this subject.
    pub(crate) fn is_open(&self, subject: &str) -> bool {
        let Some((index, token)) = place_of(subject) else {
            return false;
        };
        let slots = &self.slots.lock().0;
        let found = slots.get(index).filter(|slot| slot.token == token);
        found.is_some_and(|slot| slot.waiting.is_some())
    }

    /// Who waits at this place; an embedder no longer does then.
    fn awaiting(&self, (index, token): Place) -> Option<Waiting> {
        let mut guard = self.slots.lock();
        let (slots, free) = &mut *guard;
        let slot = slots.get_mut(index).filter(|slot| slot.token == token)?;
        if let Some(Waiting::Several(answers)) = &slot.waiting {
            return Some(Waiting::Several(Arc::clone(answers)));
        }
        let waiting = slot.waiting.take()?;
        free.push(index);
        self.open.fetch_sub(1, Ordering::Relaxed);
        Some(waiting)
    }

    /// Nobody waits at this place any more.
    fn close(&self, (index, token): Place) {
        let mut guard = self.slots.lock();
        let (slots, free) = &mut *guard;
        let slot = slots.get_mut(index).filter(|slot| slot.token == token);
        if slot.is_some_and(|slot| slot.waiting.take().is_some()) {
            free.push(index);
            self.open.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Ends the requests whose time is over by `now`.
    pub(crate) fn expire(&self, now: Instant) {
        if self.open.load(Ordering::Relaxed) == 0 {
            return;
        }
        self.end_where(|waiting| match waiting {
            Waiting::One {
                deadline, within, ..
            } => (*deadline <= now).then_some(RequestError::Timeout(*within)),
            // Its guest's call knows the time.
            Waiting::Several(_) => None,
        });
    }

    /// Ends all, since the engine ends.
    pub(crate) fn end_all(&self, why: &Refusal) {
        self.end_where(|_| Some(RequestError::Refused(why.clone())));
    }

    /// Ends those for which `ends` has an error.
    fn end_where(&self, ends: impl Fn(&Waiting) -> Option<RequestError>) {
        let mut ended = Vec::new();
        {
            let mut guard = self.slots.lock();
            let (slots, free) = &mut *guard;
            for (index, slot) in slots.iter_mut().enumerate() {
                let Some(error) = slot.waiting.as_ref().and_then(&ends) else {
                    continue;
                };
                free.push(index);
                ended.extend(slot.waiting.take().map(|waiting| (waiting, error)));
            }
            self.open.fetch_sub(ended.len(), Ordering::Relaxed);
        }
        for (waiting, error) in ended {
            waiting.end(error);
        }
    }
}

/// A request's place, which is free again when this is dropped: nobody waits any more.
#[derive(Debug)]
pub(crate) struct Open {
    requests: Arc<Requests>,
    place: Place,
}

impl Drop for Open {
    fn drop(&mut self) {
        self.requests.close(self.place);
    }
}

/// The place that a reply subject names.
fn place_of(subject: &str) -> Option<Place> {
    let (index, token) = subject.strip_prefix(INBOX)?.split_once('.')?;
    Some((index.parse().ok()?, u64::from_str_radix(token, 16).ok()?))
}

/// The reply to a request: a future, or waited for by a thread with [`Reply::wait`]. It ends by itself at the request's time.
#[derive(Debug)]
pub struct Reply {
    cell: Arc<Cell>,
    _open: Open,
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
    use crate::port::Room;

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
        for foreign in ["_INBOX.999.1", "_INBOX.x", "_INBOX.0.0", "_INBOX.0.1"] {
            assert!(!requests.reply(&reply_to(foreign)), "{foreign}");
        }
    }

    #[test]
    fn reply_subjects_do_not_follow_from_one_another() {
        let requests = Arc::new(Requests::new(8));
        let token = |requests: &Arc<Requests>| {
            let (subject, _reply) = requests.open(clock::now(), SECOND).unwrap();
            place_of(&subject).unwrap().1
        };
        let tokens = [(); 3].map(|()| token(&requests));
        assert_ne!(
            tokens[1].wrapping_sub(tokens[0]),
            tokens[2].wrapping_sub(tokens[1])
        );
        let other = Arc::new(Requests::new(8));
        assert!(!tokens.contains(&token(&other)), "each engine has its own");
    }

    #[test]
    fn a_guests_request_has_replies_until_it_goes_on() {
        let requests = Arc::new(Requests::new(1));
        let room = Room {
            replies_max: 2,
            bytes_max: 1_000,
        };
        let answers = Answers::new(room, Waker::noop().clone());
        let (subject, open) = requests.open_several(&answers).unwrap();
        assert!(matches!(
            requests.open(clock::now(), SECOND),
            Err(Refusal::Full(_))
        ));
        requests.expire(clock::now() + SECOND * 1_000);
        let taken = [(); 3].map(|()| requests.reply(&reply_to(&subject)));
        assert_eq!(taken, [true, true, false]);
        assert_eq!(answers.next().unwrap().unwrap().payload(), b"reply");
        requests.end_all(&Refusal::Stopping);
        assert!(matches!(answers.next(), Some(Ok(_))));
        assert_eq!(answers.next().unwrap().unwrap_err(), Refusal::Stopping);
        drop(open);
        let (_, open) = requests.open_several(&answers).unwrap();
        assert!(
            !requests.reply(&reply_to(&subject)),
            "it was the last one's"
        );
        drop(open);
        requests.open(clock::now(), SECOND).unwrap();
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
