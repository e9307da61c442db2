//! Segments with contents: growing, shrinking, copies in all modes and copies of copies, by two cores in turn.

use crate::common::*;
use crate::{conform, same};
use corey_abi::{Error, Home, Id, ObjRef, SegmentCalls, ShareCalls, UserPtr, copy_mode};
use corey_test_hal_host::{Booted, User};
use corey_test_model::ModelSegments;
use proptest::prelude::*;

type Pick = prop::sample::Index;

#[derive(Clone, Debug)]
enum Step {
    Alloc(u64),
    Write(Pick, u64, u64),
    Read(Pick, u64),
    Copy(Pick, u64),
    Resize(Pick, u64),
    Size(Pick),
    Remove(Pick),
    /// The other core goes on.
    Turn,
}

/// Pages of a segment at most.
const PAGES: u64 = 12;
/// Segments that live at once.
const LIVE: usize = 8;
/// Where both cores link the interior tree that maps those that live, [`STRIDE`] pages apart.
const VA: u64 = 0x6000_0000_0000;
const STRIDE: u64 = 64;

/// Modes of copies: 3 is none; some with a page that is copied now.
fn mode() -> impl Strategy<Value = u64> {
    let later = copy_mode::ON_WRITE..=copy_mode::ON_REFERENCE;
    let but = (later, 0..PAGES).prop_map(|(mode, page)| mode | copy_mode::PAGE_NOW | (page * 4096));
    prop_oneof![0..4_u64, but]
}

fn step() -> impl Strategy<Value = Step> {
    let pick = any::<Pick>;
    prop_oneof![
        1 => (0..PAGES).prop_map(Step::Alloc),
        6 => (pick(), 0..PAGES, 1..u64::MAX).prop_map(|(s, p, v)| Step::Write(s, p, v)),
        6 => (pick(), 0..PAGES).prop_map(|(s, p)| Step::Read(s, p)),
        2 => (pick(), mode()).prop_map(|(s, mode)| Step::Copy(s, mode)),
        1 => (pick(), 0..PAGES).prop_map(|(s, n)| Step::Resize(s, n)),
        1 => pick().prop_map(Step::Size),
        1 => pick().prop_map(Step::Remove),
        1 => Just(Step::Turn),
    ]
}

/// The segments that live, in their places, and the model.
#[derive(Clone)]
struct World {
    share: Id,
    text: UserPtr,
    tree: ObjRef,
    model: ModelSegments,
    /// Place → number in the model, and ID.
    places: [Option<(usize, Id)>; LIVE],
}

impl World {
    fn place(&self, pick: Pick) -> usize {
        pick.index(LIVE)
    }

    fn object(&self, place: usize) -> (usize, ObjRef) {
        let (number, object) = self.places[place].unwrap_or((usize::MAX, Id(0xdead)));
        (number, ObjRef { share: self.share, object })
    }

    fn put(
        &mut self,
        user: &mut User<'_>,
        place: usize,
        got: Result<Id, Error>,
        number: Result<usize, Error>,
    ) -> Result<(), String> {
        let (Ok(object), Ok(number)) = (got, number) else {
            return same(&"make", got.map(|_| ()), number.map(|_| ()));
        };
        self.places[place] = Some((number, object));
        // The other core's root links the same interior tree.
        let (va, named) = (place as u64 * STRIDE * 4096, ObjRef { share: self.share, object });
        map(user, self.tree, place as u64, named, va, PAGES).map_err(|e| format!("mapping: {e:?}"))
    }

    fn va(&self, place: usize, page: u64) -> u64 {
        VA + (place as u64 * STRIDE + page) * 4096
    }

    fn step(&mut self, user: &mut User<'_>, step: &Step) -> Result<(), String> {
        match *step {
            Step::Alloc(pages) => {
                let Some(free) = self.places.iter().position(Option::is_none) else { return Ok(()) };
                let got = user.sys().segment_alloc(self.share, pages * 4096, Home::Any, 0, self.text);
                let number = self.model.add(pages);
                self.put(user, free, got, Ok(number))
            }
            Step::Write(pick, page, value) => {
                let place = self.place(pick);
                // A write that faults would end the program: the model says which would.
                if self.model.write(self.object(place).0, page, value) {
                    let done = user.write(self.va(place, page), value);
                    return same(step, done.is_ok(), true);
                }
                Ok(())
            }
            Step::Read(pick, page) => {
                let place = self.place(pick);
                match self.model.read(self.object(place).0, page) {
                    Some(wanted) => same(step, user.read(self.va(place, page)).ok(), Some(wanted)),
                    None => Ok(()),
                }
            }
            Step::Copy(pick, mode) => {
                let (number, object) = self.object(self.place(pick));
                let Some(free) = self.places.iter().position(Option::is_none) else { return Ok(()) };
                let got = user.sys().segment_copy(object, self.share, mode, Home::Any, self.text);
                if let Ok(pages) = self.model.size(number) {
                    if mode % 4096 == 3 {
                        return same(step, got, Err(Error::BadArgument));
                    }
                    if mode & copy_mode::PAGE_NOW != 0 && mode / 4096 >= pages {
                        // There may be no room for a copy, either.
                        let refused = matches!(got, Err(Error::OutOfRange | Error::QuotaExceeded));
                        return same(step, (refused, got), (true, got));
                    }
                }
                let number = self.model.copy(number);
                self.put(user, free, got, number)
            }
            Step::Resize(pick, pages) => {
                let (number, object) = self.object(self.place(pick));
                let got = user.sys().segment_set_nbytes(object, pages * 4096);
                same(step, got, self.model.resize(number, pages))
            }
            Step::Size(pick) => {
                let (number, object) = self.object(self.place(pick));
                let got = user.sys().segment_get_nbytes(object).map(|bytes| bytes / 4096);
                same(step, got, self.model.size(number))
            }
            Step::Remove(pick) => {
                let place = self.place(pick);
                let (number, object) = self.object(place);
                same(step, user.sys().share_delobj(object), self.model.remove(number))?;
                self.places[place] = None;
                Ok(())
            }
            Step::Turn => Ok(()),
        }
    }
}

/// Runs the parts of `steps` between turns on core 0 and core 1 alternately.
fn run_on_two(booted: &Booted, steps: &[Step]) -> Result<(), String> {
    let mut world = booted.on(0, move |user| {
        let first = start(user);
        let share = share(user, first.boot, 1000, 64).expect("quota enough");
        let tree = interior(user, share).expect("quota enough");
        link(user, first.tree, 100, tree, VA).expect("free addresses");
        let made = thread(user, first.boot, 1).expect("a second core");
        link(user, made.tree, 1, tree, VA).expect("free addresses");
        run(user, made, &[share]).expect("the core is free");
        World { share, text: UserPtr(0), tree, model: ModelSegments::default(), places: [None; LIVE] }
    });
    for (turn, part) in steps.split(|step| matches!(step, Step::Turn)).enumerate() {
        let part = part.to_vec();
        let mut before = world.clone();
        world = booted.on((turn % 2) as u16, move |user| {
            before.text = name(user, "a segment");
            part.iter().try_for_each(|step| before.step(user, step)).map(|()| before)
        })?;
    }
    booted.on(0, move |user| {
        let boot = start(user).boot;
        end(user, boot, world.share);
    });
    Ok(())
}

fn check(steps: &[Step]) -> Result<(), String> {
    let booted = boot(2);
    run_on_two(&booted, steps)?;
    audit(&booted);
    Ok(())
}

#[test]
fn segments_read_as_the_model() {
    conform(file!(), "segments", step(), |steps| check(&steps));
}
