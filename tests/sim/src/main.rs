//! The program `millpond-sim`: runs the engine's own loop on virtual time, seed after seed.

use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use millpond_sim::seeds::{self, Failure, Seeds};

/// Simulates a shard: its own loop on virtual time, with scripted guests and a scripted broker.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Runs many seeds, and checks every promise after every turn.
    Run(Run),
    /// Runs one seed, and prints what happens in it.
    Replay {
        /// The seed, as a failed run prints it.
        seed: u64,
    },
    /// Measures the goals and prints their tables; the exit status says whether all are met.
    Goals {
        /// What the traces are made of.
        #[arg(long, default_value_t = 7)]
        seed: u64,
    },
}

#[derive(Debug, Args)]
struct Run {
    /// How many seeds at least.
    #[arg(long, default_value_t = 10_000)]
    seeds: u64,
    /// The first seed.
    #[arg(long, default_value_t = 0)]
    from: u64,
    /// For how long at least, in minutes.
    #[arg(long, default_value_t = 0)]
    minutes: u64,
    /// Threads.
    #[arg(long, default_value_t = 2)]
    threads: usize,
}

fn main() -> ExitCode {
    let done = match Arguments::parse().command {
        Command::Run(arguments) => run(&arguments),
        Command::Replay { seed } => seeds::replay(seed, true).map(drop),
        Command::Goals { seed } => return goals(seed),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            println!("{failure}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Run) -> Result<(), Failure> {
    let seeds = Seeds {
        from: arguments.from,
        count: arguments.seeds,
        time: Duration::from_secs(arguments.minutes * 60),
        threads: arguments.threads,
    };
    let tally = seeds::run(seeds, |done| {
        if done % 100_000 == 0 {
            eprintln!("{done} seeds");
        }
    })?;
    println!("{tally}");
    Ok(())
}

fn goals(seed: u64) -> ExitCode {
    match millpond_sim::goals::print(seed, &mut std::io::stdout()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("the tables could not be written: {error}");
            ExitCode::FAILURE
        }
    }
}
