//! Tests inside the machine: programs `test-NAME` as init, one group each, on many machines.
//!
//! A program prints `{"record":"test","group","name","ok","detail"}` for each test, then
//! `{"record":"tests","group","ran","of","failed"}`, and ends the machine: powered off when nothing
//! failed, status 1 otherwise.

use std::time::{Duration, Instant};

use serde_json::Value;

use crate::build::Medium;
use crate::qemu::{Boot, End, Execution, Machine, Outcome};
use crate::{Result, pool};

use super::{Built, Case, Verdict, locality, show};

/// Processor models: an AMD one, an Intel one.
const MODELS: [&str; 2] = ["EPYC", "Haswell"];
/// More of them, for `--full`.
const MORE_MODELS: [&str; 3] = ["max,-erms,-fsrm", "Nehalem", "Skylake-Client"];
/// A program whose kernel path is another one on this model: no XSAVE, no AVX, no FS and GS bases of one's own.
const OLD: (&str, &str) = ("test-upcall", "Nehalem");
const CORES: [u32; 3] = [1, 4, 16];

/// Every test program on every model and core count.
pub(super) fn cases(built: &Built, full: bool) -> Result<Vec<Case>> {
    let mut models = MODELS.to_vec();
    if full {
        models.extend(MORE_MODELS);
    }
    let programs = built.images.programs.iter();
    let programs = programs.filter(|p| p.name.starts_with("test-") && p.name != locality::PROGRAM);
    let mut runs = Vec::new();
    for program in programs {
        let name = program.name.as_str();
        for model in &models {
            runs.extend(CORES.map(|cores| Run::new(name, "512M", model, cores)));
        }
        if name == OLD.0 && !full {
            runs.push(Run::new(name, "512M", OLD.1, 4));
        }
        // Races need processors that really run at once.
        runs.push(Run { execution: Execution::Multi, ..Run::new(name, "512M", "max,-erms,-fsrm", 4) });
    }
    if runs.is_empty() {
        return Err("there is no program images/test-*".into());
    }
    // Sixteen processors that run at once, whatever the host has.
    let torture = if full { "test-torture seconds=45" } else { "test-torture" };
    runs.push(Run { execution: Execution::Multi, ..Run::new(torture, "512M", MODELS[0], 16) });
    runs.extend(AGAIN.iter().map(|(words, memory, cores)| Run::new(words, memory, MODELS[0], *cores)));
    let (beside, alone): (Vec<_>, Vec<_>) = runs.into_iter().partition(Run::needs_one_processor);
    let mut cases = pool::all(&beside, pool::width(), |run| run.cases(built))?;
    for run in &alone {
        cases.push(run.cases(built)?);
    }
    let mut cases = cases.concat();
    cases.extend(locality::cases(built)?);
    for (words, cores, shape, lines) in EXAMPLES.iter().chain(SHOWN) {
        cases.push(example(built, words, *cores, shape, lines)?);
    }
    Ok(cases)
}

/// Test programs once more, with other words and with other memory.
const AGAIN: &[(&str, &str, u32)] = &[
    ("test-heap heap=check", "512M", 1),
    ("test-heap heap=check", "512M", 4),
    ("test-heap heap=check", "512M", 16),
    // A heap has 1 GiB and more.
    ("test-heap", "3G", 4),
];

/// Programs for people, and lines they show; a `*` is anything.
const SHOWN: &[(&str, u32, &str, &[&str])] = &[
    (
        "cores frames=2",
        3,
        "",
        &[
            "*[1;1Hcore mode   faults/s IPIs/s calls/s   shares held (by these cores)*   0 user          -      -       -   boot *",
            "*[1;1Hcore mode * 0 user  *[4;1H*   2 idle          0      0       0 *----*",
        ],
    ),
    ("cores frames=1 rows=8 columns=40", 16, "", &["*   1 idle *and 14 more cores: rows=N *"]),
    (
        "test-heap heap=check",
        2,
        "",
        &[
            "*: heap misuse on core 1: 0x* was freed twice (class of 80 bytes, heap 1; given to heap 1); called from 0x*",
            "*: heap misuse on core 1: bytes behind 0x* were written (class of 80 bytes, heap 1; *",
            "*: heap misuse on core 1: 0x* is no block of this heap or its team (given to heap 1); called from 0x*",
            "*: heap misuse on core 1: 0x* was freed twice (class of 80 bytes, heap 0; given to heap 1); called from 0x*",
        ],
    ),
];

/// The programs of docs/parallel.md in the order of the page, and lines they print on a machine with so many cores of
/// this shape.
const EXAMPLES: &[(&str, u32, &str, &[&str])] = &[
    ("example-sum", 1, "", &["the sum is 49995000"]),
    ("example-sum", 4, "", &["the sum is 49995000"]),
    (
        "example-places",
        8,
        "sockets=2,cores=2,threads=2",
        &["Nearest: [1, 2, 3, 4, 5, 6, 7]", "PhysicalCores: [2, 4, 6]", "Spread: [4, 2, 6, 1, 5, 3, 7]"],
    ),
    ("example-primes", 1, "", &["2262 primes, the last one Some(19997)"]),
    ("example-primes", 4, "", &["2262 primes, the last one Some(19997)"]),
    ("example-primes heap=check", 4, "", &["2262 primes, the last one Some(19997)"]),
    (
        "example-failure",
        2,
        "",
        &[
            "the thread returned 100",
            "program panic on core 1 at images/example-failure/src/main.rs:14: core 1 gives up",
            "core 1: the thread panicked",
            "core 1: the thread halted with 7",
        ],
    ),
];

/// Runs an example: it must print its lines in their order, and end well.
fn example(built: &Built, program: &str, cores: u32, shape: &str, lines: &[&str]) -> Result<Case> {
    let start = Instant::now();
    let (kernel, archive) = (built.medium.kernel.clone(), built.medium.archive.clone());
    let mut machine =
        Machine::new(cores, "512M", Boot::Direct(kernel, Some(archive), format!("init={program}")));
    machine.execution = execution(cores);
    shape.clone_into(&mut machine.shape);
    let outcome = machine.run(Duration::from_secs(60), |_| ())?;
    let mut printed = outcome.lines.iter();
    let missing = lines.iter().find(|wanted| !printed.any(|line| matches(line.trim(), wanted.trim())));
    let verdict = match (missing, &outcome.end) {
        (None, End::PoweredOff) => Verdict::Passed,
        (missing, end) => {
            Verdict::Failed(format!("missing {missing:?}, ended as {end:?}\n{}", outcome.tail()))
        }
    };
    let case = (format!("{program}, {cores} cores"), verdict);
    show(&case, Some(start));
    Ok(case)
}

/// Whether `line` is `wanted`, where a `*` stands for anything.
fn matches(line: &str, wanted: &str) -> bool {
    let Some((first, rest)) = wanted.split_once('*') else { return line == wanted };
    let Some(line) = line.strip_prefix(first) else { return false };
    (0..=line.len()).any(|at| line.get(at..).is_some_and(|line| matches(line, rest)))
}

/// The cards of a machine that runs a test program: `test-net` has one, too, that there is no driver for.
fn cards(words: &str) -> Vec<&'static str> {
    match words.split(' ').next() {
        Some("test-net") => vec!["vmxnet3", "e1000"],
        Some("test-hostile") => vec!["e1000"],
        // The first and the last are four apart: they share a line.
        Some("test-wake") => vec!["e1000"; 5],
        _ => Vec::new(),
    }
}

/// Whether what a card sends comes to the others.
fn is_hub(words: &str) -> bool {
    words.split(' ').next() == Some("test-wake")
}

/// Threads of their own while this machine has a core for each.
pub(super) fn execution(cores: u32) -> Execution {
    if cores as usize <= pool::width() { Execution::Multi } else { Execution::Single }
}

/// One boot of a test program.
#[derive(Clone, Copy, Debug)]
struct Run<'a> {
    /// Its name, and what else it shall be told.
    words: &'a str,
    memory: &'a str,
    model: &'a str,
    cores: u32,
    execution: Execution,
}

impl<'a> Run<'a> {
    fn new(words: &'a str, memory: &'a str, model: &'a str, cores: u32) -> Self {
        Self { words, memory, model, cores, execution: execution(cores) }
    }

    /// Whether it keeps no more than one processor of this machine busy.
    fn needs_one_processor(&self) -> bool {
        self.cores == 1 || self.execution != Execution::Multi
    }

    fn cases(&self, built: &Built) -> Result<Vec<Case>> {
        let Self { words, memory, model, cores, execution } = *self;
        let (kernel, archive) = (built.medium.kernel.clone(), built.medium.archive.clone());
        // Programs may leave out what takes long where every wait is for a thread of this machine.
        let multi = if execution == Execution::Multi { " multi" } else { "" };
        let boot = Boot::Direct(kernel, Some(archive), format!("init={words}{multi}"));
        let mut machine = Machine::new(cores, memory, boot);
        model.clone_into(&mut machine.cpu);
        machine.execution = execution;
        machine.cards = cards(words);
        machine.hub = is_hub(words);
        run(&machine, &format!("{words} on {model}, {memory}, {cores} cores"), &[])
    }
}

/// A machine that runs a test program from `medium`.
pub(super) fn machine(medium: &Medium, program: &str, model: &str, cores: u32) -> Machine {
    let (kernel, archive) = (medium.kernel.clone(), medium.archive.clone());
    let boot = Boot::Direct(kernel, Some(archive), format!("init={program}"));
    let mut machine = Machine::new(cores, "512M", boot);
    model.clone_into(&mut machine.cpu);
    machine.execution = execution(cores);
    machine.cards = cards(program);
    machine.hub = is_hub(program);
    machine
}

/// The tests of one boot, nothing shown.
pub(super) fn quietly(machine: &Machine) -> Result<Vec<Case>> {
    Ok(verdicts("", &machine.run(Duration::from_secs(90), |_| ())?))
}

/// Runs a test program; `prefix` names its tests. The kernel must say lines that begin with `says`.
pub(super) fn run(machine: &Machine, prefix: &str, says: &[&str]) -> Result<Vec<Case>> {
    let start = Instant::now();
    let outcome = machine.run(Duration::from_secs(180), |_| ())?;
    let mut cases = verdicts(prefix, &outcome);
    for text in says {
        let verdict = match outcome.lines.iter().any(|line| line.starts_with(text)) {
            true => Verdict::Passed,
            false => Verdict::Failed("not said".to_owned()),
        };
        cases.push((format!("{prefix}: {text}"), verdict));
    }
    let [passed, failed, skipped] = super::count(&cases);
    println!(
        "  {prefix}: {passed} passed, {failed} failed, {skipped} skipped ({:.1} s)",
        start.elapsed().as_secs_f64()
    );
    for case in cases.iter().filter(|(_, v)| !matches!(v, Verdict::Passed)) {
        show(case, None);
    }
    Ok(cases)
}

/// The case that a record of a test tells of.
pub(super) fn case(prefix: &str, record: &Value) -> Option<Case> {
    if record["record"] != "test" {
        return None;
    }
    let text = |key: &str| record[key].as_str().unwrap_or("?").to_owned();
    let verdict = match &record["ok"] {
        Value::Bool(true) => Verdict::Passed,
        ok if *ok == 1 => Verdict::Passed,
        Value::Null => Verdict::Skipped(text("detail")),
        _ => Verdict::Failed(text("detail")),
    };
    Some((format!("{prefix}: {}", text("name")), verdict))
}

/// The tests of one boot, and a case of its own when the boot did not end as its records say.
fn verdicts(prefix: &str, outcome: &Outcome) -> Vec<Case> {
    let (mut cases, mut sum) = (Vec::new(), None);
    for line in outcome.lines.iter().filter(|line| line.starts_with('{')) {
        let Ok(record) = serde_json::from_str::<Value>(line) else { continue };
        cases.extend(case(prefix, &record));
        if record["record"] == "tests" {
            sum = Some(record);
        }
    }
    let failed = cases.iter().filter(|(_, v)| matches!(v, Verdict::Failed(_))).count() as u64;
    let expected = if failed == 0 { End::PoweredOff } else { End::Status(1) };
    let whole = sum.as_ref().is_some_and(|sum| {
        let number = |key: &str| sum[key].as_u64();
        number("ran") == number("of") && number("failed") == Some(failed) && number("of") > Some(0)
    });
    if !whole || outcome.end != expected {
        let how = format!("ended as {:?}, sum {}\n{}", outcome.end, sum.unwrap_or_default(), outcome.tail());
        cases.push((prefix.to_owned(), Verdict::Failed(how)));
    }
    cases
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(end: End, lines: &[&str]) -> Outcome {
        Outcome {
            end,
            lines: lines.iter().map(|l| (*l).to_owned()).collect(),
            messages: String::new(),
            elapsed: Duration::ZERO,
            first_byte: None,
        }
    }

    const GOOD: &str = r#"{"seq":0,"record":"test","group":"g","name":"a","ok":true,"detail":""}"#;
    const BAD: &str = r#"{"seq":1,"record":"test","group":"g","name":"b","ok":false,"detail":"why"}"#;

    /// Each code block in Rust is a file of `images/`, whole; and what the page says is printed is what is tested.
    #[test]
    fn the_tutorial_shows_the_examples_as_they_are() {
        let read = |name: &str| std::fs::read_to_string(crate::paths::root().join(name)).unwrap();
        let page = read("docs/parallel.md");
        let name = |words: &'static str| words.split(' ').next().unwrap();
        let mut programs: Vec<&str> = EXAMPLES.iter().map(|(words, ..)| name(words)).collect();
        programs.dedup();
        let blocks: Vec<&str> =
            page.split("```rust\n").skip(1).filter_map(|rest| rest.split("```\n").next()).collect();
        assert_eq!(blocks.len(), programs.len(), "a block for each example, in the order of EXAMPLES");
        for (block, program) in blocks.iter().zip(programs) {
            let file = format!("images/{program}/src/main.rs");
            assert_eq!(*block, read(&file), "docs/parallel.md: copy {file} into it");
        }
        for line in EXAMPLES.iter().flat_map(|(.., lines)| *lines) {
            assert!(page.contains(&format!("\n{line}\n")), "docs/parallel.md does not show: {line}");
        }
    }

    /// The page says how short it is.
    #[test]
    fn the_parallel_sum_has_fewer_than_20_lines() {
        let file = crate::paths::root().join("images/example-sum/src/main.rs");
        let text = std::fs::read_to_string(file).unwrap();
        let (_, function) = text.split_once("\nfn sum(").unwrap();
        let lines = 1 + function.lines().skip(1).take_while(|line| *line != "}").count() + 1;
        assert!((5..20).contains(&lines), "{lines} lines");
    }

    #[test]
    fn a_star_is_anything() {
        assert!(matches("a 17 b", "a * b") && matches("a  b", "a * b") && matches("ab", "*b*"));
        assert!(!matches("a 17 c", "a * b") && !matches("x a b", "a * b") && !matches("ab", "a"));
    }

    #[test]
    fn tests_that_ran_and_passed_pass() {
        let sum = r#"{"record":"tests","group":"g","ran":1,"of":1,"failed":0}"#;
        let cases = verdicts("x", &outcome(End::PoweredOff, &[GOOD, sum]));
        assert_eq!(super::super::count(&cases), [1, 0, 0]);
    }

    #[test]
    fn a_failed_test_and_its_status_are_one_failure() {
        let sum = r#"{"record":"tests","group":"g","ran":2,"of":2,"failed":1}"#;
        let cases = verdicts("x", &outcome(End::Status(1), &[GOOD, BAD, sum]));
        assert_eq!(super::super::count(&cases), [1, 1, 0]);
    }

    #[test]
    fn a_boot_that_stops_early_fails_though_every_test_passed() {
        for end in [End::PoweredOff, End::Status(3), End::TimedOut] {
            let cases = verdicts("x", &outcome(end, &[GOOD]));
            assert_eq!(super::super::count(&cases), [1, 1, 0], "{end:?}");
        }
        let short = r#"{"record":"tests","group":"g","ran":1,"of":2,"failed":0}"#;
        let cases = verdicts("x", &outcome(End::PoweredOff, &[GOOD, short]));
        assert_eq!(super::super::count(&cases), [1, 1, 0]);
    }
}
