//! Cores taken, run and halted: by others, by themselves, and by losing their pcore.

use crate::common::*;
use crate::{conform, same};
use corey_abi::{Id, ObjRef, PcoreCalls, RunContext, ShareCalls, reason};
use corey_test_hal_host::{Booted, User};
use corey_test_model::ModelPcores;
use proptest::prelude::*;

type Pick = prop::sample::Index;

#[derive(Clone, Debug)]
enum Step {
    Alloc(usize),
    Run(Pick, usize, usize),
    Halt(Pick, u32),
    HaltItself(Pick, u32),
    Interval(Pick, u64),
    Remove(Pick),
    Status(usize),
}

const CORES: usize = 4;
/// Root trees that runs choose from.
const TREES: usize = 5;
/// Status places.
const PLACES: usize = 6;
/// Newest pcores that steps choose from.
const RECENT: usize = 6;
/// Where the asker sees the status places.
const STATUS: u64 = 0x6000_0000_0000;

fn step() -> impl Strategy<Value = Step> {
    let pick = any::<Pick>;
    prop_oneof![
        // The last does not exist.
        30 => (0..=CORES).prop_map(Step::Alloc),
        60 => (pick(), 0..TREES, 0..PLACES).prop_map(|(p, t, s)| Step::Run(p, t, s)),
        30 => (pick(), any::<u32>()).prop_map(|(p, v)| Step::Halt(p, v)),
        1 => (pick(), any::<u32>()).prop_map(|(p, v)| Step::HaltItself(p, v)),
        15 => (pick(), prop_oneof![Just(0), Just(9_999), Just(1 << 40)])
            .prop_map(|(p, n)| Step::Interval(p, n)),
        15 => pick().prop_map(Step::Remove),
        30 => (0..PLACES).prop_map(Step::Status),
    ]
}

#[derive(Clone)]
struct World {
    share: Id,
    pcores: Vec<ObjRef>,
    /// The core of each pcore.
    cores: Vec<usize>,
    trees: [ObjRef; TREES],
    status: ObjRef,
    model: ModelPcores,
}

impl World {
    fn new(user: &mut User<'_>) -> Self {
        let first = start(user);
        let share = share(user, first.boot, 1000, 64).expect("quota enough");
        let status = segment(user, share, 1).expect("quota enough");
        map(user, first.tree, 100, status, STATUS, 1).expect("free addresses");
        let stack = segment(user, share, 4).expect("quota enough");
        let trees = [(); TREES].map(|()| {
            let tree = root(user, share).expect("quota enough");
            map(user, tree, 0, stack, STACK, 4).expect("free addresses");
            tree
        });
        let model = ModelPcores::new(CORES, PLACES);
        Self { share, pcores: vec![first.pcore], cores: vec![0], trees, status, model }
    }

    /// One of the newest pcores but the asker's own.
    fn pcore(&self, pick: Pick) -> Option<usize> {
        let first = self.pcores.len().saturating_sub(RECENT).max(1);
        let count = self.pcores.len() - first;
        (count > 0).then(|| first + pick.index(count))
    }

    /// What place `place` says, once it is not `RUNNING` any more where the model says so: the status is written
    /// when the target holds nothing of the run any more, after whoever ended it was answered.
    fn told(&self, user: &mut User<'_>, place: usize) -> (u32, u32) {
        let over = self.model.status(place).0 != reason::RUNNING;
        loop {
            let word = user.read(STATUS + place as u64 * 16).expect("the page is mapped");
            if !over || word as u32 != reason::RUNNING {
                return (word as u32, (word >> 32) as u32);
            }
            std::thread::yield_now();
        }
    }
}

/// On core 0.
fn step_at(user: &mut User<'_>, world: &mut World, step: &Step) -> Result<(), String> {
    match *step {
        Step::Alloc(core) => {
            let text = name(user, "pcore");
            let got = user.sys().pcore_alloc(world.share, core as u64, text);
            if let Ok(object) = got {
                world.pcores.push(ObjRef { share: world.share, object });
                world.cores.push(core);
            }
            same(step, got.map(|_| world.pcores.len() - 1), world.model.alloc(core))
        }
        Step::Run(pick, tree, place) => {
            let Some(pcore) = world.pcore(pick) else { return Ok(()) };
            // A place reports one run at a time.
            if world.model.is_reporting(place) {
                return Ok(());
            }
            same(step, world.told(user, place), world.model.status(place))?;
            let mut context = RunContext {
                tree: world.trees[tree],
                nshares: 1,
                entry: 0x40_0000,
                stack: STACK + 4 * 4096,
                status: world.status,
                status_offset: place as u64 * 16,
                ..RunContext::default()
            };
            context.shares[0] = world.share;
            let at = put(user, &context);
            same(step, user.sys().pcore_run(world.pcores[pcore], at), world.model.run(pcore, tree, place))
        }
        Step::Halt(pick, value) => {
            let Some(pcore) = world.pcore(pick) else { return Ok(()) };
            let got = user.sys().pcore_halt(world.pcores[pcore], value.into());
            same(step, got, world.model.halt(pcore, reason::HALTED_BY_OTHER, value))
        }
        Step::Interval(pick, nanoseconds) => {
            let Some(pcore) = world.pcore(pick) else { return Ok(()) };
            let got = user.sys().pcore_set_interval(world.pcores[pcore], nanoseconds);
            same(step, got, world.model.interval(pcore, nanoseconds))
        }
        Step::Remove(pick) => {
            let Some(pcore) = world.pcore(pick) else { return Ok(()) };
            same(step, user.sys().share_delobj(world.pcores[pcore]), world.model.remove(pcore))
        }
        Step::Status(place) => same(step, world.told(user, place), world.model.status(place)),
        Step::HaltItself(..) => Ok(()),
    }
}

/// Lets a running pcore halt itself, and waits for its word.
fn halt_itself(booted: &Booted, world: &mut World, pick: Pick, value: u32) -> Result<(), String> {
    let Some(pcore) = world.pcore(pick).filter(|pcore| world.model.runs(*pcore)) else { return Ok(()) };
    let Some(place) = world.model.place(pcore) else { return Ok(()) };
    world.model.halt(pcore, reason::HALTED, value).map_err(|e| format!("the model does not halt: {e:?}"))?;
    let own = world.pcores[pcore];
    booted.on(world.cores[pcore] as u16, move |user| {
        let _ = user.sys().pcore_halt(own, value.into());
    });
    let wanted = world.model.status(place);
    let reader = world.clone();
    booted.on(0, move |user| same(&"a halt", reader.told(user, place), wanted))
}

#[test]
fn pcores_run_and_halt_as_the_model() {
    conform(file!(), "pcores", step(), |steps| {
        let booted = boot(CORES);
        let mut world = booted.on(0, World::new);
        for part in steps.split_inclusive(|step| matches!(step, Step::HaltItself(..))) {
            let (mut before, these) = (world, part.to_vec());
            world = booted.on(0, move |user| {
                these.iter().try_for_each(|step| step_at(user, &mut before, step)).map(|()| before)
            })?;
            if let Some(Step::HaltItself(pick, value)) = part.last() {
                halt_itself(&booted, &mut world, *pick, *value)?;
            }
        }
        booted.on(0, move |user| {
            let boot = start(user).boot;
            end(user, boot, world.share);
        });
        audit(&booted);
        Ok(())
    });
}
