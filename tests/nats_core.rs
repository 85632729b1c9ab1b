//! The core of NATS: real servers, real components, and the reference client on the other side.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use millpond::{
    EngineConfig, FaultKind, HandlerConfig, Message, NatsConfig, NatsSource, Overflow, ServerUrl,
    ShedReason,
};
use millpond_tests::PATIENCE;
use millpond_tests::nats::async_nats::ConnectOptions;
use millpond_tests::nats::{Client, Post, Proxy, Server, Settings, header};
use millpond_tests::program::Program;
use serde_json::json;

use crate::harness::{LONG, PROBE, config, count, limited, settled, start, until};

/// A configuration with these handlers, on the server of this URL.
pub(crate) fn at(url: &str, handlers: impl IntoIterator<Item = HandlerConfig>) -> EngineConfig {
    let mut config = config(handlers);
    let urls = ServerUrl::parse_list(url).expect("the server's url is one");
    config.nats = Some(NatsConfig::new(urls));
    config
}

/// This component on the core, in a queue group or for every message.
pub(crate) fn core(name: &str, queue: Option<&str>) -> HandlerConfig {
    on_core(limited(name, |_| {}), queue)
}

pub(crate) fn on_core(handler: HandlerConfig, queue: Option<&str>) -> HandlerConfig {
    handler.nats(NatsSource::Core {
        queue: queue.map(str::to_owned),
    })
}

/// A server that keeps nothing.
pub(crate) fn plain() -> Server {
    Settings::new().without_jetstream().start()
}

fn message(subject: &str, payload: impl AsRef<[u8]>) -> Message {
    Message::new(subject, payload.as_ref()).expect("a good message")
}

fn text(payload: &[u8]) -> &str {
    std::str::from_utf8(payload).expect("these tests send text")
}

/// Questions that may be outstanding: fewer than a handler may have in flight on one shard.
const OUTSTANDING: u64 = 2_048;

/// Asks so many numbered questions, and sees each answered with its number, and no more than once. Speaks by hand: a client
/// library takes longer than what is tested.
pub(crate) fn ask(server: SocketAddr, subject: impl Fn(u64) -> String, questions: u64) {
    let mut stream = TcpStream::connect(server).expect("the server listens");
    stream
        .set_read_timeout(Some(PATIENCE))
        .expect("it is not zero");
    let mut answers = BufReader::with_capacity(1 << 18, stream.try_clone().unwrap());
    let mut out = b"CONNECT {\"verbose\":false}\r\nSUB answers.* 1\r\n".to_vec();
    let (mut asked, mut answered) = (0, 0);
    let mut seen = vec![false; usize::try_from(questions).unwrap()];
    let mut line = Vec::new();
    while answered < questions {
        while asked < questions && asked - answered < OUTSTANDING {
            let (subject, number) = (subject(asked), asked.to_string());
            write!(
                out,
                "PUB {subject} answers.{number} {}\r\n{number}\r\n",
                number.len()
            )
            .unwrap();
            asked += 1;
        }
        stream.write_all(&out).expect("the server reads");
        out.clear();
        loop {
            line.clear();
            let read = answers.read_until(b'\n', &mut line);
            assert!(
                read.is_ok_and(|bytes| bytes > 0),
                "{answered} of {questions} were answered"
            );
            match text(&line).split_once(' ') {
                Some(("MSG", rest)) => {
                    let of = rest.split(' ').next().unwrap();
                    line = of.strip_prefix("answers.").unwrap().as_bytes().to_vec();
                    let mut payload = vec![0; line.len() + 2];
                    answers.read_exact(&mut payload).unwrap();
                    assert_eq!(text(&payload).trim_end(), text(&line));
                    let number: usize = text(&line).parse().unwrap();
                    assert!(
                        !std::mem::replace(&mut seen[number], true),
                        "{number} was answered twice"
                    );
                    answered += 1;
                }
                Some(("INFO", _)) => {}
                _ if line.starts_with(b"PING") => out.extend_from_slice(b"PONG\r\n"),
                _ => panic!("the server says {:?}", text(&line)),
            }
            if answers.buffer().is_empty() {
                break;
            }
        }
    }
}

#[test]
fn a_request_over_the_server_is_answered_by_a_guest() {
    let server = plain();
    let engine = start(at(&server.url(), [core("echo", Some("q"))]));
    let client = Client::connect(&server.url());
    let reply = client.request(Post::new("echo", "hello")).expect("a reply");
    assert_eq!(&reply.payload[..], b"hello");
    assert_eq!(settled(&engine).settled(), 1);
}

#[test]
fn two_engines_of_two_shards_share_a_queue_group_and_handle_each_message_once() {
    let server = plain();
    let engines = [0, 1].map(|_| {
        let config = at(&server.url(), [core("echo", Some("q"))]);
        start(config.shards(2))
    });
    ask(server.address(), |_| "echo".into(), 100_000);
    let acked = engines.each_ref().map(|e| settled(e).handlers[0].acked);
    assert_eq!(acked.iter().sum::<u64>(), 100_000, "{acked:?}");
    assert!(acked.iter().all(|n| *n > 0), "{acked:?}");
}

/// Messages that go through two processes.
const THROUGH_PROCESSES: u64 = 1_000_000;

#[test]
fn two_processes_of_two_shards_share_a_queue_group_and_handle_each_message_once() {
    let server = plain();
    let mut processes = [0, 1].map(|_| {
        let own = std::env::current_exe().expect("a test has a program");
        let mut command = Command::new(own);
        command
            .args(["--exact", "nats_core::a_process_of_two_shards"])
            .args(["--ignored", "--nocapture", "--test-threads=1"])
            .env("MILLPOND_NATS_URL", server.url());
        Program::start(&mut command)
    });
    processes.iter().for_each(|p| drop(p.wait_for("ready")));
    ask(server.address(), |_| "echo".into(), THROUGH_PROCESSES);
    let acked = processes.each_mut().map(|process| {
        process.close_input();
        let line = process.wait_for("acked ");
        assert!(process.ended().success());
        line["acked ".len()..].parse::<u64>().expect("a number")
    });
    assert_eq!(acked.iter().sum::<u64>(), THROUGH_PROCESSES, "{acked:?}");
    assert!(acked.iter().all(|n| *n > 0), "{acked:?}");
}

#[test]
#[ignore = "another test runs it as a process"]
fn a_process_of_two_shards() {
    let Ok(url) = std::env::var("MILLPOND_NATS_URL") else {
        return;
    };
    let engine = start(at(&url, [core("echo", Some("q"))]).shards(2));
    eprintln!("ready");
    // Until the other test closes it.
    std::io::stdin().read_to_end(&mut Vec::new()).unwrap();
    eprintln!("acked {}", settled(&engine).handlers[0].acked);
}

#[test]
fn headers_come_to_a_guest_and_from_it() {
    let server = plain();
    let engine = start(at(&server.url(), [core(PROBE, None)]));
    let client = Client::connect(&server.url());
    let mut said = ["report", "out"].map(|subject| client.subscribe(subject));
    client.publish([Post::new("probe", "metadata report;echo out")
        .header("Name", "one")
        .header("Name", "two")
        .header("Other", "with spaces")]);
    let [report, out] = said.each_mut().map(|s| s.next_message());
    let metadata = text(&report.payload);
    // The client library keeps the order of a name's values, and not that of names.
    for part in ["Name=one,Name=two", "Other=with spaces"] {
        assert!(metadata.contains(part), "{metadata}");
    }
    let headers = out.headers.as_ref().expect("it has headers");
    let names: Vec<_> = headers.get_all("Name").map(|v| v.as_str()).collect();
    assert_eq!(names, ["one", "two"]);
    assert_eq!(header(Some(headers), "Other"), Some("with spaces"));
    assert_eq!(text(&out.payload), "metadata report;echo out");
    settled(&engine);
}

#[test]
fn payloads_are_empty_or_as_large_as_the_server_takes() {
    for max in [1 << 20, 1_000] {
        let server = Settings::new().without_jetstream().max_payload(max).start();
        let engine = start(at(&server.url(), [core("echo", Some("q"))]));
        let client = Client::connect(&server.url());
        for bytes in [0, 1, max] {
            let payload: Vec<u8> = (0..bytes).map(|n| n as u8).collect();
            let reply = client.request(Post::new("echo", payload.clone()));
            let reply = reply.expect("a reply").payload;
            assert!(reply == payload, "{bytes} of {max} bytes came back changed");
        }
        settled(&engine);
    }
}

#[test]
fn a_send_above_the_servers_payload_is_its_messages_fault_and_not_the_connections() {
    let server = Settings::new()
        .without_jetstream()
        .max_payload(1_000)
        .start();
    let handler = limited("echo", |l| {
        l.deliveries_max = 1;
        l.batch_messages_max = 1;
    });
    let engine = start(at(&server.url(), [on_core(handler, Some("q"))]));
    let client = Client::connect(&server.url());
    let mut out = client.subscribe("echo.out");
    for bytes in [1_000, 1_001] {
        engine.publish(message("echo", vec![7; bytes])).unwrap();
    }
    assert_eq!(out.next_message().payload.len(), 1_000);
    client.request(Post::new("echo", "x")).expect("a reply");
    let stats = settled(&engine);
    assert_eq!(
        count(&stats.handlers[0].terminated, FaultKind::Refused),
        1,
        "{:?}",
        stats.handlers
    );
    assert_eq!((stats.handlers[0].acked, stats.connects), (2, 1));
    assert!(out.rest().is_empty());
}

#[test]
fn ten_thousand_subjects_come_by_one_pattern() {
    let server = plain();
    let engine = start(at(
        &server.url(),
        [core("echo", Some("q")).subject("load.*.x")],
    ));
    ask(server.address(), |n| format!("load.{n}.x"), 10_000);
    assert_eq!(settled(&engine).handlers[0].acked, 10_000);
}

#[test]
fn ten_thousand_subjects_come_by_as_many_subscriptions() {
    let server = plain();
    for queue in [Some("q"), None] {
        let handler = (0..10_000).fold(core("echo", queue), |handler, n| {
            handler.subject(format!("load.{n}.x"))
        });
        let engine = start(at(&server.url(), [handler]));
        ask(server.address(), |n| format!("load.{n}.x"), 10_000);
        assert_eq!(settled(&engine).handlers[0].acked, 10_000, "{queue:?}");
    }
}

#[test]
fn every_message_goes_to_one_shard_of_each_engine_that_asks_for_all() {
    let server = plain();
    let engines = [0, 1].map(|_| {
        let config = at(&server.url(), [core("counter", None)]);
        start(config.shards(2))
    });
    let client = Client::connect(&server.url());
    client.publish((0..5_000).map(|n: u32| Post::new("counter", n.to_string())));
    client.settle();
    for engine in &engines {
        assert_eq!(settled(engine).handlers[0].acked, 5_000);
    }
}

#[test]
fn a_message_that_several_patterns_of_a_handler_hear_comes_once() {
    let server = plain();
    let client = Client::connect(&server.url());
    for queue in [None, Some("q")] {
        let handler = ["a.b", "a.*", "*.b", "a.>"]
            .into_iter()
            .fold(core("counter", queue), HandlerConfig::subject);
        let engine = start(at(&server.url(), [handler]));
        client.publish(["a.b", "a.c", "x.b", "a.b.c", "counter"].map(|s| Post::new(s, "")));
        client.settle();
        assert_eq!(settled(&engine).handlers[0].acked, 5, "{queue:?}");
    }
}

#[test]
fn a_guests_update_is_followed_on_the_server() {
    let server = plain();
    let engine = start(at(&server.url(), [core(PROBE, Some("q"))]));
    let client = Client::connect(&server.url());
    let ask =
        |subject: &str, commands: &str| client.request(Post::new(subject, commands.to_owned()));
    ask("other", "reply x").expect_err("nobody hears it yet");
    let mut reports = client.subscribe("report");
    client.publish([Post::new("probe", "update probe,other.*,third report")]);
    assert_eq!(text(&reports.next_message().payload), "ok");
    client.until("the new subjects", |_| {
        ask("other.a", "reply x").ok()?;
        ask("third", "reply x").ok()
    });
    ask("probe", "reply x").expect("it is heard on");
    client.publish([Post::new("probe", "update third report")]);
    assert_eq!(text(&reports.next_message().payload), "ok");
    client.until("the old subjects' end", |_| {
        let ended = |subject| ask(subject, "reply x").is_err_and(|e| e.contains("no responders"));
        (ended("probe") && ended("other.a")).then_some(())
    });
    ask("third", "reply x").expect("it is heard on");
    let stats = settled(&engine);
    assert_eq!(stats.handlers[0].acked, stats.received());
}

#[test]
fn a_guest_that_receives_within_a_call_hears_the_server() {
    let server = plain();
    let handler = on_core(limited(PROBE, |l| l.receive_wait_max = LONG), Some("q"));
    let engine = start(at(&server.url(), [handler]));
    let client = Client::connect(&server.url());
    let mut reports = client.subscribe("report");
    for round in 0..3 {
        client.publish([Post::new("probe", "receive news.* report")]);
        let mut report = None;
        until("the guest hears it", || {
            client.publish([Post::new("news.x", format!("news {round}"))]);
            report = reports.rest().pop();
            report.is_some()
        });
        let report = report.expect("it was waited for");
        assert!(text(&report.payload).starts_with(&format!("some:news {round}")));
    }
    client.until("the end of its subscription", |client| {
        let asked = client.request(Post::new("news.x", ""));
        asked
            .is_err_and(|e| e.contains("no responders"))
            .then_some(())
    });
    assert_eq!(settled(&engine).handlers[0].acked, 3);
}

#[test]
fn the_embedders_own_calls_work_beside_the_server() {
    let server = plain();
    let engine = start(at(&server.url(), [core("echo", Some("q"))]));
    let client = Client::connect(&server.url());
    let mut out = client.subscribe("echo.out");
    let heard = engine.subscribe("echo.out", Overflow::Wait).unwrap();
    let reply = engine.request(&message("echo", "own"), LONG).unwrap();
    assert_eq!(reply.wait().unwrap().payload(), b"own");
    assert_eq!(engine.publish(message("echo", "both")).unwrap(), 1);
    assert_eq!(heard.next(LONG).unwrap().payload(), b"both");
    assert_eq!(text(&out.next_message().payload), "both");
    client.publish([Post::new("echo", "from the server")]);
    assert_eq!(heard.next(LONG).unwrap().payload(), b"from the server");
    assert_eq!(text(&out.next_message().payload), "from the server");
    assert_eq!(engine.publish(message("nobody", "")).unwrap(), 0);
    assert_eq!(settled(&engine).handlers[0].acked, 3);
    assert!(out.rest().is_empty() && heard.try_next().is_none());
}

#[test]
fn what_is_above_the_handlers_room_is_shed_and_counted() {
    let server = plain();
    let handler = limited(PROBE, |l| {
        l.receive_wait_max = LONG;
        l.suspended_calls_max = 1;
        l.batch_messages_max = 1;
        l.in_flight_messages_max = 4;
    });
    let engine = start(at(&server.url(), [on_core(handler, Some("q"))]));
    let client = Client::connect(&server.url());
    client.publish([Post::new("probe", "receive release report")]);
    until("the call waits", || engine.stats().calls_suspended == 1);
    client.publish((0..10).map(|_| Post::new("probe", "ok")));
    until("all have come", || engine.stats().received() == 11);
    let stats = engine.stats();
    assert_eq!(stats.in_flight, 4);
    assert_eq!(stats.handlers[0].shed, [(ShedReason::Full, 7)]);
    assert_eq!(stats.received(), stats.settled() + stats.in_flight);
    client.publish([Post::new("release", "")]);
    let stats = settled(&engine);
    assert_eq!((stats.handlers[0].acked, stats.settled()), (4, 11));
}

#[test]
fn under_a_flood_each_message_is_handled_or_counted_as_shed() {
    let server = plain();
    let handler = limited("counter", |l| {
        l.in_flight_messages_max = 64;
        l.latency_budget = Duration::from_millis(1);
    });
    let engine = start(at(&server.url(), [on_core(handler, Some("q"))]).shards(2));
    let client = Client::connect(&server.url());
    client.publish((0..50_000).map(|_| Post::new("counter", "x")));
    client.settle();
    let stats = settled(&engine);
    assert_eq!(stats.received(), 50_000);
    assert_eq!(
        stats.handlers[0].acked + stats.handlers[0].shed_total(),
        50_000
    );
}

#[test]
fn a_server_that_is_restarted_twenty_times_under_load_is_found_again_each_time() {
    let mut server = plain();
    let url = server.url();
    let mut config = at(&url, [core("echo", Some("q")), core("counter", None)]);
    let nats = config.nats.as_mut().expect("it has servers");
    nats.reconnect_delay_max = Duration::from_millis(100);
    let engine = start(config);
    let client = Client::connect(&url);
    let ended = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let load = Client::connect(&url);
        let (ended, engine) = (&ended, &engine);
        scope.spawn(move || {
            while !ended.load(Ordering::Relaxed) {
                load.wait(async {
                    for _ in 0..50 {
                        // What is lost with the server is lost.
                        let _ = load.inner().publish("counter", "x".into()).await;
                    }
                    let _ = load.inner().flush().await;
                });
                while engine.stats().in_flight > 1_000 {
                    std::thread::yield_now();
                }
            }
        });
        for round in 1..=20 {
            let before = engine.stats();
            if round % 2 == 0 {
                server.kill();
            }
            server.restart();
            until("it connects again", || {
                engine.stats().connects > before.connects
            });
            client.until("a reply", |c| c.request(Post::new("echo", "x")).ok());
            until("the load goes on", || {
                engine.stats().handlers[1].acked > before.handlers[1].acked
            });
        }
        ended.store(true, Ordering::Relaxed);
    });
    let stats = settled(&engine);
    assert!(stats.connects >= 21, "{}", stats.connects);
    assert_eq!(stats.handlers[1].terminated_total(), 0);
}

#[test]
fn what_a_call_holds_when_the_connection_is_lost_is_sent_by_the_next_call() {
    let server = plain();
    let proxy = Proxy::to(server.address());
    let handler = limited(PROBE, |l| l.receive_wait_max = Duration::from_millis(200));
    let url = server.url_of(proxy.address());
    let engine = start(at(&url, [on_core(handler, Some("q"))]));
    let client = Client::connect(&server.url());
    let mut out = client.subscribe("out");
    // The call could end before the connection is lost; then it is tried again.
    let lost = (0..20).find(|round| {
        client.publish([Post::new(
            "probe",
            format!("say out {round};receive never report"),
        )]);
        until("the call waits", || engine.stats().calls_suspended == 1);
        proxy.stall();
        proxy.cut();
        until("the connection is lost", || engine.stats().connected == 0);
        until("the call ends", || {
            let stats = engine.stats();
            stats.handlers[0].retried > 0 || stats.in_flight == 0
        });
        proxy.pass();
        // Who is connected may not have said yet what it hears.
        client.until("a question is answered", |client| {
            client.request(Post::new("probe", "reply here")).ok()
        });
        engine.stats().handlers[0].unsent > 0
    });
    let lost = lost.expect("one call lost its connection");
    while text(&out.next_message().payload) != lost.to_string() {}
    let stats = settled(&engine);
    assert_eq!(stats.handlers[0].terminated_total(), 0);
    assert!(out.rest().is_empty());
}

#[test]
fn no_message_is_given_up_on_since_its_sends_could_not_leave() {
    let server = plain();
    let proxy = Proxy::to(server.address());
    let url = server.url_of(proxy.address());
    let engine = start(at(&url, [core(PROBE, Some("q"))]));
    let client = Client::connect(&server.url());
    let mut out = client.subscribe("out");
    proxy.stall();
    proxy.cut();
    until("the connection is lost", || engine.stats().connected == 0);
    engine.publish(message("probe", "say out late")).unwrap();
    until("it was called more often than a poison message", || {
        let handler = &engine.stats().handlers[0];
        assert_eq!(handler.terminated_total(), 0, "{handler:?}");
        handler.calls > 6
    });
    proxy.pass();
    assert_eq!(text(&out.next_message().payload), "late");
    assert_eq!(settled(&engine).handlers[0].acked, 1);
    assert!(out.rest().is_empty());
}

#[test]
fn subscriptions_that_find_no_room_on_a_stalled_connection_are_made_when_there_is() {
    const CHANNELS: usize = 1_000;
    let server = plain();
    let proxy = Proxy::to(server.address());
    let url = server.url_of(proxy.address());
    let engine = start(at(&url, [core(PROBE, Some("q"))]));
    proxy.stall();
    // The connection is full when a send finds no room in it.
    let large = format!("say out {}", "x".repeat(500_000));
    until("a send finds no room", || {
        let stats = engine.stats();
        if stats.in_flight == 0 {
            engine.publish(message("probe", &large)).unwrap();
        }
        stats.handlers[0].unsent > 0
    });
    // Their lines are 900 KB. Less than one such send is free, and the 64 KiB that are kept free for lines.
    let channel = |n: usize| format!("{}.{n}", "c".repeat(900));
    let channels: Vec<_> = (0..CHANNELS).map(channel).collect();
    let update = format!("update probe,{} updated", channels.join(","));
    let updated = engine.subscribe("updated", Overflow::Wait).unwrap();
    engine.publish(message("probe", update)).unwrap();
    let told = updated.next(LONG).expect("the guest's update is taken");
    assert_eq!(told.payload(), b"ok");
    assert_eq!(engine.stats().connects, 1, "it is stalled, and not lost");
    proxy.pass();
    let client = Client::connect(&server.url());
    for n in [0, CHANNELS / 2, CHANNELS - 1] {
        until("the subscription is made", || {
            client.request(Post::new(channel(n), "reply x")).is_ok()
        });
    }
    assert_eq!(engine.stats().connects, 1);
}

#[test]
fn a_drain_answers_all_that_was_accepted_before_it() {
    let server = plain();
    let engine = start(at(&server.url(), [core("echo", Some("q"))]).shards(2));
    let client = Client::connect(&server.url());
    let mut answers = client.subscribe("answers");
    client.wait(async {
        for n in 0..5_000 {
            let published =
                client
                    .inner()
                    .publish_with_reply("echo", "answers", n.to_string().into());
            published.await.unwrap();
        }
        client.inner().flush().await.unwrap();
    });
    client.settle();
    settled(&engine);
    engine.stop();
    let mut numbers: Vec<u32> = answers
        .rest()
        .iter()
        .map(|m| text(&m.payload).parse().unwrap())
        .collect();
    numbers.sort_unstable();
    assert!(
        numbers.iter().copied().eq(0..5_000),
        "{} answers",
        numbers.len()
    );
    let late = client.request(Post::new("echo", "late"));
    assert!(late.unwrap_err().contains("no responders"));
}

#[test]
fn a_drain_ends_when_the_server_has_all_that_was_said() {
    let server = plain();
    let proxy = Proxy::to(server.address());
    let url = server.url_of(proxy.address());
    let engine = start(at(&url, [core(PROBE, Some("q"))]));
    let client = Client::connect(&server.url());
    let mut out = client.subscribe("out");
    proxy.stall();
    engine.publish(message("probe", "say out last")).unwrap();
    until("it is handled", || engine.stats().handlers[0].acked == 1);
    let short = Duration::from_millis(50);
    engine
        .drain(short)
        .expect_err("the server has not heard it");
    proxy.pass();
    settled(&engine);
    engine.stop();
    let rest = out.rest();
    assert_eq!(rest.len(), 1);
    assert_eq!(text(&rest[0].payload), "last");
}

#[test]
fn a_drain_ends_though_the_connection_is_lost_meanwhile() {
    let server = plain();
    let proxy = Proxy::to(server.address());
    let handler = limited(PROBE, |l| l.receive_wait_max = Duration::from_millis(200));
    let url = server.url_of(proxy.address());
    let engine = start(at(&url, [on_core(handler, Some("q"))]));
    let client = Client::connect(&server.url());
    let mut out = client.subscribe("out");
    client.publish([Post::new("probe", "receive never report;say out done")]);
    until("the call waits", || engine.stats().calls_suspended == 1);
    proxy.stall();
    engine.drain(Duration::ZERO).expect_err("the call waits");
    proxy.cut();
    proxy.pass();
    until("it connects again", || engine.stats().connects == 2);
    settled(&engine);
    assert_eq!(text(&out.next_message().payload), "done");
    let late = client.request(Post::new("probe", "ok"));
    assert!(late.unwrap_err().contains("no responders"));
}

#[test]
fn a_server_that_says_nothing_is_given_up_and_found_again() {
    let server = plain();
    let proxy = Proxy::to(server.address());
    let mut config = at(&server.url_of(proxy.address()), [core("echo", Some("q"))]);
    let nats = config.nats.as_mut().expect("it has servers");
    nats.silence_max = Duration::from_millis(300);
    let engine = start(config);
    let client = Client::connect(&server.url());
    client.request(Post::new("echo", "before")).unwrap();
    proxy.stall();
    until("it is given up", || engine.stats().connected == 0);
    proxy.pass();
    client.until("a reply", |c| c.request(Post::new("echo", "after")).ok());
    let stats = settled(&engine);
    assert!(stats.connects >= 2 && stats.handlers[0].acked >= 2);
}

#[test]
fn an_engine_that_has_started_hears_what_is_published_then() {
    let server = plain();
    let client = Client::connect(&server.url());
    for round in 1..=3 {
        let handlers = [core("echo", Some("q")), core(PROBE, None)];
        let engine = start(at(&server.url(), handlers).shards(2));
        let subjects = [("echo", "x"), ("probe", "reply x")];
        for (subject, payload) in subjects {
            let reply = client.request(Post::new(subject, payload));
            assert_eq!(text(&reply.expect("a reply").payload), "x", "{round}");
        }
        let stats = settled(&engine);
        assert_eq!((stats.connected, stats.connects), (2, 2));
    }
}

#[test]
fn what_the_server_refuses_later_is_counted_and_the_rest_goes_on() {
    let server = Settings::new()
        .without_jetstream()
        .user("all", "a")
        .limited_user(
            "some",
            "s",
            json!({ "publish": { "deny": "secret" }, "subscribe": { "deny": "secret" } }),
        )
        .start();
    let url = server.url().replace("://", "://some:s@");
    let engine = start(at(&url, [core(PROBE, Some("q"))]));
    let all = ConnectOptions::with_user_and_password("all".into(), "a".into());
    let client = Client::connect_as(&server.url(), all).expect("it may");
    let mut secret = client.subscribe("secret");
    client.publish([Post::new("probe", "update probe,secret,open secret")]);
    until("both are refused", || engine.stats().refusals == 2);
    client.request(Post::new("probe", "reply x")).unwrap();
    client.request(Post::new("open", "reply x")).unwrap();
    assert!(secret.rest().is_empty());
    let stats = settled(&engine);
    assert_eq!((stats.handlers[0].acked, stats.connects), (3, 1));
    assert_eq!(stats.handlers[0].refusals, 2);
}

#[test]
fn a_call_that_receives_while_a_drain_waits_for_it_still_hears_the_server() {
    let server = plain();
    let handler = on_core(limited(PROBE, |l| l.receive_wait_max = LONG), Some("q"));
    let engine = start(at(&server.url(), [handler]));
    let client = Client::connect(&server.url());
    client.publish([Post::new("probe", "receive go report")]);
    until("the call waits", || engine.stats().calls_suspended == 1);
    let drained = engine.drain(Duration::from_millis(20));
    drained.expect_err("the call waits");
    until("the drain ends", || {
        client.publish([Post::new("go", "")]);
        engine.drain(Duration::from_millis(20)).is_ok()
    });
    assert_eq!(settled(&engine).handlers[0].acked, 1);
}
