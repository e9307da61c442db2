//! The calls on address trees.

use crate::change::{self, Payer};
use crate::slot::{Map, MapKind, New};
use crate::tree::{Grain, Handler, Tree, TreeKind};
use crate::whole::NewRoot;
use corey_abi::{
    AddressTreeCalls, Error, Home, Id, Kind, MapFlags, Mapping, ObjRef, Plain, TREE_SLOTS, TreeTable,
    UserPtr, grain, mapping_kind, tree_kind,
};
use corey_kernel_hal::{PAGE_SIZE, Platform, USER_END};
use corey_kernel_object::{Handle, Link};
use corey_kernel_segment::Segment;
use corey_kernel_share::Call;
use corey_lib_sync::atomic::Ordering;

/// `at_…`.
#[derive(Debug)]
pub struct AddressTreeApi<'a, P: Platform>(pub Call<'a, P>);

const MAPPING: u64 = Mapping::BYTES as u64;
/// Mappings that are copied from or to a program at once.
const WINDOW: usize = 8;

impl<'a, P: Platform> AddressTreeApi<'a, P> {
    /// Checks a mapping of pages of a segment against the caller's shares and the tree's shape.
    #[inline(always)]
    fn check_segment(&self, tree: &Tree, from: &Mapping) -> Result<(Map, Handle<'a, Segment>), Error> {
        let flags = check_flags(from)?;
        let segment = self.0.object::<Segment>(from.object)?;
        let end = from.start_page.checked_add(from.npages).ok_or(Error::OutOfRange)?;
        // Mapping beyond the end is allowed up to the largest segment: it may grow.
        if from.npages == 0 || end > 1 << 27 {
            return Err(Error::OutOfRange);
        }
        let unit = segment.page_size().pages();
        if unit > 1 && tree.kind() == TreeKind::Interior(Grain::Mib2) {
            return Err(Error::NotPermitted);
        }
        if !from.start_page.is_multiple_of(unit) || !from.npages.is_multiple_of(unit) {
            return Err(Error::Misaligned);
        }
        let (bytes, align) = (from.npages * PAGE_SIZE, unit * PAGE_SIZE);
        let map = placed(tree, from, (MapKind::Segment, segment.link()), flags, bytes, align)?;
        Ok((map, segment))
    }

    /// Checks a mapping of anything else against the caller's shares and the tree's shape.
    #[inline(never)]
    fn check_other(&self, tree: &Tree, from: Mapping) -> Result<New<'a>, Error> {
        let from = &from;
        let flags = check_flags(from)?;
        match from.kind {
            mapping_kind::NONE => Ok(New::EMPTY),
            mapping_kind::INTERIOR => {
                let interior = self.0.object::<Tree>(from.object)?;
                if tree.kind().is_interior() || !interior.kind().is_interior() {
                    return Err(Error::NotPermitted);
                }
                let grain = interior.kind().span();
                let map = placed(tree, from, (MapKind::Interior, interior.link()), flags, grain, grain)?;
                Ok(New::interior(map))
            }
            _ => Err(Error::BadArgument),
        }
    }

    #[inline(always)]
    fn set(
        &mut self,
        at: ObjRef,
        tree: Handle<'a, Tree>,
        slot: usize,
        mapping: &Mapping,
    ) -> Result<(), Error> {
        if mapping.kind == mapping_kind::NONE && mapping.flags == 0 {
            // By itself: half of all changes, and much simpler.
            return change::change(self.0.ctx, self.0.inside, tree, slot, &New::EMPTY, Payer::Nobody);
        }
        if mapping.kind != mapping_kind::SEGMENT {
            return self.set_other(at, tree, slot, *mapping);
        }
        let (map, segment) = self.check_segment(&tree, mapping)?;
        let payer = Payer::Named(self.0.held, at.share);
        change::change(self.0.ctx, self.0.inside, tree, slot, &New::segment(map, segment), payer)
    }

    /// As [`AddressTreeApi::set`], for a mapping that is not one of a segment.
    #[inline(never)]
    fn set_other(
        &mut self,
        at: ObjRef,
        tree: Handle<'a, Tree>,
        slot: usize,
        mapping: Mapping,
    ) -> Result<(), Error> {
        let new = self.check_other(&tree, mapping)?;
        let payer = Payer::Named(self.0.held, at.share);
        change::change(self.0.ctx, self.0.inside, tree, slot, &new, payer)
    }

    /// What slot `index` maps, when it is not being changed.
    #[inline(always)]
    fn mapping_of(&mut self, tree: &Tree, index: usize) -> Result<Option<Mapping>, Error> {
        let Some(slot) = tree.slot(&self.0.ctx.local.platform, index) else { return Ok(None) };
        let map = loop {
            match slot.read() {
                Some((map, _)) => break map,
                None => self.0.ctx.relax_or_lose()?,
            }
        };
        match map.kind {
            MapKind::Segment | MapKind::Interior => {
                let object = map.object.header(self.0.inside);
                Ok(object.map(|object| to_mapping(&map, object.pages())))
            }
            MapKind::Empty | MapKind::Changing => Ok(None),
        }
    }

    #[inline(always)]
    fn read_mapping(&mut self, from: UserPtr) -> Result<Mapping, Error> {
        let mut bytes = [0; Mapping::BYTES];
        self.0.ctx.copy_in(self.0.inside, from, &mut bytes)?;
        Mapping::from_bytes(&bytes).ok_or(Error::BadArgument)
    }

    /// Mappings from `index` on of a table's array: as many as `window` takes, or one if they do not lie in memory all.
    fn read_mappings<'w>(
        &mut self,
        table: &TreeTable,
        index: u64,
        window: &'w mut [u8; WINDOW * Mapping::BYTES],
    ) -> Result<&'w [u8], Error> {
        let from = element(table.mappings, index)?;
        let count = (table.count - index).min(WINDOW as u64) as usize;
        for count in [count, 1] {
            let bytes = window.get_mut(..count * Mapping::BYTES).ok_or(Error::BadArgument)?;
            if self.0.ctx.copy_in(self.0.inside, from, bytes).is_ok() {
                return Ok(window.get(..count * Mapping::BYTES).unwrap_or_default());
            }
        }
        Err(Error::BadAddress)
    }

    /// Calls `set` for the slots that a table has, from 0 on; says for which it failed, and why.
    #[inline(never)]
    fn set_all(
        &mut self,
        header: &TreeTable,
        mut set: impl FnMut(&mut Self, usize, &Mapping) -> Result<(), Error>,
    ) -> Result<(), (u64, Error)> {
        let mut window = [0; WINDOW * Mapping::BYTES];
        let mut index = 0;
        while index < header.count {
            let window = self.read_mappings(header, index, &mut window).map_err(|error| (index, error))?;
            for bytes in window.chunks_exact(Mapping::BYTES) {
                let mapping = Mapping::from_bytes(bytes).ok_or(Error::BadAddress);
                let set = mapping.and_then(|mapping| set(self, index as usize, &mapping));
                set.map_err(|error| (index, error))?;
                index += 1;
            }
        }
        Ok(())
    }

    fn read_table(&mut self, table: UserPtr) -> Result<TreeTable, Error> {
        let mut bytes = [0; TreeTable::BYTES];
        self.0.ctx.copy_in(self.0.inside, table, &mut bytes)?;
        TreeTable::from_bytes(&bytes).ok_or(Error::BadArgument)
    }

    fn write_table(&mut self, table: UserPtr, value: &TreeTable) -> Result<(), Error> {
        let mut bytes = [0; TreeTable::BYTES];
        value.to_bytes(&mut bytes);
        self.0.ctx.copy_out(self.0.inside, &bytes, table)
    }
}

/// What `from` allows.
#[inline(always)]
fn check_flags(from: &Mapping) -> Result<MapFlags, Error> {
    let flags = MapFlags::from_bits(from.flags).ok_or(Error::BadArgument)?;
    if flags.contains(MapFlags::WRITE | MapFlags::EXECUTE) { Err(Error::NotPermitted) } else { Ok(flags) }
}

/// The mapping at the address that `from` says, if `bytes` fit there.
#[inline(always)]
fn placed(
    tree: &Tree,
    from: &Mapping,
    (kind, object): (MapKind, Link),
    flags: MapFlags,
    bytes: u64,
    align: u64,
) -> Result<Map, Error> {
    if !from.va.is_multiple_of(align) {
        return Err(Error::Misaligned);
    }
    let (first, last) = if tree.kind().is_interior() {
        (0, tree.kind().span())
    } else {
        // Page 0 stays unmapped: a null pointer faults. So does the last page of the user half: behind an instruction at
        // its end lies no address of user code, and an interrupt there could not be returned from.
        (PAGE_SIZE, USER_END - PAGE_SIZE)
    };
    let end = from.va.checked_add(bytes).filter(|end| first <= from.va && *end <= last);
    let end = end.ok_or(Error::OutOfRange)?;
    Ok(Map { kind, flags, object, share: from.object.share, start: from.va, end, page: from.start_page })
}

/// The address of element `index` of an array of mappings.
fn element(array: u64, index: u64) -> Result<UserPtr, Error> {
    index
        .checked_mul(MAPPING)
        .and_then(|offset| array.checked_add(offset))
        .map(UserPtr)
        .ok_or(Error::BadAddress)
}

impl<P: Platform> AddressTreeCalls for AddressTreeApi<'_, P> {
    fn at_alloc(&mut self, share: Id, kind: u64, grain: u64, core: Home, name: UserPtr) -> Result<Id, Error> {
        let share = self.0.share_for(share, Kind::AddressTree)?;
        let kind = match (kind, grain) {
            (tree_kind::ROOT, 0) => TreeKind::Root,
            (tree_kind::INTERIOR, grain::MIB2) => TreeKind::Interior(Grain::Mib2),
            (tree_kind::INTERIOR, grain::GIB1) => TreeKind::Interior(Grain::Gib1),
            (tree_kind::INTERIOR, grain::GIB512) => TreeKind::Interior(Grain::Gib512),
            _ => return Err(Error::BadArgument),
        };
        let call = &mut self.0;
        call.held.check_home(call.ctx, call.inside, core)?;
        let name = call.ctx.read_name(call.inside, name)?;
        share.charge(call.ctx, 1, 1)?;
        let source = call.ctx.source(core);
        let home = call.ctx.home(core)?;
        let made = call.ctx.alloc_zeroed(source).and_then(|table| {
            let tree = Tree::new(&call.ctx.local.platform, home, kind, table);
            call.ctx.create(call.inside, core, &name, 1, tree)
        });
        match made {
            Ok(tree) => call.name_new(&share, tree.header(), 1),
            Err(error) => {
                share.refund(call.ctx, 1, 1);
                Err(error)
            }
        }
    }

    fn at_get(&mut self, at: ObjRef, table: UserPtr) -> Result<(), Error> {
        let tree = self.0.object::<Tree>(at)?;
        let mut header = self.read_table(table)?;
        let slots = tree.used.load(Ordering::SeqCst);
        let mut used = 0;
        let mut window = [0; WINDOW * Mapping::BYTES];
        for first in (0..slots).step_by(WINDOW) {
            for (index, mut to) in (first..slots).zip(window.chunks_exact_mut(Mapping::BYTES)) {
                match self.mapping_of(&tree, index as usize)? {
                    Some(_) if index >= header.count => return Err(Error::OutOfRange),
                    Some(mapping) => {
                        used = index + 1;
                        mapping.put(&mut to);
                    }
                    None => to.fill(0),
                }
            }
            let filled = slots.min(header.count).saturating_sub(first).min(WINDOW as u64);
            if filled > 0 {
                let to = element(header.mappings, first)?;
                let bytes = window.get(..filled as usize * Mapping::BYTES).unwrap_or(&window);
                self.0.ctx.copy_out(self.0.inside, bytes, to)?;
            }
        }
        header.count = used;
        let handler = tree.handler(&mut self.0.ctx.local);
        header.handler = handler.entry;
        header.stack = handler.stack;
        header.masked = handler.masked;
        self.write_table(table, &header)
    }

    fn at_set(&mut self, at: ObjRef, table: UserPtr) -> Result<(), Error> {
        let tree = self.0.object::<Tree>(at)?;
        let mut header = self.read_table(table)?;
        let handler = check_handler(tree.kind(), &header)?;
        if header.count > TREE_SLOTS as u64 {
            return Err(Error::Full);
        }
        tree.set_handler(&mut self.0.ctx.local, handler);
        let payer = self.0.held.share(self.0.inside, at.share)?;
        let set = match NewRoot::take(&self.0.ctx.local, tree) {
            Some(mut whole) => self.set_all(&header, |api, index, mapping| {
                if mapping.kind == mapping_kind::SEGMENT {
                    let (map, segment) = api.check_segment(&tree, mapping)?;
                    whole.set_pages(api.0.ctx, api.0.inside, index, map, segment, Payer::Share(&payer))
                } else {
                    let new = api.check_other(&tree, *mapping)?;
                    whole.set(api.0.ctx, api.0.inside, index, &new, Payer::Share(&payer))
                }
            }),
            None => {
                let used = tree.used.load(Ordering::SeqCst);
                let set = |api: &mut Self, index, mapping: &Mapping| api.set(at, tree, index, mapping);
                self.set_all(&header, set).and_then(|()| {
                    (header.count..used).try_for_each(|index| {
                        set(self, index as usize, &Mapping::default()).map_err(|error| (index, error))
                    })
                })
            }
        };
        if let Err((index, error)) = set {
            header.count = index;
            self.write_table(table, &header)?;
            return Err(error);
        }
        Ok(())
    }

    fn at_set_slot(&mut self, at: ObjRef, slot: u64, mapping: UserPtr) -> Result<(), Error> {
        let tree = self.0.object::<Tree>(at)?;
        let mapping = self.read_mapping(mapping)?;
        if slot >= TREE_SLOTS as u64 {
            return Err(Error::Full);
        }
        self.set(at, tree, slot as usize, &mapping)
    }
}

/// Checks handler, stack and masked word of a table.
fn check_handler(kind: TreeKind, from: &TreeTable) -> Result<Handler, Error> {
    let handler = Handler { entry: from.handler, stack: from.stack, masked: from.masked };
    if handler == Handler::default() {
        return Ok(handler);
    }
    if kind != TreeKind::Root {
        return Err(Error::NotPermitted);
    }
    if !handler.stack.is_multiple_of(16) || !handler.masked.is_multiple_of(8) {
        return Err(Error::Misaligned);
    }
    let inside = |address: u64| address < USER_END;
    if !inside(handler.entry) || handler.stack > USER_END || !inside(handler.masked) {
        return Err(Error::OutOfRange);
    }
    Ok(handler)
}

fn to_mapping(map: &Map, price: u64) -> Mapping {
    Mapping {
        kind: if map.kind == MapKind::Interior { mapping_kind::INTERIOR } else { mapping_kind::SEGMENT },
        flags: map.flags.bits(),
        object: ObjRef { share: map.share, object: Link::id(map.object) },
        va: map.start,
        start_page: map.page,
        npages: (map.end - map.start) / PAGE_SIZE,
        price,
        reserved: 0,
    }
}
