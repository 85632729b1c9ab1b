//! Answers that are made up: as a guest writes them, most with something wrong. What the fuzzer looks for, at a scale that every run of
//! the tests can have and without a fuzzer.

use std::panic::catch_unwind;

use super::fuzz_answers::{BOUND, Became, CLOSED, check};

/// Answers that are made up: some seconds of them.
const CASES: u64 = 200_000;
/// Of these, how many become each of the things that an answer can become, at least: a maker of nonsense alone would prove little.
const EACH_MIN: usize = CASES as usize / 50;

/// Subjects: most are good.
const SUBJECTS: [&[u8]; 8] = [
    b"a",
    b"orders.1",
    b"orders.2",
    b"a.subject.of.23.letters",
    "grün".as_bytes(),
    CLOSED.as_bytes(),
    b"a..b",
    b"\xff",
];
/// Reply subjects.
const REPLY_TO: [&[u8]; 8] = [b"", b"", b"", b"", b"r", b"r.1", b"", b"*"];
/// Headers.
const HEADERS: [&[u8]; 8] = [
    b"",
    b"",
    b"k: v\r\n",
    b"k: v\r\nK:\r\n",
    b"k: v\r\n",
    b"k: v",
    b"k\r\n",
    b" k: \xff\r\n",
];

/// Numbers that follow from a seed: xorshift, George Marsaglia's, of 64 bits.
struct Random(u64);

impl Random {
    /// Of each seed others: it is multiplied by a large odd number, and is not 0.
    fn new(seed: u64) -> Self {
        Self((seed + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }

    /// Below this, which is not 0.
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize % end
    }

    /// True once in so many times.
    fn once_in(&mut self, times: usize) -> bool {
        self.below(times) == 0
    }

    fn of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len())]
    }
}

/// An answer, and to how many messages.
#[derive(Debug)]
struct Made {
    messages: usize,
    arena: Vec<u8>,
    index: Vec<u32>,
}

impl Made {
    /// The answer of this seed.
    fn new(seed: u64) -> Self {
        let random = &mut Random::new(seed);
        let mut made = Self {
            messages: 1 + random.below(8),
            arena: Vec::new(),
            index: Vec::new(),
        };
        made.outcomes(random);
        made.sends(random);
        while random.once_in(2) {
            made.spoil(random);
        }
        made
    }

    /// Nothing of any message, or something of each.
    fn outcomes(&mut self, random: &mut Random) {
        let outcomes = self.messages * random.below(2);
        self.index.push(outcomes as u32);
        for _ in 0..outcomes {
            let nak = 1 | (random.below(1 << 30) as u32) << 2;
            self.index.push(random.of(&[0, 0, 2, nak]));
        }
    }

    /// Sends in the order of their messages, now and then one more than there may be.
    fn sends(&mut self, random: &mut Random) {
        let mut message = 0;
        let most = if random.once_in(8) { 10 } else { 4 };
        for _ in 0..random.below(most) {
            message = (message + random.below(3)).min(self.messages - 1);
            // Most are good: of all parts of all sends that are not there is one or none.
            let (good, any) = (random.of(&[5, 5, 5, 8]), [&SUBJECTS, &REPLY_TO, &HEADERS]);
            let parts = any.map(|parts| random.of(&parts[..good]));
            let most = if random.once_in(12) { 140 } else { 12 };
            let payload = vec![b'x'; random.below(most)];
            // Now and then so much that it can't be kept with what is sent.
            let gap = if random.once_in(16) {
                80
            } else {
                random.below(6) / 4
            };
            self.arena.extend(vec![b'-'; gap]);
            self.index.extend([message as u32, self.arena.len() as u32]);
            for part in [parts[0], parts[1], parts[2], &payload] {
                self.index.push(part.len() as u32);
                self.arena.extend_from_slice(part);
            }
        }
    }

    /// Changes one thing.
    fn spoil(&mut self, random: &mut Random) {
        let place = random.below(self.index.len().max(1));
        let byte = random.below(self.arena.len().max(1));
        match random.below(6) {
            0 => self.arena.truncate(byte),
            1 => self.index.truncate(place),
            2 => self.index.insert(place, random.below(12) as u32),
            3 => self.arena.resize(BOUND.bytes_max + random.below(2), b'-'),
            4 => {
                if let Some(number) = self.index.get_mut(place) {
                    let beside = [number.wrapping_sub(1), number.wrapping_add(1)];
                    let far = [u32::MAX, u32::MAX - *number, 1 << 31];
                    *number = random.of(&[beside, [far[0], far[1]], [far[2], 0]].concat());
                }
            }
            _ => {
                if let Some(changed) = self.arena.get_mut(byte) {
                    *changed = random.of(b"\r\n: .*\xff\0a");
                }
            }
        }
    }
}

#[test]
fn answers_that_are_made_up_become_what_their_contract_says() {
    let (mut refused, mut overflowed, mut sent, mut left_out) = (0, 0, 0, 0);
    for seed in 0..CASES {
        let made = Made::new(seed);
        let became = catch_unwind(|| check(&made.arena, &made.index, made.messages));
        match became.unwrap_or_else(|_| panic!("the answer of seed {seed}: {made:?}")) {
            Became::Refused => refused += 1,
            Became::Overflowed => overflowed += 1,
            Became::Held {
                sent: some,
                left_out: others,
            } => {
                sent += usize::from(some > 0);
                left_out += usize::from(others > 0);
            }
        }
    }
    let counts = [refused, overflowed, sent, left_out];
    println!("{CASES} answers: refused, overflowed, with sends, with some left out: {counts:?}");
    assert!(counts.iter().all(|count| *count >= EACH_MIN), "{counts:?}");
}
