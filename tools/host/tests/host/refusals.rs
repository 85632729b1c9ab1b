//! Bad input: each gives one clear error and its exit code.

use std::path::PathBuf;

use millpond_tests::folder::Folder;
use millpond_tests::guest;

use super::{done, millpond, run_with};

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
fn what_is_no_configuration_is_refused_with_what_to_do() {
    let folder = Folder::new();
    for (path, words) in [
        (folder.path().to_owned(), "name the configuration's file"),
        (guest("batch-echo"), "a handler's `component` names it"),
    ] {
        let done = done(millpond().arg("check").arg(&path), b"").ended(2);
        let said = [&*path.display().to_string(), words];
        assert!(
            said.iter().all(|part| done.err.contains(part)),
            "{}",
            done.err
        );
        assert_eq!(done.err.lines().count(), 1, "{}", done.err);
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
        "and 1 MiB may be used",
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
        let errors = ran.err.lines().filter(|line| line.starts_with("error: "));
        assert_eq!(errors.count(), 1, "{}", ran.err);
        ran.says(words).says(&[&file, "help: "]);
    }
}

#[test]
fn a_handler_without_a_subject_whose_contract_names_none_is_refused() {
    for name in ["batch-echo", "echo-incoming", "echo-wasmcloud"] {
        let ran = run_with(&[], &[&guest(name)], b"echo x\n").ended(2);
        ran.says(&[name, "has no subjects", "--subject"]);
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
