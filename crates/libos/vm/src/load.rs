//! Loading programs: from the segment of a file into an address space.

use crate::space::Space;
use core::fmt;
use corey_abi::{Error, Id, MapFlags, ObjRef, PAGE_BYTES};
use corey_lib_program::{Bad, Program};
use corey_libos_sys::segment;

/// Why a program was not loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LoadError {
    /// The image is no program.
    Image(Bad),
    /// A system call failed.
    Call(Error),
}

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Image(bad) => bad.fmt(f),
            Self::Call(error) => write!(f, "a system call failed: {error:?}"),
        }
    }
}

impl From<Error> for LoadError {
    fn from(error: Error) -> Self {
        Self::Call(error)
    }
}

/// Loads `image` into `target`, in segments of `share`. `own` is the space this program runs in: contents
/// are written through it. `write` copies bytes to an address of it. Returns entry and first free address.
///
/// # Errors
///
/// [`LoadError`]; what was mapped in `target` then stays.
pub fn load(
    own: &mut Space,
    target: &mut Space,
    share: Id,
    image: &[u8],
    write: &mut dyn FnMut(u64, &[u8]),
) -> Result<(u64, u64), LoadError> {
    let program = Program::parse(image).map_err(LoadError::Image)?;
    for load in &program.segments {
        let pages: ObjRef = segment(share, load.pages() * PAGE_BYTES, "program")?;
        let contents = image
            .get(load.offset as usize..)
            .and_then(|rest| rest.get(..load.file_bytes as usize))
            .ok_or(LoadError::Image(Bad::Contents))?;
        let (va, slot) = own.map(pages, load.pages(), MapFlags::WRITE)?;
        write(va + (load.address - load.first_page()), contents);
        own.unmap(slot)?;
        let flags = match (load.write, load.execute) {
            (true, _) => MapFlags::WRITE,
            (false, true) => MapFlags::EXECUTE,
            (false, false) => MapFlags::empty(),
        };
        target.map_at(pages, load.first_page(), 0, load.pages(), flags)?;
    }
    Ok((program.entry, program.end()))
}
