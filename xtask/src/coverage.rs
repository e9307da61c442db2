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

/// Edges by crate: executed, in all.
#[derive(Clone, Debug, Default)]
pub(crate) struct Coverage {
    crates: BTreeMap<String, (u64, u64)>,
    /// Functions with edges that were not executed: crate, file and function, how many.
    missed: Vec<(String, String, u64)>,
    /// As compiled, in the call crates: executed, in all.
    compiled: (u64, u64),
}

impl Coverage {
    /// Executed and all edges of the call crates.
    pub(crate) fn of_calls(&self) -> (u64, u64) {
        let of = CALL_CRATES.iter().filter_map(|name| self.crates.get(*name));
        of.fold((0, 0), |(done, all), (d, a)| (done + d, all + a))
    }
}

impl fmt::Display for Coverage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let percent = |done: u64, all: u64| done as f64 * 100.0 / all.max(1) as f64;
        for (name, (done, all)) in &self.crates {
            writeln!(f, "  {name:<20} {done:>5} of {all:>5} edges  {:>5.1} %", percent(*done, *all))?;
        }
        let (done, all) = self.of_calls();
        writeln!(
            f,
            "  {:<20} {done:>5} of {all:>5} edges  {:>5.1} %",
            "the call crates",
            percent(done, all)
        )?;
        let (done, all) = self.compiled;
        writeln!(
            f,
            "  as compiled, what was inlined counted each time: {done} of {all}, {:.1} %",
            percent(done, all)
        )?;
        writeln!(f, "  not executed, by function:")?;
        for (name, file, count) in self.missed.iter().take(40) {
            writeln!(f, "    {count:>4}  {name}: {file}")?;
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
    let mut edges = Edges::default();
    for (guard, place) in guards.chunks_exact(4).zip(places.chunks_exact(16)) {
        let address = u64::from_le_bytes(place[..8].try_into().expect("eight bytes"));
        let hit = guard.iter().any(|byte| *byte != 0);
        if let Some((instance, place)) = place_of(&lines, address) {
            edges.add(instance, place, hit);
        }
    }
    let coverage = edges.sum();
    if coverage.of_calls().1 == 0 {
        return Err("no edge lies in the call crates".into());
    }
    Ok(coverage)
}

/// Where an edge begins in the sources: crate, file and function, line, column.
type Place = (String, String, u32, u32);

/// Edges by place. A function that was inlined in ten places has each of its edges ten times: they count once, as
/// executed when one of them was. Edges of one instance that begin at the same place stay apart, by their order.
#[derive(Debug, Default)]
struct Edges {
    seen: BTreeMap<(String, Place), u32>,
    merged: BTreeMap<(Place, u32), bool>,
    /// As compiled, in the call crates: executed, in all.
    compiled: (u64, u64),
}

impl Edges {
    fn add(&mut self, instance: String, place: Place, hit: bool) {
        if CALL_CRATES.contains(&place.0.as_str()) {
            self.compiled.0 += u64::from(hit);
            self.compiled.1 += 1;
        }
        let index = self.seen.entry((instance, place.clone())).or_default();
        *self.merged.entry((place, *index)).or_default() |= hit;
        *index += 1;
    }

    fn sum(self) -> Coverage {
        let mut coverage = Coverage { compiled: self.compiled, ..Coverage::default() };
        let mut missed = BTreeMap::<(String, String), u64>::new();
        for (((name, file, ..), _), hit) in self.merged {
            let (done, all) = coverage.crates.entry(name.clone()).or_default();
            *done += u64::from(hit);
            *all += 1;
            if !hit && CALL_CRATES.contains(&name.as_str()) {
                *missed.entry((name, file)).or_default() += 1;
            }
        }
        coverage.missed = missed.into_iter().map(|((name, at), count)| (name, at, count)).collect();
        coverage.missed.sort_by_key(|(.., count)| std::cmp::Reverse(*count));
        coverage
    }
}

/// The kernel's code that an address was compiled from, and what it was inlined in.
fn place_of(lines: &addr2line::Loader, address: u64) -> Option<(String, Place)> {
    let mut frames = lines.find_frames(address).ok()?;
    let (mut place, mut instance) = (None, String::new());
    while let Ok(Some(frame)) = frames.next() {
        let function =
            frame.function.as_ref().and_then(|f| f.demangle().ok()).unwrap_or_default().into_owned();
        let Some(location) = frame.location else { continue };
        let (line, column) = (location.line.unwrap_or(0), location.column.unwrap_or(0));
        if place.is_some() {
            instance.push_str(&format!("{function}:{line}:{column};"));
            continue;
        }
        // Code of `core` that was inlined belongs to whom it was inlined in.
        let Some((_, inside)) = location.file.and_then(|file| file.split_once("crates/kernel/")) else {
            continue;
        };
        let (name, file) = inside.split_once('/')?;
        // The first program is made once, before there is a call.
        let name = if file == "src/boot.rs" { "boot" } else { name };
        let short = function.split('<').next().unwrap_or_default().rsplit("::").next().unwrap_or_default();
        place = Some((name.to_owned(), format!("{file} {short}"), line, column));
        // The function that it was compiled into, if that is no other.
        instance = format!("{function};");
    }
    Some((instance, place?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_edge_that_was_inlined_twice_counts_once() {
        let mut edges = Edges::default();
        let place = |line| ("share".to_owned(), "src/a.rs f".to_owned(), line, 1);
        for (instance, line, hit) in
            [("x", 1, false), ("y", 1, true), ("x", 2, false), ("x", 2, true), ("y", 2, false)]
        {
            edges.add(instance.to_owned(), place(line), hit);
        }
        let coverage = edges.sum();
        // Line 1 once, executed; line 2 begins two edges, of which one was executed.
        assert_eq!(coverage.of_calls(), (2, 3));
        assert_eq!(coverage.compiled, (2, 5));
        assert_eq!(coverage.missed, [("share".to_owned(), "src/a.rs f".to_owned(), 1)]);
    }
}
