//! Models of stocks and page slots.

use crate::frames::{Owned, Zeroed};
use crate::memory::{Mem, Memory, Source};
use crate::page::{DataFrame, Gone, PageSlot, PageState, Refused};
use corey_kernel_hal::{CoreId, Frame, PAGE_SIZE};
use corey_kernel_percore::{Delivery, Local, PerCore};
use corey_lib_sync::explore::{self, Guarded};
use corey_test_hal_host::{FakeMachine, FakePlatform};
use std::sync::Arc;

/// Frames of a core.
const FRAMES: u64 = 3;

/// A machine's memory, and what each frame holds.
struct Model {
    machine: FakeMachine,
    memory: &'static Memory,
    cores: &'static [PerCore],
    first: u32,
    contents: Vec<Guarded<u64>>,
}

fn model(cores: usize) -> Arc<Model> {
    let frames = cores as u64 * FRAMES;
    let machine = FakeMachine::new(cores, frames * PAGE_SIZE, &[]);
    let mut alloc = machine.alloc();
    let per_core = PerCore::new_all(cores, &mut alloc);
    let [memory] = explore::keep(vec![Memory::new(machine.topology(), &mut alloc)]) else { unreachable!() };
    let first = (machine.free()[0].start / PAGE_SIZE) as u32;
    let contents = (0..frames).map(|_| Guarded::new(0)).collect();
    Arc::new(Model { machine, memory, cores: per_core, first, contents })
}

impl Model {
    fn local(&self, core: usize) -> Local<FakePlatform> {
        Local::new(self.machine.platform(core as u16), self.cores, |_, _, _| Delivery::Done(0))
    }

    fn content(&self, frame: Frame) -> &Guarded<u64> {
        &self.contents[(frame.0 - self.first) as usize]
    }
}

/// Cores take frames of each other's stocks and give them back, home or to a cache: no frame is had twice, and in the end
/// none is lost.
#[test]
fn a_frame_is_had_by_one_at_a_time() {
    explore::check_within(explore::Bounds::SPINS, |threads| {
        let model = model(threads);
        let all = model.clone();
        let cached = explore::all(threads, move |core| {
            let (mut local, mut mem) = (all.local(core), Mem::new(all.memory));
            let use_one = |frame: &Owned| all.content(frame.frame()).with(|uses| *uses += 1);
            // Another core's, which goes home to its stock; or one's own, with which the cache fills, and which stays there.
            let neighbour = CoreId(((core + 1) % threads) as u16);
            let other = (core > 0).then(|| mem.alloc(&mut local, Source::Core(neighbour)).ok()).flatten();
            let own = (core % 4 == 0).then(|| mem.alloc(&mut local, Source::Nearest).ok()).flatten();
            other.iter().chain(&own).for_each(use_one);
            for frame in other.into_iter().chain(own) {
                mem.free(&mut local, frame);
            }
            mem.cached()
        });
        let mut local = model.local(0);
        let kept = cached.into_iter().sum::<u64>() + model.memory.in_stocks(&mut local);
        assert_eq!(kept, model.memory.frames(), "frames are lost, or had twice");
    });
}

/// What one side of shared pages does.
fn write(model: &Model, slot: &PageSlot, copy: Zeroed) -> (Option<Zeroed>, Option<Gone>) {
    loop {
        match slot.load() {
            PageState::Present(page) => {
                model.content(page.frame()).with(|content| *content += 1);
                return (Some(copy), None);
            }
            PageState::Cow(_) | PageState::Reference(_) => {}
            PageState::Absent => return (Some(copy), None),
            PageState::Revoking => explore::yield_now(),
        }
        let Some(page) = slot.begin_break() else { continue };
        if model.memory.is_only(page) {
            slot.keep();
            continue;
        }
        let old = model.content(page.frame()).look(|old| *old);
        let new = copy.0.frame();
        model.content(new).with(|content| *content = old);
        let part = slot.finish_break(copy).expect("it was begun");
        model.content(new).with(|content| *content += 1);
        return (None, Some(Gone::Part(part)));
    }
}

/// A page that two segments have is written from both sides, copied once more, and cut, all at once: each side has its
/// own in the end, nobody writes what another reads, and each page is freed once.
#[test]
fn a_page_shared_by_copies_is_parted_once() {
    explore::check_within(explore::Bounds::SPINS, |threads| {
        let model = model(threads);
        let mut local = model.local(0);
        let mut mem = Mem::new(model.memory);
        let mut page = || Zeroed(mem.alloc(&mut local, Source::Nearest).expect("enough"));
        // The source is the last; each of the others has a copy, but the last thread's, which is yet to be made.
        let slots: Arc<Vec<PageSlot>> = Arc::new((0..=threads).map(|_| PageSlot::default()).collect());
        let source = &slots[threads];
        let first = source.install(page()).expect("it is empty");
        source.begin_copy().expect("it is its own");
        source.share(model.memory, &slots[0], false);
        for copy in &slots[1..threads - 1] {
            let (done, part) = PageSlot::copy_shared(
                model.memory,
                core::slice::from_ref(source),
                core::slice::from_ref(copy),
                false,
            );
            assert_eq!((done, part.is_none()), (1, true));
        }
        let pages: Arc<Guarded<Vec<_>>> =
            Arc::new(Guarded::new((0..threads).map(|_| Some(page())).collect()));
        let mut given = pages.with(core::mem::take);
        let given: Vec<_> =
            given.iter_mut().map(|page| page.take().expect("each once").into_owned().frame()).collect();
        let (all, sides) = (model.clone(), slots.clone());
        let freed = explore::all(threads, move |number| {
            let source = &sides[threads];
            let release = |gone: Option<Gone>| {
                let freed = match gone {
                    Some(Gone::Part(part)) => all.memory.release(part, false).map(|released| released.frame),
                    Some(Gone::Own(frame)) => Some(frame),
                    None => None,
                };
                // Its next owner zeroes it, after whatever anybody did with it.
                freed.inspect(|frame| all.content(frame.frame()).with(|content| *content = 0))
            };
            let mine = Zeroed(Owned(given[number]));
            if number == threads - 1 {
                // Copies the source, which others write or cut meanwhile, and reads the copy.
                let copy = &sides[number];
                let (done, part) = PageSlot::copy_shared(
                    all.memory,
                    core::slice::from_ref(source),
                    core::slice::from_ref(copy),
                    false,
                );
                let freed = release(part.map(Gone::Part));
                if done == 1
                    && let PageState::Cow(page) = copy.load()
                {
                    all.content(page.frame()).look(|content| assert_eq!(*content, 0, "a write went through"));
                }
                return freed.map(|frame| frame.frame());
            }
            let slot = if number == 0 { source } else { &sides[number] };
            if number == 1 && threads > 3 {
                // Cut.
                loop {
                    match slot.begin_revoke() {
                        Err(Refused::Revoking) => explore::yield_now(),
                        begun => break begun.expect("nobody pins it"),
                    }
                }
                return release(slot.finish_revoke()).map(|frame| frame.frame());
            }
            let (_, gone) = write(&all, slot, mine);
            release(gone).map(|frame| frame.frame())
        });
        // Who still has the first page: as many as its count says, or it was freed, once.
        let has = |slot: &&PageSlot| matches!(slot.load(), PageState::Cow(page) | PageState::Present(page) if page == first);
        let holders = slots.iter().filter(has).count();
        let freed = freed.into_iter().flatten().filter(|frame| *frame == first.frame()).count();
        assert_eq!(freed, usize::from(holders == 0), "{holders} have the page");
        let own = slots.iter().filter_map(|slot| match slot.load() {
            PageState::Present(page) => Some(page),
            _ => None,
        });
        let mut own: Vec<DataFrame> = own.collect();
        own.sort_by_key(|page| page.frame().0);
        own.dedup();
        let writers = slots.iter().filter(|slot| matches!(slot.load(), PageState::Present(_))).count();
        assert_eq!(own.len(), writers, "two slots have one page as their own");
        if let PageState::Present(page) = slots[threads].load() {
            model.content(page.frame()).look(|content| assert_eq!(*content, 1, "the source lost its write"));
        }
    });
}
