//! How a suspended call waits: on the shard's own clock and timers, woken without a runtime.
//!
//! A call has one [`Wait`]; the futures in it say when they are due, the shard asks and polls. Owns no thread and no timer
//! wheel: the few suspended calls of a shard are looked through.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll, Wake};
use std::time::Duration;

use crate::port::Unpark;
use crate::time::Instant;

/// What one suspended call waits for. Written by its futures and by who wakes it; read by its shard.
pub(crate) struct Wait {
    /// Times are nanoseconds since this one.
    base: Instant,
    now: AtomicU64,
    due: AtomicU64,
    woken: AtomicBool,
    shard: Arc<dyn Unpark>,
}

impl Wait {
    /// For a call that begins at `now`, on the shard that `shard` wakes.
    pub(crate) fn new(now: Instant, shard: Arc<dyn Unpark>) -> Arc<Self> {
        Arc::new(Self {
            base: now,
            now: AtomicU64::new(0),
            due: AtomicU64::new(u64::MAX),
            woken: AtomicBool::new(true),
            shard,
        })
    }

    /// The time as the shard last said it.
    pub(crate) fn now(&self) -> Instant {
        self.base + Duration::from_nanos(self.now.load(Ordering::Relaxed))
    }

    /// Tells the time and forgets what was waited for: the call is about to be polled and will say anew.
    pub(crate) fn begin(&self, now: Instant) {
        self.now.store(self.nanos(now), Ordering::Relaxed);
        self.due.store(u64::MAX, Ordering::Relaxed);
        self.woken.store(false, Ordering::Release);
    }

    /// When the call wants to be polled: at once if it was woken, `None` if only a wake-up helps.
    pub(crate) fn due(&self) -> Option<Instant> {
        if self.woken.load(Ordering::Acquire) {
            return Some(self.base);
        }
        let due = self.due.load(Ordering::Relaxed);
        (due != u64::MAX).then(|| self.base + Duration::from_nanos(due))
    }

    /// A future that is ready at `until`.
    pub(crate) fn sleep(self: &Arc<Self>, until: Instant) -> Sleep {
        Sleep {
            wait: Arc::clone(self),
            until: self.nanos(until),
        }
    }

    fn nanos(&self, at: Instant) -> u64 {
        u64::try_from(at.saturating_duration_since(self.base).as_nanos()).unwrap_or(u64::MAX - 1)
    }
}

impl Wake for Wait {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.woken.store(true, Ordering::Release);
        self.shard.unpark();
    }
}

/// Ready at a time of the shard's clock.
pub(crate) struct Sleep {
    wait: Arc<Wait>,
    until: u64,
}

impl Future for Sleep {
    type Output = ();

    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<()> {
        if self.wait.now.load(Ordering::Relaxed) >= self.until {
            return Poll::Ready(());
        }
        self.wait.due.fetch_min(self.until, Ordering::Relaxed);
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::task::Waker;

    struct Nobody;
    impl Unpark for Nobody {
        fn unpark(&self) {}
    }

    #[test]
    fn sleeps_are_due_at_the_earliest_and_ready_at_their_own() {
        let start = crate::clock::now();
        let at = |ms| start + Duration::from_millis(ms);
        let wait = Wait::new(start, Arc::new(Nobody));
        let waker = Waker::from(Arc::clone(&wait));
        let mut cx = Context::from_waker(&waker);
        let (mut late, mut early) = (wait.sleep(at(50)), wait.sleep(at(20)));
        wait.begin(start);
        assert!(Pin::new(&mut late).poll(&mut cx).is_pending());
        assert!(Pin::new(&mut early).poll(&mut cx).is_pending());
        assert_eq!(wait.due(), Some(at(20)));
        wait.begin(at(20));
        assert!(Pin::new(&mut early).poll(&mut cx).is_ready());
        assert!(Pin::new(&mut late).poll(&mut cx).is_pending());
        assert_eq!(wait.due(), Some(at(50)));
    }

    #[test]
    fn a_woken_call_is_due_at_once() {
        let start = crate::clock::now();
        let wait = Wait::new(start, Arc::new(Nobody));
        wait.begin(start);
        assert_eq!(wait.due(), None);
        Waker::from(Arc::clone(&wait)).wake();
        assert_eq!(wait.due(), Some(start));
    }
}
