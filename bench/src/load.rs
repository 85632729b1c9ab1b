//! What it takes to load a large component: compiled, and from the folder of compiled code.

use std::time::Duration;

use millpond::{CacheConfig, EngineConfig, HandlerConfig, memory_sum};
use millpond_tests::folder::Folder;
use millpond_tests::{built_guest, guest};
use wasmtime::{Result, format_err};

use crate::clock;
use crate::notes::note;
use crate::scale::Scale;

/// The largest component that is built for tests: 18 MB of Python.
const LARGE: &str = "python-validate";
/// What is loaded in its place where little is measured.
const SMALL: &str = "rust-orders";
/// Loads from the folder.
const LOADS: usize = 9;

/// Measures both. Nothing is started: the time is that of reading the file, its digest, and its code.
///
/// # Errors
/// The component can't be built, which needs the package registries the first time; or not loaded.
pub fn measure(scale: Scale) -> Result<()> {
    let path = match scale {
        Scale::Whole => built_guest(LARGE).map_err(|why| format_err!("{why}"))?,
        Scale::Small => guest(SMALL),
    };
    let folder = Folder::new();
    let mut config = EngineConfig::new().handler(HandlerConfig::file(LARGE, &path).subject("s"));
    config.cache = Some(CacheConfig::folder(folder.path().join("compiled")));
    let load = || -> Result<f64> {
        let begun = clock::now();
        memory_sum(&config)?;
        Ok(millis(clock::now() - begun))
    };
    let compiled = load()?;
    let loads = (0..scale.rounds(LOADS))
        .map(|_| load())
        .collect::<Result<Vec<_>>>()?;
    let megabytes = std::fs::metadata(&path)?.len() as f64 / 1e6;
    let unit = format!("ms, {megabytes:.0} MB of Python");
    note("load", "compiled", &unit, [compiled]);
    note("load", "kept code", &unit, loads);
    Ok(())
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}
