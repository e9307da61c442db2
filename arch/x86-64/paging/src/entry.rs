//! Entries of 4-level page tables.

use corey_kernel_hal::{Access, Entry, Frame};

/// Bits of an entry.
pub mod flags {
    /// The entry is valid.
    pub const PRESENT: u64 = 1;
    /// Writes are allowed.
    pub const WRITE: u64 = 1 << 1;
    /// User code may use it.
    pub const USER: u64 = 1 << 2;
    /// Not cached: `PWT` and `PCD`.
    pub const UNCACHED: u64 = 3 << 3;
    /// Accessed.
    pub const ACCESSED: u64 = 1 << 5;
    /// Dirty.
    pub const DIRTY: u64 = 1 << 6;
    /// A 2 MiB or 1 GiB page.
    pub const LARGE: u64 = 1 << 7;
    /// Survives a CR3 write.
    pub const GLOBAL: u64 = 1 << 8;
    /// Software: a page of user code, not a table.
    pub const LEAF: u64 = 1 << 9;
    /// No execution.
    pub const NO_EXECUTE: u64 = 1 << 63;
}
use flags::{ACCESSED, DIRTY, LARGE, LEAF, NO_EXECUTE, PRESENT, USER, WRITE};

/// Bits of the physical address.
const ADDRESS: u64 = 0x000f_ffff_ffff_f000;

/// A user page. Accessed and dirty are preset: the processor never writes the entry.
#[inline(always)]
#[must_use]
pub fn leaf(frame: Frame, access: Access) -> u64 {
    let rights = match access {
        Access::Read => NO_EXECUTE,
        Access::Write => NO_EXECUTE | WRITE,
        Access::Execute => 0,
    };
    frame.address() | PRESENT | USER | ACCESSED | DIRTY | LEAF | rights
}

/// A user page of 2 MiB, for the table above leaf tables.
#[inline(always)]
#[must_use]
pub fn large_leaf(frame: Frame, access: Access) -> u64 {
    leaf(frame, access) | LARGE
}

/// The entry without write permission, if it maps a page.
#[inline(always)]
#[must_use]
pub fn protect(entry: u64) -> u64 {
    if entry & (PRESENT | LEAF) == PRESENT | LEAF { entry & !WRITE } else { entry }
}

/// A link to a lower table of the user half.
#[inline(always)]
#[must_use]
pub fn table(frame: Frame) -> u64 {
    frame.address() | PRESENT | USER | WRITE | ACCESSED
}

/// What an entry of the user half says.
#[inline(always)]
#[must_use]
pub fn decode(entry: u64) -> Entry {
    let frame = Frame(((entry & ADDRESS) >> 12) as u32);
    if entry & PRESENT == 0 {
        Entry::Absent
    } else if entry & LEAF != 0 {
        Entry::Leaf(frame)
    } else {
        Entry::Table(frame)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_say_what_they_were_made_from() {
        let frame = Frame(0x12_3456);
        for access in [Access::Read, Access::Write, Access::Execute] {
            let entry = leaf(frame, access);
            assert_eq!(decode(entry), Entry::Leaf(frame));
            assert_eq!(decode(large_leaf(frame, access)), Entry::Leaf(frame));
            assert_eq!(protect(leaf(frame, Access::Write)), leaf(frame, Access::Read));
            assert_eq!(protect(table(frame)), table(frame));
            assert!(entry & WRITE == 0 || entry & NO_EXECUTE != 0, "writable and executable");
        }
        assert_eq!(decode(table(frame)), Entry::Table(frame));
        assert_eq!(decode(0), Entry::Absent);
    }
}
