//! Loading programs: bad images, missing programs, a program on another core.
#![no_std]
#![no_main]
#![allow(unsafe_code, reason = "the entry point has a fixed name; tests touch mapped memory by address")]

extern crate alloc;

use alloc::alloc::{alloc, dealloc};
use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;
use core::alloc::Layout;
use core::ptr::NonNull;
use corey_abi::{MapFlags, PAGE_BYTES};
use corey_libos_rt::heaps;
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
    heap(&mut suite, &mut process);
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

fn layout(n: usize) -> Layout {
    Layout::from_size_align(n * 37 % 2500 + 500, 16).unwrap_or(Layout::new::<u64>())
}

/// What a thread on another core left: blocks it took, and how many.
struct Left {
    blocks: [Option<NonNull<u8>>; BLOCKS],
    words: Vec<u64>,
}

const BLOCKS: usize = 400;

/// Runs on another core: frees what the first core took, and leaves blocks of its own.
extern "C" fn neighbour(left: &mut Left) -> ! {
    // SAFETY: the first core prepared this heap before it started this thread.
    unsafe { heaps::join(1) };
    left.words = (0..1000).map(|n| n * n).collect();
    for (n, block) in left.blocks.iter_mut().enumerate() {
        if let Some(old) = block.take() {
            // SAFETY: the first core took it with this layout and left it to this thread.
            unsafe { dealloc(old.as_ptr(), layout(n)) };
        }
        // SAFETY: no layout here is empty.
        *block = NonNull::new(unsafe { alloc(layout(n)) });
        if let Some(block) = block {
            // SAFETY: just taken.
            unsafe { block.write_bytes(n as u8, layout(n).size()) };
        }
    }
    // This thread frees no more: what it freed goes home.
    heaps::trim();
    corey_libos_rt::halt(0)
}

fn full_of(block: NonNull<u8>, n: usize) -> bool {
    // SAFETY: whoever took it wrote that many bytes.
    let bytes = unsafe { core::slice::from_raw_parts(block.as_ptr(), layout(n).size()) };
    bytes.iter().all(|byte| *byte == n as u8)
}

fn heap(suite: &mut Suite, process: &mut Process) {
    let mut text = String::new();
    (0..1000).for_each(|n| text.push(char::from(b'a' + (n % 26) as u8)));
    suite.check("strings grow", text.len() == 1000 && text.ends_with("yzabcdefghijkl"), text.len());
    let large: Vec<u64> = (0..1_000_000).collect();
    suite.equal("a large vector has memory of its own", large.iter().sum::<u64>(), 499_999_500_000);
    drop(large);
    let zeroes = vec![0_u8; 50_000];
    suite.equal("fresh memory is zero", zeroes.iter().map(|b| usize::from(*b)).sum::<usize>(), 0);
    if process.info.header.cores < 2 {
        return suite.check("a heap for another core", true, "one core: there is no other");
    }
    // SAFETY: the only heap of this position.
    let prepared = unsafe { heaps::prepare(process, process.program, 1) };
    if suite.works("a heap for another core", prepared).is_none() {
        return;
    }
    let mut left = Box::new(Left { blocks: [None; BLOCKS], words: Vec::new() });
    for (n, block) in left.blocks.iter_mut().enumerate() {
        // SAFETY: no layout here is empty.
        *block = NonNull::new(unsafe { alloc(layout(n)) });
    }
    let before = left.blocks;
    let Some(fixture) = suite.works("status words", Fixture::new(process)) else { return };
    let entry = neighbour as extern "C" fn(&mut Left) -> ! as usize as u64;
    let arg = core::ptr::from_mut(&mut *left) as u64;
    let shares = [process.boot, process.program, process.console];
    let shares = if process.boot == process.program { &shares[1..] } else { &shares[..] };
    let started = fixture.start_with(process, 1, entry, arg, shares, &mut |_| Ok(()));
    let Some(remote) = suite.works("a thread with a heap", started) else { return };
    suite.equal("it ends well", remote.join(), Ended::Halted(0));
    suite.equal("its vector is good here", left.words.iter().sum::<u64>(), (0..1000).map(|n| n * n).sum());
    let good = left.blocks.iter().enumerate().filter(|(n, b)| b.is_some_and(|b| full_of(b, *n)));
    suite.equal("its blocks keep what it wrote", good.count(), BLOCKS);
    for (n, block) in left.blocks.iter().enumerate() {
        if let Some(block) = block {
            // SAFETY: the thread took it with this layout.
            unsafe { dealloc(block.as_ptr(), layout(n)) };
        }
    }
    // Taking until every class ran empty once, and looked into the inbox.
    let again = (0..10 * BLOCKS).filter(|n| {
        // SAFETY: no layout here is empty.
        let block = NonNull::new(unsafe { alloc(layout(n % BLOCKS)) });
        block.is_some() && before.contains(&block)
    });
    // The record of a batch is itself a block, and may lie in one of them.
    let again = again.count();
    suite.check("blocks it freed are used again here", again + 1 >= BLOCKS, again);
}
