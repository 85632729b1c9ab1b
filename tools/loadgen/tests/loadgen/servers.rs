//! A real server.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};

use millpond_tests::nats::{Client, Server, Settings};
use serde_json::json;

use crate::{done, loadgen, n};

/// Answers every request on `in` with its payload and headers, until the server ends.
fn answer(server: &Server) {
    let address: SocketAddr = server.address();
    let stream = TcpStream::connect(address).expect("a ready server accepts connections");
    let mut reader = BufReader::new(stream.try_clone().expect("a socket may be cloned"));
    let say = move |bytes: &[u8]| (&stream).write_all(bytes);
    say(b"CONNECT {\"verbose\":false,\"pedantic\":false,\"headers\":true}\r\nSUB in.> 1\r\nSUB in 2\r\nPING\r\n").expect("the server reads");
    let mut line = String::new();
    while !line.starts_with("PONG") {
        line.clear();
        reader.read_line(&mut line).expect("the server answers");
    }
    std::thread::spawn(move || {
        loop {
            line.clear();
            if reader.read_line(&mut line).unwrap_or(0) == 0 {
                return;
            }
            let words: Vec<&str> = line.split_whitespace().collect();
            let said = match words.as_slice() {
                ["MSG", _, _, reply, total] => {
                    pass(&format!("PUB {reply} {total}\r\n"), total, &mut reader)
                }
                ["HMSG", _, _, reply, head, total] => pass(
                    &format!("HPUB {reply} {head} {total}\r\n"),
                    total,
                    &mut reader,
                ),
                ["PING"] => b"PONG\r\n".to_vec(),
                _ => Vec::new(),
            };
            if say(&said).is_err() {
                return;
            }
        }
    });
}

fn pass(line: &str, total: &str, reader: &mut impl Read) -> Vec<u8> {
    let mut body = vec![0; total.parse::<usize>().expect("a server writes sizes") + 2];
    reader
        .read_exact(&mut body)
        .expect("a server writes whole messages");
    [line.as_bytes(), &body].concat()
}

#[test]
fn requests_come_back_once_and_whole() {
    let server = Server::start();
    answer(&server);
    for more in [
        "",
        "--size 1..20 --header kind:test",
        "--subjects 20 --skew 1.2",
        "--size pareto:100,1.2,16KiB",
    ] {
        let line = format!(
            "request --subject in --rate 1000 --arrivals constant --duration 500ms --warmup 100ms --connections 2 --settle 20s --json --server {} {more}",
            server.url()
        );
        let load = done(&mut loadgen(&line)).ended(0).load();
        let found = [
            "sent",
            "received",
            "lost",
            "duplicated",
            "reordered",
            "corrupted",
            "strange",
        ]
        .map(|key| n(&load, key));
        assert_eq!(found, [600, 600, 0, 0, 0, 0, 0], "{more}");
    }
}

#[test]
fn what_is_published_is_taken_and_observed_on_its_own_subject() {
    let server = Server::start();
    for observe in ["", "--observe a.*"] {
        let line = format!(
            "publish --subject a --subjects 7 --rate 2000 --arrivals constant --duration 500ms --warmup 0s --settle 20s --json --server {} {observe}",
            server.url()
        );
        let load = done(&mut loadgen(&line)).ended(0).load();
        assert_eq!(
            ["sent", "received", "lost", "reordered"].map(|key| n(&load, key)),
            [1_000, 1_000, 0, 0],
            "{observe}"
        );
    }
}

#[test]
fn payloads_of_a_file_come_back_as_they_are() {
    let server = Server::start();
    let folder = millpond_tests::folder::Folder::new();
    let file = folder.path().join("lines");
    std::fs::write(&file, "one\n{\"two\": 2}\n\nfour\n").expect("the folder is there");
    let line = format!(
        "publish --subject a --observe a --rate 400 --arrivals constant --duration 500ms --warmup 0s --settle 20s --json --server {} --payloads {}",
        server.url(),
        file.display()
    );
    let load = done(&mut loadgen(&line)).ended(0).load();
    assert_eq!(
        ["sent", "received", "corrupted", "bytes"].map(|key| n(&load, key)),
        [200, 200, 0, 50 * (3 + 10 + 4)]
    );
}

#[test]
fn a_stream_stores_each_message_and_it_is_observed_too() {
    let server = Server::start();
    let client = Client::connect(&server.url());
    client.create_stream("IN", &["in.>"], json!({}));
    for (observe, stored) in [("", 300), ("--observe in.>", 600)] {
        let line = format!(
            "stream --subject in.a --rate 600 --arrivals constant --duration 500ms --warmup 0s --settle 20s --acks-max 16 --json --server {} {observe}",
            server.url()
        );
        let load = done(&mut loadgen(&line)).ended(0).load();
        assert_eq!(
            ["sent", "received", "lost", "refused"].map(|key| n(&load, key)),
            [300, 300, 0, 0],
            "{observe}"
        );
        assert_eq!(client.stream("IN")["state"]["messages"], stored);
        assert_eq!(
            load["ack_latency"]["count"].as_u64(),
            (!observe.is_empty()).then_some(300)
        );
    }
}

#[test]
fn messages_that_the_server_does_not_take_are_known_before_the_load() {
    const MOST: usize = 1_024;
    let server = Settings::new().max_payload(MOST).start();
    // With a header, and 128 bytes that a stamp may take.
    let room = MOST - 128 - "kind: test".len() - 2;
    for (bytes, code) in [(room, 0), (room + 1, 2)] {
        let line = format!(
            "publish --rate 100 --duration 100ms --warmup 0s --settle 20s --header kind:test --size {bytes} --server {}",
            server.url()
        );
        let ended = done(&mut loadgen(&line)).ended(code);
        if code == 2 {
            ended.says(&["above the 1024", "--size", "max_payload"]);
        }
    }
}

#[test]
fn what_nobody_takes_is_refused() {
    let server = Server::start();
    let run = |mode: &str| {
        format!(
            "{mode} --subject nobody --rate 100 --duration 300ms --warmup 0s --arrivals constant --json --server {}",
            server.url()
        )
    };
    let load = done(&mut loadgen(&run("request"))).ended(6).load();
    assert_eq!(
        ["sent", "received", "refused", "lost"].map(|key| n(&load, key)),
        [30, 0, 30, 0]
    );
    done(&mut loadgen(&run("stream")))
        .ended(11)
        .says(&["no stream stores this subject"]);
}

#[test]
fn a_server_lets_in_who_it_knows_and_says_what_it_does_not_permit() {
    let limited = json!({ "publish": ["a"], "subscribe": ["_INBOX.>"] });
    let server = Settings::new()
        .user("anna", "secret one")
        .limited_user("ben", "two", limited)
        .start();
    let line = |more: &str| format!("publish --rate 100 --duration 200ms --warmup 0s {more}");
    let address = server.address();
    let anna = format!("--server nats://anna:secret%20one@{address}");
    done(&mut loadgen(&line(&anna))).ended(0);
    let by_env = line(&format!(
        "--server nats://{address} --user anna --password env:MILLPOND_TEST_WORD"
    ));
    done(loadgen(&by_env).env("MILLPOND_TEST_WORD", "secret one")).ended(0);
    let nobody = done(&mut loadgen(&line(&format!(
        "--server nats://anna:wrong@{address}"
    ))))
    .ended(9);
    assert!(!nobody.err.contains("wrong@"), "{}", nobody.err);
    let ben = format!("--server nats://ben:two@{address}");
    done(&mut loadgen(&line(&format!("{ben} --subject a")))).ended(0);
    done(&mut loadgen(&line(&format!(
        "{ben} --subject b --settle 20s"
    ))))
    .ended(10)
    .says(&["Permissions Violation"]);
    done(&mut loadgen(&line(&format!(
        "{ben} --subject a --observe b"
    ))))
    .ended(10)
    .says(&["Permissions Violation"]);
    let token = Settings::new().token("let me in").start();
    done(&mut loadgen(&line(&format!(
        "--server nats://let%20me%20in@{}",
        token.address()
    ))))
    .ended(0);
}
