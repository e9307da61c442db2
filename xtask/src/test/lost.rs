//! Cores made to stop at random: the others finish.

use std::time::Instant;

use crate::Result;
use crate::fuzz::fresh_seed;
use crate::lost::{CI, FULL, run};
use crate::toolchain::Core;

use super::{Built, Case, Verdict, show};

/// The seed is another one each time, and printed when something fails.
pub(super) fn cases(core: Option<Core>, built: &Built, full: bool) -> Result<Vec<Case>> {
    let fails = if full { FULL } else { CI };
    let start = Instant::now();
    let report = run(core, &built.images, fresh_seed(), fails, None, false)?;
    let verdict = if report.failures.is_empty() {
        Verdict::Passed
    } else {
        Verdict::Failed(report.failures.join("\n"))
    };
    let case = (format!("{fails} cores made to stop"), verdict);
    show(&case, Some(start));
    println!("{report}");
    Ok(vec![case])
}
