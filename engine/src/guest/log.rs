//! What guests write into the log, under their handler's name: `wasi:logging`, and the lines of WASI's standard output and error.
//!
//! Owns the bounds of both: a line has at most [`LINE_BYTES_MAX`] bytes, and a call `log_lines_max` lines. A line that nobody listens
//! for counts as none. Knows no contract.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use wasmtime::StoreContextMut;
use wasmtime::component::{ComponentType, Lift, WasmStr};

use super::HostLinker;
use super::host::{Host, Profile};
use crate::line::OneLine;

/// Longest text of a guest that is logged as one, in bytes of what it said: a page, since nobody reads more in a line. Escapes make it
/// longer, sixfold at most. A longer line of output is cut into several, and a longer text of `wasi:logging` is cut off.
pub(crate) const LINE_BYTES_MAX: usize = 4_096;

/// Interfaces that are the same: as published, and as it is in worlds that give no version.
const INTERFACES: [&str; 2] = ["wasi:logging/logging@0.1.0-draft", "wasi:logging/logging"];

/// Whether an import is one of these interfaces.
pub(crate) fn provides(import: &str) -> bool {
    INTERFACES.contains(&import)
}

/// How much a guest says that it matters.
#[derive(Clone, Copy, ComponentType, Lift)]
#[component(enum)]
#[repr(u8)]
#[expect(
    dead_code,
    reason = "a guest names them: lifting makes them of its number"
)]
enum Level {
    #[component(name = "trace")]
    Trace,
    #[component(name = "debug")]
    Debug,
    #[component(name = "info")]
    Info,
    #[component(name = "warn")]
    Warn,
    #[component(name = "error")]
    Error,
    #[component(name = "critical")]
    Critical,
}

/// Adds `wasi:logging` for guests of any contract. It never waits, and needs no WASI beside it.
pub(crate) fn link(linker: &mut HostLinker) -> wasmtime::Result<()> {
    type Said = (Level, WasmStr, WasmStr);
    for interface in INTERFACES {
        linker.instance(interface)?.func_wrap(
            "log",
            |mut cx: StoreContextMut<'_, Host>, (level, context, message): Said| {
                let log = cx.data_mut().log();
                let (context, message) = (context.to_str(&cx)?, message.to_str(&cx)?);
                log.say(level, &context, &message);
                Ok(())
            },
        )?;
    }
    Ok(())
}

/// The log of one instance, which has one call: what it has written is counted here.
pub(crate) struct Log {
    profile: Arc<Profile>,
    /// Lines that somebody listens for, those included that were left out.
    lines: AtomicUsize,
}

/// Writes an event of this level, with these fields, if somebody listens for it and there is room for another.
macro_rules! event {
    ($log:expr, $level:ident, $($fields:tt)+) => {
        if tracing::enabled!(target: "guest", tracing::Level::$level) && $log.takes() {
            tracing::event!(target: "guest", tracing::Level::$level, handler = $log.profile.name, $($fields)+);
        }
    };
}

impl Log {
    /// Of an instance of this handler.
    pub(crate) fn new(profile: &Arc<Profile>) -> Self {
        Self {
            profile: Arc::clone(profile),
            lines: AtomicUsize::new(0),
        }
    }

    /// Counts a line: whether it is within the bound.
    fn takes(&self) -> bool {
        let before = self.lines.fetch_add(1, Ordering::Relaxed);
        before < self.profile.limits.log_lines_max
    }

    /// Logs a line of this stream of a guest's output.
    pub(crate) fn line(&self, stream: &'static str, line: &str) {
        event!(self, INFO, stream, "{}", said(line));
    }

    /// Logs what a guest said by `wasi:logging`. The log has no level above an error: what is critical says so beside it.
    fn say(&self, level: Level, context: &str, message: &str) {
        let (context, message) = (said(context), said(message));
        match level {
            Level::Trace => event!(self, TRACE, %context, "{message}"),
            Level::Debug => event!(self, DEBUG, %context, "{message}"),
            Level::Info => event!(self, INFO, %context, "{message}"),
            Level::Warn => event!(self, WARN, %context, "{message}"),
            Level::Error => event!(self, ERROR, %context, "{message}"),
            Level::Critical => event!(self, ERROR, critical = true, %context, "{message}"),
        }
    }
}

/// Says how many lines were left out.
impl Drop for Log {
    fn drop(&mut self) {
        let log_lines_max = self.profile.limits.log_lines_max;
        let left_out = self
            .lines
            .load(Ordering::Relaxed)
            .saturating_sub(log_lines_max);
        if left_out > 0 {
            let handler = &self.profile.name;
            tracing::warn!(target: "guest", handler, left_out, log_lines_max, "lines of a call were left out");
        }
    }
}

/// A text of a guest as the log has it.
fn said(text: &str) -> OneLine<'_> {
    OneLine::new(text, LINE_BYTES_MAX)
}
