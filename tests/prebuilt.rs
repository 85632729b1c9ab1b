//! What the other tests stand on: the committed components are what their sources say, and the large
//! ones can be built.

use std::collections::BTreeMap;
use std::path::Path;

use millpond_tests::folder::Folder;
use millpond_tests::guests::build_script;
use millpond_tests::{guest, repository};
use serde::Deserialize;
use sha2::{Digest, Sha256};

/// The first eight bytes of every component: the magic number, the version and the layer.
const COMPONENT_HEADER: [u8; 8] = *b"\0asm\x0d\0\x01\0";

/// What `guests/prebuilt/manifest.json` says of a component, as far as it is checked here.
#[derive(Deserialize)]
struct Entry {
    sha256: String,
    size: usize,
}

fn manifest() -> BTreeMap<String, Entry> {
    let path = repository().join("guests/prebuilt/manifest.json");
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
    let manifest = manifest();
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
    let copy = Folder::new();
    for folder in ["wit", "guests"] {
        copy_tree(&repository().join(folder), &copy.path().join(folder));
    }
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
