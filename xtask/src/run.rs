//! `cargo xtask run`: boots a machine and shows what it says.

use std::io::IsTerminal;
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

use crate::build::{self, Size};
use crate::process::{Owned, interrupted, quiet};
use crate::qemu::{Boot, Forward, Machine};
use crate::setup::{self, Need};
use crate::toolchain::{self, Core};
use crate::{Result, iso, paths};

/// Words of `cargo xtask run`.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Virtual processors.
    #[arg(long, default_value_t = 2)]
    cores: u32,
    /// How the processors make up packages, as in sockets=2,cores=2,threads=2; one package without.
    #[arg(long, default_value = "")]
    shape: String,
    /// Memory, as QEMU writes it.
    #[arg(long, default_value = "512M")]
    memory: String,
    /// Words for the kernel and init; without: every benchmark.
    #[arg(long, default_value = "")]
    cmdline: String,
    /// Boot the kernel directly (PVH), without GRUB.
    #[arg(long, conflicts_with = "uefi")]
    kernel: bool,
    /// Boot the medium through UEFI firmware.
    #[arg(long)]
    uefi: bool,
    /// Network cards, and ports of this machine's loopback that lead to the guest's, as in tcp:8000:7000,udp:8007:7; with several
    /// cards tcp:8001:7000:1 leads to the second one. `card` alone for none of them.
    #[arg(long, value_name = "PORTS", value_delimiter = ',', value_parser = port)]
    net: Vec<Option<Forward>>,
    /// How many network cards, each with a network of its own; one with --net, none without.
    #[arg(long, value_parser = clap::value_parser!(u8).range(1..=16))]
    cards: Option<u8>,
    /// Processor model, as in EPYC or Haswell.
    #[arg(long, default_value = "max,-erms,-fsrm")]
    cpu: String,
}

/// A word of `--net`.
fn port(word: &str) -> std::result::Result<Option<Forward>, String> {
    let wanted = || {
        format!(
            "{word}: wanted card, tcp:HERE:THERE[:CARD] or udp:HERE:THERE[:CARD], as in tcp:8000:7000 or tcp:8001:7000:1"
        )
    };
    if word == "card" {
        return Ok(None);
    }
    let parts: Vec<&str> = word.split(':').collect();
    let (protocol, numbers) = match parts.as_slice() {
        ["tcp", numbers @ ..] => ("tcp", numbers),
        ["udp", numbers @ ..] => ("udp", numbers),
        _ => return Err(wanted()),
    };
    let numbers: Vec<u16> = numbers
        .iter()
        .map(|text| text.parse())
        .collect::<std::result::Result<_, _>>()
        .map_err(|_| wanted())?;
    match *numbers.as_slice() {
        [from, to] => Ok(Some(Forward { protocol, from, to, card: 0 })),
        [from, to, card] => Ok(Some(Forward { protocol, from, to, card: card.into() })),
        _ => Err(wanted()),
    }
}

/// How many cards the words ask for.
fn cards(options: &Options) -> Result<usize> {
    let count = options.cards.map_or(usize::from(!options.net.is_empty()), usize::from);
    match options.net.iter().flatten().find(|forward| forward.card >= count) {
        Some(Forward { protocol, from, to, card }) => Err(format!(
            "--net {protocol}:{from}:{to}:{card}: there are {count} cards, and the first is 0; --cards {} makes it one of them",
            card + 1
        )
        .into()),
        None => Ok(count),
    }
}

/// Boots and ends with the machine's status.
pub(crate) fn command(core: Option<Core>, options: &Options) -> Result<ExitCode> {
    let cards = cards(options)?;
    setup::ensure(&[Need::Qemu])?;
    let medium = build::medium(&build::images(core)?, Size::Full)?;
    let cmdline = options.cmdline.clone();
    let boot = if options.kernel {
        Boot::Direct(medium.kernel, Some(medium.archive), cmdline)
    } else {
        let iso = iso::write(&medium, Size::Full, &cmdline, "corey.iso")?;
        if options.uefi {
            setup::ensure(&[Need::Uefi])?;
            Boot::Uefi(iso)
        } else {
            Boot::Iso(iso)
        }
    };
    let mut machine = Machine::new(options.cores, &options.memory, boot);
    machine.cpu.clone_from(&options.cpu);
    machine.shape.clone_from(&options.shape);
    machine.cards = vec!["e1000"; cards];
    machine.forwards = options.net.iter().flatten().copied().collect();
    eprintln!("{}", machine.line());
    let mut command = machine.command();
    command.stdin(Stdio::inherit());
    let spawned = command.spawn();
    let mut child = Owned(spawned.map_err(|e| format!("cannot start QEMU: {e}"))?);
    loop {
        if let Some(status) = child.0.try_wait()? {
            if std::io::stdout().is_terminal() {
                // A screen may have left the terminal with rows that do not scroll.
                print!("\u{1b}[r\u{1b}[?7h\u{1b}[999;1H");
            }
            let code = status.code().unwrap_or(1);
            if code != 0 {
                eprintln!("QEMU ended with {code}: {}", meaning(code));
            }
            return Ok(ExitCode::from(u8::try_from(code).unwrap_or(1)));
        }
        if interrupted() {
            return Err("interrupted".into());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Builds the load generator and runs it with `words`; ends with its status.
pub(crate) fn loadgen(words: &[String]) -> Result<ExitCode> {
    let mut cargo = Command::new(toolchain::cargo());
    cargo.args(["build", "--release", "-p", "corey-tools-loadgen"]);
    quiet("Building loadgen", cargo.current_dir(paths::root()))?;
    let mut loadgen = Command::new(paths::target().join("release/loadgen"));
    let code = loadgen.args(words).status()?.code().unwrap_or(1);
    Ok(ExitCode::from(u8::try_from(code).unwrap_or(1)))
}

fn meaning(code: i32) -> &'static str {
    match code {
        3 => "a test or benchmark failed",
        5 => "the command line was refused",
        7 => "the kernel panicked",
        _ => "QEMU itself failed or was stopped",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_lead_somewhere_or_are_refused_with_an_example() {
        let forward = port("udp:8007:7").unwrap().unwrap();
        assert_eq!((forward.protocol, forward.from, forward.to), ("udp", 8007, 7));
        assert_eq!(port("tcp:8001:7000:1").unwrap().unwrap().card, 1);
        assert!(port("card").unwrap().is_none());
        for word in ["", "tcp", "tcp:1", "tcp:1:2:3:4", "tcp:65536:1", "sctp:1:2", "tcp:1:2:x"] {
            assert!(port(word).unwrap_err().contains("as in tcp:8000:7000"));
        }
    }
}
