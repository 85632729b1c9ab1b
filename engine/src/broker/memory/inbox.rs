//! A shard's inbox: bounded, filled by any thread, emptied by its shard as a whole.
//!
//! A queue under a lock that is held for a few moves. The shard exchanges it for an empty one, so that it locks once for many messages,
//! and reads them from memory one after the other; of a channel it would take each by an atomic step, and wait for its cache line
//! (bench/TRIED.md has both).

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::Mutex;

use super::{Delivery, Handlers};
use crate::message::{HandlerId, Message};
use crate::pack::Pack;
use crate::time::Instant;

/// What both ends share; on cache lines of its own, since publishers and the shard write it.
#[derive(Debug)]
#[repr(align(128))]
struct Shared {
    waiting: Mutex<Waiting>,
    messages_max: usize,
}

#[derive(Debug, Default)]
struct Waiting {
    queued: Queued,
    /// Nobody takes it out any more.
    closed: bool,
}

/// Messages in it.
#[derive(Debug, Default)]
struct Queued {
    deliveries: VecDeque<Delivery>,
    /// What came in packs, each for one handler.
    packs: VecDeque<(HandlerId, Pack)>,
    /// Messages in them.
    packed: usize,
}

impl Queued {
    fn len(&self) -> usize {
        self.deliveries.len() + self.packed
    }
}

/// Where publishers put messages.
#[derive(Debug)]
pub(super) struct Inbox(Arc<Shared>);

/// Where the shard takes them out.
#[derive(Debug)]
pub(crate) struct Outlet {
    shared: Arc<Shared>,
    /// What is no longer in the inbox: as many at most as there is room for in it.
    taken: Queued,
}

/// An inbox of so many messages: both its ends.
pub(super) fn inbox(messages_max: usize) -> (Inbox, Outlet) {
    let shared = Arc::new(Shared {
        waiting: Mutex::default(),
        messages_max,
    });
    let outlet = Outlet {
        shared: Arc::clone(&shared),
        taken: Queued::default(),
    };
    (Inbox(shared), outlet)
}

impl Inbox {
    /// Puts a message in; gives it back if there is no room, or nobody to take it out.
    pub(super) fn put(&self, delivery: Delivery) -> Result<(), Delivery> {
        let mut waiting = self.0.waiting.lock();
        if waiting.closed || waiting.queued.len() >= self.0.messages_max {
            return Err(delivery);
        }
        waiting.queued.deliveries.push_back(delivery);
        Ok(())
    }

    /// How many messages there is room for.
    pub(super) fn room(&self) -> usize {
        let waiting = self.0.waiting.lock();
        match waiting.closed {
            true => 0,
            false => self.0.messages_max - waiting.queued.len(),
        }
    }

    /// Moves the first `count` of these messages in, all for these handlers, or none of them. Whether there was room, and somebody to
    /// take them out.
    pub(super) fn put_first(
        &self,
        messages: &mut VecDeque<Message>,
        count: usize,
        handlers: &Handlers,
        now: Instant,
    ) -> bool {
        let mut waiting = self.0.waiting.lock();
        let room = self.0.messages_max - waiting.queued.len();
        if waiting.closed || count > room {
            return false;
        }
        let run = messages.drain(..count).map(|mut message| {
            message.arrived.get_or_insert(now);
            let handlers = handlers.clone();
            Delivery { message, handlers }
        });
        waiting.queued.deliveries.extend(run);
        true
    }

    /// Puts a pack in; gives it back if there is no room for all of it, or nobody to take it out.
    pub(super) fn put_pack(&self, id: HandlerId, pack: Pack) -> Result<(), Pack> {
        let mut waiting = self.0.waiting.lock();
        let room = self.0.messages_max - waiting.queued.len();
        if waiting.closed || pack.len() > room {
            return Err(pack);
        }
        waiting.queued.packed += pack.len();
        waiting.queued.packs.push_back((id, pack));
        Ok(())
    }
}

impl Outlet {
    /// Takes out all that is in it, unless something is left of the last time: once a turn, so that publishers and their shard seldom
    /// meet at the lock.
    pub(super) fn empty(&mut self) {
        if self.taken.len() == 0 {
            std::mem::swap(&mut self.shared.waiting.lock().queued, &mut self.taken);
        }
    }

    /// The first of what was taken out.
    #[inline]
    pub(super) fn next(&mut self) -> Option<Delivery> {
        self.taken.deliveries.pop_front()
    }

    /// The first pack of what was taken out.
    #[inline]
    pub(super) fn next_pack(&mut self) -> Option<(HandlerId, Pack)> {
        let (id, pack) = self.taken.packs.pop_front()?;
        self.taken.packed -= pack.len();
        Some((id, pack))
    }

    /// Whether nothing is in it.
    pub(super) fn is_empty(&self) -> bool {
        self.taken.len() == 0 && self.shared.waiting.lock().queued.len() == 0
    }
}

impl Drop for Outlet {
    fn drop(&mut self) {
        let left = {
            let mut waiting = self.shared.waiting.lock();
            waiting.closed = true;
            std::mem::take(&mut waiting.queued)
        };
        // Not under the lock: what goes with a message may be anything.
        drop(left);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::HandlerId;

    fn one(payload: &[u8]) -> Delivery {
        Delivery {
            message: Message::new("a", payload).unwrap(),
            handlers: Handlers::One(HandlerId(0)),
        }
    }

    fn put_run(inbox: &Inbox, of: usize) -> bool {
        let mut messages = (0..of).map(|_| one(b"").message).collect();
        let handlers = Handlers::One(HandlerId(0));
        let put = inbox.put_first(&mut messages, of, &handlers, crate::clock::now());
        assert_eq!(messages.len(), if put { 0 } else { of });
        put
    }

    #[test]
    fn messages_at_the_bound_and_one_over_alone_and_in_runs() {
        let (inbox, mut outlet) = inbox(10);
        inbox.put(one(b"")).unwrap();
        assert_eq!(inbox.room(), 9);
        assert!(!put_run(&inbox, 10));
        assert!(put_run(&inbox, 8));
        assert_eq!(inbox.room(), 1);
        assert!(!put_run(&inbox, 2));
        inbox.put(one(b"")).unwrap();
        assert_eq!(inbox.room(), 0);
        assert!(
            inbox
                .put(one(b"last"))
                .is_err_and(|back| back.message.payload() == b"last")
        );
        assert!(!put_run(&inbox, 1));
        outlet.empty();
        assert!(outlet.next().is_some());
        assert_eq!(inbox.room(), 10, "the shard has all of them now");
        assert!(!outlet.is_empty());
        assert!(put_run(&inbox, 10));
        let mut count = || {
            outlet.empty();
            (0..).take_while(|_| outlet.next().is_some()).count()
        };
        assert_eq!([count(), count()], [9, 10], "what is left comes first");
        assert!(outlet.is_empty());
    }

    #[test]
    fn packs_at_the_bound_and_one_over_count_as_their_messages() {
        let pack = |of: usize| {
            let mut builder = Pack::builder("a").unwrap();
            (0..of).for_each(|_| builder.push(&[], b"").unwrap());
            builder.build()
        };
        let (inbox, mut outlet) = inbox(10);
        let id = HandlerId(3);
        assert_eq!(inbox.put_pack(id, pack(11)).unwrap_err().len(), 11);
        inbox.put_pack(id, pack(7)).unwrap();
        inbox.put(one(b"")).unwrap();
        assert_eq!(inbox.room(), 2);
        assert!(inbox.put_pack(id, pack(3)).is_err());
        assert!(!put_run(&inbox, 3));
        inbox.put_pack(id, pack(2)).unwrap();
        assert!(inbox.put(one(b"")).is_err());
        outlet.empty();
        assert_eq!(inbox.room(), 10);
        assert!(outlet.next().is_some() && outlet.next().is_none());
        let lens = std::iter::from_fn(|| outlet.next_pack().map(|(id, p)| (id.0, p.len())));
        assert_eq!(lens.collect::<Vec<_>>(), [(3, 7), (3, 2)]);
        assert!(outlet.is_empty());
        drop(outlet);
        assert!(inbox.put_pack(id, pack(1)).is_err());
    }

    #[test]
    fn what_several_threads_put_in_comes_out_once_and_in_the_order_of_each() {
        const THREADS: u8 = 3;
        const EACH: u32 = 20_000;
        let (inbox, mut outlet) = inbox(64);
        let mut seen = [0; THREADS as usize];
        std::thread::scope(|scope| {
            for thread in 0..THREADS {
                let inbox = &inbox;
                scope.spawn(move || {
                    for number in 0..EACH {
                        let bytes = [&[thread][..], &number.to_le_bytes()].concat();
                        let mut delivery = one(&bytes);
                        while let Err(back) = inbox.put(delivery) {
                            delivery = back;
                            std::thread::yield_now();
                        }
                    }
                });
            }
            while seen.iter().sum::<u32>() < u32::from(THREADS) * EACH {
                outlet.empty();
                let Some(delivery) = outlet.next() else {
                    std::thread::yield_now();
                    continue;
                };
                let (thread, number) = delivery.message.payload().split_at(1);
                let next = &mut seen[usize::from(thread[0])];
                assert_eq!(number, next.to_le_bytes());
                *next += 1;
            }
        });
        assert!(outlet.is_empty());
    }

    #[test]
    fn an_inbox_that_nobody_empties_gives_back_what_it_is_given() {
        let (inbox, outlet) = inbox(10);
        inbox.put(one(b"")).unwrap();
        drop(outlet);
        assert!(inbox.put(one(b"")).is_err());
        assert!(!put_run(&inbox, 3));
        assert_eq!(inbox.room(), 0);
    }
}
