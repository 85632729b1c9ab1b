//! The services written natively with async-nats, at the best settings that were found.
//!
//! Tried: a current-thread runtime and one of two workers, each message by itself and all that are ready at once
//! (`ready_chunks`), tokio's budget kept and lifted (`unconstrained`), larger queues, batches of 500 to 10,000 messages. The best for echo
//! was a current-thread runtime with `ready_chunks(256)`, unconstrained; for consuming, the same runtime, unconstrained, batches of 5,000.

use std::sync::atomic::{AtomicU64, Ordering};

use async_nats::ConnectOptions;
use async_nats::jetstream;
use async_nats::jetstream::consumer::PullConsumer;
use futures_util::StreamExt;
use wasmtime::error::Context as _;
use wasmtime::{Result, ensure};

use super::consume::{PAYLOADS, STREAM};
use super::role::Ready;
use super::wire::number;
use crate::guest::PAYLOAD_BYTES;

/// Messages that a subscription holds before the library drops some.
const SUBSCRIPTION_MESSAGES_MAX: usize = 1 << 20;

/// What can be varied by hand, through the environment variable `MILLPOND_BENCH_NATIVE`; the default is the best that was found.
#[derive(Debug, Clone, Copy)]
struct Variant {
    workers: bool,
    chunks: usize,
    unconstrained: bool,
    capacity: usize,
    batch: usize,
}

impl Variant {
    fn read() -> Result<Self> {
        let mut variant = Self {
            workers: false,
            chunks: 256,
            unconstrained: true,
            capacity: 2_048,
            batch: 5_000,
        };
        let said = std::env::var("MILLPOND_BENCH_NATIVE").unwrap_or_default();
        for (name, value) in said.split(',').filter_map(|s| s.split_once('=')) {
            let value = value.parse()?;
            match name {
                "workers" => variant.workers = value > 0,
                "chunks" => variant.chunks = value,
                "unconstrained" => variant.unconstrained = value > 0,
                "capacity" => variant.capacity = value,
                "batch" => variant.batch = value,
                other => wasmtime::bail!("no variant is named {other}"),
            }
        }
        Ok(variant)
    }

    fn run(self, service: impl Future<Output = Result<()>>) -> Result<()> {
        let mut builder = match self.workers {
            false => tokio::runtime::Builder::new_current_thread(),
            true => tokio::runtime::Builder::new_multi_thread(),
        };
        let runtime = builder.enable_all().build()?;
        match self.unconstrained {
            false => runtime.block_on(service),
            true => runtime.block_on(tokio::task::unconstrained(service)),
        }
    }

    async fn connect(self, address: &str) -> Result<async_nats::Client> {
        let options = ConnectOptions::new()
            .subscription_capacity(SUBSCRIPTION_MESSAGES_MAX)
            .client_capacity(self.capacity);
        Ok(options.connect(address).await?)
    }
}

/// Answers requests for good; an answer is counted before it is sent.
pub(super) fn echo(address: &str, subject: &str, handled: &AtomicU64, ready: Ready) -> Result<()> {
    let variant = Variant::read()?;
    variant.run(async {
        let client = variant.connect(address).await?;
        let queue = "q".to_owned();
        let mut requests = client.queue_subscribe(subject.to_owned(), queue).await?;
        client.flush().await?;
        ready.is();
        if variant.chunks > 0 {
            let mut chunks = requests.ready_chunks(variant.chunks);
            while let Some(chunk) = chunks.next().await {
                handled.fetch_add(chunk.len() as u64, Ordering::Release);
                for request in chunk {
                    let reply = request.reply.context("a request has a reply subject")?;
                    client.publish(reply, request.payload).await?;
                }
            }
        } else {
            while let Some(request) = requests.next().await {
                handled.fetch_add(1, Ordering::Release);
                let reply = request.reply.context("a request has a reply subject")?;
                client.publish(reply, request.payload).await?;
            }
        }
        Ok(())
    })
}

/// Consumes and acks until `messages` have come, then idles.
pub(super) fn consume(
    address: &str,
    durable: &str,
    messages: u64,
    handled: &AtomicU64,
    ready: Ready,
) -> Result<()> {
    let variant = Variant::read()?;
    variant.run(async {
        let client = variant.connect(address).await?;
        let context = jetstream::new(client.clone());
        let stream = context.get_stream(STREAM).await?;
        let consumer: PullConsumer = stream.get_consumer(durable).await.map_err(told)?;
        let pull = consumer.stream().max_messages_per_batch(variant.batch);
        let mut all = pull.messages().await?;
        client.flush().await?;
        ready.is();
        let (mut count, mut sum) = (0, 0);
        while count < messages {
            let message = all.next().await.context("the messages end")??;
            ensure!(message.payload.len() == PAYLOAD_BYTES, "another message");
            sum += number(&message.payload[..PAYLOADS]) as u64;
            message.ack().await.map_err(told)?;
            count += 1;
        }
        ensure!(
            sum == messages * (messages - 1) / 2,
            "other messages than were stored"
        );
        client.flush().await?;
        handled.store(count, Ordering::Release);
        // The library goes on answering pings until the process is ended.
        std::future::pending::<Result<()>>().await
    })
}

/// An error of the library that is only a box.
fn told(error: async_nats::Error) -> wasmtime::Error {
    wasmtime::format_err!("{error}")
}
