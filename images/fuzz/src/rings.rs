//! Calls by ring: every core has one, which a kernel core serves while there is one. Rings lie in memory that no call of this
//! test reaches; devices and kernel core are fair game, so rings end and begin again.

use crate::caller::CORES;
use core::sync::atomic::{AtomicU64, Ordering};
use corey_abi::{
    DeviceCalls, Error, Home, Id, MapFlags, Name, ObjRef, PAGE_BYTES, PcoreCalls, RingConfig, RunContext,
    SYSCALL_DEVICE, Word, buffer_op, run_mode,
};
use corey_lib_ring::{Env, Mapped, Shape, Submitter};
use corey_lib_sync::Relax;
use corey_libos_rt::Process;
use corey_libos_rt::sys::{address, pause, segment, sys};

/// Slots of a ring.
const SLOTS: u32 = 32;
/// Pages of a ring.
const PAGES: u64 = 1;
/// Turns that a call's answer is waited for.
const TURNS: u32 = 500;

/// Rings made for a core; 0 for none.
static GENERATION: [AtomicU64; CORES] = [const { AtomicU64::new(0) }; CORES];
/// The system-call device of each core's ring.
static DEVICES: [[AtomicU64; 2]; CORES] = [const { [const { AtomicU64::new(0) }; 2] }; CORES];
/// Calls answered by ring.
pub(crate) static ANSWERED: AtomicU64 = AtomicU64::new(0);

fn device(core: usize) -> ObjRef {
    let [share, object] = DEVICES[core].each_ref().map(|word| word.load(Ordering::Relaxed));
    ObjRef { share: Id(share), object: Id(object) }
}

/// The memory of all rings.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rings {
    segment: ObjRef,
    base: u64,
    /// What pointers lead into: all cores' scratch.
    arguments: ObjRef,
}

impl Rings {
    pub(crate) fn new(process: &mut Process, arguments: ObjRef) -> Result<Self, Error> {
        let pages = CORES as u64 * PAGES;
        let segment = segment(process.program, pages * PAGE_BYTES, "rings")?;
        let (base, _) = process.space.map(segment, pages, MapFlags::WRITE)?;
        let rings = Self { segment, base, arguments };
        (0..CORES).for_each(|core| rings.clear(core));
        BASE.store(base, Ordering::Release);
        Ok(rings)
    }

    fn words(base: u64, core: usize) -> &'static [AtomicU64] {
        let at = base + core as u64 * PAGES * PAGE_BYTES;
        // SAFETY: mapped for good by `new`, before any core calls, and used as atomic words only.
        unsafe { core::slice::from_raw_parts(at as *const AtomicU64, (PAGES * PAGE_BYTES / 8) as usize) }
    }

    fn clear(&self, core: usize) {
        Self::words(self.base, core).iter().for_each(|word| word.store(0, Ordering::Relaxed));
    }

    /// No ring is there.
    pub(crate) fn forget(&self) {
        for core in 0..CORES {
            DEVICES[core].iter().for_each(|word| word.store(0, Ordering::Relaxed));
            GENERATION[core].store(0, Ordering::Release);
        }
    }

    /// Makes what is missing: devices, rings that ended, the kernel core's list; runs the kernel core, if it does not.
    pub(crate) fn look_after(&self, prey: Id, pcore: ObjRef, cores: usize) {
        for core in 0..cores {
            let _ = self.renew(prey, pcore, core);
        }
        let mut context = RunContext { mode: run_mode::KERNEL_CORE, nshares: 1, ..RunContext::default() };
        context.shares[0] = prey;
        let _ = sys().pcore_run(pcore, address(&context));
    }

    fn renew(&self, prey: Id, pcore: ObjRef, core: usize) -> Result<(), Error> {
        let mut calls = device(core);
        // The doorbell: whether there is a device.
        let gone = sys().device_buf(calls, buffer_op::POLL, ObjRef::default(), 0).is_err();
        if gone {
            let name = Name::new("calls");
            calls = ObjRef {
                share: prey,
                object: sys().device_alloc(prey, SYSCALL_DEVICE, Home::Any, address(&name))?,
            };
            DEVICES[core][0].store(calls.share.0, Ordering::Relaxed);
            DEVICES[core][1].store(calls.object.0, Ordering::Relaxed);
        }
        let _ = sys().pcore_add_device(pcore, calls);
        // Its second word says why it ended.
        let ended = Self::words(self.base, core).get(1).is_some_and(|word| word.load(Ordering::Acquire) != 0);
        if gone || ended {
            GENERATION[core].store(0, Ordering::Release);
            self.clear(core);
            let mut config = RingConfig {
                ring: self.segment,
                offset: core as u64 * PAGES * PAGE_BYTES,
                slots: u64::from(SLOTS),
                arguments: self.arguments,
                nshares: 1,
                ..RingConfig::default()
            };
            config.shares[0] = prey;
            sys().device_conf(calls, address(&config))?;
            MADE.fetch_add(1, Ordering::Relaxed);
            GENERATION[core].store(MADE.load(Ordering::Relaxed), Ordering::Release);
        }
        Ok(())
    }
}

/// Rings made, and where they are.
static MADE: AtomicU64 = AtomicU64::new(0);
static BASE: AtomicU64 = AtomicU64::new(0);

/// What a core does besides.
#[derive(Clone, Copy, Debug)]
struct Bell(usize);

impl Relax for Bell {
    fn relax(&mut self) {
        pause();
    }
}

impl Env for Bell {
    fn ring(&mut self) {
        let _ = sys().device_buf(device(self.0), buffer_op::POLL, ObjRef::default(), 0);
    }
}

/// One core's end of its ring.
#[derive(Debug, Default)]
pub(crate) struct Ring {
    generation: u64,
    submitter: Option<Submitter<Mapped<'static>, Bell>>,
}

impl Ring {
    /// Whether there is a ring to call by.
    pub(crate) fn is_there(&mut self, core: usize) -> bool {
        let generation = GENERATION[core].load(Ordering::Acquire);
        if generation != self.generation {
            self.generation = generation;
            let shape = Shape::new(SLOTS).filter(|_| generation != 0);
            self.submitter = shape.and_then(|shape| {
                let words = Mapped::new(Rings::words(BASE.load(Ordering::Acquire), core), shape)?;
                Some(Submitter::new(words, shape, Bell(core)))
            });
        }
        self.submitter.is_some()
    }

    /// A call; `None` when no answer came.
    pub(crate) fn call(
        &mut self,
        number: u64,
        args: [Word; 6],
        waits: bool,
    ) -> Option<Result<[Word; 2], Error>> {
        let submitter = self.submitter.as_mut()?;
        let ticket = submitter.submit::<6>(number, args);
        if ticket.is_ok() && !waits {
            return None;
        }
        submitter.flush();
        for _ in 0..TURNS {
            match submitter.poll() {
                Some((answered, result)) => {
                    ANSWERED.fetch_add(1, Ordering::Relaxed);
                    if Ok(answered) == ticket {
                        return Some(result);
                    }
                }
                None if submitter.in_flight() == 0 => break,
                None => pause(),
            }
        }
        None
    }
}
