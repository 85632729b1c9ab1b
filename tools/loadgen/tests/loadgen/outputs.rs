//! Each output, read back.

use std::fs;
use std::time::Duration;

use millpond_tests::folder::Folder;
use millpond_tests::program::Program;

use crate::service::{Does, Service};
use crate::{asked, done, loadgen, n};

#[test]
fn a_sink_takes_all_that_was_sent_and_each_output_says_so() {
    let folder = Folder::new();
    let file = |name: &str| folder.path().join(name).display().to_string();
    let (page, curve) = (file("report.html"), file("curve.hgrm"));
    let line = format!(
        "publish --sink --rate 5000 --arrivals constant --duration 1s --settle 20s --warmup 200ms --connections 2 --subjects 10 --skew 1 --size 24..400 \
         --json --html {page} --hgrm {curve} --title Sunk"
    );
    let ended = done(&mut loadgen(&line))
        .ended(0)
        .says(&["msgs/s", "sent", "in flight", " %"]);
    let load = ended.load();
    let lines = ended.err.lines().filter(|line| line.contains(" in flight"));
    for line in lines {
        is_progress(line);
    }
    assert_eq!(
        ["sent", "received", "sunk", "lost", "unsent"].map(|key| n(&load, key)),
        [6_000, 6_000, 6_000, 0, 0]
    );
    assert_eq!(n(&load["latency"], "count"), 5_000);
    assert!(
        load["schedule"]["max_ns"].is_u64() && load["sent_per_cpu_second"].as_f64() > Some(0.0)
    );
    let series = load["series"].as_array().expect("there is one");
    let sent: f64 = series
        .iter()
        .map(|point| point["sent_rate"].as_f64().unwrap_or(0.0) / 10.0)
        .sum();
    // What left in the measured time is in its intervals; a busy machine may send the last of it later.
    assert!(
        series.len() == 10 && (1.0..=5_500.0).contains(&sent),
        "{sent}"
    );
    let page = fs::read_to_string(page).expect("it was written");
    assert!(page.contains("<title>Sunk</title>") && page.matches("<svg").count() == 3);
    let curve = fs::read_to_string(curve).expect("it was written");
    assert!(curve.contains("Total count    =         5000]"), "{curve}");
}

/// `120 msgs/s · 3 in flight · p50 1.2 ms · p99 3.4 ms · 120 sent`, behind its share.
#[track_caller]
fn is_progress(line: &str) {
    let parts: Vec<&str> = line.split(" · ").collect();
    let [rate, in_flight, p50, p99, sent] = parts.as_slice() else {
        panic!("{line:?}");
    };
    let time = |part: &str, name: &str| {
        let (number, unit) = part
            .strip_prefix(name)
            .and_then(|time| time.split_once(' '))
            .unwrap_or_else(|| panic!("{part:?} of {line:?}"));
        assert!(["ns", "µs", "ms", "s"].contains(&unit), "{line:?}");
        number
            .parse::<f64>()
            .unwrap_or_else(|_| panic!("{part:?} of {line:?}"))
    };
    assert!(
        time(p50, "p50 ") > 0.0 && time(p99, "p99 ") > 0.0,
        "{line:?}"
    );
    assert!(
        rate.contains(" %  ") && rate.ends_with(" msgs/s"),
        "{line:?}"
    );
    assert!(in_flight.ends_with(" in flight") && sent.ends_with(" sent"));
}

#[test]
fn a_sink_of_its_own_process_takes_what_is_published_to_it() {
    let mut sink = Program::start(&mut loadgen("sink --listen 127.0.0.1:0"));
    let ready = sink.wait_for("ready: ");
    let (_, line) = ready.split_once("loadgen ").expect("it says what to type");
    assert!(
        line.starts_with("publish --server nats://127.0.0.1:"),
        "{ready}"
    );
    for connections in [1, 3] {
        let more =
            "--rate 2000 --arrivals constant --duration 300ms --warmup 0s --settle 20s --json";
        let line = format!("{line} --connections {connections} {more}");
        let load = done(&mut loadgen(&line)).ended(0).load();
        let found = ["sent", "received", "lost", "unsent"].map(|key| n(&load, key));
        assert_eq!(found, [600, 600, 0, 0]);
    }
    let (_, taken) = line.split_once("//").expect("it is a URL");
    done(&mut loadgen(&format!("sink --listen {taken}")))
        .ended(1)
        .says(&["can't listen on", taken]);
    sink.kill();
}

#[test]
fn a_closed_loop_to_a_sink_loses_nothing_and_prints_a_table() {
    let folder = Folder::new();
    let page = folder.path().join("report.html");
    let ended = done(&mut loadgen(&format!(
        "publish --sink --duration 300ms --settle 20s --warmup 0s --html {}",
        page.display()
    )))
    .ended(0);
    for words in [
        "as fast as the socket takes it",
        "from when it was sent, into a buffer of the load's, until the socket took it",
        "0 lost",
        "in the sink",
        "msgs per CPU-second",
        "p99.9",
    ] {
        assert!(
            ended.out.contains(words),
            "{words:?} is not in {}",
            ended.out
        );
    }
    // A closed loop has no intended times.
    let page = fs::read_to_string(page).expect("it was written");
    assert!(page.contains("Latency is from when it was sent"), "{page}");
    assert!(!page.contains("intended") && !ended.out.contains("intended"));
}

#[test]
fn a_sweep_has_a_line_a_rate() {
    let ended = done(&mut loadgen(
        "publish --sink --sweep 500..1000*2 --arrivals constant --duration 300ms --settle 20s --warmup 0s --csv",
    ))
    .ended(0);
    let lines: Vec<Vec<&str>> = ended
        .out
        .lines()
        .map(|line| line.split(',').collect())
        .collect();
    let at = |name: &str| {
        lines[0]
            .iter()
            .position(|found| *found == name)
            .expect(name)
    };
    let of = |name| [1, 2].map(|row: usize| lines[row][at(name)]);
    assert_eq!(
        (lines.len(), of("offered_rate"), of("sent")),
        (3, ["500", "1000"], ["150", "300"])
    );
}

#[test]
fn a_search_that_nothing_bounds_ends_at_the_highest_rate_that_it_may_try() {
    let found = done(&mut loadgen(
        "publish --sink --find-max --slo p50=10s,lost=0 --rate 5 --rate-max 20 --duration 1s --settle 20s --warmup 0s --json",
    ));
    let found = found.ended(0);
    let report: serde_json::Value = serde_json::from_str(&found.out).expect("it is JSON");
    assert_eq!(
        (report["best_rate"].as_f64(), report["met"].as_bool()),
        (Some(20.0), Some(true))
    );
    assert_eq!(found.loads().len(), 3);
}

#[test]
fn a_search_ends_below_what_a_service_can_do() {
    // Each message takes 5 ms, one after another: 200 a second are what the service can do at most, however fast the machine is. Four under
    // way, and the time of grace, let a load of a higher rate send all that was due, only later.
    const EACH: Duration = Duration::from_millis(5);
    const CAPACITY: f64 = 200.0;
    let (ended, _) = asked(
        |_| Does::Stalls(EACH),
        "--find-max --slo p99=60s --rate 50 --rate-max 10k --in-flight-max 4 --duration 1s --settle 30s --precision 0.1",
    );
    let ended = ended.ended(0);
    let report: serde_json::Value = serde_json::from_str(&ended.out).expect("it is JSON");
    let best = report["best_rate"].as_f64().expect("it found one");
    // In the second that is measured four more leave than it has taken, and five of what was due may be left.
    let most = CAPACITY + 9.0;
    // A busy machine is slower, and not eight times.
    assert!((CAPACITY / 8.0..=most).contains(&best), "{report}");
    for load in ended.loads() {
        let offered = load["offered_rate"].as_f64().expect("it has one");
        assert!(load["met"] == false || offered <= most, "{load}");
        assert_eq!((n(&load, "unsent"), n(&load, "lost")), (0, 0));
    }
}

#[test]
fn a_search_that_finds_nothing_misses_the_objective() {
    let service = Service::start(|_| Does::Loses);
    let line = format!(
        "request --subject in --find-max --slo p99=1s --rate 1 --rate-max 2 --duration 2s --warmup 0s --settle 100ms --arrivals constant --server {}",
        service.url()
    );
    let ended = done(&mut loadgen(&line)).ended(13);
    assert!(
        ended.out.contains("the objective was missed"),
        "{}",
        ended.out
    );
    assert_eq!(service.taken(), 2);
}

#[test]
fn a_search_tries_a_rate_again_that_nearly_met_the_objective() {
    // Of the first hundred messages eleven are lost, one more than may be; of later ones none is.
    let service = Service::start(|n| if n < 11 { Does::Loses } else { Does::Answers });
    let line = format!(
        "request --subject in --find-max --slo lost=0.1 --rate 25 --rate-max 25 --duration 4s --warmup 0s --settle 3s --arrivals constant --json --server {}",
        service.url()
    );
    let ended = done(&mut loadgen(&line))
        .ended(0)
        .says(&["25.0 msgs/s missed, by little, the objective"]);
    let tries = ended.loads();
    let told: Vec<_> = tries
        .iter()
        .map(|load| {
            (
                load["offered_rate"].as_f64(),
                load["met"].as_bool(),
                n(load, "lost"),
            )
        })
        .collect();
    assert_eq!(
        told,
        [(Some(25.0), Some(false), 11), (Some(25.0), Some(true), 0)]
    );
    assert_eq!(service.taken(), 200);
}
