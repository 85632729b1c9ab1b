//! Engines killed by SIGKILL under load, at named points and at random: at least once loses nothing.
//!
//! The engine that is killed is this program once more, told by its environment to be one.

use std::io::Read;
use std::process::Command;

use millpond_tests::nats::{Client, Point, Proxy, Way};
use millpond_tests::program::Program;
use serde_json::json;

use crate::harness::{LONG, start};
use crate::nats_streams::{numbers, on, payloads, store, taking, with_input};

/// The variable that makes this program an engine on the server that it names.
const URL: &str = "MILLPOND_TEST_ENGINE_URL";
/// Times that an engine is killed.
const KILLS: u64 = 20;
/// Inputs that are stored for each.
const INPUTS: usize = 200;

#[test]
fn the_engine_of_another_process() {
    let Ok(url) = std::env::var(URL) else {
        return;
    };
    let handler = taking("echo", |l| {
        l.in_flight_messages_max = 32;
        l.batch_messages_max = 4;
    });
    let engine = start(on(&url, handler));
    eprintln!("ready");
    let _ = std::io::stdin().read(&mut [0]);
    engine.drain(LONG).expect("what is in flight ends");
    engine.stop();
}

/// Starts an engine in a process of its own.
fn engine(url: &str) -> Program {
    let program = std::env::current_exe().expect("this program has a path");
    let mut command = Command::new(program);
    command
        .args([
            "--exact",
            "nats_kills::the_engine_of_another_process",
            "--nocapture",
        ])
        .env(URL, url);
    Program::start(&mut command)
}

/// Numbers below `below` that look random and are the same each time.
fn random(round: u64, below: u64) -> u64 {
    (round + 1)
        .wrapping_mul(0x9e37_79b9_7f4a_7c15)
        .rotate_left(29)
        % below
}

/// The point of the round, or none: then it is a matter of chance.
fn point(round: u64) -> Option<Point> {
    let nth = random(round, 50) + 2;
    let point = match round % 4 {
        // After a send, which ends so.
        0 => Point::after(Way::ToServer, "#\r\n"),
        // After its confirmation: the next one has begun.
        1 => Point::before(Way::ToClient, "{\"stream\":\"OUT\""),
        // Before its input's ack.
        2 => Point::before(Way::ToServer, "+ACK"),
        _ => return None,
    };
    Some(point.nth(nth))
}

/// Waits until this engine is where it is to be killed.
fn reach(client: &Client, proxy: &Proxy, round: u64, engine: &Program, reached: &mut u64) {
    if round % 4 != 3 {
        *reached += 1;
        proxy.wait_reached(*reached);
        return;
    }
    engine.wait_for("ready");
    let bytes = proxy.bytes(Way::ToServer) + random(round, 20_000);
    client.until("so many bytes", |_| {
        (proxy.bytes(Way::ToServer) >= bytes).then_some(())
    });
}

#[test]
fn nothing_is_lost_when_engines_are_killed_twenty_times_under_load() {
    let (server, client) = with_input(json!({ "ack_wait": 1_000_000_000u64 }));
    client.create_stream("OUT", &["echo.out"], json!({}));
    let proxy = Proxy::to(server.address());
    let url = server.url_of(proxy.address());
    let mut reached = 0;
    for round in 0..KILLS {
        let first = usize::try_from(round).unwrap() * INPUTS;
        store(&client, INPUTS, |index| format!("{}#", first + index));
        if let Some(point) = point(round) {
            proxy.at(point);
        }
        let mut engine = engine(&url);
        reach(&client, &proxy, round, &engine, &mut reached);
        engine.kill();
        proxy.cut();
        proxy.pass();
    }
    assert_eq!((proxy.reached(), reached), (KILLS / 4 * 3, KILLS / 4 * 3));
    let mut last = engine(&url);
    client.wait_consumed("IN", "D");
    last.close_input();
    assert!(last.ended().success());
    let outputs = payloads(&client, "OUT");
    let all = usize::try_from(KILLS).unwrap() * INPUTS;
    let lost = numbers(all)
        .into_keys()
        .filter(|n| !outputs.contains_key(&format!("{n}#")));
    assert_eq!(lost.collect::<Vec<_>>(), [""; 0]);
    assert!(
        outputs.len() == all && outputs.values().sum::<usize>() > all,
        "some are sent again"
    );
    let floor = client.consumer("IN", "D")["ack_floor"]["stream_seq"].as_u64();
    assert_eq!(floor, Some(all as u64));
}
