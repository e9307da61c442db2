//! Models of pages that are made, or let go, while their segment becomes smaller.

use crate::cut::cut;
use crate::segment::{PageSize, Segment, Want};
use corey_abi::{Error, Home, Name};
use corey_kernel_hal::{CoreId, PAGE_SIZE};
use corey_kernel_mem::Source;
use corey_kernel_object::{Ctx, Hooks, Link, World};
use corey_kernel_percore::{CoreSet, Delivery};
use corey_lib_sync::explore::{self, Bounds};
use corey_test_hal_host::{FakeMachine, FakePlatform};
use std::sync::Arc;

fn hooks() -> Hooks<FakePlatform> {
    Hooks {
        serve: |_, _, _| Delivery::Done(0),
        fault: |_, _, _, _| false,
        // Nothing is mapped.
        revoke: |_, _, _, _, _, _| CoreSet::EMPTY,
        last: |_, _, _| unreachable!("nothing ends by itself here"),
        arguments: |_, _, _, _, _| Err(corey_abi::Error::BadAddress),
        posts: None,
    }
}

struct Model {
    machine: FakeMachine,
    world: &'static World,
    segment: Link,
    /// Frames in the cache of whoever made it.
    cached: u64,
}

impl Model {
    fn ctx(&self, core: usize) -> Ctx<FakePlatform> {
        Ctx::new(self.machine.platform(core as u16), self.world, hooks())
    }
}

/// A segment of two pages, none of which is there.
fn model(cores: usize) -> Arc<Model> {
    let machine = FakeMachine::new(cores, cores as u64 * 128 * PAGE_SIZE, &[]);
    let [world] = explore::keep(vec![World::new(machine.topology(), &mut machine.alloc())]) else {
        unreachable!()
    };
    let mut model = Model { machine, world, segment: Link::NULL, cached: 0 };
    let mut ctx = model.ctx(0);
    let inside = ctx.enter();
    let segment = Segment::new(CoreId(0), PageSize::Small, 2);
    let segment = ctx.create(&inside, Home::Any, &Name::new("pages"), 0, segment).expect("memory enough");
    (0..cores).for_each(|core| segment.header().seen().insert(CoreId(core as u16)));
    (model.segment, model.cached) = (segment.link(), ctx.mem.cached());
    ctx.leave(inside);
    Arc::new(model)
}

/// A segment is cut, and some of them grown again, while cores touch the page that goes for the first time: when the
/// segment ends, so have all its pages, however late a core came with one.
#[test]
fn what_is_touched_while_it_is_cut_off_ends_with_its_segment() {
    explore::check_within(Bounds::SPINS, |threads| {
        let model = model(threads);
        let all = model.clone();
        let cached = explore::all(threads, move |core| {
            let mut ctx = all.ctx(core);
            let inside = ctx.enter();
            let segment = all.segment.resolve::<Segment>(&inside).expect("it lives");
            if core == 0 {
                cut(&mut ctx, &inside, segment, (2, 1)).expect("nobody pins it");
                if threads > 2 {
                    segment.grow(&mut ctx, 2, Source::Nearest).expect("it needs no frame");
                    let there = Segment::page(segment, &mut ctx, &inside, 1, Want::Write);
                    assert!(there.is_ok(), "the page is inside again: {there:?}");
                    cut(&mut ctx, &inside, segment, (2, 1)).expect("nobody pins it");
                }
            } else {
                let there = Segment::page(segment, &mut ctx, &inside, 1, Want::Write);
                assert!(there.is_ok() || there.is_err_and(|error| error == Error::OutOfRange));
            }
            ctx.leave(inside);
            ctx.mem.cached()
        });
        let mut ctx = model.ctx(0);
        let inside = ctx.enter();
        let segment = model.segment.resolve::<Segment>(&inside).expect("it lives");
        ctx.retire(segment.header(), CoreSet::EMPTY);
        ctx.leave(inside);
        for _ in 0..2 {
            let inside = ctx.enter();
            ctx.drain_all();
            ctx.leave(inside);
        }
        let (slots, dying, limbo) = ctx.census();
        assert_eq!((dying, limbo), (0, 0), "nobody is in the kernel");
        let free = model.world.memory.in_stocks(&mut ctx.local) + ctx.mem.cached();
        let kept = cached.into_iter().sum::<u64>() + model.cached;
        assert_eq!(slots + free + kept, model.world.memory.frames(), "a page is lost");
    });
}

/// A pinned page is let go while it is to be cut off: whether the cut was refused or not, nothing stays pinned.
#[test]
fn what_is_pinned_is_let_go_while_a_cut_is_tried() {
    explore::check_within(Bounds { loom: &[(2, None, None)], shuttle: 2 }, |threads| {
        let model = model(threads);
        let mut ctx = model.ctx(0);
        let inside = ctx.enter();
        let segment = model.segment.resolve::<Segment>(&inside).expect("it lives");
        Segment::pin(segment, &mut ctx, &inside, 1).expect("memory enough");
        ctx.leave(inside);
        let all = model.clone();
        let mut results = explore::all(threads, move |core| {
            let mut ctx = all.ctx(core);
            let inside = ctx.enter();
            let segment = all.segment.resolve::<Segment>(&inside).expect("it lives");
            let result = if core == 0 {
                cut(&mut ctx, &inside, segment, (2, 1))
            } else {
                segment.unpin(&ctx.local.platform, 1);
                Ok(())
            };
            ctx.leave(inside);
            result
        });
        if results.swap_remove(0).is_err() {
            let inside = ctx.enter();
            let segment = model.segment.resolve::<Segment>(&inside).expect("it lives");
            assert_eq!(cut(&mut ctx, &inside, segment, (2, 1)), Ok(()), "it is pinned for ever");
            ctx.leave(inside);
        }
    });
}
