//! Management of JetStream: what has to be so before an engine may say `ready`, and what may be asked of the server later.
//!
//! Owns [`bind`], which finds or makes each handler's stream and consumer and refuses what could not keep the handler's delivery
//! level. The only part that uses async-nats, and of it only the connection: requests to JetStream's API are JSON of our own, since the
//! library's types lack settings that matter here, refuse values that they don't know, and bring dependencies that nothing else needs.
//! Everything runs on threads of its own; knows no shard, no guest and nothing of what happens a message.

mod access;
mod api;
mod captured;
mod connect;
mod consumer;
mod error;
mod json;
mod outputs;
mod session;
mod stream;
mod wanted;

use std::cell::RefCell;
use std::rc::Rc;
use std::thread;
use std::time::Duration;

pub(crate) use access::Access;
pub(crate) use api::{Answer, Api, Asker, Question, Ticket};
pub(crate) use captured::Captured;
pub(crate) use connect::ConnectError;
pub(crate) use error::BindError;
pub(crate) use wanted::{Bound, Redelivery, Wanted};
pub use wanted::{CreateConsumer, CreateStream, DeliverFrom, DeliveryLevel, Retention, Storage};

use session::{Doing, Session};
use stream::Streams;

/// Finds, or makes where that is configured, the stream and the consumer of each handler, and checks that both, and the
/// streams that its sends and dead letters go to, can keep its delivery level. Blocks for at most `limit`.
///
/// What was made stays when a later check fails.
///
/// # Errors
/// The first check that fails, by handler; or that the server can't be asked.
pub(crate) fn bind(
    server: &Access,
    wanted: &[Wanted],
    limit: Duration,
) -> Result<Vec<Bound>, BindError> {
    on_own_thread(limit, async |doing| {
        let session = Session::connect_within(server, doing, limit).await?;
        bind_all(&session, wanted).await
    })
}

/// What [`bind`] would come to, and what it would make: nothing is made. Blocks for at most `limit`.
///
/// # Errors
/// As [`bind`].
pub(crate) fn bind_planned(
    server: &Access,
    wanted: &[Wanted],
    limit: Duration,
) -> Result<(Vec<Bound>, Vec<String>), BindError> {
    on_own_thread(limit, async |doing| {
        let session = Session::connect(server, doing).await?.planning();
        let bound = bind_all(&session, wanted).await?;
        Ok((bound, session.planned()))
    })
}

/// The streams that capture what these patterns stand for, as they are now. Blocks for at most `limit`.
///
/// # Errors
/// As [`bind`], of the patterns alone.
#[cfg(test)]
pub(crate) fn streams_of(
    server: &Access,
    handler: &str,
    publishes: &[String],
    limit: Duration,
) -> Result<Captured, BindError> {
    on_own_thread(limit, async |doing| {
        let session = Session::connect(server, doing).await?;
        outputs::captured(&mut Streams::new(&session), handler, publishes).await
    })
}

/// Binds in three rounds, so that a handler may send to a stream that is made for another: streams, consumers, where sends go.
async fn bind_all(session: &Session, wanted: &[Wanted]) -> Result<Vec<Bound>, BindError> {
    let mut streams = Streams::new(session);
    for wanted in wanted {
        stream::bind(&mut streams, wanted).await?;
    }
    let mut consumers = Vec::with_capacity(wanted.len());
    for wanted in wanted {
        consumers.push(consumer::bind(session, wanted).await?);
    }
    let mut bound = Vec::with_capacity(wanted.len());
    for (wanted, consumer) in wanted.iter().zip(consumers) {
        bound.push(outputs::bind(&mut streams, wanted, consumer).await?);
    }
    Ok(bound)
}

/// Runs asynchronous work to its end, or to `limit`, on a thread with a runtime of its own, so that it may be called from anywhere.
///
/// # Errors
/// The work's own; the system has no thread; the time is over.
fn on_own_thread<T: Send>(
    limit: Duration,
    work: impl AsyncFnOnce(Doing) -> Result<T, BindError> + Send,
) -> Result<T, BindError> {
    let run = move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(BindError::System)?;
        let doing: Doing = Rc::new(RefCell::new("starting".to_owned()));
        let done =
            runtime.block_on(async { tokio::time::timeout(limit, work(Rc::clone(&doing))).await });
        // A name that is still being looked up must not hold the caller up.
        runtime.shutdown_background();
        done.unwrap_or_else(|_| {
            let doing = doing.take();
            Err(BindError::Time { limit, doing })
        })
    };
    thread::scope(|scope| {
        let thread = thread::Builder::new().name("millpond-control".to_owned());
        let thread = thread.spawn_scoped(scope, run).map_err(BindError::System)?;
        thread
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

#[cfg(test)]
mod tests;
