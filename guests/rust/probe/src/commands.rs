//! The commands. One that fails to report fails the handler, and one that isn't known traps: a
//! misspelt test must not pass.

use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use crate::bindings::wasi::messaging::consumer;
use crate::bindings::wasi::messaging::messaging_types::{
    Error, FormatSpec, GuestConfiguration, Message,
};
use crate::{extremes, host};

/// A connection that no test grants: the one way to get an error without side effects.
const REFUSED: &str = "nowhere-granted";

/// How often `count` ran in this instance.
static COUNT: AtomicU32 = AtomicU32::new(0);

/// Runs one command for the message that it came in.
pub fn run(command: &str, message: &Message) -> Result<(), Error> {
    let words: Vec<&str> = command.split_whitespace().collect();
    match words.as_slice() {
        ["ok"] => Ok(()),
        ["trap"] => extremes::trap(),
        ["loop"] => extremes::turn_for_ever(),
        ["recurse"] => extremes::recurse_for_ever(),
        ["grow", mebibytes] => extremes::grow(number(mebibytes)),
        ["scribble"] => extremes::scribble(),
        ["pristine", to] => report(to, if extremes::pristine() { "ok" } else { "dirty" }),
        ["count", to] => report(to, &(COUNT.fetch_add(1, Relaxed) + 1).to_string()),
        ["error"] => host::connect(REFUSED).and_then(|()| extremes::trap()),
        ["errors", times, to] => drop_errors(number(times), to),
        ["drop-error", to] => report(to, &text_of_dropped_error()),
        ["connect", name, to] => report_result(to, host::connect(name)),
        ["disconnect", to] => report_result(to, host::send_after_disconnect(to)),
        ["say", subject, ..] => report(subject, after(command, 2)),
        ["reply", ..] => report(reply_to(message), after(command, 1)),
        ["echo", subject] => host::send(subject, message),
        ["send", subject, text, to] => report_result(to, host::send(subject, &raw(text))),
        ["flood", times, subject, to] => flood(number(times), subject, to),
        ["try", subject, ms, to] => report_received(to, host::try_receive(subject, number(ms))),
        ["receive", subject, to] => report_received(to, host::receive(subject).map(Some)),
        ["update", channels, to] => report_result(to, update(channels, None)),
        ["update-ext", extension, to] => report_result(to, update("probe", Some(extension))),
        ["complete", to] => report_result(to, consumer::complete_message(message)),
        ["complete-stripped", to] => {
            report_result(to, consumer::complete_message(&stripped(message)))
        }
        ["complete-forged", to] => report_result(to, consumer::complete_message(&raw("forged"))),
        ["complete-twice", to] => report_result(to, complete_twice(message)),
        ["abandon", to] => report_result(to, consumer::abandon_message(message)),
        ["metadata", to] => report(to, &metadata(message)),
        ["data-size", to] => report(to, &message.data.len().to_string()),
        _ => extremes::trap(),
    }
}

fn report(subject: &str, text: &str) -> Result<(), Error> {
    host::send(subject, &raw(text))
}

fn report_result(to: &str, result: Result<(), Error>) -> Result<(), Error> {
    match result {
        Ok(()) => report(to, "ok"),
        Err(error) => report(to, &format!("error:{}", host::trace(error))),
    }
}

fn report_received(to: &str, result: Result<Option<Vec<Message>>, Error>) -> Result<(), Error> {
    match result {
        Ok(None) => report(to, "none"),
        Ok(Some(messages)) => {
            let texts = messages.iter().map(|m| String::from_utf8_lossy(&m.data));
            report(to, &format!("some:{}", texts.collect::<Vec<_>>().join(",")))
        }
        Err(error) => report_result(to, Err(error)),
    }
}

/// Sends one byte at a time and stops at the first error.
fn flood(times: u32, subject: &str, to: &str) -> Result<(), Error> {
    let byte = raw("x");
    for sent in 0..times {
        if let Err(error) = host::send(subject, &byte) {
            return report(to, &format!("error:{sent}:{}", host::trace(error)));
        }
    }
    report(to, &format!("sent:{times}"))
}

fn drop_errors(times: u32, to: &str) -> Result<(), Error> {
    for _ in 0..times {
        match host::connect(REFUSED) {
            Ok(()) => return report(to, "connected"),
            Err(error) => host::drop_error(error),
        }
    }
    report(to, "ok")
}

fn text_of_dropped_error() -> String {
    match host::connect(REFUSED) {
        Ok(()) => "connected".to_string(),
        Err(error) => host::trace_after_drop(error),
    }
}

fn update(channels: &str, extension: Option<&str>) -> Result<(), Error> {
    let pair = |text: &str| match text.split_once('=') {
        Some((key, value)) => vec![(key.to_string(), value.to_string())],
        None => extremes::trap(),
    };
    consumer::update_guest_configuration(&GuestConfiguration {
        channels: channels.split(',').map(str::to_string).collect(),
        extensions: extension.map(pair),
    })
}

/// The second result is the one of interest; a first that is an error is returned instead.
fn complete_twice(message: &Message) -> Result<(), Error> {
    consumer::complete_message(message)?;
    consumer::complete_message(message)
}

fn metadata(message: &Message) -> String {
    match &message.metadata {
        None => "none".to_string(),
        Some(pairs) => {
            let texts = pairs.iter().map(|(key, value)| format!("{key}={value}"));
            texts.collect::<Vec<_>>().join(",")
        }
    }
}

fn reply_to(message: &Message) -> &str {
    let mut pairs = message.metadata.iter().flatten();
    match pairs.find(|(key, _)| key == "reply-to") {
        Some((_, subject)) => subject,
        None => extremes::trap(),
    }
}

fn stripped(message: &Message) -> Message {
    Message {
        data: message.data.clone(),
        format: message.format,
        metadata: None,
    }
}

fn raw(text: &str) -> Message {
    Message {
        data: text.as_bytes().to_vec(),
        format: FormatSpec::Raw,
        metadata: None,
    }
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
    word.parse().unwrap_or_else(|_| extremes::trap())
}
