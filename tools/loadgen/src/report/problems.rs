//! What is said beside the numbers of a load.

use super::step::{BEHIND_MAX, SLIPPED_MAX, Schedule};
use crate::run::{LATE_NS, Outcome};
use crate::units::{count, time};

/// What whoever reads the numbers should know.
pub(super) fn problems_of(outcome: &Outcome, sunk: Option<u64>) -> Vec<String> {
    let Outcome { sent, counts, .. } = outcome;
    let mut problems = Vec::new();
    let mut say = |when: bool, what: String| {
        if when {
            problems.push(what);
        }
    };
    let measured = sent.late.len();
    let share = 100.0 * sent.late_count as f64 / measured.max(1) as f64;
    say(
        outcome.rate.is_some() && sent.late_count as f64 > SLIPPED_MAX * measured as f64,
        format!(
            "the load could not keep its own schedule: {} messages ({share:.1} %) left more than {} late, the latest by {}; their latency counts from when they were to leave",
            count(sent.late_count),
            time(LATE_NS),
            time(sent.late.max())
        ),
    );
    let kept = Schedule::of(sent);
    say(
        outcome.rate.is_some() && kept.behind() > 1.0,
        format!(
            "only {} of {} messages that were due in the measured time were sent within it; with more than {} % behind, no objective is met",
            count(kept.in_time),
            count(kept.due),
            100.0 * BEHIND_MAX
        ),
    );
    say(
        sent.unsent > 0,
        format!(
            "{} messages were due and never sent: the target, or this machine, takes no more",
            count(sent.unsent)
        ),
    );
    if let Some(why) = &outcome.refusal {
        say(
            true,
            format!("{} messages were refused: {why}", count(counts.refused)),
        );
    }
    say(
        counts.late > 0,
        format!("{} of the lost messages came later", count(counts.late)),
    );
    if let Some(acks) = &outcome.acks {
        say(
            acks.counts.late > 0,
            format!(
                "{} of the messages that were not acknowledged in time were later",
                count(acks.counts.late)
            ),
        );
    }
    say(
        counts.strange > 0,
        format!(
            "{} messages came that are none of this load's: somebody else publishes there, or a handler takes the stamps away",
            count(counts.strange)
        ),
    );
    if let Some(sunk) = sunk.filter(|sunk| *sunk != sent.sent) {
        say(
            true,
            format!(
                "the sink took {} of {} messages",
                count(sunk),
                count(sent.sent)
            ),
        );
    }
    say(
        outcome.latency.is_empty(),
        "no message was measured".to_owned(),
    );
    let ended = if outcome.cut {
        "a signal ended the load"
    } else {
        "the load ended"
    };
    say(
        outcome.ended_early(),
        format!(
            "{ended} before its time: rates are of the {:.2} s that were measured",
            outcome.measured.seconds()
        ),
    );
    problems
}
