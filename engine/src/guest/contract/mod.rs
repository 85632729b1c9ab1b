//! Contracts: the WIT worlds that a component may export, detected from its type and never configured.
//!
//! One file a contract below this folder, none of which knows another; this one holds the list.

pub(crate) mod batch;
pub(crate) mod incoming;
pub(crate) mod messaging;
pub(crate) mod wasmcloud;

use wasmtime::component::types::ComponentItem;
use wasmtime::component::{Component, ComponentExportIndex};

pub(crate) use self::messaging::Returned;
use self::messaging::{Handles, Resources};
use crate::limits::{HELD_BYTES_MAX, REPLIES_BYTES_MAX};

/// A contract in one of its revisions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Contract {
    /// `millpond:batch/handler@0.1.0`: a batch in two lists, and all that comes of it back in two.
    Batch010,
    /// `wasi:messaging/messaging-guest` without a version (June 2023): clients and errors are `u32` handles.
    Messaging2023,
    /// `wasi:messaging/messaging-guest@0.1.0`: clients and errors are resources.
    Messaging010,
    /// `wasi:messaging/messaging-guest@0.2.0-draft` of February 2024: the shape of 0.1.0.
    Messaging020Draft,
    /// `wasi:messaging/incoming-handler@0.2.0-draft` of December 2024: a call has one message, which is a resource.
    Incoming020Draft,
    /// `wasmcloud:messaging/handler@0.2.0`: a call has one message.
    Wasmcloud020,
}

impl Contract {
    /// All, in the order in which a component is asked for them: what a message costs least with comes first.
    pub const ALL: [Self; 6] = [
        Self::Batch010,
        Self::Messaging2023,
        Self::Messaging010,
        Self::Messaging020Draft,
        Self::Incoming020Draft,
        Self::Wasmcloud020,
    ];

    /// The interface that a component of this contract exports.
    #[must_use]
    pub fn interface(self) -> &'static str {
        match self {
            Self::Batch010 => "millpond:batch/handler@0.1.0",
            Self::Messaging2023 => "wasi:messaging/messaging-guest",
            Self::Messaging010 => "wasi:messaging/messaging-guest@0.1.0",
            Self::Messaging020Draft => "wasi:messaging/messaging-guest@0.2.0-draft",
            Self::Incoming020Draft => "wasi:messaging/incoming-handler@0.2.0-draft",
            Self::Wasmcloud020 => "wasmcloud:messaging/handler@0.2.0",
        }
    }

    /// What follows the interface's name in those that come with it.
    pub(crate) fn version(self) -> &'static str {
        self.interface()
            .split_once("messaging-guest")
            .map_or("", |(_, version)| version)
    }

    /// The contract whose interface has this name.
    #[must_use]
    pub fn named(interface: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|c| c.interface() == interface)
    }

    /// Whether its guests have a `configure`, which may name subjects.
    #[must_use]
    pub fn configures(self) -> bool {
        matches!(
            self,
            Self::Messaging2023 | Self::Messaging010 | Self::Messaging020Draft
        )
    }

    /// Whether its guests say which message each of their sends is for.
    pub(crate) fn attributes_sends(self) -> bool {
        self == Self::Batch010
    }

    /// Whether a component exports its interface.
    pub(crate) fn is_in(self, component: &Component) -> bool {
        component.get_export_index(None, self.interface()).is_some()
    }

    /// Which contract a component has, from the names of its exports: of several the first.
    pub(crate) fn detect(component: &Component) -> Option<Self> {
        Self::ALL.into_iter().find(|c| c.is_in(component))
    }

    /// All contracts that a component has, the one first that it is called by unless another is asked for.
    pub(crate) fn all_in(component: &Component) -> Vec<Self> {
        Self::ALL
            .into_iter()
            .filter(|c| c.is_in(component))
            .collect()
    }

    /// Whether a call has one message.
    pub(crate) fn has_one_message(self) -> bool {
        matches!(self, Self::Incoming020Draft | Self::Wasmcloud020)
    }

    /// Bytes of messages that the host keeps for a guest during a call, beside those of its batch and its outbox.
    pub(crate) fn held_bytes(self) -> u64 {
        let bytes = match self {
            Self::Incoming020Draft => HELD_BYTES_MAX,
            Self::Wasmcloud020 => REPLIES_BYTES_MAX,
            Self::Batch010 | Self::Messaging2023 | Self::Messaging010 | Self::Messaging020Draft => {
                0
            }
        };
        bytes as u64
    }

    /// The functions of this contract that a component exports; `None` if one is missing.
    pub(crate) fn exports(self, component: &Component) -> Option<Exports> {
        let messaging = || messaging::Exports::find(component, self.interface());
        let one = |name| {
            let instance = component.get_export_index(None, self.interface())?;
            component.get_export_index(Some(&instance), name)
        };
        match self {
            Self::Batch010 => batch::Export::find(component, self.interface()).map(Exports::Batch),
            Self::Messaging2023 => messaging().map(Exports::Handles),
            Self::Messaging010 | Self::Messaging020Draft => messaging().map(Exports::Resources),
            Self::Incoming020Draft => one(incoming::EXPORT).map(Exports::Incoming),
            Self::Wasmcloud020 => one(wasmcloud::EXPORT).map(Exports::Wasmcloud),
        }
    }

    /// Adds what a component of this contract may import to a linker.
    pub(crate) fn link(self, linker: &mut super::HostLinker) -> wasmtime::Result<()> {
        match self {
            Self::Batch010 => Ok(()),
            Self::Messaging2023 => messaging::link::<Handles>(linker, self.version()),
            Self::Messaging010 | Self::Messaging020Draft => {
                messaging::link::<Resources>(linker, self.version())
            }
            Self::Incoming020Draft => incoming::link(linker),
            Self::Wasmcloud020 => wasmcloud::link(linker),
        }
    }
}

/// The functions that a component exports, by the way they are called.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Exports {
    /// Contract 3.
    Batch(batch::Export),
    /// Contract 1, clients and errors being numbers.
    Handles(messaging::Exports),
    /// Contract 1, clients and errors being resources.
    Resources(messaging::Exports),
    /// Contract 2.
    Incoming(ComponentExportIndex),
    /// Contract 4.
    Wasmcloud(ComponentExportIndex),
}

/// The functions of this import that wait: a component that imports one is called on a fiber.
pub(crate) fn waits(interface: &str, item: &ComponentItem, engine: &wasmtime::Engine) -> bool {
    if super::wasi::provides(interface) {
        return true;
    }
    let ComponentItem::ComponentInstance(instance) = item else {
        return false;
    };
    let waiting = [
        &messaging::WAITING[..],
        &incoming::WAITING,
        &wasmcloud::WAITING,
    ];
    instance
        .exports(engine)
        .any(|(name, _)| waiting.iter().any(|names| names.contains(&name)))
}
