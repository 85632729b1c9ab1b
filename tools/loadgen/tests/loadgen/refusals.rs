//! Arguments that can't be used: one clear error, and exit code 2.

use std::net::TcpListener;
use std::process::Stdio;

use crate::{Done, done, loadgen};

/// Arguments, and what is said of them.
const BAD: &[(&str, &[&str])] = &[
    ("request --rate 0", &["--rate", "messages a second"]),
    ("request --rate fast", &["--rate", "20k"]),
    ("request --duration 5", &["--duration", "such as 1.5s"]),
    ("request --duration 0s", &["--duration", "above 0"]),
    ("request --slo p99", &["--slo", "p99=5ms"]),
    ("request --find-max", &["--slo"]),
    (
        "request --find-max --slo p99=1ms --rate 9M --rate-max 1M",
        &["--rate-max"],
    ),
    (
        "request --find-max --slo p99=1ms --precision 0",
        &["--precision"],
    ),
    ("request --sweep 1..5", &["--sweep", "10k..200k*1.5"]),
    ("request --sweep 1k,2k --rate 5", &["--sweep", "--rate"]),
    ("request --size 1GB", &["--size", "lognormal"]),
    ("request --size 10 --stamp payload", &["--stamp header"]),
    (
        "request --payloads /nowhere/at/all",
        &["--payloads /nowhere/at/all", "can't be read"],
    ),
    ("request --header nonsense", &["--header", "KEY: VALUE"]),
    (
        "request --header loadgen:mine",
        &["--header", "writes this header itself"],
    ),
    ("request --subject a..b", &["--subject", "a..b"]),
    ("request --subject a.*", &["--subject"]),
    ("publish --observe a.>.b", &["--observe"]),
    ("request --subjects 0", &["--subjects"]),
    ("request --skew 11", &["--skew", "from 0 to 10"]),
    ("request --connections 65", &["--connections"]),
    (
        "request --embedded x.wasm --memory-total 1GB",
        &["--memory-total", "KiB, MiB or GiB"],
    ),
    ("request --memory-total 1GiB", &["--embedded"]),
    (
        "request --connections 5 --window 2",
        &["--window 2", "5 connections"],
    ),
    ("publish --window 5", &["--window", "--observe"]),
    ("publish --embedded x.wasm", &["--observe"]),
    ("stream --embedded x.wasm", &["no streams"]),
    ("publish --sink --observe a", &["--sink", "--observe"]),
    ("request --server tls://", &["--server", "tls://HOST:PORT"]),
    ("request --server a,u:hunter2@", &["--server", "no host"]),
    (
        "request --nkey /nowhere",
        &["--nkey", "/nowhere", "can't be read"],
    ),
    (
        "request --creds /nowhere",
        &["--creds", "/nowhere", "can't be read"],
    ),
    ("request --creds a --nkey b", &["--creds", "--nkey"]),
    ("request --creds a --token env:B", &["--creds", "--token"]),
    (
        "request --tls-ca /nowhere",
        &["--tls-ca /nowhere", "can't be read"],
    ),
    (
        "request --tls-ca /dev/null",
        &["--tls-ca /dev/null", "no certificate"],
    ),
    ("request --tls-cert a", &["--tls-key"]),
    ("request --tls-key a", &["--tls-cert"]),
    (
        "request --embedded x.wasm --tls-ca a",
        &["--embedded", "--tls-ca"],
    ),
    ("publish --sink --creds a", &["--sink", "--creds"]),
    (
        "request --server http://a",
        &["--server", "nats://HOST:PORT"],
    ),
    ("request --user a", &["--password"]),
    ("request --user a --password hunter2", &["env:NAME"]),
    (
        "request --token env:MILLPOND_NO_SUCH_VARIABLE",
        &["MILLPOND_NO_SUCH_VARIABLE"],
    ),
    ("request --json --csv", &["--json", "--csv"]),
    ("request --fail-on nothing,lost", &["stands alone"]),
    ("request --fail-on sometimes", &["--fail-on", "reordered"]),
    ("nonsense", &["nonsense"]),
];

#[test]
fn bad_arguments_are_one_clear_error() {
    for (line, words) in BAD {
        let ended = done(&mut loadgen(line)).ended(2).says(words);
        assert_eq!(
            ended.err.matches("error:").count(),
            1,
            "{line}: {}",
            ended.err
        );
        assert!(!ended.err.contains("hunter2") && ended.out.is_empty());
    }
}

#[test]
fn files_that_can_not_be_written_are_known_before_the_load() {
    for flag in ["--html", "--hgrm"] {
        let ended = done(&mut loadgen(&format!(
            "publish --sink {flag} /nowhere/report"
        )));
        ended.ended(7).says(&["/nowhere/report can't be written"]);
    }
}

#[test]
fn whoever_reads_no_report_is_told_by_the_exit_code() {
    let mut command =
        loadgen("publish --sink --rate 100 --duration 100ms --warmup 0s --settle 20s");
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program exists");
    // Nobody reads.
    drop(child.stdout.take());
    let ended = Done::of(child.wait_with_output().expect("it was started"));
    ended
        .ended(7)
        .says(&["standard output can't be written", "closed"]);
}

#[test]
fn a_server_that_is_not_there_is_unreachable() {
    // Nobody listens on a port that was just given back.
    let listener = TcpListener::bind("127.0.0.1:0").expect("there is a free port");
    let address = listener.local_addr().expect("it listens");
    drop(listener);
    let ended = done(&mut loadgen(&format!("request --server nats://{address}")));
    ended
        .ended(8)
        .says(&["can't be reached", &address.to_string(), "--server"]);
}

#[test]
fn help_has_exit_codes_and_the_readme_has_the_same() {
    let help = done(&mut loadgen("--help")).ended(0).out;
    for command in ["publish", "request", "stream", "sink"] {
        let of_command = done(&mut loadgen(&format!("{command} --help")))
            .ended(0)
            .out;
        assert!(of_command.contains("Exit codes:\n"), "{of_command}");
    }
    let mut rows = 0;
    for row in include_str!("../../README.md").lines() {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        if let [_, code, why, _] = cells.as_slice()
            && code.parse::<u8>().is_ok()
        {
            let told = help
                .lines()
                .find_map(|line| line.trim_start().strip_prefix(&format!("{code}  ")));
            assert_eq!(told, Some(*why), "{row}");
            rows += 1;
        }
    }
    assert_eq!(rows, 14);
}
