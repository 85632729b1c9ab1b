//! The imports of contract 1, `producer` and `consumer`. What a guest sends, settles and updates is held in its call's outbox.

use std::time::Duration;

use wasmtime::component::{WasmList, WasmStr};

use super::super::super::HostLinker;
use super::super::super::host::{CallError, LiftedMessage};
use super::revision::{Answer, Cx, Revision, answer};
use super::types::{GuestMessage, ReceivedMessage, WitConfiguration};
use super::{CHANNEL, ID, REPLY_TO, WAITING};
use crate::message::{HEADER_BYTES_MAX, Message, PAYLOAD_BYTES_MAX};
use crate::outbox::{Mark, Outbox};
use crate::subject::SUBJECT_BYTES_MAX;

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
            let result = settle(&mut cx, &m, Mark::Abandoned { delay_ms: 0 });
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
    let mut granted = cx.data_mut().take_granted();
    let subject = channel.to_str(&*cx).map_err(CallError::Ended)?;
    // What the same call goes on sending there may exceed the bound, by one outbox at most.
    if granted.is_empty() || *subject != *granted {
        cx.data().grants_send(&subject)?;
        cx.data().admits_send(&subject)?;
        granted = subject.into_owned();
    }
    let mut outbox = cx.data_mut().take_outbox()?;
    let before = outbox.checkpoint();
    let result = (0..messages.len()).try_for_each(|index| {
        let message = match messages.get(&mut *cx, index) {
            Some(message) => message.map_err(CallError::Ended)?,
            None => return Ok(()),
        };
        hold_one(cx, &mut outbox, &granted, &message)
    });
    cx.data_mut().put_granted(granted);
    if result.is_err() {
        outbox.rewind(before);
    }
    cx.data_mut().put_outbox(outbox);
    result
}

fn hold_one(
    cx: &mut Cx<'_>,
    outbox: &mut Outbox,
    subject: &str,
    message: &GuestMessage,
) -> Result<(), CallError> {
    let mut draft = outbox.draft(subject);
    if let Some(metadata) = &message.metadata {
        let pairs = pairs(cx, metadata)?;
        if let Some((_, reply_to)) = pairs.iter().find(|(key, _)| key == REPLY_TO) {
            cx.data().grants_reply_to(reply_to)?;
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

/// Most metadata that is copied out of a guest: a message's headers, and beside them what the host itself says of a message.
const METADATA_BYTES_MAX: usize = HEADER_BYTES_MAX + 4 * SUBJECT_BYTES_MAX;

/// Copies metadata out of the guest.
fn pairs(
    cx: &mut Cx<'_>,
    list: &WasmList<(WasmStr, WasmStr)>,
) -> Result<Vec<(String, String)>, CallError> {
    let mut copied = Vec::new();
    let mut bytes = 0;
    for index in 0..list.len() {
        let Some(pair) = list.get(&mut *cx, index) else {
            break;
        };
        let (key, value) = pair.map_err(CallError::Ended)?;
        let key = key.to_str(&*cx).map_err(CallError::Ended)?;
        let value = value.to_str(&*cx).map_err(CallError::Ended)?;
        bytes += key.len() + value.len() + ": \r\n".len();
        if bytes > METADATA_BYTES_MAX {
            return Err(CallError::Refused(format!(
                "metadata is above {METADATA_BYTES_MAX} bytes"
            )));
        }
        copied.push((key.into_owned(), value.into_owned()));
    }
    Ok(copied)
}

fn settle(cx: &mut Cx<'_>, message: &GuestMessage, mark: Mark) -> Result<(), CallError> {
    if message.data.len() > PAYLOAD_BYTES_MAX {
        return Err(CallError::Refused(
            "the message is not one of this call".into(),
        ));
    }
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
