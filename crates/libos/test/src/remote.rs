//! Threads on other cores, for tests.

use core::sync::atomic::{AtomicU64, Ordering};
use corey_abi::{Error, Id, MapFlags, ObjRef, PAGE_BYTES};
use corey_libos_rt::sys::{pause, segment};
use corey_libos_rt::vm::{Core, Ended, Thread, spawn, stack};
use corey_libos_rt::{Process, shared};

const STACK_PAGES: u64 = 8;
/// Status words of a page.
const WORDS: usize = 256;

/// What tests with threads need: a page of status words.
#[derive(Clone, Copy, Debug)]
pub struct Fixture {
    page: ObjRef,
    words: &'static [[AtomicU64; 2]; WORDS],
}

/// A thread on another core.
#[derive(Clone, Copy, Debug)]
pub struct Remote {
    /// The core and what its share names.
    pub core: Core,
    /// How it stands.
    pub thread: Thread<'static>,
}

impl Fixture {
    /// Maps the page.
    ///
    /// # Errors
    ///
    /// As the calls.
    pub fn new(process: &mut Process) -> Result<Self, Error> {
        let page = segment(process.program, PAGE_BYTES, "status")?;
        let (va, _) = process.space.map(page, 1, MapFlags::WRITE)?;
        // SAFETY: just mapped, for good, and used for status words only.
        Ok(Self { page, words: unsafe { shared(va) } })
    }

    /// Where core `number`'s end is reported: words, segment, offset.
    #[must_use]
    pub fn status(&self, number: u16) -> (&'static [AtomicU64; 2], ObjRef, u64) {
        let at = usize::from(number) % WORDS;
        (&self.words[at], self.page, at as u64 * 16)
    }

    /// Takes core `number`, gives it this program's address space and a stack, lets `prepare` change both, and
    /// runs `entry(arg)` there holding `shares`.
    ///
    /// # Errors
    ///
    /// As the calls; nothing stays.
    pub fn start_with(
        &self,
        process: &Process,
        number: u16,
        entry: u64,
        arg: u64,
        shares: &[Id],
        prepare: &mut dyn FnMut(&mut Core) -> Result<(), Error>,
    ) -> Result<Remote, Error> {
        let mut core = Core::take(process.boot, number, 2048, 0)?;
        let mut run = || {
            core.space.mirror(&process.space, &mut |_| true)?;
            // As after a call: the return address would lie below a 16-byte boundary.
            let top = stack(&mut core.space, core.share, STACK_PAGES)? - 8;
            prepare(&mut core)?;
            let status = self.status(number);
            status.0[0].store(0, Ordering::Release);
            spawn(&core, (entry, top), [arg, 0, 0, 0, 0, 0], shares, status)
        };
        match run() {
            Ok(thread) => Ok(Remote { core, thread }),
            Err(error) => {
                core.release();
                Err(error)
            }
        }
    }

    /// Runs `entry(arg)` on core `number`, holding the boot share and the console.
    ///
    /// # Errors
    ///
    /// As [`Fixture::start_with`].
    pub fn start(
        &self,
        process: &Process,
        number: u16,
        entry: extern "C" fn(u64) -> !,
        arg: u64,
    ) -> Result<Remote, Error> {
        let shares = [process.boot, process.console];
        self.start_with(process, number, entry as usize as u64, arg, &shares, &mut |_| Ok(()))
    }
}

impl Remote {
    /// Waits for its end and gives the core back.
    #[must_use]
    pub fn join(self) -> Ended {
        let ended = self.thread.join();
        self.core.release();
        ended
    }

    /// Whether it ended within a bounded number of turns: a hang is a failed test, not a hung one.
    #[must_use]
    pub fn wait(&self) -> Option<Ended> {
        for _ in 0..50_000_000_u64 {
            if let Some(ended) = self.thread.poll() {
                return Some(ended);
            }
            pause();
        }
        None
    }
}
