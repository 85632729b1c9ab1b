//! What it takes to load a large component: compiled, and from the folder of compiled code.

use std::fmt::Write as _;
use std::time::Duration;

use millpond::{CacheConfig, EngineConfig, HandlerConfig, memory_sum};
use millpond_tests::folder::Folder;
use millpond_tests::guest;
use wasmtime::Result;

use crate::clock;

/// The largest component that is built for tests: 18 MB of Python.
const LARGE: &str = "python-validate";
/// Loads from the folder; the median counts.
const LOADS: usize = 9;
/// What a load from the folder may take: the goal.
const LOAD_MAX: Duration = Duration::from_millis(50);

/// The row, and its goal beside what was reached. Nothing is started: the time is that of reading the file, its digest, and its code.
///
/// # Errors
/// The component can't be loaded.
pub fn load_report() -> Result<String> {
    let (folder, path) = (Folder::new(), guest(LARGE));
    let bytes = std::fs::metadata(&path)?.len();
    let mut config = EngineConfig::new().handler(HandlerConfig::file(LARGE, &path).subject("s"));
    config.cache = Some(CacheConfig::folder(folder.path().join("compiled")));
    let load = || -> Result<Duration> {
        let begun = clock::now();
        memory_sum(&config)?;
        Ok(clock::now() - begun)
    };
    let compiled = load()?;
    let mut loads = (0..LOADS).map(|_| load()).collect::<Result<Vec<_>>>()?;
    loads.sort();
    let (least, median, most) = (loads[0], loads[LOADS / 2], loads[LOADS - 1]);
    let kept: u64 = std::fs::read_dir(folder.path().join("compiled"))?
        .map(|entry| Ok(entry?.metadata()?.len()))
        .sum::<std::io::Result<u64>>()?;
    let ms = |time: Duration| time.as_secs_f64() * 1e3;
    let mut out = String::from("load of a component, wall time: compiled first, then kept code\n");
    writeln!(
        out,
        "{LARGE}: {bytes} bytes, {kept} of code; compiled in {:.0} ms; kept code in {:.1} ms (median of {LOADS}; {:.1}, {:.1}), goal ≤ {:.0} ms: {}",
        ms(compiled),
        ms(median),
        ms(least),
        ms(most),
        ms(LOAD_MAX),
        if median <= LOAD_MAX { "met" } else { "missed" },
    )?;
    Ok(out)
}
