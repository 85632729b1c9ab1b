//! The invariants of ARCHITECTURE.md that are absences: who must not name what. And that the mutations, which show that tests find
//! what they guard against, are of the sources as they are.

use std::fs;
use std::path::{Path, PathBuf};

/// The code of every source file below a folder of the engine or one such file: without comments and tests.
fn sources(place: &str) -> Vec<(PathBuf, String)> {
    fn collect(path: &Path, into: &mut Vec<(PathBuf, String)>) {
        if path.is_dir() {
            for entry in fs::read_dir(path).unwrap() {
                collect(&entry.unwrap().path(), into);
            }
        } else {
            let text = fs::read_to_string(path).unwrap();
            let code = text
                .split("#[cfg(test)]\nmod tests")
                .next()
                .unwrap_or_default();
            let lines = code
                .lines()
                .filter(|line| !line.trim_start().starts_with("//"));
            into.push((path.to_owned(), lines.collect::<Vec<_>>().join("\n")));
        }
    }
    let mut found = Vec::new();
    collect(
        &millpond_tests::repository().join("engine/src").join(place),
        &mut found,
    );
    assert!(!found.is_empty(), "{place} is there");
    found
}

/// That none of these places names any of these words.
fn absent(places: &[&str], words: &[&str]) {
    for (path, code) in places.iter().flat_map(|place| sources(place)) {
        for word in words {
            assert!(!code.contains(word), "{} names {word}", path.display());
        }
    }
}

#[test]
fn the_deciding_parts_are_pure() {
    let pure = [
        "admission.rs",
        "batch.rs",
        "company.rs",
        "confirm.rs",
        "cost.rs",
        "handler.rs",
        "letter.rs",
        "line.rs",
        "message.rs",
        "order.rs",
        "outbox.rs",
        "outcome.rs",
        "pack.rs",
        "pause.rs",
        "penalty.rs",
        "schedule.rs",
        "seams.rs",
        "slice.rs",
        "sparse.rs",
        "split.rs",
        "subject.rs",
        "time.rs",
    ];
    let outside = [
        "Instant::now",
        "clock",
        "thread",
        "mio",
        "net::",
        "wasmtime",
        "broker",
        "guest::",
        "crossbeam",
    ];
    absent(&pure, &outside);
}

#[test]
fn the_loop_knows_no_broker_no_contract_and_no_clock() {
    absent(
        &["shard.rs", "settle.rs"],
        &[
            "wasmtime", "broker::", "guest::", "contract", "clock", "thread", "mio",
        ],
    );
}

#[test]
fn only_guests_name_wasmtime() {
    let all = sources("");
    let naming: Vec<_> = all
        .iter()
        .filter(|(_, code)| code.contains("wasmtime"))
        .map(|(path, _)| path)
        .collect();
    assert!(!naming.is_empty(), "guests do");
    for path in naming {
        assert!(
            path.components().any(|part| part.as_os_str() == "guest"),
            "{} names wasmtime",
            path.display()
        );
    }
}

#[test]
fn brokers_know_no_guests_and_guests_know_no_brokers() {
    absent(&["broker"], &["guest::", "wasmtime"]);
    absent(&["guest"], &["broker::"]);
}

#[test]
fn only_the_broker_for_nats_names_sockets_and_its_library() {
    for (path, code) in sources("") {
        let inside = path.to_string_lossy().contains("/broker/nats/");
        for word in ["async_nats", "mio::net", "rustls"] {
            let names = code.contains(word);
            assert!(inside || !names, "{} names {word}", path.display());
        }
    }
    let control = sources("broker/nats").into_iter();
    let naming = control.filter(|(_, code)| code.contains("async_nats"));
    for (path, _) in naming {
        let path = path.to_string_lossy();
        assert!(path.contains("/control/"), "{path} names async_nats");
    }
}

#[test]
fn what_decides_for_nats_is_pure() {
    let pure = [
        "atomic", "confirms", "pulls", "requests", "servers", "alive", "unacked",
    ];
    let mut places: Vec<_> = pure.map(|n| format!("broker/nats/{n}.rs")).into();
    places.extend(["broker/nats/wire".into(), "broker/nats/js".into()]);
    let places: Vec<_> = places.iter().map(String::as_str).collect();
    let outside = [
        "clock::",
        "std::thread",
        "mio",
        "net::Tcp",
        "tokio",
        "rustls",
    ];
    absent(&places, &outside);
}

#[test]
fn no_queue_is_unbounded() {
    absent(&[""], &["unbounded", "mpsc", "SegQueue"]);
}

#[test]
fn shard_threads_call_no_tokio() {
    absent(
        &["guest"],
        &[
            "tokio::time",
            "tokio::spawn",
            "tokio::task",
            "tokio::runtime",
            "in_tokio",
        ],
    );
}

#[test]
fn every_mutation_fits_the_sources() {
    for script in ["tests/mutations.py", "tests/sim/mutations.py"] {
        let root = millpond_tests::repository();
        if let Err(misfits) = millpond_tests::python(&root, &[script, "--check"]) {
            panic!("{misfits}");
        }
    }
}
