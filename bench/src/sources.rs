//! What a record was measured of: a digest of each source file of engine and bench, so that whoever reads its numbers sees whether the code beside
//! them is still that code.
//!
//! Only code counts: neither comments, nor blank lines, nor the tests at a file's end, nor what only judges and shows what was measured. A change of
//! any of them asks for no new run.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use wasmtime::Result;
use wasmtime::error::Context as _;

/// Digests of files, by their paths in the repository.
pub type Sources = BTreeMap<String, String>;

/// What is read: folders with all their `.rs` files, and files. They are also the areas that are told apart.
const AREAS: [&str; 6] = [
    "engine/src/broker",
    "engine/src/guest",
    "engine/src",
    "bench/benches",
    "bench/src",
    "Cargo.lock",
];
/// What only judges and shows.
const SHOWS: [&str; 3] = ["bench/src/goals", "bench/src/perf", "bench/src/sources.rs"];
/// Where a file's tests begin, in this repository's style.
const TESTS: &str = "#[cfg(test)]\nmod tests {";

/// Those of this repository.
///
/// # Errors
/// A file can't be read.
pub fn here() -> Result<Sources> {
    of(&Path::new(env!("CARGO_MANIFEST_DIR")).join(".."))
}

fn of(root: &Path) -> Result<Sources> {
    let mut files = Vec::new();
    for area in AREAS {
        found(&root.join(area), &mut files)?;
    }
    let digest = |path: PathBuf| {
        let name = path.strip_prefix(root)?.display().to_string();
        let text = fs::read_to_string(&path).with_context(|| format!("reading {name}"))?;
        Ok((name, digest(&text)))
    };
    let all = files.into_iter().map(digest);
    let mut all = all.collect::<Result<Sources>>()?;
    all.retain(|name, _| !SHOWS.iter().any(|shows| name.starts_with(shows)));
    Ok(all)
}

/// The file, or all `.rs` files in the folder.
fn found(path: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    if path.is_file() {
        files.push(path.to_owned());
        return Ok(());
    }
    let entries = fs::read_dir(path).with_context(|| format!("reading {}", path.display()))?;
    for entry in entries {
        let path = entry?.path();
        if path.is_dir() || path.extension().is_some_and(|end| end == "rs") {
            found(&path, files)?;
        }
    }
    Ok(())
}

/// The digest of a file's code: FNV-1a of 64 bits (<http://www.isthe.com/chongo/tech/comp/fnv/>).
fn digest(text: &str) -> String {
    let code = text.split_once(TESTS).map_or(text, |(code, _)| code);
    let lines = code.lines().map(str::trim);
    let lines = lines.filter(|line| !line.is_empty() && !line.starts_with("//"));
    let bytes = lines.flat_map(|line| line.bytes().chain([b'\n']));
    let hash = bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    format!("{hash:016x}")
}

/// Files that differ, or are in one of both alone.
#[must_use]
pub fn changed<'a>(then: &'a Sources, now: &'a Sources) -> Vec<&'a str> {
    let names = then
        .keys()
        .chain(now.keys().filter(|n| !then.contains_key(*n)));
    let names = names.filter(|name| then.get(*name) != now.get(*name));
    names.map(String::as_str).collect()
}

/// The areas of these files, each once.
#[must_use]
pub fn areas(files: &[&str]) -> Vec<&'static str> {
    let area = |file: &&str| AREAS.into_iter().find(|area| file.starts_with(area));
    let found: Vec<_> = files.iter().filter_map(area).collect();
    AREAS.into_iter().filter(|a| found.contains(a)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_change_of_code_is_one() {
        let code = "//! Doc.\n\nfn a() {\n    b(1); // why\n}\n";
        let same = [
            "fn a() {\n\n  // Other.\n    b(1); // why\n}\n".to_owned(),
            format!("{code}\n{TESTS}\n    fn t() {{}}\n}}\n"),
        ];
        for same in same {
            assert_eq!(digest(&same), digest(code), "{same}");
        }
        assert_ne!(digest(&code.replace("b(1)", "b(2)")), digest(code));
    }

    #[test]
    fn files_that_changed_came_or_went_are_told_with_their_areas() {
        let of = |files: &[(&str, &str)]| -> Sources {
            let owned = |(name, digest): &(&str, &str)| ((*name).to_owned(), (*digest).to_owned());
            files.iter().map(owned).collect()
        };
        let then = of(&[("engine/src/a.rs", "1"), ("engine/src/guest/b.rs", "1")]);
        let now = of(&[
            ("engine/src/a.rs", "1"),
            ("engine/src/guest/b.rs", "2"),
            ("Cargo.lock", "1"),
        ]);
        assert!(changed(&then, &then).is_empty());
        assert_eq!(
            changed(&then, &now),
            ["engine/src/guest/b.rs", "Cargo.lock"]
        );
        assert_eq!(
            areas(&changed(&then, &now)),
            ["engine/src/guest", "Cargo.lock"]
        );
        assert_eq!(changed(&now, &then).len(), 2);
    }

    #[test]
    fn the_sources_of_engine_and_bench_are_found_and_not_what_only_shows() {
        let all = here().unwrap();
        for file in [
            "engine/src/shard.rs",
            "bench/src/report.rs",
            "bench/benches/millpond.rs",
            "Cargo.lock",
        ] {
            assert!(all.contains_key(file), "{file}");
        }
        assert!(!all.keys().any(|name| name.contains("bench/src/perf")));
    }
}
