//! Planted mistakes: each protection is taken out of a copy of the sources, and the test that watches it must fail.

use std::path::Path;
use std::process::Command;

use crate::build::{self, Images, Kernel, Size};
use crate::process::quiet;
use crate::toolchain::Core;
use crate::{Result, paths};

use super::hard::{BARE, RICH, probe_is_allowed, timed};
use super::models::{self, Checker};
use super::{Built, Case, Verdict, isolated, panics, prepare, vm};

/// What must notice.
#[derive(Clone, Copy, Debug)]
enum Watch {
    /// A test program on a processor model.
    Program(&'static str, &'static str),
    /// The same, on the kernel that looks at every entry.
    Entries(&'static str, &'static str),
    /// A probe of `images/kernel-probe`.
    Probe(&'static str),
    /// The comparison of the panics that are left.
    Panics,
    /// The look at `sysret`.
    Sysret,
    /// The look at what user mode's tables map of the kernel.
    Apart,
    /// NMIs at any instruction.
    Storm,
    /// A model of a package.
    Model(Checker, &'static str, &'static str),
}
use Watch::{Apart, Entries, Model, Panics, Probe, Program, Storm, Sysret};

/// A mistake: what it is called, the file, what is replaced (once) and by what, what must notice.
type Mutant = (&'static str, &'static str, &'static str, &'static str, Watch);

const ENTRY: &str = "arch/x86-64/cpu/src/entry.rs";
const ISOLATED: &str = "arch/x86-64/cpu/src/isolated.rs";
const TABLES: &str = "arch/x86-64/cpu/src/tables.rs";
const CHANGE: &str = "crates/kernel/atree/src/change.rs";
const REVOKE: &str = "crates/kernel/atree/src/revoke.rs";

#[path = "protocols.rs"]
mod protocols;
use protocols::PROTOCOLS;

const MUTANTS: &[Mutant] = &[
    ("no SMEP", TABLES, "| on(&found.smep, 20)", "", Entries("test-call", RICH)),
    ("no SMAP", TABLES, "| on(&found.smap, 21)", "", Entries("test-call", RICH)),
    ("no UMIP", TABLES, "| on(&found.umip, 11)", "", Program("test-fault", RICH)),
    (
        "no write-protect",
        TABLES,
        "write_cr0(0x8001_0033)",
        "write_cr0(0x8000_0033)",
        Entries("test-call", RICH),
    ),
    ("alignment flag kept at entries", ENTRY, "\"clac\", ", "", Entries("test-fault", RICH)),
    ("direction flag kept at entries", ENTRY, "\"cld\",", "", Entries("test-fault", RICH)),
    ("flags kept at calls", TABLES, "0x4_7700", "0x0_0200", Entries("test-fault", RICH)),
    ("a local table at address 0", TABLES, "\"lldt {scratch:x}\",", "", Program("test-fault", "Haswell")),
    ("a local table, on a bare processor", TABLES, "\"lldt {scratch:x}\",", "", Program("test-fault", BARE)),
    ("no check before sysret", ENTRY, "\"jnz 2f\",", "", Sysret),
    (
        "vector registers as they were",
        ENTRY,
        "\"xrstor64 [rip",
        "\"lea rax, [rip",
        Program("test-fresh", "EPYC"),
    ),
    ("segments as they were", ENTRY, "\"mov ds, eax\",", "", Program("test-fresh", "EPYC")),
    (
        "a register of the kernel's after a call",
        ENTRY,
        "\"xor edi, edi\",",
        "",
        Program("test-fresh", "EPYC"),
    ),
    (
        "the end of a fresh page as it was",
        "arch/x86-64/facade/src/platform.rs",
        "zero_words(direct(first.address()).cast(), 512 * count as usize)",
        "zero_words(direct(first.address()).cast(), 512 * count as usize - 1)",
        Program("test-fresh", "EPYC"),
    ),
    (
        "a card that keeps the pages of a segment that ended",
        "crates/kernel/corey/src/exit.rs",
        "&|device| segment.was_posted(device)",
        "&|device| segment.was_posted(device) && !segment.is_known()",
        Program("test-net", RICH),
    ),
    (
        "a ring's calls in the kernel core's own name",
        "crates/kernel/corey/src/poller.rs",
        "self.held.exchange(&mut served.held);",
        "let _ = &mut served.held;",
        Program("test-ring", RICH),
    ),
    (
        "a kernel core that sleeps without saying so",
        "crates/kernel/corey/src/poller.rs",
        "is_none_or(|words| consumer.arm(&words))",
        "is_none_or(|_| consumer.shape().slots() > 0)",
        Program("test-ring", RICH),
    ),
    (
        "a kernel core that sleeps without its cards' interrupts",
        "crates/kernel/device/src/network.rs",
        "card.driver.arm();",
        "let _ = &mut card.driver;",
        Program("test-wake", RICH),
    ),
    (
        "an interrupt of a card that is never ended",
        "crates/kernel/device/src/lines.rs",
        "let came = end();",
        "let (came, _) = (false, end);",
        Program("test-wake", RICH),
    ),
    (
        "a line that is not handed on to who still sleeps",
        "crates/kernel/device/src/lines.rs",
        "line.open = line.armed.iter().next();",
        "line.open = None;",
        Program("test-wake", RICH),
    ),
    (
        "text writable in the direct map",
        "arch/x86-64/facade/src/run.rs",
        "(from, to, false)",
        "(from, to, true)",
        Probe("alias"),
    ),
    (
        "data executable",
        "arch/x86-64/facade/src/run.rs",
        "(&raw const corey_data, &raw const corey_end, true, false)",
        "(&raw const corey_data, &raw const corey_end, true, true)",
        Probe("nx"),
    ),
    (
        "no guard pages",
        "arch/x86-64/paging/src/stack.rs",
        "const GUARD: u64 = 4096;",
        "const GUARD: u64 = 0;",
        Probe("guard1"),
    ),
    ("NMI on the stack it finds", TABLES, "Self::NMI => 1,", "Self::NMI => 0,", Probe("nmi")),
    (
        "user mode on the kernel's tables",
        ISOLATED,
        "\"mov r9, gs:[{user_root}]\",",
        "\"mov r9, gs:[{user_root}]\", \"mov r9, cr3\",",
        Apart,
    ),
    (
        "a kernel page too many in user mode",
        "arch/x86-64/facade/src/run.rs",
        "corey_kernel_hal::PAGE_SIZE, write",
        "2 * corey_kernel_hal::PAGE_SIZE, write",
        Apart,
    ),
    ("an NMI on the tables it finds", ISOLATED, "\"mov rax, [rsp + 64]\",", "\"mov rax, cr3\",", Storm),
    (
        "the last page of the user half",
        "crates/kernel/atree/src/calls.rs",
        "USER_END - PAGE_SIZE",
        "USER_END",
        Program("test-fault", "EPYC"),
    ),
    (
        "a panic on what a program says",
        "crates/kernel/share/src/calls.rs",
        "call.held.remove(share).ok_or(Error::NotFound)?",
        "call.held.remove(share).unwrap()",
        Panics,
    ),
    (
        "entries left in the tables",
        CHANGE,
        "walk::take(ctx, &tree, old.start, old.end, Take::Page, LOCKED);",
        "walk::take(ctx, &tree, old.start, old.start, Take::Page, LOCKED);",
        Program("test-atree", "EPYC"),
    ),
    (
        "translations of a segment's pages kept",
        REVOKE,
        "flush.finish(&platform);",
        "let _ = &flush;",
        Program("test-torture", "EPYC"),
    ),
    (
        "other translations forgotten than were asked for",
        REVOKE,
        "let start = map.start + first * PAGE_SIZE;",
        "let start = map.start + (first + 1) * PAGE_SIZE;",
        Program("test-torture", "EPYC"),
    ),
    (
        "a page copied now, and shared",
        "crates/kernel/segment/src/copy.rs",
        "(page / unit + 1, slots)",
        "(page / unit, slots)",
        Program("test-segment", "EPYC"),
    ),
    (
        "mappings left on the list",
        CHANGE,
        "unlist(ctx, inside, &segment, MapRef { tree: tree.link(), slot: index as u16 }, slot);",
        "let _ = (segment, slot, index, unlist::<P>, MapRef::default());",
        Program("test-atree", "EPYC"),
    ),
];

/// Plants one mistake after the other: those with `named` in their names.
pub(super) fn cases(core: Option<Core>, built: &mut Option<Built>, named: &str) -> Result<Vec<Case>> {
    let work = paths::work("mutants")?;
    // Two runs at once would take each other's mistakes out of the copy, and find that nothing is noticed.
    let lock = std::fs::File::create(work.join("lock"))?;
    if lock.try_lock().is_err() {
        return Err(format!("another run plants mistakes in {}: wait for its end", work.display()).into());
    }
    let copy = work.join("source");
    let all = MUTANTS.iter().chain(PROTOCOLS).filter(|(name, ..)| name.contains(named));
    all.map(|mutant| one(core, built, &copy, *mutant)).collect()
}

fn one(
    core: Option<Core>,
    built: &mut Option<Built>,
    copy: &Path,
    (name, file, from, to, watch): Mutant,
) -> Result<Case> {
    sources(copy)?;
    let path = copy.join(file);
    let text = String::from_utf8(build::read(&path)?)?;
    let case = format!("planted: {name}");
    if text.matches(from).count() == 0 {
        return Ok(timed(&case, || Err(format!("{file} has no `{from}` any more: change the row").into())));
    }
    std::fs::write(&path, text.replacen(from, to, 1))?;
    if let Model(checker, package, test) = watch {
        return Ok(timed(&case, || match models::fails(copy, checker, package, test)? {
            true => Ok(()),
            false => Err(format!("{test} noticed nothing under {checker:?}").into()),
        }));
    }
    let built = prepare(core, built)?;
    Ok(timed(&case, || notice(core, built, copy, watch)))
}

/// A copy of this repository's sources.
fn sources(to: &Path) -> Result<()> {
    std::fs::create_dir_all(to)?;
    let mut git = Command::new("git");
    git.args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"]).current_dir(paths::root());
    let names = quiet("", &mut git)?;
    for name in names.split('\0').filter(|name| !name.is_empty()) {
        let (from, to) = (paths::root().join(name), to.join(name));
        let Ok(now) = std::fs::read(&from) else { continue };
        // What is the same keeps its time: cargo builds what changed.
        if std::fs::read(&to).is_ok_and(|before| before == now) {
            continue;
        }
        std::fs::create_dir_all(to.parent().unwrap_or(&to))?;
        std::fs::write(&to, now)?;
    }
    Ok(())
}

/// Builds the kernel with the mistake, and has it noticed; an error when nobody does.
fn notice(core: Option<Core>, built: &Built, copy: &Path, watch: Watch) -> Result<()> {
    let which = if matches!(watch, Entries(..) | Probe(_)) { Kernel::Probe } else { Kernel::Plain };
    let kernel = build::kernel_of(core, copy, &paths::work("mutants/build")?, which)?;
    let noticed = match watch {
        Panics => panics::check(&kernel).is_err(),
        Sysret => panics::check_sysret(&kernel).is_err(),
        Model(..) => return Err("a model builds no kernel".into()),
        Program(program, model) | Entries(program, model) => {
            let images = Images { kernel, ..built.images.clone() };
            let medium = build::medium_in(&images, Size::Full, "mutants/medium")?;
            let machine = vm::machine(&medium, program, model, 4);
            vm::quietly(&machine)?.iter().any(|(_, verdict)| matches!(verdict, Verdict::Failed(_)))
        }
        Apart | Storm => {
            let images = Images { kernel: kernel.clone(), ..built.images.clone() };
            let medium = build::medium_in(&images, Size::Full, "mutants/medium")?;
            match watch {
                Apart => isolated::apart(&medium, &kernel, BARE, "pti=on").is_err(),
                _ => isolated::storm(&medium, BARE).is_err(),
            }
        }
        Probe(name) => {
            let images = Images { kernel, ..built.images.clone() };
            let medium = build::medium_in(&images, Size::Full, "mutants/medium")?;
            let expected = name != "nmi";
            probe_is_allowed(&medium, name)? == expected
        }
    };
    if noticed { Ok(()) } else { Err(format!("{watch:?} noticed nothing").into()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_finds_its_place_in_the_sources() {
        for (name, file, from, ..) in MUTANTS.iter().chain(PROTOCOLS) {
            let text = std::fs::read_to_string(paths::root().join(file)).unwrap();
            assert!(text.contains(from), "{name}: {file} has no `{from}`");
        }
    }
}
