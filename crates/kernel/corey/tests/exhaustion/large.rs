//! 2 MiB pages, and slots of a segment above 1 GiB.

use crate::*;
use corey_abi::{ObjectCalls, UserPtr, copy_mode, segment_flag};

const VA: u64 = 0x6000_0000_0000;
const SLOT: u64 = 10;
const LARGE: u64 = 2 << 20;
const GIB: u64 = 1 << 30;

fn alloc(user: &mut User<'_>, share: Id, nbytes: u64, home: Home, flags: u64) -> Result<ObjRef, Error> {
    let at = name(user, "large");
    let object = user.sys().segment_alloc(share, nbytes, home, flags, at)?;
    Ok(ObjRef { share, object })
}

/// Whole pages of 2 MiB run out, while there are thousands of small ones, and quota for all.
#[test]
fn pages_of_2_mib() {
    let booted = boot_with(1, 20 << 20);
    booted.on(0, |user| {
        let first = start(user);
        // What was handed out in small pages stays small.
        let small = segment(user, first.boot, 3000).unwrap();
        map(user, first.tree, SLOT, small, VA, 3000).unwrap();
        (0..3000).for_each(|page| user.write(VA + page * PAGE_BYTES, 1).unwrap());
        user.sys().segment_set_nbytes(small, PAGE_BYTES).unwrap();
        clear(user, first.tree, SLOT).unwrap();
        let all = alloc(user, first.boot, 6 * LARGE, Home::Any, segment_flag::LARGE).unwrap();
        map(user, first.tree, SLOT, all, VA, 6 * 512).unwrap();
        let source = alloc(user, first.boot, LARGE, Home::Any, segment_flag::LARGE).unwrap();
        map(user, first.tree, SLOT + 1, source, VA + GIB, 512).unwrap();
        user.write(VA + GIB + LARGE - 8, 7).unwrap();
        let touch = |user: &mut User<'_>, page| common::memory::touch(user, first, VA + page * LARGE);
        let copy = |user: &mut User<'_>, mode| {
            let at = name(user, "copy");
            let object = user.sys().segment_copy(source, first.boot, mode, Home::Any, at)?;
            Ok::<_, Error>(ObjRef { share: first.boot, object })
        };
        let whole = (0..6).take_while(|page| touch(user, *page).is_ok()).count() as u64;
        assert!((1..6).contains(&whole), "{whole}");
        let before = counts(user, first.boot).0;
        for _ in 0..3 {
            assert_eq!(touch(user, whole), Err(Error::BadAddress));
            assert_eq!(copy(user, copy_mode::NOW), Err(Error::NoMemory));
            assert_eq!(counts(user, first.boot).0, before);
        }
        let shared = copy(user, copy_mode::ON_WRITE).expect("it takes small pages only");
        let before = counts(user, first.boot).0;
        for _ in 0..3 {
            assert_eq!(user.sys().obj_get_name(first.pcore, UserPtr(VA + GIB)), Err(Error::BadAddress));
            assert_eq!(user.read(VA + GIB + LARGE - 8), Ok(7));
            assert_eq!(counts(user, first.boot).0, before);
        }
        // One page more, and each of them works.
        user.sys().segment_set_nbytes(all, (whole - 1) * LARGE).unwrap();
        user.write(VA + GIB, 8).unwrap();
        user.sys().share_delobj(shared).unwrap();
        user.sys().segment_set_nbytes(source, 0).unwrap();
        user.sys().segment_set_nbytes(source, LARGE).unwrap();
        assert_eq!(user.read(VA + GIB), Ok(0));
    });
    audit(&booted);
}

/// Slots of more than 1 GiB of pages: a frame for each 2 MiB, and three levels. They come from the core that is named,
/// whose memory is used up, while quotas are paid from all memory.
#[test]
fn slots_of_more_than_1_gib() {
    const CORES: u64 = 32;
    let bytes = GIB + (96 << 20);
    let booted = boot_with(CORES as usize, bytes);
    booted.on(0, move |user| {
        let first = start(user);
        let npages = GIB / PAGE_BYTES + 3;
        let frames = npages.div_ceil(512) + 3;
        let end = corey_test_hal_host::FIRST_ADDRESS / PAGE_BYTES + ((bytes / PAGE_BYTES / CORES) & !15);
        let ballast = segment(user, first.boot, 10_000).unwrap();
        map(user, first.tree, SLOT, ballast, VA, 10_000).unwrap();
        let is_own = |user: &mut User<'_>, page: u64| {
            user.write(VA + page * PAGE_BYTES, 1).unwrap();
            let frame = user.platform().translation(VA + page * PAGE_BYTES);
            frame.is_some_and(|frame| u64::from(frame.0) < end)
        };
        let mut touched = 0;
        while is_own(user, touched) {
            touched += 1;
        }
        // A slot for the object is there.
        let spare: Vec<_> = (0..9).map(|_| segment(user, first.boot, 0).unwrap()).collect();
        spare.iter().for_each(|object| user.sys().share_delobj(*object).unwrap());
        while is_own(user, touched) {
            touched += 1;
        }
        let (mut failed, mut left) = (0, 0);
        let base = counts(user, first.boot).0;
        let done = loop {
            user.sys().segment_set_nbytes(ballast, (touched - left) * PAGE_BYTES).unwrap();
            user.sys().segment_set_nbytes(ballast, 10_000 * PAGE_BYTES).unwrap();
            match alloc(user, first.boot, npages * PAGE_BYTES, Home::Core(0), 0) {
                Ok(object) => break object,
                Err(error) => assert_eq!(error, Error::NoMemory, "{left} of {frames}"),
            }
            failed += 1;
            // The page behind the last was another core's; it was cut too.
            let after = counts(user, first.boot).0;
            assert_eq!(after.used + left + 1, base.used, "{left} of {frames}");
            assert_eq!((after.objects, after.waiting), (base.objects, base.waiting));
            (touched - left..touched).for_each(|page| assert!(is_own(user, page), "{left} of {frames}"));
            left += if (8..frames - 8).contains(&left) { 7 } else { 1 };
        };
        println!("slots of 1 GiB and more: ran {failed} of {frames}, works with {left}");
        assert!((frames..frames + 3).contains(&left), "{left} frames, {frames} of slots");
        user.sys().share_delobj(done).unwrap();
    });
    audit(&booted);
}
