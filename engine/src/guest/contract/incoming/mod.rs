//! Contract 2, `wasi:messaging/incoming-handler@0.2.0-draft` of December 2024: one message a call, as a resource. What a guest
//! sends and replies is held in its call's outbox; a request goes out at once.

mod imports;
mod message;
mod table;
mod types;

use wasmtime::component::{ComponentExportIndex, Instance, Resource, TypedFunc};
use wasmtime::error::Context as _;
use wasmtime::{Store, bail};

pub(crate) use self::imports::link;
pub(crate) use self::message::{Held, Seen};
pub(crate) use self::table::{Table, no_message};

use self::table::MessageResource;
use self::types::WitError;
use super::super::host::Host;
use super::Returned;
use crate::message::Message;

/// The function that a component exports.
pub(crate) const EXPORT: &str = "handle";

/// Imports that wait.
pub(crate) const WAITING: [&str; 1] = ["request"];

type Handle = TypedFunc<(Resource<MessageResource>,), (Result<(), WitError>,)>;

fn typed(
    store: &mut Store<Host>,
    instance: &Instance,
    export: ComponentExportIndex,
) -> wasmtime::Result<Handle> {
    let typed = instance.get_typed_func(store, export);
    typed.context("handle has another type than its contract says")
}

/// Sees that the function is of the contract's type.
pub(crate) fn check(
    store: &mut Store<Host>,
    instance: &Instance,
    export: ComponentExportIndex,
) -> wasmtime::Result<()> {
    typed(store, instance, export).map(drop)
}

/// Makes the batch's one message a resource: it stays where it is.
fn lend(store: &mut Store<Host>, batch: &[Message]) -> wasmtime::Result<Resource<MessageResource>> {
    match batch {
        [_] => store.data_mut().incoming().handle(),
        batch => bail!(
            "a call of this contract has one message, not {}",
            batch.len()
        ),
    }
}

/// Calls `handle`, on the caller's stack.
pub(crate) fn handle(
    store: &mut Store<Host>,
    instance: &Instance,
    export: ComponentExportIndex,
    batch: &[Message],
) -> Returned<()> {
    let func = typed(store, instance, export)?;
    let message = lend(store, batch)?;
    let (result,) = func.call(&mut *store, (message,))?;
    Ok(result.map_err(WitError::into_reason))
}

/// Calls `handle`, on a fiber.
pub(crate) async fn handle_async(
    store: &mut Store<Host>,
    instance: &Instance,
    export: ComponentExportIndex,
    batch: &[Message],
) -> Returned<()> {
    let func = typed(store, instance, export)?;
    let message = lend(store, batch)?;
    let (result,) = func.call_async(&mut *store, (message,)).await?;
    Ok(result.map_err(WitError::into_reason))
}
