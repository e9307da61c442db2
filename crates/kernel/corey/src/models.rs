//! Models of waits: two cores that halt each other, and words that change.

use crate::system::System;
use crate::waiting;
use corey_abi::{Home, Name};
use corey_kernel_hal::{CoreId, PAGE_SIZE};
use corey_kernel_object::{Ctx, Link, World};
use corey_kernel_pcore::halt;
use corey_kernel_percore::{Message, MessageKind, ObjectWords};
use corey_kernel_segment::{PageSize, Segment, Want};
use corey_lib_sync::explore::{self, Bounds};
use corey_test_hal_host::{FakeMachine, FakePlatform};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

struct Model {
    machine: FakeMachine,
    world: &'static World,
    segment: Link,
    /// Cores that are not done: the others serve them.
    busy: AtomicUsize,
}

impl Model {
    fn ctx(&self, core: usize) -> Ctx<FakePlatform> {
        Ctx::new(self.machine.platform(core as u16), self.world, System::hooks())
    }
}

fn model(cores: usize) -> Arc<Model> {
    let machine = FakeMachine::new(cores, cores as u64 * 4 * PAGE_SIZE, &[]);
    let [world] = explore::keep(vec![World::new(machine.topology(), &mut machine.alloc())]) else {
        unreachable!()
    };
    let mut model = Model { machine, world, segment: Link::NULL, busy: AtomicUsize::new(cores) };
    let mut ctx = model.ctx(0);
    let inside = ctx.enter();
    let segment = Segment::new(CoreId(0), PageSize::Small, 1);
    let segment = ctx.create(&inside, Home::Any, &Name::new("words"), 0, segment).expect("memory enough");
    assert!(Segment::page(segment, &mut ctx, &inside, 0, Want::Write).is_ok());
    for core in 0..cores {
        segment.header().seen().insert(CoreId(core as u16));
    }
    model.segment = segment.link();
    ctx.leave(inside);
    Arc::new(model)
}

/// Cores halt each other in a ring: every wait ends, and whoever was told that the other one halted is right.
#[test]
fn cores_that_halt_each_other_all_return() {
    explore::check_within(Bounds::SPINS, |threads| {
        let model = model(threads);
        let halted: Arc<Vec<_>> = Arc::new((0..threads).map(|_| AtomicUsize::new(0)).collect());
        explore::all(threads, move |core| {
            let mut ctx = model.ctx(core);
            let inside = ctx.enter();
            let next = (core + 1) % threads;
            let message = Message { kind: MessageKind::Halt, object: ObjectWords::NULL, words: [1; 2] };
            let result = halt(&mut ctx, CoreId(next as u16), message);
            if result.is_ok() && !ctx.local.halt_pending {
                assert_eq!(halted[next].load(Ordering::SeqCst), 1, "answered before it halted");
            }
            // The kernel exit: what was noted is done, then answered, until nobody asks any more.
            model.busy.fetch_sub(1, Ordering::SeqCst);
            while model.busy.load(Ordering::SeqCst) > 0 || !ctx.local.deferred.is_empty() {
                ctx.local.serve_mailbox();
                let senders = core::mem::take(&mut ctx.local.deferred);
                for sender in senders.iter() {
                    let mailbox = &ctx.local.own().mailbox;
                    let noted = mailbox.reread(sender).expect("it was noted, and not answered");
                    assert_eq!(noted.kind, MessageKind::Halt);
                    halted[core].store(1, Ordering::SeqCst);
                    mailbox.answer(sender, 0);
                }
                explore::yield_now();
            }
            ctx.leave(inside);
        });
    });
}

/// Cores wait for a word that one changes: each finds it changed, or is woken.
#[test]
fn who_waits_for_a_change_is_woken() {
    explore::check_within(Bounds::SPINS, |threads| {
        let model = model(threads);
        explore::all(threads, move |core| {
            let mut ctx = model.ctx(core);
            let inside = ctx.enter();
            let segment = model.segment.resolve::<Segment>(&inside).expect("it lives");
            if core == 0 {
                Segment::write(segment, &mut ctx, &inside, 8, &1_u64.to_le_bytes()).expect("it has a page");
                waiting::wake(&mut ctx, CoreId(0), segment.link(), Some(8));
            } else {
                waiting::begin(&mut ctx, &inside, segment, 8, 0).expect("it has a page");
                // What the core sleeps in: interrupts end it, and their service wakes it.
                while !ctx.local.running.woken {
                    explore::yield_now();
                    ctx.local.serve_mailbox();
                }
            }
            model.busy.fetch_sub(1, Ordering::SeqCst);
            while model.busy.load(Ordering::SeqCst) > 0 {
                explore::yield_now();
                ctx.local.serve_mailbox();
            }
            ctx.leave(inside);
        });
    });
}
