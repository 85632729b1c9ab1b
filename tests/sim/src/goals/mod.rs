//! The goals: what the shard's decisions are worth, measured on virtual time.
//!
//! The highest rate of each row is that of the production loop (`lab.rs`), beside the best of all fixed settings, found by
//! exhaustive search on that very trace with a server that has no overheads at all.

mod cases;
mod fixed;
mod lab;
mod ours;
mod rows;
mod search;
mod table;

use std::io::{self, Write};

use crate::limits::HandlerLimits;

/// Measures every goal with this seed and prints the tables. Whether all goals are met.
///
/// # Errors
/// The output can't be written.
pub fn print(seed: u64, out: &mut impl Write) -> io::Result<bool> {
    let all = rows::rows(seed);
    let lines: Vec<_> = all.iter().map(line).collect();
    let rates = table::print(&lines, out)?;
    writeln!(out)?;
    let mut met = rates;
    for case in cases::cases(seed) {
        let mark = if case.met { "met   " } else { "MISSED" };
        writeln!(
            out,
            "{mark}  {}: {}\n        seen: {}",
            case.name, case.goal, case.seen
        )?;
        met &= case.met;
    }
    Ok(met)
}

/// One row: the fixed settings and ours, each at its highest rate. On two threads, for they have nothing in common.
fn line(row: &rows::Row) -> table::Line<'_> {
    std::thread::scope(|scope| {
        let fixed = scope.spawn(|| fixed::search(row, &mut search::Grid::new(row)));
        let ours = search::Grid::new(row).highest(|trace| ours::meets(row, trace));
        let fixed = fixed.join().expect("a search does not panic");
        table::Line { row, ours, fixed }
    })
}

/// How often a shard with this many messages, which come at once and are called one by one, takes messages in and hands results out:
/// both, until all is settled. Calls take so many nanoseconds.
///
/// # Panics
/// If not every message is handled in a call of its own.
#[must_use]
pub fn moves(messages: usize, call_ns: u64) -> (usize, usize) {
    let arrival = |_| rows::Arrival {
        at_ns: 0,
        handler: 0,
        bytes: 100,
    };
    let trace: Vec<_> = (0..messages).map(arrival).collect();
    let limits = HandlerLimits {
        batch_messages_max: 1,
        ..HandlerLimits::default()
    };
    let result = lab::run(lab::Plan {
        limits: vec![limits],
        droppable: false,
        letters: false,
        trace: &trace,
        fate: &|_, _, _, _, _| lab::Fate::Done(call_ns),
        give_up: false,
    });
    let tally = &result.handlers[0];
    assert_eq!((tally.latencies.len(), tally.calls), (messages, messages));
    (result.received, result.flushed)
}
