//! A guest of contract 4 that logs, made for the world that components for wasmCloud have which do: a message's body is commands,
//! separated by `;`, run in order. Then it sends the message on, to its reply subject or to `logged`.

#[path = "../../../rust/bindings/logging.rs"]
mod bindings;

use bindings::exports::wasmcloud::messaging::handler::{BrokerMessage, Guest};
use bindings::wasi::logging::logging::{log, Level};
use bindings::wasmcloud::messaging::consumer;

struct Logger;

impl Guest for Logger {
    fn handle_message(msg: BrokerMessage) -> Result<(), String> {
        let Ok(text) = std::str::from_utf8(&msg.body) else {
            trap()
        };
        for command in text.split(';') {
            run(command)?;
        }
        consumer::publish(&BrokerMessage {
            subject: msg.reply_to.unwrap_or_else(|| "logged".to_string()),
            body: msg.body,
            reply_to: None,
        })
    }
}

/// Runs one command. One that isn't known traps: a misspelt test must not pass.
fn run(command: &str) -> Result<(), String> {
    match command.splitn(4, ' ').collect::<Vec<_>>()[..] {
        ["log", name, context, message] => log(level(name), context, message),
        // So many lines, which are their numbers.
        ["count", times] => (0..number(times)).for_each(|n| log(Level::Info, "count", &n.to_string())),
        // Context and message of so many bytes.
        ["long", context, message] => log(Level::Info, &"c".repeat(number(context)), &"m".repeat(number(message))),
        ["fail"] => return Err("it is told to".to_string()),
        _ => trap(),
    }
    Ok(())
}

fn level(name: &str) -> Level {
    match name {
        "trace" => Level::Trace,
        "debug" => Level::Debug,
        "info" => Level::Info,
        "warn" => Level::Warn,
        "error" => Level::Error,
        "critical" => Level::Critical,
        _ => trap(),
    }
}

fn number(word: &str) -> usize {
    word.parse().unwrap_or_else(|_| trap())
}

/// The wasm instruction itself: nothing is unwound or printed.
fn trap() -> ! {
    core::arch::wasm32::unreachable()
}

bindings::export!(Logger with_types_in bindings);
