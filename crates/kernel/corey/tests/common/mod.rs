//! What the tests of whole kernels share.
#![allow(dead_code, unreachable_pub, reason = "each test file uses its part")]

pub mod memory;

use corey_abi::{
    AddressTreeCalls, AuditReport, Error, Home, Id, Kinds, MachineCalls, MapFlags, Mapping, Name, ObjRef,
    PcoreCalls, Plain, RunContext, SegmentCalls, ShareCalls, TreeTable, UserPtr, grain, mapping_kind,
    tree_kind,
};
use corey_kernel_corey::System;
use corey_test_e1000_model::Card;
use corey_test_hal_host::{Archive, Booted, FakeMachine, FakePlatform, Left, User};
use corey_test_plugged::plug;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

/// A machine of `cores` cores with 16 MiB and more, booted into the first program.
pub fn boot(cores: usize) -> Booted {
    boot_with(cores, (16 << 20) + cores as u64 * (1 << 20))
}

/// As [`boot`], with `bytes` of memory.
pub fn boot_with(cores: usize, bytes: u64) -> Booted {
    boot_as(cores, bytes, "")
}

/// As [`boot_with`], with words on the command line.
pub fn boot_as(cores: usize, bytes: u64, words: &str) -> Booted {
    FakeMachine::new(cores, bytes, &[])
        .boot::<System<FakePlatform>>(Some(Archive::with_init().bytes()), words)
}

/// As [`boot`], with a network card: the card's cable, and how often it wrote RAM.
pub fn boot_plugged(cores: usize) -> (Booted, Card, Arc<AtomicU64>) {
    let mut outside = None;
    let bytes = (16 << 20) + cores as u64 * (1 << 20);
    let archive = Archive::with_init().bytes();
    let booted =
        FakeMachine::new(cores, bytes, &[]).boot_with::<System<FakePlatform>>(Some(archive), "", |machine| {
            let (driver, card, writes) = plug(machine);
            outside = Some((card, writes));
            vec![driver]
        });
    let (card, writes) = outside.expect("it was plugged in");
    (booted, card, writes)
}

/// What the first program starts with.
#[derive(Clone, Copy, Debug)]
pub struct Start {
    pub boot: Id,
    pub tree: ObjRef,
    pub pcore: ObjRef,
}

pub fn start(user: &User<'_>) -> Start {
    let [_, boot, tree, pcore, ..] = user.context().args;
    let boot = Id(boot);
    Start {
        boot,
        tree: ObjRef { share: boot, object: Id(tree) },
        pcore: ObjRef { share: boot, object: Id(pcore) },
    }
}

/// Where the program keeps what calls point to: a page of its stack.
fn scratch(user: &User<'_>) -> u64 {
    user.context().stack - 8192
}

/// Puts `value` into the program's memory.
pub fn put(user: &mut User<'_>, value: &impl Plain) -> UserPtr {
    let at = scratch(user);
    let put = try_put(user, value);
    // A program that was halted meanwhile has no memory, and its next call no answer.
    assert!(put.is_ok() || user.has_left(), "the stack is mapped");
    UserPtr(at)
}

/// Puts `value` into the program's memory, unless the program ends meanwhile.
pub fn try_put(user: &mut User<'_>, value: &impl Plain) -> Result<UserPtr, Left> {
    let at = scratch(user);
    let mut bytes = vec![0; 2048];
    value.to_bytes(&mut bytes);
    let words: Vec<u64> = bytes.chunks(8).map(|c| u64::from_le_bytes(c.try_into().expect("eight"))).collect();
    user.write_all(at, &words)?;
    Ok(UserPtr(at))
}

/// Takes a value out of the program's memory.
pub fn take<T: Plain>(user: &mut User<'_>) -> T {
    let at = scratch(user);
    let words: Vec<u64> = (0..256).map(|i| user.read(at + 8 * i).expect("the stack is mapped")).collect();
    let bytes: Vec<u8> = words.iter().flat_map(|w| w.to_le_bytes()).collect();
    T::from_bytes(&bytes).expect("room enough")
}

pub fn name(user: &mut User<'_>, text: &str) -> UserPtr {
    put(user, &Name::new(text).0)
}

pub fn share(user: &mut User<'_>, parent: Id, pages: u64, objects: u64) -> Result<Id, Error> {
    let at = name(user, "share");
    user.sys().share_alloc(parent, Kinds::all(), pages, objects, Home::Any, at)
}

pub fn segment(user: &mut User<'_>, share: Id, pages: u64) -> Result<ObjRef, Error> {
    let at = name(user, "segment");
    let object = user.sys().segment_alloc(share, pages * 4096, Home::Any, 0, at)?;
    Ok(ObjRef { share, object })
}

pub fn interior(user: &mut User<'_>, share: Id) -> Result<ObjRef, Error> {
    let at = name(user, "interior");
    let object = user.sys().at_alloc(share, tree_kind::INTERIOR, grain::GIB1, Home::Any, at)?;
    Ok(ObjRef { share, object })
}

pub fn root(user: &mut User<'_>, share: Id) -> Result<ObjRef, Error> {
    let at = name(user, "root");
    let object = user.sys().at_alloc(share, tree_kind::ROOT, 0, Home::Any, at)?;
    Ok(ObjRef { share, object })
}

pub fn map(
    user: &mut User<'_>,
    tree: ObjRef,
    slot: u64,
    segment: ObjRef,
    va: u64,
    pages: u64,
) -> Result<(), Error> {
    map_as(user, tree, slot, segment, va, pages, MapFlags::WRITE)
}

/// Maps the first page of `segment`.
pub fn read_only(
    user: &mut User<'_>,
    tree: ObjRef,
    slot: u64,
    segment: ObjRef,
    va: u64,
) -> Result<(), Error> {
    map_as(user, tree, slot, segment, va, 1, MapFlags::empty())
}

fn map_as(
    user: &mut User<'_>,
    tree: ObjRef,
    slot: u64,
    segment: ObjRef,
    va: u64,
    pages: u64,
    flags: MapFlags,
) -> Result<(), Error> {
    let mapping = Mapping {
        kind: mapping_kind::SEGMENT,
        flags: flags.bits(),
        object: segment,
        va,
        npages: pages,
        ..Mapping::default()
    };
    let at = put(user, &mapping);
    user.sys().at_set_slot(tree, slot, at)
}

pub fn link(user: &mut User<'_>, tree: ObjRef, slot: u64, interior: ObjRef, va: u64) -> Result<(), Error> {
    let mapping = Mapping { kind: mapping_kind::INTERIOR, object: interior, va, ..Mapping::default() };
    let at = put(user, &mapping);
    user.sys().at_set_slot(tree, slot, at)
}

pub fn clear(user: &mut User<'_>, tree: ObjRef, slot: u64) -> Result<(), Error> {
    let at = put(user, &Mapping::default());
    user.sys().at_set_slot(tree, slot, at)
}

/// Where threads of these tests have their stack, and what they share.
pub const STACK: u64 = 0x7000_0000_0000;

/// A pcore on `core` with a root tree and a stack, in a share of its own.
#[derive(Clone, Copy, Debug)]
pub struct Thread {
    pub share: Id,
    pub pcore: ObjRef,
    pub tree: ObjRef,
}

pub fn thread(user: &mut User<'_>, boot: Id, core: u64) -> Result<Thread, Error> {
    thread_with(user, boot, core, 500)
}

/// [`thread`], with a share that leaves the machine's memory to others.
pub fn small_thread(user: &mut User<'_>, boot: Id, core: u64) -> Thread {
    thread_with(user, boot, core, 40).expect("forty pages, and a free core")
}

/// As [`thread`], in a share of `pages` pages.
pub fn thread_with(user: &mut User<'_>, boot: Id, core: u64, pages: u64) -> Result<Thread, Error> {
    let share = share(user, boot, pages, 50)?;
    let at = name(user, "thread");
    let object = user.sys().pcore_alloc(share, core, at)?;
    let tree = root(user, share)?;
    let stack = segment(user, share, 4)?;
    map(user, tree, 0, stack, STACK, 4)?;
    Ok(Thread { share, pcore: ObjRef { share, object }, tree })
}

pub fn run(user: &mut User<'_>, thread: Thread, more: &[Id]) -> Result<(), Error> {
    run_with(user, thread, |context| {
        context.nshares += more.len() as u64;
        context.shares.iter_mut().skip(1).zip(more).for_each(|(to, from)| *to = *from);
    })
}

/// Ends a share that core 0 made.
pub fn end(user: &mut User<'_>, parent: Id, share: Id) {
    user.sys().share_delobj(ObjRef { share: parent, object: share }).expect("named by its parent");
    user.sys().self_drop(share).expect("held");
}

/// The kernel's books balance. Says how many objects there are.
pub fn audit(booted: &Booted) -> u64 {
    let report = booted.on(0, |user| {
        let boot = start(user).boot;
        let at = put(user, &[0_u64; 8]);
        user.sys().audit(boot, at).expect("the boot share is held");
        take::<AuditReport>(user)
    });
    let known = report.owned + report.free + report.limbo + report.quarantined;
    assert_eq!(report.frames, known, "{report:?}");
    assert_eq!(report.errors, 0, "{report:?}");
    report.objects
}

/// As [`run`], with a context that `change` changes.
pub fn run_with(
    user: &mut User<'_>,
    thread: Thread,
    change: impl FnOnce(&mut RunContext),
) -> Result<(), Error> {
    let mut context = RunContext {
        tree: thread.tree,
        nshares: 1,
        entry: 0x40_0000,
        stack: STACK + 4 * 4096,
        ..RunContext::default()
    };
    context.shares[0] = thread.share;
    change(&mut context);
    let at = put(user, &context);
    user.sys().pcore_run(thread.pcore, at)
}

/// Where tests map things, and where handlers of upcalls begin.
pub const VA: u64 = 0x6000_0000_0000;
pub const GIB: u64 = 1 << 30;
pub const HANDLER: u64 = 0x50_0000;

/// Sets a handler in a root that may run anywhere: its stack is the first page of what lies at `VA`, the masked word
/// comes behind it. `table` is memory of the caller's for `count` mappings: the whole table is read and set again.
/// Returns the stack and the word.
pub fn set_handler(user: &mut User<'_>, tree: ObjRef, (table, count): (u64, u64)) -> (u64, u64) {
    let (stack, masked) = (VA + 4096, VA + 4096);
    let at = put(user, &TreeTable { mappings: table, count, ..TreeTable::default() });
    user.sys().at_get(tree, at).unwrap();
    let had = take::<TreeTable>(user);
    let at = put(user, &TreeTable { handler: HANDLER, stack, masked, ..had });
    user.sys().at_set(tree, at).unwrap();
    (stack, masked)
}
