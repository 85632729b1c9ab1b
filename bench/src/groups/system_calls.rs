//! System calls a message, once warm: those of the shard's thread, as `strace` sees them, by the difference of two runs.
//!
//! The reset of a used instance's memory is one a call or more and stands apart. They are counted, not timed, so that a test can hold them.

use std::collections::BTreeMap;
use std::process::Command;

use millpond_tests::folder::Folder;
use wasmtime::Result;
use wasmtime::error::Context as _;

use super::role::ROLE;
use crate::notes::note;
use crate::scale::Scale;
use crate::warm::{self, ROWS, Row};

/// Calls of the first run; the second makes twice as many.
const CALLS: usize = 256;
/// What resets memory: `PAGEMAP_SCAN`, or what gives pages back.
const RESETS: [&str; 2] = ["ioctl", "madvise"];

/// System calls of a full call.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Counted {
    /// A message, beside the reset.
    pub a_message: f64,
    /// A call, for the reset.
    pub reset: f64,
}

/// Measures each contract.
///
/// # Errors
/// There is no `strace`, or the program failed under it.
pub fn measure(scale: Scale) -> Result<()> {
    const GROUP: &str = "system calls";
    for row in ROWS.into_iter().filter(|row| !row.packed) {
        let (name, counted) = (row.name(), counted(row, scale)?);
        let case = format!("{name}: beside the reset");
        note(GROUP, case, "a message", [counted.a_message]);
        let case = format!("{name}: the reset");
        note(GROUP, case, "a call", [counted.reset]);
    }
    Ok(())
}

/// Counts a row. This program is run once more for it, and must play the [`ROLE`] that it is given then.
///
/// # Errors
/// As [`measure`].
pub fn counted(row: Row, scale: Scale) -> Result<Counted> {
    let calls = scale.count(CALLS as u64) as usize;
    let (once, twice) = (count(row, calls)?, count(row, 2 * calls)?);
    let more = |resets: bool| {
        let of = |counts: &BTreeMap<String, i64>| -> i64 {
            let all = counts.iter();
            all.filter(|(name, _)| RESETS.contains(&name.as_str()) == resets)
                .map(|(_, count)| count)
                .sum()
        };
        (of(&twice) - of(&once)) as f64 / calls as f64
    };
    Ok(Counted {
        a_message: more(false) / row.batch as f64,
        reset: more(true),
    })
}

/// System calls of the shard's thread, by their names.
fn count(row: Row, calls: usize) -> Result<BTreeMap<String, i64>> {
    let folder = Folder::new();
    let traces = folder.path().join("trace");
    let mut strace = Command::new("strace");
    strace.args(["-ff", "-qq", "-o"]).arg(&traces);
    strace.arg(std::env::current_exe()?);
    strace.args([ROLE, "turns", &row.name(), &calls.to_string()]);
    let ran = warm::ran(
        &mut strace,
        "strace can't be run: install it (`apt-get install strace`)",
    )?;
    let out = String::from_utf8_lossy(&ran.stdout);
    let thread = out.lines().find_map(|line| line.strip_prefix("shard "));
    let thread = thread.and_then(|words| words.split(' ').next());
    let thread = thread.context("the process did not name its shard's thread")?;
    let trace = std::fs::read_to_string(folder.path().join(format!("trace.{thread}")))?;
    let mut counts = BTreeMap::new();
    for line in trace.lines() {
        if let Some((name, _)) = line.split_once('(') {
            *counts.entry(name.to_owned()).or_default() += 1;
        }
    }
    Ok(counts)
}
