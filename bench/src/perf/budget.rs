//! What a message takes, layer by layer: parts that add up to what was measured of the whole, since what is left of a sum is a part too.
//!
//! Of our side on NATS a part is measured in a process of its own or in memory alone: the engine in process with packs, and with messages in their place;
//! parser, layout and writer over the same bytes; the kernel's part of the service's time. What is left then no measurement explains.

use super::rows::{NONE, Rows, table};
use crate::nats::layers::GROUP as LAYER;
use crate::record::Record;
use crate::report::{GROUP, PIECE_NAMES, PIECES};

/// A column: its head, the case of the raw loop and the engine in process, and the side on NATS.
type Column = (&'static str, &'static str, Option<&'static str>);

/// What is taken apart.
const COLUMNS: [Column; 4] = [
    ("contract 1, 1 a call", "echo, 1 a call", None),
    ("contract 1, 64 a call", "echo, 64 a call", None),
    ("contract 3, 256 a call", "batch-echo, 256 a call", None),
    (
        "the same on NATS",
        "batch-echo, 256 a call",
        Some("ours, contract 3, 256 a call"),
    ),
];

/// A layer's name, and whether it is a part or the sum of all parts above.
type Layer = (&'static str, bool);

const LAYERS: [Layer; 14] = [
    ("a store", false),
    ("an instance", false),
    ("the call: lowering, the guest, lifting", false),
    ("drop, with the reset of memory", false),
    ("the loop: what is left", false),
    ("raw Wasmtime loop", true),
    ("the engine beside it", false),
    ("engine in process", true),
    ("the parser", false),
    ("laying a pack out", false),
    ("the writer", false),
    ("the kernel: sockets, wake-ups, reset", false),
    ("what none of these explains", false),
    ("total", true),
];

/// The table.
pub(super) fn text(record: &Record) -> Option<String> {
    let rows = Rows(&record.rows);
    let columns = COLUMNS.map(|column| layers(rows, column));
    columns.iter().flatten().flatten().next()?;
    let line = |(place, (name, is_sum)): (usize, &Layer)| {
        let bold = if *is_sum { "**" } else { "" };
        let cell = |column: &[Option<f64>; LAYERS.len()]| match column[place] {
            Some(nanos) => format!("{bold}{nanos:.1}{bold}"),
            None => NONE.to_owned(),
        };
        let name = format!("{bold}{name}{bold}");
        [name].into_iter().chain(columns.iter().map(cell)).collect()
    };
    let lines = LAYERS.iter().enumerate().map(line).collect();
    let heads = COLUMNS.map(|(head, ..)| head);
    let head: Vec<_> = ["ns of a core a message, medians"]
        .into_iter()
        .chain(heads)
        .collect();
    table(&head, lines)
}

/// The layers of a column, as far as they were measured.
fn layers(rows: Rows<'_>, (_, case, on_nats): Column) -> [Option<f64>; LAYERS.len()] {
    let piece = |name: &str| rows.median(PIECES, &format!("{case}: {name}"));
    let pieces = PIECE_NAMES.map(piece);
    let raw = rows.median(GROUP, &format!("{case}: raw"));
    let engine = rows.median(GROUP, &format!("{case}: engine"));
    let sum = pieces.iter().copied().sum::<Option<f64>>();
    let beside = |name: &str| rows.median("nats echo", &format!("{}: {name}", on_nats?));
    let (cpu, kernel) = (beside("CPU"), beside("CPU in the kernel"));
    let left = |all: Option<f64>, part: Option<f64>| Some(all? - part?);
    let total = if on_nats.is_some() { cpu } else { engine };
    let step = |name: &str| on_nats.and_then(|_| rows.median(LAYER, name));
    let steps = ["parse", "lay out", "write"].map(step);
    let known = [engine, steps[0], steps[1], steps[2], kernel];
    [
        pieces[0],
        pieces[1],
        pieces[2],
        pieces[3],
        left(raw, sum),
        raw,
        left(engine, raw),
        engine,
        steps[0],
        steps[1],
        steps[2],
        kernel,
        left(cpu, known.into_iter().sum()),
        total,
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::notes::Row;

    fn row(group: &str, case: String, value: f64) -> Row {
        Row {
            group: group.into(),
            case,
            unit: String::new(),
            rounds: vec![value],
        }
    }

    #[test]
    fn the_parts_add_up_to_each_sum() {
        let mut rows = Vec::new();
        for (number, (_, case, on_nats)) in COLUMNS.iter().enumerate().filter(|(n, _)| *n != 2) {
            let value = |part: usize| (1 + number * 7 + part * 3) as f64 * 1.7;
            for (part, name) in PIECE_NAMES.iter().enumerate() {
                rows.push(row(PIECES, format!("{case}: {name}"), value(part)));
            }
            rows.push(row(GROUP, format!("{case}: raw"), value(20)));
            rows.push(row(GROUP, format!("{case}: engine"), value(18)));
            if let Some(side) = on_nats {
                rows.push(row("nats echo", format!("{side}: CPU"), value(90)));
                for (part, name) in ["parse", "lay out", "write"].into_iter().enumerate() {
                    rows.push(row(LAYER, name.into(), value(2 + part)));
                }
                let kernel = format!("{side}: CPU in the kernel");
                rows.push(row("nats echo", kernel, value(30)));
            }
        }
        for column in COLUMNS {
            let layers = layers(Rows(&rows), column);
            let mut sum = 0.0;
            for ((name, is_sum), value) in LAYERS.iter().zip(layers) {
                let value = value.unwrap_or_else(|| {
                    assert!(column.2.is_none(), "{name} is missing");
                    0.0
                });
                match is_sum {
                    true => assert!((sum - value).abs() < 1e-9, "{name}: {sum}, {value}"),
                    false => sum += value,
                }
            }
            assert!(sum > 0.0);
        }
    }

    #[test]
    fn a_layer_that_was_not_measured_leaves_what_depends_on_it_open() {
        let rows = [row(GROUP, "echo, 1 a call: raw".into(), 5.0)];
        let layers = layers(Rows(&rows), COLUMNS[0]);
        assert_eq!(layers.iter().flatten().count(), 1);
    }
}
