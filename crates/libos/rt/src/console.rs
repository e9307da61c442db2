//! Lines to the console device.

use core::fmt::{self, Write};
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use corey_abi::{
    BufferHeader, DeviceCalls, Error, Home, Id, Kind, Kinds, MachineCalls, MapFlags, Name, ObjRef,
    ShareCalls, ShareEntry, UserPtr, buffer_op,
};
use corey_libos_sys::{address, address_mut, pause, segment, sys};
use corey_libos_vm::Space;

/// Bytes of a line.
const LINE: usize = 4096;
const HEADER: usize = size_of::<BufferHeader>();
/// Pages of the buffer.
const PAGES: u64 = 2;

/// Device, buffer segment, and where the buffer is mapped; 0 before [`open`].
static DEVICE: [AtomicU64; 2] = [AtomicU64::new(0), AtomicU64::new(0)];
static SEGMENT: [AtomicU64; 2] = [AtomicU64::new(0), AtomicU64::new(0)];
static BUFFER: AtomicU64 = AtomicU64::new(0);
static TAKEN: AtomicBool = AtomicBool::new(false);

fn keep(place: &[AtomicU64; 2], object: ObjRef) {
    place[0].store(object.share.0, Ordering::Relaxed);
    place[1].store(object.object.0, Ordering::Relaxed);
}

fn kept(place: &[AtomicU64; 2]) -> ObjRef {
    ObjRef { share: Id(place[0].load(Ordering::Relaxed)), object: Id(place[1].load(Ordering::Relaxed)) }
}

/// The share that names the console.
pub(crate) fn share() -> Id {
    kept(&DEVICE).share
}

/// Finds the console among the shares held, or takes it; maps a buffer.
pub(crate) fn open(boot: Id, program: Id, space: &mut Space) -> Result<(), Error> {
    let device = match find()? {
        Some(device) => device,
        None => {
            let name = Name::new("console");
            let share = sys().share_alloc(boot, Kinds::DEVICE, 0, 1, Home::Any, address(&name))?;
            let object = sys().device_alloc(share, 0, Home::Any, address(&name))?;
            ObjRef { share, object }
        }
    };
    keep(&DEVICE, device);
    reopen(program, space)
}

/// Makes and maps a buffer of `program`'s own: at the start, and in a copy of a program, which has the statics
/// of what it was copied from.
pub(crate) fn reopen(program: Id, space: &mut Space) -> Result<(), Error> {
    let buffer = segment(program, PAGES * 4096, "console buffer")?;
    let (va, _) = space.map(buffer, PAGES, MapFlags::WRITE)?;
    keep(&SEGMENT, buffer);
    BUFFER.store(va, Ordering::Release);
    TAKEN.store(false, Ordering::Release);
    Ok(())
}

/// The first device named in a share that is held.
fn find() -> Result<Option<ObjRef>, Error> {
    let mut held = [ShareEntry::default(); 20];
    let count = sys().share_list(Id::NULL, 0, address_mut(&mut held), 20)?;
    for share in held.iter().take(count as usize) {
        let mut start = 0;
        loop {
            let mut named = [ShareEntry::default(); 16];
            let all = sys().share_list(share.id, start, address_mut(&mut named), 16)?;
            let here = all.saturating_sub(start).min(16) as usize;
            let devices = named.iter().take(here).filter(|entry| entry.kind == Kind::Device as u64);
            let mut devices = devices.map(|entry| ObjRef { share: share.id, object: entry.id });
            // A console has nothing to say of itself; other devices do.
            let mut is_console =
                |device: &ObjRef| sys().device_stat(*device, UserPtr(0)) == Err(Error::Unsupported);
            if let Some(console) = devices.find(&mut is_console) {
                return Ok(Some(console));
            }
            start += 16;
            if start >= all {
                break;
            }
        }
    }
    Ok(None)
}

/// Fills the buffer's line.
struct Line {
    at: *mut u8,
    used: usize,
}

impl Write for Line {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for byte in text.bytes().take(LINE - self.used) {
            // SAFETY: `open` mapped two pages here, and this core has the lock.
            unsafe { self.at.wrapping_add(HEADER + self.used).write_volatile(byte) };
            self.used += 1;
        }
        Ok(())
    }
}

/// Prints one line. What exceeds 4096 bytes is cut.
pub fn print_line(text: fmt::Arguments<'_>) {
    let at = BUFFER.load(Ordering::Acquire) as *mut u8;
    if at.is_null() {
        return;
    }
    while TAKEN.swap(true, Ordering::Acquire) {
        pause();
    }
    let mut out = Line { at, used: 0 };
    // A line takes whatever comes.
    let _ = out.write_fmt(text);
    let header = BufferHeader { ready: 1, length: out.used as u32, done: 0, error: 0 };
    // SAFETY: the buffer begins with its header; this core has the lock.
    unsafe { at.cast::<BufferHeader>().write_volatile(header) };
    // A console that refuses has nobody to be told.
    let _ = sys().device_buf(kept(&DEVICE), buffer_op::OUT, kept(&SEGMENT), 0);
    TAKEN.store(false, Ordering::Release);
}

/// Lets the console go, so that it can be allocated again; nothing is printed until [`retake`].
///
/// # Errors
///
/// As `share_delobj`.
pub fn release() -> Result<(), Error> {
    let device = kept(&DEVICE);
    keep(&DEVICE, ObjRef { share: device.share, object: Id::NULL });
    sys().share_delobj(device)
}

/// Takes the console again.
///
/// # Errors
///
/// As `device_alloc`.
pub fn retake() -> Result<(), Error> {
    let share = share();
    let name = Name::new("console");
    let object = sys().device_alloc(share, 0, Home::Any, address(&name))?;
    keep(&DEVICE, ObjRef { share, object });
    Ok(())
}

/// Prints one line of text.
pub fn line(text: &str) {
    print_line(format_args!("{text}"));
}
