//! Latency at a steady rate, ours beside native: each request has its time to be sent, fixed in advance, and its latency counts from
//! there, so that neither a stall of the service nor one of the load is hidden.
//!
//! The load rests in `ppoll` between two sends: it shares the cores with server and service. What is due within some 20 µs goes out
//! in one write, for both sides alike.
//!
//! A rate may be more than a side can do with this load: then requests wait, and some may be shed. Up to half of the capacity every answer
//! must come; above it those that don't are counted and noted as shed, and quantiles are of the answers that came. What is missing of ours
//! must be what the engine says that it has shed: anything else was lost, and ends the part. The native service counts nothing.

use std::time::{Duration, Instant};

use wasmtime::{Result, ensure};

use super::child::Service;
use super::load::Load;
use super::wire::{Wire, number};
use crate::clock;
use crate::cores::{Place, go};
use crate::guest::PAYLOAD_BYTES;
use crate::notes::{note, spread};
use crate::scale::Scale;

/// Rounds; those of the capacity and of the levels that no goal needs are fewer.
const ROUNDS: usize = 9;
const ROUNDS_OTHER: usize = 5;
/// How long a rate is kept; the first part of it is left out.
const STEADY: Duration = Duration::from_millis(1_000);
const WARM_PART: f64 = 0.2;
/// How long the closed loop runs that tells what a side can do.
const CLOSED: Duration = Duration::from_millis(500);
/// Parts of what the slower side can do in the median, in percent, with their rounds; and the rate of an idle service.
const LEVELS: [(f64, usize); 3] = [(10.0, ROUNDS_OTHER), (50.0, ROUNDS), (80.0, ROUNDS_OTHER)];
const IDLE_RATE: f64 = 1_000.0;
/// Up to this part of it, in percent, every answer must come.
const ALL_ANSWERED_MAX: f64 = 50.0;
/// How long no answer may come, once all is sent, until those that are missing are counted as shed: twice what a message may wait at ours.
const SILENCE: Duration = Duration::from_secs(2);
/// What is due within this is sent together.
const GRAIN: Duration = Duration::from_micros(20);
const PATIENCE: Duration = Duration::from_secs(30);
/// Digits of a request's number, with which its payload begins.
const DIGITS: usize = 12;
const HEAD: &str = "NATS/1.0\r\nkind: bench\r\n\r\n";

/// A side: its name, role, subject and messages a call, none where it is no engine.
const SIDES: [(&str, &str, &str, u64); 2] = [
    ("native", "echo-native", "echo.native", 0),
    ("ours", "open-ours-3", "batch-echo", 256),
];

/// Measures both sides, idle and at each level, in turn.
///
/// # Errors
/// A service failed, or its answers were wrong.
pub fn latency(scale: Scale) -> Result<()> {
    let server = super::server()?;
    let address = server.address().to_string();
    let mut least = f64::INFINITY;
    for (name, role, subject, batch) in SIDES {
        let mut rates = Vec::new();
        for _ in 0..scale.rounds(ROUNDS_OTHER) {
            let closed = scale.time(CLOSED);
            rates.push(capacity(&address, role, subject, batch, closed)?);
        }
        least = least.min(spread(rates.clone())[1]);
        note(
            "nats latency",
            format!("{name}: capacity"),
            "requests/s",
            rates,
        );
    }
    let steady = |name: &str, rate, rounds| {
        let level = Level {
            name,
            rate,
            all_answered: rate <= least * ALL_ANSWERED_MAX / 100.0,
            rounds: scale.rounds(rounds),
            time: scale.time(STEADY),
        };
        level.measure(&address)
    };
    steady("idle", IDLE_RATE, ROUNDS)?;
    for (percent, rounds) in LEVELS {
        let rate = least * percent / 100.0;
        steady(&format!("at {percent:.0} %"), rate, rounds)?;
    }
    Ok(())
}

/// A rate that both sides have, in turn.
struct Level<'a> {
    name: &'a str,
    rate: f64,
    /// Whether all of the answers must come.
    all_answered: bool,
    rounds: usize,
    time: Duration,
}

impl Level<'_> {
    fn measure(&self, address: &str) -> Result<()> {
        let level = self.name;
        let mut rows = vec![[const { Vec::new() }; 4]; SIDES.len()];
        for _ in 0..self.rounds {
            for ((name, role, subject, batch), row) in SIDES.iter().zip(&mut rows) {
                let answered = at(address, role, subject, *batch, (self.rate, self.time))?;
                let (shed, asked) = (answered.shed, answered.asked);
                ensure!(
                    shed == 0 || !self.all_answered,
                    "{name} {level}: {shed} of {asked} requests were shed"
                );
                let shed = shed as f64 * 100.0 / asked as f64;
                let values = [0.5, 0.99, 0.999].map(|quantile| answered.micros(quantile));
                let values = values.into_iter().chain([shed]);
                row.iter_mut().zip(values).for_each(|(row, v)| row.push(v));
            }
        }
        for ((side, ..), row) in SIDES.iter().zip(rows) {
            for (values, name) in row.into_iter().zip(["p50", "p99", "p99.9", "shed"]) {
                let is_part = name == "shed";
                let unit = if is_part { "% of requests" } else { "µs" };
                let case = format!("{side} {level}: {name}");
                note("nats latency", case, unit, values);
            }
        }
        Ok(())
    }
}

/// Requests a second with many outstanding.
fn capacity(address: &str, role: &str, subject: &str, batch: u64, closed: Duration) -> Result<f64> {
    go(Place::Anywhere)?;
    let _service = Service::start(role, address, subject, batch)?;
    go(Place::Publisher)?;
    let mut load = Load::new(address, subject, true)?;
    load.run(closed / 4)?;
    let asked = load.run(closed)?;
    Ok(asked.messages as f64 / asked.elapsed.as_secs_f64())
}

/// What a side has made of the requests of one rate.
struct Answered {
    /// Latencies of the answers, without those of the first requests; sorted.
    latencies: Vec<Duration>,
    asked: usize,
    /// Requests without an answer.
    shed: usize,
}

impl Answered {
    fn micros(&self, quantile: f64) -> f64 {
        let place = self.latencies.len().saturating_sub(1) as f64 * quantile;
        let at = self.latencies.get(place.round() as usize);
        at.map_or(f64::NAN, |latency| latency.as_secs_f64() * 1e6)
    }
}

/// One side at a rate for a time. What an engine has not answered it must have shed, by its own count.
fn at(
    address: &str,
    role: &str,
    subject: &str,
    batch: u64,
    (rate, time): (f64, Duration),
) -> Result<Answered> {
    go(Place::Anywhere)?;
    let mut service = Service::start(role, address, subject, batch)?;
    go(Place::Publisher)?;
    let all = Open::new(address, subject)?.run(rate, time)?;
    let (asked, warm) = (all.len(), (all.len() as f64 * WARM_PART) as usize);
    let shed = all.iter().filter(|latency| latency.is_none()).count();
    let counted = service.usage()?.shed;
    let is_engine = batch > 0;
    ensure!(
        !is_engine || counted == shed as u64,
        "{role}: {shed} of {asked} answers did not come, and it says that it shed {counted}"
    );
    let mut latencies: Vec<_> = all.into_iter().skip(warm).flatten().collect();
    ensure!(
        !latencies.is_empty(),
        "{role}: none of {asked} answers came"
    );
    latencies.sort();
    Ok(Answered {
        latencies,
        asked,
        shed,
    })
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

    /// Sends at this rate for so long; the latency of each request, in their order, and none where no answer came.
    fn run(&mut self, rate: f64, time: Duration) -> Result<Vec<Option<Duration>>> {
        let count = (rate * time.as_secs_f64()) as usize;
        let mut latencies = vec![None; count];
        let (mut sent, mut came, mut wrong) = (0, 0, 0);
        let begun = clock::now();
        let mut heard = begun;
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
                heard = now;
                due(sent)
            } else {
                heard + SILENCE
            };
            if !self.wire.fill_within(wait(until, clock::now()))? {
                if sent == count && clock::now() >= heard + SILENCE {
                    break;
                }
                continue;
            }
            let at = clock::now();
            heard = at;
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
        Ok(latencies)
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
