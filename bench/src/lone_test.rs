//! A test binary with one test and no libtest: one that runs itself once more under another tool.

use std::process::ExitCode;

use wasmtime::Result;

/// Runs the test of this name unless the process's arguments ask for others or for a list. What it returns is printed.
pub fn run(name: &str, test: impl FnOnce() -> Result<String>) -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.iter().any(|word| word == "--list") {
        println!("{name}: test");
        return ExitCode::SUCCESS;
    }
    let mut parts = arguments.iter().filter(|word| !word.starts_with('-'));
    if parts.clone().next().is_some() && !parts.any(|part| name.contains(part)) {
        return ExitCode::SUCCESS;
    }
    match test() {
        Ok(table) => {
            println!("{table}\ntest {name} ... ok");
            ExitCode::SUCCESS
        }
        Err(error) => {
            println!("test {name} ... FAILED\n{error:#}");
            ExitCode::FAILURE
        }
    }
}
