//! The fuzzer in CI: five million calls on the kernel, and 200,000 on one that says which code they reach.

use std::time::Instant;

use crate::Result;
use crate::build::{self, Kernel, Medium, Size};
use crate::fuzz::{CI_CALLS, COVERED_CALLS, Run, fresh_seed};
use crate::qemu::Execution;
use crate::toolchain::Core;

use super::{Built, Case, Verdict, show};

/// Edges of the call crates that a run must reach, in percent. What is missing is memory that runs out, waits that only
/// other timings bring about, what needs the boot share, and what prints the map of objects.
const COVERED: u64 = 85;

/// Both runs. The seed is another one each time, and printed.
pub(super) fn cases(core: Option<Core>, built: &Built) -> Result<Vec<Case>> {
    let fuzzed = run(&built.medium, None, CI_CALLS);
    let images = build::with_kernel(core, &built.images, Kernel::Coverage)?;
    let medium = build::medium(&images, Size::Full)?;
    Ok(vec![fuzzed, run(&medium, Some(&images.kernel), COVERED_CALLS)])
}

fn run(medium: &Medium, covered: Option<&std::path::Path>, calls: u64) -> Case {
    let start = Instant::now();
    let run = Run {
        medium,
        covered,
        seed: fresh_seed(),
        cores: 4,
        calls,
        each: 20_000,
        cpu: "max,-erms,-fsrm",
        execution: Execution::Multi,
    };
    let name =
        format!("{calls} random calls{}", if covered.is_some() { ", and the code they reach" } else { "" });
    let verdict = match run.run(false) {
        Err(error) => Verdict::Failed(error.to_string()),
        Ok(report) => {
            println!("  {}", report.line());
            if let Some(coverage) = &report.coverage {
                print!("{coverage}");
            }
            let ((done, all), _) = report.coverage.as_ref().map_or_else(Default::default, |c| c.of_calls());
            match report.failure {
                Some(failure) => Verdict::Failed(failure),
                None if covered.is_some() && done * 100 < all * COVERED => Verdict::Failed(format!(
                    "{done} of {all} edges of the call crates, less than {COVERED} %"
                )),
                None => Verdict::Passed,
            }
        }
    };
    let case = (name, verdict);
    show(&case, Some(start));
    case
}
