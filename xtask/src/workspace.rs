//! The packages of this workspace, as cargo sees them.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::process::quiet;
use crate::{Result, paths, toolchain};

/// A package and its dependencies inside the workspace.
#[derive(Clone, Debug, Default)]
pub(crate) struct Package {
    /// Its name.
    pub(crate) name: String,
    /// Its folder, relative to the repository.
    pub(crate) folder: String,
    /// Folders of the workspace's packages it depends on, build dependencies included.
    pub(crate) uses: Vec<String>,
    /// Folders it depends on for its tests only.
    pub(crate) tests_use: Vec<String>,
    /// Names of packages from elsewhere it depends on, of every kind.
    pub(crate) borrows: Vec<String>,
    /// Cargo features it declares.
    pub(crate) features: Vec<String>,
    /// The root file of its library, if it has one.
    pub(crate) library: Option<PathBuf>,
}

/// Every package of the workspace.
pub(crate) fn packages() -> Result<Vec<Package>> {
    let mut cargo = Command::new(toolchain::cargo());
    cargo.args(["metadata", "--no-deps", "--format-version", "1"]);
    let text = quiet("", cargo.current_dir(paths::root()))?;
    let metadata: Value = serde_json::from_str(&text)?;
    let packages = metadata["packages"].as_array().ok_or("cargo metadata lists no packages")?;
    Ok(packages.iter().map(package).collect())
}

fn package(value: &Value) -> Package {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let manifest = PathBuf::from(text(&value["manifest_path"]));
    let folder = relative(manifest.parent().unwrap_or(Path::new("")));
    let mut package = Package { name: text(&value["name"]), folder, ..Package::default() };
    for dependency in value["dependencies"].as_array().into_iter().flatten() {
        match dependency["path"].as_str() {
            Some(path) if dependency["kind"] == "dev" => {
                package.tests_use.push(relative(Path::new(path)));
            }
            Some(path) => package.uses.push(relative(Path::new(path))),
            None => package.borrows.push(text(&dependency["name"])),
        }
    }
    let features = value["features"].as_object();
    package.features = features.into_iter().flat_map(|f| f.keys().cloned()).collect();
    let is_library = |target: &&Value| {
        let kinds = target["kind"].as_array();
        kinds.is_some_and(|k| k.iter().any(|k| k == "lib" || k == "cdylib"))
    };
    let targets = value["targets"].as_array();
    let library = targets.and_then(|all| all.iter().find(is_library));
    package.library = library.map(|target| PathBuf::from(text(&target["src_path"])));
    package
}

fn relative(path: &Path) -> String {
    path.strip_prefix(paths::root()).unwrap_or(path).display().to_string()
}
