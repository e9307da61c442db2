//! [`X86`]: this machine as one core sees it.

use crate::signs;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use corey_arch_x86_64_apic::{CARD, Frequencies, IPI, LocalApic};
use corey_arch_x86_64_asm::{
    copy_words, invlpg, pause, rdtsc, read_cr3, read_gs, take_interrupts, wait_for_interrupt, write_cr3,
    zero_words,
};
use corey_arch_x86_64_cpu::{Block, copy_from_user, copy_to_user};
use corey_arch_x86_64_paging::{self as paging, direct};
use corey_kernel_hal::{Access, CoreId, Entry, Frame, MAX_CORES, Platform, Sign, USER_END, UserFault};

/// APIC IDs by core number. Written at boot.
static APIC_IDS: [AtomicU8; MAX_CORES] = [const { AtomicU8::new(0) }; MAX_CORES];
/// The kernel-only address space. Written at boot.
static KERNEL_ROOT: AtomicU64 = AtomicU64::new(0);
/// Where the local APIC appears. Written at boot.
static APIC_BASE: AtomicU64 = AtomicU64::new(0);

/// Ticks per second of the time-stamp counter and of the APIC timer. Written at boot.
static TSC_HZ: AtomicU64 = AtomicU64::new(0);
static TIMER_HZ: AtomicU64 = AtomicU64::new(0);

pub(crate) fn set_frequencies(frequencies: Frequencies) {
    TSC_HZ.store(frequencies.tsc, Ordering::Relaxed);
    TIMER_HZ.store(frequencies.apic, Ordering::Relaxed);
}

/// The machine as one core sees it. Zero-sized: everything is in GS or constant.
#[derive(Clone, Copy, Debug)]
pub struct X86(());

impl X86 {
    /// This core's view. On a core whose GS holds its block.
    pub(crate) fn here() -> Self {
        Self(())
    }
}

/// Processors that run the kernel. Written at boot.
static CORES: AtomicU64 = AtomicU64::new(1);

pub(crate) fn set_cores(count: usize) {
    CORES.store(count as u64, Ordering::Relaxed);
}

pub(crate) fn cores() -> u64 {
    CORES.load(Ordering::Relaxed)
}

/// The APIC ID of a core.
pub(crate) fn apic_id(core: CoreId) -> u8 {
    APIC_IDS.get(core.index()).map_or(0, |id| id.load(Ordering::Relaxed))
}

/// Ends the card's interrupt that this core took, or that waits for it; whether there was one.
pub(crate) fn end_card_interrupt() -> bool {
    let Some(apic) = apic() else { return false };
    let mut ended = false;
    // Both may be: one that was taken, and one more that was sent before the line was closed.
    for _ in 0..3 {
        if apic.is_in_service(CARD) {
            apic.end_of_interrupt();
            ended = true;
        }
        if !apic.is_requested(CARD) {
            break;
        }
        take_interrupts();
    }
    ended
}

pub(crate) fn set_apic_id(core: usize, id: u8) {
    if let Some(slot) = APIC_IDS.get(core) {
        slot.store(id, Ordering::Relaxed);
    }
}

pub(crate) fn set_kernel_root(root: u64) {
    KERNEL_ROOT.store(root, Ordering::Relaxed);
}

pub(crate) fn kernel_root() -> u64 {
    KERNEL_ROOT.load(Ordering::Relaxed)
}

pub(crate) fn set_apic(physical: u64) {
    APIC_BASE.store(direct(physical) as u64, Ordering::Relaxed);
}

/// The local APIC; `None` before it was found.
#[inline(always)]
pub(crate) fn apic() -> Option<LocalApic> {
    let base = APIC_BASE.load(Ordering::Relaxed);
    // SAFETY: `set_apic` stored where the direct map has the controller, uncached.
    (base != 0).then(|| unsafe { LocalApic::new(base as *mut u8) })
}

/// Ends the current interrupt.
#[inline(always)]
pub(crate) fn end_of_interrupt() {
    if let Some(apic) = apic() {
        apic.end_of_interrupt();
    }
}

/// Checks that a user range lies in the user half.
fn check(address: u64, bytes: usize) -> Result<(), UserFault> {
    match address.checked_add(bytes as u64) {
        Some(end) if end <= USER_END => Ok(()),
        _ => Err(UserFault { address: address.max(USER_END) }),
    }
}

fn fault_at(address: u64, bytes: usize, left: usize) -> Result<(), UserFault> {
    if left == 0 { Ok(()) } else { Err(UserFault { address: address + (bytes - left) as u64 }) }
}

impl Platform for X86 {
    #[inline(always)]
    fn core(&self) -> CoreId {
        // SAFETY: GS holds this core's block wherever a kernel runs.
        CoreId(unsafe { read_gs::<{ Block::CORE }>() } as u16)
    }

    #[inline(always)]
    fn direct(&self, frame: Frame) -> NonNull<u8> {
        // SAFETY: the direct map does not begin at 0.
        unsafe { NonNull::new_unchecked(direct(frame.address())) }
    }

    #[inline(always)]
    unsafe fn zero(&self, first: Frame, count: u32) {
        // SAFETY: the caller owns the frames; the direct map is contiguous.
        unsafe { zero_words(direct(first.address()).cast(), 512 * count as usize) };
    }

    #[inline(always)]
    unsafe fn copy(&self, from: Frame, to: Frame, count: u32) {
        let (from, to) = (direct(from.address()).cast(), direct(to.address()).cast());
        // SAFETY: the caller owns the frames at `to`; different frames do not overlap.
        unsafe { copy_words(from, to, 512 * count as usize) };
    }

    unsafe fn init_root(&self, root: Frame) {
        let from = direct(kernel_root()).cast::<u64>().wrapping_add(256);
        let to = direct(root.address()).cast::<u64>().wrapping_add(256);
        // SAFETY: the caller owns `root`; the kernel's half never changes.
        unsafe { copy_words(from, to, 256) };
    }

    #[inline(always)]
    fn leaf(frame: Frame, access: Access) -> u64 {
        paging::leaf(frame, access)
    }

    #[inline(always)]
    fn large_leaf(frame: Frame, access: Access) -> u64 {
        paging::large_leaf(frame, access)
    }

    #[inline(always)]
    fn protect(entry: u64) -> u64 {
        paging::protect(entry)
    }

    #[inline(always)]
    fn table(frame: Frame) -> u64 {
        paging::table(frame)
    }

    #[inline(always)]
    fn decode(entry: u64) -> Entry {
        paging::decode(entry)
    }

    unsafe fn load_root(&self, root: Option<Frame>) {
        let root = root.map_or_else(kernel_root, Frame::address);
        // SAFETY: the caller's promise: a prepared root, whose upper half is the kernel's.
        unsafe { write_cr3(root) };
    }

    #[inline(always)]
    fn flush(&self, address: u64) {
        invlpg(address);
    }

    fn flush_all(&self) {
        // SAFETY: the same address space again. Kernel pages are global and stay.
        unsafe { write_cr3(read_cr3()) };
    }

    #[inline(always)]
    fn pause(&self) {
        pause();
    }

    fn send_ipi(&self, target: CoreId) {
        if let (Some(apic), Some(id)) = (apic(), APIC_IDS.get(target.index())) {
            apic.send(id.load(Ordering::Relaxed), IPI);
        }
    }

    fn ask(&self, target: CoreId) {
        if let (Some(apic), Some(id)) = (apic(), APIC_IDS.get(target.index())) {
            apic.nmi(id.load(Ordering::Relaxed));
        }
    }

    fn sign(&self, target: CoreId) -> Sign {
        signs::sign(target)
    }

    fn note_turn(&self) {
        signs::note_turn(self.core());
    }

    fn order_stop(&self, target: CoreId) {
        signs::order(target);
        self.ask(target);
    }

    fn set_timer(&self, at: Option<u64>) {
        let Some(apic) = apic() else { return };
        let Some(at) = at else { return apic.stop_timer() };
        let ticks = at.saturating_sub(rdtsc());
        let [tsc, timer] = [&TSC_HZ, &TIMER_HZ].map(|hz| u128::from(hz.load(Ordering::Relaxed)));
        // One more: late by a tick rather than early.
        let count = u128::from(ticks) * timer / tsc.max(1) + 1;
        apic.one_shot(u32::try_from(count).unwrap_or(u32::MAX));
    }

    fn sleep(&self) {
        wait_for_interrupt();
    }

    fn end_card_interrupt(&self) -> bool {
        end_card_interrupt()
    }

    fn tsc(&self) -> u64 {
        rdtsc()
    }

    #[inline(always)]
    fn copy_in(&self, from: u64, to: &mut [u8]) -> Result<(), UserFault> {
        check(from, to.len())?;
        let left = copy_from_user(from, to);
        fault_at(from, to.len(), left)
    }

    fn copy_out(&self, from: &[u8], to: u64) -> Result<(), UserFault> {
        check(to, from.len())?;
        let left = copy_to_user(from, to);
        fault_at(to, from.len(), left)
    }

    unsafe fn write_status(&self, frame: Frame, offset: u64, words: [u64; 2]) {
        let at = direct(frame.address() + offset).cast::<AtomicU64>();
        // SAFETY: the caller's promise: aligned, inside a pinned data frame. User code may race: atomics.
        let both = unsafe { &*at.cast::<[AtomicU64; 2]>() };
        let [first, second] = both;
        second.store(words[1], Ordering::Relaxed);
        first.store(words[0], Ordering::Release);
    }
}
