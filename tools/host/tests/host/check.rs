//! `millpond check`, and `run` with flags that contradict each other: what is printed, and how it ends.

use std::path::Path;

use millpond_tests::folder::Folder;
use millpond_tests::guest;

use super::{Done, done, millpond, run_with};

/// A folder with a file and the components that it names.
struct Place(Folder);

impl Place {
    fn with(text: &str) -> Self {
        let place = Self(Folder::new());
        for name in ["echo", "probe-0.2.0-draft", "batch-echo"] {
            let copy = place.0.path().join(format!("{name}.wasm"));
            std::fs::copy(guest(name), copy).expect("the folder was made for this test");
        }
        place.write("millpond.toml", text);
        place
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.0.path().join(name), text).expect("the folder was made for this test");
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    /// Runs the program in this folder's parent, so that paths in the file are not relative to where it runs.
    fn check(&self, arguments: &[&str]) -> Done {
        let mut command = millpond();
        command.current_dir("/").arg("check").args(arguments);
        done(command.arg(self.path().join("millpond.toml")), b"")
    }
}

const GOOD: &str = "\
[engine]
shards = 2
[nats]
urls = [\"nats://127.0.0.1:1\"]
user = \"mill\"
password = { file = \"password\" }
[handler_defaults.limits]
weight = 2
[[handler]]
component = \"echo.wasm\"
subjects = [\"more.>\"]
allow_publish = [\"echo.out\"]
[[handler]]
name = \"orders\"
component = \"probe-0.2.0-draft.wasm\"
stream = \"ORDERS\"
durable = \"mill\"
dead_letter = \"dead.orders\"
env = { KEY = \"hunter2\" }
limits = { batch_max = 16, latency_budget = \"5ms\" }
";

#[test]
fn check_says_what_it_understood() {
    let place = Place::with(GOOD);
    place.write("password", "hunter2\n");
    let checked = place.check(&[]).ended(0);
    for line in [
        "millpond.toml is good",
        "shards     2",
        "memory     at most ",
        " MiB (connections: buffers)",
        "servers    nats://127.0.0.1:1",
        "handler    echo",
        "takes      the subjects of its configure, \"more.>\"; queue group \"echo\"",
        "delivery   at-most-once",
        "reaches    sends replies, echo.out; the broker default",
        "limits     weight = 2",
        "handler    orders",
        "takes      consumer \"mill\" of stream \"ORDERS\"",
        "delivery   at-least-once",
        "given up   sent to \"dead.orders\"",
        "environment KEY",
        "limits     batch_max = 16, latency_budget = \"5ms\", weight = 2",
        "messaging-guest@0.2.0-draft",
    ] {
        assert!(
            checked.out.contains(line),
            "{line:?} is not in {}",
            checked.out
        );
    }
    assert!(
        !checked.out.contains("hunter2") && checked.err.is_empty(),
        "{}",
        checked.err
    );
}

#[test]
fn check_refuses_more_memory_than_there_may_be_as_run_does() {
    let text = format!("{GOOD}[engine.limits]\nmemory_total = \"100MiB\"\n");
    let place = Place::with(&text);
    place.write("password", "hunter2\n");
    place
        .check(&[])
        .ended(5)
        .says(&["error: ", "connections: buffers"]);
}

#[test]
fn check_refuses_a_handler_that_would_get_no_messages_as_run_does() {
    let unfed = "[[handler]]\ncomponent = \"batch-echo.wasm\"\n";
    let refused = Place::with(unfed).check(&[]).ended(2);
    refused.says(&["handler \"batch-echo\" has no subjects", "millpond:batch"]);
    let fed = format!("{unfed}subjects = [\"echo\"]\n");
    let good = Place::with(&fed).check(&[]).ended(0);
    let takes = good.out.lines().find(|line| line.starts_with("takes"));
    assert_eq!(takes, Some("takes      \"echo\""));
}

#[test]
fn check_refuses_by_file_line_and_column() {
    let place = Place::with(GOOD);
    let refused = |was: &str, is: &str, code: i32, words: &[&str]| {
        place.write("millpond.toml", &GOOD.replace(was, is));
        let checked = place.check(&[]).ended(code).says(words);
        let errors = checked
            .err
            .lines()
            .filter(|line| line.starts_with("error: "));
        assert_eq!(errors.count(), 1, "{}", checked.err);
        assert_eq!(checked.out, "");
    };
    refused(
        "",
        "",
        2,
        &["millpond.toml:6:1: password: the file /", "can't be read"],
    );
    place.write("password", "hunter2\n");
    refused(
        "shards",
        "shrads",
        2,
        &["millpond.toml:2:1: engine: unknown key \"shrads\"; did you mean \"shards\"?"],
    );
    refused(
        "16",
        "0",
        2,
        &["millpond.toml:20:12: handler \"orders\": batch_max is 0; it may be 1 to 16777216"],
    );
    refused(
        "\"5ms\"",
        "5",
        2,
        &["millpond.toml:20:45: handler.limits.latency_budget: 5 can't be used here"],
    );
    refused(
        "[nats]",
        "[nats",
        2,
        &["millpond.toml:3:6: ", "expected `]`"],
    );
    refused(
        "echo.wasm",
        "none.wasm",
        3,
        &[
            "millpond.toml:10:1: ",
            "none.wasm: can't be read",
            "help: check the path",
        ],
    );
    refused(
        "\"echo.wasm\"",
        "\"password\"",
        3,
        &["millpond.toml:10:1: ", "not a component"],
    );
    refused(
        "= 2\n[[",
        "= 2\nmemory_max = \"64KiB\"\n[[",
        3,
        &["millpond.toml:11:1: ", "above its limit"],
    );
    std::fs::remove_file(place.path().join("millpond.toml")).expect("it is there");
    place
        .check(&[])
        .ended(2)
        .says(&["millpond.toml: it can't be read"]);
}

#[test]
fn check_warns_of_secrets_in_the_file() {
    let place = Place::with(&GOOD.replace("{ file = \"password\" }", "\"hunter2\""));
    let checked = place.check(&[]).ended(0).says(&[
        "warning: ",
        "millpond.toml:6:1: password is in the file itself",
    ]);
    assert!(!checked.err.contains("hunter2") && !checked.out.contains("hunter2"));
}

#[test]
fn check_says_that_nobody_answers() {
    let text = GOOD.replace(
        "[handler_defaults",
        "ready_wait_max = \"300ms\"\n[handler_defaults",
    );
    let place = Place::with(&text);
    place.write("password", "hunter2\n");
    place
        .check(&["--connect"])
        .ended(8)
        .says(&["127.0.0.1:1", "help: see that the server is there"]);
}

#[test]
fn a_file_without_servers_runs_in_a_shell_pipe() {
    let place =
        Place::with("[[handler]]\ncomponent = \"echo.wasm\"\nallow_publish = [\"echo.out\"]\n");
    let checked = place.check(&[]).ended(0);
    assert!(
        !checked.out.contains("servers") && !checked.out.contains("delivery"),
        "{}",
        checked.out
    );
    let config = place.path().join("millpond.toml").display().to_string();
    let ran = run_with(&["--config", &config, "--shards", "1"], &[], b"echo x\n").ended(0);
    assert_eq!(ran.out, "echo.out x\n");
}

#[test]
fn flags_that_contradict_each_other_are_refused() {
    let echo = guest("echo");
    let refused = |arguments: &[&str], words: &[&str]| {
        run_with(arguments, &[&echo], b"").ended(2).says(words);
    };
    refused(&["--creds", "x"], &["name it with --nats"]);
    refused(&["--stream", "S", "--durable", "d"], &["--nats"]);
    refused(&["--nats", "a", "--stream", "S"], &["--durable"]);
    refused(
        &[
            "--nats",
            "a",
            "--stream",
            "S",
            "--durable",
            "d",
            "--subject",
            "x",
        ],
        &["--subject", "--stream"],
    );
    refused(
        &["--nats", "a", "--queue", "q", "--every-message"],
        &["--queue", "--every-message"],
    );
    refused(
        &["--nats", "a", "--delivery", "effectively-once"],
        &["--delivery: ", "taken at most once"],
    );
    refused(&["--nats", "a", "--delivery", "once"], &["at-least-once"]);
    refused(
        &["--nats", "a", "--batch-max", "0"],
        &["--batch-max: ", "may be 1 to"],
    );
    refused(
        &["--nats", "a", "--latency-budget", "5"],
        &["--latency-budget", "us, ms or s"],
    );
    refused(&["--nats", "a", "--escaped"], &["--escaped"]);
    refused(&["--config", "x"], &["--config"]);
    let both = [guest("echo"), guest("sleeper")];
    let both: Vec<_> = both.iter().map(|path| path.as_path()).collect();
    run_with(&["--nats", "a"], &both, b"")
        .ended(2)
        .says(&["2 components", "--config"]);
    let typed = ["--nats", "nats://u:hunter2"];
    let ran = run_with(&typed, &[&echo], b"")
        .ended(2)
        .says(&["--nats: this server's URL"]);
    assert!(!ran.err.contains("hunter2"), "{}", ran.err);
}
