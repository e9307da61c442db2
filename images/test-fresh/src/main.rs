//! A program finds nothing of another: not in its registers, not in its memory.
#![no_std]
#![no_main]
#![allow(unsafe_code, reason = "the entry point has a fixed name; registers; mapped memory by address")]

mod registers;

use corey_abi::{
    Error, Home, LARGE_PAGE_BYTES, MapFlags, Name, ObjRef, PAGE_BYTES, SegmentCalls, ShareCalls, segment_flag,
};
use corey_libos_rt::sys::{address, segment, sys};
use corey_libos_rt::vm::Ended;
use corey_libos_rt::{Process, Status, entry, halt};
use corey_libos_test::{Fixture, Suite};

entry!(main);

/// What is left behind.
const SECRET: u64 = 0x5ec2_e75e_c2e7_5ec2;

fn main(mut process: Process) -> Status {
    let mut suite = Suite::new(&process, "fresh");
    registers::after_a_call(&mut suite);
    if process.info.header.cores < 2 {
        suite.check("registers of the program before", true, "one core: tested with two and more");
    } else if let Some(fixture) = suite.works("a status page", Fixture::new(&mut process)) {
        registers::of_the_program_before(&mut suite, &process, &fixture);
        memory_of_another_core(&mut suite, &mut process, &fixture);
    }
    memory(&mut suite, &mut process);
    shrunk_and_grown(&mut suite, &mut process);
    large(&mut suite, &mut process);
    suite.finish()
}

/// Words of `pages` pages at `va` that are not zero; then all are `SECRET`.
fn leave(va: u64, pages: u64) -> u64 {
    let mut found = 0;
    for at in (va..va + pages * PAGE_BYTES).step_by(8) {
        // SAFETY: the callers mapped these pages writable.
        found += u64::from(unsafe { (at as *const u64).read_volatile() } != 0);
        // SAFETY: as above.
        unsafe { (at as *mut u64).write_volatile(SECRET) };
    }
    found
}

/// Makes a segment, looks at it and leaves the secret in it, and ends it; again and again.
fn memory(suite: &mut Suite, process: &mut Process) {
    const PAGES: u64 = 300;
    let mut found = 0;
    for _ in 0..20 {
        let turn = (|| {
            let object = segment(process.program, PAGES * PAGE_BYTES, "fresh")?;
            let (va, slot) = process.space.map(object, PAGES, MapFlags::WRITE)?;
            found += leave(va, PAGES);
            process.space.unmap(slot)?;
            sys().share_delobj(object)
        })();
        if suite_failed(suite, turn) {
            return;
        }
    }
    suite.equal("6,000 pages that others had read zero", found, 0);
}

fn suite_failed(suite: &mut Suite, turn: Result<(), Error>) -> bool {
    if let Err(error) = turn {
        suite.check("memory for the test", false, format_args!("{error:?}"));
    }
    turn.is_err()
}

/// Pages that were cut and come back.
fn shrunk_and_grown(suite: &mut Suite, process: &mut Process) {
    const PAGES: u64 = 64;
    let mut found = 0;
    let turn = (|| {
        let object = segment(process.program, PAGES * PAGE_BYTES, "grown")?;
        let (va, _) = process.space.map(object, PAGES, MapFlags::WRITE)?;
        found += leave(va, PAGES);
        for _ in 0..10 {
            sys().segment_set_nbytes(object, PAGE_BYTES)?;
            sys().segment_set_nbytes(object, PAGES * PAGE_BYTES)?;
            found += leave(va + PAGE_BYTES, PAGES - 1);
        }
        Ok(())
    })();
    if !suite_failed(suite, turn) {
        suite.equal("pages that were cut come back as zeroes", found, 0);
    }
}

/// 2 MiB pages whose frames were small pages, and the other way round.
fn large(suite: &mut Suite, process: &mut Process) {
    let mut found = 0;
    let turn = (|| {
        for _ in 0..4 {
            let name = Name::new("large");
            let object = sys().segment_alloc(
                process.program,
                2 * LARGE_PAGE_BYTES,
                Home::Any,
                segment_flag::LARGE,
                address(&name),
            )?;
            let object = ObjRef { share: process.program, object };
            let (va, slot) = process.space.map(object, 1024, MapFlags::WRITE)?;
            found += leave(va, 1024);
            process.space.unmap(slot)?;
            sys().share_delobj(object)?;
        }
        Ok(())
    })();
    if !suite_failed(suite, turn) {
        suite.equal("2 MiB pages that others had read zero", found, 0);
    }
}

extern "C" fn leaver(va: u64) -> ! {
    halt(leave(va, 64) as u32)
}

/// Pages that another core filled, and that go back to that core's memory.
fn memory_of_another_core(suite: &mut Suite, process: &mut Process, fixture: &Fixture) {
    let mut found = 0;
    for turn in 0..8 {
        let result = (|| {
            let object = segment(process.program, 64 * PAGE_BYTES, "theirs")?;
            let (va, slot) = process.space.map(object, 64, MapFlags::WRITE)?;
            let remote = fixture.start(process, 1, leaver, va)?;
            let ended = remote.wait();
            remote.core.release();
            found += match ended {
                Some(Ended::Halted(words)) => u64::from(words),
                other => {
                    suite.check("the other core came back", false, format_args!("turn {turn}: {other:?}"));
                    0
                }
            };
            process.space.unmap(slot)?;
            sys().share_delobj(object)
        })();
        if suite_failed(suite, result) {
            return;
        }
    }
    suite.equal("pages that another core filled read zero there, too", found, 0);
}
