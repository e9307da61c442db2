//! What hardens the kernel, each with what shows it missing: processor protections, tables, stacks, entries, panics.

use std::cell::RefCell;
use std::time::{Duration, Instant};

use crate::build::{self, Kernel, Medium, Size};
use crate::monitor::{Monitor, values};
use crate::qemu::{Boot, End, Machine};
use crate::toolchain::Core;
use crate::{Result, paths};

use super::{Built, Case, Verdict, isolated, panics, show, vm};

/// A processor without the optional protections.
pub(super) const BARE: &str = "max,-erms,-fsrm,-smep,-smap,-umip";
/// QEMU's richest.
pub(super) const RICH: &str = "max,-erms,-fsrm";

/// Models, and which of SMEP, SMAP and UMIP they have.
const PROTECTIONS: &[(&str, [bool; 3])] = &[
    (RICH, [true; 3]),
    ("EPYC", [true, true, false]),
    ("Haswell", [true, false, false]),
    (BARE, [false; 3]),
];

/// Whether the console names Meltdown on a model.
const MELTDOWN: &[(&str, bool)] =
    &[("EPYC", false), ("Haswell", true), ("Skylake-Client", true), (RICH, false)];

/// What comes of a probe.
#[derive(Clone, Copy, Debug)]
enum Expected {
    /// A panic that says this.
    Panics(&'static str),
    /// It says that nothing stopped it.
    Allowed,
    /// The machine resets: three faults in one.
    Resets,
}
use Expected::{Allowed, Panics, Resets};

/// Probes of `images/kernel-probe`: words, what is expected, and what is with the protection off.
const PROBES: &[(&str, Expected, Expected)] = &[
    ("smep", Panics("exception 14 in the kernel, error code 0x11"), Allowed),
    ("smap", Panics("exception 14 in the kernel, error code 0x1,"), Allowed),
    ("wp", Panics("exception 14 in the kernel, error code 0x3"), Allowed),
    ("alias", Panics("exception 14 in the kernel, error code 0x3"), Allowed),
    ("nx", Panics("exception 14 in the kernel, error code 0x11"), Allowed),
    ("guard0", Panics("exception 14 in the kernel, error code 0x0"), Allowed),
    ("guard1", Panics("exception 14 in the kernel, error code 0x0"), Allowed),
    ("guard2", Panics("exception 14 in the kernel, error code 0x0"), Allowed),
    ("guard3", Panics("exception 14 in the kernel, error code 0x0"), Allowed),
    ("overflow", Panics("exception 8 in the kernel"), Resets),
    ("nmi", Allowed, Panics("exception 8 in the kernel")),
    ("mce", Panics("machine check"), Panics("exception 8 in the kernel")),
];

/// Programs that enter the kernel in every way, run on a kernel that looks at each entry.
const WATCHED: [&str; 3] = ["test-fault", "test-hostile", "test-upcall"];

/// Runs everything.
pub(super) fn cases(core: Option<Core>, built: &Built) -> Result<Vec<Case>> {
    let mut cases = vec![
        timed("panics that are left in the kernel", || panics::check(&built.images.kernel)),
        timed("no way to sysret without the canonical check", || panics::check_sysret(&built.images.kernel)),
    ];
    for (model, protections) in PROTECTIONS {
        cases
            .push(timed(&format!("registers and tables on {model}"), || witness(built, model, *protections)));
    }
    for (model, prone) in MELTDOWN {
        let name = format!("{model} is {}named as prone to Meltdown", if *prone { "" } else { "not " });
        cases.push(timed(&name, || meltdown(built, model, *prone)));
    }
    let images = build::with_kernel(core, &built.images, Kernel::Probe)?;
    let medium = build::medium(&images, Size::Full)?;
    for (name, expected, without) in PROBES {
        for (words, wanted) in [((*name).to_owned(), *expected), (format!("{name} off"), *without)] {
            for on in [0, 1] {
                let title = format!("probe {words} on core {on}");
                cases.push(timed(&title, || probe(&medium, &words, on, RICH, wanted)));
            }
        }
    }
    // The features that a processor may lack: then nothing stops the probe.
    for name in ["smep", "smap"] {
        cases.push(timed(&format!("probe {name} on {BARE}"), || probe(&medium, name, 0, BARE, Allowed)));
    }
    cases.extend(isolated::cases(&built.medium, &built.images.kernel)?);
    for program in WATCHED {
        for model in ["EPYC", "Haswell", RICH, BARE] {
            let machine = vm::machine(&medium, program, model, 4);
            cases.extend(vm::run(&machine, &format!("watched {program} on {model}"), &[])?);
        }
    }
    Ok(cases)
}

pub(super) fn timed(name: &str, run: impl FnOnce() -> Result<()>) -> Case {
    let start = Instant::now();
    let verdict = run().map_or_else(|e| Verdict::Failed(e.to_string()), |()| Verdict::Passed);
    let case = (name.to_owned(), verdict);
    show(&case, Some(start));
    case
}

fn machine(medium: &Medium, cores: u32, model: &str, words: &str) -> Machine {
    let (kernel, archive) = (medium.kernel.clone(), medium.archive.clone());
    let mut machine = Machine::new(cores, "512M", Boot::Direct(kernel, Some(archive), words.to_owned()));
    model.clone_into(&mut machine.cpu);
    machine
}

/// Asks QEMU, not the kernel: control registers of every core, and every entry of the tables each has loaded.
fn witness(built: &Built, model: &str, protections: [bool; 3]) -> Result<()> {
    const CORES: u32 = 4;
    let socket = paths::work("test")?.join("monitor");
    let mut machine = machine(&built.medium, CORES, model, "bench=null iters=3000000 cores=4");
    machine.monitor = Some(socket.clone());
    let seen = RefCell::new(None);
    let outcome = machine.run(Duration::from_secs(90), |line| {
        // Programs run on all cores when the first record has come.
        if line.contains("\"record\":\"bench\"") && seen.borrow().is_none() {
            *seen.borrow_mut() = Some(look(&socket, CORES));
        }
    })?;
    let Some(seen) = seen.into_inner() else {
        return Err(format!("the machine ended as {:?}\n{}", outcome.end, outcome.tail()).into());
    };
    let (registers, tables) = seen?;
    let of = |key: &str| -> Result<Vec<u64>> {
        let values = values(&registers, key);
        if values.len() == CORES as usize { Ok(values) } else { Err(format!("{key}: {values:x?}").into()) }
    };
    let [smep, smap, umip] = protections.map(u64::from);
    let (wanted, all) = (smep << 20 | smap << 21 | umip << 11, 3 << 20 | 1 << 11);
    if of("CR4")?.iter().any(|cr4| cr4 & all != wanted) {
        return Err(
            format!("CR4 {:x?}: of SMEP, SMAP, UMIP, {protections:?} were expected", of("CR4")?).into()
        );
    }
    if of("CR0")?.iter().any(|cr0| cr0 >> 16 & 1 == 0) {
        return Err(format!("CR0 {:x?}: a core has no write-protect", of("CR0")?).into());
    }
    if of("EFER")?.iter().any(|efer| efer >> 11 & 1 == 0) {
        return Err(format!("EFER {:x?}: a core has no NX", of("EFER")?).into());
    }
    let mut user = 0;
    for table in &tables {
        user += check_table(table)?;
    }
    // Some core runs a program.
    if user > 4 { Ok(()) } else { Err(format!("only {user} user pages are mapped").into()) }
}

/// Registers of all cores, and the tables of each.
type Seen = (Vec<String>, Vec<Vec<String>>);

fn look(socket: &std::path::Path, cores: u32) -> Result<Seen> {
    let mut monitor = Monitor::connect(socket)?;
    monitor.ask("stop")?;
    let registers = monitor.ask("info registers -a")?;
    let mut tables = Vec::new();
    for core in 0..cores {
        monitor.ask(&format!("cpu {core}"))?;
        tables.push(monitor.ask("info tlb")?);
    }
    monitor.quit();
    Ok((registers, tables))
}

/// Lines `address: physical XGPDACTUW`, a letter or a dash each. Says how many are the program's.
fn check_table(lines: &[String]) -> Result<u32> {
    let (mut user, mut kernel) = (0, 0);
    for line in lines {
        let Some((address, rights)) =
            line.split_once(": ").and_then(|(a, rest)| Some((a, rest.split_once(' ')?.1)))
        else {
            continue;
        };
        let has = |letter: char| rights.contains(letter);
        let upper = u64::from_str_radix(address, 16)? >= 1 << 47;
        if has('W') && !has('X') {
            return Err(format!("writable and executable: {line}").into());
        }
        if has('U') == upper {
            return Err(format!("in the wrong half: {line}").into());
        }
        *(if upper { &mut kernel } else { &mut user }) += 1;
    }
    if kernel < 100 {
        return Err(format!("only {kernel} kernel pages are mapped").into());
    }
    Ok(user)
}

fn meltdown(built: &Built, model: &str, prone: bool) -> Result<()> {
    let machine = machine(&built.medium, 1, model, "bench=null/current iters=10 cores=1");
    let outcome = machine.run(Duration::from_secs(60), |_| ())?;
    let named = outcome.lines.iter().any(|line| line.contains("is prone to Meltdown"));
    if named == prone && outcome.end == End::PoweredOff {
        return Ok(());
    }
    Err(format!("named: {named}, ended as {:?}\n{}", outcome.end, outcome.tail()).into())
}

/// Whether nothing stops a probe.
pub(super) fn probe_is_allowed(medium: &Medium, name: &str) -> Result<bool> {
    let outcome = machine(medium, 2, RICH, &format!("probe={name} core=1 init=test-fault"))
        .run(Duration::from_secs(60), |_| ())?;
    Ok(outcome.end == End::Status(1) && outcome.lines.iter().any(|line| line.contains(": allowed")))
}

fn probe(medium: &Medium, words: &str, on: u32, model: &str, wanted: Expected) -> Result<()> {
    let machine = machine(medium, 2, model, &format!("probe={words} core={on} init=test-fault"));
    let outcome = machine.run(Duration::from_secs(60), |_| ())?;
    let says = |text: &str| outcome.lines.iter().any(|line| line.contains(text));
    let right = match wanted {
        Panics(text) => outcome.end == End::Status(3) && says(text) && says(&format!("PANIC on core {on}")),
        Allowed => outcome.end == End::Status(1) && says(": allowed"),
        // QEMU ends with 0 after a reset; a machine that works would have said more.
        Resets => outcome.end == End::PoweredOff && !says("\"record\"") && !says("PANIC"),
    };
    if right {
        return Ok(());
    }
    Err(format!("wanted {wanted:?}, ended as {:?}\n{}", outcome.end, outcome.tail()).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(extra: &str) -> Vec<String> {
        let user = (0..4).map(|i| format!("{:016x}: 0000000000400000 X--DA--UW", i * 4096));
        let kernel = (0..100_u64)
            .map(|i| format!("{:016x}: 0000000000400000 XG-DA---W", 0xffff_8000_0000_0000 + i * 4096));
        user.chain(kernel).chain([extra.to_owned()]).collect()
    }

    #[test]
    fn a_table_with_a_writable_executable_page_is_refused() {
        assert!(check_table(&table("")).is_ok());
        assert!(check_table(&table("ffffffff80000000: 0000000000400000 -G-DA---W")).is_err());
        assert!(check_table(&table("ffffffff80000000: 0000000000400000 XG-DA--U-")).is_err());
        assert!(check_table(&table("0000000000400000: 0000000000400000 X--DA---W")).is_err());
        assert!(check_table(&[]).is_err(), "nothing was seen");
    }
}
