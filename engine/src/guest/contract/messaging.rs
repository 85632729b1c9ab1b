//! Contract 1, `wasi:messaging/messaging-guest`, in its three revisions: lowering a batch, lifting what came back, and the
//! imports `producer` and `consumer`. The revisions share one shape; what differs is [`Revision`].

use std::time::Duration;

use wasmtime::component::{
    ComponentExportIndex, ComponentNamedList, ComponentType, Instance, Lift, Lower, Resource,
    ResourceType, TypedFunc, WasmList, WasmStr,
};
use wasmtime::error::Context as _;
use wasmtime::{Store, StoreContextMut};

use super::super::HostLinker;
use super::super::host::{CallError, Host, LiftedMessage};
use crate::message::{Format, Message};
use crate::outbox::{GuestConfiguration, Mark};

/// Imports that wait.
pub(crate) const WAITING: [&str; 2] = ["subscribe-try-receive", "subscribe-receive"];

/// Keys of metadata that the host gives, before a message's own headers.
pub(crate) const CHANNEL: &str = "channel";
pub(crate) const ID: &str = "id";
pub(crate) const REPLY_TO: &str = "reply-to";

#[derive(Debug, Clone, Copy, PartialEq, Eq, ComponentType, Lift, Lower)]
#[component(enum)]
#[repr(u8)]
enum FormatSpec {
    #[component(name = "cloudevents")]
    CloudEvents,
    #[component(name = "http")]
    Http,
    #[component(name = "amqp")]
    Amqp,
    #[component(name = "mqtt")]
    Mqtt,
    #[component(name = "kafka")]
    Kafka,
    #[component(name = "raw")]
    Raw,
}

/// The pairs of both enums, which name the same six things.
const FORMATS: [(FormatSpec, Format); 6] = [
    (FormatSpec::CloudEvents, Format::CloudEvents),
    (FormatSpec::Http, Format::Http),
    (FormatSpec::Amqp, Format::Amqp),
    (FormatSpec::Mqtt, Format::Mqtt),
    (FormatSpec::Kafka, Format::Kafka),
    (FormatSpec::Raw, Format::Raw),
];

impl From<FormatSpec> for Format {
    fn from(spec: FormatSpec) -> Self {
        FORMATS[spec as usize].1
    }
}

impl From<Format> for FormatSpec {
    fn from(format: Format) -> Self {
        FORMATS[format as usize].0
    }
}

/// A message as it is lowered: everything borrowed.
#[derive(Clone, Copy, ComponentType, Lower)]
#[component(record)]
struct WitMessage<'a> {
    data: &'a [u8],
    format: FormatSpec,
    metadata: Option<&'a [(&'a str, &'a str)]>,
}

/// A message as it is lifted: nothing copied until somebody asks.
#[derive(ComponentType, Lift)]
#[component(record)]
struct GuestMessage {
    data: WasmList<u8>,
    format: FormatSpec,
    metadata: Option<WasmList<(WasmStr, WasmStr)>>,
}

/// A message that a guest waited for.
#[derive(ComponentType, Lower)]
#[component(record)]
struct ReceivedMessage {
    data: Vec<u8>,
    format: FormatSpec,
    metadata: Option<Vec<(String, String)>>,
}

#[derive(ComponentType, Lift)]
#[component(record)]
struct WitConfiguration {
    channels: Vec<String>,
    extensions: Option<Vec<(String, String)>>,
}

impl From<WitConfiguration> for GuestConfiguration {
    fn from(wit: WitConfiguration) -> Self {
        Self {
            channels: wit.channels,
            extensions: wit.extensions.unwrap_or_default(),
        }
    }
}

/// What differs between revisions: how clients and errors are named.
pub(crate) trait Revision: 'static {
    /// A connection to a broker.
    type Client: ComponentType + Lift + Lower + Send + Sync + 'static;
    /// An error that a guest may ask about.
    type Error: ComponentType + Lift + Lower + Send + Sync + 'static;

    /// Hands a new connection to the guest.
    fn client(host: &mut Host) -> wasmtime::Result<Self::Client>;
    /// Takes a connection that the guest passed; the reason if there is none.
    fn take(host: &mut Host, client: Self::Client) -> Result<(), String>;
    /// Hands a new error to the guest.
    fn error(host: &mut Host, reason: String) -> wasmtime::Result<Self::Error>;
    /// Takes an error that the guest returned: what it says.
    fn returned(host: &mut Host, error: Self::Error) -> String;
    /// Adds the functions of `messaging-types`.
    fn link_types(linker: &mut HostLinker, version: &str) -> wasmtime::Result<()>;
}

/// June 2023: `u32` handles.
pub(crate) enum Handles {}

impl Revision for Handles {
    type Client = u32;
    type Error = u32;

    fn client(host: &mut Host) -> wasmtime::Result<u32> {
        host.handles.clients.insert(())
    }

    fn take(host: &mut Host, client: u32) -> Result<(), String> {
        match host.handles.clients.get(client) {
            Some(()) => Ok(()),
            None => Err(format!("client {client} is not connected")),
        }
    }

    fn error(host: &mut Host, reason: String) -> wasmtime::Result<u32> {
        host.handles.errors.insert(reason)
    }

    fn returned(host: &mut Host, error: u32) -> String {
        host.handles
            .errors
            .remove(error)
            .unwrap_or_else(|| format!("error {error}, which the host did not make"))
    }

    fn link_types(linker: &mut HostLinker, version: &str) -> wasmtime::Result<()> {
        let mut types = linker.instance(&format!("wasi:messaging/messaging-types{version}"))?;
        types.func_wrap("connect", connect::<Self>)?;
        types.func_wrap("disconnect", |mut cx: Cx<'_>, (client,): (u32,)| {
            cx.data_mut().handles.clients.remove(client);
            Ok(())
        })?;
        types.func_wrap("trace", |cx: Cx<'_>, (error,): (u32,)| {
            let known = cx.data().handles.errors.get(error).cloned();
            Ok((known.unwrap_or_else(|| format!("error {error} is not known")),))
        })?;
        types.func_wrap("drop-error", |mut cx: Cx<'_>, (error,): (u32,)| {
            cx.data_mut().handles.errors.remove(error);
            Ok(())
        })
    }
}

/// 0.1.0 and 0.2.0-draft: resources. The host keeps no table of them, only their number: a client is a right to the one
/// broker, and of errors only the latest can be asked about.
pub(crate) enum Resources {}

/// The resource `client`.
pub(crate) enum Client {}
/// The resource `error`.
pub(crate) enum Error {}

impl Revision for Resources {
    type Client = Resource<Client>;
    type Error = Resource<Error>;

    fn client(host: &mut Host) -> wasmtime::Result<Self::Client> {
        host.live.clients += 1;
        Ok(Resource::new_own(0))
    }

    fn take(host: &mut Host, client: Self::Client) -> Result<(), String> {
        debug_assert!(client.owned(), "the interface passes clients by value");
        host.live.clients -= 1;
        Ok(())
    }

    fn error(host: &mut Host, reason: String) -> wasmtime::Result<Self::Error> {
        host.live.errors += 1;
        host.trace = reason;
        Ok(Resource::new_own(0))
    }

    fn returned(host: &mut Host, error: Self::Error) -> String {
        debug_assert!(error.owned(), "the interface returns errors by value");
        host.live.errors -= 1;
        host.trace.clone()
    }

    fn link_types(linker: &mut HostLinker, version: &str) -> wasmtime::Result<()> {
        let mut types = linker.instance(&format!("wasi:messaging/messaging-types{version}"))?;
        types.resource("client", ResourceType::host::<Client>(), |mut cx, _| {
            cx.data_mut().live.clients -= 1;
            Ok(())
        })?;
        types.resource("error", ResourceType::host::<Error>(), |mut cx, _| {
            cx.data_mut().live.errors -= 1;
            Ok(())
        })?;
        types.func_wrap("[static]client.connect", connect::<Self>)?;
        types.func_wrap("[static]error.trace", |cx: Cx<'_>, (): ()| {
            Ok((cx.data().trace.clone(),))
        })
    }
}

type Cx<'a> = StoreContextMut<'a, Host>;
type Answer<T, R> = wasmtime::Result<(Result<T, <R as Revision>::Error>,)>;

/// Turns a host function's answer into what the guest gets: an error that it can ask about, or the end of its call.
fn answer<R: Revision, T>(host: &mut Host, result: Result<T, CallError>) -> Answer<T, R> {
    match result {
        Ok(value) => Ok((Ok(value),)),
        Err(CallError::Refused(reason)) => Ok((Err(R::error(host, reason)?),)),
        Err(CallError::Ended(error)) => Err(error),
    }
}

fn connect<R: Revision>(mut cx: Cx<'_>, (name,): (String,)) -> Answer<R::Client, R> {
    let host = cx.data_mut();
    let result = match host.connect(&name) {
        Ok(()) => R::client(host).map_err(CallError::Ended),
        Err(refused) => Err(refused),
    };
    answer::<R, _>(host, result)
}

/// Adds `producer` and `consumer`, and what else the revision's `messaging-types` has.
pub(crate) fn link<R: Revision>(linker: &mut HostLinker, version: &str) -> wasmtime::Result<()> {
    R::link_types(linker, version)?;
    let mut producer = linker.instance(&format!("wasi:messaging/producer{version}"))?;
    producer.func_wrap("send", send::<R>)?;
    let mut consumer = linker.instance(&format!("wasi:messaging/consumer{version}"))?;
    consumer.func_wrap(
        "update-guest-configuration",
        |mut cx: Cx<'_>, (gc,): (WitConfiguration,)| {
            let result = cx.data_mut().update(gc.into());
            answer::<R, ()>(cx.data_mut(), result)
        },
    )?;
    consumer.func_wrap(
        "complete-message",
        |mut cx: Cx<'_>, (m,): (GuestMessage,)| {
            let result = settle(&mut cx, &m, Mark::Completed);
            answer::<R, ()>(cx.data_mut(), result)
        },
    )?;
    consumer.func_wrap(
        "abandon-message",
        |mut cx: Cx<'_>, (m,): (GuestMessage,)| {
            let result = settle(&mut cx, &m, Mark::Abandoned);
            answer::<R, ()>(cx.data_mut(), result)
        },
    )?;
    consumer.func_wrap_async(
        WAITING[0],
        |mut cx: Cx<'_>, (client, channel, ms): (R::Client, String, u32)| {
            Box::new(async move {
                let wait = Duration::from_millis(u64::from(ms));
                let received = receive::<R>(&mut cx, client, &channel, wait).await;
                let some = received.map(|messages| (!messages.is_empty()).then_some(messages));
                answer::<R, _>(cx.data_mut(), some)
            })
        },
    )?;
    consumer.func_wrap_async(
        WAITING[1],
        |mut cx: Cx<'_>, (client, channel): (R::Client, String)| {
            Box::new(async move {
                let wait = cx.data().receive_wait_max();
                let received = receive::<R>(&mut cx, client, &channel, wait).await;
                let some = received.and_then(|messages| match messages.is_empty() {
                    true => Err(CallError::Refused(format!(
                        "no message came on {channel:?} within {wait:?}"
                    ))),
                    false => Ok(messages),
                });
                answer::<R, _>(cx.data_mut(), some)
            })
        },
    )
}

fn send<R: Revision>(
    mut cx: Cx<'_>,
    (client, channel, messages): (R::Client, WasmStr, WasmList<GuestMessage>),
) -> Answer<(), R> {
    let result = match R::take(cx.data_mut(), client) {
        Ok(()) => hold(&mut cx, &channel, &messages),
        Err(reason) => Err(CallError::Refused(reason)),
    };
    answer::<R, _>(cx.data_mut(), result)
}

/// Holds a list of messages in the call's outbox: all of them or, on an error, none.
fn hold(
    cx: &mut Cx<'_>,
    channel: &WasmStr,
    messages: &WasmList<GuestMessage>,
) -> Result<(), CallError> {
    let subject = channel.to_str(&*cx).map_err(CallError::Ended)?;
    cx.data().admits_send(&subject)?;
    let mut outbox = cx.data_mut().take_outbox()?;
    let before = outbox.checkpoint();
    let result = (0..messages.len()).try_for_each(|index| {
        let message = match messages.get(&mut *cx, index) {
            Some(message) => message.map_err(CallError::Ended)?,
            None => return Ok(()),
        };
        hold_one(cx, &mut outbox, channel, &message)
    });
    if result.is_err() {
        outbox.rewind(before);
    }
    cx.data_mut().put_outbox(outbox);
    result
}

fn hold_one(
    cx: &mut Cx<'_>,
    outbox: &mut crate::outbox::Outbox,
    channel: &WasmStr,
    message: &GuestMessage,
) -> Result<(), CallError> {
    let mut draft = outbox.draft(&channel.to_str(&*cx).map_err(CallError::Ended)?)?;
    if let Some(metadata) = &message.metadata {
        let pairs = pairs(cx, metadata)?;
        if let Some((_, reply_to)) = pairs.iter().find(|(key, _)| key == REPLY_TO) {
            draft.reply_to(reply_to)?;
        }
        for (key, value) in pairs
            .iter()
            .filter(|(key, _)| ![CHANNEL, ID, REPLY_TO].contains(&key.as_str()))
        {
            draft.header(key, value)?;
        }
    }
    draft.payload(message.data.as_le_slice(&*cx), message.format.into())?;
    Ok(())
}

fn pairs(
    cx: &mut Cx<'_>,
    list: &WasmList<(WasmStr, WasmStr)>,
) -> Result<Vec<(String, String)>, CallError> {
    let pair = |cx: &mut Cx<'_>, index| -> wasmtime::Result<(String, String)> {
        let (key, value) = match list.get(&mut *cx, index) {
            Some(pair) => pair?,
            None => return Ok(Default::default()),
        };
        Ok((
            key.to_str(&*cx)?.into_owned(),
            value.to_str(&*cx)?.into_owned(),
        ))
    };
    (0..list.len())
        .map(|index| pair(cx, index).map_err(CallError::Ended))
        .collect()
}

fn settle(cx: &mut Cx<'_>, message: &GuestMessage, mark: Mark) -> Result<(), CallError> {
    let metadata = match &message.metadata {
        Some(list) => Some(pairs(cx, list)?),
        None => None,
    };
    let lifted = LiftedMessage {
        data: message.data.as_le_slice(&*cx).to_vec(),
        format: message.format.into(),
        metadata,
    };
    cx.data_mut().settle(&lifted, mark)
}

async fn receive<R: Revision>(
    cx: &mut Cx<'_>,
    client: R::Client,
    channel: &str,
    wait: Duration,
) -> Result<Vec<ReceivedMessage>, CallError> {
    R::take(cx.data_mut(), client).map_err(CallError::Refused)?;
    let receive = cx.data_mut().receive(channel, wait)?;
    let messages = receive.await;
    Ok(messages.iter().map(received).collect())
}

fn received(message: &Message) -> ReceivedMessage {
    let own = |(k, v): (&str, &str)| (k.to_owned(), v.to_owned());
    let host = [
        Some((CHANNEL, message.subject())),
        message.reply_to().map(|r| (REPLY_TO, r)),
    ];
    ReceivedMessage {
        data: message.payload().to_vec(),
        format: message.format().into(),
        metadata: Some(
            host.into_iter()
                .flatten()
                .chain(message.headers())
                .map(own)
                .collect(),
        ),
    }
}

/// The two exports, found once a component.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Exports {
    configure: ComponentExportIndex,
    handler: ComponentExportIndex,
}

impl Exports {
    /// Finds them by name; `None` if either is missing.
    pub(crate) fn find(
        component: &wasmtime::component::Component,
        interface: &str,
    ) -> Option<Self> {
        let instance = component.get_export_index(None, interface)?;
        let find = |name| component.get_export_index(Some(&instance), name);
        Some(Self {
            configure: find("configure")?,
            handler: find("handler")?,
        })
    }
}

/// What a call gave: nothing, or the reason that the guest returned.
pub(crate) type Returned<T> = wasmtime::Result<Result<T, String>>;

fn typed<P, O>(
    store: &mut Store<Host>,
    instance: &Instance,
    index: ComponentExportIndex,
) -> wasmtime::Result<TypedFunc<P, O>>
where
    P: ComponentNamedList + Lower,
    O: ComponentNamedList + Lift,
{
    let typed = instance.get_typed_func(store, index);
    typed.context("a function has another type than its contract says")
}

/// Calls `configure`, once the types of both functions are known to be the contract's.
pub(crate) async fn configure<R: Revision>(
    store: &mut Store<Host>,
    instance: &Instance,
    exports: Exports,
) -> Returned<GuestConfiguration> {
    typed::<(&[WitMessage<'_>],), HandlerResult<R>>(store, instance, exports.handler)?;
    let func =
        typed::<(), (Result<WitConfiguration, R::Error>,)>(store, instance, exports.configure)?;
    let (result,) = func.call_async(&mut *store, ()).await?;
    Ok(match result {
        Ok(configuration) => Ok(configuration.into()),
        Err(error) => Err(R::returned(store.data_mut(), error)),
    })
}

type HandlerResult<R> = (Result<(), <R as Revision>::Error>,);

/// Calls `handler` with a batch, on the caller's stack.
pub(crate) fn handle<R: Revision>(
    store: &mut Store<Host>,
    instance: &Instance,
    exports: Exports,
    batch: &[Message],
) -> Returned<()> {
    let func = typed::<(&[WitMessage<'_>],), HandlerResult<R>>(store, instance, exports.handler)?;
    let (result,) = lowered(batch, |messages| func.call(&mut *store, (messages,)))?;
    Ok(result.map_err(|error| R::returned(store.data_mut(), error)))
}

/// Calls `handler` with a batch, on a fiber.
pub(crate) async fn handle_async<R: Revision>(
    store: &mut Store<Host>,
    instance: &Instance,
    exports: Exports,
    batch: &[Message],
) -> Returned<()> {
    let func = typed::<(&[WitMessage<'_>],), HandlerResult<R>>(store, instance, exports.handler)?;
    let ids = Ids::of(batch);
    let metadata = Metadata::of(batch, &ids);
    let messages = metadata.messages(batch);
    let (result,) = func.call_async(&mut *store, (&messages,)).await?;
    Ok(result.map_err(|error| R::returned(store.data_mut(), error)))
}

/// Borrows a batch as the list that is lowered: two allocations a call and none a message.
fn lowered<O>(batch: &[Message], call: impl FnOnce(&[WitMessage<'_>]) -> O) -> O {
    let ids = Ids::of(batch);
    let metadata = Metadata::of(batch, &ids);
    call(&metadata.messages(batch))
}

/// The ids of a batch as text, in one buffer.
struct Ids {
    text: String,
}

/// Digits of an id: a `u64` in hexadecimal.
const ID_DIGITS: usize = 16;

impl Ids {
    fn of(batch: &[Message]) -> Self {
        let mut text = String::with_capacity(batch.len() * ID_DIGITS);
        for message in batch {
            push_id(&mut text, message.id);
        }
        Self { text }
    }

    fn get(&self, index: usize) -> &str {
        &self.text[index * ID_DIGITS..][..ID_DIGITS]
    }
}

/// Writes an id as its metadata has it: 16 hexadecimal digits.
pub(crate) fn push_id(text: &mut String, id: u64) {
    for shift in (0..ID_DIGITS).rev() {
        let digit = (id >> (4 * shift)) & 0xf;
        text.push(char::from(b"0123456789abcdef"[digit as usize]));
    }
}

/// The metadata of a batch, in one list; and where each message's ends.
struct Metadata<'a> {
    pairs: Vec<(&'a str, &'a str)>,
    ends: Vec<usize>,
}

impl<'a> Metadata<'a> {
    fn of(batch: &'a [Message], ids: &'a Ids) -> Self {
        let mut pairs = Vec::with_capacity(batch.len() * 3);
        let mut ends = Vec::with_capacity(batch.len());
        for (index, message) in batch.iter().enumerate() {
            pairs.push((CHANNEL, message.subject()));
            pairs.push((ID, ids.get(index)));
            pairs.extend(message.reply_to().map(|reply_to| (REPLY_TO, reply_to)));
            pairs.extend(message.headers());
            ends.push(pairs.len());
        }
        Self { pairs, ends }
    }

    fn messages(&'a self, batch: &'a [Message]) -> Vec<WitMessage<'a>> {
        let mut start = 0;
        let message = |(message, &end): (&'a Message, &usize)| {
            let metadata = &self.pairs[start..end];
            start = end;
            WitMessage {
                data: message.payload(),
                format: message.format().into(),
                metadata: Some(metadata),
            }
        };
        batch.iter().zip(&self.ends).map(message).collect()
    }
}
