//! Cores, frames, access rights and page-table entries as the portable kernel sees them.

/// Bytes in a page and in a frame.
pub const PAGE_SIZE: u64 = 4096;

/// Most cores one kernel serves. Core sets are bitmaps of this size.
pub const MAX_CORES: usize = 256;

/// First address above the user half.
pub const USER_END: u64 = 1 << 47;

/// A core, counted from 0 in the order the kernel started them; 0 is the boot processor. Not an APIC ID.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(transparent)]
pub struct CoreId(pub u16);

impl CoreId {
    /// The core's index into per-core arrays.
    #[must_use]
    #[inline(always)]
    pub fn index(self) -> usize {
        usize::from(self.0)
    }
}

/// A 4 KiB frame of physical memory, by number (physical address / 4096).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(transparent)]
pub struct Frame(pub u32);

impl Frame {
    /// The frame's first physical address, in bytes.
    #[must_use]
    #[inline(always)]
    pub fn address(self) -> u64 {
        u64::from(self.0) << 12
    }

    /// The frame that holds physical address `address`; `None` above 16 TiB.
    #[must_use]
    pub fn containing(address: u64) -> Option<Self> {
        u32::try_from(address >> 12).ok().map(Self)
    }
}

/// What user code may do with a page. Readable always; write and execute never together (W^X).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Read only.
    Read,
    /// Read and write.
    Write,
    /// Read and execute.
    Execute,
}

impl Access {
    /// The same without writing.
    #[must_use]
    #[inline(always)]
    pub fn without_write(self) -> Self {
        match self {
            Self::Write => Self::Read,
            other => other,
        }
    }
}

/// A decoded page-table entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entry {
    /// Nothing is mapped.
    Absent,
    /// The next lower table.
    Table(Frame),
    /// A page: 4 KiB, or 2 MiB in the table above leaf tables.
    Leaf(Frame),
}

/// An access to user memory failed at this address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UserFault {
    /// First byte that could not be reached.
    pub address: u64,
}
