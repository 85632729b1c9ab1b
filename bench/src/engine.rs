//! The engine under sustained load: one shard, messages published from another core so that it never waits for any.

use std::collections::VecDeque;
use std::fmt;
use std::time::Duration;

use millpond::{
    Engine, EngineConfig, Grants, HandlerConfig, HandlerLimits, Message, Pack, Refusal, ResetMode,
    Stats,
};
use wasmtime::{Result, bail, ensure};

use crate::clock;
use crate::cores::{Place, go};
use crate::guest::Guest;
use crate::raw::Run;
use crate::scale::Scale;

/// Messages in flight: enough that the shard has work while the publisher rests, few enough to stay in the cache.
const IN_FLIGHT_MAX: usize = 2_048;
/// Of large batches: so many calls' messages.
const IN_FLIGHT_CALLS: usize = 4;
/// How long the publisher rests when the engine is full.
const REST: Duration = Duration::from_micros(50);
/// The largest batch that a thread which publishes one message after another keeps nearly full.
const FED_MAX: usize = 64;
/// How long such a batch waits to be full.
const LINGER: Duration = Duration::from_millis(100);
/// How long a round may take to end.
const PATIENCE: Duration = Duration::from_secs(30);
/// Of the messages a call that are asked for, the least mean that counts as sustained load. Smaller calls only make the engine look worse.
const FILL_MIN: f64 = 52.0 / 64.0;

/// The publisher could not keep calls full: what was measured is right, but of another load.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct NotSustained {
    /// Messages of a call.
    pub mean: f64,
    /// The least mean that counts.
    pub least: f64,
}

impl fmt::Display for NotSustained {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { mean, least } = self;
        write!(
            f,
            "the mean batch was {mean:.1}, below {least:.1}: the publisher could not keep up"
        )
    }
}

impl std::error::Error for NotSustained {}

/// How messages are published.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Feed {
    /// One after another.
    Single,
    /// A call's messages in one step.
    Together,
    /// A call's messages in a pack, which was laid out beforehand.
    Packs,
}

impl Feed {
    /// What keeps calls of this size full at the least cost.
    #[must_use]
    pub fn of(batch: usize) -> Self {
        match batch > FED_MAX {
            true => Self::Packs,
            false => Self::Single,
        }
    }
}

/// An engine with one handler, and what is published to it.
pub struct LoadedEngine {
    engine: Engine,
    shard: String,
    ring: Vec<Message>,
    feed: Feed,
    /// The same in packs of a call's messages, where these are published.
    packs: Vec<Pack>,
    next: usize,
    /// Messages that the guest sends for each that it gets.
    sends: u64,
    batch: usize,
    /// The least part of full calls that counts as sustained load.
    fill_min: f64,
}

impl LoadedEngine {
    /// Starts an engine that resets memory in this way, with at most `batch` messages a call.
    ///
    /// # Errors
    /// It does not start.
    pub fn new(guest: Guest, reset: ResetMode, batch: usize) -> Result<Self> {
        Self::fed(guest, reset, batch, Feed::of(batch))
    }

    /// The same, fed in this way.
    ///
    /// # Errors
    /// It does not start.
    pub fn fed(guest: Guest, reset: ResetMode, batch: usize, feed: Feed) -> Result<Self> {
        let handler = HandlerConfig::file(guest.name(), guest.path());
        // Contract 3 has no `configure` that would name its subject.
        let handler = match guest.is_batch() {
            true => handler.subject(guest.name()),
            false => handler,
        };
        Self::of(
            handler,
            |count| guest.messages(count),
            guest.sends(),
            reset,
            (batch, feed),
        )
    }

    /// The same of any handler, with its messages, how many it sends for each, and how they are published.
    ///
    /// # Errors
    /// It does not start.
    pub fn of(
        handler: HandlerConfig,
        messages: impl FnOnce(usize) -> Result<Vec<Message>>,
        sends: u64,
        reset: ResetMode,
        (batch, feed): (usize, Feed),
    ) -> Result<Self> {
        go(Place::Anywhere)?;
        let in_flight = IN_FLIGHT_MAX.max(IN_FLIGHT_CALLS * batch);
        let limits = HandlerLimits {
            batch_messages_max: batch,
            in_flight_messages_max: u32::try_from(in_flight)?,
            deadline: PATIENCE,
            wall_deadline: PATIENCE,
            ..HandlerLimits::default()
        };
        // A call's messages may come in two steps, as room is returned.
        let limits = match feed {
            Feed::Single => limits,
            Feed::Together | Feed::Packs => HandlerLimits {
                linger: LINGER,
                latency_budget: PATIENCE,
                ..limits
            },
        };
        let handler = handler.limits(limits).grants(Grants::all());
        let mut config = EngineConfig::new().shards(1).handler(handler);
        config.reset = Some(reset);
        let engine = Engine::start(config)?;
        let ring = messages(2 * in_flight)?;
        let packs = match feed {
            Feed::Packs => ring.chunks(batch).map(pack).collect::<Result<_>>()?,
            Feed::Single | Feed::Together => Vec::new(),
        };
        Ok(Self {
            engine,
            shard: shard_thread()?,
            ring,
            feed,
            packs,
            next: 0,
            sends,
            batch,
            fill_min: FILL_MIN,
        })
    }

    /// The same for rounds of this scale: short ones begin and end before calls are full.
    #[must_use]
    pub fn scaled(mut self, scale: Scale) -> Self {
        if scale == Scale::Small {
            self.fill_min = 0.0;
        }
        self
    }

    /// So many messages or a few more: calls that are full. A smaller one at the end of a round waits for its linger.
    #[must_use]
    pub fn full_calls(&self, messages: u64) -> u64 {
        messages.next_multiple_of(self.batch as u64)
    }

    /// Publishes `messages` messages from the publisher's core, until all are settled.
    ///
    /// # Errors
    /// A message was lost, settled twice or given up on, a call failed; or [`NotSustained`], if all else was right.
    pub fn run(&mut self, messages: u64) -> Result<Run> {
        go(Place::Publisher)?;
        let before = self.engine.stats();
        let (begun, begun_on_core) = (clock::now(), clock::on_core(&self.shard)?);
        match self.feed {
            Feed::Single => (0..messages).try_for_each(|_| self.publish())?,
            Feed::Together => self.publish_together(messages)?,
            Feed::Packs => self.publish_packs(messages)?,
        }
        while self.engine.stats().in_flight > 0 {
            ensure!(
                clock::now() - begun < PATIENCE,
                "messages are still in flight after {PATIENCE:?}"
            );
            std::thread::yield_now();
        }
        let elapsed = clock::now() - begun;
        let on_core = clock::on_core(&self.shard)? - begun_on_core;
        self.check(&before, &self.engine.stats(), messages)?;
        Ok(Run {
            messages,
            elapsed,
            on_core,
        })
    }

    /// Publishes the ring's next message, resting while the engine is full.
    fn publish(&mut self) -> Result<()> {
        let mut message = self.ring[self.next].clone();
        self.next = (self.next + 1) % self.ring.len();
        loop {
            match self.engine.publish(message) {
                Ok(1) => return Ok(()),
                Ok(receivers) => bail!("a message went to {receivers} receivers, not to one"),
                Err(refused) => match refused.reason {
                    Refusal::Full(_) => message = *refused.message,
                    reason => bail!("publishing was refused: {reason}"),
                },
            }
            std::thread::park_timeout(REST);
        }
    }

    /// Publishes the ring's next messages, as many in one step as a call has.
    fn publish_together(&mut self, messages: u64) -> Result<()> {
        let (mut left, mut queue) = (messages, VecDeque::new());
        while left > 0 {
            let count = left.min(self.batch as u64);
            for _ in 0..count {
                queue.push_back(self.ring[self.next].clone());
                self.next = (self.next + 1) % self.ring.len();
            }
            self.publish_all(&mut queue)?;
            left -= count;
        }
        Ok(())
    }

    /// Publishes the ring's next packs, which have at least so many messages, giving way while the engine is full.
    fn publish_packs(&mut self, messages: u64) -> Result<()> {
        let mut received = 0;
        while received < messages {
            let mut pack = self.packs[self.next].clone();
            self.next = (self.next + 1) % self.packs.len();
            if messages - received < pack.len() as u64 {
                return self.publish_rest(&pack, (messages - received) as usize);
            }
            received += pack.len() as u64;
            while !pack.is_empty() {
                match self.engine.publish_pack(&mut pack) {
                    Ok(_) => {}
                    Err(Refusal::Full(_)) => std::thread::yield_now(),
                    Err(reason) => bail!("publishing was refused: {reason}"),
                }
            }
        }
        Ok(())
    }

    /// Publishes the first messages of a pack.
    fn publish_rest(&mut self, pack: &Pack, count: usize) -> Result<()> {
        self.publish_all(&mut pack.messages().take(count).collect())
    }

    /// Publishes these, giving way while the engine is full.
    fn publish_all(&self, queue: &mut VecDeque<Message>) -> Result<()> {
        while !queue.is_empty() {
            match self.engine.publish_all(queue) {
                Ok(_) => {}
                Err(Refusal::Full(_)) => std::thread::yield_now(),
                Err(reason) => bail!("publishing was refused: {reason}"),
            }
        }
        Ok(())
    }

    /// Checks what the engine says that it did in a round.
    fn check(&self, before: &Stats, after: &Stats, messages: u64) -> Result<()> {
        let (old, new) = (&before.handlers[0], &after.handlers[0]);
        let settled = after.settled() - before.settled();
        ensure!(settled == messages, "{settled} of {messages} were settled");
        let acked = new.acked - old.acked;
        ensure!(acked == messages, "{acked} of {messages} were handled");
        ensure!(new.faults.is_empty(), "calls failed: {:?}", new.faults);
        let sent = new.sent - old.sent;
        ensure!(
            sent == messages * self.sends,
            "{messages} messages made the guest send {sent}"
        );
        let instances = after.instances_called - before.instances_called;
        let calls = new.calls - old.calls;
        ensure!(
            instances == calls,
            "{calls} calls used {instances} instances"
        );
        let mean = messages as f64 / calls as f64;
        let least = self.batch as f64 * self.fill_min;
        match mean >= least {
            true => Ok(()),
            false => Err(NotSustained { mean, least }.into()),
        }
    }
}

/// These messages, which have one subject, in one buffer.
///
/// # Errors
/// There is none, or they are too many.
pub fn pack(messages: &[Message]) -> Result<Pack> {
    let mut builder = Pack::builder(messages[0].subject())?;
    for message in messages {
        builder.push_message(message)?;
    }
    Ok(builder.build())
}

/// The shard's thread, which names itself once it runs. The kernel cuts names to 15 bytes.
fn shard_thread() -> Result<String> {
    let begun = clock::now();
    loop {
        match clock::thread_named("millpond-shard-") {
            Err(_) if clock::now() - begun < PATIENCE => std::thread::yield_now(),
            found => return found,
        }
    }
}

impl Drop for LoadedEngine {
    fn drop(&mut self) {
        self.engine.stop();
    }
}
