//! Latency at a steady rate, ours beside native: each request has its time to be sent, fixed in advance, and its latency counts from
//! there, so that neither a stall of the service nor one of the load is hidden.
//!
//! The load rests in `ppoll` between two sends: it shares the cores with server and service. What is due within some 20 µs goes out
//! in one write, for both sides alike.

use std::time::{Duration, Instant};

use millpond_tests::nats::Settings;
use wasmtime::{Result, ensure};

use super::child::Service;
use super::load::Load;
use super::wire::{Wire, number};
use crate::clock;
use crate::cores::{Place, go};
use crate::guest::PAYLOAD_BYTES;
use crate::notes::{note, spread};

const ROUNDS: usize = 3;
/// How long a rate is kept; the first part of it is left out.
const STEADY: Duration = Duration::from_millis(1_000);
const WARM_PART: f64 = 0.2;
/// How long the closed loop runs that tells what a side can do.
const CLOSED: Duration = Duration::from_millis(500);
/// Parts of what the slower side can do in the median, in percent; and the rate of an idle service.
const LEVELS: [f64; 3] = [10.0, 50.0, 80.0];
const IDLE_RATE: f64 = 1_000.0;
/// What is due within this is sent together.
const GRAIN: Duration = Duration::from_micros(20);
const PATIENCE: Duration = Duration::from_secs(30);
/// Digits of a request's number, with which its payload begins.
const DIGITS: usize = 12;
const HEAD: &str = "NATS/1.0\r\nkind: bench\r\n\r\n";

/// A side: its name, role, subject and messages a call.
const SIDES: [(&str, &str, &str, u64); 2] = [
    ("native", "echo-native", "echo.native", 0),
    ("ours", "echo-ours-3", "batch-echo", 256),
];

/// Measures both sides, idle and at each level, in turn.
///
/// # Errors
/// A service failed, or its answers were wrong.
pub fn latency() -> Result<()> {
    go(Place::Anywhere)?;
    let server = Settings::new().start();
    let address = server.address().to_string();
    let mut least = f64::INFINITY;
    for (name, role, subject, batch) in SIDES {
        let mut rates = Vec::new();
        for _ in 0..ROUNDS {
            rates.push(capacity(&address, role, subject, batch)?);
        }
        least = least.min(spread(rates.clone())[1]);
        note(
            "nats latency",
            format!("{name}: capacity"),
            "requests/s",
            rates,
        );
    }
    let levels = LEVELS.map(|percent| (format!("at {percent:.0} %"), least * percent / 100.0));
    for (level, rate) in [("idle".to_owned(), IDLE_RATE)].into_iter().chain(levels) {
        let mut rows = vec![[const { Vec::new() }; 3]; SIDES.len()];
        for _ in 0..ROUNDS {
            for ((_, role, subject, batch), row) in SIDES.iter().zip(&mut rows) {
                let latencies = at(&address, role, subject, *batch, rate)?;
                for (values, quantile) in row.iter_mut().zip([0.5, 0.99, 0.999]) {
                    let place = (latencies.len() - 1) as f64 * quantile;
                    values.push(latencies[place.round() as usize].as_secs_f64() * 1e6);
                }
            }
        }
        for ((name, ..), row) in SIDES.iter().zip(rows) {
            for (values, quantile) in row.into_iter().zip(["p50", "p99", "p99.9"]) {
                note(
                    "nats latency",
                    format!("{name} {level}: {quantile}"),
                    "µs",
                    values,
                );
            }
        }
    }
    Ok(())
}

/// Requests a second with many outstanding.
fn capacity(address: &str, role: &str, subject: &str, batch: u64) -> Result<f64> {
    go(Place::Anywhere)?;
    let _service = Service::start(role, address, subject, batch)?;
    go(Place::Publisher)?;
    let mut load = Load::new(address, subject, true)?;
    load.run(CLOSED / 4)?;
    let asked = load.run(CLOSED)?;
    Ok(asked.messages as f64 / asked.elapsed.as_secs_f64())
}

/// Latencies at this rate, sorted.
fn at(address: &str, role: &str, subject: &str, batch: u64, rate: f64) -> Result<Vec<Duration>> {
    go(Place::Anywhere)?;
    let _service = Service::start(role, address, subject, batch)?;
    go(Place::Publisher)?;
    let mut open = Open::new(address, subject)?;
    let mut latencies = open.run(rate)?;
    let warm = (latencies.len() as f64 * WARM_PART) as usize;
    let mut latencies = latencies.split_off(warm);
    latencies.sort();
    Ok(latencies)
}

/// The load.
struct Open {
    wire: Wire,
    request: Vec<u8>,
}

impl Open {
    fn new(address: &str, subject: &str) -> Result<Self> {
        let mut wire = Wire::connect(address)?;
        let inbox = format!("_INBOX.open-{subject}.1");
        wire.say(&format!("SUB {inbox} 1"));
        wire.settle()?;
        let (head, all) = (HEAD.len(), HEAD.len() + PAYLOAD_BYTES);
        let mut request = format!("HPUB {subject} {inbox} {head} {all}\r\n{HEAD}").into_bytes();
        request.extend_from_slice(&[b'x'; PAYLOAD_BYTES]);
        request.extend_from_slice(b"\r\n");
        Ok(Self { wire, request })
    }

    /// Sends at this rate; the latency of each request, in their order.
    fn run(&mut self, rate: f64) -> Result<Vec<Duration>> {
        let count = (rate * STEADY.as_secs_f64()) as usize;
        let mut latencies = vec![None; count];
        let (mut sent, mut came, mut wrong) = (0, 0, 0);
        let begun = clock::now();
        let due = |number: usize| begun + Duration::from_secs_f64(number as f64 / rate);
        while came < count {
            let now = clock::now();
            ensure!(now - begun < PATIENCE, "{came} of {count} answers came");
            while sent < count && due(sent) <= now + GRAIN / 2 {
                self.ask(sent);
                sent += 1;
            }
            self.wire.flush()?;
            let until = if sent < count {
                due(sent)
            } else {
                now + PATIENCE
            };
            if !self.wire.fill_within(wait(until, clock::now()))? {
                continue;
            }
            let at = clock::now();
            self.wire.drain(|answer, _| {
                let number = number(&answer.payload[..DIGITS]);
                let is_new = latencies.get(number).is_some_and(Option::is_none);
                if !is_new || answer.payload.len() != PAYLOAD_BYTES {
                    wrong += 1;
                    return;
                }
                latencies[number] = Some(at.saturating_duration_since(due(number)));
                came += 1;
            })?;
        }
        ensure!(wrong == 0, "{wrong} answers were not what was asked");
        Ok(latencies.into_iter().flatten().collect())
    }

    /// Adds the request of this number to what is sent.
    fn ask(&mut self, number: usize) {
        let at = self.request.len() - 2 - PAYLOAD_BYTES;
        let digits = format!("{number:0DIGITS$}");
        self.request[at..at + DIGITS].copy_from_slice(digits.as_bytes());
        self.wire.out.extend_from_slice(&self.request);
    }
}

/// How long to rest.
fn wait(until: Instant, now: Instant) -> Duration {
    until.saturating_duration_since(now).max(GRAIN)
}
