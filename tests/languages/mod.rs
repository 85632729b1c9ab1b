//! The examples in five languages: what really comes out of them for good input and bad. A file an example, and `rows.rs`, where each
//! has the same messages in process, on the core of NATS and from a stream.

mod calculator;
mod orders;
mod payments;
pub(crate) mod rows;
mod tickets;
mod window;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use millpond::{
    CacheConfig, Contract, Engine, EngineConfig, HandlerConfig, HandlerLimits, Message, Overflow,
    Stats, Subscription,
};
use millpond_tests::{cache, guest};
use serde_json::Value;

use crate::harness::{config, limited, settled, start};

/// The contract of each example: without it, it does not start.
const CONTRACTS: [(&str, Contract); 5] = [
    ("rust-orders", Contract::Batch010),
    ("c-redact", Contract::Batch010),
    ("go-window", Contract::Messaging2023),
    ("js-calculator", Contract::Wasmcloud020),
    ("python-validate", Contract::Incoming020Draft),
];

/// With its code kept from run to run: a Python component takes seconds to compile.
fn kept(mut config: EngineConfig) -> EngineConfig {
    config.cache = Some(CacheConfig::folder(cache().join("compiled")));
    config
}

/// How long a call waits for more messages: what a test publishes in a row shares calls.
const LINGER: Duration = Duration::from_millis(20);

/// An example with two attempts a message, made of this file.
fn made_of(name: &str, file: PathBuf) -> HandlerConfig {
    let two = |l: &mut HandlerLimits| (l.deliveries_max, l.linger) = (2, LINGER);
    let like = limited(name, two);
    let (_, contract) = CONTRACTS.iter().find(|(n, _)| *n == name).expect(name);
    HandlerConfig::file(name, file)
        .limits(like.limits)
        .grants(like.grants)
        .dead_letter("dead")
        .contract(*contract)
}

/// An example, made of this file, that is given what comes on `subject`.
fn made_for(subject: &str, name: &str, file: PathBuf) -> HandlerConfig {
    let handler = made_of(name, file);
    // The example in Go names its subject itself.
    match name.starts_with("go-") {
        true => handler,
        false => handler.subject(subject),
    }
}

/// An engine with one example, and what comes out of it.
struct Example {
    engine: Engine,
    out: BTreeMap<&'static str, Subscription>,
}

impl Example {
    /// Starts it, and listens to these subjects and to its dead letters.
    fn new(name: &str, subject: &str, listens: &[&'static str]) -> Self {
        Self::of(made_for(subject, name, guest(name)), listens)
    }

    /// The same of an example that is made already.
    fn of(handler: HandlerConfig, listens: &[&'static str]) -> Self {
        let engine = start(kept(config([handler])));
        let listen = |subject| (subject, engine.subscribe(subject, Overflow::Wait).unwrap());
        let out = listens.iter().copied().chain(["dead"]).map(listen);
        Self {
            out: out.collect(),
            engine,
        }
    }

    fn publish(&self, subject: &str, payload: &[u8]) {
        let message = Message::builder(subject).header("trace", "t-1");
        let taken = self.engine.publish(message.payload(payload).unwrap());
        assert_eq!(taken.unwrap(), 1, "one handler listens");
    }

    /// Waits until all is settled: the stats, and the messages on each subject.
    fn end(self) -> (Stats, BTreeMap<&'static str, Vec<Message>>) {
        let stats = settled(&self.engine);
        let all = |s: Subscription| std::iter::from_fn(move || s.try_next()).collect();
        let out = self.out.into_iter().map(|(subject, s)| (subject, all(s)));
        (stats, out.collect())
    }
}

fn text(message: &Message) -> &str {
    std::str::from_utf8(message.payload()).expect("the examples send text")
}

fn of_json(message: &Message) -> Value {
    serde_json::from_slice(message.payload()).expect("it is JSON")
}

fn values<'a>(message: &'a Message, name: &str) -> Vec<&'a str> {
    let named = message.headers().filter(|(key, _)| *key == name);
    named.map(|(_, value)| value).collect()
}

/// Payloads, sorted: they come in any order.
fn texts(messages: &[Message]) -> Vec<&str> {
    let mut texts: Vec<_> = messages.iter().map(text).collect();
    texts.sort_unstable();
    texts
}

/// These messages, in any order, have these payloads.
#[track_caller]
fn assert_payloads<'a>(messages: &[Message], payloads: impl IntoIterator<Item = &'a [u8]>) {
    let mut found: Vec<_> = messages.iter().map(Message::payload).collect();
    let mut expected: Vec<_> = payloads.into_iter().collect();
    found.sort_unstable();
    expected.sort_unstable();
    assert_eq!(found, expected);
}

fn sorted<'a>(texts: impl IntoIterator<Item = &'a str>) -> Vec<&'a str> {
    let mut texts: Vec<_> = texts.into_iter().collect();
    texts.sort_unstable();
    texts
}
