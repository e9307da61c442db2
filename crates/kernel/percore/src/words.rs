//! How an object is named below the object layer.

/// Address and ID of an object's slot. Opaque here: the object crate makes and reads it, and mailboxes
/// carry it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ObjectWords {
    address: u64,
    id: u64,
}

impl ObjectWords {
    /// Names nothing.
    pub const NULL: Self = Self { address: 0, id: 0 };

    /// Names the object `id` in the slot at `address`.
    ///
    /// # Safety
    ///
    /// `address` is 0 or that of an object slot: type-stable memory.
    #[must_use]
    #[inline(always)]
    pub const unsafe fn new(address: u64, id: u64) -> Self {
        Self { address, id }
    }

    /// The slot's address; 0 for none.
    #[must_use]
    #[inline(always)]
    pub const fn address(self) -> u64 {
        self.address
    }

    /// The object's ID.
    #[must_use]
    #[inline(always)]
    pub const fn id(self) -> u64 {
        self.id
    }
}
