//! The program `millpond`, driven as a user drives it: what it prints, and how it ends.

mod check;
mod compile;
mod kills;
mod new;
mod refusals;
mod run;
mod scripted;
mod serve;

use std::io::Write;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use millpond_tests::folder::Folder;
use millpond_tests::guest;
use millpond_tests::worlds::two_contracts;
use serde_json::Value;

/// The program, without a log filter of whoever runs the tests, and without what it keeps for them.
fn millpond() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_millpond"));
    command.env_remove("RUST_LOG");
    command.env_remove("XDG_CACHE_HOME").env_remove("HOME");
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
    // A call that overran its slice, on a machine that held it up, was made twice.
    let again = n("calls") - n("messages_in");
    assert!(again < 100, "{again} calls more than messages");
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
fn a_contract_may_be_asked_for_and_must_be_one_that_is_there() {
    let asked = |contract| {
        let arguments = ["inspect", "--json", "--contract", contract];
        done(millpond().args(arguments).arg(guest("batch-echo")), b"")
    };
    let ours = "millpond:batch/handler@0.1.0";
    let echo = asked(ours).ended(0).json();
    assert_eq!(
        (&echo["contract"], &echo["contracts"][0]),
        (&ours.into(), &ours.into())
    );
    assert_eq!(echo["way"], "direct");
    let other = "wasi:messaging/messaging-guest@0.1.0";
    asked(other)
        .ended(3)
        .says(&["does not export", other, "leave the contract out"]);
    asked("none")
        .ended(2)
        .says(&["no contract that is known here", ours]);
    let run = ["run", "--subject", "a", "--contract", ours];
    let run = done(millpond().args(run).arg(guest("batch-echo")), b"a one\n").ended(0);
    assert_eq!(run.lines(), ["echo.out one"]);
}

#[test]
fn the_contract_that_is_asked_for_is_the_one_that_is_called() {
    let folder = Folder::new();
    let path = folder.path().join("both.wasm");
    std::fs::write(&path, two_contracts()).expect("the folder is ours");
    let run = |asked: &[&str], code| {
        let arguments = ["run", "--subject", "a", "--dead-letter", "dead"];
        let mut command = millpond();
        done(command.args(arguments).args(asked).arg(&path), b"a one\n").ended(code)
    };
    let [ours, other] = [
        "millpond:batch/handler@0.1.0",
        "wasi:messaging/messaging-guest",
    ];
    // It traps by ours, which is called unless the other is asked for.
    for asked in [&[][..], &["--contract", ours]] {
        assert_eq!(run(asked, 6).lines(), ["dead one"], "{asked:?}");
    }
    assert_eq!(run(&["--contract", other], 0).lines().len(), 0);
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
    let delivery = (&echo["delivery"][0]["from"], &echo["delivery"][0]["level"]);
    assert_eq!(delivery, (&"subjects".into(), &"at-most-once".into()));
    for (name, contract, way, import) in [
        (
            "echo-incoming",
            "wasi:messaging/incoming-handler@0.2.0-draft",
            "direct",
            "wasi:messaging/producer@0.2.0-draft",
        ),
        (
            "probe-incoming",
            "wasi:messaging/incoming-handler@0.2.0-draft",
            "fiber",
            "wasi:messaging/request-reply@0.2.0-draft",
        ),
        (
            "echo-wasmcloud",
            "wasmcloud:messaging/handler@0.2.0",
            "direct",
            "wasmcloud:messaging/consumer@0.2.0",
        ),
    ] {
        let said = inspect(name).json();
        assert_eq!(
            (&said["contract"], &said["way"]),
            (&contract.into(), &way.into())
        );
        let imports = said["imports"].as_array().expect("a list");
        let found = imports.iter().find(|i| i["name"] == import).expect(import);
        assert_eq!(found["granted_by_default"], false, "{name}");
    }
    let table = done(millpond().arg("inspect").arg(guest("echo")), b"").ended(0);
    for word in [
        "messaging-guest@0.2.0-draft",
        "direct",
        "1 memory",
        "compiled",
        "needs a grant",
        "delivery   subjects  at-most-once      the server keeps nothing",
        "stream    at-most-once      --delivery at-most-once: acked on arrival",
        "stream    at-least-once     the default",
        "stream    effectively-once",
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
        &["check", "--help"],
        &["inspect", "--help"],
        &["new", "--help"],
    ] {
        let help = done(millpond().args(command), b"").ended(0).out;
        assert!(
            help.contains("Examples:\n") && help.contains("Exit codes:\n"),
            "{help}"
        );
    }
    let table = include_str!("../../README.md").lines();
    let help = done(millpond().arg("--help"), b"").out;
    for row in table.filter(|row| row.starts_with("| ") && row.as_bytes()[2].is_ascii_digit()) {
        let cells: Vec<_> = row.split('|').map(str::trim).collect();
        let told = help
            .lines()
            .find_map(|line| line.trim_start().strip_prefix(&format!("{}  ", cells[1])));
        let first: String = cells[2].chars().take(24).collect();
        assert!(
            told.is_some_and(|told| told.contains(first.split(';').next().unwrap_or(&first))),
            "{row}"
        );
    }
    done(millpond().arg("nonsense"), b"")
        .ended(2)
        .says(&["nonsense"]);
}
