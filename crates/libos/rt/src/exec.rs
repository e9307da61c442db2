//! Other programs: in place of this one, or on another core, each in an address space of its own.

use crate::process::Process;
use core::fmt;
use core::sync::atomic::AtomicU64;
use corey_abi::{
    BootHeader, Error, Home, Id, Kinds, MapFlags, Name, ObjRef, PAGE_BYTES, PcoreCalls, Plain, RunContext,
    ShareCalls,
};
use corey_libos_sys::{address, segment, sys};
use corey_libos_vm::{Core, LoadError, Space, Thread, load, spawn, stack};

/// Pages of a program's stack.
const STACK_PAGES: u64 = 96;
/// Pages a program's share gets beside its image: tables, stack, buffers.
const SPARE_PAGES: u64 = 4096;
/// Objects it may name.
const OBJECTS: u64 = 256;
const GIB: u64 = 1 << 30;

/// Why the other program does not run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExecError {
    /// The archive has no such program.
    NoSuchProgram,
    /// It cannot be loaded.
    Load(LoadError),
}

impl fmt::Display for ExecError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoSuchProgram => f.write_str("the archive has no such program"),
            Self::Load(error) => error.fmt(f),
        }
    }
}

impl From<Error> for ExecError {
    fn from(error: Error) -> Self {
        Self::Load(LoadError::Call(error))
    }
}

/// Copies bytes to memory this program mapped writable.
fn write(to: u64, from: &[u8]) {
    // SAFETY: the callers mapped at least as many bytes there, and use them for nothing else.
    unsafe { core::ptr::copy_nonoverlapping(from.as_ptr(), to as *mut u8, from.len()) };
}

/// Runs program `name` on this core in place of this one. Returns only when that fails; then this program
/// goes on as before.
#[must_use]
pub fn exec(process: &mut Process, name: &str) -> ExecError {
    exec_with(process, name, 0)
}

/// As [`exec`]; the program's share has `more` pages than others', for its heaps.
#[must_use]
pub fn exec_with(process: &mut Process, name: &str, more: u64) -> ExecError {
    let object = Name::new(name);
    let pages = SPARE_PAGES + more + process.info.program(name).map_or(0, |m| m.bytes / PAGE_BYTES);
    let share =
        match sys().share_alloc(process.boot, Kinds::all(), pages, OBJECTS, Home::Any, address(&object)) {
            Ok(share) => share,
            Err(error) => return error.into(),
        };
    let Err(error) = replace(process, name, share) else { unreachable!("another program runs here now") };
    // Nobody else holds the share: everything in it goes. Errors would mean that it went already.
    let _ = sys().share_delobj(ObjRef { share: process.boot, object: share });
    let _ = sys().self_drop(share);
    error
}

fn replace(process: &mut Process, name: &str, share: Id) -> Result<(), ExecError> {
    let old = process.info.header;
    let previous = if old.program == old.share { Id::NULL } else { old.program };
    let target = Space::root(share, GIB, name)?;
    let ready = prepare(process, name, share, target, BootHeader { previous, ..old })?;
    let mut context = RunContext {
        tree: target.tree,
        nshares: 3,
        entry: ready.entry,
        stack: ready.stack,
        args: [ready.info, 0, 0, 0, 0, 0],
        ..RunContext::default()
    };
    context.shares.iter_mut().zip([process.boot, share, process.console]).for_each(|(to, from)| *to = from);
    sys().pcore_run(process.pcore, address(&context))?;
    Ok(())
}

/// Runs program `name` on `core`, beside this one; the core's share pays for it. Its end is reported in `status`
/// (words, segment, offset): it halts with 0 for success.
///
/// # Errors
///
/// [`ExecError`]; what was made stays in the core's share.
pub fn run_program<'a>(
    process: &mut Process,
    core: &Core,
    name: &str,
    status: (&'a [AtomicU64; 2], ObjRef, u64),
) -> Result<Thread<'a>, ExecError> {
    let header = BootHeader { previous: Id::NULL, pcore: core.pcore.object, first: 0, ..process.info.header };
    let ready = prepare(process, name, core.share, core.space, header)?;
    let shares = [process.boot, process.console];
    Ok(spawn(core, (ready.entry, ready.stack), [ready.info, 0, 0, 0, 0, 0], &shares, status)?)
}

/// A program that can be run.
struct Ready {
    entry: u64,
    stack: u64,
    /// Where its boot information is.
    info: u64,
}

/// Loads program `name` into `target` with objects of `share`, gives it a stack and boot information.
fn prepare(
    process: &mut Process,
    name: &str,
    share: Id,
    mut target: Space,
    header: BootHeader,
) -> Result<Ready, ExecError> {
    let module = process.info.program(name).ok_or(ExecError::NoSuchProgram)?;
    let own = &mut process.space;
    let (image, image_slot) =
        own.map(module.segment, module.bytes.div_ceil(PAGE_BYTES), MapFlags::empty())?;
    // SAFETY: just mapped; the file's segment has that many bytes.
    let bytes = unsafe { core::slice::from_raw_parts(image as *const u8, module.bytes as usize) };
    let loaded = load(own, &mut target, share, bytes, &mut write);
    own.unmap(image_slot)?;
    let (entry, end) = loaded.map_err(ExecError::Load)?;
    let base = end.next_multiple_of(GIB);
    target.leave(base);
    let stack = stack(&mut target, share, STACK_PAGES)?;
    let bytes = process.info.bytes();
    let info_pages = (bytes.len() as u64).div_ceil(PAGE_BYTES);
    let info = segment(share, info_pages * PAGE_BYTES, "boot information")?;
    let (info_va, slot) = target.map(info, info_pages, MapFlags::empty())?;
    let header = BootHeader {
        program: share,
        tree: target.tree.object,
        segment: info.object,
        free_va: target.free(),
        free_slot: slot + 1,
        ..header
    };
    let (va, slot) = own.map(info, info_pages, MapFlags::WRITE)?;
    write(va, bytes);
    let mut head = [0; BootHeader::BYTES];
    header.to_bytes(&mut head);
    write(va, &head);
    own.unmap(slot)?;
    Ok(Ready { entry, stack, info: info_va })
}
