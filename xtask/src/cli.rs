//! The command line: every command, what it does, and an example.

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::toolchain::Core;
use crate::{Result, bench, checks, fuzz, gdb, iso, layers, lost, manual, model, report, run, sharing, test};

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
    /// Loads a server with connections and streams, and checks every byte; its own --help has the words.
    ///
    /// Example: cargo xtask loadgen tcp --to 127.0.0.1:8000 --connections 10000
    #[command(disable_help_flag = true)]
    Loadgen {
        /// Words of loadgen.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        words: Vec<String>,
    },
    /// Stops a machine at the kernel's entry, under gdb with the kernel's symbols.
    ///
    /// Example: cargo xtask gdb --cores 2 -- -ex 'break main' -ex continue
    Gdb(gdb::Options),
    /// Runs the benchmarks in our guest and in a Linux guest and prints one table.
    ///
    /// Example: cargo xtask bench memclone pagepass/separate --cores 1,2 --json out.jsonl
    ///
    /// Example: cargo xtask bench null --count --vs none
    ///
    /// Example: cargo xtask bench null memclone --count --report page.html
    Bench(bench::Options),
    /// Makes one page of records: tables, charts, what the model predicts, how it was measured.
    ///
    /// The page loads nothing and runs no script; it can be printed. Counts and times of several files stand together.
    ///
    /// Example: cargo xtask report counts.jsonl times.jsonl --out page.html
    Report(report::Options),
    /// Predicts throughput at 1 to 64 cores on the paper's AMD and Intel machines, from counts; docs/model.md.
    ///
    /// Prints every constant with its source, and how far off the model is where the paper measured. Predictions have a band; they
    /// are no measurements.
    ///
    /// Example: cargo xtask bench null memclone --count --json counts.jsonl
    ///
    /// Example: cargo xtask model --counts counts.jsonl
    Model(model::Options),
    /// Runs every call against every other under the line meter: nothing is shared unless it was asked for.
    ///
    /// Writes target/sharing/sharing.html, a heat map, and sharing.jsonl.
    ///
    /// Example: cargo xtask sharing --seed 3
    ///
    /// Example: cargo xtask sharing --full
    ///
    /// Example: cargo xtask sharing --full --part ring,planted-ring
    Sharing(sharing::Options),
    /// Runs every test: static checks, host tests, boots, and the tests inside the machine.
    ///
    /// Example: cargo xtask test --only boot
    ///
    /// Example: cargo xtask test --only soak --minutes 10
    ///
    /// Example: cargo xtask test --full
    Test(test::Options),
    /// Makes random calls from all cores, in sequences, and audits the kernel after each.
    ///
    /// Example: cargo xtask fuzz --seed 7 --cores 4 --calls 1000000
    ///
    /// Example: cargo xtask fuzz --soak 8
    Fuzz(fuzz::Options),
    /// Makes cores stop while all of them work: without a word, saying so, stuck, by machine checks.
    ///
    /// Example: cargo xtask lost --seed 7 --fails 20
    Lost(lost::Options),
    /// Writes docs/syscalls.md and docs/shared.md from the source.
    ///
    /// Example: cargo xtask manual --check
    Manual {
        /// Write nothing; fail when the file is stale.
        #[arg(long)]
        check: bool,
    },
    /// Checks that dependencies point one way and that each crate keeps its layer's rules.
    ///
    /// Example: cargo xtask layers
    Layers,
    /// Formats all Rust code.
    ///
    /// Example: cargo xtask fmt --check
    Fmt {
        /// Write nothing; fail when something is not formatted.
        #[arg(long)]
        check: bool,
    },
    /// Runs clippy on every crate, each for the target it is built for.
    ///
    /// Example: cargo xtask clippy
    Clippy,
    /// Linux's part of `test --only net`, in a network namespace that the test made.
    ///
    /// Example: cargo xtask test --only net
    #[command(hide = true)]
    Namespace(test::Inside),
    /// Runs what must pass before a change is merged; .ci/run calls it.
    ///
    /// Example: cargo xtask ci
    Ci,
}

/// Runs the command.
pub(crate) fn dispatch(arguments: Cli) -> Result<ExitCode> {
    let core = arguments.core;
    match arguments.command {
        Command::Iso(options) => iso::command(core, &options),
        Command::Run(options) => run::command(core, &options),
        Command::Loadgen { words } => run::loadgen(&words),
        Command::Gdb(options) => gdb::command(core, &options),
        Command::Bench(options) => bench::command(core, &options),
        Command::Report(options) => done(report::command(&options)),
        Command::Model(options) => done(model::command(&options)),
        Command::Sharing(options) => sharing::command(core, &options),
        Command::Fuzz(options) => fuzz::command(core, &options),
        Command::Lost(options) => lost::command(core, &options),
        Command::Test(options) => test::command(core, &options),
        Command::Manual { check } => done(manual::command(check)),
        Command::Layers => done(layers::command()),
        Command::Fmt { check } => done(checks::fmt(check)),
        Command::Clippy => done(checks::clippy(core)),
        Command::Namespace(words) => done(test::inside(&words)),
        Command::Ci => test::command(core, &test::Options::default()),
    }
}

fn done(result: Result<()>) -> Result<ExitCode> {
    result.map(|()| ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn every_command_has_an_example() {
        let mut cli = super::Cli::command();
        cli.clone().debug_assert();
        for command in cli.get_subcommands_mut() {
            let help = command.render_long_help().to_string();
            assert!(help.contains("Example: cargo xtask "), "{}", command.get_name());
        }
    }
}
