//! Where things are: the repository and the build folder.

use std::path::{Path, PathBuf};

/// The repository's root: the folder above `xtask/`.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask/ lies inside the repository").to_path_buf()
}

/// The build folder: `CARGO_TARGET_DIR` where it is set, else `target/`.
pub(crate) fn target() -> PathBuf {
    match std::env::var_os("CARGO_TARGET_DIR") {
        Some(dir) => std::path::absolute(PathBuf::from(dir)).expect("a current directory exists"),
        None => root().join("target"),
    }
}

/// A folder below the build folder; created when it is missing.
pub(crate) fn work(name: &str) -> std::io::Result<PathBuf> {
    let dir = target().join(name);
    std::fs::create_dir_all(&dir)?;
    Ok(dir)
}
