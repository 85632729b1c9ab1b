//! Errors of the engine's boundary: starting it, and publishing to it. What a guest does wrong is a [`crate::Fault`], not an error.

use std::path::PathBuf;
use std::time::Duration;

use thiserror::Error;

use crate::memory::MemorySum;
use crate::message::Message;
use crate::subject::SubjectError;

/// Why an engine did not start.
#[derive(Debug, Error)]
pub enum StartError {
    /// The configuration contradicts itself or a limit's range.
    #[error("bad configuration: {0}")]
    Config(String),
    /// A component can't be used.
    #[error("{}: {cause}", .path.display())]
    Component {
        /// Its file, or its handler's name where it came as bytes.
        path: PathBuf,
        /// Why.
        cause: ComponentError,
    },
    /// A component's `configure` did not give a configuration that can be used.
    #[error("{}: configure {reason}", .path.display())]
    Configure {
        /// Its file, or its handler's name where it came as bytes.
        path: PathBuf,
        /// What it did instead.
        reason: String,
    },
    /// The folder of compiled code can't be used.
    #[error("the folder for compiled code, {}, {why}", .path.display())]
    Cache {
        /// The folder.
        path: PathBuf,
        /// Why.
        why: String,
    },
    /// The configuration can need more memory than there is.
    #[error(
        "the configuration can need {sum}, and {} MiB may be used: lower what makes the largest of these terms, or allow more with `memory_total_bytes_max`",
        .available >> 20
    )]
    Memory {
        /// The sum, term by term.
        sum: MemorySum,
        /// Bytes that may be used.
        available: u64,
    },
    /// The servers can't be used, or can't keep what a handler's delivery level promises.
    #[error("nats: {0}")]
    Nats(#[from] NatsError),
    /// The system refused a thread, a poller or the pool's address space.
    #[error("the system refused {what}: {detail}")]
    System {
        /// What was asked for.
        what: &'static str,
        /// What it said.
        detail: String,
    },
}

/// Why an engine can't start on its servers.
#[derive(Debug, Error)]
pub enum NatsError {
    /// Credentials, or certificates: trying again does not help.
    #[error("{0}")]
    Refused(String),
    /// No server answered in time.
    #[error("{why}")]
    Unreachable {
        /// The limit, `ready_wait_max`.
        after: Duration,
        /// What went wrong last, and whether that limit ended it.
        why: String,
    },
    /// The server refuses what a handler needs: a permission.
    #[error("{0}")]
    Permission(String),
    /// A stream or a consumer is missing, of the wrong kind, or can't keep a delivery level.
    #[error("{0}")]
    Stream(String),
}

/// Why a component can't be used.
#[derive(Debug, Error)]
pub enum ComponentError {
    /// Its file can't be read.
    #[error("can't be read: {0}")]
    Read(std::io::Error),
    /// It is a core module.
    #[error(
        "is a core module, not a component; make a component of it with `wasm-tools component new`"
    )]
    CoreModule,
    /// It is no WebAssembly, or one that the runtime refuses.
    #[error("is not a component that can be run: {0}")]
    Invalid(String),
    /// It exports none of the contracts.
    #[error("exports no contract that is known here (it exports {}); known are {known}", if .exports.is_empty() { "nothing".to_owned() } else { .exports.join(", ") })]
    NoContract {
        /// The interfaces it does export.
        exports: Vec<String>,
        /// The contracts.
        known: String,
    },
    /// It does not export the contract that its handler names.
    #[error("does not export {wanted}, the contract that was asked for (it exports {})", if .exports.is_empty() { "nothing".to_owned() } else { .exports.join(", ") })]
    OtherContract {
        /// The contract's interface.
        wanted: &'static str,
        /// The interfaces it does export.
        exports: Vec<String>,
    },
    /// It imports something that nobody provides.
    #[error("imports {import}, which nobody provides here: {detail}")]
    Import {
        /// The import.
        import: String,
        /// What the linker said.
        detail: String,
    },
    /// It starts with more memory than its handler may have.
    #[error(
        "starts with {bytes} bytes of memory, above its limit of {max} bytes; raise `memory_bytes_max` to load it"
    )]
    Memory {
        /// What it starts with.
        bytes: u64,
        /// The limit.
        max: u64,
    },
    /// It needs more memories, tables or core instances than the pool's slots have.
    #[error(
        "does not fit the pool: {0}; raise what is too low of `memories_max`, `tables_max`, `table_elements_max` and `core_instances_max`"
    )]
    Slots(String),
}

/// Why a message was not taken. The message comes back with it.
#[derive(Debug, Error)]
#[error("{reason}")]
pub struct PublishError {
    /// Why.
    pub reason: Refusal,
    /// The message, as it was given.
    pub message: Box<Message>,
}

/// Why something was not taken.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Refusal {
    /// A handler or the shard's inbox has as much in flight as it may have; try again later.
    #[error("full: {0}")]
    Full(&'static str),
    /// Nobody listens on the subject, and somebody must (a request).
    #[error("nobody listens on {0:?}")]
    NoResponders(String),
    /// The subject or pattern can't be used.
    #[error(transparent)]
    Subject(#[from] SubjectError),
    /// There is no connection to a server at present.
    #[error("there is no connection to a server")]
    Disconnected,
    /// A server would not take it, for this reason.
    #[error("not sent: {0}")]
    Unsendable(String),
    /// The engine is draining or has stopped.
    #[error("the engine is stopping")]
    Stopping,
    /// A shard has failed, and the engine with it.
    #[error("the engine has failed: {0}")]
    Failed(String),
}

/// Why a request has no reply.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum RequestError {
    /// The request was not taken.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// No reply came in time.
    #[error("no reply within {0:?}")]
    Timeout(Duration),
}

/// Why a drain did not end well.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum DrainError {
    /// Messages were still in flight when the time was over.
    #[error("{in_flight} messages were still in flight after {after:?}")]
    Timeout {
        /// How many.
        in_flight: u64,
        /// The time that was given.
        after: Duration,
    },
    /// A shard has failed, and the engine with it.
    #[error("the engine has failed: {0}")]
    Failed(String),
}
