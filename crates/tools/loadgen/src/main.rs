//! `loadgen`: the client of `netserver` and of servers like it.

use std::net::{SocketAddr, ToSocketAddrs};
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use corey_tools_loadgen::Report;
use corey_tools_loadgen::short::{self, Until};
use corey_tools_loadgen::stream::{self, Service};

/// Loads a TCP server and checks every byte it sends.
///
/// Start one first, as in: cargo xtask run --cmdline init=netserver --net tcp:8000:7000,tcp:8007:7,tcp:8009:9,tcp:8019:19
///
/// It ends with status 0 when every connection was good, and 1 when one was not.
#[derive(Debug, Parser)]
#[command(name = "loadgen", max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    mode: Mode,
}

#[derive(Debug, Subcommand)]
enum Mode {
    /// Short connections: connect, read to the end, compare with the 128 bytes of netserver's port 7000.
    ///
    /// Failures are counted by kind: refused, reset, short, long, wrong (a byte), silent (until the deadline), local (this machine
    /// could not).
    ///
    /// QEMU's user network lets one connection wait: with more than 2 in flight this machine itself drops some (ListenOverflows in
    /// nstat), and they count as silent.
    ///
    /// Example: loadgen tcp --to 127.0.0.1:8000 --inflight 2 --connections 10000
    ///
    /// Example: loadgen tcp --to 127.0.0.1:8000,127.0.0.1:8001 --seconds 10 --json
    Tcp {
        #[command(flatten)]
        target: Target,
        /// Connections at once.
        #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=4096))]
        inflight: u32,
        /// Connections in all.
        #[arg(long, default_value_t = 1000, conflicts_with = "seconds")]
        connections: u64,
        /// For so long instead.
        #[arg(long)]
        seconds: Option<u64>,
    },
    /// Streams to an echo (netserver's port 7), and how many MiB a second come back.
    ///
    /// Example: loadgen echo --to 127.0.0.1:8007 --connections 4 --seconds 5
    Echo(Streams),
    /// Streams one way: to a server that discards (netserver's port 9), or from one that sends characters (19).
    ///
    /// Example: loadgen bulk discard --to 127.0.0.1:8009
    ///
    /// Example: loadgen bulk characters --to 127.0.0.1:8019
    Bulk {
        /// Which way.
        #[arg(value_enum)]
        way: Way,
        #[command(flatten)]
        streams: Streams,
    },
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Way {
    /// To the server.
    Discard,
    /// From the server.
    Characters,
}

#[derive(Debug, Args)]
struct Target {
    /// The servers, as in 127.0.0.1:8000,127.0.0.1:8001; connections go to each in turn.
    #[arg(long, required = true, value_delimiter = ',', value_parser = address)]
    to: Vec<SocketAddr>,
    /// Milliseconds that a connection may take; a stream, beyond its seconds.
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(1..))]
    deadline: u64,
    /// One JSON object instead of the table.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct Streams {
    #[command(flatten)]
    target: Target,
    /// Connections, all at once.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=4096))]
    connections: u32,
    /// How long.
    #[arg(long, default_value_t = 5)]
    seconds: u64,
}

fn address(word: &str) -> Result<SocketAddr, String> {
    let wanted = |why: String| format!("{word}: {why}; wanted ADDRESS:PORT, as in 127.0.0.1:8000");
    let mut found = word.to_socket_addrs().map_err(|error| wanted(error.to_string()))?;
    found.next().ok_or_else(|| wanted("no such host".to_owned()))
}

fn main() -> ExitCode {
    let (mode, json, report) = match Cli::parse().mode {
        Mode::Tcp { target, inflight, connections, seconds } => {
            let until =
                seconds.map_or(Until::Connections(connections), |s| Until::Time(Duration::from_secs(s)));
            let deadline = Duration::from_millis(target.deadline);
            let plan = short::Plan { to: target.to, inflight: inflight as usize, until, deadline };
            ("tcp", target.json, short::run(&plan))
        }
        Mode::Echo(streams) => load("echo", Service::Echo, streams),
        Mode::Bulk { way: Way::Discard, streams } => load("discard", Service::Discard, streams),
        Mode::Bulk { way: Way::Characters, streams } => load("characters", Service::Characters, streams),
    };
    if json {
        println!("{}", report.json(mode));
    } else {
        println!("{}", report.table());
    }
    if report.failures.total() == 0 && report.connections > 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn load(mode: &'static str, service: Service, streams: Streams) -> (&'static str, bool, Report) {
    let Streams { target, connections, seconds } = streams;
    let plan = stream::Plan {
        to: target.to,
        connections: connections as usize,
        time: Duration::from_secs(seconds),
        deadline: Duration::from_millis(target.deadline),
    };
    (mode, target.json, stream::run(service, &plan))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn every_mode_has_an_example() {
        let mut cli = Cli::command();
        cli.clone().debug_assert();
        for mode in cli.get_subcommands_mut() {
            let help = mode.render_long_help().to_string();
            assert!(help.contains("Example: loadgen "), "{}", mode.get_name());
        }
    }

    #[test]
    fn an_address_without_a_port_is_refused_with_an_example() {
        assert!(address("127.0.0.1").unwrap_err().contains("as in 127.0.0.1:8000"));
    }
}
