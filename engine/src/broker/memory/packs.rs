//! Publishing a pack: routed once, admitted as a whole or in part, and put into a shard's inbox as it is.
//!
//! A pack goes its own way only to one handler, which treats its messages alike. Where more has to be done with each of them they are
//! published as `runs.rs` does.

use std::collections::VecDeque;
use std::sync::atomic::Ordering;

use super::Memory;
use super::publish::{FULL_INBOX, FULL_LOAD, LAST, Publisher};
use crate::admission::{Bound, Load};
use crate::config::Spread;
use crate::error::Refusal;
use crate::message::HandlerId;
use crate::pack::Pack;
use crate::subject::INBOX;
use crate::time::Instant;

impl Memory {
    /// Publishes messages from the front of a pack, until it is empty or there is no room for more: what is left stays in it. How many
    /// handlers and subscriptions got them, added up.
    pub(crate) fn publish_pack(&self, pack: &mut Pack, now: Instant) -> Result<usize, Refusal> {
        if pack.is_empty() {
            return Ok(0);
        }
        let mut last = LAST.take();
        let route = last.find(&self.routes, pack.subject());
        let handler = match (&*route.handlers, &*route.subscriptions) {
            (&[handler], []) if self.spread == Spread::Any => Some(handler),
            _ => None,
        };
        let handler = handler.filter(|_| !pack.subject().starts_with(INBOX));
        LAST.set(last);
        match handler {
            Some(handler) => self.pack_to_shards(pack, handler, now),
            None => self.publish_unpacked(pack, now),
        }
    }

    /// Publishes a pack's messages as messages of their own.
    fn publish_unpacked(&self, pack: &mut Pack, now: Instant) -> Result<usize, Refusal> {
        let mut messages: VecDeque<_> = pack.messages().collect();
        let published = self.publish_all(&mut messages, now);
        pack.split_to(pack.len() - messages.len());
        published
    }

    fn pack_to_shards(
        &self,
        pack: &mut Pack,
        id: HandlerId,
        now: Instant,
    ) -> Result<usize, Refusal> {
        let mut receivers = 0;
        while !pack.is_empty() {
            self.state.open()?;
            receivers += self.pack_to_a_shard(pack, id, now)?;
        }
        Ok(receivers)
    }

    /// Puts as many messages as there is room for into the inbox of the first shard that has room for any: how many, at least one.
    fn pack_to_a_shard(
        &self,
        pack: &mut Pack,
        id: HandlerId,
        now: Instant,
    ) -> Result<usize, Refusal> {
        let (first, tries) = self.shards_for(pack.subject(), Publisher::Outside);
        let mut why = FULL_LOAD;
        for shard in (0..tries).map(|step| (first + step) % self.shards.len()) {
            let Some((count, load)) = self.admit_of(shard, id, pack) else {
                continue;
            };
            // As of one message: asked again once the room is taken.
            if let Err(reason) = self.state.open() {
                self.release(shard, &[id], load);
                return Err(reason);
            }
            let mut rest = pack.clone();
            let mut part = rest.split_to(count);
            part.arrived.get_or_insert(now);
            let port = &self.shards[shard];
            if port.inbox.put_pack(id, part).is_ok() {
                *pack = rest;
                port.unpark.unpark();
                return Ok(count);
            }
            self.release(shard, &[id], load);
            why = FULL_INBOX;
        }
        self.refused.fetch_add(1, Ordering::Relaxed);
        Err(Refusal::Full(why))
    }

    /// Takes room on a shard for as many of a pack's first messages as there is room for, in its inbox as well: how many, and their
    /// load. None if there is room for none, or others took it meanwhile.
    fn admit_of(&self, shard: usize, id: HandlerId, pack: &Pack) -> Option<(usize, Load)> {
        // At least one is tried, so that a full inbox is told from a full handler.
        let most = self.shards[shard].inbox.room().max(1);
        self.admit_part(shard, id, pack, most)
    }

    /// Takes room for as many of a pack's first messages as there is room for, and for `most` at most: how many, and their load. None
    /// if there is room for none, or others took it meanwhile.
    pub(super) fn admit_part(
        &self,
        shard: usize,
        id: HandlerId,
        pack: &Pack,
        most: usize,
    ) -> Option<(usize, Load)> {
        let port = &self.shards[shard];
        let most = pack.len().min(most);
        let fitting = |load_now: Load, bound: Bound| {
            let all = load_now.plus(Load::of(pack.len(), pack.bytes()));
            if most == pack.len() && all.within(bound) {
                return most;
            }
            let mut load = load_now;
            let within = |bytes: &usize| {
                load = load.plus(Load::one(*bytes));
                load.within(bound)
            };
            pack.sizes().take(most).take_while(within).count()
        };
        let own = fitting(self.in_flight_of(shard, id), self.bounds[id.index()]);
        let all = self.shard_bound.map(|bound| {
            let in_flight = port.in_flight_all.0.load(Ordering::Acquire);
            fitting(Load::from_raw(in_flight), bound)
        });
        let count = all.map_or(own, |all| all.min(own));
        if count == 0 {
            return None;
        }
        let load = match count == pack.len() {
            true => Load::of(count, pack.bytes()),
            false => Load::of(count, pack.sizes().take(count).sum()),
        };
        self.admit(shard, &[id], load).then_some((count, load))
    }
}
