//! `cargo xtask iso`: the GRUB boot medium for BIOS and UEFI.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use crate::build::{self, Medium, Size};
use crate::process::quiet;
use crate::setup::{self, Need};
use crate::toolchain::Core;
use crate::{Result, paths};

/// All that GRUB needs to boot from the medium; on UEFI `part_*` and `echo` avoid error lines.
const SLIM_MODULES: &str = "normal multiboot2 iso9660 serial terminal echo part_gpt part_msdos \
                            part_apple all_video";

/// Words of `cargo xtask iso`.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Words for the kernel and init, as in "bench=null cores=1,2"; without: every benchmark.
    #[arg(long, default_value = "")]
    cmdline: String,
    /// Only the GRUB modules used, a stripped kernel with its symbol table, init and benchmarks.
    #[arg(long)]
    slim: bool,
}

/// Builds everything and writes `target/iso/corey.iso`.
pub(crate) fn command(core: Option<Core>, options: &Options) -> Result<ExitCode> {
    let size = if options.slim { Size::Slim } else { Size::Full };
    let images = build::images(core)?;
    let medium = build::medium(&images, size)?;
    let iso = write(&medium, size, &options.cmdline, "corey.iso")?;
    let kib = std::fs::metadata(&iso)?.len() / 1024;
    println!("{} ({kib} KiB)", iso.display());
    Ok(ExitCode::SUCCESS)
}

/// Writes the medium as `target/iso/NAME`.
pub(crate) fn write(medium: &Medium, size: Size, cmdline: &str, name: &str) -> Result<PathBuf> {
    setup::ensure(&[Need::Iso])?;
    let menu = menu(cmdline)?;
    let iso = paths::work("iso")?.join(name);
    let tree = paths::work(&format!("iso/{name}.d/boot/grub"))?;
    let boot = tree.parent().expect("the path has three parts");
    std::fs::write(tree.join("grub.cfg"), menu)?;
    copy(&medium.kernel, &boot.join("corey"))?;
    copy(&medium.archive, &boot.join("corey.cpio"))?;
    let mut grub = Command::new("grub-mkrescue");
    grub.arg("-o").arg(&iso).arg(boot.parent().expect("as above"));
    grub.args(["--locales=", "--themes=", "--fonts="]);
    if size == Size::Slim {
        grub.arg(format!("--install-modules={SLIM_MODULES}"));
    }
    quiet("", &mut grub)?;
    Ok(iso)
}

/// The GRUB menu with `cmdline` in it, each word quoted.
fn menu(cmdline: &str) -> Result<String> {
    let template = build::read(&paths::root().join("grub/iso.cfg"))?;
    let template = String::from_utf8(template)?;
    let mut words = String::new();
    for word in cmdline.split_whitespace() {
        if word.contains(|c: char| c == '\'' || c.is_control()) {
            return Err(format!("{word}: quotes and control characters cannot be passed").into());
        }
        words.push_str(&format!(" '{word}'"));
    }
    let lines = template.lines().filter(|line| !line.trim_start().starts_with('#'));
    let menu: String = lines.flat_map(|line| [line, "\n"]).collect();
    if menu.matches("@CMDLINE@").count() != 1 {
        return Err("grub/iso.cfg must contain @CMDLINE@ once".into());
    }
    Ok(menu.replace(" @CMDLINE@", &words))
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    std::fs::copy(from, to).map_err(|error| format!("{}: {error}", from.display()))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::menu;

    #[test]
    fn words_are_quoted_in_the_menu() {
        let text = menu("bench=null  cores=1,2").unwrap();
        assert!(text.contains("multiboot2 /boot/corey 'bench=null' 'cores=1,2'\n"));
        assert!(menu("").unwrap().contains("multiboot2 /boot/corey\n"));
        assert!(text.contains("set timeout=0"));
        assert!(menu("it's").is_err());
    }
}
