//! What PERF.md says that a promise or a goal is held by exists: tests, packages, targets, parts of the bench.

#![allow(clippy::unwrap_used, reason = "a test that meets an error has failed")]

use std::fs;
use std::path::{Path, PathBuf};

use millpond_bench::goals::judge;
use millpond_bench::parts::part;

/// How a goal's command begins that the bench measures.
const BENCH: &str = "cargo bench -p millpond-bench -- ";

/// The workspace's files with these ends, but what is built or fetched.
fn files(ends: &[&str]) -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let folders = ["engine", "bench", "tests", "tools"];
    let mut open: Vec<_> = folders.map(|folder| root.join(folder)).into();
    let mut found = Vec::new();
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            match path.is_dir() {
                true if name != "target" => open.push(path),
                false if ends.iter().any(|end| name.ends_with(end)) => found.push(path),
                _ => {}
            }
        }
    }
    found
}

/// What is in the workspace's manifests and sources.
struct Workspace {
    manifests: String,
    sources: String,
    files: Vec<PathBuf>,
}

impl Workspace {
    fn read() -> Self {
        let all = |paths: &[PathBuf]| -> String {
            let texts = paths.iter().map(|path| fs::read_to_string(path).unwrap());
            texts.collect()
        };
        let files_of = files(&[".rs"]);
        Self {
            manifests: all(&files(&["Cargo.toml"])),
            sources: all(&files_of),
            files: files_of,
        }
    }

    fn is_named(&self, name: &str) -> bool {
        self.manifests.contains(&format!("name = \"{name}\""))
    }

    fn has_file(&self, name: &str) -> bool {
        let end = format!("tests/{name}.rs");
        self.files.iter().any(|path| path.ends_with(&end))
    }

    /// A test, the file of a group of tests, or a package.
    fn has(&self, name: &str) -> bool {
        self.sources.contains(&format!("fn {name}("))
            || self.has_file(name)
            || self.is_named(&format!("millpond-{name}"))
    }

    /// What a command names that does not exist.
    fn missing<'a>(&self, command: &'a str) -> Option<&'a str> {
        let words: Vec<_> = command.split(' ').collect();
        let missing = |pair: &[&'a str]| match *pair {
            ["--test", name] => !(self.is_named(name) || self.has_file(name)),
            ["-p", name] => !self.is_named(name),
            _ => false,
        };
        let found = words.windows(2).find(|pair| missing(pair))?;
        Some(found[1])
    }
}

/// What stands in backticks.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

#[test]
fn each_test_package_and_target_that_a_promise_names_exists() {
    let workspace = Workspace::read();
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../PERF.md");
    let perf = fs::read_to_string(path).unwrap();
    let (_, promises) = perf.split_once("## Promises").unwrap();
    let rows = promises
        .lines()
        .skip_while(|line| !line.starts_with("| 1 |"));
    let rows = rows.take_while(|line| line.starts_with('|'));
    let mut count = 0;
    for row in rows {
        let check = row.trim_end_matches(" |").rsplit(" | ").next().unwrap();
        let names: Vec<_> = quoted(check).collect();
        assert!(!names.is_empty() || check == "the same", "no check: {row}");
        for name in names {
            let is_command = name.starts_with("cargo ");
            let wrong = if is_command {
                workspace.missing(name)
            } else {
                (!workspace.has(name)).then_some(name)
            };
            assert_eq!(wrong, None, "PERF.md names what does not exist: {row}");
        }
        count += 1;
    }
    assert!(count >= 11, "only {count} promises were read");
}

#[test]
fn each_command_of_a_goal_names_a_part_or_a_test_that_exists() {
    let workspace = Workspace::read();
    for judged in judge(&[]) {
        let command = &judged.command;
        assert_eq!(workspace.missing(command), None, "{}", judged.goal);
        if let Some(words) = command.strip_prefix(BENCH) {
            let name = match words.strip_prefix("nats ") {
                Some(_) => "nats",
                None => words,
            };
            assert!(
                part(name).is_some(),
                "there is no part {name}: {}",
                judged.goal
            );
        }
    }
}
