//! Two programs on one stream: killed by SIGKILL at random, ended by SIGTERM under load; nothing is lost.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};

use millpond_tests::nats::{Client, Post, Server};
use millpond_tests::program::{Program, Signal};
use serde_json::json;

use super::serve::run_on;

/// Times that a program is killed.
const KILLS: u64 = 10;
/// Messages that are stored before each.
const INPUTS: u64 = 300;
/// Messages that are stored at once while both programs are asked to end.
const CHUNK: u64 = 1_000;

/// Numbers below `below` that look random and are the same each time.
fn random(round: u64, below: u64) -> u64 {
    (round + 1)
        .wrapping_mul(0x9e37_79b9_7f4a_7c15)
        .rotate_left(31)
        % below
}

/// A program on the stream, once it is ready. Few messages in flight: a load lasts.
fn program(server: &Server) -> Program {
    let arguments = "--stream IN --durable D --allow-publish echo.out --in-flight-messages-max 16";
    let arguments: Vec<_> = arguments.split(' ').collect();
    let program = Program::start(&mut run_on(&server.url(), "echo", &arguments));
    program.wait_for("ready");
    program
}

/// Stores the numbers from `first` on, so many.
fn store(client: &Client, first: u64, count: u64) {
    client.store_all((first..first + count).map(|n| Post::new("in.x", n.to_string())));
}

/// Waits until so many messages are in `OUT`.
fn grow(client: &Client, wanted: u64) {
    client.until("outputs", |client| {
        (client.stream_messages("OUT") >= wanted).then_some(())
    });
}

#[test]
fn two_programs_on_a_stream_lose_nothing_when_they_are_killed_and_when_they_end_under_load() {
    let server = Server::start();
    let client = Client::connect(&server.url());
    client.create_stream("IN", &["in.>"], json!({}));
    client.create_stream("OUT", &["echo.out"], json!({}));
    client.create_consumer("IN", "D", json!({ "ack_wait": 1_000_000_000u64 }));
    let mut programs = [program(&server), program(&server)];
    let mut stored = 0;
    for round in 0..KILLS {
        let before = client.stream_messages("OUT");
        store(&client, stored, INPUTS);
        stored += INPUTS;
        grow(&client, before + 1 + random(round, INPUTS / 2));
        let which = random(round + 100, 2) as usize;
        programs[which].kill();
        programs[which] = program(&server);
    }
    let ended = AtomicBool::new(false);
    let first = stored;
    stored = std::thread::scope(|scope| {
        let load = scope.spawn(|| {
            let client = Client::connect(&server.url());
            let mut stored = first;
            // Once more after both have ended: there is load up to then.
            loop {
                let last = ended.load(Ordering::Acquire);
                store(&client, stored, CHUNK);
                stored += CHUNK;
                if last {
                    return stored;
                }
            }
        });
        grow(&client, client.stream_messages("OUT") + 100);
        for program in &programs {
            program.signal(Signal::TERM);
        }
        for program in &mut programs {
            let code = program.ended().code();
            assert_eq!(code, Some(0), "{}", program.err().so_far().join("\n"));
        }
        ended.store(true, Ordering::Release);
        load.join().expect("it only stores")
    });
    let left = client.consumer("IN", "D");
    assert!(
        left["num_pending"].as_u64() > Some(0),
        "it was no load: {left}"
    );
    // What a program that ended well had taken is settled; what killed ones had comes again.
    let mut last = program(&server);
    client.wait_consumed("IN", "D");
    last.signal(Signal::TERM);
    assert_eq!(last.ended().code(), Some(0));
    let mut copies = BTreeMap::<String, u64>::new();
    for message in client.stored_all("OUT") {
        let text = String::from_utf8(message.payload.to_vec()).expect("numbers");
        *copies.entry(text).or_default() += 1;
    }
    let lost = (0..stored).filter(|n| !copies.contains_key(&n.to_string()));
    assert_eq!(lost.collect::<Vec<_>>(), [0; 0]);
    assert_eq!(copies.len() as u64, stored);
}
