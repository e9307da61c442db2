//! The objects a ground consists of: one core's own, or both cores'.

use core::fmt::Write;
use corey_abi::{
    AddressTreeCalls, DeviceCalls, Error, Home, Id, Kinds, MapFlags, Mapping, Name, ObjRef, PAGE_BYTES,
    SegmentCalls, ShareCalls, grain, mapping_kind, tree_kind,
};
use corey_libos_rt::sys::{address, sys};
use corey_libos_rt::vm::Space;

/// Pages of each share.
const PAGES: u64 = 1024;
/// Objects of each share.
const OBJECTS: u64 = 64;
/// Pages of the stack on the target.
const STACK_PAGES: u64 = 4;
/// Where trees that run nowhere map something.
pub(crate) const ELSEWHERE: u64 = 1 << 30;

/// Where something can be run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Target {
    /// The core.
    pub(crate) core: u16,
    /// Names its tree and stack, and its pcore while there is one.
    pub(crate) share: Id,
    pub(crate) tree: ObjRef,
    /// The stack pointer it begins with.
    pub(crate) stack: u64,
}

/// The objects.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Objects {
    /// Names all of them.
    pub(crate) share: Id,
    /// Another share.
    pub(crate) other: Id,
    /// A page that is there.
    pub(crate) segment: ObjRef,
    /// A page, to grow and shrink.
    pub(crate) growing: ObjRef,
    /// A page, to be mapped.
    pub(crate) page: ObjRef,
    /// A page that holds a line for the console, and a status.
    pub(crate) text: ObjRef,
    /// A root tree with a mapping, that runs nowhere.
    pub(crate) tree: ObjRef,
    /// A root tree without.
    pub(crate) blank: ObjRef,
    /// An interior tree of 1 GiB, that is linked.
    pub(crate) interior: ObjRef,
    /// One that is not.
    pub(crate) loose: ObjRef,
    /// Where something can be run.
    pub(crate) target: Target,
    /// A network card, if there are enough.
    card: Option<ObjRef>,
}

/// Makes objects that one owner has, at home on one core.
#[derive(Clone, Copy)]
struct Maker {
    owner: &'static str,
    home: Home,
}

impl Maker {
    fn name(self, what: &str) -> Name {
        let mut text = heapless::String::<31>::new();
        // Names are short enough.
        let _ = write!(text, "{} {what}", self.owner);
        Name::new(&text)
    }

    fn share(self, parent: Id, what: &str, pages: u64, objects: u64) -> Result<Id, Error> {
        let name = self.name(what);
        sys().share_alloc(parent, Kinds::all(), pages, objects, self.home, address(&name))
    }

    fn segment(self, share: Id, what: &str, pages: u64) -> Result<ObjRef, Error> {
        let name = self.name(what);
        let object = sys().segment_alloc(share, pages * PAGE_BYTES, self.home, 0, address(&name))?;
        Ok(ObjRef { share, object })
    }

    fn card(self, share: Id, number: u64) -> Result<Option<ObjRef>, Error> {
        let name = self.name("card");
        match sys().device_alloc(share, number, self.home, address(&name)) {
            Ok(object) => Ok(Some(ObjRef { share, object })),
            Err(Error::NotFound) => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn tree(self, share: Id, what: &str, kind: u64, grain: u64) -> Result<ObjRef, Error> {
        let name = self.name(what);
        let object = sys().at_alloc(share, kind, grain, self.home, address(&name))?;
        Ok(ObjRef { share, object })
    }
}

impl Objects {
    /// Makes them in `parent`, at home at `home`. What is run on core `target` has the mappings of `space`; they have device
    /// `card`.
    pub(crate) fn make(
        owner: &'static str,
        parent: Id,
        home: Home,
        target: u16,
        card: u64,
        space: &Space,
    ) -> Result<Self, Error> {
        let make = Maker { owner, home };
        let share = make.share(parent, "share", PAGES, OBJECTS)?;
        let root = |what| make.tree(share, what, tree_kind::ROOT, 0);
        let interior = |what| make.tree(share, what, tree_kind::INTERIOR, grain::GIB1);
        let objects = Self {
            share,
            other: make.share(parent, "other", PAGES, OBJECTS)?,
            segment: make.segment(share, "segment", 1)?,
            growing: make.segment(share, "growing", 1)?,
            page: make.segment(share, "page", 1)?,
            text: make.segment(share, "text", 1)?,
            tree: root("tree")?,
            blank: root("blank")?,
            interior: interior("interior")?,
            loose: interior("loose")?,
            target: Self::target(make, parent, target, space)?,
            card: make.card(share, card)?,
        };
        let mapping = one_page(objects.segment, ELSEWHERE);
        sys().at_set_slot(objects.tree, 0, address(&mapping))?;
        Ok(objects)
    }

    fn target(make: Maker, parent: Id, core: u16, space: &Space) -> Result<Target, Error> {
        let share = make.share(parent, "target", PAGES, OBJECTS)?;
        let tree = make.tree(share, "target", tree_kind::ROOT, 0)?;
        let mut theirs = Space::new(tree, 0, 0);
        theirs.mirror(space, &mut |_| true)?;
        let memory = make.segment(share, "stack", STACK_PAGES)?;
        let (at, _) = theirs.map(memory, STACK_PAGES, MapFlags::WRITE)?;
        // As after a call: the return address would lie below a 16-byte boundary.
        Ok(Target { core, share, tree, stack: at + STACK_PAGES * PAGE_BYTES - 8 })
    }

    /// The network card.
    pub(crate) fn card(&self) -> Result<ObjRef, Error> {
        self.card.ok_or(Error::NotFound)
    }

    /// The shares whoever uses them holds.
    pub(crate) fn shares(&self) -> [Id; 3] {
        [self.share, self.other, self.target.share]
    }
}

/// The first page of `segment`, writable at `va`.
pub(crate) fn one_page(segment: ObjRef, va: u64) -> Mapping {
    Mapping {
        kind: mapping_kind::SEGMENT,
        flags: MapFlags::WRITE.bits(),
        object: segment,
        va,
        npages: 1,
        ..Mapping::default()
    }
}
