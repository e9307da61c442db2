//! `cargo xtask fmt` and `clippy`: each crate for the target it is built for.

use std::process::Command;

use crate::process::quiet;
use crate::toolchain::{self, Core, KERNEL_TARGET, USER_TARGET};
use crate::workspace::packages;
use crate::{Result, build, paths};

/// Where a package is built for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Target {
    /// This machine, with its tests.
    Host,
    /// The kernel's target.
    Kernel,
    /// User programs.
    User,
}

fn target(folder: &str) -> Target {
    match folder {
        _ if folder.strip_prefix("images/").is_some_and(build::is_kernel) => Target::Kernel,
        "arch/x86-64/user" => Target::Host,
        _ if folder.starts_with("arch/") => Target::Kernel,
        _ if folder.starts_with("images/") || folder.starts_with("crates/libos/") => Target::User,
        _ => Target::Host,
    }
}

/// Formats, or checks the formatting of, every package.
pub(crate) fn fmt(check: bool) -> Result<()> {
    component("fmt", "rustfmt")?;
    let mut cargo = Command::new(toolchain::cargo());
    cargo.args(["fmt", "--all"]);
    if check {
        cargo.args(["--", "--check", "-l"]);
    }
    let result = quiet("", cargo.current_dir(paths::root()));
    result.map(|_| ()).map_err(|e| format!("{e}\nnot formatted; run: cargo xtask fmt").into())
}

/// Runs clippy with warnings as errors.
pub(crate) fn clippy(core: Option<Core>) -> Result<()> {
    component("clippy", "clippy")?;
    let packages = packages()?;
    let of = |wanted| {
        let fitting = packages.iter().filter(move |p| target(&p.folder) == wanted);
        fitting.flat_map(|p| ["-p", p.name.as_str()]).collect::<Vec<_>>()
    };
    let lint = |title: &str, words: &[&str], packages: &[&str]| {
        let mut cargo = Command::new(toolchain::cargo());
        cargo.args(["clippy", "--keep-going"]).args(words).args(packages).args(["--", "-D", "warnings"]);
        quiet(title, cargo.current_dir(paths::root()))
    };
    // A failure for one target says nothing about the others: all are run.
    let mut results = vec![lint("clippy for the host", &["--all-targets"], &of(Target::Host))];
    if !of(Target::User).is_empty() {
        results.push(lint("clippy for programs", &["--target", USER_TARGET], &of(Target::User)));
    }
    match toolchain::choose(core)? {
        Core::Rustup => {
            let words = ["--target", KERNEL_TARGET];
            results.push(lint("clippy for the kernel", &words, &of(Target::Kernel)));
        }
        Core::Debian => println!("clippy for the kernel: left out, Debian's compiler has no clippy"),
    }
    let errors: Vec<String> = results.into_iter().filter_map(|r| Some(r.err()?.to_string())).collect();
    if errors.is_empty() { Ok(()) } else { Err(errors.join("\n").into()) }
}

/// Makes sure that cargo has `subcommand`, a component of rustup's toolchains.
fn component(subcommand: &str, name: &str) -> Result<()> {
    let present = || {
        let mut cargo = Command::new(toolchain::cargo());
        cargo.args([subcommand, "--version"]).output().is_ok_and(|out| out.status.success())
    };
    if present() {
        return Ok(());
    }
    println!("Adding {name} to the toolchain.");
    let added = quiet("", Command::new("rustup").args(["component", "add", name]));
    added.map(|_| ()).map_err(|e| format!("{e}\n{name} is needed: rustup component add {name}").into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_folder_has_its_target() {
        assert_eq!(target("crates/kernel/mem"), Target::Host);
        assert_eq!(target("arch/x86-64/paging"), Target::Kernel);
        assert_eq!(target("images/init"), Target::User);
        assert_eq!(target("images/kernel"), Target::Kernel);
        assert_eq!(target("images/kernel-probe"), Target::Kernel);
    }
}
