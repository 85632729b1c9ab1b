//! A service in a process of its own, so that its CPU is its own: what that process does.
//!
//! It says `ready` on standard output once it serves. Then it answers each line on standard input with the CPU that it has had
//! so far, of all its threads, all of it and the kernel's part; and how many messages it has handled and, where it sheds any, shed. It ends
//! with its input.

use std::io::BufRead;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;
use wasmtime::error::Context as _;
use wasmtime::{Result, bail};

use super::{bare, native, ours};
use crate::cores::{Place, go};
use crate::guest::Guest;

/// The first argument of a process that has a role.
pub const ROLE: &str = "nats-role";

/// Says that the service serves.
pub(super) struct Ready;

impl Ready {
    /// It does.
    #[allow(clippy::unused_self, reason = "whoever has it may say so")]
    pub(super) fn is(self) {
        println!("ready");
    }
}

/// Plays a role: which, the server's address, and two more words of its own.
///
/// # Errors
/// The service failed.
pub fn play(arguments: &[String]) -> Result<()> {
    let words: Vec<_> = arguments.iter().map(String::as_str).collect();
    let &[role, address, name, number] = &words[..] else {
        bail!("a role has four words");
    };
    let (address, name): (String, String) = (address.into(), name.into());
    let most: usize = number.parse()?;
    go(Place::Anywhere)?;
    if std::env::var_os("MILLPOND_BENCH_SPREAD").is_none() {
        go(Place::Shard)?;
    }
    let handled = Arc::new(AtomicU64::new(0));
    let engine = match role {
        "echo-ours" => Some(ours::echo(&address, Guest::Echo, most, Ready)?),
        "echo-ours-3" => Some(ours::echo(&address, Guest::BatchEcho, most, Ready)?),
        "open-ours-3" => Some(ours::open_echo(&address, Guest::BatchEcho, most, Ready)?),
        "consume-ours" => Some(ours::consume(&address, &name, Guest::Counter, most, Ready)?),
        "consume-ours-3" => Some(ours::consume(
            &address,
            &name,
            Guest::BatchCounter,
            most,
            Ready,
        )?),
        _ => None,
    };
    let (count, messages) = (Arc::clone(&handled), most as u64);
    let serve: Box<dyn FnOnce() -> Result<()> + Send> = match role {
        "echo-bare" => Box::new(move || bare::echo(&address, &name, &count, Ready)),
        "echo-native" => Box::new(move || native::echo(&address, &name, &count, Ready)),
        "consume-bare" => Box::new(move || bare::consume(&address, &name, messages, &count, Ready)),
        "consume-native" => {
            Box::new(move || native::consume(&address, &name, messages, &count, Ready))
        }
        _ => Box::new(|| Ok(())),
    };
    let service = std::thread::Builder::new().name("service".into());
    service.spawn(move || {
        if let Err(error) = serve() {
            eprintln!("the service failed: {error:?}");
            std::process::exit(1);
        }
    })?;
    for line in std::io::stdin().lock().lines() {
        line?;
        let (handled, shed, calls) = match &engine {
            Some(engine) => ours::count(engine)?,
            None => (handled.load(Ordering::Acquire), 0, 0),
        };
        let (cpu, kernel) = cpu_nanos()?;
        println!("usage {cpu} {kernel} {handled} {shed} {calls}");
    }
    if let Some(engine) = engine {
        engine.stop();
    }
    Ok(())
}

/// What this process has had of the cores so far, and of that what the kernel had.
fn cpu_nanos() -> Result<(i64, i64)> {
    let usage = getrusage(UsageWho::RUSAGE_SELF).context("asking for the process's usage")?;
    let (user, kernel) = (usage.user_time(), usage.system_time());
    let kernel = kernel.num_microseconds() * 1_000;
    Ok((user.num_microseconds() * 1_000 + kernel, kernel))
}
