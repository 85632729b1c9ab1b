//! What the other tests stand on: the committed components are what their sources say, some of them are built again, and the large
//! ones can be built.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use millpond::{HandlerConfig, Message};
use millpond_tests::folder::Folder;
use millpond_tests::guests::build_script;
use millpond_tests::{guest, repository};
use serde::Deserialize;
use sha2::{Digest, Sha256};

use crate::harness::{LONG, config, settled, start};
use crate::languages::rows::assert_works;

/// The first eight bytes of every component: the magic number, the version and the layer.
const COMPONENT_HEADER: [u8; 8] = *b"\0asm\x0d\0\x01\0";

/// What `guests/prebuilt/manifest.json` says of a component, as far as it is checked here.
#[derive(Deserialize)]
struct Entry {
    sha256: String,
    size: usize,
    compiler: String,
}

/// The manifest of the repository, or of a copy of it.
fn manifest(root: &Path) -> BTreeMap<String, Entry> {
    let path = root.join("guests/prebuilt/manifest.json");
    let text = std::fs::read_to_string(&path).expect("the manifest is committed");
    serde_json::from_str(&text).expect("the manifest is written by guests/build.py")
}

#[test]
fn committed_components_match_their_sources() {
    if let Err(complaint) = build_script(&repository(), &["--check"]) {
        panic!("{complaint}");
    }
}

#[test]
fn committed_components_are_those_in_the_manifest() {
    let manifest = manifest(&repository());
    assert!(!manifest.is_empty());
    for (name, entry) in manifest {
        let bytes = std::fs::read(guest(&name)).expect("`guest` found the file");
        assert_eq!(bytes.len(), entry.size, "{name}");
        assert_eq!(
            format!("{:x}", Sha256::digest(&bytes)),
            entry.sha256,
            "{name}"
        );
        assert_eq!(bytes[..8], COMPONENT_HEADER, "{name}");
    }
}

/// The check has to see each kind of difference, in a copy of what it looks at.
#[test]
fn the_check_sees_changed_sources_and_changed_components() {
    let copy = copy_of_guests();
    let check = || build_script(copy.path(), &["--check"]);
    check().expect("a copy is as good as the original");

    let changes = [
        (
            "guests/examples/orders/src/lib.rs",
            "rust-orders has sources that changed",
        ),
        (
            "guests/sdk/c/millpond.h",
            "c-redact has sources that changed",
        ),
        (
            "guests/rust/counter/src/lib.rs",
            "counter has sources that changed",
        ),
        (
            "wit/wasi-messaging-0.1.0/messaging.wit",
            "probe-0.1.0 has sources that changed",
        ),
        (
            "guests/c/bindings/messaging.c",
            "c-channels has sources that changed",
        ),
        (
            "guests/prebuilt/echo.wasm",
            "echo is not the file that was built",
        ),
    ];
    for (file, complaint) in changes {
        let path = copy.path().join(file);
        let original = std::fs::read(&path).expect("the copy has every file");
        std::fs::write(&path, [&original[..], b"\n"].concat()).expect("the copy is ours");
        let found = check().expect_err(file);
        assert!(found.contains(complaint), "{found}");
        std::fs::write(&path, original).expect("the copy is ours");
    }
    check().expect("everything was put back");
}

/// Of each language whose components are committed, an example and what `echo` does with contract 3, built from nothing but what is
/// committed: each does what it should. The same compiler for C gives the same bytes; in Rust, Cargo names functions by the path of a
/// crate that lies beside the workspace, as the SDK does, and their order may depend on that.
#[test]
fn committed_components_can_be_built_from_their_sources() {
    let copy = copy_of_guests();
    let built = [
        ("c", "c-redact", assert_works as fn(&str, PathBuf)),
        ("c", "c-batch-echo", assert_echoes),
        ("rust", "rust-orders", assert_works),
        ("rust", "batch-echo", assert_echoes),
    ];
    for (language, name, assert_does_its_work) in built {
        let arguments = [language, "--only", name, "--force"];
        if let Err(complaint) = build_script(copy.path(), &arguments) {
            panic!("{name}: {complaint}");
        }
        let (of, again) = (manifest(&repository()), manifest(copy.path()));
        let (of, again) = (&of[name], &again[name]);
        if language == "c" && again.compiler == of.compiler {
            assert_eq!(again.sha256, of.sha256, "{name}, by {}", of.compiler);
        }
        let file = format!("guests/prebuilt/{name}.wasm");
        assert_does_its_work(name, copy.path().join(file));
    }
}

/// What is asked of the component of this file comes back.
fn assert_echoes(name: &str, file: PathBuf) {
    let handler = HandlerConfig::file(name, file).subject("s");
    let engine = start(config([handler]));
    let asked = Message::new("s", b"hello").expect("a good message");
    let reply = engine.request(&asked, LONG).expect("it is taken").wait();
    assert_eq!(reply.expect("it is answered").payload(), b"hello", "{name}");
    settled(&engine);
}

/// The script validates a component before it puts it in its place; this sees that it is one.
#[test]
fn large_components_build() {
    for name in [
        "go-skeleton",
        "go-channels",
        "go-window",
        "js-calculator",
        "python-validate",
    ] {
        let bytes = std::fs::read(guest(name)).expect("`guest` built the file");
        assert_eq!(bytes[..8], COMPONENT_HEADER, "{name}");
    }
}

/// A copy of all that components are made of, and of those that are committed.
fn copy_of_guests() -> Folder {
    let copy = Folder::new();
    for folder in ["wit", "guests"] {
        copy_tree(&repository().join(folder), &copy.path().join(folder));
    }
    copy
}

/// Copies a folder without what cargo has built in it.
fn copy_tree(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("the copy is ours");
    for entry in std::fs::read_dir(from).expect("the folder is committed") {
        let entry = entry.expect("the folder is readable");
        let target = to.join(entry.file_name());
        if entry.path().is_file() {
            std::fs::copy(entry.path(), target).expect("the copy is ours");
        } else if entry.file_name() != "target" {
            copy_tree(&entry.path(), &target);
        }
    }
}
