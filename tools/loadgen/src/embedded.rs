//! The engine in process: started with one component, published to, and heard.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use millpond::{
    Engine, EngineConfig, Grants, HandlerConfig, HandlerLimits, Message, Refusal, Subscription,
};

use crate::clock::{self, Clock};
use crate::control::{Control, Wake};
use crate::core::payloads::StampPlace;
use crate::core::receiver::Receiver;
use crate::core::stamp::{Found, STAMP_HEADER, Stamp};
use crate::exit::{Exit, Failed};
use crate::nats::reader::LOOK;
use crate::plan::{Embedded, Messages};
use crate::run::outlet::{Outgoing, Outlet};

/// Messages gathered until they are published in any case: as many as the engine calls a component with by default.
const PUBLISH_MESSAGES: usize = 64;
/// Messages that may wait for the receiver. At it a shard waits: what came must not be lost in the generator.
const WAITING_MAX: usize = 1 << 16;
/// How long the publisher rests while the engine is full.
const FULL_REST: Duration = Duration::from_micros(50);
/// How long a drain may take.
const DRAIN: Duration = Duration::from_secs(5);

/// Starts the engine with the component listening on the load's subjects, beside those that it names itself.
///
/// # Errors
/// The component or the machine can't do it.
pub(crate) fn start(embedded: &Embedded, messages: &Messages) -> anyhow::Result<Engine> {
    let mut handler = HandlerConfig::file("loaded", &embedded.component).grants(Grants::all());
    for subject in messages.subjects.names() {
        handler = handler.subject(subject);
    }
    if let Some(batch_messages_max) = embedded.batch_max {
        handler = handler.limits(HandlerLimits {
            batch_messages_max,
            ..HandlerLimits::default()
        });
    }
    let mut config = EngineConfig::new().shards(embedded.shards).handler(handler);
    config.limits.subscription_messages_max = WAITING_MAX;
    config.limits.memory_total_bytes_max = embedded.memory_total;
    Ok(Engine::start(config)?)
}

/// Ends it; what is still in flight by then is dropped.
pub(crate) fn stop(engine: &Engine) {
    // What could not be drained was counted as lost before.
    let _ = engine.drain(DRAIN);
    engine.stop();
}

/// Publishes one thread's messages.
pub(crate) struct EngineOutlet<'a> {
    engine: &'a Engine,
    messages: &'a Messages,
    control: &'a Control,
    clock: Clock,
    /// What reply subjects begin with, if replies are wanted.
    inbox: Option<String>,
    queue: VecDeque<Message>,
    payload: Vec<u8>,
}

impl<'a> EngineOutlet<'a> {
    /// For these messages; with the beginning of reply subjects, if replies are wanted.
    pub(crate) fn new(
        engine: &'a Engine,
        messages: &'a Messages,
        (control, clock): (&'a Control, Clock),
        inbox: Option<String>,
    ) -> Self {
        Self {
            engine,
            messages,
            control,
            clock,
            inbox,
            queue: VecDeque::with_capacity(PUBLISH_MESSAGES),
            payload: Vec::new(),
        }
    }
}

impl Outlet for EngineOutlet<'_> {
    fn put(&mut self, message: &Outgoing<'_>) -> anyhow::Result<()> {
        let mut builder = Message::builder(&self.messages.subjects.names()[message.subject]);
        if let Some(inbox) = &self.inbox {
            builder = builder.reply_to(&format!("{inbox}{}", message.stamp.sequence));
        }
        self.payload.clear();
        match self.messages.stamp {
            StampPlace::Payload => self
                .payload
                .extend_from_slice(&message.stamp.bytes(message.rest)),
            StampPlace::Header => {
                let digits = message.stamp.digits(message.rest);
                builder = builder.header(STAMP_HEADER, &String::from_utf8_lossy(&digits));
            }
        }
        for (key, value) in &self.messages.headers {
            builder = builder.header(key, value);
        }
        self.payload.extend_from_slice(message.rest);
        let message = builder
            .arrived(self.clock.at(message.due_ns))
            .payload(&self.payload);
        self.queue
            .push_back(message.map_err(|error| Failed::usage(error.to_string()))?);
        Ok(())
    }

    fn is_full(&self) -> bool {
        self.queue.len() >= PUBLISH_MESSAGES
    }

    fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    fn flush(&mut self) -> anyhow::Result<()> {
        while !self.queue.is_empty() && !self.control.is_over() {
            let before = self.queue.len();
            match self.engine.publish_all(&mut self.queue) {
                Ok(0) => {
                    return Err(Failed::usage(
                        "the component does not listen on what is published: name its subject with --subject",
                    ));
                }
                Ok(_) => {}
                Err(Refusal::Full(_)) if self.queue.len() < before => {}
                Err(Refusal::Full(_)) => clock::rest(FULL_REST),
                Err(reason) => {
                    return Err(Failed::error(
                        Exit::Failure,
                        format!("the engine takes no more: {reason}"),
                    ));
                }
            }
        }
        Ok(())
    }

    fn finish(&mut self) -> anyhow::Result<()> {
        self.flush()
    }
}

/// Who receives what the component sends.
pub(crate) struct EngineReader<'a> {
    /// Where it comes.
    pub(crate) subscription: Subscription,
    /// Who settles replies, one a publishing thread.
    pub(crate) replies: Vec<Receiver>,
    /// Who settles what is observed.
    pub(crate) observed: Option<Receiver>,
    /// The publishers that wait for room.
    pub(crate) wakes: Arc<[Wake]>,
    /// The run's.
    pub(crate) control: &'a Control,
    /// The run's.
    pub(crate) clock: Clock,
}

impl EngineReader<'_> {
    /// Receives until the run is over; who settled.
    pub(crate) fn run(mut self) -> (Vec<Receiver>, Option<Receiver>) {
        let mut came = Vec::with_capacity(PUBLISH_MESSAGES);
        while !self.control.is_over() {
            came.extend(self.subscription.next(LOOK));
            if came.is_empty() {
                self.rest();
                continue;
            }
            let more = std::iter::from_fn(|| self.subscription.try_next());
            came.extend(more.take(PUBLISH_MESSAGES - 1));
            // Read once all of these have come: one that came later would have a latency of nothing.
            let now_ns = self.clock.ns();
            came.drain(..)
                .for_each(|message| self.settle(now_ns, &message));
            self.wakes.iter().for_each(Wake::wake);
        }
        (self.replies, self.observed)
    }

    /// Nothing comes at the moment.
    fn rest(&mut self) {
        self.replies
            .iter_mut()
            .chain(&mut self.observed)
            .for_each(Receiver::rest);
    }

    fn settle(&mut self, now_ns: u64, message: &Message) {
        let found = stamp_of(message);
        let bytes = message.payload().len();
        if let Some(receiver) = &mut self.observed {
            receiver.observe(now_ns, found, bytes);
            return;
        }
        // `PREFIX.CONNECTION.SEQUENCE`: only what was asked for has such a subject.
        let mut ends = message.subject().rsplit('.');
        let number = |text: Option<&str>| text.and_then(|text| text.parse::<u64>().ok());
        if let (Some(sequence), Some(connection)) = (number(ends.next()), number(ends.next()))
            && let Some(receiver) = self.replies.get_mut(connection as usize)
        {
            receiver.reply(now_ns, sequence, found, bytes);
        }
    }
}

fn stamp_of(message: &Message) -> Found {
    let header = message.headers().find(|(key, _)| *key == STAMP_HEADER);
    match header {
        Some((_, value)) => Stamp::of_header(value.trim().as_bytes(), message.payload()),
        None => Stamp::of_payload(message.payload()),
    }
}
