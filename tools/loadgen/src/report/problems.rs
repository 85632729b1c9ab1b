//! What is said beside the numbers of a load.

use super::step::{BEHIND_MAX, SLIPPED_MAX, Schedule};
use crate::run::{LATE_NS, Outcome};
use crate::units::{count, time};

/// What whoever reads the numbers should know.
pub(super) fn problems_of(outcome: &Outcome, sunk: Option<u64>) -> Vec<String> {
    let mut problems = Vec::new();
    problems.extend(of_sending(outcome));
    problems.extend(of_coming(outcome, sunk));
    problems.extend(of_measuring(outcome));
    problems
}

/// How the load kept its own schedule.
fn of_sending(outcome: &Outcome) -> impl Iterator<Item = String> {
    let sent = &outcome.sent;
    let (is_open, kept) = (outcome.rate.is_some(), Schedule::of(sent));
    let measured = sent.late.len();
    let slipped = is_open && sent.late_count as f64 > SLIPPED_MAX * measured as f64;
    let share = 100.0 * sent.late_count as f64 / measured.max(1) as f64;
    let late = slipped.then(|| {
        format!(
            "the load could not keep its own schedule: {} messages ({share:.1} %) left more than {} late, the latest by {}; their latency counts from when they were to leave",
            count(sent.late_count),
            time(LATE_NS),
            time(sent.late.max())
        )
    });
    let behind = (is_open && kept.behind() > 1.0).then(|| {
        format!(
            "only {} of {} messages that were due in the measured time were sent within it; with more than {} % behind, no objective is met",
            count(kept.in_time),
            count(kept.due),
            100.0 * BEHIND_MAX
        )
    });
    let unsent = (sent.unsent > 0).then(|| {
        format!(
            "{} messages were due and never sent: the target, or this machine, takes no more",
            count(sent.unsent)
        )
    });
    [late, behind, unsent].into_iter().flatten()
}

/// What became of the messages.
fn of_coming(outcome: &Outcome, sunk: Option<u64>) -> impl Iterator<Item = String> {
    let (counts, sent) = (&outcome.counts, outcome.sent.sent);
    let some = |number: u64| (number > 0).then(|| count(number));
    let refused = outcome.refusal.as_ref();
    let refused =
        refused.map(|why| format!("{} messages were refused: {why}", count(counts.refused)));
    let late = some(counts.late).map(|late| format!("{late} of the lost messages came later"));
    let acks = outcome.acks.as_ref();
    let acks = acks.and_then(|acks| some(acks.counts.late)).map(|late| {
        format!("{late} of the messages that were not acknowledged in time were later")
    });
    let strange = some(counts.strange).map(|strange| {
        format!(
            "{strange} messages came that are none of this load's: somebody else publishes there, or a handler takes the stamps away"
        )
    });
    let sunk = sunk.filter(|sunk| *sunk != sent);
    let sunk =
        sunk.map(|sunk| format!("the sink took {} of {} messages", count(sunk), count(sent)));
    [refused, late, acks, strange, sunk].into_iter().flatten()
}

/// What of the load was measured.
fn of_measuring(outcome: &Outcome) -> impl Iterator<Item = String> {
    let nothing = outcome
        .latency
        .is_empty()
        .then(|| "no message was measured".to_owned());
    let early = outcome.ended_early().then(|| {
        format!(
            "{} before its time: rates are of the {:.2} s that were measured",
            if outcome.cut {
                "a signal ended the load"
            } else {
                "the load ended"
            },
            outcome.measured.seconds()
        )
    });
    [nothing, early].into_iter().flatten()
}
