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
}

/// What becomes of an object.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fate {
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

    fn used(&mut self) -> &mut [Mapping] {
        let count = (self.table.count as usize).min(MAPPINGS);
        let first = self.mappings.as_mut_ptr().cast::<Mapping>();
        // SAFETY: `at_get` wrote that many, and every value of a `Mapping`'s words is one.
        unsafe { core::slice::from_raw_parts_mut(first, count) }
    }

    /// Checks that every interior tree can be shared with a child that holds `shares`.
    pub(crate) fn check(&mut self, shares: &[Id]) -> Result<(), CforkError> {
        let private = self
            .used()
            .iter()
            .find(|m| m.kind == mapping_kind::INTERIOR && !is_shared(m) && !shares.contains(&m.object.share));
        private.map_or(Ok(()), |m| Err(CforkError::PrivateInterior(m.va, m.object)))
    }

    /// Pages and objects a child's share must have.
    pub(crate) fn cost(&mut self, held: &[Id], children: ObjRef) -> (u64, u64) {
        let (mut pages, mut objects) = (8, 3);
        let used = self.used();
        for (at, mapping) in used.iter().enumerate() {
            if mapping.kind == mapping_kind::NONE {
                continue;
            }
            pages += TABLES;
            if mapping.kind == mapping_kind::SEGMENT {
                // The tables of an interior tree are its own.
                pages += mapping.npages.div_ceil(512);
            }
            let before = used.iter().take(at);
            if fate(mapping, held, children) != Fate::Held && before.into_iter().all(|m| !same(m, mapping)) {
                objects += 1;
                pages += mapping.price;
            }
        }
        (pages, objects)
    }

    /// Copies and shares the objects into `share`, so that the table names what the child maps. Of `children`, the
    /// memory that forking needs itself, it has new one: it has no children yet.
    pub(crate) fn transfer(&mut self, share: Id, held: &[Id], children: ObjRef) -> Result<(), CforkError> {
        let name = Name::new("forked");
        let mut rest = self.used();
        // Mappings that name what the child has; bit 0 is the first of `rest`.
        let mut done = 0_u64;
        while let Some((mapping, later)) = rest.split_first_mut() {
            if done & 1 == 0 && mapping.kind != mapping_kind::NONE {
                let object = match fate(mapping, held, children) {
                    Fate::New => segment(share, PAGES * PAGE_BYTES, "children")
                        .map_err(|error| CforkError::Call("making memory for its children", error))?,
                    Fate::Copied => copy(mapping.object, share, &name)?,
                    Fate::Held => mapping.object,
                    Fate::Named => {
                        sys()
                            .share_addobj(share, mapping.object)
                            .map_err(|error| CforkError::Call("sharing an object", error))?;
                        ObjRef { share, object: mapping.object.object }
                    }
                };
                for (at, other) in later.iter_mut().enumerate() {
                    if same(other, mapping) {
                        other.object = object;
                        done |= 2 << at;
                    }
                }
                mapping.object = object;
            }
            done >>= 1;
            rest = later;
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

/// Whether both map the same object.
fn same(a: &Mapping, b: &Mapping) -> bool {
    a.kind == b.kind && a.object.object == b.object.object
}

/// A copy of `segment` in `share`, on write. Waits while another core copies it, as threads do that fork at once.
fn copy(segment: ObjRef, share: Id, name: &Name) -> Result<ObjRef, CforkError> {
    loop {
        match sys().segment_copy(segment, share, copy_mode::ON_WRITE, Home::Any, address(name)) {
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
