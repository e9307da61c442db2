//! Unmapping a page that every processor has used.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use corey_lib_bench::Barrier;

use crate::host::Host;
use crate::rounds::on_all;

const BYTES: usize = 4096;

/// The first processor maps a page; all read it; the first unmaps it while the others spin.
pub(crate) fn unmap(host: &Host, cores: u32, rounds: u64) -> Result<Vec<f64>, String> {
    let (page, done) = (AtomicU64::new(0), AtomicU64::new(0));
    let barrier = Barrier::default();
    let meet = || barrier.wait(cores, std::hint::spin_loop);
    let times = on_all(host, cores, |core| {
        let mut times = Vec::new();
        for round in 1..=rounds {
            if core == 0 {
                page.store(map(), Ordering::Release);
            }
            meet();
            let here = page.load(Ordering::Acquire);
            let mapped = here != u64::MAX;
            if mapped {
                // SAFETY: mapped readable; it is unmapped after everybody's read.
                std::hint::black_box(unsafe { (here as *const u8).read_volatile() });
            }
            meet();
            if core == 0 {
                let start = Instant::now();
                // SAFETY: mapped above, and nobody uses it any more.
                let result = unsafe { libc::munmap(here as *mut libc::c_void, BYTES) };
                if mapped && result == 0 {
                    times.push(start.elapsed().as_nanos() as f64);
                }
                done.store(round, Ordering::Release);
            }
            while done.load(Ordering::Acquire) < round {
                std::hint::spin_loop();
            }
        }
        times
    })?;
    if times.len() as u64 == rounds { Ok(times) } else { Err("a page was not mapped or unmapped".to_owned()) }
}

/// A page that is there; `u64::MAX` when there is none.
fn map() -> u64 {
    // SAFETY: a new anonymous mapping at an address the kernel chooses aliases nothing.
    let page = unsafe {
        libc::mmap(
            std::ptr::null_mut(),
            BYTES,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
            -1,
            0,
        )
    };
    if page != libc::MAP_FAILED {
        // SAFETY: just mapped writable.
        unsafe { page.cast::<u8>().write_volatile(1) };
    }
    page as u64
}
