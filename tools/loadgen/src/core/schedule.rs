//! When messages are to be sent: fixed in advance, whatever becomes of those before.

use super::random::Random;

/// How the times between messages are spread.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Arrivals {
    /// All alike.
    Constant,
    /// As those of many independent senders: exponentially distributed.
    Poisson,
}

/// The intended times of one sender, in nanoseconds from the run's start.
#[derive(Debug, Clone)]
pub(crate) struct Schedule {
    arrivals: Arrivals,
    /// Mean time between two messages of this sender.
    gap_ns: f64,
    /// Where the first is, of constant arrivals; where the last was, of Poisson's.
    from_ns: f64,
    sent: u64,
    random: Random,
}

impl Schedule {
    /// The share of one of `senders` in `rate` messages a second. Constant arrivals of several senders interleave evenly.
    pub(crate) fn new(
        arrivals: Arrivals,
        rate: f64,
        sender: u16,
        senders: u16,
        random: Random,
    ) -> Self {
        assert!(
            rate > 0.0 && sender < senders,
            "a sender of some, at a rate"
        );
        let gap_ns = 1e9 * f64::from(senders) / rate;
        let from_ns = match arrivals {
            Arrivals::Constant => 1e9 * f64::from(sender) / rate,
            Arrivals::Poisson => 0.0,
        };
        Self {
            arrivals,
            gap_ns,
            from_ns,
            sent: 0,
            random,
        }
    }

    /// When the next message is to be sent.
    pub(crate) fn next_ns(&mut self) -> u64 {
        let due = match self.arrivals {
            Arrivals::Constant => self.from_ns + self.sent as f64 * self.gap_ns,
            Arrivals::Poisson => {
                self.from_ns += self.random.exponential() * self.gap_ns;
                self.from_ns
            }
        };
        self.sent += 1;
        due as u64
    }

    /// How many messages are to be sent from one that is due then until a later time: exact of constant arrivals, the mean of others.
    pub(crate) fn left_until(&self, due_ns: u64, end_ns: u64) -> u64 {
        (end_ns.saturating_sub(due_ns) as f64 / self.gap_ns).ceil() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SECOND: f64 = 1e9;

    fn times(arrivals: Arrivals, rate: f64, sender: u16, senders: u16, count: usize) -> Vec<u64> {
        let mut schedule = Schedule::new(
            arrivals,
            rate,
            sender,
            senders,
            Random::new(5, sender.into()),
        );
        (0..count).map(|_| schedule.next_ns()).collect()
    }

    #[test]
    fn constant_arrivals_do_not_drift_in_an_hour() {
        let rate = 300_000.0;
        let mut schedule = Schedule::new(Arrivals::Constant, rate, 0, 1, Random::new(0, 0));
        schedule.sent = 3_600 * 300_000;
        assert_eq!(schedule.next_ns(), 3_600_000_000_000);
        assert_eq!(schedule.next_ns(), 3_600_000_003_333);
        assert_eq!(schedule.left_until(0, 1_000_000_000), 300_000);
    }

    proptest! {
        #[test]
        fn several_constant_senders_make_one_even_load(rate in 1.0..1e7, senders in 1_u16..9) {
            let mut all: Vec<u64> = (0..senders)
                .flat_map(|sender| times(Arrivals::Constant, rate, sender, senders, 50))
                .collect();
            all.sort_unstable();
            for (index, at) in all.iter().enumerate() {
                let due = index as f64 * SECOND / rate;
                prop_assert!((*at as f64 - due).abs() <= 2.0, "{at} is not {due}");
            }
        }

        #[test]
        fn times_never_go_back(rate in 1.0..1e7, poisson: bool) {
            let arrivals = if poisson { Arrivals::Poisson } else { Arrivals::Constant };
            let all = times(arrivals, rate, 0, 1, 500);
            prop_assert!(all.is_sorted());
        }
    }

    #[test]
    fn poisson_arrivals_have_their_mean_and_its_square_as_variance() {
        const COUNT: usize = 200_000;
        let all = times(Arrivals::Poisson, 1_000.0, 0, 1, COUNT);
        let gaps: Vec<f64> = all.windows(2).map(|two| (two[1] - two[0]) as f64).collect();
        let mean = gaps.iter().sum::<f64>() / gaps.len() as f64;
        let variance = gaps.iter().map(|gap| (gap - mean).powi(2)).sum::<f64>() / gaps.len() as f64;
        assert!((mean / 1e6 - 1.0).abs() < 0.01, "{mean}");
        assert!((variance.sqrt() / mean - 1.0).abs() < 0.02, "{variance}");
    }
}
