//! Kernel cores, and system calls by ring.
//!
//! **Paper.** §3.5: an application gives cores to the kernel, which poll devices and make the calls that programs on other
//! cores send through shared memory.
//!
//! ```text
//! let core = KernelCore::take(parent, 3)?;      a core, and a share that names it
//! core.poll_device(card)?;                      a card it shall look after
//! let mut calls = Calls::open(&mut space, share, &[share], 64, 1)?;
//! core.poll_device(calls.device())?;
//! core.run()?;
//! calls.sys().segment_get_nbytes(segment)?      waits for the answer
//! calls.submit::<6>(number::device_buf, …)?     goes on; calls.poll() has the answers, in order
//! ```
//!
//! **Invariants.** A ring is one core's: it makes the calls. What calls point to lies in the ring's own segment, behind the ring.
//!
//! **Sharing.** Caller and kernel core: the ring's lines, and what the calls are about; by design.
//!
//! **Testing.** `images/test-ring`, in the machine; the ring by itself in `lib/ring`.
#![no_std]
#![allow(unsafe_code, reason = "rings and arguments are mapped memory, by address")]

use core::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use corey_abi::{
    Client, DeviceCalls, Error, Home, Id, MapFlags, Name, ObjRef, PAGE_BYTES, PcoreCalls, Plain,
    RING_ARGUMENTS, RING_SHARES, RING_SLOTS, RingConfig, RunContext, SYSCALL_DEVICE, ShareCalls, UserPtr,
    Word, buffer_op, run_mode,
};
use corey_lib_ring::{Env, Mapped, Refused, Shape, Submitter, Ticket};
use corey_lib_sync::Relax;
use corey_libos_sys::{address, pause, segment, sys};
use corey_libos_vm::{Core, Space};

/// Bytes of the largest value that arguments take: a record of `core_stat` fits.
const LARGEST: usize = 2048;

/// A core for the kernel.
#[derive(Clone, Copy, Debug)]
pub struct KernelCore(Core);

impl KernelCore {
    /// Takes core `number`, in a share of its own in `parent`. It does not run yet.
    ///
    /// # Errors
    ///
    /// As `share_alloc` and `pcore_alloc`; nothing stays.
    pub fn take(parent: Id, number: u16) -> Result<Self, Error> {
        // A root tree is made, too, and stays empty.
        Core::take_with(parent, number, (8, 8), 0).map(Self)
    }

    /// A core that was taken and does not run.
    #[must_use]
    pub fn of(core: Core) -> Self {
        Self(core)
    }

    /// Its pcore.
    #[must_use]
    pub fn pcore(&self) -> ObjRef {
        self.0.pcore
    }

    /// Has it poll `device`, a card or a system-call device; also while it runs.
    ///
    /// # Errors
    ///
    /// As `pcore_add_device`.
    pub fn poll_device(&self, device: ObjRef) -> Result<(), Error> {
        sys().pcore_add_device(self.0.pcore, device)
    }

    /// Runs it.
    ///
    /// # Errors
    ///
    /// As `pcore_run`.
    pub fn run(&self) -> Result<(), Error> {
        let mut context = RunContext { mode: run_mode::KERNEL_CORE, nshares: 1, ..RunContext::default() };
        let [first, ..] = &mut context.shares;
        *first = self.0.share;
        sys().pcore_run(self.0.pcore, address(&context))
    }

    /// Halts it: its rings end.
    ///
    /// # Errors
    ///
    /// As `pcore_halt`.
    pub fn halt(&self) -> Result<(), Error> {
        sys().pcore_halt(self.0.pcore, 0)
    }

    /// Gives the core back; it halts, if it runs.
    pub fn release(self) {
        self.0.release();
    }
}

/// What a caller does besides: `pause` while it waits; the doorbell is its device's.
#[derive(Clone, Copy, Debug)]
pub struct Doorbell(ObjRef);

impl Relax for Doorbell {
    #[inline(always)]
    fn relax(&mut self) {
        pause();
    }
}

impl Env for Doorbell {
    #[cold]
    fn ring(&mut self) {
        // The device is this program's; without it the ring ends, and says so.
        let _ = sys().device_buf(self.0, buffer_op::POLL, ObjRef::default(), 0);
    }
}

/// Calls over a ring: this core's to a kernel core that polls [`Calls::device`].
#[derive(Debug)]
pub struct Calls {
    submitter: Submitter<Mapped<'static>, Doorbell>,
    device: ObjRef,
    segment: ObjRef,
    slot: u64,
    /// Where arguments lie, and how many bytes of them there are.
    arguments: u64,
    room: u64,
    /// The segment's offset of them.
    offset: u64,
}

impl Calls {
    /// A ring of `slots` slots (a power of two from 2 to 256; one less can be in flight) and `pages` pages of arguments: a segment
    /// and a device in `share`, mapped in `space`. Calls are made in the name of `shares`, which the caller holds; the
    /// kernel core holds them, too, as long as it serves the ring.
    ///
    /// # Errors
    ///
    /// As the calls; nothing stays.
    pub fn open(space: &mut Space, share: Id, shares: &[Id], slots: u32, pages: u64) -> Result<Self, Error> {
        let shape = Shape::new(slots).filter(|_| u64::from(slots) <= RING_SLOTS).ok_or(Error::BadArgument)?;
        if shares.len() > RING_SHARES {
            return Err(Error::BadArgument);
        }
        let offset = (shape.words() as u64 * 8).next_multiple_of(PAGE_BYTES);
        let room = pages * PAGE_BYTES;
        let ring = segment(share, offset + room, "call ring")?;
        let mapped = space.map(ring, (offset + room) / PAGE_BYTES, MapFlags::WRITE);
        let (base, slot) = mapped.inspect_err(|_| _ = sys().share_delobj(ring))?;
        let undo = |space: &mut Space| {
            // It was just mapped and named there.
            let _ = space.unmap(slot);
            let _ = sys().share_delobj(ring);
        };
        let device = Self::device_for(share, shares, ring, slots).inspect_err(|_| undo(space))?;
        // SAFETY: mapped until this is closed, fresh and so all zeroes; nobody has another reference into it but to atomic
        // words.
        let words = unsafe { core::slice::from_raw_parts(base as *const AtomicU64, shape.words()) };
        let Some(words) = Mapped::new(words, shape) else {
            // A mapping begins with a page.
            return Err(Error::Misaligned);
        };
        let submitter = Submitter::new(words, shape, Doorbell(device));
        Ok(Self { submitter, device, segment: ring, slot, arguments: base + offset, room, offset })
    }

    fn device_for(share: Id, shares: &[Id], ring: ObjRef, slots: u32) -> Result<ObjRef, Error> {
        let name = Name::new("calls");
        let object = sys().device_alloc(share, SYSCALL_DEVICE, Home::Any, address(&name))?;
        let device = ObjRef { share, object };
        let mut config = RingConfig {
            ring,
            slots: u64::from(slots),
            arguments: ring,
            nshares: shares.len() as u64,
            ..RingConfig::default()
        };
        config.shares.iter_mut().zip(shares).for_each(|(to, from)| *to = *from);
        match sys().device_conf(device, address(&config)) {
            Ok(()) => Ok(device),
            Err(error) => {
                // It was just named there.
                let _ = sys().share_delobj(device);
                Err(error)
            }
        }
    }

    /// The system-call device, for [`KernelCore::poll_device`].
    #[must_use]
    pub fn device(&self) -> ObjRef {
        self.device
    }

    /// The typed calls; each waits for its answer. Pointers are those that [`Calls::put`] and [`Calls::argument`] give.
    #[inline(always)]
    pub fn sys(&mut self) -> Client<&mut Submitter<Mapped<'static>, Doorbell>> {
        Client(&mut self.submitter)
    }

    /// The ring's end as a transport, for calls by number.
    pub fn submitter(&mut self) -> &mut Submitter<Mapped<'static>, Doorbell> {
        &mut self.submitter
    }

    /// Submits call `number` with the first `N` of `args`.
    ///
    /// # Errors
    ///
    /// [`Refused`].
    #[inline(always)]
    pub fn submit<const N: usize>(&mut self, number: u64, args: [Word; 6]) -> Result<Ticket, Refused> {
        self.submitter.submit::<N>(number, args)
    }

    /// Publishes what was submitted.
    #[inline(always)]
    pub fn flush(&mut self) {
        self.submitter.flush();
    }

    /// The answer to the oldest call in flight, if it is there.
    #[inline(always)]
    pub fn poll(&mut self) -> Option<(Ticket, Result<[Word; 2], Error>)> {
        self.submitter.poll()
    }

    /// Gives to `each` all answers that are there, in order, and says how many. As [`Calls::poll`], and cheaper for many.
    #[inline(always)]
    pub fn drain(&mut self, each: impl FnMut(Ticket, Result<[Word; 2], Error>)) -> u64 {
        self.submitter.drain(each)
    }

    /// Calls whose answers were not taken.
    #[must_use]
    pub fn in_flight(&self) -> u64 {
        self.submitter.in_flight()
    }

    /// How calls name byte `at` of the arguments.
    #[must_use]
    pub fn argument(&self, at: u64) -> UserPtr {
        UserPtr(RING_ARGUMENTS + self.offset + at)
    }

    /// Where byte `at` of the arguments is in this program's memory, for who writes there by itself; a call by trap can
    /// name it so.
    #[must_use]
    pub fn mapped(&self, at: u64) -> u64 {
        self.arguments + at
    }

    /// Byte `at` of the arguments, if `bytes` follow it.
    fn place(&self, at: u64, bytes: usize) -> Option<*const AtomicU8> {
        let end = at.checked_add(bytes as u64)?;
        (end <= self.room).then_some((self.arguments + at) as *const AtomicU8)
    }

    /// Puts a value at byte `at` of the arguments; how calls name it. `None` where it does not fit.
    pub fn put<T: Plain>(&mut self, at: u64, value: &T) -> Option<UserPtr> {
        let mut bytes = [0; LARGEST];
        value.to_bytes(&mut bytes);
        let to = self.place(at, T::BYTES)?;
        for (n, byte) in bytes.get(..T::BYTES)?.iter().enumerate() {
            // SAFETY: inside the arguments, which are mapped; the kernel reads them, too, so they are atomic.
            unsafe { &*to.wrapping_add(n) }.store(*byte, Ordering::Relaxed);
        }
        Some(self.argument(at))
    }

    /// The value at byte `at` of the arguments; `None` where none can be.
    #[must_use]
    pub fn take<T: Plain>(&self, at: u64) -> Option<T> {
        let mut bytes = [0; LARGEST];
        let from = self.place(at, T::BYTES)?;
        for (n, byte) in bytes.get_mut(..T::BYTES)?.iter_mut().enumerate() {
            // SAFETY: as in `put`.
            *byte = unsafe { &*from.wrapping_add(n) }.load(Ordering::Relaxed);
        }
        T::from_bytes(&bytes)
    }

    /// Gives everything back.
    ///
    /// # Errors
    ///
    /// As `share_delobj` and `at_set_slot`.
    pub fn close(self, space: &mut Space) -> Result<(), Error> {
        sys().share_delobj(self.device)?;
        space.unmap(self.slot)?;
        sys().share_delobj(self.segment)
    }
}
