//! The imports of contract 2: `types`, `producer` and `request-reply`.

use std::borrow::Cow;
use std::time::Duration;

use wasmtime::StoreContextMut;
use wasmtime::component::{Resource, ResourceType, WasmStr};

use super::super::super::HostLinker;
use super::super::super::host::{CallError, Host};
use super::WAITING;
use super::message::{Held, Seen, add, remove, set_content_type};
use super::table::{Client, MessageResource, Options};
use super::types::WitError;
use crate::message::Message;
use crate::outbox::Outbox;

type Cx<'a> = StoreContextMut<'a, Host>;
type Answer<T> = wasmtime::Result<(Result<T, WitError>,)>;
type OfMessage = (Resource<MessageResource>,);

fn answer<T>(result: Result<T, CallError>) -> Answer<T> {
    match result {
        Ok(value) => Ok((Ok(value),)),
        Err(error) => Ok((Err(WitError::of(error)?),)),
    }
}

/// Adds all of them.
pub(crate) fn link(linker: &mut HostLinker) -> wasmtime::Result<()> {
    link_clients(linker)?;
    link_messages(linker)?;
    let mut producer = linker.instance("wasi:messaging/producer@0.2.0-draft")?;
    producer.func_wrap("send", |mut cx: Cx<'_>, params: SendParams| {
        answer(send(&mut cx, &params))
    })?;
    link_requests(linker)
}

fn link_clients(linker: &mut HostLinker) -> wasmtime::Result<()> {
    let mut types = linker.instance(TYPES)?;
    types.resource(
        "client",
        ResourceType::host::<Client>(),
        |mut cx, handle| {
            cx.data_mut().incoming().drop_client(handle);
            Ok(())
        },
    )?;
    types.func_wrap(
        "[static]client.connect",
        |mut cx: Cx<'_>, (name,): (String,)| {
            let host = cx.data_mut();
            let granted = host.connect(&name);
            answer(granted.and_then(|()| host.incoming().connect().map_err(CallError::Ended)))
        },
    )?;
    types.func_wrap(
        "[method]client.disconnect",
        |mut cx: Cx<'_>, (client,): (Resource<Client>,)| {
            let open = cx.data_mut().incoming().disconnect(client.rep())?;
            answer(open.then_some(()).ok_or_else(closed))
        },
    )
}

const TYPES: &str = "wasi:messaging/types@0.2.0-draft";

fn closed() -> CallError {
    CallError::Disconnected("the client is disconnected".into())
}

fn link_messages(linker: &mut HostLinker) -> wasmtime::Result<()> {
    let mut types = linker.instance(TYPES)?;
    types.resource(
        "message",
        ResourceType::host::<MessageResource>(),
        |mut cx, handle| cx.data_mut().incoming().take(handle).map(drop),
    )?;
    types.func_wrap(
        "[constructor]message",
        |mut cx: Cx<'_>, (data,): (Vec<u8>,)| Ok((cx.data_mut().incoming().make(data)?,)),
    )?;
    types.func_wrap("[method]message.topic", |cx: Cx<'_>, (m,): OfMessage| {
        Ok((cx.data().held(m.rep())?.topic().map(str::to_owned),))
    })?;
    types.func_wrap(
        "[method]message.content-type",
        |cx: Cx<'_>, (m,): OfMessage| {
            let message = cx.data().held(m.rep())?;
            Ok((message.content_type().map(str::to_owned),))
        },
    )?;
    types.func_wrap("[method]message.data", |cx: Cx<'_>, (m,): OfMessage| {
        Ok((cx.data().held(m.rep())?.shared_data(),))
    })?;
    types.func_wrap("[method]message.metadata", |cx: Cx<'_>, (m,): OfMessage| {
        Ok((cx.data().held(m.rep())?.metadata(),))
    })?;
    link_changes(linker)
}

/// What changes a message.
fn link_changes(linker: &mut HostLinker) -> wasmtime::Result<()> {
    type With<T> = (Resource<MessageResource>, T);
    type WithPair = (Resource<MessageResource>, String, String);
    let mut types = linker.instance(TYPES)?;
    types.func_wrap(
        "[method]message.set-content-type",
        |cx: Cx<'_>, (m, value): With<String>| {
            change_pairs(cx, &m, |pairs| set_content_type(pairs, value))
        },
    )?;
    types.func_wrap(
        "[method]message.set-data",
        |cx: Cx<'_>, (m, data): With<Vec<u8>>| change(cx, &m, |held, _| held.set_data(data)),
    )?;
    types.func_wrap(
        "[method]message.add-metadata",
        |cx: Cx<'_>, (m, key, value): WithPair| {
            change_pairs(cx, &m, |pairs| add(pairs, key, value))
        },
    )?;
    types.func_wrap(
        "[method]message.set-metadata",
        |cx: Cx<'_>, (m, pairs): With<Vec<(String, String)>>| {
            change(cx, &m, |held, _| held.set_metadata(pairs))
        },
    )?;
    types.func_wrap(
        "[method]message.remove-metadata",
        |cx: Cx<'_>, (m, key): With<String>| change_pairs(cx, &m, |pairs| remove(pairs, &key)),
    )
}

fn change(
    mut cx: Cx<'_>,
    message: &Resource<MessageResource>,
    change: impl FnOnce(&mut Held, Option<&Message>),
) -> wasmtime::Result<()> {
    cx.data_mut().change(message.rep(), change)
}

fn change_pairs(
    cx: Cx<'_>,
    message: &Resource<MessageResource>,
    to: impl FnOnce(&mut Vec<(String, String)>),
) -> wasmtime::Result<()> {
    change(cx, message, |held, handled| to(held.metadata_mut(handled)))
}

type SendParams = (Resource<Client>, WasmStr, Resource<MessageResource>);

fn send(cx: &mut Cx<'_>, (client, topic, message): &SendParams) -> Result<(), CallError> {
    let host = cx.data_mut();
    // Whatever comes of it, the guest has given it away.
    let message = host.incoming().take(message.rep());
    let message = message.map_err(CallError::Ended)?;
    connected(host, client)?;
    let mut outbox = host.take_outbox()?;
    let held = granted(&*cx, topic).and_then(|topic| {
        let seen = cx.data().seen(&message);
        hold(cx.data(), &topic, seen, &mut outbox)
    });
    cx.data_mut().put_outbox(outbox);
    held
}

/// A topic that the guest may send to, where it lies.
fn granted<'a>(cx: &'a Cx<'_>, topic: &WasmStr) -> Result<Cow<'a, str>, CallError> {
    let topic = topic.to_str(cx).map_err(CallError::Ended)?;
    cx.data().grants_send(&topic)?;
    Ok(topic)
}

fn connected(host: &mut Host, client: &Resource<Client>) -> Result<(), CallError> {
    let open = host.incoming().is_connected(client.rep());
    match open.map_err(CallError::Ended)? {
        true => Ok(()),
        false => Err(closed()),
    }
}

/// Holds a message for a topic that is granted.
fn hold(host: &Host, topic: &str, message: Seen<'_>, outbox: &mut Outbox) -> Result<(), CallError> {
    host.admits_send(topic)?;
    Ok(message.send(outbox.draft(topic))?)
}

fn link_requests(linker: &mut HostLinker) -> wasmtime::Result<()> {
    let mut requests = linker.instance("wasi:messaging/request-reply@0.2.0-draft")?;
    requests.resource(
        "request-options",
        ResourceType::host::<Options>(),
        |mut cx, handle| cx.data_mut().incoming().take_options(handle).map(drop),
    )?;
    requests.func_wrap("[constructor]request-options", |mut cx: Cx<'_>, (): ()| {
        Ok((cx.data_mut().incoming().make_options()?,))
    })?;
    requests.func_wrap(
        "[method]request-options.set-timeout-ms",
        |mut cx: Cx<'_>, (options, ms): (Resource<Options>, u32)| {
            let within = Duration::from_millis(ms.into());
            cx.data_mut().incoming().set_within(options.rep(), within)
        },
    )?;
    requests.func_wrap(
        "[method]request-options.set-expected-replies",
        |mut cx: Cx<'_>, (options, count): (Resource<Options>, u32)| {
            let table = cx.data_mut().incoming();
            table.set_expected(options.rep(), count as usize)
        },
    )?;
    requests.func_wrap(
        "reply",
        |mut cx: Cx<'_>, (to, message): (Resource<MessageResource>, Resource<MessageResource>)| {
            answer(reply(cx.data_mut(), &to, &message))
        },
    )?;
    requests.func_wrap_async(WAITING[0], |mut cx: Cx<'_>, params: RequestParams| {
        Box::new(async move { answer(request(&mut cx, params).await) })
    })
}

fn reply(
    host: &mut Host,
    to: &Resource<MessageResource>,
    message: &Resource<MessageResource>,
) -> Result<(), CallError> {
    let message = host.incoming().take(message.rep());
    let message = message.map_err(CallError::Ended)?;
    let mut outbox = host.take_outbox()?;
    let held = answered(host, to).and_then(|subject| {
        let seen = host.seen(&message);
        hold(host, subject, seen, &mut outbox)
    });
    host.put_outbox(outbox);
    held
}

/// The subject on which a message asks for a reply. It needs no grant: whoever sent that message has named it, and a guest can't.
fn answered<'a>(host: &'a Host, to: &Resource<MessageResource>) -> Result<&'a str, CallError> {
    let asked = host.held(to.rep()).map_err(CallError::Ended)?;
    let none = || CallError::Refused("nobody asked for a reply to this message".into());
    asked.reply_to().ok_or_else(none)
}

type RequestParams = (
    Resource<Client>,
    String,
    Resource<MessageResource>,
    Option<Resource<Options>>,
);

async fn request(
    cx: &mut Cx<'_>,
    (client, topic, message, options): RequestParams,
) -> Result<Vec<Resource<MessageResource>>, CallError> {
    let host = cx.data_mut();
    let options = options.map(|options| host.incoming().take_options(options.rep()));
    let asked = options.transpose().map_err(CallError::Ended)?;
    connected(host, &client)?;
    let message = host.held(message.rep());
    let question: Message = message.map_err(CallError::Ended)?.question(&topic)?;
    let replies = host.request(&question, asked.unwrap_or_default())?.await?;
    let table = cx.data_mut().incoming();
    let handles = replies.into_iter().map(|reply| table.reply(reply));
    handles.collect::<Result<_, _>>().map_err(CallError::Ended)
}
