//! Reports: what became of each load, as numbers that every output shows alike.

mod charts;
mod csv;
mod curves;
mod hgrm;
mod html;
pub(crate) mod outputs;
mod parameters;
mod step;
mod table;

#[cfg(test)]
mod testing;

use serde::Serialize;

pub(crate) use step::StepReport;

use crate::args::FailOn;
use crate::clock;
use crate::exit::{Exit, Failed, said};
use crate::plan::{Mode, Plan, Rates};
use crate::run::Outcome;
use parameters::{Parameter, parameters, title};

/// What became of a plan.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    /// The program.
    program: &'static str,
    /// Its version.
    version: &'static str,
    /// When it began, in seconds since 1970.
    pub(crate) began_unix_s: u64,
    /// How messages came back.
    pub(crate) mode: &'static str,
    /// What their latency is.
    pub(crate) latency_is: String,
    /// Where messages went, in few words.
    pub(crate) target: String,
    /// What was asked for.
    pub(crate) parameters: Vec<Parameter>,
    /// Whether the objective was met: by every load, or in a search by one. None without an objective.
    pub(crate) met: Option<bool>,
    /// The highest rate that met it, in a search.
    pub(crate) best_rate: Option<f64>,
    /// The loads, in the order that they ran in.
    pub(crate) loads: Vec<StepReport>,
    #[serde(skip)]
    searches: bool,
    #[serde(skip)]
    comes_back: bool,
    #[serde(skip)]
    fail_on: Vec<FailOn>,
    #[serde(skip)]
    has_slo: bool,
    #[serde(skip)]
    error: Option<anyhow::Error>,
}

impl Report {
    /// Before anything ran.
    pub(crate) fn new(plan: &Plan) -> Self {
        Self {
            program: "loadgen",
            version: env!("CARGO_PKG_VERSION"),
            began_unix_s: clock::unix_seconds(),
            mode: plan.mode.name(),
            latency_is: plan.mode.latency(plan.pace.rates.is_open()),
            target: title(plan),
            parameters: parameters(plan),
            met: None,
            best_rate: None,
            loads: Vec::new(),
            comes_back: plan.mode != Mode::Publish(None),
            searches: matches!(plan.pace.rates, Rates::Search { .. }),
            fail_on: plan.fail_on.clone(),
            has_slo: plan.slo.is_some(),
            error: None,
        }
    }

    /// Adds a load; with what our own sink took of it, if there is one.
    pub(crate) fn add(
        &mut self,
        plan: &Plan,
        mut outcome: Outcome,
        sunk: Option<u64>,
    ) -> &StepReport {
        let error = outcome
            .error
            .take()
            .or_else(|| unstored(&plan.mode, &outcome));
        let step = StepReport::new(plan, outcome, sunk, error.as_ref().map(said));
        self.error = self.error.take().or(error);
        if !self.searches && self.has_slo {
            self.met = Some(self.met.unwrap_or(true) && step.is_met());
        }
        self.loads.push(step);
        &self.loads[self.loads.len() - 1]
    }

    /// What a search found.
    pub(crate) fn found(&mut self, best: Option<f64>) {
        self.best_rate = best;
        self.met = Some(best.is_some());
    }

    /// The load that details are shown of: the best of a search, or else the last.
    pub(crate) fn shown(&self) -> Option<&StepReport> {
        let best = self.best_rate.and_then(|best| {
            // One that nearly met the objective was tried twice.
            let is_best = |load: &&StepReport| load.offered_rate == Some(best) && load.is_met();
            self.loads.iter().find(is_best)
        });
        best.or(self.loads.last())
    }

    /// What becomes of a message that does not get lost.
    pub(crate) fn back(&self) -> &'static str {
        if self.comes_back { "back" } else { "taken" }
    }

    /// How the program ends.
    ///
    /// # Errors
    /// What ended a load before its time.
    pub(crate) fn exit(&mut self) -> anyhow::Result<Exit> {
        if let Some(error) = self.error.take() {
            return Err(error);
        }
        let judged: Vec<&StepReport> = match self.searches {
            true => self.best_rate.and(self.shown()).into_iter().collect(),
            false => self.loads.iter().collect(),
        };
        // An objective says itself how many may be lost, damaged or refused.
        let by_slo = [FailOn::Lost, FailOn::Corrupted, FailOn::Refused];
        let mut asked = self
            .fail_on
            .iter()
            .filter(|what| !(self.has_slo && by_slo.contains(what)));
        if asked.any(|what| judged.iter().any(|step| step.count_of(*what) > 0)) {
            return Ok(Exit::Messages);
        }
        Ok(match self.met {
            Some(false) => Exit::Objective,
            _ => Exit::Ok,
        })
    }
}

/// The error of a load that no stream has stored a message of.
fn unstored(mode: &Mode, outcome: &Outcome) -> Option<anyhow::Error> {
    let none = matches!(mode, Mode::Stream(..))
        && outcome.counts.refused > 0
        && outcome.counts.refused == outcome.sent.sent;
    let why = outcome.refusal.as_deref().unwrap_or("no reason was given");
    none.then(|| Failed::error(Exit::Stream, format!("no message was stored: {why}; see that a stream has the load's --subject among its subjects")))
}
