//! The first program: everything from the archive becomes objects, `init` runs.

use crate::core_kernel::Core;
use core::fmt::Write;
use corey_abi::{
    BOOT_MAGIC, BootHeader, BootModule, Error, Home, Id, Kinds, MapFlags, Name, ObjRef, PAGE_BYTES, Plain,
    STACK_SPAN, THREAD_BYTES,
};
use corey_kernel_atree::{Tree, TreeKind, map_segment, reserve};
use corey_kernel_hal::{CoreId, Exit, Platform, UserContext};
use corey_kernel_mem::Source;
use corey_kernel_object::{Entered, Handle, Link};
use corey_kernel_pcore::{Current, Pcore, Run};
use corey_kernel_segment::{PageSize, Segment};
use corey_kernel_share::Share;
use corey_lib_archive::{Archive, File};
use corey_lib_program::Program;
use corey_lib_sync::atomic::Ordering;

/// Pages of init's stack.
const STACK_PAGES: u64 = 64;
/// Most files of an archive.
const MAX_FILES: usize = 256;
/// Addresses are handed out in these steps.
const GIB: u64 = 1 << 30;

/// Why the first program does not run.
type Trouble = heapless::String<256>;

fn trouble(text: core::fmt::Arguments<'_>) -> Trouble {
    let mut out = Trouble::new();
    // Longer messages are cut.
    let _ = out.write_fmt(text);
    out
}

impl From<Failure> for Trouble {
    fn from(failure: Failure) -> Self {
        trouble(format_args!("{} failed: {:?}", failure.0, failure.1))
    }
}

/// A step and its error.
struct Failure(&'static str, Error);

/// What the boot path makes objects in.
#[derive(Clone, Copy)]
struct Maker<'k> {
    inside: &'k Entered<'static>,
    share: Handle<'k, Share>,
}

impl<P: Platform> Core<P> {
    /// Makes the boot share, a segment of each file, and init's pcore and address space; on failure says why
    /// and ends the run.
    pub(crate) fn boot(&mut self) {
        let inside = self.ctx.enter();
        let result = self.first_program(&inside);
        self.ctx.leave(inside);
        match result {
            Ok(context) => self.enter_with(context),
            Err(text) => {
                let mut line = heapless::String::<300>::new();
                let _ = write!(line, "corey: cannot start: {text}");
                self.system.devices.line(&mut self.ctx.local, line.as_bytes());
                self.system.devices.machine().exit(Exit::Status(2));
            }
        }
    }

    #[allow(clippy::result_large_err, reason = "once per boot; the text is the point")]
    fn first_program(&mut self, inside: &Entered<'static>) -> Result<UserContext, Trouble> {
        let info = self.system.info;
        let name =
            info.command_line.split_whitespace().find_map(|w| w.strip_prefix("init=")).unwrap_or("init");
        let bytes = info.archive.ok_or_else(|| {
            trouble(format_args!(
                "no archive: boot with a module (GRUB: module2, QEMU: -initrd) named corey.cpio"
            ))
        })?;
        let archive = Archive::new(bytes);
        archive.check().map_err(|corrupt| trouble(format_args!("{corrupt}")))?;
        let mut path = heapless::String::<64>::new();
        write!(path, "bin/{name}").map_err(|_| trouble(format_args!("init={name}: the name is too long")))?;
        let file = archive.find(&path).map_err(|corrupt| trouble(format_args!("{corrupt}")))?;
        let file = file.ok_or_else(|| {
            let mut known = heapless::String::<160>::new();
            for file in archive.files().flatten() {
                if let Some(program) = file.name.strip_prefix("bin/") {
                    let _ = write!(known, " {program}");
                }
            }
            trouble(format_args!("init={name}: no such program; there are:{known}"))
        })?;
        let program = Program::parse(file.data).map_err(|bad| trouble(format_args!("{path}: {bad}")))?;
        let share = self.boot_share(inside)?;
        let make = Maker { inside, share };
        let mut modules = heapless::Vec::<(Id, File<'static>), MAX_FILES>::new();
        for file in archive.files().flatten() {
            let segment = self.file(make, file.name, file.data)?;
            modules
                .push((segment.id(), file))
                .map_err(|_| trouble(format_args!("more than 256 files in the archive")))?;
        }
        Ok(self.run_first(make, &program, file.data, &modules)?)
    }

    fn boot_share<'k>(&mut self, inside: &'k Entered<'static>) -> Result<Handle<'k, Share>, Failure> {
        let own = self.ctx.core();
        let pages = self.system.world.memory.frames();
        // Objects are bounded by the memory for their slots; half of RAM could not hold more names than this.
        let value = Share::new(own, Kinds::all(), Link::NULL, (pages, pages));
        let share = self
            .ctx
            .create(inside, Home::Any, &Name::new("boot"), 0, value)
            .map_err(|error| Failure("the boot share", error))?;
        self.system.boot_share.store(share.id().0, Ordering::Release);
        // Its one reference is this core's hold.
        let held = Share::hold(share, own) && self.held.add(share.link()) && !share.header().release();
        if held { Ok(share) } else { Err(Failure("holding the boot share", Error::Busy)) }
    }

    fn segment<'k>(
        &mut self,
        make: Maker<'k>,
        name: &str,
        npages: u64,
    ) -> Result<Handle<'k, Segment>, Failure> {
        let step = |error| Failure("a segment", error);
        let cost = Segment::cost(npages, PageSize::Small);
        make.share.charge(&mut self.ctx, cost, 1).map_err(step)?;
        let home = self.ctx.core();
        let segment = self
            .ctx
            .create(
                make.inside,
                Home::Any,
                &Name::new(name),
                cost,
                Segment::new(home, PageSize::Small, npages),
            )
            .map_err(step)?;
        segment.grow(&mut self.ctx, npages, Source::Nearest).map_err(step)?;
        make.share.insert(&mut self.ctx, segment.link(), cost).map_err(step)?;
        Ok(segment)
    }

    fn file<'k>(&mut self, make: Maker<'k>, name: &str, data: &[u8]) -> Result<Handle<'k, Segment>, Failure> {
        let segment = self.segment(make, name, (data.len() as u64).div_ceil(PAGE_BYTES))?;
        Segment::write(segment, &mut self.ctx, make.inside, 0, data)
            .map_err(|error| Failure("a file's contents", error))?;
        Ok(segment)
    }

    fn run_first(
        &mut self,
        make: Maker<'_>,
        program: &Program,
        image: &'static [u8],
        modules: &[(Id, File<'static>)],
    ) -> Result<UserContext, Failure> {
        let Maker { inside, share } = make;
        let own = self.ctx.core();
        let tree = {
            let step = |error| Failure("init's root tree", error);
            share.charge(&mut self.ctx, 1, 1).map_err(step)?;
            let table = self.ctx.alloc_zeroed(Source::Nearest).map_err(step)?;
            let value = Tree::new(&self.ctx.local.platform, own, TreeKind::Root, table);
            let tree = self.ctx.create(inside, Home::Any, &Name::new("init"), 1, value).map_err(step)?;
            share.insert(&mut self.ctx, tree.link(), 1).map_err(step)?;
            tree
        };
        let pcore = {
            let step = |error| Failure("init's pcore", error);
            let slot = self.system.world.owners.get(own.index()).ok_or(step(Error::NotFound))?;
            if !slot.take() {
                return Err(step(Error::Busy));
            }
            share.charge(&mut self.ctx, 0, 1).map_err(step)?;
            let value = Pcore::new(own);
            let pcore = self.ctx.create(inside, Home::Any, &Name::new("init"), 0, value).map_err(step)?;
            slot.set(pcore.link());
            share.insert(&mut self.ctx, pcore.link(), 0).map_err(step)?;
            pcore
        };
        let mut index = 0;
        let mut map = |core: &mut Self, segment, va, npages, flags| {
            let range = (va, 0, npages);
            map_segment(&mut core.ctx, inside, tree, share, index, segment, range, flags)
                .map_err(|error| Failure("mapping init", error))?;
            index += 1;
            Ok::<usize, Failure>(index)
        };
        for load in &program.segments {
            let segment = self.segment(make, "init", load.pages())?;
            let bytes = image
                .get(load.offset as usize..)
                .and_then(|rest| rest.get(..load.file_bytes as usize))
                .ok_or(Failure("init's contents", Error::OutOfRange))?;
            Segment::write(segment, &mut self.ctx, make.inside, load.address - load.first_page(), bytes)
                .map_err(|error| Failure("init's contents", error))?;
            let flags = match (load.write, load.execute) {
                (true, _) => MapFlags::WRITE,
                (false, true) => MapFlags::EXECUTE,
                (false, false) => MapFlags::empty(),
            };
            map(self, segment, load.first_page(), load.pages(), flags)?;
        }
        let boot_va = program.end().next_multiple_of(GIB);
        let stack = self.segment(make, "init stack", STACK_PAGES)?;
        // A gap of a GiB lies below the stack: an overflow faults.
        let stack_va = boot_va + GIB;
        let stack_top = stack_va + STACK_SPAN - THREAD_BYTES;
        map(self, stack, stack_va + STACK_SPAN - STACK_PAGES * PAGE_BYTES, STACK_PAGES, MapFlags::WRITE)?;
        let info =
            self.segment(make, "boot information", boot_pages(modules, self.system.info.command_line))?;
        let free_slot = map(self, info, boot_va, info.npages(), MapFlags::empty())?;
        let header = BootHeader {
            magic: BOOT_MAGIC,
            cores: self.system.info.topology.places.len() as u64,
            tsc_hz: self.system.info.tsc_hz,
            share: share.id(),
            program: share.id(),
            pcore: pcore.id(),
            tree: tree.id(),
            segment: info.id(),
            free_va: stack_va + GIB,
            free_slot: free_slot as u64,
            first: 1,
            ..BootHeader::default()
        };
        self.describe(inside, info, header, modules)
            .map_err(|error| Failure("the boot information", error))?;
        let context = UserContext {
            entry: program.entry,
            stack: stack_top,
            args: [boot_va, share.id().0, tree.id().0, pcore.id().0, 0, 0],
        };
        self.begin_first(make, tree, pcore, own, context)?;
        Ok(context)
    }

    fn begin_first(
        &mut self,
        make: Maker<'_>,
        tree: Handle<'_, Tree>,
        pcore: Handle<'_, Pcore>,
        own: CoreId,
        context: UserContext,
    ) -> Result<(), Failure> {
        let step = |error| Failure("running init", error);
        if !self.ctx.local.own().mailbox.run_place().claim() {
            return Err(step(Error::Busy));
        }
        reserve(&mut self.ctx, &tree, own).map_err(step)?;
        // Its share is held already.
        let run = Run {
            pcore: pcore.link(),
            reference: ObjRef { share: make.share.id(), object: pcore.id() },
            tree: tree.link(),
            tree_share: make.share.id(),
            context,
            status: None,
        };
        let current = Current::begin(&mut self.ctx, make.inside, &run).ok_or(step(Error::NotFound))?;
        self.current = Some(Current { first: true, ..current });
        Ok(())
    }

    /// Writes the boot information: header, modules, then texts.
    fn describe(
        &mut self,
        inside: &Entered<'_>,
        to: Handle<'_, Segment>,
        mut header: BootHeader,
        modules: &[(Id, File<'static>)],
    ) -> Result<(), Error> {
        let info = self.system.info;
        let records = BootHeader::BYTES as u64;
        let mut text = records + (modules.len() * BootModule::BYTES) as u64;
        header.modules = [records, modules.len() as u64];
        for (number, (segment, file)) in modules.iter().enumerate() {
            let record = BootModule {
                share: header.share,
                segment: *segment,
                bytes: file.data.len() as u64,
                name: [text, file.name.len() as u64],
            };
            let mut bytes = [0; BootModule::BYTES];
            record.to_bytes(&mut bytes);
            Segment::write(to, &mut self.ctx, inside, records + (number * BootModule::BYTES) as u64, &bytes)?;
            Segment::write(to, &mut self.ctx, inside, text, file.name.as_bytes())?;
            text += file.name.len() as u64;
        }
        header.command_line = [text, info.command_line.len() as u64];
        Segment::write(to, &mut self.ctx, inside, text, info.command_line.as_bytes())?;
        text += info.command_line.len() as u64;
        header.cpu = [text, info.cpu.len() as u64];
        Segment::write(to, &mut self.ctx, inside, text, info.cpu.as_bytes())?;
        header.bytes = text + info.cpu.len() as u64;
        let mut bytes = [0; BootHeader::BYTES];
        header.to_bytes(&mut bytes);
        Segment::write(to, &mut self.ctx, inside, 0, &bytes)
    }
}

/// Pages of the boot information.
fn boot_pages(modules: &[(Id, File<'static>)], command_line: &str) -> u64 {
    let texts: usize = modules.iter().map(|(_, f)| f.name.len() + BootModule::BYTES).sum();
    ((BootHeader::BYTES + texts + command_line.len() + 256) as u64).div_ceil(PAGE_BYTES)
}
