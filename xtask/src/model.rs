//! `cargo xtask model`: what the paper's machines would do, from counts.

use std::path::{Path, PathBuf};

use corey_tools_model::{constants, selftest};
use corey_tools_report::Records;

use crate::{Result, build};

/// Words of `cargo xtask model`.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Options {
    /// Records of `cargo xtask bench --count --json FILE` to predict from; without: constants and self-test only.
    #[arg(long)]
    counts: Option<PathBuf>,
}

/// Prints constants, self-test and predictions.
pub(crate) fn command(options: &Options) -> Result<()> {
    println!("Constants: what the model is given.\n\n{}", constants::table());
    println!(
        "Self-test: what it was not given. A MISS is a value of the paper outside the band.\n\n{}",
        selftest::table()
    );
    let Some(path) = &options.counts else {
        println!("Predictions: --counts FILE, with records of cargo xtask bench --count --json FILE.");
        return Ok(());
    };
    let records = read(&[path])?;
    if records.predicted().is_empty() {
        return Err(format!(
            "{}: no counts; make them by cargo xtask bench --count --json FILE",
            path.display()
        )
        .into());
    }
    println!(
        "Predicted operations a second of all cores together, and their band.\n\n{}",
        records.predictions()
    );
    println!("{}", corey_tools_report::series::NOTE);
    let gains = records.kernel_core();
    if !gains.is_empty() {
        println!("\nPredicted gain of a kernel core.\n\n{gains}\n{}", corey_tools_report::split::NOTE);
    }
    Ok(())
}

/// Reads records of all files.
pub(crate) fn read(paths: &[impl AsRef<Path>]) -> Result<Records> {
    let mut text = String::new();
    for path in paths {
        text += &String::from_utf8_lossy(&build::read(path.as_ref())?);
        text.push('\n');
    }
    Ok(Records::read(text.lines()))
}
