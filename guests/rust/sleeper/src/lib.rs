//! A guest with the standard library's clocks, files, sockets and output, through WASI. Each message's
//! data is commands, separated by `;`, as in `probe`; a host should deny most of what they try.

#[path = "../../bindings/r0_2_0_draft.rs"]
mod bindings;

use std::io::Write;
use std::time::{Duration, Instant, SystemTime};

use bindings::exports::wasi::messaging::messaging_guest::Guest;
use bindings::wasi::messaging::messaging_types::{
    Client, Error, FormatSpec, GuestConfiguration, Message,
};
use bindings::wasi::messaging::producer;

struct Sleeper;

impl Guest for Sleeper {
    fn configure() -> Result<GuestConfiguration, Error> {
        Ok(GuestConfiguration {
            channels: vec!["sleeper".to_string()],
            extensions: None,
        })
    }

    fn handler(messages: Vec<Message>) -> Result<(), Error> {
        for message in &messages {
            let Ok(text) = std::str::from_utf8(&message.data) else {
                core::arch::wasm32::unreachable()
            };
            for command in text.split(';').map(str::trim).filter(|c| !c.is_empty()) {
                run(command)?;
            }
        }
        Ok(())
    }
}

/// Runs one command; one that isn't known traps, so that a misspelt test doesn't pass.
fn run(command: &str) -> Result<(), Error> {
    let (verb, rest) = command.split_once(' ').unwrap_or((command, ""));
    let words: Vec<&str> = rest.split_whitespace().collect();
    match (verb, words.as_slice()) {
        ("sleep", [ms]) => {
            std::thread::sleep(Duration::from_millis(ms.parse().unwrap_or(0)));
            Ok(())
        }
        ("print", _) => {
            write(std::io::stdout(), rest);
            Ok(())
        }
        ("eprint", _) => {
            write(std::io::stderr(), rest);
            Ok(())
        }
        ("env", [name, to]) => say(to, &std::env::var(name).unwrap_or("unset".to_string())),
        ("random", [to]) => say(to, if random() != random() { "ok" } else { "same" }),
        ("now", [to]) => say(to, if clocks_advance() { "ok" } else { "frozen" }),
        ("open", [path, to]) => {
            let opened = std::fs::File::open(path).is_ok();
            say(to, if opened { "opened" } else { "denied" })
        }
        ("tcp", [address, to]) => {
            let connected = std::net::TcpStream::connect(address).is_ok();
            say(to, if connected { "connected" } else { "denied" })
        }
        ("say", [subject, ..]) => say(subject, rest[subject.len()..].trim_start()),
        _ => core::arch::wasm32::unreachable(),
    }
}

/// A host may close these streams: that is no failure of the guest.
fn write(mut stream: impl Write, text: &str) {
    let _ = writeln!(stream, "{text}");
    let _ = stream.flush();
}

/// Eight bytes from the host, each time: the standard library asks for randomness once and counts on.
fn random() -> u64 {
    let mut bytes = [0; 8];
    // SAFETY: the function of the C library, which this target always links, with a buffer of its size.
    if unsafe { getentropy(bytes.as_mut_ptr(), bytes.len()) } != 0 {
        core::arch::wasm32::unreachable()
    }
    u64::from_le_bytes(bytes)
}

extern "C" {
    fn getentropy(buffer: *mut u8, length: usize) -> i32;
}

/// Whether both clocks move on within a bounded number of looks.
fn clocks_advance() -> bool {
    let (instant, system_time) = (Instant::now(), SystemTime::now());
    let (mut instant_moved, mut system_time_moved) = (false, false);
    for _ in 0..1_000_000 {
        instant_moved |= Instant::now() > instant;
        system_time_moved |= SystemTime::now() > system_time;
        if instant_moved && system_time_moved {
            return true;
        }
    }
    false
}

fn say(subject: &str, text: &str) -> Result<(), Error> {
    let message = Message {
        data: text.as_bytes().to_vec(),
        format: FormatSpec::Raw,
        metadata: None,
    };
    producer::send(Client::connect("default")?, subject, &[message])
}

bindings::export!(Sleeper with_types_in bindings);
