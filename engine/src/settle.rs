//! Settling: what the end of a call, or of its sends' confirmation, means for each of its messages.
//!
//! The other half of the shard's loop: every message that a call took leaves through [`Shard::finish`], or waits for the
//! confirmation of its sends, or goes back to its batcher.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::batch::Batch;
use crate::confirm::{Held, Letter, Pending, Release, SendId, Sent, Shares, Unsent};
use crate::letter::{Carries, Sender, letter};
use crate::message::{HandlerId, Message};
use crate::outbox::{Lent, Mark, Outbox, OutboxBound, Sends};
use crate::outcome::{Fault, FaultKind, Outcome};
use crate::pack::Pack;
use crate::seams::{Ended, Guest, Transport, Unfit, Used as _};
use crate::shard::{Shard, exclusive};
use crate::time::Instant;

/// Dead letters that were not taken, and are sent again at their time. Bounded by admission: their messages are in flight.
#[derive(Debug, Default)]
pub(crate) struct Letters {
    waiting: BTreeMap<(Instant, u64), (HandlerId, Letter)>,
    count: u64,
}

impl Letters {
    /// When the next one is sent again.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.waiting.keys().next().map(|(due, _)| *due)
    }

    fn wait(&mut self, due: Instant, id: HandlerId, letter: Letter) {
        self.count += 1;
        self.waiting.insert((due, self.count), (id, letter));
    }

    fn next(&mut self, now: Instant) -> Option<(HandlerId, Letter)> {
        let first = self.waiting.first_entry()?;
        (first.key().0 <= now).then(|| first.remove())
    }
}

impl<G: Guest, T: Transport> Shard<G, T> {
    /// Settles every message of a call that has ended.
    pub(crate) fn settle(&mut self, ended: Ended<G::Used>) {
        let Ended {
            handler: id,
            mut batch,
            mut outbox,
            used,
            result,
            took,
            at,
        } = ended;
        self.metrics.took(took);
        let overflow = outbox.overflowed().map(|bound| {
            let OutboxBound {
                messages_max,
                bytes_max,
            } = bound;
            let detail = format!("sent more than {messages_max} messages or {bytes_max} bytes");
            Fault::new(FaultKind::Outbox, detail)
        });
        let result = overflow.map_or(result, Err);
        let result =
            result.and_then(|()| self.may_release(id, &batch.messages, outbox.held(used.lent())));
        let origin = batch.origin;
        let handler = &mut self.handlers[id.index()];
        if batch.overran {
            handler.slices.made_again(took);
        }
        if result.is_ok() {
            handler.batcher.observe(batch.len(), batch.bytes, took);
        }
        self.note_end(id, result.is_err(), at);
        match result {
            Ok(joint) => {
                let sent = (&mut *outbox, used.lent());
                self.succeeded(id, exclusive(&mut batch), sent, joint, at);
            }
            Err(fault) => self.failed(id, exclusive(&mut batch), &fault, at),
        }
        self.handlers[id.index()].batcher.ended(origin);
        assert!(batch.len() == 0, "every message of a call is settled");
        outbox.discard();
        self.guest.put_used(used);
        self.spare.push((batch, outbox));
    }

    /// A call failed: one message alone is the cause; several are split until it stands alone.
    fn failed(&mut self, id: HandlerId, batch: &mut Batch, fault: &Fault, at: Instant) {
        batch.unpack();
        let messages = &mut batch.messages;
        self.metrics.faulted(id, fault.kind);
        tracing::debug!(handler = self.handlers[id.index()].name, messages = messages.len(), %fault, "a call failed");
        match messages.len() {
            1 => messages
                .drain(..)
                .for_each(|m| self.attempt(id, m, fault.clone(), at)),
            _ => self.split(id, batch, at),
        }
    }

    /// Notes whether a call failed; pauses a handler that fails at nearly everything.
    fn note_end(&mut self, id: HandlerId, failed: bool, at: Instant) {
        let handler = &mut self.handlers[id.index()];
        let metrics = self.metrics.handler(id);
        if handler.pausing.ended(failed, at) {
            metrics.pauses.add(1);
            metrics.paused.set(1);
            handler.paused = true;
            let until = handler.pausing.until(at);
            let length = until.map(|until| until.saturating_duration_since(at));
            tracing::warn!(
                handler = handler.name,
                ?length,
                "nearly all its calls fail: it is paused"
            );
        } else if handler.paused && !failed {
            metrics.paused.set(0);
            handler.paused = false;
        }
    }

    /// Whether what the call held can be released, all of it. Seen before any of it leaves: what can't is then the fault of the call, and
    /// the batch is split until the input that causes it stands alone, while nothing of the others was sent. Else: whether what becomes
    /// of one send becomes of all.
    fn may_release(
        &mut self,
        id: HandlerId,
        inputs: &[Message],
        sends: Sends<'_>,
    ) -> Result<bool, Fault> {
        if sends.len() == 0 {
            return Ok(false);
        }
        let release = self.releases.next_id();
        let begun = self.transport.begin_release(id, inputs, release, sends);
        begun.map_err(|why| Fault::new(FaultKind::Refused, why))
    }

    /// Releases what the call held, then settles its messages as the guest said, or else as handled: at once, or when the sends
    /// that need it are confirmed.
    fn succeeded(
        &mut self,
        id: HandlerId,
        batch: &mut Batch,
        (outbox, lent): (&mut Outbox, Lent<'_>),
        joint: bool,
        at: Instant,
    ) {
        self.metrics.handler(id).sent.add(outbox.len() as u64);
        let release = self.releases.next_id();
        let (mut pending, mut refused) = (Pending::default(), Vec::new());
        let tell = |index, sent| match sent {
            Sent::Done => {}
            Sent::Pending => pending.add(index),
            Sent::Refused(why) => refused.push((index, why)),
        };
        let sends = outbox.release(lent);
        self.transport.send_all(id, sends, release, at, tell);
        if let Some(update) = outbox.take_update() {
            self.transport.update(id, update);
        }
        let done = pending.is_empty() && refused.is_empty();
        if done && !outbox.has_marks() {
            for pack in batch.packs.drain(..) {
                self.handled_pack(id, pack, at);
            }
        }
        batch.unpack();
        let messages = &mut batch.messages;
        if done {
            for (index, message) in messages.drain(..).enumerate() {
                self.handled(id, message, outbox.mark(index), at);
            }
            return;
        }
        let mut shares = Shares::new(if joint {
            Vec::new()
        } else {
            outbox.held(lent).runs()
        });
        for (index, why) in refused {
            shares.fail(index, Unsent::Refused(why));
        }
        let inputs = messages.drain(..).enumerate().map(|(index, mut message)| {
            message.detach();
            (message, outbox.mark(index))
        });
        let held = Held::Inputs(inputs.collect());
        self.handlers[id.index()].unconfirmed += 1;
        self.keep(id, held, pending, shares, at);
    }

    /// Keeps a release until it is confirmed; one of which nothing is to be heard is over at once.
    fn keep(&mut self, id: HandlerId, held: Held, pending: Pending, shares: Shares, at: Instant) {
        let until = at + self.handlers[id.index()].confirm_wait_max;
        let release = Release::new(id, held, pending, shares, until);
        match release.is_over() {
            true => self.confirmed(release, at),
            false => self.releases.keep(release),
        }
        self.metrics.unconfirmed.set(self.releases.len() as u64);
    }

    /// Settles what has been confirmed, refused or given up waiting for; sends dead letters again whose time has come.
    pub(crate) fn confirm(&mut self, now: Instant) {
        while let Some(report) = self.transport.report(now) {
            if let Some(release) = self.releases.report(report) {
                self.confirmed(release, now);
            }
        }
        while let Some(release) = self.releases.overdue(now) {
            self.confirmed(release, now);
        }
        while let Some((id, letter)) = self.letters.next(now) {
            self.send_letter(id, letter, now);
        }
    }

    /// Settles the messages of a release of which everything is known.
    fn confirmed(&mut self, release: Release, at: Instant) {
        let (id, held, shares) = release.into_parts();
        self.metrics.unconfirmed.set(self.releases.len() as u64);
        match held {
            Held::Inputs(inputs) => {
                self.handlers[id.index()].unconfirmed -= 1;
                self.inputs_confirmed(id, inputs, &shares, at);
            }
            Held::Letter(letter) => self.letter_confirmed(id, letter, shares.first(), at),
        }
        // There may be room again, or messages that waited behind one that is settled now.
        self.queue(id, at);
    }

    /// All confirmed: settled as the guest said. One refused: the fault of the input that it is for, or of one unknown among several,
    /// which are then called alone. Connection lost: whoever it is for is handled again, and that is no attempt.
    fn inputs_confirmed(
        &mut self,
        id: HandlerId,
        inputs: Vec<(Message, Option<Mark>)>,
        shares: &Shares,
        at: Instant,
    ) {
        let known = inputs.len() == 1 || shares.are_known();
        if let Some(why) = shares.first() {
            self.metrics.handler(id).unsent.add(1);
            let handler = &mut self.handlers[id.index()];
            if handler.unsent_lines.ask(at) {
                let others = handler.unsent_lines.left_out();
                let name = &handler.name;
                tracing::warn!(handler = name, ?why, others, "a send was not confirmed");
            }
        }
        for (place, (mut message, mark)) in inputs.into_iter().enumerate() {
            match shares.why(place) {
                None => self.handled(id, message, mark, at),
                Some(Unsent::Refused(why)) if known => {
                    self.attempt(id, message, Fault::new(FaultKind::Refused, why), at);
                }
                Some(Unsent::Refused(_)) => self.call_alone(id, &mut vec![message], at),
                Some(Unsent::Disconnected) => {
                    message.alone |= self.handlers[id.index()].batcher.is_ordered();
                    message.returns = message.returns.saturating_add(1);
                    // It grows with each time, or an outage would be spent on calls in vain.
                    let times = message.attempts.saturating_add(message.returns.into());
                    self.again(id, message, times, at);
                }
            }
        }
    }

    /// Settles a pack of which the guest said nothing: all of it was handled.
    fn handled_pack(&mut self, id: HandlerId, pack: Pack, at: Instant) {
        let latency = at.saturating_duration_since(pack.arrived.unwrap_or(at));
        self.metrics.acked_many(id, pack.len() as u64, latency);
        self.transport.settle_pack(id, pack, at);
    }

    /// Settles a message of a successful call as its guest said.
    #[inline(always)]
    fn handled(&mut self, id: HandlerId, message: Message, mark: Option<Mark>, at: Instant) {
        match mark {
            None | Some(Mark::Completed) => self.finish(id, message, Outcome::Ack, at),
            Some(Mark::Abandoned { delay_ms }) => self.abandoned(id, message, delay_ms, at),
            Some(Mark::Terminated) => self.terminated(id, message, at),
        }
    }

    /// A fault of several messages has an unknown cause: they are split until it stands alone, and that is nobody's attempt.
    fn split(&mut self, id: HandlerId, batch: &mut Batch, at: Instant) {
        match self.handlers[id.index()].batcher.split(batch, at) {
            true => self.metrics.handler(id).splits.add(1),
            false => self.call_alone(id, &mut batch.messages, at),
        }
    }

    /// Has messages called again, each alone. Where order is kept they wait here, at once and in order.
    pub(crate) fn call_alone(&mut self, id: HandlerId, messages: &mut Vec<Message>, at: Instant) {
        let ordered = self.handlers[id.index()].batcher.is_ordered();
        for mut message in messages.drain(..) {
            message.alone = true;
            match ordered {
                true => self.handlers[id.index()].batcher.push(message),
                false => self.again(id, message, 1, at),
            }
        }
    }

    /// Gives a message back to be delivered again after the delay of so many attempts.
    fn again(&mut self, id: HandlerId, message: Message, attempts: u32, at: Instant) {
        let delay = self.handlers[id.index()]
            .policy
            .delay(attempts, &mut self.jitter);
        self.finish(id, message, Outcome::Nak(delay), at);
    }

    /// Counts a fault of a message alone: it is called again after a delay, or given up on.
    fn attempt(&mut self, id: HandlerId, message: Message, fault: Fault, at: Instant) {
        self.attempt_after(id, message, fault, Duration::ZERO, at);
    }

    /// A guest abandoned a message: that counts as an attempt. It says after which delay it wants it again, or leaves that open.
    fn abandoned(&mut self, id: HandlerId, message: Message, delay_ms: u32, at: Instant) {
        let fault = Fault::new(FaultKind::Abandoned, "the guest abandoned it");
        let delay = Duration::from_millis(delay_ms.into());
        self.attempt_after(id, message, fault, delay, at);
    }

    /// Counts a fault of a message alone: it is called again after this delay, or after its policy's if this is none.
    fn attempt_after(
        &mut self,
        id: HandlerId,
        mut message: Message,
        fault: Fault,
        delay: Duration,
        at: Instant,
    ) {
        message.attempts = message.attempts.saturating_add(1);
        message.alone = true;
        let policy = &self.handlers[id.index()].policy;
        match policy.outcome(Some(fault.kind), message.attempts, &mut self.jitter) {
            Outcome::Term(_) => self.give_up(id, message, fault, at),
            Outcome::Nak(_) if !delay.is_zero() => {
                self.finish(id, message, Outcome::Nak(delay), at)
            }
            outcome => self.finish(id, message, outcome, at),
        }
    }

    /// A guest gave up on a message: that is its last attempt.
    fn terminated(&mut self, id: HandlerId, mut message: Message, at: Instant) {
        message.attempts = message.attempts.saturating_add(1);
        let fault = Fault::new(FaultKind::Terminated, "the guest gave up on it");
        self.give_up(id, message, fault, at);
    }

    /// Gives up on a message: its dead letter is sent, if its handler has them, and then it is terminated.
    fn give_up(&mut self, id: HandlerId, mut message: Message, fault: Fault, at: Instant) {
        let handler = &self.handlers[id.index()];
        let (name, attempts) = (&handler.name, message.attempts);
        tracing::warn!(handler = name, ?message, attempts, %fault, "a message was given up on");
        message.detach();
        self.handlers[id.index()].batcher.retry(&message);
        let refusals = 0;
        self.send_letter(
            id,
            Letter {
                message,
                fault,
                refusals,
            },
            at,
        );
    }

    /// The dead letter of a message, with as much of it as its taker takes.
    fn letter(&mut self, id: HandlerId, dead: &Letter, at: Instant) -> Option<Message> {
        let sender = self.handlers[id.index()].letters.as_ref()?;
        let (mut made, times) = (None, (self.wall, at));
        for carries in Carries::ALL {
            let from = self.transport.place_of(&dead.message);
            made = letter(&dead.message, &dead.fault, sender, from, carries, times);
            match &made {
                Some(made) if !self.transport.has_room_for(id, made) => {}
                _ => break,
            }
        }
        made
    }

    /// Gives up on messages that came and can't be handled, whatever their handler does.
    pub(crate) fn give_up_unfit(&mut self, at: Instant) {
        while let Some(unfit) = self.transport.unfit() {
            let Unfit {
                handler: id,
                message,
                fault,
            } = unfit;
            self.metrics.handler(id).received.add(1);
            self.metrics.faulted(id, fault.kind);
            let refusals = 0;
            self.send_letter(
                id,
                Letter {
                    message,
                    fault,
                    refusals,
                },
                at,
            );
        }
    }

    /// Sends the dead letter of a message that was given up on; without one, the message is terminated.
    fn send_letter(&mut self, id: HandlerId, dead: Letter, at: Instant) {
        let made = self.letter(id, &dead, at);
        let sender = self.handlers[id.index()].letters.as_ref();
        let Some(made) = made else {
            if let Some(sender) = sender {
                let Sender { handler, to, .. } = sender;
                tracing::warn!(
                    handler,
                    to,
                    "no dead letter: it came from the dead letters itself"
                );
            }
            return self.finish(id, dead.message, Outcome::Term(dead.fault.kind), at);
        };
        let id_of_send = SendId {
            release: self.releases.next_id(),
            index: 0,
        };
        let (mut pending, mut shares) = (Pending::default(), Shares::default());
        match self.transport.send_letter(id, made, id_of_send, at) {
            Sent::Done => {}
            Sent::Pending => pending.add(0),
            Sent::Refused(why) => shares.fail(0, Unsent::Refused(why)),
        }
        self.keep(id, Held::Letter(dead), pending, shares, at);
    }

    /// Terminates a message whose letter is in its place; else the letter is sent again after a delay.
    fn letter_confirmed(
        &mut self,
        id: HandlerId,
        mut dead: Letter,
        unsent: Option<&Unsent>,
        at: Instant,
    ) {
        let handler = &self.handlers[id.index()];
        let Some(why) = unsent else {
            self.metrics.handler(id).dead_lettered.add(1);
            return self.finish(id, dead.message, Outcome::Term(dead.fault.kind), at);
        };
        // Once a message: a subject that nobody listens on would fill the log.
        if dead.refusals == 0 {
            let name = &handler.name;
            tracing::warn!(
                handler = name,
                ?why,
                "a dead letter was not taken; it is sent again"
            );
        }
        self.metrics.handler(id).unsent.add(1);
        dead.refusals = dead.refusals.saturating_add(1);
        let delay = handler.policy.delay(dead.refusals, &mut self.jitter);
        self.letters.wait(at + delay, id, dead);
    }

    /// The one way out: a message is settled, or given back to be delivered again. Inlined, so that a message that is handled is
    /// not moved on its way.
    #[inline(always)]
    pub(crate) fn finish(
        &mut self,
        id: HandlerId,
        message: Message,
        outcome: Outcome,
        at: Instant,
    ) {
        let latency = at.saturating_duration_since(message.arrived_or(at));
        self.metrics.settled(id, outcome, latency);
        let batcher = &mut self.handlers[id.index()].batcher;
        match outcome {
            Outcome::Nak(_) => batcher.retry(&message),
            _ => batcher.settled(&message),
        }
        self.transport.settle(id, message, outcome, at);
    }
}
