//! Where sends and dead letters go.

use super::script::{Reply, Scripted};
use super::*;

#[track_caller]
fn output_fault(error: BindError) -> OutputFault {
    match error {
        BindError::Output { why, .. } => why,
        other => panic!("{other}"),
    }
}

#[track_caller]
fn letter_fault(error: BindError) -> LetterFault {
    match error {
        BindError::DeadLetter { why, .. } => why,
        other => panic!("{other}"),
    }
}

fn texts(of: &[&str]) -> Vec<String> {
    of.iter().map(ToString::to_string).collect()
}

#[test]
fn dead_letters_need_a_stream_that_says_that_it_has_them() {
    let (server, client) = ready();
    let to = |subject: &str| Wanted {
        dead_letter: Some(subject.to_owned()),
        ..wanted()
    };
    let error = refused(&server, &to("dead.h"));
    says(
        &error,
        &[
            "handler \"h\"",
            "dead letters to \"dead.h\"",
            "no stream captures",
        ],
    );
    client.create_stream("MUTE", &["mute.*"], json!({"no_ack": true}));
    let fault = letter_fault(refused(&server, &to("mute.h")));
    assert_eq!(fault, LetterFault::NoAck("MUTE".to_owned()));
    client.create_stream("DEAD", &["dead.>"], json!({}));
    for delivery in [DeliveryLevel::AtMostOnce, DeliveryLevel::AtLeastOnce] {
        bound(
            &server,
            &Wanted {
                delivery,
                ..to("dead.h")
            },
        );
    }
}

#[test]
fn dead_letters_must_not_come_back() {
    let (server, client) = ready();
    consumer(
        &client,
        "SOME",
        json!({"filter_subjects": ["in.a", "in.b.*"]}),
    );
    let to = |subject: &str, durable: &str| Wanted {
        dead_letter: Some(subject.to_owned()),
        durable: durable.to_owned(),
        ..wanted()
    };
    let fault = letter_fault(refused(&server, &to("in.dead", "D")));
    assert_eq!(
        fault,
        LetterFault::Loop {
            stream: "IN".to_owned(),
            filter: None
        }
    );
    let fault = letter_fault(refused(&server, &to("in.b.dead", "SOME")));
    let filter = Some("in.b.*".to_owned());
    assert_eq!(
        fault,
        LetterFault::Loop {
            stream: "IN".to_owned(),
            filter
        }
    );
    bound(&server, &to("in.dead", "SOME"));
}

#[test]
fn what_streams_capture_of_the_grants_is_in_the_table_and_can_be_asked_again() {
    let (server, client) = ready();
    client.create_stream("A", &["out.a", "out.b.*", "else.x"], json!({}));
    client.create_stream("B", &["more.>"], json!({}));
    let publishes = texts(&["out.>", "more.1", "core.only"]);
    let handler = Wanted {
        publishes: publishes.clone(),
        ..wanted()
    };
    let captured = bound(&server, &handler).captured;
    for (subject, stream) in [
        ("out.a", Some("A")),
        ("out.b.1", Some("A")),
        ("out.c", None),
        ("else.x", None),
        ("more.1", Some("B")),
        ("core.only", None),
    ] {
        assert_eq!(captured.stream_of(subject), stream, "{subject}");
    }
    assert_eq!(
        (captured.streams().collect::<Vec<_>>(), captured.len()),
        (vec!["A", "B"], 3)
    );
    client.create_stream("C", &["core.only"], json!({}));
    client.delete_stream("A");
    let now = streams_of(&access(&server.url()), "h", &publishes, LIMIT).expect("they are asked");
    assert_eq!(
        (now.stream_of("core.only"), now.stream_of("out.a")),
        (Some("C"), None)
    );
    let at_most_once = Wanted {
        delivery: DeliveryLevel::AtMostOnce,
        ..handler
    };
    assert!(
        bound(&server, &at_most_once).captured.is_empty(),
        "nobody waits for it"
    );
}

#[test]
fn a_stream_that_confirms_nothing_is_refused_for_sends() {
    let (server, client) = ready();
    client.create_stream("MUTE", &["mute.*"], json!({"no_ack": true}));
    let handler = Wanted {
        publishes: texts(&["mute.>"]),
        ..wanted()
    };
    let fault = output_fault(refused(&server, &handler));
    let (stream, pattern) = ("MUTE".to_owned(), "mute.>".to_owned());
    assert_eq!(fault, OutputFault::NoAck { stream, pattern });
    bound(
        &server,
        &Wanted {
            delivery: DeliveryLevel::AtMostOnce,
            ..handler
        },
    );
}

#[test]
fn more_streams_and_more_subjects_than_are_kept_are_refused_and_names_come_in_pages() {
    let (server, client) = ready();
    for index in 0..stream::STREAMS_MAX - 1 {
        client.create_stream(
            &format!("S{index}"),
            &[&format!("s.{index}")],
            json!({"storage": "memory"}),
        );
    }
    let all = Wanted {
        publishes: texts(&[">"]),
        ..wanted()
    };
    assert_eq!(
        bound(&server, &all).captured.streams().count(),
        stream::STREAMS_MAX
    );
    client.create_stream("ONE-MORE", &["more"], json!({"storage": "memory"}));
    says(
        &refused(&server, &all),
        &["\">\" overlaps 257 streams", "256", "narrower"],
    );
    let many: Vec<_> = (0..=captured::CAPTURED_SUBJECTS_MAX)
        .map(|index| format!("many.{index}"))
        .collect();
    let many: Vec<_> = many.iter().map(String::as_str).collect();
    client.create_stream("MANY", &many, json!({"storage": "memory"}));
    let fault = output_fault(refused(
        &server,
        &Wanted {
            publishes: texts(&["many.*"]),
            ..wanted()
        },
    ));
    assert_eq!(
        fault,
        OutputFault::TooManySubjects {
            found: 4097,
            max: 4096
        }
    );
    bound(
        &server,
        &Wanted {
            publishes: texts(&["many.7", "many.8"]),
            ..wanted()
        },
    );
}

/// Handler `h` at the level effectively-once, which may publish to these.
fn effectively(publishes: &[&str]) -> Wanted {
    let (delivery, publishes) = (DeliveryLevel::EffectivelyOnce, texts(publishes));
    Wanted {
        delivery,
        publishes,
        ..wanted()
    }
}

/// The horizon of [`wanted`] with the server's ack wait of 30 s.
const HORIZON: Duration = Duration::from_secs(250);

#[test]
fn effectively_once_needs_a_stream_that_takes_batches_and_remembers_them() {
    let (server, client) = ready();
    let window = |time: Duration| json!({"allow_atomic": true, "duplicate_window": u64::try_from(time.as_nanos()).unwrap()});
    client.create_stream("PLAIN", &["plain.>"], json!({}));
    client.create_stream(
        "SHORT",
        &["short.>"],
        window(HORIZON - Duration::from_nanos(1)),
    );
    client.create_stream(
        "GOOD",
        &["good.>", "good"],
        window(HORIZON + Duration::from_secs(60)),
    );
    let fault = output_fault(refused(&server, &effectively(&["plain.x"])));
    assert_eq!(fault, OutputFault::NotAtomic("PLAIN".to_owned()));
    let error = refused(&server, &effectively(&["short.x"]));
    says(
        &error,
        &[
            "stream \"SHORT\"",
            "249.999999999s",
            "250s",
            "raise the window",
        ],
    );
    let good = bound(&server, &effectively(&["good.*", "good", "good.a.>"]));
    let (duplicate_window, outage_max) = (Duration::from_secs(310), Duration::from_secs(60));
    let stream = "GOOD".to_owned();
    assert_eq!(
        good.output,
        Some(Output {
            stream,
            duplicate_window,
            outage_max
        })
    );
    assert_eq!(good.captured.stream_of("good.1"), Some("GOOD"));
    assert_eq!(
        bound(&server, &effectively(&[])).output,
        None,
        "it sends nothing"
    );
}

#[test]
fn effectively_once_counts_the_longest_of_a_backoff() {
    let (server, client) = ready();
    let second = 1_000_000_000u64;
    consumer(
        &client,
        "BACK",
        json!({"backoff": [second, 40 * second, 2 * second]}),
    );
    client.create_stream(
        "OUT",
        &["out"],
        json!({"allow_atomic": true, "duplicate_window": 299 * second}),
    );
    let handler = Wanted {
        durable: "BACK".to_owned(),
        ..effectively(&["out"])
    };
    let fault = output_fault(refused(&server, &handler));
    assert!(
        matches!(fault, OutputFault::Window { horizon, .. } if horizon == Duration::from_secs(300)),
        "{fault}"
    );
}

#[test]
fn effectively_once_needs_one_stream_that_holds_all_of_it() {
    let (server, client) = ready();
    let atomic = json!({"allow_atomic": true, "duplicate_window": 600_000_000_000u64});
    client.create_stream("A", &["a.*", "a.b.c"], atomic.clone());
    client.create_stream("B", &["b"], atomic);
    let error = refused(&server, &effectively(&["a.x", "b"]));
    says(&error, &["several", "\"a.x\" of \"A\"", "\"b\" of \"B\""]);
    assert!(matches!(
        output_fault(error),
        OutputFault::SeveralStreams(_)
    ));
    for (pattern, overlapping) in [
        ("a.>", vec!["A"]),
        (">", vec!["A", "B", "IN"]),
        ("none", vec![]),
    ] {
        let error = refused(&server, &effectively(&[pattern]));
        let mut fault = output_fault(error);
        if let OutputFault::NotContained { overlapping, .. } = &mut fault {
            overlapping.sort();
        }
        let (pattern, overlapping) = (pattern.to_owned(), texts(&overlapping));
        assert_eq!(
            fault,
            OutputFault::NotContained {
                pattern,
                overlapping
            }
        );
    }
}

#[test]
fn effectively_once_needs_a_server_with_atomic_batches() {
    let old = Scripted::start("2.11.9", |subject, _| {
        Reply::Json(match subject {
            "$JS.API.STREAM.INFO.IN" => {
                json!({"config": {"name": "IN", "subjects": ["in"]}, "created": "2026-01-01T00:00:00Z"})
            }
            _ => {
                json!({"created": "", "config": {"durable_name": "D", "ack_policy": "explicit", "ack_wait": 30_000_000_000u64, "max_deliver": -1, "replay_policy": "instant"}})
            }
        })
    });
    let error = bind(&access(old.url()), &[effectively(&["out"])], LIMIT).expect_err("it is old");
    says(&error, &["2.12", "\"2.11.9\"", "at-least-once"]);
    let (server, version) = (old.url().to_owned(), "2.11.9".to_owned());
    assert_eq!(
        output_fault(error),
        OutputFault::ServerTooOld { server, version }
    );
}

#[test]
fn a_handler_may_send_to_a_stream_that_is_made_for_another() {
    let server = Server::start();
    let made = |subject: &str| {
        let subjects = texts(&[subject]);
        let stream = Some(CreateStream {
            subjects,
            ..CreateStream::default()
        });
        Some(CreateConsumer {
            stream,
            ..CreateConsumer::default()
        })
    };
    let first = Wanted {
        create: made("one"),
        publishes: texts(&["two"]),
        dead_letter: Some("two".to_owned()),
        ..wanted()
    };
    let second = Wanted {
        handler: "second".to_owned(),
        stream: "TWO".to_owned(),
        create: made("two"),
        ..wanted()
    };
    let bound = bind(&access(&server.url()), &[first, second], LIMIT).expect("both are made");
    assert_eq!(bound[0].captured.stream_of("two"), Some("TWO"));
    assert_eq!(&*bound[1].handler, "second");
}
