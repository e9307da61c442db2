//! Memory that is used up but for what a test leaves.

use core::cell::Cell;
use corey_abi::{
    AuditReport, Error, Home, Id, Kinds, MachineCalls, MapFlags, Name, ObjRef, ObjectCalls, PAGE_BYTES,
    SegmentCalls, ShareCalls, UserPtr,
};
use corey_libos_rt::Process;
use corey_libos_rt::sys::{address, address_mut, pause, segment, sys};

/// Pages that are given back one by one: the first that are touched, and so of this core's memory.
const NEAR: u64 = 512;
/// Frames of object slots that cost no quota. Quotas add up to all memory: without this, memory could not be used up
/// while a share has promises left.
const SLACK: u64 = 2500;
/// Pages of quota that are left for what the test does.
const SPARE: u64 = 1800;

/// All memory of the machine but what is released.
#[derive(Debug)]
pub struct Ballast {
    boot: Id,
    pcore: ObjRef,
    near: ObjRef,
    near_va: u64,
    /// Pages it has, from the first on.
    touched: Cell<u64>,
    far: ObjRef,
}

/// Makes the share's table as large as it gets: of names that come and go, whose identifiers are hashed, one may need a
/// frame more, which stays.
fn grow_table(share: Id) -> Result<(), Error> {
    let mut names = [Id::NULL; 2000];
    for name in &mut names {
        *name = segment(share, 0, "name")?.object;
    }
    names.iter().try_for_each(|object| sys().share_delobj(ObjRef { share, object: *object }))
}

/// What an exhausted call must leave as it was.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Frames that are used, but for slots of objects: those stay.
    pub used: u64,
    /// Live objects.
    pub objects: u64,
    /// Frames and objects that wait for cores to leave the kernel.
    pub waiting: u64,
    /// Whether frames, references and quotas add up.
    pub sound: bool,
}

impl Ballast {
    /// Takes all memory.
    ///
    /// # Errors
    ///
    /// As the calls; `Full` when memory did not end.
    pub fn new(process: &mut Process) -> Result<Self, Error> {
        let (boot, program, pcore) = (process.boot, process.program, process.pcore);
        let name = Name::new("slack");
        let slack = sys().share_alloc(boot, Kinds::all(), 0, 8 * SLACK, Home::Any, address(&name))?;
        for n in 0..8 * SLACK {
            // In all cores' memory: one core's may be little.
            let home = Home::Core((n % process.info.header.cores) as u16);
            sys().segment_alloc(slack, 0, home, 0, address(&name))?;
        }
        sys().share_delobj(ObjRef { share: boot, object: slack })?;
        sys().self_drop(slack)?;
        grow_table(boot)?;
        let near = segment(program, NEAR * PAGE_BYTES, "near")?;
        let (near_va, _) = process.space.map(near, NEAR, MapFlags::WRITE)?;
        let far = segment(program, 0, "far")?;
        let ballast = Self { boot, pcore, near, near_va, touched: Cell::new(0), far };
        if ballast.refill() != NEAR {
            return Err(Error::NoMemory);
        }
        let mut info = AuditReport::default();
        sys().audit(boot, address_mut(&mut info))?;
        let (far_va, slot) = process.space.map(far, info.frames, MapFlags::WRITE)?;
        let (mut low, mut high) = (0, info.frames);
        while high - low > 1 {
            let middle = (low + high) / 2;
            match sys().segment_set_nbytes(far, middle * PAGE_BYTES) {
                Ok(()) => low = middle,
                Err(_) => high = middle,
            }
        }
        let pages = low.saturating_sub(SPARE);
        sys().segment_set_nbytes(far, pages * PAGE_BYTES)?;
        let ended = (0..pages).any(|page| ballast.touch(far_va + page * PAGE_BYTES).is_err());
        // A fork shall not copy it.
        process.space.unmap(slot)?;
        if ended { Ok(ballast) } else { Err(Error::Full) }
    }

    /// Has the kernel write a page: a fault without memory is an error then, and does not end the program.
    fn touch(&self, at: u64) -> Result<(), Error> {
        sys().obj_get_name(self.pcore, UserPtr(at))
    }

    /// Gives `frames` frames back, at most as many as are there of 512.
    pub fn release(&self, frames: u64) {
        self.touched.set(self.touched.get().saturating_sub(frames));
        // Its slots are there, and the pages stay paid: neither can fail.
        let _ = sys().segment_set_nbytes(self.near, self.touched.get() * PAGE_BYTES);
        let _ = sys().segment_set_nbytes(self.near, NEAR * PAGE_BYTES);
    }

    /// Takes all memory that is free, up to what was released. Says how many frames there were.
    pub fn refill(&self) -> u64 {
        let before = self.touched.get();
        let there = |page: &u64| self.touch(self.near_va + page * PAGE_BYTES).is_ok();
        let more = (before..NEAR).take_while(there).count() as u64;
        self.touched.set(before + more);
        more
    }

    /// Gives everything back; the ballast is of no use then.
    pub fn end(self) {
        for object in [self.near, self.far] {
            // An error would mean that it is gone.
            let _ = sys().share_delobj(object);
        }
    }

    /// Counts, and frames of object slots.
    #[must_use]
    pub fn counts(&self) -> (Counts, u64) {
        counts(self.boot)
    }
}

impl Counts {
    /// Whether a sequence of calls that failed with `left` frames left all as it was `before`; `back` frames are left,
    /// `slots` more are object slots.
    #[must_use]
    pub fn same(&self, before: &Self, left: u64, back: u64, slots: u64) -> bool {
        // More can be left: what another core kept to itself.
        *self == Self { used: before.used - left, ..*before } && back + slots >= left
    }
}

/// Counts, and frames of object slots.
#[must_use]
pub fn counts(boot: Id) -> (Counts, u64) {
    let mut report = AuditReport::default();
    // The first audit lets other cores free what they keep, the others what waited for them.
    for _ in 0..100 {
        if sys().audit(boot, address_mut(&mut report)).is_err() {
            return Default::default();
        }
        if report.limbo + report.dying == 0 {
            break;
        }
        // A core that finds the next audit on its way out of this one has not left the kernel.
        (0..1000).for_each(|_| pause());
    }
    let AuditReport { frames, owned, free, limbo, objects, dying, errors, slots, .. } = report;
    let sound = frames == owned + free + limbo && errors == 0;
    let waiting = limbo + dying;
    (Counts { used: owned - slots, objects, waiting, sound }, slots)
}
