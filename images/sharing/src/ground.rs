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
use corey_libos_rt::sys::{address_mut, pause, segment, sys};
use corey_libos_rt::vm::{Ended, Space, Thread};

/// Bytes of a frame.
const FRAME: u32 = 64;
/// Offset of the status in the page of the text.
const STATUS: u64 = 2048;

/// Offset of a table's mappings there.
const TABLE: u64 = 128;
/// Offset of the name in the page for what calls read and write; nothing that they write is so long.
const NAME: u64 = 3072;

/// One worker's view of objects, for calls that are made one way.
#[derive(Clone, Copy, Debug)]
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
    /// Where a page is that is deleted while it is mapped in the free slot: by trap the hole, whose tables come and go
    /// with it; by ring beside `segment`, whose tables stay. There the meter names what the kernel core and the caller's have
    /// in common, and it names a frame by whom it is in the end.
    pub(crate) passing: u64,
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
    /// How calls name that page.
    named: UserPtr,
}

impl Ground {
    /// Maps `objects` for `worker`, for calls by trap.
    ///
    /// New objects are named `owner`. What calls read and write is in the page at `scratch`, or in a new one.
    pub(crate) fn new(
        worker: &mut Worker,
        owner: &str,
        objects: Objects,
        scratch: Option<u64>,
    ) -> Result<Self, Error> {
        let (stage, core) = (worker.stage(), worker.core());
        let space = &mut worker.space;
        let (va, _) = space.map(objects.segment, 1, MapFlags::WRITE)?;
        let (growing_va, _) = space.map(objects.growing, 2, MapFlags::WRITE)?;
        let (text_va, _) = space.map(objects.text, 1, MapFlags::WRITE)?;
        let new = |space: &mut Space| {
            let memory = segment(worker.share, PAGE_BYTES, "scratch")?;
            space.map(memory, 1, MapFlags::WRITE).map(|(at, _)| at)
        };
        let scratch = scratch.map_or_else(|| new(space), Ok)?;
        let linked = space.reserve(1 << 30);
        space.link(objects.interior, linked)?;
        let hole = space.reserve(1 << 30);
        let ground = Self {
            stage,
            objects,
            boot: worker.boot,
            core,
            pcore: worker.pcore,
            root: space.tree,
            slot: space.take_slot()?,
            hole,
            passing: hole,
            va,
            growing_va,
            linked,
            text_va,
            scratch,
            named: UserPtr(scratch),
        };
        for page in [va, growing_va, text_va, scratch] {
            touch(page);
        }
        // SAFETY: inside the page that was just mapped, aligned, and used by this worker alone.
        unsafe { ((scratch + NAME) as *mut Name).write_volatile(Name::new(owner)) };
        Ok(ground)
    }

    /// The same for calls by ring, which name the page of what they read and write `named`.
    pub(crate) fn by_ring(self, named: UserPtr) -> Self {
        // Behind every mapping of a space there is a gap.
        Self { named, passing: self.va + PAGE_BYTES, ..self }
    }

    /// A name for a new object.
    pub(crate) fn name(&self) -> UserPtr {
        UserPtr(self.named.0 + NAME)
    }

    /// Room for what a call writes: a page.
    pub(crate) fn buffer(&self) -> UserPtr {
        self.named
    }

    /// A table in the buffer with `count` mappings, of the segment.
    pub(crate) fn table(&self, count: u64) -> UserPtr {
        let mappings = self.scratch + TABLE;
        for at in 0..count {
            let mapping =
                if at == 0 { one_page(self.objects.segment, ELSEWHERE) } else { Mapping::default() };
            // SAFETY: inside the page that `new` mapped, aligned, and used by this worker alone.
            unsafe { (mappings as *mut Mapping).wrapping_add(at as usize).write_volatile(mapping) };
        }
        let table = TreeTable { mappings: self.named.0 + TABLE, count, ..TreeTable::default() };
        // SAFETY: as above.
        unsafe { (self.scratch as *mut TreeTable).write_volatile(table) };
        self.named
    }

    /// Puts a mapping where a call can read it.
    pub(crate) fn mapping(&self, mapping: Mapping) -> UserPtr {
        // SAFETY: the page that `new` mapped, used by this worker alone.
        unsafe { (self.scratch as *mut Mapping).write_volatile(mapping) };
        self.named
    }

    /// Sets the free slot of the worker's own root, by trap.
    pub(crate) fn set(&self, mapping: Mapping) -> Result<(), Error> {
        self.mapping(mapping);
        sys().at_set_slot(self.root, self.slot, UserPtr(self.scratch))
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
        self.named
    }

    /// The pcore of the target's core, in the target's share; made by trap.
    pub(crate) fn pcore(&self) -> Result<ObjRef, Error> {
        let (target, name) = (self.objects.target, UserPtr(self.scratch + NAME));
        let object = sys().pcore_alloc(target.share, u64::from(target.core), name)?;
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
