//! The page through which a closure goes to a core, and its result comes back.

use crate::here::Here;
use core::mem::{align_of, size_of};
use core::sync::atomic::{AtomicU64, Ordering};
use corey_libos_rt::{halt, heaps};

/// Bytes before the payload: status words, the mark, up to the next aligned place.
const HEAD: usize = 128;
/// Bytes of the payload.
const ROOM: usize = 4096 - HEAD;

/// The head of a page.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct Head {
    /// Where the kernel reports the thread's end.
    pub(crate) status: [AtomicU64; 2],
    /// 1 when the result is in the payload.
    done: AtomicU64,
}

/// What goes to the core.
struct Payload<F> {
    here: Here,
    work: F,
}

/// One core's page, mapped at the same address on both sides.
///
/// ```text
/// spawner:  closure → payload ── pcore_run                              status? ended, done? 1 ── result
/// thread:                        takes closure ── runs ── result → payload ── done = 1 ── halts
/// ```
#[derive(Clone, Copy, Debug)]
pub(crate) struct Message {
    address: u64,
}

impl Message {
    /// The message page at `address`.
    ///
    /// # Safety
    ///
    /// A page that was zero when it was mapped is there, writable, and used as one message at a time.
    pub(crate) unsafe fn at(address: u64) -> Self {
        Self { address }
    }

    pub(crate) fn head(&self) -> &'static Head {
        // SAFETY: `at`: the page is there while the scope is, and the head holds atomics only. Nobody
        // keeps the reference beyond the scope.
        unsafe { &*(self.address as *const Head) }
    }

    fn payload(self) -> *mut u8 {
        (self.address as *mut u8).wrapping_add(HEAD)
    }

    /// Puts `here` and `work` in. Returns where the thread begins.
    pub(crate) fn fill<F: FnOnce(&mut Here) -> T, T>(self, here: Here, work: F) -> u64 {
        const {
            assert!(
                size_of::<Payload<F>>() <= ROOM && size_of::<T>() <= ROOM,
                "a closure and its result have 3 KiB: let it borrow what is larger"
            );
            assert!(align_of::<Payload<F>>() <= HEAD && align_of::<T>() <= HEAD, "aligned beyond 128 bytes");
        }
        self.head().status[0].store(0, Ordering::Relaxed);
        self.head().done.store(0, Ordering::Relaxed);
        // SAFETY: room and alignment are checked above, and no thread has the page.
        unsafe { self.payload().cast::<Payload<F>>().write(Payload { here, work }) };
        begin::<F, T> as extern "C" fn(u64) -> ! as usize as u64
    }

    /// Takes back what [`Message::fill`] put in.
    ///
    /// # Safety
    ///
    /// `fill` with the same `F` filled it, and no thread began.
    pub(crate) unsafe fn unfill<F>(self) {
        // SAFETY: the caller's promise.
        unsafe { self.payload().cast::<Payload<F>>().drop_in_place() };
    }

    /// The result, when there is one.
    ///
    /// # Safety
    ///
    /// A thread with this result type ended here, and the result was not taken.
    pub(crate) unsafe fn take<T>(self) -> Option<T> {
        if self.head().done.swap(0, Ordering::Acquire) == 0 {
            return None;
        }
        // SAFETY: the mark says that the thread wrote it; the mark is gone now.
        Some(unsafe { self.payload().cast::<T>().read() })
    }

    /// Drops the result, if there is one. Returns whether there was.
    ///
    /// # Safety
    ///
    /// As [`Message::take`].
    pub(crate) unsafe fn discard<T>(self) -> bool {
        // SAFETY: the caller's promise.
        unsafe { self.take::<T>() }.is_some()
    }

    pub(crate) fn address(self) -> u64 {
        self.address
    }
}

/// Where a thread begins, on its own core and stack.
extern "C" fn begin<F: FnOnce(&mut Here) -> T, T>(address: u64) -> ! {
    let message = Message { address };
    // SAFETY: `fill` wrote it, and this thread alone takes it.
    let Payload { mut here, work } = unsafe { message.payload().cast::<Payload<F>>().read() };
    // SAFETY: this is the only thread of its core, and every thread holds the program's share.
    unsafe { heaps::join(u32::from(here.core())) };
    let result = work(&mut here);
    // SAFETY: `fill` checked room and alignment; the closure is moved out.
    unsafe { message.payload().cast::<T>().write(result) };
    heaps::leave();
    message.head().done.store(1, Ordering::Release);
    halt(0)
}
