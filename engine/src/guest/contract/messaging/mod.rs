//! Contract 1, `wasi:messaging/messaging-guest`, in its three revisions, which share one shape: the calls of its two functions.

mod imports;
mod lower;
mod revision;
mod store;
mod types;

use wasmtime::Store;
use wasmtime::component::{
    Component, ComponentExportIndex, ComponentNamedList, Instance, Lift, Lower, TypedFunc,
};
use wasmtime::error::Context as _;

pub(crate) use self::imports::link;
pub(crate) use self::lower::push_id;
pub(crate) use self::revision::{Handles, Resources};

use self::lower::{Ids, Metadata, lowered};
use self::revision::Revision;
use self::types::{WitConfiguration, WitMessage};
use super::super::host::Host;
use crate::message::Message;
use crate::outbox::GuestConfiguration;

/// Imports that wait.
pub(crate) const WAITING: [&str; 2] = ["subscribe-try-receive", "subscribe-receive"];

/// Keys of metadata that the host gives, before a message's own headers.
pub(crate) const CHANNEL: &str = "channel";
pub(crate) const ID: &str = "id";
pub(crate) const REPLY_TO: &str = "reply-to";

/// The two exports, found once a component.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Exports {
    configure: ComponentExportIndex,
    handler: ComponentExportIndex,
}

impl Exports {
    /// Finds them by name; `None` if either is missing.
    pub(crate) fn find(component: &Component, interface: &str) -> Option<Self> {
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
