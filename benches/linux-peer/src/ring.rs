//! The peer of our rings: `io_uring`, an operation that does nothing, one at a time and 32 together.

use std::sync::atomic::{AtomicU32, Ordering};

use corey_lib_bench::{Place, Span, run_region};

use crate::guest::Failure;
use crate::work::Linux;

/// Entries of the submission queue.
const ENTRIES: u32 = 64;
/// Bytes of a submission and of a completion (`io_uring_sqe`, `io_uring_cqe`).
const SUBMISSION: usize = 64;
const COMPLETION: usize = 16;
/// Where the three parts of a ring are mapped from (io_uring_setup(2)).
const SUBMISSIONS: i64 = 0;
const COMPLETIONS: i64 = 0x800_0000;
const ENTRIES_AT: i64 = 0x1000_0000;
/// `io_uring_enter`: wait for completions.
const GETEVENTS: u32 = 1;

/// `io_uring_params`: what the kernel says of the ring, as words.
const PARAMS: usize = 30;

/// A ring.
struct Ring {
    file: i64,
    submissions: *mut u8,
    completions: *mut u8,
    entries: *mut u8,
    params: [u32; PARAMS],
}

impl Ring {
    fn new() -> Result<Self, Failure> {
        let mut params = [0; PARAMS];
        // SAFETY: the kernel reads and writes the parameters, which are 120 bytes.
        let file = unsafe { libc::syscall(libc::SYS_io_uring_setup, ENTRIES, params.as_mut_ptr()) };
        if file < 0 {
            return Err(Failure::last("io_uring_setup"));
        }
        let map = |bytes: usize, offset: i64| {
            let (prot, flags) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED | libc::MAP_POPULATE);
            // SAFETY: a new mapping of the ring's own memory, at an address the kernel chooses.
            let at = unsafe { libc::mmap(std::ptr::null_mut(), bytes, prot, flags, file as i32, offset) };
            if at == libc::MAP_FAILED { Err(Failure::last("mmap of a ring")) } else { Ok(at.cast::<u8>()) }
        };
        let [submissions, completions] = [params[0] as usize, params[1] as usize];
        Ok(Self {
            file,
            submissions: map(params[10 + 6] as usize + submissions * 4, SUBMISSIONS)?,
            completions: map(params[20 + 5] as usize + completions * COMPLETION, COMPLETIONS)?,
            entries: map(submissions * SUBMISSION, ENTRIES_AT)?,
            params,
        })
    }

    /// Word `field` of the offsets of the submission queue (`first` 10) or of the completion queue (20), in its part.
    #[inline(always)]
    fn word(&self, first: usize, field: usize) -> &AtomicU32 {
        let base = if first == 10 { self.submissions } else { self.completions };
        let at = base.wrapping_add(self.params[first + field] as usize);
        // SAFETY: inside the mapping; the kernel reads and writes it, too, as atomic words.
        unsafe { AtomicU32::from_ptr(at.cast()) }
    }

    /// Puts `count` operations that do nothing into the queue.
    #[inline(always)]
    fn submit(&self, count: u32) {
        let (tail, mask) = (self.word(10, 1), self.params_mask());
        let start = tail.load(Ordering::Relaxed);
        for number in start..start.wrapping_add(count) {
            let slot = (number & mask) as usize;
            let entry = self.entries.wrapping_add(slot * SUBMISSION).cast::<u64>();
            for at in 0..SUBMISSION / 8 {
                // SAFETY: inside the mapping; the kernel does not read it before the tail is past it.
                unsafe { entry.wrapping_add(at).write(0) };
            }
            let array = self.submissions.wrapping_add(self.params[10 + 6] as usize + slot * 4).cast::<u32>();
            // SAFETY: as above.
            unsafe { array.write(slot as u32) };
        }
        tail.store(start.wrapping_add(count), Ordering::Release);
    }

    #[inline(always)]
    fn params_mask(&self) -> u32 {
        self.word(10, 2).load(Ordering::Relaxed)
    }

    /// Has `count` operations done, and takes their completions. False when one failed.
    #[inline(always)]
    fn finish(&self, count: u32) -> bool {
        let done: i64;
        // SAFETY: the call reads no memory of ours but the ring.
        unsafe {
            std::arch::asm!("syscall", inlateout("rax") libc::SYS_io_uring_enter => done,
                in("rdi") self.file, in("rsi") u64::from(count), in("rdx") u64::from(count),
                in("r10") u64::from(GETEVENTS), in("r8") 0_u64, in("r9") 0_u64,
                lateout("rcx") _, lateout("r11") _, options(nostack));
        }
        let (head, tail, mask) = (self.word(20, 0), self.word(20, 1), self.word(20, 2));
        let start = head.load(Ordering::Relaxed);
        let mask = mask.load(Ordering::Relaxed);
        let mut good = done == i64::from(count) && tail.load(Ordering::Acquire) == start.wrapping_add(count);
        for number in start..start.wrapping_add(count) {
            let at = self.params[20 + 5] as usize + (number & mask) as usize * COMPLETION;
            // SAFETY: inside the mapping, and written by the kernel before the tail.
            let result = unsafe { self.completions.wrapping_add(at + 8).cast::<i32>().read() };
            good &= result == 0;
        }
        head.store(start.wrapping_add(count), Ordering::Release);
        good
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        // SAFETY: our own descriptor; the mappings go with the process.
        unsafe { libc::close(self.file as i32) };
    }
}

/// `count` operations at a time.
pub(crate) fn calls<const ID: u32>(place: Place<'_>, count: u32) -> Result<Span, Failure> {
    let ring = Ring::new()?;
    let mut good = true;
    let mut once = || {
        ring.submit(count);
        good &= ring.finish(count);
    };
    (0..100).for_each(|_| once());
    let span = run_region::<ID, _>(&Linux, place, |_| once());
    if good { Ok(span) } else { Err(Failure::panic("an operation of a ring failed".to_owned())) }
}
