//! Which edges of the kernel were executed, by crate.
//!
//! `images/kernel-coverage` is compiled with guards (`sancov-module`, trace-pc-guard): each edge calls a function that
//! sets the guard's word. Guards and the table of their addresses lie side by side in two sections; QEMU's monitor
//! saves the first one from the machine's memory, the second is in the kernel's file.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use elf::ElfBytes;
use elf::endian::LittleEndian;

use crate::monitor::Monitor;
use crate::{Result, build, paths};

/// Where the kernel's image is linked, less its physical address.
const KERNEL_BASE: u64 = 0xffff_ffff_8000_0000;

/// The crates whose calls are fuzzed.
const CALL_CRATES: [&str; 7] = ["share", "segment", "atree", "pcore", "device", "object", "corey"];

/// Executed, and in all.
type Count = (u64, u64);

/// What was executed, by crate.
#[derive(Clone, Debug, Default)]
pub(crate) struct Coverage {
    /// Edges (of generic functions, of each instance), and lines where one begins (executed when one of theirs was).
    crates: BTreeMap<String, (Count, Count)>,
    /// Lines of the call crates that were not executed, by crate and file.
    missed: BTreeMap<(String, String), Vec<u32>>,
}

impl Coverage {
    fn new(edges: &[(Place, bool)]) -> Self {
        let mut coverage = Self::default();
        let mut lines = BTreeMap::<&Place, bool>::new();
        for (place, hit) in edges {
            let ((done, all), _) = coverage.crates.entry(place.0.clone()).or_default();
            *done += u64::from(*hit);
            *all += 1;
            *lines.entry(place).or_default() |= hit;
        }
        for ((name, file, line), hit) in lines {
            let (_, (done, all)) = coverage.crates.entry(name.clone()).or_default();
            *done += u64::from(hit);
            *all += 1;
            if !hit && CALL_CRATES.contains(&name.as_str()) {
                coverage.missed.entry((name.clone(), file.clone())).or_default().push(*line);
            }
        }
        coverage
    }

    /// Edges and lines of the call crates.
    pub(crate) fn of_calls(&self) -> (Count, Count) {
        let of = CALL_CRATES.iter().filter_map(|name| self.crates.get(*name));
        of.fold(((0, 0), (0, 0)), |(e, l), (edges, lines)| {
            ((e.0 + edges.0, e.1 + edges.1), (l.0 + lines.0, l.1 + lines.1))
        })
    }
}

impl fmt::Display for Coverage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let percent = |(done, all): Count| done as f64 * 100.0 / all.max(1) as f64;
        let sum = ("the call crates", self.of_calls());
        let rows = self.crates.iter().map(|(name, counts)| (name.as_str(), *counts)).chain([sum]);
        for (name, (edges, lines)) in rows {
            writeln!(
                f,
                "  {name:<16} {:>5} of {:>5} edges {:>5.1} %   {:>4} of {:>4} lines {:>5.1} %",
                edges.0,
                edges.1,
                percent(edges),
                lines.0,
                lines.1,
                percent(lines)
            )?;
        }
        writeln!(f, "  lines that were not executed:")?;
        for ((name, file), lines) in &self.missed {
            writeln!(f, "    {name}/{file}: {lines:?}")?;
        }
        Ok(())
    }
}

/// Reads the guards of the machine that `monitor` belongs to, and names them by `kernel`, its file.
pub(crate) fn read(kernel: &Path, monitor: &mut Monitor) -> Result<Coverage> {
    let bytes = build::read(kernel)?;
    let file = ElfBytes::<LittleEndian>::minimal_parse(&bytes)?;
    let symbol = |wanted: &str| -> Result<u64> {
        let (table, names) = file.symbol_table()?.ok_or("a kernel without symbols")?;
        let found = table.iter().find(|s| names.get(s.st_name as usize).is_ok_and(|name| name == wanted));
        found.map(|s| s.st_value).ok_or_else(|| format!("the kernel has no {wanted}").into())
    };
    let (start, end) = (symbol("__start___sancov_guards")?, symbol("__stop___sancov_guards")?);
    let (table, table_end) = (symbol("__start___sancov_pcs")?, symbol("__stop___sancov_pcs")?);
    let saved = paths::work("test")?.join("guards");
    let answer = monitor.ask(&format!(
        "pmemsave {:#x} {} \"{}\"",
        start - KERNEL_BASE,
        end - start,
        saved.display()
    ))?;
    let guards = build::read(&saved).map_err(|e| format!("{e}: {answer:?}"))?;
    let section = file
        .section_headers()
        .ok_or("an ELF file without sections")?
        .iter()
        .find(|s| {
            s.sh_addr <= table && table_end <= s.sh_addr + s.sh_size && s.sh_type == elf::abi::SHT_PROGBITS
        })
        .ok_or("the table of edges lies in no section")?;
    let data = file.section_data(&section)?.0;
    let from = (table - section.sh_addr) as usize;
    let places = data.get(from..from + (table_end - table) as usize).ok_or("the table of edges is cut")?;
    if places.len() / 16 != guards.len() / 4 {
        return Err(format!("{} guards, {} addresses", guards.len() / 4, places.len() / 16).into());
    }
    let lines = addr2line::Loader::new(kernel).map_err(|e| format!("{}: {e}", kernel.display()))?;
    let mut edges = Vec::new();
    for (guard, place) in guards.chunks_exact(4).zip(places.chunks_exact(16)) {
        let address = u64::from_le_bytes(place[..8].try_into().expect("eight bytes"));
        let hit = guard.iter().any(|byte| *byte != 0);
        edges.extend(place_of(&lines, address).map(|place| (place, hit)));
    }
    let coverage = Coverage::new(&edges);
    if coverage.of_calls().0.1 == 0 {
        return Err("no edge lies in the call crates".into());
    }
    Ok(coverage)
}

/// Where an edge begins in the sources: crate, file, line.
type Place = (String, String, u32);

/// The kernel's code that an address was compiled from.
fn place_of(lines: &addr2line::Loader, address: u64) -> Option<Place> {
    let mut frames = lines.find_frames(address).ok()?;
    while let Ok(Some(frame)) = frames.next() {
        let Some(location) = frame.location else { continue };
        // Code of `core` that was inlined belongs to whom it was inlined in.
        let Some((_, inside)) = location.file.and_then(|file| file.split_once("crates/kernel/")) else {
            continue;
        };
        let (name, file) = inside.split_once('/')?;
        // The first program is made once, before there is a call.
        let name = if file == "src/boot.rs" { "boot" } else { name };
        return Some((name.to_owned(), file.to_owned(), location.line?));
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_edge_that_was_inlined_twice_is_one_line() {
        let place = |line| ("share".to_owned(), "src/a.rs".to_owned(), line);
        let coverage = Coverage::new(&[(place(1), false), (place(1), true), (place(2), false)]);
        assert_eq!(coverage.of_calls(), ((1, 3), (1, 2)));
        assert_eq!(coverage.missed[&("share".to_owned(), "src/a.rs".to_owned())], [2]);
    }
}
