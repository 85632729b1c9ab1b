//! `millpond run`: a shell pipe as a broker.

use std::io::{BufRead, BufReader, Write};

use millpond_tests::guest;

use super::{Done, millpond, run, run_with, start};

#[test]
fn run_writes_what_guests_send_and_nothing_else() {
    let ran = run(
        "echo",
        b"echo one\necho two words\necho\necho {\"a\":\"b\\n\"}",
    )
    .ended(0);
    assert_eq!(
        ran.lines(),
        [
            "echo.out ",
            "echo.out one",
            "echo.out two words",
            "echo.out {\"a\":\"b\\n\"}"
        ]
    );
    ran.says(&["by any name"]);
}

#[test]
fn run_takes_components_of_each_contract() {
    for name in ["echo-incoming", "echo-wasmcloud"] {
        let subject = ["--subject", "echo"];
        let ran = run_with(&subject, &[&guest(name)], b"echo one\necho two\n").ended(0);
        assert_eq!(ran.lines(), ["echo.out one", "echo.out two"], "{name}");
    }
    // Its own question is a message that it sends: a line, and its own next call.
    let asks = b"probe request probe ok 300 out\n";
    let ran = run_with(&["--subject", "probe"], &[&guest("probe-wasmcloud")], asks).ended(0);
    assert_eq!(ran.lines(), ["out error:no reply within 300ms", "probe ok"]);
}

#[test]
fn run_leaves_out_its_input_even_where_guests_send_the_same() {
    let ran = run("echo", b"echo.out same\necho same\necho same\n").ended(0);
    assert_eq!(ran.lines(), ["echo.out same", "echo.out same"]);
    // This guest copies the whole message, headers and all.
    let ran = run("probe-0.2.0-draft", b"probe echo copied\n").ended(0);
    assert_eq!(ran.lines(), ["copied echo copied"]);
}

#[test]
fn runs_make_a_pipe() {
    let first = run("probe-0.2.0-draft", b"probe say echo through two\n").ended(0);
    assert_eq!(first.lines(), ["echo through two"]);
    let second = run("echo", first.out.as_bytes()).ended(0);
    assert_eq!(second.lines(), ["echo.out through two"]);
    let (probe, echo) = (guest("probe-0.2.0-draft"), guest("echo"));
    let both = run_with(&[], &[&probe, &echo], b"probe say echo through two\n").ended(0);
    assert_eq!(both.lines(), ["echo through two", "echo.out through two"]);
}

#[test]
fn run_reads_no_faster_than_components_are_and_loses_nothing() {
    let input: String = (0..30_000).map(|n| format!("echo {n:05}\n")).collect();
    let ran = run("echo", input.as_bytes()).ended(0);
    let expected: Vec<_> = (0..30_000).map(|n| format!("echo.out {n:05}")).collect();
    assert!(ran.lines() == expected, "{} lines came", ran.lines().len());
}

#[test]
fn run_keeps_the_order_of_a_subject_if_asked() {
    let input: String = (0..2_000).map(|n| format!("echo {n}\n")).collect();
    let ran = run_with(
        &["--ordered", "--shards", "2"],
        &[&guest("echo")],
        input.as_bytes(),
    );
    let expected: String = (0..2_000).map(|n| format!("echo.out {n}\n")).collect();
    assert!(ran.ended(0).out == expected);
}

#[test]
fn run_answers_while_its_input_is_open() {
    let mut child = start(millpond().arg("run").arg(guest("echo")));
    let mut stdin = child.stdin.take().expect("it was asked for");
    let mut lines = BufReader::new(child.stdout.take().expect("it was asked for")).lines();
    for n in 0..3 {
        writeln!(stdin, "echo {n}").expect("it reads");
        let line = lines.next().expect("it answers").expect("it writes text");
        assert_eq!(line, format!("echo.out {n}"));
    }
    drop(stdin);
    assert!(child.wait().expect("it was started").success());
}

#[test]
fn run_ends_when_nobody_reads_its_output_though_the_input_is_open() {
    let mut child = start(millpond().arg("run").arg(guest("echo")));
    drop(child.stdout.take());
    let mut stdin = child.stdin.take().expect("it was asked for");
    stdin.write_all(b"echo x\n").expect("it reads");
    let ended = Done::of(child.wait_with_output().expect("it was started"));
    drop(stdin);
    ended.ended(7).says(&["standard output can't be written"]);
}

#[test]
fn run_escapes_what_is_not_one_line_of_text() {
    assert_eq!(
        run("echo", b"echo a\xffb\\n\n").ended(0).out,
        "echo.out a\\xffb\\\\n\n"
    );
    let escaped = |input: &[u8]| {
        run_with(&["--escaped"], &[&guest("echo")], input)
            .ended(0)
            .out
    };
    assert_eq!(
        escaped(b"echo a\\nb\\x00\\\\\n"),
        "echo.out a\\nb\\x00\\\\\n"
    );
    let plain = run_with(&["--escaped"], &[&guest("echo")], b"echo a\\q\n");
    plain.ended(2).says(&["line 1", "is no escape"]);
}

#[test]
fn run_leaves_out_malformed_lines_by_number_and_reason() {
    let input = b"echo 1\n\n a\na..b x\necho 2\n\xff x\n_INBOX.a x\n";
    let ran = run("echo", input).ended(2).says(&[
        "line 2: left out: it is empty",
        "line 3: left out: it begins with a space",
        "line 4: left out: bad subject \"a..b\"",
        "line 6: left out: its subject is not UTF-8",
        "line 7: left out: bad subject",
        "5 of 7 lines",
    ]);
    assert_eq!(ran.lines(), ["echo.out 1", "echo.out 2"]);
}

#[test]
fn run_says_once_for_each_subject_that_nobody_listens() {
    let ran = run("echo", b"x 1\nx 2\necho 3\ny 4\n").ended(0);
    assert_eq!(
        ran.err.matches("nobody listens on").count(),
        2,
        "{}",
        ran.err
    );
    ran.says(&[
        "line 1: nobody listens on \"x\"",
        "line 4: nobody listens on \"y\"",
    ]);
}

#[test]
fn run_reports_messages_that_were_given_up_on() {
    let ran = run("probe-0.2.0-draft", b"probe trap\nprobe say out fine\n");
    let ran = ran
        .ended(6)
        .says(&["given up on", "\"probe-0.2.0-draft\": 1 by trap"]);
    assert_eq!(ran.lines(), ["out fine"]);
}

#[test]
fn run_logs_what_guests_print() {
    let ran = run("sleeper", b"sleeper print hello there; say out done\n").ended(0);
    assert_eq!(ran.lines(), ["out done"]);
    ran.says(&["hello there", "sleeper"]);
}

#[test]
fn run_runs_the_first_documents_example_in_each_language() {
    for name in ["rust-channels", "c-channels", "go-channels"] {
        let ran = run(name, b"c x\n").ended(0);
        assert_eq!(ran.lines(), ["d hello from guest"], "{name}");
    }
}
