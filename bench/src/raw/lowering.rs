//! Messages as records of the contract, built for every call as `engine/src/guest/contract/messaging.rs` builds them: everything
//! borrowed, ids as text in one buffer, metadata in one list.

use wasmtime::component::{ComponentType, Lift, Lower, WasmList, WasmStr};

/// Digits of an id: a `u64` in hexadecimal.
const ID_DIGITS: usize = 16;

/// A message of the raw loop.
#[derive(Debug)]
pub(super) struct RawMessage {
    pub(super) subject: String,
    pub(super) data: Vec<u8>,
    pub(super) id: u64,
    /// Metadata beside subject and id, as many for each.
    pub(super) more: &'static [(&'static str, &'static str)],
    /// For contract 3: subject, reply subject, headers and payload one behind the other, and how long each is.
    pub(super) frame: Vec<u8>,
    pub(super) lens: [u32; 4],
}

impl RawMessage {
    /// A message with this metadata.
    pub(super) fn new(
        subject: &str,
        data: Vec<u8>,
        id: u64,
        more: &'static [(&'static str, &'static str)],
    ) -> Self {
        let line = |(key, value): &(&str, &str)| format!("{key}: {value}\r\n");
        let headers: String = more.iter().map(line).collect();
        let parts = [subject.as_bytes(), b"", headers.as_bytes(), &data];
        Self {
            frame: parts.concat(),
            lens: parts.map(|part| part.len() as u32),
            subject: subject.to_owned(),
            data,
            id,
            more,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ComponentType, Lift, Lower)]
#[component(enum)]
#[repr(u8)]
#[allow(dead_code, reason = "the contract has them all; only one is used here")]
pub(super) enum FormatSpec {
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

/// A message as it is lowered.
#[derive(Clone, Copy, ComponentType, Lower)]
#[component(record)]
pub(super) struct WitMessage<'a> {
    data: &'a [u8],
    format: FormatSpec,
    metadata: Option<&'a [(&'a str, &'a str)]>,
}

/// A message as it is lifted.
#[derive(ComponentType, Lift)]
#[component(record)]
#[allow(
    dead_code,
    reason = "the raw loop keeps only the bytes; lifting does all fields"
)]
pub(super) struct GuestMessage {
    pub(super) data: WasmList<u8>,
    pub(super) format: FormatSpec,
    pub(super) metadata: Option<WasmList<(WasmStr, WasmStr)>>,
}

/// Borrows a batch as the list that is lowered.
pub(super) fn lowered<O>(batch: &[RawMessage], call: impl FnOnce(&[WitMessage<'_>]) -> O) -> O {
    let mut ids = String::with_capacity(batch.len() * ID_DIGITS);
    batch.iter().for_each(|m| push_id(&mut ids, m.id));
    let mut pairs = Vec::with_capacity(batch.len() * 4);
    for (index, message) in batch.iter().enumerate() {
        pairs.push(("channel", message.subject.as_str()));
        pairs.push(("id", &ids[index * ID_DIGITS..][..ID_DIGITS]));
        pairs.extend(message.more);
    }
    let each = 2 + batch.first().map_or(0, |message| message.more.len());
    let messages: Vec<_> = batch
        .iter()
        .zip(pairs.chunks(each))
        .map(|(message, metadata)| WitMessage {
            data: &message.data,
            format: FormatSpec::Raw,
            metadata: Some(metadata),
        })
        .collect();
    call(&messages)
}

fn push_id(text: &mut String, id: u64) {
    for shift in (0..ID_DIGITS).rev() {
        let digit = (id >> (4 * shift)) & 0xf;
        text.push(char::from(b"0123456789abcdef"[digit as usize]));
    }
}
