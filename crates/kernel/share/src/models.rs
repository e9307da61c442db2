//! Models of look-ups, references and reclaim.

use crate::Share;
use corey_abi::{Home, Kind, Kinds, Name};
use corey_kernel_hal::{CoreId, Field, PAGE_SIZE};
use corey_kernel_object::{Ctx, Header, Hooks, Link, Object, World};
use corey_kernel_percore::{CoreSet, Delivery};
use corey_lib_sync::explore::{self, Bounds, Guarded};
use corey_test_hal_host::{FakeMachine, FakePlatform};
use std::sync::Arc;

/// An object whose end is seen.
struct Thing(Guarded<u64>);

/// What [`Thing`] holds while it lives, and after its end.
const LIVES: u64 = 7;

impl Object<FakePlatform> for Thing {
    const KIND: Kind = Kind::Device;
    const FIELDS: &'static [Field] = &[];

    fn reclaim(&mut self, _: &mut Ctx<FakePlatform>) {
        self.0.with(|word| assert_eq!(core::mem::take(word), LIVES, "reclaimed twice"));
    }
}

fn hooks() -> Hooks<FakePlatform> {
    Hooks {
        serve: |_, _, _| Delivery::Done(0),
        fault: |_, _, _, _| false,
        revoke: |_, _, _, _, _, _| CoreSet::EMPTY,
        last: |ctx, _, header| ctx.retire(header, CoreSet::EMPTY),
        arguments: |_, _, _, _, _| Err(corey_abi::Error::BadAddress),
        posts: None,
    }
}

struct Model {
    machine: FakeMachine,
    world: &'static World,
    share: Link,
    thing: Link,
}

impl Model {
    fn ctx(&self, core: usize) -> Ctx<FakePlatform> {
        Ctx::new(self.machine.platform(core as u16), self.world, hooks())
    }
}

/// A share that `cores` cores hold, and a thing in it.
fn model(cores: usize) -> Arc<Model> {
    let machine = FakeMachine::new(cores, cores as u64 * 4 * PAGE_SIZE, &[]);
    let [world] = explore::keep(vec![World::new(machine.topology(), &mut machine.alloc())]) else {
        unreachable!()
    };
    let mut model = Model { machine, world, share: Link::NULL, thing: Link::NULL };
    let mut ctx = model.ctx(0);
    let inside = ctx.enter();
    let value = Share::new(CoreId(0), Kinds::all(), Link::NULL, (9, 9));
    let share = ctx.create(&inside, Home::Any, &Name::new("share"), 0, value).expect("memory enough");
    let thing = ctx.create(&inside, Home::Any, &Name::new("thing"), 0, Thing(Guarded::new(LIVES)));
    let thing = thing.expect("memory enough");
    share.charge(&mut ctx, 0, 1).expect("a quota");
    share.insert(&mut ctx, thing.link(), 0).expect("memory enough");
    for core in 0..cores {
        assert!(Share::hold(share, CoreId(core as u16)));
    }
    (model.share, model.thing) = (share.link(), thing.link());
    thing.0.look(|_| ());
    ctx.leave(inside);
    Arc::new(model)
}

fn use_it(header: &Header) {
    let thing = header.handle::<Thing>().expect("it is one");
    thing.0.look(|word| assert_eq!(*word, LIVES, "it was reclaimed under its user"));
}

/// A look-up, a deletion and the reclaim of what was deleted: whoever found the object has it until it leaves the kernel.
#[test]
fn what_is_found_stays_until_its_finder_leaves() {
    let bounds = Bounds { loom: &[(2, None, Some(50_000)), (3, Some(3), Some(20_000))], shuttle: 8 };
    explore::check_within(bounds, |threads| {
        let model = model(threads);
        let all = model.clone();
        explore::all(threads, move |core| {
            let mut ctx = all.ctx(core);
            let inside = ctx.enter();
            let share = all.share.resolve::<Share>(&inside).expect("it is held");
            if core > 0 {
                if let Some(header) = share.find(&ctx.local.platform, &inside, all.thing.id()) {
                    use_it(header);
                }
                ctx.leave(inside);
                return;
            }
            let header = share.remove(&mut ctx, &inside, all.thing.id()).expect("it is named");
            assert!(header.release(), "it was the last reference");
            ctx.retire(header, CoreSet::EMPTY);
            ctx.leave(inside);
            // Others may be inside still.
            let inside = ctx.enter();
            ctx.drain_all();
            ctx.leave(inside);
        });
        let mut ctx = model.ctx(0);
        let inside = ctx.enter();
        ctx.drain_all();
        assert_eq!(ctx.census().1, 0, "it is not reclaimed");
        ctx.leave(inside);
    });
}

/// A reference is added unless there is none left: one of those who release is the last, and nobody has a reference
/// after that.
#[test]
fn a_reference_is_added_unless_there_is_none() {
    explore::check(|threads| {
        let model = model(threads);
        let all = model.clone();
        let ended = explore::all(threads, move |core| {
            let mut ctx = all.ctx(core);
            let inside = ctx.enter();
            let header = all.thing.header(&inside).expect("it lives: nobody killed it");
            let had = core == 0 || header.acquire();
            if had {
                use_it(header);
            }
            let last = had && header.release();
            if last {
                let thing = header.handle::<Thing>().expect("it is one");
                // Alone, and after whatever anybody did with it.
                thing.0.with(|word| *word = 0);
            }
            ctx.leave(inside);
            last
        });
        assert_eq!(ended.into_iter().filter(|last| *last).count(), 1);
    });
}
