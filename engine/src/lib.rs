//! Millpond drives message handlers that are WebAssembly components: every batch of messages is handled in an instance that has
//! never seen another message, and the instance costs next to nothing.
//!
//! ```
//! use std::time::Duration;
//! use millpond::{Engine, EngineConfig, Grants, HandlerConfig, Message};
//!
//! # let echo = concat!(env!("CARGO_MANIFEST_DIR"), "/../guests/prebuilt/echo.wasm");
//! let handler = HandlerConfig::file("echo", echo).grants(Grants::all());
//! let engine = Engine::start(EngineConfig::new().handler(handler))?;
//!
//! let reply = engine.request(&Message::new("echo", b"hello")?, Duration::from_secs(5))?;
//! assert_eq!(reply.wait()?.payload(), b"hello"); // or `.await` it
//!
//! engine.drain(Duration::from_secs(5))?;
//! println!("{} messages settled", engine.stats().settled());
//! engine.stop();
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # The path of a message
//! [`Engine::publish`] puts it into a shard's inbox (`broker::memory`). On the shard's thread, `shard::Shard::turn` takes it in,
//! asks the `batch::Batcher` for a batch, calls the handler with it (`guest`: an instance from the `pond`, one file a contract),
//! releases what the guest sent (`outbox`) and settles each message as its `outcome` says. ARCHITECTURE.md has the map.
//!
//! The library imposes no allocator. It is made for mimalloc: `#[global_allocator] static A: mimalloc::MiMalloc = mimalloc::MiMalloc;`.

mod admission;
mod batch;
mod broker;
mod clock;
mod company;
mod config;
mod configure;
mod confirm;
mod copy;
mod cost;
mod dispatch;
mod engine;
mod error;
mod guest;
mod handler;
mod letter;
mod limits;
mod line;
mod memory;
mod message;
mod metrics;
mod order;
mod outbox;
mod outcome;
mod pack;
mod patterns;
mod pause;
mod penalty;
mod port;
mod ranges;
mod schedule;
mod seams;
mod settle;
mod shard;
mod slice;
mod sparse;
mod split;
pub mod subject;
mod time;

pub use broker::memory::requests::Reply;
pub use broker::memory::subscription::{Overflow, Subscription};
pub use broker::nats::{
    Auth, ClientCertificate, CreateConsumer, CreateStream, DeliverFrom, DeliveryLevel, NatsConfig,
    NatsSource, Pem, Retention, Roots, Secret, ServerUrl, Storage, StreamSource, TlsOptions,
    UrlError, check_nats,
};
pub use config::{
    CacheConfig, EngineConfig, Grants, HANDLERS_MAX, HandlerConfig, ResetMode, SHARDS_MAX, Spread,
};
pub use engine::{Engine, memory_sum};
pub use error::{
    ComponentError, DrainError, NatsError, PublishError, Refusal, RequestError, StartError,
};
pub use guest::{Contract, Import, Inspection, compile_ahead, inspect};
pub use limits::{EngineLimits, HandlerLimits};
pub use memory::MemorySum;
pub use message::{
    Format, HEADER_BYTES_MAX, Message, MessageBuilder, MessageError, PAYLOAD_BYTES_MAX,
};
pub use metrics::{HandlerStats, Latencies, Stats};
pub use outcome::{Fault, FaultKind, ShedReason};
pub use pack::{PACK_BYTES_MAX, PACK_MESSAGES_MAX, Pack, PackBuilder, PackError};
pub use slice::Way;
pub use time::Instant;

/// What unit tests share.
#[cfg(test)]
mod testing {
    use crate::time::Instant;

    /// A time to count from.
    pub(crate) fn start() -> Instant {
        crate::clock::now()
    }
}
