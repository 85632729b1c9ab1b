//! The two examples of the product's first document, in Rust, C and Go, behaving as it says.

use millpond::{Message, Overflow};

use crate::harness::{LONG, handler, limited, settled, start};

const LANGUAGES: [&str; 3] = ["rust", "c", "go"];

#[test]
fn the_skeleton_is_configured_and_handles() {
    for language in LANGUAGES {
        let engine = start(crate::harness::config([handler(&format!(
            "{language}-skeleton"
        ))]));
        for _ in 0..10 {
            assert_eq!(
                engine
                    .publish(Message::new("skeleton", b"x").unwrap())
                    .unwrap(),
                1,
                "{language}"
            );
        }
        let stats = settled(&engine);
        assert_eq!(
            (stats.handlers[0].acked, stats.handlers[0].faults.len()),
            (10, 0),
            "{language}"
        );
    }
}

#[test]
fn a_message_on_a_unsubscribes_from_it_and_is_abandoned() {
    for language in LANGUAGES {
        let handler = limited(&format!("{language}-channels"), |l| l.deliveries_max = 2);
        let engine = start(crate::harness::config([handler]));
        let publish = |subject| {
            engine
                .publish(Message::new(subject, b"x").unwrap())
                .unwrap()
        };
        assert_eq!(publish("a"), 1, "{language}");
        while engine.stats().handlers[0].retried == 0 {
            std::thread::yield_now();
        }
        while publish("a") != 0 {
            std::thread::yield_now();
        }
        assert_eq!(
            (publish("b"), publish("c")),
            (1, 1),
            "{language}: the other channels stay"
        );
        let stats = settled(&engine);
        let handler = &stats.handlers[0];
        assert_eq!(handler.faults, [], "{language}");
        assert_eq!(
            handler.terminated[0].0,
            millpond::FaultKind::Abandoned,
            "{language}"
        );
        assert_eq!(handler.acked, 2, "{language}: b and c");
    }
}

#[test]
fn a_message_on_b_waits_for_one_on_d_and_is_completed() {
    for language in LANGUAGES {
        let engine = start(crate::harness::config([handler(&format!(
            "{language}-channels"
        ))]));
        assert_eq!(
            engine.publish(Message::new("b", b"x").unwrap()).unwrap(),
            1,
            "{language}"
        );
        let stats = settled(&engine);
        assert_eq!(
            (stats.handlers[0].acked, &*stats.handlers[0].faults),
            (1, &[][..]),
            "{language}: none came"
        );
    }
}

#[test]
fn a_message_on_c_sends_one_to_d_and_is_completed() {
    for language in LANGUAGES {
        let engine = start(crate::harness::config([handler(&format!(
            "{language}-channels"
        ))]));
        let d = engine.subscribe("d", Overflow::Wait).unwrap();
        assert_eq!(
            engine.publish(Message::new("c", b"x").unwrap()).unwrap(),
            1,
            "{language}"
        );
        assert_eq!(
            d.next(LONG).expect("it is sent").payload(),
            b"hello from guest",
            "{language}"
        );
        let stats = settled(&engine);
        assert_eq!(
            (stats.handlers[0].acked, stats.handlers[0].sent),
            (1, 1),
            "{language}"
        );
    }
}
