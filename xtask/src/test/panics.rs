//! Which panics are left in the linked kernel, and that nothing reaches `sysret` unchecked.
//!
//! Every panic carries a `core::panic::Location` to its handler: file, line, column. The linker keeps those that
//! code refers to, so the ones in the kernel's file are the panics that are left, after inlining and after what the
//! compiler proved impossible. Each must be in the table, with a reason; what is in the table must still be there.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use elf::ElfBytes;
use elf::endian::LittleEndian;

use crate::{Result, build, paths};

/// Panics of our own that may be left: file, part of the statement, why no program can bring it about.
const OWN: &[(&str, &str, &str)] = &[
    ("crates/kernel/atree/src/tree.rs", "a tree has its table from the start", "`Tree::new` publishes it"),
    ("crates/kernel/atree/src/tree.rs", "a new cell is empty", "the cell is made two lines above"),
    ("crates/kernel/mem/src/memory.rs", "one stock per core", "boot only; made from the same number"),
    (
        "crates/kernel/mem/src/memory.rs",
        "every frame of RAM has a descriptor",
        "frames come from stocks, whose ranges the descriptors cover",
    ),
    ("crates/kernel/mem/src/memory.rs", "chunks_exact_mut(cores)", "boot only; there is a boot processor"),
    ("crates/kernel/object/src/ctx.rs", "one row per core", "boot only; made from the same number"),
    ("crates/kernel/mem/src/division.rs", "total * number / count", "boot only; there is a boot processor"),
    ("crates/kernel/mem/src/memory.rs", "chunks_exact(cores)", "there is a boot processor"),
    ("crates/kernel/mem/src/nearest.rs", "% places.len()", "boot only; the core itself has a place"),
    (
        "crates/kernel/percore/src/epoch.rs",
        "mailboxes are served inside the kernel",
        "every way in enters first",
    ),
    ("crates/kernel/percore/src/local.rs", "a core's number is below", "boot only"),
    (
        "crates/kernel/percore/src/mailbox.rs",
        "one row of slots per core",
        "boot only; made from the same number",
    ),
    ("crates/kernel/percore/src/mailbox.rs", "every core has a slot", "core numbers come from the kernel"),
    ("crates/kernel/percore/src/mailbox.rs", "one message at a time", "a sender waits for its last answer"),
    ("crates/kernel/percore/src/mailbox.rs", "below MAX_CORES", "core numbers come from the kernel"),
    ("arch/x86-64/boot/src/acpi.rs", "expect", "boot only"),
    ("arch/x86-64/boot/src/memory.rs", "not enough memory", "boot only: says how much is missing"),
    ("arch/x86-64/boot/src/memory.rs", "boot structures are small", "boot only"),
    ("arch/x86-64/boot/src/memory.rs", "counted", "boot only"),
    (
        "arch/x86-64/boot/src/numa.rs",
        "at / nodes == at % nodes",
        "boot only; empty tables are refused before",
    ),
    ("arch/x86-64/boot/src/topology.rs", "at / count", "boot only; there is a node"),
    ("arch/x86-64/facade/src/run.rs", "and those that started", "boot only"),
    ("arch/x86-64/facade/src/entries.rs", "an idle core has nothing to resume", "`Outcome`'s contract"),
    ("arch/x86-64/facade/src/entries.rs", "machine check", "the machine's, not a program's"),
    ("arch/x86-64/facade/src/entries.rs", "in the kernel", "an exception of the kernel itself"),
    ("arch/x86-64/facade/src/cards.rs", "as many as there are", "boot only"),
    ("arch/x86-64/facade/src/cards.rs", "one is made", "boot only"),
    ("crates/kernel/device/src/devices.rs", "as many as there are", "boot only"),
    ("arch/x86-64/facade/src/run.rs", "no non-executable pages", "boot only"),
    ("arch/x86-64/facade/src/run.rs", "just set", "boot only"),
    ("arch/x86-64/facade/src/run.rs", "one for each core", "boot only; as many were made"),
    ("arch/x86-64/facade/src/run.rs", "there is a boot processor", "boot only"),
    ("arch/x86-64/facade/src/run.rs", "edge.clamp", "boot only; a piece begins before it ends"),
    ("arch/x86-64/facade/src/run.rs", "log::", "boot only"),
];

/// Panics in code of others that is linked in: a part of the path, and who calls it.
const OTHERS: &[(&str, &str)] = &[
    ("/acpi-", "boot only: tables of the firmware"),
    ("/multiboot2-", "boot only: the loader's information"),
    ("/multiboot2-common-", "boot only: the loader's information"),
    ("/pci_types-", "boot only: the bus is scanned once"),
    ("/rustc-demangle-", "names in the report of a panic"),
    ("core/src/fmt/", "formatting: reports and the log"),
    ("core/src/unicode/", "formatting: reports and the log"),
    ("core/src/slice/mod.rs", "copies between slices of one length: the words of a name"),
    ("core/src/slice/sort/", "boot only: orders of cores, caches, pieces of memory"),
    ("core/src/str/pattern.rs", "the command line is split into words, at boot"),
    ("core/src/ops/function.rs", "formatting: reports and the log"),
    ("heapless-0.9.3/src/vec/mod.rs", "indices it keeps below its own length"),
];

/// File, line, column.
type Location = (String, u32, u32);

/// Compares what is left with the tables.
pub(super) fn check(kernel: &Path) -> Result<()> {
    let found = locations(kernel)?;
    if found.is_empty() {
        return Err("no panic location was found: the format has changed".into());
    }
    let (mut wrong, mut used) = (Vec::new(), BTreeSet::new());
    let mut sources = BTreeMap::new();
    for (file, line, column) in found {
        let own = paths::root().join(&file);
        if !own.is_file() || Path::new(&file).is_absolute() {
            match OTHERS.iter().position(|(part, _)| file.contains(part)) {
                Some(row) => drop(used.insert((false, row))),
                None => wrong.push(format!("{file}:{line}:{column}: nobody says why it cannot happen")),
            }
            continue;
        }
        let text = match sources.entry(file.clone()) {
            std::collections::btree_map::Entry::Occupied(known) => known.into_mut(),
            std::collections::btree_map::Entry::Vacant(new) => {
                new.insert(String::from_utf8_lossy(&build::read(&own)?).into_owned())
            }
        };
        // A statement may go on for some lines.
        let statement: Vec<&str> = text.lines().skip(line as usize - 1).take(3).collect();
        let statement = statement.join("\n");
        match OWN.iter().position(|(of, part, _)| *of == file && statement.contains(part)) {
            Some(row) => drop(used.insert((true, row))),
            None => wrong
                .push(format!("{file}:{line}:{column}: {}", statement.lines().next().unwrap_or("").trim())),
        }
    }
    for (row, (file, part, _)) in OWN.iter().enumerate() {
        if !used.contains(&(true, row)) {
            wrong.push(format!("{file}: \"{part}\" is allowed and no longer there: remove the row"));
        }
    }
    if wrong.is_empty() {
        return Ok(());
    }
    Err(format!(
        "{} panics: return an error instead, or add a row with the reason to xtask/src/test/panics.rs\n  {}",
        wrong.len(),
        wrong.join("\n  ")
    )
    .into())
}

/// Every `core::panic::Location` in an ELF file: {file, length of its name, line, column}.
fn locations(path: &Path) -> Result<BTreeSet<Location>> {
    let bytes = build::read(path)?;
    let file = ElfBytes::<LittleEndian>::minimal_parse(&bytes)?;
    let mut parts = Vec::new();
    for section in file.section_headers().ok_or("an ELF file without sections")? {
        let in_memory = section.sh_flags & u64::from(elf::abi::SHF_ALLOC) != 0;
        if in_memory && section.sh_type == elf::abi::SHT_PROGBITS {
            parts.push((section.sh_addr, file.section_data(&section)?.0));
        }
    }
    let text = |address: u64, length: u64| {
        let (start, data) =
            parts.iter().find(|(start, data)| (*start..*start + data.len() as u64).contains(&address))?;
        let from = (address - start) as usize;
        data.get(from..from.checked_add(usize::try_from(length).ok()?)?)
    };
    let mut found = BTreeSet::new();
    for (_, data) in &parts {
        for window in data.windows(24).step_by(8) {
            let word = |at: usize| u64::from_le_bytes(window[at..at + 8].try_into().expect("eight bytes"));
            let (address, length, place) = (word(0), word(8), word(16));
            let (line, column) = (place as u32, (place >> 32) as u32);
            if (4..400).contains(&length)
                && (1..100_000).contains(&line)
                && (1..1000).contains(&column)
                && let Some(name) = text(address, length)
                && name.ends_with(b".rs")
                && let Ok(name) = std::str::from_utf8(name)
            {
                found.insert((name.to_owned(), line, column));
            }
        }
    }
    Ok(found)
}

/// `mov r10, rcx; shr r10, 47; jnz`, and from there straight on.
const CANONICAL: [u8; 8] = [0x49, 0x89, 0xca, 0x49, 0xc1, 0xea, 0x2f, 0x75];
/// `sysretq`.
const SYSRET: [u8; 3] = [0x48, 0x0f, 0x07];
/// Bytes of the instructions between them.
const BETWEEN: usize = 40;

/// Checks that the kernel has two `sysret` (ADR 7), and that the check of the address it returns to is right before each.
///
/// Under emulation `sysret` to such an address faults in ring 3, and no test there can tell; Intel's processors
/// fault in ring 0, on the program's stack.
pub(super) fn check_sysret(kernel: &Path) -> Result<()> {
    let bytes = build::read(kernel)?;
    let file = ElfBytes::<LittleEndian>::minimal_parse(&bytes)?;
    let text = file.section_header_by_name(".text")?.ok_or("a kernel without .text")?;
    sysret_is_checked(file.section_data(&text)?.0).map_err(Into::into)
}

fn sysret_is_checked(text: &[u8]) -> std::result::Result<(), String> {
    let all: Vec<usize> =
        text.windows(SYSRET.len()).enumerate().filter(|(_, w)| *w == SYSRET).map(|(at, _)| at).collect();
    if all.len() != 2 {
        return Err(format!("{} places look like sysret, not two", all.len()));
    }
    for at in all {
        let before = &text[at.saturating_sub(BETWEEN)..at];
        if !before.windows(CANONICAL.len()).any(|w| w == CANONICAL) {
            return Err(format!("before sysret there is no check of the return address: {before:02x?}"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sysret_without_its_check_is_found() {
        let good = [&[0x90; 40][..], &CANONICAL, &[0x20, 0x31, 0xff], &SYSRET, &[0x90; 8]].concat();
        let bad = [&[0x90; 40][..], &SYSRET].concat();
        let all = |parts: &[&Vec<u8>]| {
            sysret_is_checked(&parts.iter().flat_map(|p| p.iter().copied()).collect::<Vec<_>>())
        };
        assert_eq!(all(&[&good, &good]), Ok(()));
        assert!(all(&[&good, &bad]).is_err() && all(&[&bad, &good]).is_err());
        assert!(all(&[&good]).is_err() && all(&[&good, &good, &good]).is_err());
        assert!(sysret_is_checked(&[0x90; 64]).is_err());
    }

    #[test]
    fn every_row_has_a_reason_and_something_to_look_for() {
        let own = OWN.iter().flat_map(|(file, part, why)| [file, part, why]);
        let others = OTHERS.iter().flat_map(|(part, why)| [part, why]);
        assert!(own.chain(others).all(|text| !text.is_empty()));
    }
}
