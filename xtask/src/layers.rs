//! `cargo xtask layers`: dependencies point one way, and each layer keeps its rules.

use std::path::{Path, PathBuf};

use crate::workspace::{Package, packages};
use crate::{Result, build, paths};

/// A folder, and the folders its packages may depend on. The first row whose folder contains a
/// package is the package's row; a folder contains itself.
type Layer = (&'static str, &'static [&'static str]);

/// What the objects of the kernel stand on.
const BASE: [&str; 6] = [
    "crates/abi",
    "crates/lib",
    "crates/kernel/hal",
    "crates/kernel/percore",
    "crates/kernel/mem",
    "crates/kernel/object",
];

/// What a kernel image joins.
const KERNELS: [&str; 5] = ["crates/abi", "crates/lib", "crates/kernel", "crates/drivers", "arch"];

/// The direction of dependencies, from the bottom to the top.
const LAYERS: &[Layer] = &[
    ("crates/abi", &[]),
    ("crates/lib", &["crates/abi", "crates/lib"]),
    ("crates/kernel/hal", &["crates/abi", "crates/lib"]),
    ("crates/kernel/percore", &BASE),
    ("crates/kernel/mem", &BASE),
    ("crates/kernel/object", &BASE),
    ("crates/kernel/kernel-core", &["crates/abi", "crates/lib", "crates/kernel"]),
    ("crates/kernel/corey", &["crates/abi", "crates/lib", "crates/kernel"]),
    ("crates/kernel/share", &BASE),
    ("crates/kernel/segment", &with_share()),
    ("crates/kernel/atree", &with_segment()),
    ("crates/kernel/pcore", &with_atree()),
    ("crates/kernel/device", &with_atree()),
    ("crates/drivers", &["crates/abi", "crates/lib", "crates/kernel/hal", "crates/drivers"]),
    ("arch/x86-64/user", &["crates/abi", "crates/lib"]),
    // The facade puts a platform together: its console and its bus are drivers.
    ("arch/x86-64/facade", &["crates/abi", "crates/lib", "crates/kernel/hal", "crates/drivers", "arch"]),
    ("arch", &["crates/abi", "crates/lib", "crates/kernel/hal", "arch"]),
    ("crates/libos/sys", &["crates/abi", "crates/lib", "crates/libos", "arch/x86-64/user"]),
    // Start-up code is the machine's.
    ("crates/libos/rt", &["crates/abi", "crates/lib", "crates/libos", "arch/x86-64/user"]),
    ("crates/libos", &["crates/abi", "crates/lib", "crates/libos"]),
    ("crates/apps", &["crates/abi", "crates/lib", "crates/libos", "crates/apps"]),
    ("crates/test/host-cache", &["crates/lib", "crates/libos/cache"]),
    // Parts of a machine: a card comes with its driver.
    ("crates/test/plugged", &["crates/kernel/hal", "crates/drivers", "crates/test"]),
    ("crates/test", &["crates/abi", "crates/lib", "crates/kernel", "crates/test"]),
    // Its client's stack is our own.
    ("crates/tools/loadgen", &["crates/lib", "crates/libos/net"]),
    ("crates/tools", &["crates/abi", "crates/lib", "crates/tools"]),
    ("images/kernel", &KERNELS),
    ("images/kernel-coverage", &KERNELS),
    ("images/kernel-probe", &KERNELS),
    ("images", &["crates/abi", "crates/lib", "crates/libos", "crates/apps", "arch/x86-64/user"]),
    // What of the library operating system also runs as a Linux program.
    ("benches/hosted", &["crates/lib", "crates/libos/cache", "crates/libos/fs", "crates/libos/heap"]),
    ("benches", &["crates/lib", "arch/x86-64/user"]),
    // The other end of the machine's wire.
    (
        "xtask",
        &[
            "crates/abi",
            "crates/lib",
            "crates/tools",
            "crates/libos/net",
            "crates/test/host-net",
            "crates/drivers/console",
            "crates/kernel/hal",
        ],
    ),
];

const fn with_share() -> [&'static str; 7] {
    let [a, b, c, d, e, f] = BASE;
    [a, b, c, d, e, f, "crates/kernel/share"]
}

const fn with_segment() -> [&'static str; 8] {
    let [a, b, c, d, e, f, g] = with_share();
    [a, b, c, d, e, f, g, "crates/kernel/segment"]
}

const fn with_atree() -> [&'static str; 9] {
    let [a, b, c, d, e, f, g, h] = with_segment();
    [a, b, c, d, e, f, g, h, "crates/kernel/atree"]
}

/// Folders only tests may depend on.
const TESTS_ONLY: &str = "crates/test";

/// Checks everything.
///
/// # Errors
///
/// Every violation, each with what to do about it.
pub(crate) fn command() -> Result<()> {
    let packages = packages()?;
    let mut found = directions(&packages);
    found.extend(kernel_features(&packages));
    for package in &packages {
        if let Some(path) = &package.library {
            let text = String::from_utf8(build::read(path)?)?;
            found.extend(unsafe_policy(&package.folder, &text));
        }
    }
    for file in rust_files(&paths::root())? {
        let text = String::from_utf8_lossy(&build::read(&file)?).into_owned();
        let file = file.strip_prefix(paths::root()).unwrap_or(&file);
        found.extend(architecture(&file.display().to_string(), &text));
    }
    if found.is_empty() {
        println!("layers: {} packages depend in one direction", packages.len());
        return Ok(());
    }
    Err(format!("{} violations\n  {}", found.len(), found.join("\n  ")).into())
}

fn contains(folder: &str, package: &str) -> bool {
    package.strip_prefix(folder).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

fn directions(packages: &[Package]) -> Vec<String> {
    let mut found = Vec::new();
    for package in packages {
        let row = LAYERS.iter().find(|(folder, _)| contains(folder, &package.folder));
        let Some((layer, allowed)) = row else {
            found.push(format!(
                "{}: no layer has this folder; add a row to LAYERS in xtask/src/layers.rs, or move it",
                package.folder
            ));
            continue;
        };
        let reaches = |used: &str| allowed.iter().any(|folder| contains(folder, used));
        let tests = package.tests_use.iter().filter(|used| !contains(TESTS_ONLY, used));
        for used in package.uses.iter().chain(tests).filter(|used| !reaches(used)) {
            found.push(format!(
                "{} → {used}: {layer} may use only {}; move the code down, or pass it in as a trait \
                 of a lower layer",
                package.folder,
                if allowed.is_empty() { "nothing".to_owned() } else { allowed.join(", ") },
            ));
        }
    }
    found
}

fn kernel_features(packages: &[Package]) -> Vec<String> {
    let kernel = packages.iter().filter(|p| contains("crates/kernel", &p.folder));
    let named = kernel.filter(|p| !p.features.is_empty());
    let text = |p: &Package| {
        format!(
            "{}: features {}; kernel crates have none: make it data chosen at boot",
            p.folder,
            p.features.join(", ")
        )
    };
    named.map(text).collect()
}

fn unsafe_policy(folder: &str, library: &str) -> Option<String> {
    let stated = ["#![forbid(unsafe_code)]", "#![allow(unsafe_code", "#![allow(\n    unsafe_code"];
    (!stated.iter().any(|text| library.contains(text))).then(|| {
        format!(
            "{folder}: its lib.rs does not say whether it has unsafe code; add \
             #![forbid(unsafe_code)], or #![allow(unsafe_code, reason = \"…\")]"
        )
    })
}

fn architecture(file: &str, text: &str) -> Vec<String> {
    if contains("arch", file) || contains("xtask", file) {
        return Vec::new();
    }
    let lines = text.lines().enumerate().filter(|(_, line)| line.contains("target_arch"));
    let message = |(n, _): (usize, &str)| {
        format!("{file}:{}: target_arch outside arch/; move what differs there, behind hal", n + 1)
    };
    lines.map(message).collect()
}

fn rust_files(dir: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(dir)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if path.is_dir() && name != "target" && !name.starts_with('.') {
            files.extend(rust_files(&path)?);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn package(folder: &str, uses: &[&str], tests_use: &[&str]) -> Package {
        let strings = |list: &[&str]| list.iter().map(|s| (*s).to_owned()).collect();
        Package {
            folder: folder.to_owned(),
            uses: strings(uses),
            tests_use: strings(tests_use),
            ..Package::default()
        }
    }

    fn violations(folder: &str, uses: &[&str], tests_use: &[&str]) -> usize {
        directions(&[package(folder, uses, tests_use)]).len()
    }

    #[test]
    fn a_dependency_upwards_is_a_violation() {
        assert_eq!(violations("crates/abi", &["crates/lib/sync"], &[]), 1);
        assert_eq!(violations("crates/kernel/mem", &["crates/kernel/share"], &[]), 1);
        assert_eq!(violations("crates/kernel/segment", &["crates/kernel/atree"], &[]), 1);
        assert_eq!(violations("crates/libos/vm", &["crates/kernel/hal"], &[]), 1);
        assert_eq!(violations("arch/x86-64/paging", &["crates/kernel/segment"], &[]), 1);
        assert_eq!(violations("crates/drivers/pci", &["crates/kernel/device"], &[]), 1);
        assert_eq!(violations("images/init", &["arch/x86-64/asm"], &[]), 1);
    }

    #[test]
    fn dependencies_downwards_are_none() {
        assert_eq!(violations("crates/kernel/atree", &["crates/kernel/segment", "crates/abi"], &[]), 0);
        assert_eq!(violations("crates/libos/sys", &["arch/x86-64/user"], &[]), 0);
        assert_eq!(violations("images/kernel", &["crates/kernel/corey", "arch/x86-64/facade"], &[]), 0);
    }

    #[test]
    fn only_tests_may_use_the_test_crates() {
        assert_eq!(violations("crates/kernel/share", &[], &["crates/test/hal-host"]), 0);
        assert_eq!(violations("crates/kernel/share", &["crates/test/hal-host"], &[]), 1);
    }

    #[test]
    fn a_folder_without_a_layer_is_named() {
        let found = directions(&[package("crates/util/misc", &[], &[])]);
        assert!(found[0].contains("add a row to LAYERS"));
        assert_eq!(violations("crates/library", &[], &[]), 1, "not crates/lib");
    }

    #[test]
    fn features_architecture_and_silence_about_unsafe_are_violations() {
        let mut kernel = package("crates/kernel/mem", &[], &[]);
        kernel.features.push("fast".to_owned());
        assert_eq!(kernel_features(&[kernel]).len(), 1);
        assert_eq!(architecture("crates/lib/sync/src/lib.rs", "\n#[cfg(target_arch = \"x86_64\")]").len(), 1);
        assert!(architecture("arch/x86-64/asm/src/lib.rs", "cfg!(target_arch)").is_empty());
        assert!(unsafe_policy("crates/x", "//! Nothing.").is_some());
        assert!(unsafe_policy("crates/x", "#![forbid(unsafe_code)]").is_none());
    }
}
