//! The results: a table a group of rows.

use super::rows::{Rows, table, told};
use crate::notes::Row;
use crate::record::Record;
use crate::report::GROUP;

/// Engine ÷ raw loop.
pub(super) fn in_process(record: &Record) -> Option<String> {
    let rows = Rows(&record.rows);
    let cases = rows
        .group(GROUP)
        .filter_map(|row| row.case.strip_suffix(": raw"));
    let line = |case: &str| {
        let of = |what: &str| rows.told(GROUP, &format!("{case}: {what}"));
        let cells = ["raw", "engine", "ratio", "ratio by the clock"].map(of);
        [case.to_owned()].into_iter().chain(cells).collect()
    };
    let head = [
        "handler, messages a call",
        "raw loop, ns on core",
        "engine, ns on core",
        "engine ÷ raw, on core",
        "by the clock",
    ];
    table(&head, cases.map(line).collect())
}

/// The ways of resetting used memory.
pub(super) fn resets(record: &Record) -> Option<String> {
    let rows = Rows(&record.rows);
    let reset = rows
        .group("reset")
        .map(|row| vec![row.case.clone(), told(row)]);
    let head = [
        "reset, raw loop, `counter`, 1 a call",
        "calls a second of a core",
    ];
    table(&head, reset.collect())
}

/// By contract, messages a call and payload.
pub(super) fn call(record: &Record) -> Option<String> {
    const PAYLOADS: [&str; 3] = ["16 bytes", "1024 bytes", "4096 bytes"];
    let rows = Rows(&record.rows);
    let cases = rows.group("call");
    let cases = cases.filter_map(|row| row.case.strip_suffix(", 16 bytes"));
    let line = |case: &str| {
        let of = |payload: &str| rows.told("call", &format!("{case}, {payload}"));
        [case.to_owned()]
            .into_iter()
            .chain(PAYLOADS.map(of))
            .collect()
    };
    let head: Vec<_> = ["ns of the shard a message"]
        .into_iter()
        .chain(PAYLOADS)
        .collect();
    table(&head, cases.map(line).collect())
}

/// Fresh instances, by allocator.
pub(super) fn instances(record: &Record) -> Option<String> {
    const GROUP: &str = "instantiate";
    let rows = Rows(&record.rows);
    let names = rows
        .group(GROUP)
        .filter_map(|row| row.case.strip_suffix(", 1 thread"));
    let line = |name: &str| {
        let [one, two, defaults] = [
            format!("{name}, 1 thread"),
            format!("{name}, 2 threads"),
            "pool-defaults, 2 threads".into(),
        ];
        vec![
            name.to_owned(),
            rows.told(GROUP, &one),
            rows.told(GROUP, &two),
            rows.ratio(GROUP, &two, &one),
            rows.ratio(GROUP, &two, &defaults),
        ]
    };
    let head = [
        "instances a second, called once each",
        "1 thread",
        "2 threads",
        "2 ÷ 1",
        "2 threads ÷ pool's defaults",
    ];
    table(&head, names.map(line).collect())
}

/// Each side on NATS.
pub(super) fn nats(record: &Record) -> Option<String> {
    sides(record, "nats echo", "request and reply")
}

/// Each side on JetStream.
pub(super) fn consume(record: &Record) -> Option<String> {
    sides(record, "nats consume", "JetStream, consume and ack")
}

fn sides(record: &Record, group: &str, name: &str) -> Option<String> {
    let rows = Rows(&record.rows);
    let names = rows
        .group(group)
        .filter_map(|row| row.case.strip_suffix(": CPU"));
    let line = |side: &str| {
        let of = |what: &str| format!("{side}: {what}");
        let (cpu, rate) = (of("CPU"), of("rate"));
        vec![
            side.to_owned(),
            rows.told(group, &cpu),
            rows.middle(group, &of("CPU in the kernel")),
            rows.told(group, &rate),
            rows.ratio(group, &cpu, "bare: CPU"),
            rows.ratio(group, &cpu, "native: CPU"),
            rows.ratio(group, &rate, "native: rate"),
        ]
    };
    let head = [
        name,
        "CPU, ns a message",
        "of it the kernel's",
        "messages a second",
        "CPU ÷ bare",
        "CPU ÷ native",
        "rate ÷ native",
    ];
    table(&head, names.map(line).collect())
}

/// Latencies by load: in process, and on NATS of both sides.
pub(super) fn latency(record: &Record) -> Option<String> {
    const SIDES: [(&str, &str, &str); 3] = [
        ("latency", "in process", "in process"),
        ("nats latency", "ours", "NATS, ours"),
        ("nats latency", "native", "NATS, native"),
    ];
    const LEVELS: [&str; 4] = ["idle", "at 10 %", "at 50 %", "at 80 %"];
    let rows = Rows(&record.rows);
    let of_level = |level| SIDES.map(|(group, side, name)| (group, side, name, level));
    let line = |(group, side, name, level)| {
        let case = |what: &str| format!("{side} {level}: {what}");
        rows.find(group, &case("p50"))?;
        let cells = ["p50", "p99", "p99.9", "shed"].map(|what| rows.told(group, &case(what)));
        Some(
            [format!("{name} {level}")]
                .into_iter()
                .chain(cells)
                .collect(),
        )
    };
    let lines = LEVELS.into_iter().flat_map(of_level).filter_map(line);
    let head = ["µs", "p50", "p99", "p99.9", "shed, %"];
    table(&head, lines.collect())
}

/// What is measured once a process, a handler, or a message: a line each.
pub(super) fn start(record: &Record) -> Option<String> {
    const GROUPS: [&str; 7] = [
        "cold start",
        "load",
        "memory",
        "handlers",
        "dispatch hop",
        "taken to settled",
        "taken to answered",
    ];
    let rows = Rows(&record.rows);
    let found = GROUPS.into_iter().flat_map(|group| rows.group(group));
    let line = |row: &Row| {
        let what = format!("{}: {}", row.group, row.case);
        vec![what, told(row), row.unit.clone()]
    };
    table(
        &["what", "median (least, most)", "unit"],
        found.map(line).collect(),
    )
}

/// Rates by shards.
pub(super) fn scaling(record: &Record) -> Option<String> {
    let rows = Rows(&record.rows);
    let of_group = |group: &'static str, how: &'static str| {
        let one = rows.group(group).next();
        rows.group(group).filter_map(move |row| {
            let ratio = rows.ratio(group, &row.case, &one?.case);
            Some(vec![format!("{}, {how}", row.case), told(row), ratio])
        })
    };
    let fed = of_group("scaling", "fed by their own handlers");
    let published = of_group("scaling published", "fed by a publisher");
    let head = ["shards", "messages a second", "÷ one"];
    table(&head, fed.chain(published).collect())
}

/// Wasmtime's settings, by what is called.
pub(super) fn settings(record: &Record) -> Option<String> {
    const CASES: [&str; 3] = [
        "echo, 1 a call",
        "echo, 64 a call",
        "batch-echo, 256 a call",
    ];
    let rows = Rows(&record.rows);
    let first = format!("{}: ", CASES[0]);
    let names = rows.group("settings");
    let names = names.filter_map(|row| row.case.strip_prefix(&*first));
    let line = |name: &str| {
        let of = |case| rows.told("settings", &format!("{case}: {name}"));
        [name.to_owned()].into_iter().chain(CASES.map(of)).collect()
    };
    let head = ["raw loop, rate on core ÷ the engine's settings"];
    let head: Vec<_> = head.into_iter().chain(CASES).collect();
    table(&head, names.map(line).collect())
}
