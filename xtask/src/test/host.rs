//! What runs on this machine: static checks, cargo's tests.

use std::process::{Command, Stdio};
use std::time::Instant;

use crate::toolchain::{self, Core};
use crate::{Result, checks, layers, manual, paths};

use super::{Case, Verdict, show};

/// Formatting, clippy, layers, the manual.
pub(super) fn static_checks(core: Option<Core>) -> Vec<Case> {
    let check = |name: &str, result: Result<()>, start| {
        let verdict = result.map_or_else(|e| Verdict::Failed(e.to_string()), |()| Verdict::Passed);
        let case = (name.to_owned(), verdict);
        show(&case, Some(start));
        case
    };
    let now = Instant::now;
    vec![
        check("fmt", checks::fmt(true), now()),
        check("layers", layers::command(), now()),
        check("manual", manual::command(true), now()),
        check("clippy", checks::clippy(core), now()),
    ]
}

/// Tests of the workspace's default members, documentation tests included.
pub(super) fn tests() -> Result<Vec<Case>> {
    let mut cargo = Command::new(toolchain::cargo());
    cargo.args(["test", "--no-fail-fast"]).current_dir(paths::root());
    counted("host tests", cargo)
}

/// Runs a test command; each test is a case. A command that fails without a failed test is one too.
fn counted(name: &str, mut cargo: Command) -> Result<Vec<Case>> {
    let start = Instant::now();
    let out = cargo.env("RUST_BACKTRACE", "0").stdin(Stdio::null()).output()?;
    let text = String::from_utf8_lossy(&out.stdout);
    let mut cases = parse(&text);
    let failed = cases.iter().any(|(_, v)| matches!(v, Verdict::Failed(_)));
    if !out.status.success() && !failed {
        let said = String::from_utf8_lossy(&out.stderr).into_owned();
        cases.push((name.to_owned(), Verdict::Failed(said)));
    }
    let [passed, failed, ignored] = super::count(&cases);
    println!(
        "  {name}: {passed} passed, {failed} failed, {ignored} skipped ({:.0} s)",
        start.elapsed().as_secs_f64()
    );
    for case in cases.iter().filter(|(_, v)| !matches!(v, Verdict::Passed)) {
        show(case, None);
    }
    if failed > 0 {
        println!("{text}");
    }
    Ok(cases)
}

/// Cases from lines like `test module::name ... ok`.
pub(super) fn parse(text: &str) -> Vec<Case> {
    let lines = text.lines().filter_map(|line| line.strip_prefix("test ")?.rsplit_once(" ... "));
    let cases = lines.filter_map(|(name, end)| {
        let verdict = match end.trim() {
            "ok" => Verdict::Passed,
            "FAILED" => Verdict::Failed("see below".to_owned()),
            end if end.starts_with("ignored") => Verdict::Skipped(end.to_owned()),
            _ => return None,
        };
        Some((name.to_owned(), verdict))
    });
    cases.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_the_test_harness_are_cases() {
        let text = "running 3 tests\ntest a::b ... ok\ntest c - should panic ... FAILED\n\
                    test d ... ignored, slow\ntest result: FAILED. 1 passed; 1 failed\n";
        let cases = parse(text);
        assert_eq!(super::super::count(&cases), [1, 1, 1]);
        assert_eq!(cases[1].0, "c - should panic");
    }
}
