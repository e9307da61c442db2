//! Every case: one call on one kind of object.

/// What stands in place of a call's name where a case is a page fault.
pub const FAULT: &str = "(fault)";
/// What stands there where a case is an operation on a file: of the library operating system, without a call.
pub const FILE: &str = "(file)";

/// First marker id of cases: far above those of benchmarks.
const FIRST: u32 = 0xc00;

macro_rules! cases {
    ($($(#[doc = $doc:literal])* $case:ident = $name:literal,)*) => {
        /// One operation whose lines are looked at. Its name is the call's, and after a colon what it is called for.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Case { $($(#[doc = $doc])* $case,)* }

        impl Case {
            /// All of them, by number.
            pub const ALL: &[Self] = &[$(Self::$case),*];

            /// Its name.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$case => $name,)* }
            }
        }
    };
}

cases! {
    /// The name of a segment.
    ObjGetName = "obj_get_name",
    /// A share, that is empty.
    ShareAlloc = "share_alloc",
    /// A segment, that another share names too.
    ShareAddobj = "share_addobj",
    /// The last reference of a segment that is mapped and was written.
    ShareDelobj = "share_delobj",
    /// One of two references.
    ShareDelobjName = "share_delobj:name",
    /// The last reference of an empty root tree.
    ShareDelobjTree = "share_delobj:tree",
    /// A share that no other share names: it ends.
    SelfDrop = "self_drop",
    /// A page.
    SegmentAlloc = "segment_alloc",
    /// A copy now, of one page.
    SegmentCopy = "segment_copy",
    /// A copy on write.
    SegmentCopyWrite = "segment_copy:write",
    /// A copy on reference.
    SegmentCopyReference = "segment_copy:reference",
    /// The size.
    SegmentGetNbytes = "segment_get_nbytes",
    /// One page more.
    SegmentGrow = "segment_set_nbytes:grow",
    /// One page less, that is mapped and was written.
    SegmentShrink = "segment_set_nbytes:shrink",
    /// A root tree.
    AtAlloc = "at_alloc",
    /// An interior tree.
    AtAllocInterior = "at_alloc:interior",
    /// A table with a mapping.
    AtGet = "at_get",
    /// A table with a mapping, over an empty one.
    AtSet = "at_set",
    /// A mapping in a root tree that runs nowhere.
    AtSetSlot = "at_set_slot",
    /// A mapping in the caller's own root tree.
    AtSetSlotMap = "at_set_slot:map",
    /// The end of a mapping in the caller's own root tree, whose page was written.
    AtSetSlotUnmap = "at_set_slot:unmap",
    /// The end of a mapping in an interior tree that the caller links, whose page was written.
    AtSetSlotInterior = "at_set_slot:interior",
    /// An interior tree linked in the caller's own root tree.
    AtSetSlotLink = "at_set_slot:link",
    /// A core that is free.
    PcoreAlloc = "pcore_alloc",
    /// The caller's own.
    PcoreCurrent = "pcore_current",
    /// A function on a core.
    PcoreRun = "pcore_run",
    /// A refusal: there are no kernel cores yet.
    PcoreAddDevice = "pcore_add_device",
    /// A time slice for the caller itself.
    PcoreSetInterval = "pcore_set_interval",
    /// A core that runs user code.
    PcoreHalt = "pcore_halt",
    /// The caller itself, to its core's last instruction.
    PcoreHaltSelf = "pcore_halt:self",
    /// The one device.
    DeviceList = "device_list",
    /// The console, which is free.
    DeviceAlloc = "device_alloc",
    /// A refusal: nothing is known of the console.
    DeviceStat = "device_stat",
    /// A refusal: nothing can be set of the console.
    DeviceConf = "device_conf",
    /// A line.
    DeviceBuf = "device_buf",
    /// What is known of a card.
    DeviceStatCard = "device_stat:card",
    /// A frame to send.
    DeviceBufOut = "device_buf:out",
    /// A buffer for a frame to come.
    DeviceBufIn = "device_buf:in",
    /// What a card is done with: a frame that was sent.
    DeviceBufPoll = "device_buf:poll",
    /// The last reference of a segment in which a buffer was posted to a card, and came back.
    ShareDelobjPosted = "share_delobj:posted",
    /// The caller's core.
    LocalityGet = "locality_get",
    /// The shares held.
    ShareList = "share_list",
    /// What a share names.
    ShareListNamed = "share_list:named",
    /// A word that differs already.
    CoreWait = "core_wait",
    /// A word that does not change: to the time-out.
    CoreWaitTimeout = "core_wait:timeout",
    /// A word on which nobody waits.
    CoreWake = "core_wake",
    /// The machine.
    MachineInfo = "machine_info",
    /// The log level, to what it is.
    MachineControl = "machine_control",
    /// Everything.
    Audit = "audit",
    /// The caller's own core.
    CoreStat = "core_stat",
    /// All who hold a share.
    CoreFence = "core_fence",
    /// The caller's system calls.
    CounterRead = "counter_read",
    /// A first touch of a page, in the caller's own root tree.
    Fault = "(fault)",
    /// A first touch of a page of an interior tree.
    FaultInterior = "(fault):interior",
    /// A write to a page that a copy shares.
    FaultCopy = "(fault):copy",
    /// A block of a file.
    FileRead = "(file):pread",
    /// A whole block.
    FileWrite = "(file):pwrite",
    /// A part of one.
    FileWritePart = "(file):pwrite-part",
    /// A file in a directory, opened and closed.
    FileOpen = "(file):open",
}

/// What no case does, and why.
pub const LEFT_OUT: &[(&str, &str)] = &[
    ("machine_control: exit, reboot", "the machine ends, and with it what would be compared"),
    (
        "machine_control: print",
        "prints thousands of lines; console output is an exception as device_buf has it",
    ),
    ("audit at 64 cores", "looks at all objects for each object: hours of emulation; it is measured at 16"),
    (
        "pcore_run on oneself",
        "the caller's context is replaced, and its stack with it; the tests of images/test-pcore run it",
    ),
    ("self_drop of the share one stands on", "the caller halts, as in pcore_halt:self"),
    ("network cards at 64 cores", "a machine has room for sixteen; they are measured at 16"),
    (
        "device_alloc: card; device_buf: reset",
        "a card is reset, and its drain takes ten milliseconds, millions of instructions each time",
    ),
];

/// Cases that no ring makes, and why.
pub const NOT_BY_RING: &[(&[Case], &str)] = &[
    (
        &[Case::CoreWait, Case::CoreWaitTimeout],
        "a wait does not go over a ring: the calls behind it would sleep, too",
    ),
    (
        &[Case::PcoreHaltSelf],
        "the caller itself ends; by ring that would be the kernel core, which a ring's calls cannot end",
    ),
    (
        &[Case::Fault, Case::FaultInterior, Case::FaultCopy],
        "a fault is no call: the core that touches has it",
    ),
    (
        &[Case::FileRead, Case::FileWrite, Case::FileWritePart, Case::FileOpen],
        "an operation on a file is the library operating system's and makes no call",
    ),
];

impl Case {
    /// Why no ring makes it; `None` where one does.
    #[must_use]
    pub fn why_not_by_ring(self) -> Option<&'static str> {
        NOT_BY_RING.iter().find_map(|(cases, why)| cases.contains(&self).then_some(*why))
    }

    /// Its position in [`Case::ALL`].
    #[must_use]
    pub const fn number(self) -> u32 {
        self as u32
    }

    /// The id in its markers.
    #[must_use]
    pub const fn id(self) -> u32 {
        FIRST + self.number()
    }

    /// The case with this marker id.
    #[must_use]
    pub fn from_id(id: u32) -> Option<Self> {
        Self::ALL.get(usize::try_from(id.checked_sub(FIRST)?).ok()?).copied()
    }

    /// The case with this name.
    #[must_use]
    pub fn by_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|case| case.name() == name)
    }

    /// The call it makes, or [`FAULT`], or [`FILE`].
    #[must_use]
    pub fn call(self) -> &'static str {
        self.name().split_once(':').map_or(self.name(), |(call, _)| call)
    }

    /// Whether it is about a network card.
    #[must_use]
    pub const fn has_card(self) -> bool {
        matches!(
            self,
            Self::DeviceStatCard
                | Self::DeviceBufOut
                | Self::DeviceBufIn
                | Self::DeviceBufPoll
                | Self::ShareDelobjPosted
        )
    }

    /// Whether it costs so much that it is repeated less often.
    #[must_use]
    pub const fn is_heavy(self) -> bool {
        matches!(self, Self::Audit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use corey_abi::{SYSCALLS, SyscallInfo};

    #[test]
    fn every_call_has_a_case_and_every_case_a_call() {
        for row in SYSCALLS {
            let found = Case::ALL.iter().any(|case| case.call() == row.name);
            assert!(found, "{}: add a case to crates/lib/sharing/src/cases.rs and its driver", row.name);
        }
        for case in Case::ALL {
            let known =
                [FAULT, FILE].contains(&case.call()) || SYSCALLS.iter().any(|row| row.name == case.call());
            assert!(known, "{}: no such call", case.name());
        }
    }

    #[test]
    fn what_is_left_out_has_a_reason_and_is_not_a_case() {
        for (what, why) in LEFT_OUT {
            assert!(Case::by_name(what).is_none() && why.len() > 20, "{what}");
        }
    }

    #[test]
    fn every_call_that_rings_take_goes_by_ring_but_the_callers_own_end() {
        for case in Case::ALL {
            let row = SYSCALLS.iter().find(|row| row.name == case.call());
            let taken = row.is_some_and(|row| SyscallInfo::is_for_rings(row.number));
            let why = case.why_not_by_ring();
            assert_eq!(why.is_none(), taken && *case != Case::PcoreHaltSelf, "{}", case.name());
            assert!(why.is_none_or(|why| why.len() > 20), "{}", case.name());
        }
    }

    #[test]
    fn ids_and_names_lead_back_and_ids_fit_a_marker() {
        for case in Case::ALL {
            assert_eq!(Case::from_id(case.id()), Some(*case));
            assert_eq!(Case::by_name(case.name()), Some(*case));
            assert!(case.id() <= 0xfff);
        }
        assert_eq!(Case::from_id(0x10), None);
    }
}
