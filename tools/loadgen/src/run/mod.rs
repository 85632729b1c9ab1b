//! Running a plan: one load, several at given rates, or a search.

mod in_process;
mod outcome;
pub(crate) mod outlet;
mod over_nats;
mod progress;
mod sender;
mod signals;
mod step;

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use anyhow::Context;
use millpond::Engine;

pub(crate) use outcome::Outcome;
pub(crate) use sender::{LATE_NS, Sent};

use crate::clock;
use crate::core::random::Random;
use crate::core::search::{Search, Tried};
use crate::embedded;
use crate::nats::sink::{Sink, Taken};
use crate::plan::{Plan, Rates, Servers, Target};
use crate::report::{Report, StepReport};
use crate::units::rate as rate_text;
use progress::Progress;
use signals::Signals;
use step::Step;

/// What loads go to, for all of a plan.
enum Backend {
    Servers(Servers),
    Sink(Servers, Arc<Taken>),
    Engine(Engine),
}

/// Runs a plan; what became of it.
///
/// # Errors
/// A load can't be begun. What goes wrong later is in the report.
pub(crate) fn run(plan: &Plan) -> anyhow::Result<Report> {
    let signals = Signals::listen()?;
    let mut runner = Runner {
        plan,
        backend: Backend::start(plan)?,
        signals,
        runs: Random::new(
            clock::unix_seconds() ^ u64::from(std::process::id()) << 32,
            0,
        ),
        report: Report::new(plan),
    };
    let ended = runner.all();
    if let Backend::Engine(engine) = &runner.backend {
        embedded::stop(engine);
    }
    ended.map(|()| runner.report)
}

impl Backend {
    fn start(plan: &Plan) -> anyhow::Result<Self> {
        Ok(match &plan.target {
            Target::Servers(servers) => Self::Servers(servers.clone()),
            Target::Embedded(component) => {
                Self::Engine(embedded::start(component, &plan.messages)?)
            }
            Target::Sink => {
                let sink = Sink::listen((Ipv4Addr::LOCALHOST, 0).into())
                    .context("listening on a port of this machine")?;
                let (address, taken) = (sink.address()?, sink.taken());
                let thread = std::thread::Builder::new().name("sink".into());
                // It ends with the process; what goes wrong with it, its connections say.
                thread.spawn(move || sink.serve())?;
                Self::Sink(Servers::plain(address), taken)
            }
        })
    }
}

struct Runner<'a> {
    plan: &'a Plan,
    backend: Backend,
    signals: Signals,
    /// Numbers of runs: other loads' messages are told by them.
    runs: Random,
    report: Report,
}

impl Runner<'_> {
    fn all(&mut self) -> anyhow::Result<()> {
        match &self.plan.pace.rates {
            Rates::Closed(_) => {
                self.step(None)?;
            }
            Rates::Open(rates) => {
                for (index, rate) in rates.iter().enumerate() {
                    if index > 0 && self.signals.came() {
                        self.report.cut();
                        break;
                    }
                    if rates.len() > 1 {
                        eprintln!(
                            "load {} of {}: {} msgs/s",
                            index + 1,
                            rates.len(),
                            rate_text(*rate)
                        );
                    }
                    if self.step(Some(*rate))?.ends_all {
                        break;
                    }
                }
            }
            Rates::Search {
                first,
                bounds,
                precision,
            } => self.search(Search::new(*first, *bounds, *precision))?,
        }
        Ok(())
    }

    fn search(&mut self, mut search: Search) -> anyhow::Result<()> {
        while let Some(rate) = search.next_rate() {
            if !self.report.loads.is_empty() && self.signals.came() {
                self.report.found(search.best(), false);
                return Ok(());
            }
            eprintln!("trying {} msgs/s", rate_text(rate));
            let step = self.step(Some(rate))?;
            if step.ends_all {
                eprintln!("{} msgs/s was not judged", rate_text(rate));
                self.report.found(search.best(), false);
                return Ok(());
            }
            let tried = step.tried();
            let how = match tried {
                Tried::Met => "met",
                Tried::Nearly => "missed, by little,",
                Tried::Missed => "missed",
            };
            eprintln!("{} msgs/s {how} the objective", rate_text(rate));
            search.told(rate, tried);
        }
        self.report.found(search.best(), true);
        Ok(())
    }

    /// One load; its report.
    fn step(&mut self, rate: Option<f64>) -> anyhow::Result<&StepReport> {
        let mut step = Step::new(self.plan, rate, self.runs.next() as u32);
        let mut progress = Progress::new();
        let before = self.sunk();
        let outcome = match &self.backend {
            Backend::Servers(servers) | Backend::Sink(servers, _) => {
                over_nats::run(&mut step, servers, &mut progress, &self.signals)
            }
            Backend::Engine(engine) => {
                in_process::run(&mut step, engine, &mut progress, &self.signals)
            }
        };
        progress.end();
        let sunk = self.sunk().map(|after| after - before.unwrap_or(0));
        Ok(self.report.add(self.plan, outcome?, sunk))
    }

    /// What our sink took so far.
    fn sunk(&self) -> Option<u64> {
        match &self.backend {
            Backend::Sink(_, taken) => Some(taken.messages.load(Relaxed)),
            _ => None,
        }
    }
}
