//! Does what its messages say, for the tests of contract 3. A payload is commands with semicolons between them, each a few words:
//!
//! | command | what it does |
//! | --- | --- |
//! | `ack`, `nak MS`, `term` | says so of the message |
//! | `send SUBJECT TEXT`, `reply TEXT` | sends it |
//! | `ask SUBJECT REPLY TEXT` | sends it with this reply subject |
//! | `pass SUBJECT` | sends the message with its headers and reply subject |
//! | `count` | sends to `report` how many messages the call has |
//! | `see` | sends to `report` what it sees of the message: subject, reply subject, headers, attempts |
//! | `trap`, `error TEXT`, `loop` | ends the call so, or never |
//! | `trap-at N` | traps if the message was delivered less than N times before |
//! | `lists NUMBERS` | the call's answer is this: bytes of its arena, then the arena's bytes, then its index |
//! | `arena BYTES NUMBERS` | the call's answer is an arena of so many bytes, each an `a`, and this index |
#![no_std]

extern crate alloc;

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;

use millpond_guest::abi::Lists;
use millpond_guest::{Answer, Batch, Failed, Message};

fn handle(batch: &Batch<'_>) -> Lists {
    let mut answer = Answer::new(batch);
    for message in batch {
        let text = core::str::from_utf8(message.payload()).map_err(|_| "commands are text")?;
        for command in text.split(';') {
            let (name, rest) = command.split_once(' ').unwrap_or((command, ""));
            match name {
                "lists" => return lists(rest),
                "arena" => return arena(rest),
                _ => run(batch, &message, &mut answer, name, rest)?,
            }
        }
    }
    Ok(answer.finish())
}

fn run(
    batch: &Batch<'_>,
    message: &Message<'_>,
    answer: &mut Answer,
    name: &str,
    rest: &str,
) -> Result<(), Failed> {
    let (first, text) = rest.split_once(' ').unwrap_or((rest, ""));
    match name {
        "" => {}
        "ack" => answer.ack(message),
        "nak" => answer.nak(message, number(first)?),
        "term" => answer.term(message),
        "send" => answer.send(message, first).payload(text.as_bytes()),
        "reply" => drop(answer.reply(message, rest.as_bytes())),
        "ask" => {
            let (reply_to, text) = text.split_once(' ').unwrap_or((text, ""));
            answer.send(message, first).reply_to(reply_to).payload(text.as_bytes());
        }
        "pass" => {
            let send = answer.send(message, first);
            let send = match message.reply_to() {
                Some(reply_to) => send.reply_to(reply_to),
                None => send,
            };
            send.raw_headers(message.raw_headers()).payload(message.payload());
        }
        "count" => answer.send(message, "report").payload(batch.len().to_string().as_bytes()),
        "see" => answer.send(message, "report").payload(seen(message).as_bytes()),
        "error" => return Err(rest.to_string().into()),
        "loop" => loop {
            core::hint::spin_loop();
        },
        "trap" => panic!("as it was told"),
        "trap-at" => assert!(message.attempts() >= number(first)?, "as it was told"),
        _ => return Err(format!("no such command: {name}").into()),
    }
    Ok(())
}

fn seen(message: &Message<'_>) -> String {
    let headers: Vec<String> = message.headers().map(|(k, v)| format!("{k}={v}")).collect();
    format!(
        "{} {:?} {} {}",
        message.subject(),
        message.reply_to(),
        headers.join(","),
        message.attempts()
    )
}

fn number(text: &str) -> Result<u32, Failed> {
    text.parse().map_err(|_| Failed::from("no number"))
}

fn numbers(text: &str) -> Result<Vec<u32>, Failed> {
    text.split_whitespace().map(number).collect()
}

fn lists(text: &str) -> Lists {
    let all = numbers(text)?;
    let (&bytes, rest) = all.split_first().ok_or("no numbers")?;
    let (arena, index) = rest.split_at_checked(bytes as usize).ok_or("too few numbers")?;
    Ok((arena.iter().map(|byte| *byte as u8).collect(), index.to_vec()))
}

fn arena(text: &str) -> Lists {
    let all = numbers(text)?;
    let (&bytes, index) = all.split_first().ok_or("no numbers")?;
    Ok((vec![b'a'; bytes as usize], index.to_vec()))
}

millpond_guest::handler!(lists handle);
