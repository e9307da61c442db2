//! A ground: objects, and where one worker has them in its address space.

use crate::Shared;
use crate::objects::{ELSEWHERE, Objects, one_page};
use crate::worker::Worker;
use core::sync::atomic::{AtomicU64, Ordering};
use corey_abi::{
    AddressTreeCalls, BufferHeader, DeviceCalls, Error, Id, MapFlags, Mapping, Name, NetworkStat, ObjRef,
    PAGE_BYTES, PcoreCalls, RUN_SHARES, RunContext, TreeTable, UserPtr, buffer_op, mapping_kind, run_mode,
};
use corey_libos_rt::shared;
use corey_libos_rt::sys::{address, address_mut, pause, segment, sys};
use corey_libos_rt::vm::{Ended, Thread};

/// Bytes of a frame.
const FRAME: u32 = 64;
/// Offset of the status in the page of the text.
const STATUS: u64 = 2048;

/// One worker's view of objects.
#[derive(Debug)]
pub(crate) struct Ground {
    pub(crate) stage: Shared,
    pub(crate) objects: Objects,
    /// The key to the machine.
    pub(crate) boot: Id,
    /// The worker's core.
    pub(crate) core: u16,
    /// The worker's pcore, by its own share.
    pub(crate) pcore: ObjRef,
    /// The worker's root tree.
    pub(crate) root: ObjRef,
    /// A slot of it that is free.
    pub(crate) slot: u64,
    /// Addresses for that slot; a GiB.
    pub(crate) hole: u64,
    /// Where `segment` is.
    pub(crate) va: u64,
    /// Where the two pages of `growing` are.
    pub(crate) growing_va: u64,
    /// Where `interior` is linked.
    pub(crate) linked: u64,
    /// Where the text and the status are.
    text_va: u64,
    /// A page of the worker's own, for what calls read and write.
    scratch: u64,
    name: Name,
}

impl Ground {
    /// Maps `objects` for `worker`.
    ///
    /// New objects are named `owner`.
    pub(crate) fn new(worker: &mut Worker, owner: &str, objects: Objects) -> Result<Self, Error> {
        let (stage, core) = (worker.stage(), worker.core());
        let space = &mut worker.space;
        let (va, _) = space.map(objects.segment, 1, MapFlags::WRITE)?;
        let (growing_va, _) = space.map(objects.growing, 2, MapFlags::WRITE)?;
        let (text_va, _) = space.map(objects.text, 1, MapFlags::WRITE)?;
        let memory = segment(worker.share, PAGE_BYTES, "scratch")?;
        let (scratch, _) = space.map(memory, 1, MapFlags::WRITE)?;
        let linked = space.reserve(1 << 30);
        space.link(objects.interior, linked)?;
        let ground = Self {
            stage,
            objects,
            boot: worker.boot,
            core,
            pcore: worker.pcore,
            root: space.tree,
            slot: space.take_slot()?,
            hole: space.reserve(1 << 30),
            va,
            growing_va,
            linked,
            text_va,
            scratch,
            name: Name::new(owner),
        };
        for page in [va, growing_va, text_va, scratch] {
            touch(page);
        }
        Ok(ground)
    }

    /// A name for a new object.
    pub(crate) fn name(&self) -> UserPtr {
        address(&self.name)
    }

    /// Room for what a call writes: a page.
    pub(crate) fn buffer(&self) -> UserPtr {
        UserPtr(self.scratch)
    }

    /// A table in the buffer with `count` mappings, of the segment.
    pub(crate) fn table(&self, count: u64) -> UserPtr {
        let mappings = self.scratch + 128;
        for at in 0..count {
            let mapping =
                if at == 0 { one_page(self.objects.segment, ELSEWHERE) } else { Mapping::default() };
            // SAFETY: inside the page that `new` mapped, aligned, and used by this worker alone.
            unsafe { (mappings as *mut Mapping).wrapping_add(at as usize).write_volatile(mapping) };
        }
        let table = TreeTable { mappings, count, ..TreeTable::default() };
        // SAFETY: as above.
        unsafe { (self.scratch as *mut TreeTable).write_volatile(table) };
        UserPtr(self.scratch)
    }

    /// Puts a mapping where a call can read it.
    pub(crate) fn mapping(&self, mapping: Mapping) -> UserPtr {
        // SAFETY: the page that `new` mapped, used by this worker alone.
        unsafe { (self.scratch as *mut Mapping).write_volatile(mapping) };
        UserPtr(self.scratch)
    }

    /// Sets the free slot of the worker's own root.
    pub(crate) fn set(&self, mapping: Mapping) -> Result<(), Error> {
        sys().at_set_slot(self.root, self.slot, self.mapping(mapping))
    }

    /// An interior tree at the hole.
    pub(crate) fn link(&self, tree: ObjRef) -> Mapping {
        Mapping { kind: mapping_kind::INTERIOR, object: tree, va: self.hole, ..Mapping::default() }
    }

    /// A line of one character for the console, at the text's start.
    pub(crate) fn line(&self) {
        write_header(self.text_va, 1);
        let after = self.text_va + size_of::<BufferHeader>() as u64;
        // SAFETY: `new` mapped the page, and workers that share it take turns.
        unsafe { (after as *mut u8).write_volatile(b'.') };
    }

    /// A frame for the network card, or room for one, at the text's start.
    pub(crate) fn frame(&self) {
        self.frame_at(self.text_va);
    }

    /// The same at the start of the page at `va`.
    pub(crate) fn frame_at(&self, va: u64) {
        write_header(va, FRAME);
    }

    /// Waits until the card has sent the frame at the text's start.
    pub(crate) fn take_frame(&self) -> Result<(), Error> {
        self.take_frame_at(self.text_va)
    }

    /// Waits until the card has sent the frame at `va`.
    pub(crate) fn take_frame_at(&self, va: u64) -> Result<(), Error> {
        // SAFETY: the page is mapped; the kernel writes the word, too.
        while unsafe { (va as *const u32).read_volatile() } != 0 {
            sys().device_buf(self.objects.card()?, buffer_op::POLL, ObjRef::default(), 0)?;
        }
        Ok(())
    }

    /// The network card, once it has room for another buffer.
    pub(crate) fn card_with_room(&self) -> Result<ObjRef, Error> {
        let card = self.objects.card()?;
        let mut stat = NetworkStat::default();
        sys().device_stat(card, address_mut(&mut stat))?;
        let [room, _] = stat.room;
        if room == 0 {
            sys().device_buf(card, buffer_op::RESET, ObjRef::default(), 0)?;
        }
        Ok(card)
    }

    fn status(&self) -> &'static [AtomicU64; 2] {
        // SAFETY: `new` mapped the page for good; atomics, aligned.
        unsafe { shared(self.text_va + STATUS) }
    }

    /// What `pcore_run` reads to run `entry` on the target.
    pub(crate) fn context(&self, entry: extern "C" fn(u64) -> !) -> UserPtr {
        let target = self.objects.target;
        self.status()[0].store(0, Ordering::Relaxed);
        let running = self.stage.running(target.core);
        running.store(0, Ordering::Relaxed);
        let mut context = RunContext {
            tree: target.tree,
            mode: run_mode::USER,
            nshares: 1,
            entry: entry as usize as u64,
            stack: target.stack,
            args: [core::ptr::from_ref(running) as u64, 0, 0, 0, 0, 0],
            status: self.objects.text,
            status_offset: STATUS,
            shares: [Id::NULL; RUN_SHARES],
        };
        context.shares[0] = target.share;
        // SAFETY: the page that `new` mapped, used by this worker alone.
        unsafe { (self.scratch as *mut RunContext).write_volatile(context) };
        UserPtr(self.scratch)
    }

    /// The pcore of the target's core, in the target's share.
    pub(crate) fn pcore(&self) -> Result<ObjRef, Error> {
        let target = self.objects.target;
        let object = sys().pcore_alloc(target.share, u64::from(target.core), self.name())?;
        Ok(ObjRef { share: target.share, object })
    }

    /// Waits until what was run on the target says that it runs.
    pub(crate) fn wait_for_start(&self) {
        while self.stage.running(self.objects.target.core).load(Ordering::Acquire) == 0 {
            pause();
        }
    }

    /// Waits until what was run on the target has ended, as `wanted`.
    pub(crate) fn wait_for_end(&self, wanted: Ended) -> Result<(), Error> {
        if Thread::at(self.status()).join() == wanted { Ok(()) } else { Err(Error::CoreLost) }
    }
}

/// Writes the header of a buffer that is ready at `va`.
fn write_header(va: u64, length: u32) {
    let header = BufferHeader { ready: 1, length, done: 0, error: 0 };
    // SAFETY: the callers pass the start of a page that they mapped writable; workers that share it take turns.
    unsafe { (va as *mut BufferHeader).write_volatile(header) };
}

/// Writes a byte of the page at `va`.
#[inline(always)]
pub(crate) fn touch(va: u64) {
    // SAFETY: the callers pass addresses of pages that they mapped writable, of which this byte is not used.
    unsafe { ((va + 64) as *mut u8).write_volatile(1) };
}
