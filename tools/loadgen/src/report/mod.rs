//! Reports: what became of each load, as numbers that every output shows alike.

mod charts;
mod csv;
mod curves;
mod hgrm;
mod html;
mod latency;
pub(crate) mod outputs;
mod parameters;
mod problems;
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
    /// Whether the objective was met: by every load, or in a search by one. None without an objective, and where it was not judged.
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
    /// Whether there is an objective.
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
            met: plan.slo.as_ref().map(|_| true),
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
        self.met = both(self.met, step.met);
        self.loads.push(step);
        &self.loads[self.loads.len() - 1]
    }

    /// Loads of a sweep were left out since a signal came.
    pub(crate) fn cut(&mut self) {
        self.met = both(self.met, None);
    }

    /// What a search found, and whether it came to its end.
    pub(crate) fn found(&mut self, best: Option<f64>, is_whole: bool) {
        self.best_rate = best;
        self.met = is_whole.then_some(best.is_some());
    }

    /// The load that details are shown of: the best of a search, or else the last.
    pub(crate) fn shown(&self) -> Option<&StepReport> {
        let best = self.best_rate.and_then(|best| {
            // One that nearly met the objective was tried twice.
            let is_best =
                |load: &&StepReport| load.offered_rate == Some(best) && load.met == Some(true);
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
        // With an objective, the code always says whether it was met.
        match (self.has_slo, self.met) {
            (true, Some(false)) => return Ok(Exit::Objective),
            (true, None) => return Ok(Exit::Cut),
            _ => {}
        }
        // An objective says itself how many may be lost, not acknowledged, damaged or refused.
        let by_slo = [
            FailOn::Lost,
            FailOn::Unacked,
            FailOn::Corrupted,
            FailOn::Refused,
        ];
        let mut asked = self
            .fail_on
            .iter()
            .filter(|what| !(self.has_slo && by_slo.contains(what)));
        let any = asked.any(|what| judged.iter().any(|step| step.count_of(*what) > 0));
        Ok(if any { Exit::Messages } else { Exit::Ok })
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

/// Whether both are met: one that is missed decides, one that was not judged leaves it open.
fn both(one: Option<bool>, other: Option<bool>) -> Option<bool> {
    match (one, other) {
        (Some(false), _) | (_, Some(false)) => Some(false),
        (Some(true), Some(true)) => Some(true),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::testing;
    use super::*;

    #[test]
    fn one_load_that_missed_the_objective_decides_and_one_that_was_not_judged_leaves_it_open() {
        let [met, missed, open] = [Some(true), Some(false), None];
        for (one, other, all) in [
            (met, met, met),
            (met, open, open),
            (open, open, open),
            (open, missed, missed),
            (missed, met, missed),
        ] {
            assert_eq!((both(one, other), both(other, one)), (all, all));
        }
    }

    #[test]
    fn the_exit_code_says_whether_the_objective_was_met_before_anything_else() {
        let exit = |has_slo, met, fail_on| {
            let mut report = testing::report(1);
            (report.has_slo, report.met, report.fail_on) = (has_slo, met, fail_on);
            report.exit().expect("nothing ended it")
        };
        // The load has a duplicate and three losses.
        let all = || vec![FailOn::Lost, FailOn::Duplicated];
        assert_eq!(exit(true, Some(false), all()), Exit::Objective);
        assert_eq!(exit(true, None, all()), Exit::Cut);
        assert_eq!(exit(true, Some(true), all()), Exit::Messages);
        assert_eq!(exit(true, Some(true), vec![FailOn::Lost]), Exit::Ok);
        assert_eq!(exit(false, None, vec![FailOn::Lost]), Exit::Messages);
        assert_eq!(exit(false, None, Vec::new()), Exit::Ok);
    }

    #[test]
    fn a_search_that_was_ended_before_it_knew_is_not_judged() {
        let mut report = testing::report(1);
        for (best, is_whole, met) in [
            (Some(1.0), true, Some(true)),
            (None, true, Some(false)),
            (Some(1.0), false, None),
            (None, false, None),
        ] {
            report.found(best, is_whole);
            assert_eq!((report.best_rate, report.met), (best, met));
        }
    }
}
