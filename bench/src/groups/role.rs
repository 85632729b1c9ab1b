//! A process of its own: its start, its memory or its system calls are its own then.
//!
//! The bench's program runs itself once more, with [`ROLE`] as its first argument. It prints a line once it is ready, waits for a line on
//! its standard input where somebody looks at it meanwhile, and ends.

use std::fs;
use std::path::Path;
use std::time::Duration;

use millpond::{CacheConfig, Engine, EngineConfig, Grants, HandlerConfig, Message};
use wasmtime::error::Context as _;
use wasmtime::{Result, bail, ensure};

use crate::clock;
use crate::guest::Guest;
use crate::warm::{ROWS, WarmEngine};

/// The first argument of a process that has a role.
pub const ROLE: &str = "role";
/// Where code is kept; this in its place says that it is not.
pub(super) const NO_CACHE: &str = "-";
/// The thread whose system calls are counted.
const SHARD: &str = "millpond-shard-";
const PATIENCE: Duration = Duration::from_secs(60);

/// Plays a role: `cold CACHE`, `handlers FOLDER COUNT READY CACHE`, `turns ROW CALLS`.
///
/// # Errors
/// It failed.
pub fn play(words: &[String]) -> Result<()> {
    let words: Vec<_> = words.iter().map(String::as_str).collect();
    match words[..] {
        ["cold", cache] => cold(cache),
        ["handlers", folder, count, ready, cache] => {
            handlers(Path::new(folder), count.parse()?, ready.parse()?, cache)
        }
        ["turns", row, calls] => turns(row, calls.parse()?),
        _ => bail!("there is no role {words:?}"),
    }
}

/// Keeps compiled code in this folder, if it is one.
fn cached(mut config: EngineConfig, cache: &str) -> EngineConfig {
    config.cache = (cache != NO_CACHE).then(|| CacheConfig::folder(cache));
    config
}

/// Starts an engine with one handler and has it handle one message.
fn cold(cache: &str) -> Result<()> {
    let guest = Guest::Echo;
    let handler = HandlerConfig::file(guest.name(), guest.path()).grants(Grants::all());
    let engine = Engine::start(cached(EngineConfig::new().handler(handler), cache))?;
    publish(&engine, guest.name())?;
    while engine.stats().in_flight > 0 {
        std::thread::yield_now();
    }
    println!("settled");
    ensure!(engine.stats().handlers[0].acked == 1, "it was not handled");
    engine.stop();
    Ok(())
}

/// Starts an engine with so many handlers, each of a component of its own, and says what that took. Then each has a message.
fn handlers(folder: &Path, count: usize, ready: usize, cache: &str) -> Result<()> {
    let mut config = EngineConfig::new().shards(1);
    config.limits.ready_instances_max = ready;
    for number in 0..count {
        let mut handler = HandlerConfig::file(number.to_string(), folder.join(number.to_string()));
        handler.limits.ready_instances_max = ready;
        config = config.handler(handler.subject(format!("touch.{number}")));
    }
    let begun = clock::now();
    let engine = Engine::start(cached(config, cache))?;
    let took = clock::now() - begun;
    while engine.stats().instances_ready < ready as u64 {
        std::thread::yield_now();
    }
    println!("started {} {}", took.as_micros(), resident_kib()?);
    let mut line = String::new();
    std::io::stdin().read_line(&mut line)?;
    let begun = clock::now();
    for number in 0..count {
        publish(&engine, &format!("touch.{number}"))?;
    }
    engine.drain(PATIENCE)?;
    let took = clock::now() - begun;
    let good = engine
        .stats()
        .handlers
        .iter()
        .all(|h| h.acked == 1 && h.faults.is_empty());
    ensure!(good, "a handler has not handled its message");
    println!("handled {}", took.as_nanos() / count as u128);
    engine.stop();
    Ok(())
}

/// Makes so many full calls once it is warm, and names the shard's thread.
fn turns(row: &str, calls: usize) -> Result<()> {
    let row = ROWS
        .into_iter()
        .find(|r| r.name() == row)
        .context("no such row")?;
    let engine = WarmEngine::as_chosen(row)?;
    let thread = clock::thread_named(SHARD)?;
    engine.in_one_step(calls)?;
    let id = thread.rsplit('/').next().unwrap_or_default();
    println!("shard {id} {}", engine.reset());
    Ok(())
}

fn publish(engine: &Engine, subject: &str) -> Result<()> {
    let taken = engine.publish(Message::new(subject, b"a message")?)?;
    ensure!(taken == 1, "{taken} handlers listen to {subject}");
    Ok(())
}

/// Memory of this process that is in the machine's.
fn resident_kib() -> Result<u64> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let number = line.and_then(|line| line.split_whitespace().next());
    Ok(number.context("no VmRSS")?.parse()?)
}
