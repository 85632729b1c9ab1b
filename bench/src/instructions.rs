//! Instructions of one warm turn, by contract and messages a call, counted by callgrind and held under a bound.
//!
//! What is counted: `Shard::turn`, by the shard's thread alone, with what it calls: taking in, the call with its fresh instance and
//! the guest's own code, settling, writing out, dropping the instance. Not counted: publishing, parking, and what the kernel does; memory
//! is reset by `madvise`, so that the reset is the kernel's. It is the difference of so many calls and twice as many, so that
//! what happens once does not count. A pack is handed over by itself, so that its turn is followed by one that finds nothing, which counts
//! too; others are published 256 messages at a time. Two counts of one build differ by some 0.2 %.
//!
//! Bias: the test build is counted (our code at `opt-level` 1 with its assertions, dependencies at 2), since a release build would take CI longer
//! than all that it does now. It shows what a change adds, not what a user has. Under valgrind every call seems
//! long, so the engine learns from each; it really does from one in four of the short ones.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use millpond_tests::folder::Folder;
use serde::Deserialize;
use wasmtime::error::Context as _;
use wasmtime::{Result, bail, ensure};

use crate::warm::{self, ROWS, Row};

/// Calls that are counted; and twice as many. A multiple of what is published in one step.
pub const CALLS: usize = 128;
/// How far above its bound a count may be, in percent: some ten times what two counts of one build differ by.
pub const MARGIN_PERCENT: u64 = 3;
/// How far below it may be, in percent: a gain that is not kept in the bound would hide as large a loss later.
pub const GAIN_PERCENT: u64 = 10;
/// Marks a row: before the first calls, between, and after the second.
const MARKS: usize = 3;
/// The variable that moves the bounds to what was counted.
pub const BLESS: &str = "MILLPOND_BLESS";

/// The function that is counted with all that it calls, and the one at which counts are written, as callgrind names them.
const COUNTED: &str = "--toggle-collect=millpond::shard::Shard<*>::turn";
const WRITTEN: &str = "--dump-before=instructions::mark";

/// The file of bounds.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Bounds {
    /// Instructions of a turn.
    turn: std::collections::BTreeMap<String, u64>,
}

/// Where the bounds are.
fn bounds_path() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("instructions.toml")
}

/// Counts the turns of each row, which `program` makes with this `argument`, under callgrind.
///
/// # Errors
/// There is no valgrind, or it did not count what it should have.
pub fn count(program: &Path, argument: &str) -> Result<Vec<(Row, u64)>> {
    let folder = Folder::new();
    let out = folder.path().join("counts");
    let mut valgrind = Command::new("valgrind");
    valgrind.args(["--tool=callgrind", COUNTED, WRITTEN]);
    valgrind.arg(format!("--callgrind-out-file={}", out.display()));
    warm::ran(
        valgrind.args([program.as_os_str(), argument.as_ref()]),
        "valgrind can't be run: install valgrind 3.19 or newer (`apt-get install valgrind`)",
    )?;
    let part = |number| counted(&folder.path().join(format!("counts.{number}")));
    let of_row = |(place, row): (usize, &Row)| {
        let first = MARKS * place + 1;
        let (once, twice) = (part(first + 1)?, part(first + 2)?);
        let calls = twice.checked_sub(once).filter(|calls| *calls > 0);
        let calls = calls.with_context(|| {
            format!(
                "{}: {once} instructions of {CALLS} calls, {twice} of twice as many: is `Shard::turn` still a function?",
                row.name()
            )
        })?;
        Ok((*row, calls / CALLS as u64))
    };
    ROWS.iter().enumerate().map(of_row).collect()
}

/// What one of callgrind's files has counted.
fn counted(path: &Path) -> Result<u64> {
    let text = fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
    let total = text.lines().find_map(|line| line.strip_prefix("totals: "));
    let total = total.with_context(|| format!("{} has no totals", path.display()))?;
    Ok(total.trim().parse()?)
}

/// The text of the file of bounds.
///
/// # Errors
/// It can't be read.
pub fn bounds() -> Result<String> {
    let path = bounds_path();
    fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))
}

/// Holds counts against the bounds of this text; the table.
///
/// # Errors
/// One is more than the margin above its bound or so far below that the bound says nothing, with the table and how to move it; or it has none.
pub fn check(bounds: &str, counts: &[(Row, u64)]) -> Result<String> {
    let Bounds { turn } = toml::from_str(bounds).context("reading the bounds")?;
    let mut out = format!(
        "{:<22} {:>12} {:>10} {:>8}\n",
        "instructions a turn", "counted", "bound", "÷ bound"
    );
    let (mut over, mut under) = (Vec::new(), Vec::new());
    for (row, count) in counts {
        let name = row.name();
        let Some(bound) = turn.get(&name) else {
            bail!("there is no bound for {name}: {HOW}");
        };
        let ratio = *count as f64 / *bound as f64;
        writeln!(out, "{name:<22} {count:>12} {bound:>10} {ratio:>8.3}")?;
        if *count * 100 > bound * (100 + MARGIN_PERCENT) {
            over.push(name);
        } else if *count * 100 < bound * (100 - GAIN_PERCENT) {
            under.push(name);
        }
    }
    ensure!(
        over.is_empty(),
        "{out}more than {MARGIN_PERCENT} % above the bound: {}. Where it is meant, {HOW}",
        over.join(", ")
    );
    ensure!(
        under.is_empty(),
        "{out}more than {GAIN_PERCENT} % below the bound: {}. Move the bound down, so that the gain is kept: {HOW}",
        under.join(", ")
    );
    Ok(out)
}

/// How a bound is moved.
const HOW: &str = "run `MILLPOND_BLESS=1 cargo test --workspace --test instructions` and commit bench/instructions.toml with the reason";

/// The text of bounds that are these counts.
#[must_use]
pub fn blessed(counts: &[(Row, u64)]) -> String {
    let mut out = format!(
        "# Instructions of one warm turn of the test build: `cargo test --workspace --test instructions` fails where one is more than {MARGIN_PERCENT} %\n\
         # above what stands here, and where one is more than {GAIN_PERCENT} % below: then move it down. What is counted, and the bias: bench/src/instructions.rs. To move them all to what is counted now:\n\
         #     MILLPOND_BLESS=1 cargo test --workspace --test instructions\n\
         # and say in the commit why. They are those of x86-64.\n\n[turn]\n"
    );
    for (row, count) in counts {
        let _ = writeln!(out, "{} = {count}", row.name());
    }
    out
}

/// Writes these counts as the bounds.
///
/// # Errors
/// The file can't be written.
pub fn bless(counts: &[(Row, u64)]) -> Result<()> {
    let path = bounds_path();
    fs::write(&path, blessed(counts)).with_context(|| format!("writing {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_count_above_its_bound_is_named_with_how_to_move_it() {
        let at = |count| ROWS.map(|row| (row, count));
        let bounds = blessed(&at(100));
        check(&bounds, &at(100 + MARGIN_PERCENT)).unwrap();
        let error = check(&bounds, &at(101 + MARGIN_PERCENT)).unwrap_err();
        let error = error.to_string();
        let named = [&ROWS[0].name(), BLESS, &format!("{MARGIN_PERCENT} %")];
        for part in named {
            assert!(error.contains(part), "{error}");
        }
        assert!(check("[turn]", &at(1)).is_err());
    }

    #[test]
    fn a_count_far_below_its_bound_asks_to_move_it_down() {
        let at = |count| ROWS.map(|row| (row, count));
        let bounds = blessed(&at(100));
        check(&bounds, &at(100 - GAIN_PERCENT)).unwrap();
        let error = check(&bounds, &at(99 - GAIN_PERCENT)).unwrap_err();
        let error = error.to_string();
        for part in ["Move the bound down", &ROWS[0].name(), BLESS] {
            assert!(error.contains(part), "{error}");
        }
    }
}
