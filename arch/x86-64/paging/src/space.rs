//! Building the kernel's half.

use crate::flags::{ACCESSED, DIRTY, GLOBAL, LARGE, NO_EXECUTE, PRESENT, UNCACHED, WRITE};

/// Where all of physical memory appears.
pub const DIRECT_BASE: u64 = 0xffff_8000_0000_0000;
/// Where the kernel's image is linked, less its physical address.
pub const KERNEL_BASE: u64 = 0xffff_ffff_8000_0000;
/// Where kernel stacks appear, each above an unmapped page.
pub const STACK_WINDOW: u64 = 0xffff_fe00_0000_0000;

const KIB4: u64 = 1 << 12;
const MIB2: u64 = 1 << 21;
const GIB1: u64 = 1 << 30;

/// Where physical address `physical` appears.
#[inline(always)]
#[must_use]
pub fn direct(physical: u64) -> *mut u8 {
    (DIRECT_BASE + physical) as *mut u8
}

/// Gives zeroed frames for tables, reachable through the direct map that is live.
pub trait TableSource {
    /// A zeroed frame's physical address.
    fn table(&mut self) -> u64;
}

/// An address space under construction.
#[derive(Clone, Copy, Debug)]
pub struct Space {
    root: u64,
    huge: bool,
}

impl Space {
    /// An empty space. `huge` says whether the processor has 1 GiB pages.
    pub fn new(source: &mut impl TableSource, huge: bool) -> Self {
        let root = source.table();
        let space = Self { root, huge };
        // The top level of the kernel's half is complete from the start: roots copy it.
        for index in 256..512 {
            let table = source.table();
            space.write(root, index, table | PRESENT | WRITE | ACCESSED);
        }
        space
    }

    /// An empty space of which nothing is complete: for user mode.
    pub fn bare(source: &mut impl TableSource) -> Self {
        Self { root: source.table(), huge: false }
    }

    /// Physical address of the top-level table.
    #[must_use]
    pub fn root(&self) -> u64 {
        self.root
    }

    fn slot(table: u64, index: usize) -> *mut u64 {
        direct(table).cast::<u64>().wrapping_add(index & 511)
    }

    fn read(table: u64, index: usize) -> u64 {
        // SAFETY: `table` is a frame of this space, in the live direct map; only the boot processor runs.
        unsafe { Self::slot(table, index).read_volatile() }
    }

    fn write(&self, table: u64, index: usize, entry: u64) {
        // SAFETY: as in `read`.
        unsafe { Self::slot(table, index).write_volatile(entry) };
    }

    fn child(&self, source: &mut impl TableSource, table: u64, index: usize) -> u64 {
        let entry = Self::read(table, index);
        if entry & PRESENT != 0 {
            return entry & 0x000f_ffff_ffff_f000;
        }
        let child = source.table();
        self.write(table, index, child | PRESENT | WRITE | ACCESSED);
        child
    }

    /// Maps one page of `size` bytes.
    fn page(&self, source: &mut impl TableSource, address: u64, physical: u64, size: u64, rights: u64) {
        let mut table = self.root;
        for (shift, page) in [(39, 0), (30, GIB1), (21, MIB2), (12, KIB4)] {
            let index = (address >> shift) as usize & 511;
            if size == page {
                let large = if size == KIB4 { 0 } else { LARGE };
                self.write(table, index, physical | PRESENT | ACCESSED | DIRTY | GLOBAL | large | rights);
                return;
            }
            table = self.child(source, table, index);
        }
    }

    /// Maps `bytes` bytes from `physical` at `address`, in the largest pages that fit. Cached.
    pub fn map(
        &self,
        source: &mut impl TableSource,
        address: u64,
        physical: u64,
        bytes: u64,
        write: bool,
        execute: bool,
    ) {
        let rights = if write { WRITE } else { 0 } | if execute { 0 } else { NO_EXECUTE };
        self.fill(source, address, physical, bytes, rights);
    }

    /// Maps device memory: written at once, never cached.
    pub fn map_device(&self, source: &mut impl TableSource, address: u64, physical: u64, bytes: u64) {
        self.fill(source, address, physical, bytes, WRITE | NO_EXECUTE | UNCACHED);
    }

    fn fill(&self, source: &mut impl TableSource, address: u64, physical: u64, bytes: u64, rights: u64) {
        let mut done = 0;
        while done < bytes {
            let (at, from, left) = (address + done, physical + done, bytes - done);
            let fits = |size: u64| (at | from).is_multiple_of(size) && left >= size;
            let size = if self.huge && fits(GIB1) {
                GIB1
            } else if fits(MIB2) {
                MIB2
            } else {
                KIB4
            };
            self.page(source, at, from, size, rights);
            done += size;
        }
    }
}
