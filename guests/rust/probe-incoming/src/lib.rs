//! A guest of contract 2 that does what its messages say: a message's data is commands, separated by `;`, run in order. What it
//! learns it sends as text to the topic that the command names. What a guest can't do by the interface is in `misuse.rs`.

#[path = "../../bindings/incoming.rs"]
mod bindings;
mod misuse;

use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use bindings::exports::wasi::messaging::incoming_handler::{Error, Guest, Message};
use bindings::wasi::messaging::types::Client;
use bindings::wasi::messaging::{producer, request_reply};

/// How often `count` ran in this instance.
static COUNT: AtomicU32 = AtomicU32::new(0);

struct Probe;

impl Guest for Probe {
    fn handle(message: Message) -> Result<(), Error> {
        let Ok(text) = String::from_utf8(message.data()) else {
            trap()
        };
        for command in text.split(';').map(str::trim).filter(|c| !c.is_empty()) {
            run(command, &message)?;
        }
        Ok(())
    }
}

/// Runs one command. One that isn't known traps: a misspelt test must not pass.
fn run(command: &str, message: &Message) -> Result<(), Error> {
    let words: Vec<&str> = command.split_whitespace().collect();
    match words.as_slice() {
        ["ok"] => Ok(()),
        ["trap"] => trap(),
        ["error", "timeout"] => Err(Error::Timeout),
        ["error", "connection", ..] => Err(Error::Connection(after(command, 2).into())),
        ["error", "denied", ..] => Err(Error::PermissionDenied(after(command, 2).into())),
        ["error", ..] => Err(Error::Other(after(command, 1).into())),
        ["count", to] => say(to, &(COUNT.fetch_add(1, Relaxed) + 1).to_string()),
        ["say", topic, ..] => say(topic, after(command, 2)),
        ["send", topic, text, to] => report(to, say(topic, text)),
        ["connect", name, to] => report(to, Client::connect(name).map(drop)),
        ["disconnect", to] => report(to, disconnect(to)),
        ["message", to] => say(to, &described(message)),
        ["edit", to] => edit(message, to),
        ["metadata", to] => metadata(to),
        ["reply", times, ..] => reply(number(times), message, after(command, 2)),
        ["reply-to-new", to] => report(to, request_reply::reply(&new("asks"), new("x"))),
        ["try-reply", to] => report(to, request_reply::reply(message, new("x"))),
        ["request", topic, text, ms, expected, to] => {
            let got = request(topic, text, options(ms, expected));
            say(to, &texts(&got))
        }
        ["converse", topic, text, to] => converse(topic, text, to),
        ["flood", times, topic, to] => flood(number(times), topic, to),
        ["hoard", times, bytes] => misuse::hoard(number(times), number(bytes)),
        ["pass", times] => misuse::pass(number(times), message),
        ["use-dropped"] => misuse::use_dropped(),
        ["use-sent", to] => misuse::use_sent(to),
        ["use-foreign", handle] => misuse::use_foreign(number(handle)),
        ["use-as-client"] => misuse::use_as_client(message),
        ["use-client-dropped"] => misuse::use_client_dropped(),
        ["use-options-dropped"] => misuse::use_options_dropped(),
        ["use-options-taken"] => misuse::use_options_taken(message),
        ["drop-twice"] => misuse::drop_twice(),
        ["reply-to-dropped"] => misuse::reply_to_dropped(message),
        ["use-replied"] => misuse::use_replied(message),
        ["keep", times, to] => misuse::keep(number(times), to),
        _ => trap(),
    }
}

fn new(text: &str) -> Message {
    Message::new(text.as_bytes())
}

/// Sends through a connection of its own.
fn say(topic: &str, text: &str) -> Result<(), Error> {
    producer::send(&Client::connect("default")?, topic, new(text))
}

fn report(to: &str, result: Result<(), Error>) -> Result<(), Error> {
    match result {
        Ok(()) => say(to, "ok"),
        Err(error) => say(to, &format!("error:{error:?}")),
    }
}

/// Sends through a connection that was closed: the second result is the one of interest.
fn disconnect(to: &str) -> Result<(), Error> {
    let client = Client::connect("default")?;
    producer::send(&client, to, new("before"))?;
    client.disconnect()?;
    producer::send(&client, to, new("after"))
}

/// Topic, content type, number of bytes of data and metadata, with bars between.
fn described(message: &Message) -> String {
    let metadata = match message.metadata() {
        None => "none".to_string(),
        Some(pairs) => {
            let texts = pairs.iter().map(|(key, value)| format!("{key}={value}"));
            texts.collect::<Vec<_>>().join(",")
        }
    };
    let none = || "none".to_string();
    let topic = message.topic().unwrap_or_else(none);
    let content_type = message.content_type().unwrap_or_else(none);
    format!("{topic}|{content_type}|{}|{metadata}", message.data().len())
}

/// Changes the message that came, part after part, and sends it.
fn edit(message: &Message, to: &str) -> Result<(), Error> {
    let copy = new("");
    copy.set_data(&message.data());
    copy.set_metadata(&message.metadata().unwrap_or_default());
    message.add_metadata("a", "first");
    message.add_metadata("a", "second");
    message.add_metadata("b", "2");
    message.remove_metadata("gone");
    message.set_content_type("text/plain");
    message.set_data(b"edited");
    say(to, &described(message))?;
    producer::send(&Client::connect("default")?, to, copy)
}

/// Every accessor of a message that was made here.
fn metadata(to: &str) -> Result<(), Error> {
    let message = new("four");
    say(to, &described(&message))?;
    message.remove_metadata("none");
    message.set_metadata(&[("k".into(), "1".into()), ("k".into(), "2".into())]);
    say(to, &described(&message))?;
    message.add_metadata("k", "3");
    message.set_content_type("a/b");
    message.set_content_type("c/d");
    producer::send(&Client::connect("default")?, to, message)
}

/// Answers so many times, with the number behind the text.
fn reply(times: u32, message: &Message, text: &str) -> Result<(), Error> {
    (0..times).try_for_each(|n| request_reply::reply(message, new(&format!("{text}{n}"))))
}

/// The options of a request: `-` for one that is not set, twice for none at all.
fn options(ms: &str, expected: &str) -> Option<request_reply::RequestOptions> {
    if (ms, expected) == ("-", "-") {
        return None;
    }
    let options = request_reply::RequestOptions::new();
    if ms != "-" {
        options.set_timeout_ms(number(ms));
    }
    if expected != "-" {
        options.set_expected_replies(number(expected));
    }
    Some(options)
}

fn request(
    topic: &str,
    text: &str,
    options: Option<request_reply::RequestOptions>,
) -> Result<Vec<Message>, Error> {
    let client = Client::connect("default")?;
    let question = new(&text.replace('_', " "));
    question.add_metadata("asked", "yes");
    request_reply::request(&client, topic, &question, options)
}

/// What the replies say, or the error.
fn texts(got: &Result<Vec<Message>, Error>) -> String {
    match got {
        Err(error) => format!("error:{error:?}"),
        Ok(messages) => {
            let data = messages.iter().map(Message::data);
            let texts: Vec<_> = data
                .map(|data| String::from_utf8_lossy(&data).into_owned())
                .collect();
            format!("got:{}", texts.join(","))
        }
    }
}

/// Asks, and answers the answer.
fn converse(topic: &str, text: &str, to: &str) -> Result<(), Error> {
    let replies = request(topic, text, None)?;
    report(to, request_reply::reply(&replies[0], new("thanks")))
}

/// Sends one byte at a time and stops at the first error.
fn flood(times: u32, topic: &str, to: &str) -> Result<(), Error> {
    for sent in 0..times {
        if let Err(error) = say(topic, "x") {
            return say(to, &format!("error:{sent}:{error:?}"));
        }
    }
    say(to, &format!("sent:{times}"))
}

/// What follows the first words of a command, spaces included.
fn after(command: &str, words: usize) -> &str {
    let mut rest = command;
    for _ in 0..words {
        rest = rest.trim_start();
        rest = rest.find(char::is_whitespace).map_or("", |at| &rest[at..]);
    }
    rest.trim_start()
}

fn number(word: &str) -> u32 {
    word.parse().unwrap_or_else(|_| trap())
}

/// The wasm instruction itself: nothing is unwound or printed.
fn trap() -> ! {
    core::arch::wasm32::unreachable()
}

bindings::export!(Probe with_types_in bindings);
