//! The program `loadgen`: loads a NATS service, or the engine in process, and says what became of every message.

mod args;
mod clock;
mod control;
mod core;
mod embedded;
mod nats;
mod plan;
mod report;
mod run;
mod units;

use std::process::ExitCode;

use clap::Parser;
use millpond_exit as exit;

use crate::args::{Arguments, Command, LoadArguments, SinkArguments};
use crate::exit::{Exit, Failed};
use crate::nats::sink::Sink;
use crate::plan::Plan;

/// The allocator that the engine is made for.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let done = match Arguments::parse().command {
        Command::Publish(arguments) => load(Plan::publish(&arguments), &arguments.load),
        Command::Request(arguments) => load(Plan::request(&arguments), &arguments.load),
        Command::Stream(arguments) => load(Plan::stream(&arguments), &arguments.load),
        Command::Sink(arguments) => sink(&arguments),
    };
    // What can be done about an error, it says itself.
    exit::end(done, |_| None)
}

/// Runs a plan and writes its reports.
fn load(plan: anyhow::Result<Plan>, arguments: &LoadArguments) -> anyhow::Result<Exit> {
    let plan = plan?;
    report::outputs::check(&arguments.report)?;
    let mut report = run::run(&plan)?;
    report::outputs::write(&report, &arguments.report)?;
    report.exit()
}

/// Takes everything until it is ended.
fn sink(arguments: &SinkArguments) -> anyhow::Result<Exit> {
    let wrong = |error: std::io::Error| {
        Failed::error(
            Exit::Failure,
            format!("can't listen on {}: {error}", arguments.listen),
        )
    };
    let sink = Sink::listen(arguments.listen).map_err(wrong)?;
    eprintln!("ready: loadgen publish --server nats://{}", sink.address()?);
    sink.serve().map_err(wrong)?;
    Ok(Exit::Ok)
}
