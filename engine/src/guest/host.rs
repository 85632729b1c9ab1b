//! What the host keeps for one instance: the state behind its imports while it is called.
//!
//! Owns the held effects of the running call, the instance's memory meter and its handles. Knows the broker only as a [`Port`].

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use wasmtime::ResourceLimiter;

use super::contract::batch::Answered;
use super::contract::incoming;
use super::contract::messaging::{CHANNEL, ID, REPLY_TO, push_id};
use super::handles::Handles;
use super::log::Log;
use super::reply_subjects::ReplySubjects;
use super::request::{Asked, Request};
use super::wait::{Sleep, Wait};
use super::wasi::Wasi;
use crate::batch::Batch;
use crate::config::{Grants, check_channels, tighten};
use crate::error::Refusal;
use crate::limits::HandlerLimits;
use crate::message::{Format, HandlerId, Message};
use crate::outbox::{GuestConfiguration, HoldError, Mark, Outbox};
use crate::port::{Feed, Port};
use crate::subject::{INBOX, check_pattern, check_subject, matches};

/// What all instances of a handler on one shard share, read-only. A copy a shard: a count that shards share is contended.
pub(crate) struct Profile {
    pub(crate) id: HandlerId,
    pub(crate) name: String,
    pub(crate) limits: HandlerLimits,
    pub(crate) grants: Grants,
    pub(crate) port: Arc<dyn Port>,
    /// Whether its component imports WASI: only then a context for it is built.
    pub(crate) wasi: bool,
    /// Requests of its guests that wait.
    pub(crate) open_requests: Arc<AtomicUsize>,
}

/// Why a host function did not do what it was asked.
#[derive(Debug)]
pub(crate) enum CallError {
    /// The guest gets an error with this reason and goes on.
    Refused(String),
    /// The same: it is not granted.
    Denied(String),
    /// The same: there is no connection.
    Disconnected(String),
    /// The same: no reply came within this time.
    Timeout(Duration),
    /// The call ends.
    Ended(wasmtime::Error),
}

impl CallError {
    /// What the guest is told; or the error that ends its call.
    pub(crate) fn reason(self) -> wasmtime::Result<String> {
        match self {
            Self::Refused(reason) | Self::Denied(reason) | Self::Disconnected(reason) => Ok(reason),
            Self::Timeout(within) => Ok(format!("no reply within {within:?}")),
            Self::Ended(error) => Err(error),
        }
    }
}

impl From<HoldError> for CallError {
    fn from(error: HoldError) -> Self {
        Self::Refused(error.to_string())
    }
}

impl From<Refusal> for CallError {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Disconnected => Self::Disconnected(refusal.to_string()),
            refusal => Self::Refused(refusal.to_string()),
        }
    }
}

/// A message record as a guest passed it.
#[derive(Debug)]
pub(crate) struct LiftedMessage {
    pub(crate) data: Vec<u8>,
    pub(crate) format: Format,
    pub(crate) metadata: Option<Vec<(String, String)>>,
}

/// Resources that the guest holds.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Live {
    pub(crate) clients: i64,
    pub(crate) errors: i64,
}

/// Counts an instance's memory against its handler's limit, all memories together.
#[derive(Debug)]
pub(crate) struct Meter {
    bytes: usize,
    bytes_max: usize,
    elements_max: usize,
    /// Whether growth was refused: a trap after that is for want of memory.
    pub(crate) denied: bool,
}

impl Meter {
    /// Bytes of the instance's memories.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }
}

impl ResourceLimiter for Meter {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        _: Option<usize>,
    ) -> wasmtime::Result<bool> {
        // A guest may ask for any size, of a 64-bit memory too: more than can be counted is more than is allowed.
        let after = self.bytes.checked_add(desired.saturating_sub(current));
        let granted = after.filter(|after| *after <= self.bytes_max);
        self.denied |= granted.is_none();
        self.bytes = granted.unwrap_or(self.bytes);
        Ok(granted.is_some())
    }

    fn table_growing(
        &mut self,
        _: usize,
        desired: usize,
        _: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let granted = desired <= self.elements_max;
        self.denied |= !granted;
        Ok(granted)
    }
}

/// The running call of an instance.
struct Call {
    batch: Arc<Batch>,
    /// Lent to the host function that fills it, while it does.
    outbox: Option<Box<Outbox>>,
    /// What its guest gave back, if the outbox's sends lie there.
    answered: Option<Answered>,
    reply_subjects: ReplySubjects,
}

impl Call {
    /// Its one message, where its contract has one a call.
    fn only(&self) -> Option<&Message> {
        self.batch.messages.first()
    }

    /// Whether a message of its batch, packed or not, asks for a reply on this subject.
    fn is_reply(&self, subject: &str) -> bool {
        self.reply_subjects.has(&self.batch, subject)
    }
}

/// The state of one instance.
pub(crate) struct Host {
    pub(crate) profile: Arc<Profile>,
    pub(crate) meter: Meter,
    /// Of the revision whose clients and errors are handles.
    pub(crate) handles: Handles,
    /// Of the revisions whose clients and errors are resources.
    pub(crate) live: Live,
    /// Of the contract whose messages are resources; made when it is first asked for, unless another instance has left its own.
    incoming: Option<Box<incoming::Table>>,
    /// The reason of the latest error that was given to the guest.
    pub(crate) trace: String,
    granted: String,
    pub(crate) wasi: Option<Box<Wasi>>,
    /// Of guests that log: those of WASI, and others from the first time on.
    log: Option<Arc<Log>>,
    /// The running call: none while the instance is ready, and none in `configure`.
    call: Option<Call>,
    wait: Option<Arc<Wait>>,
}

impl Host {
    /// For an instance that is about to be made.
    pub(crate) fn new(profile: &Arc<Profile>) -> Self {
        let log = profile.wasi.then(|| Arc::new(Log::new(profile)));
        let wasi = |log| Box::new(Wasi::new(log, &profile.grants.env));
        Self {
            meter: Meter {
                bytes: 0,
                bytes_max: profile.limits.memory_bytes_max,
                elements_max: profile.limits.table_elements_max,
                denied: false,
            },
            profile: Arc::clone(profile),
            handles: Handles::default(),
            live: Live::default(),
            incoming: None,
            trace: String::new(),
            granted: String::new(),
            wasi: log.as_ref().map(wasi),
            log,
            call: None,
            wait: None,
        }
    }

    /// Begins a call.
    pub(crate) fn begin(&mut self, batch: Arc<Batch>, outbox: Box<Outbox>) {
        assert!(self.call.is_none(), "an instance is called once");
        self.call = Some(Call {
            batch,
            outbox: Some(outbox),
            answered: None,
            reply_subjects: ReplySubjects::default(),
        });
    }

    /// Where the guest's lines go.
    pub(crate) fn log(&mut self) -> Arc<Log> {
        let new = || Arc::new(Log::new(&self.profile));
        Arc::clone(self.log.get_or_insert_with(new))
    }

    /// Lets the call's host functions wait.
    pub(crate) fn set_wait(&mut self, wait: Arc<Wait>) {
        self.wait = Some(wait);
    }

    /// The call's waits, where it is on a fiber.
    pub(crate) fn wait(&self) -> Option<&Arc<Wait>> {
        self.wait.as_ref()
    }

    /// Ends the call: what it held, and what of the guest's memory that lies in.
    pub(crate) fn end(&mut self) -> Option<(Box<Outbox>, Option<Answered>)> {
        let call = self.call.take()?;
        Some((call.outbox?, call.answered))
    }

    /// Clients and errors that the guest holds: after a call, those that it did not give back.
    pub(crate) fn resources(&self) -> u64 {
        let live = u64::try_from(self.live.clients + self.live.errors);
        let incoming = self.incoming.as_ref().map_or(0, |table| table.len());
        let kept = self.handles.len() + incoming;
        live.expect("resources are counted as they come and go") + kept as u64
    }

    /// The resources of the contract whose messages are some.
    pub(crate) fn incoming(&mut self) -> &mut incoming::Table {
        self.incoming.get_or_insert_default()
    }

    /// Takes the room of an empty table, unless it has a table: its start function may have held something.
    pub(crate) fn lend_incoming(&mut self, spare: &mut Option<Box<incoming::Table>>) {
        if self.incoming.is_none() {
            self.incoming = spare.take();
        }
    }

    /// Takes the table back from an instance that is not called any more, emptied.
    pub(crate) fn take_incoming(&mut self) -> Option<Box<incoming::Table>> {
        let mut table = self.incoming.take()?;
        table.clear();
        Some(table)
    }

    /// A message that the guest holds.
    pub(crate) fn held(&self, handle: u32) -> wasmtime::Result<incoming::Seen<'_>> {
        let table = self.incoming.as_deref();
        let held = table.ok_or_else(incoming::no_message)?.message(handle)?;
        Ok(self.seen(held))
    }

    /// A message as the running call's guest sees it.
    pub(crate) fn seen<'a>(&'a self, held: &'a incoming::Held) -> incoming::Seen<'a> {
        held.seen(self.call.as_ref().and_then(Call::only))
    }

    /// Changes a message that the guest holds.
    pub(crate) fn change(
        &mut self,
        handle: u32,
        change: impl FnOnce(&mut incoming::Held, Option<&Message>),
    ) -> wasmtime::Result<()> {
        let handled = self.call.as_ref().and_then(Call::only);
        let table = self.incoming.as_deref_mut();
        let table = table.ok_or_else(incoming::no_message)?;
        table.change(handle, |held| change(held, handled))
    }

    /// How long `subscribe-receive` waits.
    pub(crate) fn receive_wait_max(&self) -> Duration {
        self.profile.limits.receive_wait_max
    }

    /// Whether the guest may connect to this broker.
    pub(crate) fn connect(&self, name: &str) -> Result<(), CallError> {
        if self.profile.grants.allows_broker(name) {
            return Ok(());
        }
        Err(CallError::Denied(format!(
            "broker {:?} is not granted to this handler",
            name.chars().take(64).collect::<String>()
        )))
    }

    /// The subject that this instance may send to for certain, the latest one: lent, and put back by [`Host::put_granted`].
    pub(crate) fn take_granted(&mut self) -> String {
        std::mem::take(&mut self.granted)
    }

    /// Puts the latest granted subject back.
    pub(crate) fn put_granted(&mut self, subject: String) {
        self.granted = subject;
    }

    /// Whether there is room for a send to a granted subject.
    pub(crate) fn admits_send(&self, subject: &str) -> Result<(), CallError> {
        self.running("send")?;
        Ok(self.profile.port.admits(subject)?)
    }

    /// Whether the guest may ask for a reply on this subject: it hands on the reply subject of a message that it handles, or
    /// names one that it may itself send to or listen on. Otherwise it could have others send where it may not.
    pub(crate) fn grants_reply_to(&self, subject: &str) -> Result<(), CallError> {
        let Grants {
            send, subscribe, ..
        } = &self.profile.grants;
        let granted = || {
            send.iter()
                .chain(subscribe)
                .any(|pattern| matches(pattern, subject))
        };
        if self.running("send")?.is_reply(subject) || (!subject.starts_with(INBOX) && granted()) {
            return Ok(());
        }
        let subject: String = subject.chars().take(64).collect();
        Err(CallError::Denied(format!(
            "a reply to {subject:?} is not granted to this handler"
        )))
    }

    /// Whether the guest may send to this subject. It stays so for an instance's one call.
    pub(crate) fn grants_send(&self, subject: &str) -> Result<(), CallError> {
        check_subject(subject).map_err(Refusal::from)?;
        let call = self.running("send")?;
        // A request's reply comes from who was asked, whatever else is granted: reply subjects can be guessed.
        let granted = !subject.starts_with(INBOX) && self.profile.grants.allows_send(subject);
        if !granted && !call.is_reply(subject) {
            return Err(CallError::Denied(format!(
                "sending to {subject:?} is not granted to this handler"
            )));
        }
        Ok(())
    }

    /// Lends the outbox of the running call; [`Host::put_outbox`] puts it back.
    pub(crate) fn take_outbox(&mut self) -> Result<Box<Outbox>, CallError> {
        let outbox = self.call.as_mut().and_then(|call| call.outbox.take());
        outbox.ok_or_else(|| not_in_configure("send"))
    }

    /// Puts the outbox back.
    pub(crate) fn put_outbox(&mut self, outbox: Box<Outbox>) {
        if let Some(call) = &mut self.call {
            call.outbox = Some(outbox);
        }
    }

    /// Puts the outbox back, with what its sends lie in.
    pub(crate) fn put_answered(&mut self, outbox: Box<Outbox>, answered: Answered) {
        if let Some(call) = &mut self.call {
            (call.outbox, call.answered) = (Some(outbox), Some(answered));
        }
    }

    /// Holds an update of the handler's configuration.
    pub(crate) fn update(&mut self, update: GuestConfiguration) -> Result<(), CallError> {
        self.running("update-guest-configuration")?;
        check_channels(&update.channels).map_err(CallError::Refused)?;
        for channel in &update.channels {
            if !self.profile.grants.allows_subscribe(channel) {
                return Err(CallError::Denied(format!(
                    "subscribing to {channel:?} is not granted to this handler"
                )));
            }
        }
        let mut limits = self.profile.limits.clone();
        tighten(&mut limits, &update.extensions).map_err(CallError::Refused)?;
        self.outbox("update-guest-configuration")?
            .set_update(update);
        Ok(())
    }

    /// Marks the message of the batch that a guest means.
    pub(crate) fn settle(&mut self, message: &LiftedMessage, mark: Mark) -> Result<(), CallError> {
        let name = match mark {
            Mark::Completed => "complete-message",
            Mark::Abandoned { .. } => "abandon-message",
            Mark::Terminated => "terminate",
        };
        let batch = Arc::clone(&self.running(name)?.batch);
        let outbox = self.outbox(name)?;
        let index = find(&batch.messages, outbox, message).map_err(CallError::Refused)?;
        outbox.set_mark(index, mark);
        Ok(())
    }

    /// Subscribes until a message comes or the time is over.
    pub(crate) fn receive(&self, pattern: &str, wait_max: Duration) -> Result<Receive, CallError> {
        check_pattern(pattern).map_err(Refusal::from)?;
        self.running("subscribe-receive")?;
        if !self.profile.grants.allows_subscribe(pattern) {
            return Err(CallError::Denied(format!(
                "subscribing to {pattern:?} is not granted to this handler"
            )));
        }
        let wait = self
            .wait
            .as_ref()
            .ok_or_else(|| not_in_configure("subscribe-receive"))?;
        let feed = self
            .profile
            .port
            .subscribe(pattern, Waker::from(Arc::clone(wait)))?;
        Ok(Receive {
            feed,
            until: wait.sleep(wait.now() + wait_max),
            messages_max: self.profile.limits.batch_messages_max,
            bytes_max: self.profile.limits.batch_bytes_max,
        })
    }

    /// Sends a request at once, whatever becomes of the call, and waits for replies.
    pub(crate) fn request(&self, message: &Message, asked: Asked) -> Result<Request, CallError> {
        self.grants_send(message.subject())?;
        let wait = self
            .wait
            .as_ref()
            .ok_or_else(|| not_in_configure("request"))?;
        Request::open(message, asked, &self.profile, wait)
    }

    fn running(&self, what: &str) -> Result<&Call, CallError> {
        self.call.as_ref().ok_or_else(|| not_in_configure(what))
    }

    fn outbox(&mut self, what: &str) -> Result<&mut Outbox, CallError> {
        let outbox = self
            .call
            .as_mut()
            .and_then(|call| call.outbox.as_deref_mut());
        outbox.ok_or_else(|| not_in_configure(what))
    }
}

fn not_in_configure(what: &str) -> CallError {
    CallError::Refused(format!(
        "{what} can only be called while messages are handled"
    ))
}

/// The place in the batch of the message that a guest means: by its id; without one, by its own headers, data and format; without
/// metadata, by data and format. The first that is not settled yet.
fn find(batch: &[Message], outbox: &Outbox, given: &LiftedMessage) -> Result<usize, String> {
    let same_body = |m: &Message| m.payload() == given.data && m.format() == given.format;
    let id = given
        .metadata
        .as_ref()
        .and_then(|pairs| pairs.iter().find(|(key, _)| key == ID));
    let mut settled = false;
    for (index, message) in batch.iter().enumerate() {
        let meant = match (id, &given.metadata) {
            (Some((_, id)), _) => id_is(message, id),
            (None, Some(pairs)) => same_body(message) && same_headers(message, pairs),
            (None, None) => same_body(message),
        };
        if meant && outbox.mark(index).is_none() {
            return Ok(index);
        }
        settled |= meant;
    }
    Err(match settled {
        true => "the message is settled already".to_owned(),
        false => "the message is not one of this call".to_owned(),
    })
}

fn id_is(message: &Message, id: &str) -> bool {
    let mut own = String::with_capacity(16);
    push_id(&mut own, message.id);
    own == id
}

/// Whether these pairs, but for the host's own, are the message's headers.
fn same_headers(message: &Message, pairs: &[(String, String)]) -> bool {
    let own = pairs
        .iter()
        .filter(|(key, _)| ![CHANNEL, ID, REPLY_TO].contains(&key.as_str()));
    own.map(|(key, value)| (key.as_str(), value.as_str()))
        .eq(message.headers())
}

/// Ready with the messages that have come, or with none at its time.
pub(crate) struct Receive {
    feed: Box<dyn Feed>,
    until: Sleep,
    messages_max: usize,
    bytes_max: usize,
}

impl Future for Receive {
    type Output = Vec<Message>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Vec<Message>> {
        let this = &mut *self;
        let (mut messages, mut bytes) = (Vec::new(), 0);
        while messages.len() < this.messages_max
            && bytes < this.bytes_max
            && let Some(message) = this.feed.next()
        {
            bytes += message.bytes();
            messages.push(message);
        }
        if !messages.is_empty() {
            return Poll::Ready(messages);
        }
        Pin::new(&mut this.until).poll(cx).map(|()| Vec::new())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outbox::OutboxBound;
    use crate::port::{Replies, Room};

    fn batch(payloads: &[&str]) -> Vec<Message> {
        payloads
            .iter()
            .zip(1..)
            .map(|(p, id)| {
                let mut m = Message::builder("s")
                    .header("k", "v")
                    .payload(p.as_bytes())
                    .unwrap();
                m.id = id;
                m
            })
            .collect()
    }

    fn outbox() -> Outbox {
        let bound = OutboxBound {
            messages_max: 1,
            bytes_max: 1,
        };
        let mut outbox = Outbox::new(bound);
        outbox.open(bound);
        outbox
    }

    fn given(data: &str, metadata: Option<&[(&str, &str)]>) -> LiftedMessage {
        LiftedMessage {
            data: data.into(),
            format: Format::Raw,
            metadata: metadata.map(|m| {
                m.iter()
                    .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
                    .collect()
            }),
        }
    }

    #[test]
    fn a_message_is_recognised_by_id_then_as_a_whole_then_by_data() {
        let (batch, mut o) = (batch(&["x", "x", "y"]), outbox());
        let by_id = given(
            "anything",
            Some(&[("channel", "s"), ("id", "0000000000000002")]),
        );
        assert_eq!(find(&batch, &o, &by_id), Ok(1));
        let whole = given("x", Some(&[("k", "v")]));
        assert_eq!(find(&batch, &o, &whole), Ok(0));
        assert!(find(&batch, &o, &given("x", Some(&[("k", "other")]))).is_err());
        o.set_mark(0, Mark::Completed);
        assert_eq!(
            find(&batch, &o, &given("x", None)),
            Ok(1),
            "the first unsettled one"
        );
        assert_eq!(find(&batch, &o, &given("y", None)), Ok(2));
    }

    #[test]
    fn a_foreign_or_settled_message_is_an_error() {
        let (batch, mut o) = (batch(&["x"]), outbox());
        assert!(
            find(&batch, &o, &given("z", None))
                .unwrap_err()
                .contains("not one of this call")
        );
        let forged = given("x", Some(&[("id", "00000000000000ff")]));
        assert!(
            find(&batch, &o, &forged)
                .unwrap_err()
                .contains("not one of this call")
        );
        o.set_mark(0, Mark::Abandoned { delay_ms: 0 });
        assert!(
            find(&batch, &o, &given("x", None))
                .unwrap_err()
                .contains("settled already")
        );
    }

    /// A broker that takes everything and has nothing.
    struct Anything;

    impl Port for Anything {
        fn admits(&self, _: &str) -> Result<(), Refusal> {
            Ok(())
        }

        fn subscribe(&self, _: &str, _: Waker) -> Result<Box<dyn Feed>, Refusal> {
            Err(Refusal::Stopping)
        }

        fn request(
            &self,
            _: HandlerId,
            _: &Message,
            _: Room,
            _: Waker,
        ) -> Result<Box<dyn Replies>, Refusal> {
            Err(Refusal::Stopping)
        }
    }

    fn profile(grants: &Grants) -> Profile {
        Profile {
            id: HandlerId(0),
            name: "h".into(),
            limits: HandlerLimits::default(),
            grants: grants.clone(),
            port: Arc::new(Anything),
            wasi: false,
            open_requests: Arc::default(),
        }
    }

    #[test]
    fn a_table_goes_on_empty_and_to_an_instance_that_has_none() {
        let profile = Arc::new(profile(&Grants::default()));
        let [mut first, mut second, mut third] = [(); 3].map(|()| Host::new(&profile));
        first.incoming().make(vec![0; 9]).unwrap();
        first.incoming().connect().unwrap();
        assert_eq!(first.resources(), 2);
        let mut spare = first.take_incoming();
        assert_eq!(first.resources(), 0);
        // Its start function holds a message.
        let held = second.incoming().make(vec![7]).unwrap();
        second.lend_incoming(&mut spare);
        assert_eq!(second.held(held.rep()).unwrap().data(), [7]);
        third.lend_incoming(&mut spare);
        assert!(spare.is_none() && third.resources() == 0);
        assert!(third.held(1).is_err() && third.incoming().is_connected(1).is_err());
        // In all that it may hold there is room for as much as ever.
        let most = vec![0; crate::limits::HELD_BYTES_MAX];
        third.incoming().make(most).unwrap();
    }

    #[test]
    fn replies_are_asked_for_where_the_guest_may_send_listen_or_was_asked() {
        let grants = Grants {
            send: vec![">".into()],
            subscribe: vec!["mine.*".into()],
            ..Grants::default()
        };
        let narrow = Grants {
            send: vec!["open".into()],
            ..grants.clone()
        };
        for (grants, subject, allowed) in [
            (&narrow, "open", true),
            (&narrow, "mine.a", true),
            (&narrow, "asked.for", true),
            (&narrow, "secret", false),
            (&grants, "secret", true),
            (&grants, "_INBOX.0.1", false),
        ] {
            let mut host = Host::new(&Arc::new(profile(grants)));
            let asked = Message::builder("s")
                .reply_to("asked.for")
                .payload(b"")
                .unwrap();
            let batch = Batch {
                messages: vec![asked],
                ..Batch::default()
            };
            host.begin(Arc::new(batch), Box::new(outbox()));
            assert_eq!(host.grants_reply_to(subject).is_ok(), allowed, "{subject}");
            let may_send = subject != "mine.a" && allowed;
            assert_eq!(host.grants_send(subject).is_ok(), may_send, "{subject}");
        }
    }

    #[test]
    fn memory_is_counted_over_all_memories_at_the_limit_and_one_over() {
        let mut meter = Meter {
            bytes: 0,
            bytes_max: 300,
            elements_max: 10,
            denied: false,
        };
        assert!(meter.memory_growing(0, 100, None).unwrap());
        assert!(meter.memory_growing(0, 150, None).unwrap());
        assert!(meter.memory_growing(100, 150, None).unwrap());
        assert!(!meter.denied);
        assert!(!meter.memory_growing(150, 151, None).unwrap());
        assert!(meter.denied);
        assert!(!meter.memory_growing(0, usize::MAX - 65_535, None).unwrap());
        assert!(
            !meter.memory_growing(0, 1, None).unwrap(),
            "a refusal leaves the count as it was"
        );
        assert!(meter.table_growing(0, 10, None).unwrap());
        assert!(!meter.table_growing(10, 11, None).unwrap());
    }
}
