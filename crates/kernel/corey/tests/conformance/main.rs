//! A million random operations on each kind of object: every answer must be the reference model's.
//!
//! A failure is shrunk by proptest and kept in `proptest-regressions/`, which is tried first ever after.

#[path = "../common/mod.rs"]
mod common;

mod devices;
mod pcores;
mod segments;
mod shares;
mod trees;

use proptest::prelude::*;
use proptest::test_runner::{Config, FileFailurePersistence, TestRunner};
use std::cell::Cell;
use std::fmt::Debug;

/// Operations on each kind of object.
const OPERATIONS: usize = 1_000_000;
/// Most operations of one sequence, on one machine.
const LONGEST: usize = 1_000;

/// Runs sequences of `step` until there were [`OPERATIONS`] of them. `run` says what was different.
fn conform<S: Debug + Clone>(
    file: &'static str,
    kind: &str,
    step: impl Strategy<Value = S>,
    run: impl Fn(Vec<S>) -> Result<(), String>,
) {
    let config = Config {
        cases: u32::MAX,
        max_shrink_iters: 3000,
        source_file: Some(file),
        failure_persistence: Some(Box::new(FileFailurePersistence::SourceParallel("proptest-regressions"))),
        ..Config::default()
    };
    let done = Cell::new(0);
    // Several runs: a runner cannot be told to stop.
    while done.get() < OPERATIONS {
        let steps = proptest::collection::vec(&step, LONGEST / 2..=LONGEST);
        TestRunner::new(Config { cases: 100, ..config.clone() })
            .run(&steps, |steps| {
                let count = steps.len();
                run(steps).map_err(TestCaseError::fail)?;
                done.set(done.get() + count);
                Ok(())
            })
            .unwrap_or_else(|failure| panic!("{kind}: {failure}"));
    }
    println!("{kind}: ran {} of {OPERATIONS}", done.get());
}

/// `Ok` when both are the same; else what each says.
fn same<T: PartialEq + Debug>(step: &impl Debug, kernel: T, model: T) -> Result<(), String> {
    if kernel == model {
        Ok(())
    } else {
        Err(format!("{step:?}: the kernel says {kernel:?}, the model {model:?}"))
    }
}
