//! `millpond run` on a real server: ready, a signal, the end; and what each trouble at the start ends with.

use std::process::Command;

use millpond_tests::folder::Folder;
use millpond_tests::guest;
use millpond_tests::nats::async_nats::ConnectOptions;
use millpond_tests::nats::{Certificates, Client, Pair, Post, Server, Settings};
use millpond_tests::program::{Program, Signal};
use serde_json::json;

use super::{done, millpond};

/// The program, to run this guest on a server.
pub(super) fn run_on(url: &str, guest_name: &str, arguments: &[&str]) -> Command {
    let mut command = millpond();
    command
        .arg("run")
        .arg(guest(guest_name))
        .args(["--nats", url, "--shards", "1"]);
    command.args(arguments);
    command
}

#[test]
fn it_says_ready_once_handles_messages_and_ends_well_at_a_signal() {
    let server = Server::start();
    let client = Client::connect(&server.url());
    for signal in [Signal::TERM, Signal::INT] {
        let mut program = Program::start(&mut run_on(
            &server.url(),
            "echo",
            &["--allow-publish", "echo.out"],
        ));
        program.wait_for("ready");
        let mut out = client.subscribe("echo.out");
        client.settle();
        client.publish((0..100).map(|n: u32| Post::new("echo", n.to_string())));
        assert_eq!(out.collect(100).len(), 100);
        program.signal(signal);
        assert_eq!(
            program.ended().code(),
            Some(0),
            "{}",
            program.err().so_far().join("\n")
        );
        let lines = program.err().so_far();
        assert_eq!(
            lines.iter().filter(|line| *line == "ready").count(),
            1,
            "{lines:?}"
        );
    }
}

#[test]
fn a_handler_that_may_send_to_itself_is_warned_of() {
    let server = Settings::new().without_jetstream().start();
    for (subject, warned) in [("echo.>", true), ("echo.in", false)] {
        let arguments = ["--subject", subject, "--allow-publish", "echo.out"];
        let mut program = Program::start(&mut run_on(&server.url(), "echo", &arguments));
        program.wait_for("ready");
        program.signal(Signal::TERM);
        assert_eq!(program.ended().code(), Some(0));
        let lines = program.err().so_far();
        let told = lines
            .iter()
            .any(|l| l.contains("may send to what it hears") && l.contains("echo.>"));
        assert_eq!(told, warned, "{lines:#?}");
    }
}

#[test]
fn it_runs_components_of_each_contract() {
    let server = Server::start();
    let client = Client::connect(&server.url());
    client.create_stream("ORDERS", &["orders"], serde_json::json!({}));
    client.create_consumer("ORDERS", "mill", serde_json::json!({}));
    client.store_all([Post::new("orders", "say echo.out from a stream")]);
    let mut out = client.subscribe("echo.out");
    client.settle();
    for name in ["echo-incoming", "echo-wasmcloud"] {
        let arguments = ["--allow-publish", "echo.out", "--subject", "echo"];
        let mut program = Program::start(&mut run_on(&server.url(), name, &arguments));
        program.wait_for("ready");
        client.publish([Post::new("echo", name)]);
        assert_eq!(&out.next_message().payload[..], name.as_bytes());
        program.signal(Signal::TERM);
        assert_eq!(program.ended().code(), Some(0), "{name}");
    }
    // From a stream they need no subjects.
    let arguments = [
        "--allow-publish",
        "echo.out",
        "--stream",
        "ORDERS",
        "--durable",
        "mill",
    ];
    let mut program = Program::start(&mut run_on(&server.url(), "probe-wasmcloud", &arguments));
    program.wait_for("ready");
    assert_eq!(&out.next_message().payload[..], b"from a stream");
    program.signal(Signal::TERM);
    assert_eq!(program.ended().code(), Some(0));
}

#[test]
fn a_guest_can_not_end_it() {
    let server = Server::start();
    let client = Client::connect(&server.url());
    let mut program = Program::start(&mut run_on(
        &server.url(),
        "probe-0.2.0-draft",
        &["--allow-publish", "millpond.>", "--allow-publish", "said"],
    ));
    program.wait_for("ready");
    let mut said = client.subscribe("said");
    client.settle();
    for _ in 0..3 {
        client.publish([Post::new("probe", "say millpond.end x;say said x")]);
        said.next_message();
    }
    program.signal(Signal::TERM);
    assert_eq!(program.ended().code(), Some(0));
}

/// Starts the program with a guest that sleeps in a call for longer than any test, and asks it to end.
fn asked_to_end_in_a_call(server: &Server, arguments: &[&str]) -> Program {
    let client = Client::connect(&server.url());
    let mut command = run_on(&server.url(), "sleeper", arguments);
    let long = ["--deadline", "3600s", "--wall-deadline", "3600s"];
    let program = Program::start(command.args(long));
    program.wait_for("ready");
    client.publish([Post::new("sleeper", "print begun; sleep 3000000")]);
    program.wait_for("begun");
    program.signal(Signal::TERM);
    program.wait_for("finishing what is in flight");
    program
}

#[test]
fn a_second_signal_ends_it_at_once_and_says_so() {
    let server = Server::start();
    let mut program = asked_to_end_in_a_call(&server, &[]);
    program.signal(Signal::TERM);
    assert_eq!(program.ended().code(), Some(12));
    let error = "error: a second signal (SIGTERM) came with 1 message";
    assert!(
        program
            .err()
            .so_far()
            .iter()
            .any(|line| line.starts_with(error))
    );
}

#[test]
fn what_is_in_flight_has_a_bounded_time_at_the_end() {
    let server = Server::start();
    let mut program = asked_to_end_in_a_call(&server, &["--drain-wait-max", "200ms"]);
    assert_eq!(program.ended().code(), Some(12));
    let error = "error: drain_wait_max (200ms) is over with 1 message";
    assert!(
        program
            .err()
            .so_far()
            .iter()
            .any(|line| line.starts_with(error))
    );
}

/// A file with a handler of a stream, whose consumer is made; its server, which wants a password, and a client of it.
struct WholeFile {
    folder: Folder,
    text: String,
    client: Client,
    _server: Server,
}

impl WholeFile {
    fn new() -> Self {
        let server = Settings::new().user("mill", "hunter2").start();
        let login = ConnectOptions::with_user_and_password("mill".into(), "hunter2".into());
        let client = Client::connect_as(&server.url(), login).expect("the password is right");
        client.create_stream("ORDERS", &["orders.*"], json!({}));
        let folder = Folder::new();
        let copy = folder.path().join("echo.wasm");
        std::fs::copy(guest("echo"), copy).expect("the folder was made for this test");
        let text = format!(
            "[engine]\nshards = 1\n[nats]\nurls = [{:?}]\nuser = \"mill\"\n\
             password = {{ env = \"MILLPOND_TEST_PASSWORD\" }}\n[[handler]]\ncomponent = \"echo.wasm\"\n\
             stream = \"ORDERS\"\ndurable = \"mill\"\nallow_publish = [\"echo.out\"]\ncreate.ack_wait = \"30s\"\n",
            server.url()
        );
        Self {
            folder,
            text,
            client,
            _server: server,
        }
    }

    /// The program with this file, changed so, and this password in its environment.
    fn command(&self, change: (&str, &str), password: &str, arguments: &[&str]) -> Command {
        let file = self.folder.path().join("millpond.toml");
        std::fs::write(&file, self.text.replace(change.0, change.1)).expect("the folder is there");
        let mut command = millpond();
        command.env("MILLPOND_TEST_PASSWORD", password);
        command.args(arguments).arg(file);
        command
    }
}

#[test]
fn a_file_is_checked_with_its_servers() {
    let file = WholeFile::new();
    let check = |change, password| {
        let mut command = file.command(change, password, &["check", "--connect"]);
        done(&mut command, b"")
    };
    let as_it_is = ("", "");
    let good = check(as_it_is, "hunter2")
        .ended(0)
        .says(&["it will be made"]);
    assert!(good.out.contains("it answers"), "{}", good.out);
    check(as_it_is, "hunter3").ended(9).says(&["error: "]);
    // The consumer would be made, and not its stream.
    let elsewhere = ("\"ORDERS\"", "\"OTHERS\"");
    check(elsewhere, "hunter2")
        .ended(11)
        .says(&["\"OTHERS\"", "no such stream"]);
    // What is to be made does not keep the rest from being looked at.
    let letters = (
        "create.ack_wait = \"30s\"\n",
        "create.ack_wait = \"30s\"\ndead_letter = \"dead\"\n",
    );
    check(letters, "hunter2")
        .ended(11)
        .says(&["dead letters to \"dead\""]);
    let own = "create.stream = { subjects = [\"others.*\", \"dead\"] }\ndead_letter = \"dead\"\n";
    let both = own.to_owned() + "create.filter_subjects = [\"others.*\"]\n";
    let made = (
        "stream = \"ORDERS\"\ndurable = \"mill\"\nallow_publish = [\"echo.out\"]\ncreate.ack_wait = \"30s\"\n",
        &*("stream = \"OTHERS\"\ndurable = \"mill\"\n".to_owned() + &both),
    );
    check(made, "hunter2")
        .ended(0)
        .says(&["no such stream as \"OTHERS\"; it will be made"]);
    file.client
        .api("STREAM.INFO.OTHERS", &json!({}))
        .expect_err("nothing was made");
    let existing = ("create.ack_wait = \"30s\"\n", "");
    check(existing, "hunter2")
        .ended(11)
        .says(&["\"mill\"", "no such consumer"]);
    // One that is there and is another.
    let pulled = json!({ "ack_policy": "explicit", "ack_wait": 10_000_000_000u64 });
    file.client.create_consumer("ORDERS", "mill", pulled);
    check(as_it_is, "hunter2").ended(11).says(&["ack_wait"]);
}

#[test]
fn a_file_runs_and_a_wrong_password_ends_it() {
    let file = WholeFile::new();
    let run = |password| file.command(("", ""), password, &["run", "--config"]);
    done(&mut run("hunter3"), b"").ended(9).says(&["error: "]);
    let mut program = Program::start(&mut run("hunter2"));
    program.wait_for("ready");
    let mut out = file.client.subscribe("echo.out");
    file.client.settle();
    for n in 0..10 {
        let stored = file.client.store(Post::new("orders.new", n.to_string()));
        stored.expect("the stream is there");
    }
    assert_eq!(out.collect(10).len(), 10);
    file.client.wait_consumed("ORDERS", "mill");
    program.signal(Signal::TERM);
    assert_eq!(program.ended().code(), Some(0));
    let lines = program.err().so_far();
    assert!(lines.iter().all(|line| !line.contains("hunter2")));
}

#[test]
fn no_log_line_has_a_secret_whatever_is_logged() {
    let file = WholeFile::new();
    let with_env = "durable = \"mill\"\nenv = { KEY = { env = \"MILLPOND_TEST_PASSWORD\" } }";
    let mut command = file.command(
        ("durable = \"mill\"", with_env),
        "hunter2",
        &["run", "--config"],
    );
    let mut program = Program::start(command.env("RUST_LOG", "trace"));
    // Its log lines have the word too.
    file.client.until("ready", |_| {
        let lines = program.err().so_far();
        lines.iter().any(|line| line == "ready").then_some(())
    });
    let stored = file.client.store(Post::new("orders.new", "x"));
    stored.expect("the stream is there");
    file.client.wait_consumed("ORDERS", "mill");
    program.signal(Signal::TERM);
    assert_eq!(program.ended().code(), Some(0));
    let lines = program.err().so_far();
    assert!(lines.len() > 20, "it logs what it does");
    let told = lines.iter().find(|line| line.contains("hunter2"));
    assert_eq!(told, None);
}

/// That a run on this server ends with this code and says this.
#[track_caller]
fn ends(url: &str, arguments: &[&str], code: i32, says: &[&str]) {
    done(&mut run_on(url, "echo", arguments), b"")
        .ended(code)
        .says(says);
}

#[test]
fn what_a_server_does_not_permit_has_an_exit_code_of_its_own() {
    let denied = json!({ "subscribe": { "deny": ["echo", "$JS.API.>"] }, "publish": { "deny": "$JS.API.>" } });
    let server = Settings::new().limited_user("some", "s", denied).start();
    let url = server.url().replace("://", "://some:s@");
    let stream = ["--stream", "IN", "--durable", "D"];
    ends(&url, &stream, 10, &["error: ", "may not"]);
    ends(
        &url,
        &[],
        10,
        &["error: ", "handler \"echo\"", "Permissions Violation"],
    );
}

#[test]
fn each_fault_of_a_certificate_ends_the_program_with_its_reason() {
    let files = Certificates::new();
    let ca = |pair: &Pair| {
        pair.certificate
            .to_str()
            .expect("a path of ours")
            .to_owned()
    };
    let (good, other) = (ca(&files.authority), ca(&files.other_authority));
    let of = |pair: &Pair| Settings::new().without_jetstream().tls(pair).start();
    let expired = of(&files.expired);
    ends(
        &expired.url(),
        &["--tls-ca", &good],
        9,
        &["error: ", "has expired"],
    );
    let elsewhere = of(&files.other_host);
    ends(
        &elsewhere.url(),
        &["--tls-ca", &good],
        9,
        &["not for \"127.0.0.1\""],
    );
    let server = of(&files.server);
    ends(&server.url(), &["--tls-ca", &other], 9, &["unknown issuer"]);
    ends(
        &server.url(),
        &["--tls-ca", "/no/such.pem"],
        9,
        &["/no/such.pem"],
    );
    let strict = Settings::new()
        .without_jetstream()
        .tls_for(&files.server, &files.authority)
        .start();
    ends(
        &strict.url(),
        &["--tls-ca", &good],
        9,
        &["refused the client certificate"],
    );
}

#[test]
fn nobody_there_and_no_stream_have_exit_codes_of_their_own() {
    let gone = run_on("nats://127.0.0.1:1", "echo", &["--ready-wait-max", "300ms"]).output();
    let gone = gone.expect("the program exists");
    assert_eq!(
        gone.status.code(),
        Some(8),
        "{}",
        String::from_utf8_lossy(&gone.stderr)
    );
    let server = Server::start();
    let none = run_on(
        &server.url(),
        "echo",
        &["--stream", "NONE", "--durable", "mill"],
    )
    .output();
    let none = none.expect("the program exists");
    assert_eq!(
        none.status.code(),
        Some(11),
        "{}",
        String::from_utf8_lossy(&none.stderr)
    );
}
