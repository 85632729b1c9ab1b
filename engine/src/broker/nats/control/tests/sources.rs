//! Streams and consumers that handlers take from.

use super::*;

#[track_caller]
fn consumer_fault(error: BindError) -> ConsumerFault {
    match error {
        BindError::Consumer { why, .. } => why,
        other => panic!("{other}"),
    }
}

#[test]
fn what_is_there_is_bound_as_it_is() {
    let (server, client) = ready();
    let settings = json!({"filter_subjects": ["in.a", "in.b.*"], "ack_wait": 7_000_000_000u64, "max_ack_pending": 5000,
        "max_batch": 10, "max_expires": 3_000_000_000u64, "max_bytes": 1000, "max_waiting": 77});
    consumer(&client, "ALL", settings);
    let bound = bound(
        &server,
        &Wanted {
            durable: "ALL".to_owned(),
            ..wanted()
        },
    );
    assert_eq!(
        (&*bound.handler, &*bound.stream, &*bound.consumer),
        ("h", "IN", "ALL")
    );
    assert_eq!(
        (bound.ack_wait, bound.max_ack_pending),
        (Duration::from_secs(7), 5000)
    );
    assert_eq!(
        (bound.max_request_batch, bound.max_request_bytes),
        (Some(10), Some(1000))
    );
    assert_eq!(
        (bound.max_request_expires, bound.max_waiting),
        (Some(Duration::from_secs(3)), 77)
    );
    assert_eq!(bound.filter_subjects, ["in.a", "in.b.*"]);
    assert!(bound.captured.is_empty() && bound.output.is_none() && bound.warnings.is_empty());
    let created = client.stream("IN")["created"]
        .as_str()
        .and_then(json::nanos_since_1970);
    assert_eq!(Some(bound.stream_created), created);
}

#[test]
fn what_is_missing_is_named() {
    let (server, _client) = ready();
    let error = refused(
        &server,
        &Wanted {
            stream: "NONE".to_owned(),
            ..wanted()
        },
    );
    says(
        &error,
        &[
            "handler \"h\"",
            "stream \"NONE\"",
            "no such stream",
            "create it",
        ],
    );
    let error = refused(
        &server,
        &Wanted {
            durable: "NONE".to_owned(),
            ..wanted()
        },
    );
    says(
        &error,
        &[
            "handler \"h\"",
            "consumer \"NONE\" of stream \"IN\"",
            "no such consumer",
            "durable pull consumer",
        ],
    );
}

#[test]
fn names_that_would_be_several_tokens_are_refused() {
    let (server, _client) = ready();
    for bad in ["", "a.b", "*", "a b", "IN.>"] {
        let error = refused(
            &server,
            &Wanted {
                stream: bad.to_owned(),
                ..wanted()
            },
        );
        assert!(
            matches!(
                error,
                BindError::Stream {
                    why: StreamFault::Name(_),
                    ..
                }
            ),
            "{error}"
        );
        let error = refused(
            &server,
            &Wanted {
                durable: bad.to_owned(),
                ..wanted()
            },
        );
        assert!(
            matches!(
                error,
                BindError::Consumer {
                    why: ConsumerFault::Name(_),
                    ..
                }
            ),
            "{error}"
        );
    }
}

#[test]
fn a_consumer_of_the_wrong_kind_is_refused_with_the_reason() {
    use ConsumerFault as Fault;
    let (server, client) = ready();
    let cases = [
        (
            json!({"deliver_subject": "push.to"}),
            Fault::Push("push.to".to_owned()),
        ),
        (json!({"durable_name": null}), Fault::Ephemeral),
        (
            json!({"ack_policy": "all"}),
            Fault::AckPolicy("all".to_owned()),
        ),
        (
            json!({"ack_policy": "none"}),
            Fault::AckPolicy("none".to_owned()),
        ),
        (json!({"max_deliver": 5}), Fault::MaxDeliver(5)),
        (
            json!({"replay_policy": "original"}),
            Fault::Replay("original".to_owned()),
        ),
        (
            json!({"priority_groups": ["g"], "priority_policy": "overflow"}),
            Fault::Priority("overflow".to_owned()),
        ),
    ];
    for (index, (settings, fault)) in cases.into_iter().enumerate() {
        let durable = format!("C{index}");
        consumer(&client, &durable, settings);
        let error = refused(
            &server,
            &Wanted {
                durable: durable.clone(),
                ..wanted()
            },
        );
        says(&error, &["handler \"h\"", &durable, "IN"]);
        assert_eq!(consumer_fault(error), fault);
    }
}

#[test]
fn the_ack_wait_is_bounded_below_and_a_backoff_takes_its_place() {
    let (server, client) = ready();
    let second = 1_000_000_000u64;
    consumer(&client, "SHORT", json!({"ack_wait": second - 1}));
    consumer(&client, "LEAST", json!({"ack_wait": second}));
    consumer(
        &client,
        "BACKOFF",
        json!({"backoff": [5 * second, second / 2, 9 * second]}),
    );
    let of = |durable: &str| Wanted {
        durable: durable.to_owned(),
        ..wanted()
    };
    for (durable, ack_wait) in [("SHORT", second - 1), ("BACKOFF", second / 2)] {
        let (ack_wait, min) = (Duration::from_nanos(ack_wait), Duration::from_secs(1));
        let fault = consumer_fault(refused(&server, &of(durable)));
        assert_eq!(fault, ConsumerFault::AckWait { ack_wait, min });
    }
    assert_eq!(
        bound(&server, &of("LEAST")).ack_wait,
        Duration::from_secs(1)
    );
}

#[test]
fn what_is_allowed_and_should_be_known_is_a_warning() {
    let (server, client) = ready();
    let settings = json!({"max_ack_pending": 199, "inactive_threshold": 3_600_000_000_000u64, "headers_only": true,
        "pause_until": "2200-01-01T00:00:00Z", "filter_subject": "elsewhere.*"});
    consumer(&client, "W", settings);
    let odd = bound(
        &server,
        &Wanted {
            durable: "W".to_owned(),
            ..wanted()
        },
    );
    odd.warnings
        .iter()
        .for_each(|warning| println!("{warning}"));
    assert_eq!(
        odd.warnings[0],
        Warning::AckPendingLow {
            max_ack_pending: 199,
            in_flight: 100
        }
    );
    assert!(odd.warnings[0].to_string().ends_with("raise it to 200"));
    assert!(matches!(&odd.warnings[1], Warning::Paused { until } if until.starts_with("2200")));
    assert_eq!(
        odd.warnings[2..4],
        [
            Warning::Inactive(Duration::from_secs(3600)),
            Warning::HeadersOnly
        ]
    );
    assert!(
        matches!(&odd.warnings[4], Warning::FilterMisses { filter, .. } if filter == "elsewhere.*")
    );
    assert_eq!(odd.warnings.len(), 5);
    for enough in [200, -1] {
        let durable = format!("ENOUGH{enough}");
        consumer(&client, &durable, json!({"max_ack_pending": enough}));
        let bound = bound(
            &server,
            &Wanted {
                durable,
                ..wanted()
            },
        );
        assert_eq!((bound.max_ack_pending, &*bound.warnings), (enough, &[][..]));
    }
}

fn create() -> CreateConsumer {
    CreateConsumer {
        stream: Some(CreateStream {
            subjects: vec!["b.*".to_owned(), "a".to_owned()],
            storage: Some(Storage::Memory),
            retention: Some(Retention::WorkQueue),
            replicas: Some(1),
            max_age: Some(Duration::from_secs(3600)),
            max_bytes: Some(1 << 20),
            max_messages: Some(1000),
            duplicate_window: Some(Duration::from_secs(300)),
            allow_atomic: Some(true),
        }),
        filter_subjects: vec!["b.x".to_owned(), "a".to_owned()],
        ack_wait: Some(Duration::from_secs(9)),
        max_ack_pending: Some(4000),
        max_waiting: Some(100),
        deliver: Some(DeliverFrom::All),
    }
}

#[test]
fn what_is_missing_is_made_as_configured_and_bound_again_as_it_is() {
    let server = Server::start();
    let client = Client::connect(&server.url());
    let create = Wanted {
        create: Some(create()),
        ..wanted()
    };
    let first = bound(&server, &create);
    let config = client.stream("IN")["config"].clone();
    for (field, value) in [
        ("storage", json!("memory")),
        ("retention", json!("workqueue")),
        ("max_age", json!(3_600_000_000_000u64)),
        ("max_bytes", json!(1 << 20)),
        ("max_msgs", json!(1000)),
        ("duplicate_window", json!(300_000_000_000u64)),
        ("allow_atomic", json!(true)),
    ] {
        assert_eq!(config[field], value, "{field}");
    }
    let consumer = client.consumer("IN", "D")["config"].clone();
    assert_eq!(
        (&consumer["max_deliver"], &consumer["ack_policy"]),
        (&json!(-1), &json!("explicit"))
    );
    assert_eq!(
        (first.ack_wait, first.max_ack_pending, first.max_waiting),
        (Duration::from_secs(9), 4000, 100)
    );
    let again = bound(&server, &create);
    assert_eq!(again.stream_created, first.stream_created);
    let subjects = vec!["a".to_owned(), "b.*".to_owned()];
    let stream = Some(CreateStream {
        subjects,
        ..CreateStream::default()
    });
    let filter_subjects = vec!["a".to_owned(), "b.x".to_owned()];
    let only = CreateConsumer {
        stream,
        filter_subjects,
        ..CreateConsumer::default()
    };
    let least = bound(
        &server,
        &Wanted {
            create: Some(only),
            ..wanted()
        },
    );
    assert_eq!(
        least.ack_wait,
        Duration::from_secs(9),
        "what is not configured is not compared"
    );
}

#[test]
fn a_new_consumer_has_room_for_twice_what_all_shards_have_in_flight() {
    let (server, _client) = ready();
    let made = |durable: &str, in_flight_messages| {
        let create = Some(CreateConsumer {
            deliver: Some(DeliverFrom::Sequence(3)),
            ..CreateConsumer::default()
        });
        bound(
            &server,
            &Wanted {
                durable: durable.to_owned(),
                create,
                in_flight_messages,
                ..wanted()
            },
        )
    };
    assert_eq!(made("FEW", 10).max_ack_pending, 1000);
    let many = made("MANY", 16_384);
    assert_eq!((many.max_ack_pending, &*many.warnings), (32_768, &[][..]));
    let more = made("MANY", 20_000);
    assert!(
        matches!(more.warnings[..], [Warning::AckPendingLow { .. }]),
        "more shards, same consumer"
    );
}

#[test]
fn what_differs_is_named_field_by_field_and_left_as_it_is() {
    let server = Server::start();
    let client = Client::connect(&server.url());
    bound(
        &server,
        &Wanted {
            create: Some(create()),
            ..wanted()
        },
    );
    let mut other = create();
    let stream = other.stream.as_mut().expect("it has one");
    stream.max_messages = Some(2000);
    stream.subjects.push("c".to_owned());
    stream.allow_atomic = Some(false);
    let error = refused(
        &server,
        &Wanted {
            create: Some(other),
            ..wanted()
        },
    );
    says(
        &error,
        &[
            "stream \"IN\"",
            "allow_atomic is true and not false",
            "max_msgs is 1000 and not 2000",
            "subjects is",
            "left as it is",
        ],
    );
    let other = CreateConsumer {
        ack_wait: Some(Duration::from_secs(10)),
        filter_subjects: vec!["a".to_owned()],
        deliver: Some(DeliverFrom::New),
        ..create()
    };
    let error = refused(
        &server,
        &Wanted {
            create: Some(other),
            ..wanted()
        },
    );
    says(
        &error,
        &[
            "consumer \"D\"",
            "ack_wait is 9s and not 10s",
            "filter_subjects is",
            "deliver_policy is \"all\" and not \"new\"",
        ],
    );
    assert_eq!(client.stream("IN")["config"]["max_msgs"], 1000);
    assert_eq!(
        client.consumer("IN", "D")["config"]["ack_wait"],
        9_000_000_000u64
    );
}

#[test]
fn what_the_server_refuses_to_make_is_told_in_its_words() {
    let (server, _client) = ready();
    let stream = CreateStream {
        subjects: vec!["in.x".to_owned()],
        ..CreateStream::default()
    };
    let create = CreateConsumer {
        stream: Some(stream),
        ..CreateConsumer::default()
    };
    let error = refused(
        &server,
        &Wanted {
            stream: "SECOND".to_owned(),
            create: Some(create),
            ..wanted()
        },
    );
    says(
        &error,
        &["to make stream \"SECOND\"", "overlap", "code 10065"],
    );
}
