//! Contract 3, `millpond:batch`: a batch in two lists, and all that its guest says and sends back in two. The call of its one function.

mod byte_list;
#[cfg(test)]
mod corpus;
#[cfg(test)]
#[path = "../../../../fuzz/src/answers.rs"]
mod fuzz_answers;
#[cfg(test)]
mod generated;
pub(crate) mod packed;

use wasmtime::component::{
    Component, ComponentExportIndex, ComponentType, Instance, Lift, TypedFunc, WasmList,
};
use wasmtime::error::Context as _;
use wasmtime::{Error, Store};

use self::byte_list::ByteList;
use self::packed::{Answer, Packed, Rights, read};
use super::super::host::{CallError, Host};
use super::messaging::Returned;
use crate::batch::Batch;
use crate::outbox::{GuestConfiguration, Lent};
use crate::subject::check_subject;

/// The one export, found once a component.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Export(ComponentExportIndex);

impl Export {
    /// Finds it by name.
    pub(crate) fn find(component: &Component, interface: &str) -> Option<Self> {
        let instance = component.get_export_index(None, interface)?;
        component
            .get_export_index(Some(&instance), "handle")
            .map(Self)
    }
}

/// What a guest gives back. Nothing is copied by lifting it, only its places in the guest's memory are checked; Wasmtime lifts no
/// more bytes than [`crate::limits::HOST_CALL_BYTES_MAX`]. The guest never runs again: it is read where it lies, until what it sends has gone.
#[derive(ComponentType, Lift)]
#[component(record)]
pub(crate) struct Answered {
    arena: WasmList<u8>,
    index: WasmList<u32>,
}

type Handle<'a> = TypedFunc<(ByteList<'a>, &'a [u32]), (Result<Answered, String>,)>;

/// Its configuration: none, since this contract's guests leave that to the host; once its function is known to be the contract's.
pub(crate) fn configure(
    store: &mut Store<Host>,
    instance: &Instance,
    export: Export,
) -> Returned<GuestConfiguration> {
    typed(store, instance, export)?;
    Ok(Ok(GuestConfiguration::default()))
}

fn typed<'a>(
    store: &mut Store<Host>,
    instance: &Instance,
    export: Export,
) -> wasmtime::Result<Handle<'a>> {
    let typed = instance.get_typed_func(store, export.0);
    typed.context("a function has another type than its contract says")
}

/// Calls `handle` with a batch, on the caller's stack.
pub(crate) fn handle(
    store: &mut Store<Host>,
    instance: &Instance,
    export: Export,
    batch: &Batch,
    packed: &mut Packed,
) -> Returned<()> {
    let (arena, index) = packed
        .fill(&batch.packs, &batch.messages)
        .map_err(Error::new)?;
    let (answer,) = typed(store, instance, export)?.call(&mut *store, (ByteList(arena), index))?;
    take(store, batch, answer)
}

/// Calls `handle` with a batch, on a fiber.
pub(crate) async fn handle_async(
    store: &mut Store<Host>,
    instance: &Instance,
    export: Export,
    batch: &Batch,
) -> Returned<()> {
    let mut packed = Packed::default();
    let (arena, index) = packed
        .fill(&batch.packs, &batch.messages)
        .map_err(Error::new)?;
    let func = typed(store, instance, export)?;
    let (answer,) = func
        .call_async(&mut *store, (ByteList(arena), index))
        .await?;
    take(store, batch, answer)
}

impl Answered {
    fn lists<'a>(&'a self, store: &'a Store<Host>) -> Answer<'a> {
        Answer {
            arena: self.arena.as_le_slice(store),
            index: self.index.as_le_slice(store),
        }
    }

    /// What its sends lie in; once it has been read.
    pub(crate) fn lent<'a>(&'a self, store: &'a Store<Host>) -> Lent<'a> {
        self.lists(store).lent()
    }
}

/// Takes what a guest gave back into its call's outbox.
fn take(store: &mut Store<Host>, batch: &Batch, answer: Result<Answered, String>) -> Returned<()> {
    let answer = match answer {
        Ok(answer) => answer,
        Err(reason) => return Ok(Err(reason)),
    };
    let outbox = store.data_mut().take_outbox();
    let mut outbox = outbox.map_err(|_| Error::msg("a call has an outbox"))?;
    let taken = read(
        answer.lists(store),
        batch.len(),
        &Granted {
            host: store.data(),
            batch,
        },
        &mut outbox,
    );
    store.data_mut().put_answered(outbox, answer);
    Ok(Ok(taken.map_err(Error::new)?))
}

/// What a call's guest may do, by its handler's grants and by who waits for its replies.
struct Granted<'a> {
    host: &'a Host,
    batch: &'a Batch,
}

impl Rights for Granted<'_> {
    fn send(&self, message: usize, subject: &str) -> Result<(), String> {
        match self.batch.asks_on(message, subject) {
            true => check_subject(subject).map_err(|error| error.to_string())?,
            false => self.host.grants_send(subject).map_err(reason)?,
        }
        self.host.admits_send(subject).map_err(reason)
    }

    fn reply_to(&self, message: usize, subject: &str) -> Result<(), String> {
        check_subject(subject).map_err(|error| error.to_string())?;
        match self.batch.asks_on(message, subject) {
            true => Ok(()),
            false => self.host.grants_reply_to(subject).map_err(reason),
        }
    }
}

fn reason(error: CallError) -> String {
    match error.reason() {
        Ok(reason) => reason,
        Err(error) => format!("{error:#}"),
    }
}
