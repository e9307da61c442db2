//! Loading programs: bad images, missing programs, a program on another core.
#![no_std]
#![no_main]
#![allow(unsafe_code, reason = "the entry point has a fixed name; tests touch mapped memory by address")]

use corey_abi::{MapFlags, PAGE_BYTES};
use corey_libos_rt::vm::{Core, Ended, LoadError, Space, load};
use corey_libos_rt::{ExecError, Process, Status, entry, exec, run_program};
use corey_libos_test::{Fixture, Suite};

entry!(main);

fn main(mut process: Process) -> Status {
    if process.info.header.first == 0 {
        // The program on the other core: it has a console and boot information of its own.
        corey_libos_rt::println!("a program on another core says so");
        return Status::Success;
    }
    let mut suite = Suite::new(&process, "load");
    let error = exec(&mut process, "nobody");
    suite.check(
        "a missing program is an error, and the caller goes on",
        error == ExecError::NoSuchProgram,
        error,
    );
    images(&mut suite, &mut process);
    other_core(&mut suite, &mut process);
    suite.finish()
}

/// Loads this program's own image with one word changed.
fn changed(process: &mut Process, at: usize, value: u64) -> Result<u64, LoadError> {
    const BYTES: usize = 4096;
    let module = process.info.program("test-load").ok_or(LoadError::Call(corey_abi::Error::NotFound))?;
    let (va, slot) =
        process.space.map(module.segment, module.bytes.div_ceil(PAGE_BYTES), MapFlags::empty())?;
    let mut image = [0_u8; BYTES];
    // SAFETY: just mapped; the image is longer than its headers.
    let head = unsafe { core::slice::from_raw_parts(va as *const u8, BYTES) };
    image.copy_from_slice(head);
    image[at..at + 8].copy_from_slice(&value.to_le_bytes());
    process.space.unmap(slot)?;
    let mut target = Space::root(process.program, 1 << 30, "changed")?;
    let result = load(&mut process.space, &mut target, process.program, &image, &mut |_, _| ());
    corey_abi::ShareCalls::share_delobj(&mut corey_libos_rt::sys::sys(), target.tree)?;
    result.map(|(entry, _)| entry)
}

fn images(suite: &mut Suite, process: &mut Process) {
    // Offsets in the file header and in the first program header (64 bytes in).
    for (name, at, value) in [
        ("no ELF file", 0, 0),
        ("an entry in the kernel's half", 24, 0xffff_8000_0000_0000),
        ("contents beyond the file", 64 + 8, 1 << 40),
        ("a segment in the kernel's half", 64 + 16, 0xffff_8000_0000_0000),
        ("a segment that wraps", 64 + 16, u64::MAX - 100),
        ("a segment in page 0", 64 + 16, 0x100),
        ("more memory than 4 GiB", 64 + 40, 1 << 46),
        ("contents larger than memory", 64 + 32, u64::MAX),
    ] {
        let result = changed(process, at, value);
        let refused = matches!(result, Err(LoadError::Image(_)));
        match result {
            Err(error) => suite.check(name, refused, error),
            Ok(entry) => suite.check(name, false, format_args!("loaded, entry {entry:#x}")),
        }
    }
}

fn other_core(suite: &mut Suite, process: &mut Process) {
    let name = "a program runs on another core and reports its end";
    if process.info.header.cores < 2 {
        return suite.check(name, true, "one core: there is none");
    }
    let Some(fixture) = suite.works("a status page", Fixture::new(process)) else { return };
    let Some(core) = suite.works("a core", Core::take(process.boot, 1, 8192, 1 << 30)) else { return };
    match run_program(process, &core, "test-load", fixture.status(1)) {
        Ok(thread) => {
            let ended = thread.join();
            suite.check(name, ended == Ended::Halted(0), format_args!("{ended:?}"));
        }
        Err(error) => suite.check(name, false, error),
    }
    core.release();
}
