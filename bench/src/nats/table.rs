//! What was measured, as text.

use std::fmt::Write as _;

use crate::notes::{note, spread};

/// One side's rounds.
pub(super) struct Side {
    pub(super) name: String,
    pub(super) rounds: Vec<Measured>,
}

/// A round of one side.
#[derive(Debug, Clone, Copy)]
pub(super) struct Measured {
    /// The service's CPU, in nanoseconds a message.
    pub(super) cpu: f64,
    /// Messages a second.
    pub(super) rate: f64,
}

/// A goal: what is compared with whom, and what it should be.
pub(super) struct Goal {
    pub(super) name: &'static str,
    /// Whether only sides of contract 1 count.
    pub(super) first_contract: bool,
    /// Of a round: ours, the other's; what should be at most, or at least, `limit`.
    pub(super) of: fn(Measured, Measured) -> f64,
    pub(super) beside: &'static str,
    pub(super) limit: f64,
    pub(super) at_most: bool,
}

impl Side {
    pub(super) fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            rounds: Vec::new(),
        }
    }

    fn of(&self, f: impl Fn(&Measured) -> f64) -> [f64; 3] {
        spread(self.rounds.iter().map(f).collect())
    }

    fn beside(&self, other: &Self, f: impl Fn(Measured, Measured) -> f64) -> [f64; 3] {
        let rounds = self.rounds.iter().zip(&other.rounds);
        spread(rounds.map(|(a, b)| f(*a, *b)).collect())
    }
}

/// CPU ÷ CPU.
pub(super) fn cpu(a: Measured, b: Measured) -> f64 {
    a.cpu / b.cpu
}

/// Rate ÷ rate.
pub(super) fn rate(a: Measured, b: Measured) -> f64 {
    a.rate / b.rate
}

/// The table of all sides, with what each has beside the bare socket and beside native.
pub(super) fn table(sides: &[Side]) -> String {
    let mut out = format!(
        "{:<32} {:>30} {:>34} {:>8} {:>8} {:>8} {:>8}\n",
        "", "CPU ns a message", "messages/s", "CPU÷bare", "÷native", "rate÷bare", "÷native"
    );
    for side in sides {
        let [c_low, c, c_high] = side.of(|m| m.cpu);
        let [r_low, r, r_high] = side.of(|m| m.rate);
        let cpus = format!("{c:.0} ({c_low:.0}, {c_high:.0})");
        let rates = format!("{r:.0} ({r_low:.0}, {r_high:.0})");
        let _ = write!(out, "{:<32} {cpus:>30} {rates:>34}", side.name);
        for f in [cpu, rate] {
            for name in ["bare", "native"] {
                let other = sides.iter().find(|s| s.name == name);
                let ratio = other.map_or(f64::NAN, |other| side.beside(other, f)[1]);
                let _ = write!(out, " {ratio:>8.3}");
            }
        }
        out.push('\n');
    }
    out
}

/// Keeps each side's rounds as rows of the run.
pub(super) fn noted(group: &str, sides: &[Side]) {
    for side in sides {
        let of = |f: fn(&Measured) -> f64| side.rounds.iter().map(f).collect::<Vec<_>>();
        note(
            group,
            format!("{}: CPU", side.name),
            "ns a message",
            of(|m| m.cpu),
        );
        note(
            group,
            format!("{}: rate", side.name),
            "messages/s",
            of(|m| m.rate),
        );
    }
}

/// Each goal, and one row of ours that all goals of its kind are judged by: the one that costs least CPU.
pub(super) fn goals(sides: &[Side], goals: &[Goal]) -> String {
    let mut out = String::new();
    for goal in goals {
        let Some(other) = sides.iter().find(|s| s.name == goal.beside) else {
            continue;
        };
        let counts = |s: &&Side| {
            s.name.starts_with("ours") && !(goal.first_contract && s.name.contains("contract"))
        };
        let cost = |s: &Side| s.of(|m| m.cpu)[1];
        let ours = sides.iter().filter(counts);
        let Some(ours) = ours.min_by(|a, b| cost(a).total_cmp(&cost(b))) else {
            continue;
        };
        let ratio = ours.beside(other, goal.of)[1];
        let (met, sign) = match goal.at_most {
            true => (ratio <= goal.limit, "≤"),
            false => (ratio >= goal.limit, "≥"),
        };
        let told = match met {
            true => "met".to_owned(),
            false => format!(
                "missed by {:.0} %",
                (ratio / goal.limit - 1.0).abs() * 100.0
            ),
        };
        let Goal { name, limit, .. } = goal;
        let _ = writeln!(
            out,
            "  {name} {sign} {limit}: {ratio:.3}, {told} ({})",
            ours.name
        );
    }
    out
}
