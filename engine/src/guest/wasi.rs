//! WASI 0.2 for components that import it, with nothing granted but clocks, randomness, the named environment and log output.
//!
//! The implementation is Wasmtime's, but for what would call tokio: clock subscriptions wait on the shard's own timers. No
//! directory is open, sockets are denied, standard input is at its end.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use wasmtime::component::{Resource, ResourceTable};
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::p2::{DynPollable, OutputStream, Pollable, StreamError, subscribe};
use wasmtime_wasi::{WasiCtx, WasiCtxBuilder, WasiCtxView, WasiView};

use super::HostLinker;
use super::host::Host;
use super::log::{self, LINE_BYTES_MAX, Log};
use super::wait::Wait;
use crate::time::Instant;

/// Whether an import is WASI: what of that namespace is no interface of messages, and not the log's.
pub(crate) fn provides(import: &str) -> bool {
    import.starts_with("wasi:") && !import.starts_with("wasi:messaging/") && !log::provides(import)
}

/// The WASI state of one instance.
pub(crate) struct Wasi {
    ctx: WasiCtx,
    table: ResourceTable,
}

impl Wasi {
    /// For an instance with this log and this environment.
    pub(crate) fn new(log: &Arc<Log>, env: &[(String, String)]) -> Self {
        let mut ctx = WasiCtxBuilder::new();
        ctx.envs(env)
            .allow_tcp(false)
            .allow_udp(false)
            .allow_ip_name_lookup(false)
            .stdout(Lines::new(log, "stdout"))
            .stderr(Lines::new(log, "stderr"));
        Self {
            ctx: ctx.build(),
            table: ResourceTable::new(),
        }
    }
}

impl WasiView for Host {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        let log = self.log();
        let wasi = self
            .wasi
            .get_or_insert_with(|| Box::new(Wasi::new(&log, &[])));
        WasiCtxView {
            ctx: &mut wasi.ctx,
            table: &mut wasi.table,
        }
    }
}

/// Adds all of `wasi:cli/imports`, then puts our clock subscriptions in the place of those that call tokio.
pub(crate) fn link(linker: &mut HostLinker) -> wasmtime::Result<()> {
    wasmtime_wasi::p2::add_to_linker_async(linker)?;
    linker.allow_shadowing(true);
    let mut clock = linker.instance("wasi:clocks/monotonic-clock@0.2.12")?;
    clock.func_wrap(
        "subscribe-duration",
        |mut cx: wasmtime::StoreContextMut<'_, Host>, (nanos,): (u64,)| {
            Ok((timer(cx.data_mut(), nanos)?,))
        },
    )?;
    clock.func_wrap(
        "subscribe-instant",
        |mut cx: wasmtime::StoreContextMut<'_, Host>, (at,): (u64,)| {
            let now = wasmtime_wasi::p2::bindings::clocks::monotonic_clock::Host::now(
                &mut clocks(cx.data_mut()),
            )?;
            Ok((timer(cx.data_mut(), at.saturating_sub(now))?,))
        },
    )?;
    linker.allow_shadowing(false);
    Ok(())
}

fn clocks(host: &mut Host) -> wasmtime_wasi::clocks::WasiClocksCtxView<'_> {
    use wasmtime_wasi::clocks::WasiClocksView;
    host.clocks()
}

fn timer(host: &mut Host, nanos: u64) -> wasmtime::Result<Resource<DynPollable>> {
    let wait = host
        .wait()
        .cloned()
        .ok_or_else(|| wasmtime::format_err!("a timer outside a call"))?;
    let until = wait.now() + Duration::from_nanos(nanos);
    let table = host.ctx().table;
    let timer = table.push(Timer { wait, until })?;
    subscribe(table, timer)
}

/// A clock subscription on the shard's timers.
struct Timer {
    wait: Arc<Wait>,
    until: Instant,
}

#[wasmtime_wasi::async_trait]
impl Pollable for Timer {
    async fn ready(&mut self) {
        self.wait.sleep(self.until).await;
    }
}

/// A guest's output, line by line, into the log under its handler's name.
#[derive(Clone)]
struct Lines {
    log: Arc<Log>,
    stream: &'static str,
    line: Vec<u8>,
}

impl Lines {
    fn new(log: &Arc<Log>, stream: &'static str) -> Self {
        Self {
            log: Arc::clone(log),
            stream,
            line: Vec::new(),
        }
    }

    fn end_line(&mut self) {
        let line = String::from_utf8_lossy(&self.line);
        self.log.line(self.stream, line.trim_end());
        self.line.clear();
    }
}

impl OutputStream for Lines {
    fn write(&mut self, bytes: Bytes) -> Result<(), StreamError> {
        for &byte in &bytes {
            if byte == b'\n' || self.line.len() == LINE_BYTES_MAX {
                self.end_line();
            }
            if byte != b'\n' {
                self.line.push(byte);
            }
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), StreamError> {
        Ok(())
    }

    fn check_write(&mut self) -> Result<usize, StreamError> {
        Ok(LINE_BYTES_MAX)
    }
}

impl Drop for Lines {
    fn drop(&mut self) {
        if !self.line.is_empty() {
            self.end_line();
        }
    }
}

#[wasmtime_wasi::async_trait]
impl Pollable for Lines {
    async fn ready(&mut self) {}
}

impl IsTerminal for Lines {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for Lines {
    fn async_stream(&self) -> Box<dyn tokio::io::AsyncWrite + Send + Sync> {
        std::io::empty().async_stream()
    }

    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(Self::new(&self.log, self.stream))
    }
}
