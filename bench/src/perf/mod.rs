//! What is written of a record: PERF.md's parts that it fills (the goals, the budget, the machine, the results), and beside it, in its folder, the
//! longer tables, which no goal needs.
//!
//! PERF.md names its record in one line, and has a pair of lines for each part, between which nobody writes by hand. Its pictures are those
//! of the same record.

mod budget;
mod results;
mod rows;
mod tune;

use std::fs;
use std::path::{Path, PathBuf};

use wasmtime::error::Context as _;
use wasmtime::{Result, ensure};

use crate::goals;
use crate::record::{Facts, Record, records};
use crate::sources;

/// A part: its name, and its text, none where the record has nothing of it.
type Part = (&'static str, fn(&Record) -> Option<String>);

/// Those of PERF.md.
const PARTS: [Part; 7] = [
    ("sources", sourced),
    ("goals", judged),
    ("budget", budget::text),
    ("machine", machine),
    ("nats", results::nats),
    ("latency", results::latency),
    ("tune", tune::text),
];

/// Those of the file beside the record, by their headings.
const LONGER: [Part; 8] = [
    ("In process", results::in_process),
    ("Resetting used memory", results::resets),
    (
        "By contract, messages a call and bytes of payload, where a call holds them",
        results::call,
    ),
    ("Fresh instances", results::instances),
    ("JetStream, consume and ack", results::consume),
    ("Start, memory, one message", results::start),
    ("Shards", results::scaling),
    (
        "Wasmtime's settings, one at a time other than the engine has them",
        results::settings,
    ),
];

/// The file of the longer tables in a record's folder.
pub const RESULTS: &str = "results.md";

/// The line that names the record, and the lines around a part.
const RECORD: (&str, &str) = ("<!-- record: bench/record/", " -->");
const BEGIN: &str = "<!-- begin ";
const END: &str = "<!-- end ";
const CLOSE: &str = " -->\n";

/// How the path of a picture begins, before the record's name.
const PICTURE: &str = "](bench/record/";

/// What stands where the record has nothing of a part.
const NOTHING: &str = "Not in this record.\n";

/// The text of PERF.md with each part as the record that it names has it.
///
/// # Errors
/// It names no record that can be read, or lacks the lines of a part.
pub fn written(perf: &str) -> Result<String> {
    let (_, rest) = perf
        .split_once(RECORD.0)
        .context("PERF.md names no record: `<!-- record: bench/record/NAME -->`")?;
    let (name, _) = rest
        .split_once(RECORD.1)
        .context("the line of PERF.md that names its record has no end")?;
    let record = Record::read(&records().join(name))?;
    Ok(pictured(&filled(perf, &record)?, name))
}

/// The same with all pictures those of this record.
fn pictured(perf: &str, name: &str) -> String {
    let mut parts = perf.split(PICTURE);
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |text, part| {
        let file = part.split_once('/').map_or(part, |(_, file)| file);
        format!("{text}{PICTURE}{name}/{file}")
    })
}

fn filled(perf: &str, record: &Record) -> Result<String> {
    let begun = perf.matches(BEGIN).count();
    let parts = PARTS.len();
    ensure!(
        begun == parts,
        "PERF.md begins {begun} parts, and the bench writes {parts}"
    );
    let mut text = perf.to_owned();
    for (name, part) in PARTS {
        let (begin, end) = (
            format!("{BEGIN}{name}{CLOSE}"),
            format!("{END}{name}{CLOSE}"),
        );
        let split = text.split_once(&begin);
        let (before, rest) = split.with_context(|| format!("PERF.md lacks {begin}"))?;
        let split = rest.split_once(&end);
        let (_, after) = split.with_context(|| format!("PERF.md lacks {end}"))?;
        let part = part(record).unwrap_or_else(|| NOTHING.to_owned());
        text = format!("{before}{begin}{part}{end}{after}");
    }
    Ok(text)
}

/// The text of [`RESULTS`].
#[must_use]
pub fn results(record: &Record) -> String {
    let part = |(name, part): &Part| Some(format!("\n## {name}\n{}", part(record)?));
    let parts: String = LONGER.iter().filter_map(part).collect();
    format!("# What PERF.md has no room for\nWritten from the record beside it.\n{parts}")
}

/// Keeps a record in a new folder under `parent`, and what PERF.md has no room for beside it; the folder.
///
/// # Errors
/// It can't be written.
pub fn kept(record: &Record, parent: &Path) -> Result<PathBuf> {
    let folder = record.write(parent)?;
    let path = folder.join(RESULTS);
    fs::write(&path, results(record)).with_context(|| format!("writing {}", path.display()))?;
    Ok(folder)
}

/// PERF.md, and what it should be.
///
/// # Errors
/// It can't be read, or as [`written`].
pub fn read_and_written(path: &Path) -> Result<(String, String)> {
    let perf = fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
    let should = written(&perf)?;
    Ok((perf, should))
}

/// Whether the code here is that of the record.
fn sourced(record: &Record) -> Option<String> {
    if record.sources.is_empty() {
        return Some("The record does not say of which code it is.\n".to_owned());
    }
    let now = sources::here().ok()?;
    let changed = sources::changed(&record.sources, &now);
    if changed.is_empty() {
        return Some("The code of engine and bench is that of the record.\n".to_owned());
    }
    let areas: Vec<_> = sources::areas(&changed);
    let areas = areas.iter().map(|area| format!("`{area}`"));
    let commit = record.facts.commit.trim_end_matches('+');
    Some(format!(
        "Since the record the code has changed in {}: its numbers are of the code before. `git diff {commit} -- engine/src bench Cargo.lock` shows how.\n",
        areas.collect::<Vec<_>>().join(", ")
    ))
}

fn judged(record: &Record) -> Option<String> {
    let failed = |why: &String| format!("\nFailed in this run: {why}.\n");
    let failed: String = record.failed.iter().map(failed).collect();
    Some(format!(
        "{}{failed}",
        goals::markdown(&goals::judge(&record.rows))
    ))
}

/// The facts, an item each.
fn machine(record: &Record) -> Option<String> {
    let Facts {
        date,
        commit,
        command,
        processor,
        cores,
        memory_gib,
        kernel,
        rustc,
        profile,
        reset,
        nats_server,
        load_before,
        elapsed_s,
    } = &record.facts;
    let elapsed = elapsed_s.map(|seconds| format!("{seconds} s"));
    let items = [
        (
            "Machine",
            Some(format!(
                "{processor}, {cores} cores, {memory_gib} GiB, Linux {kernel}"
            )),
        ),
        (
            "Build",
            Some(format!("{rustc}, commit {commit} (+: with changes on top)")),
        ),
        ("Profile", profile.clone()),
        ("Reset of used memory, as the engine chose", reset.clone()),
        ("nats-server", nats_server.clone()),
        ("Run", Some(format!("{date}, `{command}`"))),
        ("Took", elapsed),
        ("Load average of a minute before", load_before.clone()),
    ];
    let item = |(name, value): (&str, Option<String>)| Some(format!("- {name}: {}\n", value?));
    Some(items.into_iter().filter_map(item).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::notes::Row;

    /// PERF.md with nothing in its parts but the lines around them.
    fn empty() -> String {
        let part = |(name, _): &Part| format!("{BEGIN}{name}{CLOSE}old\n{END}{name}{CLOSE}");
        PARTS.iter().map(part).collect()
    }

    fn record(rows: Vec<Row>) -> Record {
        Record {
            facts: Facts::here(&[]),
            rows,
            failed: vec!["latency: it rained".into()],
            sources: sources::Sources::new(),
        }
    }

    #[test]
    fn a_record_of_other_code_is_told_with_where_that_has_changed() {
        let mut record = record(Vec::new());
        assert!(sourced(&record).unwrap().contains("does not say"));
        record.sources = sources::here().unwrap();
        assert!(sourced(&record).unwrap().contains("is that of the record"));
        record.sources.remove("engine/src/shard.rs").unwrap();
        let told = sourced(&record).unwrap();
        assert!(told.contains("changed in `engine/src`:"), "{told}");
    }

    #[test]
    fn longer_tables_are_written_beside_the_record() {
        let row = Row {
            group: "scaling".into(),
            case: "1 shard".into(),
            unit: "messages/s".into(),
            rounds: vec![3.0, 1.0, 2.0],
        };
        let text = results(&record(vec![row]));
        let told = "## Shards\n| shards |";
        assert!(text.contains(told), "{text}");
        assert!(
            text.contains("| 1 shard, fed by their own handlers | 2.000 (1.000, 3.000) | 1.000 |"),
            "{text}"
        );
        assert_eq!(text.matches("\n## ").count(), 1, "{text}");
    }

    #[test]
    fn every_part_is_written_and_only_between_its_lines() {
        let row = Row {
            group: "latency".into(),
            case: "in process at 50 %: p50".into(),
            unit: "µs".into(),
            rounds: vec![3.0, 1.0, 2.0],
        };
        let perf = format!("before\n{}after\n", empty());
        let text = filled(&perf, &record(vec![row])).unwrap();
        assert!(text.starts_with("before\n") && text.ends_with("after\n"));
        assert!(!text.contains("old\n") && text.contains("it rained"));
        assert!(
            text.contains("| in process at 50 % | 2.000 (1.000, 3.000) | – | – | – |"),
            "{text}"
        );
        assert!(text.contains(&format!("{BEGIN}nats{CLOSE}{NOTHING}")));
        assert_eq!(
            filled(&text, &record(Vec::new()))
                .unwrap()
                .matches(NOTHING)
                .count(),
            PARTS.len() - 3
        );
    }

    #[test]
    fn pictures_are_of_the_record_that_is_named() {
        let perf = "![a](bench/record/old/a.svg) text ![b](bench/record/new/b.svg)";
        let new = "![a](bench/record/new/a.svg) text ![b](bench/record/new/b.svg)";
        assert_eq!(pictured(perf, "new"), new);
        assert_eq!(pictured("none", "new"), "none");
    }

    #[test]
    fn a_part_that_perf_md_lacks_or_the_bench_does_not_write_is_an_error() {
        let less = empty().replace("begin budget", "begin nothing");
        assert!(filled(&less, &record(Vec::new())).is_err());
        let more = empty() + BEGIN + "more" + CLOSE;
        assert!(filled(&more, &record(Vec::new())).is_err());
        assert!(written("no record").is_err());
    }
}
