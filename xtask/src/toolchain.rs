//! Where `core` for the kernel's target comes from. One function decides.

use std::process::Command;

use crate::Result;
use crate::process::{on_path, quiet};
use crate::setup::{self, Need};

/// The kernel's target.
pub(crate) const KERNEL_TARGET: &str = "x86_64-unknown-none";
/// The target of user programs and of the Linux peer.
pub(crate) const USER_TARGET: &str = "x86_64-unknown-linux-gnu";

/// A way to get `core` for [`KERNEL_TARGET`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Core {
    /// `rustup target add`: the usual way.
    Rustup,
    /// Debian's rustc-web, building `core` from its source: where rustup's server is out of reach.
    Debian,
}

/// Chooses how the kernel's `core` is made, and makes sure that what this takes is installed.
///
/// `forced` (or `COREY_CORE=rustup|debian`) wins. Otherwise: a target that is already there, then
/// rustup, then Debian's packages.
pub(crate) fn choose(forced: Option<Core>) -> Result<Core> {
    let forced = match (forced, std::env::var("COREY_CORE").as_deref()) {
        (Some(way), _) => Some(way),
        (None, Ok("rustup")) => Some(Core::Rustup),
        (None, Ok("debian")) => Some(Core::Debian),
        (None, Ok(other)) => return Err(format!("COREY_CORE={other}: use rustup or debian").into()),
        (None, Err(_)) => None,
    };
    if forced != Some(Core::Debian) {
        let added = if target_present() { Ok(()) } else { add_target() };
        match (added, forced) {
            (Ok(()), _) => return Ok(Core::Rustup),
            (Err(e), Some(_)) => return Err(e),
            (Err(e), None) => eprintln!("{e}\nFalling back to Debian's compiler for the kernel."),
        }
    }
    setup::ensure(&[Need::DebianRust])?;
    Ok(Core::Debian)
}

/// A cargo command for the kernel, up to and including the target. `apart` is where it builds, if not in
/// [`kernel_target_dir`].
pub(crate) fn kernel_cargo(way: Core, subcommand: &str, apart: Option<&std::path::Path>) -> Command {
    let mut cargo = match way {
        Core::Rustup => Command::new(cargo()),
        Core::Debian => {
            let mut c = Command::new("/usr/bin/cargo");
            c.env("RUSTC", "/usr/bin/rustc").env("RUSTC_BOOTSTRAP", "1");
            c.env_remove("RUSTUP_TOOLCHAIN").env_remove("RUSTC_WRAPPER");
            c
        }
    };
    cargo.arg(subcommand);
    if way == Core::Debian || apart.is_some() {
        // Another compiler: its own folder, so that neither throws away the other's work.
        cargo
            .arg("--target-dir")
            .arg(apart.map_or_else(|| kernel_target_dir(way), std::path::Path::to_path_buf));
    }
    if way == Core::Debian {
        cargo.args(["-Zbuild-std=core,alloc,compiler_builtins"]);
        cargo.args(["-Zbuild-std-features=compiler-builtins-mem"]);
    }
    cargo.args(["--target", KERNEL_TARGET]);
    cargo
}

/// Where [`kernel_cargo`] builds.
pub(crate) fn kernel_target_dir(way: Core) -> std::path::PathBuf {
    match way {
        Core::Rustup => crate::paths::target(),
        Core::Debian => crate::paths::target().join("debian-core"),
    }
}

/// The cargo that runs us.
pub(crate) fn cargo() -> String {
    std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned())
}

/// The compiler's version line, for records.
pub(crate) fn version() -> String {
    let out = Command::new("rustc").arg("--version").output();
    out.map_or_else(|_| "unknown".into(), |o| String::from_utf8_lossy(&o.stdout).trim().to_owned())
}

fn target_present() -> bool {
    let out = Command::new("rustc").args(["--print", "sysroot"]).output();
    out.is_ok_and(|out| {
        let sysroot = String::from_utf8_lossy(&out.stdout).trim().to_owned();
        std::path::Path::new(&sysroot).join("lib/rustlib").join(KERNEL_TARGET).join("lib").is_dir()
    })
}

fn add_target() -> Result<()> {
    if !on_path("rustup") {
        return Err("rustup is not here, so its target for the kernel cannot be added.".into());
    }
    println!("Adding the Rust target {KERNEL_TARGET}: the kernel is built for it.");
    quiet("rustup target add", Command::new("rustup").args(["target", "add", KERNEL_TARGET]))?;
    Ok(())
}
