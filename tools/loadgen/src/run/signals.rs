//! SIGINT and SIGTERM: the first ends the load and reports what there is, the second ends the program.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

use anyhow::Context;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;

use crate::exit::Exit;

/// Whether a signal came.
#[derive(Debug)]
pub(crate) struct Signals(Arc<AtomicBool>);

impl Signals {
    /// Listens for them.
    ///
    /// # Errors
    /// The system refuses it.
    pub(crate) fn listen() -> anyhow::Result<Self> {
        let came = Arc::new(AtomicBool::new(false));
        for signal in [SIGINT, SIGTERM] {
            // In this order: the first one finds the mark not set.
            flag::register_conditional_shutdown(signal, Exit::Cut as i32, Arc::clone(&came))
                .and_then(|_| flag::register(signal, Arc::clone(&came)))
                .context("listening for signals")?;
        }
        Ok(Self(came))
    }

    /// Whether one did.
    pub(crate) fn came(&self) -> bool {
        self.0.load(SeqCst)
    }
}
