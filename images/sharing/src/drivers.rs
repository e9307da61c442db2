//! The drivers: how each case is prepared, done once between its markers, and undone.

use crate::files::{Operation, Place, System, done};
use crate::ground::{Ground, touch};
use crate::objects::one_page;
use core::sync::atomic::{AtomicU64, Ordering};
use corey_abi::{
    AddressTreeCalls, DeviceCalls, Error, Home, Id, Kinds, MachineCalls, Mapping, ObjRef, ObjectCalls,
    PAGE_BYTES, PcoreCalls, SegmentCalls, ShareCalls, buffer_op, control, copy_mode, counter, grain,
    tree_kind,
};
use corey_lib_bench::Kind;
use corey_lib_sharing::Case;
use corey_libos_rt::sys::{marker, pause, sys};
use corey_libos_rt::vm::Ended;

/// Whether a case went as it must.
type Done = Result<(), Error>;

/// Marks `$call` as the operation of `$case`.
macro_rules! measured {
    ($case:ident, $call:expr) => {{
        marker::<{ Case::$case.id() }, { Kind::Begin as u32 }>();
        let result = $call;
        marker::<{ Case::$case.id() }, { Kind::End as u32 }>();
        result
    }};
}

/// Slot of trees other than the worker's own.
const SLOT: u64 = 1;
/// Where the interior tree maps something.
const OFFSET: u64 = 4 << 20;
/// Value of a run that ends by itself.
const ENDED: u32 = 5;
/// Value of one that is halted.
const HALTED: u64 = 6;

/// Does `case` once.
pub(crate) fn run(case: Case, g: &Ground, files: &mut System, place: &Place) -> Done {
    let o = &g.objects;
    match case {
        Case::FileRead => {
            let mut file = Operation::new(files, place);
            done(measured!(FileRead, file.read()))
        }
        Case::FileWrite => {
            let mut file = Operation::new(files, place);
            done(measured!(FileWrite, file.write()))
        }
        Case::FileWritePart => {
            let mut file = Operation::new(files, place);
            done(measured!(FileWritePart, file.write_part()))
        }
        Case::FileOpen => {
            let mut file = Operation::new(files, place);
            done(measured!(FileOpen, file.open_and_close()))
        }
        Case::ObjGetName => measured!(ObjGetName, sys().obj_get_name(o.segment, g.buffer())),
        Case::ShareAlloc => share_alloc(g),
        Case::ShareAddobj => {
            measured!(ShareAddobj, sys().share_addobj(o.other, o.segment))?;
            sys().share_delobj(ObjRef { share: o.other, ..o.segment })
        }
        Case::ShareDelobj => share_delobj(g),
        Case::ShareDelobjName => {
            sys().share_addobj(o.other, o.segment)?;
            let named = ObjRef { share: o.other, ..o.segment };
            measured!(ShareDelobjName, sys().share_delobj(named))
        }
        Case::ShareDelobjTree => {
            let object = sys().at_alloc(o.share, tree_kind::ROOT, 0, Home::Any, g.name())?;
            let tree = ObjRef { share: o.share, object };
            measured!(ShareDelobjTree, sys().share_delobj(tree))
        }
        Case::SelfDrop => {
            let share = sys().share_alloc(o.share, Kinds::all(), 4, 4, Home::Any, g.name())?;
            sys().share_delobj(ObjRef { share: o.share, object: share })?;
            measured!(SelfDrop, sys().self_drop(share))
        }
        Case::SegmentAlloc => {
            let made =
                measured!(SegmentAlloc, sys().segment_alloc(o.share, PAGE_BYTES, Home::Any, 0, g.name()))?;
            sys().share_delobj(ObjRef { share: o.share, object: made })
        }
        Case::SegmentCopy => {
            let mode = copy_mode::NOW;
            let made =
                measured!(SegmentCopy, sys().segment_copy(o.segment, o.share, mode, Home::Any, g.name()))?;
            undo_copy(g, made)
        }
        Case::SegmentCopyWrite => {
            let mode = copy_mode::ON_WRITE;
            let made = measured!(
                SegmentCopyWrite,
                sys().segment_copy(o.segment, o.share, mode, Home::Any, g.name())
            )?;
            undo_copy(g, made)
        }
        Case::SegmentCopyReference => {
            let mode = copy_mode::ON_REFERENCE;
            let made = measured!(
                SegmentCopyReference,
                sys().segment_copy(o.segment, o.share, mode, Home::Any, g.name())
            )?;
            undo_copy(g, made)
        }
        Case::SegmentGetNbytes => {
            measured!(SegmentGetNbytes, sys().segment_get_nbytes(o.segment)).map(|_| ())
        }
        Case::SegmentGrow => {
            measured!(SegmentGrow, sys().segment_set_nbytes(o.growing, 2 * PAGE_BYTES))?;
            sys().segment_set_nbytes(o.growing, PAGE_BYTES)
        }
        Case::SegmentShrink => {
            sys().segment_set_nbytes(o.growing, 2 * PAGE_BYTES)?;
            touch(g.growing_va + PAGE_BYTES);
            measured!(SegmentShrink, sys().segment_set_nbytes(o.growing, PAGE_BYTES))
        }
        Case::AtAlloc => {
            let made = measured!(AtAlloc, sys().at_alloc(o.share, tree_kind::ROOT, 0, Home::Any, g.name()))?;
            sys().share_delobj(ObjRef { share: o.share, object: made })
        }
        Case::AtAllocInterior => {
            let (kind, grain) = (tree_kind::INTERIOR, grain::MIB2);
            let made = measured!(AtAllocInterior, sys().at_alloc(o.share, kind, grain, Home::Any, g.name()))?;
            sys().share_delobj(ObjRef { share: o.share, object: made })
        }
        Case::AtGet => {
            let table = g.table(4);
            measured!(AtGet, sys().at_get(o.tree, table))
        }
        Case::AtSet => {
            let table = g.table(1);
            measured!(AtSet, sys().at_set(o.blank, table))?;
            sys().at_set(o.blank, g.table(0))
        }
        Case::AtSetSlot => {
            let mapping = g.mapping(one_page(o.page, 2 << 30));
            measured!(AtSetSlot, sys().at_set_slot(o.blank, SLOT, mapping))?;
            sys().at_set_slot(o.blank, SLOT, g.mapping(Mapping::default()))
        }
        Case::AtSetSlotMap => {
            let mapping = g.mapping(one_page(o.page, g.hole));
            measured!(AtSetSlotMap, sys().at_set_slot(g.root, g.slot, mapping))?;
            g.set(Mapping::default())
        }
        Case::AtSetSlotUnmap => {
            g.set(one_page(o.page, g.hole))?;
            touch(g.hole);
            let mapping = g.mapping(Mapping::default());
            measured!(AtSetSlotUnmap, sys().at_set_slot(g.root, g.slot, mapping))
        }
        Case::AtSetSlotInterior => {
            sys().at_set_slot(o.interior, SLOT, g.mapping(one_page(o.page, OFFSET)))?;
            touch(g.linked + OFFSET);
            let mapping = g.mapping(Mapping::default());
            measured!(AtSetSlotInterior, sys().at_set_slot(o.interior, SLOT, mapping))
        }
        Case::AtSetSlotLink => {
            let mapping = g.mapping(g.link(o.loose));
            measured!(AtSetSlotLink, sys().at_set_slot(g.root, g.slot, mapping))?;
            g.set(Mapping::default())
        }
        Case::PcoreAlloc => {
            let (share, core) = (o.target.share, u64::from(o.target.core));
            let made = measured!(PcoreAlloc, sys().pcore_alloc(share, core, g.name()))?;
            sys().share_delobj(ObjRef { share, object: made })
        }
        Case::PcoreCurrent => measured!(PcoreCurrent, sys().pcore_current()).map(|_| ()),
        Case::PcoreRun => pcore_run(g),
        Case::PcoreAddDevice => {
            with_device(g, |device| measured!(PcoreAddDevice, sys().pcore_add_device(g.pcore, device)))
        }
        Case::PcoreSetInterval => {
            measured!(PcoreSetInterval, sys().pcore_set_interval(g.pcore, 1_000_000_000))?;
            sys().pcore_set_interval(g.pcore, 0)
        }
        Case::PcoreHalt => pcore_halt(g),
        Case::PcoreHaltSelf => pcore_halt_self(g),
        Case::DeviceList => measured!(DeviceList, sys().device_list(0, g.buffer(), 1)).map(|_| ()),
        Case::DeviceAlloc => device_alloc(g),
        Case::DeviceStatCard => {
            let to = g.buffer();
            measured!(DeviceStatCard, sys().device_stat(o.card()?, to))
        }
        Case::DeviceBufOut => {
            let card = o.card()?;
            g.frame();
            measured!(DeviceBufOut, sys().device_buf(card, buffer_op::OUT, o.text, 0))?;
            g.take_frame()
        }
        Case::DeviceBufIn => {
            let card = g.card_with_room()?;
            g.frame();
            measured!(DeviceBufIn, sys().device_buf(card, buffer_op::IN, o.text, 0))
        }
        Case::DeviceBufPoll => {
            let card = o.card()?;
            g.frame();
            sys().device_buf(card, buffer_op::OUT, o.text, 0)?;
            measured!(DeviceBufPoll, sys().device_buf(card, buffer_op::POLL, ObjRef::default(), 0))?;
            g.take_frame()
        }
        Case::ShareDelobjPosted => {
            let page = new_page(g)?;
            g.set(one_page(page, g.hole))?;
            g.frame_at(g.hole);
            sys().device_buf(o.card()?, buffer_op::OUT, page, 0)?;
            g.take_frame_at(g.hole)?;
            g.set(Mapping::default())?;
            measured!(ShareDelobjPosted, sys().share_delobj(page))
        }
        Case::DeviceStat => with_device(g, |device| {
            let to = g.buffer();
            measured!(DeviceStat, sys().device_stat(device, to))
        }),
        Case::DeviceConf => with_device(g, |device| {
            let from = g.buffer();
            measured!(DeviceConf, sys().device_conf(device, from))
        }),
        Case::DeviceBuf => with_device(g, |device| {
            g.line();
            measured!(DeviceBuf, sys().device_buf(device, buffer_op::OUT, o.text, 0))
        }),
        Case::LocalityGet => {
            let to = g.buffer();
            refused(measured!(LocalityGet, sys().locality_get(u64::from(g.core), to)))
        }
        Case::ShareList => {
            let to = g.buffer();
            measured!(ShareList, sys().share_list(Id::NULL, 0, to, 16)).map(|_| ())
        }
        Case::ShareListNamed => {
            let to = g.buffer();
            measured!(ShareListNamed, sys().share_list(o.share, 0, to, 16)).map(|_| ())
        }
        Case::CoreWait => measured!(CoreWait, sys().core_wait(o.segment, 8, 1, 1_000_000_000)),
        Case::CoreWaitTimeout => {
            match measured!(CoreWaitTimeout, sys().core_wait(o.segment, 8, 0, 20_000)) {
                // It may return early.
                Ok(()) | Err(Error::TimedOut) => Ok(()),
                other => other,
            }
        }
        Case::CoreWake => measured!(CoreWake, sys().core_wake(o.segment, 8)).map(|_| ()),
        Case::MachineInfo => {
            let to = g.buffer();
            measured!(MachineInfo, sys().machine_info(to))
        }
        Case::MachineControl => {
            measured!(MachineControl, sys().machine_control(g.boot, control::LOG_LEVEL, 3))
        }
        Case::Audit => {
            let to = g.buffer();
            measured!(Audit, sys().audit(g.boot, to))
        }
        Case::CoreStat => {
            let to = g.buffer();
            measured!(CoreStat, sys().core_stat(g.pcore, to))
        }
        Case::CoreFence => measured!(CoreFence, sys().core_fence(o.share)),
        Case::CounterRead => measured!(CounterRead, sys().counter_read(counter::SYSCALLS)).map(|_| ()),
        Case::Fault => {
            let page = new_page(g)?;
            g.set(one_page(page, g.hole))?;
            measured!(Fault, touch(g.hole));
            g.set(Mapping::default())?;
            sys().share_delobj(page)
        }
        Case::FaultInterior => {
            let page = new_page(g)?;
            sys().at_set_slot(o.interior, SLOT, g.mapping(one_page(page, OFFSET)))?;
            measured!(FaultInterior, touch(g.linked + OFFSET));
            sys().at_set_slot(o.interior, SLOT, g.mapping(Mapping::default()))?;
            sys().share_delobj(page)
        }
        Case::FaultCopy => {
            let mode = copy_mode::ON_WRITE;
            let made = sys().segment_copy(o.segment, o.share, mode, Home::Any, g.name())?;
            measured!(FaultCopy, touch(g.va));
            sys().share_delobj(ObjRef { share: o.share, object: made })
        }
    }
}

/// What is refused today may work tomorrow: both are a result.
fn refused(result: Done) -> Done {
    match result {
        Err(Error::Unsupported) => Ok(()),
        other => other,
    }
}

fn new_page(g: &Ground) -> Result<ObjRef, Error> {
    let share = g.objects.share;
    let object = sys().segment_alloc(share, PAGE_BYTES, Home::Any, 0, g.name())?;
    Ok(ObjRef { share, object })
}

fn share_alloc(g: &Ground) -> Done {
    let parent = g.objects.share;
    let share = measured!(ShareAlloc, sys().share_alloc(parent, Kinds::all(), 4, 4, Home::Any, g.name()))?;
    sys().share_delobj(ObjRef { share: parent, object: share })?;
    sys().self_drop(share)
}

fn share_delobj(g: &Ground) -> Done {
    let page = new_page(g)?;
    g.set(one_page(page, g.hole))?;
    touch(g.hole);
    measured!(ShareDelobj, sys().share_delobj(page))?;
    g.set(Mapping::default())
}

/// Ends a copy, and makes the page of the segment its own again.
fn undo_copy(g: &Ground, copy: Id) -> Done {
    sys().share_delobj(ObjRef { share: g.objects.share, object: copy })?;
    touch(g.va);
    Ok(())
}

fn pcore_run(g: &Ground) -> Done {
    let pcore = g.pcore()?;
    let context = g.context(ends);
    measured!(PcoreRun, sys().pcore_run(pcore, context))?;
    g.wait_for_end(Ended::Halted(ENDED))?;
    sys().share_delobj(pcore)
}

fn pcore_halt(g: &Ground) -> Done {
    let pcore = g.pcore()?;
    sys().pcore_run(pcore, g.context(spins))?;
    g.wait_for_start();
    measured!(PcoreHalt, sys().pcore_halt(pcore, HALTED))?;
    g.wait_for_end(Ended::HaltedByOther(HALTED as u32))?;
    sys().share_delobj(pcore)
}

/// The operation is the target's; it ends when its processor halts.
fn pcore_halt_self(g: &Ground) -> Done {
    let pcore = g.pcore()?;
    sys().pcore_run(pcore, g.context(last))?;
    g.wait_for_end(Ended::Halted(ENDED))?;
    sys().share_delobj(pcore)
}

/// Ends at once.
extern "C" fn ends(_: u64) -> ! {
    corey_libos_rt::halt(ENDED)
}

/// Says that it runs, and never calls the kernel.
extern "C" fn spins(running: u64) -> ! {
    // SAFETY: `context` passes the address of a word of the stage, which is mapped here too.
    let running = unsafe { &*(running as *const AtomicU64) };
    running.store(1, Ordering::Release);
    loop {
        pause();
    }
}

/// Halts itself, by the name it has for its pcore.
extern "C" fn last(_: u64) -> ! {
    if let Ok(own) = sys().pcore_current() {
        marker::<{ Case::PcoreHaltSelf.id() }, { Kind::BeginLast as u32 }>();
        let _ = sys().pcore_halt(own, u64::from(ENDED));
    }
    corey_libos_rt::halt(ENDED + 1)
}

/// Takes the console; whoever had it before gives it up when it makes something.
fn take_device(g: &Ground) -> Result<ObjRef, Error> {
    let share = g.objects.share;
    loop {
        match sys().device_alloc(share, 0, Home::Any, g.name()) {
            Ok(object) => return Ok(ObjRef { share, object }),
            Err(Error::Busy) => pause(),
            Err(error) => return Err(error),
        }
    }
}

/// Ends `device`, and makes and ends something else: then it is free.
fn leave_device(g: &Ground, device: ObjRef) -> Done {
    sys().share_delobj(device)?;
    sys().share_delobj(new_page(g)?)
}

fn with_device(g: &Ground, work: impl FnOnce(ObjRef) -> Done) -> Done {
    let device = take_device(g)?;
    refused(work(device))?;
    leave_device(g, device)
}

fn device_alloc(g: &Ground) -> Done {
    // It is free, and stays so until the call: workers take turns.
    let device = take_device(g)?;
    leave_device(g, device)?;
    let share = g.objects.share;
    let object = measured!(DeviceAlloc, sys().device_alloc(share, 0, Home::Any, g.name()))?;
    leave_device(g, ObjRef { share, object })
}
