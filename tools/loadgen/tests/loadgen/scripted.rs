//! What loadgen says of a service whose faults are known.

use std::time::Duration;

use millpond_tests::folder::Folder;

use crate::service::{Ack, Does, Seen, Service};
use crate::{Done, asked, done, is_of_what_was_measured, loadgen, n, quantile_ms};

/// By how much a busy machine may make what a client sees later than what its service noted: of most messages, and of the latest few. What
/// the client's machine does between a service's write and the client's look at the clock, nobody notes.
const BEHIND_MS: f64 = 250.0;
const BEHIND_MS_LAST: f64 = 1_500.0;

/// Compares the latencies of a load of one connection and constant arrivals with those that its service noted: of each message, from when
/// it was to be sent until it was answered. When the load began is known by the message that came the earliest for its number: it was not sent
/// before its time.
#[track_caller]
fn is_as_noted(load: &serde_json::Value, seen: &Seen, gap: Duration) {
    let arrivals = &seen.connections[0];
    let before = |number: usize| gap * u32::try_from(number).expect("tests are short");
    let begins = arrivals
        .iter()
        .enumerate()
        .map(|(number, arrival)| arrival.at - before(number));
    let begin = begins.min().expect("messages came");
    let mut noted: Vec<f64> = (0..arrivals.len())
        .map(|number| {
            let answered = seen.answered[&(number as u64)];
            (answered - (begin + before(number))).as_secs_f64() * 1e3
        })
        .collect();
    noted.sort_by(f64::total_cmp);
    for (name, quantile) in [
        ("p50", 0.5),
        ("p75", 0.75),
        ("p90", 0.9),
        ("p99", 0.99),
        ("max", 1.0),
    ] {
        let rank = (quantile * noted.len() as f64).ceil() as usize;
        let least = noted[rank - 1];
        let behind = if quantile > 0.9 {
            BEHIND_MS_LAST
        } else {
            BEHIND_MS
        };
        let found = quantile_ms(load, name);
        // Latencies have three digits.
        assert!(
            (0.999 * least..=least + behind).contains(&found),
            "{name} is {found} ms, and the service noted {least} ms"
        );
    }
}

#[test]
fn known_delays_give_known_percentiles() {
    // One in ten takes 2 s, all others 100 ms; none waits for another.
    const SLOW: Duration = Duration::from_secs(2);
    const FAST: Duration = Duration::from_millis(100);
    let (ended, seen) = asked(
        |n| {
            if n % 10 == 9 {
                Does::Delays(SLOW)
            } else {
                Does::Delays(FAST)
            }
        },
        "--rate 100 --duration 2s --settle 20s",
    );
    let load = ended.ended(0).load();
    assert_eq!(
        (n(&load, "sent"), n(&load, "received"), seen.count()),
        (200, 200, 200)
    );
    is_as_noted(&load, &seen, Duration::from_millis(10));
    // And what the service noted is what its script says, or later.
    assert!(load["latency"]["min_ns"].as_f64() >= Some(100e6));
    for (name, ms) in [("p50", 100.0), ("p75", 100.0), ("p99", 2_000.0)] {
        let found = quantile_ms(&load, name);
        assert!(found >= ms, "{name} is {found} ms, not {ms}");
    }
}

#[test]
fn losses_duplicates_reordering_and_damage_are_found_exactly() {
    fn script(n: u64) -> Does {
        match n % 100 {
            10 | 20 | 30 => Does::Loses,
            40 | 50 => Does::Doubles,
            60 | 70 | 80 | 90 => Does::Swaps,
            // The stamp's mark, its sequence, its checksums, and the rest.
            91 => Does::Damages(0),
            93 => Does::Damages(9),
            95 => Does::Damages(17),
            97 => Does::Damages(22),
            99 => Does::Damages(100),
            _ => Does::Answers,
        }
    }
    let (ended, seen) = asked(script, "--rate 1000 --duration 1s --settle 5s");
    let load = ended.ended(6).load();
    assert_eq!((n(&load, "sent"), seen.count()), (1_000, 1_000));
    let found = [
        "received",
        "lost",
        "duplicated",
        "reordered",
        "corrupted",
        "strange",
        "late",
    ]
    .map(|key| n(&load, key));
    assert_eq!(found, [970, 30, 20, 40, 50, 0, 0]);
}

#[test]
fn the_same_is_found_of_what_is_observed_where_its_stamp_still_says_whose_it_is() {
    fn script(n: u64) -> Does {
        match n % 100 {
            10 => Does::Loses,
            40 => Does::Doubles,
            60 => Does::Swaps,
            // The mark, and the rest of the payload.
            91 => Does::Damages(0),
            99 => Does::Damages(100),
            _ => Does::Answers,
        }
    }
    let service = Service::start(script);
    let line = format!(
        "publish --subject in --observe out --arrivals constant --rate 1000 --duration 1s --warmup 0s --settle 5s --json --server {}",
        service.url()
    );
    let load = done(&mut loadgen(&line)).ended(6).load();
    assert_eq!(service.taken(), 1_000);
    let found = [
        "sent",
        "received",
        "lost",
        "duplicated",
        "reordered",
        "corrupted",
        "strange",
    ]
    .map(|key| n(&load, key));
    assert_eq!(found, [1_000, 990, 10, 10, 10, 20, 0]);
}

#[test]
fn an_observed_message_whose_identity_is_damaged_is_corrupted_and_lost() {
    let service = Service::start(|n| {
        if n == 5 {
            Does::Damages(9)
        } else {
            Does::Answers
        }
    });
    let line = format!(
        "publish --subject in --observe out --arrivals constant --rate 100 --duration 200ms --warmup 0s --settle 3s --json --server {}",
        service.url()
    );
    let load = done(&mut loadgen(&line)).ended(6).load();
    assert_eq!(
        ["received", "lost", "corrupted"].map(|key| n(&load, key)),
        [19, 1, 1]
    );
}

/// A load of so many messages that a scripted stream stores, and that are observed.
fn streamed(script: fn(u64) -> Does, messages: u64, more: &str) -> Done {
    let service = Service::start(script);
    let line = format!(
        "stream --subject in --observe out --arrivals constant --warmup 0s --server {} {more}",
        service.url()
    );
    let ended = done(&mut loadgen(&line));
    assert_eq!(service.taken(), messages);
    ended
}

/// One of 200.
fn stored(script: fn(u64) -> Does, pace: &str, more: &str) -> Done {
    streamed(script, 200, &format!("{pace} {more}"))
}

/// How one of ten is paced: five of them may leave late, which is a quarter of a second, so a busy machine makes none miss its objective.
const FEW: &str = "--rate 20 --duration 500ms --settle 3s";

/// How that load is paced.
const PACE: &str = "--rate 1000 --duration 200ms --settle 3s";

/// Of ten messages, one each is not acknowledged, acknowledged twice, and not stored.
fn forgetful(n: u64) -> Does {
    Does::Stores(match n % 10 {
        1 => Ack::Never,
        3 => Ack::Twice,
        7 => Ack::Refuses,
        _ => Ack::Once,
    })
}

#[test]
fn acknowledgements_that_are_lost_or_come_twice_are_told_and_what_is_refused_is_not_lost_too() {
    let folder = Folder::new();
    let page = folder.path().join("page.html");
    let more = format!("--json --html {}", page.display());
    let load = stored(forgetful, PACE, &more).ended(6).load();
    let found = [
        "sent",
        "received",
        "lost",
        "duplicated",
        "refused",
        "strange",
    ];
    assert_eq!(found.map(|key| n(&load, key)), [200, 180, 0, 0, 20, 0]);
    let acks = ["received", "unacked", "duplicated", "late"];
    assert_eq!(acks.map(|key| n(&load["acks"], key)), [160, 20, 20, 0]);
    assert_eq!(n(&load["ack_latency"], "count"), 160);
    let page = std::fs::read_to_string(page).expect("it was written");
    for words in [
        "20\u{a0}refused · 20\u{a0}not\u{a0}acknowledged · 20\u{a0}acknowledged\u{a0}again",
        "<b>20</b><span>not acknowledged</span>",
        "<b>20</b><span>acknowledged again</span>",
    ] {
        assert!(page.contains(words), "{words:?} is not in {page}");
    }
    let csv = stored(forgetful, PACE, "--csv").ended(6).out;
    let mut lines = csv.lines().map(|line| line.split(',').collect::<Vec<_>>());
    let (names, values) = (lines.next().expect("names"), lines.next().expect("values"));
    let of = |name: &str| values[names.iter().position(|found| *found == name).expect(name)];
    assert_eq!(
        ["acknowledged", "unacked", "acks_duplicated", "lost"].map(of),
        ["160", "20", "20", "0"]
    );
}

#[test]
fn each_kind_of_bad_acknowledgement_can_be_what_fails() {
    let never = |n: u64| Does::Stores(if n == 5 { Ack::Never } else { Ack::Once });
    let twice = |n: u64| Does::Stores(if n == 5 { Ack::Twice } else { Ack::Once });
    for (script, fail_on, code) in [
        (never as fn(u64) -> Does, "lost,duplicated,refused", 0),
        (never, "unacked", 6),
        (twice, "unacked,lost", 0),
        (twice, "duplicated", 6),
    ] {
        stored(script, PACE, &format!("--fail-on {fail_on}")).ended(code);
    }
}

#[test]
fn an_acknowledgement_that_comes_late_is_told_and_its_message_stays_unacked() {
    // The first comes a second after it was given up on, and a second before the load gives up on the last.
    let script = |n: u64| {
        Does::Stores(match n {
            0 => Ack::Later(Duration::from_secs(2)),
            199 => Ack::Never,
            _ => Ack::Once,
        })
    };
    let pace = "--rate 100 --duration 2s --settle 1s --fail-on lost";
    let load = stored(script, pace, "--json").ended(0).load();
    let acks = ["received", "unacked", "duplicated", "late"];
    assert_eq!(acks.map(|key| n(&load["acks"], key)), [198, 2, 0, 1]);
    assert_eq!((n(&load, "received"), n(&load, "lost")), (200, 0));
    let problems = load["problems"].to_string();
    assert!(problems.contains("not acknowledged in time"), "{problems}");
}

#[test]
fn an_objective_counts_a_message_once_however_it_is_bad() {
    // Of ten messages one is refused, and so not observed, and one is observed and not acknowledged.
    let refused = |n: u64| {
        Does::Stores(match n % 10 {
            1 => Ack::Never,
            7 => Ack::Refuses,
            _ => Ack::Once,
        })
    };
    // Of ten, two are neither observed nor acknowledged.
    let lost = |n: u64| match n % 5 {
        1 => Does::Loses,
        _ => Does::Stores(Ack::Once),
    };
    for script in [refused as fn(u64) -> Does, lost] {
        for (most, code) in [("0.2", 0), ("0.19", 13)] {
            let line = format!("{FEW} --slo lost={most}");
            streamed(script, 10, &line).ended(code);
        }
    }
}

#[test]
fn stamps_in_headers_find_damage_too() {
    let (ended, seen) = asked(
        |n| {
            if n % 10 == 3 {
                Does::Damages(2)
            } else {
                Does::Answers
            }
        },
        "--rate 500 --duration 200ms --size 3..9 --subjects 5 --header tenant:blue --settle 20s",
    );
    let load = ended.ended(6).load();
    assert_eq!(
        ["sent", "received", "corrupted", "reordered"].map(|key| n(&load, key)),
        [100, 100, 10, 0]
    );
    for arrival in seen.all() {
        assert!(arrival.head.starts_with("NATS/1.0\r\nLoadgen: "));
        assert!(arrival.head.contains("\r\ntenant: blue\r\n"));
        assert!((3..=9).contains(&arrival.bytes), "{}", arrival.bytes);
    }
}

#[test]
fn a_stall_is_in_the_tail_and_the_schedule_goes_on() {
    // The service stands still for 600 ms in the middle, and everything behind that waits. A closed loop would have seen one slow message
    // of many; at 1,000 a second, 600 were due meanwhile.
    const STALL: Duration = Duration::from_millis(600);
    let (ended, seen) = asked(
        |n| {
            if n == 500 {
                Does::Stalls(STALL)
            } else {
                Does::Answers
            }
        },
        "--rate 1000 --duration 2s --settle 20s",
    );
    let load = ended.ended(0).load();
    assert_eq!((n(&load, "received"), seen.count()), (2_000, 2_000));
    is_as_noted(&load, &seen, Duration::from_millis(1));
    // Of 2,000 messages the last of those that waited did so for nothing and the first for 600 ms: 200 waited 400 ms and more, and
    // 400 waited 200 ms and more.
    for (name, least) in [("max", 600.0), ("p90", 395.0), ("p75", 95.0)] {
        let found = quantile_ms(&load, name);
        assert!(found >= least, "{name} is {found} ms, not {least}");
    }
}

#[test]
fn a_closed_loop_keeps_its_window() {
    const DELAY: Duration = Duration::from_millis(50);
    // The first answer is given once four messages are held: it takes all of the window. None of later ones is more.
    let (ended, seen) = asked(
        |n| match n {
            ..4 => Does::Gathers(4),
            _ => Does::Delays(DELAY),
        },
        "--window 4 --duration 1s --settle 20s",
    );
    let ended = ended.ended(0);
    assert!(ended.out.contains("from when it was sent until its reply"));
    let load = ended.load();
    assert_eq!(seen.held_most, 4);
    // Four at once, and four every 50 ms, for a second, are 84.
    assert!((4..=88).contains(&n(&load, "sent")), "{load}");
    assert_eq!(
        (n(&load, "received"), seen.count()),
        (n(&load, "sent"), n(&load, "sent"))
    );
}

#[test]
fn a_load_that_can_not_keep_its_own_schedule_says_so_and_misses_its_objective() {
    // Four under way for 100 ms each are 40 a second at most, of 1,000 that were to be sent.
    const DELAY: Duration = Duration::from_millis(100);
    let (ended, seen) = asked(
        |_| Does::Delays(DELAY),
        "--rate 1000 --in-flight-max 4 --duration 1s --settle 2s --slo p99=60s,lost=1",
    );
    let load = ended.ended(13).load();
    assert!(seen.held_most <= 4, "{}", seen.held_most);
    let [sent, unsent] = ["sent", "unsent"].map(|key| n(&load, key));
    assert_eq!((sent, sent + unsent), (seen.count(), 1_000));
    // For the second of the load and two more of grace; a busy machine sends fewer.
    assert!((4..=124).contains(&sent), "{sent}");
    let problems = load["problems"].to_string();
    for words in [
        "the load could not keep its own schedule",
        "messages were due and never sent",
        "of 1,000 messages that were due in the measured time were sent within it",
    ] {
        assert!(problems.contains(words), "{words:?} is not in {problems}");
    }
    assert!(n(&load["schedule"], "late") > sent / 2, "{load}");
    // All that was asked of the messages that were sent is met, and still the objective is not.
    for judged in load["objective"].as_array().expect("there is one") {
        assert_eq!(judged["met"], true, "{judged}");
    }
    assert_eq!(load["met"], false);
}

#[test]
fn the_warm_up_is_counted_and_not_measured() {
    let service = Service::start(|n| {
        if n < 100 {
            Does::Delays(Duration::from_millis(500))
        } else {
            Does::Answers
        }
    });
    let line = format!(
        "request --subject in --arrivals constant --rate 100 --warmup 1s --duration 1s --settle 20s --json --server {}",
        service.url()
    );
    let load = done(&mut loadgen(&line)).ended(0).load();
    assert_eq!(
        (
            n(&load, "sent"),
            n(&load, "received"),
            n(&load["latency"], "count")
        ),
        (200, 200, 100)
    );
    assert_eq!(service.taken(), 200);
}

#[test]
fn an_objective_decides_the_exit_code() {
    // Of so few messages five may leave late, which is a quarter of a second: a busy machine makes none miss its objective.
    let slow = |_| Does::Delays(Duration::from_millis(50));
    let (ended, _) = asked(slow, "--rate 20 --duration 1s --slo p50=10ms");
    let load = ended.ended(13).load();
    assert_eq!(load["met"], false);
    assert_eq!(load["objective"][0]["met"], false);
    let (ended, _) = asked(slow, "--rate 20 --duration 1s --slo p50=60s,lost=0");
    assert_eq!(ended.ended(0).load()["met"], true);
    // What an objective allows to be lost is no failure.
    let loses = |n| {
        if n % 10 == 0 {
            Does::Loses
        } else {
            Does::Answers
        }
    };
    let (ended, _) = asked(loses, "--rate 20 --duration 1s --settle 3s --slo lost=0.2");
    assert_eq!(n(&ended.ended(0).load(), "lost"), 2);
    let (ended, _) = asked(loses, "--rate 20 --duration 1s --settle 3s --slo lost=0.05");
    ended.ended(13);
    // Whatever else is wrong, the code says whether the objective was met.
    let doubles = |n: u64| match n {
        3 => Does::Doubles,
        _ => Does::Delays(Duration::from_millis(50)),
    };
    for (slo, code) in [("p50=10ms", 13), ("p50=60s", 6)] {
        let (ended, _) = asked(doubles, &format!("--rate 20 --duration 1s --slo {slo}"));
        assert_eq!(n(&ended.ended(code).load(), "duplicated"), 1);
    }
    let (ended, _) = asked(
        loses,
        "--rate 20 --duration 1s --settle 3s --fail-on nothing",
    );
    ended.ended(0);
}

#[test]
fn a_lost_connection_is_counted_and_ends_the_load_with_what_it_had() {
    let (ended, _) = asked(
        |n| if n == 50 { Does::Hangs } else { Does::Answers },
        "--rate 1000 --duration 300s --slo p99=60s",
    );
    let ended = ended
        .ended(8)
        .says(&["connection to 127.0.0.1", "was lost"]);
    let load = ended.load();
    assert!(n(&load, "connections_lost") >= 1);
    assert!(
        n(&load, "received") <= 50 && n(&load, "lost") >= 1,
        "{load}"
    );
    assert_eq!(n(&load, "sent"), n(&load, "received") + n(&load, "lost"));
    // Rates are of the time until then, and what was asked of the whole load is not judged.
    is_of_what_was_measured(&load);
    assert!(load["measured_s"].as_f64() < Some(300.0), "{load}");
    assert_eq!(load["met"], serde_json::Value::Null);
}

#[test]
fn what_a_server_says_is_wrong_ends_the_load() {
    for (why, code) in [
        ("Permissions Violation for Publish to \"in\"", 10),
        ("Authorization Violation", 9),
        ("Maximum Payload Violation", 1),
    ] {
        let service = Service::start(match code {
            10 => |_| Does::Refuses("Permissions Violation for Publish to \"in\""),
            9 => |_| Does::Refuses("Authorization Violation"),
            _ => |_| Does::Refuses("Maximum Payload Violation"),
        });
        let line = format!(
            "request --subject in --rate 100 --duration 30s --warmup 0s --server {}",
            service.url()
        );
        done(&mut loadgen(&line)).ended(code).says(&[why]);
        service.taken();
    }
}

#[test]
fn with_nothing_to_check_any_reply_will_do() {
    let load = |more: &str, code| {
        let (ended, _) = asked(
            |_| Does::Damages(100),
            &format!("--rate 200 --duration 200ms --settle 20s {more}"),
        );
        let load = ended.ended(code).load();
        ["received", "lost", "corrupted"].map(|key| n(&load, key))
    };
    assert_eq!(load("", 6), [40, 0, 40]);
    assert_eq!(load("--check nothing", 0), [40, 0, 0]);
}

#[test]
fn stamps_are_in_headers_if_that_is_asked_for() {
    let (ended, seen) = asked(
        |n| {
            if n == 7 {
                Does::Damages(0)
            } else {
                Does::Answers
            }
        },
        "--rate 200 --duration 200ms --settle 20s --stamp header --size 128",
    );
    let load = ended.ended(6).load();
    assert_eq!(["received", "corrupted"].map(|key| n(&load, key)), [40, 1]);
    for arrival in seen.all() {
        assert!(arrival.head.starts_with("NATS/1.0\r\nLoadgen: "));
        assert_eq!(arrival.bytes, 128);
    }
}

#[test]
fn what_comes_out_of_order_fails_a_load_only_if_that_is_asked_for() {
    for (more, code) in [("", 0), ("--fail-on reordered", 6), ("--fail-on lost", 0)] {
        let (ended, _) = asked(
            |n| if n == 7 { Does::Swaps } else { Does::Answers },
            &format!("--rate 200 --duration 200ms --settle 20s {more}"),
        );
        assert_eq!(n(&ended.ended(code).load(), "reordered"), 1);
    }
}
