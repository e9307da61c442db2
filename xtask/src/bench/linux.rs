//! The Linux guest: Debian's 6.12 kernel, fetched and not installed, and our peer as its init.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use corey_lib_archive::{DataAt, Writer};

use crate::process::{on_path, quiet};
use crate::setup;
use crate::toolchain::{self, USER_TARGET};
use crate::{Result, build, paths};

/// The package that depends on the newest 6.12 kernel.
const PACKAGE: &str = "linux-image-6.12-amd64";
/// Its network card's driver, a module.
const DRIVER: &str = "e1000.ko.xz";
/// The kernel's words; each is explained in `benches/linux-peer`.
const WORDS: &str = "nokaslr clocksource=tsc tsc=reliable mitigations=off \
                                transparent_hugepage=madvise console=ttyS0 quiet panic=-1";

/// What the Linux guest boots.
#[derive(Clone, Debug)]
pub(super) struct Linux {
    /// vmlinuz.
    pub(super) kernel: PathBuf,
    /// The initramfs with the peer.
    pub(super) initramfs: PathBuf,
    /// The peer, with symbols.
    pub(super) peer: PathBuf,
}

/// The kernel's words, with `changed` in place of those that have the same key.
pub(super) fn words(changed: &str) -> String {
    let key = |word: &str| word.split('=').next().unwrap_or(word).to_owned();
    let new: Vec<String> = changed.split_whitespace().map(key).collect();
    let kept = WORDS.split_whitespace().filter(|word| !new.contains(&key(word)));
    kept.chain(changed.split_whitespace()).collect::<Vec<_>>().join(" ")
}

/// Fetches the kernel unless it is there, and builds the peer.
pub(super) fn prepare() -> Result<Linux> {
    let dir = paths::work("linux")?;
    let (kernel, driver) = (dir.join("vmlinuz"), dir.join(DRIVER));
    if !kernel.is_file() || !driver.is_file() {
        fetch(&dir, &kernel, &driver).map_err(|error| {
            format!(
                "{error}\nThe Linux guest needs the package {PACKAGE} of Debian 12's security archive \
                 (it is only unpacked). Without it: cargo xtask bench --vs none, or put its vmlinuz and {DRIVER} into {}",
                dir.display()
            )
        })?;
    }
    let peer = build_peer()?;
    let mut bytes = Vec::new();
    let mut writer = Writer::new(DataAt::Word, |part: &[u8]| bytes.extend_from_slice(part));
    writer.directory("dev");
    writer.character_device("dev/console", 5, 1);
    writer.file("init", 0o755, &build::read(&peer)?);
    writer.file(DRIVER, 0o644, &build::read(&driver)?);
    writer.finish();
    let initramfs = dir.join("peer.cpio");
    std::fs::write(&initramfs, bytes)?;
    Ok(Linux { kernel, initramfs, peer })
}

fn build_peer() -> Result<PathBuf> {
    let mut cargo = Command::new(toolchain::cargo());
    cargo.args(["rustc", "--release", "-p", "linux-peer", "--target", USER_TARGET, "--"]);
    // Static, at fixed addresses: the meter's addresses then name its functions.
    cargo.args(["-Ctarget-feature=+crt-static", "-Crelocation-model=static"]);
    quiet("Building the Linux peer", cargo.current_dir(paths::root()))?;
    Ok(paths::target().join(USER_TARGET).join("release/linux-peer"))
}

fn fetch(dir: &Path, kernel: &Path, driver: &Path) -> Result<()> {
    if !on_path("apt-get") || !on_path("dpkg-deb") {
        return Err("apt-get and dpkg-deb are not here".into());
    }
    println!("Fetching Debian's 6.12 kernel for the Linux guest; it is unpacked, not installed.");
    let name = match dependency() {
        Ok(name) => name,
        Err(_) => {
            quiet("Refreshing the package lists", &mut setup::apt(&["update"])?)?;
            dependency()?
        }
    };
    let mut download = Command::new("apt-get");
    download.args(["download", "-q", &name]).current_dir(dir);
    if quiet(&format!("Downloading {name}"), &mut download).is_err() {
        quiet("Refreshing the package lists", &mut setup::apt(&["update"])?)?;
        quiet(&format!("Downloading {name}"), &mut download)?;
    }
    // apt may write a `+` of the name as `%2b`.
    let package = find(dir, |file| file.ends_with(".deb"))?;
    unpack(&package, dir)?;
    let image = find(&dir.join("boot"), |file| file.starts_with("vmlinuz"))?;
    std::fs::rename(image, kernel)?;
    let release = find(&dir.join("lib/modules"), |_| true)?;
    std::fs::rename(release.join("kernel/drivers/net/ethernet/intel/e1000").join(DRIVER), driver)?;
    std::fs::remove_dir_all(dir.join("lib"))?;
    std::fs::remove_file(package)?;
    Ok(())
}

/// The package that holds the kernel: what the metapackage depends on.
fn dependency() -> Result<String> {
    let text = quiet("", Command::new("apt-cache").args(["depends", PACKAGE]))?;
    let mut names = text.lines().filter_map(|line| line.trim().strip_prefix("Depends: "));
    let name = names.find(|name| name.starts_with("linux-image-6.12"));
    Ok(name.ok_or_else(|| format!("apt does not know {PACKAGE}"))?.to_owned())
}

/// Unpacks `./boot/vmlinuz-*` and the card's driver only: the rest is 100 MB of modules.
fn unpack(package: &Path, dir: &Path) -> Result<()> {
    let mut dpkg = Command::new("dpkg-deb");
    dpkg.arg("--fsys-tarfile").arg(package).stdout(Stdio::piped());
    let mut dpkg = dpkg.spawn()?;
    let stream = dpkg.stdout.take().expect("it is piped");
    let mut tar = Command::new("tar");
    tar.arg("-x").arg("-C").arg(dir).stdin(stream);
    tar.args(["--wildcards", "./boot/vmlinuz-*", &format!("./lib/modules/*/{DRIVER}")]);
    let status = tar.status()?;
    if !dpkg.wait()?.success() || !status.success() {
        return Err(format!("cannot unpack {}", package.display()).into());
    }
    Ok(())
}

fn find(dir: &Path, wanted: impl Fn(&str) -> bool) -> Result<PathBuf> {
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        if wanted(&entry.file_name().to_string_lossy()) {
            return Ok(entry.path());
        }
    }
    Err(format!("nothing of the expected name in {}", dir.display()).into())
}

#[cfg(test)]
mod tests {
    #[test]
    fn changed_words_take_the_place_of_ours() {
        let words = super::words("mitigations=auto nosmt");
        assert!(words.starts_with("nokaslr clocksource=tsc"), "{words}");
        assert!(words.ends_with("panic=-1 mitigations=auto nosmt"), "{words}");
        assert!(!words.contains("mitigations=off"));
    }
}
