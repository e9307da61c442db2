//! What the child maps, and what that costs.

use crate::error::CforkError;
use crate::place::PAGES;
use core::mem::MaybeUninit;
use corey_abi::{
    AddressTreeCalls, Error, Home, Id, MapFlags, Mapping, Name, ObjRef, PAGE_BYTES, SegmentCalls, ShareCalls,
    TreeTable, copy_mode, mapping_kind,
};
use corey_libos_sys::{address, address_mut, pause, segment, sys};

/// Most mappings of a root that is forked.
pub(crate) const MAPPINGS: usize = 64;
const _: () = assert!(MAPPINGS <= 64, "`transfer` has a bit for each");
/// Page tables a mapping needs at most beside those of its own pages.
const TABLES: u64 = 4;

/// A root's table, read whole.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct Plan {
    table: TreeTable,
    /// Those below `table.count` are there: the kernel wrote them.
    mappings: [MaybeUninit<Mapping>; MAPPINGS],
    /// What becomes of what each of them maps; [`Plan::decide`] says.
    fates: [Fate; MAPPINGS],
    /// Mappings whose fate is [`Fate::Again`]: bit 0 is the first.
    again: u64,
}

/// What becomes of an object. 0 is one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
enum Fate {
    /// Nothing is mapped.
    None,
    /// An earlier mapping maps it, too.
    Again,
    /// The child has a copy.
    Copied,
    /// The child has a new one, all zeroes.
    New,
    /// The child's share names it too.
    Named,
    /// The child holds a share that names it.
    Held,
}

impl Plan {
    /// Reads the table of `tree`.
    pub(crate) fn read(&mut self, tree: ObjRef) -> Result<(), CforkError> {
        self.table = TreeTable {
            mappings: self.mappings.as_mut_ptr() as u64,
            count: MAPPINGS as u64,
            ..TreeTable::default()
        };
        sys().at_get(tree, address_mut(&mut self.table)).map_err(|error| {
            self.table.count = 0;
            match error {
                Error::OutOfRange => CforkError::TooManyMappings,
                other => CforkError::Call("reading the parent's address tree", other),
            }
        })
    }

    /// The mappings, their fates, and which come again.
    fn parts(&mut self) -> (&mut [Mapping], &mut [Fate; MAPPINGS], &mut u64) {
        let count = (self.table.count as usize).min(MAPPINGS);
        let first = self.mappings.as_mut_ptr().cast::<Mapping>();
        // SAFETY: `at_get` wrote that many, and every value of a `Mapping`'s words is one.
        let used = unsafe { core::slice::from_raw_parts_mut(first, count) };
        (used, &mut self.fates, &mut self.again)
    }

    /// Decides what becomes of each object when the child holds `held`, and says how many pages and objects its share must
    /// have. Of `children`, the memory that forking needs itself, it has new one: it has no children yet.
    ///
    /// # Errors
    ///
    /// [`CforkError::PrivateInterior`]: an interior tree can only be shared.
    pub(crate) fn decide(&mut self, held: &[Id], children: ObjRef) -> Result<(u64, u64), CforkError> {
        let (mut pages, mut objects) = (8, 3);
        let (used, fates, again) = self.parts();
        *again = 0;
        // The low bits of the IDs so far: most that are new are seen to be.
        let mut ids = 0_u64;
        for (at, (mapping, to)) in used.iter().zip(fates).enumerate() {
            if mapping.kind == mapping_kind::NONE {
                *to = Fate::None;
                continue;
            }
            pages += TABLES;
            if mapping.kind == mapping_kind::SEGMENT {
                // The tables of an interior tree are its own.
                pages += mapping.npages.div_ceil(512);
            } else if !is_shared(mapping) && !held.contains(&mapping.object.share) {
                return Err(CforkError::PrivateInterior(mapping.va, mapping.object));
            }
            let id = 1 << (mapping.object.object.0 % 64);
            if ids & id != 0
                && used.iter().take(at).any(|earlier| earlier.object.object == mapping.object.object)
            {
                *to = Fate::Again;
                *again |= 1 << at;
                continue;
            }
            ids |= id;
            *to = fate(mapping, held, children);
            if *to != Fate::Held {
                objects += 1;
                pages += mapping.price;
            }
        }
        Ok((pages, objects))
    }

    /// Copies and shares the objects into `share`, as [`Plan::decide`] said, so that the table names what the child maps.
    pub(crate) fn transfer(&mut self, share: Id) -> Result<(), CforkError> {
        let name = Name::new("forked");
        let here = address(&name).0;
        let (used, fates, again) = self.parts();
        for (at, fate) in (0..used.len()).zip(fates) {
            let mapping = &mut used[at];
            let object = match fate {
                Fate::None | Fate::Again | Fate::Held => continue,
                // The stack's page that this core writes next, and the child first.
                Fate::Copied => copy(mapping.object, share, page_now(mapping, here), &name)?,
                Fate::New => segment(share, PAGES * PAGE_BYTES, "children")
                    .map_err(|error| CforkError::Call("making memory for its children", error))?,
                Fate::Named => {
                    sys()
                        .share_addobj(share, mapping.object)
                        .map_err(|error| CforkError::Call("sharing an object", error))?;
                    ObjRef { share, object: mapping.object.object }
                }
            };
            let old = core::mem::replace(&mut mapping.object, object);
            let mut others = *again >> at;
            while others != 0 {
                let other = &mut used[at + others.trailing_zeros() as usize].object;
                if other.object == old.object {
                    *other = object;
                }
                others &= others - 1;
            }
        }
        Ok(())
    }

    /// Sets the child's root.
    pub(crate) fn set(&mut self, tree: ObjRef) -> Result<(), CforkError> {
        self.table.mappings = self.mappings.as_ptr() as u64;
        sys()
            .at_set(tree, address_mut(&mut self.table))
            .map_err(|error| CforkError::Call("setting the child's address tree", error))
    }
}

/// What becomes of what `mapping` maps, when the child holds `held`.
fn fate(mapping: &Mapping, held: &[Id], children: ObjRef) -> Fate {
    if mapping.object == children {
        Fate::New
    } else if mapping.kind == mapping_kind::SEGMENT && !is_shared(mapping) {
        Fate::Copied
    } else if held.contains(&mapping.object.share) {
        Fate::Held
    } else {
        Fate::Named
    }
}

/// The mode of a copy on write of what `mapping` maps: with the page at `address` copied now, if it is there.
fn page_now(mapping: &Mapping, address: u64) -> u64 {
    match address.checked_sub(mapping.va) {
        Some(offset) if offset / PAGE_BYTES < mapping.npages => {
            let page = mapping.start_page + offset / PAGE_BYTES;
            copy_mode::ON_WRITE | copy_mode::PAGE_NOW | (page * PAGE_BYTES)
        }
        _ => copy_mode::ON_WRITE,
    }
}

/// A copy of `segment` in `share`, as `mode` says. Waits while another core copies it, as threads do that fork at once.
fn copy(segment: ObjRef, share: Id, mode: u64, name: &Name) -> Result<ObjRef, CforkError> {
    loop {
        match sys().segment_copy(segment, share, mode, Home::Any, address(name)) {
            Ok(object) => return Ok(ObjRef { share, object }),
            Err(Error::Busy) => pause(),
            Err(error) => return Err(CforkError::Call("copying a segment", error)),
        }
    }
}

/// Whether a mapping is marked to stay shared.
fn is_shared(mapping: &Mapping) -> bool {
    MapFlags::from_bits_truncate(mapping.flags).contains(MapFlags::SHARED)
}
