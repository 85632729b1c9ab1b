//! Servers that know each other: an engine that was told of one finds the others, and leaves one that is about to stop.

use millpond::Engine;
use millpond_tests::nats::{Client, Post, Server, Settings};
use millpond_tests::program::Signal;
use serde_json::{Value, json};

use crate::harness::{start, until};
use crate::nats_core::{ask, at, core};

/// A server of a cluster; `beside` is where another one listens for it.
fn member(beside: Option<&str>) -> (Server, String) {
    let routes: Vec<_> = beside
        .map(|place| format!("nats-route://{place}"))
        .into_iter()
        .collect();
    let cluster = json!({ "name": "mill", "host": "127.0.0.1", "port": -1, "routes": routes });
    let server = Settings::new()
        .without_jetstream()
        .set("cluster", cluster)
        .start();
    let place = || {
        let log = server.log();
        let line = log.iter().find(|l| l.contains("route connections on"))?;
        Some(line.rsplit_once(' ')?.1.to_owned())
    };
    until("it listens for others", || place().is_some());
    let place = place().expect("a log only grows");
    (server, place)
}

/// Waits until a server tells its clients of another.
fn tells(server: &Server, of: &Server) {
    until("the servers know each other", || {
        let info = server.info();
        let told = info["connect_urls"].as_array().cloned().unwrap_or_default();
        told.contains(&Value::from(of.address().to_string()))
    });
}

/// Waits until it is connected to this server, and one question there is answered: what is connected may not have said yet what it hears.
fn connected(engine: &Engine, server: &Server, times: u64) {
    until("it is connected", || {
        let stats = engine.stats();
        stats.connected == 1 && stats.connects == times
    });
    let client = Client::connect(&server.url());
    client.until("a question is answered", |client| {
        client.request(Post::new("echo", "first")).ok()
    });
}

#[test]
fn a_server_that_joins_later_is_found_when_the_first_is_killed() {
    let (mut first, place) = member(None);
    let engine = start(at(&first.url(), [core("echo", Some("q"))]));
    let (second, _) = member(Some(&place));
    tells(&first, &second);
    // What the server tells of others has come before what comes after it.
    ask(first.address(), |_| "echo".into(), 100);
    first.kill();
    connected(&engine, &second, 2);
    ask(second.address(), |_| "echo".into(), 100);
    assert_eq!(engine.stats().handlers[0].acked, 201);
}

#[test]
fn a_server_that_is_about_to_stop_is_left_before_it_does() {
    let (first, place) = member(None);
    let (second, _) = member(Some(&place));
    tells(&first, &second);
    let engine = start(at(&first.url(), [core("echo", Some("q"))]));
    ask(first.address(), |_| "echo".into(), 100);
    first.signal(Signal::USR2);
    connected(&engine, &second, 2);
    ask(second.address(), |_| "echo".into(), 100);
    assert_eq!(engine.stats().handlers[0].acked, 201);
    let closing = first
        .log()
        .iter()
        .any(|l| l.contains("Closing existing clients"));
    assert!(!closing, "it left by itself");
}
