//! [`FakePlatform`]: one core's view of the machine.

use crate::machine::{CoreHardware, Hardware, PowerLost, lock};
use crate::mmu::{self, Mmu};
use corey_kernel_hal::{Access, Cause, CoreId, Entry, Frame, PAGE_SIZE, Platform, Sign, UserFault};
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// The machine as one core sees it. Clones belong to the same core.
#[derive(Clone)]
pub struct FakePlatform {
    hardware: Arc<Hardware>,
    core: CoreId,
}

impl std::fmt::Debug for FakePlatform {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "FakePlatform({})", self.core.0)
    }
}

/// Indices of the counters.
const IPIS: usize = 0;
const FLUSHES: usize = 1;
const FLUSH_ALLS: usize = 2;
const ROOT_LOADS: usize = 3;
const ZEROED: usize = 4;
const COPIED: usize = 5;

impl FakePlatform {
    pub(crate) fn new(hardware: Arc<Hardware>, core: CoreId) -> Self {
        Self { hardware, core }
    }

    pub(crate) fn hardware(&self) -> &Hardware {
        &self.hardware
    }

    fn own(&self) -> &CoreHardware {
        self.hardware.core(self.core)
    }

    fn count(&self, counter: usize) {
        self.own().counts[counter].fetch_add(1, Ordering::Relaxed);
    }

    /// Translates for one access and makes it, as one step.
    fn access<R>(
        &self,
        address: u64,
        cause: Cause,
        make: impl FnOnce(Frame, u64) -> R,
    ) -> Result<R, UserFault> {
        let Hardware { ram, failure, .. } = &*self.hardware;
        let mut mmu = lock(&self.own().mmu);
        let frame = mmu.translate(ram, failure, address, cause).ok_or(UserFault { address })?;
        Ok(make(frame, address % PAGE_SIZE))
    }

    /// A user load of the 64-bit word at `address` (a multiple of 8), without the kernel's help.
    ///
    /// # Errors
    ///
    /// A page fault.
    pub fn user_read(&self, address: u64) -> Result<u64, UserFault> {
        self.access(address, Cause::Read, |frame, offset| {
            self.hardware.ram.word(frame, offset).load(Ordering::SeqCst)
        })
    }

    /// A user store of the 64-bit word at `address` (a multiple of 8), without the kernel's help.
    ///
    /// # Errors
    ///
    /// A page fault.
    pub fn user_write(&self, address: u64, value: u64) -> Result<(), UserFault> {
        self.access(address, Cause::Write, |frame, offset| {
            let word = self.hardware.ram.word(frame, offset);
            word.store(value, Ordering::SeqCst);
        })
    }

    /// A user instruction fetch at `address`, without the kernel's help.
    ///
    /// # Errors
    ///
    /// A page fault.
    pub fn user_fetch(&self, address: u64) -> Result<(), UserFault> {
        self.access(address, Cause::Fetch, |_, _| ())
    }

    /// The frame that this core would reach at `address` now.
    #[must_use]
    pub fn translation(&self, address: u64) -> Option<Frame> {
        self.access(address, Cause::Read, |frame, _| frame).ok()
    }

    /// The loaded root.
    #[must_use]
    pub fn root(&self) -> Option<Frame> {
        lock(&self.own().mmu).root()
    }

    /// The 64-bit word at byte `offset` of `frame`, read through the direct map.
    #[must_use]
    pub fn physical_word(&self, frame: Frame, offset: u64) -> u64 {
        self.hardware.ram.word(frame, offset).load(Ordering::SeqCst)
    }
}

impl Platform for FakePlatform {
    fn core(&self) -> CoreId {
        self.core
    }

    fn direct(&self, frame: Frame) -> NonNull<u8> {
        self.hardware.step(self.core);
        self.hardware.ram.direct(frame)
    }

    unsafe fn zero(&self, first: Frame, count: u32) {
        self.hardware.step(self.core);
        for frame in (first.0..first.0 + count).map(Frame) {
            self.count(ZEROED);
            self.hardware.check_unreachable(frame, "zeroing");
            for offset in (0..PAGE_SIZE).step_by(8) {
                let word = self.hardware.ram.word(frame, offset);
                word.store(0, Ordering::Relaxed);
            }
        }
    }

    unsafe fn copy(&self, from: Frame, to: Frame, count: u32) {
        self.hardware.step(self.core);
        for (from, to) in (0..count).map(|at| (Frame(from.0 + at), Frame(to.0 + at))) {
            self.count(COPIED);
            self.hardware.check_unreachable(to, "copying over");
            for offset in (0..PAGE_SIZE).step_by(8) {
                let word = self.hardware.ram.word(from, offset).load(Ordering::Relaxed);
                let to = self.hardware.ram.word(to, offset);
                to.store(word, Ordering::Relaxed);
            }
        }
    }

    unsafe fn init_root(&self, root: Frame) {
        Mmu::init_root(&self.hardware.ram, root);
    }

    fn leaf(frame: Frame, access: Access) -> u64 {
        mmu::leaf(frame, access)
    }

    fn large_leaf(frame: Frame, access: Access) -> u64 {
        mmu::large_leaf(frame, access)
    }

    fn protect(entry: u64) -> u64 {
        mmu::protect(entry)
    }

    fn table(frame: Frame) -> u64 {
        mmu::table(frame)
    }

    fn decode(entry: u64) -> Entry {
        mmu::decode(entry)
    }

    unsafe fn load_root(&self, root: Option<Frame>) {
        self.hardware.step(self.core);
        self.count(ROOT_LOADS);
        let Hardware { ram, failure, .. } = &*self.hardware;
        lock(&self.own().mmu).load_root(ram, failure, root);
        for (other, core) in self.hardware.cores.iter().enumerate() {
            let same = root.is_some() && lock(&core.mmu).root() == root;
            if same && other != self.core.index() {
                failure.fail(&format!("{root:?} runs on two cores"));
            }
        }
    }

    fn flush(&self, address: u64) {
        self.hardware.step(self.core);
        self.count(FLUSHES);
        lock(&self.own().mmu).flush(&self.hardware.ram, address);
    }

    fn flush_all(&self) {
        self.hardware.step(self.core);
        self.count(FLUSH_ALLS);
        lock(&self.own().mmu).flush_all(&self.hardware.ram);
    }

    fn pause(&self) {
        self.hardware.step(self.core);
        self.hardware.failure.check();
        crate::time::yield_now();
    }

    fn send_ipi(&self, target: CoreId) {
        self.hardware.step(self.core);
        self.count(IPIS);
        self.hardware.interrupt(target);
    }

    fn ask(&self, target: CoreId) {
        self.hardware.ask(target);
    }

    fn sign(&self, target: CoreId) -> Sign {
        self.hardware.sign(target)
    }

    fn note_turn(&self) {
        self.hardware.note_turn(self.core);
    }

    fn order_stop(&self, target: CoreId) {
        self.hardware.order_stop(target);
    }

    fn set_timer(&self, at: Option<u64>) {
        self.hardware.set_timer(self.core, at);
    }

    fn sleep(&self) {
        self.hardware.failure.check();
        self.hardware.sleep(self.core, Duration::from_micros(200));
        self.hardware.look_at_lines();
        // Taken by the processor, not handed to the kernel.
        self.hardware.take_interrupt(self.core);
        self.hardware.take_tick(self.core);
        if self.hardware.is_stopping() {
            std::panic::resume_unwind(Box::new(PowerLost));
        }
    }

    fn end_card_interrupt(&self) -> bool {
        self.hardware.end_card_interrupt(self.core)
    }

    fn tsc(&self) -> u64 {
        self.hardware.step(self.core);
        // 584 years fit.
        self.hardware.failure.elapsed().as_nanos() as u64
    }

    fn copy_in(&self, from: u64, to: &mut [u8]) -> Result<(), UserFault> {
        self.hardware.step(self.core);
        for (address, byte) in (from..=u64::MAX).zip(to) {
            *byte = self.access(address, Cause::Read, |frame, offset| {
                self.hardware.ram.byte(frame, offset).load(Ordering::Relaxed)
            })?;
        }
        Ok(())
    }

    fn copy_out(&self, from: &[u8], to: u64) -> Result<(), UserFault> {
        self.hardware.step(self.core);
        for (address, byte) in (to..=u64::MAX).zip(from) {
            self.access(address, Cause::Write, |frame, offset| {
                let to = self.hardware.ram.byte(frame, offset);
                to.store(*byte, Ordering::Relaxed);
            })?;
        }
        Ok(())
    }

    unsafe fn write_status(&self, frame: Frame, offset: u64, words: [u64; 2]) {
        assert!(offset <= 4080 && offset.is_multiple_of(16));
        let ram = &self.hardware.ram;
        ram.word(frame, offset + 8).store(words[1], Ordering::Relaxed);
        ram.word(frame, offset).store(words[0], Ordering::Release);
    }
}
