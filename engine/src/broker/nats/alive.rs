//! Whether the server is still there: when to ask, and when to give it up.
//!
//! Pure: handed the time. Three things are watched. Silence: a server that has said nothing at all. Answers: one that speaks but
//! answers no PING, since what is sent to it no longer arrives. Writes: one that takes no more bytes.

use std::time::Duration;

use crate::time::Instant;

/// When to ask a server whether it is there, and when to give it up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct AliveLimits {
    /// How long after the last answered PING the next one is sent. Default 20 s: well below the minute or more after which
    /// routers forget a connection; its cost is nothing.
    pub ping_after: Duration,
    /// How long a silent server has for each PING. Default 5 s: longer than a pause of a healthy server or network.
    pub ping_wait: Duration,
    /// PINGs in silence before a server is given up. Default 2, so it is given up after 10 s, and at most 30 s after the last
    /// sign of life.
    pub pings_max: u32,
    /// How long a server that does send may leave a PING unanswered. Default 60 s: its answer may stand behind much that has
    /// been sent before, but then that arrives.
    pub pong_wait_max: Duration,
    /// How long a server may take no byte of what is to be written. Default 10 s: as long as it may be silent.
    pub write_wait_max: Duration,
}

impl AliveLimits {
    /// Those by which a server that is silent is given up after this time.
    pub(crate) fn within(silence_max: Duration) -> Self {
        Self {
            ping_after: silence_max * 2 / 3,
            ping_wait: silence_max / 6,
            pings_max: 2,
            pong_wait_max: silence_max * 2,
            write_wait_max: silence_max / 3,
        }
    }
}

impl Default for AliveLimits {
    fn default() -> Self {
        Self::within(Duration::from_secs(30))
    }
}

/// Why a server was given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stale {
    /// It said nothing.
    Silent,
    /// It answered no PING.
    Unanswered,
    /// It took no bytes.
    Stuck,
}

/// What is to be done about a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Nothing yet.
    Fine,
    /// A PING is to be sent, and [`Alive::pinged`] called.
    Ping,
    /// It is to be given up.
    Lost(Stale),
}

/// What is known of a server's life.
#[derive(Debug)]
pub(crate) struct Alive {
    limits: AliveLimits,
    /// The last byte, or what counts as one.
    heard: Instant,
    /// The last answer.
    answered: Instant,
    /// When the oldest unanswered PING was sent.
    asked: Option<Instant>,
    /// When the newest unanswered PING was sent.
    asked_last: Instant,
    /// PINGs in this silence.
    pings: u32,
    /// PINGs without an answer.
    unanswered: u64,
    /// Since when no byte has been taken of what is to be written.
    stuck: Option<Instant>,
}

impl Alive {
    /// A server that has just been heard.
    pub(crate) fn new(limits: AliveLimits, now: Instant) -> Self {
        Self {
            limits,
            heard: now,
            answered: now,
            asked: None,
            asked_last: now,
            pings: 0,
            unanswered: 0,
            stuck: None,
        }
    }

    /// Bytes have come, or wait to be read.
    pub(crate) fn heard(&mut self, now: Instant) {
        self.heard = now;
        self.pings = 0;
    }

    /// A PING has been written.
    pub(crate) fn pinged(&mut self, now: Instant) {
        self.asked.get_or_insert(now);
        self.asked_last = now;
        self.pings += 1;
        self.unanswered += 1;
    }

    /// A PONG has come. Whether a PING was waiting for it.
    pub(crate) fn answered(&mut self, now: Instant) -> bool {
        let asked = self.unanswered > 0;
        self.unanswered = self.unanswered.saturating_sub(1);
        self.asked = (self.unanswered > 0).then_some(now);
        self.answered = now;
        asked
    }

    /// A write has been tried: whether any byte was taken, and whether any is left.
    pub(crate) fn wrote(&mut self, took: bool, left: bool, now: Instant) {
        match left {
            false => self.stuck = None,
            true if took => self.stuck = Some(now),
            true => {
                self.stuck.get_or_insert(now);
            }
        }
    }

    /// What is to be done now.
    pub(crate) fn check(&self, now: Instant) -> Verdict {
        let (due, verdict) = self.next();
        match due <= now {
            true => verdict,
            false => Verdict::Fine,
        }
    }

    /// When there is next something to do.
    pub(crate) fn due(&self) -> Instant {
        self.next().0
    }

    /// What is to be done next, and when.
    fn next(&self) -> (Instant, Verdict) {
        let limits = &self.limits;
        let of_answers = match self.asked {
            None => (self.answered + limits.ping_after, Verdict::Ping),
            Some(asked) => {
                let unanswered = Verdict::Lost(Stale::Unanswered);
                let answer = (asked + limits.pong_wait_max, unanswered);
                first(self.of_silence(), answer)
            }
        };
        match self.stuck {
            None => of_answers,
            Some(since) => {
                let stuck = Verdict::Lost(Stale::Stuck);
                first((since + limits.write_wait_max, stuck), of_answers)
            }
        }
    }

    /// What silence after a PING comes to.
    fn of_silence(&self) -> (Instant, Verdict) {
        let limits = &self.limits;
        if self.pings == 0 {
            // It has spoken since it was last asked.
            return (self.heard + limits.ping_after, Verdict::Ping);
        }
        let verdict = match self.pings < limits.pings_max {
            true => Verdict::Ping,
            false => Verdict::Lost(Stale::Silent),
        };
        (self.asked_last + limits.ping_wait, verdict)
    }
}

fn first(one: (Instant, Verdict), other: (Instant, Verdict)) -> (Instant, Verdict) {
    if other.0 < one.0 { other } else { one }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const S: Duration = Duration::from_secs(1);
    const START: Instant = Instant::after_start(Duration::ZERO);

    fn alive() -> Alive {
        Alive::new(AliveLimits::default(), START)
    }

    /// Asks as it wants until it gives the server up: after how many PINGs, when, and why.
    fn run(alive: &mut Alive, mut each: impl FnMut(&mut Alive, Instant)) -> (u32, Instant, Stale) {
        let mut pings = 0;
        for _ in 0..1_000 {
            let now = alive.due();
            each(alive, now);
            match alive.check(now) {
                Verdict::Fine => {}
                Verdict::Ping => {
                    pings += 1;
                    alive.pinged(now);
                }
                Verdict::Lost(why) => return (pings, now, why),
            }
        }
        panic!("never given up");
    }

    #[test]
    fn a_silent_server_is_given_up_after_two_pings() {
        let (pings, at, why) = run(&mut alive(), |_, _| {});
        assert_eq!((pings, at, why), (2, START + 30 * S, Stale::Silent));
    }

    #[test]
    fn one_that_answers_is_asked_every_20_seconds() {
        let mut alive = alive();
        for turn in 1..10 {
            assert_eq!(alive.due(), START + turn * 20 * S);
            assert_eq!(alive.check(alive.due() - S), Verdict::Fine);
            assert_eq!(alive.check(alive.due()), Verdict::Ping);
            let now = alive.due();
            alive.pinged(now);
            alive.heard(now);
            assert!(alive.answered(now));
        }
    }

    #[test]
    fn one_that_speaks_and_never_answers_is_given_up() {
        let mut alive = alive();
        let mut last = START;
        let (_, at, why) = run(&mut alive, |alive, now| {
            while last + S < now {
                last += S;
                alive.heard(last);
            }
        });
        assert_eq!((at, why), (START + 80 * S, Stale::Unanswered));
    }

    #[test]
    fn one_that_takes_nothing_is_given_up_and_one_that_takes_little_is_not() {
        let mut alive = alive();
        alive.wrote(false, true, START + S);
        alive.wrote(false, true, START + 2 * S);
        assert_eq!(alive.due(), START + 11 * S);
        assert_eq!(alive.check(alive.due()), Verdict::Lost(Stale::Stuck));
        alive.wrote(true, true, START + 5 * S);
        assert_eq!(alive.due(), START + 15 * S);
        alive.wrote(true, false, START + 6 * S);
        assert_eq!(alive.due(), START + 20 * S);
    }

    #[test]
    fn an_answer_that_nobody_asked_for_is_none() {
        let mut alive = alive();
        assert!(!alive.answered(START));
        alive.pinged(START);
        alive.pinged(START);
        assert!(alive.answered(START) && alive.answered(START) && !alive.answered(START));
    }

    proptest! {
        #[test]
        fn what_says_nothing_is_always_given_up_in_time(heard in 0u64..100, stuck: bool) {
            let mut alive = alive();
            for second in 0..heard {
                let now = START + Duration::from_secs(second);
                alive.heard(now);
                if alive.check(now) == Verdict::Ping { alive.pinged(now); }
                if let Verdict::Lost(_) = alive.check(now) { return Ok(()); }
            }
            let last = START + Duration::from_secs(heard);
            if stuck { alive.wrote(false, true, last); }
            let (_, at, _) = run(&mut alive, |_, _| {});
            prop_assert!(at <= last + Duration::from_secs(30));
        }
    }
}
