//! `cargo xtask gdb`: a machine stopped at the kernel's entry.

use std::process::{Command, ExitCode, Stdio};

use elf::ElfBytes;
use elf::endian::LittleEndian;

use crate::Result;
use crate::build::{self, Size};
use crate::process::Owned;
use crate::qemu::{Boot, Machine};
use crate::setup::{self, Need};
use crate::toolchain::Core;

/// Words of `cargo xtask gdb`.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Virtual processors.
    #[arg(long, default_value_t = 1)]
    cores: u32,
    /// Memory, as QEMU writes it.
    #[arg(long, default_value = "512M")]
    memory: String,
    /// Words for the kernel and init.
    #[arg(long, default_value = "")]
    cmdline: String,
    /// More words for gdb, after `--`.
    #[arg(last = true)]
    gdb: Vec<String>,
}

/// Starts the machine and gdb on it; the machine ends with gdb.
pub(crate) fn command(core: Option<Core>, options: &Options) -> Result<ExitCode> {
    setup::ensure(&[Need::Qemu, Need::Gdb])?;
    let images = build::images(core)?;
    let medium = build::medium(&images, Size::Full)?;
    let boot = Boot::Direct(medium.kernel, Some(medium.archive), options.cmdline.clone());
    let machine = Machine::new(options.cores, &options.memory, boot);
    let socket = crate::paths::work("gdb")?.join("socket");
    let log = std::fs::File::create(crate::paths::work("gdb")?.join("serial.log"))?;
    let mut qemu = machine.command();
    let server = format!("socket,id=gdb,path={},server=on,wait=off", socket.display());
    qemu.args(["-S", "-chardev", &server, "-gdb", "chardev:gdb"]);
    let spawned = qemu.stdin(Stdio::null()).stdout(log).spawn();
    let _qemu = Owned(spawned.map_err(|e| format!("cannot start QEMU: {e}"))?);
    println!(
        "The machine's serial output goes to {}",
        crate::paths::work("gdb")?.join("serial.log").display()
    );
    let bytes = build::read(&images.kernel)?;
    let entry = ElfBytes::<LittleEndian>::minimal_parse(&bytes)?.ehdr.e_entry;
    let mut gdb = Command::new("gdb");
    gdb.arg("-q").arg(&images.kernel);
    gdb.args(["-ex", "set confirm off", "-ex", &format!("directory {}", crate::paths::root().display())]);
    gdb.args(["-ex", &format!("target remote {}", socket.display())]);
    // Memory is loaded by firmware after this point: only a hardware breakpoint survives.
    gdb.args(["-ex", &format!("thbreak *{entry:#x}"), "-ex", "continue"]);
    let status = gdb.args(&options.gdb).status()?;
    Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
