//! A guest of contract 4 that does what its messages say: a message's body is commands, separated by `;`, run in order. What it
//! learns it publishes as text to the subject that the command names.

#[path = "../../bindings/wasmcloud.rs"]
mod bindings;

use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use bindings::exports::wasmcloud::messaging::handler::{BrokerMessage, Guest};
use bindings::wasmcloud::messaging::consumer;

/// How often `count` ran in this instance.
static COUNT: AtomicU32 = AtomicU32::new(0);

struct Probe;

impl Guest for Probe {
    fn handle_message(msg: BrokerMessage) -> Result<(), String> {
        let Ok(text) = std::str::from_utf8(&msg.body) else {
            trap()
        };
        for command in text.split(';').map(str::trim).filter(|c| !c.is_empty()) {
            run(command, &msg)?;
        }
        Ok(())
    }
}

/// Runs one command. One that isn't known traps: a misspelt test must not pass.
fn run(command: &str, message: &BrokerMessage) -> Result<(), String> {
    let words: Vec<&str> = command.split_whitespace().collect();
    match words.as_slice() {
        ["ok"] => Ok(()),
        ["trap"] => trap(),
        ["error", ..] => Err(after(command, 1).to_string()),
        ["count", to] => say(to, &(COUNT.fetch_add(1, Relaxed) + 1).to_string()),
        ["say", subject, ..] => say(subject, after(command, 2)),
        ["reply", ..] => say(reply_to(message), after(command, 1)),
        ["forward", subject] => publish(subject, &message.body, message.reply_to.as_deref()),
        ["send", subject, text, to] => report(to, say(subject, text)),
        ["with-reply-to", subject, reply, to] => report(to, publish(subject, b"", Some(reply))),
        ["flood", times, subject, to] => flood(number(times), subject, to),
        ["message", to] => say(to, &described(message)),
        ["request", subject, text, ms, to] => {
            let got = consumer::request(subject, text.as_bytes(), number(ms));
            match got {
                Ok(reply) => say(to, &described(&reply)),
                Err(reason) => say(to, &format!("error:{reason}")),
            }
        }
        _ => trap(),
    }
}

/// Subject, body and reply subject, with bars between.
fn described(message: &BrokerMessage) -> String {
    let body = String::from_utf8_lossy(&message.body);
    let reply_to = message.reply_to.as_deref().unwrap_or("none");
    format!("{}|{body}|{reply_to}", message.subject)
}

fn publish(subject: &str, body: &[u8], reply_to: Option<&str>) -> Result<(), String> {
    consumer::publish(&BrokerMessage {
        subject: subject.to_string(),
        body: body.to_vec(),
        reply_to: reply_to.map(str::to_string),
    })
}

fn say(subject: &str, text: &str) -> Result<(), String> {
    publish(subject, text.as_bytes(), None)
}

fn report(to: &str, result: Result<(), String>) -> Result<(), String> {
    match result {
        Ok(()) => say(to, "ok"),
        Err(reason) => say(to, &format!("error:{reason}")),
    }
}

/// Sends one byte at a time and stops at the first error.
fn flood(times: u32, subject: &str, to: &str) -> Result<(), String> {
    for sent in 0..times {
        if let Err(reason) = say(subject, "x") {
            return say(to, &format!("error:{sent}:{reason}"));
        }
    }
    say(to, &format!("sent:{times}"))
}

fn reply_to(message: &BrokerMessage) -> &str {
    message.reply_to.as_deref().unwrap_or_else(|| trap())
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
