//! Each fault has its outcome: the message is retried alone, then given up on and counted; its neighbours never notice.

use std::time::Duration;

use millpond::{FaultKind, Message};

use crate::harness::{Asked, LONG, PROBE, PROBES, count, limited};

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
                (handler.calls, handler.retried, handler.acked),
                (2, 1, 0),
                "{probe}: {command}"
            );
        }
    }
}

#[test]
fn a_poison_message_does_not_harm_its_batch() {
    let asked = quick(PROBE);
    // A call that runs on lets the others gather into one batch.
    for index in 0..40 {
        asked.tell(if index == 17 {
            "say report never;trap"
        } else {
            "say report once"
        });
    }
    for _ in 0..39 {
        assert_eq!(asked.report(), "once");
    }
    let stats = asked.end();
    let handler = &stats.handlers[0];
    assert_eq!((handler.acked, handler.sent), (39, 39));
    assert_eq!(handler.terminated, [(FaultKind::Trap, 1)]);
}

#[test]
fn a_message_that_faults_now_and_then_is_handled_in_the_end() {
    let asked = Asked::new(limited(PROBE, |l| {
        l.deliveries_max = 3;
        l.retry_delay_first = Duration::from_millis(1);
        l.receive_wait_max = Duration::from_millis(1);
    }));
    let subscription = asked
        .engine
        .subscribe("never", millpond::Overflow::Drop)
        .unwrap();
    asked.tell("say report first");
    assert_eq!(asked.report(), "first");
    drop(subscription);
    assert_eq!(asked.end().handlers[0].acked, 1);
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
    let asked = Asked::with(crate::harness::config([
        limited(PROBE, |l| l.deliveries_max = 1),
        echo,
    ]));
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
