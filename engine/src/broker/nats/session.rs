//! What happens to a shard's connection: it is live, is lost, is refused something, is to end. The other half of the transport.

use super::connection::Change;
use super::js::ack::{self, Delivery};
use super::js::pull::{PullRest, PullStatus, Then};
use super::pulls::Told;
use super::refusal::{RefusalKind, ServerRefusal};
use super::settings::ConnectionError;
use super::status::Trouble;
use super::takes::{FromStream, Subscribed, Take, Use};
use super::transport::{Desk, Line, Mark, NatsTransport, told};
use super::wire::parse::{Incoming, TooLarge};
use crate::broker::nats::control::DeliveryLevel;
use crate::confirm::{Report, Unsent};
use crate::message::{HandlerId, Via};
use crate::outcome::{Fault, FaultKind, Outcome, ShedReason};
use crate::seams::{Transport, Unfit};
use crate::time::Instant;
use std::time::Duration;

impl NatsTransport {
    /// One change of the connection.
    pub(super) fn change(&mut self, change: Change, now: Instant) {
        match change {
            Change::Live(info) => {
                tracing::info!(
                    server = self.connection.server(),
                    version = info.version,
                    "connected"
                );
                if let Some(bytes) = self.connection.takes_more_than_is_read() {
                    tracing::warn!(
                        bytes,
                        "the server's max_payload is more than is read: larger messages are given up on"
                    );
                }
                self.begin(now);
            }
            Change::Info(info) => tracing::debug!(?info, "the server says anew what it is"),
            Change::Lost { why, unsent_bytes } => {
                tracing::warn!(%why, unsent_bytes, "the connection is lost; connecting again");
                self.trouble(why);
                self.lose();
            }
            Change::Failed(why) => {
                tracing::warn!(%why, "not connected; trying again");
                self.trouble(why);
            }
            Change::Refused(refusal) => self.refused(&refusal, now),
            Change::TooLarge(large) => self.too_large(large, now),
        }
    }

    /// The connection could not be made, or was lost.
    fn trouble(&self, error: ConnectionError) {
        let all_refused = self.connection.all_refused();
        let trouble = Trouble::Connection { error, all_refused };
        self.desk.status.set_trouble(trouble);
    }

    /// A message was not read. One of a stream is given up on, with a letter where its handler has them: it would come again, and end
    /// the same way. One that was to be acked on arrival is terminated, and one of the core is gone.
    fn too_large(&mut self, large: TooLarge, now: Instant) {
        let TooLarge {
            sid,
            mut message,
            bytes,
        } = large;
        let (Some(&Use::Core(id)) | Some(&Use::Pulls(id))) = self.desk.takes.use_of(sid) else {
            return;
        };
        let desk = &mut self.desk;
        if desk.large.ask(now) {
            let (handler, subject) = (self.process.name(id), message.subject());
            let others = desk.large.left_out();
            tracing::error!(
                handler,
                subject,
                bytes,
                others,
                "a message above the limits was left out"
            );
        }
        let of_stream = message
            .reply_to()
            .is_some_and(|r| Delivery::parse(r).is_some());
        let Take::Stream(stream) = &mut desk.handlers[id.index()] else {
            return desk.shed(id, ShedReason::TooLarge);
        };
        if !of_stream {
            return desk.shed(id, ShedReason::TooLarge);
        }
        stream.pulls.came(bytes as u64, now);
        if stream.level == DeliveryLevel::AtMostOnce {
            let mut text = Vec::new();
            ack::put_term(&mut text, "it is too large");
            let written = self.connection.is_live().then(|| {
                let writer = self.connection.writer();
                writer.publish_bytes(message.raw_reply_to(), None, &[], &text)
            });
            told(written.unwrap_or(Ok(())));
            return self.desk.shed(id, ShedReason::TooLarge);
        }
        message.via = Via::Stream;
        message.detach();
        message.place = desk
            .unacked
            .keep(message.raw_reply_to(), stream.bound.ack_wait, now);
        self.process.admit_always(id, &message);
        let message = self.process.arrival(id, message, now).message;
        let detail = format!("its headers and payload of {bytes} bytes are more than is read");
        let fault = Fault::new(FaultKind::TooLarge, detail);
        self.desk.unfit.push_back(Unfit {
            handler: id,
            message,
            fault,
        });
    }

    /// A new connection: everything is subscribed again.
    fn begin(&mut self, now: Instant) {
        let desk = &mut self.desk;
        desk.refused = false;
        desk.deaf.clear();
        desk.takes.renumber();
        for (take, id) in desk.handlers.iter_mut().zip(0..) {
            if let Take::Stream(stream) = take {
                stream.session += 1;
                stream.stopped &= stream.gone.is_some();
                desk.takes.answer_to(HandlerId(id), stream.answers());
            }
        }
        desk.lines.clear();
        let all: Vec<_> = desk
            .takes
            .iter()
            .map(|(sid, _)| Line::Subscribe(sid))
            .collect();
        self.say(all);
        self.desk.subscribed = self.mark(Mark::Unwritten, now);
        self.desk.status.set_connected(true);
    }

    /// The connection is gone, and with it what was on its way.
    fn lose(&mut self) {
        let desk = &mut self.desk;
        desk.status.set_connected(false);
        (desk.subscribed, desk.ended, desk.said) = (Mark::None, Mark::None, None);
        desk.lines.clear();
        if desk.draining {
            desk.takes.end_of_handlers();
        }
        for take in &mut desk.handlers {
            if let Take::Stream(stream) = take {
                stream.pulls.forget();
            }
        }
        desk.requests.lose();
        let reports = &mut desk.reports;
        desk.confirms.forget(|id| {
            let result = Err(Unsent::Disconnected);
            reports.push_back(Report { id, result });
        });
    }

    /// The server said no to something: what is its handler's is told by its name.
    fn refused(&mut self, refusal: &ServerRefusal, now: Instant) {
        let id = self.desk.of_handler(&refusal.kind);
        let handler = id.map(|id| self.process.name(id));
        if let Some(id) = id {
            self.desk.status.add_refused(id, refusal);
        }
        if self.desk.refusals.ask(now) {
            let others = self.desk.refusals.left_out();
            tracing::error!(?handler, %refusal, others, "refused by the server");
        }
        self.desk.refused = true;
        let of = handler.map_or(String::new(), |name| format!("handler {name:?}: "));
        let server = self.connection.server();
        let text = format!("{of}{server} refused: {refusal}");
        self.desk.status.set_trouble(Trouble::Refused(text));
    }

    /// Goes on with what waits for the server: ready once all is subscribed, drained once nothing more comes.
    pub(super) fn proceed(&mut self, now: Instant) {
        if !matches!(self.desk.subscribed, Mark::None) {
            self.desk.subscribed = self.mark(self.desk.subscribed, now);
            if matches!(self.desk.subscribed, Mark::None) && !self.desk.refused {
                self.desk.status.set_ready();
            }
        }
        if !self.desk.draining && self.process.is_draining() {
            self.end_taking(now);
        }
        // What the server had sent before it was told to stop was handled.
        if self.desk.draining {
            self.desk.ended = self.mark(self.desk.ended, now);
            if matches!(self.desk.ended, Mark::None) {
                self.desk.takes.end_of_handlers();
            }
        }
    }

    /// Takes nothing more, and gives back to streams what waits to be called again, save where the order of a subject is kept.
    fn end_taking(&mut self, now: Instant) {
        self.desk.draining = true;
        let taken: Vec<_> = self
            .desk
            .takes
            .of_handlers()
            .map(Line::Unsubscribe)
            .collect();
        self.say(taken);
        self.desk.ended = match self.connection.is_live() {
            true => self.mark(Mark::Unwritten, now),
            false => Mark::None,
        };
        if self.process.is_ordered() {
            return;
        }
        for (id, message) in self.process.take_delayed() {
            self.settle(id, message, Outcome::Nak(Duration::ZERO), now);
        }
    }

    /// Has the server say when it has all that is to be written now, if an engine may end then.
    pub(super) fn say_last(&mut self, now: Instant) {
        let writes = self.connection.is_live() && self.connection.unsent_bytes() > 0;
        if self.desk.draining && writes {
            self.desk.said = self.connection.barrier(now);
        }
    }

    /// Notes whether a drain is done: nothing more comes, nothing waits to be sent, and the server has what was.
    pub(super) fn note_drained(&mut self) {
        let desk = &self.desk;
        if !desk.draining {
            return;
        }
        let silent = matches!(desk.ended, Mark::None) && desk.owed.is_empty();
        let said = desk.said.is_none_or(|b| self.connection.has_passed(b));
        desk.status
            .set_drained(silent && said && self.connection.unsent_bytes() == 0);
    }
}

impl Desk {
    /// Which handler a refusal concerns, if it concerns one.
    fn of_handler(&mut self, kind: &RefusalKind) -> Option<HandlerId> {
        match kind {
            RefusalKind::Subscription { subject, sid } => self.of_subscription(subject, *sid),
            RefusalKind::Publish { subject } => self.of_publish(subject),
            _ => None,
        }
    }

    /// Whose subscription was refused. Of several of one subject each is refused in these words: each is taken once.
    fn of_subscription(&mut self, subject: &str, sid: Option<u64>) -> Option<HandlerId> {
        let refused = |(of, s): &(u64, &Subscribed)| {
            s.pattern == subject && sid.is_none_or(|sid| sid == *of) && !self.deaf.contains(of)
        };
        let (sid, found) = self.takes.iter().find(refused)?;
        self.deaf.push(sid);
        match found.use_ {
            Use::Core(id) | Use::Pulls(id) => Some(id),
            Use::Confirms | Use::Requests | Use::Feed(_) => None,
        }
    }

    /// Who published what was refused: asked a stream, acknowledged a message, or sent last to that subject.
    fn of_publish(&self, subject: &str) -> Option<HandlerId> {
        let acked = Delivery::parse(subject);
        let own = |take: &Take| match (take, &acked) {
            (Take::Stream(s), Some(d)) => {
                s.bound.stream == d.stream && s.bound.consumer == d.consumer
            }
            (Take::Stream(s), None) => s.asked == subject,
            (Take::Core { .. } | Take::Process, _) => false,
        };
        let found = (0..).zip(&self.handlers).find(|(_, take)| own(take));
        found
            .map(|(id, _)| HandlerId(id))
            .or_else(|| self.senders.of(subject))
    }
}

impl FromStream {
    /// The server said something of a pull, which the last token of the subject names: why it takes none any more, if that is so.
    pub(super) fn told(&mut self, said: &Incoming, now: Instant) -> Option<String> {
        let subject = said.message.subject();
        let number = subject.rsplit('.').next().and_then(|n| n.parse().ok())?;
        let status = PullStatus::of(said.status.unwrap_or_default(), said.description());
        let told = match status.then() {
            Then::GoOn => Told::Waits,
            Then::AskAgain => Told::Over,
            Then::AskLarger => Told::TooSmall,
            Then::AskLater | Then::ConsumerGone | Then::GiveUp => Told::Refused,
        };
        let given_up = status.then() == Then::GiveUp;
        self.stopped |= given_up || status.then() == Then::ConsumerGone;
        // One that allows less than before is asked within its new limits once these are known.
        if self.stopped && !given_up
            || matches!(status, PullStatus::NoResponders | PullStatus::LimitExceeded)
        {
            self.gone.get_or_insert(now);
        }
        let (stream, consumer) = (&self.bound.stream, &self.bound.consumer);
        let missing = PullRest::of(said.message.raw_headers()).messages;
        if self.pulls.told(number, told, missing, now) {
            let bytes = self.bound.max_request_bytes;
            tracing::error!(
                handler = self.wanted.handler,
                stream,
                consumer,
                ?bytes,
                "its next message can't be delivered within the consumer's max_bytes; raise it, or delete the message"
            );
        }
        if given_up {
            let (handler, why) = (&self.wanted.handler, said.description());
            tracing::error!(handler, stream, consumer, why, "its pulls are not taken");
            return Some(format!(
                "handler {handler:?}: consumer {consumer:?} of stream {stream:?} takes no pulls: {why}"
            ));
        }
        if told == Told::Refused {
            tracing::warn!(
                stream,
                consumer,
                ?status,
                "a pull ended early; asking again later"
            );
        }
        None
    }
}
