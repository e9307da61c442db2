//! One boot, and where its records are kept.

use std::path::{Path, PathBuf};
use std::time::Duration;

use corey_lib_sharing::{Case, Part, cards, cores};
use serde_json::Value;

use crate::Result;
use crate::build::Medium;
use crate::qemu::{Boot, End, Execution, Machine};

use super::Run;

/// Where a boot's records are.
#[derive(Debug)]
pub(super) struct Files {
    /// What the guest said.
    said: PathBuf,
    /// What the meter saw.
    metered: PathBuf,
}

impl Files {
    /// Those of `run`, in `dir`.
    pub(super) fn new(dir: &Path, run: &Run) -> Self {
        let file =
            |what: &str| dir.join(format!("{what}-{}-{}.jsonl", names(run).replace(',', "-"), run.workers));
        Self { said: file("guest"), metered: file("meter") }
    }

    /// The guest's records, and the meter's as text.
    pub(super) fn read(&self) -> Result<(Vec<Value>, String)> {
        let read = |path: &Path| {
            std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))
        };
        let said = read(&self.said)?.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
        Ok((said, read(&self.metered)?))
    }

    /// Boots once and keeps the records.
    pub(super) fn boot(
        &self,
        medium: &Medium,
        library: &Path,
        run: &Run,
        seed: Option<u64>,
        case: Option<Case>,
    ) -> Result<()> {
        let mut words =
            format!("init=sharing part={} workers={} iters={}", names(run), run.workers, run.iters);
        if let Some(seed) = seed {
            words += &format!(" seed={seed}");
        }
        if let Some(case) = case {
            words += &format!(" case={}", case.name());
        }
        let boot = Boot::Direct(medium.kernel.clone(), Some(medium.archive.clone()), words);
        let cores = cores(run.workers, run.parts.iter().any(|part| part.is_by_ring()));
        let mut machine = Machine::new(cores, if cores > 40 { "4G" } else { "2G" }, boot);
        machine.execution = Execution::Counted;
        machine.cards = vec!["e1000"; cards(run.workers) as usize];
        let plugin = format!("{},out={},hot=4,lines=on", library.display(), self.metered.display());
        machine.plugin = Some(plugin);
        let outcome = machine.run(Duration::from_secs(3600), |_| ())?;
        if outcome.end != End::PoweredOff {
            return Err(format!("ended as {:?}\n{}\n{}", outcome.end, machine.line(), outcome.tail()).into());
        }
        let said = outcome.lines.iter().filter(|line| line.starts_with('{'));
        std::fs::write(&self.said, said.flat_map(|line| [line.as_str(), "\n"]).collect::<String>())?;
        Ok(())
    }
}

/// The parts of a run, as the guest reads them.
pub(super) fn names(run: &Run) -> String {
    let names: Vec<&str> = run.parts.iter().map(|part: &Part| part.name()).collect();
    names.join(",")
}
