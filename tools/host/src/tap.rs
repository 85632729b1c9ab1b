//! A tap: takes everything from a subscription, on a thread of its own, until the engine is drained.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use millpond::{Message, Subscription};

/// How long a tap without messages waits before it looks whether the engine is drained.
const LOOK: Duration = Duration::from_millis(10);

/// What a tap hands its messages to.
pub(crate) trait Taker {
    /// Why it may stop before the end.
    type Error;

    /// Takes a message.
    fn take(&mut self, message: Message) -> Result<(), Self::Error>;

    /// No message is waiting.
    fn idle(&mut self) -> Result<(), Self::Error>;
}

/// Says whether the engine is drained: what a tap has not taken by then is in its subscription already.
#[derive(Debug, Clone, Default)]
pub(crate) struct Drained(Arc<AtomicBool>);

impl Drained {
    /// Says that it is.
    pub(crate) fn set(&self) {
        self.0.store(true, Ordering::Release);
    }

    fn get(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

/// Takes every message, up to the last one of a drained engine.
pub(crate) fn take_all<T: Taker>(
    tap: &Subscription,
    drained: &Drained,
    taker: &mut T,
) -> Result<(), T::Error> {
    loop {
        while let Some(message) = tap.try_next() {
            taker.take(message)?;
        }
        taker.idle()?;
        // Asked before the last look, so that nothing comes between the two.
        let last = drained.get();
        match tap.next(if last { Duration::ZERO } else { LOOK }) {
            Some(message) => taker.take(message)?,
            None if last => return taker.idle(),
            None => {}
        }
    }
}
