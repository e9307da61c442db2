//! Builds what goes on the boot medium: the kernel, the programs, and their archive.

use std::path::{Path, PathBuf};
use std::process::Command;

use corey_lib_archive::{DataAt, Writer, symbols as table};
use corey_lib_bench::BENCHMARKS;

use crate::process::quiet;
use crate::setup::{self, Need};
use crate::symbols::Symbols;
use crate::toolchain::{self, Core, KERNEL_TARGET, USER_TARGET};
use crate::{Result, paths};

/// First link address of programs; each has its own, so that an address names its program. Below
/// 2 GiB: the code model reaches no further. Their
/// code model wants all of them below 2 GiB.
const FIRST_IMAGE: u64 = 0x1000_0000;
/// Distance between programs.
const IMAGE_STEP: u64 = 0x100_0000;

/// How much of it goes on the medium.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Size {
    /// Every program; symbols stay in the files.
    Full,
    /// init and the benchmarks; symbols only in `data/kernel.sym`.
    Slim,
}

/// A program of `images/`.
#[derive(Clone, Debug)]
pub(crate) struct Program {
    /// Its name: the folder's and the package's.
    pub(crate) name: String,
    /// The linked file, with symbols.
    pub(crate) elf: PathBuf,
}

/// A package of `images/` that is a kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kernel {
    /// The kernel.
    Plain,
    /// With a layer that looks at every entry, and probes.
    Probe,
    /// With a guard on every edge.
    Coverage,
}

impl Kernel {
    fn package(self) -> &'static str {
        match self {
            Self::Plain => "kernel",
            Self::Probe => "kernel-probe",
            Self::Coverage => "kernel-coverage",
        }
    }
}

/// Everything built, with symbols.
#[derive(Clone, Debug)]
pub(crate) struct Images {
    /// The kernel's linked file.
    pub(crate) kernel: PathBuf,
    /// The programs, by name.
    pub(crate) programs: Vec<Program>,
}

/// What a boot needs, as files.
#[derive(Clone, Debug)]
pub(crate) struct Medium {
    /// The kernel as it is loaded.
    pub(crate) kernel: PathBuf,
    /// `corey.cpio`.
    pub(crate) archive: PathBuf,
}

/// Builds the kernel and every program.
pub(crate) fn images(core: Option<Core>) -> Result<Images> {
    let way = toolchain::choose(core)?;
    let kernel = kernel(way, Kernel::Plain)?;
    let names = program_names(&paths::root().join("images"))?;
    let programs = names.into_iter().zip(0_u64..).map(|(name, number)| {
        let elf = program(&name, FIRST_IMAGE + number * IMAGE_STEP)?;
        Ok(Program { name, elf })
    });
    Ok(Images { kernel, programs: programs.collect::<Result<_>>()? })
}

/// The same programs with another kernel.
pub(crate) fn with_kernel(core: Option<Core>, images: &Images, which: Kernel) -> Result<Images> {
    Ok(Images { kernel: kernel(toolchain::choose(core)?, which)?, ..images.clone() })
}

/// A kernel from the sources in `root`, a copy of this repository; built in `target`, a folder of its own.
pub(crate) fn kernel_of(core: Option<Core>, root: &Path, target: &Path, which: Kernel) -> Result<PathBuf> {
    let way = toolchain::choose(core)?;
    kernel_in(way, which, root, Some(target))
}

/// Writes kernel and archive for booting into `target/medium[-slim]`; with another kernel than the plain one into
/// a folder of its own.
pub(crate) fn medium(images: &Images, size: Size) -> Result<Medium> {
    let kernel = images.kernel.file_name().unwrap_or_default().to_string_lossy();
    let slim = if size == Size::Slim { "-slim" } else { "" };
    medium_in(images, size, &format!("medium{}{slim}", kernel.trim_start_matches("kernel")))
}

/// As [`medium`], in this folder of the build folder.
pub(crate) fn medium_in(images: &Images, size: Size, folder: &str) -> Result<Medium> {
    setup::ensure(&[Need::Objcopy])?;
    let dir = paths::work(folder)?;
    let kernel = dir.join("corey");
    strip(&images.kernel, &kernel, size)?;
    let mut bytes = Vec::new();
    let mut writer = Writer::new(DataAt::Page, |part: &[u8]| bytes.extend_from_slice(part));
    for program in images.programs.iter().filter(|p| belongs(&p.name, size)) {
        let stripped = dir.join(&program.name);
        strip(&program.elf, &stripped, size)?;
        writer.file(&format!("bin/{}", program.name), 0o755, &read(&stripped)?);
    }
    let mut symbols = Symbols::default();
    symbols.add_elf(&images.kernel, "")?;
    writer.file(table::PATH, 0o644, &symbols.kernel_file());
    writer.finish();
    let archive = dir.join("corey.cpio");
    std::fs::write(&archive, bytes)?;
    Ok(Medium { kernel, archive })
}

/// Whether a package of `images/` is a kernel.
pub(crate) fn is_kernel(name: &str) -> bool {
    name == "kernel" || name.starts_with("kernel-")
}

/// Names of the packages in `images/`, the kernels left out, sorted.
pub(crate) fn program_names(images: &Path) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(images)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if !is_kernel(&name) && entry.path().join("Cargo.toml").is_file() {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}

/// Reads a file; the error names it.
pub(crate) fn read(path: &Path) -> Result<Vec<u8>> {
    std::fs::read(path).map_err(|error| format!("{}: {error}", path.display()).into())
}

fn belongs(name: &str, size: Size) -> bool {
    size == Size::Full || name == "init" || BENCHMARKS.iter().any(|b| b.name == name)
}

fn script(name: &str) -> Result<String> {
    let path = paths::root().join("images").join(name);
    if !path.is_file() {
        return Err(format!("the linker script {} is missing", path.display()).into());
    }
    Ok(format!("-Clink-arg=-T{}", path.display()))
}

/// Guards on every edge, and the table of their addresses.
const GUARDS: [&str; 4] = [
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=3",
    "-Cllvm-args=-sanitizer-coverage-trace-pc-guard",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
];

fn kernel(way: Core, which: Kernel) -> Result<PathBuf> {
    // What is built with guards lies apart: neither build throws away the other's work.
    let apart = toolchain::kernel_target_dir(way).join("coverage");
    kernel_in(way, which, &paths::root(), (which == Kernel::Coverage).then_some(&*apart))
}

fn kernel_in(way: Core, which: Kernel, root: &Path, target: Option<&Path>) -> Result<PathBuf> {
    let package = which.package();
    let mut cargo = toolchain::kernel_cargo(way, "rustc", target);
    let dir = target.map_or_else(|| toolchain::kernel_target_dir(way), Path::to_path_buf);
    // Backtraces walk frame pointers.
    let mut flags = vec!["-Cforce-frame-pointers=yes"];
    if which == Kernel::Coverage {
        flags.extend(GUARDS);
        // Linked as a whole, all would be guarded twice. Nothing is optimized, so nothing inlined: each edge of the source
        // is there once, and none is merged with another.
        flags.push("-Cno-prepopulate-passes");
        cargo.args(["--config", "profile.release.lto=\"off\"", "--config", "profile.release.opt-level=0"]);
    }
    let flags: Vec<String> = flags.iter().map(|flag| format!("{flag:?}")).collect();
    let flags = format!("target.{KERNEL_TARGET}.rustflags=[{}]", flags.join(","));
    cargo.args(["--release", "-p", package, "--bin", package, "--config", &flags, "--"]);
    let script = root.join("images/kernel/kernel.ld");
    cargo.args(["-Crelocation-model=static", &format!("-Clink-arg=-T{}", script.display())]);
    cargo.args(["-Clink-arg=-zmax-page-size=4096", "-Clink-arg=--build-id=none"]);
    quiet(&format!("Building {package}"), cargo.current_dir(root))?;
    Ok(dir.join(KERNEL_TARGET).join("release").join(package))
}

fn program(name: &str, base: u64) -> Result<PathBuf> {
    let mut cargo = Command::new(toolchain::cargo());
    cargo.args(["rustc", "--target", USER_TARGET, "--release"]);
    cargo.args(["-p", name, "--bin", name, "--"]);
    cargo.args(["-Crelocation-model=static", "-Clinker=rust-lld", "-Clinker-flavor=ld.lld"]);
    cargo.arg(script("user.ld")?);
    cargo.arg("-Clink-arg=--defsym=rust_eh_personality=0");
    cargo.arg(format!("-Clink-arg=--defsym=IMAGE_BASE={base:#x}"));
    quiet(&format!("Building {name}"), cargo.current_dir(paths::root()))?;
    Ok(paths::target().join(USER_TARGET).join("release").join(name))
}

fn strip(from: &Path, to: &Path, size: Size) -> Result<()> {
    let what = match size {
        Size::Full => "--strip-debug",
        Size::Slim => "--strip-all",
    };
    quiet("", Command::new("objcopy").arg(what).arg(from).arg(to))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_found_and_the_kernel_is_not_one() {
        let names = program_names(&paths::root().join("images")).unwrap();
        assert!(!names.iter().any(|name| is_kernel(name)));
        assert!(names.is_sorted());
    }

    #[test]
    fn a_slim_medium_has_init_and_the_benchmarks() {
        assert!(belongs("init", Size::Slim) && belongs("memclone", Size::Slim));
        assert!(!belongs("test-share", Size::Slim) && belongs("test-share", Size::Full));
    }
}
