//! What leaves, looked at where it arrives: connections, subjects, times.

use crate::service::{Arrival, Does, Service};
use crate::{asked, done, loadgen, n};

#[test]
fn every_connection_sends_its_share() {
    let (ended, seen) = asked(
        |_| Does::Answers,
        "--rate 1000 --duration 200ms --settle 20s --connections 3",
    );
    let load = ended.ended(0).load();
    assert_eq!(n(&load, "received"), 200);
    let mut shares: Vec<usize> = seen.connections.iter().map(Vec::len).collect();
    shares.sort_unstable();
    assert_eq!(shares, [66, 67, 67]);
}

/// The share of each of five subjects in 1,000 messages.
fn shares(more: &str) -> [f64; 5] {
    let line = format!("--rate 5000 --duration 200ms --settle 20s --subjects 5 {more}");
    let (ended, seen) = asked(|_| Does::Answers, &line);
    let load = ended.ended(0).load();
    assert_eq!((n(&load, "received"), seen.count()), (1_000, 1_000));
    let to = |subject: &str| seen.all().filter(|post| post.subject == subject).count();
    ["in.0", "in.1", "in.2", "in.3", "in.4"].map(|subject| to(subject) as f64 / 1_000.0)
}

#[test]
fn messages_are_spread_over_subjects_as_the_skew_says() {
    // Drawn from a seed: of 1,000 draws, a share is off by 0.016 in the mean at most.
    let alike = shares("");
    assert!(
        alike.iter().all(|share| (share - 0.2).abs() < 0.05),
        "{alike:?}"
    );
    // The k-th as often as 1/k: 60/137, 30/137 and so on.
    let zipf = shares("--skew 1");
    for (share, k) in zipf.iter().zip(1..) {
        let expected = 60.0 / 137.0 / f64::from(k);
        assert!((share - expected).abs() < 0.05, "{zipf:?}");
    }
}

/// What arrives of 20 messages a second for three seconds.
fn at_20_a_second(more: &str) -> Vec<Arrival> {
    let service = Service::start(|_| Does::Answers);
    let line = format!(
        "request --subject in --rate 20 --duration 3s --warmup 0s --settle 20s --json --server {} {more}",
        service.url()
    );
    let load = done(&mut loadgen(&line)).ended(0).load();
    let mut seen = service.seen();
    assert_eq!(n(&load, "received"), seen.count());
    seen.connections.remove(0)
}

/// Of the times between two arrivals, how many are below a half of their mean.
fn short_gaps(arrivals: &[Arrival]) -> usize {
    let half_s = 0.5 / 20.0;
    let gaps = arrivals.windows(2).map(|two| two[1].at - two[0].at);
    gaps.filter(|gap| gap.as_secs_f64() < half_s).count()
}

#[test]
fn times_are_spread_as_those_of_many_senders_unless_they_are_to_be_constant() {
    assert_eq!(at_20_a_second("--arrivals constant").len(), 60);
    // How many there are is drawn too: 60 in the mean, off by 8 in the mean.
    let seeds = [1, 2, 3].map(|seed| at_20_a_second(&format!("--seed {seed}")));
    let counts = seeds.each_ref().map(Vec::len);
    assert!(
        counts.iter().all(|count| (30..=90).contains(count)),
        "{counts:?}"
    );
    assert!(counts.iter().any(|count| *count != 60), "{counts:?}");
    for arrivals in &seeds {
        // Four in ten are, of times that are distributed exponentially, and none of constant ones. What holds messages up on their way
        // makes more gaps short and others long.
        let (short, all) = (short_gaps(arrivals), arrivals.len());
        assert!(5 * short >= all, "{short} of {all}");
        let longest = arrivals.windows(2).map(|two| two[1].at - two[0].at).max();
        assert!(
            longest.is_some_and(|gap| gap.as_secs_f64() > 2.0 / 20.0),
            "{longest:?}"
        );
    }
}
