//! What the child maps, and what that costs.

use crate::error::CforkError;
use corey_abi::{
    AddressTreeCalls, Error, Home, Id, MapFlags, Mapping, Name, ObjRef, PAGE_BYTES, SegmentCalls, ShareCalls,
    TreeTable, copy_mode, mapping_kind,
};
use corey_libos_sys::{address, address_mut, pause, sys};

/// Most mappings of a root that is forked.
pub(crate) const MAPPINGS: usize = 64;
/// Page tables a mapping needs at most beside those of its own pages.
const TABLES: u64 = 4;

/// A root's table, read whole.
pub(crate) struct Plan {
    mappings: [Mapping; MAPPINGS],
    table: TreeTable,
}

impl Plan {
    /// Reads the table of `tree`.
    pub(crate) fn read(tree: ObjRef) -> Result<Self, CforkError> {
        let mut plan = Self { mappings: [Mapping::default(); MAPPINGS], table: TreeTable::default() };
        plan.table.mappings = plan.mappings.as_mut_ptr() as u64;
        plan.table.count = MAPPINGS as u64;
        sys().at_get(tree, address_mut(&mut plan.table)).map_err(|error| match error {
            Error::OutOfRange => CforkError::TooManyMappings,
            other => CforkError::Call("reading the parent's address tree", other),
        })?;
        Ok(plan)
    }

    fn used(&self) -> &[Mapping] {
        &self.mappings[..self.table.count as usize]
    }

    /// Checks that every interior tree can be shared with a child that holds `shares`.
    pub(crate) fn check(&self, shares: &[Id]) -> Result<(), CforkError> {
        let private = self
            .used()
            .iter()
            .find(|m| m.kind == mapping_kind::INTERIOR && !is_shared(m) && !shares.contains(&m.object.share));
        private.map_or(Ok(()), |m| Err(CforkError::PrivateInterior(m.va, m.object)))
    }

    /// Pages and objects a child's share must have.
    pub(crate) fn cost(&self) -> Result<(u64, u64), CforkError> {
        let (mut pages, mut objects) = (8, 3);
        for (at, mapping) in self.used().iter().enumerate() {
            if mapping.kind == mapping_kind::NONE {
                continue;
            }
            pages += TABLES;
            if mapping.kind == mapping_kind::SEGMENT {
                pages += mapping.npages.div_ceil(512) + 1;
            }
            if self.first(at) {
                objects += 1;
                if mapping.kind == mapping_kind::SEGMENT {
                    let bytes = sys()
                        .segment_get_nbytes(mapping.object)
                        .map_err(|error| CforkError::Call("the size of a segment", error))?;
                    let npages = bytes / PAGE_BYTES;
                    pages += npages + npages.div_ceil(512) + npages.div_ceil(512 * 512) + 2;
                }
            }
        }
        Ok((pages, objects))
    }

    /// Whether the object at `at` is mapped there first.
    fn first(&self, at: usize) -> bool {
        let object = self.mappings[at].object.object;
        !self.mappings[..at].iter().any(|m| m.kind != mapping_kind::NONE && m.object.object == object)
    }

    /// Copies and shares the objects into `share`, so that the table names what the child maps.
    pub(crate) fn transfer(&mut self, share: Id, held: &[Id]) -> Result<(), CforkError> {
        let name = Name::new("forked");
        let original = self.mappings;
        for at in 0..self.table.count as usize {
            let mapping = original[at];
            if mapping.kind == mapping_kind::NONE {
                continue;
            }
            let before = original[..at]
                .iter()
                .position(|m| m.kind == mapping.kind && m.object.object == mapping.object.object);
            let object = match before {
                Some(before) => self.mappings[before].object,
                None if mapping.kind == mapping_kind::SEGMENT && !is_shared(&mapping) => {
                    copy(mapping.object, share, &name)?
                }
                None if held.contains(&mapping.object.share) => mapping.object,
                None => {
                    sys()
                        .share_addobj(share, mapping.object)
                        .map_err(|error| CforkError::Call("sharing an object", error))?;
                    ObjRef { share, object: mapping.object.object }
                }
            };
            self.mappings[at].object = object;
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
