//! The clocks of the benches: the wall's, and what a thread has had of its core.

use std::fs;
use std::time::{Duration, Instant, SystemTime};

use wasmtime::Result;
use wasmtime::error::Context as _;

/// The time.
#[must_use]
#[allow(
    clippy::disallowed_methods,
    reason = "a bench is a shell: it reads the clock, here alone"
)]
pub fn now() -> Instant {
    Instant::now()
}

/// The world's time, for the date of a record.
#[must_use]
#[allow(
    clippy::disallowed_methods,
    reason = "a bench is a shell: it reads the clock, here alone"
)]
pub fn today() -> SystemTime {
    SystemTime::now()
}

/// Time that a thread has run on a core, kept by the kernel: unlike the wall's, it leaves out what other processes took. From
/// the thread's `schedstat`, which is brought up to date at every tick of the kernel.
///
/// # Errors
/// There is no such file.
pub fn on_core(thread: &str) -> Result<Duration> {
    let path = format!("/proc/{thread}/schedstat");
    let text = fs::read_to_string(&path).with_context(|| format!("reading {path}"))?;
    let nanos = text.split(' ').next().context("an empty schedstat")?;
    Ok(Duration::from_nanos(nanos.parse()?))
}

/// This thread, for [`on_core`].
pub const THIS_THREAD: &str = "thread-self";

/// The one thread of this process whose name begins so, for [`on_core`].
///
/// # Errors
/// There is none.
pub fn thread_named(name: &str) -> Result<String> {
    for task in fs::read_dir("/proc/self/task")? {
        let task = task?;
        // A thread may end while one looks.
        let comm = fs::read_to_string(task.path().join("comm")).unwrap_or_default();
        if comm.starts_with(name) {
            return Ok(format!("self/task/{}", task.file_name().display()));
        }
    }
    wasmtime::bail!("no thread is named {name}")
}
