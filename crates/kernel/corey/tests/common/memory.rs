//! Memory that is used up but for what a test leaves: frame by frame, in whole kernels.

use super::{Start, map, name, put, run, segment, share, start, take, thread_with};
use corey_abi::{
    AuditReport, Error, Home, Id, MachineCalls, ObjRef, ObjectCalls, PAGE_BYTES, SegmentCalls, UserPtr,
};
use corey_test_hal_host::{Booted, FIRST_ADDRESS, User};

/// Where the ballast is mapped.
const BALLAST: u64 = 0x5000_0000_0000;
/// Its slot in the first program's tree: the frame of slots it lies in is in use already.
const SLOT: u64 = 20;
/// Pages of its share's quota that the boot share keeps, for what scenarios charge it.
pub const SPARE: u64 = 64;

/// Uses up the memory of all cores but core 0, from core 1, so that every frame that is free later is core 0's.
/// Before that makes `slack` frames of object slots there, which cost no quota: quotas add up to all memory, and so
/// without this memory could not be used up while a share has promises left.
pub fn take_other_memory(booted: &Booted, slack: u64) {
    let cores = booted.machine().cores() as u64;
    let frames: u64 =
        booted.machine().free().iter().map(|range| (range.end - range.start) / PAGE_BYTES).sum();
    let part = (frames / cores) & !15;
    let (object, thread) = booted.on(0, move |user| {
        let first = start(user);
        let many = share(user, first.boot, 0, 8 * slack).unwrap();
        let at = name(user, "slack");
        for _ in 0..8 * slack {
            user.sys().segment_alloc(many, 0, Home::Core(1), 0, at).unwrap();
        }
        super::end(user, first.boot, many);
        let thread = thread_with(user, first.boot, 1, 100).unwrap();
        let pages = frames - part;
        let object = segment(user, first.boot, pages - slack + 16).unwrap();
        map(user, thread.tree, 1, object, BALLAST, pages).unwrap();
        run(user, thread, &[first.boot]).unwrap();
        (object, thread)
    });
    booted.on(1, move |user| {
        let pages = user.sys().segment_get_nbytes(object).unwrap() / PAGE_BYTES;
        let end = FIRST_ADDRESS / PAGE_BYTES + part;
        let own = (0..pages).find(|page| {
            let at = BALLAST + page * PAGE_BYTES;
            user.write(at, 1).unwrap();
            user.platform().translation(at).is_some_and(|frame| u64::from(frame.0) < end)
        });
        // The last one was core 0's.
        let used = own.expect("memory of other cores ends before the quota does");
        user.sys().segment_set_nbytes(object, used * PAGE_BYTES).unwrap();
        let _ = corey_abi::PcoreCalls::pcore_halt(&mut user.sys(), thread.pcore, 0);
    });
}

/// All memory of core 0 but what is released, in one segment.
#[derive(Clone, Copy, Debug)]
pub struct Ballast {
    first: Start,
    object: ObjRef,
    /// Pages it may have.
    pages: u64,
    /// Pages it has, from the first on.
    touched: u64,
}

impl Ballast {
    /// Takes all memory, with all quota that the boot share has left but [`SPARE`] pages.
    pub fn new(user: &mut User<'_>) -> Self {
        let first = start(user);
        let object = segment(user, first.boot, 0).unwrap();
        map(user, first.tree, SLOT, object, BALLAST, 1 << 15).unwrap();
        let pages = most(user, object, 1 << 15) - SPARE;
        user.sys().segment_set_nbytes(object, pages * PAGE_BYTES).unwrap();
        let mut ballast = Self { first, object, pages, touched: 0 };
        ballast.fill(user);
        ballast
    }

    /// Takes all memory that is free. Says how many frames there were.
    pub fn fill(&mut self, user: &mut User<'_>) -> u64 {
        let before = self.touched;
        while touch(user, self.first, BALLAST + self.touched * PAGE_BYTES).is_ok() {
            self.touched += 1;
            assert!(
                self.touched < self.pages,
                "memory ends before the quota does: this test needs more slack"
            );
        }
        self.touched - before
    }

    /// Gives `frames` frames back.
    pub fn release(&mut self, user: &mut User<'_>, frames: u64) {
        self.touched -= frames;
        user.sys().segment_set_nbytes(self.object, self.touched * PAGE_BYTES).unwrap();
        user.sys().segment_set_nbytes(self.object, self.pages * PAGE_BYTES).unwrap();
    }
}

/// Most pages that `object` can have, less than `limit`; it then has them.
pub fn most(user: &mut User<'_>, object: ObjRef, limit: u64) -> u64 {
    let (mut low, mut high) = (0, limit);
    while high - low > 1 {
        let middle = (low + high) / 2;
        match user.sys().segment_set_nbytes(object, middle * PAGE_BYTES) {
            Ok(()) => low = middle,
            Err(Error::QuotaExceeded) => high = middle,
            Err(error) => panic!("{middle} pages: {error:?}"),
        }
    }
    user.sys().segment_set_nbytes(object, low * PAGE_BYTES).unwrap();
    low
}

/// Has the kernel write the page at `at`: a fault that is not resolved is an error, and does not end the program.
pub fn touch(user: &mut User<'_>, first: Start, at: u64) -> Result<(), Error> {
    user.sys().obj_get_name(first.pcore, UserPtr(at))
}

/// What an exhausted call must leave as it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counts {
    /// Frames that are used, but for slots of objects: those stay.
    pub used: u64,
    /// Live objects.
    pub objects: u64,
    /// Objects and frames that wait.
    pub waiting: u64,
}

/// Counts, and frames of object slots. Fails when the kernel's books do not balance: frames, references, quotas.
pub fn counts(user: &mut User<'_>, boot: Id) -> (Counts, u64) {
    let mut report = AuditReport::default();
    // The first lets go what an earlier kernel entry could have reached, the others what waits for this one.
    for _ in 0..3 {
        let at = put(user, &[0_u64; 8]);
        user.sys().audit(boot, at).expect("the boot share is held");
        report = take::<AuditReport>(user);
        if report.limbo + report.dying == 0 {
            break;
        }
    }
    assert_eq!(report.frames, report.owned + report.free + report.limbo, "{report:?}");
    assert_eq!(report.errors, 0, "{report:?}");
    let AuditReport { owned, slots, objects, limbo, dying, .. } = report;
    (Counts { used: owned - slots, objects, waiting: limbo + dying }, slots)
}
