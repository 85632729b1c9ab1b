//! The program `millpond`, driven as a user drives it: what it prints, and how it ends.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use millpond_tests::folder::Folder;
use millpond_tests::guest;
use serde_json::Value;

/// The program, which lies beside the tests' own folder.
fn millpond() -> Command {
    let tests = std::env::current_exe().expect("a running program has a path");
    let folder = tests.parent().and_then(Path::parent);
    let program = folder
        .expect("the tests lie in target/PROFILE/deps")
        .join("millpond");
    assert!(
        program.exists(),
        "{} is not built: run `cargo test --workspace`, which builds it",
        program.display()
    );
    let mut command = Command::new(program);
    command.env_remove("RUST_LOG");
    command
}

fn start(command: &mut Command) -> Child {
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program exists")
}

/// What a run of the program came to.
struct Done {
    code: Option<i32>,
    out: String,
    err: String,
}

impl Done {
    fn of(output: Output) -> Self {
        let text = |bytes| String::from_utf8(bytes).expect("the program writes text");
        Self {
            code: output.status.code(),
            out: text(output.stdout),
            err: text(output.stderr),
        }
    }

    /// Its lines on standard output, sorted: shards end in any order.
    fn lines(&self) -> Vec<&str> {
        let mut lines: Vec<_> = self.out.lines().collect();
        lines.sort_unstable();
        lines
    }

    fn json(&self) -> Value {
        serde_json::from_str(&self.out)
            .unwrap_or_else(|error| panic!("{error}: {}{}", self.out, self.err))
    }

    #[track_caller]
    fn ended(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "{}{}", self.out, self.err);
        self
    }

    #[track_caller]
    fn says(self, words: &[&str]) -> Self {
        for word in words {
            assert!(self.err.contains(word), "{word:?} is not in {}", self.err);
        }
        self
    }
}

/// Runs the program to its end with this on standard input.
fn done(command: &mut Command, input: &[u8]) -> Done {
    let mut child = start(command);
    let mut stdin = child.stdin.take().expect("it was asked for");
    std::thread::scope(|scope| {
        // A program that ends early closes its input, which is no failure of the test.
        scope.spawn(move || stdin.write_all(input));
        Done::of(child.wait_with_output().expect("it was started"))
    })
}

/// Runs `millpond run` with these arguments before the components.
fn run_with(arguments: &[&str], components: &[&Path], input: &[u8]) -> Done {
    done(
        millpond().arg("run").args(arguments).args(components),
        input,
    )
}

fn run(component: &str, input: &[u8]) -> Done {
    run_with(&[], &[&guest(component)], input)
}

/// A component made of text, in a folder of the test's own.
fn component(folder: &Folder, name: &str, text: &str) -> PathBuf {
    let path = folder.path().join(name);
    let bytes = wat::parse_str(text).expect("the text is a component");
    std::fs::write(&path, bytes).expect("the folder was made for this test");
    path
}

/// A component with these imports, whose one export is this interface.
fn exporting(interface: &str, imports: &str) -> String {
    format!(
        r#"(component
            {imports}
            (core module $m (func (export "f")))
            (core instance $i (instantiate $m))
            (func $f (canon lift (core func $i "f")))
            (instance $e (export "configure" (func $f)) (export "handler" (func $f)))
            (export "{interface}" (instance $e)))"#
    )
}

#[test]
fn demo_settles_every_message_once_and_accounts_for_every_instance() {
    let arguments = ["demo", "--seconds", "1", "--rate", "5000", "--json"];
    let report = done(millpond().args(arguments), b"").ended(0).json();
    let n = |key: &str| {
        report[key]
            .as_u64()
            .unwrap_or_else(|| panic!("{key} in {report}"))
    };
    assert_eq!(n("messages_offered"), 5000);
    assert_eq!(n("messages_in") + n("messages_shed"), 5000);
    assert!(n("messages_in") > 0);
    assert_eq!(n("messages_settled"), n("messages_in"));
    for none in ["failed", "lost", "twice", "strange"] {
        assert_eq!(n(&format!("messages_{none}")), 0, "{none}");
    }
    let parts =
        ["called", "configured", "ready", "discarded"].map(|p| n(&format!("instances_{p}")));
    assert_eq!(n("instances_created"), parts.iter().sum::<u64>());
    assert_eq!(n("instances_called"), n("calls"));
    assert!(report["latency_us"]["p50"].as_f64() > Some(0.0));
    assert!(report["latency_us"]["p50"].as_f64() <= report["latency_us"]["max"].as_f64());
    assert_eq!(report["problems"], serde_json::json!([]));
}

#[test]
fn demo_sheds_what_the_engine_has_no_room_for_and_loses_nothing() {
    let arguments = "demo --seconds 0.02 --rate 5000000 --shards 1 --batch-max 1 --json";
    let report = done(millpond().args(arguments.split(' ')), b"")
        .ended(0)
        .json();
    let n = |key: &str| {
        report[key]
            .as_u64()
            .unwrap_or_else(|| panic!("{key} in {report}"))
    };
    assert_eq!(n("messages_in") + n("messages_shed"), 100_000);
    assert!(
        n("messages_shed") > 0,
        "a message a call is slower than that"
    );
    assert_eq!(n("messages_settled"), n("messages_in"));
    assert_eq!(n("messages_lost") + n("messages_twice"), 0);
    assert_eq!(n("calls"), n("messages_in"));
}

#[test]
fn demo_prints_a_table_and_progress_beside_it() {
    let arguments = "demo --seconds 1.5 --rate 1000 --payload-bytes 8";
    let demo = done(millpond().args(arguments.split(' ')), b"").ended(0);
    for word in [
        "1,500 messages of 8 bytes",
        "0 lost · 0 twice",
        "created = ",
        "p99.9",
        "reset by",
    ] {
        assert!(demo.out.contains(word), "{word:?} is not in {}", demo.out);
    }
    demo.says(&["settled/s"]);
}

#[test]
fn demo_refuses_what_it_can_not_count() {
    let refused = |line: &str, word| {
        done(millpond().args(line.split(' ')), b"")
            .ended(2)
            .says(&[word])
    };
    refused("demo --payload-bytes 7", "8");
    refused("demo --seconds 86400 --rate 1000000", "can be counted");
    refused("demo --seconds 0", "seconds");
    refused("demo --seconds 0.1 --shards 17", "shards is 17");
}

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

#[test]
fn files_that_are_no_handlers_are_refused_by_name_and_reason() {
    let folder = Folder::new();
    let text = folder.path().join("text.wasm");
    std::fs::write(&text, "hello, this is text").expect("the folder was made for this test");
    let known = "wasi:messaging/messaging-guest@0.2.0-draft";
    let stranger = "(import \"test:shop/stock\" (instance (export \"take\" (func))))";
    let files = [
        (text, vec!["text.wasm", "not a component"]),
        (
            folder.path().join("none.wasm"),
            vec!["none.wasm", "can't be read", "check the path"],
        ),
        (
            component(&folder, "core.wasm", "(module)"),
            vec!["core.wasm", "core module", "wasm-tools component new"],
        ),
        (
            component(&folder, "other.wasm", &exporting("test:shop/orders", "")),
            vec!["other.wasm", "no contract", "test:shop/orders", known],
        ),
        (
            component(&folder, "needy.wasm", &exporting(known, stranger)),
            vec![
                "needy.wasm",
                "test:shop/stock",
                "nobody provides",
                "without this import",
            ],
        ),
    ];
    for (path, words) in files {
        run_with(&[], &[&path], b"").ended(3).says(&words);
        done(millpond().arg("inspect").arg(&path), b"")
            .ended(3)
            .says(&words);
        let object = done(millpond().arg("inspect").arg("--json").arg(&path), b"")
            .ended(3)
            .json();
        assert_eq!(object["usable"], false);
        assert!(
            object["error"]
                .as_str()
                .is_some_and(|error| error.contains(words[1])),
            "{object}"
        );
    }
}

#[test]
fn a_component_with_more_memory_than_its_limit_is_refused() {
    let words = [
        "echo.wasm",
        "bytes of memory",
        "above its limit",
        "--memory-max",
    ];
    let limit = ["--memory-max", "64KiB"];
    run_with(&limit, &[&guest("echo")], b"")
        .ended(3)
        .says(&words);
    done(
        millpond().arg("inspect").args(limit).arg(guest("echo")),
        b"",
    )
    .ended(3)
    .says(&words);
    run_with(&["--memory-max", "2MiB"], &[&guest("echo")], b"echo x\n").ended(0);
}

#[test]
fn more_memory_than_there_is_is_refused_with_the_sum() {
    let limit = ["--memory-total", "1MiB"];
    let words = [
        "can need",
        "of 1 MiB",
        "messages in flight",
        "--memory-total",
    ];
    run_with(&limit, &[&guest("echo")], b"")
        .ended(5)
        .says(&words);
}

#[test]
fn a_configure_that_fails_is_one_clear_error() {
    for (name, arguments, words) in [
        (
            "configure-error",
            &["--broker", "b"][..],
            &["nowhere-granted"][..],
        ),
        ("configure-trap", &[], &["trap"]),
        ("configure-loop", &["--deadline", "50ms"], &["deadline"]),
        ("configure-empty", &[], &["no channels"]),
        ("configure-bad-subject", &[], &["bad subject \"a..b\""]),
    ] {
        let file = format!("{name}.wasm: configure");
        let ran = run_with(arguments, &[&guest(name)], b"ext x\n").ended(4);
        assert_eq!(ran.err.matches("error: ").count(), 1, "{}", ran.err);
        ran.says(words).says(&[&file, "help: "]);
    }
}

#[test]
fn two_handlers_with_one_name_are_refused_by_file() {
    let folder = Folder::new();
    let copy = folder.path().join("echo.wasm");
    std::fs::copy(guest("echo"), &copy).expect("the folder was made for this test");
    let ran = run_with(&[], &[&guest("echo"), &copy], b"").ended(2);
    let copy = copy.display().to_string();
    ran.says(&["named \"echo\"", &copy, "rename"]);
}

#[test]
fn inspect_says_what_a_component_is() {
    let inspect =
        |name| done(millpond().args(["inspect", "--json"]).arg(guest(name)), b"").ended(0);
    let echo = inspect("echo").json();
    assert_eq!(
        echo["contract"],
        "wasi:messaging/messaging-guest@0.2.0-draft"
    );
    assert_eq!(
        (&echo["usable"], &echo["way"]),
        (&true.into(), &"direct".into())
    );
    assert_eq!(echo["memory_bytes"], 17 << 16);
    let import = |name: &str| {
        let imports = echo["imports"].as_array().expect("a list");
        let found = imports.iter().find(|import| import["name"] == name);
        found.unwrap_or_else(|| panic!("{name} in {echo}"))["granted_by_default"].clone()
    };
    assert_eq!(import("wasi:messaging/messaging-types@0.2.0-draft"), true);
    assert_eq!(import("wasi:messaging/producer@0.2.0-draft"), false);
    let size = std::fs::metadata(guest("echo"))
        .expect("it was found")
        .len();
    assert_eq!(echo["component_bytes"], size);
    assert!(echo["compiled_bytes"].as_u64() > Some(0));
    assert_eq!(inspect("sleeper").json()["way"], "fiber");
    let table = done(millpond().arg("inspect").arg(guest("echo")), b"").ended(0);
    for word in [
        "messaging-guest@0.2.0-draft",
        "direct",
        "1 memory",
        "compiled",
        "needs a grant",
    ] {
        assert!(table.out.contains(word), "{word:?} is not in {}", table.out);
    }
}

#[test]
fn help_has_examples_and_exit_codes() {
    for command in [
        &["--help"][..],
        &["demo", "--help"],
        &["run", "--help"],
        &["inspect", "--help"],
    ] {
        let help = done(millpond().args(command), b"").ended(0).out;
        assert!(
            help.contains("Examples:\n") && help.contains("Exit codes:\n"),
            "{help}"
        );
    }
    done(millpond().arg("nonsense"), b"")
        .ended(2)
        .says(&["nonsense"]);
}
