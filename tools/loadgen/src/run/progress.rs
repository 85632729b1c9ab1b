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

/// The live line. The bar and the share have 11 columns, so that of 80 columns 69 are the message's, and what it may be has room in them.
const TEMPLATE: &str = "{bar:5.cyan/blue} {percent:>3}% {wide_msg}";

/// How far a load is.
pub(crate) struct Progress {
    bar: Option<ProgressBar>,
    /// When it was last shown, and how many had come back by then.
    last: (u64, u64),
}

impl Progress {
    /// At the beginning of a load.
    pub(crate) fn new() -> Self {
        let style = ProgressStyle::with_template(TEMPLATE).expect("the template is a constant");
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
                let at = |q| recent.value_at_quantile(q);
                percentiles(at(0.5), at(0.99))
            }
        };
        let a_second = (received - before) as f64 * 1e9 / (now_ns - then) as f64;
        let text = told(a_second, step.in_flight(), &latency);
        let share = (now_ns as f64 / step.span.end_ns as f64).min(1.0);
        match &self.bar {
            Some(bar) => {
                bar.set_position((share * 1_000.0) as u64);
                bar.set_message(text);
            }
            None => eprintln!(
                "{:>3} %  {text} · {} sent",
                (share * 100.0) as u64,
                count(step.live.sent.load(Relaxed))
            ),
        }
    }

    /// Takes the live line away.
    pub(crate) fn end(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

/// What is told of the time since the last look, the same on a terminal and elsewhere.
fn told(a_second: f64, in_flight: u64, latency: &str) -> String {
    format!(
        "{} msgs/s · {} in flight · {latency}",
        rate(a_second),
        count(in_flight)
    )
}

fn percentiles(p50_ns: u64, p99_ns: u64) -> String {
    format!("p50 {} · p99 {}", time(p50_ns), time(p99_ns))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_widest_line_has_room_beside_the_bar_on_80_columns() {
        // What is taken of a core, the most that may be under way, and times that are rounded up to five digits.
        let widest = told(99_999_999.0, 1 << 20, &percentiles(99_999, 99_999));
        assert_eq!(
            widest,
            "99,999,999 msgs/s · 1,048,576 in flight · p50 100.0 µs · p99 100.0 µs"
        );
        assert_eq!(widest.chars().count(), 80 - "##### 100% ".len());
    }
}
