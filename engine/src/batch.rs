//! The batcher of one handler on one shard: which of the waiting messages go into the next call.
//!
//! Owns the messages that wait. Pure and deterministic: handed messages and asked for batches; knows no clock, thread, wasm or
//! broker. Work-conserving: whoever asks gets what waits, at once, so an idle system adds no latency and a busy one forms
//! batches by itself.

use std::collections::VecDeque;

use crate::message::Message;

/// How large one call may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BatchBound {
    /// Messages a call; at least 1.
    pub(crate) messages_max: usize,
    /// Bytes a call; a larger message is called alone.
    pub(crate) bytes_max: usize,
}

/// The messages of one call, shared by the shard and the call while it runs.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    /// In order.
    pub(crate) messages: Vec<Message>,
}

/// The messages of one handler that wait for a call.
#[derive(Debug)]
pub(crate) struct Batcher {
    bound: BatchBound,
    /// Never in a failed call: may share one with others.
    fresh: VecDeque<Message>,
    /// Was in a failed call or came back from a delay: called alone, so that the cause stands alone.
    alone: VecDeque<Message>,
}

impl Batcher {
    /// An empty batcher. Its queues are bounded by admission, which every message has passed.
    pub(crate) fn new(bound: BatchBound) -> Self {
        assert!(bound.messages_max > 0, "a batch holds at least one message");
        Self {
            bound,
            fresh: VecDeque::new(),
            alone: VecDeque::new(),
        }
    }

    /// Changes how large the calls to come may be.
    pub(crate) fn set_bound(&mut self, bound: BatchBound) {
        assert!(bound.messages_max > 0, "a batch holds at least one message");
        self.bound = bound;
    }

    /// Adds a message that may share a call, or must not.
    pub(crate) fn push(&mut self, message: Message, alone: bool) {
        if alone {
            self.alone.push_back(message);
        } else {
            self.fresh.push_back(message);
        }
    }

    /// Messages that wait.
    pub(crate) fn len(&self) -> usize {
        self.fresh.len() + self.alone.len()
    }

    /// Whether none waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.fresh.is_empty() && self.alone.is_empty()
    }

    /// Moves the next call's messages into `batch`, which is empty: one that must be alone if there is one, else as many as
    /// the bound allows, oldest first. Nothing if none waits.
    pub(crate) fn next(&mut self, batch: &mut Vec<Message>) {
        assert!(batch.is_empty(), "a batch is made from nothing");
        if let Some(message) = self.alone.pop_front() {
            batch.push(message);
            return;
        }
        let mut bytes = 0;
        while let Some(message) = self.fresh.front() {
            bytes += message.bytes();
            let full = batch.len() == self.bound.messages_max || bytes > self.bound.bytes_max;
            if full && !batch.is_empty() {
                break;
            }
            batch.extend(self.fresh.pop_front());
        }
    }

    /// Puts a batch back that could not be called: in its old order, before all others.
    pub(crate) fn put_back(&mut self, batch: &mut Vec<Message>) {
        let alone = batch.len() == 1;
        for message in batch.drain(..).rev() {
            if alone {
                self.alone.push_front(message);
            } else {
                self.fresh.push_front(message);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn message(id: u64, payload: usize) -> Message {
        let mut m = Message::new("a", &vec![0; payload]).unwrap();
        m.id = id;
        m
    }

    fn batcher(messages_max: usize, bytes_max: usize) -> Batcher {
        Batcher::new(BatchBound {
            messages_max,
            bytes_max,
        })
    }

    fn next(b: &mut Batcher) -> Vec<u64> {
        let mut batch = Vec::new();
        b.next(&mut batch);
        batch.iter().map(|m| m.id).collect()
    }

    #[test]
    fn messages_at_the_bound_and_one_over() {
        let mut b = batcher(3, 1_000);
        (0..4).for_each(|i| b.push(message(i, 1), false));
        assert_eq!(next(&mut b), [0, 1, 2]);
        assert_eq!(next(&mut b), [3]);
        assert!(b.is_empty());
    }

    #[test]
    fn bytes_at_the_bound_and_one_over() {
        let mut b = batcher(10, 20);
        [9, 9, 9, 10]
            .iter()
            .zip(0..)
            .for_each(|(&n, i)| b.push(message(i, n), false));
        assert_eq!(next(&mut b), [0, 1], "two of 10 bytes each are 20");
        assert_eq!(next(&mut b), [2], "10 and 11 bytes are 21");
        assert_eq!(next(&mut b), [3]);
    }

    #[test]
    fn a_message_above_the_bound_is_called_alone() {
        let mut b = batcher(10, 5);
        (0..2).for_each(|i| b.push(message(i, 100), false));
        assert_eq!(next(&mut b), [0]);
        assert_eq!(next(&mut b), [1]);
    }

    #[test]
    fn suspects_are_called_alone() {
        let mut b = batcher(10, 1_000);
        b.push(message(0, 1), false);
        b.push(message(1, 1), true);
        b.push(message(2, 1), true);
        assert_eq!(next(&mut b), [1]);
        assert_eq!(next(&mut b), [2]);
        assert_eq!(next(&mut b), [0]);
    }

    proptest! {
        #[test]
        fn batches_partition_what_was_pushed_in_order(
            sizes in prop::collection::vec(0usize..50, 0..200), messages_max in 1usize..20, bytes_max in 1usize..200,
            put_back in any::<bool>(),
        ) {
            let mut b = batcher(messages_max, bytes_max);
            sizes.iter().zip(0..).for_each(|(&n, i)| b.push(message(i, n), false));
            let (mut seen, mut batch) = (Vec::new(), Vec::new());
            while !b.is_empty() {
                b.next(&mut batch);
                if put_back && batch.len() > 1 {
                    b.put_back(&mut batch);
                    b.next(&mut batch);
                }
                prop_assert!(!batch.is_empty() && batch.len() <= messages_max);
                let bytes: usize = batch.iter().map(Message::bytes).sum();
                prop_assert!(bytes <= bytes_max || batch.len() == 1);
                seen.extend(batch.drain(..).map(|m| m.id));
            }
            prop_assert_eq!(seen, (0..sizes.len() as u64).collect::<Vec<_>>());
        }
    }
}
