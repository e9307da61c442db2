//! All automation of the project; `cargo xtask --help` explains every command.

mod bench;
mod build;
mod checks;
mod cli;
mod coverage;
mod fuzz;
mod gdb;
mod iso;
mod layers;
mod lines;
mod lost;
mod manual;
mod model;
mod monitor;
mod objects;
mod paths;
mod pool;
mod process;
mod qemu;
mod report;
mod run;
mod setup;
mod shared;
mod sharing;
mod soundness;
mod symbols;
mod test;
mod toolchain;
mod wires;
mod workspace;

use std::process::ExitCode;

use clap::Parser;

/// Errors are texts for people.
pub(crate) type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

fn main() -> ExitCode {
    let arguments = cli::Cli::parse();
    match process::watch_interrupts().and_then(|()| cli::dispatch(arguments)) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("xtask: {error}");
            ExitCode::FAILURE
        }
    }
}
