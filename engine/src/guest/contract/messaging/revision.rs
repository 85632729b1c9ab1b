//! What differs between the revisions of contract 1: whether clients and errors are numbers or resources.

use wasmtime::StoreContextMut;
use wasmtime::component::{ComponentType, Lift, Lower, Resource, ResourceType};

use super::super::super::HostLinker;
use super::super::super::host::{CallError, Host};

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

/// The store during a host call.
pub(super) type Cx<'a> = StoreContextMut<'a, Host>;
/// What a host function gives back.
pub(super) type Answer<T, R> = wasmtime::Result<(Result<T, <R as Revision>::Error>,)>;

/// Turns a host function's answer into what the guest gets: an error that it can ask about, or the end of its call.
pub(super) fn answer<R: Revision, T>(
    host: &mut Host,
    result: Result<T, CallError>,
) -> Answer<T, R> {
    match result {
        Ok(value) => Ok((Ok(value),)),
        Err(error) => {
            let reason = error.reason()?;
            Ok((Err(R::error(host, reason)?),))
        }
    }
}

/// Connects to a broker, if it is granted.
pub(super) fn connect<R: Revision>(mut cx: Cx<'_>, (name,): (String,)) -> Answer<R::Client, R> {
    let host = cx.data_mut();
    let result = match host.connect(&name) {
        Ok(()) => R::client(host).map_err(CallError::Ended),
        Err(refused) => Err(refused),
    };
    answer::<R, _>(host, result)
}
