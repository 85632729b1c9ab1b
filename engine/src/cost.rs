//! What a call costs, learned online, and how many messages go into the next one.
//!
//! Owns one handler's estimate of the time of a call: so much a call, a message, a byte and a message squared (which is zero
//! for most, and keeps a handler whose cost grows faster than its batch from being handed batches that are too large). Pure
//! and deterministic: is told how long calls took and what is left of a budget; knows no clock, queue, wasm or broker.
//!
//! The estimate is least squares on relative errors with exponential forgetting (Ljung, "System Identification", 2nd ed.,
//! 11.2), clipped against outliers (Huber 1964), with a ridge towards the last estimate (Levenberg 1944), so that a steady
//! state, which tells terms apart no more, leaves them where they are. A jump of all costs is not averaged in but noticed.

use std::time::Duration;

/// Terms of the cost: a call, a message, a byte, a message squared.
const TERMS: usize = 4;
/// Calls over which the past is forgotten (to 1/e). By experiment: 64 loses 1 to 2 % where calls are noisy, 256 gains nothing.
const WINDOW_CALLS: f64 = 128.0;
/// Calls between two solutions, once there have been as many again as that.
const SOLVE_CALLS: u64 = 8;
/// Weight of the last estimate in a solution, in parts of each term's own weight. By experiment: 0.01 to 0.05 do as well.
const RIDGE: f64 = 0.02;
/// Part of calls that the guard is to cover, and the step by which it moves. By experiment: 0.8 to 0.95 do as well.
const GUARD_QUANTILE: f64 = 0.9;
const GUARD_STEP: f64 = 0.05;
/// The guard before anything is known, and the most that it becomes: beyond that it is no tail but another behaviour.
const GUARD_FIRST: f64 = 1.2;
const GUARD_MAX: f64 = 4.0;
/// Calls in a row that are off on the same side, by more than the usual, before all costs are taken to have jumped; an outlier
/// comes alone. 5 of 50 leaves 45 to learn from.
const JUMP_CALLS: u32 = 5;
/// Calls over which the part of those that are off is taken, and the most that it may be before the past is let go.
const OFF_CALLS: f64 = 8.0;
const OFF_PART_MAX: f64 = 0.5;
/// Weight that the past keeps after a jump: what it says of the terms' proportions, until new calls say it better.
const JUMP_KEEP: f64 = 1.0 / 16.0;
/// How much larger than the largest call so far the next may be: the terms of what was never seen are guesses.
const GROWTH: usize = 4;
/// Part of the time left that a call larger than that may take by such a guess.
const GUESS_MARGIN: f64 = 8.0;
/// Where one message a call seems best, of so many calls one may have two. Picked by hand: where that is too many, it costs a
/// hundredth.
const LARGER_OF: u64 = 32;
/// Part of the best rate that a batch beyond the best size may lose: it is there that the squared term shows. Picked by hand.
const PEAK_SLACK: f64 = 0.02;
/// Most that the fixed cost may be of a call that was cut for the sake of its oldest message. By experiment: 0.2 to 0.3.
const CUT_FIXED_MAX: f64 = 0.25;
/// Fixed costs that a call lasts at which a longer one gains nothing any more: 1/32 is 3 %.
const AMPLE_FIXED: f64 = 32.0;
/// Part of the longest call's time that messages of a standing queue may wait before it: as many as two thirds of a batch come
/// in it at the capacity, and a whole one at 1.3 times that. Picked by hand between 1/2 and 1.
const SHEDDING_WAIT: f64 = 0.75;

/// The learned cost of one handler's calls on one shard.
#[derive(Debug, Clone)]
pub(crate) struct CostModel {
    /// Nanoseconds a call, a message, a byte, a message squared; each finite and at least 0.
    cost: [f64; TERMS],
    /// Forgetting sums over calls of `z zᵀ` (lower half) and `z r`: `z` the terms over what was expected, `r` the clipped
    /// ratio of what the call took to it.
    square: [[f64; TERMS]; TERMS],
    target: [f64; TERMS],
    /// What covers `GUARD_QUANTILE` of calls, as a multiple of what is expected.
    guard: f64,
    /// How far off calls usually are, as a part of what is expected.
    spread: f64,
    /// Calls in a row that were off on the side of `run_above`, and the sum of their inverse ratios.
    run: u32,
    run_above: bool,
    run_inverse: f64,
    /// Part of late calls that were off, on whichever side.
    off_part: f64,
    calls: u64,
    /// Messages of the largest call.
    largest: usize,
}

/// The terms of a call, from the four that `cost` weighs. Bounded, so that squares and sums stay finite.
fn terms(messages: usize, bytes: usize) -> [f64; TERMS] {
    let n = messages.clamp(1, 1 << 24) as f64;
    [1.0, n, bytes.min(1 << 40) as f64, n * n]
}

/// The bytes of messages that wait, oldest first.
pub(crate) trait Sizes {
    /// Of each.
    fn each(&self) -> impl Iterator<Item = usize>;

    /// As many of the first ones as the bounds allow, at least one if there is one: how many, and their bytes.
    fn within(&self, messages_max: usize, bytes_max: usize) -> (usize, usize) {
        let mut within = (0, 0usize);
        for size in self.each().take(messages_max) {
            let bytes = within.1.saturating_add(size);
            if within.0 > 0 && bytes > bytes_max {
                break;
            }
            within = (within.0 + 1, bytes);
        }
        within
    }
}

impl<I: Iterator<Item = usize> + Clone> Sizes for I {
    fn each(&self) -> impl Iterator<Item = usize> {
        self.clone()
    }
}

fn dot(a: &[f64; TERMS], b: &[f64; TERMS]) -> f64 {
    a[0] * b[0] + a[1] * b[1] + a[2] * b[2] + a[3] * b[3]
}

fn nanos(time: Duration) -> f64 {
    (time.as_secs() as f64 * 1e9 + f64::from(time.subsec_nanos())).clamp(1.0, 1e15)
}

impl CostModel {
    /// A model that knows nothing.
    pub(crate) fn new() -> Self {
        Self {
            cost: [0.0; TERMS],
            square: [[0.0; TERMS]; TERMS],
            target: [0.0; TERMS],
            guard: GUARD_FIRST,
            spread: 0.1,
            run: 0,
            run_above: false,
            run_inverse: 0.0,
            off_part: 0.0,
            calls: 0,
            largest: 1,
        }
    }

    /// Learns that a call of `messages` with `bytes` in all took `took`, from the decision to its end, the turns of
    /// others left out.
    pub(crate) fn observe(&mut self, messages: usize, bytes: usize, took: Duration) {
        assert!(messages > 0, "a call has a message");
        let (x, y) = (terms(messages, bytes), nanos(took));
        if self.calls == 0 {
            // One call does not tell its terms apart: half to itself, half to its messages.
            self.cost = [y / 2.0, y / (2.0 * x[1]), 0.0, 0.0];
        }
        self.calls += 1;
        self.largest = self.largest.max(messages);
        let expected = dot(&self.cost, &x).max(1e-3);
        let ratio = y / expected;
        self.follow_tail(ratio);
        let band = (3.0 * self.spread).clamp(0.15, 1.0);
        let off = if ratio > 1.0 {
            ratio - 1.0
        } else {
            1.0 / ratio - 1.0
        };
        self.spread += (off.min(band) - self.spread) / 32.0;
        let clipped = ratio.clamp(1.0 / (1.0 + band), 1.0 + band);
        self.add(&x.map(|x| x / expected), clipped);
        self.follow_jump(ratio, off > band);
        if self.calls < 2 * SOLVE_CALLS || self.calls.is_multiple_of(SOLVE_CALLS) {
            self.solve();
        }
    }

    /// What a call of this size takes in the mean; `None` before the first call.
    #[cfg(test)]
    fn predict(&self, messages: usize, bytes: usize) -> Option<Duration> {
        (self.calls > 0).then(|| Duration::from_nanos(self.mean(messages, bytes) as u64))
    }

    /// What all but a few calls of this size stay within; `None` before the first call.
    pub(crate) fn guarded(&self, messages: usize, bytes: usize) -> Option<Duration> {
        let guarded = || (self.mean(messages, bytes) * self.guard) as u64;
        (self.calls > 0).then(|| Duration::from_nanos(guarded()))
    }

    /// The same in the mean, in ns.
    fn mean(&self, messages: usize, bytes: usize) -> f64 {
        dot(&self.cost, &terms(messages, bytes))
    }

    /// How many of the messages that wait go into the next call, and their bytes; at least 1 if there is one.
    ///
    /// `sizes` are their bytes, oldest first; `left` is what is left of the oldest's `budget`, zero if it is late; `call_max`
    /// is the longest that a call should take, for the sake of others on the shard or of messages to come.
    ///
    /// The most that end within `left`. But a call cut so short that the fixed cost is more than a quarter of it would have the
    /// many wait for the few (each cut costs everybody behind it one more fixed cost; a server near its limit never makes
    /// that up: the limit falls by 3 to 30 %). Then, and when the oldest is late anyhow, throughput wins: the largest batch
    /// allowed, up to where a larger one gains nothing. No batch is larger than the one with the best rate, nor than
    /// `GROWTH` times the largest so far, unless it ends in good time even if the estimate is far off. Before anything is known
    /// the bounds alone hold.
    pub(crate) fn fit(
        &self,
        sizes: &impl Sizes,
        messages_max: usize,
        bytes_max: usize,
        left: Duration,
        budget: Duration,
        call_max: Option<Duration>,
    ) -> (usize, usize) {
        let bounded = sizes.within(messages_max.min(self.best_size()), bytes_max);
        let first = sizes.each().next().unwrap_or_default();
        let within = nanos(left) / self.guard;
        let cut = self.mean(1, first) <= within;
        let ample = self.ample(budget, call_max);
        // Mostly all of it: no message is looked at twice then.
        let all = self.mean(bounded.0, bounded.1);
        let guessed = self.guessed(bounded.0, all, within);
        if all <= ample && !guessed && (!cut || all <= within) {
            return bounded;
        }
        self.cut(sizes.each().take(bounded.0), within, cut, ample)
    }

    /// As many of these as can be done within the time left of the oldest, in ns; where `cut` is false, or comes to be, as are
    /// ample. At least one.
    fn cut(
        &self,
        sizes: impl Iterator<Item = usize>,
        within: f64,
        mut cut: bool,
        ample: f64,
    ) -> (usize, usize) {
        let (mut n, mut bytes, mut cost) = (0, 0usize, 0.0);
        for size in sizes {
            let more = bytes.saturating_add(size);
            let next = self.mean(n + 1, more);
            if n > 0 && (next > ample || self.guessed(n + 1, next, within)) {
                break;
            }
            if n > 0 && cut && next > within {
                if self.cost[0] <= CUT_FIXED_MAX * cost {
                    break;
                }
                cut = false;
            }
            (n, bytes, cost) = (n + 1, more, next);
        }
        (n, bytes)
    }

    /// Whether what a call of so many messages costs is no more than a guess, and would not be in good time if that were wrong.
    fn guessed(&self, messages: usize, cost: f64, within: f64) -> bool {
        let unseen = messages > self.largest.saturating_mul(GROWTH);
        unseen && cost > within / GUESS_MARGIN
    }

    /// How long a message of a droppable source may have waited when a call is made from a queue that stands; those that waited
    /// longer are shed. The budget less the guarded time of the longest call from such a queue, guarded once more: here every
    /// batch is as long as it may be, and a tenth of calls, which outlast the guard, would be late. At least an eighth of the
    /// budget, so that a budget that nothing meets does not shed everything.
    pub(crate) fn patience(&self, budget: Duration) -> Duration {
        let call = nanos(self.shedding_call_max(budget)) * self.guard;
        let call = Duration::from_nanos(call as u64);
        budget.saturating_sub(call).max(budget / 8)
    }

    /// The longest call from a queue that stands, guarded, for [`CostModel::fit`]: as long as leaves `SHEDDING_WAIT` of it for the
    /// messages to wait in, so that the next call finds a batch.
    pub(crate) fn shedding_call_max(&self, budget: Duration) -> Duration {
        let mean = nanos(budget) / (self.guard * self.guard + SHEDDING_WAIT);
        Duration::from_nanos((mean.max(self.mean(1, 0)) * self.guard) as u64)
    }

    /// What a call may take in the mean when no budget bounds it, in ns: half of the budget, or longer if the fixed cost is only
    /// then a small part; no longer than the guarded `call_max`, unless calls that short do nothing but pay the fixed cost.
    fn ample(&self, budget: Duration, call_max: Option<Duration>) -> f64 {
        let fixed = self.cost[0];
        let ample = (0.5 * nanos(budget) / self.guard).max(AMPLE_FIXED * fixed);
        let call_max = call_max.map_or(f64::MAX, |max| nanos(max) / self.guard);
        ample.min(call_max.max(2.0 * fixed))
    }

    /// The most messages whose rate is within `PEAK_SLACK` of the best. The time a message `F / n + m + q n` is least at
    /// `n = sqrt(F / q)`; the larger solution of `F / n + q n = u` is where it has grown to that over `1 - PEAK_SLACK`.
    fn best_size(&self) -> usize {
        let [fixed, message, _, square] = self.cost;
        if square <= 0.0 {
            return usize::MAX;
        }
        let least = 2.0 * (fixed * square).sqrt();
        let u = (least + message) / (1.0 - PEAK_SLACK) - message;
        let n = (u + (u * u - least * least).max(0.0).sqrt()) / (2.0 * square);
        if n < 2.0 {
            // Calls of one message alone tell nothing of others: an estimate that once had them be best would keep them for good.
            return 1 + usize::from(self.calls.is_multiple_of(LARGER_OF));
        }
        // Calls of one size would not tell where the best is: every fourth is smaller. At twice the capacity, with n^1.5, the
        // rate served is 0.99 of the best with it and 0.87 without.
        let n = if self.calls.is_multiple_of(4) {
            n * 0.6
        } else {
            n
        };
        (n as usize).max(1)
    }

    /// Moves the guard towards the quantile of `ratio` (Robbins and Monro 1951, in steps of a part of itself).
    fn follow_tail(&mut self, ratio: f64) {
        let step = if ratio > self.guard {
            GUARD_QUANTILE
        } else {
            GUARD_QUANTILE - 1.0
        };
        self.guard = (self.guard * (1.0 + GUARD_STEP * step)).clamp(1.0, GUARD_MAX);
    }

    /// Adds a call to the sums.
    fn add(&mut self, z: &[f64; TERMS], ratio: f64) {
        let keep = 1.0 - 1.0 / WINDOW_CALLS;
        for i in 0..TERMS {
            for j in 0..=i {
                self.square[i][j] = self.square[i][j] * keep + z[i] * z[j];
            }
            self.target[i] = self.target[i] * keep + z[i] * ratio;
        }
    }

    /// Counts calls that are off; after `JUMP_CALLS` on one side scales all costs by the harmonic mean of their ratios, which a
    /// slow outlier among them hardly moves, and lets most of the past go; that also if half of late calls are off on either
    /// side, for then the terms' proportions have changed.
    fn follow_jump(&mut self, ratio: f64, off: bool) {
        let above = ratio > 1.0;
        self.off_part += (f64::from(u8::from(off)) - self.off_part) / OFF_CALLS;
        if !off || above != self.run_above {
            (self.run, self.run_above, self.run_inverse) = (0, above, 0.0);
        }
        if off {
            self.run += 1;
            self.run_inverse += 1.0 / ratio;
        }
        let scale = if self.run >= JUMP_CALLS {
            f64::from(self.run) / self.run_inverse
        } else if self.off_part > OFF_PART_MAX {
            1.0
        } else {
            return;
        };
        (self.run, self.run_inverse, self.off_part) = (0, 0.0, 0.0);
        for i in 0..TERMS {
            self.cost[i] *= scale;
            // As if the calls summed so far had taken that much longer: z falls by the scale, the ratio stays.
            self.target[i] *= JUMP_KEEP / scale;
            self.square[i]
                .iter_mut()
                .for_each(|s| *s *= JUMP_KEEP / (scale * scale));
        }
    }

    /// Solves for the costs. A term that comes out negative is held at zero and the others are solved for again.
    fn solve(&mut self) {
        // In units in which each term weighs 1; a term that has not been seen keeps its cost.
        let units: [f64; TERMS] = std::array::from_fn(|i| self.square[i][i].sqrt());
        let mut free = units.map(|unit| unit > 1e-150);
        for _ in 0..=TERMS {
            let solution = eliminate(self.equations(&units, &free));
            let least = (0..TERMS).min_by(|&a, &b| solution[a].total_cmp(&solution[b]));
            match least.filter(|&i| solution[i] < 0.0) {
                Some(i) => (free[i], self.cost[i]) = (false, 0.0),
                None => {
                    for i in (0..TERMS).filter(|&i| free[i]) {
                        self.cost[i] = solution[i] / units[i];
                    }
                    break;
                }
            }
        }
        assert!(
            self.cost.iter().all(|c| c.is_finite() && *c >= 0.0),
            "costs are times"
        );
    }

    /// The normal equations with the ridge, their right side last; the identity for a term that is held.
    fn equations(&self, units: &[f64; TERMS], free: &[bool; TERMS]) -> [[f64; TERMS + 1]; TERMS] {
        let mut rows = [[0.0; TERMS + 1]; TERMS];
        for i in 0..TERMS {
            rows[i][i] = 1.0 + RIDGE;
            if !free[i] {
                continue;
            }
            for j in (0..i).filter(|&j| free[j]) {
                rows[i][j] = self.square[i][j] / (units[i] * units[j]);
                rows[j][i] = rows[i][j];
            }
            rows[i][TERMS] = self.target[i] / units[i] + RIDGE * self.cost[i] * units[i];
        }
        rows
    }
}

/// Solves linear equations by elimination; no pivoting, for the ridge keeps every pivot at least that large.
fn eliminate(mut rows: [[f64; TERMS + 1]; TERMS]) -> [f64; TERMS] {
    for p in 0..TERMS {
        let pivot = rows[p];
        for row in rows.iter_mut().skip(p + 1) {
            let factor = row[p] / pivot[p];
            row.iter_mut()
                .zip(pivot)
                .for_each(|(r, p)| *r -= factor * p);
        }
    }
    let mut solution = [0.0; TERMS];
    for i in (0..TERMS).rev() {
        let known: f64 = (i + 1..TERMS).map(|j| rows[i][j] * solution[j]).sum();
        solution[i] = (rows[i][TERMS] - known) / rows[i][i];
    }
    solution
}

#[cfg(test)]
mod tests {
    use super::*;

    const US: f64 = 1e3;
    const BUDGET: Duration = Duration::from_millis(10);

    /// splitmix64, in 0..1.
    struct Rng(u64);

    impl Rng {
        fn unit(&mut self) -> f64 {
            self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
            let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
            let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
            ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 53) as f64
        }

        fn below(&mut self, n: usize) -> usize {
            (self.unit() * n as f64) as usize
        }
    }

    fn cost(c: &[f64; TERMS], n: usize, bytes: usize) -> f64 {
        dot(c, &terms(n, bytes))
    }

    /// `calls` calls of 1 to `n_max` messages of 0 to 2000 bytes, with 10 % of noise and 2 % that take ten times as long.
    fn teach(model: &mut CostModel, c: &[f64; TERMS], n_max: usize, calls: usize, rng: &mut Rng) {
        for _ in 0..calls {
            let n = 1 + rng.below(n_max);
            let bytes = n * rng.below(2_000);
            let outlier = if rng.unit() < 0.02 { 10.0 } else { 1.0 };
            let took = cost(c, n, bytes) * (0.9 + 0.2 * rng.unit()) * outlier;
            model.observe(n, bytes, Duration::from_nanos(took as u64));
        }
    }

    /// The mean relative error over sizes up to `n_max`.
    fn error(model: &CostModel, c: &[f64; TERMS], n_max: usize) -> f64 {
        (1..=n_max)
            .map(|n| {
                let expected = model.predict(n, n * 1_000).unwrap().as_nanos() as f64;
                (expected / cost(c, n, n * 1_000) - 1.0).abs()
            })
            .sum::<f64>()
            / n_max as f64
    }

    fn fit(model: &CostModel, waiting: usize, left: Duration) -> usize {
        model
            .fit(
                &std::iter::repeat_n(0, waiting),
                1_024,
                1 << 20,
                left,
                BUDGET,
                None,
            )
            .0
    }

    /// A model that knows calls to cost exactly this.
    fn exact(c: [f64; TERMS]) -> CostModel {
        let mut model = CostModel::new();
        (model.cost, model.calls, model.largest, model.guard) = (c, 1, 1 << 20, 1.0);
        model
    }

    #[test]
    fn nothing_is_predicted_of_nothing_and_guesses_are_small() {
        let mut model = CostModel::new();
        assert_eq!((model.predict(1, 0), model.guarded(1, 0)), (None, None));
        assert_eq!(fit(&model, 0, BUDGET), 0);
        assert_eq!(fit(&model, 1, Duration::ZERO), 1);
        assert_eq!(fit(&model, 1_000, BUDGET), 1_000, "the bounds alone");
        // A call of 1 ms: what is four times as large might take 4 ms, and what is larger is not guessed at.
        model.observe(1, 0, Duration::from_millis(1));
        assert_eq!(fit(&model, 1_000, BUDGET), GROWTH);
        // Of a call of 1 µs, an eighth of the budget is far more than any guess.
        let mut model = CostModel::new();
        model.observe(1, 0, Duration::from_micros(1));
        assert!(fit(&model, 1_000, BUDGET) > 100);
    }

    #[test]
    fn a_best_size_of_one_that_was_wrong_is_left_again() {
        // As learned where the core was lost in the midst of larger calls: two messages would take four times as long as one.
        let mut model = exact([0.0, 0.0, 0.0, 5.0 * US]);
        assert_eq!(fit(&model, 1_000, BUDGET), 1);
        for _ in 0..2_000 {
            let n = fit(&model, 1_000, BUDGET);
            model.observe(n, 0, Duration::from_nanos(5_000 + 50 * n as u64));
        }
        let largest = (0..4).map(|calls| {
            model.calls += calls;
            fit(&model, 1_000, BUDGET)
        });
        assert_eq!(largest.max(), Some(1_000), "{model:?}");
    }

    #[test]
    fn costs_are_learned_within_a_tenth() {
        let mut rng = Rng(1);
        for _ in 0..200 {
            let scale = 10f64.powf(rng.unit() * 4.0);
            let square = if rng.unit() < 0.5 {
                0.0
            } else {
                rng.unit() * scale
            };
            let c = [
                rng.unit() * 50.0 * scale,
                rng.unit() * 10.0 * scale + 10.0,
                rng.unit() * scale / 200.0,
                square,
            ];
            let mut model = CostModel::new();
            teach(&mut model, &c, 64, 300, &mut rng);
            assert!(error(&model, &c, 64) < 0.1, "{c:?} {model:?}");
        }
    }

    #[test]
    fn a_change_is_followed_within_50_calls() {
        let mut rng = Rng(2);
        for [call, message] in [
            [4.0, 4.0],
            [0.25, 0.25],
            [3.0, 3.0],
            [4.0, 1.0],
            [1.0, 4.0],
            [0.25, 1.0],
            [1.0, 0.25],
            [20.0, 20.0],
            [0.05, 0.05],
        ] {
            for _ in 0..20 {
                let c = [200.0 * US, 20.0 * US, 0.0, 0.0];
                let mut model = CostModel::new();
                teach(&mut model, &c, 32, 500, &mut rng);
                let c = [c[0] * call, c[1] * message, 0.0, 0.0];
                teach(&mut model, &c, 32, 50, &mut rng);
                assert!(
                    error(&model, &c, 32) < 0.2,
                    "x{call} x{message}: {} {model:?}",
                    error(&model, &c, 32)
                );
            }
        }
    }

    #[test]
    fn a_steady_state_leaves_what_it_does_not_tell() {
        let mut rng = Rng(3);
        let c = [200.0 * US, 20.0 * US, 0.0, 0.0];
        let mut model = CostModel::new();
        teach(&mut model, &c, 64, 300, &mut rng);
        for _ in 0..20_000 {
            let took = cost(&c, 8, 800) * (0.9 + 0.2 * rng.unit());
            model.observe(8, 800, Duration::from_nanos(took as u64));
        }
        assert!(error(&model, &c, 64) < 0.25, "{model:?}");
    }

    #[test]
    fn single_outliers_move_nothing() {
        let c = [200.0 * US, 20.0 * US, 0.0, 0.0];
        let mut model = CostModel::new();
        teach(&mut model, &c, 32, 500, &mut Rng(4));
        model.observe(8, 8_000, Duration::from_secs(3));
        assert!(error(&model, &c, 32) < 0.1, "{model:?}");
    }

    #[test]
    fn the_guard_covers_most_calls() {
        let mut rng = Rng(5);
        let mut model = CostModel::new();
        let (mut over, calls) = (0, 5_000);
        for i in 0..calls {
            let took = Duration::from_nanos((1e6 * (0.5 + rng.unit() * rng.unit() * 4.0)) as u64);
            over += usize::from(i > 500 && model.guarded(4, 4).unwrap() < took);
            model.observe(4, 4, took);
        }
        let part = over as f64 / calls as f64;
        assert!((0.05..0.15).contains(&part), "{part}");
    }

    #[test]
    fn the_batch_is_the_largest_that_ends_in_time() {
        let model = exact([10.0 * US, 10.0 * US, 0.0, 0.0]);
        assert_eq!(fit(&model, 500, Duration::from_micros(1_010)), 100);
        assert_eq!(fit(&model, 500, Duration::from_micros(1_009)), 99);
        assert_eq!(fit(&model, 50, Duration::from_micros(1_010)), 50);
        assert_eq!(
            fit(&model, 500, Duration::from_micros(50)),
            4,
            "a fifth is fixed cost"
        );
    }

    #[test]
    fn late_or_hardly_to_be_met_the_batch_is_an_ample_one() {
        let model = exact([10.0 * US, 10.0 * US, 0.0, 0.0]);
        let ample = 499;
        assert_eq!(
            fit(&model, 1_024, Duration::ZERO),
            ample,
            "half of the budget"
        );
        assert_eq!(
            fit(&model, 1_024, Duration::from_micros(30)),
            ample,
            "a third of a cut call would be fixed cost"
        );
        let dear = exact([1e3 * US, 10.0 * US, 0.0, 0.0]);
        assert_eq!(fit(&dear, 1_000, Duration::from_micros(2_000)), 1_000);
    }

    #[test]
    fn bounds_hold_and_one_message_always_goes() {
        let model = exact([10.0 * US, 10.0 * US, 0.0, 0.0]);
        let bounded = |messages, bytes, call_max| {
            model
                .fit(
                    &[6, 6, 6].into_iter(),
                    messages,
                    bytes,
                    BUDGET,
                    BUDGET,
                    call_max,
                )
                .0
        };
        assert_eq!(
            [
                bounded(1, 100, None),
                bounded(2, 100, None),
                bounded(9, 17, None),
                bounded(9, 18, None),
                bounded(9, 5, None)
            ],
            [1, 2, 2, 3, 1]
        );
        assert_eq!(bounded(9, 100, Some(Duration::from_micros(30))), 2);
        assert_eq!(bounded(9, 100, Some(Duration::ZERO)), 1);
    }

    #[test]
    fn no_batch_is_larger_than_the_best() {
        let model = exact([400.0 * US, 0.0, 0.0, 1.0 * US]);
        let best = 20.0;
        for left in [
            Duration::ZERO,
            Duration::from_millis(1),
            BUDGET,
            Duration::from_secs(1),
        ] {
            let n = fit(&model, 1_024, left) as f64;
            let rate = |n: f64| n / (400.0 + n * n);
            assert!(
                rate(n) >= rate(best) * (1.0 - PEAK_SLACK) - 1e-3 && n >= best,
                "{n}"
            );
        }
    }

    #[test]
    fn patience_and_call_fill_the_budget() {
        for fixed in [0.0, 10.0, 1e3, 4e3, 1e6] {
            let model = exact([fixed * US, 10.0 * US, 0.0, 0.0]);
            let (patience, call) = (model.patience(BUDGET), model.shedding_call_max(BUDGET));
            assert!(patience >= BUDGET / 8 && patience <= BUDGET);
            assert!(
                patience + call <= BUDGET || fixed > 5e3,
                "{patience:?} {call:?}"
            );
            assert!(call >= model.guarded(1, 0).unwrap() - Duration::from_nanos(1));
        }
        assert!(CostModel::new().patience(BUDGET) <= BUDGET);
    }

    #[test]
    fn any_input_gives_numbers() {
        let mut rng = Rng(6);
        let sizes = [1, 2, 1_024, usize::MAX];
        let times = [
            Duration::ZERO,
            Duration::from_nanos(1),
            Duration::from_micros(7),
            Duration::from_secs(9),
            Duration::MAX,
        ];
        for _ in 0..300 {
            let mut model = CostModel::new();
            let (n, b, t) = (1 + rng.below(4), 1 + rng.below(4), 1 + rng.below(5));
            for _ in 0..200 {
                let bytes = sizes[rng.below(b)].wrapping_add(rng.below(2));
                model.observe(sizes[rng.below(n)], bytes, times[rng.below(t)]);
                let (one, guarded) = (
                    model.predict(1, 0).unwrap(),
                    model.guarded(usize::MAX, usize::MAX).unwrap(),
                );
                assert!(
                    one <= guarded && model.cost.iter().all(|c| c.is_finite() && *c >= 0.0),
                    "{model:?}"
                );
                for left in times {
                    let fits: (usize, usize) = model.fit(
                        &[0, 7, usize::MAX, 9].into_iter(),
                        3,
                        1 << 20,
                        left,
                        left,
                        Some(left),
                    );
                    assert!((1..=3).contains(&fits.0), "{fits:?}");
                    let _ = (model.patience(left), model.shedding_call_max(left));
                }
            }
        }
    }
}
