//! Which core this thread runs on: the raw loop on the one that the engine's shard is pinned to, publishers on another.

use std::sync::OnceLock;

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use wasmtime::Result;
use wasmtime::error::Context as _;

/// Where a thread runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// Any core, as when the process began: threads that are started then inherit it.
    Anywhere,
    /// The first core, where an engine pins its first shard.
    Shard,
    /// The last core, where nothing else of the bench runs.
    Publisher,
}

/// The cores that this process began with.
fn cores() -> Result<&'static [usize]> {
    static CORES: OnceLock<Vec<usize>> = OnceLock::new();
    if let Some(cores) = CORES.get() {
        return Ok(cores);
    }
    let allowed = sched_getaffinity(None).context("reading the cores of this process")?;
    let found = (0..CpuSet::MAX_CPU).filter(|core| allowed.is_set(*core));
    Ok(CORES.get_or_init(|| found.collect()))
}

/// Moves this thread. The first move of a process must be to [`Place::Anywhere`].
///
/// # Errors
/// The system refuses it.
pub fn go(place: Place) -> Result<()> {
    let cores = cores()?;
    let picked = match place {
        Place::Anywhere => cores,
        Place::Shard => &cores[..1],
        Place::Publisher => &cores[cores.len() - 1..],
    };
    let mut set = CpuSet::new();
    picked.iter().for_each(|core| set.set(*core));
    sched_setaffinity(None, &set).context("moving this thread to a core")
}
