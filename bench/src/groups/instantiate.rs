//! Fresh instances, called once each: store, instance, call, drop; on one thread and on two, by allocator.
//!
//! The guest has an image of 64 KiB and touches 8 pages a call, so the reset of what was written is a good part of it. The two threads share
//! one Wasmtime engine, each on a core of its own, as two shards do.
//!
//! `ours` is a loop as the others are, with the pool's settings that the engine makes and the reset that it chooses here: neither its shard nor
//! its pond is in it. Beside it stand the same settings with each way of resetting.
//!
//! Last, what a large call leaves behind: a page that was written once stays in its slot, and is written again by each later reset, whatever
//! that call wrote. So a slot that has had a call of 1,024 messages makes fewer calls of one.

use std::time::Duration;

use wasmtime::component::{
    Component, ComponentExportIndex, ComponentType, InstancePre, Lift, Linker, WasmList,
};
use wasmtime::error::Context as _;
use wasmtime::{Engine, Result, Store, ensure};

use super::touch;
use crate::clock;
use crate::cores::{Place, go};
use crate::guest::Guest;
use crate::notes::note;
use crate::raw::Allocator;
use crate::reset;
use crate::scale::Scale;

/// Rounds of each, in turn.
const ROUNDS: usize = 7;
/// How long one takes.
const ROUND: Duration = Duration::from_millis(150);
/// Calls between two looks at the clock.
const CALLS_A_LOOK: u64 = 32;

/// What the guest gives back: nothing that is sent.
#[derive(ComponentType, Lift)]
#[component(record)]
struct Answer {
    arena: WasmList<u8>,
    index: WasmList<u32>,
}

/// A component in one allocator, ready to be instantiated.
struct Touch {
    engine: Engine,
    pre: InstancePre<()>,
    handle: ComponentExportIndex,
}

impl Touch {
    fn new(allocator: Allocator, component: &[u8]) -> Result<Self> {
        let engine = allocator.engine()?;
        let component = Component::from_binary(&engine, component)?;
        let export = |within, name| component.get_export_index(within, name);
        let handler = export(None, "millpond:batch/handler@0.1.0").context("no interface")?;
        let handle = export(Some(&handler), "handle").context("no function")?;
        let pre = Linker::new(&engine).instantiate_pre(&component)?;
        Ok(Self {
            engine,
            pre,
            handle,
        })
    }

    /// One call of a message.
    fn once(&self) -> Result<()> {
        self.call((b"touchx", &[0, 5, 0, 0, 1, 0]))
    }

    /// One call of a batch that is laid out.
    fn call(&self, batch: (&[u8], &[u32])) -> Result<()> {
        type Returned = (Result<Answer, String>,);
        let mut store = Store::new(&self.engine, ());
        store.set_epoch_deadline(u64::MAX / 2);
        let instance = self.pre.instantiate(&mut store)?;
        let func = instance.get_typed_func::<(&[u8], &[u32]), Returned>(&mut store, self.handle)?;
        let (answer,) = func.call(&mut store, batch)?;
        let answer = answer.map_err(|why| wasmtime::format_err!("the guest failed: {why}"))?;
        ensure!(
            answer.arena.len() + answer.index.len() == 0,
            "another answer"
        );
        Ok(())
    }

    /// Instances a second on this thread.
    fn run(&self, place: Place, round: Duration) -> Result<f64> {
        go(place)?;
        let (begun, mut calls) = (clock::now(), 0);
        while calls % CALLS_A_LOOK != 0 || clock::now() - begun < round {
            self.once()?;
            calls += 1;
        }
        Ok(calls as f64 / (clock::now() - begun).as_secs_f64())
    }

    /// Instances a second on so many threads together. Two begin together, as the shards of an engine do: Wasmtime gives threads the parts of
    /// its pool in turn, and two that share one wait for each other.
    fn rate(&self, threads: usize, round: Duration) -> Result<f64> {
        const PLACES: [Place; 2] = [Place::Shard, Place::Publisher];
        std::thread::scope(|scope| {
            let threads = PLACES[..threads]
                .iter()
                .map(|place| scope.spawn(|| self.run(*place, round)));
            let threads: Vec<_> = threads.collect();
            let rates = threads
                .into_iter()
                .map(|thread| thread.join().expect("a thread that measures"));
            rates.sum()
        })
    }
}

/// Messages of the large call, and bytes of each.
const LARGE: (usize, usize) = (1_024, 128);

/// Calls of one message in a slot that has had a large one ÷ in one that has not: a new pool each round, whose one slot in use is the same.
fn after_a_large_call(scale: Scale) -> Result<()> {
    let (messages, bytes) = LARGE;
    let counter = std::fs::read(Guest::BatchCounter.path())?;
    let arena = vec![b'x'; messages * bytes];
    let row = |n: usize| [n * bytes, 1, 0, 0, bytes - 1, 0].map(|number| number as u32);
    let index: Vec<u32> = (0..messages).flat_map(row).collect();
    let round = |_| {
        let side = Touch::new(Allocator::Ours(reset::chosen()?), &counter)?;
        let rate = || side.run(Place::Shard, scale.time(ROUND));
        rate()?;
        let before = rate()?;
        side.call((&arena, &index))?;
        Ok(rate()? / before)
    };
    let rounds = (0..scale.rounds(ROUNDS)).map(round);
    let rounds = rounds.collect::<Result<Vec<_>>>()?;
    let case = format!("one message a call, after a call of {messages} in its slot ÷ before");
    note("slots", case, "of the rate", rounds);
    Ok(())
}

/// Measures all allocators that this machine has.
///
/// # Errors
/// A call failed.
pub fn measure(scale: Scale) -> Result<()> {
    let component = touch::component()?;
    let all = Allocator::ALL.into_iter().filter(|a| a.is_available());
    let all = all.map(|allocator| (allocator.name(), allocator));
    let ours = ("ours", Allocator::Ours(reset::chosen()?));
    let mut sides = Vec::new();
    for (name, allocator) in all.chain([ours]) {
        sides.push((name, Touch::new(allocator, &component)?));
    }
    for threads in [1, 2] {
        let mut rounds = vec![Vec::new(); sides.len()];
        for round in 0..=scale.rounds(ROUNDS) {
            for ((_, side), rates) in sides.iter().zip(&mut rounds) {
                let rate = side.rate(threads, scale.time(ROUND))?;
                // The first warms up.
                if round > 0 {
                    rates.push(rate);
                }
            }
        }
        let count = if threads == 1 {
            "1 thread"
        } else {
            "2 threads"
        };
        for ((name, _), rates) in sides.iter().zip(rounds) {
            note(
                "instantiate",
                format!("{name}, {count}"),
                "instances/s",
                rates,
            );
        }
    }
    after_a_large_call(scale)?;
    go(Place::Anywhere)
}

#[cfg(test)]
mod tests {
    use super::*;
    use millpond::ResetMode;

    #[test]
    fn the_guest_answers_in_each_allocator() {
        let component = touch::component().unwrap();
        for allocator in [Allocator::OnDemand, Allocator::Ours(ResetMode::Copy)] {
            let touch = Touch::new(allocator, &component).unwrap();
            (0..3).for_each(|_| touch.once().unwrap());
        }
    }
}
