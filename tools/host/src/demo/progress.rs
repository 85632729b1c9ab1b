//! Progress: a live line on a terminal, else a line a second; on standard error.

use std::io::{IsTerminal, stderr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use millpond::Engine;

use super::load::Plan;
use crate::clock;
use crate::units::count;

/// Time between two looks on a terminal.
const LIVE: Duration = Duration::from_millis(100);
/// Time between two lines elsewhere.
const LINES: Duration = Duration::from_secs(1);

/// How far a demo is.
pub(super) struct Progress<'a> {
    engine: &'a Engine,
    plan: Plan,
    offered: Arc<AtomicU64>,
    bar: Option<ProgressBar>,
}

impl<'a> Progress<'a> {
    /// At the start.
    pub(super) fn new(engine: &'a Engine, plan: Plan) -> Self {
        let style = ProgressStyle::with_template("{bar:12.cyan/blue} {percent:>3} %  {wide_msg}")
            .expect("the template is a constant");
        let bar = || ProgressBar::new(plan.messages).with_style(style);
        Self {
            engine,
            plan,
            offered: Arc::default(),
            bar: stderr().is_terminal().then(bar),
        }
    }

    /// Where the load says how many messages it has offered.
    pub(super) fn offered(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.offered)
    }

    /// Shows it until the load is done; what that made.
    pub(super) fn show_until<T>(&self, done: &Receiver<anyhow::Result<T>>) -> anyhow::Result<T> {
        let every = if self.bar.is_some() { LIVE } else { LINES };
        let mut settled = (clock::now(), 0);
        loop {
            match done.recv_timeout(every) {
                Ok(made) => {
                    if let Some(bar) = &self.bar {
                        bar.finish_and_clear();
                    }
                    return made;
                }
                Err(RecvTimeoutError::Timeout) => settled = self.show(settled),
                Err(RecvTimeoutError::Disconnected) => anyhow::bail!("the load has panicked"),
            }
        }
    }

    /// Shows where it is, and the rate since the last time.
    fn show(&self, (then, before): (Instant, u64)) -> (Instant, u64) {
        let stats = self.engine.stats();
        let (now, settled) = (clock::now(), stats.settled());
        let rate = (settled - before) as f64 / (now - then).as_secs_f64();
        let offered = self.offered.load(Ordering::Relaxed);
        let text = format!(
            "{} sent · {} settled · {} shed · {} settled/s",
            count(offered),
            count(settled),
            count(stats.refused),
            count(rate as u64),
        );
        match &self.bar {
            Some(bar) => {
                bar.set_position(offered);
                bar.set_message(text);
            }
            None => eprintln!("{:>3} %  {text}", offered * 100 / self.plan.messages),
        }
        (now, settled)
    }
}
