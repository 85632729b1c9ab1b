//! Many runs, a seed each, on several threads; and one run again.

use std::cell::RefCell;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Once;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::draw;
use crate::drive::{self, Ran};
use crate::tally::Tally;
use crate::world::START;

/// Which seeds are run.
#[derive(Debug, Clone, Copy)]
pub struct Seeds {
    /// The first.
    pub from: u64,
    /// How many at least.
    pub count: u64,
    /// For how long at least.
    pub time: Duration,
    /// Threads that run them.
    pub threads: usize,
}

/// A run in which a promise was broken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// The run.
    pub seed: u64,
    /// What was broken.
    pub why: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seed, why } = self;
        write!(
            f,
            "seed {seed}: {why}\nreplay it: cargo run -p millpond-sim -- replay {seed}"
        )
    }
}

/// Runs seeds until they, and the time, are over or one fails: of several failures the one with the lowest seed.
///
/// # Errors
/// The failed run.
pub fn run(seeds: Seeds, progress: impl Fn(u64) + Sync) -> Result<Tally, Failure> {
    quieten();
    let until = real_now() + seeds.time;
    let next = AtomicU64::new(seeds.from);
    let failed = AtomicU64::new(u64::MAX);
    let work = || one_thread(seeds, until, &next, &failed, &progress);
    let results = thread::scope(|scope| {
        let threads: Vec<_> = (0..seeds.threads.max(1))
            .map(|_| scope.spawn(work))
            .collect();
        let join =
            |t: thread::ScopedJoinHandle<'_, _>| t.join().expect("a run's panics are caught in it");
        threads
            .into_iter()
            .map(join)
            .collect::<Vec<Result<Tally, Failure>>>()
    });
    let mut total = Tally::default();
    let mut first: Option<Failure> = None;
    for result in results {
        match result {
            Ok(tally) => total.add(&tally),
            Err(failure) if first.as_ref().is_none_or(|f| failure.seed < f.seed) => {
                first = Some(failure)
            }
            Err(_) => {}
        }
    }
    first.map_or(Ok(total), Err)
}

/// The clock of this machine, by which long runs are ended.
#[allow(
    clippy::disallowed_methods,
    reason = "how long to run is asked for in real time"
)]
fn real_now() -> Instant {
    Instant::now()
}

fn one_thread(
    seeds: Seeds,
    until: Instant,
    next: &AtomicU64,
    failed: &AtomicU64,
    progress: &(impl Fn(u64) + Sync),
) -> Result<Tally, Failure> {
    let mut total = Tally::default();
    loop {
        let seed = next.fetch_add(1, Ordering::Relaxed);
        let over = seed - seeds.from >= seeds.count && real_now() >= until;
        // A lower seed than one that failed is still run: the lowest is told.
        if over || seed >= failed.load(Ordering::Relaxed) {
            return Ok(total);
        }
        match one(seed, false) {
            Ok(ran) => total.add(&ran.tally),
            Err(why) => {
                failed.fetch_min(seed, Ordering::Relaxed);
                return Err(Failure { seed, why });
            }
        }
        progress(seed - seeds.from + 1);
    }
}

/// Runs one seed again, and prints what happens in it. A number that stands for all that happened.
///
/// # Errors
/// The broken promise.
pub fn replay(seed: u64, prints: bool) -> Result<u64, Failure> {
    quieten();
    if prints {
        println!("{:#?}", Shown(seed));
    }
    let ran = one(seed, prints).map_err(|why| Failure { seed, why })?;
    if prints {
        println!(
            "all promises kept: {} in {:?} of its time",
            ran.tally, ran.lasted
        );
    }
    Ok(ran.hash)
}

/// A seed's scenario, without its messages and packs.
struct Shown(u64);

impl fmt::Debug for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut scenario = draw::scenario(self.0);
        scenario.specs = [].into();
        scenario.packs.clear();
        scenario.fmt(f)
    }
}

thread_local! {
    /// What the last panic in a run on this thread said; `None` outside of runs.
    static PANIC: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Keeps what panics in runs say for their report; all others are told as ever.
fn quieten() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let usual = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            let in_run = PANIC.with_borrow_mut(|said| match said {
                Some(said) => {
                    *said = info.to_string();
                    true
                }
                None => false,
            });
            if !in_run {
                usual(info);
            }
        }));
    });
}

/// One run: a panic in it is a broken promise too.
fn one(seed: u64, prints: bool) -> Result<Ran, String> {
    PANIC.set(Some(String::new()));
    let result = catch_unwind(AssertUnwindSafe(|| {
        drive::run(&draw::scenario(seed), START, prints)
    }));
    let said = PANIC.take().unwrap_or_default();
    result.unwrap_or(Err(said))
}
