//! `cargo xtask report`: one page of records.

use std::path::{Path, PathBuf};

use corey_tools_report::{Records, claim, html};

use crate::{Result, build, model, paths};

/// Words of `cargo xtask report`.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Options {
    /// Records of `cargo xtask bench --json FILE`, with or without --count.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Where the page goes; without: report.html in the build folder.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

/// Makes the page.
pub(crate) fn command(options: &Options) -> Result<()> {
    write(&model::read(&options.files)?, options.out.as_deref())
}

/// Writes the page of `records` and says where it is.
pub(crate) fn write(records: &Records, path: Option<&Path>) -> Result<()> {
    let path = match path {
        Some(path) => path.to_path_buf(),
        None => paths::work("bench")?.join("report.html"),
    };
    std::fs::write(&path, html(records, claim_of)).map_err(|e| format!("{}: {e}", path.display()))?;
    println!("{} benchmarks in {}", records.benches().len(), path.display());
    Ok(())
}

/// What the README of a benchmark claims.
fn claim_of(bench: &str) -> Option<String> {
    let readme = build::read(&paths::root().join("benches").join(bench).join("README.md")).ok()?;
    claim::claim(&String::from_utf8_lossy(&readme))
}
