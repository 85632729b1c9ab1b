//! Progress: a live line on a terminal, else a line a second; on standard error.

use std::io::{IsTerminal, stderr};
use std::sync::atomic::Ordering::Relaxed;

use indicatif::{ProgressBar, ProgressStyle};

use super::step::Step;
use crate::core::series::coarse;
use crate::units::{count, rate, time};

/// Time between two looks on a terminal.
const LIVE_NS: u64 = 200_000_000;
/// Time between two lines elsewhere.
const LINES_NS: u64 = 1_000_000_000;

/// How far a load is.
pub(crate) struct Progress {
    bar: Option<ProgressBar>,
    /// When it was last shown, and how many had come back by then.
    last: (u64, u64),
}

impl Progress {
    /// At the beginning of a load.
    pub(crate) fn new() -> Self {
        let style = ProgressStyle::with_template("{bar:12.cyan/blue} {percent:>3} %  {wide_msg}")
            .expect("the template is a constant");
        let bar = || ProgressBar::new(1_000).with_style(style);
        Self {
            bar: stderr().is_terminal().then(bar),
            last: (0, 0),
        }
    }

    /// Shows where a load is, if it is time to.
    pub(crate) fn show(&mut self, step: &Step<'_>, now_ns: u64) {
        let every = if self.bar.is_some() {
            LIVE_NS
        } else {
            LINES_NS
        };
        let (then, before) = self.last;
        if now_ns < then + every {
            return;
        }
        let received = step.live.received.load(Relaxed);
        self.last = (now_ns, received);
        let recent = std::mem::replace(&mut *step.live.recent.lock(), coarse());
        let latency = match recent.is_empty() {
            true if then < step.span.begin_ns => "warming up".to_owned(),
            true => "nothing came".to_owned(),
            false => {
                let at = |q| time(recent.value_at_quantile(q));
                format!("p50 {} · p99 {}", at(0.5), at(0.99))
            }
        };
        let text = format!(
            "{} msgs/s · {} sent · {} in flight · {latency}",
            rate((received - before) as f64 * 1e9 / (now_ns - then) as f64),
            count(step.live.sent.load(Relaxed)),
            count(step.in_flight()),
        );
        let share = (now_ns as f64 / step.span.end_ns as f64).min(1.0);
        match &self.bar {
            Some(bar) => {
                bar.set_position((share * 1_000.0) as u64);
                bar.set_message(text);
            }
            None => eprintln!("{:>3} %  {text}", (share * 100.0) as u64),
        }
    }

    /// Takes the live line away.
    pub(crate) fn end(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
