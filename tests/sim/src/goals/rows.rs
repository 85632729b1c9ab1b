//! The rows of the goals experiment: what arrives, what a call costs, and what budget a message has.
//!
//! Everything is a pure function of a seed. A trace at another rate is the same random draws on another scale: the k-th
//! message of a unit-rate Poisson process is mapped through the inverse of the integrated rate (time change; Çinlar,
//! "Introduction to Stochastic Processes", 4.7), so that a search over rates compares like with like.

/// One message of a trace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Arrival {
    pub(crate) at_ns: u64,
    pub(crate) handler: usize,
    pub(crate) bytes: usize,
}

/// splitmix64 (Steele, Lea, Flood 2014): every output is a hash of a counter.
#[derive(Clone)]
pub(crate) struct Rng(pub u64);

impl Rng {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// In (0, 1].
    pub(crate) fn unit(&mut self) -> f64 {
        ((self.next() >> 11) + 1) as f64 / (1u64 << 53) as f64
    }

    pub(crate) fn exponential(&mut self) -> f64 {
        -self.unit().ln()
    }

    /// Standard normal, by Box and Muller.
    pub(crate) fn normal(&mut self) -> f64 {
        (-2.0 * self.unit().ln()).sqrt() * (std::f64::consts::TAU * self.unit()).cos()
    }
}

/// How the rate of arrivals changes, in units of the handler's first budget; the mean is 1.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Shape {
    Poisson,
    /// Exponential on and off periods of these means; nothing arrives in the off ones.
    OnOff(f64, f64),
    /// From 0.2 to 1.8 of the mean and back at once, with this period.
    Sawtooth(f64),
}

/// Bytes of a message.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Sizes {
    Constant(usize),
    /// Pareto with this shape, smallest and largest.
    Pareto(f64, f64, f64),
    /// One of two, the second with this probability.
    Either(usize, usize, f64),
}

/// What a call costs before noise and modes, in ns: `call + message * n^power + byte * bytes`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cost {
    pub(crate) call: f64,
    pub(crate) message: f64,
    pub(crate) byte: f64,
    pub(crate) power: f64,
}

impl Cost {
    pub(crate) fn mean(&self, n: usize, bytes: f64) -> f64 {
        let n = n as f64;
        let scaled = if self.power == 1.0 {
            n
        } else {
            n.powf(self.power)
        };
        self.call + self.message * scaled + self.byte * bytes
    }
}

/// How the cost of a call changes over time.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Mode {
    Steady,
    /// x1 and x this, with exponential periods of this many budgets.
    Switch(f64, f64),
    /// x this from the middle of the trace.
    Step(f64),
}

/// Noise on a call: log-normal of this sigma, and with this probability x this.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Noise {
    pub(crate) sigma: f64,
    pub(crate) outlier_p: f64,
    pub(crate) outlier_x: f64,
}

impl Noise {
    /// The mean of the factor.
    pub(crate) fn mean(&self) -> f64 {
        (self.sigma * self.sigma / 2.0).exp() * (1.0 + self.outlier_p * (self.outlier_x - 1.0))
    }
}

pub(crate) const QUIET: Noise = Noise {
    sigma: 0.1,
    outlier_p: 0.002,
    outlier_x: 3.0,
};

/// One handler of a row.
#[derive(Debug, Clone)]
pub(crate) struct Handler {
    pub(crate) budget_ns: u64,
    /// Part of the row's messages.
    pub(crate) share: f64,
    pub(crate) sizes: Sizes,
    pub(crate) cost: Cost,
}

/// One row of the table.
#[derive(Debug, Clone)]
pub(crate) struct Row {
    pub(crate) name: &'static str,
    pub(crate) handlers: Vec<Handler>,
    pub(crate) shape: Shape,
    pub(crate) mode: Mode,
    pub(crate) noise: Noise,
    /// Length of a trace, in the longest budget.
    pub(crate) budgets: f64,
    /// When the mode changes, in ns; made once from the seed.
    switches: Vec<u64>,
    seed: u64,
}

impl Row {
    /// Poisson arrivals, steady costs with little noise, 1,500 budgets long; the rest is said with the methods below.
    fn new(name: &'static str, handlers: Vec<Handler>, seed: u64) -> Self {
        Self {
            name,
            handlers,
            shape: Shape::Poisson,
            mode: Mode::Steady,
            noise: QUIET,
            budgets: 1_500.0,
            switches: Vec::new(),
            seed,
        }
    }

    fn shape(self, shape: Shape) -> Self {
        Self { shape, ..self }
    }

    fn noise(self, noise: Noise) -> Self {
        Self { noise, ..self }
    }

    fn budgets(self, budgets: f64) -> Self {
        Self { budgets, ..self }
    }

    /// The mode of its costs; last, since when it changes depends on the rest.
    fn mode(self, mode: Mode) -> Self {
        let row = Self { mode, ..self };
        let switches = row.switch_times();
        Self { switches, ..row }
    }

    fn unit_ns(&self) -> f64 {
        self.handlers.iter().map(|h| h.budget_ns).max().unwrap_or(0) as f64
    }

    pub(crate) fn length_ns(&self) -> f64 {
        self.unit_ns() * self.budgets
    }

    fn switch_times(&self) -> Vec<u64> {
        match self.mode {
            Mode::Steady => Vec::new(),
            Mode::Step(_) => vec![(self.length_ns() / 2.0) as u64],
            Mode::Switch(_, period) => {
                let mut rng = Rng(self.seed ^ 0x5157);
                let mut at = 0.0;
                let mut all = Vec::new();
                while at < self.length_ns() * 4.0 {
                    at += (0.5 + 0.5 * rng.exponential()) * period * self.unit_ns();
                    all.push(at as u64);
                }
                all
            }
        }
    }

    /// Mean bytes of a message of `handler`.
    pub(crate) fn bytes_mean(&self, handler: usize) -> f64 {
        match self.handlers[handler].sizes {
            Sizes::Constant(b) => b as f64,
            Sizes::Pareto(a, low, high) => {
                // Mean of a Pareto truncated by clamping at `high`.
                low * (a - (low / high).powf(a - 1.0)) / (a - 1.0)
            }
            Sizes::Either(a, b, p) => a as f64 * (1.0 - p) + b as f64 * p,
        }
    }

    /// The best messages per ns of `handler` alone while calls cost x `slow`, with calls of at most `messages_max` messages that
    /// last at most `call_max_ns` in the mean.
    pub(crate) fn capacity(
        &self,
        handler: usize,
        messages_max: usize,
        call_max_ns: f64,
        slow: f64,
    ) -> f64 {
        let (h, bytes) = (&self.handlers[handler], self.bytes_mean(handler));
        let slow = slow * self.noise.mean();
        (1..=messages_max)
            .map(|n| (n, slow * h.cost.mean(n, bytes * n as f64)))
            .filter(|&(n, c)| c <= call_max_ns || n == 1)
            .map(|(n, c)| n as f64 / c)
            .fold(0.0, f64::max)
    }

    /// A rate (messages per ns, all handlers) that nothing can reach for long: 1.1 x what calls of any length would serve.
    pub(crate) fn rate_top(&self) -> f64 {
        let busy: f64 = (0..self.handlers.len())
            .map(|h| self.handlers[h].share / self.capacity(h, 1 << 14, f64::MAX, 1.0))
            .sum();
        1.1 / busy
    }

    /// The trace at `rate` messages per ns in the mean; the same draws at every rate.
    pub(crate) fn arrivals(&self, rate: f64) -> Vec<Arrival> {
        let mut rng = Rng(self.seed);
        let mut clock = Clock::new(self.shape, self.unit_ns(), self.seed ^ 0xC10C);
        let mut all = Vec::with_capacity((rate * self.length_ns() * 1.1) as usize);
        let mut mass = 0.0;
        loop {
            mass += rng.exponential() / rate;
            let at = clock.at(mass);
            if at >= self.length_ns() {
                return all;
            }
            let handler = self.pick(rng.unit());
            let bytes = self.bytes(handler, rng.unit());
            all.push(Arrival {
                at_ns: at as u64,
                handler,
                bytes,
            });
        }
    }

    fn pick(&self, u: f64) -> usize {
        let mut sum = 0.0;
        for (i, h) in self.handlers.iter().enumerate() {
            sum += h.share;
            if u <= sum {
                return i;
            }
        }
        self.handlers.len() - 1
    }

    fn bytes(&self, handler: usize, u: f64) -> usize {
        match self.handlers[handler].sizes {
            Sizes::Constant(b) => b,
            Sizes::Pareto(a, low, high) => (low * u.powf(-1.0 / a)).min(high) as usize,
            Sizes::Either(a, b, p) => {
                if u <= p {
                    b
                } else {
                    a
                }
            }
        }
    }

    /// What the `call`-th call of the run takes, in ns, if it starts at `at_ns` with `n` messages of `bytes` in all.
    pub(crate) fn service(
        &self,
        handler: usize,
        n: usize,
        bytes: usize,
        at_ns: u64,
        call: u64,
    ) -> u64 {
        let mut rng = Rng(self.seed.wrapping_mul(31) ^ call.wrapping_mul(0xD134_2543_DE82_EF95));
        let mut x = (self.noise.sigma * rng.normal()).exp();
        if rng.unit() < self.noise.outlier_p {
            x *= self.noise.outlier_x;
        }
        let changes = self.switches.partition_point(|&s| s <= at_ns);
        if let (Mode::Switch(slow, _) | Mode::Step(slow), 1) = (self.mode, changes % 2) {
            x *= slow;
        }
        (self.handlers[handler].cost.mean(n, bytes as f64) * x) as u64
    }
}

/// Maps the integral of the rate's shape back to time.
struct Clock {
    shape: Shape,
    unit: f64,
    rng: Rng,
    /// Start of the current period (time, mass), and its length when on.
    time: f64,
    mass: f64,
    on: f64,
}

impl Clock {
    fn new(shape: Shape, unit: f64, seed: u64) -> Self {
        let mut clock = Self {
            shape,
            unit,
            rng: Rng(seed),
            time: 0.0,
            mass: 0.0,
            on: 0.0,
        };
        if let Shape::OnOff(on, _) = shape {
            clock.on = clock.rng.exponential() * on * unit;
        }
        clock
    }

    /// When the integral of the shape reaches `mass` (ns at the mean rate); `mass` never falls from call to call.
    fn at(&mut self, mass: f64) -> f64 {
        match self.shape {
            Shape::Poisson => mass,
            Shape::OnOff(on, off) => {
                let height = (on + off) / on;
                while mass > self.mass + self.on * height {
                    self.mass += self.on * height;
                    self.time += self.on + self.rng.exponential() * off * self.unit;
                    self.on = self.rng.exponential() * on * self.unit;
                }
                self.time + (mass - self.mass) / height
            }
            Shape::Sawtooth(period) => {
                let p = period * self.unit;
                let (whole, part) = ((mass / p).floor(), mass / p - (mass / p).floor());
                // The integral over a period is 0.2 u + 0.8 u^2 (u in 0..1): solved for u.
                let u = (-0.2 + (0.04 + 3.2 * part).sqrt()) / 1.6;
                (whole + u) * p
            }
        }
    }
}

const US: f64 = 1e3;

fn one(
    budget_us: u64,
    sizes: Sizes,
    call_us: f64,
    message_us: f64,
    byte_ns: f64,
    power: f64,
) -> Vec<Handler> {
    let cost = Cost {
        call: call_us * US,
        message: message_us * US,
        byte: byte_ns,
        power,
    };
    vec![Handler {
        budget_ns: budget_us * 1_000,
        share: 1.0,
        sizes,
        cost,
    }]
}

/// Every row of the table.
pub(crate) fn rows(seed: u64) -> Vec<Row> {
    use Shape::{OnOff, Sawtooth};
    let small = Sizes::Constant(100);
    let pareto = Sizes::Pareto(1.5, 1_000.0, 256_000.0);
    let noisy = Noise {
        sigma: 0.5,
        outlier_p: 0.005,
        outlier_x: 6.0,
    };
    let two = vec![
        Handler {
            share: 0.6,
            ..one(2_000, small, 100.0, 40.0, 0.0, 1.0)[0].clone()
        },
        Handler {
            share: 0.4,
            ..one(20_000, small, 500.0, 60.0, 0.0, 1.0)[0].clone()
        },
    ];
    let row = |name, handlers| Row::new(name, handlers, seed);
    let bursts = OnOff(4.0, 12.0);
    let by_size = Sizes::Either(100, 10_000, 0.3);
    vec![
        row("poisson, cheap", one(200, small, 20.0, 1.0, 0.0, 1.0)),
        row("poisson, linear", one(5_000, small, 25.0, 50.0, 0.0, 1.0)),
        row(
            "poisson, dear call",
            one(10_000, small, 3_000.0, 50.0, 0.0, 1.0),
        )
        .budgets(6_000.0),
        row("poisson, noisy", one(10_000, small, 300.0, 50.0, 0.0, 1.0))
            .noise(noisy)
            .budgets(4_500.0),
        row("on/off bursts", one(5_000, small, 100.0, 20.0, 0.0, 1.0))
            .shape(bursts)
            .budgets(4_000.0),
        row(
            "on/off, dear call",
            one(20_000, small, 4_000.0, 100.0, 0.0, 1.0),
        )
        .shape(bursts)
        .budgets(16_000.0),
        row(
            "heavy-tailed sizes",
            one(50_000, pareto, 500.0, 100.0, 50.0, 1.0),
        ),
        row(
            "two modes x1 x3",
            one(20_000, small, 1_000.0, 100.0, 0.0, 1.0),
        )
        .budgets(5_000.0)
        .mode(Mode::Switch(3.0, 50.0)),
        row("step x4", one(10_000, small, 200.0, 20.0, 0.0, 1.0)).mode(Mode::Step(4.0)),
        row("sawtooth rate", one(1_000, small, 20.0, 5.0, 0.0, 1.0)).shape(Sawtooth(50.0)),
        row(
            "superlinear n^1.5",
            one(20_000, small, 500.0, 20.0, 0.0, 1.5),
        ),
        row("superlinear n^2", one(5_000, small, 200.0, 1.0, 0.0, 2.0)),
        row("per byte", one(5_000, by_size, 50.0, 2.0, 5.0, 1.0)),
        row("two handlers", two).budgets(1_000.0),
    ]
}
