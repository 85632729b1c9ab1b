//! `millpond demo`: the engine under an open-loop load, and what came of every message.

mod bits;
mod load;
mod progress;
mod report;
mod sink;

use std::time::Duration;

use millpond::{Engine, EngineConfig, Grants, HandlerConfig};

use self::load::{Load, Plan};
use self::report::Report;
use self::sink::Sink;
use crate::args::DemoArguments;
use crate::clock;
use crate::exit::{Exit, Failed, print};

/// The component that comes with the program: it sends every message to `echo.out`.
const ECHO: &[u8] = include_bytes!("../../../../guests/prebuilt/echo.wasm");
/// How long the engine may take for what is left when the load ends: its queues are bounded, so it needs far less.
const DRAIN_WITHIN: Duration = Duration::from_secs(30);

/// Runs the demo and prints its report.
pub(crate) fn demo(arguments: &DemoArguments) -> anyhow::Result<Exit> {
    let plan = Plan::new(arguments)?;
    let configuration = configuration(arguments);
    let shards = configuration.shards;
    let engine = Engine::start(configuration)?;
    let sink = Sink::start(&engine, plan.messages)?;
    let start = clock::now();
    let load = load_with_progress(&engine, plan)?;
    let drained = engine.drain(DRAIN_WITHIN);
    let elapsed = clock::now() - start;
    let came = sink.finish()?;
    // The shards are at rest from here on: their counts no longer change.
    engine.stop();
    let stats = engine.stats();
    let report = Report::new(arguments, &load, &came, &stats, elapsed, &drained, shards);
    print(&match arguments.json {
        true => serde_json::to_string_pretty(&report)? + "\n",
        false => report.table(),
    })?;
    match report.problems.as_slice() {
        [] => Ok(Exit::Ok),
        problems => Err(Failed::error(Exit::Messages, problems.join("; "))),
    }
}

fn configuration(arguments: &DemoArguments) -> EngineConfig {
    let mut handler = HandlerConfig::bytes("echo", ECHO).grants(Grants::all());
    if let Some(batch_max) = arguments.batch_max {
        handler.limits.batch_messages_max = batch_max;
    }
    let config = EngineConfig::new().handler(handler);
    // The load takes one core: a shard beside it there would make both late.
    let shards = arguments
        .shards
        .unwrap_or_else(|| config.shards.saturating_sub(1).max(1));
    config.shards(shards)
}

/// Makes the load on a thread of its own, while this one shows how far it is.
fn load_with_progress(engine: &Engine, plan: Plan) -> anyhow::Result<Load> {
    let progress = progress::Progress::new(engine, plan);
    let offered = progress.offered();
    std::thread::scope(|scope| {
        let (done, wait) = std::sync::mpsc::sync_channel(1);
        std::thread::Builder::new()
            .name("millpond-load".into())
            .spawn_scoped(scope, move || {
                let load = load::generate(engine, plan, &offered);
                // Nobody waits only if this program is ending.
                let _ = done.send(load);
            })?;
        progress.show_until(&wait)
    })
}
