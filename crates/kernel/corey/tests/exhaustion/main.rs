//! Memory, pages and objects run out at the n-th piece, for all n, in every call that takes any: the call answers the
//! error that the manual names, everything is as it was before, and with one piece more it works.
//!
//! A test leaves 0, 1, 2 … frames, pages or objects until the call works. As it was before means: the audit finds the
//! books in order (frames, references, what every share has left, what every object costs), frames and objects are as
//! many as before, and as many pieces are left as were given. Only frames of object slots, once made, stay.

#[path = "../common/mod.rs"]
mod common;

mod large;
mod scenarios;

use common::memory::{Ballast, Counts, counts, most, take_other_memory};
use common::*;
use corey_abi::{Error, Home, Id, ObjRef, PAGE_BYTES, SegmentCalls, ShareCalls};
use corey_test_hal_host::User;
use std::fmt::Debug;

/// Slots of objects in a frame.
const SLOTS: u64 = 8;
/// More than any scenario of this file takes.
const MANY: u64 = 100;

/// A call under test, in a share of its own.
struct Scenario<C, R> {
    /// Pages and objects of the share.
    quota: (u64, u64),
    /// What the call answers without memory.
    error: Error,
    prepare: fn(&mut User<'_>, Id) -> C,
    call: fn(&mut User<'_>, C) -> Result<R, Error>,
    /// Takes back what it did.
    undo: fn(&mut User<'_>, C, R),
}

impl<C, R> Clone for Scenario<C, R> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<C, R> Copy for Scenario<C, R> {}

/// How many pieces were too few.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Failures {
    /// With all slots of objects in use.
    frames: u64,
    pages: u64,
    objects: u64,
}

impl<C: Copy + 'static, R: Debug + 'static> Scenario<C, R> {
    /// Lets everything run out, one after the other.
    fn run(self, name: &str) -> Failures {
        let slack = self.quota.0 + 220;
        let booted = boot_of_slack(slack);
        take_other_memory(&booted, slack);
        let frames = booted.on(0, move |user| self.frames(user, slack));
        audit(&booted);
        let quota: [fn(Self, &mut User<'_>) -> u64; 2] = [Self::pages, Self::objects];
        let [pages, objects] = quota.map(|work| {
            let booted = boot_with(3, (4 << 20) + self.quota.0 * PAGE_BYTES);
            let failures = booted.on(0, move |user| work(self, user));
            audit(&booted);
            failures
        });
        let failures = Failures { frames, pages, objects };
        println!("{name}: fails with fewer than {failures:?}");
        failures
    }

    /// Frames run out, and slots of objects. Says with how many frames it works.
    fn frames(self, user: &mut User<'_>, slack: u64) -> u64 {
        let boot = start(user).boot;
        let share = share(user, boot, self.quota.0, self.quota.1).unwrap();
        let hoard = common::share(user, boot, 0, 500).unwrap();
        segment(user, hoard, 0).unwrap();
        let prepared = (self.prepare)(user, share);
        let mut ballast = Ballast::new(user);
        for left in 0..MANY {
            use_all_slots(user, boot, hoard, slack);
            let before = counts(user, boot);
            ballast.release(user, left);
            match (self.call)(user, prepared) {
                Err(error) => {
                    assert_eq!(error, self.error, "with {left} frames");
                    let after = counts(user, boot);
                    let given = Counts { used: before.0.used - left, ..before.0 };
                    assert_eq!(after.0, given, "a call that failed with {left} frames changed something");
                    let slots = after.1 - before.1;
                    assert_eq!(ballast.fill(user) + slots, left, "frames left of {left}");
                }
                Ok(done) => {
                    (self.undo)(user, prepared, done);
                    return left;
                }
            }
        }
        panic!("it does not work with {MANY} frames")
    }

    /// Pages of the share run out.
    fn pages(self, user: &mut User<'_>) -> u64 {
        let boot = start(user).boot;
        let share = share(user, boot, self.quota.0 + 10, self.quota.1 + 1).unwrap();
        let filler = segment(user, share, 0).unwrap();
        let prepared = (self.prepare)(user, share);
        let all = most(user, filler, self.quota.0 + 11);
        let before = counts(user, boot).0;
        for left in 0..=all {
            user.sys().segment_set_nbytes(filler, (all - left) * PAGE_BYTES).unwrap();
            match (self.call)(user, prepared) {
                Err(error) => {
                    assert_eq!(error, Error::QuotaExceeded, "with {left} pages");
                    let after = counts(user, boot).0;
                    assert_eq!(after, before, "a call that failed with {left} pages changed something");
                    let more = user.sys().segment_set_nbytes(filler, (all + 1) * PAGE_BYTES);
                    assert_eq!(more, Err(Error::QuotaExceeded), "pages came from nowhere");
                    user.sys().segment_set_nbytes(filler, all * PAGE_BYTES).expect("all pages are left");
                }
                Ok(done) => {
                    (self.undo)(user, prepared, done);
                    return left;
                }
            }
        }
        panic!("it does not work with {all} pages")
    }

    /// Objects of the share run out.
    fn objects(self, user: &mut User<'_>) -> u64 {
        let boot = start(user).boot;
        let share = share(user, boot, self.quota.0, self.quota.1).unwrap();
        let prepared = (self.prepare)(user, share);
        let mut fillers = fill_objects(user, share);
        let mut left = 0;
        let before = counts(user, boot).0;
        loop {
            match (self.call)(user, prepared) {
                Err(error) => {
                    assert_eq!(error, Error::QuotaExceeded, "with {left} objects");
                    let after = counts(user, boot).0;
                    let given = Counts { objects: before.objects - left, ..before };
                    assert_eq!(after, given, "a call that failed with {left} objects changed something");
                    let more = fill_objects(user, share);
                    assert_eq!(more.len() as u64, left, "objects left of {left}");
                    more.iter().for_each(|object| user.sys().share_delobj(*object).unwrap());
                }
                Ok(done) => {
                    (self.undo)(user, prepared, done);
                    return left;
                }
            }
            let one = fillers.pop().expect("it works when the share is empty");
            user.sys().share_delobj(one).unwrap();
            left += 1;
        }
    }
}

/// A machine of three cores with room for `slack` frames of object slots: objects are paid from a quota of as many
/// as there are frames.
fn boot_of_slack(slack: u64) -> corey_test_hal_host::Booted {
    boot_with(3, (2 << 20) + SLOTS * slack * PAGE_BYTES)
}

/// Names empty segments in `share` until it has no object left.
fn fill_objects(user: &mut User<'_>, share: Id) -> Vec<ObjRef> {
    let mut made = Vec::new();
    loop {
        match segment(user, share, 0) {
            Ok(object) => made.push(object),
            Err(error) => {
                assert_eq!(error, Error::QuotaExceeded);
                return made;
            }
        }
    }
}

/// Makes objects until there is no slot left in core 0's memory. There is no frame left either.
fn use_all_slots(user: &mut User<'_>, boot: Id, hoard: Id, slack: u64) {
    for _ in 0..1000 {
        let (Counts { objects, waiting, .. }, frames) = counts(user, boot);
        if frames * SLOTS == objects + waiting + slack * SLOTS {
            return;
        }
        // It may fail for a frame of the share's table: its next identifier falls elsewhere.
        let at = name(user, "hoard");
        let _ = user.sys().segment_alloc(hoard, 0, Home::Any, 0, at);
    }
    panic!("slots are left");
}
