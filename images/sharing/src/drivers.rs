//! The drivers: how each case is prepared, done once between its markers, and undone.

use crate::files::{Operation, Place, System, done};
use crate::ground::{Ground, touch};
use crate::objects::one_page;
use crate::way::{ByTrap, Way, sys};
use core::sync::atomic::{AtomicU64, Ordering};
use corey_abi::{
    AddressTreeCalls, DeviceCalls, Error, Home, Id, Kinds, MachineCalls, Mapping, ObjRef, ObjectCalls,
    PAGE_BYTES, PcoreCalls, SegmentCalls, ShareCalls, buffer_op, control, copy_mode, counter, grain,
    tree_kind,
};
use corey_lib_bench::Kind;
use corey_lib_sharing::Case;
use corey_libos_rt::sys::{marker, pause};
use corey_libos_rt::vm::Ended;

/// Whether a case went as it must.
type Done = Result<(), Error>;

/// Marks `$call`, made by `$way`, as the operation of `$case`.
macro_rules! measured {
    ($way:ident, $case:ident, $call:expr) => {{
        marker::<{ Case::$case.id() }, { Kind::Begin as u32 }>();
        let result = $call;
        $way.settle();
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

/// Does `case` once, its calls by `w`; `g` is of that way.
pub(crate) fn run<W: Way>(case: Case, w: &mut W, g: &Ground, files: &mut System, place: &Place) -> Done {
    let o = &g.objects;
    match case {
        Case::FileRead => {
            let mut file = Operation::new(files, place);
            done(measured!(w, FileRead, file.read()))
        }
        Case::FileWrite => {
            let mut file = Operation::new(files, place);
            done(measured!(w, FileWrite, file.write()))
        }
        Case::FileWritePart => {
            let mut file = Operation::new(files, place);
            done(measured!(w, FileWritePart, file.write_part()))
        }
        Case::FileOpen => {
            let mut file = Operation::new(files, place);
            done(measured!(w, FileOpen, file.open_and_close()))
        }
        Case::ObjGetName => measured!(w, ObjGetName, sys(w).obj_get_name(o.segment, g.buffer())),
        Case::ShareAlloc => share_alloc(w, g),
        Case::ShareAddobj => {
            measured!(w, ShareAddobj, sys(w).share_addobj(o.other, o.segment))?;
            sys(w).share_delobj(ObjRef { share: o.other, ..o.segment })
        }
        Case::ShareDelobj => share_delobj(w, g),
        Case::ShareDelobjName => {
            sys(w).share_addobj(o.other, o.segment)?;
            let named = ObjRef { share: o.other, ..o.segment };
            measured!(w, ShareDelobjName, sys(w).share_delobj(named))
        }
        Case::ShareDelobjTree => {
            let object = sys(w).at_alloc(o.share, tree_kind::ROOT, 0, Home::Any, g.name())?;
            let tree = ObjRef { share: o.share, object };
            measured!(w, ShareDelobjTree, sys(w).share_delobj(tree))
        }
        Case::SelfDrop => {
            let share = sys(w).share_alloc(o.share, Kinds::all(), 4, 4, Home::Any, g.name())?;
            sys(w).share_delobj(ObjRef { share: o.share, object: share })?;
            measured!(w, SelfDrop, sys(w).self_drop(share))
        }
        Case::SegmentAlloc => {
            let made = measured!(
                w,
                SegmentAlloc,
                sys(w).segment_alloc(o.share, PAGE_BYTES, Home::Any, 0, g.name())
            )?;
            sys(w).share_delobj(ObjRef { share: o.share, object: made })
        }
        Case::SegmentCopy => {
            let mode = copy_mode::NOW;
            let made = measured!(
                w,
                SegmentCopy,
                sys(w).segment_copy(o.segment, o.share, mode, Home::Any, g.name())
            )?;
            undo_copy(w, g, made)
        }
        Case::SegmentCopyWrite => {
            let mode = copy_mode::ON_WRITE;
            let made = measured!(
                w,
                SegmentCopyWrite,
                sys(w).segment_copy(o.segment, o.share, mode, Home::Any, g.name())
            )?;
            undo_copy(w, g, made)
        }
        Case::SegmentCopyReference => {
            let mode = copy_mode::ON_REFERENCE;
            let made = measured!(
                w,
                SegmentCopyReference,
                sys(w).segment_copy(o.segment, o.share, mode, Home::Any, g.name())
            )?;
            undo_copy(w, g, made)
        }
        Case::SegmentGetNbytes => {
            measured!(w, SegmentGetNbytes, sys(w).segment_get_nbytes(o.segment)).map(|_| ())
        }
        Case::SegmentGrow => {
            measured!(w, SegmentGrow, sys(w).segment_set_nbytes(o.growing, 2 * PAGE_BYTES))?;
            sys(w).segment_set_nbytes(o.growing, PAGE_BYTES)
        }
        Case::SegmentShrink => {
            sys(w).segment_set_nbytes(o.growing, 2 * PAGE_BYTES)?;
            touch(g.growing_va + PAGE_BYTES);
            measured!(w, SegmentShrink, sys(w).segment_set_nbytes(o.growing, PAGE_BYTES))
        }
        Case::AtAlloc => {
            let made =
                measured!(w, AtAlloc, sys(w).at_alloc(o.share, tree_kind::ROOT, 0, Home::Any, g.name()))?;
            sys(w).share_delobj(ObjRef { share: o.share, object: made })
        }
        Case::AtAllocInterior => {
            let (kind, grain) = (tree_kind::INTERIOR, grain::MIB2);
            let made =
                measured!(w, AtAllocInterior, sys(w).at_alloc(o.share, kind, grain, Home::Any, g.name()))?;
            sys(w).share_delobj(ObjRef { share: o.share, object: made })
        }
        Case::AtGet => {
            let table = g.table(4);
            measured!(w, AtGet, sys(w).at_get(o.tree, table))
        }
        Case::AtSet => {
            let table = g.table(1);
            measured!(w, AtSet, sys(w).at_set(o.blank, table))?;
            sys(w).at_set(o.blank, g.table(0))
        }
        Case::AtSetSlot => {
            let mapping = g.mapping(one_page(o.page, 2 << 30));
            measured!(w, AtSetSlot, sys(w).at_set_slot(o.blank, SLOT, mapping))?;
            sys(w).at_set_slot(o.blank, SLOT, g.mapping(Mapping::default()))
        }
        Case::AtSetSlotMap => {
            let mapping = g.mapping(one_page(o.page, g.hole));
            measured!(w, AtSetSlotMap, sys(w).at_set_slot(g.root, g.slot, mapping))?;
            g.set(Mapping::default())
        }
        Case::AtSetSlotUnmap => {
            g.set(one_page(o.page, g.hole))?;
            touch(g.hole);
            let mapping = g.mapping(Mapping::default());
            measured!(w, AtSetSlotUnmap, sys(w).at_set_slot(g.root, g.slot, mapping))
        }
        Case::AtSetSlotInterior => {
            sys(w).at_set_slot(o.interior, SLOT, g.mapping(one_page(o.page, OFFSET)))?;
            touch(g.linked + OFFSET);
            let mapping = g.mapping(Mapping::default());
            measured!(w, AtSetSlotInterior, sys(w).at_set_slot(o.interior, SLOT, mapping))
        }
        Case::AtSetSlotLink => {
            let mapping = g.mapping(g.link(o.loose));
            measured!(w, AtSetSlotLink, sys(w).at_set_slot(g.root, g.slot, mapping))?;
            g.set(Mapping::default())
        }
        Case::PcoreAlloc => {
            let (share, core) = (o.target.share, u64::from(o.target.core));
            let made = measured!(w, PcoreAlloc, sys(w).pcore_alloc(share, core, g.name()))?;
            sys(w).share_delobj(ObjRef { share, object: made })
        }
        Case::PcoreCurrent => measured!(w, PcoreCurrent, sys(w).pcore_current()).map(|_| ()),
        Case::PcoreRun => pcore_run(w, g),
        Case::PcoreAddDevice => with_device(w, g, |w, device| {
            measured!(w, PcoreAddDevice, sys(w).pcore_add_device(g.pcore, device))
        }),
        Case::PcoreSetInterval => {
            measured!(w, PcoreSetInterval, sys(w).pcore_set_interval(g.pcore, 1_000_000_000))?;
            sys(w).pcore_set_interval(g.pcore, 0)
        }
        Case::PcoreHalt => pcore_halt(w, g),
        Case::PcoreHaltSelf => pcore_halt_self(w, g),
        Case::DeviceList => measured!(w, DeviceList, sys(w).device_list(0, g.buffer(), 1)).map(|_| ()),
        Case::DeviceAlloc => device_alloc(w, g),
        Case::DeviceStatCard => {
            let to = g.buffer();
            measured!(w, DeviceStatCard, sys(w).device_stat(o.card()?, to))
        }
        Case::DeviceBufOut => {
            let card = o.card()?;
            g.frame();
            measured!(w, DeviceBufOut, sys(w).device_buf(card, buffer_op::OUT, o.text, 0))?;
            g.take_frame()
        }
        Case::DeviceBufIn => {
            let card = g.card_with_room()?;
            g.frame();
            measured!(w, DeviceBufIn, sys(w).device_buf(card, buffer_op::IN, o.text, 0))
        }
        Case::DeviceBufPoll => {
            let card = o.card()?;
            g.frame();
            sys(w).device_buf(card, buffer_op::OUT, o.text, 0)?;
            measured!(w, DeviceBufPoll, sys(w).device_buf(card, buffer_op::POLL, ObjRef::default(), 0))?;
            g.take_frame()
        }
        Case::ShareDelobjPosted => {
            let page = new_page(w, g)?;
            g.set(one_page(page, g.hole))?;
            g.frame_at(g.hole);
            sys(w).device_buf(o.card()?, buffer_op::OUT, page, 0)?;
            g.take_frame_at(g.hole)?;
            g.set(Mapping::default())?;
            measured!(w, ShareDelobjPosted, sys(w).share_delobj(page))
        }
        Case::DeviceStat => with_device(w, g, |w, device| {
            let to = g.buffer();
            measured!(w, DeviceStat, sys(w).device_stat(device, to))
        }),
        Case::DeviceConf => with_device(w, g, |w, device| {
            let from = g.buffer();
            measured!(w, DeviceConf, sys(w).device_conf(device, from))
        }),
        Case::DeviceBuf => with_device(w, g, |w, device| {
            g.line();
            measured!(w, DeviceBuf, sys(w).device_buf(device, buffer_op::OUT, o.text, 0))
        }),
        Case::LocalityGet => {
            let to = g.buffer();
            refused(measured!(w, LocalityGet, sys(w).locality_get(u64::from(g.core), to)))
        }
        Case::ShareList => {
            let to = g.buffer();
            measured!(w, ShareList, sys(w).share_list(Id::NULL, 0, to, 16)).map(|_| ())
        }
        Case::ShareListNamed => {
            let to = g.buffer();
            measured!(w, ShareListNamed, sys(w).share_list(o.share, 0, to, 16)).map(|_| ())
        }
        Case::CoreWait => measured!(w, CoreWait, sys(w).core_wait(o.segment, 8, 1, 1_000_000_000)),
        Case::CoreWaitTimeout => {
            match measured!(w, CoreWaitTimeout, sys(w).core_wait(o.segment, 8, 0, 20_000)) {
                // It may return early.
                Ok(()) | Err(Error::TimedOut) => Ok(()),
                other => other,
            }
        }
        Case::CoreWake => measured!(w, CoreWake, sys(w).core_wake(o.segment, 8)).map(|_| ()),
        Case::MachineInfo => {
            let to = g.buffer();
            measured!(w, MachineInfo, sys(w).machine_info(to))
        }
        Case::MachineControl => {
            measured!(w, MachineControl, sys(w).machine_control(g.boot, control::LOG_LEVEL, 3))
        }
        Case::Audit => {
            let to = g.buffer();
            measured!(w, Audit, sys(w).audit(g.boot, to))
        }
        Case::CoreStat => {
            let to = g.buffer();
            measured!(w, CoreStat, sys(w).core_stat(g.pcore, to))
        }
        Case::CoreFence => measured!(w, CoreFence, sys(w).core_fence(o.share)),
        Case::CounterRead => measured!(w, CounterRead, sys(w).counter_read(counter::SYSCALLS)).map(|_| ()),
        Case::Fault => {
            let page = new_page(w, g)?;
            g.set(one_page(page, g.hole))?;
            measured!(w, Fault, touch(g.hole));
            g.set(Mapping::default())?;
            sys(w).share_delobj(page)
        }
        Case::FaultInterior => {
            let page = new_page(w, g)?;
            sys(w).at_set_slot(o.interior, SLOT, g.mapping(one_page(page, OFFSET)))?;
            measured!(w, FaultInterior, touch(g.linked + OFFSET));
            sys(w).at_set_slot(o.interior, SLOT, g.mapping(Mapping::default()))?;
            sys(w).share_delobj(page)
        }
        Case::FaultCopy => {
            let mode = copy_mode::ON_WRITE;
            let made = sys(w).segment_copy(o.segment, o.share, mode, Home::Any, g.name())?;
            measured!(w, FaultCopy, touch(g.va));
            sys(w).share_delobj(ObjRef { share: o.share, object: made })
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

fn new_page<W: Way>(w: &mut W, g: &Ground) -> Result<ObjRef, Error> {
    let share = g.objects.share;
    let object = sys(w).segment_alloc(share, PAGE_BYTES, Home::Any, 0, g.name())?;
    Ok(ObjRef { share, object })
}

fn share_alloc<W: Way>(w: &mut W, g: &Ground) -> Done {
    let parent = g.objects.share;
    let share =
        measured!(w, ShareAlloc, sys(w).share_alloc(parent, Kinds::all(), 4, 4, Home::Any, g.name()))?;
    sys(w).share_delobj(ObjRef { share: parent, object: share })?;
    sys(w).self_drop(share)
}

fn share_delobj<W: Way>(w: &mut W, g: &Ground) -> Done {
    let page = new_page(w, g)?;
    g.set(one_page(page, g.passing))?;
    touch(g.passing);
    measured!(w, ShareDelobj, sys(w).share_delobj(page))?;
    g.set(Mapping::default())
}

/// Ends a copy, and makes the page of the segment its own again.
fn undo_copy<W: Way>(w: &mut W, g: &Ground, copy: Id) -> Done {
    sys(w).share_delobj(ObjRef { share: g.objects.share, object: copy })?;
    touch(g.va);
    Ok(())
}

fn pcore_run<W: Way>(w: &mut W, g: &Ground) -> Done {
    let pcore = g.pcore()?;
    let context = g.context(ends);
    measured!(w, PcoreRun, sys(w).pcore_run(pcore, context))?;
    g.wait_for_end(Ended::Halted(ENDED))?;
    sys(w).share_delobj(pcore)
}

fn pcore_halt<W: Way>(w: &mut W, g: &Ground) -> Done {
    let pcore = g.pcore()?;
    sys(w).pcore_run(pcore, g.context(spins))?;
    g.wait_for_start();
    measured!(w, PcoreHalt, sys(w).pcore_halt(pcore, HALTED))?;
    g.wait_for_end(Ended::HaltedByOther(HALTED as u32))?;
    sys(w).share_delobj(pcore)
}

/// The operation is the target's; it ends when its processor halts.
fn pcore_halt_self<W: Way>(w: &mut W, g: &Ground) -> Done {
    let pcore = g.pcore()?;
    sys(w).pcore_run(pcore, g.context(last))?;
    g.wait_for_end(Ended::Halted(ENDED))?;
    sys(w).share_delobj(pcore)
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
    let w = &mut ByTrap;
    if let Ok(own) = sys(w).pcore_current() {
        marker::<{ Case::PcoreHaltSelf.id() }, { Kind::BeginLast as u32 }>();
        let _ = sys(w).pcore_halt(own, u64::from(ENDED));
    }
    corey_libos_rt::halt(ENDED + 1)
}

/// Takes the console; whoever had it before gives it up when it makes something.
fn take_device<W: Way>(w: &mut W, g: &Ground) -> Result<ObjRef, Error> {
    let share = g.objects.share;
    loop {
        match sys(w).device_alloc(share, 0, Home::Any, g.name()) {
            Ok(object) => return Ok(ObjRef { share, object }),
            Err(Error::Busy) => pause(),
            Err(error) => return Err(error),
        }
    }
}

/// Ends `device`, and makes and ends something else: then it is free.
fn leave_device<W: Way>(w: &mut W, g: &Ground, device: ObjRef) -> Done {
    sys(w).share_delobj(device)?;
    let page = new_page(w, g)?;
    sys(w).share_delobj(page)
}

fn with_device<W: Way>(w: &mut W, g: &Ground, work: impl FnOnce(&mut W, ObjRef) -> Done) -> Done {
    let device = take_device(w, g)?;
    refused(work(w, device))?;
    leave_device(w, g, device)
}

fn device_alloc<W: Way>(w: &mut W, g: &Ground) -> Done {
    // It is free, and stays so until the call: workers take turns.
    let device = take_device(w, g)?;
    leave_device(w, g, device)?;
    let share = g.objects.share;
    let object = measured!(w, DeviceAlloc, sys(w).device_alloc(share, 0, Home::Any, g.name()))?;
    leave_device(w, g, ObjRef { share, object })
}
