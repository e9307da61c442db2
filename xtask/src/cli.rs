//! The command line: every command, what it does, and an example.

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::toolchain::Core;
use crate::{Result, bench, gdb, iso, run};

/// Builds, boots, tests and measures Corey.
///
/// The two commands that need nothing prepared are `cargo xtask bench` and `cargo xtask test`.
/// Missing Debian packages and the Rust target of the kernel are installed on the way (as root or
/// through sudo), and each is named first.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", max_term_width = 100)]
pub(crate) struct Cli {
    /// Where `core` for the kernel comes from; chosen by itself without this (or COREY_CORE).
    #[arg(long, global = true, value_enum)]
    core: Option<Core>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Writes the boot medium, target/iso/corey.iso.
    ///
    /// Example: cargo xtask iso --slim --cmdline "bench=null cores=1,2"
    Iso(iso::Options),
    /// Boots a machine and shows its serial port; ends when it powers off (Ctrl-C ends it early).
    ///
    /// Example: cargo xtask run --cores 4 --cmdline "bench=memclone/interior turn=1"
    Run(run::Options),
    /// Stops a machine at the kernel's entry, under gdb with the kernel's symbols.
    ///
    /// Example: cargo xtask gdb --cores 2 -- -ex 'break main' -ex continue
    Gdb(gdb::Options),
    /// Runs the benchmarks in our guest and in a Linux guest and prints one table.
    ///
    /// Example: cargo xtask bench memclone pagepass/separate --cores 1,2 --json out.jsonl
    ///
    /// Example: cargo xtask bench null --count --vs none
    Bench(bench::Options),
}

/// Runs the command.
pub(crate) fn dispatch(arguments: Cli) -> Result<ExitCode> {
    let core = arguments.core;
    match arguments.command {
        Command::Iso(options) => iso::command(core, &options),
        Command::Run(options) => run::command(core, &options),
        Command::Gdb(options) => gdb::command(core, &options),
        Command::Bench(options) => bench::command(core, &options),
    }
}
