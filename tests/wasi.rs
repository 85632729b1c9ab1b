//! WASI for components that import it: what they get, what they are denied, and how they wait.

use std::time::Duration;

use millpond::{FaultKind, Grants, HandlerConfig, Message, Overflow, Way};
use millpond_tests::guest;

use crate::harness::{LONG, handler, limited, settled, start};

fn ask(commands: &str) -> String {
    let grants = Grants {
        env: vec![("GRANTED".into(), "yes".into())],
        ..Grants::all()
    };
    let engine = start(crate::harness::config([handler("sleeper").grants(grants)]));
    let reports = engine.subscribe("report", Overflow::Wait).unwrap();
    engine
        .publish(Message::new("sleeper", commands.as_bytes()).unwrap())
        .unwrap();
    let report = reports.next(LONG).expect("a report comes");
    settled(&engine);
    String::from_utf8(report.payload().to_vec()).unwrap()
}

#[test]
fn clocks_and_randomness_are_there() {
    assert_eq!(ask("now report"), "ok");
    assert_eq!(ask("random report"), "ok");
    assert_eq!(
        ask("sleep 5;print a line;eprint another;say report slept"),
        "slept"
    );
}

#[test]
fn only_the_granted_environment_is_seen() {
    assert_eq!(ask("env GRANTED report"), "yes");
    assert!(std::env::var_os("PATH").is_some(), "this process has one");
    assert_ne!(ask("env PATH report"), std::env::var("PATH").unwrap());
}

#[test]
fn files_and_sockets_are_denied() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    assert_eq!(ask("open /etc/passwd report"), "denied");
    assert_eq!(ask(&format!("tcp {address} report")), "denied");
}

#[test]
fn a_guest_that_sleeps_for_an_hour_delays_no_neighbour_and_ends_at_its_wall_deadline() {
    let sleeper = limited("sleeper", |l| {
        l.wall_deadline = Duration::from_millis(400);
        l.deliveries_max = 1;
    });
    let engine = start(crate::harness::config([sleeper, handler("echo")]));
    engine
        .publish(Message::new("sleeper", b"sleep 3600000").unwrap())
        .unwrap();
    while engine.stats().calls_suspended == 0 {
        std::thread::yield_now();
    }
    let mut while_asleep = 0;
    while engine.stats().calls_suspended == 1 {
        let reply = engine
            .request(&Message::new("echo", b"x").unwrap(), LONG)
            .unwrap();
        reply.wait().unwrap();
        while_asleep += 1;
    }
    assert!(while_asleep > 1, "the neighbour went on while it slept");
    let stats = settled(&engine);
    assert_eq!(stats.handlers[0].terminated, [(FaultKind::Deadline, 1)]);
}

#[test]
fn a_guest_that_sleeps_for_as_long_as_can_be_said_ends_at_its_wall_deadline() {
    let sleeper = limited("sleeper", |l| {
        l.wall_deadline = Duration::from_millis(50);
        l.deliveries_max = 1;
    });
    let engine = start(crate::harness::config([sleeper]));
    let reports = engine.subscribe("report", Overflow::Wait).unwrap();
    for commands in [
        format!("sleep {};say report never", u64::MAX),
        "say report after".into(),
    ] {
        let message = Message::new("sleeper", commands.as_bytes()).unwrap();
        engine.publish(message).unwrap();
        while engine.stats().calls() == 0 {
            std::thread::yield_now();
        }
    }
    assert_eq!(reports.next(LONG).unwrap().payload(), b"after");
    let stats = settled(&engine);
    assert!(reports.try_next().is_none(), "it slept");
    assert_eq!(stats.handlers[0].terminated, [(FaultKind::Deadline, 1)]);
    assert_eq!(stats.handlers[0].acked, 1);
}

#[test]
fn components_that_wait_or_import_wasi_are_called_on_fibers_and_others_directly() {
    for (name, way) in [
        ("sleeper", Way::Fiber),
        ("go-channels", Way::Fiber),
        ("rust-channels", Way::Fiber),
        ("echo", Way::Direct),
        ("counter", Way::Direct),
    ] {
        let inspection = millpond::inspect(&HandlerConfig::file(name, guest(name))).unwrap();
        assert_eq!(inspection.way, way, "{name}");
    }
}

/// Its C library takes memory for the environment where the SDK's allocator would: messages would be overwritten, were it used there.
#[test]
fn a_guest_of_contract_3_has_the_standard_library_and_wasi() {
    let grants = Grants {
        env: vec![
            ("SITE".into(), "here".into()),
            ("LONG".into(), "x".repeat(10_000)),
        ],
        ..Grants::all()
    };
    let handler = limited("batch-stamp", |l| l.deliveries_max = 1)
        .grants(grants)
        .subject("in");
    assert_eq!(millpond::inspect(&handler).unwrap().way, Way::Fiber);
    let engine = start(crate::harness::config([handler]));
    let stamped = engine.subscribe("stamped", Overflow::Wait).unwrap();
    let before = std::time::UNIX_EPOCH.elapsed().unwrap().as_millis();
    let payload: Vec<u8> = (0..100_000_u32).map(|n| (n % 251) as u8).collect();
    for n in 0..50 {
        let message = Message::builder("in").header("n", &n.to_string());
        engine.publish(message.payload(&payload).unwrap()).unwrap();
    }
    let stats = settled(&engine);
    assert_eq!(
        (stats.handlers[0].acked, &*stats.handlers[0].faults),
        (50, &[][..])
    );
    let mut numbers: Vec<u32> = std::iter::from_fn(|| stamped.try_next())
        .map(|message| {
            let headers: Vec<_> = message.headers().collect();
            let [("n", n), ("site", "here"), ("handled-ms", at)] = headers[..] else {
                panic!("{headers:?}");
            };
            assert!(at.parse::<u128>().unwrap() >= before, "{at}");
            assert!(message.payload() == payload, "the payload is another");
            n.parse().unwrap()
        })
        .collect();
    numbers.sort_unstable();
    assert_eq!(numbers, (0..50).collect::<Vec<_>>());
}
