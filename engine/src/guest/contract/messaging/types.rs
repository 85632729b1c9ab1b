//! The shapes of contract 1, as its WIT has them: the same in all revisions.

use wasmtime::component::{ComponentType, Lift, Lower, WasmList, WasmStr};

use crate::message::Format;
use crate::outbox::GuestConfiguration;

/// What a payload is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ComponentType, Lift, Lower)]
#[component(enum)]
#[repr(u8)]
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

/// A message as it is lowered: everything borrowed. How it is lowered is in `store.rs`.
#[derive(Clone, Copy, ComponentType)]
#[component(record)]
pub(super) struct WitMessage<'a> {
    pub(super) data: &'a [u8],
    pub(super) format: FormatSpec,
    pub(super) metadata: Option<&'a [(&'a str, &'a str)]>,
}

/// A message as it is lifted: nothing copied until somebody asks.
#[derive(ComponentType, Lift)]
#[component(record)]
pub(super) struct GuestMessage {
    pub(super) data: WasmList<u8>,
    pub(super) format: FormatSpec,
    pub(super) metadata: Option<WasmList<(WasmStr, WasmStr)>>,
}

/// A message that a guest waited for.
#[derive(ComponentType, Lower)]
#[component(record)]
pub(super) struct ReceivedMessage {
    pub(super) data: Vec<u8>,
    pub(super) format: FormatSpec,
    pub(super) metadata: Option<Vec<(String, String)>>,
}

/// What a guest configures itself with.
#[derive(ComponentType, Lift)]
#[component(record)]
pub(super) struct WitConfiguration {
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
