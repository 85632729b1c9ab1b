//! The program `millpond`: shows the engine at work, runs components on NATS or in a shell pipe, checks configurations, says what
//! a component is, begins new ones.

mod args;
mod check;
mod clock;
mod compile;
mod config;
mod demo;
mod exit;
mod inspect;
mod logs;
mod new;
mod run;
mod serve;
mod tap;
mod units;

use std::process::ExitCode;

use clap::Parser;

use crate::args::{Arguments, Command};

/// The allocator that the engine is made for.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let command = Arguments::parse().command;
    logs::start(&command);
    let done = match command {
        Command::Demo(arguments) => demo::demo(&arguments),
        Command::Run(arguments) => run::run(&arguments),
        Command::Check(arguments) => check::check(&arguments),
        Command::Inspect(arguments) => inspect::inspect(&arguments),
        Command::Compile(arguments) => compile::compile(&arguments),
        Command::New(arguments) => new::new(&arguments),
    };
    exit::end(done)
}
