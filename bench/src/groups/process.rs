//! What a process takes: its start until a message is settled, the memory of an idle handler and of a slot, and a thousand handlers.
//!
//! Memory is resident memory, as the kernel counts it, and always a difference of two processes that differ in the number of handlers or
//! of ready instances. All code is kept code, as in production; the handlers' components differ, so that no code or image is shared.

use std::path::Path;
use std::process::Command;

use millpond::{EngineConfig, HandlerConfig, memory_sum};
use millpond_tests::folder::Folder;
use millpond_tests::program::Program;
use wasmtime::Result;
use wasmtime::error::Context as _;

use super::role::{NO_CACHE, ROLE};
use super::touch;
use crate::clock;
use crate::cores::{Place, go};
use crate::guest::Guest;
use crate::notes::note;
use crate::scale::Scale;

const STARTS: usize = 9;
const ROUNDS: usize = 7;
/// Handlers whose memory is compared.
const FEW: usize = 8;
const MANY: usize = 208;
const LOADED: usize = 1_000;
/// What is bounded, and not measured.
const MOST: &str = "the most that defaults can need";
/// Ready instances that are compared with none.
const READY: usize = 64;

/// The bench's program in a role.
fn role(words: &[&str]) -> Result<Program> {
    let mut command = Command::new(std::env::current_exe()?);
    Ok(Program::start(command.arg(ROLE).args(words)))
}

/// A process's next line that begins so, in words.
fn heard(program: &Program, begins: &str) -> Result<Vec<String>> {
    let line = program.out().next_with(begins).map_err(|all| {
        let said = program.err().so_far().join("\n");
        wasmtime::format_err!("a process ended without {begins:?}:\n{all}\n{said}")
    })?;
    Ok(line.split(' ').skip(1).map(str::to_owned).collect())
}

/// From exec to the first message settled: compiled, and from kept code.
///
/// # Errors
/// The process failed.
pub fn cold_start(scale: Scale) -> Result<()> {
    go(Place::Anywhere)?;
    let folder = Folder::new();
    let kept = folder.path().join("kept").display().to_string();
    // The first run keeps the code.
    start(&kept)?;
    for (cache, name) in [(&*kept, "kept code"), (NO_CACHE, "compiled")] {
        let times = (0..scale.rounds(STARTS))
            .map(|_| start(cache))
            .collect::<Result<Vec<_>>>()?;
        note("cold start", name, "ms, exec to settled", times);
    }
    Ok(())
}

fn start(cache: &str) -> Result<f64> {
    let begun = clock::now();
    let mut program = role(&["cold", cache])?;
    heard(&program, "settled")?;
    let took = clock::now() - begun;
    program.ended();
    Ok(took.as_secs_f64() * 1e3)
}

/// What a process with handlers says of itself.
struct Loaded {
    start_ms: f64,
    resident_kib: f64,
    message_nanos: f64,
}

fn loaded(folder: &Path, count: usize, ready: usize) -> Result<Loaded> {
    let (components, kept) = (folder.join("components"), folder.join("kept"));
    let [components, kept] = [components, kept].map(|path| path.display().to_string());
    let words = [
        "handlers",
        &components,
        &count.to_string(),
        &ready.to_string(),
        &kept,
    ];
    let mut program = role(&words)?;
    let started = heard(&program, "started ")?;
    program.write(b"go\n");
    let handled = heard(&program, "handled ")?;
    program.ended();
    let number = |words: &[String], at: usize| -> Result<f64> {
        Ok(words.get(at).context("a number is missing")?.parse()?)
    };
    Ok(Loaded {
        start_ms: number(&started, 0)? / 1e3,
        resident_kib: number(&started, 1)?,
        message_nanos: number(&handled, 0)?,
    })
}

/// The memory of an idle handler and of a ready instance; and a thousand handlers.
///
/// # Errors
/// A process failed.
pub fn handlers(scale: Scale) -> Result<()> {
    go(Place::Anywhere)?;
    let [all, many] = [LOADED, MANY].map(|count| scale.count(count as u64) as usize);
    let few = FEW.min(many / 2);
    let folder = Folder::new();
    let components = folder.path().join("components");
    std::fs::create_dir_all(&components)?;
    for (number, component) in touch::numbered(all)?.enumerate() {
        std::fs::write(components.join(number.to_string()), component)?;
    }
    let compiled = loaded(folder.path(), all, 0)?;
    note(
        "handlers",
        "1,000 loaded: start, compiled",
        "ms",
        [compiled.start_ms],
    );
    let (mut idle, mut slot) = (Vec::new(), Vec::new());
    let mut thousand = [const { Vec::new() }; 3];
    for _ in 0..scale.rounds(ROUNDS) {
        let of =
            |count, ready| -> Result<f64> { Ok(loaded(folder.path(), count, ready)?.resident_kib) };
        let base = of(few, 0)?;
        idle.push((of(many, 0)? - base) / (many - few) as f64);
        slot.push((of(few, READY)? - base) / READY as f64);
        let loaded = loaded(folder.path(), all, 0)?;
        let values = [
            loaded.start_ms,
            loaded.resident_kib / 1_024.0,
            loaded.message_nanos / 1e3,
        ];
        thousand
            .iter_mut()
            .zip(values)
            .for_each(|(row, value)| row.push(value));
    }
    note(
        "memory",
        "an idle handler",
        "KB resident, 64 KB image",
        idle,
    );
    note(
        "memory",
        "a ready instance, never called",
        "KB resident, 64 KB image",
        slot,
    );
    let guest = Guest::Echo;
    let defaults = HandlerConfig::file(guest.name(), guest.path());
    let sum = memory_sum(&EngineConfig::new().shards(1).handler(defaults))?;
    let megabytes = sum.total() as f64 / 1e6;
    note("memory", MOST, "MB, 1 shard, 1 handler", [megabytes]);
    let names = [
        ("start, kept code", "ms"),
        ("resident", "MB"),
        ("one message each", "µs a message"),
    ];
    for (row, (name, unit)) in thousand.into_iter().zip(names) {
        note("handlers", format!("1,000 loaded: {name}"), unit, row);
    }
    Ok(())
}
