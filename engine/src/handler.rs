//! One handler on one shard: what waits for it, and how it is treated.
//!
//! Owns its batcher, its policies, and the penalties it is under. Pure: handed the time.

use std::time::Duration;

use crate::batch::{Batch, BatchBound, Batcher};
use crate::letter::Sender;
use crate::limits::HandlerLimits;
use crate::outbox::OutboxBound;
use crate::outcome::Policy;
use crate::pack::Pack;
use crate::pause::Pausing;
use crate::slice::{Slices, Way};
use crate::sparse::Sparse;
use crate::time::Instant;

/// What a shard is told of a handler.
#[derive(Debug, Clone)]
pub(crate) struct Setup {
    /// What logs and dead letters call it.
    pub(crate) name: String,
    /// SHA-256 of its component, in hexadecimal digits.
    pub(crate) component: String,
    pub(crate) limits: HandlerLimits,
    /// Its budget as its owner configured it: what its guest makes of that must not bear on others.
    pub(crate) budget_of_owner: Duration,
    /// Where messages go that are given up on.
    pub(crate) dead_letter: Option<String>,
    /// Whether its messages may be shed.
    pub(crate) droppable: bool,
    /// Whether packs go into its calls as they are.
    pub(crate) packs: bool,
}

/// What a shard is told of itself.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Rules {
    /// Whether the order of each subject is kept.
    pub(crate) ordered: bool,
    /// How long a direct call may hold the shard.
    pub(crate) time_slice: Duration,
    pub(crate) fiber_stay_first: Duration,
    pub(crate) fiber_stay_max: Duration,
    /// Where its random delays come from.
    pub(crate) seed: u64,
    /// Bytes of shared buffers that come between two times that what waits is aged; 0: it is after every turn.
    pub(crate) age_bytes: u64,
}

/// One handler on one shard.
pub(crate) struct Handler {
    pub(crate) name: String,
    /// What its dead letters say of it, if it has a dead-letter subject.
    pub(crate) letters: Option<Sender>,
    pub(crate) batcher: Batcher,
    pub(crate) policy: Policy,
    pub(crate) outbox: OutboxBound,
    pub(crate) pausing: Pausing,
    pub(crate) slices: Slices,
    pub(crate) droppable: bool,
    packs: bool,
    /// Whether its last call began a pause that no call has ended yet.
    pub(crate) paused: bool,
    /// Batches that wait for confirmation.
    pub(crate) unconfirmed: usize,
    unconfirmed_max: usize,
    /// Log lines of sends that were not confirmed.
    pub(crate) unsent_lines: Sparse,
    pub(crate) confirm_wait_max: Duration,
    pub(crate) budget_of_owner: Duration,
}

impl Handler {
    /// A handler that nothing waits for.
    pub(crate) fn new(setup: Setup, rules: &Rules) -> Self {
        let limits = &setup.limits;
        let Setup {
            name, component, ..
        } = setup;
        let sender = |to| Sender {
            handler: name.clone(),
            component,
            to,
        };
        Self {
            letters: setup.dead_letter.map(sender),
            name,
            batcher: Batcher::new(batch_bound(limits), rules.ordered),
            policy: policy(limits),
            outbox: outbox_bound(limits),
            pausing: Pausing::new(limits.pause_first, limits.pause_max),
            slices: Slices::new(
                rules.time_slice,
                rules.fiber_stay_first,
                rules.fiber_stay_max,
            ),
            droppable: setup.droppable,
            packs: setup.packs,
            paused: false,
            unconfirmed: 0,
            unsent_lines: Sparse::default(),
            unconfirmed_max: unconfirmed_max(limits, rules.ordered),
            confirm_wait_max: limits.confirm_wait_max,
            budget_of_owner: setup.budget_of_owner,
        }
    }

    /// Changes its limits.
    pub(crate) fn set_limits(&mut self, limits: &HandlerLimits) {
        self.batcher.set_bound(batch_bound(limits));
        self.policy = policy(limits);
        self.outbox = outbox_bound(limits);
        self.pausing.set(limits.pause_first, limits.pause_max);
        self.unconfirmed_max = unconfirmed_max(limits, self.batcher.is_ordered());
        self.confirm_wait_max = limits.confirm_wait_max;
    }

    /// Adds a pack that has come.
    pub(crate) fn push_pack(&mut self, pack: Pack) {
        match self.packs {
            true => self.batcher.push_pack(pack),
            false => pack.messages().for_each(|m| self.batcher.push(m)),
        }
    }

    /// From when on it may be called; `None` if nothing waits for it, or something else must happen first.
    pub(crate) fn ready(&self, now: Instant) -> Option<Instant> {
        if self.batcher.is_empty() || self.unconfirmed >= self.unconfirmed_max {
            return None;
        }
        let ready = self.batcher.ready(now);
        Some(
            self.pausing
                .until(now)
                .map_or(ready, |until| until.max(ready)),
        )
    }

    /// The way that a call with this batch goes.
    pub(crate) fn way(&self, batch: &Batch, now: Instant) -> Way {
        self.slices.way(now, batch.expected)
    }
}

/// In the order of a subject a batch is settled before the next is called: a send that is refused would otherwise reorder.
fn unconfirmed_max(limits: &HandlerLimits, ordered: bool) -> usize {
    match ordered {
        true => 1,
        false => limits.unconfirmed_batches_max,
    }
}

fn batch_bound(limits: &HandlerLimits) -> BatchBound {
    BatchBound {
        messages_max: limits.batch_messages_max,
        bytes_max: limits.batch_bytes_max,
        budget: limits.latency_budget,
        linger: limits.linger,
        split_calls_max: limits.split_calls_max,
        split_time_max: limits.split_time_max,
    }
}

fn policy(limits: &HandlerLimits) -> Policy {
    Policy {
        deliveries_max: limits.deliveries_max,
        delay_first: limits.retry_delay_first,
        delay_max: limits.retry_delay_max,
    }
}

fn outbox_bound(limits: &HandlerLimits) -> OutboxBound {
    OutboxBound {
        messages_max: limits.outbox_messages_max,
        bytes_max: limits.outbox_bytes_max,
    }
}
