//! Checking mode names each misuse.
#![cfg(not(any(loom, shuttle)))]
#![allow(unsafe_code, reason = "misuse is what is tested")]

mod host;

use corey_libos_heap::{Heap, Inbox, Wrong};
use host::{Given, Host};
use std::alloc::Layout;
use std::ptr::NonNull;

fn layout(size: usize) -> Layout {
    Layout::from_size_align(size, 8).unwrap()
}

fn heap() -> Heap<'static, Host, true> {
    Heap::private(Host::new(&Given::default(), usize::MAX))
}

#[test]
#[should_panic(expected = "was freed twice (class of 80 bytes, a private heap; given to a private heap)")]
fn a_block_freed_twice() {
    let mut heap = heap();
    let block = heap.take(layout(40)).unwrap();
    for _ in 0..2 {
        // SAFETY: the second time is the misuse; checking mode stops it.
        unsafe { heap.give(block, layout(40)) };
    }
}

#[test]
#[should_panic(expected = "were written")]
fn one_byte_behind_a_block() {
    let mut heap = heap();
    let block = heap.take(layout(41)).unwrap();
    // SAFETY: the misuse: the byte lies in the red zone.
    unsafe { block.add(41).write(0) };
    // SAFETY: taken with this layout.
    unsafe { heap.give(block, layout(41)) };
}

#[test]
fn bytes_far_behind_small_and_large_blocks() {
    let mut heap = heap();
    for size in [1, 100, 3000, 100_000] {
        let block = heap.take(layout(size)).unwrap();
        assert_eq!(heap.inspect(block, layout(size)), Ok(()));
        for behind in 0..32 {
            // SAFETY: zone and trailer lie there.
            let at = unsafe { block.add(size + behind) };
            // SAFETY: as above.
            let old = unsafe { at.read() };
            // SAFETY: as above.
            unsafe { at.write(!old) };
            assert_eq!(
                heap.inspect(block, layout(size)).unwrap_err().wrong,
                Wrong::Overrun,
                "{size}+{behind}"
            );
            // SAFETY: as above.
            unsafe { at.write(old) };
        }
        // SAFETY: taken with this layout; all is as it was.
        unsafe { heap.give(block, layout(size)) };
    }
}

#[test]
#[should_panic(expected = "is no block of this heap or its team")]
fn a_pointer_to_something_else() {
    let mut word = 0_u64;
    // SAFETY: the misuse.
    unsafe { heap().give(NonNull::from(&mut word).cast(), layout(8)) };
}

#[test]
fn pointers_into_blocks_and_to_blocks_nobody_took_are_foreign() {
    let mut heap = heap();
    let block = heap.take(layout(40)).unwrap();
    for offset in [8, 16, 80, 1 << 19] {
        // SAFETY: inside the chunk.
        let inside = unsafe { block.add(offset) };
        assert_eq!(heap.inspect(inside, layout(40)).unwrap_err().wrong, Wrong::Foreign, "+{offset}");
    }
}

#[test]
fn a_block_of_another_private_heap_and_a_wrong_size() {
    let given = Given::default();
    let inboxes = [Inbox::default(), Inbox::default()];
    // SAFETY: each position once; host memory is everybody's.
    let mut other = unsafe { Heap::<_, true>::shared(Host::new(&given, 9), &inboxes, 1) };
    let private = Heap::<_, true>::private(Host::new(&given, 9));
    let block = other.take(layout(40)).unwrap();
    let misuse = private.inspect(block, layout(40)).unwrap_err();
    assert_eq!((misuse.wrong, misuse.block), (Wrong::Foreign, Some((80, 1))));
    assert_eq!(other.inspect(block, layout(41)).unwrap_err().wrong, Wrong::Size(40));
}

#[test]
fn a_block_that_another_core_freed_is_freed() {
    let given = Given::default();
    let inboxes = [Inbox::default(), Inbox::default()];
    // SAFETY: each position once; host memory is everybody's.
    let mut a = unsafe { Heap::<_, true>::shared(Host::new(&given, 9), &inboxes, 0) };
    // SAFETY: as above.
    let mut b = unsafe { Heap::<_, true>::shared(Host::new(&given, 9), &inboxes, 1) };
    let block = a.take(layout(40)).unwrap();
    // SAFETY: taken with this layout.
    unsafe { b.give(block, layout(40)) };
    for heap in [&a, &b] {
        assert_eq!(heap.inspect(block, layout(40)).unwrap_err().wrong, Wrong::FreedTwice);
    }
}

/// What `work` panics with. It does at `line` of this file, or the next two: the caller's.
fn panic_of(line: u32, work: impl FnOnce()) -> String {
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::sync::{Mutex, OnceLock};
    static SEEN: Mutex<Vec<(std::thread::ThreadId, u32)>> = Mutex::new(Vec::new());
    static HOOK: OnceLock<()> = OnceLock::new();
    HOOK.get_or_init(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            let line = info.location().filter(|at| at.file() == file!()).map_or(0, |at| at.line());
            SEEN.lock().unwrap().push((std::thread::current().id(), line));
            before(info);
        }));
    });
    let thrown = catch_unwind(AssertUnwindSafe(work)).expect_err("it panics");
    let own = std::thread::current().id();
    let seen = SEEN.lock().unwrap();
    let found = seen.iter().rev().find(|(thread, _)| *thread == own).expect("the hook saw it").1;
    assert!((line..line + 3).contains(&found), "it panicked at line {found}, not {line}");
    *thrown.downcast::<String>().expect("a text")
}

#[test]
fn each_message_names_heap_address_block_and_the_callers_line() {
    let given = Given::default();
    let inboxes = [Inbox::default(), Inbox::default()];
    // SAFETY: each position once; host memory is everybody's.
    let mut heap = unsafe { Heap::<_, true>::shared(Host::new(&given, 9), &inboxes, 1) };
    let block = heap.take(layout(40)).unwrap();
    let at = block.addr().get();
    // SAFETY: the misuse of this test, with the first byte of the red zone.
    let zone = unsafe { block.add(40) };
    // SAFETY: as above.
    unsafe { zone.write(0) };
    let of_80 = "(class of 80 bytes, heap 1; given to heap 1)";
    // SAFETY: as above.
    let overrun = panic_of(line!(), || unsafe { heap.give(block, layout(40)) });
    assert_eq!(overrun, format!("bytes behind {at:#x} were written {of_80}"));
    // SAFETY: as above.
    unsafe { zone.write(0xfd) };
    // SAFETY: the misuse: another size.
    let size = panic_of(line!(), || unsafe { heap.give(block, layout(48)) });
    let text = format!("{at:#x} was taken with 40 bytes, and freed with another size {of_80}");
    assert_eq!(size, text);
    // SAFETY: inside the block.
    let middle = unsafe { block.add(16) };
    // SAFETY: the misuse: an address between blocks.
    let inside = panic_of(line!(), || unsafe { heap.give(middle, layout(40)) });
    assert_eq!(inside, format!("{:#x} is no block of this heap or its team (given to heap 1)", at + 16));
    // SAFETY: taken with this layout.
    unsafe { heap.give(block, layout(40)) };
    // SAFETY: the misuse: a second time.
    let twice = panic_of(line!(), || unsafe { heap.give(block, layout(40)) });
    assert_eq!(twice, format!("{at:#x} was freed twice {of_80}"));
    // SAFETY: the misuse: what was freed is resized.
    let resized = panic_of(line!(), || _ = unsafe { heap.resize(block, layout(40), 4000) });
    assert_eq!(resized, twice);
}
