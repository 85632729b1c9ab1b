//! Many messages: a million in, a million settled once.

use millpond::{Message, Overflow};

use crate::harness::{config, handler, settled, start};

#[test]
fn a_million_messages_in_a_million_settled_once() {
    const COUNT: u64 = 1_000_000;
    let mut config = config([handler("echo")]);
    config.shards = 2;
    let engine = start(config);
    let out = engine.subscribe("echo.out", Overflow::Wait).unwrap();
    let mut seen = vec![false; COUNT as usize];
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for sequence in 0..COUNT {
                let mut message = Message::new("echo", &sequence.to_le_bytes()).unwrap();
                while let Err(refused) = engine.publish(message) {
                    message = *refused.message;
                    std::thread::yield_now();
                }
            }
        });
        for _ in 0..COUNT {
            let message = out
                .next(crate::harness::LONG)
                .expect("every message comes out");
            let sequence = u64::from_le_bytes(message.payload().try_into().unwrap()) as usize;
            assert!(
                !std::mem::replace(&mut seen[sequence], true),
                "{sequence} came out twice"
            );
        }
    });
    assert!(seen.iter().all(|seen| *seen));
    assert!(
        out.try_next().is_none(),
        "nothing comes out that was not put in"
    );
    let stats = settled(&engine);
    assert_eq!((stats.received(), stats.handlers[0].acked), (COUNT, COUNT));
    assert_eq!(stats.handlers[0].faults, []);
}
