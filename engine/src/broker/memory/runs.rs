//! Publishing many messages in one step: what has the same subject is routed once, admitted together, and put into a shard's inbox as
//! one run, which wakes the shard once.
//!
//! What becomes of a message is what becomes of it in `publish.rs`; only the steps are fewer.

use std::collections::VecDeque;
use std::sync::atomic::Ordering;

use super::publish::{FULL_INBOX, FULL_LOAD, LAST, Publisher};
use super::routes::LastRoute;
use super::{Handlers, Memory};
use crate::admission::{Bound, Load};
use crate::error::{PublishError, Refusal};
use crate::message::{HandlerId, Message};
use crate::subject::INBOX;
use crate::time::Instant;

/// Most messages of a run: they are moved under the lock of an inbox, which takes about 10 ns each.
const RUN_MAX: usize = 256;

impl Memory {
    /// Publishes messages from the front of a queue, until it is empty or one is refused: that one and what is behind it stay. How many
    /// handlers and subscriptions got them, added up.
    pub(crate) fn publish_all(
        &self,
        messages: &mut VecDeque<Message>,
        now: Instant,
    ) -> Result<usize, Refusal> {
        let mut last = LAST.take();
        let published = self.publish_runs(&mut last, messages, now);
        LAST.set(last);
        published
    }

    fn publish_runs(
        &self,
        last: &mut LastRoute,
        messages: &mut VecDeque<Message>,
        now: Instant,
    ) -> Result<usize, Refusal> {
        let mut receivers = 0;
        while let Some(first) = messages.front() {
            self.state.open()?;
            let subject = first.subject();
            let route = last.find(&self.routes, subject);
            let one_by_one = route.handlers.is_empty() || !route.subscriptions.is_empty();
            if one_by_one || subject.starts_with(INBOX) {
                receivers += self.publish_first(last, messages, now)?;
                continue;
            }
            let same = |m: &&Message| m.raw_subject() == first.raw_subject();
            let run = messages.iter().take(RUN_MAX).take_while(same).count();
            let ids = &route.handlers;
            receivers += ids.len() * self.run_to_a_shard(messages, run, ids, now)?;
        }
        Ok(receivers)
    }

    /// Publishes the first message alone: who gets it is more than handlers.
    fn publish_first(
        &self,
        last: &mut LastRoute,
        messages: &mut VecDeque<Message>,
        now: Instant,
    ) -> Result<usize, Refusal> {
        let Some(mut message) = messages.pop_front() else {
            return Ok(0);
        };
        message.arrived.get_or_insert(now);
        if message.subject().starts_with(INBOX) {
            return Ok(usize::from(self.requests.reply(&message)));
        }
        let published = self.publish_to(last, message, Publisher::Outside);
        published.map_err(|PublishError { reason, message }| {
            messages.push_front(*message);
            reason
        })
    }

    /// Puts as many as there is room for of the first `run` messages, which have one subject, into the inbox of the first shard that has
    /// room for any: how many, at least one.
    fn run_to_a_shard(
        &self,
        messages: &mut VecDeque<Message>,
        run: usize,
        ids: &[HandlerId],
        now: Instant,
    ) -> Result<usize, Refusal> {
        let (first, tries) = self.shards_for(messages[0].subject(), Publisher::Outside);
        let handlers = Handlers::new(ids);
        let mut why = FULL_LOAD;
        for shard in (0..tries).map(|step| (first + step) % self.shards.len()) {
            let Some((count, load)) = self.admit_first(shard, ids, messages, run) else {
                continue;
            };
            // As of one message: asked again once the room is taken.
            if let Err(reason) = self.state.open() {
                self.release(shard, ids, load);
                return Err(reason);
            }
            let port = &self.shards[shard];
            if port.inbox.put_first(messages, count, &handlers, now) {
                port.unpark.unpark();
                return Ok(count);
            }
            self.release(shard, ids, load);
            why = FULL_INBOX;
        }
        self.refused.fetch_add(1, Ordering::Relaxed);
        Err(Refusal::Full(why))
    }

    /// Takes room on a shard for as many of the first `run` messages as there is room for, in its inbox as well: how many, and their
    /// load. None if there is room for none, or others took it meanwhile.
    fn admit_first(
        &self,
        shard: usize,
        ids: &[HandlerId],
        messages: &VecDeque<Message>,
        run: usize,
    ) -> Option<(usize, Load)> {
        let port = &self.shards[shard];
        // At least one is tried, so that a full inbox is told from a full handler.
        let most = run.min(port.inbox.room().max(1));
        let load = |message: &Message| Load::one(message.bytes());
        let fitting = |mut load_now: Load, bound: Bound, times: usize| {
            let within = |message: &&Message| {
                load_now = load_now.plus(load(message).times(times));
                load_now.within(bound)
            };
            messages.iter().take(most).take_while(within).count()
        };
        let own = ids.iter().map(|id| {
            let in_flight = self.in_flight_of(shard, *id);
            fitting(in_flight, self.bounds[id.index()], 1)
        });
        let all = self.shard_bound.map(|bound| {
            let in_flight = port.in_flight_all.0.load(Ordering::Acquire);
            fitting(Load::from_raw(in_flight), bound, ids.len())
        });
        let count = own.chain(all).min().filter(|count| *count > 0)?;
        let loads = messages.iter().take(count).map(load);
        let load = loads.fold(Load::default(), Load::plus);
        self.admit(shard, ids, load).then_some((count, load))
    }
}
