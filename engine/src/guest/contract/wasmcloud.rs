//! Contract 4, `wasmcloud:messaging/handler@0.2.0`: one message a call, as a record. What a guest publishes is held in its call's
//! outbox; a request goes out at once.

use std::time::Duration;

use bytes::Bytes;
use wasmtime::component::{
    ComponentExportIndex, ComponentType, Instance, Lift, Lower, TypedFunc, WasmList, WasmStr,
};
use wasmtime::error::Context as _;
use wasmtime::{Store, StoreContextMut, bail};

use super::super::HostLinker;
use super::super::host::{CallError, Host};
use super::super::request::Asked;
use super::Returned;
use crate::message::{Format, Message};
use crate::outbox::Outbox;

/// The function that a component exports.
pub(crate) const EXPORT: &str = "handle-message";

/// Imports that wait.
pub(crate) const WAITING: [&str; 1] = ["request"];

/// A message as it is lowered: everything borrowed.
#[derive(Clone, Copy, ComponentType, Lower)]
#[component(record)]
struct Lowered<'a> {
    subject: &'a str,
    body: &'a [u8],
    #[component(name = "reply-to")]
    reply_to: Option<&'a str>,
}

impl<'a> Lowered<'a> {
    fn of(message: &'a Message) -> Self {
        Self {
            subject: message.subject(),
            body: message.payload(),
            reply_to: message.reply_to(),
        }
    }
}

/// A message as it is lifted: nothing copied until somebody asks.
#[derive(ComponentType, Lift)]
#[component(record)]
struct Lifted {
    subject: WasmStr,
    body: WasmList<u8>,
    #[component(name = "reply-to")]
    reply_to: Option<WasmStr>,
}

/// A reply.
#[derive(ComponentType, Lower)]
#[component(record)]
struct Replied {
    subject: String,
    body: Bytes,
    #[component(name = "reply-to")]
    reply_to: Option<String>,
}

impl Replied {
    fn of(message: &Message) -> Self {
        Self {
            subject: message.subject().to_owned(),
            body: message.shared_payload(),
            reply_to: message.reply_to().map(str::to_owned),
        }
    }
}

type Handle<'a> = TypedFunc<(Lowered<'a>,), (Result<(), String>,)>;

fn typed<'a>(
    store: &mut Store<Host>,
    instance: &Instance,
    export: ComponentExportIndex,
) -> wasmtime::Result<Handle<'a>> {
    let typed = instance.get_typed_func(store, export);
    typed.context("handle-message has another type than its contract says")
}

/// Sees that the function is of the contract's type.
pub(crate) fn check(
    store: &mut Store<Host>,
    instance: &Instance,
    export: ComponentExportIndex,
) -> wasmtime::Result<()> {
    typed(store, instance, export).map(drop)
}

fn one(batch: &[Message]) -> wasmtime::Result<&Message> {
    match batch {
        [message] => Ok(message),
        batch => bail!(
            "a call of this contract has one message, not {}",
            batch.len()
        ),
    }
}

/// Calls `handle-message`, on the caller's stack.
pub(crate) fn handle(
    store: &mut Store<Host>,
    instance: &Instance,
    export: ComponentExportIndex,
    batch: &[Message],
) -> Returned<()> {
    let func = typed(store, instance, export)?;
    let (result,) = func.call(&mut *store, (Lowered::of(one(batch)?),))?;
    Ok(result)
}

/// Calls `handle-message`, on a fiber.
pub(crate) async fn handle_async(
    store: &mut Store<Host>,
    instance: &Instance,
    export: ComponentExportIndex,
    batch: &[Message],
) -> Returned<()> {
    let func = typed(store, instance, export)?;
    let message = Lowered::of(one(batch)?);
    let (result,) = func.call_async(&mut *store, (message,)).await?;
    Ok(result)
}

type Cx<'a> = StoreContextMut<'a, Host>;
type Answer<T> = wasmtime::Result<(Result<T, String>,)>;

fn answer<T>(result: Result<T, CallError>) -> Answer<T> {
    match result {
        Ok(value) => Ok((Ok(value),)),
        Err(error) => Ok((Err(error.reason()?),)),
    }
}

/// Adds `consumer`.
pub(crate) fn link(linker: &mut HostLinker) -> wasmtime::Result<()> {
    let mut consumer = linker.instance("wasmcloud:messaging/consumer@0.2.0")?;
    consumer.func_wrap("publish", |mut cx: Cx<'_>, (message,): (Lifted,)| {
        answer(publish(&mut cx, &message))
    })?;
    consumer.func_wrap_async(
        WAITING[0],
        |mut cx: Cx<'_>, (subject, body, ms): (WasmStr, WasmList<u8>, u32)| {
            Box::new(async move {
                let asked = Asked::one(Duration::from_millis(ms.into()));
                answer(request(&mut cx, &subject, &body, asked).await)
            })
        },
    )
}

fn publish(cx: &mut Cx<'_>, message: &Lifted) -> Result<(), CallError> {
    let mut outbox = cx.data_mut().take_outbox()?;
    let held = hold(cx, &mut outbox, message);
    cx.data_mut().put_outbox(outbox);
    held
}

fn hold(cx: &Cx<'_>, outbox: &mut Outbox, message: &Lifted) -> Result<(), CallError> {
    let subject = message.subject.to_str(cx).map_err(CallError::Ended)?;
    cx.data().grants_send(&subject)?;
    cx.data().admits_send(&subject)?;
    let mut draft = outbox.draft(&subject);
    if let Some(reply_to) = &message.reply_to {
        let reply_to = reply_to.to_str(cx).map_err(CallError::Ended)?;
        cx.data().grants_reply_to(&reply_to)?;
        draft.reply_to(&reply_to)?;
    }
    draft.payload(message.body.as_le_slice(cx), Format::Raw)?;
    Ok(())
}

async fn request(
    cx: &mut Cx<'_>,
    subject: &WasmStr,
    body: &WasmList<u8>,
    asked: Asked,
) -> Result<Replied, CallError> {
    let message = {
        let subject = subject.to_str(&*cx).map_err(CallError::Ended)?;
        Message::new(&subject, body.as_le_slice(&*cx))
    };
    let message = message.map_err(|error| CallError::Refused(error.to_string()))?;
    let replies = cx.data().request(&message, asked)?.await?;
    // A request without a reply is an error, never an empty list.
    let first = replies.first().map(Replied::of);
    first.ok_or_else(|| CallError::Refused("no reply".into()))
}
