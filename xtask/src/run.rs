//! `cargo xtask run`: boots a machine and shows what it says.

use std::io::IsTerminal;
use std::process::{ExitCode, Stdio};
use std::time::Duration;

use crate::build::{self, Size};
use crate::process::{Owned, interrupted};
use crate::qemu::{Boot, Machine};
use crate::setup::{self, Need};
use crate::toolchain::Core;
use crate::{Result, iso};

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
    /// Processor model, as in EPYC or Haswell.
    #[arg(long, default_value = "max,-erms,-fsrm")]
    cpu: String,
}

/// Boots and ends with the machine's status.
pub(crate) fn command(core: Option<Core>, options: &Options) -> Result<ExitCode> {
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

fn meaning(code: i32) -> &'static str {
    match code {
        3 => "a test or benchmark failed",
        5 => "the command line was refused",
        7 => "the kernel panicked",
        _ => "QEMU itself failed or was stopped",
    }
}
