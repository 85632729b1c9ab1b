//! Publishing packs: the same as publishing their messages, at each bound and one over, whatever becomes of them.

use std::collections::{BTreeMap, VecDeque};

use millpond::{
    Engine, EngineConfig, FaultKind, Grants, HandlerConfig, HandlerLimits, HandlerStats, Message,
    Overflow, Pack, Refusal, Spread,
};
use millpond_tests::guest;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use crate::batch::probe;
use crate::harness::{LONG, config, handler, limited, settled, start, until};

/// A pack of these payloads.
fn pack<'a>(subject: &str, payloads: impl IntoIterator<Item = &'a str>) -> Pack {
    let mut builder = Pack::builder(subject).unwrap();
    for payload in payloads {
        builder.push(&[], payload.as_bytes()).unwrap();
    }
    builder.build()
}

/// A pack of so many numbers.
fn numbers(subject: &str, count: usize) -> Pack {
    let numbers: Vec<_> = (0..count).map(|n| n.to_string()).collect();
    pack(subject, numbers.iter().map(String::as_str))
}

/// What is left in a pack.
fn left(pack: &Pack) -> Vec<String> {
    let own = |m: Message| String::from_utf8(m.payload().to_vec()).unwrap();
    pack.messages().map(own).collect()
}

fn full(result: Result<usize, Refusal>) -> &'static str {
    match result {
        Err(Refusal::Full(why)) => why,
        other => panic!("it is not full: {other:?}"),
    }
}

/// A handler of contract 3 on `probe` that is not called: what it gets stays in flight.
fn waiting(change: impl FnOnce(&mut HandlerLimits)) -> Engine {
    let handler = probe(|l| {
        (l.linger, l.batch_messages_max) = (LONG, 1 << 14);
        change(l);
    });
    start(config([handler]))
}

#[test]
fn a_pack_is_handled_in_order_in_as_many_calls_as_it_fills() {
    const COUNT: usize = 4_000;
    let handler = limited("batch-echo", |l| {
        (l.linger, l.batch_messages_max) = (LONG, 1_000);
        (l.latency_budget, l.in_flight_messages_max) = (LONG, COUNT as u32);
    });
    let engine = start(config([handler.subject("in")]));
    let out = engine.subscribe("echo.out", Overflow::Wait).unwrap();
    let all = numbers("in", COUNT);
    let (mut one, mut other) = (all.clone(), numbers("in", 0));
    assert_eq!(engine.publish_pack(&mut other), Ok(0), "nothing is nothing");
    std::thread::scope(|scope| {
        let came = scope.spawn(|| (0..COUNT).map(|_| out.next(LONG).unwrap()).collect());
        assert_eq!(engine.publish_pack(&mut one), Ok(COUNT));
        let came: Vec<Message> = came.join().unwrap();
        assert!(one.is_empty());
        let payloads = came.iter().map(|m| m.payload().to_vec());
        assert!(payloads.eq(all.messages().map(|m| m.payload().to_vec())));
    });
    let stats = settled(&engine);
    let handler = &stats.handlers[0];
    assert_eq!((handler.acked, handler.received), (4_000, 4_000));
    let made_again = handler.overran;
    assert_eq!(handler.calls - made_again, 4, "no message went alone");
    assert_eq!(stats.latency.count(), 4_000);
}

#[test]
fn messages_and_bytes_at_the_bound_and_one_over() {
    let engine = waiting(|l| l.in_flight_messages_max = 10);
    let mut eleven = numbers("probe", 11);
    assert!(full(engine.publish_pack(&mut eleven)).contains("in flight"));
    assert_eq!(
        (left(&eleven), engine.stats().in_flight),
        (vec!["10".into()], 10)
    );
    assert!(full(engine.publish_pack(&mut eleven)).contains("in flight"));
    assert_eq!((eleven.len(), engine.stats().refused), (1, 2));
    let engine = waiting(|l| l.in_flight_messages_max = 10);
    assert_eq!(engine.publish_pack(&mut numbers("probe", 10)), Ok(10));
    for (less, taken) in [(0, 4), (1, 3)] {
        let four = pack("probe", ["x"; 4]);
        let engine = waiting(|l| l.in_flight_bytes_max = four.bytes() as u64 - less);
        let mut rest = four.clone();
        assert_eq!(engine.publish_pack(&mut rest).is_ok(), less == 0);
        assert_eq!(four.len() - rest.len(), taken);
    }
    // One alone is always taken.
    let engine = waiting(|l| l.in_flight_bytes_max = 1);
    let mut two = numbers("probe", 2);
    full(engine.publish_pack(&mut two));
    assert_eq!((two.len(), engine.stats().in_flight), (1, 1));
}

#[test]
fn a_shard_s_bound_and_an_inbox_at_their_bounds_and_one_over() {
    let handlers = ["a", "b"].map(|name| {
        let limits = limited("batch-probe", |l| {
            (l.linger, l.batch_messages_max) = (LONG, 1 << 14);
        });
        let handler = HandlerConfig::file(name, guest("batch-probe"));
        handler.subject(name).limits(limits.limits)
    });
    let mut config = config(handlers);
    config.limits.in_flight_messages_max = 7;
    let engine = start(config);
    let mut five = numbers("a", 5);
    assert_eq!(engine.publish_pack(&mut five), Ok(5));
    let mut more = numbers("b", 3);
    assert!(full(engine.publish_pack(&mut more)).contains("in flight"));
    assert_eq!(
        (left(&more), engine.stats().in_flight),
        (vec!["2".into()], 7)
    );

    // Its shard waits in the first call for room in a subscription, and takes nothing out of its inbox.
    let mut config = config_of_one();
    (
        config.limits.inbox_messages_max,
        config.limits.subscription_messages_max,
    ) = (10, 1);
    let engine = start(config);
    let out = engine.subscribe("echo.out", Overflow::Wait).unwrap();
    let mut two = numbers("in", 2);
    while !two.is_empty() {
        let _ = engine.publish_pack(&mut two);
    }
    until("the second is called", || {
        engine.stats().handlers[0].calls == 2
    });
    let mut many = numbers("in", 13);
    assert!(full(engine.publish_pack(&mut many)).contains("inbox"));
    assert_eq!(left(&many), ["10", "11", "12"]);
    assert!(full(engine.publish_pack(&mut many)).contains("inbox"));
    let mut came = 0;
    while came < 15 {
        came += usize::from(out.try_next().is_some());
        let _ = engine.publish_pack(&mut many);
    }
    drop(out);
    assert_eq!(settled(&engine).handlers[0].acked, 15);
}

fn config_of_one() -> EngineConfig {
    let one = limited("batch-echo", |l| l.batch_messages_max = 1);
    config([one.subject("in")])
}

#[test]
fn an_engine_that_ends_takes_nothing() {
    let engine = start(config([handler("echo")]));
    engine.drain(LONG).unwrap();
    let mut three = numbers("echo", 3);
    assert_eq!(engine.publish_pack(&mut three), Err(Refusal::Stopping));
    assert_eq!(left(&three), ["0", "1", "2"]);
}

#[test]
fn who_else_listens_gets_each_message_too() {
    let other = HandlerConfig::file("other", guest("batch-probe")).subject("both");
    let engine = start(config([probe(|_| {}).subject("both"), other]));
    let heard = engine.subscribe("both", Overflow::Wait).unwrap();
    assert_eq!(
        engine.publish_pack(&mut pack("both", ["ack", "ack"])),
        Ok(6)
    );
    let nobody = engine.publish_pack(&mut numbers("nobody", 3));
    assert_eq!((nobody, engine.stats().unrouted), (Ok(0), 3));
    let stats = settled(&engine);
    assert_eq!([0, 1].map(|n| stats.handlers[n].acked), [2, 2]);
    assert_eq!(std::iter::from_fn(|| heard.try_next()).count(), 2);
}

#[test]
fn a_subject_keeps_its_order_where_that_is_promised() {
    const EACH: usize = 300;
    let mut config = config([limited("batch-probe", |_| {}).subject("in.*")]);
    (config.shards, config.spread) = (2, Spread::Subject);
    let engine = start(config);
    let out = engine.subscribe("out.*", Overflow::Drop).unwrap();
    let text = |subject: usize, n: usize| format!("send out.{subject} {n}");
    for from in (0..EACH).step_by(10) {
        for subject in 0..3 {
            let texts: Vec<_> = (from..from + 9).map(|n| text(subject, n)).collect();
            let name = format!("in.{subject}");
            let mut nine = pack(&name, texts.iter().map(String::as_str));
            assert_eq!(engine.publish_pack(&mut nine), Ok(9));
            let tenth = text(subject, from + 9);
            let tenth = Message::new(&name, tenth.as_bytes()).unwrap();
            assert_eq!(engine.publish(tenth).unwrap(), 1);
        }
    }
    assert_eq!(settled(&engine).handlers[0].acked, 3 * EACH as u64);
    let mut next = BTreeMap::new();
    while let Some(message) = out.try_next() {
        let number: usize = std::str::from_utf8(message.payload())
            .unwrap()
            .parse()
            .unwrap();
        let due = next.entry(message.subject().to_owned()).or_insert(0);
        assert_eq!(number, *due);
        *due += 1;
    }
    assert!(next.len() == 3 && next.values().all(|count| *count == EACH));
}

#[test]
fn a_failing_message_of_a_pack_alone_is_given_up_on() {
    let engine = start(config(
        [probe(|l| l.deliveries_max = 1).dead_letter("dead")],
    ));
    let dead = engine.subscribe("dead", Overflow::Wait).unwrap();
    let out = engine.subscribe("out", Overflow::Wait).unwrap();
    let commands: Vec<_> = (0..64)
        .map(|n| match n {
            40 => "trap".to_owned(),
            n => format!("send out {n}"),
        })
        .collect();
    let mut all = pack("probe", commands.iter().map(String::as_str));
    assert_eq!(engine.publish_pack(&mut all), Ok(64));
    let stats = settled(&engine);
    let handler = &stats.handlers[0];
    assert_eq!(
        (handler.acked, &*handler.terminated),
        (63, &[(FaultKind::Trap, 1)][..])
    );
    assert!(handler.splits > 0);
    assert_eq!(dead.try_next().expect("its letter").payload(), b"trap");
    let sent = std::iter::from_fn(|| out.try_next()).map(|m| m.payload().to_vec());
    let mut sent: Vec<_> = sent.collect();
    sent.sort_by_key(|text| (text.len(), text.clone()));
    let expected = (0..64)
        .filter(|n| *n != 40)
        .map(|n| n.to_string().into_bytes());
    assert!(sent.into_iter().eq(expected), "once each");
}

#[test]
fn a_reply_subject_of_a_pack_may_be_answered_by_another_of_its_messages() {
    // As of messages that came one by one: each of a pack answers where the one behind or before it asked.
    let engine = start(config([
        probe(|l| l.deliveries_max = 1).grants(Grants::default())
    ]));
    let out = ["a", "b"].map(|subject| engine.subscribe(subject, Overflow::Wait).unwrap());
    let mut builder = Pack::builder("probe").unwrap();
    for (reply_to, command) in [("a", "send b x"), ("b", "send a y"), ("c", "ask a b z")] {
        let asked = Message::builder("probe").reply_to(reply_to);
        let asked = asked.payload(command.as_bytes()).unwrap();
        builder.push_message(&asked).unwrap();
    }
    assert_eq!(engine.publish_pack(&mut builder.build()), Ok(3));
    assert_eq!(settled(&engine).handlers[0].acked, 3);
    let got = out.map(|out| {
        let texts = std::iter::from_fn(|| out.try_next()).map(|m| m.payload().to_vec());
        texts.collect::<Vec<_>>()
    });
    assert_eq!(
        got,
        [vec![b"y".to_vec(), b"z".to_vec()], vec![b"x".to_vec()]]
    );
}

#[test]
fn a_request_in_a_pack_is_answered_and_its_headers_are_seen() {
    let engine = start(config([probe(|_| {})]));
    let replies = engine.subscribe("some.reply", Overflow::Wait).unwrap();
    let reports = engine.subscribe("report", Overflow::Wait).unwrap();
    let mut builder = Pack::builder("probe").unwrap();
    builder.push(&[("k", "v")], b"see").unwrap();
    for text in ["reply one", "see"] {
        let asked = Message::builder("probe").reply_to("some.reply");
        let asked = asked.payload(text.as_bytes()).unwrap();
        builder.push_message(&asked).unwrap();
    }
    assert_eq!(engine.publish_pack(&mut builder.build()), Ok(3));
    assert_eq!(settled(&engine).handlers[0].faults, []);
    assert_eq!(replies.try_next().unwrap().payload(), b"one");
    let report = || String::from_utf8(reports.try_next().unwrap().payload().to_vec()).unwrap();
    assert_eq!(report(), "probe None k=v 0");
    assert_eq!(report(), "probe Some(\"some.reply\")  0");
}

/// What is seen of an engine once all is settled: its handler's stats that don't depend on how calls were made up, and what was sent.
fn seen(engine: &Engine, out: &millpond::Subscription) -> (Vec<u64>, Vec<(String, Vec<u8>)>) {
    let stats = settled(engine);
    let handler: &HandlerStats = &stats.handlers[0];
    let given_up = handler.terminated.iter().map(|(_, count)| *count);
    let counts = [handler.received, handler.acked, handler.dead_lettered];
    let latencies = stats.latency.count();
    let own = |m: Message| (m.subject().to_owned(), m.payload().to_vec());
    let mut sent: Vec<_> = std::iter::from_fn(|| out.try_next()).map(own).collect();
    sent.sort();
    let counts = counts.into_iter().chain(given_up).chain([latencies]);
    (counts.collect(), sent)
}

#[test]
fn a_pack_does_what_its_messages_do() {
    let command = prop_oneof![
        4 => Just("ack"), 4 => Just("send out some text"), 1 => Just("nak 1"), 1 => Just("term"),
        1 => Just("error as it was told"), 1 => Just("trap"), 1 => Just("send "), 1 => Just("no such"),
    ];
    let packs = prop::collection::vec(prop::collection::vec(command, 1..12), 1..6);
    let mut runner = TestRunner::new(Config {
        failure_persistence: None,
        ..Config::with_cases(64)
    });
    let make = || {
        let handler = probe(|l| l.batch_messages_max = 8).dead_letter("dead");
        start(config([handler]))
    };
    // Subscribed to all that the guest sends, but not to what it hears: a pack would be taken apart.
    let outs = |engine: &Engine| {
        ["out", "dead"].map(|subject| engine.subscribe(subject, Overflow::Drop).unwrap())
    };
    let result = runner.run(&packs, |packs| {
        let engines = [make(), make()];
        let heard = engines.each_ref().map(outs);
        for commands in &packs {
            let mut one = pack("probe", commands.iter().copied());
            let mut queue: VecDeque<_> = one.messages().collect();
            prop_assert_eq!(engines[0].publish_pack(&mut one), Ok(commands.len()));
            prop_assert_eq!(engines[1].publish_all(&mut queue), Ok(commands.len()));
        }
        for (one, other) in heard[0].iter().zip(&heard[1]) {
            prop_assert_eq!(seen(&engines[0], one), seen(&engines[1], other));
        }
        engines.iter().for_each(Engine::stop);
        Ok(())
    });
    result.expect("they do the same");
}
