//! What is known to share, and why that is right (PROTOCOLS §8.2).

use crate::{Case, Part};

/// Which operations an exception is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Who {
    /// Pairs of which one is of this call.
    With(&'static str),
    /// Pairs of these two calls, in either order; of a call alone, both are it.
    Pair(&'static str, &'static str),
    /// All.
    All,
    /// A core and the kernel core that makes its calls, whatever it calls. As with the two below the ends are of one such
    /// pair, never of two.
    OwnRing,
    /// A core that tells its own kernel core something, whatever it calls: of mailboxes the kernel core's, of notices the
    /// caller's.
    OwnDoorbell,
    /// A core and its own kernel core, which makes this call.
    Own(&'static str),
}

impl Who {
    /// Whether it is about a core and its own kernel core.
    #[must_use]
    pub const fn is_own(self) -> bool {
        matches!(self, Self::OwnRing | Self::OwnDoorbell | Self::Own(_))
    }
}

impl core::fmt::Display for Who {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::With(call) => write!(f, "{call} with any"),
            Self::Pair(a, b) => write!(f, "{a} with {b}"),
            Self::All => f.write_str("any two"),
            Self::OwnRing => f.write_str("a core and its own kernel core"),
            Self::OwnDoorbell => f.write_str("a core that wakes its own kernel core"),
            Self::Own(call) => write!(f, "a core and its own kernel core in {call}"),
        }
    }
}

/// Lines that may be shared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exception {
    /// In which part.
    pub part: Part,
    /// Between which calls.
    pub who: Who,
    /// What the line's place must begin with, one of these, as reports name it, positions in arrays left out; none for
    /// every line.
    pub places: &'static [&'static str],
    /// Why.
    pub reason: &'static str,
}

/// All of them. One that explains nothing any more fails the run that looked at all its pairs.
pub const EXCEPTIONS: &[Exception] = &[
    // Private objects: what is one per machine.
    exception(Part::Private, Who::With("audit"), ANY, AUDIT),
    exception(Part::Private, Who::Pair("device_buf", "device_buf"), LINE, CONSOLE),
    exception(Part::Private, Who::Pair("device_alloc", "device_alloc"), DEVICES, DEVICE),
    exception(Part::Private, Who::Pair("machine_control", "machine_control"), LOG, LOG_LEVEL),
    // The same, and what a core and its target share.
    exception(Part::Alone, Who::With("audit"), ANY, AUDIT),
    exception(Part::Alone, Who::With("device_buf"), LINE, CONSOLE),
    exception(Part::Alone, Who::With("device_alloc"), DEVICES, DEVICE),
    exception(Part::Alone, Who::With("machine_control"), LOG, LOG_LEVEL),
    exception(Part::Alone, Who::With("pcore_run"), ANY, TARGET),
    exception(Part::Alone, Who::With("pcore_halt"), ANY, TARGET),
    // Shared objects: what is one per machine.
    exception(Part::Shared, Who::With("audit"), ANY, AUDIT),
    exception(Part::Shared, Who::Pair("device_buf", "device_buf"), LINE, CONSOLE),
    exception(Part::Shared, Who::Pair("device_alloc", "device_alloc"), DEVICES, DEVICE),
    exception(Part::Shared, Who::Pair("machine_control", "machine_control"), LOG, LOG_LEVEL),
    exception(Part::Shared, Who::Pair("device_buf", "device_buf"), CARD, ONE_CARD),
    exception(Part::Shared, Who::Pair("device_buf", "device_stat"), CARD, ONE_CARD),
    exception(Part::Shared, Who::Pair("device_stat", "device_stat"), CARD, ONE_CARD),
    exception(Part::Shared, Who::Pair("device_buf", "share_delobj"), CARD, ONE_CARD),
    exception(Part::Shared, Who::Pair("device_stat", "share_delobj"), CARD, ONE_CARD),
    // Two segments that were posted to it end.
    exception(Part::Shared, Who::Pair("share_delobj", "share_delobj"), &["card"], ONE_CARD),
    // What asks the other core, because it holds or maps the object.
    exception(Part::Shared, Who::With("segment_copy"), &["percore.mailbox"], MESSAGE),
    exception(Part::Shared, Who::With("segment_set_nbytes"), &["percore.mailbox"], MESSAGE),
    exception(Part::Shared, Who::With("at_set_slot"), &["percore.mailbox"], MESSAGE),
    exception(Part::Shared, Who::With("(fault)"), &["percore.mailbox"], MESSAGE),
    exception(Part::Shared, Who::With("core_fence"), &["percore.mailbox"], MESSAGE),
    exception(Part::Shared, Who::With("pcore_alloc"), TAKEN, TARGET),
    exception(Part::Shared, Who::With("pcore_run"), TAKEN, TARGET),
    exception(Part::Shared, Who::With("pcore_halt"), TAKEN, TARGET),
    exception(Part::Shared, Who::Pair("core_wait", "core_wait"), &["waits"], WAITS),
    exception(Part::Shared, Who::Pair("core_wait", "core_wake"), &["waits"], WAITS),
    exception(Part::Shared, Who::Pair("core_wake", "core_wake"), &["waits"], WAITS),
    // Whoever maps a page of a shared segment can be asked to give it up.
    exception(Part::Shared, Who::With("segment_copy"), &["AddressTree:worker"], MAPPED),
    exception(Part::Shared, Who::With("segment_set_nbytes"), &["AddressTree:worker"], MAPPED),
    exception(Part::Shared, Who::With("(fault)"), &["AddressTree:worker"], MAPPED),
    // Memory of shared objects, on its way.
    exception(Part::Shared, Who::With("share_delobj"), RECLAIMED, RECLAIM),
    exception(Part::Shared, Who::With("self_drop"), RECLAIMED, RECLAIM),
    exception(Part::Shared, Who::With("segment_set_nbytes"), RECLAIMED, RECLAIM),
    exception(Part::Shared, Who::With("segment_copy"), PAGED, PAGES),
    exception(Part::Shared, Who::With("segment_set_nbytes"), PAGED, PAGES),
    exception(Part::Shared, Who::With("(fault)"), PAGED, PAGES),
    // By ring, on private objects: what is one per machine, again.
    exception(Part::Ring, Who::With("audit"), ANY, AUDIT),
    exception(Part::Ring, Who::Pair("device_buf", "device_buf"), LINE, CONSOLE),
    exception(Part::Ring, Who::Pair("device_alloc", "device_alloc"), DEVICES, DEVICE),
    exception(Part::Ring, Who::Pair("machine_control", "machine_control"), LOG, LOG_LEVEL),
    // Between a core and its own kernel core.
    exception(Part::Ring, Who::OwnRing, &["Segment:call ring.page"], RING),
    exception(Part::Ring, Who::OwnDoorbell, TOLD, DOORBELL),
    exception(Part::Ring, Who::Own("audit"), AUDITED, AUDIT),
    // What is about its caller, whom it asks.
    exception(Part::Ring, Who::Own("core_fence"), TOLD, ABOUT_CALLER),
    exception(Part::Ring, Who::Own("core_stat"), ASKED, ABOUT_CALLER),
    exception(Part::Ring, Who::Own("core_stat"), &["percore.picture"], PICTURE),
    exception(Part::Ring, Who::Own("pcore_add_device"), TOLD, ABOUT_CALLER),
    exception(Part::Ring, Who::Own("pcore_set_interval"), ASKED, ABOUT_CALLER),
    exception(Part::Ring, Who::Own("at_set_slot"), ASKED, ABOUT_CALLER),
    exception(Part::Ring, Who::Own("at_set_slot"), TOLD, ABOUT_CALLER),
    exception(Part::Ring, Who::Own("segment_copy"), TOLD, ABOUT_CALLER),
    exception(Part::Ring, Who::Own("segment_set_nbytes"), TOLD, ABOUT_CALLER),
    exception(Part::Ring, Who::Own("share_delobj"), TOLD, ABOUT_CALLER),
    exception(Part::Ring, Who::Own("at_set_slot"), CHANGED, CALLERS_ROOT),
    exception(Part::Ring, Who::Own("segment_copy"), CALLERS_TABLES, CALLERS_PAGE),
    exception(Part::Ring, Who::Own("segment_set_nbytes"), CALLERS_TABLES, CALLERS_PAGE),
    exception(Part::Ring, Who::Own("share_delobj"), CALLERS_TABLES, CALLERS_PAGE),
    exception(Part::Ring, Who::Own("segment_copy"), EPOCH, RECLAIM),
    exception(Part::Ring, Who::Own("segment_set_nbytes"), EPOCH, RECLAIM),
    exception(Part::Ring, Who::Own("share_delobj"), EPOCH, RECLAIM),
];

const ANY: &[&str] = &[];
/// The console's lock and what it guards, the screen.
const LINE: &[&str] = &["system.devices", "screen memory", "static"];
/// A card: its lock, what it has, its driver and its rings; the latter have no names.
const CARD: &[&str] = &["card", "a frame of a short-lived object"];
const DEVICES: &[&str] = &["system.devices", "device.taken"];
const LOG: &[&str] = &["static log::"];
/// What says who has a core and what it is to run.
const TAKEN: &[&str] = &["pcore.owner", "percore.mailbox"];
/// What waits until no core can hold a pointer, and where it goes then.
const RECLAIMED: &[&str] = &["percore.epoch", "limbo", "slab", "slot of core", "frame.descriptor"];
/// Pages that come and go, and their descriptors; eight descriptors share a line.
const PAGED: &[&str] = &["a frame of a short-lived object", "frame.descriptor", "stock"];

/// A message that many can be told, and one that is asked of one.
const TOLD: &[&str] = &["percore.mailbox", "percore.notice"];
const ASKED: &[&str] = &["percore.mailbox", "mailbox.slot"];
/// Where an audit makes a caller's core stand still.
const AUDITED: &[&str] = &["limbo", "mailbox.slot", "percore.epoch", "percore.mailbox", "system.world"];
/// What the change of a root is written down in, and the tree that is linked.
const CHANGED: &[&str] = &[
    "AddressTree:worker.links",
    "AddressTree:worker.root",
    "AddressTree:worker.slots",
    "AddressTree:worker.tables",
    "AddressTree:own loose.attached",
    "AddressTree:own loose.kind",
];
const CALLERS_TABLES: &[&str] = &["AddressTree:worker.tables"];
const EPOCH: &[&str] = &["percore.epoch"];

const AUDIT: &str = "an audit stops every core and looks at every object: that is what it is for";
const CONSOLE: &str = "there is one console: its lock, its sequence number, the serial port, the screen";
const ONE_CARD: &str = "both use one network card: its lock, what is posted to it, its driver's rings";
const DEVICE: &str = "a device is exclusive: whoever takes it or gives it back writes that it is taken";
const LOG_LEVEL: &str = "the log level is one per machine, and this call sets it";
const TARGET: &str =
    "what runs on another core, or ends there, moves the target's lines: its mailbox, its run, its pcore";
const MESSAGE: &str = "an acknowledged message to a core that holds or maps the shared object; that core reads its mailbox at every entry";
const WAITS: &str = "who waits on a word is listed with the home core of its segment, which both can reach";
const RECLAIM: &str = "what another core could reach waits in its home core's limbo until that core's epoch has moved; whoever deletes or cuts looks";
const PAGES: &str = "pages and tables of shared objects, made and freed between the two maps that name memory, and their descriptors";
const MAPPED: &str = "a root that maps a page of a shared segment is looked at by whoever takes the page, or the right to write it, away";

const RING: &str =
    "calls, arguments and answers go over between a core and its kernel core: that is what a ring is for";

const DOORBELL: &str =
    "a kernel core that found nothing for long sleeps, and a message from its caller wakes it";
const ABOUT_CALLER: &str =
    "the call is about the caller's core, or what that holds or maps: its kernel is asked by message";
const PICTURE: &str = "the caller's core writes down what it does, for the kernel core that asks";
const CALLERS_ROOT: &str =
    "a root tree is changed, and what is linked in it, by the core that runs it: here the caller's";
const CALLERS_PAGE: &str =
    "the kernel core looks at the tables of a root that maps the page, and the caller's core changes them";

const fn exception(part: Part, who: Who, places: &'static [&'static str], reason: &'static str) -> Exception {
    Exception { part, who, places, reason }
}

impl Exception {
    /// Whether it is about lines at `place`, positions in arrays left out.
    #[must_use]
    pub fn covers(&self, place: &str) -> bool {
        self.places.is_empty() || self.places.iter().any(|start| place.starts_with(start))
    }

    /// Whether it is about these two.
    #[must_use]
    pub fn concerns(&self, part: Part, first: Case, second: Case) -> bool {
        let calls = [first.call(), second.call()];
        part == self.part
            && match self.who {
                Who::With(call) | Who::Own(call) => calls.contains(&call),
                Who::Pair(a, b) => calls == [a, b] || calls == [b, a],
                Who::All | Who::OwnRing | Who::OwnDoorbell => true,
            }
    }
}
