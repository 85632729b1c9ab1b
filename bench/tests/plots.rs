//! The plots that are committed are those that the script draws of the records that are committed, byte for byte; and what PERF.md has of
//! a record is of the one that it names. `MILLPOND_BLESS=1 cargo test --workspace --test plots` draws and writes them anew.

#![allow(clippy::unwrap_used, reason = "a test that meets an error has failed")]

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use millpond_bench::goals::judge;
use millpond_bench::instructions::BLESS;
use millpond_bench::perf::{RESULTS, read_and_written, results};
use millpond_bench::record::{Record, records};
use millpond_tests::folder::Folder;

/// Runs the script.
fn draw(record: &Path, out: &Path) -> std::process::Output {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/plots.py");
    let mut python = Command::new("python3");
    let ran = python.arg(script).args([record, out]).output();
    ran.expect("python3 can be run: install Python 3")
}

/// The names of the plots in a folder of a record.
fn plots(folder: &Path) -> BTreeSet<String> {
    let names = fs::read_dir(folder).unwrap().map(|entry| {
        let name = entry.unwrap().file_name();
        name.into_string().unwrap()
    });
    let others = ["record.json", RESULTS];
    names
        .filter(|name| !others.contains(&name.as_str()))
        .collect()
}

#[test]
fn the_plots_of_each_record_are_drawn_from_it() {
    let mut count = 0;
    for entry in fs::read_dir(records()).unwrap() {
        let folder = entry.unwrap().path();
        let record = Record::read(&folder).unwrap();
        let name = folder.file_name().unwrap().to_str().unwrap();
        assert!(name.starts_with(&record.facts.name()), "{name}");
        assert!(record.rows.iter().all(|row| !row.rounds.is_empty()));
        assert!(!judge(&record.rows).is_empty());
        let out = Folder::new();
        if std::env::var_os(BLESS).is_some() {
            for stale in plots(&folder) {
                fs::remove_file(folder.join(stale)).unwrap();
            }
            assert!(draw(&folder, &folder).status.success());
        }
        let ran = draw(&folder, out.path());
        assert!(
            ran.status.success(),
            "{}",
            String::from_utf8_lossy(&ran.stderr)
        );
        for name in plots(out.path()) {
            let committed = folder.join(&name);
            let drawn = fs::read(out.path().join(&name)).unwrap();
            let same = fs::read(&committed).is_ok_and(|bytes| bytes == drawn);
            assert!(
                same,
                "{} is not what bench/plots.py draws of the record beside it: run it again",
                committed.display()
            );
            count += 1;
        }
        let (drawn, kept) = (plots(out.path()), plots(&folder));
        assert_eq!(drawn, kept, "{} has other plots: {BLESS}", folder.display());
    }
    assert!(count >= 4, "only {count} plots were drawn");
}

#[test]
fn the_longer_tables_of_each_record_are_made_of_it() {
    for entry in fs::read_dir(records()).unwrap() {
        let folder = entry.unwrap().path();
        let should = results(&Record::read(&folder).unwrap());
        let path = folder.join(RESULTS);
        if std::env::var_os(BLESS).is_some() {
            fs::write(&path, &should).unwrap();
        }
        assert!(
            fs::read_to_string(&path).is_ok_and(|text| text == should),
            "{} is not what its record says: {BLESS}=1 cargo test --workspace --test plots",
            path.display()
        );
    }
}

#[test]
fn what_perf_md_has_of_a_record_is_of_the_one_that_it_names() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../PERF.md");
    let (perf, should) = read_and_written(&path).unwrap();
    if std::env::var_os(BLESS).is_some() {
        fs::write(&path, &should).unwrap();
        return;
    }
    assert!(
        perf == should,
        "PERF.md is not what its record says, or the code has changed where it does not say so: {BLESS}=1 cargo test --workspace --test plots, \
         and commit PERF.md; new numbers: cargo bench -p millpond-bench -- --record"
    );
}

#[test]
fn a_folder_without_a_record_is_refused_with_the_command_that_makes_one() {
    let empty = Folder::new();
    let ran = draw(empty.path(), empty.path());
    let said = String::from_utf8_lossy(&ran.stderr).into_owned();
    assert!(
        !ran.status.success() && said.contains("-- --record"),
        "{said}"
    );
}
