//! One root tree: which addresses and slots are free.

use corey_abi::{
    AddressTreeCalls, Error, Home, Id, MapFlags, Mapping, Name, ObjRef, PAGE_BYTES, STACK_SPAN, THREAD_BYTES,
    TREE_SLOTS, TreeTable, grain, mapping_kind, tree_kind,
};
use corey_libos_sys::{address, address_mut, segment, sys};

const GIB: u64 = 1 << 30;
/// Slots of a table that takes little of the stack: 4 KiB.
const FEW: usize = 64;
/// Pages that stay unmapped above a small mapping: what runs over its end faults.
const GAP: u64 = 16;

/// Looks at a table and its mappings.
type Reader<'a> = dyn FnMut(&mut TreeTable, &[Mapping]) -> Result<(), Error> + 'a;

/// A root tree and what is free in it.
#[derive(Clone, Copy, Debug)]
pub struct Space {
    /// The tree.
    pub tree: ObjRef,
    /// Lowest address never handed out.
    next: u64,
    /// What is left of the GiB that small mappings come from.
    small: [u64; 2],
    /// Slots in use.
    slots: [u64; TREE_SLOTS / 64],
}

impl Space {
    /// The tree `tree` with `used` slots in use and nothing mapped from `free` on.
    #[must_use]
    pub fn new(tree: ObjRef, free: u64, used: u64) -> Self {
        let small = [free, free.next_multiple_of(GIB)];
        let mut space = Self { tree, next: free, small, slots: [0; TREE_SLOTS / 64] };
        (0..used).for_each(|slot| space.set(slot, true));
        space
    }

    /// A new root tree in `share`.
    ///
    /// # Errors
    ///
    /// As `at_alloc`.
    pub fn root(share: Id, free: u64, name: &str) -> Result<Self, Error> {
        let name = Name::new(name);
        let object = sys().at_alloc(share, tree_kind::ROOT, 0, Home::Any, address(&name))?;
        Ok(Self::new(ObjRef { share, object }, free, 0))
    }

    fn set(&mut self, slot: u64, used: bool) {
        if let Some(word) = self.slots.get_mut(slot as usize / 64) {
            let bit = 1 << (slot % 64);
            *word = if used { *word | bit } else { *word & !bit };
        }
    }

    fn free_slot(&self) -> Result<u64, Error> {
        let at = self.slots.iter().position(|word| *word != u64::MAX).ok_or(Error::Full)?;
        Ok(at as u64 * 64 + u64::from(self.slots[at].trailing_ones()))
    }

    /// Hands out nothing below `address` any more.
    pub fn leave(&mut self, address: u64) {
        self.next = self.next.max(address);
        if self.small[0] < address {
            self.small = [0; 2];
        }
    }

    /// Takes a slot, for a mapping that is made later ([`Space::link_at`]).
    ///
    /// # Errors
    ///
    /// `Full` when all are taken.
    pub fn take_slot(&mut self) -> Result<u64, Error> {
        let slot = self.free_slot()?;
        self.set(slot, true);
        Ok(slot)
    }

    /// Takes `bytes` of address space, a multiple of 1 GiB from a 1 GiB boundary on: two mappings share no
    /// page table.
    pub fn reserve(&mut self, bytes: u64) -> u64 {
        let at = self.next.next_multiple_of(GIB);
        self.next = at + bytes.next_multiple_of(GIB);
        at
    }

    /// Lowest address that a small mapping could get: with everything from there on free, another [`Space::new`] goes on
    /// where this one is.
    #[must_use]
    pub fn free(&self) -> u64 {
        let [next, end] = self.small;
        if end == self.next { next } else { self.next }
    }

    /// Takes addresses for `npages` pages, from 2 MiB on at a multiple of 2 MiB. They share page tables with their
    /// neighbours: only one core runs a root, and fewer tables are cheaper to make, to copy and to walk.
    fn reserve_small(&mut self, npages: u64) -> u64 {
        let align = if npages < 512 { PAGE_BYTES } else { 512 * PAGE_BYTES };
        let bytes = (npages + GAP).saturating_mul(PAGE_BYTES);
        if bytes > GIB / 2 {
            return self.reserve(npages * PAGE_BYTES);
        }
        let [next, end] = self.small;
        let mut at = next.next_multiple_of(align);
        if at + bytes > end {
            at = self.reserve(GIB);
            self.small[1] = at + GIB;
        }
        self.small[0] = at + bytes;
        at
    }

    /// Maps pages `start .. +npages` of `segment` at `va`. Returns the slot.
    ///
    /// # Errors
    ///
    /// As `at_set_slot`.
    pub fn map_at(
        &mut self,
        segment: ObjRef,
        va: u64,
        start: u64,
        npages: u64,
        flags: MapFlags,
    ) -> Result<u64, Error> {
        self.put(Mapping {
            kind: mapping_kind::SEGMENT,
            flags: flags.bits(),
            object: segment,
            va,
            start_page: start,
            npages,
            ..Mapping::default()
        })
    }

    /// Maps all of `segment` somewhere free, 64 KiB or more from everything else. Returns (address, slot).
    ///
    /// # Errors
    ///
    /// As `at_set_slot`.
    pub fn map(&mut self, segment: ObjRef, npages: u64, flags: MapFlags) -> Result<(u64, u64), Error> {
        let va = self.reserve_small(npages);
        Ok((va, self.map_at(segment, va, 0, npages, flags)?))
    }

    /// Links the interior tree `tree` at `va`, a multiple of 1 GiB. Returns the slot.
    ///
    /// # Errors
    ///
    /// As `at_set_slot`.
    pub fn link(&mut self, tree: ObjRef, va: u64) -> Result<u64, Error> {
        self.put(Mapping { kind: mapping_kind::INTERIOR, object: tree, va, ..Mapping::default() })
    }

    /// Copies a mapping as it is. Returns the slot.
    ///
    /// # Errors
    ///
    /// As `at_set_slot`.
    pub fn put(&mut self, mapping: Mapping) -> Result<u64, Error> {
        let slot = self.free_slot()?;
        sys().at_set_slot(self.tree, slot, address(&mapping))?;
        self.set(slot, true);
        Ok(slot)
    }

    /// Links an interior tree at `va`, in a slot of the tree `root` that was taken.
    ///
    /// # Errors
    ///
    /// As `at_set_slot`.
    pub fn link_at(root: ObjRef, slot: u64, tree: ObjRef, va: u64) -> Result<(), Error> {
        let mapping = Mapping { kind: mapping_kind::INTERIOR, object: tree, va, ..Mapping::default() };
        sys().at_set_slot(root, slot, address(&mapping))
    }

    /// Unmaps a slot.
    ///
    /// # Errors
    ///
    /// As `at_set_slot`.
    pub fn unmap(&mut self, slot: u64) -> Result<(), Error> {
        clear_in(self.tree, slot)?;
        self.set(slot, false);
        Ok(())
    }

    /// Reads the whole table into an array of `N` mappings, and gives both to `use_it`: its mappings up to the last
    /// one in use.
    #[inline(never)]
    fn read<const N: usize>(&self, use_it: &mut Reader<'_>) -> Result<(), Error> {
        let mut mappings = [Mapping::default(); N];
        let mut table = TreeTable {
            mappings: core::ptr::from_mut(&mut mappings) as u64,
            count: N as u64,
            ..TreeTable::default()
        };
        sys().at_get(self.tree, address_mut(&mut table))?;
        let used = mappings.get(..table.count as usize).unwrap_or_default();
        use_it(&mut table, used)
    }

    /// The same, with as much of the stack as it takes.
    fn table(&self, use_it: &mut Reader<'_>) -> Result<(), Error> {
        match self.read::<FEW>(use_it) {
            Err(Error::OutOfRange) => self.read::<TREE_SLOTS>(use_it),
            result => result,
        }
    }

    /// Calls `each` with every mapping.
    ///
    /// # Errors
    ///
    /// As `at_get`.
    pub fn each(&self, each: &mut dyn FnMut(&Mapping)) -> Result<(), Error> {
        self.table(&mut |_, mappings| {
            mappings.iter().filter(|m| m.kind != mapping_kind::NONE).for_each(&mut *each);
            Ok(())
        })
    }

    /// Sends faults and ticks that the kernel does not resolve to `handler`, on the stack below `stack`, with the
    /// masked word at `masked`.
    ///
    /// # Errors
    ///
    /// As `at_get` and `at_set`.
    pub fn set_handler(&self, handler: u64, stack: u64, masked: u64) -> Result<(), Error> {
        self.table(&mut |table, _| {
            (table.handler, table.stack, table.masked) = (handler, stack, masked);
            sys().at_set(self.tree, address_mut(table))
        })
    }

    /// Copies every mapping of `from` that `keep` says into this tree, and what addresses are free.
    ///
    /// # Errors
    ///
    /// As [`Space::each`] and `at_set_slot`.
    pub fn mirror(&mut self, from: &Self, keep: &mut dyn FnMut(&Mapping) -> bool) -> Result<(), Error> {
        let mut result = Ok(());
        from.each(&mut |mapping| {
            if result.is_ok() && keep(mapping) {
                result = self.put(*mapping).map(|_| ());
            }
        })?;
        self.next = self.next.max(from.next);
        self.small = [0; 2];
        result
    }
}

/// A stack of `pages` pages in `space`, at most 256, in a segment of `share`. Returns the stack pointer, a
/// multiple of 16; above it lies the thread's block, zeroed. Below the stack nothing is mapped.
///
/// # Errors
///
/// As `segment_alloc` and `at_set_slot`.
pub fn stack(space: &mut Space, share: Id, pages: u64) -> Result<u64, Error> {
    let memory = segment(share, pages * PAGE_BYTES, "stack")?;
    let start = space.reserve(GIB);
    let end = start + STACK_SPAN;
    space.map_at(memory, end - pages * PAGE_BYTES, 0, pages, MapFlags::WRITE)?;
    // What lies above is for small mappings, which then share the stack's page tables.
    space.small = [end + GAP * PAGE_BYTES, start + GIB];
    Ok(end - THREAD_BYTES)
}

/// A new interior tree of 1 GiB in `share`.
///
/// # Errors
///
/// As `at_alloc`.
pub fn interior(share: Id, name: &str) -> Result<ObjRef, Error> {
    interior_of(share, grain::GIB1, name)
}

/// A new interior tree of 2^`grain` bytes in `share`.
///
/// # Errors
///
/// As `at_alloc`.
pub fn interior_of(share: Id, grain: u64, name: &str) -> Result<ObjRef, Error> {
    let name = Name::new(name);
    let object = sys().at_alloc(share, tree_kind::INTERIOR, grain, Home::Any, address(&name))?;
    Ok(ObjRef { share, object })
}

/// Maps pages `0 .. npages` of `segment` at `offset` of the interior tree `tree`, in slot `slot`.
///
/// # Errors
///
/// As `at_set_slot`.
pub fn map_in(
    tree: ObjRef,
    slot: u64,
    segment: ObjRef,
    offset: u64,
    npages: u64,
    flags: MapFlags,
) -> Result<(), Error> {
    let mapping = Mapping {
        kind: mapping_kind::SEGMENT,
        flags: flags.bits(),
        object: segment,
        va: offset,
        npages,
        ..Mapping::default()
    };
    sys().at_set_slot(tree, slot, address(&mapping))
}

/// Clears slot `slot` of `tree`.
///
/// # Errors
///
/// As `at_set_slot`.
pub fn clear_in(tree: ObjRef, slot: u64) -> Result<(), Error> {
    sys().at_set_slot(tree, slot, address(&Mapping::default()))
}
