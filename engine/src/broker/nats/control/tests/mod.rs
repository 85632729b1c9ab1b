//! Binding, against a real server, and against a scripted one where a real one can't be brought to say what is needed.

mod connecting;
mod outputs;
mod questions;
mod script;
mod sources;

use std::time::Duration;

use millpond_tests::nats::{Client, Server};
use serde_json::{Value, json};

use super::error::{ConsumerFault, LetterFault, OutputFault, StreamFault};
use super::wanted::{Output, Warning};
use super::*;
use crate::broker::nats::auth::Auth;
use crate::broker::nats::url::ServerUrl;

/// Long enough for a busy machine: a test that reaches it has failed.
const LIMIT: Duration = Duration::from_secs(60);

/// How a server is reached that lets everybody in.
fn access(url: &str) -> Access {
    Access {
        name: "test".to_owned(),
        urls: ServerUrl::parse_list(url).expect("a server's own URL"),
        auth: Auth::Nobody,
        tls: None,
        tls_required: false,
        handshake_first: false,
    }
}

/// Handler `h`, which takes from consumer `D` of stream `IN`.
fn wanted() -> Wanted {
    Wanted {
        handler: "h".to_owned(),
        stream: "IN".to_owned(),
        durable: "D".to_owned(),
        create: None,
        delivery: DeliveryLevel::AtLeastOnce,
        dead_letter: None,
        publishes: Vec::new(),
        in_flight_messages: 100,
        redelivery: Redelivery {
            deliveries_max: 5,
            retry_delay_max: Duration::from_secs(1),
            wall_deadline: Duration::from_secs(5),
            confirm_wait_max: Duration::from_secs(5),
            pause_max: Duration::from_secs(10),
        },
    }
}

/// A server with stream `IN` of `in.>` and its consumer `D`, which can be bound.
fn ready() -> (Server, Client) {
    let server = Server::start();
    let client = Client::connect(&server.url());
    client.create_stream("IN", &["in.>"], json!({}));
    consumer(&client, "D", json!({}));
    (server, client)
}

/// Makes a durable pull consumer of `IN` with some settings otherwise; `null` leaves one out.
fn consumer(client: &Client, name: &str, settings: Value) {
    let mut config =
        json!({"name": name, "durable_name": name, "ack_policy": "explicit", "max_deliver": -1});
    let object = config.as_object_mut().expect("it is one");
    object.extend(settings.as_object().expect("it is one").clone());
    object.retain(|_, value| !value.is_null());
    let body = json!({"stream_name": "IN", "config": config});
    client
        .api(&format!("CONSUMER.CREATE.IN.{name}"), &body)
        .expect("the server takes it");
}

/// What one handler is bound to.
#[track_caller]
fn bound(server: &Server, wanted: &Wanted) -> Bound {
    let bound = bind(&access(&server.url()), std::slice::from_ref(wanted), LIMIT);
    let mut bound = bound.unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(bound.len(), 1);
    bound.remove(0)
}

/// The error of one handler that is not bound.
#[track_caller]
fn refused(server: &Server, wanted: &Wanted) -> BindError {
    let refused = bind(&access(&server.url()), std::slice::from_ref(wanted), LIMIT);
    let error = refused.expect_err("it is refused");
    println!("{error}");
    error
}

/// Asserts that the error of a handler has all of these in its text.
#[track_caller]
fn says(error: &BindError, parts: &[&str]) {
    let text = error.to_string();
    println!("{text}");
    for part in parts {
        assert!(text.contains(part), "no {part:?} in: {text}");
    }
    let first = text.chars().next().is_some_and(char::is_uppercase);
    assert!(!first || text.starts_with("JetStream"), "{text}");
    assert!(!text.ends_with('.'), "{text}");
}
