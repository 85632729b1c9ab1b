//! All goals, with what of a run's rows each is judged by.

use Of::{Held, Ratio, Row as One};

/// What is judged: a row, or the ratio of two of one group, round by round.
#[derive(Debug, Clone, Copy)]
pub(super) enum Of {
    Row(&'static str, &'static str),
    Ratio(&'static str, &'static str, &'static str),
    /// What a test holds, and the command that runs it.
    Held(&'static str),
}

/// A goal.
pub(super) struct Goal {
    pub(super) name: &'static str,
    pub(super) of: Of,
    pub(super) at_most: bool,
    pub(super) limit: f64,
    pub(super) unit: &'static str,
    /// Whether it is one; else a row that stands beside it, judged by the same limit.
    pub(super) is_goal: bool,
}

const fn most(name: &'static str, of: Of, limit: f64, unit: &'static str) -> Goal {
    Goal {
        name,
        of,
        at_most: true,
        limit,
        unit,
        is_goal: true,
    }
}

const fn least(name: &'static str, of: Of, limit: f64) -> Goal {
    Goal {
        name,
        of,
        at_most: false,
        limit,
        unit: "",
        is_goal: true,
    }
}

/// What stands beside a goal of the same limit.
const fn beside(goal: Goal) -> Goal {
    Goal {
        is_goal: false,
        ..goal
    }
}

/// The group of engine ÷ raw loop.
pub(super) const COMPARED: &str = crate::report::GROUP;

/// All goals. The names of groups and cases are those that the parts of this crate note.
pub(super) const GOALS: &[Goal] = &[
    least(
        "engine ÷ raw loop on core: echo, contract 1, 1 a call",
        One(COMPARED, "echo, 1 a call: ratio"),
        0.9,
    ),
    least(
        "engine ÷ raw loop on core: echo, contract 1, 64 a call",
        One(COMPARED, "echo, 64 a call: ratio"),
        0.9,
    ),
    least(
        "engine ÷ raw loop on core: counter, contract 1, 64 a call",
        One(COMPARED, "counter, 64 a call: ratio"),
        0.9,
    ),
    least(
        "engine ÷ raw loop on core: echo, contract 3, 256 a call",
        One(COMPARED, "batch-echo, 256 a call: ratio"),
        0.9,
    ),
    least(
        "engine ÷ raw loop on core: counter, contract 3, 256 a call",
        One(COMPARED, "batch-counter, 256 a call: ratio"),
        0.8,
    ),
    least(
        "engine ÷ raw loop on core: echo, contract 3, 1,024 a call",
        One(COMPARED, "batch-echo, 1024 a call: ratio"),
        0.8,
    ),
    least(
        "engine ÷ raw loop on core: counter, contract 3, 1,024 a call",
        One(COMPARED, "batch-counter, 1024 a call: ratio"),
        0.8,
    ),
    most(
        "engine on core: echo, contract 3, 256 a call, a message",
        One(COMPARED, "batch-echo, 256 a call: engine"),
        40.0,
        " ns",
    ),
    most(
        "engine on core: counter, contract 3, 256 a call, a message",
        One(COMPARED, "batch-counter, 256 a call: engine"),
        40.0,
        " ns",
    ),
    most(
        "engine on core: echo, contract 3, 1,024 a call, a message",
        One(COMPARED, "batch-echo, 1024 a call: engine"),
        25.0,
        " ns",
    ),
    most(
        "engine on core: counter, contract 3, 1,024 a call, a message",
        One(COMPARED, "batch-counter, 1024 a call: engine"),
        25.0,
        " ns",
    ),
    least(
        "engine ÷ raw loop on core: echo, contract 2, 1 a call",
        One(COMPARED, "echo-incoming, 1 a call: ratio"),
        0.85,
    ),
    least(
        "engine ÷ raw loop on core: echo, contract 4, 1 a call",
        One(COMPARED, "echo-wasmcloud, 1 a call: ratio"),
        0.85,
    ),
    least(
        "two shards ÷ one, fresh instance a message, handlers that feed themselves",
        Ratio("scaling", "2 shards", "1 shard"),
        1.85,
    ),
    least(
        "two shards ÷ one, the same with a publisher on their two cores",
        Ratio("scaling published", "2 shards", "1 shard"),
        1.85,
    ),
    least(
        "fresh instances, 2 threads: pool as the engine sets it, reset as it chooses ÷ pool's defaults",
        Ratio("instantiate", "ours, 2 threads", "pool-defaults, 2 threads"),
        4.0,
    ),
    least(
        "fresh instances, 2 threads: the same ÷ on demand",
        Ratio("instantiate", "ours, 2 threads", "on-demand, 2 threads"),
        8.0,
    ),
    most(
        "NATS echo, CPU: ours (contract 3, 1024) ÷ native",
        Ratio(
            "nats echo",
            "ours, contract 3, 1024 a call: CPU",
            "native: CPU",
        ),
        0.5,
        "",
    ),
    most(
        "NATS echo at 50 %, p99.9, all answered: ours ÷ native",
        Ratio(
            "nats latency",
            "ours at 50 %: p99.9",
            "native at 50 %: p99.9",
        ),
        1.0,
        "",
    ),
    most(
        "NATS echo, idle p50: ours ÷ native",
        Ratio("nats latency", "ours idle: p50", "native idle: p50"),
        1.0,
        "",
    ),
    most(
        "heap allocations of ours a message, contract 3, 64 a call",
        Held("cargo test --workspace --test allocations"),
        0.0,
        "",
    ),
    most(
        "system calls a message, contract 3, 64 a call, reset apart",
        One("system calls", "contract-3-batch-64: beside the reset"),
        0.05,
        "",
    ),
    most(
        "one message, taken to settled, echo from the pond, shard that looks (`idle_spin`)",
        One("taken to settled", "echo, from the pond"),
        2.0,
        " µs",
    ),
    most(
        "the same with defaults: its thread has rested",
        One("taken to settled", "echo, from the pond, its thread rested"),
        2.0,
        " µs",
    ),
    most(
        "shard that looks ÷ the same without the pond",
        Ratio(
            "taken to settled",
            "echo, from the pond",
            "echo, without the pond",
        ),
        0.5,
        "",
    ),
    most(
        "cold start, exec to first message settled, kept code",
        One("cold start", "kept code"),
        25.0,
        " ms",
    ),
    most(
        "load of a component of 18 MB, kept code",
        One("load", "kept code"),
        50.0,
        " ms",
    ),
    most(
        "memory of a loaded idle handler, 64 KB image",
        One("memory", "an idle handler"),
        200.0,
        " KB",
    ),
    least(
        "16 shards ÷ one, on 16 cores",
        Ratio("scaling", "16 shards", "1 shard"),
        14.0,
    ),
    most(
        "a whole `cargo bench`, once built",
        One(RUN, ELAPSED),
        600.0,
        " s",
    ),
    beside(least(
        "by the clock: echo, contract 1, 1 a call",
        One(COMPARED, "echo, 1 a call: ratio by the clock"),
        0.9,
    )),
    beside(least(
        "by the clock: echo, contract 1, 64 a call",
        One(COMPARED, "echo, 64 a call: ratio by the clock"),
        0.9,
    )),
    beside(least(
        "by the clock: counter, contract 1, 64 a call",
        One(COMPARED, "counter, 64 a call: ratio by the clock"),
        0.9,
    )),
    beside(least(
        "by the clock: echo, contract 3, 256 a call",
        One(COMPARED, "batch-echo, 256 a call: ratio by the clock"),
        0.9,
    )),
    beside(least(
        "by the clock: counter, contract 3, 256 a call",
        One(COMPARED, "batch-counter, 256 a call: ratio by the clock"),
        0.8,
    )),
    beside(least(
        "by the clock: echo, contract 3, 1,024 a call",
        One(COMPARED, "batch-echo, 1024 a call: ratio by the clock"),
        0.8,
    )),
    beside(least(
        "by the clock: counter, contract 3, 1,024 a call",
        One(COMPARED, "batch-counter, 1024 a call: ratio by the clock"),
        0.8,
    )),
    beside(least(
        "on core, in messages, not packs: echo, contract 3, 256 a call",
        One(COMPARED, "batch-echo, in messages, 256 a call: ratio"),
        0.9,
    )),
    beside(least(
        "on core, in messages, not packs: counter, contract 3, 256 a call",
        One(COMPARED, "batch-counter, in messages, 256 a call: ratio"),
        0.8,
    )),
    beside(least(
        "by the clock: echo, contract 2, 1 a call",
        One(COMPARED, "echo-incoming, 1 a call: ratio by the clock"),
        0.85,
    )),
    beside(least(
        "by the clock: echo, contract 4, 1 a call",
        One(COMPARED, "echo-wasmcloud, 1 a call: ratio by the clock"),
        0.85,
    )),
];

/// The row of a run in which all was measured: how long it took.
pub const RUN: &str = "run";
/// See [`RUN`].
pub const ELAPSED: &str = "elapsed";
