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
    /// Functions with edges that were not executed: crate, file and line of the first, how many.
    missed: Vec<(String, String, u64)>,
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
        writeln!(f, "  not executed, by file:")?;
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
    let mut coverage = Coverage::default();
    let mut missed = BTreeMap::<(String, String), u64>::new();
    for (guard, place) in guards.chunks_exact(4).zip(places.chunks_exact(16)) {
        let address = u64::from_le_bytes(place[..8].try_into().expect("eight bytes"));
        let hit = guard.iter().any(|byte| *byte != 0);
        let Some((name, at)) = place_of(&lines, address) else { continue };
        let (done, all) = coverage.crates.entry(name.clone()).or_default();
        *done += u64::from(hit);
        *all += 1;
        if !hit {
            *missed.entry((name, at)).or_default() += 1;
        }
    }
    coverage.missed = missed.into_iter().map(|((name, at), count)| (name, at, count)).collect();
    coverage.missed.retain(|(name, ..)| CALL_CRATES.contains(&name.as_str()));
    coverage.missed.sort_by_key(|(.., count)| std::cmp::Reverse(*count));
    if coverage.of_calls().1 == 0 {
        return Err("no edge lies in the call crates".into());
    }
    Ok(coverage)
}

/// The kernel crate and the file that an address was compiled from.
fn place_of(lines: &addr2line::Loader, address: u64) -> Option<(String, String)> {
    let mut frames = lines.find_frames(address).ok()?;
    while let Ok(Some(frame)) = frames.next() {
        let Some(file) = frame.location.and_then(|place| place.file) else { continue };
        // Code of `core` that was inlined belongs to whom it was inlined in.
        let Some((_, inside)) = file.split_once("crates/kernel/") else { continue };
        let name = inside.split('/').next()?.to_owned();
        let function = frame.function.as_ref().and_then(|f| f.demangle().ok()).unwrap_or_default();
        let function = function.split('<').next().unwrap_or_default().to_owned();
        let short = function.rsplit("::").next().unwrap_or_default().to_owned();
        return Some((name, format!("{} {short}", inside.split_once('/').map_or("", |(_, rest)| rest))));
    }
    None
}
