//! The error of contract 2, as its WIT has it.

use wasmtime::component::{ComponentType, Lift, Lower};

use super::super::super::host::CallError;

/// What went wrong.
#[derive(Debug, Clone, PartialEq, Eq, ComponentType, Lift, Lower)]
#[component(variant)]
pub(super) enum WitError {
    /// The time was over.
    #[component(name = "timeout")]
    Timeout,
    /// There is no connection.
    #[component(name = "connection")]
    Connection(String),
    /// It is not granted.
    #[component(name = "permission-denied")]
    PermissionDenied(String),
    /// Anything else.
    #[component(name = "other")]
    Other(String),
}

impl WitError {
    /// What a guest is told of an error of the host's; or the error that ends its call.
    pub(super) fn of(error: CallError) -> wasmtime::Result<Self> {
        Ok(match error {
            CallError::Timeout(_) => Self::Timeout,
            CallError::Disconnected(reason) => Self::Connection(reason),
            CallError::Denied(reason) => Self::PermissionDenied(reason),
            CallError::Refused(reason) => Self::Other(reason),
            CallError::Ended(error) => return Err(error),
        })
    }

    /// What a guest says by returning it.
    pub(super) fn into_reason(self) -> String {
        match self {
            Self::Timeout => "timeout".to_owned(),
            Self::Connection(reason) => format!("connection: {reason}"),
            Self::PermissionDenied(reason) => format!("permission denied: {reason}"),
            Self::Other(reason) => reason,
        }
    }
}
