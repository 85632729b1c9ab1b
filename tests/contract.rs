//! Contract 1 in each of its revisions: every import, and what a guest sees of a message.

use std::time::Duration;

use millpond::{
    Grants, HEADER_BYTES_MAX, HandlerConfig, Message, Overflow, PAYLOAD_BYTES_MAX, Stats,
};

use crate::harness::{Asked, LONG, PROBES, handler, limited};

fn each(test: impl Fn(&str, &Asked)) {
    for probe in PROBES {
        let asked = Asked::new(handler(probe));
        test(probe, &asked);
        let stats = asked.end();
        assert_eq!(stats.handlers[0].faults, [], "{probe}");
    }
}

#[test]
fn metadata_is_channel_id_reply_to_then_own_headers() {
    each(|probe, asked| {
        let message = Message::builder("probe")
            .reply_to("some.reply")
            .header("b", "2")
            .header("a", "1");
        asked
            .engine
            .publish(message.payload(b"metadata report").unwrap())
            .unwrap();
        let report = asked.report();
        let pairs: Vec<&str> = report.split(',').collect();
        assert_eq!(pairs[0], "channel=probe", "{probe}");
        assert!(
            pairs[1].starts_with("id=") && pairs[1].len() == 3 + 16,
            "{probe}: {report}"
        );
        assert_eq!(pairs[2..], ["reply-to=some.reply", "b=2", "a=1"], "{probe}");
        assert_eq!(
            asked.ask("metadata report").split(',').count(),
            2,
            "{probe}: no reply subject, no headers"
        );
    });
}

#[test]
fn a_send_arrives_with_data_and_metadata() {
    each(|probe, asked| {
        let out = asked.engine.subscribe("out", Overflow::Wait).unwrap();
        let message = Message::builder("probe")
            .reply_to("r.1")
            .header("k", "v")
            .payload(b"echo out")
            .unwrap();
        asked.engine.publish(message).unwrap();
        let got = out.next(LONG).expect("the send arrives");
        assert_eq!(got.payload(), b"echo out", "{probe}");
        assert_eq!(
            got.headers().collect::<Vec<_>>(),
            [("k", "v")],
            "{probe}: the host's own keys are not headers"
        );
        assert_eq!(got.reply_to(), Some("r.1"), "{probe}");
        assert_eq!(asked.ask("send out hello report"), "ok", "{probe}");
        assert_eq!(out.next(LONG).unwrap().payload(), b"hello", "{probe}");
    });
}

#[test]
fn a_bad_subject_is_an_error_that_says_why() {
    each(|probe, asked| {
        let report = asked.ask("send a..b x report");
        assert!(
            report.starts_with("error:") && report.contains("empty token"),
            "{probe}: {report}"
        );
        let report = asked.ask("try a*b 1 report");
        assert!(
            report.starts_with("error:") && report.contains("whole tokens"),
            "{probe}: {report}"
        );
    });
}

#[test]
fn what_is_not_granted_is_an_error_with_a_reason() {
    for probe in PROBES {
        let grants = Grants {
            brokers: vec!["known".into()],
            send: vec!["report".into(), "open.*".into()],
            subscribe: vec!["in.>".into()],
            ..Grants::default()
        };
        let asked =
            Asked::new(HandlerConfig::file(probe, millpond_tests::guest(probe)).grants(grants));
        for (command, granted) in [
            ("connect default report", true),
            ("connect known report", true),
            ("connect other report", false),
            ("send open.a x report", true),
            ("send closed x report", false),
            ("try in.a 1 report", true),
            ("try out.a 1 report", false),
            ("update in.*,probe report", true),
            ("update in.>,out report", false),
        ] {
            let report = asked.ask(command);
            match granted {
                true => assert!(
                    ["ok", "none"].contains(&&*report),
                    "{probe}: {command}: {report}"
                ),
                false => assert!(
                    report.starts_with("error:") && report.contains("not granted"),
                    "{probe}: {command}: {report}"
                ),
            }
        }
        asked.end();
    }
}

#[test]
fn a_reply_subject_is_open_to_who_was_asked_alone() {
    for probe in PROBES {
        let asked = Asked::new(handler(probe));
        let reply = asked
            .engine
            .request(&Message::new("nobody.asks", b"").unwrap(), LONG);
        assert!(reply.is_err(), "nobody listens");
        // The first request of an engine has this reply subject; here the guest was not asked by it.
        let report = asked.ask("send _INBOX.0.1 forged report");
        assert!(report.contains("not granted"), "{probe}: {report}");
        let report = asked.ask("try _INBOX.> 1 report");
        assert!(report.contains("for replies"), "{probe}: {report}");
        asked.end();
    }
}

#[test]
fn a_guest_can_not_have_replies_sent_where_it_may_not_send() {
    for probe in PROBES {
        let grants = Grants {
            send: vec!["report".into(), "open".into()],
            ..Grants::default()
        };
        let asked =
            Asked::new(HandlerConfig::file(probe, millpond_tests::guest(probe)).grants(grants));
        let echo = |reply_to: &str| {
            // `echo` sends the record with its metadata: the reply subject of a message that the guest handles is its to hand on.
            let message = Message::builder("probe")
                .reply_to(reply_to)
                .payload(b"echo open;say report sent");
            asked.engine.publish(message.unwrap()).unwrap();
            asked.report()
        };
        assert_eq!(echo("handed.on"), "sent", "{probe}");
        asked.end();
    }
}

#[test]
fn waiting_for_messages_gives_them_or_none_or_an_error() {
    for probe in PROBES {
        let asked = Asked::new(limited(probe, |l| {
            l.receive_wait_max = Duration::from_millis(20)
        }));
        assert_eq!(asked.ask("try d 1 report"), "none", "{probe}");
        let report = asked.ask("receive d report");
        assert!(
            report.starts_with("error:") && report.contains("no message came"),
            "{probe}: {report}"
        );
        let report = asked.ask("say d to-myself;try d 20 report");
        assert_eq!(
            report, "none",
            "{probe}: one's own send is held until the call succeeds"
        );
        asked.end();
    }
}

#[test]
fn a_waiting_guest_is_woken_by_the_message_it_waits_for() {
    for probe in PROBES {
        let asked = Asked::new(limited(probe, |l| {
            l.receive_wait_max = LONG;
            l.deadline = LONG;
        }));
        for command in ["receive d report", "try d 20000 report"] {
            asked.tell(command);
            let message = Message::new("d", b"come").unwrap();
            while asked.engine.publish(message.clone()).unwrap() == 0 {
                std::thread::yield_now();
            }
            assert_eq!(asked.report(), "some:come", "{probe}: {command}");
        }
        asked.end();
    }
}

#[test]
fn a_shard_goes_on_while_a_call_waits() {
    for probe in PROBES {
        let asked = Asked::new(limited(probe, |l| {
            l.batch_messages_max = 1;
            l.receive_wait_max = LONG;
            l.deadline = LONG;
        }));
        asked.tell("receive d report");
        for _ in 0..10 {
            assert_eq!(asked.ask("send out x report"), "ok", "{probe}");
        }
        assert_eq!(asked.engine.stats().calls_suspended, 1, "{probe}");
        while asked
            .engine
            .publish(Message::new("d", b"end").unwrap())
            .unwrap()
            == 0
        {
            std::thread::yield_now();
        }
        assert_eq!(asked.report(), "some:end", "{probe}");
        asked.end();
    }
}

#[test]
fn messages_are_completed_by_record_by_what_is_left_of_it_and_never_twice() {
    each(|probe, asked| {
        assert_eq!(asked.ask("complete report"), "ok", "{probe}");
        assert_eq!(asked.ask("complete-stripped report"), "ok", "{probe}");
        let report = asked.ask("complete-twice report");
        assert!(report.contains("settled already"), "{probe}: {report}");
        let report = asked.ask("complete-forged report");
        assert!(report.contains("not one of this call"), "{probe}: {report}");
    });
}

#[test]
fn an_abandoned_message_comes_back_until_it_is_given_up_on() {
    for probe in PROBES {
        let asked = Asked::new(limited(probe, |l| {
            l.deliveries_max = 3;
            l.retry_delay_first = Duration::from_millis(1);
        }));
        asked.tell("abandon report");
        assert_eq!(
            [asked.report(), asked.report(), asked.report()],
            ["ok", "ok", "ok"],
            "{probe}"
        );
        let stats = asked.end();
        let handler = &stats.handlers[0];
        assert_eq!((handler.retried, handler.acked), (2, 0), "{probe}");
        assert_eq!(
            handler.terminated,
            [(millpond::FaultKind::Abandoned, 1)],
            "{probe}"
        );
    }
}

#[test]
fn an_update_moves_the_handler_to_other_subjects_on_all_shards() {
    for probe in PROBES {
        let mut config = crate::harness::config([handler(probe)]);
        config.shards = 2;
        let asked = Asked::with(config);
        assert_eq!(asked.ask("update moved,probe.* report"), "ok", "{probe}");
        let publish = |subject: &str| {
            let message = Message::new(subject, b"count report").unwrap();
            asked.engine.publish(message).unwrap()
        };
        while publish("moved") == 0 {
            std::thread::yield_now();
        }
        assert_eq!(asked.report(), "1", "{probe}");
        assert_eq!(publish("probe"), 0, "{probe}: the old subject is gone");
        for _ in 0..4 {
            assert_eq!(publish("probe.x"), 1, "{probe}");
            assert_eq!(asked.report(), "1", "{probe}");
        }
        asked.end();
    }
}

/// Calls, those left out that were made again since a loaded machine held them up beyond their slice.
fn once(stats: &Stats) -> u64 {
    let again: u64 = stats.handlers.iter().map(|h| h.overran).sum();
    stats.calls() - again
}

#[test]
fn an_update_of_settings_tightens_the_limits() {
    for probe in PROBES {
        let asked = Asked::new(handler(probe));
        assert_eq!(asked.ask("update-ext batch-max=1 report"), "ok", "{probe}");
        let report = asked.ask("update-ext batch-max=none report");
        assert!(
            report.contains("batch-max") && report.contains("none"),
            "{probe}: {report}"
        );
        let before = asked.engine.stats();
        // The first call may still gather; once its update is known, each message has a call of its own.
        (0..50).for_each(|_| asked.tell("ok"));
        let stats = asked.end();
        assert_eq!(once(&stats) - once(&before), 50, "{probe}");
    }
}

#[test]
fn an_update_of_settings_holds_on_all_shards() {
    const MESSAGES: u64 = 32;
    for limit in [1, 4] {
        let probe = limited(PROBES[2], |l| {
            l.receive_wait_max = LONG;
            l.suspended_calls_max = 1;
        });
        let mut config = crate::harness::config([probe]);
        config.shards = 2;
        let asked = Asked::with(config);
        assert_eq!(
            asked.ask(&format!("update-ext batch-max={limit} report")),
            "ok"
        );
        while asked.engine.stats().handlers[0].acked < 1 {
            std::thread::yield_now();
        }
        // A wait on each shard lets what comes after gather there: messages go to the shards in turn.
        asked.tell("receive release report");
        asked.tell("receive release report");
        while asked.engine.stats().calls_suspended < 2 {
            std::thread::yield_now();
        }
        (0..MESSAGES).for_each(|_| asked.tell("count report"));
        // A call that yields is suspended too, so it may not listen yet.
        let mut reports = 0;
        while reports < 2 + MESSAGES {
            let release = Message::new("release", b"").unwrap();
            asked.engine.publish(release).unwrap();
            while let Some(report) = asked.reports().next(Duration::from_millis(10)) {
                let report = String::from_utf8(report.payload().to_vec()).unwrap();
                match report.parse::<u64>() {
                    Ok(count) => assert!(count <= limit, "{count} in a call, {limit} allowed"),
                    Err(_) => assert_eq!(report, "some:"),
                }
                reports += 1;
            }
        }
        // Calls may be smaller than allowed: so they are after slow ones.
        let calls = once(&asked.end()) - (1 + 2);
        assert!(calls >= MESSAGES / limit, "{calls} calls, {limit} allowed");
    }
}

#[test]
fn channels_of_an_update_at_the_limit_and_one_over() {
    for probe in PROBES {
        let asked = Asked::new(handler(probe));
        let update = |channels: usize| {
            let channels: Vec<_> = (0..channels).map(|index| format!("c{index}")).collect();
            asked.ask(&format!("update {} report", channels.join(",")))
        };
        let report = update(1_025);
        assert!(
            report.starts_with("error:1025 channels; at most 1024"),
            "{probe}: {report}"
        );
        assert_eq!(asked.ask("count report"), "1", "{probe}: nothing has moved");
        assert_eq!(update(1_024), "ok", "{probe}");
        asked.end();
    }
}

#[test]
fn a_guest_can_send_on_and_settle_what_is_as_large_as_a_message_may_be() {
    each(|probe, asked| {
        let out = asked.engine.subscribe("out", Overflow::Wait).unwrap();
        let mut commands = b"echo out;complete report".to_vec();
        commands.resize(PAYLOAD_BYTES_MAX, b';');
        let value = "v".repeat(HEADER_BYTES_MAX - "k: \r\n".len());
        let message = Message::builder("probe")
            .header("k", &value)
            .payload(&commands)
            .unwrap();
        asked.engine.publish(message).unwrap();
        assert_eq!(asked.report(), "ok", "{probe}");
        let sent = out.next(LONG).expect("the send arrives");
        assert_eq!(sent.payload(), commands, "{probe}");
        assert!(sent.headers().eq([("k", &*value)]), "{probe}");
    });
}

#[test]
fn a_failed_call_leaves_no_effect() {
    for probe in PROBES {
        let asked = Asked::new(limited(probe, |l| l.deliveries_max = 1));
        for fault in ["trap", "error"] {
            asked.tell(&format!(
                "say report never;update other report;complete report;{fault}"
            ));
        }
        let stats = asked.end();
        assert_eq!(stats.handlers[0].terminated_total(), 2, "{probe}");
        assert_eq!(
            (stats.handlers[0].sent, stats.handlers[0].acked),
            (0, 0),
            "{probe}"
        );
    }
}

#[test]
fn a_hundred_thousand_errors_leave_the_host_s_tables_empty() {
    for probe in PROBES {
        let asked = Asked::new(limited(probe, |l| l.deadline = LONG));
        assert_eq!(asked.ask("errors 100000 report"), "ok", "{probe}");
        let stats = asked.end();
        assert_eq!(stats.handlers[0].faults, [], "{probe}");
        assert_eq!(stats.resources_left, 0, "{probe}");
    }
}

#[test]
fn a_hundred_thousand_returned_errors_leave_the_host_s_tables_empty() {
    for probe in &PROBES[1..] {
        let asked = Asked::new(limited(probe, |l| {
            l.deliveries_max = 1;
            l.batch_messages_max = 1;
        }));
        let message = Message::new("probe", b"error").unwrap();
        for _ in 0..100_000 {
            while asked.engine.publish(message.clone()).is_err() {
                std::thread::yield_now();
            }
        }
        let stats = asked.end();
        assert_eq!(
            stats.handlers[0].terminated,
            [(millpond::FaultKind::Guest, 100_000)],
            "{probe}"
        );
        assert_eq!(stats.resources_left, 0, "{probe}");
    }
}

#[test]
fn handles_that_were_dropped_are_known_no_more() {
    each(|probe, asked| {
        let (client, error) = (
            asked.ask("disconnect report"),
            asked.ask("drop-error report"),
        );
        match probe {
            "probe-2023-06" => {
                assert!(client.contains("not connected"), "{client}");
                assert!(error.contains("not known"), "{error}");
            }
            _ => assert_eq!((&*client, &*error), ("ok", "ok"), "{probe}"),
        }
    });
}

#[test]
fn a_reply_reaches_its_request_without_a_grant() {
    for probe in PROBES {
        let closed = HandlerConfig::file(probe, millpond_tests::guest(probe));
        let engine = crate::harness::start(crate::harness::config([closed]));
        let request = Message::new("probe", b"reply well done").unwrap();
        let reply = engine.request(&request, LONG).unwrap().wait().unwrap();
        assert_eq!(reply.payload(), b"well done", "{probe}");
        crate::harness::settled(&engine);
    }
}
