//! Publishing many in one step: the same as one by one, at each bound and one over, and nothing lost where a bound is reached half-way.

use std::collections::VecDeque;

use millpond::{
    Engine, EngineConfig, HandlerConfig, HandlerLimits, Message, Overflow, Refusal, Spread,
    Subscription,
};
use millpond_tests::guest;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use crate::harness::{LONG, config, handler, limited, settled, start, until};

/// A handler of these subjects that is not called: what it gets stays in flight.
fn waiting(subjects: &[&str], change: impl FnOnce(&mut HandlerLimits)) -> HandlerConfig {
    let mut limits = limited("batch-counter", |l| {
        (l.linger, l.batch_messages_max) = (LONG, 1 << 14);
    })
    .limits;
    change(&mut limits);
    let handler = HandlerConfig::file(subjects[0], guest("batch-counter")).limits(limits);
    subjects
        .iter()
        .fold(handler, |handler, s| handler.subject(*s))
}

fn message(subject: &str, payload: usize) -> Message {
    Message::new(subject, &vec![b'x'; payload]).unwrap()
}

fn queue(subject: &str, count: usize) -> VecDeque<Message> {
    let numbered = |n: usize| Message::new(subject, n.to_string().as_bytes()).unwrap();
    (0..count).map(numbered).collect()
}

/// The numbers of what is left in a queue.
fn left(queue: &VecDeque<Message>) -> Vec<usize> {
    let number = |m: &Message| std::str::from_utf8(m.payload()).unwrap().parse().unwrap();
    queue.iter().map(number).collect()
}

fn full(result: Result<usize, Refusal>) -> &'static str {
    match result {
        Err(Refusal::Full(why)) => why,
        other => panic!("it is not full: {other:?}"),
    }
}

#[test]
fn all_that_is_published_is_handled_in_order_beyond_one_run() {
    const COUNT: usize = 5_000;
    let engine = start(config([handler("echo")]));
    let mut queue = queue("echo", COUNT);
    let out = engine.subscribe("echo.out", Overflow::Wait).unwrap();
    std::thread::scope(|scope| {
        let came = scope.spawn(|| (0..COUNT).map(|_| out.next(LONG).unwrap()).collect());
        assert_eq!(engine.publish_all(&mut queue), Ok(COUNT));
        assert!(queue.is_empty());
        assert!(left(&came.join().unwrap()).into_iter().eq(0..COUNT));
    });
    assert_eq!(engine.publish_all(&mut queue), Ok(0), "nothing is nothing");
    let stats = settled(&engine);
    assert_eq!((stats.handlers[0].acked, stats.refused), (COUNT as u64, 0));
}

#[test]
fn messages_at_the_bound_and_one_over() {
    let engine = start(config([waiting(&["a"], |l| l.in_flight_messages_max = 10)]));
    let mut ten = queue("a", 10);
    assert_eq!(engine.publish_all(&mut ten), Ok(10));
    let mut more = queue("a", 1);
    assert!(full(engine.publish_all(&mut more)).contains("in flight"));
    assert_eq!((left(&more), engine.stats().refused), (vec![0], 1));
    let engine = start(config([waiting(&["a"], |l| l.in_flight_messages_max = 10)]));
    let mut eleven = queue("a", 11);
    assert!(full(engine.publish_all(&mut eleven)).contains("in flight"));
    assert_eq!((left(&eleven), engine.stats().refused), (vec![10], 1));
    assert_eq!(engine.stats().in_flight, 10);
}

#[test]
fn bytes_at_the_bound_and_one_over() {
    // What a message counts is asked of one that is alone.
    for (bytes, taken) in [(0, 4), (1, 3)] {
        let of = message("a", 50).bytes() * 4;
        let bound = of as u64 - bytes;
        let engine = start(config([waiting(&["a"], |l| l.in_flight_bytes_max = bound)]));
        let mut four = VecDeque::from(vec![message("a", 50); 4]);
        let published = engine.publish_all(&mut four);
        assert_eq!((published.is_ok(), 4 - four.len()), (bytes == 0, taken));
    }
    // One alone is always taken.
    let engine = start(config([waiting(&["a"], |l| l.in_flight_bytes_max = 1)]));
    let mut two = VecDeque::from(vec![message("a", 50); 2]);
    full(engine.publish_all(&mut two));
    assert_eq!((two.len(), engine.stats().in_flight), (1, 1));
}

#[test]
fn a_shard_s_messages_at_the_bound_and_one_over() {
    let both = [
        waiting(&["a", "both"], |_| {}),
        waiting(&["b", "both"], |_| {}),
    ];
    let mut config = config(both);
    config.limits.in_flight_messages_max = 11;
    let engine = start(config);
    // Each counts twice.
    let mut six = queue("both", 6);
    assert!(full(engine.publish_all(&mut six)).contains("in flight"));
    assert_eq!((left(&six), engine.stats().in_flight), (vec![5], 10));
    let mut two = queue("a", 2);
    full(engine.publish_all(&mut two));
    assert_eq!((left(&two), engine.stats().in_flight), (vec![1], 11));
}

#[test]
fn an_inbox_at_its_bound_and_one_over() {
    // Its shard waits in the first call for room in a subscription, and takes nothing out of its inbox.
    let mut config = config([limited("echo", |l| l.batch_messages_max = 1)]);
    (
        config.limits.inbox_messages_max,
        config.limits.subscription_messages_max,
    ) = (10, 1);
    let engine = start(config);
    let out = engine.subscribe("echo.out", Overflow::Wait).unwrap();
    let stuck = || {
        let mut two = queue("echo", 2);
        while !two.is_empty() {
            let _ = engine.publish_all(&mut two);
        }
        // The first is in the subscription; the call of the second has been made and can't end.
        until("the second is called", || {
            engine.stats().handlers[0].calls == 2
        });
    };
    stuck();
    let mut many = queue("echo", 13);
    assert!(full(engine.publish_all(&mut many)).contains("inbox"));
    let taken = 13 - many.len();
    assert_eq!((left(&many), taken), (vec![10, 11, 12], 10));
    let one = engine.publish(message("echo", 1));
    assert!(one.unwrap_err().to_string().contains("inbox"));
    assert!(full(engine.publish_all(&mut many)).contains("inbox"));
    assert_eq!(many.len(), 3);
    for _ in 0..2 + taken {
        out.next(LONG).expect("each comes");
    }
    while !many.is_empty() {
        let _ = engine.publish_all(&mut many);
        while out.try_next().is_some() {}
    }
    drop(out);
    assert_eq!(settled(&engine).handlers[0].acked, 15);
}

#[test]
fn an_engine_that_ends_takes_nothing() {
    let engine = start(config([handler("echo")]));
    engine.drain(LONG).unwrap();
    let mut three = queue("echo", 3);
    assert_eq!(engine.publish_all(&mut three), Err(Refusal::Stopping));
    assert_eq!(left(&three), [0, 1, 2]);
}

#[test]
fn a_subject_keeps_its_order_where_that_is_promised() {
    const EACH: usize = 3_000;
    let mut config = config([limited("batch-probe", |_| {}).subject("in.*")]);
    (config.shards, config.spread) = (2, Spread::Subject);
    let engine = start(config);
    let outs = ["0", "1", "2"].map(|n| {
        engine
            .subscribe(&format!("out.{n}"), Overflow::Wait)
            .unwrap()
    });
    // Runs of one to seven, by subject in turn; and now and then one that is published alone.
    let mut numbers = [0; 3];
    let mut next = |subject: usize| {
        let number = numbers[subject];
        numbers[subject] += 1;
        let text = format!("send out.{subject} {number}");
        Message::new(&format!("in.{subject}"), text.as_bytes()).unwrap()
    };
    let mut queue = VecDeque::new();
    let mut runs = (0..).map(|run: usize| (run % 3, run % 7 + 1));
    std::thread::scope(|scope| {
        let read = |out: Subscription| {
            let number = |_| left(&VecDeque::from([out.next(LONG).unwrap()]))[0];
            assert!((0..EACH).map(number).eq(0..EACH), "in order");
        };
        let readers = outs.map(|out| scope.spawn(move || read(out)));
        let mut published = [0; 3];
        while published.iter().any(|count| *count < EACH) {
            let (subject, run) = runs.next().unwrap();
            let run = run.min(EACH - published[subject]);
            published[subject] += run;
            queue.extend((0..run).map(|_| next(subject)));
            while engine.publish_all(&mut queue).is_err() {
                std::thread::yield_now();
            }
        }
        readers
            .into_iter()
            .for_each(|reader| reader.join().unwrap());
    });
    assert_eq!(settled(&engine).handlers[0].acked, 3 * EACH as u64);
}

/// A configuration in which what is published stays in flight, and the bounds of it.
fn bounded((messages, bytes, all): (u32, u64, u32)) -> EngineConfig {
    let limits = |l: &mut HandlerLimits| {
        (l.in_flight_messages_max, l.in_flight_bytes_max) = (messages, bytes);
    };
    let handlers = [
        waiting(&["a", "ab", "as"], limits),
        waiting(&["b", "ab"], limits),
    ];
    let mut config = config(handlers);
    config.limits.in_flight_messages_max = all;
    config
}

/// What is seen of an engine after messages were published to it, and of what came to a subscription.
fn seen(engine: &Engine, subscription: &Subscription) -> (Vec<u64>, Vec<(String, Vec<u8>)>) {
    until("all that is in flight has been received", || {
        let stats = engine.stats();
        stats.received() == stats.in_flight
    });
    let stats = engine.stats();
    let received = stats.handlers.iter().map(|h| h.received);
    let counts = received.chain([stats.refused, stats.unrouted, stats.in_flight]);
    let own = |m: Message| (m.subject().to_owned(), m.payload().to_vec());
    let came = std::iter::from_fn(|| subscription.try_next()).map(own);
    (counts.collect(), came.collect())
}

#[test]
fn publishing_in_one_step_does_what_publishing_one_by_one_does() {
    let subjects = prop::sample::select(vec!["a", "a", "a", "b", "ab", "as", "s", "nobody"]);
    let run = (subjects, 1usize..8, 0usize..60);
    let bounds = (1u32..40, 1u64..4_000, 1u32..60);
    let cases = (bounds, prop::collection::vec(run, 0..10));
    let mut runner = TestRunner::new(Config {
        failure_persistence: None,
        ..Config::with_cases(48)
    });
    let result = runner.run(&cases, |(bounds, runs)| {
        let runs = runs.iter();
        let queue: VecDeque<Message> = runs
            .flat_map(|(subject, count, bytes)| vec![message(subject, *bytes); *count])
            .collect();
        let engines = [(); 2].map(|()| start(bounded(bounds)));
        let outs = engines
            .each_ref()
            .map(|e| ["s", "as"].map(|subject| e.subscribe(subject, Overflow::Drop).unwrap()));
        let (mut one_by_one, mut in_one_step) = (queue.clone(), queue);
        let mut receivers = Ok(0);
        while let Ok(sum) = receivers
            && let Some(message) = one_by_one.pop_front()
        {
            receivers = match engines[0].publish(message) {
                Ok(count) => Ok(sum + count),
                Err(refused) => {
                    one_by_one.push_front(*refused.message);
                    Err(refused.reason)
                }
            };
        }
        prop_assert_eq!(engines[1].publish_all(&mut in_one_step), receivers);
        prop_assert_eq!(one_by_one.len(), in_one_step.len());
        let [one, other] = outs;
        for (one, other) in one.iter().zip(&other) {
            prop_assert_eq!(seen(&engines[0], one), seen(&engines[1], other));
        }
        engines.iter().for_each(Engine::stop);
        Ok(())
    });
    result.expect("they do the same");
}
