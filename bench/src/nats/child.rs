//! A service's process as the bench sees it.

use std::process::Command;
use std::time::Duration;

use millpond_tests::program::Program;
use wasmtime::Result;
use wasmtime::error::Context as _;

use super::role::ROLE;

/// A service that runs.
pub(super) struct Service {
    program: Program,
}

/// What a service has used, handled and shed so far.
#[derive(Debug, Clone, Copy)]
pub(super) struct Usage {
    pub(super) cpu: Duration,
    /// Of that, the kernel's part.
    pub(super) kernel: Duration,
    pub(super) handled: u64,
    /// Messages that it gave up on since there were too many.
    pub(super) shed: u64,
    /// Calls that it handled them in; none where it calls nothing.
    pub(super) calls: u64,
}

impl Service {
    /// Starts this program once more in a role, and waits until it serves.
    pub(super) fn start(role: &str, address: &str, name: &str, number: u64) -> Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args([ROLE, role, address, name, &number.to_string()]);
        let program = Program::start(&mut command);
        let service = Self { program };
        service.hear("ready")?;
        Ok(service)
    }

    /// What it has used so far.
    pub(super) fn usage(&mut self) -> Result<Usage> {
        self.program.write(b"usage\n");
        let line = self.hear("usage ")?;
        let mut numbers = line.split(' ').skip(1).map(str::parse::<u64>);
        let mut next = || numbers.next().context("a number is missing");
        Ok(Usage {
            cpu: Duration::from_nanos(next()??),
            kernel: Duration::from_nanos(next()??),
            handled: next()??,
            shed: next()??,
            calls: next()??,
        })
    }

    fn hear(&self, text: &str) -> Result<String> {
        let heard = self.program.out().next_with(text);
        heard.map_err(|all| {
            let said = self.program.err().so_far().join("\n");
            wasmtime::format_err!("a service ended without {text:?}:\n{all}\n{said}")
        })
    }
}
