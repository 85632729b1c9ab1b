//! The record of a run: every row with all its rounds, and what is needed to judge or repeat it.
//!
//! Nothing in it names a person, a host or a folder.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use wasmtime::Result;
use wasmtime::error::Context as _;

use crate::clock;
use crate::nats;
use crate::notes::Row;
use crate::reset;
use crate::sources::{self, Sources};

/// The file's name in its folder.
const FILE: &str = "record.json";
/// Most records of one machine and day.
const RUNS_MAX: usize = 99;
/// The workspace's, for the profile that the bench is built with.
const MANIFEST: &str = include_str!("../../Cargo.toml");
const DAY: Duration = Duration::from_secs(24 * 3_600);

/// Where and of what it was measured.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Facts {
    /// The day, in UTC, as year-month-day.
    pub date: String,
    /// The commit, with a plus behind it if files were changed.
    pub commit: String,
    /// The command.
    pub command: String,
    /// The processor, as the kernel names it.
    pub processor: String,
    /// Cores that the process could use.
    pub cores: usize,
    /// The machine's memory.
    pub memory_gib: u64,
    /// The kernel's version.
    pub kernel: String,
    /// The compiler.
    pub rustc: String,
    /// How it was built. This and what follows older records don't have.
    #[serde(default)]
    pub profile: Option<String>,
    /// How used memory is reset, as the engine chose.
    #[serde(default)]
    pub reset: Option<String>,
    /// The version of nats-server, if one was needed.
    #[serde(default)]
    pub nats_server: Option<String>,
    /// The load average of a minute when it began.
    #[serde(default)]
    pub load_before: Option<String>,
    /// How many seconds it took.
    #[serde(default)]
    pub elapsed_s: Option<u64>,
}

/// A run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// What it was measured on.
    pub facts: Facts,
    /// What was measured.
    pub rows: Vec<Row>,
    /// Parts that were not, or not all, and why.
    pub failed: Vec<String>,
    /// What it was measured of; empty in older records.
    #[serde(default)]
    pub sources: Sources,
}

impl Facts {
    /// Those of this machine, of a run with these arguments that begins now.
    #[must_use]
    pub fn here(arguments: &[String]) -> Self {
        let read = |path| fs::read_to_string(path).unwrap_or_default();
        let field = |text: &str, name: &str| {
            let line = text.lines().find(|line| line.starts_with(name))?;
            Some(line.split_once(':')?.1.trim().to_owned())
        };
        let memory = field(&read("/proc/meminfo"), "MemTotal");
        let kib = memory.and_then(|text| text.split(' ').next()?.parse::<u64>().ok());
        let mut command = "cargo bench -p millpond-bench".to_owned();
        if !arguments.is_empty() {
            command += &format!(" -- {}", arguments.join(" "));
        }
        Self {
            date: date(clock::today()),
            commit: commit(),
            command,
            processor: field(&read("/proc/cpuinfo"), "model name").unwrap_or_default(),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            memory_gib: kib.unwrap_or_default().div_ceil(1 << 20),
            // What follows the numbers names a build.
            kernel: read("/proc/sys/kernel/osrelease")
                .split(['-', '+', '\n'])
                .next()
                .unwrap_or_default()
                .to_owned(),
            rustc: said("rustc", &["--version"]),
            profile: profile(),
            reset: None,
            nats_server: None,
            load_before: read("/proc/loadavg").split(' ').next().map(str::to_owned),
            elapsed_s: None,
        }
    }

    /// What is known once all is measured, which took so long.
    ///
    /// # Errors
    /// No engine starts here.
    pub fn at_end(&mut self, elapsed: Duration) -> Result<()> {
        self.reset = Some(reset::chosen()?.name().to_owned());
        self.nats_server = nats::server_version();
        self.elapsed_s = Some(elapsed.as_secs());
        Ok(())
    }

    /// What its folder is called: the day and the machine. A later run of the day has a number behind that.
    #[must_use]
    pub fn name(&self) -> String {
        let mut machine = format!("{} {} cores", self.processor, self.cores).to_lowercase();
        machine.retain(|c| c.is_ascii_alphanumeric() || c == ' ');
        let words: Vec<_> = machine.split_whitespace().collect();
        format!("{}-{}", self.date, words.join("-"))
    }
}

impl Record {
    /// A run of these sources that has not measured anything yet.
    ///
    /// # Errors
    /// A source can't be read.
    pub fn begin(facts: Facts) -> Result<Self> {
        Ok(Self {
            facts,
            rows: Vec::new(),
            failed: Vec::new(),
            sources: sources::here()?,
        })
    }

    /// Writes it into a new folder under `parent`; the folder. What was recorded before stays as it is.
    ///
    /// # Errors
    /// It can't be written.
    pub fn write(&self, parent: &Path) -> Result<PathBuf> {
        let name = self.facts.name();
        let numbered = (2..=RUNS_MAX).map(|number| format!("{name}-{number}"));
        let mut names = [name.clone()].into_iter().chain(numbered);
        let folder = names.find_map(|name| {
            let folder = parent.join(name);
            (!folder.exists()).then_some(folder)
        });
        let folder = folder.with_context(|| format!("{RUNS_MAX} records are named {name}"))?;
        fs::create_dir_all(parent).with_context(|| format!("making {}", parent.display()))?;
        fs::create_dir(&folder).with_context(|| format!("making {}", folder.display()))?;
        let text = serde_json::to_string_pretty(self)? + "\n";
        let path = folder.join(FILE);
        fs::write(&path, text).with_context(|| format!("writing {}", path.display()))?;
        Ok(folder)
    }

    /// Reads it from its folder.
    ///
    /// # Errors
    /// There is none, or it is none.
    pub fn read(folder: &Path) -> Result<Self> {
        let path = folder.join(FILE);
        let text = fs::read_to_string(&path);
        let text = text.with_context(|| format!("reading {}", path.display()))?;
        serde_json::from_str(&text).with_context(|| format!("{} is no record", path.display()))
    }
}

/// Where records are kept.
#[must_use]
pub fn records() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("record")
}

/// How this was built: the release profile, which the bench's is, with its settings; or the test build's.
fn profile() -> Option<String> {
    if cfg!(debug_assertions) {
        return Some("dev".to_owned());
    }
    let manifest: toml::Table = MANIFEST.parse().ok()?;
    let release = manifest.get("profile")?.get("release")?.as_table()?;
    let setting = |(name, value): (&String, &toml::Value)| match value {
        toml::Value::String(text) => format!("{name} {text}"),
        toml::Value::Integer(number) => format!("{name} {number}"),
        other => format!("{name} {other:?}"),
    };
    let settings: Vec<_> = release.iter().map(setting).collect();
    Some(format!("release: {}", settings.join(", ")))
}

/// The commit that was built, as far as git can say.
fn commit() -> String {
    let hash = said("git", &["rev-parse", "--short=12", "HEAD"]);
    match said("git", &["status", "--porcelain", "--untracked-files=no"]).is_empty() {
        true => hash,
        false => hash + "+",
    }
}

/// What a program says in one line; nothing if it can't be run.
fn said(program: &str, arguments: &[&str]) -> String {
    let mut command = Command::new(program);
    let command = command
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .args(arguments);
    let output = command
        .output()
        .ok()
        .filter(|output| output.status.success());
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
    text.unwrap_or_default()
        .lines()
        .next()
        .unwrap_or_default()
        .to_owned()
}

/// A day in UTC. By Howard Hinnant's `civil_from_days` (chrono-compatible low-level date algorithms).
fn date(at: SystemTime) -> String {
    let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
    let days = (since.as_secs() / DAY.as_secs()) as i64 + 719_468;
    let (era, day) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = year + era * 400 + i64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use millpond_tests::folder::Folder;

    #[test]
    fn days_are_those_of_the_calendar() {
        let day = |days: u64| date(UNIX_EPOCH + DAY * days as u32);
        assert_eq!(
            [day(0), day(59), day(11_016), day(20_782)].join(" "),
            "1970-01-01 1970-03-01 2000-02-29 2026-11-25"
        );
    }

    #[test]
    fn a_record_is_read_as_it_was_written() {
        let folder = Folder::new();
        let mut facts = Facts::here(&["scaling".into()]);
        facts.at_end(Duration::from_millis(61_900)).unwrap();
        assert_eq!(facts.elapsed_s, Some(61));
        let mut record = Record::begin(facts).unwrap();
        record.rows.push(Row {
            group: "scaling".into(),
            case: "1 shard".into(),
            unit: "messages/s".into(),
            rounds: vec![0.1 + 0.2, 1e9 / 3.0, 7.0],
        });
        let written = record.write(folder.path()).unwrap();
        assert_eq!(Record::read(&written).unwrap(), record);
        let mut second = record.clone();
        second.failed.push("latency: 3 of 4 answers came".into());
        let later = second.write(folder.path()).unwrap();
        assert_eq!(later, written.with_file_name(record.facts.name() + "-2"));
        assert_eq!(
            Record::read(&written).unwrap(),
            record,
            "it was overwritten"
        );
        assert_eq!(Record::read(&later).unwrap(), second);
        assert!(!record.facts.processor.is_empty() && record.facts.rustc.starts_with("rustc 1."));
        let name = record.facts.name();
        assert!(name.starts_with(&record.facts.date), "{name}");
        assert!(!name.contains([' ', '/', '(']), "{name}");
    }
}
