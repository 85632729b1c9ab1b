//! What the loop asks of a transport and of a guest, and what they tell it: the seams at which the simulator puts its own.

use std::sync::Arc;
use std::time::Duration;

use crate::batch::Batch;
use crate::confirm::{Report, SendId, Sent};
use crate::limits::HandlerLimits;
use crate::message::{HandlerId, Message};
use crate::outbox::{GuestConfiguration, Lent, Outbox, Released, Sends};
use crate::outcome::{Fault, Outcome};
use crate::pack::Pack;
use crate::slice::Way;
use crate::time::Instant;

/// A message that has come for a handler.
#[derive(Debug)]
pub(crate) struct Arrival {
    pub(crate) handler: HandlerId,
    pub(crate) message: Message,
    /// Whether it comes back after a delay.
    pub(crate) again: bool,
}

/// A message that has come and can't be handled, whatever its handler does: of it there is all but what is too large.
#[derive(Debug)]
pub(crate) struct Unfit {
    pub(crate) handler: HandlerId,
    pub(crate) message: Message,
    pub(crate) fault: Fault,
}

/// Where messages come from, and where settlements and sends go.
pub(crate) trait Transport {
    /// Hands over what has come, up to `max`.
    fn receive(&mut self, now: Instant, max: usize, take: impl FnMut(Arrival));
    /// Hands over packs that have come, up to `max` messages, but for the last pack.
    fn receive_packs(&mut self, _now: Instant, _max: usize, _take: impl FnMut(HandlerId, Pack)) {}
    /// A message that has come and can't be handled: it is given up on. The next one, if there is one.
    fn unfit(&mut self) -> Option<Unfit> {
        None
    }
    /// The thread has rested, and the poller may have told of something that it does not tell again.
    fn woken(&mut self) {}
    /// Calls `apply` for each handler whose limits have changed since the last time.
    fn changed(&mut self, apply: &mut dyn FnMut(HandlerId, &HandlerLimits));
    /// A call on these messages has ended well, and what it sent is to be released: for who sends all of it together, and for who
    /// can see that some of it can never leave. Then nothing is released, and the call has failed, for this reason. Else: whether the
    /// sends of several messages are stored together or not at all, so that what becomes of one becomes of all.
    fn begin_release(
        &mut self,
        _from: HandlerId,
        _inputs: &[Message],
        _release: u64,
        _sends: Sends<'_>,
    ) -> Result<bool, String> {
        Ok(false)
    }
    /// Takes a released send of this handler's guest, and says whether it will report on it.
    fn send(&mut self, from: HandlerId, message: Message, id: SendId, now: Instant) -> Sent;
    /// Takes the sends of a release, in their order, and tells of each that is not done at once.
    fn send_all(
        &mut self,
        from: HandlerId,
        sends: Released<'_>,
        release: u64,
        now: Instant,
        mut tell: impl FnMut(u32, Sent),
    ) {
        for (message, index) in sends.zip(0..) {
            let id = SendId { release, index };
            match self.send(from, message, id, now) {
                Sent::Done => {}
                sent => tell(index, sent),
            }
        }
    }
    /// Whether a dead letter is small enough to be taken, as far as can be known.
    fn has_room_for(&mut self, _from: HandlerId, _letter: &Message) -> bool {
        true
    }
    /// The stream that a message came from, and its number there.
    fn place_of(&self, _message: &Message) -> Option<(String, u64)> {
        None
    }
    /// Takes a dead letter: as a send, but refused where nobody takes it.
    fn send_letter(&mut self, from: HandlerId, message: Message, id: SendId, now: Instant) -> Sent;
    /// What has become of sends since the last time: the next report, if there is one.
    fn report(&mut self, now: Instant) -> Option<Report>;
    /// Takes a released update of a handler's configuration.
    fn update(&mut self, handler: HandlerId, update: GuestConfiguration);
    /// Settles a message: its last word, or its return after a delay.
    fn settle(&mut self, handler: HandlerId, message: Message, outcome: Outcome, now: Instant);
    /// Settles the messages of a pack, all of which were handled.
    fn settle_pack(&mut self, handler: HandlerId, pack: Pack, now: Instant) {
        for message in pack.messages() {
            self.settle(handler, message, Outcome::Ack, now);
        }
    }
    /// Writes out what the turn has gathered.
    fn flush(&mut self);
    /// Bytes of buffers in which messages came together, so far: a message that waits keeps all of its buffer.
    fn shared_bytes(&self) -> u64;
    /// Whether nothing has come from outside.
    fn is_quiet(&self) -> bool;
    /// When it next has something of its own accord.
    fn due(&self) -> Option<Instant>;
}

/// A call to be made.
pub(crate) struct Call {
    pub(crate) handler: HandlerId,
    pub(crate) batch: Arc<Batch>,
    pub(crate) outbox: Box<Outbox>,
    pub(crate) way: Way,
}

/// A call that has ended.
pub(crate) struct Ended<U> {
    pub(crate) handler: HandlerId,
    /// Given back whole: nobody else holds it.
    pub(crate) batch: Arc<Batch>,
    /// What the call held; new and empty if it was lost with the call.
    pub(crate) outbox: Box<Outbox>,
    /// Its instance, in whose memory what the call sent may lie.
    pub(crate) used: U,
    pub(crate) result: Result<(), Fault>,
    /// How long it took, the turns of others left out.
    pub(crate) took: Duration,
    /// When it ended.
    pub(crate) at: Instant,
}

/// What became of the start of a call.
pub(crate) enum Started<U> {
    /// It is done.
    Ended(Ended<U>),
    /// It waits, or gave the shard back; [`Guest::resume`] goes on with it.
    Suspended,
    /// It was direct, held the shard for longer than its slice and was abandoned at this time: nothing of it remains.
    Overran(Call, Instant),
    /// There is no free slot for an instance: nothing has happened.
    NoSlot(Call),
}

/// A suspended call that wants to go on.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Runnable<'a> {
    pub(crate) handler: HandlerId,
    pub(crate) batch: &'a Batch,
    /// When it began.
    pub(crate) began: Instant,
}

/// An instance after its call.
pub(crate) trait Used {
    /// What of its memory is lent to the call's outbox.
    fn lent(&self) -> Lent<'_> {
        Lent::default()
    }
}

/// In the place of one: it lends nothing.
impl Used for () {}

/// What runs the handlers' components.
pub(crate) trait Guest {
    /// An instance after its call.
    type Used: Used;

    /// Calls a handler with a batch, in an instance that has seen nothing.
    fn start(&mut self, call: Call, now: Instant) -> Started<Self::Used>;
    /// Calls `mark` for each suspended call whose wait is over.
    fn runnable(&self, now: Instant, mark: &mut dyn FnMut(Runnable<'_>));
    /// Goes on with a suspended call of this handler whose wait is over, until it ends or suspends again.
    fn resume(&mut self, handler: HandlerId, now: Instant) -> Option<Ended<Self::Used>>;
    /// Takes an instance back, of a call that is settled.
    fn put_used(&mut self, used: Self::Used);
    /// Whether the handler may have one more call of this way.
    fn may_start(&self, handler: HandlerId, way: Way) -> bool;
    /// Drops used instances; in an idle turn also readies one. Whether there is more of that to do.
    fn tend(&mut self, idle: bool) -> bool;
    /// Changes a handler's limits for the calls to come.
    fn set_limits(&mut self, handler: HandlerId, limits: &HandlerLimits);
    /// When a suspended call wants to go on.
    fn due(&self) -> Option<Instant>;
}

/// What the shard wants after a turn.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// Another turn, at once.
    Again,
    /// To rest until something comes, or until this time.
    Rest(Option<Instant>),
}
