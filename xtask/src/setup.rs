//! Debian packages: what each command needs, and how what is missing gets installed.

use std::io::IsTerminal;
use std::process::Command;

use crate::Result;
use crate::process::{on_path, quiet, show};

/// A reason to need packages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Need {
    /// Boot a machine.
    Qemu,
    /// Drop debug sections.
    Objcopy,
    /// Write a GRUB medium.
    Iso,
    /// Boot through UEFI firmware.
    Uefi,
    /// Speak to a server in the machine by what people use.
    Peers,
    /// Debug the kernel.
    Gdb,
    /// Build `core` for the kernel without rustup.
    DebianRust,
}

/// Package, a file that proves it is there where dpkg cannot be asked, what it is for.
type Row = (&'static str, &'static str, &'static str);

fn packages(need: Need) -> &'static [Row] {
    match need {
        Need::Qemu => &[("qemu-system-x86", "/usr/bin/qemu-system-x86_64", "the machine we boot on")],
        Need::Objcopy => &[("binutils", "/usr/bin/objcopy", "drops debug sections")],
        Need::Iso => &[
            ("grub-common", "/usr/bin/grub-mkrescue", "writes the boot medium"),
            ("grub-pc-bin", "/usr/lib/grub/i386-pc/normal.mod", "GRUB for BIOS"),
            ("grub-efi-amd64-bin", "/usr/lib/grub/x86_64-efi/normal.mod", "GRUB for UEFI"),
            ("xorriso", "/usr/bin/xorriso", "ISO 9660 images, used by grub-mkrescue"),
            ("mtools", "/usr/bin/mformat", "the UEFI partition of the medium"),
        ],
        Need::Uefi => &[("ovmf", "/usr/share/ovmf/OVMF.fd", "UEFI firmware for QEMU")],
        Need::Peers => &[
            ("iproute2", "/usr/sbin/ip", "interfaces in a network namespace"),
            ("iputils-ping", "/usr/bin/ping", "a peer in tests"),
            ("netcat-openbsd", "/usr/bin/nc.openbsd", "a peer in tests"),
            ("curl", "/usr/bin/curl", "a peer in tests"),
        ],
        Need::Gdb => &[("gdb", "/usr/bin/gdb", "the debugger")],
        Need::DebianRust => &[
            ("rustc-web", "/usr/bin/rustc", "a compiler that matches rust-web-src"),
            ("cargo-web", "/usr/bin/cargo", "its cargo"),
            ("rust-web-src", "/usr/src/rustc-web", "the source of core for the kernel's target"),
            ("rust-web-llvm", "/usr/bin/rust-lld", "its name for the linker"),
            ("lld-22", "/usr/bin/lld-22", "the linker itself"),
        ],
    }
}

/// Makes sure that everything `needs` asks for is installed.
///
/// # Errors
///
/// Names the exact packages when they cannot be installed from here.
pub(crate) fn ensure(needs: &[Need]) -> Result<()> {
    let missing: Vec<&Row> = needs.iter().flat_map(|n| packages(*n)).filter(|row| !installed(row)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    println!("Missing Debian packages:");
    for (name, _, why) in &missing {
        println!("  {name:<20} {why}");
    }
    let names: Vec<&str> = missing.iter().map(|row| row.0).collect();
    if !on_path("apt-get") {
        return Err(format!("apt-get is not here; please install: {}", names.join(" ")).into());
    }
    println!("Installing them with apt-get.");
    let mut install = apt(&["install", "-y", "--no-install-recommends"])?;
    install.args(&names);
    // Lists may be absent or stale: one retry after refreshing them.
    if quiet("apt-get install", &mut install).is_err() {
        show(&mut apt(&["update"])?)?;
        let mut again = apt(&["install", "-y", "--no-install-recommends"])?;
        show(again.args(&names)).map_err(|e| {
            format!("{e}\nThese packages are needed; install them by hand: {}", names.join(" "))
        })?;
    }
    Ok(())
}

fn installed(row: &Row) -> bool {
    if !on_path("dpkg-query") {
        return std::path::Path::new(row.1).exists();
    }
    Command::new("dpkg-query")
        .args(["-W", "-f", "${db:Status-Status}", row.0])
        .output()
        .is_ok_and(|out| out.stdout == b"installed")
}

/// `apt-get` with the rights it needs: as root, or through sudo.
pub(crate) fn apt(args: &[&str]) -> Result<Command> {
    let uid = Command::new("id").arg("-u").output()?.stdout;
    let mut command = if uid.trim_ascii() == b"0" {
        Command::new("env")
    } else if on_path("sudo") {
        let mut sudo = Command::new("sudo");
        if !std::io::stdin().is_terminal() {
            sudo.arg("-n");
        }
        sudo.arg("env");
        sudo
    } else {
        return Err("installing packages needs root or sudo, and neither is here".into());
    };
    command.args(["DEBIAN_FRONTEND=noninteractive", "apt-get", "-q"]).args(args);
    Ok(command)
}
