//! One shard's side of the servers: its own connection, read on its own thread; and, behind it, the in-process broker.
//!
//! Owns the way of a message from the socket to its handler and of its settlement back. What is taken is in `takes.rs`, how streams are
//! asked in `pulls.rs`, what is to be confirmed in `confirms.rs`. Knows no guest.
//!
//! Sends while there is no connection: they are held like all others until their call is over. Then they are not sent, and the
//! call's inputs are handled again after a delay, which is nobody's attempt. Settlements of streams' messages wait for the next connection.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;

use super::atomic::Atomic;
use super::confirms::Confirms;
use super::connection::{Barrier, Connection};
use super::feeds::{Question, Wish, Wishes};
use super::js::ack::{self, Delivery};
use super::js::publish::{BATCH_HEADERS, PublishReply, STORE_HEADERS, Verdict};
use super::js::pull::PullRequest;
use super::packing::Packing;
use super::pulls::Ask;
use super::renew::Renewal;
use super::requests::Requests;
use super::senders::Senders;
use super::status::{Status, Trouble};
use super::takes::{FromStream, Subscribed, Take, Takes, Use, to_confirms};
use super::unacked::Unacked;
use super::wire::parse::{Found, Incoming};
use super::wire::write::{WriteError, Writer};
use crate::broker::memory::transport::MemoryTransport;
use crate::broker::nats::control::{Asker, DeliveryLevel};
use crate::confirm::{Report, SendId, Sent, Unsent};
use crate::error::Refusal;
use crate::limits::HandlerLimits;
use crate::message::{HandlerId, Message, Via};
use crate::metrics::ShardMetrics;
use crate::outbox::{GuestConfiguration, Released, Send, Sends};
use crate::outcome::{Outcome, ShedReason};
use crate::pack::Pack;
use crate::seams::{Arrival, Transport, Unfit};
use crate::sparse::Sparse;
use crate::time::Instant;

/// Bytes that one turn reads at most: a thousand messages of 128 bytes with their lines, so that calls are made between reads.
const READ_BYTES: usize = 256 << 10;

/// What a shard is told of its connection.
pub(crate) struct NatsSetup {
    /// A row a handler: where its messages come from.
    pub(crate) takes: Vec<Take>,
    /// What this shard's own reply subjects begin with.
    pub(crate) inbox: String,
    /// Where streams are looked up anew, if any handler takes from one.
    pub(crate) asker: Option<Asker>,
    /// How often that is done.
    pub(crate) renew_every: std::time::Duration,
    /// Differs from start to start.
    pub(crate) seed: u64,
    /// How long a send may wait for its confirmation, of all handlers.
    pub(crate) confirm_wait_max: std::time::Duration,
    pub(crate) status: Arc<Status>,
    pub(crate) wishes: Arc<Mutex<Wishes>>,
    pub(crate) metrics: Arc<ShardMetrics>,
}

/// One shard's side of the servers.
pub(crate) struct NatsTransport {
    pub(super) connection: Connection,
    pub(super) desk: Desk,
    pub(super) process: MemoryTransport,
    /// The time as the shard last said it.
    pub(super) now: Instant,
}

/// Everything but the connection.
pub(super) struct Desk {
    /// A row a handler.
    pub(super) handlers: Vec<Take>,
    pub(super) takes: Takes,
    pub(super) confirms: Confirms,
    pub(super) requests: Requests,
    pub(super) unacked: Unacked,
    /// Settlements that wait for a connection.
    pub(super) owed: VecDeque<(HandlerId, Message, Outcome)>,
    /// Messages that are acknowledged on arrival.
    on_arrival: Vec<Message>,
    /// Messages that came in this turn for handlers whose calls take packs.
    packing: Packing,
    pub(super) reports: VecDeque<Report>,
    pub(super) status: Arc<Status>,
    pub(super) wishes: Arc<Mutex<Wishes>>,
    metrics: Arc<ShardMetrics>,
    /// Lines that are to be written, in order: all that a full connection did not take. Two a subscription at most.
    pub(super) lines: VecDeque<Line>,
    /// Passed when all that was subscribed is known to the server.
    pub(super) subscribed: Mark,
    /// Passed when nothing more comes after a drain began.
    pub(super) ended: Mark,
    /// Passed when the server has all that was said while draining.
    pub(super) said: Option<Barrier>,
    pub(super) draining: bool,
    /// Whether the server refused something since the connection began.
    pub(super) refused: bool,
    /// Subscriptions that it refused, of the present connection: bounded by their number.
    pub(super) deaf: Vec<u64>,
    /// What came from streams and is too large to be read. Bounded by what streams are asked for.
    pub(super) unfit: VecDeque<Unfit>,
    /// Log lines of what was too large, and of what was refused.
    pub(super) large: Sparse,
    pub(super) refusals: Sparse,
    pub(super) senders: Senders,
    /// The sends of an input that are being written together.
    pub(super) atomic: Option<Atomic>,
    /// Whether there is no room for what is being released: nothing of it is sent, and its inputs are handled again.
    pub(super) no_room: bool,
    /// Differs from start to start: names batches.
    pub(super) seed: u64,
    renewal: Option<Renewal>,
}

/// A line about a subscription.
#[derive(Debug, Clone, Copy)]
pub(super) enum Line {
    Subscribe(u64),
    Unsubscribe(u64),
}

/// Whether the server has all lines that were to be written by then.
#[derive(Debug, Clone, Copy)]
pub(super) enum Mark {
    /// Nothing is waited for.
    None,
    /// Some are still to be written, or what the server is to answer.
    Unwritten,
    /// The server is to answer this.
    Written(Barrier),
}

impl NatsTransport {
    /// A connection that is made as soon as the shard turns.
    pub(crate) fn new(
        connection: Connection,
        process: MemoryTransport,
        setup: NatsSetup,
        now: Instant,
    ) -> Self {
        let packing = Packing::new(setup.takes.len());
        let confirms = Confirms::new(format!("{}c.", setup.inbox), setup.confirm_wait_max);
        let (mut takes, senders) = (Takes::default(), Senders::new(setup.takes.len()));
        takes.add(to_confirms(&confirms));
        for (take, id) in setup.takes.iter().zip(0..) {
            if let Take::Stream(stream) = take {
                takes.add(Subscribed {
                    pattern: stream.answers(),
                    queue: None,
                    use_: Use::Pulls(HandlerId(id)),
                });
            }
        }
        let mut transport = Self {
            connection,
            process,
            now,
            desk: Desk {
                handlers: setup.takes,
                takes,
                confirms,
                requests: Requests::new(format!("{}r.", setup.inbox)),
                unacked: Unacked::default(),
                owed: VecDeque::new(),
                on_arrival: Vec::new(),
                packing,
                reports: VecDeque::new(),
                status: setup.status,
                wishes: setup.wishes,
                metrics: setup.metrics,
                lines: VecDeque::new(),
                subscribed: Mark::None,
                ended: Mark::None,
                said: None,
                draining: false,
                refused: false,
                deaf: Vec::new(),
                unfit: VecDeque::new(),
                large: Sparse::default(),
                refusals: Sparse::default(),
                senders,
                atomic: None,
                no_room: false,
                seed: setup.seed,
                renewal: setup
                    .asker
                    .map(|asker| Renewal::new(asker, setup.renew_every, now)),
            },
        };
        transport.listen();
        transport
    }

    /// Brings what handlers hear in line with what they are to hear.
    fn listen(&mut self) {
        let Self { desk, process, .. } = self;
        if desk.draining {
            return;
        }
        let mut lines = Vec::new();
        for (take, id) in desk.handlers.iter().zip(0..) {
            let Take::Core {
                queue, here: true, ..
            } = take
            else {
                continue;
            };
            let id = HandlerId(id);
            let (ended, added) = desk.takes.set(id, queue.as_deref(), &process.channels(id));
            lines.extend(ended.into_iter().map(Line::Unsubscribe));
            lines.extend(added.into_iter().map(Line::Subscribe));
        }
        self.say(lines);
    }

    /// Tells the server of subscriptions, now or when there is room. Without a connection there is no need: a new one is told of all.
    pub(super) fn say(&mut self, lines: impl IntoIterator<Item = Line>) {
        if self.connection.is_live() {
            self.desk.lines.extend(lines);
            self.write_lines();
        }
    }

    /// Writes the lines that there is room for.
    fn write_lines(&mut self) {
        while let Some(line) = self.desk.lines.front() {
            let writer = self.connection.writer();
            let written = match *line {
                Line::Subscribe(sid) => self.desk.takes.subscribe(sid, writer),
                Line::Unsubscribe(sid) => writer.unsubscribe(sid, None),
            };
            if matches!(written, Err(WriteError::Full { .. })) {
                return;
            }
            told(written);
            self.desk.lines.pop_front();
        }
    }

    /// Has the server answer once it has all lines.
    pub(super) fn mark(&mut self, mark: Mark, now: Instant) -> Mark {
        match mark {
            Mark::Unwritten if self.desk.lines.is_empty() => {
                let barrier = self.connection.barrier(now);
                barrier.map_or(Mark::Unwritten, Mark::Written)
            }
            Mark::Written(barrier) if self.connection.has_passed(barrier) => Mark::None,
            other => other,
        }
    }

    /// Does what guests wished for since the last time.
    fn grant(&mut self) {
        let wishes = match self.desk.wishes.lock() {
            wishes if wishes.is_empty() => return,
            mut wishes => wishes.take(),
        };
        for wish in wishes {
            match wish {
                Wish::Subscribe(pattern, feed) => {
                    let sid = self.desk.takes.add(Subscribed {
                        pattern,
                        queue: None,
                        use_: Use::Feed(feed),
                    });
                    self.say([Line::Subscribe(sid)]);
                }
                Wish::Unsubscribe(id) => {
                    let of = |s: &Subscribed| matches!(&s.use_, Use::Feed(feed) if feed.id == id);
                    let ended = self.desk.takes.end(of);
                    self.say(ended.into_iter().map(Line::Unsubscribe));
                }
                Wish::Request(question) => self.request(question),
                Wish::Forget(token) => self.desk.requests.close(token),
            }
        }
    }

    /// Sends a guest's request; its guest is told if that can't be.
    fn request(&mut self, question: Question) {
        let Question {
            token,
            from,
            message,
            answers,
        } = question;
        if self.process.answer(&message) {
            return;
        }
        if !self.connection.is_live() {
            return answers.end(Refusal::Disconnected);
        }
        self.process.tell_subscriptions(&message);
        let desk = &mut self.desk;
        desk.senders.sent(from, message.raw_subject());
        if !desk.requests.listens {
            desk.requests.listens = true;
            let sid = desk.takes.add(desk.requests.inbox());
            self.say([Line::Subscribe(sid)]);
        }
        if !self.desk.lines.is_empty() {
            // Nobody would hear the answer.
            return answers.end(Refusal::Disconnected);
        }
        let (writer, desk) = (self.connection.writer(), &mut self.desk);
        let reply = desk
            .requests
            .open(token, message.subject(), Arc::clone(&answers));
        let written = writer.publish(message.subject(), Some(&reply), &message);
        if let Err(fault) = written {
            answers.end(Refusal::Unsendable(fault.to_string()));
        }
    }

    /// Asks streams for what handlers have room for.
    fn pull(&mut self, now: Instant) {
        if !self.connection.is_live() || self.desk.draining {
            return;
        }
        for (take, id) in self.desk.handlers.iter_mut().zip(0..) {
            let Take::Stream(stream) = take else {
                continue;
            };
            stream.pulls.expire(now);
            if stream.stopped {
                continue;
            }
            let room = self.process.room(HandlerId(id), stream.most);
            while let Some(asked) = stream.pulls.ask(room, stream.most, now) {
                let to = format!("{}{}.{}", stream.inbox, stream.session, asked.number);
                let mut body = Vec::new();
                request(&asked).put(&mut body);
                let writer = self.connection.writer();
                let written = writer.publish_bytes(&stream.asked, Some(&to), &[], &body);
                if written.is_err() {
                    // Asked again next time: there is a next time, since what fills the connection is written or it ends.
                    stream.pulls.take_back();
                    break;
                }
            }
        }
    }

    /// Tells servers which messages are still worked on; acknowledges what is to be on arrival, and what waited for a connection.
    fn acknowledge(&mut self, now: Instant) {
        if !self.connection.is_live() {
            self.desk.on_arrival.clear();
            return;
        }
        let writer = self.connection.writer();
        let on_arrival = &mut self.desk.on_arrival;
        let acked = |message: &&Message| settle(writer, message, Outcome::Ack).is_ok();
        let acked = on_arrival.iter().take_while(acked).count();
        on_arrival.drain(..acked);
        on_arrival.iter_mut().for_each(Message::detach);
        self.desk.unacked.progress(now, |subject| {
            told(writer.publish_bytes(subject, None, &[], ack::PROGRESS));
        });
        while let Some((id, message, outcome)) = self.desk.owed.pop_front() {
            if settle(self.connection.writer(), &message, outcome).is_err() {
                self.desk.owed.push_front((id, message, outcome));
                return;
            }
            self.process.settle(id, message, Outcome::Ack, now);
        }
    }

    /// Publishes a send that nobody confirms. Inlined, so that its parts stay in registers: they would be written by eights and read by
    /// sixteens, which waits for the writes.
    #[inline(always)]
    fn publish_plain(&mut self, send: Send<'_>, id: SendId) -> Sent {
        if !self.connection.is_live() || self.desk.no_room {
            return self.unsent(id);
        }
        match self.connection.writer().publish_send(send) {
            Ok(()) => Sent::Done,
            Err(WriteError::Full { .. }) => self.unsent(id),
            Err(fault) => Sent::Refused(fault.to_string()),
        }
    }

    /// Publishes a send: with a reply subject, and without some headers, where a stream is to confirm it.
    fn publish(
        &mut self,
        message: &Message,
        id: SendId,
        confirmed: Option<&[&str]>,
        now: Instant,
    ) -> Sent {
        let Some(dropped) = confirmed else {
            return self.publish_plain(Send::from(message), id);
        };
        if !self.connection.is_live() || self.desk.no_room {
            return self.unsent(id);
        }
        let writer = self.connection.writer();
        let Some(reply) = self.desk.confirms.open(id, now) else {
            return self.unsent(id);
        };
        let written =
            writer.publish_edited(message.raw_subject(), Some(reply), &[], dropped, message);
        let Err(fault) = written else {
            return Sent::Pending;
        };
        self.desk.confirms.take_back();
        match fault {
            WriteError::Full { .. } => self.unsent(id),
            fault => Sent::Refused(fault.to_string()),
        }
    }

    /// Publishes a send that is stored with all others of its input, or not at all; the last one's answer is that of all.
    fn publish_atomic(
        &mut self,
        message: &Message,
        id: SendId,
        atomic: &mut Atomic,
        now: Instant,
    ) -> Sent {
        if atomic.broken {
            return Sent::Done;
        }
        let live = self.connection.is_live() && !self.desk.no_room;
        let all = atomic.answer_to(id);
        let confirms = &mut self.desk.confirms;
        let mut open = || atomic.reply(|| confirms.open(all, now).map(str::to_owned));
        let Some(reply) = live.then(&mut open).flatten() else {
            atomic.broken = true;
            return self.unsent(id);
        };
        let writer = self.connection.writer();
        let written = atomic.headers(id.index, |headers| {
            writer.publish_edited(
                message.raw_subject(),
                Some(&reply),
                headers,
                &BATCH_HEADERS,
                message,
            )
        });
        match written {
            Ok(()) if atomic.is_last(id.index) => Sent::Pending,
            Ok(()) => Sent::Done,
            Err(fault) => {
                atomic.broken = true;
                self.desk.confirms.answered(Atomic::opened(&reply).0);
                match fault {
                    WriteError::Full { .. } => self.unsent(id),
                    fault => Sent::Refused(fault.to_string()),
                }
            }
        }
    }

    /// Whether a message that is to be called again waits here, while its server is told that it is worked on. Its server counts each
    /// delivery as an attempt: what counts as none is not given back, unless the engine ends. And where the order of a subject is
    /// kept nothing is: it would come back behind later ones.
    #[cold]
    fn stays(&self, message: &Message) -> bool {
        if self.process.is_ordered() {
            return true;
        }
        let reply = std::str::from_utf8(message.raw_reply_to()).unwrap_or_default();
        let counted = Delivery::parse(reply).map_or(0, |delivery| delivery.delivered);
        !self.desk.draining && u64::from(message.attempts) < counted
    }

    /// A send that can't leave now: its input is handled again, and that is no attempt.
    fn unsent(&mut self, id: SendId) -> Sent {
        let result = Err(Unsent::Disconnected);
        self.desk.reports.push_back(Report { id, result });
        Sent::Pending
    }
}

impl Desk {
    /// A message has come: to whoever its subscription is for.
    #[inline]
    fn take(
        &mut self,
        found: Found,
        chunk: &Bytes,
        now: Instant,
        process: &mut MemoryTransport,
        take: &mut impl FnMut(Arrival),
    ) {
        match self.takes.use_of(found.sid) {
            Some(&Use::Core(id)) => {
                let (frame, layout) = found.parts(chunk);
                if self.takes.is_anothers(found.sid, layout.subject.of(frame)) {
                    return;
                }
                if let Take::Core { packs: true, .. } = self.handlers[id.index()] {
                    return self.packing.add(id, frame, layout);
                }
                self.core(id, found.incoming(chunk).message, now, process, take);
            }
            Some(&Use::Pulls(id)) => self.pulled(id, found.incoming(chunk), now, process, take),
            Some(Use::Confirms) => self.confirmed(&found.incoming(chunk)),
            Some(Use::Requests) => self.requests.answered(found.incoming(chunk)),
            Some(Use::Feed(feed)) => {
                let mut message = found.incoming(chunk).message;
                message.detach();
                feed.push(message);
            }
            // Its subscription has ended meanwhile.
            None => {}
        }
    }

    #[inline]
    fn core(
        &mut self,
        id: HandlerId,
        mut message: Message,
        now: Instant,
        process: &mut MemoryTransport,
        take: &mut impl FnMut(Arrival),
    ) {
        message.via = Via::Core;
        if process.admit(id, &message) {
            return take(process.arrival(id, message, now));
        }
        self.shed(id, ShedReason::Full);
    }

    /// Counts a message that is not taken.
    pub(super) fn shed(&self, id: HandlerId, why: ShedReason) {
        self.shed_many(id, why, 1);
    }

    /// Counts messages that are not taken.
    fn shed_many(&self, id: HandlerId, why: ShedReason, count: usize) {
        let metrics = self.metrics.handler(id);
        metrics.received.add(count as u64);
        metrics.shed[why as usize].add(count as u64);
    }

    fn pulled(
        &mut self,
        id: HandlerId,
        incoming: Incoming,
        now: Instant,
        process: &mut MemoryTransport,
        take: &mut impl FnMut(Arrival),
    ) {
        let Take::Stream(stream) = &mut self.handlers[id.index()] else {
            return;
        };
        let count = stream.counts.of(incoming.message.raw_reply_to());
        let Some(before) = count.and_then(|count| count.checked_sub(1)) else {
            if let Some(why) = stream.told(&incoming, now) {
                self.status.set_trouble(Trouble::Refused(why));
            }
            return;
        };
        let mut message = incoming.message;
        stream.pulls.came(message.bytes() as u64, now);
        message.attempts = u32::try_from(before).unwrap_or(u32::MAX);
        message.alone = before > 0;
        message.via = Via::Stream;
        if stream.level == DeliveryLevel::AtMostOnce {
            self.on_arrival.push(message.clone());
            if before > 0 {
                // It may have been called already, and its ack was lost.
                return self.shed(id, ShedReason::Repeated);
            }
            message.via = Via::Acked;
        } else {
            let wait = stream.bound.ack_wait;
            message.place = self.unacked.keep(message.raw_reply_to(), wait, now);
        }
        process.admit_always(id, &message);
        take(process.arrival(id, message, now));
    }

    /// A stream has stored a send, or says why not.
    fn confirmed(&mut self, incoming: &Incoming) {
        let reply = PublishReply::of(incoming.status, incoming.message.payload());
        if matches!(reply, PublishReply::Staged) {
            return;
        }
        let (subject, several) = Atomic::opened(incoming.message.subject());
        let Some(id) = self.confirms.answered(subject) else {
            return;
        };
        let result = stored(reply, several);
        self.reports.push_back(Report { id, result });
    }
}

impl Transport for NatsTransport {
    fn receive(&mut self, now: Instant, max: usize, mut take: impl FnMut(Arrival)) {
        self.now = now;
        self.process.receive(now, max, &mut take);
        let Self {
            connection,
            desk,
            process,
            ..
        } = self;
        connection.look();
        connection.receive(now, READ_BYTES, |found, chunk| {
            desk.take(found, chunk, now, process, &mut take);
        });
        while let Some(change) = self.connection.state_changes() {
            self.change(change, now);
        }
        self.write_lines();
        self.proceed(now);
        if let Some(renewal) = &mut self.desk.renewal {
            renewal.go_on(&mut self.desk.handlers, now);
        }
        self.acknowledge(now);
    }

    fn receive_packs(&mut self, now: Instant, max: usize, mut take: impl FnMut(HandlerId, Pack)) {
        self.process.receive_packs(now, max, &mut take);
        while let Some((id, mut pack)) = self.desk.packing.next() {
            let (all, mut shed) = (pack.len(), 0);
            while !pack.is_empty() {
                let mut admitted = self.process.admit_pack(id, &mut pack, now);
                if admitted.is_empty() {
                    // Behind one that is too large there may be smaller ones.
                    pack.split_to(1);
                    shed += 1;
                } else {
                    if admitted.len() < all {
                        admitted.detach();
                    }
                    take(id, admitted);
                }
            }
            if shed > 0 {
                self.desk.shed_many(id, ShedReason::Full, shed);
            }
        }
    }

    fn woken(&mut self) {
        self.connection.wake();
    }

    fn changed(&mut self, apply: &mut dyn FnMut(HandlerId, &HandlerLimits)) {
        let mut any = false;
        self.process.changed(&mut |id, limits| {
            any = true;
            apply(id, limits);
        });
        if any {
            self.listen();
        }
    }

    fn send(&mut self, from: HandlerId, message: Message, id: SendId, now: Instant) -> Sent {
        if self.process.answer(&message) {
            return Sent::Done;
        }
        self.process.tell_subscriptions(&message);
        self.desk.senders.sent(from, message.raw_subject());
        let confirmed = match &self.desk.handlers[from.index()] {
            Take::Stream(stream) => stream.confirms(message.subject()),
            Take::Core { .. } | Take::Process => false,
        };
        match self.desk.atomic.take() {
            Some(mut atomic) => {
                let sent = self.publish_atomic(&message, id, &mut atomic, now);
                self.desk.atomic = (!atomic.is_last(id.index)).then_some(atomic);
                sent
            }
            None => self.publish(&message, id, confirmed.then_some(&BATCH_HEADERS), now),
        }
    }

    /// What nobody in this process hears, and no stream confirms, is written as it lies, in its call's buffer or its guest's memory, without a message made
    /// of it.
    fn send_all(
        &mut self,
        from: HandlerId,
        mut sends: Released<'_>,
        release: u64,
        now: Instant,
        mut tell: impl FnMut(u32, Sent),
    ) {
        let plain = match &self.desk.handlers[from.index()] {
            Take::Stream(stream) => stream.level == DeliveryLevel::AtMostOnce,
            Take::Core { .. } | Take::Process => true,
        };
        let plain = plain && !self.process.hears_what_leaves();
        for index in 0.. {
            let id = SendId { release, index };
            let sent = match sends.peek() {
                None => return,
                Some(send) if plain => {
                    self.desk.senders.sent(from, send.subject);
                    let sent = self.publish_plain(send, id);
                    sends.leave_out(1);
                    sent
                }
                Some(_) => {
                    let message = sends.next().expect("it was looked at");
                    self.send(from, message, id, now)
                }
            };
            match sent {
                Sent::Done => {}
                sent => tell(index, sent),
            }
        }
    }

    fn begin_release(
        &mut self,
        from: HandlerId,
        inputs: &[Message],
        release: u64,
        sends: Sends<'_>,
    ) -> Result<bool, String> {
        self.may_release(from, inputs, release, sends)
    }

    fn has_room_for(&mut self, from: HandlerId, letter: &Message) -> bool {
        self.takes_letter(from, letter)
    }

    fn place_of(&self, message: &Message) -> Option<(String, u64)> {
        let from_stream = message.via == Via::Stream;
        let reply = from_stream.then(|| std::str::from_utf8(message.raw_reply_to()));
        let delivery = Delivery::parse(reply?.ok()?)?;
        Some((delivery.stream.to_owned(), delivery.stream_sequence))
    }

    fn unfit(&mut self) -> Option<Unfit> {
        self.desk.unfit.pop_front()
    }

    fn send_letter(&mut self, from: HandlerId, message: Message, id: SendId, now: Instant) -> Sent {
        // At the start it was seen that a stream takes the letters of a handler that takes from one.
        let confirmed = matches!(self.desk.handlers[from.index()], Take::Stream(_));
        self.process.tell_subscriptions(&message);
        self.desk.senders.sent(from, message.raw_subject());
        self.desk.no_room = false;
        self.publish(&message, id, confirmed.then_some(&STORE_HEADERS), now)
    }

    fn report(&mut self, _: Instant) -> Option<Report> {
        self.desk.reports.pop_front()
    }

    fn update(&mut self, handler: HandlerId, update: GuestConfiguration) {
        self.process.update(handler, update);
    }

    fn settle(&mut self, handler: HandlerId, mut message: Message, outcome: Outcome, now: Instant) {
        if self.desk.draining {
            // Before its room is given back, by which a drain knows that nothing is in flight: its sends are not said yet.
            self.desk.status.set_drained(false);
        }
        let stays = matches!(outcome, Outcome::Nak(_)) && self.stays(&message);
        if message.via != Via::Stream || stays {
            return self.process.settle(handler, message, outcome, now);
        }
        self.desk.unacked.settled(message.place);
        let live = self.connection.is_live();
        if live && settle(self.connection.writer(), &message, outcome).is_ok() {
            return self.process.settle(handler, message, Outcome::Ack, now);
        }
        message.detach();
        self.desk.owed.push_back((handler, message, outcome));
    }

    fn settle_pack(&mut self, handler: HandlerId, pack: Pack, now: Instant) {
        if self.desk.draining {
            self.desk.status.set_drained(false);
        }
        self.process.settle_pack(handler, pack, now);
    }

    fn flush(&mut self) {
        self.process.flush();
        // Once room is given back: nothing else might wake the shard when all that was in flight is settled.
        self.pull(self.now);
        // What this turn's calls asked for leaves with it.
        self.grant();
        self.say_last(self.now);
        self.connection.flush(self.now);
        self.note_drained();
    }

    fn shared_bytes(&self) -> u64 {
        self.process.shared_bytes() + self.connection.read_bytes()
    }

    fn is_quiet(&self) -> bool {
        let desk = &self.desk;
        self.process.is_quiet() && self.connection.is_quiet() && desk.reports.is_empty()
    }

    fn due(&self) -> Option<Instant> {
        let pulls = self.desk.handlers.iter().filter_map(|take| match take {
            Take::Stream(stream) => stream.pulls.due(),
            Take::Core { .. } | Take::Process => None,
        });
        // Nothing is said of messages, nor asked for, while there is nobody to say it to: their times pass meanwhile.
        let (live, asks) = (self.connection.is_live(), !self.desk.draining);
        [
            self.process.due(),
            self.connection.due(),
            self.desk.unacked.due().filter(|_| live),
            self.desk.renewal.as_ref().map(Renewal::due),
            pulls.min().filter(|_| live && asks),
        ]
        .into_iter()
        .flatten()
        .min()
    }
}

impl FromStream {
    /// Whether a send to this subject is to be confirmed.
    pub(super) fn confirms(&self, subject: &str) -> bool {
        self.level != DeliveryLevel::AtMostOnce && self.captured.stream_of(subject).is_some()
    }
}

impl Takes {
    /// Writes the subscription of this number, if it has not ended.
    fn subscribe(&self, sid: u64, writer: &mut Writer) -> Result<(), WriteError> {
        let Some(s) = self.get(sid) else {
            return Ok(());
        };
        writer.subscribe(&s.pattern, s.queue.as_deref(), sid)
    }
}

/// Writes how a stream's message ended.
fn settle(writer: &mut Writer, message: &Message, outcome: Outcome) -> Result<(), WriteError> {
    let mut text = Vec::new();
    match outcome {
        Outcome::Ack | Outcome::Shed(_) => {
            return writer.publish_bytes(message.raw_reply_to(), None, &[], ack::ACK);
        }
        Outcome::Nak(delay) => ack::put_nak(&mut text, delay),
        Outcome::Term(fault) => ack::put_term(&mut text, fault.name()),
    }
    writer.publish_bytes(message.raw_reply_to(), None, &[], &text)
}

/// A pull as the server reads it.
fn request(asked: &Ask) -> PullRequest {
    PullRequest {
        batch: asked.messages as u64,
        expires: asked.expires,
        idle_heartbeat: asked.heartbeat,
        max_bytes: asked.bytes,
        no_wait: false,
    }
}

/// What an answer to a publish says. Only what would be refused again is the message's fault: what a full or missing stream, or a
/// server without a leader, does not take, it may take later, and that is no attempt.
/// Of several inputs a known id says that one of them is done: each is handled again, alone.
fn stored(reply: PublishReply<'_>, several: bool) -> Result<(), Unsent> {
    match reply {
        PublishReply::Stored(_) => Ok(()),
        PublishReply::Refused(error) => match error.verdict() {
            Verdict::Done if several => Err(Unsent::Disconnected),
            Verdict::Done => Ok(()),
            Verdict::TryAgain => Err(Unsent::Disconnected),
            Verdict::Refused => Err(Unsent::Refused(error.description.into_owned())),
        },
        PublishReply::Staged | PublishReply::NoStream | PublishReply::Foreign => {
            Err(Unsent::Disconnected)
        }
    }
}

/// Logs what could not be written: the connection is too full, and its keep-alive will find out.
pub(super) fn told(written: Result<(), WriteError>) {
    if let Err(fault) = written {
        tracing::warn!(%fault, "not written to the server");
    }
}
