//! Each fault has its outcome: the message is retried alone, then given up on and counted; its neighbours never notice.

use std::time::Duration;

use millpond::{FaultKind, HandlerConfig, Message, Overflow};
use millpond_tests::guest;
use millpond_tests::log::{record, warnings_of};

use crate::harness::{
    Asked, LONG, PROBE, PROBES, blocked, config, count, limited, once, release, settled, start,
};

/// A probe that gives up on its second failure, soon.
fn quick(probe: &str) -> Asked {
    Asked::new(limited(probe, |l| {
        l.deliveries_max = 2;
        l.retry_delay_first = Duration::from_millis(1);
        l.deadline = Duration::from_millis(50);
        l.memory_bytes_max = 4 << 20;
    }))
}

#[test]
fn each_fault_is_named_retried_and_given_up_on() {
    for probe in PROBES {
        for (command, kind) in [
            ("trap", FaultKind::Trap),
            ("error", FaultKind::Guest),
            ("loop", FaultKind::Deadline),
            ("recurse", FaultKind::Stack),
            ("grow 8", FaultKind::Memory),
            ("flood 1025 out report", FaultKind::Outbox),
            ("abandon report", FaultKind::Abandoned),
        ] {
            let asked = quick(probe);
            asked.tell(command);
            if kind == FaultKind::Abandoned {
                assert_eq!([asked.report(), asked.report()], ["ok", "ok"]);
            }
            let stats = asked.end();
            let handler = &stats.handlers[0];
            assert_eq!(handler.terminated, [(kind, 1)], "{probe}: {command}");
            assert_eq!(
                (once(handler), handler.retried, handler.acked),
                (2, 1, 0),
                "{probe}: {command}"
            );
        }
    }
}

/// The probes of contracts whose guests return text as their error.
const TEXT_PROBES: [&str; 3] = ["probe-incoming", "probe-wasmcloud", "batch-probe"];
/// Most bytes of such a text that are kept.
const DETAIL_BYTES_MAX: usize = 1_024;

/// What is seen of a guest that returns this text: in the log, and in the dead letter. The handler's name is the test's own.
fn returned(probe: &str, test: &str, text: &str) -> (String, String) {
    record();
    let name = format!("{test}-{probe}-{}", text.len());
    let limits = limited(probe, |l| l.deliveries_max = 1).limits;
    let handler = HandlerConfig::file(&name, guest(probe)).limits(limits);
    let engine = start(config([handler.subject("probe").dead_letter("dead")]));
    let dead = engine.subscribe("dead", Overflow::Wait).unwrap();
    let message = Message::new("probe", format!("error {text}").as_bytes()).unwrap();
    assert_eq!(engine.publish(message).unwrap(), 1);
    let letter = dead.next(LONG).expect("its letter comes");
    let detail = letter.headers().find(|(key, _)| *key == "Millpond-Detail");
    let detail = detail.expect("a letter says why").1.to_owned();
    assert_eq!(settled(&engine).handlers[0].faults, [(FaultKind::Guest, 1)]);
    let given_up = warnings_of(&name);
    let [line] = &given_up[..] else {
        panic!("{given_up:?}");
    };
    let fault = line.field("fault").strip_prefix("guest error: ");
    (fault.expect("it is the guest's").to_owned(), detail)
}

#[test]
fn the_text_of_an_error_at_its_length_and_one_over() {
    for probe in TEXT_PROBES {
        let full = "x".repeat(DETAIL_BYTES_MAX);
        let (line, detail) = returned(probe, "length", &full);
        assert_eq!(line, full, "{probe}");
        // A letter has less of it.
        assert!(full.starts_with(&detail) && detail.len() > 256, "{probe}");
        for over in [1, 1 << 19] {
            let text = format!("{full}{}", "y".repeat(over));
            let (line, _) = returned(probe, "length", &text);
            assert_eq!(line, format!("{full}…"), "{probe}");
        }
    }
}

#[test]
fn the_text_of_an_error_forged_lines_of_the_log() {
    for probe in TEXT_PROBES {
        let text = "it is so\r\n WARN millpond: forged\u{1b}[2J \u{202e}x";
        let (line, detail) = returned(probe, "forged", text);
        let escaped = r"it is so\r\n WARN millpond: forged\u{1b}[2J \u{202e}x";
        assert_eq!((&*line, &*detail), (escaped, escaped), "{probe}");
    }
}

#[test]
fn a_poison_message_does_not_harm_its_batch() {
    const DELIVERIES: u32 = 3;
    let engine = blocked(|l| {
        l.batch_messages_max = 40;
        l.deliveries_max = DELIVERIES;
        l.retry_delay_first = Duration::from_millis(1);
    });
    let reports = engine.subscribe("report", Overflow::Wait).unwrap();
    for index in 0..40 {
        let commands: &[u8] = match index {
            17 => b"say report never;trap",
            _ => b"say report once",
        };
        let message = Message::new("probe", commands).unwrap();
        assert_eq!(engine.publish(message).unwrap(), 1);
    }
    release(&engine);
    let stats = settled(&engine);
    let handler = &stats.handlers[0];
    // 40, 20, 10, 5, 3 and then 1: split until the poison stands alone, and each time one half is handled.
    assert_eq!(
        handler.faults,
        [(FaultKind::Trap, 5 + u64::from(DELIVERIES))],
        "five times with others, then alone"
    );
    assert_eq!(
        (handler.splits, &*handler.terminated),
        (5, &[(FaultKind::Trap, 1)][..])
    );
    assert_eq!(
        (handler.acked, once(handler)),
        (1 + 39, 1 + 5 + 5 + u64::from(DELIVERIES))
    );
    let texts: Vec<_> = std::iter::from_fn(|| reports.try_next()).collect();
    assert_eq!(texts.len(), 1 + 39, "the wait reports too");
    assert_eq!(texts.iter().filter(|m| m.payload() == b"once").count(), 39);
}

#[test]
fn a_message_that_faults_now_and_then_is_handled_in_the_end() {
    // Its send to its own handler is refused as long as the one that waits has the room, and so it fails.
    let asked = Asked::new(limited(PROBE, |l| {
        l.in_flight_messages_max = 2;
        l.batch_messages_max = 1;
        l.receive_wait_max = LONG;
        l.deliveries_max = u32::MAX;
        l.retry_delay_first = Duration::from_millis(1);
        l.retry_delay_max = Duration::from_millis(2);
    }));
    asked.tell("receive release report");
    while asked.engine.stats().calls_suspended == 0 {
        std::thread::yield_now();
    }
    asked.tell("say report twice;say probe say report sent");
    while asked.engine.stats().handlers[0].retried < 3 {
        std::thread::yield_now();
    }
    release(&asked.engine);
    let mut reports = [asked.report(), asked.report(), asked.report()];
    reports.sort();
    assert_eq!(reports, ["sent", "some:", "twice"], "each of them once");
    let stats = asked.end();
    let handler = &stats.handlers[0];
    assert_eq!(handler.faults, [(FaultKind::Guest, handler.retried)]);
    assert_eq!((handler.acked, handler.terminated_total()), (3, 0));
}

#[test]
fn a_guest_in_an_endless_loop_ends_and_the_shard_goes_on() {
    let asked = quick(PROBE);
    asked.tell("loop");
    assert_eq!(asked.ask("count report"), "1");
    let stats = asked.end();
    assert_eq!(count(&stats.handlers[0].terminated, FaultKind::Deadline), 1);
}

#[test]
fn a_trap_in_one_handler_leaves_the_other_alone() {
    let echo = crate::harness::handler("echo");
    let asked = Asked::with(config([limited(PROBE, |l| l.deliveries_max = 1), echo]));
    for _ in 0..200 {
        asked.tell("trap");
        let reply = asked
            .engine
            .request(&Message::new("echo", b"hello").unwrap(), LONG)
            .unwrap();
        assert_eq!(reply.wait().unwrap().payload(), b"hello");
    }
    let stats = asked.end();
    assert_eq!(stats.handlers[0].terminated, [(FaultKind::Trap, 200)]);
    assert_eq!(stats.handlers[1].acked, 200);
}
