//! A report to test outputs with.

use super::Report;
use super::latency::Latency;
use super::step::{Schedule, StepReport};
use crate::core::counts::Counts;
use crate::core::recorder::latencies;
use crate::core::series::Point;
use crate::plan::slo::Slo;
use crate::report::parameters::Parameter;

/// Of so many loads at 1,000, 2,000 … messages a second, each with latencies of 1 µs to 1 ms.
pub(super) fn report(loads: u64) -> Report {
    Report {
        program: "loadgen",
        version: "0",
        began_unix_s: 1_700_000_000,
        mode: "request",
        latency_is: "from the intended time until its reply".to_owned(),
        target: "<here>".to_owned(),
        parameters: vec![Parameter {
            name: "subject",
            value: "<a & \"b\">".to_owned(),
        }],
        met: Some(false),
        best_rate: None,
        loads: (1..=loads).map(load).collect(),
        searches: false,
        comes_back: true,
        fail_on: Vec::new(),
        has_slo: true,
        error: None,
    }
}

fn load(number: u64) -> StepReport {
    let mut histogram = latencies();
    (1..=1_000).for_each(|us| {
        histogram
            .record(us * 1_000)
            .expect("it is within the bounds")
    });
    let slo = Slo::parse("p99=500us,lost=0.01").expect("it is one");
    let point = |index: u32| Point {
        at_s: f64::from(index) / 10.0,
        sent_rate: 1_000.0,
        received_rate: 990.0,
        p50_ns: (index != 5).then_some(500_000),
        p99_ns: (index != 5).then_some(990_000),
        max_ns: (index != 5).then_some(1_000_000),
    };
    StepReport {
        offered_rate: Some(1_000.0 * number as f64),
        measured_s: 1.0,
        sent_rate: 1_000.0,
        received_rate: 997.0,
        sent: 1_000,
        counts: Counts {
            received: 997,
            duplicated: 1,
            ..Counts::default()
        },
        lost: 3,
        unsent: 0,
        schedule: Some(Schedule {
            due: 1_000,
            in_time: 1_000,
            late: 0,
            p99_ns: 10_000,
            max_ns: 20_000,
        }),
        full_waits: 0,
        sender_cpu_s: 0.5,
        sent_per_cpu_second: 2_000.0,
        sunk: None,
        connections_lost: 0,
        latency: Latency::new(&histogram),
        acks: None,
        ack_latency: None,
        objective: slo.judge(&histogram, 3, 1_000),
        met: Some(false),
        problems: vec!["something <odd>".to_owned()],
        series: (0..10).map(point).collect(),
        histogram,
        behind: 0.0,
        ends_all: false,
    }
}
