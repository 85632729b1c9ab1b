//! The simulator's tests: ten thousand runs, and what a run is.

use std::collections::BTreeSet;
use std::time::Duration;

use millpond_sim::seeds::{self, Seeds};
use millpond_sim::stragglers;

/// Seeds that the test command runs.
const SEEDS: u64 = 10_000;

#[test]
fn every_promise_is_kept_in_ten_thousand_runs_and_everything_happens_in_them() {
    let seeds = Seeds {
        from: 0,
        count: SEEDS,
        time: Duration::ZERO,
        threads: 2,
    };
    let tally = seeds::run(seeds, |_| {}).unwrap_or_else(|failure| panic!("{failure}"));
    println!("{tally}");
    assert_eq!(tally.seeds, SEEDS);
    let never = tally.rows().into_iter().filter(|(_, count)| *count < 100);
    assert_eq!(
        never.collect::<Vec<_>>(),
        [],
        "some of what runs are for hardly happened"
    );
}

#[test]
fn a_seed_is_one_run_and_another_is_another() {
    let hashes: Vec<_> = (0..50)
        .map(|seed| seeds::replay(seed, false).unwrap())
        .collect();
    let again: Vec<_> = (0..50)
        .map(|seed| seeds::replay(seed, false).unwrap())
        .collect();
    assert_eq!(hashes, again);
    let distinct: BTreeSet<_> = hashes.iter().collect();
    assert_eq!(distinct.len(), hashes.len());
}

#[test]
fn stragglers_in_every_read_buffer_keep_few_of_them() {
    let found = stragglers::run(500).unwrap_or_else(|failure| panic!("{failure}"));
    assert_eq!(found.buffers, 500);
    assert!(found.read_bytes > 500 * 60_000, "{found:?}");
    assert!(found.waiting_most > 450, "{found:?}");
    // 32 MiB came in buffers of 64 KiB, one a turn.
    assert!(found.kept_most <= (2 * (512 + 66)) << 10, "{found:?}");
}

#[test]
fn short_calls_share_a_move_and_calls_of_twenty_microseconds_have_one_each() {
    // The last turn finds nothing to do, and looks whether anything has come.
    let cases = [
        (5_000, 25 + 1),
        (19_999, 50 + 1),
        (20_000, 100 + 1),
        (1_000_000, 100 + 1),
    ];
    for (call_ns, moves) in cases {
        let found = millpond_sim::goals::moves(100, call_ns);
        assert_eq!(found, (moves, moves), "calls of {call_ns} ns");
    }
}

#[test]
fn the_goals_are_met() {
    let mut printed = Vec::new();
    let met = millpond_sim::goals::print(7, &mut printed).unwrap();
    let printed = String::from_utf8_lossy(&printed);
    assert!(met, "{printed}");
    // What comes before the first empty line is a table, and below it how it ends.
    let (table, _) = printed.split_once("\n\n").unwrap();
    let at = table.find("least ratio").unwrap();
    let perf = include_str!("../../../PERF.md");
    assert!(
        perf.contains(&table[at..]),
        "PERF.md has other ratios than `millpond-sim goals` prints:\n{table}"
    );
}
