//! Models of stocks and page slots.

use crate::frames::{Owned, Zeroed};
use crate::memory::{Mem, Memory, Source};
use crate::page::{DataFrame, Gone, PageSlot, PageState};
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
            let own = (0..if core % 4 == 0 { 2 } else { 0 })
                .map_while(|_| mem.alloc(&mut local, Source::Nearest).ok());
            let all_mine: Vec<_> = own.chain(other).collect();
            all_mine.iter().for_each(use_one);
            for frame in all_mine {
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
        if slot.keep(model.memory) {
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

/// Slots of one page: of a source and its copies.
struct Family {
    source: PageSlot,
    copies: [PageSlot; MEMBERS],
    page: DataFrame,
    /// What each member copies the page to.
    spare: Vec<Frame>,
}

/// Threads that are at one page: more would hide what happens when few have it.
const MEMBERS: usize = 4;

fn copy(model: &Model, source: &PageSlot, copy: &PageSlot) -> (usize, Option<Gone>) {
    let one = core::slice::from_ref::<PageSlot>;
    let (done, part) = PageSlot::copy_shared(model.memory, one(source), one(copy), false);
    (done, part.map(Gone::Part))
}

impl Family {
    fn new(model: &Model, mut page: impl FnMut() -> Zeroed, members: usize) -> Self {
        let (source, copies) = (PageSlot::default(), [(); MEMBERS].map(|()| PageSlot::default()));
        let first = source.install(page()).expect("it is empty");
        source.begin_copy().expect("it is its own");
        // The first copy is cut by the second member; each of those behind it, but the last, has one that it writes.
        source.share(model.memory, &copies[0], false);
        for other in &copies[1..(members - 2).max(1)] {
            assert!(matches!(copy(model, &source, other), (1, None)));
        }
        if members == 2 {
            // Nobody else has it: its owner may keep it.
            copies[0].begin_revoke().expect("nobody pins it");
            let Some(Gone::Part(part)) = copies[0].finish_revoke() else { unreachable!("it is shared") };
            assert!(model.memory.release(part, false).is_none());
        }
        let spare = (0..members).map(|_| page().into_owned().frame()).collect();
        Self { source, copies, page: first, spare }
    }

    /// What member `number` of `members` does; a page that was freed by it.
    fn work(&self, model: &Model, number: usize, members: usize) -> Option<Frame> {
        let release = |gone: Option<Gone>| {
            let freed = match gone {
                Some(Gone::Part(part)) => model.memory.release(part, false).map(|released| released.frame),
                Some(Gone::Own(frame) | Gone::Wide(frame)) => Some(frame),
                None => None,
            }?;
            // Its next owner zeroes it, after whatever anybody did with it.
            model.content(freed.frame()).with(|content| *content = 0);
            Some(freed.frame())
        };
        let spare = Zeroed(Owned(self.spare[number]));
        if number == members - 1 {
            // Copies the source, which others write and cut meanwhile, and reads the copy.
            let mine = &self.copies[number];
            let (done, gone) = copy(model, &self.source, mine);
            let freed = release(gone);
            if done == 1
                && let PageState::Cow(page) = mine.load()
            {
                model.content(page.frame()).look(|content| assert_eq!(*content, 0, "a write went through"));
            }
            return freed;
        }
        if number == 0 {
            return release(write(model, &self.source, spare).1);
        }
        if number == 1 {
            self.copies[0].begin_revoke().expect("nobody else takes it");
            return release(self.copies[0].finish_revoke());
        }
        release(write(model, &self.copies[number - 1], spare).1)
    }

    fn slots(&self) -> impl Iterator<Item = &PageSlot> {
        self.copies.iter().chain([&self.source])
    }

    /// In the end each page is one slot's own, or shared by those that have it, or freed, once.
    fn check(&self, model: &Model, freed: usize) {
        let states = || self.slots().map(PageSlot::load);
        let shares = states().filter(|state| *state == PageState::Cow(self.page)).count();
        let owns = states().filter(|state| *state == PageState::Present(self.page)).count();
        assert!(
            owns == 0 || (owns, shares) == (1, 0),
            "{owns} have the page as their own, {shares} share it"
        );
        assert_eq!(freed, usize::from(owns + shares == 0), "{owns} have the page, {shares} share it");
        let PageState::Present(page) = self.source.load() else { unreachable!("the source was written") };
        model.content(page.frame()).look(|content| assert_eq!(*content, 1, "the source lost its write"));
    }
}

/// A page that segments share is written from several sides, copied once more, and cut, all at once: each side has its own
/// in the end, nobody writes what another reads, and each page is freed once.
#[test]
fn a_page_shared_by_copies_is_parted_once() {
    explore::check_within(explore::Bounds::SPINS, |threads| {
        let model = model(threads);
        let (mut local, mut mem) = (model.local(0), Mem::new(model.memory));
        let members = threads.min(MEMBERS);
        let mut page = || Zeroed(mem.alloc(&mut local, Source::Nearest).expect("enough"));
        let families: Arc<Vec<_>> =
            Arc::new((0..threads / members).map(|_| Family::new(&model, &mut page, members)).collect());
        let (all, work) = (model.clone(), families.clone());
        let freed = explore::all(threads, move |number| {
            let family = work.get(number / members)?;
            family.work(&all, number % members, members)
        });
        for family in families.iter() {
            let freed = freed.iter().flatten().filter(|frame| **frame == family.page.frame()).count();
            family.check(&model, freed);
        }
    });
}

/// A page is copied from a segment that it leaves meanwhile, while the only other one that has it keeps it, writes it, and
/// copies it anew: it has as many parts as slots have it, is not what a copy of the first segment has, and is freed with the
/// last, with whoever used it in mind.
#[test]
fn a_page_that_is_kept_and_shared_anew_is_counted() {
    explore::check_within(explore::Bounds::SPINS, |threads| {
        let model = model(threads);
        let (mut local, mut mem) = (model.local(0), Mem::new(model.memory));
        let mut page = || Zeroed(mem.alloc(&mut local, Source::Nearest).expect("enough"));
        let [source, other, anew] = [(); 3].map(|()| PageSlot::default());
        let first = source.install(page()).expect("it is empty").frame();
        source.begin_copy().expect("it is its own");
        source.share(model.memory, &other, false);
        let all = Arc::new((model.clone(), source, other, anew, page().into_owned().frame()));
        let freed = explore::all(threads, move |number| {
            let (model, source, other, anew, spare) = &*all;
            let free = |slot: &PageSlot| {
                slot.begin_revoke().expect("nobody else takes it");
                freed(model, slot.finish_revoke(), false)
            };
            if number > 0 {
                let mine = PageSlot::default();
                let (done, gone) = copy(model, source, &mine);
                if let PageState::Cow(page) = mine.load() {
                    model
                        .content(page.frame())
                        .look(|content| assert_eq!(*content, 0, "it is another's by now"));
                }
                return freed(model, gone, false) + if done == 1 { free(&mine) } else { 0 };
            }
            let (_, gone) = write(model, source, Zeroed(Owned(*spare)));
            let count = freed(model, gone, true);
            let page = other.begin_break().expect("it has its part");
            if other.keep(model.memory) {
                model.content(page.frame()).with(|content| *content += 1);
                other.begin_copy().expect("it is its own");
                other.share(model.memory, anew, false);
                assert_eq!(free(anew), 0, "another slot has it");
            } else {
                other.abort_revoke();
            }
            count + free(other)
        });
        assert_eq!(freed.iter().sum::<usize>(), 1, "{first:?} is freed once");
    });
}

/// Gives up a part; `wide` says that other cores may have used the page. How many pages are free then.
fn freed(model: &Model, gone: Option<Gone>, wide: bool) -> usize {
    let Some(Gone::Part(part)) = gone else { return 0 };
    let Some(released) = model.memory.release(part, wide) else { return 0 };
    assert!(released.wide, "who read it through the segment it left may be reading it still");
    1
}
