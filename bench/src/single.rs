//! Contracts 2 and 4, which have one message a call: their components, and a raw loop for each.
//!
//! Bias, beside what the library says: the raw loop's host has one message and no table of resources, and copies what is sent into
//! one buffer that it uses again.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use millpond::{HandlerConfig, Message, ResetMode};
use wasmtime::component::{
    Component, ComponentExportIndex, ComponentType, Instance, InstancePre, Lift, Linker, Lower,
    Resource, ResourceType, WasmList, WasmStr,
};
use wasmtime::error::Context as _;
use wasmtime::{Engine, Result, Store, StoreContextMut, ensure};

use crate::clock::{self, THIS_THREAD, on_core};
use crate::engine::{Feed, LoadedEngine};
use crate::guest::PAYLOAD_BYTES;
use crate::raw::{Allocator, Run};

/// Calls between two looks at the clock.
const CALLS_A_LOOK: u64 = 64;
/// The subject that both handle.
const SUBJECT: &str = "echo";
/// The one pair of metadata.
const PAIR: (&str, &str) = ("kind", "bench");

/// A component that sends each message on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Single {
    /// Contract 2: the message is a resource, which it looks at and gives back.
    Incoming,
    /// Contract 4: the message is a record, which it copies in and out.
    Wasmcloud,
}

impl Single {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Incoming, Self::Wasmcloud];

    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Incoming => "echo-incoming",
            Self::Wasmcloud => "echo-wasmcloud",
        }
    }

    /// The interface that it exports, and its function.
    fn export(self) -> (&'static str, &'static str) {
        match self {
            Self::Incoming => ("wasi:messaging/incoming-handler@0.2.0-draft", "handle"),
            Self::Wasmcloud => ("wasmcloud:messaging/handler@0.2.0", "handle-message"),
        }
    }

    pub(crate) fn path(self) -> PathBuf {
        let prebuilt = concat!(env!("CARGO_MANIFEST_DIR"), "/../guests/prebuilt");
        PathBuf::from(prebuilt).join(format!("{}.wasm", self.name()))
    }

    /// An engine with it.
    ///
    /// # Errors
    /// It does not start.
    pub fn engine(self, reset: ResetMode) -> Result<LoadedEngine> {
        let handler = HandlerConfig::file(self.name(), self.path()).subject(SUBJECT);
        let payload = [b'x'; PAYLOAD_BYTES];
        let message = |_| {
            let builder = Message::builder(SUBJECT).header(PAIR.0, PAIR.1);
            builder.payload(&payload).context("building a message")
        };
        let messages = |count| (0..count).map(message).collect();
        LoadedEngine::of(handler, messages, 1, reset, (1, Feed::Single))
    }
}

/// What the host keeps for one instance: the message that came, and the bytes that were sent.
struct Host {
    came: Arc<Vec<u8>>,
    sent: Vec<u8>,
    messages: u64,
}

enum ClientResource {}
enum MessageResource {}
enum OptionsResource {}

type Cx<'a> = StoreContextMut<'a, Host>;

/// The error of contract 2.
#[derive(ComponentType, Lift, Lower)]
#[component(variant)]
#[allow(dead_code, reason = "the contract has them all; none is used here")]
enum WitError {
    #[component(name = "timeout")]
    Timeout,
    #[component(name = "connection")]
    Connection(String),
    #[component(name = "permission-denied")]
    PermissionDenied(String),
    #[component(name = "other")]
    Other(String),
}

/// A message of contract 4 as it is lowered.
#[derive(Clone, Copy, ComponentType, Lower)]
#[component(record)]
struct Lowered<'a> {
    subject: &'a str,
    body: &'a [u8],
    #[component(name = "reply-to")]
    reply_to: Option<&'a str>,
}

/// The same as it is lifted.
#[derive(ComponentType, Lift)]
#[component(record)]
#[allow(
    dead_code,
    reason = "the raw loop keeps only the bytes; lifting does all fields"
)]
struct Lifted {
    subject: WasmStr,
    body: WasmList<u8>,
    #[component(name = "reply-to")]
    reply_to: Option<WasmStr>,
}

/// A component that is ready to be instantiated.
pub struct RawSingle {
    engine: Engine,
    pre: InstancePre<Host>,
    function: ComponentExportIndex,
    single: Single,
    came: Arc<Vec<u8>>,
    sent: Vec<u8>,
}

impl RawSingle {
    /// Compiles and links it.
    ///
    /// # Errors
    /// The allocator is not available here, or the component is not as expected.
    pub fn new(single: Single, allocator: Allocator) -> Result<Self> {
        let engine = allocator.engine()?;
        let component = Component::from_file(&engine, single.path())?;
        let (interface, function) = single.export();
        let interface = component.get_export_index(None, interface);
        let interface = interface.context("no interface")?;
        let function = component.get_export_index(Some(&interface), function);
        Ok(Self {
            pre: linker(&engine)?.instantiate_pre(&component)?,
            engine,
            function: function.context("no function")?,
            single,
            came: Arc::new(vec![b'x'; PAYLOAD_BYTES]),
            sent: Vec::new(),
        })
    }

    /// Calls for at least this long.
    ///
    /// # Errors
    /// A call failed, or did not send what it should have.
    pub fn run_for(&mut self, time: Duration) -> Result<Run> {
        let (begun, begun_on_core) = (clock::now(), on_core(THIS_THREAD)?);
        let mut calls = 0;
        while calls % CALLS_A_LOOK != 0 || clock::now() - begun < time {
            self.once()?;
            calls += 1;
        }
        Ok(Run {
            messages: calls,
            elapsed: clock::now() - begun,
            on_core: on_core(THIS_THREAD)? - begun_on_core,
        })
    }

    /// Makes a store and an instance, calls it and drops both.
    ///
    /// # Errors
    /// As [`RawSingle::run_for`].
    pub fn once(&mut self) -> Result<()> {
        let host = Host {
            came: Arc::clone(&self.came),
            sent: std::mem::take(&mut self.sent),
            messages: 0,
        };
        let mut store = Store::new(&self.engine, host);
        store.set_epoch_deadline(u64::MAX / 2);
        let instance = self.pre.instantiate(&mut store)?;
        match self.single {
            Single::Incoming => self.incoming(&mut store, &instance)?,
            Single::Wasmcloud => self.wasmcloud(&mut store, &instance)?,
        }
        let messages = store.data().messages;
        ensure!(messages == 1, "{messages} messages were sent, not 1");
        self.sent = std::mem::take(&mut store.data_mut().sent);
        self.sent.clear();
        Ok(())
    }

    fn incoming(&self, store: &mut Store<Host>, instance: &Instance) -> Result<()> {
        type Returned = (Result<(), WitError>,);
        let func = instance
            .get_typed_func::<(Resource<MessageResource>,), Returned>(&mut *store, self.function)?;
        let (result,) = func.call(store, (Resource::new_own(1),))?;
        ensure!(result.is_ok(), "the guest returned an error");
        Ok(())
    }

    fn wasmcloud(&self, store: &mut Store<Host>, instance: &Instance) -> Result<()> {
        type Returned = (Result<(), String>,);
        let func =
            instance.get_typed_func::<(Lowered<'_>,), Returned>(&mut *store, self.function)?;
        let message = Lowered {
            subject: SUBJECT,
            body: &self.came,
            reply_to: None,
        };
        let (result,) = func.call(store, (message,))?;
        ensure!(result.is_ok(), "the guest returned an error");
        Ok(())
    }
}

/// What the two components import.
fn linker(engine: &Engine) -> Result<Linker<Host>> {
    let mut linker = Linker::new(engine);
    let mut types = linker.instance("wasi:messaging/types@0.2.0-draft")?;
    types.resource("client", ResourceType::host::<ClientResource>(), |_, _| {
        Ok(())
    })?;
    types.resource(
        "message",
        ResourceType::host::<MessageResource>(),
        |_, _| Ok(()),
    )?;
    types.func_wrap("[static]client.connect", |_: Cx<'_>, (_,): (String,)| {
        Ok((Ok::<_, WitError>(Resource::<ClientResource>::new_own(1)),))
    })?;
    types.func_wrap(
        "[constructor]message",
        |_: Cx<'_>, (_,): (WasmList<u8>,)| Ok((Resource::<MessageResource>::new_own(2),)),
    )?;
    types.func_wrap(
        "[method]message.topic",
        |_: Cx<'_>, (_,): (Resource<MessageResource>,)| Ok((Some(SUBJECT.to_owned()),)),
    )?;
    types.func_wrap(
        "[method]message.data",
        |cx: Cx<'_>, (_,): (Resource<MessageResource>,)| Ok((cx.data().came.to_vec(),)),
    )?;
    let mut producer = linker.instance("wasi:messaging/producer@0.2.0-draft")?;
    producer.func_wrap("send", send)?;
    let mut requests = linker.instance("wasi:messaging/request-reply@0.2.0-draft")?;
    let options = ResourceType::host::<OptionsResource>();
    requests.resource("request-options", options, |_, _| Ok(()))?;
    requests.func_wrap("reply", |_: Cx<'_>, _: Reply| {
        Ok((Err::<(), _>(WitError::Timeout),))
    })?;
    let mut consumer = linker.instance("wasmcloud:messaging/consumer@0.2.0")?;
    consumer.func_wrap("publish", publish)?;
    Ok(linker)
}

type Reply = (Resource<MessageResource>, Resource<MessageResource>);
type Send = (Resource<ClientResource>, WasmStr, Resource<MessageResource>);

/// Keeps the bytes of a message of contract 2, its pair of metadata with them.
fn send(mut cx: Cx<'_>, (_, topic, _): Send) -> Result<(Result<(), WitError>,)> {
    let mut sent = std::mem::take(&mut cx.data_mut().sent);
    sent.extend_from_slice(topic.to_str(&cx)?.as_bytes());
    for part in [PAIR.0, ": ", PAIR.1, "\r\n"] {
        sent.extend_from_slice(part.as_bytes());
    }
    sent.extend_from_slice(&cx.data().came);
    keep(&mut cx, sent);
    Ok((Ok(()),))
}

/// Keeps the bytes of a message of contract 4.
fn publish(mut cx: Cx<'_>, (message,): (Lifted,)) -> Result<(Result<(), String>,)> {
    let mut sent = std::mem::take(&mut cx.data_mut().sent);
    sent.extend_from_slice(message.subject.to_str(&cx)?.as_bytes());
    sent.extend_from_slice(message.body.as_le_slice(&cx));
    keep(&mut cx, sent);
    Ok((Ok(()),))
}

fn keep(cx: &mut Cx<'_>, sent: Vec<u8>) {
    let host = cx.data_mut();
    host.sent = sent;
    host.messages += 1;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_sends_its_message_in_both_loops() {
        for single in Single::ALL {
            let allocator = Allocator::Ours(ResetMode::Copy);
            let mut raw = RawSingle::new(single, allocator).unwrap();
            (0..3).for_each(|_| raw.once().unwrap());
            single.engine(ResetMode::Copy).unwrap().run(1_000).unwrap();
        }
    }
}
