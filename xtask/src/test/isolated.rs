//! User mode on tables of its own (`pti=on`): what they map, as QEMU sees them; programs and NMIs on them.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use elf::ElfBytes;
use elf::endian::LittleEndian;

use crate::build::{self, Medium};
use crate::monitor::{Monitor, values};
use crate::qemu::{Boot, End, Machine};
use crate::{Result, paths};

use super::{Case, hard::timed, vm};

/// A processor that needs it, without SMAP; and one that does not, with all there is.
const MODELS: [&str; 2] = ["Haswell", super::hard::RICH];
/// Programs that enter the kernel and leave it in every way.
const PROGRAMS: [&str; 6] =
    ["test-call", "test-fault", "test-fresh", "test-atree", "test-pcore", "test-upcall"];
const CORES: u32 = 4;
/// Looks at the machine at most, until each core was seen in user mode; it runs in between, on a busy host not much.
const LOOKS: usize = 1000;
const BETWEEN: Duration = Duration::from_millis(5);
/// NMIs.
const STORM: usize = 400;

pub(super) fn cases(medium: &Medium, kernel: &Path) -> Result<Vec<Case>> {
    let mut cases = Vec::new();
    for model in MODELS {
        let name = format!("the kernel's pages in user mode on {model}");
        cases.push(timed(&name, || apart(medium, kernel, model, "pti=on")));
        // Or the look would prove nothing.
        cases.push(timed(&format!("{name}: all without pti=on"), || {
            match apart(medium, kernel, model, "pti=off") {
                Err(found) if found.to_string().starts_with(TOO_MANY) => Ok(()),
                other => Err(format!("{other:?}").into()),
            }
        }));
        cases.push(timed(&format!("NMIs between any two blocks on {model}"), || storm(medium, model)));
    }
    for program in PROGRAMS {
        for cores in [1, CORES] {
            let name = format!("{program} on tables apart, {cores} cores");
            cases.extend(vm::run(&machine_of(medium, program, cores), &name, &[])?);
        }
    }
    Ok(cases)
}

fn machine_of(medium: &Medium, program: &str, cores: u32) -> Machine {
    let mut machine = vm::machine(medium, program, MODELS[0], cores);
    if let Boot::Direct(_, _, words) = &mut machine.boot {
        words.push_str(" pti=on");
    }
    machine
}

fn machine(medium: &Medium, model: &str, words: &str, iters: u32) -> Result<(Machine, std::path::PathBuf)> {
    let words = format!("bench=null iters={iters} cores={CORES} {words}");
    let boot = Boot::Direct(medium.kernel.clone(), Some(medium.archive.clone()), words);
    let mut machine = Machine::new(CORES, "512M", boot);
    model.clone_into(&mut machine.cpu);
    let socket = paths::work("test")?.join("monitor");
    machine.monitor = Some(socket.clone());
    Ok((machine, socket))
}

const TOO_MANY: &str = "in user mode a core maps of the kernel's half";

/// Looks at the tables of each core in user mode: of the kernel's half they map the ways in, the interrupt table and the
/// core's own page, nothing else; and the program's pages.
pub(super) fn apart(medium: &Medium, kernel: &Path, model: &str, words: &str) -> Result<()> {
    let text = entries(kernel)?;
    // Looked at in the second half; on tables apart a call takes much longer.
    let iters = if words == "pti=on" { 400_000 } else { 6_000_000 };
    let (machine, socket) = machine(medium, model, words, iters)?;
    let seen = RefCell::new(None);
    let outcome = machine.run(Duration::from_secs(120), |line| {
        if line.contains("\"record\":\"bench\"") && seen.borrow().is_none() {
            *seen.borrow_mut() = Some(look(&socket, &text));
        }
    })?;
    seen.into_inner()
        .unwrap_or_else(|| Err(format!("it ended as {:?}\n{}", outcome.end, outcome.tail()).into()))
}

fn look(socket: &Path, text: &[u64]) -> Result<()> {
    let mut monitor = Monitor::connect(socket)?;
    let mut left: Vec<u32> = (0..CORES).collect();
    let mut result = Ok(());
    for _ in 0..LOOKS {
        monitor.ask("stop")?;
        let registers = monitor.ask("info registers -a")?;
        let levels = values(&registers, "CPL");
        let own = [tables(&registers, "IDT=", 1), tables(&registers, "TR =", 2)];
        for core in left.clone() {
            if levels.get(core as usize) != Some(&3) {
                continue;
            }
            monitor.ask(&format!("cpu {core}"))?;
            let table = monitor.ask("info tlb")?;
            let own = own.iter().filter_map(|all| all.get(core as usize)).map(|address| address & !0xfff);
            result = result.and_then(|()| check(&table, &text.iter().copied().chain(own).collect()));
            left.retain(|other| *other != core);
        }
        if left.is_empty() || result.is_err() {
            break;
        }
        monitor.ask("cont")?;
        std::thread::sleep(BETWEEN);
    }
    monitor.quit();
    if result.is_ok() && !left.is_empty() {
        return Err(format!("cores {left:?} were never seen in user mode").into());
    }
    result
}

/// Each core's word `at` of the line that begins with `key`: where a descriptor table lies.
fn tables(registers: &[String], key: &str, at: usize) -> Vec<u64> {
    let lines = registers.iter().filter(|line| line.starts_with(key));
    lines.filter_map(|line| u64::from_str_radix(line.split_whitespace().nth(at)?, 16).ok()).collect()
}

/// Lines `address: …`: of the kernel's half the pages `wanted`, and some of the program's.
fn check(table: &[String], wanted: &BTreeSet<u64>) -> Result<()> {
    let addresses: Vec<u64> =
        table.iter().filter_map(|line| u64::from_str_radix(line.split_once(": ")?.0, 16).ok()).collect();
    let upper: BTreeSet<u64> = addresses.iter().copied().filter(|address| *address >= 1 << 47).collect();
    let more: Vec<_> = upper.difference(wanted).take(8).collect();
    if !more.is_empty() {
        return Err(format!("{TOO_MANY} {} pages, not {}: {more:x?}", upper.len(), wanted.len()).into());
    }
    let missing: Vec<_> = wanted.difference(&upper).collect();
    if !missing.is_empty() {
        return Err(format!("in user mode a core does not map {missing:x?}").into());
    }
    if addresses.len() - upper.len() < 4 {
        return Err(format!("in user mode only {} pages of a program", addresses.len() - upper.len()).into());
    }
    Ok(())
}

/// Pages of the ways into the kernel.
fn entries(kernel: &Path) -> Result<Vec<u64>> {
    let bytes = build::read(kernel)?;
    let file = ElfBytes::<LittleEndian>::minimal_parse(&bytes)?;
    let (symbols, names) = file.symbol_table()?.ok_or("a kernel without symbols")?;
    let value = |wanted: &str| {
        let found =
            symbols.iter().find(|symbol| names.get(symbol.st_name as usize).is_ok_and(|name| name == wanted));
        found.map(|symbol| symbol.st_value).ok_or_else(|| format!("the kernel has no symbol {wanted}"))
    };
    Ok((value("corey_text")?..value("corey_entry_end")?).step_by(4096).collect())
}

/// NMIs to all cores while they enter and leave the kernel as fast as they can: QEMU takes them between blocks of translated
/// code, and a write of CR3 ends a block. A machine that resets prints no record of the last benchmark.
pub(super) fn storm(medium: &Medium, model: &str) -> Result<()> {
    let (machine, socket) = machine(medium, model, "pti=on", 200_000)?;
    let sent = RefCell::new(None);
    let outcome = machine.run(Duration::from_secs(120), |line| {
        if line.contains("\"record\":\"bench\"") && sent.borrow().is_none() {
            *sent.borrow_mut() = Some(send(&socket));
        }
    })?;
    let records = outcome.lines.iter().filter(|line| line.contains("\"record\":\"bench\"")).count();
    match (sent.into_inner(), outcome.end) {
        // `null` has two variants.
        (Some(Ok(())), End::PoweredOff) if records == 2 => Ok(()),
        (sent, end) => Err(format!("sent: {sent:?}, ended as {end:?}\n{}", outcome.tail()).into()),
    }
}

fn send(socket: &Path) -> Result<()> {
    let mut monitor = Monitor::connect(socket)?;
    for number in 0..STORM {
        monitor.ask(&format!("cpu {}", number % CORES as usize))?;
        monitor.ask("nmi")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_too_many_or_too_few_is_found() {
        let table = |upper: &[u64]| -> Vec<String> {
            let user = (0..4_u64).map(|i| format!("{:016x}: 0000000000400000 X--DA--UW", i * 4096));
            let kernel = upper
                .iter()
                .map(|i| format!("{:016x}: 0000000000100000 ----A----", (0xffff << 48) + i * 4096));
            user.chain(kernel).collect()
        };
        let wanted = (1..=2).map(|i| (0xffff << 48) + i * 4096).collect();
        assert!(check(&table(&[1, 2]), &wanted).is_ok());
        assert!(check(&table(&[1, 2, 3]), &wanted).is_err() && check(&table(&[1]), &wanted).is_err());
        assert!(check(&table(&[1, 3]), &wanted).is_err(), "another one");
        assert!(check(&table(&[1, 2])[4..], &wanted).is_err(), "the program's pages are missing");
    }

    #[test]
    fn tables_are_found_by_core() {
        let registers = ["CPU#0", "TR =0030 ffff8000001 00000067 00008b00", "IDT=     ffff8000002 00000fff"]
            .map(str::to_owned);
        assert_eq!(
            (tables(&registers, "TR =", 2), tables(&registers, "IDT=", 1)),
            (vec![0x0fff_f800_0001], vec![0x0fff_f800_0002])
        );
    }
}
