//! What was asked for, as names and values that are shown.

use serde::Serialize;

use crate::core::payloads::{Payloads, StampPlace};
use crate::core::schedule::Arrivals;
use crate::core::sizes::Sizes;
use crate::plan::{Plan, Rates, Target};
use crate::units::{count, rate, size, time};

/// One of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Parameter {
    /// What it is.
    pub(crate) name: &'static str,
    /// What it was.
    pub(crate) value: String,
}

/// All of a plan. No secret is among them.
pub(super) fn parameters(plan: &Plan) -> Vec<Parameter> {
    let pace = &plan.pace;
    let ns = |time: std::time::Duration| time.as_nanos() as u64;
    let mut all = vec![
        ("mode", plan.mode.name().to_owned()),
        ("target", target(&plan.target)),
        ("subject", subjects(plan)),
    ];
    all.extend(
        plan.mode
            .observe()
            .map(|subject| ("observed on", subject.to_owned())),
    );
    all.push(("payload", payload(plan)));
    let headers = &plan.messages.headers;
    all.extend((!headers.is_empty()).then(|| {
        (
            "headers",
            headers
                .iter()
                .map(|(key, value)| format!("{key}: {value}"))
                .collect::<Vec<_>>()
                .join(", "),
        )
    }));
    all.extend([
        ("pace", rates(plan)),
        ("connections", plan.connections.to_string()),
        (
            "measured",
            match ns(pace.warmup) {
                0 => format!("{} without warm-up", time(ns(pace.duration))),
                warmup => format!(
                    "{} after {} of warm-up",
                    time(ns(pace.duration)),
                    time(warmup)
                ),
            },
        ),
        ("lost after", time(ns(pace.settle))),
        ("seed", plan.messages.seed.to_string()),
    ]);
    all.into_iter()
        .map(|(name, value)| Parameter { name, value })
        .collect()
}

/// A target in few words, for a title: without the folder of a file.
pub(super) fn title(plan: &Plan) -> String {
    match &plan.target {
        Target::Embedded(embedded) => {
            let name = embedded.component.file_name().unwrap_or_default();
            format!("{} in process", name.display())
        }
        other => target(other),
    }
}

fn target(target: &Target) -> String {
    match target {
        Target::Servers(servers) => servers.to_string(),
        Target::Sink => "a sink in this process".to_owned(),
        Target::Embedded(embedded) => {
            let batch = embedded
                .batch_max
                .map_or(String::new(), |most| format!(", {most} messages a call"));
            format!(
                "{} in process, {} shard{}{batch}",
                embedded.component.display(),
                embedded.shards,
                if embedded.shards == 1 { "" } else { "s" }
            )
        }
    }
}

fn subjects(plan: &Plan) -> String {
    match plan.messages.subjects.names() {
        [one] => one.clone(),
        all => format!("{} to {}", all[0], all[all.len() - 1]),
    }
}

fn payload(plan: &Plan) -> String {
    let stamp = match plan.messages.stamp {
        StampPlace::Payload => "stamps in it",
        StampPlace::Header => "stamps in a header",
    };
    let payload = match &plan.messages.payloads {
        Payloads::Given(lines) => format!("{} lines of a file", count(lines.len() as u64)),
        Payloads::Drawn(Sizes::Fixed(bytes), _) => size(u64::from(*bytes)),
        Payloads::Drawn(Sizes::Uniform(from, to), _) => {
            format!("{} to {}", size(u64::from(*from)), size(u64::from(*to)))
        }
        Payloads::Drawn(Sizes::LogNormal { median, sigma, max }, _) => {
            format!(
                "log-normal, median {}, sigma {sigma}, at most {}",
                size(u64::from(*median)),
                size(u64::from(*max))
            )
        }
        Payloads::Drawn(Sizes::Pareto { min, alpha, max }, _) => {
            format!(
                "Pareto from {}, alpha {alpha}, at most {}",
                size(u64::from(*min)),
                size(u64::from(*max))
            )
        }
        Payloads::Drawn(Sizes::List(sizes, _), _) => {
            sizes
                .iter()
                .map(|bytes| size(u64::from(*bytes)))
                .collect::<Vec<_>>()
                .join(" or ")
                + ", by weight"
        }
    };
    format!("{payload}; {stamp}")
}

fn rates(plan: &Plan) -> String {
    let arrivals = match plan.pace.arrivals {
        Arrivals::Constant => "constant",
        Arrivals::Poisson => "Poisson",
    };
    match &plan.pace.rates {
        Rates::Closed(_) if plan.mode == crate::plan::Mode::Publish(None) => {
            "closed loop, as fast as the socket takes it".to_owned()
        }
        Rates::Closed(window) => format!("closed loop, {} under way", count(*window)),
        Rates::Open(rates) => {
            let rates: Vec<String> = rates.iter().map(|one| rate(*one)).collect();
            format!("open loop, {arrivals}, {} msgs/s", rates.join(", "))
        }
        Rates::Search {
            bounds, precision, ..
        } => {
            format!(
                "open loop, {arrivals}, search up to {} msgs/s, to {} %",
                rate(bounds.1),
                100.0 * precision
            )
        }
    }
}
