//! How the tests start an engine and ask its guests.

use std::time::Duration;

use millpond::{
    Engine, EngineConfig, Grants, HandlerConfig, HandlerLimits, HandlerStats, Message, Overflow,
    Stats, Subscription,
};
use millpond_tests::guest;

/// Long enough for anything that comes; what never comes fails the test after it.
pub(crate) const LONG: Duration = Duration::from_secs(30);

/// The probe in each revision of contract 1.
pub(crate) const PROBES: [&str; 3] = ["probe-2023-06", "probe-0.1.0", "probe-0.2.0-draft"];

/// The revision that tests use which are about no revision.
pub(crate) const PROBE: &str = PROBES[2];

/// A handler of this prebuilt guest, named as it is, with all in-process subjects and the broker of
/// the first document granted.
pub(crate) fn handler(name: &str) -> HandlerConfig {
    let grants = Grants {
        brokers: vec!["some-broker".into()],
        send: vec![">".into()],
        subscribe: vec![">".into()],
        ..Grants::default()
    };
    HandlerConfig::file(name, guest(name)).grants(grants)
}

/// A handler with its limits changed. Its deadlines are long unless changed too: the machine may be busy with other tests.
pub(crate) fn limited(name: &str, change: impl FnOnce(&mut HandlerLimits)) -> HandlerConfig {
    let mut limits = HandlerLimits {
        deadline: LONG,
        latency_budget: 100 * LONG,
        pause_max: Duration::ZERO,
        wall_deadline: LONG,
        ..HandlerLimits::default()
    };
    change(&mut limits);
    handler(name).limits(limits)
}

/// A configuration of one unpinned shard with these handlers: tests share the cores.
pub(crate) fn config(handlers: impl IntoIterator<Item = HandlerConfig>) -> EngineConfig {
    let mut config = handlers
        .into_iter()
        .fold(EngineConfig::new().shards(1), EngineConfig::handler);
    config.pin = false;
    config
}

/// Starts it.
pub(crate) fn start(config: EngineConfig) -> Engine {
    Engine::start(config).expect("the engine starts")
}

/// Calls that a handler was given, each once: on a busy machine a call may overrun its slice, and is made again.
pub(crate) fn once(handler: &HandlerStats) -> u64 {
    handler.calls - handler.overran
}

/// An engine whose handler is a probe, and what the probe reports to `report`.
pub(crate) struct Asked {
    pub(crate) engine: Engine,
    reports: Subscription,
}

impl Asked {
    /// Starts an engine with this one handler.
    pub(crate) fn new(handler: HandlerConfig) -> Self {
        Self::with(config([handler]))
    }

    /// Starts an engine.
    pub(crate) fn with(config: EngineConfig) -> Self {
        let engine = start(config);
        let reports = engine
            .subscribe("report", Overflow::Wait)
            .expect("it subscribes");
        Self { engine, reports }
    }

    /// What the probe reports, as messages.
    pub(crate) fn reports(&self) -> &Subscription {
        &self.reports
    }

    /// Publishes commands for the probe.
    pub(crate) fn tell(&self, commands: &str) {
        let message = Message::new("probe", commands.as_bytes()).expect("a good message");
        assert_eq!(
            self.engine.publish(message).expect("it is taken"),
            1,
            "one handler listens"
        );
    }

    /// The next report.
    pub(crate) fn report(&self) -> String {
        let message = self.reports.next(LONG).expect("a report comes");
        String::from_utf8(message.payload().to_vec()).expect("reports are text")
    }

    /// Publishes commands that report once; the report.
    pub(crate) fn ask(&self, commands: &str) -> String {
        self.tell(commands);
        self.report()
    }

    /// Waits until all is settled: the stats then. No report may be left.
    pub(crate) fn end(&self) -> Stats {
        let stats = settled(&self.engine);
        assert!(self.reports.try_next().is_none(), "a report was left");
        stats
    }
}

/// An engine whose probe waits in its first call, the only one it may have, so that what comes after stays in flight.
pub(crate) fn blocked(change: impl FnOnce(&mut HandlerLimits)) -> Engine {
    let handler = limited(PROBE, |l| {
        l.receive_wait_max = LONG;
        l.suspended_calls_max = 1;
        l.batch_messages_max = 1;
        change(l);
    });
    let engine = start(config([handler]));
    let wait = Message::new("probe", b"receive release report").expect("a good message");
    engine.publish(wait).expect("it is taken");
    while engine.stats().calls_suspended == 0 {
        std::thread::yield_now();
    }
    engine
}

/// Ends the wait of a blocked engine.
pub(crate) fn release(engine: &Engine) {
    let message = Message::new("release", b"").expect("a good message");
    while engine.publish(message.clone()).expect("it is taken") == 0 {
        std::thread::yield_now();
    }
}

/// Waits until this holds, and fails the test if it does not for long.
pub(crate) fn until(what: &str, mut holds: impl FnMut() -> bool) {
    for _ in 0..LONG.as_millis() {
        if holds() {
            return;
        }
        std::thread::park_timeout(Duration::from_millis(1));
    }
    panic!("{what}: not within {LONG:?}");
}

/// Drains an engine: its stats then, with what must hold of every engine at rest.
pub(crate) fn settled(engine: &Engine) -> Stats {
    engine.drain(LONG).expect("everything is settled");
    let stats = engine.stats();
    assert_eq!(stats.in_flight, 0);
    assert_eq!(
        stats.received(),
        stats.settled(),
        "each message is settled once"
    );
    let shed: u64 = stats.handlers.iter().map(|h| h.shed_total()).sum();
    assert_eq!(
        stats.latency.count() + shed,
        stats.settled(),
        "each settlement but of what was shed has a latency"
    );
    stats
}

/// How often one fault was counted.
pub(crate) fn count(counts: &[(millpond::FaultKind, u64)], kind: millpond::FaultKind) -> u64 {
    counts
        .iter()
        .find(|(k, _)| *k == kind)
        .map_or(0, |(_, n)| *n)
}
