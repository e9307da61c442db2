//! Models under loom and shuttle (`docs/protocols-checked.md`).

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::toolchain;
use crate::{Result, paths};

use super::{Case, Verdict, host, show};

/// A model checker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Checker {
    /// All orders of few threads.
    Loom,
    /// Schedules of eight.
    Shuttle,
}

impl Checker {
    fn cfg(self) -> &'static str {
        match self {
            Self::Loom => "loom",
            Self::Shuttle => "shuttle",
        }
    }
}

/// Schedules of each model with `--full`.
const SCHEDULES: u64 = 100_000;

/// A package with models, and how many schedules of each shuttle tries in CI: so many that a package takes seconds, and
/// whole kernels a minute.
const MODELS: &[(&str, u64)] = &[
    ("corey-lib-sync", 20_000),
    ("corey-lib-ring", 3_000),
    ("corey-kernel-percore", 5_000),
    ("corey-kernel-mem", 10_000),
    ("corey-kernel-segment", 5_000),
    ("corey-kernel-share", 10_000),
    ("corey-kernel-atree", 2_000),
    (WHOLE, 10_000),
    ("corey-libos-heap", 300),
    ("corey-libos-cache", 2_000),
];

/// The package whose test `models` has whole kernels, and the schedules of these.
const WHOLE: &str = "corey-kernel-corey";
const WHOLE_SCHEDULES: u64 = 500;

/// A run of models: those of a package's own code, or of whole kernels.
fn cargo(checker: Checker, package: &str, whole: bool) -> Command {
    let mut cargo = Command::new(toolchain::cargo());
    cargo.args(["test", "--profile", "model", "--no-fail-fast", "-p", package]);
    cargo.args(if whole { ["--test", "models"].as_slice() } else { &["--lib"] });
    cargo.env("RUSTFLAGS", format!("--cfg {}", checker.cfg())).env("RUST_BACKTRACE", "0");
    cargo
}

/// Runs all models of a checker.
pub(super) fn cases(checker: Checker, full: bool) -> Result<Vec<Case>> {
    let mut cases = Vec::new();
    let (mut ran, mut of) = (0, 0);
    let whole = (WHOLE, WHOLE_SCHEDULES, true);
    let runs = MODELS.iter().map(|(package, schedules)| (*package, *schedules, false));
    for (package, schedules, whole) in runs.chain((checker == Checker::Shuttle).then_some(whole)) {
        let start = Instant::now();
        let schedules = if full { SCHEDULES } else { schedules };
        let mut cargo = cargo(checker, package, whole);
        cargo.arg("--target-dir").arg(paths::target().join(checker.cfg())).current_dir(paths::root());
        cargo.env("SCHEDULES", schedules.to_string());
        // What a model printed is shown when it passed, too.
        cargo.args(["--", "--show-output"]).args(if whole { None } else { Some("models::") });
        let out = cargo.stdin(Stdio::null()).output()?;
        let text = String::from_utf8_lossy(&out.stdout);
        let mut found = host::parse(&text);
        let failed = found.iter().any(|(_, verdict)| matches!(verdict, Verdict::Failed(_)));
        if !out.status.success() && !failed || found.is_empty() {
            let said = String::from_utf8_lossy(&out.stderr).into_owned();
            found.push((package.to_owned(), Verdict::Failed(format!("no models ran: {said}"))));
        }
        let [passed, failed, _] = super::count(&found);
        let tried = counted(&text);
        let what = if whole { "whole kernels" } else { "models" };
        let seconds = start.elapsed().as_secs_f64();
        match checker {
            Checker::Loom => {
                let stopped = text.lines().filter(|line| line.ends_with("then stopped")).count();
                println!(
                    "  {package}: {passed} {what} passed, {failed} failed, {tried} executions, {stopped} stopped early \
                     with three threads ({seconds:.0} s)"
                );
            }
            Checker::Shuttle => {
                // One that has to fail ends at the schedule that does.
                let wrong = found.iter().filter(|(name, _)| name.ends_with(" - should panic")).count();
                let all = (passed - wrong.min(passed)) as u64 * SCHEDULES;
                println!(
                    "  {package}: {passed} {what} passed, {failed} failed, ran {tried} of {all} schedules \
                     ({seconds:.0} s)"
                );
                (ran, of) = (ran + tried, of + all);
            }
        }
        for case in found.iter().filter(|(_, verdict)| !matches!(verdict, Verdict::Passed)) {
            show(case, None);
        }
        if failed > 0 {
            println!("{text}");
        }
        cases.extend(found);
    }
    if checker == Checker::Shuttle {
        println!("  schedules: ran {ran} of {of}");
    }
    Ok(cases)
}

/// The sum of what models say they tried: lines like `8 threads: 1000 schedules`.
fn counted(text: &str) -> u64 {
    let lines = text.lines().filter_map(|line| line.split_once(" threads: ")?.1.split_once(' '));
    lines
        .filter(|(_, what)| what.starts_with("schedules") || what.starts_with("executions"))
        .filter_map(|(n, _)| n.parse::<u64>().ok())
        .sum()
}

/// Longest time that a model takes in which a mistake was planted.
const PATIENCE: Duration = Duration::from_secs(240);

/// Whether `test` of `package` fails in the copy of the sources at `copy`; an error when it does not compile or does not
/// end.
pub(super) fn fails(copy: &std::path::Path, checker: Checker, package: &str, test: &str) -> Result<bool> {
    let whole = !test.contains("::");
    let target = paths::work("mutants")?.join(checker.cfg());
    let command = |words: &[&str]| {
        let mut cargo = cargo(checker, package, whole);
        cargo.arg("--target-dir").arg(&target).args(words).current_dir(copy);
        cargo.env("SCHEDULES", if whole { "3000" } else { "20000" }).stdin(Stdio::null());
        cargo
    };
    crate::process::quiet("", &mut command(&["--no-run"]))?;
    let mut run = command(&["--", "--exact", test]).stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
    let start = Instant::now();
    let output = run.stdout.take().map(|mut stdout| {
        std::thread::spawn(move || {
            let mut text = Vec::new();
            std::io::Read::read_to_end(&mut stdout, &mut text).map(|_| text)
        })
    });
    while run.try_wait()?.is_none() {
        if start.elapsed() > PATIENCE {
            run.kill()?;
            run.wait()?;
            return Err(format!("{test} runs for more than {PATIENCE:?}").into());
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    let text = output.and_then(|output| output.join().ok()).ok_or("no output")??;
    let found = host::parse(&String::from_utf8_lossy(&text));
    match found.as_slice() {
        [] => {
            // A failure that aborts, a panic while panicking, says nothing more.
            if run.wait()?.success() { Err(format!("there is no model {test}").into()) } else { Ok(true) }
        }
        cases => Ok(cases.iter().any(|(_, verdict)| matches!(verdict, Verdict::Failed(_)))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_models_tried_is_added_up() {
        let text = "8 threads: 1000 schedules\n3 threads: 20 executions, then stopped\n5 threads: x\n";
        assert_eq!(counted(text), 1020);
    }

    #[test]
    fn every_package_with_models_is_run() {
        let with_models = crate::workspace::packages().unwrap().into_iter().filter(|package| {
            let mut git = Command::new("git");
            git.args(["grep", "-q", "explore::check", "--", &format!("{}/src", package.folder)]);
            git.current_dir(paths::root()).status().is_ok_and(|status| status.success())
        });
        let mut with_models: Vec<_> =
            with_models.map(|package| package.name).filter(|name| name != "xtask").collect();
        let mut rows: Vec<_> = MODELS.iter().map(|(package, _)| (*package).to_owned()).collect();
        with_models.sort();
        rows.sort();
        assert_eq!(rows, with_models);
    }
}
