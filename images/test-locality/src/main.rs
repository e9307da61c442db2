//! Where cores and memory are: what `locality_get` says, beside what the command line says is true of this machine.
//!
//! Words, each a list with a number for every core: `packages threads nodes` and `cache1 … cache4` (lowest core of each
//! group), `mib` (RAM of the core's own). `distances` has a list for every core, with `:` between. `source` is one
//! number. `nearest physical spread` are the orders in which cores are to be taken by core 0.
#![no_std]
#![no_main]
#![allow(unsafe_code, reason = "the entry point has a fixed name; a test touches memory it mapped")]

use corey_abi::{Error, Locality, MachineCalls, MapFlags, PAGE_BYTES, ShareCalls, UserPtr};
use corey_libos_cores::{Here, Order, locality};
use corey_libos_rt::sys::{segment, sys};
use corey_libos_rt::{Process, Status, entry};
use corey_libos_test::Suite;
use heapless::Vec;

entry!(main);

type List = Vec<u64, 256>;

fn main(mut process: Process) -> Status {
    let mut suite = Suite::new(&process, "locality");
    let line = process.info.command_line();
    let word = |key: &str| line.split_whitespace().find_map(|word| word.strip_prefix(key)?.strip_prefix('='));
    let cores = process.info.header.cores;
    suite.check("the command line says what to expect", word("packages").is_some(), line);
    groups(&mut suite, cores, &word);
    distances(&mut suite, cores, word("distances"));
    memory(&mut suite, &mut process, word("mib").map(list));
    errors(&mut suite, cores);
    let mut here = Here::first(process);
    orders(&mut suite, &mut here, &word);
    elsewhere(&mut suite, &mut here, cores as u16);
    suite.finish()
}

fn list(text: &str) -> List {
    text.split(',').filter_map(|number| number.parse().ok()).collect()
}

/// One number of every core.
fn all(cores: u64, of: impl Fn(&Locality) -> u64) -> List {
    (0..cores as u16).filter_map(|core| Some(of(&locality(core).ok()?))).collect()
}

fn groups<'a>(suite: &mut Suite, cores: u64, word: &impl Fn(&str) -> Option<&'a str>) {
    let same = |suite: &mut Suite, name: &'static str, key: &str, of: &dyn Fn(&Locality) -> u64| {
        if let Some(wanted) = word(key) {
            suite.equal(name, all(cores, of), list(wanted));
        }
    };
    same(suite, "packages", "packages", &|core| core.position.package);
    same(suite, "hardware threads", "threads", &|core| core.position.thread_group);
    same(suite, "memory nodes", "nodes", &|core| core.position.node);
    same(suite, "what is known", "source", &|core| core.source);
    for (level, key, name) in [
        (1, "cache1", "caches of level 1"),
        (2, "cache2", "caches of level 2"),
        (3, "cache3", "caches of level 3"),
    ] {
        let cache = |core: &Locality| core.position.caches.iter().find(|cache| cache.level == level).copied();
        same(suite, name, key, &|core| cache(core).map_or(999, |cache| cache.group));
        let odd = (0..cores as u16).filter_map(|core| cache(&locality(core).ok()?)).find(|cache| {
            !cache.line.is_power_of_two()
                || cache.bytes < 1024
                || !cache.bytes.is_multiple_of(cache.line.into())
        });
        suite.equal("sizes of caches are plausible", odd, None);
        if word(key).is_none() {
            suite.equal(
                "a cache nobody tells of is not there",
                all(cores, |core| cache(core).is_some().into()).iter().sum::<u64>(),
                0,
            );
        }
    }
    let ids = all(cores, |core| core.apic_id);
    let twice =
        ids.iter().enumerate().filter(|(at, id)| ids.iter().take(*at).any(|other| other == *id)).count();
    suite.equal("no APIC ID is there twice", (ids.len() as u64, twice), (cores, 0));
}

fn distances(suite: &mut Suite, cores: u64, wanted: Option<&str>) {
    let rows = wanted.unwrap_or_default().split(':').map(list);
    for (core, wanted) in (0..cores as u16).zip(rows) {
        let Some(core) = suite.works("locality_get", locality(core)) else { continue };
        let got: List =
            core.distance.iter().take(cores as usize).map(|distance| u64::from(*distance)).collect();
        suite.equal("distances", got, wanted);
        let beyond = core.distance.iter().skip(cores as usize).filter(|distance| **distance != 0).count();
        suite.equal("none beyond the last core", beyond, 0);
        suite.equal("cores of the machine", core.cores, cores);
    }
}

/// Each core has its part, less what the kernel took at boot; and a program on one core can use all of it.
fn memory(suite: &mut Suite, process: &mut Process, wanted: Option<List>) {
    let cores = process.info.header.cores;
    let pages = all(cores, |core| core.pages);
    for (pages, mib) in pages.iter().zip(wanted.iter().flatten()) {
        let (most, least) = (mib * 256, mib * 256 * 3 / 4);
        let fits = (least..=most).contains(pages);
        suite.check("a core's own memory", fits, format_args!("{pages} pages, wanted {least} to {most}"));
    }
    // Twice its own, while that is little.
    let own = pages.first().copied().unwrap_or(0);
    let count = (own * 2).min(pages.iter().sum::<u64>() * 3 / 4).min(100_000);
    let Some(object) = suite.works("more than one's own", segment(process.boot, count * PAGE_BYTES, "all"))
    else {
        return;
    };
    if let Some((va, slot)) = suite.works("mapped", process.space.map(object, count, MapFlags::WRITE)) {
        let mut wrong = 0_u64;
        for page in 0..count {
            let at = (va + page * PAGE_BYTES) as *mut u64;
            // SAFETY: mapped above, and nobody else uses it.
            wrong += u64::from(unsafe { at.read_volatile() } != 0);
            // SAFETY: as above.
            unsafe { at.write_volatile(page) };
        }
        suite.check("a program on one core uses the memory of others", wrong == 0, count);
        suite.works("unmapped", process.space.unmap(slot));
    }
    suite.works("gone", sys().share_delobj(object));
    suite.audit("the memory is back where it belongs");
}

fn errors(suite: &mut Suite, cores: u64) {
    let mut room = [0_u8; 408];
    let at = UserPtr(room.as_mut_ptr() as u64);
    for core in [cores, 255.max(cores), 256, 1 << 16, 1 << 32, u64::MAX] {
        suite.refused(
            "the locality of a core that does not exist",
            sys().locality_get(core, at),
            Error::NotFound,
        );
    }
    let text = main as fn(Process) -> Status as usize as u64;
    for (name, at) in [
        ("locality_get to no address", 0),
        ("locality_get to where nothing is mapped", 8),
        ("locality_get to the kernel's half", 0xffff_8000_0000_0000),
        ("locality_get across the end of the user's half", (1 << 47) - 8),
        ("locality_get to the end of all addresses", u64::MAX),
        ("locality_get to where the program may not write", text),
    ] {
        suite.refused(name, sys().locality_get(0, UserPtr(at)), Error::BadAddress);
    }
    suite.equal("a refused call wrote nothing", room.iter().filter(|byte| **byte != 0).count(), 0);
}

fn orders<'a>(suite: &mut Suite, here: &mut Here, word: &impl Fn(&str) -> Option<&'a str>) {
    for (name, key, order) in [
        ("free cores, the nearest first", "nearest", Order::Nearest),
        ("free cores, one of each physical core", "physical", Order::PhysicalCores),
        ("free cores, packages in turn", "spread", Order::Spread),
    ] {
        let Some(wanted) = word(key) else { continue };
        let got = here.scope(|scope| Ok(scope.free_by(order).map(u64::from).collect::<List>()));
        suite.equal(name, got, Ok(list(wanted)));
    }
}

/// Every core hears the same.
fn elsewhere(suite: &mut Suite, here: &mut Here, cores: u16) {
    let Some(core) = cores.checked_sub(1).filter(|core| *core > 0) else { return };
    let there = here.scope(|scope| scope.spawn(core, |_| locality(0))?.join());
    suite.equal("another core hears the same", there.ok(), Some(locality(0)));
}
