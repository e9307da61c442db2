//! Models of entries that are made while others take them away.

use crate::change::{self, Payer};
use crate::slot::{Map, MapKind, New};
use crate::tree::{Grain, Tree, TreeKind};
use crate::{end, fault, forget, load, map_segment, reserve, revoke, unload};
use corey_abi::{Home, Kinds, MapFlags, Name};
use corey_kernel_hal::{Cause, CoreId, Frame, PAGE_SIZE, Platform};
use corey_kernel_mem::Source;
use corey_kernel_object::{Ctx, Entered, Handle, Hooks, Link, Take, World};
use corey_kernel_percore::Delivery;
use corey_kernel_segment::{PageSize, Segment, Want};
use corey_kernel_share::Share;
use corey_lib_sync::explore::{self, Bounds};
use corey_test_hal_host::{FakeMachine, FakePlatform};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

const VA: u64 = 1 << 30;
const BOUNDS: Bounds = Bounds { loom: &[(2, None, Some(50_000)), (3, Some(3), Some(5_000))], shuttle: 8 };

fn hooks() -> Hooks<FakePlatform> {
    Hooks {
        serve: |local, _, message| {
            forget(local, message);
            Delivery::Done(0)
        },
        fault,
        revoke,
        last: |_, _, _| unreachable!("nothing ends by itself here"),
        arguments: |_, _, _, _, _| Err(corey_abi::Error::BadAddress),
        posts: None,
    }
}

struct Model {
    machine: FakeMachine,
    world: &'static World,
    /// An interior tree with a page, the page's segment, and a root for each core, which links the tree.
    tree: Link,
    segment: Link,
    /// The page's frame.
    frame: Frame,
    roots: Vec<Link>,
    /// Cores that are not done: they serve their mailboxes until nobody can ask any more.
    busy: AtomicUsize,
}

impl Model {
    fn ctx(&self, core: usize) -> Ctx<FakePlatform> {
        Ctx::new(self.machine.platform(core as u16), self.world, hooks())
    }

    /// Serves messages until all cores are done.
    fn finish(&self, ctx: &mut Ctx<FakePlatform>) {
        self.busy.fetch_sub(1, Ordering::SeqCst);
        while self.busy.load(Ordering::SeqCst) > 0 {
            explore::yield_now();
            ctx.local.serve_mailbox();
        }
    }
}

fn tree<'k>(
    ctx: &mut Ctx<FakePlatform>,
    inside: &'k Entered<'_>,
    share: Handle<'_, Share>,
    kind: TreeKind,
) -> Handle<'k, Tree> {
    let table = ctx.alloc_zeroed(Source::Nearest).expect("memory enough");
    let value = Tree::new(&ctx.local.platform, CoreId(0), kind, table);
    let tree = ctx.create(inside, Home::Any, &Name::new("tree"), 0, value).expect("memory enough");
    share.charge(ctx, 0, 1).expect("quota enough");
    share.insert(ctx, tree.link(), 0).expect("memory enough");
    tree
}

fn model(cores: usize) -> Arc<Model> {
    let machine = FakeMachine::new(cores, (cores * (cores * 8 + 20)) as u64 * PAGE_SIZE, &[]);
    let [world] = explore::keep(vec![World::new(machine.topology(), &mut machine.alloc())]) else {
        unreachable!()
    };
    let mut model = Model {
        machine,
        world,
        tree: Link::NULL,
        segment: Link::NULL,
        frame: Frame(0),
        roots: Vec::new(),
        busy: AtomicUsize::new(cores),
    };
    let mut ctx = model.ctx(0);
    let inside = ctx.enter();
    let share = Share::new(CoreId(0), Kinds::all(), Link::NULL, (999, 999));
    let share = ctx.create(&inside, Home::Any, &Name::new("share"), 0, share).expect("memory enough");
    let segment = Segment::new(CoreId(0), PageSize::Small, 1);
    let segment = ctx.create(&inside, Home::Any, &Name::new("segment"), 0, segment).expect("memory enough");
    let page = Segment::page(segment, &mut ctx, &inside, 0, Want::Write);
    model.frame = page.expect("memory enough").frame.frame();
    let interior = tree(&mut ctx, &inside, share, TreeKind::Interior(Grain::Mib2));
    map_segment(&mut ctx, &inside, interior, share, 0, segment, (0, 0, 1), MapFlags::WRITE)
        .expect("it is empty");
    for _ in 0..cores {
        let root = tree(&mut ctx, &inside, share, TreeKind::Root);
        let map = Map {
            kind: MapKind::Interior,
            object: interior.link(),
            share: share.id(),
            start: VA,
            end: VA + (2 << 20),
            ..Map::EMPTY
        };
        change::change(&mut ctx, &inside, root, 0, &New::interior(map), Payer::Share(&share))
            .expect("it is empty");
        model.roots.push(root.link());
    }
    for core in 0..cores {
        segment.header().seen().insert(CoreId(core as u16));
    }
    (model.tree, model.segment) = (interior.link(), segment.link());
    ctx.leave(inside);
    Arc::new(model)
}

/// Runs `core`'s root there.
fn begin(model: &Model, ctx: &mut Ctx<FakePlatform>, inside: &Entered<'_>, core: usize) {
    let root = model.roots[core].resolve::<Tree>(inside).expect("it lives");
    reserve(ctx, &root, CoreId(core as u16)).expect("it is idle");
    load(ctx, inside, root);
}

/// A page is taken away while cores fault it in through one interior tree and read it, and while some leave the tree and
/// come back: when it was taken nobody has an entry or a translation of it. What is done with its frame then would fail.
#[test]
fn what_was_taken_is_not_filled_again() {
    explore::check_within(BOUNDS, |threads| {
        let model = model(threads);
        explore::all(threads, move |core| {
            let mut ctx = model.ctx(core);
            let inside = ctx.enter();
            begin(&model, &mut ctx, &inside, core);
            let segment = model.segment.resolve::<Segment>(&inside).expect("it lives");
            if core == 0 {
                // As `segment_set_nbytes` cuts, and grows.
                let slot = segment.slot(&ctx.local.platform, 0).expect("it has a page");
                slot.begin_revoke().expect("nobody else takes it");
                let users = revoke(&mut ctx, &inside, segment.header(), 0, 1, Take::Page);
                let _ = users;
                let gone = slot.finish_revoke().expect("there was a page");
                slot.open();
                match gone {
                    corey_kernel_mem::Gone::Own(frame) => {
                        // The machine objects when a core still reaches it.
                        let zeroed = frame.zero(&ctx.local.platform);
                        ctx.free(zeroed.into_owned());
                    }
                    other => unreachable!("there is no copy: {other:?}"),
                }
            } else {
                if core % 2 == 0 {
                    unload(&mut ctx, &inside);
                    begin(&model, &mut ctx, &inside, core);
                }
                let filled = fault(&mut ctx, &inside, VA, Cause::Read);
                let there = ctx.local.platform.user_read(VA);
                assert!(there.is_err() || there == Ok(0), "{filled}: {there:?}");
            }
            model.finish(&mut ctx);
            // A core that faults later makes a page of its own memory.
            let there = ctx.local.platform.translation(VA);
            assert_ne!(there, Some(model.frame), "an entry was made, or kept, after its page was taken");
            unload(&mut ctx, &inside);
            ctx.leave(inside);
        });
    });
}

/// An interior tree ends while cores attach it: who is not asked to unlink it finds it dead, and does not link it.
#[test]
fn a_tree_that_ends_is_linked_by_nobody() {
    // The end of a tree is long: all orders of two threads take minutes.
    let bounds = Bounds { loom: &[(2, Some(3), Some(20_000)), (3, Some(3), Some(2_000))], ..BOUNDS };
    explore::check_within(bounds, |threads| {
        let model = model(threads);
        explore::all(threads, move |core| {
            let mut ctx = model.ctx(core);
            let inside = ctx.enter();
            let tree = model.tree.header(&inside);
            if core == 0 {
                let header = tree.expect("it lives");
                assert!(end(&mut ctx, &inside, header));
                model.finish(&mut ctx);
                // Its memory stays while this core is inside.
                let body = header.handle::<Tree>().expect("it is one").body();
                assert!(body.attached.load().is_empty(), "a core attached a tree that ended");
            } else {
                begin(&model, &mut ctx, &inside, core);
                let _ = fault(&mut ctx, &inside, VA, Cause::Read);
                // A program reads what it finds: the translation is known from then on.
                let _ = ctx.local.platform.user_read(VA);
                model.finish(&mut ctx);
                let there = ctx.local.platform.user_read(VA);
                assert!(there.is_err(), "the tree is linked: {there:?}");
                unload(&mut ctx, &inside);
            }
            ctx.leave(inside);
        });
    });
}
