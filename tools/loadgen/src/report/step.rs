//! The report of one load.

use hdrhistogram::Histogram;
use serde::Serialize;

use super::charts::Mark;
use super::latency::Latency;
use super::problems::problems_of;
use crate::args::FailOn;
use crate::core::counts::Counts;
use crate::core::search::Tried;
use crate::core::series::Point;
use crate::plan::Plan;
use crate::plan::slo::Judged;
use crate::run::{Outcome, Sent};
use crate::units::count;

/// The share of its messages that a load may send late and still be said to have kept its schedule.
pub(super) const SLIPPED_MAX: f64 = 0.01;
/// The share of what was due in the measured time that a load may send after it and meet its objective. 0.01: what is sent later, in the
/// time of grace, was sent at a lower rate than the one that is judged.
pub(super) const BEHIND_MAX: f64 = 0.01;
/// So many may be sent after it in any case: of a load of less than 500 messages, a hiccup at the very end makes more than a hundredth late.
const BEHIND_LEAST: f64 = 5.0;
/// By how much more it may be to have missed the objective by little, so that a search tries the rate again.
const BEHIND_NEARLY: f64 = 10.0;
/// What became of one load.
#[derive(Debug, Serialize)]
pub(crate) struct StepReport {
    /// Messages a second that were asked for; none in a closed loop.
    pub(crate) offered_rate: Option<f64>,
    /// Seconds that were measured: fewer than asked for where the load ended before its time.
    pub(crate) measured_s: f64,
    /// Messages a second that were sent in the measured time.
    pub(crate) sent_rate: f64,
    /// Messages a second that came back in it.
    pub(crate) received_rate: f64,
    /// Messages sent, those of the warm-up too.
    pub(crate) sent: u64,
    /// What came back of them.
    #[serde(flatten)]
    pub(crate) counts: Counts,
    /// What did not, in time.
    pub(crate) lost: u64,
    /// Messages that were due and never sent.
    pub(crate) unsent: u64,
    /// How the load kept its own schedule; none in a closed loop.
    pub(crate) schedule: Option<Schedule>,
    /// Times that a sender waited since as many messages were under way as may be.
    pub(crate) full_waits: u64,
    /// What the senders had of cores, in seconds.
    pub(crate) sender_cpu_s: f64,
    /// Messages for each second of that.
    pub(crate) sent_per_cpu_second: f64,
    /// What our own sink took.
    pub(crate) sunk: Option<u64>,
    /// Connections that were lost.
    pub(crate) connections_lost: u64,
    /// Latencies.
    pub(crate) latency: Latency,
    /// What became of acknowledgements, where messages are observed too.
    pub(crate) acks: Option<Acks>,
    /// Their latencies.
    pub(crate) ack_latency: Option<Latency>,
    /// How each term of the objective did.
    pub(crate) objective: Vec<Judged>,
    /// Whether it was met; none without one, and where the load was ended before its time: then it is not judged.
    pub(crate) met: Option<bool>,
    /// What whoever reads this should know.
    pub(crate) problems: Vec<String>,
    /// Rates and latencies over time.
    pub(crate) series: Vec<Point>,
    /// All latencies.
    #[serde(skip)]
    pub(crate) histogram: Histogram<u64>,
    /// What it sent too late, for what it may: up to 1, it may meet an objective.
    #[serde(skip)]
    pub(crate) behind: f64,
    /// Whether no load comes after it.
    #[serde(skip)]
    pub(crate) ends_all: bool,
}

/// How a load kept its own schedule.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(crate) struct Schedule {
    /// Messages that were due in the measured time.
    pub(crate) due: u64,
    /// Those of them that were sent within it.
    pub(crate) in_time: u64,
    /// Messages that left more than a millisecond late.
    pub(crate) late: u64,
    /// Of all in the measured time, by how much a hundredth was late.
    pub(crate) p99_ns: u64,
    /// By how much the latest was.
    pub(crate) max_ns: u64,
}

/// What became of a stream's acknowledgements.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(crate) struct Acks {
    /// Messages that were acknowledged in time.
    pub(crate) received: u64,
    /// Messages that were not, and not refused.
    pub(crate) unacked: u64,
    /// Acknowledgements that came again.
    pub(crate) duplicated: u64,
    /// Acknowledgements that came after they were given up on. Their messages are among the unacked.
    pub(crate) late: u64,
}

impl Schedule {
    /// Of what the senders of an open loop did.
    pub(super) fn of(sent: &Sent) -> Self {
        Self {
            due: sent.late.len() + sent.unsent,
            in_time: sent.in_time,
            late: sent.late_count,
            p99_ns: sent.late.value_at_quantile(0.99),
            max_ns: sent.late.max(),
        }
    }

    /// What was due in the measured time and not sent within it, for what that may be.
    pub(super) fn behind(&self) -> f64 {
        let most = (BEHIND_MAX * self.due as f64).max(BEHIND_LEAST);
        (self.due - self.in_time) as f64 / most
    }
}

impl StepReport {
    /// Of an outcome; with what our own sink took, and what ended it before its time.
    pub(super) fn new(
        plan: &Plan,
        outcome: Outcome,
        sunk: Option<u64>,
        error: Option<String>,
    ) -> Self {
        let seconds = outcome.measured.seconds();
        let a_second = |count: u64| {
            if seconds > 0.0 {
                count as f64 / seconds
            } else {
                0.0
            }
        };
        let Outcome {
            sent,
            counts,
            latency,
            ..
        } = &outcome;
        // A message that is lost and not acknowledged either is bad once.
        let unstored = outcome.acks.as_ref();
        let unstored = unstored.map_or(0, |acks| acks.unacked - acks.lost_too);
        let bad = outcome.lost + counts.corrupted + counts.refused + unstored;
        let objective = plan
            .slo
            .as_ref()
            .map(|slo| slo.judge(latency, bad, sent.sent));
        let schedule = outcome.rate.map(|_| Schedule::of(sent));
        let cpu = sent.on_core.as_secs_f64();
        let behind = schedule.map_or(0.0, |kept| kept.behind());
        let ends_all = error.is_some() || outcome.cut;
        let judged = objective.as_ref().filter(|_| !ends_all);
        let met = judged.map(|all| all.iter().all(|one| one.met) && behind <= 1.0);
        let mut problems: Vec<String> = error.into_iter().collect();
        problems.extend(problems_of(&outcome, sunk));
        Self {
            offered_rate: outcome.rate,
            measured_s: seconds,
            sent_rate: a_second(sent.in_span),
            received_rate: a_second(outcome.in_span),
            sent: sent.sent,
            counts: *counts,
            lost: outcome.lost,
            unsent: sent.unsent,
            schedule,
            full_waits: sent.waits,
            sender_cpu_s: cpu,
            sent_per_cpu_second: if cpu > 0.0 {
                sent.sent as f64 / cpu
            } else {
                0.0
            },
            sunk,
            connections_lost: outcome.connections_lost,
            latency: Latency::new(latency),
            acks: outcome.acks.as_ref().map(|acks| Acks {
                received: acks.counts.received,
                unacked: acks.unacked,
                duplicated: acks.counts.duplicated,
                late: acks.counts.late,
            }),
            ack_latency: outcome
                .acks
                .as_ref()
                .map(|acks| Latency::new(&acks.latency)),
            objective: objective.unwrap_or_default(),
            met,
            problems,
            series: outcome.points,
            histogram: outcome.latency,
            behind,
            ends_all,
        }
    }

    /// Whether it met the objective, for people.
    pub(super) fn judged(&self) -> &'static str {
        match self.met {
            Some(met) => met_or_missed(met),
            None if self.objective.is_empty() => "–",
            None => NOT_JUDGED,
        }
    }

    /// The same of a term of it.
    pub(super) fn judged_of(&self, term: &Judged) -> &'static str {
        self.met.map_or(NOT_JUDGED, |_| met_or_missed(term.met))
    }

    /// How it did, for a search. A load that sent late what was due missed its objective, however close the latencies are.
    pub(crate) fn tried(&self) -> Tried {
        match self.met != Some(false) {
            true => Tried::Met,
            false
                if self.behind <= BEHIND_NEARLY && self.objective.iter().all(|one| one.nearly) =>
            {
                Tried::Nearly
            }
            false => Tried::Missed,
        }
    }

    /// Messages that left more than a millisecond late, for people; a dash in a closed loop, where none has a time to leave at.
    pub(super) fn late(&self) -> String {
        self.schedule
            .map_or("–".to_owned(), |kept| count(kept.late))
    }

    /// The objective's bounds of latency, for a chart: each with its name.
    pub(super) fn objective_marks(&self) -> Vec<Mark> {
        let mark = |judged: &Judged| {
            let (quantile, at_most_ns) = judged.bound?;
            let most = self.latency.count.max(1) as f64;
            Some(Mark {
                name: judged.term.clone(),
                x: (1.0 / (1.0 - quantile)).min(most),
                y: at_most_ns as f64,
                met: judged.met,
            })
        };
        self.objective.iter().filter_map(mark).collect()
    }

    /// How many messages a cause of failure is about.
    pub(super) fn count_of(&self, what: FailOn) -> u64 {
        match what {
            // What a sink in this process has not taken is lost too.
            FailOn::Lost => self.lost + self.sunk.map_or(0, |sunk| self.sent.abs_diff(sunk)),
            FailOn::Unacked => self.acks.map_or(0, |acks| acks.unacked),
            FailOn::Duplicated => {
                self.counts.duplicated + self.acks.map_or(0, |acks| acks.duplicated)
            }
            FailOn::Reordered => self.counts.reordered,
            FailOn::Corrupted => self.counts.corrupted,
            FailOn::Refused => self.counts.refused,
            FailOn::Nothing => 0,
        }
    }
}

/// What is said of an objective of a load that was ended before its time.
const NOT_JUDGED: &str = "not judged";

fn met_or_missed(met: bool) -> &'static str {
    if met { "met" } else { "missed" }
}
